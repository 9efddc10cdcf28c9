//! The clock of datagram headers, exact sleeps, and the ticks that processor time is counted in.

use std::num::NonZeroU64;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// What the kernel shows programs on all architectures but Alpha: `USER_HZ` of include/asm-generic/param.h.
const USUAL_TICKS_PER_SECOND: NonZeroU64 = NonZeroU64::new(100).expect("it is not 0");

/// Time since some moment before the start of the process (`CLOCK_MONOTONIC`).
///
/// # Panics
/// Never on Linux, which always has this clock.
#[must_use]
pub fn monotonic_now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has this clock");
    Duration::from(now)
}

/// How many of the ticks in which files of `/proc` count processor time are a second (`USER_HZ`).
#[must_use]
pub fn clock_ticks_per_second() -> NonZeroU64 {
    let told = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let told = told.and_then(|ticks| u64::try_from(ticks).ok()).and_then(NonZeroU64::new);
    told.unwrap_or(USUAL_TICKS_PER_SECOND)
}

/// Lets the calling thread's timers end as exactly as the hardware allows, instead of up to 50 us late.
pub fn use_exact_timers() {
    // A refusal only leaves the timers as they were.
    let _ = set_timerslack(1);
}
