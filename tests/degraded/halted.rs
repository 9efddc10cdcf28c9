//! A peer that takes nothing while sends are in flight, and a process that is halted for a while.

use std::time::{Duration, Instant};

use super::serves_within;
use crate::harness::{Account, Checked, Server, alone, ensure, ours, shared, start_client, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
/// A sender's end, with all it has in flight.
const END: Duration = Duration::from_secs(2);

#[test]
fn a_sender_leaves_although_its_peer_takes_nothing() -> Checked {
    for engine in ["uring-zc", "uring", "msg-zc", "splice"] {
        // 16 streams with hundreds of sends of 8 KiB each in flight by reference.
        let _permit = alone();
        let server = Server::start(&ours(), "")?;
        let client =
            start_client(&ours(), server.port, &format!("-t 30 -i 0.1 -P 16 -l 8K --engine {engine}"))?;
        client.wait_for_stdout("[SUM]", 2, LIMIT)?;
        server.process.pause()?;
        // Two intervals in which nothing moved: all buffers are full.
        client.wait_for_stdout("[SUM]", 6, LIMIT)?;
        let since = Instant::now();
        client.terminate()?;
        let client = client.finish(LIMIT)?;
        client.ended_within(since, END)?;
        ensure!(client.code == Some(0) && client.stdout.contains("sender"), "no report\n{client}");
        server.process.resume()?;
        serves_within(&server, END)?;
    }
    Ok(())
}

#[test]
fn a_server_that_sends_is_free_when_its_client_has_died() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    let client = start_client(&ours(), server.port, "-t 30 -R -i 0.1 -P 16 -l 8K --peer-engine uring-zc")?;
    client.wait_for_stdout("[SUM]", 2, LIMIT)?;
    client.pause()?;
    drop(client);
    serves_within(&server, END)
}

#[test]
fn a_process_that_is_halted_goes_on_afterwards() -> Checked {
    for options in ["", "-R", "--bidir", "-u -b 10M -l 1400", "-u -b 10M -l 1400 -R"] {
        for halts_client in [false, true] {
            let _permit = shared();
            let server = Server::start(&ours(), "-1")?;
            let watch =
                start_client(&ours(), server.port, &format!("-t 1.2 -i 0.2 --json-stream {options}"))?;
            watch.wait_for_stdout("interval", 2, LIMIT)?;
            let halted = if halts_client { &watch } else { &server.process };
            halted.pause()?;
            wait_until(LIMIT, {
                let until = Instant::now() + Duration::from_millis(500);
                move || Instant::now() >= until
            })?;
            halted.resume()?;
            let client = watch.finish(LIMIT)?;
            client.succeeded()?;
            ensure!(client.elapsed < Duration::from_secs(6), "took {:?}\n{client}", client.elapsed);
            server.finish()?.succeeded()?;
        }
    }
    Ok(())
}

/// The halt ends the wait in which a receiver listens for the last datagrams.
#[test]
fn datagrams_under_way_at_a_halt_are_counted() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "-1 -J")?;
    let client = start_client(&ours(), server.port, "-u -b 20M -l 1400 -t 1 -J")?;
    for _ in 0..20 {
        server.process.pause()?;
        server.process.resume()?;
        wait_until(LIMIT, {
            let until = Instant::now() + Duration::from_millis(60);
            move || Instant::now() >= until
        })?;
    }
    let client = client.finish(LIMIT)?;
    client.succeeded()?;
    client.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
    server.finish()?.succeeded()
}
