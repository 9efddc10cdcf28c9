//! `--logfile`, with the real program.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{
    Checked, Document, Failure, Folder, Server, ensure, is_listening, ours, pick, run, run_client,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_client_adds_its_report_and_its_error_to_the_file() -> Checked {
    let folder = Folder::new()?;
    let log = folder.file("log");
    fs::write(&log, "before\n")?;
    let server = Server::start(&ours(), "-1")?;
    let client = run_client(&ours(), server.port, &format!("-n 1M --logfile {}", log.display()))?;
    client.succeeded()?;
    let failed = run(ours().command(&format!("-c 127.0.0.1 -p {} --logfile {}", pick(), log.display())))?;
    ensure!(failed.code == Some(1), "{failed}");
    for run in [&client, &failed] {
        ensure!(run.stdout.is_empty() && run.stderr.is_empty(), "something beside the log file\n{run}");
    }
    let text = fs::read_to_string(&log)?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines.first() == Some(&"before") && text.contains("iperf Done."), "{text}");
    let last = lines.last().copied().unwrap_or_default();
    ensure!(last.starts_with("ringperf: error - unable to connect to server"), "{text}");
    Ok(())
}

#[test]
fn documents_and_their_errors_go_to_the_file() -> Checked {
    let folder = Folder::new()?;
    let log = folder.file("log");
    let failed = run(ours().command(&format!("-J -c 127.0.0.1 -p {} --logfile {}", pick(), log.display())))?;
    ensure!(failed.code == Some(1) && failed.stdout.is_empty() && failed.stderr.is_empty(), "{failed}");
    let document = Document::parse(&fs::read_to_string(&log)?)?;
    ensure!(document.text("/error")?.starts_with("unable to connect to server"), "{failed}");
    Ok(())
}

#[test]
fn a_log_file_that_cannot_be_written_is_told_in_one_line() -> Checked {
    let server = Server::start(&ours(), "")?;
    let to_server = format!("-c 127.0.0.1 -p {} -n 1M", server.port);
    let as_server = format!("-s -p {}", pick());
    for role in [&to_server, &as_server] {
        for format in ["", "-J", "--json-stream"] {
            let failed = run(ours().command(&format!("{role} {format} --logfile /no/such/log")))?;
            let line = failed.failed_with_one_line()?;
            let expected = "ringperf: error - unable to open log file: No such file or directory";
            ensure!(line.starts_with(expected) && failed.stdout.is_empty(), "{failed}");
        }
        let failed = run(ours().command(&format!("{role} --logfile /dev/full")))?;
        let line = failed.failed_with_one_line()?;
        let expected = "unable to write the report to /dev/full: No space left on device";
        ensure!(line.contains(expected) && failed.stdout.is_empty(), "{failed}");
    }
    Ok(())
}

/// A pipe is written to while somebody reads it, and nobody waits for a reader.
#[test]
fn a_pipe_as_log_file_needs_its_reader() -> Checked {
    let folder = Folder::new()?;
    let pipe = folder.file("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).map_err(|error| Failure(error.to_string()))?;
    let server = Server::start(&ours(), "")?;
    let to_server = format!("-c 127.0.0.1 -p {} -n 1M --logfile {}", server.port, pipe.display());
    let as_server = format!("-s -p {} --logfile {}", pick(), pipe.display());
    for role in [&to_server, &as_server] {
        let failed = run(ours().command(role))?;
        let line = failed.failed_with_one_line()?;
        ensure!(line.contains("unable to open log file: it is a pipe that nobody reads"), "{failed}");
        ensure!(failed.elapsed < Duration::from_secs(4), "it took {:?}", failed.elapsed);
    }
    let folder = run(ours().command(&format!("-s -p {} --logfile /tmp", pick())))?;
    ensure!(folder.failed_with_one_line()?.contains("Is a directory"), "{folder}");
    // Reading and writing, it waits for nobody either.
    let mut reader = OpenOptions::new().read(true).write(true).open(&pipe)?;
    run(ours().command(&to_server))?.succeeded()?;
    let mut text = vec![0; 10_000];
    let bytes = reader.read(&mut text)?;
    let text = String::from_utf8_lossy(&text[..bytes]);
    ensure!(text.starts_with("Connecting to host"), "{text}");
    Ok(())
}

/// A client that writes while it runs is seen by somebody who follows the file.
#[test]
fn a_server_writes_each_row_at_once_and_finds_the_file_by_its_name_for_each_test() -> Checked {
    let folder = Folder::new()?;
    let (log, rotated) = (folder.file("log"), folder.file("log.1"));
    let server = Server::start(&ours(), &format!("--logfile {}", log.display()))?;
    server.process.runs_until(LIMIT, || contains(&log, "Server listening on"))?;
    run_client(&ours(), server.port, "-n 1M -T first")?.succeeded()?;
    server.process.runs_until(LIMIT, || contains(&log, "(test #2)"))?;
    fs::rename(&log, &rotated)?;
    run_client(&ours(), server.port, "-n 1M -T second")?.succeeded()?;
    server.process.runs_until(LIMIT, || contains(&log, "(test #3)"))?;
    ensure!(
        fs::read_to_string(&rotated)?.matches("Accepted connection").count() == 1,
        "the old file has grown"
    );
    ensure!(
        fs::read_to_string(&log)?.matches("Accepted connection").count() == 1,
        "the new file lacks a test"
    );
    server.process.terminate()?;
    let ended = server.finish()?;
    ended.succeeded()?;
    ensure!(ended.stdout.is_empty() && ended.stderr.is_empty(), "something beside the log file\n{ended}");
    let text = fs::read_to_string(&log)?;
    ensure!(text.ends_with("interrupt - the server has terminated by signal Terminated(15)\n"), "{text}");
    Ok(())
}

#[test]
fn a_server_that_runs_out_of_disk_serves_on_and_says_so_once() -> Checked {
    let folder = Folder::new()?;
    let (log, good) = (folder.file("log"), folder.file("good"));
    let points_to = |target: &Path| -> Checked {
        let next = folder.file("next");
        symlink(target, &next)?;
        Ok(fs::rename(&next, &log)?)
    };
    points_to(&good)?;
    let server = Server::start(&ours(), &format!("--logfile {}", log.display()))?;
    server.process.runs_until(LIMIT, || contains(&good, "(test #1)"))?;
    points_to(Path::new("/dev/full"))?;
    run_client(&ours(), server.port, "-n 1M")?.succeeded()?;
    // What a server sends of its report, it has written as far as it can.
    run_client(&ours(), server.port, "-n 1M --get-server-output")?.succeeded()?;
    points_to(&good)?;
    run_client(&ours(), server.port, "-n 1M")?.succeeded()?;
    server.process.runs_until(LIMIT, || contains(&good, "(test #4)"))?;
    ensure!(is_listening(server.port), "it does not listen any more");
    server.process.interrupt()?;
    let ended = server.finish()?;
    ended.succeeded()?;
    let expected = format!(
        "ringperf: error - unable to write the report to {}: No space left on device\n",
        log.display()
    );
    ensure!(ended.stderr == expected, "{ended}");
    let text = fs::read_to_string(&good)?;
    ensure!(text.matches("Accepted connection").count() == 1, "{text}");
    Ok(())
}

fn contains(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).unwrap_or_default().contains(text)
}
