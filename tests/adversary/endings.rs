//! However a run ends, its document is one, and whoever should read it cannot hold it up.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::pipe2;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::harness::{
    Cells, Checked, Failure, Finished, Holdings, Process, Server, ensure, is_listening, ours, pick, run,
    run_client, start_client, wait_until,
};

use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::request::Request;

/// Longer than any run here should last.
const LIMIT: Duration = Duration::from_secs(15);
/// A process that is told to end while nobody reads its report has this long.
const UNREAD: Duration = Duration::from_secs(8);
/// The fewest bytes that a pipe holds where a page has 4 KiB.
const SMALL_PIPE: i32 = 4096;

/// Options of clients that come to a good end.
const GOOD: [&str; 14] = [
    "-n 1K",
    "-t 0.2",
    "-k 3",
    "-t 0.2 -R",
    "-t 0.2 --bidir",
    "-t 0.2 -P 3 -i 0.1",
    "-n 1K --get-server-output",
    "-t 0.2 -Z",
    "-u -t 0.2",
    "-u -t 0.2 -R",
    "-u -t 0.2 --bidir",
    "-u -k 3 -P 2",
    "-t 0.2 -i 0",
    "-t 1 -O 1",
];
/// Options of servers, and of clients that they refuse.
const REFUSED: [(&str, &str); 4] = [
    ("--server-bitrate-limit 1M", "-b 10M"),
    ("--server-max-duration 1", "-t 5"),
    ("-F /dev/null", "-u -t 1"),
    ("", "-t 1 -C nosuchalgo"),
];
/// Options of clients that are interrupted while they run.
const INTERRUPTED: [&str; 6] = ["", "-R", "--bidir", "-u", "-u -R", "-P 3 -i 0.1"];
/// Options of clients that never come to a test.
const HOPELESS: [&str; 6] = [
    "-c 127.0.0.1 -p 1",
    "-c 192.0.2.1 -p 1 --connect-timeout 200",
    "-c nosuchhost.invalid",
    "-c 127.0.0.1 -p 1 -u",
    "-c 127.0.0.1 -p 1 -F /no/such/file",
    "-c 127.0.0.1 -p 1 -6",
];

#[test]
fn every_ending_has_one_document() -> Checked {
    let mut cells = Cells::default();
    for options in GOOD {
        cells.add(options, move || {
            let server = Server::start(&ours(), "-1 -J")?;
            let client = run_client(&ours(), server.port, &format!("{options} -J"))?;
            is_one_document(&client, 0)?;
            is_one_document(&server.finish()?, 0)
        });
    }
    for (server_options, options) in REFUSED {
        cells.add(format!("{server_options} {options}"), move || {
            let server = Server::start(&ours(), server_options)?;
            is_one_document(&run_client(&ours(), server.port, &format!("{options} -J"))?, 1)
        });
    }
    for options in INTERRUPTED {
        cells.add(format!("interrupted {options}"), move || {
            let server = Server::start(&ours(), "")?;
            let client = start_client(&ours(), server.port, &format!("-t 20 -b 10M -J {options}"))?;
            server.process.wait_for_stdout("] local", 1, LIMIT)?;
            client.interrupt()?;
            is_one_document(&client.finish(LIMIT)?, 0)
        });
    }
    for options in HOPELESS {
        cells.add(options, move || is_one_document(&run(ours().command(&format!("{options} -t 1 -J")))?, 1));
    }
    cells.run()
}

/// Exit status, nothing on standard error, one object with no key twice, and an error if there was one.
fn is_one_document(run: &Finished, code: i32) -> Checked {
    ensure!(run.code == Some(code), "exit status instead of {code}\n{run}");
    ensure!(run.stderr.is_empty(), "something on standard error\n{run}");
    serde_json::from_str::<Unique>(&run.stdout)
        .map_err(|error| Failure(format!("not one document: {error}\n{run}")))?;
    let document = run.document()?;
    ensure!(document.0.is_object(), "no object\n{run}");
    ensure!(code == 0 || document.text("/error").is_ok(), "no error\n{run}");
    Ok(())
}

/// Any JSON in which no object has a key twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without double keys")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while elements.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, _)) = members.next_entry::<String, Self>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("{key} is there twice")));
            }
        }
        Ok(self)
    }
}

#[test]
fn double_keys_are_noticed() {
    assert!(serde_json::from_str::<Unique>(r#"{"a":[{"b":1},{"b":-2.5}],"c":null}"#).is_ok());
    assert!(serde_json::from_str::<Unique>(r#"{"a":[{"b":true,"b":"x"}]}"#).is_err());
}

/// A full disk and a reader that has gone are told in one line; the test itself runs to its end.
#[test]
fn a_report_that_cannot_be_written_is_a_failure() -> Checked {
    for format in ["", "-J", "--json-stream"] {
        let server = Server::start(&ours(), "-1")?;
        let full = OpenOptions::new().write(true).open("/dev/full")?;
        let client = with_output(&format!("-c 127.0.0.1 -p {} -t 0.3 {format}", server.port), full.into())?;
        let client = client.finish(LIMIT)?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("unable to write the report: No space left on device"), "unclear\n{client}");
        server.finish()?.succeeded()?;
    }
    for format in ["", "-J", "--json-stream"] {
        let server = Server::start(&ours(), "-1")?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
        drop(reader);
        let client = with_output(&format!("-c 127.0.0.1 -p {} -t 0.3 {format}", server.port), writer.into())?;
        let client = client.finish(LIMIT)?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("unable to write the report: Broken pipe"), "unclear\n{client}");
        server.finish()?.succeeded()?;
    }
    Ok(())
}

/// Complaints go into the same full pipe as the report, so not even the last one can be written.
#[test]
fn a_process_none_of_whose_outputs_is_read_obeys_signals() -> Checked {
    let port = pick();
    let start = |options: &str, output: File| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(ours().path).args(options.split_whitespace());
        command.stdout(output);
        Process::spawn_with_output(command)
    };
    let (_unread, mut writer) = small_pipe()?;
    writer.write_all(&[b'\n'; SMALL_PIPE as usize])?;
    let server = start(&format!("-s -p {port}"), writer.try_clone()?)?;
    wait_until(LIMIT, || is_listening(port))?;
    let other = Server::start(&ours(), "")?;
    let began = Instant::now();
    let client = start(&format!("-c 127.0.0.1 -p {} -t 0.1", other.port), writer)?;
    // The client's test is over when the next one is served.
    wait_until(LIMIT, || {
        let next = run_client(&ours(), other.port, "-n 1K");
        next.is_ok_and(|next| next.code == Some(0)) && began.elapsed() > Duration::from_secs(1)
    })?;
    ends_though_unread(client)?;
    ends_though_unread(server)?;
    Ok(())
}

/// Reports of so many streams fill a pipe that nobody reads. The test runs to its end, and signals end both
/// ends: a client at once, since its run is over, a server within seconds.
#[test]
fn a_report_that_nobody_reads_holds_up_no_signal() -> Checked {
    let port = pick();
    let (_unread, writer) = small_pipe()?;
    let server = with_output(&format!("-s -p {port} -i 0.1"), writer.into())?;
    wait_until(LIMIT, || is_listening(port))?;
    let (_unread_too, writer) = small_pipe()?;
    let began = Instant::now();
    let options = "-t 1 -b 100K -l 1K -P 64 -i 0.1 --get-server-output";
    let stuck = with_output(&format!("-c 127.0.0.1 -p {port} {options}"), writer.into())?;
    // The same server has time for the next client, so the first one's test is over.
    wait_until(LIMIT, || {
        let next = run_client(&ours(), port, "-n 1K");
        next.is_ok_and(|next| next.code == Some(0)) && began.elapsed() > Duration::from_secs(1)
    })?;
    ends_though_unread(stuck)?;
    let server = ends_though_unread(server)?;
    let line = server.failed_with_one_line()?;
    ensure!(line.contains("unable to write the report: nobody reads it"), "unclear\n{server}");
    Ok(())
}

/// A server says where it listens before it takes anybody; not being heard must not make it deaf.
#[test]
fn a_first_line_that_nobody_reads_holds_up_no_signal() -> Checked {
    let port = pick();
    let (_unread, mut writer) = small_pipe()?;
    writer.write_all(&[b'\n'; SMALL_PIPE as usize])?;
    let server = with_output(&format!("-s -p {port}"), writer.into())?;
    wait_until(LIMIT, || is_listening(port))?;
    ends_though_unread(server)?;
    Ok(())
}

/// Clients that want nothing but to be reported, with all the text that they may have. What has no room while
/// nobody reads is told once somebody does.
#[test]
fn a_report_that_nobody_reads_has_a_limit_in_memory() -> Checked {
    /// Several times what may wait to be written.
    const CLIENTS: u32 = 2500;
    /// What may wait is 4 MiB.
    const GROWTH_KIB: u64 = 10 * 1024;
    let mut cells = Cells::default();
    for options in ["", "-J", "--json-stream", "--max-tests 2 --json-stream"] {
        cells.add(options, move || {
            let port = pick();
            let (mut unread, writer) = small_pipe()?;
            let server = with_output(&format!("-s -p {port} {options}"), writer.into())?;
            wait_until(LIMIT, || is_listening(port))?;
            run_client(&ours(), port, "-n 1K")?.succeeded()?;
            let before = Holdings::of(&server)?.memory_kib;
            let parameters = format!(r#"{{"tcp":true,"time":1,"title":"{}"}}"#, "t".repeat(7000));
            for number in 0..CLIENTS {
                // Of one source a server soon reports no more.
                let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
                let request = Request { source: Some(source), ..Request::from(parameters.as_str()) };
                let mut client = HonestClient::reach(port, request, ClientPoint::Asked)?;
                client.control.0.shutdown(Shutdown::Write)?;
                client.control.wait_for_close()?;
            }
            let grown = Holdings::of(&server)?.memory_kib.saturating_sub(before);
            ensure!(grown < GROWTH_KIB, "{grown} KiB more for a report that nobody reads");
            let reader = thread::spawn(move || {
                let mut report = String::new();
                unread.read_to_string(&mut report).map(|_| report)
            });
            // What is reported once somebody reads again tells of what was not.
            wait_until(LIMIT, || {
                let next = run_client(&ours(), port, "-n 1K");
                next.is_ok_and(|next| next.code == Some(0))
            })?;
            server.terminate()?;
            let server = server.finish(LIMIT)?;
            let report = reader.join().expect("it only reads")?;
            let told = if options.is_empty() { &server.stderr } else { &report };
            ensure!(told.contains("had no room and were left out"), "not told\n{server}");
            Ok(())
        });
    }
    cells.run()
}

/// Tells a process to end and waits for it.
fn ends_though_unread(process: Process) -> Checked<Finished> {
    let since = Instant::now();
    process.terminate()?;
    let finished = process.finish(LIMIT)?;
    finished.ended_within(since, UNREAD)?;
    Ok(finished)
}

/// A pipe that is full before a report of more than a few lines is written.
fn small_pipe() -> Checked<(File, File)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(SMALL_PIPE)).map_err(std::io::Error::from)?;
    Ok((reader.into(), writer.into()))
}

/// Starts a ringperf with this standard output, of which the process itself sees nothing.
fn with_output(options: &str, output: Stdio) -> Checked<Process> {
    let mut command: Command = ours().command(options);
    command.stdout(output);
    Process::spawn_with_output(command)
}
