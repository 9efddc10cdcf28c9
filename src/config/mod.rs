//! What to do: the command line, and the checked types it becomes. Pure: nothing here touches the system.

pub mod cli;
mod loopback;
mod options;
mod resolve;
mod server;
mod test;

pub use loopback::LoopbackConfig;
pub use server::{Authentication, RateLimit, ServerConfig, ServerLimits};
pub use test::{
    BlockSize, ClientConfig, DEFAULT_BLOCK_BYTES, DEFAULT_DATAGRAM_BYTES, DEFAULT_PACING_TIMER_US,
    DEFAULT_RECEIVE_TIMEOUT, DEFAULT_UDP_BITS_PER_SECOND, Direction, EndCondition, EngineChoice, Family,
    Flow, Keepalive, LocalConfig, Login, MAX_BLOCK_BYTES, MAX_BURST_BLOCKS, MAX_CPU, MAX_DATAGRAM_BYTES,
    MAX_MSS_BYTES, MAX_OMIT_SECS, MAX_STREAMS, MAX_TIME_SECS, MAX_WINDOW_BYTES, MIN_DATAGRAM_BYTES,
    OutputConfig, OutputFormat, Pacing, Protocol, Role, SctpConfig, SocketConfig, TestConfig, UdpConfig,
};
