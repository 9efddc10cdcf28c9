//! A server that stays available: whoever floods it, holds it up or breaks off, the next client is served.
//!
//! [`attacks`] are what one source does to keep all others out, [`crowds`] many connections at once,
//! [`datagrams`] many datagrams, [`side_by_side`] several tests at once, [`undisturbed`] what they do to
//! those who come meanwhile, [`public`] the profile for the open internet, [`isolation`] what one test leaves
//! to the next, [`service`] the unit for systemd. Clients come from addresses of their own in 127.0.0.0/8,
//! since a server has caps for each address.

mod attacks;
mod crowds;
mod datagrams;
mod isolation;
mod public;
mod service;
mod side_by_side;
mod undisturbed;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::peer::request::Request;
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{Checked, Failure, ensure, ours, run_client};

/// Far longer than anything here takes; reached only when something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// Parameters of a test of one stream.
const PARAMETERS: &str = r#"{"tcp":true,"omit":0,"time":10,"num":0,"parallel":1,"len":131072}"#;

/// What a client asks for from this address, with a cookie that no other client has.
fn request(source: Ipv4Addr, parameters: &str) -> Request {
    Request { source: Some(source), cookie: cookie(), ..Request::from(parameters) }
}

/// Address number `number` of a crowd that has a network of its own.
fn of_crowd(crowd: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, crowd, 0, u8::try_from(number % 250 + 1).expect("at most 250"))
}

/// A cookie that no other client has.
fn cookie() -> [u8; 37] {
    static COOKIES: AtomicU64 = AtomicU64::new(0);
    let text = format!("{:036}\0", COOKIES.fetch_add(1, Ordering::Relaxed));
    text.as_bytes().try_into().expect("36 digits and a NUL")
}

/// How long it takes until an honest client gets to say what it wants.
fn served(port: u16) -> Checked<Duration> {
    let started = Instant::now();
    admitted(port).map(|_| started.elapsed())
}

/// How long the next client of a server waits at most that nothing holds up: as good as nothing, and on a
/// loaded machine ten times what it takes there while nobody else is at the server.
fn at_once(port: u16) -> Checked<Duration> {
    let mut times: Vec<Duration> = (0..20).map(|_| served(port)).collect::<Checked<_>>()?;
    Ok(Duration::from_millis(100).max(10 * percentile(&mut times, 50)))
}

/// A client that may say what it wants. A server that is still busy with the one before it is asked again.
fn admitted(port: u16) -> Checked<Wire> {
    let started = Instant::now();
    loop {
        let mut client = Wire::connect(port)?;
        client.send_anyhow(&cookie());
        match client.read() {
            Ok([state::PARAM_EXCHANGE]) => return Ok(client),
            Ok([state::ACCESS_DENIED]) | Err(_) => {}
            Ok([other]) => return Err(Failure(format!("state {other} instead of parameters"))),
        }
        ensure!(started.elapsed() < LIMIT, "not served within {LIMIT:?}");
    }
}

/// Runs a test with these options to its end. The server may still be busy with whoever has just left it.
fn runs(port: u16, options: &str) -> Checked {
    let started = Instant::now();
    loop {
        let client = run_client(&ours(), port, options)?;
        if client.code == Some(0) || started.elapsed() > LIMIT || !client.stderr.contains("is busy") {
            return client.succeeded();
        }
    }
}

/// The share of `values` that is the smallest one not below `percent` of them.
fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}
