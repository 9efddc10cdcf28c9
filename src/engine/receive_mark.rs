//! Fewer wake-ups for a busy receiver: SO_RCVLOWAT follows the rate.
//!
//! Waking a sleeping receiver is a large part of what receiving costs. A receiver that is woken only when
//! about a millisecond's worth of data has come wakes a thousand times a second instead of once per segment.
//! At low rates the mark is one byte, as always, so no byte waits past an interval's end; when the data
//! stops, the bounded wait of the loop picks up what lies below the mark.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StreamJob;
use crate::sys::Socket;

/// Time over which the rate is measured before the mark is set anew.
const WINDOW: Duration = Duration::from_millis(10);
/// The mark is this much of the rate.
const MARK_OF_RATE: Duration = Duration::from_millis(1);
/// Largest mark in bytes: what one wake-up brings should still be in the processor's cache.
const MARK_MAX: u64 = 256 * 1024;
/// Marks below this are not worth the trouble: one byte is used instead.
const MARK_MIN: u64 = 64 * 1024;

pub(super) struct ReceiveMark {
    socket: Arc<Socket>,
    mark_max: u64,
    mark: u64,
    window_start: Instant,
    window_bytes: u64,
}

impl ReceiveMark {
    pub(super) fn new(job: &StreamJob) -> Self {
        // A mark that the receive window cannot reach would make the receiver wait for its timeout.
        let buffer = job.socket.receive_buffer().map_or(0, u64::from);
        let fixed = job.window_fixed;
        let mark_max = if fixed { (buffer / 4).min(MARK_MAX) } else { MARK_MAX };
        Self {
            socket: Arc::clone(&job.socket),
            mark_max,
            mark: 1,
            window_start: Instant::now(),
            window_bytes: 0,
        }
    }

    /// Sets the mark anew when it is time to. `total_bytes` is what has been received so far.
    pub(super) fn adapt(&mut self, now: Instant, total_bytes: u64) {
        let elapsed = now.duration_since(self.window_start);
        if elapsed < WINDOW {
            return;
        }
        let bytes = total_bytes - self.window_bytes;
        self.window_start = now;
        self.window_bytes = total_bytes;
        let wanted = wanted_mark(bytes, elapsed).min(self.mark_max);
        // A quarter more or less is not worth a system call.
        if wanted.abs_diff(self.mark) > self.mark / 4 {
            self.set(wanted);
        }
    }

    /// Nothing came during a whole bounded wait: whatever comes next is wanted at once.
    pub(super) fn idle(&mut self) {
        if self.mark > 1 {
            self.set(1);
        }
    }

    fn set(&mut self, mark: u64) {
        let bytes = u32::try_from(mark).expect("at most MARK_MAX");
        if self.socket.set_receive_low_water(bytes).is_ok() {
            self.mark = mark;
        }
    }
}

/// The mark for a rate of `bytes` in `elapsed`.
fn wanted_mark(bytes: u64, elapsed: Duration) -> u64 {
    let share = u128::from(bytes) * MARK_OF_RATE.as_nanos() / elapsed.as_nanos().max(1);
    match u64::try_from(share).unwrap_or(MARK_MAX) {
        small if small < MARK_MIN => 1,
        large => large.min(MARK_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_a_millisecond_of_the_rate_and_one_byte_at_low_rates() {
        let window = Duration::from_millis(10);
        for (bytes, mark) in [
            (0, 1),
            (1_250, 1),
            (600_000, 1),
            (1_000_000, 100_000),
            (2_000_000, 200_000),
            (1_000_000_000, MARK_MAX),
        ] {
            assert_eq!(wanted_mark(bytes, window), mark, "{bytes} bytes in 10 ms");
        }
    }
}
