//! The only writer of standard output: events in, text or JSON out.
//!
//! A session tells what happened as [`RunEvent`]s; one thread turns them into rows or into a document, so a
//! stalled terminal never holds up a test.

mod comparison;
mod delivery;
mod escape;
mod event;
mod json;
mod system;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
mod text;
mod totals;
mod version;

pub use comparison::{Collector, Comparison};
pub use delivery::{DebugLog, LogFile, MakeReporter, ReportHandle, Sink, Unwritten};
pub use event::{
    ConnectedStream, DatagramReport, FailureText, FileReport, Interval, IntervalStream, Introduction,
    RunEvent, ServerOutput, SessionInfo, StreamEnd, TestEnd, TestStart, UdpEnd,
};
pub use json::{JsonReporter, JsonStreamReporter};
pub use text::TextReporter;
pub use version::version_text;

/// The JSON Schema of all documents and events.
pub const JSON_SCHEMA: &str = include_str!("../../docs/ringperf.schema.json");

/// Most bytes of its own report that a server sends to a client that asks for it.
const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// What stands in front of the words of [`Introduction::Error`].
const ERROR: &str = "error - ";

/// Turns events into output.
pub trait Reporter: Send {
    /// Takes one event and returns the text to print because of it, complete lines or nothing.
    fn event(&mut self, event: &RunEvent) -> String;

    /// The next piece of what the last event asks for beyond that, until there is none: a document may be too
    /// long to be in memory at once.
    fn more(&mut self) -> Option<String> {
        None
    }

    /// The line for standard error, or for the log file, that an event asks for; nothing for most.
    fn complaint(&self, event: &RunEvent) -> String;

    /// What a server sends to a client that asked for its output: everything of the current test so far.
    fn server_output(&self) -> ServerOutput;
}
