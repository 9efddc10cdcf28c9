//! Threads: how they start, what they know of themselves, where they run; and randomness.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, gettid};

use super::headroom::{Reservation, take};
use crate::stats::CpuTime;

/// Bytes of the stack of a stream's thread, which has no large values on it and does not recurse.
const STREAM_STACK_BYTES: usize = 512 * 1024;
/// Bytes that a stream's thread takes in small pieces, most of them for distributions of times.
const STREAM_BYTES: usize = 256 * 1024;

/// Processor time that the calling thread has used so far; `None` where a sandbox does not let it ask.
#[must_use]
pub fn thread_cpu_time() -> Option<CpuTime> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    Some(CpuTime { user: to_duration(usage.user_time()), system: to_duration(usage.system_time()) })
}

/// The id of the calling thread, which the folders of `/proc/self/task` are named after; that of
/// [`std::thread::current`] is another one.
#[must_use]
pub fn thread_id() -> u32 {
    u32::try_from(gettid().as_raw()).expect("ids of threads are positive")
}

/// The processor that the calling thread is on at this moment, the first one being 0; `None` where the kernel
/// does not tell.
#[must_use]
pub fn current_processor() -> Option<u32> {
    u32::try_from(sched_getcpu().ok()?).ok()
}

/// Number of times that the calling thread has waited so far (voluntary context switches); `None` as with
/// [`thread_cpu_time`].
#[must_use]
pub fn thread_sleeps() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    u64::try_from(usage.voluntary_context_switches()).ok()
}

/// Asks the scheduler for time slices of this length for the calling thread, or of the nearest length between
/// 0.1 and 100 ms. A thread with shorter slices than others waits less for each of them and gets no less time
/// in all. Zero asks for the system's own length. A new thread has that of the thread that starts it. Linux
/// before 6.12 takes no notice.
///
/// # Errors
/// EPERM where the system forbids it.
pub fn set_time_slice(slice: Duration) -> io::Result<()> {
    let mut attributes = scheduling()?;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads the struct, whose size stands in it, and keeps no pointer to it.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    Errno::result(set)?;
    Ok(())
}

/// How the calling thread is scheduled.
fn scheduling() -> io::Result<libc::sched_attr> {
    // SAFETY: all bits zero are a valid value of this struct of integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = u32::try_from(size_of::<libc::sched_attr>()).expect("some dozens of bytes");
    // SAFETY: the kernel writes at most `size` bytes to a struct of that size, and keeps no pointer to it.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    Errno::result(read)?;
    Ok(attributes)
}

/// Keeps the calling thread, and all that it starts meanwhile, on one processor until this is dropped.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Moves the calling thread to processor number `cpu`, from 0.
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

/// Starts a thread that gets no signal, so that the control thread gets them all.
///
/// # Errors
/// The system's, when it cannot start a thread.
pub fn start_thread<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    without_signals(|| thread::Builder::new().name(name.into()).spawn(body))
}

/// Starts a thread of which there may be hundreds, with all signals blocked: its stack is small, and it is
/// started only where there is memory for it and for what it will take in small pieces.
///
/// # Errors
/// As [`start_thread`]; ENOMEM when there is too little memory.
pub fn start_stream_thread<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let reservation = Reservation::of(STREAM_BYTES);
    let body = move || {
        let _reservation = reservation;
        body()
    };
    let builder = thread::Builder::new().name(name.into()).stack_size(STREAM_STACK_BYTES);
    take(STREAM_STACK_BYTES, || without_signals(|| builder.spawn(body)))
}

/// Calls `start` with all signals blocked, since a new thread has the signal mask of the thread that starts
/// it. One that blocked its signals by itself could get a signal before that, which would end the process.
fn without_signals<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = start();
    before.thread_set_mask()?;
    started
}

/// Fills `buffer` with random bytes from the kernel. It takes neither a descriptor nor a file of `/dev` where
/// the kernel has getrandom(2), as Linux has since 3.17.
///
/// # Errors
/// The system's from getrandom(2), which only a sandbox refuses.
pub fn random_bytes(buffer: &mut [u8]) -> io::Result<()> {
    getrandom::fill(buffer).map_err(io::Error::from)
}

fn to_duration(time: TimeVal) -> Duration {
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_time_slice_changes_nothing_else() {
        let before = scheduling().unwrap();
        for wanted in [100, 3_000] {
            let wanted = Duration::from_micros(wanted);
            set_time_slice(wanted).unwrap();
            let now = scheduling().unwrap();
            let kept =
                |of: &libc::sched_attr| (of.sched_policy, of.sched_flags, of.sched_nice, of.sched_priority);
            assert_eq!(kept(&now), kept(&before));
            // An old kernel knows of no slices.
            assert!([0, wanted.as_nanos()].contains(&u128::from(now.sched_runtime)), "{}", now.sched_runtime);
        }
    }

    #[test]
    fn a_thread_starts_without_signals() {
        let blocked = || Vec::from_iter(&SigSet::thread_get_mask().unwrap());
        let before = blocked();
        let of_thread = start_thread("mask", blocked).unwrap().join().unwrap();
        for signal in
            SigSet::all().iter().filter(|signal| ![Signal::SIGKILL, Signal::SIGSTOP].contains(signal))
        {
            assert!(of_thread.contains(&signal), "{signal} is not blocked");
        }
        assert_eq!(blocked(), before);
    }

    #[test]
    fn a_thread_is_pinned_only_for_a_while() {
        let allowed = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let before = allowed();
        let cpu = (0..CpuSet::count()).find(|&cpu| before.is_set(cpu).unwrap()).unwrap();
        let mut only = CpuSet::new();
        only.set(cpu).unwrap();
        let pinned = Pinned::to(u32::try_from(cpu).unwrap()).unwrap();
        assert_eq!(allowed(), only);
        assert_eq!(current_processor(), u32::try_from(cpu).ok());
        drop(pinned);
        assert_eq!(allowed(), before);
        for none in [1000, 1024] {
            assert_eq!(Pinned::to(none).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{none}");
        }
        assert_eq!(allowed(), before);
    }
}
