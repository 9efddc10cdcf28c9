//! A path with far less rate than the ends have, and seconds of queue before it: everything said about the
//! test waits behind its data.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::{LIMIT, show};
use crate::harness::peer::server::{HonestServer, Listener, ServerPoint};
use crate::harness::peer::wire::state;
use crate::harness::{Cable, Cells, Checked, Failure, Process, alone, ensure, ours, pick, shared};

/// After the end of a test all of it has passed by then, and both ends know the results.
const AFTERWARDS: Duration = Duration::from_secs(15);
/// A client leaves by then after the end of a test whose data nobody takes.
const UNREAD: Duration = Duration::from_secs(5);
const QUEUE: Duration = Duration::from_secs(4);
/// Streams of the client that nobody reads from.
const STREAMS: usize = 128;

const WAYS: [&str; 5] = ["-C cubic", "-C cubic -R", "-P 4", "-u -b 20M", "-u -b 20M -R"];

#[test]
fn a_test_that_fills_seconds_of_queue_ends_well() -> Checked {
    let _permit = shared();
    every_way(2)
}

#[test]
#[ignore = "takes minutes"]
fn soak_tests_that_fill_seconds_of_queue_end_well() -> Checked {
    let _permit = alone();
    (0..20).try_for_each(|_| every_way(5))
}

fn every_way(seconds: u64) -> Checked {
    let mut cells = Cells::default();
    for way in WAYS {
        cells.add(way, move || fills_the_queue(way, seconds));
    }
    cells.run_at_once()
}

fn fills_the_queue(way: &str, seconds: u64) -> Checked {
    let cable = Cable::lay_through("10mbit", QUEUE)?;
    let server = cable.start_server(&ours(), "-1")?;
    let options = format!("-c {} -p {} -t {seconds} -J {way}", cable.server.v4, server.port);
    let client = cable.client.within(|| Process::spawn(ours().command(&options)))?.finish(LIMIT)?;
    let server = server.process.finish(LIMIT)?;
    let took = client.elapsed;
    ensure!(client.code == Some(0) && server.code == Some(0), "not both exit 0\n{client}\n{server}");
    // A sender with much still queued breaks its connection off, which is no failure.
    let has_failed = [&client, &server].iter().any(|end| format!("{end}").contains("connection failed"));
    ensure!(!has_failed, "a connection failed\n{client}\n{server}");
    let totals = client.document()?.totals()?;
    show(&format!("D8: {way}: -t {seconds} took {took:.1?}, {totals:?}"));
    ensure!(totals.sent > 0 && totals.received > 0, "{totals:?}\n{client}");
    ensure!(took <= Duration::from_secs(seconds) + AFTERWARDS, "took {took:?}\n{client}");
    Ok(())
}

/// The peer keeps to the protocol, but takes no byte of the data; the path has a megabit per second.
#[test]
fn a_client_leaves_whose_many_streams_nobody_reads() -> Checked {
    let _permit = shared();
    let cable = Cable::lay_through("1mbit", Duration::from_millis(400))?;
    let port = pick();
    let address = (cable.server.v4, port);
    let listener =
        cable.server.within(|| Listener::over(TcpListener::bind(address)?, UdpSocket::bind(address)?))?;
    setsockopt(&listener.tcp, sockopt::ReceiveTimeout, &TimeVal::new(20, 0)).map_err(std::io::Error::from)?;
    let options = format!("-c {} -p {port} -t 2 -P {STREAMS}", cable.server.v4);
    let client = cable.client.within(|| Process::spawn(ours().command(&options)))?;
    let peer = takes_nothing(&listener);
    let (began, server) = peer.map_err(|Failure(why)| Failure(format!("{why}\n{}", client.so_far())))?;
    let client = client.finish(LIMIT)?;
    let took = client.ended.saturating_duration_since(began);
    show(&format!("D9: {STREAMS} streams that nobody reads, -t 2: left {took:.1?} after the start"));
    client.succeeded()?;
    client.ended_within(began, Duration::from_secs(2) + UNREAD)?;
    drop(server);
    Ok(())
}

/// A server that reads its control connection only; when the test began, and the connections, all open.
fn takes_nothing(listener: &Listener) -> Checked<(Instant, HonestServer)> {
    let mut server = HonestServer::reach(listener, ServerPoint::Started)?;
    server.run()?;
    let began = Instant::now();
    server.proceed(ServerPoint::Displayed)?;
    server.control.expect_state(state::IPERF_DONE)?;
    Ok((began, server))
}
