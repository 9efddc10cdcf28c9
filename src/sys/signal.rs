//! Process-wide signal dispositions.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

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

/// Signals that end a run. SIGHUP does not where it is ignored from the start.
fn ending() -> impl Iterator<Item = Signal> {
    let hangup = (!ignores_hangup()).then_some(Signal::SIGHUP);
    [Signal::SIGINT, Signal::SIGTERM].into_iter().chain(hangup)
}

/// Whether this process was started with SIGHUP ignored, as by nohup(1): then that is what it should be.
#[must_use]
pub fn ignores_hangup() -> bool {
    // Asked before anything catches the signal for the first time.
    static IGNORED: OnceLock<bool> = OnceLock::new();
    *IGNORED.get_or_init(|| {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action the call only writes the current one to the place it is given, which
        // is as large; all bits zero are a valid value too, so what is there is initialized in any case.
        let now = unsafe {
            libc::sigaction(libc::SIGHUP, std::ptr::null(), now.as_mut_ptr());
            now.assume_init()
        };
        now.sa_sigaction == libc::SIG_IGN
    })
}

/// Whether one of the signals that end a run has come since [`note_signals`].
static HAS_COME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on SIGINT, SIGTERM and SIGHUP do not end the process, and [`has_signal_come`] knows of them. A
/// SIGHUP that is ignored from the start stays so.
///
/// # Errors
/// The system's.
pub fn note_signals() -> io::Result<()> {
    for signal in ending() {
        signal_hook::flag::register(signal as i32, Arc::clone(&HAS_COME))?;
    }
    Ok(())
}

/// Whether SIGINT, SIGTERM or SIGHUP has come since [`note_signals`], also if nobody was waiting for it.
#[must_use]
pub fn has_signal_come() -> bool {
    HAS_COME.load(Ordering::SeqCst)
}

/// From now on SIGINT, SIGTERM and SIGHUP end the process at once with this status, SIGHUP as above.
///
/// # Errors
/// The system's.
pub fn exit_at_signals(status: u8) -> io::Result<()> {
    for signal in ending() {
        let always = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_shutdown(signal as i32, status.into(), always)?;
    }
    Ok(())
}
