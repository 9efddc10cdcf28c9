//! One line of --json-stream.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{End, Interval, Own, Start};

/// One line of --json-stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The test starts.
    Start(Told<Start>),
    /// An interval is over.
    Interval(Told<Interval>),
    /// Why the result is not complete.
    Error(Told<String>),
    /// What a server that reports in JSON has measured, as in a document.
    ServerOutputJson(Told<Map<String, Value>>),
    /// What a server that reports in text has printed, as in a document.
    ServerOutputText(Told<String>),
    /// What iperf3 has no key for.
    Ringperf(Told<Own>),
    /// The totals; always the last one.
    End(Told<End>),
}

/// What a line tells of a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub struct Told<T> {
    /// Number of the test, of a server that runs several side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub test: Option<u64>,
    /// What is told.
    pub data: T,
}

impl Event {
    /// What one line says.
    ///
    /// # Errors
    /// It is no JSON, or no event that iperf3 or ringperf tells.
    pub fn read(line: &str) -> Result<Self, super::ReadError> {
        Ok(serde_json::from_str(line)?)
    }
}
