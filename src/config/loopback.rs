//! What a comparison of the engines on this machine needs to know.

use std::time::Duration;

use super::{BlockSize, EngineChoice, Family};

/// Everything `ringperf loopback` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopbackConfig {
    /// The engines to compare, in the order in which they were named; empty means all that make sense.
    pub engines: Vec<EngineChoice>,
    /// How long each of them runs.
    pub seconds: Duration,
    /// Streams of each run, of [`STREAMS`](super::ranges::STREAMS).
    pub parallel: u32,
    /// `TCP_CONGESTION` of the streams (`-C`).
    pub congestion: Option<String>,
    /// Bytes of one block.
    pub block: BlockSize,
    /// [`Family::V4`], or [`Family::V6`] with `-6`.
    pub family: Family,
}
