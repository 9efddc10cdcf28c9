//! The only writer of standard output: events in, text or JSON out.
//!
//! A session tells what happened as [`RunEvent`]s. Any number of [`Observer`]s hear of them, on one thread of
//! their own, so a stalled terminal never holds up a test: each has a [`Reporter`], which turns events into
//! rows, a document or whatever it likes, and a [`Sink`] that these go to.

use std::io::{self, Write};

mod comparison;
mod delivery;
pub mod document;
mod escape;
mod event;
mod intervals;
mod json;
mod spool;
mod system;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
mod text;
mod totals;
mod version;

pub use comparison::{Comparison, Progress};
pub use delivery::{DebugLog, LogFile, MakeReporter, Observer, ReportHandle, Sink, Unwritten};
pub use document::Document;
pub use event::{
    ConnectedStream, DatagramReport, FailureText, FileReport, Interval, IntervalStream, Introduction,
    RunEvent, ServerOutput, SessionInfo, StreamEnd, TestEnd, TestStart, UdpEnd,
};
pub use intervals::{IntervalReader, Intervals};
pub use json::{JsonReporter, JsonStreamReporter};
pub use text::TextReporter;
pub use version::version_text;

/// The JSON Schema of all documents and events.
pub const JSON_SCHEMA: &str = include_str!("../../docs/ringperf.schema.json");

/// Most bytes of its own report that a server sends to a client that asks for it.
const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What stands in front of the words of [`Introduction::Error`].
const ERROR: &str = "error - ";

/// Turns events into output.
pub trait Reporter: Send {
    /// Takes one event and writes what is to be printed because of it: complete lines or nothing. What goes
    /// into one call of the writer is on its way at once; a document that may be too long to be in memory is
    /// written in pieces.
    ///
    /// What a reporter remembers of the event does not depend on whether it could be written: a sink that has
    /// failed gets nothing of the rest of this event, and is tried again with the next one.
    ///
    /// # Errors
    /// The writer's and no other: behind an error standard output is given up.
    fn event(&mut self, event: &RunEvent, out: &mut dyn Write) -> io::Result<()>;

    /// The lines for standard error, or for the log file, that an event asks for; nothing for most.
    fn complaint(&self, _event: &RunEvent) -> String {
        String::new()
    }

    /// What a server sends to a client that asked for its output: everything of the current test so far.
    /// `None` of a reporter that has no such output.
    fn server_output(&self) -> Option<ServerOutput> {
        None
    }
}
