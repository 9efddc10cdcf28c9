//! How a report reaches its readers: the thread that writes it, what waits for that, and where it goes.

mod backlog;
mod output;
mod thread;

pub use output::{LogFile, Sink};
pub use thread::{DebugLog, MakeReporter, ReportHandle, Unwritten};
