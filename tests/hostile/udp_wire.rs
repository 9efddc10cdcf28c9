//! What travels over UDP is what iperf3 sends, to the byte: seen by a server and a client made by hand.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::harness::peer::client::HonestClient;
use crate::harness::peer::datagrams::Header;
use crate::harness::peer::request::Wish;
use crate::harness::peer::server::{ServerPoint, against};
use crate::harness::peer::wire::results;
use crate::harness::{Cells, Checked, Failure, Server, ensure, ours};

/// A client sends one word per stream, then exactly its datagrams, numbered from 1.
#[test]
fn a_client_sends_what_iperf3_sends() -> Checked {
    let mut cells = Cells::default();
    for engine in ["uring-zc", "uring", "sync"] {
        for offload in ["", "--no-offload"] {
            for wide in ["", "--udp-counters-64bit"] {
                for pace in ["-b 0 -P 1", "-b 20M -P 2"] {
                    let options = format!("--engine {engine} {offload} {wide} {pace}");
                    cells.add(options.clone(), move || client_sends(&options));
                }
            }
        }
    }
    cells.run()
}

fn client_sends(options: &str) -> Checked {
    let is_wide = options.contains("64bit");
    let streams = if options.contains("-P 2") { 2 } else { 1 };
    let began = monotonic()?;
    let client = against(&format!("-u -k 20 -l 1001 --repeating-payload {options}"), |host| {
        host.proceed(ServerPoint::Running)?;
        let mut numbers = vec![0; streams];
        let mut last = began;
        for _ in 0..20 {
            let (datagram, source) = host.take()?;
            ensure!(datagram.len() == 1001, "{} bytes", datagram.len());
            let stream = host.addresses.iter().position(|stream| *stream == source);
            let stream = stream.ok_or_else(|| Failure(format!("a stranger sent it: {source}")))?;
            let header = Header::read(&datagram, is_wide)?;
            numbers[stream] += 1;
            ensure!(header.sequence == numbers[stream], "{header:?} instead of {}", numbers[stream]);
            ensure!(header.microseconds < 1_000_000, "{header:?}");
            let time = Duration::new(header.seconds.into(), header.microseconds * 1000);
            // With several streams the times of one need not be those of the other.
            ensure!(time >= if streams == 1 { last } else { began }, "{time:?} after {last:?}");
            ensure!(time <= monotonic()?, "{time:?} is yet to come");
            last = time;
            let filler = &datagram[if is_wide { 16 } else { 12 }..];
            ensure!(filler.iter().all(u8::is_ascii_digit), "not digits");
        }
        host.finish(&results(&[1, 3][..streams], 0))?;
        let more = host.take_all(Duration::from_millis(1))?;
        ensure!(more.is_empty(), "and more: {more:?}");
        Ok(())
    })?;
    client.succeeded()
}

/// A server answers each word with one of its own, from the port, and sends the same kind of datagrams.
#[test]
fn a_server_sends_what_iperf3_sends() -> Checked {
    let mut cells = Cells::default();
    for engine in ["uring-zc", "uring", "sync"] {
        for is_wide in [false, true] {
            cells.add(format!("{engine} {is_wide}"), move || server_sends(engine, is_wide));
        }
    }
    cells.run()
}

fn server_sends(engine: &str, is_wide: bool) -> Checked {
    let server = Server::start(&ours(), &format!("--engine {engine}"))?;
    let more = r#""reverse":true,"bandwidth":10000000,"#;
    let mut guest =
        HonestClient::invited(server.port, Wish { is_wide, more, length: 1001, ..Wish::default() })?;
    let began = monotonic()?;
    guest.open()?;
    guest.start()?;
    let mut last = began;
    for number in 1..=40 {
        let mut datagram = [0; 2000];
        let count = guest.sockets[0].recv(&mut datagram)?;
        ensure!(count == 1001, "{count} bytes");
        let header = Header::read(&datagram, is_wide)?;
        ensure!(header.sequence == number, "{header:?} instead of {number}");
        let time = Duration::new(header.seconds.into(), header.microseconds * 1000);
        ensure!(last <= time && time <= monotonic()?, "{time:?} after {last:?}");
        last = time;
    }
    let count = guest.end(0)?;
    ensure!(count.of(0, "packets")? >= 40, "sent less than what came");
    Ok(())
}

/// The clock that datagrams are stamped with, which tests and ringperf share, in whole microseconds.
fn monotonic() -> Checked<Duration> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(std::io::Error::from)?;
    let micros = Duration::from(now).as_micros();
    Ok(Duration::from_micros(u64::try_from(micros).expect("the machine is not that old")))
}
