//! A password typed at a terminal, which script(1) plays.

use std::io::Write;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use crate::harness::login::{Login, PASSWORD, start_server};
use crate::harness::{Checked, Process, ensure, ours};

const LIMIT: Duration = Duration::from_secs(10);

/// A shell on a terminal of its own, which runs a client that has to ask, and then something else.
fn start_client(port: u16, afterwards: &str) -> Checked<(Process, ChildStdin)> {
    let client = Login::RIGHT.command(&ours(), port, "")?;
    let words = std::iter::once(client.get_program()).chain(client.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let line = format!("trap : INT; {}; {afterwards}", line.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_remove("IPERF3_PASSWORD");
    let (process, input) = Process::spawn_with_input(script)?;
    process.wait_for_stdout("Password: ", 1, LIMIT)?;
    Ok((process, input))
}

#[test]
fn a_typed_password_is_good_and_not_shown() -> Checked {
    let server = start_server(&ours(), "-1")?;
    let (client, mut input) = start_client(server.port, "stty -a")?;
    writeln!(input, "{PASSWORD}")?;
    client.wait_for_stdout("iperf Done.", 1, LIMIT)?;
    let client = client.finish(LIMIT)?;
    ensure!(!client.stdout.contains(PASSWORD), "the password is shown\n{client}");
    ensure!(client.stdout.contains(" echo "), "the terminal stays silent\n{client}");
    server.finish()?.succeeded()
}

#[test]
fn an_interrupted_prompt_leaves_the_terminal_as_it_was() -> Checked {
    let server = start_server(&ours(), "")?;
    let (client, mut input) = start_client(server.port, "echo status $?; stty -a")?;
    input.write_all(b"\x03")?;
    let client = client.finish(LIMIT)?;
    ensure!(client.stdout.contains("status 130"), "not ended by the signal\n{client}");
    ensure!(client.stdout.contains(" echo "), "the terminal stays silent\n{client}");
    Ok(())
}
