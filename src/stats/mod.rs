//! Numbers: what was counted, and how it is summed up. Pure: time is an argument.

mod counters;
mod departures;
pub mod inference;
mod latency;
mod processors;
mod sampler;
mod sequence;
mod summary;
mod tcp;
mod udp;

pub use counters::{Counters, SharedCounters};
pub use departures::Departures;
pub use latency::{Latency, Percentiles};
pub use processors::Processors;
pub use sampler::{Sample, StreamSampler};
pub use sequence::DatagramTracker;
pub use summary::{CpuTime, CpuUse, Half, ZeroCopy};
pub use tcp::{TcpInterval, TcpLimits, TcpSample, TcpSummary};
pub use udp::{DatagramCounters, UdpInterval, UdpSummary};
