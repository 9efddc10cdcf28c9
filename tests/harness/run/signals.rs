//! Signals that whoever runs the tests ignores, as nohup(1) does and a shell for what runs in the
//! background: a child inherits that, and would not end when a test tells it to.

#![expect(unsafe_code, reason = "what is done between fork and exec has no safe wrapper")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::LazyLock;

use nix::sys::signal::{SigHandler, Signal, signal};

/// What ends a program by default.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Those of them that this process ignores.
static IGNORED: LazyLock<Vec<Signal>> = LazyLock::new(|| {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ENDING.into_iter().filter(|signal| is_ignored(&status, *signal)).collect()
});

/// Has a child begin with the default meaning of signals.
pub fn give_back_signals(command: &mut Command) {
    // Without such a closure the child need not copy this process's memory map.
    if !IGNORED.is_empty() {
        let give_back = || {
            for &ending in IGNORED.iter() {
                // SAFETY: the default is no handler, so nothing of this process is ever called.
                unsafe { signal(ending, SigHandler::SigDfl) }?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it calls sigaction(2), which is async-signal-safe, and allocates
        // nothing.
        unsafe { command.pre_exec(give_back) };
    }
}

/// Whether a process with this `/proc/PID/status` ignores a signal.
pub fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as i32 - 1) & 1 == 1
}
