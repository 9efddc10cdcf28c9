//! Peers that keep to the protocol, up to a point.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::peer::wire::{COOKIE, Wire, results, state};
use crate::harness::{Checked, Failure, ensure};

use super::Connection;

/// What an honest client asks for: two streams, so that there is a point between them.
const PARAMETERS: &str =
    r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":2,"len":131072}"#;
/// The same for a whole test that is over at once.
const SHORT: &str = r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":1,"len":131072}"#;
/// The cookie of good clients, which is not that of hostile ones: it would make their streams of it.
const GOOD_COOKIE: &[u8; 37] = b"good-good-good-good-good-good-good-g\0";
/// Longest time until a good client is served.
const SERVED: Duration = Duration::from_secs(1);

/// Points of a client's way, in their order.
const CLIENT_POINTS: [&str; 7] = ["accepted", "admitted", "invited", "half", "running", "ended", "told"];
/// Points of a server's way, in their order.
const SERVER_POINTS: [&str; 13] = [
    "connected",
    "cookie",
    "asked",
    "params",
    "invited",
    "streams",
    "started",
    "running",
    "ended",
    "results-asked",
    "results-read",
    "results-sent",
    "displayed",
];

type Reached = Vec<(String, Connection)>;

/// Plays a client up to a point: `accepted` with its cookie sent, `admitted` when parameters are asked for,
/// `invited` when streams are, `half` with one stream short of all, `running`, `ended` when results are asked
/// for, `told` when it has those of the server.
pub fn reach_server(port: u16, point: &str, parameters: Option<&str>) -> Checked<Reached> {
    let until = place(&CLIENT_POINTS, point)?;
    let parameters = parameters.unwrap_or(PARAMETERS);
    let mut control = Wire::connect(port)?;
    let mut streams = Vec::new();
    control.send(COOKIE)?;
    if until >= 1 {
        control.expect_state(state::PARAM_EXCHANGE)?;
    }
    if until >= 2 {
        control.send_frame(parameters)?;
        if parameters.contains(r#""extension""#) {
            control.expect_state(state::HELLO)?;
            control.read_frame()?;
        }
        control.expect_state(state::CREATE_STREAMS)?;
    }
    if until >= 3 {
        let count = count_streams(parameters) - if point == "half" { 1 } else { 0 };
        for _ in 0..count {
            let mut stream = Wire::connect(port)?;
            stream.send(COOKIE)?;
            streams.push(stream);
        }
    }
    if until >= 4 {
        control.expect_state(state::TEST_START)?;
        control.expect_state(state::TEST_RUNNING)?;
    }
    if until >= 5 {
        control.send(&[state::TEST_END])?;
        control.expect_state(state::EXCHANGE_RESULTS)?;
    }
    if until >= 6 {
        control.send_frame(&results(&stream_ids(streams.len()), 0))?;
        control.read_frame()?;
        control.expect_state(state::DISPLAY_RESULTS)?;
    }
    Ok(named(control, streams))
}

/// Plays a server up to a point: `connected`; `cookie` when it has read that; `asked` for parameters;
/// `params` when it has read them; `invited` the streams; `streams` when all are there; `started`; `running`
/// with data; `ended` by the client; `results-asked`; `results-read`; `results-sent`; `displayed`.
pub fn reach_client(listener: &TcpListener, door: &UdpSocket, point: &str) -> Checked<Reached> {
    let until = place(&SERVER_POINTS, point)?;
    let mut control = accept(listener)?;
    let mut streams = Vec::new();
    let mut parameters = String::new();
    for next in SERVER_POINTS.iter().take(until + 1).skip(1) {
        match *next {
            "cookie" => drop(control.read::<37>()?),
            "asked" => control.send(&[state::PARAM_EXCHANGE])?,
            "params" => parameters = control.read_frame()?,
            "invited" => control.send(&[state::CREATE_STREAMS])?,
            "streams" if is_udp(&parameters) => answer_words(door, count_streams(&parameters))?,
            "streams" => {
                for _ in 0..count_streams(&parameters) {
                    let mut stream = accept(listener)?;
                    stream.read::<37>()?;
                    streams.push(stream);
                }
            }
            "started" => control.send(&[state::TEST_START])?,
            "running" => {
                control.send(&[state::TEST_RUNNING])?;
                streams.iter().try_for_each(read_in_the_background)?;
            }
            "ended" => control.expect_state(state::TEST_END)?,
            "results-asked" => control.send(&[state::EXCHANGE_RESULTS])?,
            "results-read" => drop(control.read_frame()?),
            "results-sent" => {
                control.send_frame(&results(&stream_ids(count_streams(&parameters)), 0))?;
            }
            _ => control.send(&[state::DISPLAY_RESULTS])?,
        }
    }
    Ok(named(control, streams))
}

/// A good client is served within a second, whatever the server has just been through. Until then it may be
/// told that the server is busy. Returns how long it took.
pub fn is_served(port: u16) -> Checked<Duration> {
    let began = Instant::now();
    loop {
        let mut control = Wire::connect(port)?;
        control.send(GOOD_COOKIE)?;
        match control.read::<1>() {
            Ok([state::PARAM_EXCHANGE]) => {
                let took = began.elapsed();
                ensure!(took <= SERVED, "served only after {took:?}");
                // Another test may still be going on.
                if finish_short_test(&mut control, port)? {
                    return Ok(took);
                }
            }
            Ok([state::ACCESS_DENIED]) => {}
            answer => return Err(Failure(format!("a good client is answered {answer:?}"))),
        }
        ensure!(began.elapsed() <= SERVED, "not served after {:?}", began.elapsed());
        // The server closes behind its answer, so the next try is no busy loop.
        control.wait_for_close()?;
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether there was a slot for it.
fn finish_short_test(control: &mut Wire, port: u16) -> Checked<bool> {
    control.send_frame(SHORT)?;
    control.expect_state(state::CREATE_STREAMS)?;
    let mut stream = Wire::connect(port)?;
    stream.send(GOOD_COOKIE)?;
    let [answer] = control.read()?;
    if answer == state::ACCESS_DENIED {
        return Ok(false);
    }
    ensure!(answer == state::TEST_START, "state {answer} instead of the start");
    control.expect_state(state::TEST_RUNNING)?;
    control.send(&[state::TEST_END])?;
    control.expect_state(state::EXCHANGE_RESULTS)?;
    control.send_frame(&results(&[1], 0))?;
    control.read_frame()?;
    control.expect_state(state::DISPLAY_RESULTS)?;
    control.send(&[state::IPERF_DONE])?;
    // The server is free for the next client when it has closed.
    control.wait_for_close().map(|_| true)
}

/// The next connection of a client.
pub fn accept(listener: &TcpListener) -> Checked<Wire> {
    let (stream, _) = listener.accept().map_err(|error| Failure(format!("nobody connects: {error}")))?;
    Wire::new(stream)
}

/// Streams of a test with these parameters, in both directions together.
pub fn count_streams(parameters: &str) -> usize {
    let parameters: Value = serde_json::from_str(parameters).unwrap_or_default();
    let parallel = parameters["parallel"].as_u64().and_then(|count| usize::try_from(count).ok());
    let directions = if parameters["bidirectional"].is_null() { 1 } else { 2 };
    parallel.unwrap_or(1) * directions
}

/// iperf3's numbers of so many streams.
pub fn stream_ids(count: usize) -> Vec<u32> {
    (0..count).map(|index| u32::try_from(index).map_or(0, |index| index + 1 + u32::from(index > 0))).collect()
}

fn is_udp(parameters: &str) -> bool {
    parameters.contains("\"udp\"")
}

/// Takes the first words of so many UDP streams and answers them.
fn answer_words(door: &UdpSocket, count: usize) -> Checked {
    let mut word = [0; 4];
    for _ in 0..count {
        let (_, stream) = door.recv_from(&mut word).map_err(|error| Failure(format!("no word: {error}")))?;
        ensure!(word == *b"9876", "the word is {word:?}");
        door.send_to(b"6789", stream)?;
    }
    Ok(())
}

/// Takes whatever a stream brings, until it ends.
fn read_in_the_background(stream: &Wire) -> Checked {
    let mut rest = stream.0.try_clone()?;
    thread::spawn(move || {
        while let Err(error) = io::copy(&mut rest, &mut io::sink()) {
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                break;
            }
        }
    });
    Ok(())
}

fn place(points: &[&str], point: &str) -> Checked<usize> {
    points
        .iter()
        .position(|known| *known == point)
        .ok_or_else(|| Failure(format!("there is no point {point:?}")))
}

fn named(control: Wire, streams: Vec<Wire>) -> Reached {
    let streams = streams.into_iter().enumerate();
    let mut all: Reached =
        streams.map(|(index, stream)| (format!("stream{}", index + 1), Connection::Tcp(stream))).collect();
    all.push(("control".to_owned(), Connection::Tcp(control)));
    all
}
