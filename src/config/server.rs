//! What a server needs to know.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::{DEFAULT_PORT, Family, LocalConfig, OutputConfig};

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

impl Default for ServerConfig {
    /// A server as it is without options.
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            local: LocalConfig::default(),
            one_off: false,
            daemon: false,
            limits: ServerLimits::default(),
            authentication: None,
            output: OutputConfig::default(),
        }
    }
}

impl ServerConfig {
    /// A server for clients on this machine: on a free port of the loopback device, and without rows.
    #[must_use]
    pub fn on_loopback(family: Family) -> Self {
        Self {
            port: 0,
            local: LocalConfig { family, bind: Some(family.loopback()), ..LocalConfig::default() },
            output: OutputConfig { interval: None, ..OutputConfig::default() },
            ..Self::default()
        }
    }
}

/// What a server allows its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// `--max-tests`: tests that run side by side.
    pub tests: usize,
    /// `--max-tests-per-minute`: tests of one source that begin within a minute.
    pub tests_per_minute: Option<NonZeroU32>,
    /// `--total-bitrate-limit`: what all tests together may move.
    pub total: Option<RateLimit>,
    /// `--allow-counted`: tests of `-n` and `-k` are let in and ended when the longest time is over.
    pub counted: bool,
    /// `--udp-any-source`: UDP streams may come from another address than the control connection, if their
    /// words have the cookie of the test.
    pub any_source: bool,
    /// `--server-bitrate-limit`.
    pub rate: Option<RateLimit>,
    /// `--server-max-duration`: longest test, the omit period included.
    pub duration: Option<Duration>,
    /// All of a client's set-up, from its cookie to its last data connection; `--public` shortens it.
    pub set_up: Duration,
    /// `--idle-timeout`: a server that nobody came to for so long looks whether its device is still the same,
    /// or leaves with `-1`.
    pub idle: Option<Duration>,
}

impl ServerLimits {
    /// Longest set-up of a server that says nothing else.
    pub const SET_UP: Duration = Duration::from_secs(120);
}

impl Default for ServerLimits {
    /// One test at a time, and no other limit.
    fn default() -> Self {
        Self {
            tests: 1,
            tests_per_minute: None,
            total: None,
            counted: false,
            any_source: false,
            rate: None,
            duration: None,
            set_up: Self::SET_UP,
            idle: None,
        }
    }
}

/// Most that streams may move.
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
