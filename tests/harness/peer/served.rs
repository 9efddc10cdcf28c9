//! A good client with a whole short test, which is what a tormented server owes the next one.

use std::thread;
use std::time::{Duration, Instant};

use super::client::{ClientPoint, HonestClient};
use super::request::Request;
use crate::harness::{Checked, ensure};

/// A whole test that is over at once.
const SHORT: &str = r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":1,"len":131072}"#;
/// The cookie of good clients, which is not that of hostile ones: it would make their streams of it.
const GOOD_COOKIE: &[u8; 37] = b"good-good-good-good-good-good-good-g\0";
/// Longest time until a good client is served.
const SERVED: Duration = Duration::from_secs(1);

/// A good client is served within a second, whatever the server has just been through. Until then it may be
/// told that the server is busy. Returns how long it took.
pub fn is_served(port: u16) -> Checked<Duration> {
    let began = Instant::now();
    loop {
        let request = Request { cookie: *GOOD_COOKIE, ..Request::from(SHORT) };
        let mut client = HonestClient::reach(port, request, ClientPoint::Accepted)?;
        if client.is_admitted()? {
            let took = began.elapsed();
            ensure!(took <= SERVED, "served only after {took:?}");
            client.proceed(ClientPoint::Invited)?;
            client.open()?;
            // Another test may still be going on.
            if client.is_started()? {
                client.proceed(ClientPoint::Told)?;
                client.leave()?;
                return Ok(took);
            }
        }
        ensure!(began.elapsed() <= SERVED, "not served after {:?}", began.elapsed());
        // The server closes behind its answer, so the next try is no busy loop.
        client.control.wait_for_close()?;
        thread::park_timeout(Duration::from_millis(2));
    }
}
