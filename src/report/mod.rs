//! The only writer of standard output: events in, text or JSON out.
//!
//! A session tells what happened as [`RunEvent`]s; one thread turns them into rows or into a document, so a
//! stalled terminal never holds up a test.

mod comparison;
mod escape;
mod event;
#[cfg(test)]
mod fixtures;
mod json;
mod json_rows;
mod json_start;
mod rows;
mod summary;
mod system;
mod text;
mod thread;
mod totals;
mod version;

pub use comparison::{Collector, Comparison};
pub use event::{
    ConnectedStream, DatagramReport, EngineReport, Interval, IntervalStream, LatencyReport, PacingReport,
    PeerEngine, ReceivedDatagrams, RunEvent, ServerOutput, SessionInfo, StreamEnd, TestEnd, TestStart,
    UdpEnd,
};
pub use json::JsonReporter;
pub use text::TextReporter;
pub use thread::{ReportHandle, Sink};
pub use version::version_text;

/// Turns events into output.
pub trait Reporter: Send {
    /// Takes one event and returns the text to print because of it, complete lines or nothing.
    fn event(&mut self, event: &RunEvent) -> String;

    /// What a server sends to a client that asked for its output: everything of the current test so far.
    fn server_output(&self) -> ServerOutput;
}
