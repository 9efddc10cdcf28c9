//! Pid files and daemons, with the real program.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getsid, mkfifo};

use crate::harness::{
    Checked, Failure, Folder, Process, Server, ensure, ours, pick, run, run_client, start_client, wait_until,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn the_pid_file_of_a_server_is_there_until_a_signal_or_an_error_ends_it() -> Checked {
    let folder = Folder::new()?;
    let path = folder.file("pid");
    for end in [Process::interrupt, Process::terminate] {
        let server = Server::start(&ours(), &format!("-I {}", path.display()))?;
        ensure!(read_pid(&path)? == server.process.pid(), "the file names another process");
        ensure!(fs::metadata(&path)?.mode() & 0o777 == 0o600, "not mode 0600");
        end(&server.process)?;
        server.finish()?.succeeded()?;
        ensure!(!path.exists(), "the pid file has outlived its process");
    }
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let failed = run(ours().command(&format!("-s -B 127.0.0.1 -p {port} -I {}", path.display())))?;
    failed.failed_with_one_line()?;
    ensure!(!path.exists(), "the pid file has outlived its process\n{failed}");
    Ok(())
}

/// Whoever waits for the file may end its process, and connect to it, as soon as it is there.
#[test]
fn a_pid_file_names_a_server_that_listens_and_knows_how_to_end() -> Checked {
    let folder = Folder::new()?;
    for attempt in 0..10 {
        let (path, port) = (folder.file(&format!("pid-{attempt}")), pick());
        let server =
            Process::spawn(ours().command(&format!("-s -B 127.0.0.1 -p {port} -I {}", path.display())))?;
        server.runs_until(LIMIT, || fs::read(&path).is_ok_and(|text| !text.is_empty()))?;
        server.terminate()?;
        server.finish(LIMIT)?.succeeded()?;
        ensure!(!path.exists(), "the pid file has outlived its process");
    }
    Ok(())
}

/// The end of a run is no hole: a signal there leaves no file, and the exit status of other times.
#[test]
fn a_signal_while_a_run_ends_leaves_no_pid_file() -> Checked {
    let folder = Folder::new()?;
    for attempt in 0..10 {
        let path = folder.file(&format!("pid-{attempt}"));
        let server = Server::start(&ours(), &format!("-1 -I {}", path.display()))?;
        run_client(&ours(), server.port, "-n 1K")?.succeeded()?;
        server.process.terminate()?;
        let server = server.finish()?;
        ensure!(server.code == Some(0), "not the status of a run that is over\n{server}");
        ensure!(!path.exists(), "the pid file has outlived its process");
    }
    Ok(())
}

/// What somebody else does to it while the process runs is theirs.
#[test]
fn a_pid_file_that_was_taken_away_or_replaced_is_let_go() -> Checked {
    let folder = Folder::new()?;
    let path = folder.file("pid");
    let others = [None, Some("1"), Some("something else\n")];
    for other in others {
        let server = Server::start(&ours(), &format!("-I {}", path.display()))?;
        fs::remove_file(&path)?;
        if let Some(text) = other {
            fs::write(&path, text)?;
        }
        server.process.terminate()?;
        let server = server.finish()?;
        server.succeeded()?;
        ensure!(server.stderr.lines().count() == 1, "more than the signal is told\n{server}");
        let left = fs::read_to_string(&path).ok();
        ensure!(left.as_deref() == other, "{left:?} is left of {other:?}");
        let _ = fs::remove_file(&path);
    }
    Ok(())
}

#[test]
fn a_client_has_a_pid_file_too() -> Checked {
    let folder = Folder::new()?;
    let path = folder.file("pid");
    let server = Server::start(&ours(), "-1")?;
    let client = start_client(&ours(), server.port, &format!("-t 60 -b 1M -I {}", path.display()))?;
    client.wait_for_stdout("connected to", 1, LIMIT)?;
    ensure!(read_pid(&path)? == client.pid(), "the file names another process");
    client.interrupt()?;
    client.finish(LIMIT)?.succeeded()?;
    ensure!(!path.exists(), "the pid file has outlived its process");
    Ok(())
}

#[test]
fn of_two_servers_with_one_pid_file_only_the_first_starts() -> Checked {
    let folder = Folder::new()?;
    let path = folder.file("pid");
    let first = Server::start(&ours(), &format!("-I {}", path.display()))?;
    let second = run(ours().command(&format!("-s -p {} -I {}", pick(), path.display())))?;
    let line = second.failed_with_one_line()?;
    ensure!(line.contains("Another instance of ringperf appears to be running"), "{second}");
    ensure!(read_pid(&path)? == first.process.pid(), "the file of the first has changed");
    Ok(())
}

#[test]
fn only_a_stale_pid_file_is_written_over() -> Checked {
    let folder = Folder::new()?;
    let (path, link) = (folder.file("pid"), folder.file("link"));
    // More than any kernel gives.
    fs::write(&path, "2147483647")?;
    let server = Server::start(&ours(), &format!("-1 -I {}", path.display()))?;
    ensure!(read_pid(&path)? == server.process.pid(), "a stale file was not written over");
    drop(server);

    fs::write(&path, "precious = yes\n")?;
    symlink(&path, &link)?;
    for (name, expected) in [(&path, "holds something else"), (&link, "is a link")] {
        let refused = run(ours().command(&format!("-s -p {} -I {}", pick(), name.display())))?;
        let line = refused.failed_with_one_line()?;
        ensure!(line.contains(expected), "{refused}");
        ensure!(fs::read_to_string(&path)? == "precious = yes\n", "the file has changed\n{refused}");
    }
    let (pipe, own) = (folder.file("pipe"), folder.file("own"));
    mkfifo(&pipe, Mode::S_IRWXU).map_err(|error| Failure(error.to_string()))?;
    // A process that runs, whatever it is.
    fs::write(&own, std::process::id().to_string())?;
    for (name, expected) in [
        (pipe.as_path(), "it is no regular file"),
        (folder.path(), "Is a directory"),
        (own.as_path(), "appears to be running"),
    ] {
        let refused = run(ours().command(&format!("-s -p {} -I {}", pick(), name.display())))?;
        ensure!(refused.failed_with_one_line()?.contains(expected), "{refused}");
        ensure!(refused.elapsed < Duration::from_secs(4), "it took {:?}\n{refused}", refused.elapsed);
        ensure!(name.exists(), "it is gone\n{refused}");
    }
    let missing = folder.file("no/pid");
    let refused = run(ours().command(&format!("-c 127.0.0.1 -p 1 -I {}", missing.display())))?;
    ensure!(refused.failed_with_one_line()?.contains("No such file or directory"), "{refused}");
    Ok(())
}

#[test]
fn a_daemon_serves_as_soon_as_its_launcher_is_back() -> Checked {
    let folder = Folder::new()?;
    let (path, log) = (folder.file("pid"), folder.file("log"));
    let daemon = Daemon::start(&folder)?;
    ensure!(fs::metadata(&path)?.mode() & 0o777 == 0o600, "not mode 0600");
    ensure!(getsid(Some(daemon.pid)) == Ok(daemon.pid), "it has no session of its own");
    let of_process = |name: &str| fs::read_link(format!("/proc/{}/{name}", daemon.pid));
    ensure!(of_process("cwd")? == folder.path().canonicalize()?, "its working directory is another one");
    for stream in ["fd/0", "fd/1", "fd/2"] {
        ensure!(of_process(stream)? == Path::new("/dev/null"), "{stream} is {:?}", of_process(stream));
    }
    for _ in 0..2 {
        run_client(&ours(), daemon.port, "-n 1M")?.succeeded()?;
    }
    kill(daemon.pid, Signal::SIGTERM).map_err(|error| Failure(error.to_string()))?;
    wait_until(LIMIT, || kill(daemon.pid, None) == Err(Errno::ESRCH))?;
    ensure!(!path.exists(), "the pid file has outlived its process");
    let log = fs::read_to_string(log)?;
    ensure!(log.matches("receiver").count() == 2, "not two reports in the log file\n{log}");
    ensure!(log.contains("interrupt - the server has terminated by signal Terminated(15)"), "{log}");
    Ok(())
}

#[test]
fn a_daemon_that_cannot_start_fails_in_the_foreground() -> Checked {
    let folder = Folder::new()?;
    let path = folder.file("pid");
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken_port = taken.local_addr()?.port();
    let in_use = format!("-s -D -B 127.0.0.1 -p {taken_port} -I {}", path.display());
    let no_folder = format!("-s -D -p {} -I {} --logfile /no/such/log", pick(), path.display());
    let no_space = format!("-s -D -p {} -I {} --logfile /dev/full", pick(), path.display());
    let no_pid_file = format!("-s -D -p {} -I /no/such/pid", pick());
    for (options, expected) in [
        (in_use, "Address already in use"),
        (no_folder, "unable to open log file: No such file or directory"),
        (no_space, "No space left on device"),
        (no_pid_file, "No such file or directory"),
    ] {
        let failed = run(ours().command(&options))?;
        let line = failed.failed_with_one_line()?;
        ensure!(line.contains(expected) && failed.stdout.is_empty(), "{failed}");
        ensure!(!path.exists(), "a pid file without a process\n{failed}");
    }
    let daemon = Daemon::start(&folder)?;
    let second = run(ours().command(&format!("-s -D -p {} -I {}", pick(), path.display())))?;
    ensure!(second.failed_with_one_line()?.contains("Another instance"), "{second}");
    ensure!(read_pid(&path)? == daemon.pid, "the file of the first has changed");
    Ok(())
}

/// A server in the background, with its pid file and log file in a folder. It is killed when this is dropped.
struct Daemon {
    port: u16,
    pid: Pid,
}

impl Daemon {
    fn start(folder: &Folder) -> Checked<Self> {
        let port = pick();
        let mut command = ours().command(&format!("-s -D -p {port} -I pid --logfile log"));
        command.current_dir(folder.path());
        let launcher = run(command)?;
        launcher.succeeded()?;
        ensure!(launcher.stdout.is_empty() && launcher.stderr.is_empty(), "it is not silent\n{launcher}");
        Ok(Self { port, pid: read_pid(&folder.file("pid"))? })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails for one that has ended already, which is fine.
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// A decimal number without a newline.
fn read_pid(path: &Path) -> Checked<Pid> {
    let text = fs::read_to_string(path)?;
    text.parse().map(Pid::from_raw).map_err(|error| Failure(format!("{text:?} is no number: {error}")))
}
