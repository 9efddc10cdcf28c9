//! What two ringperfs tell each other and no iperf3 ever hears.
//!
//! A client says in its parameters how much of it it understands ([`Extension`]); what the server understands
//! of that as well is what both speak. To any other peer nothing of the kind is said, and nothing is expected
//! of it.
//!
//! | Message | Since | Said by | Type |
//! |---|---|---|---|
//! | member `ringperf` of the parameters | 0 | each client, to any server | [`Hello`] |
//! | hello: state 0x52, length word, object | 1 | server, before CREATE_STREAMS | [`ServerHello`] |
//! | part: length word, object, on its own connection | 1 | both, after DISPLAY_RESULTS | [`PeerReport`] |
//! | connect of a UDP stream, repeated in all directions | 1 | client | [`UdpConnect::Bare`] |
//! | connect of a UDP stream with the cookie of the test | 2 | client | [`UdpConnect::Named`] |
//! | challenge to such a connect | 2 | server, with `--udp-any-source` | [`UdpChallenge`] |
//!
//! *Since* is the number of the extension. Results and errors are iperf3's, whoever the peer is.
//!
//! `tests.rs` has each message as version 0.1.0 says it, in `recorded/` where it is long: later versions must
//! go on understanding these. A message may get more keys without a new number, since keys that are not known
//! are ignored and those that are missing have a meaning; what an older ringperf would not understand takes
//! the next number.

mod hello;
mod part;
#[cfg(test)]
mod tests;
mod words;

use serde::Serialize;

use super::{Object, Value};

pub use hello::{Hello, ServerHello, StrangeHello};
pub use part::{
    BusyPollReport, EngineReport, InterruptShare, LatencyReport, PacingReport, PartError, PeerReport,
    ProcessorReport, ProcessorShare, QueueReport, ReceivedDatagrams, SizesReport, TriedSizes,
};
pub use words::{UdpChallenge, UdpConnect, is_udp_handshake};

/// Longest name of a version that is believed, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// How much of the extension an end understands. A larger number contains all smaller ones, so what counts
/// between two ends is the smaller of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Extension(u32);

impl Extension {
    /// An iperf3's: nothing.
    pub const NONE: Self = Self(0);
    /// The first that has the cookie of the test in the connects of UDP streams.
    const NAMED_CONNECTS: Self = Self(2);
    /// This ringperf's.
    pub const OWN: Self = Self::NAMED_CONNECTS;

    /// What two ends have in common.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        self.min(other)
    }

    /// Whether there is any: then the peer is a ringperf that understands what this one adds to the protocol.
    #[must_use]
    pub fn is_spoken(self) -> bool {
        self > Self::NONE
    }

    /// Whether the connects of UDP streams say which test they are of, see [`UdpConnect`].
    #[must_use]
    pub fn names_tests_in_connects(self) -> bool {
        self >= Self::NAMED_CONNECTS
    }

    /// The one that stands under `"extension"`; none where that is no number of one.
    fn of(object: &Object) -> Self {
        let number = object.get("extension").and_then(Value::integer);
        Self(number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default())
    }
}

/// Whether a ringperf may be called by this version.
fn is_version(text: &str) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
