//! What to do: the command line, and the checked types it becomes. Pure, except that the command line may ask
//! the system two things: what address a name of -B has, and how large the file of -F is.

pub mod cli;
mod loopback;
pub mod messages;
mod options;
mod placement;
pub mod ranges;
mod resolve;
mod server;
mod test;
mod tuning;

pub use loopback::LoopbackConfig;
pub use placement::{CpuList, LISTED_CPUS_MAX, Placement, PlacementError, processor_list};
pub use server::{Authentication, RateLimit, ServerConfig, ServerLimits};
pub use test::{
    BlockSize, ClientConfig, DEFAULT_BLOCK_BYTES, DEFAULT_CONNECT_TIMEOUT, DEFAULT_DATAGRAM_BYTES,
    DEFAULT_PACING_TIMER_US, DEFAULT_PORT, DEFAULT_RECEIVE_TIMEOUT, DEFAULT_SCTP_BLOCK_BYTES,
    DEFAULT_UDP_BITS_PER_SECOND, Direction, EndCondition, EngineChoice, Family, Flow, Keepalive, LocalConfig,
    LoginOptions, OutputConfig, OutputFormat, PROGRAM, Pacing, Protocol, Role, SctpConfig, SocketConfig,
    TestConfig, UdpConfig,
};
pub use tuning::{Tuning, TuningError};
