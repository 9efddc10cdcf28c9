//! Servers, clients, and one of each.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Checked, Failure, Finished, Process, Program, ensure, pick};

use super::ports;

/// Far longer than any test here lasts; reached only when something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that listens.
pub struct Server {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Process,
}

impl Server {
    /// Starts `program` as a server with `options` and waits until it listens on a port of its own.
    pub fn start(program: &Program, options: &str) -> Checked<Self> {
        for _ in 0..5 {
            let port = pick();
            let process = Process::spawn(program.command(&format!("-s -p {port} {options}")))?;
            if process.runs_until(LIMIT, || ports::is_listening(port))? {
                return Ok(Self { port, process });
            }
            let output = process.so_far();
            ensure!(output.contains("in use"), "the server left at once\n{output}");
        }
        Err(Failure("five ports in a row were taken by somebody else".to_owned()))
    }

    /// Waits until the server leaves.
    pub fn finish(self) -> Checked<Finished> {
        self.process.finish(LIMIT)
    }
}

/// What became of a client and its one-off server.
pub struct Pair {
    pub client: Finished,
    pub server: Finished,
}

/// Runs a one-off server and a client against it; both must end with status 0.
pub fn run_pair(server: (&Program, &str), client: (&Program, &str)) -> Checked<Pair> {
    let (server_program, server_options) = server;
    let (client_program, client_options) = client;
    let server = Server::start(server_program, &format!("-1 {server_options}"))?;
    let client = match run_client(client_program, server.port, client_options) {
        Ok(client) => client,
        Err(Failure(why)) => return Err(Failure(format!("{why}\n{}", server.process.so_far()))),
    };
    let server = server.finish()?;
    ensure!(client.code == Some(0) && server.code == Some(0), "not both exit 0\n{client}\n{server}");
    Ok(Pair { client, server })
}

/// Runs a client to its end.
pub fn run_client(program: &Program, port: u16, options: &str) -> Checked<Finished> {
    start_client(program, port, options)?.finish(LIMIT)
}

/// Starts a client; it connects to the loopback address of the family that `options` ask for.
pub fn start_client(program: &Program, port: u16, options: &str) -> Checked<Process> {
    let host = if options.split_whitespace().any(|option| option == "-6") { "::1" } else { "127.0.0.1" };
    Process::spawn(program.command(&format!("-c {host} -p {port} {options}")))
}

/// Runs a command to its end.
pub fn run(command: Command) -> Checked<Finished> {
    Process::spawn(command)?.finish(LIMIT)
}
