//! What a server refuses its clients, or ends.

use std::net::IpAddr;
use std::time::Duration;

use crate::auth::Refusal;
use crate::protocol::ErrorCode;

/// What a server does not let a client do: it is no fault of this machine, and no breach of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The client is nobody who may run a test here. The client itself hears only the first three words.
    #[error("{} for the client at {client}: {refusal}", ErrorCode::AUTHORIZATION)]
    Unauthorized {
        /// Where it is.
        client: IpAddr,
        /// Why.
        refusal: Refusal,
    },
    /// A client wants a test over UDP from a server that reads or writes a file.
    #[error("{}", ErrorCode::UDP_FILE)]
    FileOverUdp,
    /// The client's test is longer than the server allows, or has no known end.
    #[error("{}", ErrorCode::MAX_DURATION)]
    TooLongTest,
    /// The client let the time of its own test pass.
    #[error("{}", ErrorCode::DURATION_EXPIRED)]
    Overdue,
    /// The client asks for a higher rate than the server allows, or has reached one.
    #[error("{}", ErrorCode::TOTAL_RATE)]
    RateLimit,
    /// Other tests have all the slots, or others need the place of this set-up more.
    #[error("{}", ErrorCode::ACCESS_DENIED)]
    NoSlot,
    /// The client has another test whose streams must be there first.
    #[error(
        "another test of the same client was still being set up {} seconds later, and their streams cannot be told \
         apart", .0.as_secs()
    )]
    SetupLocked(Duration),
    /// Nothing has moved in the client's test for so long, and another client has taken its slot.
    #[error(
        "nothing was transferred for {:.1} seconds, and another client was waiting", .0.as_secs_f64()
    )]
    Displaced(Duration),
    /// A client's exchange of results goes on and on, and others need what it holds.
    #[error("the exchange of results took too long, and other clients were waiting")]
    Evicted,
    /// A source has had as many tests as it may have.
    #[error("the client at {client} was turned away: it has had {most} tests within a minute")]
    TooManyTests {
        /// Where it is.
        client: IpAddr,
        /// What `--max-tests-per-minute` allows.
        most: u32,
    },
}

impl LimitError {
    /// As [`super::RunError::in_iperf3s_words`].
    pub(super) fn in_iperf3s_words(&self) -> String {
        match self {
            Self::Unauthorized { .. } => ErrorCode::AUTHORIZATION.to_string(),
            Self::FileOverUdp
            | Self::TooLongTest
            | Self::Overdue
            | Self::RateLimit
            | Self::NoSlot
            | Self::SetupLocked(_)
            | Self::Displaced(_)
            | Self::Evicted
            | Self::TooManyTests { .. } => self.to_string(),
        }
    }

    /// As [`super::RunError::code_for_client`].
    pub(super) fn code_for_client(&self) -> Option<ErrorCode> {
        match self {
            Self::Unauthorized { .. } => Some(ErrorCode::AUTHORIZATION),
            Self::FileOverUdp => Some(ErrorCode::UDP_FILE),
            Self::TooLongTest => Some(ErrorCode::MAX_DURATION),
            Self::Overdue => Some(ErrorCode::DURATION_EXPIRED),
            Self::RateLimit => Some(ErrorCode::TOTAL_RATE),
            Self::SetupLocked(_) | Self::Displaced(_) | Self::Evicted => Some(ErrorCode::ACCESS_DENIED),
            // The protocol has a state for that.
            Self::NoSlot | Self::TooManyTests { .. } => None,
        }
    }
}
