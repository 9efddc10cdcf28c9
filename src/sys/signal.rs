//! Process-wide signal dispositions.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a write to a closed pipe or socket an error instead of the end of the process.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN installs no handler, so no code runs in signal context.
    let result = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    debug_assert!(result.is_ok(), "SIGPIPE may always be ignored");
}
