//! What lies between two ends, and how much of the machine they have: a path that is cut or swallows one
//! connection, that is slow or takes its time; very many tests at once, and nothing to do at all.
//!
//! [`cut`], [`other_source`], [`silent`], [`slow`] and [`small`] are cables between network namespaces,
//! [`delayed`] has a relay of TCP connections in this process, [`unfinished`] a bridge that breaks down.
//! [`held_open`] are clients that have everything and do not leave, [`busy`] is how much of the machine it
//! takes.

mod busy;
mod cut;
mod delayed;
mod held_open;
mod other_source;
mod relay;
mod silent;
mod slow;
mod small;
mod unfinished;

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Checked, Failure, Finished, Server, ensure, ours, run_client, wait_until};

/// Far longer than anything here takes; reached only when something hangs.
const LIMIT: Duration = Duration::from_secs(40);

/// Prints a figure that a test has measured.
#[expect(clippy::print_stdout, reason = "it belongs to the output of the test that calls this")]
fn show(figure: &str) {
    println!("{figure}");
}

/// How long after `since` a server takes a client on loopback, which is at most `limit`.
fn served_after(since: Instant, limit: Duration, port: u16) -> Checked<Duration> {
    loop {
        let next = run_client(&ours(), port, "-n 1K")?;
        if next.code == Some(0) {
            return Ok(since.elapsed());
        }
        ensure!(since.elapsed() < limit, "the next client is not served after {limit:?}\n{next}");
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// The server says what went wrong, and what it has measured. It may serve others long before it gives up an
/// exchange of results.
fn says_what_it_knows(server: &Server) -> Checked {
    let says = |words| server.process.so_far().contains(words);
    wait_until(LIMIT, || says("ringperf: error") && says("- - -"))
        .map_err(|_| Failure(format!("no error or no summary\n{}", server.process.so_far())))
}

/// A client whose server was lost says so and shows what it has measured, as text or as a document.
fn tells_what_it_knows(client: &Finished) -> Checked {
    ensure!(client.code == Some(1), "exit status {:?} instead of 1\n{client}", client.code);
    if client.stdout.starts_with('{') {
        let (document, _) = client.failed_in_document()?;
        ensure!(!document.list("/intervals")?.is_empty(), "no interval\n{client}");
        ensure!(!document.list("/end/streams")?.is_empty(), "no end of a stream\n{client}");
        return Ok(());
    }
    let errors = client.stderr.lines().filter(|line| line.starts_with("ringperf: error")).count();
    ensure!(errors == 1, "not one error\n{client}");
    ensure!(client.stdout.contains("- - -"), "no summary\n{client}");
    Ok(())
}
