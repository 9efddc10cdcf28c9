//! Messages and ends that take their time: nobody closes a connection on which something is still under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::relay::Relay;
use super::{LIMIT, show};
use crate::harness::figures::number_from;
use crate::harness::peer::client::HonestClient;
use crate::harness::peer::wire::{COOKIE, Wire, state};
use crate::harness::{Checked, Failure, Server, ensure, ours, shared, start_client};

/// Tests at a time, each with a server of its own: they mostly wait.
const WORKERS: u64 = 8;

/// What the tests are, in turn.
const TESTS: [&str; 8] = [
    "-n 1K",
    "-t 0.1 -b 10M",
    "-n 100K -R",
    "-t 0.1 -b 10M -P 4 --bidir",
    "-n 1M -P 3 -J",
    "-t 0.1 -R",
    "-t 0.1 --get-server-output",
    "-k 5 --bidir",
];

#[test]
fn both_ends_read_the_last_message_however_late_it_comes() -> Checked {
    tests(40)
}

#[test]
#[ignore = "takes minutes"]
fn soak_both_ends_read_the_last_message_however_late_it_comes() -> Checked {
    tests(number_from("SOAK_DELAYED", 1_000))
}

/// Which of its connections a client receives from is decided when it makes them.
#[test]
fn streams_are_told_apart_by_their_connections_and_not_by_their_cookies() -> Checked {
    let server = Server::start(&ours(), "")?;
    let parameters = r#"{"tcp":true,"bidirectional":true,"time":1,"parallel":1,"len":1000}"#;
    let mut client = HonestClient::invited(server.port, parameters)?;
    let mut sends = Wire::connect(server.port)?;
    let mut receives = Wire::connect(server.port)?;
    receives.send(COOKIE)?;
    // Its cookie has been read when that of a stranger behind it has.
    let mut stranger = Wire::connect(server.port)?;
    stranger.send(&[b'x'; COOKIE.len()])?;
    stranger.expect_state(state::PARAM_EXCHANGE)?;
    sends.send(COOKIE)?;
    client.start()?;
    receives.0.set_read_timeout(Some(Duration::from_secs(5)))?;
    receives.read::<1000>().map(|_| ())
}

fn tests(count: u64) -> Checked {
    let _permit = shared();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| -> Checked {
                    let server = Server::start(&ours(), "")?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        let options = TESTS[usize::try_from(number).map_or(0, |number| number % TESTS.len())];
                        one(&server, number, options)
                            .map_err(|Failure(why)| Failure(format!("test {number}, {options}: {why}")))?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    show(&format!("D6: {count} tests over delays of up to 50 ms: all ended well, and none by a reset"));
    Ok(())
}

/// One test, and how each end has left the control connection.
fn one(server: &Server, seed: u64, options: &str) -> Checked {
    let relay = Relay::start(server.port, seed)?;
    let client = start_client(&ours(), relay.port, options)?.finish(LIMIT)?;
    client.succeeded()?;
    let [by_client, by_server] = relay.endings(LIMIT)?;
    let output = || format!("{client}\n{}", server.process.so_far());
    ensure!(by_client.last == Some(state::IPERF_DONE), "{by_client:?}, {by_server:?}\n{}", output());
    ensure!(by_server.last == Some(state::DISPLAY_RESULTS), "{by_client:?}, {by_server:?}\n{}", output());
    for ending in [&by_client, &by_server] {
        ensure!(ending.is_closed && ending.is_taken, "{by_client:?}, {by_server:?}\n{}", output());
    }
    ensure!(!output().contains("ringperf: "), "something went wrong\n{}", output());
    Ok(())
}
