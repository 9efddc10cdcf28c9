//! What the other end did, or the network between.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::with_system_words;
use crate::config::{EngineChoice, Placement};
use crate::protocol::{ErrorCode, ParamsError, ResultsError, ServerError, State};
use crate::report::{FailureText, Introduction};
use crate::sys::{error_message, with_fix};

/// What the other end said or left unsaid, or what became of the connections to it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No control connection.
    #[error("{}: {} ({address})", ErrorCode::CONNECT, with_fix(source))]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server runs another test.
    #[error("{}", ErrorCode::ACCESS_DENIED)]
    Busy,
    /// The server says that it failed.
    #[error("SERVER ERROR - {}", reason(.0))]
    Server(ServerError),
    /// The server cannot run the engine that it was asked for.
    #[error(
        "the server cannot run --peer-engine {0}; its own output says why, and --peer-engine auto lets it choose"
    )]
    Engine(EngineChoice),
    /// The server cannot run its streams on the processors that it was asked for.
    #[error("the server cannot run its streams on --peer-cpus {0}; its own output says why")]
    Cpus(Placement),
    /// The control connection ended without the protocol's words.
    #[error("{} (while waiting for {waiting_for})", ErrorCode::CONTROL_CLOSED)]
    Closed {
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
    },
    /// A client that a server had a test with is gone.
    #[error("the client has unexpectedly closed the connection (while waiting for {waiting_for})")]
    ClientGone {
        /// What should have come.
        waiting_for: &'static str,
    },
    /// The peer is there but does not say what it should.
    #[error("the peer did not send {} within {} seconds; {}", due(waiting_for), .after.as_secs(), why_not(waiting_for))]
    Silent {
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The control connection failed.
    #[error("{}: {}", ErrorCode::CONTROL_READ, error_message(.0))]
    Control(#[source] io::Error),
    /// A byte that is no state: the other end speaks something else.
    #[error("{code}: byte {0}", code = ErrorCode::UNKNOWN_MESSAGE)]
    UnknownState(u8),
    /// A state that has no place here.
    #[error("the peer sent {state} where {} was due", due(waiting_for))]
    Unexpected {
        /// What came.
        state: State,
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
    },
    /// A length word that no sane peer sends.
    #[error("the peer announced {what} of {bytes} bytes; at most {most} are read")]
    TooLong {
        /// Parameters or results.
        what: &'static str,
        /// The length it announced.
        bytes: u32,
        /// The limit.
        most: u32,
    },
    /// The server was ended by a signal.
    #[error("{}", ErrorCode::SERVER_TERMINATED)]
    ServerTerminated,
    /// The client was ended by a signal.
    #[error("{}", ErrorCode::CLIENT_TERMINATED)]
    ClientTerminated,
    /// The client's parameters are refused.
    #[error("the client's parameters are refused: {0}")]
    Params(#[from] ParamsError),
    /// The peer's results make no sense.
    #[error("{code}: {0}", code = ErrorCode::RECV_RESULTS)]
    Results(#[from] ResultsError),
    /// The peer's results name a stream that does not exist.
    #[error("the peer's results name stream {0}, which does not exist")]
    StreamId(u32),
    /// A data connection could not be made.
    #[error("{}: {} ({address})", ErrorCode::STREAM_CONNECT, with_fix(source))]
    StreamConnect {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A data connection was gone before it could be used.
    #[error("a data connection was reset at once: {}", with_fix(.0))]
    StreamReset(#[source] io::Error),
    /// The server did not answer the first word of a UDP stream.
    #[error(
        "the server ({server}) did not answer over UDP within {} seconds; a firewall may block UDP port {}, or the \
         datagram was lost, or it came to the server from another address than the control connection (policy \
         routing, carrier NAT; the server's own output says so): let UDP through, or try again",
        .after.as_secs(), .server.port()
    )]
    UdpSilent {
        /// Where the word was sent to.
        server: SocketAddr,
        /// How long the answer had.
        after: Duration,
    },
    /// The server's host says that nothing listens there.
    #[error(
        "the server ({server}) refuses UDP port {}; a firewall may block it, or it is not forwarded to the server",
        .server.port()
    )]
    UdpClosed {
        /// Where the word was sent to.
        server: SocketAddr,
    },
    /// The client has not opened its next UDP stream.
    #[error(
        "no UDP datagram came from the client within {} seconds; a firewall may block UDP, or the datagram was lost",
        .after.as_secs()
    )]
    UdpNoClient {
        /// How long the client had.
        after: Duration,
    },
    /// All data connections died before the test was over.
    #[error("all data connections ended before the test was over: {reason}")]
    StreamsLost {
        /// How the last of them ended.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("{}: nothing was transferred for {} seconds", ErrorCode::RECV_TIMEOUT, .0.as_secs_f64())]
    Stalled(Duration),
}

impl PeerError {
    /// What the report says of it.
    pub(super) fn failure_text(&self) -> FailureText {
        let (full, introduction) = match self {
            Self::Server(said) => {
                (reason(said), Introduction::ServerError { announcement: announcement(said) })
            }
            Self::ClientGone { .. } | Self::ClientTerminated => (self.to_string(), Introduction::Bare),
            Self::Connect { .. }
            | Self::Busy
            | Self::Engine(_)
            | Self::Cpus(_)
            | Self::Closed { .. }
            | Self::Silent { .. }
            | Self::Control(_)
            | Self::UnknownState(_)
            | Self::Unexpected { .. }
            | Self::TooLong { .. }
            | Self::ServerTerminated
            | Self::Params(_)
            | Self::Results(_)
            | Self::StreamId(_)
            | Self::StreamConnect { .. }
            | Self::StreamReset(_)
            | Self::UdpSilent { .. }
            | Self::UdpClosed { .. }
            | Self::UdpNoClient { .. }
            | Self::StreamsLost { .. }
            | Self::Stalled(_) => (self.to_string(), Introduction::Error),
        };
        FailureText { full, plain: self.in_iperf3s_words(), introduction }
    }

    /// As [`super::RunError::in_iperf3s_words`].
    pub(super) fn in_iperf3s_words(&self) -> String {
        match self {
            Self::Connect { source, .. } => with_system_words(ErrorCode::CONNECT, source),
            Self::Server(said) => said.code.with_system_words(&words_of(said)),
            Self::Closed { .. } => ErrorCode::CONTROL_CLOSED.to_string(),
            Self::ClientGone { .. } => "the client has unexpectedly closed the connection".to_owned(),
            Self::Control(source) => with_system_words(ErrorCode::RECV_MESSAGE, source),
            Self::UnknownState(_) => ErrorCode::UNKNOWN_MESSAGE.to_string(),
            Self::Params(error) => error.code().to_string(),
            Self::Results(_) => ErrorCode::RECV_RESULTS.to_string(),
            Self::StreamId(_) => ErrorCode::STREAM_ID.to_string(),
            Self::StreamConnect { source, .. } => with_system_words(ErrorCode::STREAM_CONNECT, source),
            Self::Stalled(_) => ErrorCode::RECV_TIMEOUT.to_string(),
            Self::Busy
            | Self::Engine(_)
            | Self::Cpus(_)
            | Self::Silent { .. }
            | Self::Unexpected { .. }
            | Self::TooLong { .. }
            | Self::ServerTerminated
            | Self::ClientTerminated
            | Self::StreamReset(_)
            | Self::UdpSilent { .. }
            | Self::UdpClosed { .. }
            | Self::UdpNoClient { .. }
            | Self::StreamsLost { .. } => self.to_string(),
        }
    }

    /// As [`super::RunError::code_for_client`].
    pub(super) fn code_for_client(&self) -> Option<ErrorCode> {
        match self {
            Self::Silent { .. } => Some(ErrorCode::RECV_MESSAGE),
            Self::UnknownState(_) | Self::Unexpected { .. } => Some(ErrorCode::UNKNOWN_MESSAGE),
            Self::TooLong { what: "parameters", .. } => Some(ErrorCode::RECV_PARAMS),
            Self::TooLong { .. } => Some(ErrorCode::RECV_RESULTS),
            Self::ClientTerminated => Some(ErrorCode::CLIENT_TERMINATED),
            Self::Params(error) => Some(error.code()),
            Self::Results(error) => Some(error.code()),
            Self::StreamId(_) => Some(ErrorCode::STREAM_ID),
            Self::StreamReset(_) => Some(ErrorCode::INIT_TEST),
            Self::UdpNoClient { .. } => Some(ErrorCode::STREAM_ACCEPT),
            Self::StreamsLost { .. } => Some(ErrorCode::STREAM_WRITE),
            Self::Stalled(_) => Some(ErrorCode::RECV_TIMEOUT),
            // There is no way to tell a client that is gone, and the others are a client's own.
            Self::Closed { .. }
            | Self::ClientGone { .. }
            | Self::Control(_)
            | Self::Connect { .. }
            | Self::Busy
            | Self::Server(_)
            | Self::Engine(_)
            | Self::Cpus(_)
            | Self::ServerTerminated
            | Self::StreamConnect { .. }
            | Self::UdpSilent { .. }
            | Self::UdpClosed { .. } => None,
        }
    }
}

/// What should have come, without why it may not have.
pub(crate) fn due(waiting_for: &str) -> &str {
    waiting_for.split_once("; ").map_or(waiting_for, |(due, _)| due)
}

/// Why it may not have come.
fn why_not(waiting_for: &str) -> &str {
    waiting_for.split_once("; ").map_or("it may be hung or unreachable", |(_, why)| why)
}

/// What iperf3 says first of a server's failure.
fn announcement(said: &ServerError) -> String {
    let words = words_of(said);
    let reason = said.code.with_system_words(&words);
    let errno = if words.is_empty() { String::new() } else { format!(", errno: {words}") };
    reason + &errno
}

/// What a server says of its failure. Its `errno` is often a stale one, so it is only mentioned.
fn reason(said: &ServerError) -> String {
    match said.os_error {
        Some(number) if number != 0 => format!("{} (server's errno {number})", said.code),
        _ => said.code.to_string(),
    }
}

/// The system's words for the server's `errno`; none without one.
fn words_of(said: &ServerError) -> String {
    match said.os_error {
        None | Some(0) => String::new(),
        Some(number) => error_message(&io::Error::from_raw_os_error(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_stand_behind_the_sentence() {
        let waiting_for = "the server's first answer; it may be busy";
        let after = Duration::from_secs(10);
        for (error, text) in [
            (
                PeerError::Silent { waiting_for, after },
                "the peer did not send the server's first answer within 10 seconds; it may be busy",
            ),
            (
                PeerError::Silent { waiting_for: "results", after },
                "the peer did not send results within 10 seconds; it may be hung or unreachable",
            ),
            (
                PeerError::Unexpected { state: State::TestEnd, waiting_for },
                "the peer sent TEST_END where the server's first answer was due",
            ),
            (
                PeerError::Closed { waiting_for },
                "control socket has closed unexpectedly (while waiting for the server's first answer; it may be \
                 busy)",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
