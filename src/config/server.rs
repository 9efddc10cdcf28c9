//! What a server needs to know.

use std::path::PathBuf;
use std::time::Duration;

use super::{LocalConfig, OutputConfig};

/// Everything a server run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// What is this machine's own matter.
    pub local: LocalConfig,
    /// `-1`: leave after one test.
    pub one_off: bool,
    /// `-D`: go into the background.
    pub daemon: bool,
    /// What clients may ask for.
    pub limits: ServerLimits,
    /// Who may run a test; `None` lets everybody.
    pub authentication: Option<Authentication>,
    /// What is printed.
    pub output: OutputConfig,
}

/// What a server allows its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// `--server-bitrate-limit`.
    pub rate: Option<RateLimit>,
    /// `--server-max-duration`: longest test, the omit period included.
    pub duration: Option<Duration>,
    /// `--idle-timeout`: a server that nobody came to for so long listens anew, or leaves with `-1`.
    pub idle: Option<Duration>,
}

/// Most that all streams of a test together may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Bits per second, both directions together.
    pub bits_per_second: u64,
    /// Time over which the average is taken.
    pub averaged_over: Duration,
}

/// How a server finds out whether a client is who it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// File with the private key, PEM.
    pub private_key: PathBuf,
    /// File with the users and the hashes of their passwords.
    pub users: PathBuf,
    /// Largest difference between the two clocks.
    pub time_skew: Duration,
    /// `--use-pkcs1-padding`: take tokens as iperf3 before 3.17 made them.
    pub pkcs1_padding: bool,
}
