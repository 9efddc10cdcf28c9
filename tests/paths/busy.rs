//! Very many tests at once, very many descriptors, and nothing to do at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, show};
use crate::harness::restrict::take_files;
use crate::harness::{
    Cells, Checked, Finished, Holdings, Process, Program, Server, alone, busy, ensure, ours, run_pair,
    start_client, wait_until,
};

/// Descriptors that a process has before it begins.
const FILES: u32 = 1_100;
/// Threads that do nothing but use up a processor each.
const BUSY: usize = 2;
/// How long servers are watched that have nothing to do.
const WATCHED: Duration = Duration::from_secs(5);

#[test]
fn no_direction_is_forgotten_among_many_tests() -> Checked {
    many_pairs(16, 1)
}

#[test]
#[ignore = "takes minutes"]
fn soak_no_direction_is_forgotten_among_many_tests() -> Checked {
    (0..5).try_for_each(|_| many_pairs(96, 3))
}

/// So many tests in both directions at once, each with a server of its own, on processors that have enough to
/// do without them.
fn many_pairs(pairs: usize, seconds: u32) -> Checked {
    let _permit = alone();
    let servers: Vec<Server> = (0..pairs).map(|_| Server::start(&ours(), "")).collect::<Checked<_>>()?;
    let over = AtomicBool::new(false);
    let clients = thread::scope(|scope| -> Checked<Vec<Finished>> {
        for _ in 0..BUSY {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let options = format!("-t {seconds} --bidir -J");
        let clients: Checked<Vec<Process>> =
            servers.iter().map(|server| start_client(&ours(), server.port, &options)).collect();
        let finished = clients.and_then(|all| all.into_iter().map(|one| one.finish(LIMIT)).collect());
        over.store(true, Ordering::Relaxed);
        finished
    })?;
    let mut least = u64::MAX;
    for client in &clients {
        client.succeeded()?;
        let document = client.document()?;
        for totals in [document.totals()?, document.totals_back()?] {
            ensure!(totals.received > 0, "a direction without a byte\n{client}");
            least = least.min(totals.received);
        }
    }
    show(&format!(
        "D10: {pairs} pairs of -t {seconds} --bidir: the slowest direction has moved {least} bytes"
    ));
    Ok(())
}

#[test]
fn more_than_a_thousand_descriptors_are_no_obstacle() -> Checked {
    let _permit = alone();
    let crowded = Program { prepare: take_files::<FILES>, ..ours() };
    let held = Holdings::at_rest(&Server::start(&crowded, "")?.process)?;
    ensure!(held.files > FILES as usize, "the descriptors are not there: {held:?}");
    for options in ["-t 1 -P 128 --bidir -J", "-t 1 -P 128 --bidir -J -u -b 1M"] {
        let client = run_pair((&crowded, ""), (&crowded, options))?.client;
        let document = client.document()?;
        let streams = document.list("/end/streams")?.len();
        let (forth, back) = (document.totals()?, document.totals_back()?);
        show(&format!(
            "H3: {} descriptors before the first test, {options}: {forth:?}, {back:?}",
            held.files
        ));
        ensure!(streams == 256 && forth.received > 0 && back.received > 0, "{streams} streams\n{client}");
    }
    Ok(())
}

/// In a part of a thousand of the time at rest, and of a hundred with a client that stands still. What it
/// does there are some looks in a second, so a slower processor is busy for longer: it may be three times.
#[test]
fn a_server_without_work_does_none() -> Checked {
    let _permit = alone();
    let mut cells = Cells::default();
    for (options, thousandths) in [
        (None, 1),
        (Some("-t 60"), 30),
        (Some("-t 60 -R"), 30),
        (Some("-t 60 --bidir"), 30),
        (Some("-t 60 -u -b 10M"), 30),
    ] {
        let name = options.unwrap_or("at rest");
        cells.add(name, move || idles(name, options, thousandths));
    }
    cells.run_at_once()
}

fn idles(name: &str, options: Option<&str>, thousandths: u32) -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = None;
    if let Some(options) = options {
        let started = start_client(&ours(), server.port, options)?;
        // Rows of an interval: in both directions, and their number so far.
        let rows = |intervals| if options.contains("--bidir") { 2 * intervals } else { intervals };
        server.process.wait_for_stdout(" sec ", rows(1), LIMIT)?;
        started.pause()?;
        client = Some(started);
        // Two intervals later all that was under way has arrived.
        server.process.wait_for_stdout(" sec ", rows(4), LIMIT)?;
    }
    let began = Instant::now();
    let before = busy(&server.process)?;
    wait_until(LIMIT, || began.elapsed() >= WATCHED)?;
    let worked = busy(&server.process)?.saturating_sub(before);
    show(&format!("H4: {name}: {worked:.1?} of processor time in {WATCHED:?}"));
    ensure!(worked <= WATCHED * thousandths / 1000, "{worked:?} of processor time in {WATCHED:?}");
    drop(client);
    Ok(())
}
