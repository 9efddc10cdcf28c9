//! The results: what each side tells the other at the end of a test.

mod decode;
mod encode;
mod sieve;

use super::{ErrorCode, JsonError};
use crate::stats::CpuUse;
use crate::units::bits_per_second;

pub use decode::decode;
pub use encode::encode;
pub use sieve::{RestTooLong, Sieve};

/// Most stream elements that are read: four times what a bidirectional test can have.
pub const STREAM_RESULTS_MAX: usize = 1024;

/// Largest number of seconds, or of percent, that is believed; whatever is computed with it stays in range.
const REAL_MAX: f64 = 1e9;
/// Shortest time in seconds that anybody has measured: an iperf3 counts microseconds.
const SECONDS_MIN: f64 = 1e-6;
/// Highest rate of a stream that is believed, in bits per second: a thousand times that of the fastest links.
pub const BITS_PER_SECOND_MAX: f64 = 1e15;

/// What one side has measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Processor use of its process, in percent of one core.
    pub cpu: CpuUse,
    /// 1: it sent and knows its retransmits; 0: it sent and does not; -1: it only received.
    pub sender_has_retransmits: i64,
    /// Congestion control that its sockets really used.
    pub congestion_used: Option<String>,
    /// A server's own report, if the client has asked for it.
    pub server_output: Option<ServerText>,
    /// Its streams, in no order that matters.
    pub streams: Vec<StreamResult>,
}

impl Results {
    /// Refuses bytes that nobody can have moved in the time that is said, or in what `own_seconds` has of
    /// this end of a stream where none is.
    ///
    /// # Errors
    /// [`ResultsError::Rate`].
    pub fn check_rates(&self, own_seconds: impl Fn(u32) -> f64) -> Result<(), ResultsError> {
        let too_fast = self.streams.iter().find(|stream| {
            let seconds = stream.seconds().unwrap_or_else(|| own_seconds(stream.id));
            bits_per_second(stream.bytes, seconds) > BITS_PER_SECOND_MAX
        });
        too_fast.map_or(Ok(()), |stream| Err(ResultsError::Rate { id: stream.id, bytes: stream.bytes }))
    }
}

/// A server's report as it travels.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerText {
    /// What a text-mode server printed for this test.
    Text(String),
    /// The document of a JSON-mode server so far, as compact JSON.
    Json(String),
}

/// What one side has measured on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamResult {
    /// iperf3's stream number: 1, 3, 4, 5, ...
    pub id: u32,
    /// Bytes sent or received, the omit period not counted; at most `i64::MAX`.
    pub bytes: u64,
    /// TCP segments sent again after the omit period; `None` from receivers and from who does not know.
    pub retransmits: Option<u64>,
    /// RFC 1889 jitter of a UDP receiver in seconds, else 0.
    pub jitter_seconds: f64,
    /// Datagrams that a UDP receiver missed, the omit period included, else 0.
    pub errors: u64,
    /// Of those, the ones of the omit period; `None` from iperf3 before 3.14.
    pub omitted_errors: Option<u64>,
    /// Datagrams of a UDP stream, the omit period included, else 0.
    pub packets: u64,
    /// Of those, the ones of the omit period; `None` from iperf3 before 3.14.
    pub omitted_packets: Option<u64>,
    /// Seconds at which its counting began; 0 if it does not say.
    pub start_seconds: f64,
    /// Seconds at which it ended; 0 if it does not say, as iperf3 before 3.2 does not.
    pub end_seconds: f64,
}

impl StreamResult {
    /// How many seconds the counting took; `None` if the peer does not say, or says a time that nobody can
    /// have measured.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        let seconds = self.end_seconds - self.start_seconds;
        (seconds >= SECONDS_MIN).then_some(seconds)
    }
}

/// Why results are refused.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// They are no JSON object.
    #[error("the results are {0}")]
    Json(#[from] JsonError),
    /// A key that must be there is not, or has the wrong type.
    #[error("the results have no valid \"{key}\"")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A number is outside what can be true.
    #[error("\"{key}\" in the results is out of range")]
    Range {
        /// The key.
        key: &'static str,
    },
    /// More bytes than fit into the time.
    #[error("the results of stream {id} cannot be: {bytes} bytes do not fit into its time")]
    Rate {
        /// iperf3's number of the stream.
        id: u32,
        /// What it is said to have moved.
        bytes: u64,
    },
    /// More streams than any test has.
    #[error("the results have {0} streams, more than {STREAM_RESULTS_MAX}")]
    TooManyStreams(usize),
}

impl ResultsError {
    /// The number to send to the client, after [`super::State::ServerError`].
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::RECV_RESULTS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reals that decimal notation keeps exactly.
    fn any_real() -> impl Strategy<Value = f64> {
        (0..1_000_000u32).prop_map(|eighths| f64::from(eighths) / 8.0)
    }

    fn any_stream() -> impl Strategy<Value = StreamResult> {
        let count = || 0..=i64::MAX.unsigned_abs();
        let counts = (count(), prop::option::of(count()), count(), count());
        let omitted = (prop::option::of(count()), prop::option::of(count()));
        (any::<u32>(), counts, omitted, any_real(), any_real(), any_real()).prop_map(
            |(id, (bytes, retransmits, errors, packets), omitted, jitter, start, end)| StreamResult {
                id,
                bytes,
                retransmits,
                jitter_seconds: jitter,
                errors,
                omitted_errors: omitted.0,
                packets,
                omitted_packets: omitted.1,
                start_seconds: start,
                end_seconds: end,
            },
        )
    }

    fn any_results() -> impl Strategy<Value = Results> {
        let cpu = (any_real(), any_real(), any_real());
        let output = prop::option::of("[^\0]{0,40}");
        let congestion = prop::option::of("[a-z]{1,15}");
        (cpu, -1..=1i64, congestion, output, prop::collection::vec(any_stream(), 0..6)).prop_map(
            |((total, user, system), sender_has_retransmits, congestion_used, output, streams)| Results {
                cpu: CpuUse { total, user, system },
                sender_has_retransmits,
                congestion_used,
                server_output: output.map(ServerText::Text),
                streams,
            },
        )
    }

    #[test]
    fn a_time_that_nobody_measures_is_not_known_and_bytes_must_fit_into_one() {
        let stream =
            |bytes, end_seconds| StreamResult { id: 3, bytes, end_seconds, ..StreamResult::default() };
        for end_seconds in [0.0, 1e-320, 1e-300, 1e-9, 9.9e-7] {
            assert_eq!(stream(1, end_seconds).seconds(), None, "{end_seconds}");
        }
        assert_eq!(stream(1, 1e-6).seconds(), Some(1e-6));
        for (bytes, end_seconds, own_seconds, fits) in [
            (125_000_000_000_000, 1.0, 9.0, true),
            (126_000_000_000_000, 1.0, 9.0, false),
            (i64::MAX.unsigned_abs(), 1e9, 1.0, true),
            (i64::MAX.unsigned_abs(), 1.0, 1.0, false),
            (1_000_000, 1e-300, 1.0, true),
            (126_000_000_000_000, 1e-300, 1.0, false),
            (100, 1e-6, 1.0, true),
            (0, 1e-320, 0.0, true),
        ] {
            let streams = vec![stream(bytes, end_seconds)];
            let results = Results {
                cpu: CpuUse::default(),
                sender_has_retransmits: 1,
                congestion_used: None,
                server_output: None,
                streams,
            };
            let checked = results.check_rates(|id| if id == 3 { own_seconds } else { 0.0 });
            assert_eq!(checked.is_ok(), fits, "{bytes} in {end_seconds} or {own_seconds}");
        }
    }

    proptest! {
        #[test]
        fn results_round_trip(results in any_results()) {
            prop_assert_eq!(decode(encode(&results).as_bytes()).unwrap(), results);
        }
    }
}
