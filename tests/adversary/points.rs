//! One end dies, stands still or is told to end at each point of a conversation; the other end and the next
//! client do not suffer.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Cells, Checked, Failure, Finished, Server, ensure, ours, start_client};

use super::catalogue::{Tormented, speaks_plainly};
use crate::harness::peer::bridge::{Bridge, POINTS, RUNNING};
use crate::harness::peer::served::is_served;

/// An end whose peer is gone ends or is free this soon.
const NOTICED: Duration = Duration::from_secs(2);
/// An end that is told to end does so this soon, whatever it waits for.
const SIGNALLED: Duration = Duration::from_secs(2);
/// A client that receives over UDP, and whose server is cut off but sends, takes what comes for a second.
const SIGNALLED_DRAINING: Duration = Duration::from_secs(4);
/// An end whose peer stands still gives it up by then ...
const GIVEN_UP: Duration = Duration::from_secs(13);
/// ... and a server whose client stands still while a test runs, which was to end by itself.
const OVERDUE: Duration = Duration::from_secs(18);

/// Ways of a test, in protocol and direction.
const WAYS: [&str; 6] = ["", "-u", "-R", "-u -R", "--bidir", "-u --bidir"];

/// In an ordinary run each point has one way, in turn, and each way two points or three; else all have all.
fn cells(all: bool) -> impl Iterator<Item = (usize, &'static str)> {
    let every = (1..=POINTS).flat_map(|point| WAYS.iter().enumerate().map(move |way| (point, way)));
    every
        .filter(move |(point, (number, _))| all || (point + number) % WAYS.len() == 0)
        .map(|(point, (_, way))| (point, *way))
}

#[test]
fn a_client_may_be_killed_at_any_point() -> Checked {
    each_point(false, killed_client)
}

#[test]
#[ignore = "takes a while: `make soak`"]
fn soak_a_client_may_be_killed_at_any_point() -> Checked {
    each_point(true, killed_client)
}

#[test]
fn a_server_may_be_killed_at_any_point() -> Checked {
    each_point(false, killed_server)
}

#[test]
#[ignore = "takes a while: `make soak`"]
fn soak_a_server_may_be_killed_at_any_point() -> Checked {
    each_point(true, killed_server)
}

#[test]
fn a_client_ends_at_a_signal_at_any_point() -> Checked {
    each_point(false, signalled_client)
}

#[test]
fn a_server_ends_at_a_signal_at_any_point() -> Checked {
    each_point(false, signalled_server)
}

fn each_point(all: bool, cell: fn(usize, &str) -> Checked) -> Checked {
    let mut table = Cells::default();
    for (point, way) in cells(all) {
        table.add(format!("point {point} of a test {way:?}"), move || cell(point, way));
    }
    // Fewer at a time than others: these look at times.
    table.run_heavy()
}

/// All these wait for a clock, side by side.
#[test]
fn an_end_that_stands_still_is_given_up() -> Checked {
    let cells: [fn(usize) -> Checked; 2] = [stopped_client, stopped_server];
    thread::scope(|scope| {
        let threads = (1..=POINTS).flat_map(|point| {
            cells.map(|cell| {
                scope.spawn(move || {
                    cell(point).map_err(|Failure(why)| Failure(format!("point {point}: {why}")))
                })
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a cell does not panic"))
    })
}

/// SIGKILL; the next client is served within a second.
fn killed_client(point: usize, way: &str) -> Checked {
    let tormented = Tormented::start()?;
    let bridge = Bridge::build(tormented.server.port, point)?;
    let client = start_client(&ours(), bridge.port, &format!("-t 0.3 -b 10M {way}"))?;
    bridge.wait()?;
    drop(client);
    bridge.release();
    is_served(tormented.server.port)
        .map_err(|Failure(why)| Failure(format!("{why}\n{}", tormented.server.process.so_far())))?;
    tormented.finish()
}

/// SIGKILL; the client ends at once, with what it has measured.
fn killed_server(point: usize, way: &str) -> Checked {
    let server = Server::start(&ours(), "")?;
    let bridge = Bridge::build(server.port, point)?;
    let client = start_client(&ours(), bridge.port, &format!("-t 0.3 -b 10M -J {way}"))?;
    bridge.wait()?;
    drop(server);
    bridge.release();
    let since = Instant::now();
    let client = client.finish(Duration::from_secs(20))?;
    client.ended_within(since, NOTICED)?;
    let document = client.document()?;
    // What was held back was the server's last word, or the client's, which it need not hear.
    let is_complete = (10..=12).contains(&point);
    ensure!(is_complete || client.code == Some(1), "as if nothing had happened\n{client}");
    if (7..=12).contains(&point) {
        ensure!(!document.list("/intervals")?.is_empty(), "nothing was measured\n{client}");
    }
    speaks_plainly(&client)
}

/// SIGTERM or SIGINT while nothing passes on the control connection.
fn signalled_client(point: usize, way: &str) -> Checked {
    let server = Server::start(&ours(), "")?;
    let bridge = Bridge::build(server.port, point)?;
    let client = start_client(&ours(), bridge.port, &format!("-t 5 -b 10M {}", until(point, way)))?;
    bridge.wait()?;
    if point.is_multiple_of(2) {
        client.terminate()?;
    } else {
        client.interrupt()?;
    }
    let since = Instant::now();
    let client = client.finish(Duration::from_secs(20))?;
    let drains = way.starts_with("-u -");
    client.ended_within(since, if drains { SIGNALLED_DRAINING } else { SIGNALLED })?;
    bridge.release();
    ensure!(client.code == Some(0), "not the exit status of a signal\n{client}");
    let is_summed_up = client.stdout.contains("- - -");
    ensure!(is_summed_up || !(7..=11).contains(&point), "no summary\n{client}");
    speaks_plainly(&client)
}

/// The same to a server.
fn signalled_server(point: usize, way: &str) -> Checked {
    let server = Server::start(&ours(), "")?;
    let bridge = Bridge::build(server.port, point)?;
    let _client = start_client(&ours(), bridge.port, &format!("-t 5 -b 10M {}", until(point, way)))?;
    bridge.wait()?;
    if point.is_multiple_of(2) {
        server.process.terminate()?;
    } else {
        server.process.interrupt()?;
    }
    let since = Instant::now();
    let server = server.process.finish(Duration::from_secs(20))?;
    server.ended_within(since, SIGNALLED)?;
    bridge.release();
    server.succeeded()?;
    speaks_plainly(&server)
}

/// Points behind the end of a test are reached by a short one.
fn until(point: usize, way: &str) -> String {
    if (7..=12).contains(&point) { format!("-t 0.3 {way}") } else { way.to_owned() }
}

/// SIGSTOP; the server gives the client up and serves the next one.
fn stopped_client(point: usize) -> Checked {
    let tormented = Tormented::start()?;
    let bridge = Bridge::build(tormented.server.port, point)?;
    let client = start_client(&ours(), bridge.port, "-t 0.3 -b 10M")?;
    bridge.wait()?;
    client.pause()?;
    bridge.release();
    let limit = if point == RUNNING || point == 6 { OVERDUE } else { GIVEN_UP };
    let since = Instant::now();
    while let Err(Failure(why)) = is_served(tormented.server.port) {
        ensure!(since.elapsed() < limit, "{why}\n{}", tormented.server.process.so_far());
    }
    drop(client);
    tormented.finish()
}

/// SIGSTOP; the client gives the server up and says so.
fn stopped_server(point: usize) -> Checked {
    let server = Server::start(&ours(), "")?;
    let bridge = Bridge::build(server.port, point)?;
    let client = start_client(&ours(), bridge.port, "-t 0.3 -b 10M")?;
    bridge.wait()?;
    server.process.pause()?;
    bridge.release();
    let since = Instant::now();
    let client: Finished = client.finish(Duration::from_secs(30))?;
    client.ended_within(since, GIVEN_UP)?;
    if client.code != Some(0) {
        client.failed_with_one_line()?;
    }
    ensure!(client.code == Some(1) || point >= 10, "as if nothing had happened\n{client}");
    speaks_plainly(&client)
}
