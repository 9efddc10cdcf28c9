//! Fewer wake-ups for a busy receiver.
//!
//! Waking a receiver that sleeps in the kernel costs the other side of the wake-up, which on loopback is the
//! sender. A receiver of many messages that pauses for a moment, out of reach of wake-ups, finds several at
//! once. The kernel stamps each message when it arrives, so jitter does not see the pause.

use std::time::{Duration, Instant};

/// Time over which the rate is measured before the pause is set anew.
const WINDOW: Duration = Duration::from_millis(10);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_micros(100);
/// Shorter pauses are not worth the trouble.
const PAUSE_MIN: Duration = Duration::from_micros(20);
/// Messages that a pause should bring at least.
const MESSAGES_MIN: u64 = 2;
/// What the kernel charges to the receive buffer for a message besides its bytes, roughly.
const MESSAGE_OVERHEAD_BYTES: u64 = 1024;
/// A pause may fill this part of the receive buffer.
const BUFFER_SHARE: u64 = 8;

/// How long a receiver pauses before it looks again.
pub(super) struct Pause {
    /// Messages that the receiver takes at once.
    capacity: u64,
    buffer_bytes: u64,
    pause: Option<Duration>,
    window_start: Instant,
    window: (u64, u64),
}

impl Pause {
    pub(super) fn new(capacity: usize, buffer_bytes: u32, now: Instant) -> Self {
        Self {
            capacity: u64::try_from(capacity).expect("a usize fits a u64"),
            buffer_bytes: buffer_bytes.into(),
            pause: None,
            window_start: now,
            window: (0, 0),
        }
    }

    /// How long to pause, if that is worth it, when the last look has brought `taken` messages; `messages`
    /// and `bytes` are those of the whole stream.
    pub(super) fn after(&mut self, now: Instant, taken: u64, messages: u64, bytes: u64) -> Option<Duration> {
        let elapsed = now.duration_since(self.window_start);
        if elapsed >= WINDOW {
            let (messages_before, bytes_before) = self.window;
            self.pause = self.worth(messages - messages_before, bytes - bytes_before, elapsed);
            (self.window_start, self.window) = (now, (messages, bytes));
        }
        // After a full look there is more, most likely.
        self.pause.filter(|_| taken < self.capacity)
    }

    /// The pause for a rate of so many messages and bytes in `elapsed`.
    fn worth(&self, messages: u64, bytes: u64, elapsed: Duration) -> Option<Duration> {
        let time_for = |amount: u64, of: u64| {
            let nanoseconds = elapsed.as_nanos() * u128::from(amount) / u128::from(of.max(1));
            Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
        };
        let charged = bytes.saturating_add(messages.saturating_mul(MESSAGE_OVERHEAD_BYTES));
        let longest = PAUSE_MAX
            .min(time_for(self.capacity / 2, messages))
            .min(time_for(self.buffer_bytes / BUFFER_SHARE, charged));
        (longest >= PAUSE_MIN.max(time_for(MESSAGES_MIN, messages))).then_some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_receiver_with_room_pauses() {
        let second = Duration::from_secs(1);
        let micros = |micros| Some(Duration::from_micros(micros));
        let pause = Pause::new(16, 8_000_000, Instant::now());
        // Two thousand bursts a second of a paced sender: each is wanted when it comes.
        assert_eq!(pause.worth(2_000, 125_000_000, second), None);
        assert_eq!(pause.worth(40_000, 2_000_000_000, second), micros(100));
        assert_eq!(pause.worth(200_000, 1_600_000_000, second), micros(40));
        assert_eq!(pause.worth(1_000_000, 64_000_000, second), None);
        let small = Pause::new(16, 212_992, Instant::now());
        assert_eq!(small.worth(80_000, 5_000_000_000, second), None);
        assert_eq!(pause.worth(0, 0, second), None);
    }
}
