//! What a thread knows of itself, where it runs, and randomness.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::SigSet;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

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

/// Keeps the calling thread, and all that it starts meanwhile, on one processor until this is dropped.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Goes to that processor, the first one being 0.
    ///
    /// # Errors
    /// EINVAL when there is no such processor, or this process may not use it.
    pub fn to(cpu: u32) -> io::Result<Self> {
        let this_thread = Pid::from_raw(0);
        let before = sched_getaffinity(this_thread)?;
        let mut only = CpuSet::new();
        only.set(usize::try_from(cpu).expect("a u32 fits a usize on Linux"))?;
        sched_setaffinity(this_thread, &only)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Fails only when none of the processors from before are left; then any other is as good.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_only_for_a_while() {
        let allowed = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let before = allowed();
        let cpu = (0..CpuSet::count()).find(|&cpu| before.is_set(cpu).unwrap()).unwrap();
        let mut only = CpuSet::new();
        only.set(cpu).unwrap();
        let pinned = Pinned::to(u32::try_from(cpu).unwrap()).unwrap();
        assert_eq!(allowed(), only);
        drop(pinned);
        assert_eq!(allowed(), before);
        for none in [1000, 1024] {
            assert_eq!(Pinned::to(none).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{none}");
        }
        assert_eq!(allowed(), before);
    }
}
