//! What two ringperfs tell each other and no iperf3 ever hears.
//!
//! A client says in its parameters how much of it it understands. A server that is a ringperf answers that
//! with a [`ServerHello`]; to any other client it says nothing of the kind. At the end of a test each of the
//! two has a part to tell, see [`PeerReport`].

mod part;

use serde::Serialize;

use super::{Object, Value, parse_object};

pub use part::{
    BusyPollReport, EngineReport, InterruptShare, LatencyReport, PacingReport, PartError, PeerReport,
    ProcessorReport, ProcessorShare, QueueReport, ReceivedDatagrams, SizesReport, TriedSizes,
};

/// Longest name of a version that is believed, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// How much of the extension an end understands. A larger number contains all smaller ones, so what counts
/// between two ends is the smaller of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Extension(u32);

impl Extension {
    /// An iperf3's: nothing.
    pub const NONE: Self = Self(0);
    /// The first that has the cookie of the test in the words of UDP streams.
    const NAMED_WORDS: Self = Self(2);
    /// This ringperf's.
    pub const OWN: Self = Self::NAMED_WORDS;

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

    /// Whether the words of UDP streams say which test they are of, see [`super::UdpWord`].
    #[must_use]
    pub fn names_tests_in_words(self) -> bool {
        self >= Self::NAMED_WORDS
    }

    /// The one that stands under `"extension"`; none where that is no number of one.
    pub(super) fn of(object: &Object) -> Self {
        let number = object.get("extension").and_then(Value::integer);
        Self(number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default())
    }
}

/// How a ringperf server introduces itself to a client that has asked, before it wants streams:
/// [`super::State::Hello`], a length word, and a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHello {
    /// Version of this ringperf.
    pub version: String,
    /// What it understands.
    pub extension: Extension,
}

/// Why a hello is not believed.
#[derive(Debug, thiserror::Error)]
#[error("the server's hello makes no sense")]
pub struct StrangeHello;

impl ServerHello {
    /// Most bytes of its JSON: with state and length word it has no more than 512.
    pub const MAX_BYTES: u32 = 507;

    /// This ringperf's.
    #[must_use]
    pub fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), extension: Extension::OWN }
    }

    /// The JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a string and a number are always JSON")
    }

    /// What a server has said. Keys that are not known are ignored: a later ringperf has more of them.
    ///
    /// # Errors
    /// It is no JSON object, or has no version in printable ASCII and no extension.
    pub fn decode(bytes: &[u8]) -> Result<Self, StrangeHello> {
        let object = parse_object(bytes).map_err(|_| StrangeHello)?;
        let version = object.get("version").and_then(Value::text).ok_or(StrangeHello)?;
        let is_printable = version.bytes().all(|byte| byte.is_ascii_graphic());
        let extension = Extension::of(&object);
        if !extension.is_spoken() || !is_printable || !(1..=MAX_VERSION_BYTES).contains(&version.len()) {
            return Err(StrangeHello);
        }
        Ok(Self { version: version.to_owned(), extension })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The words as version 0.1.0 says them. Later versions must go on understanding them.
    #[test]
    fn the_recorded_hello() {
        let recorded = r#"{"version":"0.1.0","extension":1}"#;
        let hello = ServerHello { version: "0.1.0".to_owned(), extension: Extension(1) };
        assert_eq!(ServerHello::decode(recorded.as_bytes()).unwrap(), hello);
        assert_eq!(hello.encode(), recorded);
    }

    #[test]
    fn a_later_ringperf_is_understood() {
        let later = br#"{"version":"9.1.0-rc1+g123","extension":7,"more":{"of":["it"]}}"#;
        let hello = ServerHello::decode(later).unwrap();
        assert_eq!(hello.extension.common(Extension::OWN), Extension::OWN);
        assert_eq!(Extension::OWN.common(Extension::NONE), Extension::NONE);
        assert!(hello.extension.common(Extension::OWN).names_tests_in_words());
        assert!(!Extension(1).common(Extension::OWN).names_tests_in_words());
    }

    #[test]
    fn what_is_not_believed() {
        let long = format!(r#"{{"version":"{}","extension":1}}"#, "1".repeat(65));
        for text in [
            "",
            "{}",
            "[]",
            r#"{"version":"1"}"#,
            r#"{"extension":1}"#,
            r#"{"version":1,"extension":1}"#,
            r#"{"version":"","extension":1}"#,
            r#"{"version":"1\u001b[2J","extension":1}"#,
            r#"{"version":"1","extension":0}"#,
            r#"{"version":"1","extension":-1}"#,
            r#"{"version":"1","extension":4294967296}"#,
            r#"{"version":"1","extension":"1"}"#,
            r#"{"version":"1","extension":1} x"#,
            &long,
        ] {
            assert!(ServerHello::decode(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn it_fits_whatever_the_version_is_called() {
        let hello = ServerHello { version: "v".repeat(MAX_VERSION_BYTES), extension: Extension(u32::MAX) };
        let text = hello.encode();
        assert!(u32::try_from(text.len()).unwrap() <= ServerHello::MAX_BYTES);
        assert_eq!(ServerHello::decode(text.as_bytes()).unwrap(), hello);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerHello::decode(&bytes);
        }
    }
}
