//! Files as the source and the sink of a test.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{
    Cells, Checked, Failure, Finished, Folder, Process, Program, Server, debian, ensure, libiperf, ours,
    run_client, run_pair, shared, start_client, wait_until,
};

use super::LIMIT;

/// Nothing, hardly anything, a part of a block, whole blocks, and more than a socket holds.
const SIZES: [usize; 5] = [0, 1, 300_000, 2 * 128 * 1024, 20_000_001];

#[test]
fn files_arrive_to_the_byte() -> Checked {
    let mut cells = Cells::default();
    for size in SIZES {
        for options in ["", "-Z", "-m", "-b 1G -l 7777", "--skip-rx-copy", "-6 -t 5"] {
            cells.add(format!("{size} bytes, {options}"), move || {
                let (source, sink) = (TestFile::filled(size)?, TestFile::named());
                let pair = run_pair(
                    (&ours(), &format!("-F {sink} -J")),
                    (&ours(), &format!("-F {source} -J {options}")),
                )?;
                same(&source, &sink)?;
                for end in [&pair.client, &pair.server] {
                    let received = end.document()?.totals()?.received;
                    ensure!(u64::try_from(size) == Ok(received), "received {received} of {size}\n{end}");
                }
                let mode = fs::metadata(&sink.0)?.permissions().mode() & 0o777;
                ensure!(mode == 0o600, "the file's mode is {mode:o}");
                // The time that a user sets is a limit, not how long it takes.
                ensure!(pair.client.elapsed.as_secs() < 4, "too slow\n{}", pair.client);
                Ok(())
            });
        }
    }
    cells.run()
}

/// In a folder for everybody another user may place a link to a file of whoever runs ringperf.
#[test]
fn links_that_another_user_has_placed_are_not_followed() -> Checked {
    let (folder, target) = (Folder::new()?, TestFile::filled(1000)?);
    let public = folder.file("public");
    fs::create_dir(&public)?;
    fs::set_permissions(&public, PermissionsExt::from_mode(0o1777))?;
    let link = public.join("link");
    symlink(&target.0, &link)?;
    let name = link.display();
    run_pair((&ours(), ""), (&ours(), &format!("-F {name} -n 1K")))?.client.succeeded()?;
    // Root may give it to somebody else; these tests need root for other things, too.
    lchown(&link, Some(65534), None)?;
    let refused = "a link on the way belongs to another user, in a folder that others may write to";
    let server = Server::start(&ours(), &format!("-F {name} -1"))?;
    run_client(&ours(), server.port, "-n 1K")?.failed_with_one_line()?;
    let server = server.finish()?;
    ensure!(server.stderr.contains(refused), "{server}");
    let server = Server::start(&ours(), "-1")?;
    for options in [format!("-F {name}"), format!("--logfile {name}")] {
        let client = run_client(&ours(), server.port, &format!("-n 1K {options}"))?;
        ensure!(client.failed_with_one_line()?.contains(refused), "{client}");
    }
    ensure!(fs::metadata(&target.0)?.len() == 1000, "the file is changed");
    Ok(())
}

/// A pipe has no size that what was sent could be a share of.
#[test]
fn what_comes_from_a_pipe_has_no_size() -> Checked {
    let send = |options: &str| {
        let server = Server::start(&ours(), "-1")?;
        let command = ours().command(&format!("-c 127.0.0.1 -p {} -F /dev/stdin {options}", server.port));
        let (client, mut input) = Process::spawn_with_input(command)?;
        input.write_all(&[7; 300_000])?;
        drop(input);
        let client = client.finish(LIMIT)?;
        server.finish()?.succeeded()?;
        client.succeeded()?;
        Checked::Ok(client)
    };
    let client = send("")?;
    let line = "        Sent  293 KByte of /dev/stdin\n";
    ensure!(client.stdout.contains(line), "{line:?} is not there\n{client}");
    let document = send("-J")?.document()?;
    for key in ["size", "percent_sent", "percent_received"] {
        let value = document.at(&format!("/end/streams/0/diskfile/{key}"))?;
        ensure!(value.is_null(), "{key} is {value}");
    }
    Ok(())
}

#[test]
fn a_server_sends_its_file() -> Checked {
    let _permit = shared();
    for (server, client) in [(ours(), ours()), (ours(), libiperf()?), (debian()?, ours())] {
        let (source, sink) = (TestFile::filled(300_000)?, TestFile::named());
        fs::write(&sink.0, vec![1; 400_000])?;
        let server_options = format!("-F {source}");
        run_pair((&server, &server_options), (&client, &format!("-R -t 1 -F {sink}")))?;
        same_but_for_libiperf(&client, &source, &sink)?;
    }
    Ok(())
}

#[test]
fn files_go_to_and_come_from_iperf3() -> Checked {
    let _permit = shared();
    for (server, client) in [(ours(), debian()?), (debian()?, ours()), (ours(), libiperf()?)] {
        for size in [300_000, 20_000_001] {
            let (source, sink) = (TestFile::filled(size)?, TestFile::named());
            let (server_options, options) = (format!("-F {sink}"), format!("-F {source}"));
            run_pair((&server, &server_options), (&client, &options))?;
            same_but_for_libiperf(&server, &source, &sink)?;
        }
    }
    Ok(())
}

#[test]
fn each_end_has_its_file_alone() -> Checked {
    let _permit = shared();
    let (source, sink) = (TestFile::filled(300_000)?, TestFile::named());
    run_pair((&ours(), ""), (&ours(), &format!("-F {source}")))?;
    run_pair((&ours(), &format!("-F {sink}")), (&ours(), "-n 1M -l 1K"))?;
    let length = fs::metadata(&sink.0)?.len();
    ensure!(length == 1 << 20, "{length} bytes were written");
    // Several streams each send the file from its beginning.
    run_pair((&ours(), &format!("-F {sink}")), (&ours(), &format!("-F {source} -t 5 -P 3")))?;
    same(&source, &sink)?;
    // What comes back in a bidirectional test must not overwrite what is sent.
    let before = fs::read(&source.0)?;
    run_pair((&ours(), ""), (&ours(), &format!("-F {source} -t 1 --bidir")))?;
    ensure!(fs::read(&source.0)? == before, "the source was overwritten");
    Ok(())
}

#[test]
fn files_that_cannot_be_used() -> Checked {
    let _permit = shared();
    let sink = TestFile::named();
    for client in [ours(), libiperf()?] {
        let server = Server::start(&ours(), &format!("-F {sink}"))?;
        let client = run_client(&client, server.port, "-u -t 1")?;
        told(&client, "SERVER ERROR - cannot transfer file using UDP")?;
    }
    let server = Server::start(&ours(), "")?;
    let client = run_client(&ours(), server.port, "-F /no/such/file -t 1")?;
    ensure!(client.failed_with_one_line()?.contains("unable to open -F file"), "{client}");

    let server = Server::start(&ours(), "-F /no/such/folder/file")?;
    told(&run_client(&ours(), server.port, "-t 1")?, "SERVER ERROR - unable to open -F file")?;
    // A full disk ends the test.
    let server = Server::start(&ours(), "-F /dev/full")?;
    told(&run_client(&ours(), server.port, "-t 5")?, "SERVER ERROR - unable to write to stream socket")?;
    wait_until(LIMIT, || server.process.so_far().contains("No space left"))
}

/// What is no file with an end, and files that change while they are sent.
#[test]
fn folders_devices_and_changing_files() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for options in ["", "-Z", "-R"] {
        let client = run_client(&ours(), server.port, &format!("-F /tmp -t 1 {options}"))?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("unable to open -F file: ") && line.contains("irectory"), "{client}");
    }
    for options in ["-F /dev/zero", "-F /dev/zero -Z", "-F /dev/null -R", "-F /dev/zero -P 2"] {
        let client = run_client(&ours(), server.port, &format!("{options} -t 0.3 -J"))?;
        client.succeeded()?;
        ensure!(client.document()?.totals()?.received > 0, "nothing was received\n{client}");
    }
    for options in ["", "-Z"] {
        let file = TestFile::filled(3_000_000)?;
        let options = format!("-F {file} -b 10M -l 10000 -t 15 -i 0.1 {options}");
        for grows in [true, false] {
            let client = start_client(&ours(), server.port, &format!("{options} --json-stream"))?;
            client.wait_for_stdout("interval", 2, LIMIT)?;
            let changed = fs::OpenOptions::new().append(true).open(&file.0)?;
            if grows {
                (&changed).write_all(&vec![7; 1_000_000])?;
            } else {
                changed.set_len(500)?;
            }
            let client = client.finish(LIMIT)?;
            client.succeeded()?;
            let end = client.stdout.lines().last().unwrap_or_default();
            let end: serde_json::Value =
                serde_json::from_str(end).map_err(|error| Failure(format!("{error}\n{client}")))?;
            let sent = end["data"]["sum_sent"]["bytes"].as_u64().unwrap_or(0);
            let received = end["data"]["sum_received"]["bytes"].as_u64();
            ensure!(received == Some(sent), "sent {sent}, received {received:?}\n{client}");
            let is_right = if grows { sent == 4_000_000 } else { (1..4_000_000).contains(&sent) };
            ensure!(is_right, "{sent} bytes of a file that grows: {grows}\n{client}");
        }
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

/// A pipe waits for somebody at its other end, and a signal ends the waiting.
#[test]
fn a_pipe_that_nobody_opens_holds_no_end() -> Checked {
    const LIMIT: Duration = Duration::from_secs(5);
    let _permit = shared();
    let pipe = TestFile::pipe()?;
    let server = Server::start(&ours(), "")?;
    let client = start_client(&ours(), server.port, &format!("-F {pipe}"))?;
    ensure!(client.runs_until(LIMIT, || is_opening_a_pipe(client.id()))?, "{}", client.so_far());
    client.terminate()?;
    client.finish(LIMIT)?;
    let server = Server::start(&ours(), &format!("-F {pipe}"))?;
    let _client = start_client(&ours(), server.port, "")?;
    let process = server.process;
    ensure!(process.runs_until(LIMIT, || is_opening_a_pipe(process.id()))?, "{}", process.so_far());
    process.terminate()?;
    process.finish(LIMIT)?.succeeded()
}

/// A thread of that process is in the function of the kernel (fs/pipe.c) that waits for the other end.
fn is_opening_a_pipe(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().any(|thread| {
        fs::read_to_string(thread.path().join("wchan")).is_ok_and(|place| place == "wait_for_partner")
    })
}

#[test]
fn a_pipe_takes_what_comes() -> Checked {
    let _permit = shared();
    let pipe = TestFile::pipe()?;
    let path = pipe.0.clone();
    let reader = thread::spawn(move || fs::read(path).map(|bytes| bytes.len()));
    run_pair((&ours(), &format!("-F {pipe}")), (&ours(), "-n 300000 -l 1000"))?;
    let length = reader.join().expect("reading does not panic")?;
    ensure!(length == 300_000, "{length} bytes came through");
    Ok(())
}

fn told(client: &Finished, words: &str) -> Checked {
    ensure!(client.code.is_some_and(|code| code != 0) && client.stderr.contains(words), "{client}");
    Ok(())
}

/// libiperf loses the last block when it is not a whole one.
fn same_but_for_libiperf(receiver: &Program, source: &TestFile, sink: &TestFile) -> Checked {
    if receiver.name != "iperf3-rs" {
        return same(source, sink);
    }
    let (source, sink) = (fs::read(&source.0)?, fs::read(&sink.0)?);
    ensure!(!sink.is_empty() && source.starts_with(&sink), "{} other bytes arrived", sink.len());
    Ok(())
}

fn same(source: &TestFile, sink: &TestFile) -> Checked {
    let (source, sink) = (fs::read(&source.0)?, fs::read(&sink.0)?);
    ensure!(source == sink, "{} bytes became {}", source.len(), sink.len());
    Ok(())
}

/// A file that is removed when this is dropped.
struct TestFile(PathBuf);

impl TestFile {
    /// A name that no file has yet.
    fn named() -> Self {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("ringperf-test-file-{}-{number}", process::id())))
    }

    /// A pipe with a name.
    fn pipe() -> Checked<Self> {
        let pipe = Self::named();
        mkfifo(&pipe.0, Mode::S_IRWXU).map_err(|error| Failure(error.to_string()))?;
        Ok(pipe)
    }

    /// A file of so many bytes, no part of which is like another.
    fn filled(bytes: usize) -> Checked<Self> {
        let file = Self::named();
        let mut state = 1_u64;
        let contents: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(bytes)
        .collect();
        fs::write(&file.0, contents).map_err(|error| Failure(error.to_string()))?;
        Ok(file)
    }
}

impl std::fmt::Display for TestFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Path::display(&self.0).fmt(f)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}
