//! Splitting a process in two.

use std::fs;
use std::io;

use nix::unistd::{ForkResult, Pid};

/// In which of the two processes [`fork`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The process that called; the number of the new one.
    Parent(Pid),
    /// The new process.
    Child,
}

/// fork(2), for a process with one thread.
///
/// # Errors
/// The system's, and one for a process with more threads: its locks could stay locked for ever in the child.
pub fn fork() -> io::Result<Fork> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("a process with {threads} threads cannot be split")));
    }
    // SAFETY: this is the only thread, as just counted, so no other one can hold a lock or be in the middle
    // of anything that the child would go on with.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_split() {
        // The test runner has a thread of its own beside this one.
        let error = fork().unwrap_err();
        assert!(error.to_string().contains("threads cannot be split"), "{error}");
    }
}
