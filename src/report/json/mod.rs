//! iperf3's document and its stream of JSON events, with what ringperf adds to them.

mod collected;
mod print;
mod reporter;
mod stream;

pub(crate) use print::print;
pub use reporter::JsonReporter;
pub use stream::JsonStreamReporter;
