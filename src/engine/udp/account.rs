//! The receiver's account of what came, and its end.

use std::time::{Duration, Instant};

use crate::engine::recorder::Recorder;
use crate::engine::{StreamJob, UdpJob};
use crate::protocol::{DatagramHeader, UdpConnect, is_udp_handshake};
use crate::stats::DatagramTracker;
use crate::sys::Message;

/// Longest wait in the kernel, and the silence after which a stopped receiver has heard everything.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);
/// A stopped receiver does not listen longer than this, whatever comes.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Takes messages apart and counts their datagrams.
pub(super) struct Account {
    udp: UdpJob,
    datagram_bytes: usize,
    /// They are as long as a connect with a cookie.
    may_be_connects: bool,
    tracker: DatagramTracker,
    messages: u64,
    published_messages: u64,
    passed_bytes: u64,
    /// Since when nothing has come to a stream that was told to stop.
    quiet_since: Option<Instant>,
}

impl Account {
    /// `drops_before` is the socket's drop counter before the test.
    pub(super) fn new(job: &StreamJob, udp: UdpJob, drops_before: u32) -> Self {
        Self::of_datagrams(job.block.bytes, udp, drops_before)
    }

    /// An account of datagrams that have so many bytes.
    pub(super) fn of_datagrams(bytes: u32, udp: UdpJob, drops_before: u32) -> Self {
        let mut tracker = DatagramTracker::new(udp.counters_64bit);
        tracker.begin_after(drops_before);
        let datagram_bytes = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        Self {
            udp,
            datagram_bytes,
            may_be_connects: datagram_bytes == UdpConnect::NAMED_BYTES,
            tracker,
            messages: 0,
            published_messages: 0,
            passed_bytes: 0,
            quiet_since: None,
        }
    }

    /// Messages so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Counts one message, found at `found` if the kernel does not say when it arrived. Datagrams of another
    /// length than the test's are foreign to it, except for those of the handshake that are repeated or late.
    pub(super) fn take(&mut self, message: &Message<'_>, found: Duration, recorder: &mut Recorder) {
        let bytes = self.count(message, found);
        if bytes > 0 {
            recorder.moved(to_u64(bytes));
        }
    }

    /// Counts the datagrams of a message; returns how many of its bytes belong to the test.
    fn count(&mut self, message: &Message<'_>, found: Duration) -> usize {
        let segment = message.segment_bytes;
        let datagrams = message.bytes.div_ceil(segment);
        let arrived = message.arrived.unwrap_or(found);
        self.messages += 1;
        self.tracker.message(message.socket_drops, to_u64(datagrams));
        if message.bytes == 0 {
            self.tracker.foreign();
        }
        let mut bytes = 0;
        let mut left = message.bytes;
        // What was not copied (see --skip-rx-copy) still has its length, and one datagram's header.
        let mut payload = message.payload;
        while left > 0 {
            let length = left.min(segment);
            let (datagram, rest) = payload.split_at(length.min(payload.len()));
            match DatagramHeader::read(self.udp.counters_64bit, datagram) {
                Some(header)
                    if length == self.datagram_bytes
                        && !(self.may_be_connects && is_udp_handshake(datagram, length)) =>
                {
                    let sent = Duration::from_secs(header.seconds.into())
                        + Duration::from_micros(header.microseconds.into());
                    self.tracker.take(header.sequence, sent, arrived);
                    bytes += length;
                }
                _ if is_udp_handshake(datagram, length) => {}
                _ => self.tracker.foreign(),
            }
            payload = rest;
            left -= length;
        }
        bytes
    }

    /// Lets others see what has been counted up to `now` since the last call, when `before` bytes had come.
    /// Says whether anything came, be it foreign: datagrams of the test may wait behind it.
    pub(super) fn publish_counts(
        &mut self,
        job: &StreamJob,
        recorder: &mut Recorder,
        before: u64,
        now: Instant,
    ) -> bool {
        let counters = self.tracker.counters();
        recorder.received_datagrams(counters);
        let came = self.messages > self.published_messages;
        self.published_messages = self.messages;
        if recorder.bytes() == before {
            return came;
        }
        recorder.received_at(now);
        if let Some(goal) = &job.goal {
            // A datagram that was lost on the way is one that was sent, so the goal is not held up by it.
            let passed = counters.packets.saturating_mul(u64::from(job.block.bytes));
            if goal.is_armed() {
                goal.received(passed.saturating_sub(self.passed_bytes));
            }
            self.passed_bytes = self.passed_bytes.max(passed);
        }
        true
    }

    /// Whether the stream is over: told to stop at `stop`, and quiet for [`WAIT_MAX`] after that. The last
    /// look began at `looked_since`, and `came` says whether it brought anything. A wait may end early and
    /// bring nothing although more is there, as when the process was halted for a while, so it is time that
    /// counts. And the thread may stand still behind a look that brought nothing, so only one that began
    /// after the stop does.
    pub(super) fn is_over(
        &mut self,
        stop: Option<Instant>,
        came: bool,
        looked_since: Instant,
        now: Instant,
    ) -> bool {
        let Some(stop) = stop else { return false };
        if came {
            self.quiet_since = None;
        } else if looked_since >= stop {
            self.quiet_since.get_or_insert(looked_since);
        }
        self.quiet_since.is_some_and(|since| now.saturating_duration_since(since) >= WAIT_MAX)
            || now.saturating_duration_since(stop) >= DRAIN_MAX
    }

    /// The last words: drops that no later message could tell of, and when it was told to stop.
    pub(super) fn close(&mut self, job: &StreamJob, recorder: &mut Recorder) {
        if let Ok(drops) = job.socket.socket_drops() {
            self.tracker.finish(drops);
        }
        recorder.received_datagrams(self.tracker.counters());
        recorder.finished_at(job.stop.since().unwrap_or_else(Instant::now));
    }
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).expect("a usize fits a u64")
}

/// What a receiver of datagrams of so many bytes has counted after these messages, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn count_messages<'a>(
    udp: UdpJob,
    datagram_bytes: u32,
    messages: impl Iterator<Item = Message<'a>>,
) -> (u64, crate::stats::DatagramCounters) {
    let mut account = Account::of_datagrams(datagram_bytes, udp, 0);
    let bytes = messages.map(|message| to_u64(account.count(&message, Duration::ZERO))).sum();
    (bytes, account.tracker.counters())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_look_after_the_stop_tells_that_all_is_quiet() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let account = || Account::of_datagrams(100, UdpJob { counters_64bit: false, offload: false }, 0);
        let stop = Some(at(1000));
        let mut halted = account();
        assert!(!halted.is_over(None, false, start, at(500)), "nobody has said stop");
        // The thread stands still behind an empty look, and meanwhile datagrams come, and then the stop.
        assert!(!halted.is_over(stop, false, at(980), at(1300)));
        assert!(!halted.is_over(stop, true, at(1300), at(1301)));
        assert!(!halted.is_over(stop, false, at(1301), at(1310)), "it is not quiet for long enough");
        assert!(halted.is_over(stop, false, at(1310), at(1321)));
        // Whatever comes, there is an end.
        assert!(account().is_over(stop, true, at(1990), at(2000)));
    }
}
