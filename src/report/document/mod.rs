//! The document of a test (`-J`) and the events of a stream (`--json-stream`) as types.
//!
//! Keys, their order and the form of numbers are those of iperf3; what it has no key for is in `ringperf`.
//! Whatever a test of that kind does not have is absent.
//!
//! The comments on the fields are also the descriptions in `docs/ringperf.schema.json`. So they give units in
//! words, and say null where Rust says `None`.

mod end;
mod interval;
mod number;
mod own;
mod start;
mod stream_event;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use end::{
    CpuUtilization, DatagramTotals, DiskFile, End, Nothing, ReceivedStream, ReceivedSum, SentStream, SentSum,
    TcpStream, TcpTotals, Total, UdpStream, UdpStreamTotals, UdpSum, UdpTotals,
};
pub use interval::{Datagrams, Interval, Span, StreamRow, SumRow};
pub use number::Number;
pub use own::{CpuSeconds, CpuSecondsPerGb, Own};
pub use start::{Address, Buffers, Connected, Parameters, Start, Timestamp};
pub use stream_event::{Event, Told};

/// The report of one test (-J).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Document {
    /// Who tests what with whom.
    pub start: Start,
    /// What was moved in each interval.
    pub intervals: Vec<Interval>,
    /// The totals.
    pub end: End,
    /// What the client calls the test (-T).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the client says of the test (--extra-data).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_data: Option<String>,
    /// What a server that reports in JSON has measured, in the words of that server: start, intervals, end. A
    /// ringperf that leaves out later intervals says so in ringperf.warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_output_json: Option<Map<String, Value>>,
    /// What a server that reports in text has printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_output_text: Option<String>,
    /// Why the result is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What iperf3 has no key for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringperf: Option<Own>,
}

/// Why a text is not read.
#[derive(Debug, thiserror::Error)]
#[error("not what iperf3 or ringperf reports: {0}")]
pub struct ReadError(#[from] serde_json::Error);

impl Document {
    /// The document that was saved as `text`, of ringperf or of iperf3. Keys that are not known are ignored,
    /// and of equal ones the last counts: an iperf3 whose server has failed writes `error` twice.
    /// A loss that iperf3 lets fall below zero is read as 0.
    ///
    /// # Errors
    /// It is no JSON, or lacks what every document has.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        Ok(serde_json::from_value(serde_json::from_str(text)?)?)
    }

    /// A document with nothing but what every document has.
    pub(super) fn bare(start: Start, intervals: Vec<Interval>, end: End) -> Self {
        Self {
            start,
            intervals,
            end,
            title: None,
            extra_data: None,
            server_output_json: None,
            server_output_text: None,
            error: None,
            ringperf: None,
        }
    }
}
