//! What only many clients show: that nothing is left of any of them, and that none holds up the next.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::peer::wire::Wire;
use crate::harness::{Checked, Failure, ensure, ours, run_client, shared, start_client};

use super::catalogue::Tormented;
use crate::harness::figures::{Figures, number_from};
use crate::harness::peer::random::Random;
use crate::harness::peer::served::is_served;

/// One of so many clients is killed.
const KILLED: usize = 20;
/// Latest moment at which a client is killed, in microseconds after its start: most are over by then.
const LATEST_KILL: usize = 120_000;
/// Tests after which a server has seen everything once.
const WARM_UP: u64 = 40;
/// More than memory of a server may differ from one look to the next, whatever has happened in between.
const GROWTH_KIB: u64 = 1024;
/// Good clients while others hold half-open connections.
const GOOD: u64 = 50;
/// Descriptors that this process needs besides those of the half-open connections.
const OTHER_FILES: u64 = 512;

/// What the short tests are, in turn.
const TESTS: [&str; 8] = [
    "-n 1K",
    "-t 0.1 -b 10M",
    "-n 1K -R",
    "-t 0.1 -b 10M -P 4 --bidir",
    "-u -b 0 -n 14600",
    "-u -t 0.1 -b 1M -R",
    "-n 100K -P 8 -J",
    "-u -t 0.1 -b 1M --bidir --get-server-output",
];

#[test]
fn a_server_outlives_short_tests_and_killed_clients() -> Checked {
    short_tests(80)
}

#[test]
#[ignore = "takes a quarter of an hour: `make soak`"]
fn soak_a_server_outlives_short_tests_and_killed_clients() -> Checked {
    short_tests(number_from("SOAK_TESTS", 10_000))
}

#[test]
fn half_open_connections_hold_up_nobody() -> Checked {
    half_open(100, 5)
}

#[test]
#[ignore = "wants 1,000 descriptors: `make soak`"]
fn soak_half_open_connections_hold_up_nobody() -> Checked {
    half_open(number_from("SOAK_HALF_OPEN", 1_000), GOOD)
}

/// So many tests on one server, some of whose clients are killed with SIGKILL at some moment. All others
/// succeed, and after each kill the next client is served within a second.
fn short_tests(count: u64) -> Checked {
    let _permit = shared();
    let figures = Figures::new("short tests on one server", count);
    let tormented = Tormented::start()?;
    let mut random = Random::seeded(number_from("SOAK_SEED", 1));
    let mut before = tormented.before;
    for number in 0..WARM_UP + count {
        if number == WARM_UP {
            before = tormented.at_rest()?;
        }
        let options = TESTS[usize::try_from(number).map_or(0, |number| number % TESTS.len())];
        if random.below(KILLED) == 0 {
            let client = start_client(&ours(), tormented.server.port, options)?;
            let micros = u64::try_from(random.below(LATEST_KILL)).expect("it is small");
            thread::park_timeout(Duration::from_micros(micros));
            // SIGKILL.
            drop(client);
            let served = is_served(tormented.server.port);
            let served = served.map_err(|Failure(why)| {
                Failure(format!("{why}: test {number}, {options}, killed after {micros} us"))
            })?;
            figures.note(served);
        } else {
            let client = run_client(&ours(), tormented.server.port, options)?;
            client.succeeded().map_err(|Failure(why)| Failure(format!("test {number}: {why}")))?;
            figures.note(Duration::ZERO);
        }
    }
    let after = tormented.at_rest()?;
    figures.note_memory(&before, &after);
    figures.print();
    ensure!(after.memory_kib <= before.memory_kib + GROWTH_KIB, "{before:?} became {after:?}");
    tormented.finish()
}

/// So many connections that say nothing, or half a cookie, are held while good clients come.
fn half_open(count: u64, good: u64) -> Checked {
    let _permit = shared();
    allow_files(count + OTHER_FILES)?;
    let figures = Figures::new("half-open connections; good clients meanwhile", count);
    let tormented = Tormented::start()?;
    let mut held = Vec::new();
    for number in 0..count {
        let mut wire = Wire::connect(tormented.server.port)?;
        wire.send_anyhow(&vec![b'x'; usize::try_from(number % 37).expect("it is small")]);
        held.push(wire);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..good {
        let began = Instant::now();
        figures.note(is_served(tormented.server.port)?);
        slowest = slowest.max(began.elapsed());
    }
    ensure!(slowest < Duration::from_secs(2), "a whole test took {slowest:?}");
    figures.note_memory(&tormented.before, &tormented.at_most(count)?);
    figures.print();
    // They are still there, as far as the server keeps them, or were ended by it without a word.
    held.iter_mut().try_for_each(|wire| -> Checked {
        wire.0.set_read_timeout(Some(Duration::from_millis(1)))?;
        let said = wire.0.read(&mut [0; 1]).is_ok_and(|count| count > 0);
        ensure!(!said, "a stranger was answered");
        Ok(())
    })?;
    drop(held);
    tormented.finish()
}

/// Lets this process have so many descriptors, if it may.
fn allow_files(count: u64) -> Checked {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)?;
    ensure!(count <= hard, "this takes {count} descriptors, and {hard} are allowed");
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard).map_err(std::io::Error::from)?;
    }
    Ok(())
}
