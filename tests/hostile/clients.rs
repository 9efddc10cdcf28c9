//! Hostile clients against `ringperf -s`: whatever they do, the next honest client is served.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use super::SOON;
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::wire::{COOKIE, Wire, frame, results, state};
use crate::harness::{
    Cells, Checked, Failure, Server, alone, ensure, ours, run_client, shared, without_mark,
};

const PARAMETERS: &str =
    r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":2,"len":131072}"#;

/// How far a client gets before it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    BeforeCookie,
    HalfCookie,
    AfterCookie,
    HalfLength,
    HalfParameters,
    AfterParameters,
    HalfStreamCookie,
    OneStreamOfTwo,
    Running,
    AfterEnd,
    HalfResults,
    AfterResults,
    BeforeDone,
}

impl Step {
    const ALL: [Self; 13] = [
        Self::BeforeCookie,
        Self::HalfCookie,
        Self::AfterCookie,
        Self::HalfLength,
        Self::HalfParameters,
        Self::AfterParameters,
        Self::HalfStreamCookie,
        Self::OneStreamOfTwo,
        Self::Running,
        Self::AfterEnd,
        Self::HalfResults,
        Self::AfterResults,
        Self::BeforeDone,
    ];

    /// Plays an honest client up to this step, and with what is only half of a step the half.
    fn reach(self, port: u16) -> Checked<HonestClient> {
        let parameters = frame(PARAMETERS);
        let results = frame(&results(&[1, 3], 0));
        let (point, half) = match self {
            Self::BeforeCookie => (ClientPoint::Connected, &[][..]),
            Self::HalfCookie => (ClientPoint::Connected, &COOKIE[..20]),
            Self::AfterCookie => (ClientPoint::Admitted, &[][..]),
            Self::HalfLength => (ClientPoint::Admitted, &parameters[..2]),
            Self::HalfParameters => (ClientPoint::Admitted, &parameters[..50]),
            Self::AfterParameters | Self::HalfStreamCookie => (ClientPoint::Invited, &[][..]),
            Self::OneStreamOfTwo => (ClientPoint::Half, &[][..]),
            Self::Running => (ClientPoint::Running, &[][..]),
            Self::AfterEnd => (ClientPoint::Ended, &[][..]),
            Self::HalfResults => (ClientPoint::Ended, &results[..results.len() / 2]),
            Self::AfterResults => (ClientPoint::Ended, &results[..]),
            Self::BeforeDone => (ClientPoint::Told, &[][..]),
        };
        let mut client = HonestClient::reach(port, PARAMETERS, point)?;
        client.control.send(half)?;
        if self == Self::HalfStreamCookie {
            let mut stream = Wire::connect(port)?;
            stream.send(&COOKIE[..20])?;
            client.streams.push(stream);
        }
        Ok(client)
    }
}

/// An honest client gets through, long before a silent peer would be given up. Until then it may be told
/// that the server is busy.
fn serves_soon(server: &Server) -> Checked {
    let started = Instant::now();
    loop {
        let client = run_client(&ours(), server.port, "-n 1K")?;
        let took = client.ended.saturating_duration_since(started);
        let in_time = took <= SOON;
        if client.code == Some(0) && in_time {
            return Ok(());
        }
        ensure!(in_time, "not served after {took:?}\n{client}\n{}", server.process.so_far());
    }
}

/// What the server said about its guests on standard error is one line each, from ringperf itself.
fn complains_in_lines(server: Server) -> Checked {
    server.process.interrupt()?;
    let server = server.finish()?;
    server.succeeded()?;
    ensure!(
        server.stderr.lines().all(|line| without_mark(line).starts_with("ringperf: ")),
        "foreign lines\n{server}"
    );
    Ok(())
}

#[test]
fn a_client_may_hang_up_anywhere() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for step in Step::ALL {
        drop(step.reach(server.port)?);
        named(step, serves_soon(&server))?;
    }
    complains_in_lines(server)
}

#[test]
fn a_client_may_reset_anywhere() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for step in Step::ALL {
        let client = step.reach(server.port)?;
        client.control.reset_when_dropped()?;
        client.streams.iter().try_for_each(Wire::reset_when_dropped)?;
        drop(client);
        named(step, serves_soon(&server))?;
    }
    complains_in_lines(server)
}

/// A signal ends a server, whatever its client keeps it waiting for.
#[test]
fn a_server_can_be_terminated_anywhere() -> Checked {
    let _permit = shared();
    for step in Step::ALL {
        let server = Server::start(&ours(), "")?;
        let _client = step.reach(server.port)?;
        server.process.terminate()?;
        named(step, server.process.finish(Duration::from_secs(5)).and_then(|server| server.succeeded()))?;
    }
    Ok(())
}

/// The steps at which the server waits for the client, which has about ten seconds. While a test runs it may
/// be silent for longer.
#[test]
fn a_silent_client_is_dropped_after_ten_seconds() -> Checked {
    let steps = Step::ALL.into_iter().filter(|step| *step != Step::Running);
    thread::scope(|scope| {
        let silent = |step: Step| move || named(step, is_dropped(step));
        let threads: Vec<_> = steps.map(|step| scope.spawn(silent(step))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a silent client does not panic"))
    })
}

fn is_dropped(step: Step) -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = step.reach(server.port)?;
    let took = client.control.wait_for_close()?;
    ensure!((8..=12).contains(&took.as_secs()), "dropped after {took:?}");
    serves_soon(&server)
}

#[test]
fn silent_connections_delay_nobody() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    let _silent: Vec<Wire> = (0..8).map(|_| Wire::connect(server.port)).collect::<Checked<_>>()?;
    let client = run_client(&ours(), server.port, "-n 1K")?;
    client.succeeded()?;
    ensure!(client.elapsed < Duration::from_secs(2), "took {:?}", client.elapsed);
    Ok(())
}

#[test]
fn nonsense_is_refused() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let iperf2 = [&[0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x13, 0x89][..], &b"0123456789".repeat(2000)].concat();
    for (name, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:5201\r\nUser-Agent: a browser\r\n\r\n".to_vec()),
        ("iperf2", iperf2),
        ("zeros", vec![0; 1024 * 1024]),
        ("0xFF", vec![0xFF; 1024]),
    ] {
        let mut wire = Wire::connect(server.port)?;
        wire.send_anyhow(&bytes);
        let took = wire.wait_for_close()?;
        ensure!(took < Duration::from_secs(2), "{name}: refused after {took:?}");
        serves_soon(&server)?;
    }
    complains_in_lines(server)
}

#[test]
fn lengths_out_of_range_are_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for length in [0, 8193, 0x7FFF_FFFF, u32::MAX] {
        named(length, is_refused(&server, Step::AfterCookie, &length.to_be_bytes(), 114))?;
    }
    complains_in_lines(server)
}

#[test]
fn results_out_of_range_are_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for (bytes, code) in [
        (vec![0; 4], 117),
        (vec![0xFF; 4], 117),
        (frame("no results"), 117),
        (frame("{}"), 117),
        (frame(&"[".repeat(5000)), 117),
        (frame(&results(&[1, 77], 0)), 208),
    ] {
        let case = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        named(case, is_refused(&server, Step::AfterEnd, &bytes, code))?;
    }
    complains_in_lines(server)
}

#[test]
fn unknown_states_are_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for step in [Step::AfterParameters, Step::Running, Step::BeforeDone] {
        named(step, is_refused(&server, step, &[state::UNKNOWN], 110))?;
    }
    complains_in_lines(server)
}

/// Sending `bytes` at `step` is answered with iperf3's error number `code`, and then the next client is
/// served.
fn is_refused(server: &Server, step: Step, bytes: &[u8], code: i32) -> Checked {
    let mut client = step.reach(server.port)?;
    client.control.send(bytes)?;
    let found = client.control.read_server_error()?;
    ensure!(found == code, "error {found} instead of {code}");
    drop(client);
    serves_soon(server)
}

/// A client that gives up says so with IPERF_DONE, in whatever state it is; that is no error.
#[test]
fn done_is_taken_in_every_state() -> Checked {
    let server = Server::start(&ours(), "")?;
    for step in [Step::AfterParameters, Step::OneStreamOfTwo, Step::Running, Step::BeforeDone] {
        let mut client = step.reach(server.port)?;
        client.control.send(&[state::IPERF_DONE])?;
        let took = client.control.wait_for_close()?;
        ensure!(took < Duration::from_secs(2), "{step:?}: closed after {took:?}");
        named(step, serves_soon(&server))?;
    }
    complains_in_lines(server)
}

#[test]
fn parameters_out_of_range_are_refused_with_their_number() -> Checked {
    let mut cells = Cells::default();
    // A member of the parameters, and iperf3's number for what is wrong with it.
    for (member, code) in [
        (r#""omit":601"#, 12),
        (r#""omit":-1"#, 12),
        (r#""time":86401"#, 5),
        (r#""time":-1"#, 5),
        (r#""num":-1"#, 114),
        (r#""blockcount":-1"#, 114),
        (r#""MSS":32768"#, 10),
        (r#""MSS":-1"#, 10),
        (r#""parallel":0"#, 6),
        (r#""parallel":129"#, 6),
        (r#""parallel":-1"#, 6),
        (r#""parallel":4294967297"#, 6),
        (r#""window":536870913"#, 8),
        (r#""window":-1"#, 8),
        (r#""len":1048577"#, 7),
        (r#""len":-1"#, 7),
        (r#""bandwidth":-1"#, 114),
        (r#""fqrate":-1"#, 114),
        (r#""burst":0"#, 15),
        (r#""burst":1001"#, 15),
        (r#""time":1e999"#, 114),
        (r#""time":"5""#, 114),
        // A ringperf that wants processors which this server cannot use.
        (r#""ringperf":{"version":"9","cpus":"1024"}"#, 132),
        (r#""ringperf":{"version":"9","cpus":"0,1000"}"#, 132),
    ] {
        cells.add(member, move || {
            let server = Server::start(&ours(), "")?;
            let parameters = frame(&format!(r#"{{"tcp":true,{member}}}"#));
            is_refused(&server, Step::AfterCookie, &parameters, code)?;
            complains_in_lines(server)
        });
    }
    cells.run()
}

/// What this server cannot do, and texts that are no parameters at all, are refused and not misread.
#[test]
fn parameters_that_cannot_be_met_are_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for text in [r#"{"sctp":true}"#, "5", "null", "{", "\u{0}\u{0}", r#"{"tcp":tru"#] {
        let mut client = Step::AfterCookie.reach(server.port)?;
        client.control.send_frame(text)?;
        named(text, client.control.read_server_error().map(|_| ()))?;
        drop(client);
        serves_soon(&server)?;
    }
    complains_in_lines(server)
}

/// Oddities that iperf3 takes: an empty object, keys in another case, keys nobody knows, values beyond need.
#[test]
fn odd_parameters_are_taken() -> Checked {
    let server = Server::start(&ours(), "")?;
    for text in [
        "{}",
        "[]",
        r#"{"TCP":true,"Parallel":1,"xyz":[{}],"time":1.5}"#,
        r#"{"ringperf":7}"#,
        r#"{"ringperf":{"version":"9","cpus":7}}"#,
        r#"{"ringperf":{"version":"9","cpus":"0-4294967295"}}"#,
        r#"{"ringperf":{"version":"9","cpus":"-1"}}"#,
        r#"{"ringperf":{"version":"9","cpus":"0-1023,0-1023"}}"#,
        r#"{"ringperf":{"version":"9","cpus":"\u001b[2J"}}"#,
    ] {
        named(text, is_taken(&server, text))?;
    }
    complains_in_lines(server)
}

/// A test with these parameters, which ask for one stream, gets to run.
fn is_taken(server: &Server, parameters: &str) -> Checked {
    drop(HonestClient::running(server.port, parameters)?);
    serves_soon(server)
}

#[test]
fn a_wrong_cookie_is_another_client_and_the_test_goes_on() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = Step::OneStreamOfTwo.reach(server.port)?;
    let mut wrong = Wire::connect(server.port)?;
    wrong.send(b"this is not the cookie of that test.\0")?;
    wrong.expect_state(state::PARAM_EXCHANGE)?;
    client.proceed(ClientPoint::Running)?;
    drop(client);
    serves_soon(&server)
}

/// A silent data connection does not keep the right one out.
#[test]
fn a_silent_stranger_does_not_delay_the_streams() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = Step::OneStreamOfTwo.reach(server.port)?;
    let _silent = Wire::connect(server.port)?;
    let started = Instant::now();
    client.proceed(ClientPoint::Running)?;
    ensure!(started.elapsed() < SOON, "started after {:?}", started.elapsed());
    Ok(())
}

/// While a test runs, a second connection is told so before it has said a word.
#[test]
fn a_busy_server_says_so_unasked() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = Step::Running.reach(server.port)?;
    client.streams[0].send(&[0; 1000])?;
    let started = Instant::now();
    let mut second = Wire::connect(server.port)?;
    second.expect_state(state::ACCESS_DENIED)?;
    second.wait_for_close()?;
    ensure!(started.elapsed() < SOON, "refused after {:?}", started.elapsed());
    Ok(())
}

/// Says in which case something failed.
fn named(case: impl Debug, result: Checked) -> Checked {
    result.map_err(|Failure(why)| Failure(format!("{case:?}: {why}")))
}
