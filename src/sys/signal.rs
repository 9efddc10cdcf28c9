//! Process-wide signal dispositions.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes two things an error of the write that meets them instead of the end of the process: a pipe or socket
/// that is closed, and a file that would become larger than the process may make one (`ulimit -f`).
pub fn ignore_failed_writes() {
    for refusal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: SIG_IGN installs no handler, so no code runs in signal context.
        let result = unsafe { signal(refusal, SigHandler::SigIgn) };
        debug_assert!(result.is_ok(), "{refusal} may always be ignored");
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP end the process again, at once, which they do not once they were caught.
pub fn default_signals() {
    for caught in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: SIG_DFL installs no handler, so no code runs in signal context.
        let result = unsafe { signal(caught, SigHandler::SigDfl) };
        debug_assert!(result.is_ok(), "these signals always have a default");
    }
}
