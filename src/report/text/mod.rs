//! Text as iperf3 prints it, and ringperf's own lines below.

mod own_lines;
mod reporter;
mod rows;
mod stamp;
mod start;
mod summary;

pub use reporter::TextReporter;
