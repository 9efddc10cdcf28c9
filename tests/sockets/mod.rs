//! What an end does on its own machine and to its sockets: marks, devices and processors, transports,
//! timeouts, windows, a server's limits, files, addresses. Seen from outside: in the kernel's tables, and by
//! real iperf3.

mod addresses;
mod busy_poll;
mod files;
mod gathering;
mod limits;
mod places;
mod processors;
mod timeouts;
mod transports;
mod windows;

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Checked, Failure, Process, Program, Server, ensure, run, start_client};

/// Far longer than anything here takes; reached only when something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The sockets of tests with a server on `port`, a line each: of both ends if they are on this machine.
fn sockets(port: u16) -> Checked<Vec<String>> {
    let mut command = Command::new("ss");
    command.args(["-HtunioO", "--tos", &format!("( sport = :{port} or dport = :{port} )")]);
    let shown = run(command)?;
    shown.succeeded()?;
    let is_connected = |line: &&str| line.contains("ESTAB");
    Ok(shown.stdout.lines().filter(is_connected).map(str::to_owned).collect())
}

/// How many of the sockets have this in their lines.
fn count(sockets: &[String], text: &str) -> usize {
    sockets.iter().filter(|line| line.contains(text)).count()
}

/// Runs a slow test until its sockets look as they should, and ends it.
fn shows(
    server: (&Program, &str),
    client: (&Program, &str),
    are_right: impl Fn(&[String]) -> bool,
) -> Checked {
    let server = Server::start(server.0, server.1)?;
    let client = start_client(client.0, server.port, &format!("-t 20 -b 1M -l 1K {}", client.1))?;
    let look = || sockets(server.port).unwrap_or_else(|failure| vec![format!("{failure:?}")]);
    let running = client.runs_until(LIMIT, || are_right(&look()));
    let seen = look().join("\n");
    ensure!(matches!(running, Ok(true)), "{running:?}\n{}\n{seen}", client.so_far());
    client.interrupt()
}

/// Which processors a thread of that name may run on.
fn processors(process: &Process, thread: &str) -> Checked<String> {
    for task in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == thread {
            let status = fs::read_to_string(task.join("status"))?;
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            return list.map(|list| list.trim().to_owned()).ok_or(Failure(status));
        }
    }
    Err(Failure(format!("there is no thread {thread}")))
}
