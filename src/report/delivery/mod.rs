//! How a report reaches its readers: who hears of a run and writes, the thread on which that happens, what
//! waits for it, and where the output goes.

mod backlog;
mod observer;
mod output;
mod thread;

pub use observer::{MakeReporter, Observer};
pub use output::{LogFile, Sink, Unwritten};
pub use thread::{DebugLog, ReportHandle};
