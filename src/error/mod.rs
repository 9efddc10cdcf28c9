//! Why a run ended without a complete result: whose doing it was, and what the process exits with.
//!
//! There are four kinds, a type for each: what this end lacks ([`SetupError`]), what the other end or the
//! network between did ([`PeerError`]), what a server does not let its clients do ([`LimitError`]), and a
//! signal ([`Interruption`]). What depends on a single error is decided with the others of its kind, error by
//! error, so a new one is not forgotten.

mod limits;
mod peer;
mod setup;

use std::io;

use crate::protocol::ErrorCode;
use crate::report::{FailureText, Introduction};
use crate::sys::error_message;

pub use limits::LimitError;
pub use peer::PeerError;
pub(crate) use peer::due;
pub use setup::SetupError;

/// Why a run, or one session of a server, ended without a complete result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This machine or this command line.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The other end, or the network between.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// What this server does not let its clients do.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Nobody: a signal ended the run.
    #[error(transparent)]
    Interrupted(#[from] Interruption),
}

/// A signal ended this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupt - the {role} has terminated by signal {signal}")]
pub struct Interruption {
    /// "client" or "server".
    pub role: &'static str,
    /// For example "Interrupt(2)".
    pub signal: &'static str,
}

impl RunError {
    /// Whether it was a signal that ended the run, which is no failure.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted(_))
    }

    /// What the process exits with: 0 after a signal, as iperf3 since 3.19, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(_) => 0,
            Self::Setup(_) | Self::Peer(_) | Self::Limit(_) => 1,
        }
    }

    /// What iperf3 says of the same, to the letter; of what it does not know, the same as `Display`.
    #[must_use]
    pub fn in_iperf3s_words(&self) -> String {
        match self {
            Self::Setup(error) => error.in_iperf3s_words(),
            Self::Peer(error) => error.in_iperf3s_words(),
            Self::Limit(error) => error.in_iperf3s_words(),
            Self::Interrupted(_) => self.to_string(),
        }
    }

    /// The number by which a server tells its client; `None` when the client is not to be told, or by a
    /// state.
    #[must_use]
    pub fn code_for_client(&self) -> Option<ErrorCode> {
        match self {
            Self::Setup(error) => error.code_for_client(),
            Self::Peer(error) => error.code_for_client(),
            Self::Limit(error) => error.code_for_client(),
            Self::Interrupted(_) => None,
        }
    }

    fn failure_text(&self) -> FailureText {
        let introduced = |introduction| FailureText {
            full: self.to_string(),
            plain: self.in_iperf3s_words(),
            introduction,
        };
        match self {
            Self::Peer(error) => error.failure_text(),
            Self::Setup(_) | Self::Limit(_) => introduced(Introduction::Error),
            Self::Interrupted(_) => introduced(Introduction::Bare),
        }
    }
}

impl From<&RunError> for FailureText {
    fn from(error: &RunError) -> Self {
        error.failure_text()
    }
}

/// iperf3's words for a failure, with the system's where it has them.
fn with_system_words(code: ErrorCode, source: &io::Error) -> String {
    code.with_system_words(&error_message(source))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::ServerError;

    fn said(code: ErrorCode, errno: i32) -> RunError {
        PeerError::Server(ServerError { code, os_error: Some(errno) }).into()
    }

    #[test]
    fn messages_that_scripts_match_keep_iperf3s_words() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let connect = PeerError::Connect { address: "127.0.0.1, port 5201".to_owned(), source: refused };
        assert_eq!(
            RunError::from(connect).to_string(),
            "unable to connect to server - server may have stopped running or use a different port, firewall \
             issue, etc.: Connection refused (127.0.0.1, port 5201)"
        );
        let busy = "the server is busy running a test. try again later";
        assert_eq!(RunError::from(PeerError::Busy).to_string(), busy);
        assert_eq!(RunError::from(LimitError::NoSlot).to_string(), busy);
        assert_eq!(
            said(ErrorCode::TOTAL_RATE, 9).to_string(),
            "SERVER ERROR - total required bandwidth is larger than server limit (server's errno 9)"
        );
    }

    #[test]
    fn called_as_iperf3_nothing_is_added_to_its_words() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let connect = "unable to connect to server - server may have stopped running or use a different port, \
            firewall issue, etc.";
        let gai = "failed to lookup address information: Name or service not known";
        for (error, plain) in [
            (
                PeerError::Connect { address: "h, port 1".to_owned(), source: refused() }.into(),
                format!("{connect}: Connection refused"),
            ),
            (
                SetupError::Resolve { host: "h".to_owned(), source: io::Error::other(gai) }.into(),
                format!("{connect}: Name or service not known"),
            ),
            (
                said(ErrorCode::TOTAL_RATE, 9),
                "total required bandwidth is larger than server limit".to_owned(),
            ),
            (said(ErrorCode::INIT_TEST, 111), "test initialization failed: Connection refused".to_owned()),
            (
                PeerError::Closed { waiting_for: "results" }.into(),
                "control socket has closed unexpectedly".to_owned(),
            ),
            (PeerError::Stalled(Duration::from_secs(1)).into(), "idle timeout for receiving data".to_owned()),
            (PeerError::Busy.into(), "the server is busy running a test. try again later".to_owned()),
            (
                SetupError::From {
                    code: ErrorCode::CONNECT,
                    from: "-B 10.0.0.1".to_owned(),
                    source: io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
                    fix: "this machine has 127.0.0.1".to_owned(),
                }
                .into(),
                format!("{connect}: Cannot assign requested address"),
            ),
        ] {
            assert_eq!(FailureText::from(&error).plain, plain);
        }
    }

    #[test]
    fn a_servers_words_are_introduced_as_a_servers() {
        for (errno, full, announcement) in [
            (
                9,
                "total required bandwidth is larger than server limit (server's errno 9)",
                "total required bandwidth is larger than server limit, errno: Bad file descriptor",
            ),
            (
                0,
                "total required bandwidth is larger than server limit",
                "total required bandwidth is larger than server limit",
            ),
        ] {
            let limit = FailureText::from(&said(ErrorCode::TOTAL_RATE, errno));
            let introduction = Introduction::ServerError { announcement: announcement.to_owned() };
            assert_eq!((limit.full.as_str(), limit.introduction), (full, introduction));
        }
    }

    #[test]
    fn what_says_by_itself_who_has_ended_the_test_is_not_introduced() {
        let interruption = Interruption { role: "server", signal: "Interrupt(2)" };
        let errors: [(RunError, Introduction); 6] = [
            (interruption.into(), Introduction::Bare),
            (PeerError::ClientGone { waiting_for: "results" }.into(), Introduction::Bare),
            (PeerError::ClientTerminated.into(), Introduction::Bare),
            (PeerError::ServerTerminated.into(), Introduction::Error),
            (PeerError::Closed { waiting_for: "results" }.into(), Introduction::Error),
            (LimitError::RateLimit.into(), Introduction::Error),
        ];
        for (error, introduction) in errors {
            let failure = FailureText::from(&error);
            assert_eq!((failure.introduction, failure.full), (introduction, error.to_string()));
        }
    }

    #[test]
    fn only_a_signal_is_no_failure() {
        let interruption = Interruption { role: "client", signal: "Interrupt(2)" };
        let errors: [(RunError, u8); 4] = [
            (interruption.into(), 0),
            (SetupError::NoEngine.into(), 1),
            (PeerError::Busy.into(), 1),
            (LimitError::NoSlot.into(), 1),
        ];
        for (error, code) in errors {
            assert_eq!((error.exit_code(), error.is_interrupted()), (code, code == 0));
        }
    }
}
