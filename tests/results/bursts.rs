//! `-b RATE/BURST`: so many blocks leave at once, and then nothing until the average is back, with every
//! engine and in both roles. A peer made by hand counts them, and iperf3's beside ours.

use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::peer::client::HonestClient;
use crate::harness::peer::request::Wish;
use crate::harness::peer::server::{HonestServer, Listener, ServerPoint};
use crate::harness::peer::wire::Wire;
use crate::harness::{Cells, Checked, Failure, Process, Program, Server, debian, ensure, libiperf, ours};

/// What is between two bursts, of which there is about one in a second.
const PAUSE: Duration = Duration::from_millis(300);
/// Two bursts are over by then, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(15);
/// How long nothing comes before it is looked at the time.
const LOOK: Duration = Duration::from_millis(20);

/// Small blocks, more than an engine takes at once, and large ones.
const RATES: [(&str, u64); 2] = [("-l 1000 -b 8M/1000", 1000 * 1000), ("-l 128K -b 100M/100", 100 << 17)];

#[test]
fn a_tcp_client_sends_the_bursts_that_it_was_asked_for() -> Checked {
    let mut cells = Cells::default();
    for (options, bytes) in RATES {
        let peer = libiperf()?;
        cells.add(format!("{}: {options}", peer.name), move || of_tcp_client(&peer, options, bytes));
        for engine in ["uring", "uring-zc", "sync", "sendfile", "splice", "msg-zc"] {
            let options = format!("{options} --engine {engine}");
            cells.add(options.clone(), move || of_tcp_client(&ours(), &options, bytes));
        }
    }
    cells.run()
}

#[test]
fn a_tcp_server_sends_the_bursts_that_its_client_asks_for() -> Checked {
    let mut cells = Cells::default();
    for server in [ours(), debian()?, libiperf()?] {
        cells.add(server.name.to_owned(), move || {
            let server = Server::start(&server, "")?;
            let mut client = HonestClient::invited(
                server.port,
                r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,"reverse":true,"len":1000,
                "bandwidth":8000000,"burst":1000,"pacing_timer":1000}"#,
            )?;
            client.open()?;
            are(&bursts_of_stream(&mut client.streams[0])?, 1000 * 1000)
        });
    }
    cells.run()
}

#[test]
fn datagrams_leave_in_the_bursts_that_were_asked_for() -> Checked {
    let mut cells = Cells::default();
    let options = "-u -l 1000 -b 8M/1000";
    for peer in [debian()?, libiperf()?] {
        cells.add(peer.name.to_owned(), move || of_udp_client(&peer, options));
    }
    for more in ["--engine uring", "--engine sync", "--engine uring-zc", "--no-offload"] {
        cells.add(more.to_owned(), move || of_udp_client(&ours(), &format!("{options} {more}")));
    }
    cells.add("a server".to_owned(), || {
        let server = Server::start(&ours(), "")?;
        let more = r#""reverse":true,"bandwidth":8000000,"burst":1000,"#;
        let client = HonestClient::running(server.port, Wish { length: 1000, more, ..Wish::default() })?;
        are(&bursts_of_datagrams(&client.sockets[0])?, 1000)
    });
    cells.run()
}

fn of_tcp_client(client: &Program, options: &str, bytes: u64) -> Checked {
    let listener = Listener::open()?;
    let port = listener.port;
    let client = Process::spawn(client.command(&format!("-c 127.0.0.1 -p {port} -t 10 {options}")))?;
    let mut server = HonestServer::reach(&listener, ServerPoint::StreamsOpen)?;
    server.run()?;
    let bursts = bursts_of_stream(&mut server.streams[0])?;
    drop(client);
    are(&bursts, bytes)
}

fn of_udp_client(client: &Program, options: &str) -> Checked {
    let listener = Listener::open()?;
    let port = listener.port;
    let client = Process::spawn(client.command(&format!("-c 127.0.0.1 -p {port} -t 10 {options}")))?;
    let server = HonestServer::reach(&listener, ServerPoint::Running)?;
    let bursts = bursts_of_datagrams(&server.door)?;
    drop(client);
    are(&bursts, 1000)
}

fn are(bursts: &[u64; 2], wanted: u64) -> Checked {
    ensure!(*bursts == [wanted; 2], "bursts of {bursts:?} instead of {wanted}");
    Ok(())
}

/// Bytes of the first two bursts of a stream.
fn bursts_of_stream(stream: &mut Wire) -> Checked<[u64; 2]> {
    stream.0.set_read_timeout(Some(LOOK))?;
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    two_bursts(|| match stream.0.read(&mut buffer) {
        Ok(0) => Err(Failure("the stream ended".to_owned())),
        Ok(count) => {
            total += u64::try_from(count).expect("it fits the buffer");
            Ok(Some(total))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// Datagrams of the first two bursts, by their numbers: one that was lost has been sent.
fn bursts_of_datagrams(socket: &UdpSocket) -> Checked<[u64; 2]> {
    socket.set_read_timeout(Some(LOOK))?;
    // The last one of a burst should not be lost.
    setsockopt(socket, sockopt::RcvBufForce, &(16 << 20)).map_err(|error| Failure(error.to_string()))?;
    let mut buffer = [0; 2000];
    two_bursts(|| match socket.recv(&mut buffer) {
        Ok(count) if count >= 12 => {
            let number = u32::from_be_bytes(buffer[8..12].try_into().expect("four bytes"));
            Ok(Some(number.into()))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// What the first two bursts have brought, of which `next` gives the sum if something comes.
fn two_bursts(mut next: impl FnMut() -> Checked<Option<u64>>) -> Checked<[u64; 2]> {
    let deadline = Instant::now() + LIMIT;
    let (mut total, mut last, mut first) = (0, Instant::now(), None);
    loop {
        match next()? {
            Some(sum) => (total, last) = (sum, Instant::now()),
            None if last.elapsed() < PAUSE || first == Some(total) || total == 0 => {}
            None => match first {
                None => first = Some(total),
                Some(first) => return Ok([first, total - first]),
            },
        }
        ensure!(Instant::now() < deadline, "no two bursts: {total} after a first one of {first:?}");
    }
}
