//! The clock of datagram headers, and exact sleeps.

use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};

/// Time since some moment before the start of the process (`CLOCK_MONOTONIC`).
///
/// # Panics
/// Never on Linux, which always has this clock.
#[must_use]
pub fn monotonic_now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has this clock");
    Duration::from(now)
}

/// Lets the calling thread's timers end as exactly as the hardware allows, instead of up to 50 us late.
pub fn use_exact_timers() {
    // A refusal only leaves the timers as they were.
    let _ = set_timerslack(1);
}
