//! Sends that the network refuses for the moment.
//!
//! An ICMP message about an earlier datagram makes the next send fail, and anybody on the way can say such a
//! thing. Whether the peer is still there is a matter of the control connection. So a send that fails like
//! that is made again, unless none succeeds for seconds.

use std::time::{Duration, Instant};

use super::super::recorder::Recorder;

/// Nothing left for so long: there is no way to the peer.
const MOST: Duration = Duration::from_secs(5);
/// Attempts without a pause between them. Each one takes an ICMP message off, and those may come fast.
const AT_ONCE: u32 = 8;
/// Pause after so many attempts that have all failed.
const PAUSE: Duration = Duration::from_millis(1);

/// The attempts since the last send that went through.
#[derive(Debug, Default)]
pub(super) struct Setback {
    since: Option<Instant>,
    attempts: u32,
}

impl Setback {
    /// A send has gone through.
    pub(super) fn sent(&mut self) {
        if self.attempts > 0 {
            *self = Self::default();
        }
    }

    /// A send has failed at `now`: how long to wait before it is made again, or `None` if that is no use.
    pub(super) fn failed(&mut self, errno: i32, now: Instant, recorder: &mut Recorder) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if !says_unreachable(errno) || now.duration_since(since) >= MOST {
            return None;
        }
        recorder.set_back(errno);
        self.attempts += 1;
        Some(if self.attempts.is_multiple_of(AT_ONCE) { PAUSE } else { Duration::ZERO })
    }
}

/// Whether an error only tells of the way to the peer, or of something that was sent before.
pub(super) fn says_unreachable(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN)
}
