//! What a server needs to know.

use std::net::IpAddr;

use super::{EngineChoice, Family, OutputConfig};

/// Everything a server run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Which IP versions to listen on.
    pub family: Family,
    /// Local address (`-B`); none means all.
    pub bind: Option<IpAddr>,
    /// `-1`: leave after one test.
    pub one_off: bool,
    /// The engine of this end, where the client does not ask for another.
    pub engine: EngineChoice,
    /// Whether this end may use UDP segmentation and receive offload; `false` is `--no-offload`.
    pub offload: bool,
    /// What is printed.
    pub output: OutputConfig,
}
