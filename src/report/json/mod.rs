//! iperf3's document and its stream of JSON events, with what ringperf adds to them.

mod document;
mod print;
mod reporter;
mod rows;
mod start;
mod stream;
mod unknown;

pub(crate) use print::print;
pub use reporter::JsonReporter;
pub use stream::JsonStreamReporter;
