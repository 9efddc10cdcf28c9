//! Name servers that do not answer.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Checked, Folder, Process, ensure, ours};

/// What a client may need besides the time that it is given.
const MARGIN: Duration = Duration::from_secs(3);

/// The system's resolver waits for many seconds, and nobody can end its call. The client's own deadline and
/// signals count all the same.
#[test]
fn a_silent_name_server_holds_nobody() -> Checked {
    // Some address of the loopback device that no other test has.
    let silent = UdpSocket::bind("127.53.53.53:53")?;
    let folder = Folder::new()?;
    let file = folder.file("resolv.conf");
    fs::write(&file, format!("nameserver {}\n", silent.local_addr()?.ip()))?;
    let look_up = |options: &str| -> Checked<Process> {
        // A mount namespace of its own gives the client this file and leaves the machine its own.
        let script = format!(
            "mount --bind {} /etc/resolv.conf && exec {} -c no.such.host.example {options}",
            file.display(),
            ours().path.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        Process::spawn(command)
    };
    let client = look_up("--connect-timeout 500")?.finish(Duration::from_secs(20))?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("unable to find an address of no.such.host.example"), "unclear\n{client}");
    ensure!(client.elapsed < Duration::from_millis(500) + MARGIN, "it took too long\n{client}");

    // The first client may have asked more than once.
    silent.set_nonblocking(true)?;
    while silent.recv(&mut [0; 512]).is_ok() {}
    silent.set_nonblocking(false)?;
    let client = look_up("")?;
    // Its question is the sign that it waits.
    silent.set_read_timeout(Some(Duration::from_secs(10)))?;
    while !silent.recv(&mut [0; 512]).is_ok_and(|_| is_asked_by(&client)) {}
    client.interrupt()?;
    let since = Instant::now();
    let client = client.finish(Duration::from_secs(20))?;
    client.ended_within(since, MARGIN)?;
    ensure!(client.stderr.contains("terminated by signal Interrupt"), "not interrupted\n{client}");
    Ok(())
}

/// Whether the process has become a ringperf, whose own question this is, and catches signals.
fn is_asked_by(client: &Process) -> bool {
    fs::read_to_string(format!("/proc/{}/comm", client.id())).is_ok_and(|name| name.trim() == "ringperf")
}
