//! Memory is taken in large pieces only while enough is left for the small ones: a large piece that is
//! refused ends a test, a small one the whole process.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

/// Bytes that are kept free for small pieces, whose size nobody checks: reports, messages, and the values
/// that a test consists of.
const HEADROOM_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that threads are expected to take in small pieces still.
static RESERVED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A number of bytes that a thread is expected to take in small pieces until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation(usize);

impl Reservation {
    /// Counts `bytes` bytes as reserved.
    pub(super) fn of(bytes: usize) -> Self {
        RESERVED_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        RESERVED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Takes a piece of `bytes` bytes by `take`, one at a time.
///
/// # Errors
/// ENOMEM when too little would be left; else those of `take`.
pub(super) fn take<T>(bytes: usize, take: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = bytes.saturating_add(HEADROOM_BYTES + RESERVED_BYTES.load(Ordering::Relaxed));
    // Not found out by trying: what is taken for a moment is missing in that moment.
    if left_bytes().is_some_and(|left| left < u64::try_from(wanted).unwrap_or(u64::MAX)) {
        return Err(Errno::ENOMEM.into());
    }
    take()
}

/// Bytes that the process may still take; `None` where nothing limits it, or where that cannot be found out.
fn left_bytes() -> Option<u64> {
    // Pages of all kinds, and those that are written to.
    let of_process = |resource, field| {
        let (limit, _) = getrlimit(resource).ok().filter(|(limit, _)| *limit != RLIM_INFINITY)?;
        let statm = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split_ascii_whitespace().nth(field)?.parse().ok()?;
        let page_bytes = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
        Some(limit.saturating_sub(pages.saturating_mul(page_bytes)))
    };
    let lefts = [of_process(Resource::RLIMIT_AS, 0), of_process(Resource::RLIMIT_DATA, 5), left_of_machine()];
    lefts.into_iter().flatten().min()
}

/// Bytes that are left of the machine's memory where the kernel promises no more than there is
/// (`vm.overcommit_memory` 2); `None` elsewhere.
fn left_of_machine() -> Option<u64> {
    static IS_STRICT: LazyLock<bool> = LazyLock::new(|| {
        fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2")
    });
    if !*IS_STRICT {
        return None;
    }
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(bytes("CommitLimit:")?.saturating_sub(bytes("Committed_AS:")?))
}

/// Lets all threads take their small pieces from one heap. The GNU C library gives threads heaps of their
/// own, 64 MiB of address space each, which nobody needs who takes no memory while data flow.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call only changes what the allocator does from now on, and no thread has been started yet.
    // It fails for values that it does not know; then everything is as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::setrlimit;

    use super::*;

    #[test]
    fn what_is_left_is_known_where_there_is_a_limit() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        // Far more than all tests of this process together need.
        let limit = hard.min(1 << 46);
        setrlimit(Resource::RLIMIT_AS, limit, hard).unwrap();
        let left = left_bytes();
        let refused = take(1 << 50, || Ok(())).map_err(|error| error.raw_os_error());
        let taken = take(1 << 20, || Ok(7));
        setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
        assert!(left.is_some_and(|left| left < limit), "{left:?}");
        assert_eq!(refused, Err(Some(libc::ENOMEM)));
        assert_eq!(taken.unwrap(), 7);
    }
}
