//! Fewer wake-ups for a busy receiver: SO_RCVLOWAT follows the rate.
//!
//! Waking a sleeping receiver is a large part of what receiving costs. A receiver that is woken only when
//! about a millisecond's worth of data has come wakes a thousand times a second instead of once per segment.
//! At low rates the mark is one byte, as always, so no byte waits past an interval's end; when the data
//! stops, the bounded wait of the loop picks up what lies below the mark.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::StreamJob;
use crate::stats::CpuTime;
use crate::sys::{Socket, current_processor, thread_cpu_time, thread_sleeps};

/// Time over which rate and sleeps are measured before the mark is set anew.
const WINDOW: Duration = Duration::from_millis(10);
/// The mark is never larger than the bytes that come in this time.
const MARK_OF_RATE: Duration = Duration::from_millis(1);
/// Largest mark in bytes of a receiver with time to spare.
const MARK_MAX: u64 = 2 * 1024 * 1024;
/// Largest mark in bytes of a receiver that is busy most of the time: it is what limits the stream, and what
/// waits for it grows cold and fills the receive buffer.
const BUSY_MARK_MAX: u64 = 512 * 1024;
/// Largest mark in bytes when the data come in on the receiver's own processor: the bytes of one wake-up
/// should still be in its cache.
const NEAR_MARK_MAX: u64 = 256 * 1024;
/// A receiver is busy when it works more than this many percent of the time.
const BUSY_PERCENT: u128 = 60;
/// Smallest mark in bytes that is worth setting; one byte is used instead of a smaller one.
const MARK_MIN: u64 = 64 * 1024;
/// Number of sleeps in a window from which on a receiver gets a larger mark.
const SLEEPS_MANY: u64 = 25;
/// Number of sleeps in a window below which a receiver gets a smaller mark.
const SLEEPS_FEW: u64 = 5;

pub(in crate::engine) struct ReceiveMark {
    socket: Arc<Socket>,
    mark_max: u64,
    mark: u64,
    /// Whether there may be a mark of more than one byte now.
    allowed: bool,
    /// The mark in bytes from before a larger one than one byte was forbidden.
    kept: u64,
    window_start: Instant,
    window_bytes: u64,
    window_sleeps: u64,
    window_cpu: CpuTime,
}

impl ReceiveMark {
    pub(in crate::engine) fn new(job: &StreamJob) -> Self {
        // A mark that the receive window cannot reach would make the receiver wait for its timeout.
        let buffer = job.socket.receive_buffer().map_or(0, u64::from);
        let fixed = job.window_fixed;
        let most = job.tuning.mark_bytes.map_or(MARK_MAX, u64::from);
        let mark_max = if fixed { (buffer / 4).min(most) } else { most };
        Self {
            socket: Arc::clone(&job.socket),
            mark_max,
            mark: 1,
            allowed: true,
            kept: 1,
            window_start: Instant::now(),
            window_bytes: 0,
            window_sleeps: thread_sleeps().unwrap_or_default(),
            window_cpu: thread_cpu_time().unwrap_or_default(),
        }
    }

    /// Sets the mark anew when a window is over. `total_bytes` is the number of bytes received so far.
    pub(in crate::engine) fn adapt(&mut self, now: Instant, total_bytes: u64) {
        let elapsed = now.duration_since(self.window_start);
        if elapsed < WINDOW {
            return;
        }
        let bytes = total_bytes - self.window_bytes;
        // Without them nothing is known to be gained by waiting for more.
        let (Some(total_sleeps), Some(total_cpu)) = (thread_sleeps(), thread_cpu_time()) else { return };
        let sleeps = total_sleeps - self.window_sleeps;
        let cpu = total_cpu.since(self.window_cpu);
        self.window_start = now;
        self.window_bytes = total_bytes;
        self.window_sleeps = total_sleeps;
        self.window_cpu = total_cpu;
        let busy = is_busy(cpu.user + cpu.system, elapsed);
        let mark_max = self.mark_max.min(match self.is_near() {
            true => NEAR_MARK_MAX,
            false if busy => BUSY_MARK_MAX,
            false => MARK_MAX,
        });
        let wanted = wanted_mark(self.mark, bytes, elapsed, sleeps).min(mark_max);
        if self.allowed && wanted != self.mark {
            self.set(wanted);
        }
    }

    /// Whether the receiver may wait for more than a byte. Where it may not for a while, the mark of before
    /// comes back afterwards.
    pub(in crate::engine) fn allow(&mut self, allowed: bool) {
        if allowed == self.allowed {
            return;
        }
        self.allowed = allowed;
        let wanted = if allowed { self.kept } else { 1 };
        self.kept = self.mark;
        if wanted != self.mark {
            self.set(wanted);
        }
    }

    /// Nothing came during a whole bounded wait: whatever comes next is wanted at once.
    pub(in crate::engine) fn idle(&mut self) {
        if self.mark > 1 {
            self.set(1);
        }
    }

    /// Whether the data come in on the processor that this thread runs on.
    fn is_near(&self) -> bool {
        let incoming = self.socket.incoming_processor().ok().flatten();
        incoming.is_some() && incoming == current_processor()
    }

    fn set(&mut self, mark: u64) {
        let bytes = u32::try_from(mark).expect("at most MARK_MAX");
        if self.socket.set_receive_low_water(bytes).is_ok() {
            self.mark = mark;
        }
    }
}

fn is_busy(cpu: Duration, elapsed: Duration) -> bool {
    cpu.as_nanos() * 100 > elapsed.as_nanos() * BUSY_PERCENT
}

/// The mark in bytes after a window of length `elapsed` with `bytes` bytes and `sleeps` sleeps.
fn wanted_mark(mark: u64, bytes: u64, elapsed: Duration, sleeps: u64) -> u64 {
    let share = u128::from(bytes) * MARK_OF_RATE.as_nanos() / elapsed.as_nanos().max(1);
    let share = u64::try_from(share).unwrap_or(MARK_MAX).min(MARK_MAX);
    // A window gets longer when nothing comes for a while.
    let windows = u64::try_from(elapsed.as_nanos() / WINDOW.as_nanos()).unwrap_or(u64::MAX).max(1);
    let wanted = match sleeps / windows {
        SLEEPS_MANY.. => mark.saturating_mul(2).max(MARK_MIN),
        0..SLEEPS_FEW => mark / 2,
        _ => mark,
    };
    match wanted.min(share) {
        small if small < MARK_MIN => 1,
        large => large,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_at_most_a_millisecond_of_the_rate_and_one_byte_at_low_rates() {
        for (bytes, mark) in [
            (0, 1),
            (1_250, 1),
            (600_000, 1),
            (1_000_000, 100_000),
            (2_000_000, 200_000),
            (1_000_000_000, MARK_MAX),
        ] {
            let highest = wanted_mark(MARK_MAX, bytes, WINDOW, SLEEPS_MANY);
            assert_eq!(highest, mark, "{bytes} bytes in 10 ms");
        }
    }

    #[test]
    fn only_a_receiver_that_sleeps_often_gets_a_larger_mark() {
        let fast = 100_000_000;
        for (mark, windows, sleeps, wanted) in [
            (1, 1, 0, 1),
            (1, 1, SLEEPS_FEW, 1),
            (1, 1, SLEEPS_MANY, MARK_MIN),
            (MARK_MIN, 1, SLEEPS_MANY, 2 * MARK_MIN),
            (2 * MARK_MIN, 1, SLEEPS_MANY - 1, 2 * MARK_MIN),
            (2 * MARK_MIN, 1, SLEEPS_FEW - 1, MARK_MIN),
            (MARK_MIN, 1, SLEEPS_FEW - 1, 1),
            (MARK_MIN, 2, SLEEPS_MANY, MARK_MIN),
        ] {
            let elapsed = WINDOW * windows;
            let bytes = fast * u64::from(windows);
            assert_eq!(wanted_mark(mark, bytes, elapsed, sleeps), wanted, "{mark} {windows} {sleeps}");
        }
    }
}
