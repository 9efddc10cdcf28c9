//! io_uring_enter fails at the n-th call of a thread, as it does when a signal comes, when memory is short,
//! and when completions are not taken: the call is made again, and no byte is lost or counted twice.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Cells, Checked, Failure, Process, ensure, is_listening, ours, pick, wait_until};

/// Far longer than a test lasts that does not wait for what was lost.
const LIMIT: Duration = Duration::from_secs(8);
const MEBIBYTE: u64 = 1024 * 1024;

#[test]
fn a_call_that_fails_is_made_again() -> Checked {
    sweep(&["1", "2", "3", "4", "6", "9", "14", "3+5"])
}

/// Each of the first calls, of which a short test has no more in any thread.
#[test]
#[ignore = "takes minutes"]
fn soak_every_call_fails_once() -> Checked {
    let numbers: Vec<String> = (1..=60).map(|number| number.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).chain(["1+5", "2+5", "5+5", "2+2"]).collect();
    sweep(&numbers)
}

fn sweep(numbers: &[&str]) -> Checked {
    let mut cells = Cells::default();
    for error in ["EINTR", "EAGAIN", "EBUSY"] {
        for number in numbers {
            let inject = format!("io_uring_enter:error={error}:when={number}");
            cells.add(inject.clone(), move || both_ends(&inject));
        }
    }
    cells.run()
}

/// Both ends of a counted test have their calls fail.
fn both_ends(inject: &str) -> Checked {
    let port = pick();
    let server = Process::spawn(injected(inject, &format!("-s -1 -J -p {port}")))?;
    wait_until(LIMIT, || is_listening(port))?;
    let client = Process::spawn(injected(inject, &format!("-c 127.0.0.1 -p {port} -n 2M -J --bidir")))?;
    let client = client.finish(LIMIT)?;
    let server = server.finish(LIMIT)?;
    ensure!(client.code == Some(0) && server.code == Some(0), "not both exit 0\n{client}\n{server}");
    let document = client.document()?;
    for totals in [document.totals()?, document.totals_back()?] {
        let exact = totals.sent == 2 * MEBIBYTE && totals.received == totals.sent;
        ensure!(exact, "{totals:?} instead of 2 MiB\n{client}\n{server}");
    }
    document.adds_up().map_err(|Failure(why)| Failure(format!("{why}\n{client}")))
}

/// ringperf below strace, which lets calls fail without making them. It looks at no other calls.
fn injected(inject: &str, options: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace=io_uring_enter"]);
    command.arg("-e").arg(format!("inject={inject}")).arg(ours().path);
    command.args(options.split_whitespace()).env("LC_ALL", "C");
    command
}
