//! What the loops decide alike when nothing can be done for the moment: how long they wait before they look
//! up, and which failures say no more than that.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::gate::{GateState, SendGate};
use super::recorder::Recorder;

/// Longest wait of a sender before it looks at its gate again, and so at the stop token.
pub(super) const SEND_WAIT_MAX: Duration = Duration::from_millis(50);
/// Longest wait for the results and releases of the last sends.
pub(super) const RELEASE_WAIT_MAX: Duration = Duration::from_millis(500);

/// How long a sender that got this answer from its gate at `now` may wait for something else: not beyond the
/// moment when it may send, nor beyond the deadline.
pub(super) fn longest_wait(gate: &SendGate, state: GateState, now: Instant) -> Duration {
    let longest = match state {
        GateState::Until(next) => next.saturating_duration_since(now).min(SEND_WAIT_MAX),
        GateState::Open | GateState::Exhausted | GateState::Stopped => SEND_WAIT_MAX,
    };
    gate.wait_at_most(now, longest)
}

/// Sleeps until the gate lets a sender go on, which looks at the clock at `now`. Gives the time by then;
/// `None` when it is over.
pub(super) fn wait_until_open(
    gate: &mut SendGate,
    recorder: &mut Recorder,
    mut now: Instant,
) -> Option<Instant> {
    loop {
        let state = gate.refresh(now);
        match state {
            GateState::Open => return Some(now),
            GateState::Exhausted | GateState::Stopped => return None,
            GateState::Until(_) => {
                recorder.publish();
                sleep(longest_wait(gate, state, now));
                now = Instant::now();
            }
        }
    }
}

/// Whether a call only says "not now".
pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{Flow, Pacing};
    use crate::engine::{Engine, EngineUse, StreamJob};
    use crate::sys::Socket;

    fn job() -> StreamJob {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        StreamJob::bare(Socket::from_stream(near), Flow::Send)
    }

    #[test]
    fn waits_end_at_the_next_burst_and_at_the_deadline() {
        let start = Instant::now();
        let millis = Duration::from_millis;
        let job = StreamJob { duration: Some(millis(100)), ..job() };
        let gate = job.gate(start);
        let until = |time| GateState::Until(start + time);
        for (state, at, wait) in [
            (GateState::Open, 0, 50),
            (GateState::Exhausted, 0, 50),
            (until(millis(20)), 0, 20),
            (until(millis(20)), 30, 0),
            (until(millis(80)), 0, 50),
            (GateState::Open, 70, 30),
            (until(millis(200)), 90, 10),
            (GateState::Open, 120, 0),
        ] {
            assert_eq!(longest_wait(&gate, state, start + millis(at)), millis(wait), "{state:?} at {at}");
        }
    }

    #[test]
    fn a_paced_sender_sleeps_until_its_turn_and_hears_of_the_end() {
        let start = Instant::now();
        let pacing = Pacing { bits_per_second: 80_000_000, burst_blocks: 1 };
        let job = StreamJob { pacing, ..job() };
        let mut gate = job.gate(start);
        let used = EngineUse::new(job.asked, Engine::Sync, "", None);
        let mut recorder = Recorder::new(&job, used, start);
        let mut now = start;
        let mut sent = 0;
        while sent < 3 * u64::from(job.block.bytes) {
            now = wait_until_open(&mut gate, &mut recorder, now).unwrap();
            sent += gate.take(u64::MAX);
        }
        let rate_time = Duration::from_nanos(100 * 2 * u64::from(job.block.bytes));
        assert!(now.duration_since(start) >= rate_time, "{:?}", now.duration_since(start));
        job.stop.set();
        assert_eq!(wait_until_open(&mut gate, &mut recorder, now), None);
    }
}
