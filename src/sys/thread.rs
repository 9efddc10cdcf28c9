//! What a thread knows of itself, and randomness.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::SigSet;
use nix::sys::time::{TimeVal, TimeValLike};

use crate::stats::CpuTime;

/// Processor time that the calling thread has used so far.
///
/// # Panics
/// Never on Linux since 2.6.26: the call has no way to fail with these arguments.
#[must_use]
pub fn thread_cpu_time() -> CpuTime {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("RUSAGE_THREAD is known since Linux 2.6.26");
    CpuTime { user: to_duration(usage.user_time()), system: to_duration(usage.system_time()) }
}

/// Keeps all signals away from the calling thread, so that the control thread gets them.
pub fn block_signals() {
    // Fails only for an invalid operation code, which this is not.
    let _ = SigSet::all().thread_block();
}

/// Fills `buffer` with random bytes from the kernel.
///
/// # Errors
/// Those of reading `/dev/urandom`.
pub fn random_bytes(buffer: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(buffer)
}

fn to_duration(time: TimeVal) -> Duration {
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
}
