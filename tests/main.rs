//! The integration tests: real processes, real sockets, real peers, all in one binary.
//!
//! Each test starts what it needs on ports of its own. [`harness`] holds what they share; read it first.

mod harness;

mod adversary;
mod authentication;
mod availability;
mod background;
mod cli;
mod compatibility;
mod consumers;
mod degraded;
mod differential;
mod endurance;
mod hostile;
mod interop;
mod json_shape;
mod json_stream;
mod layering;
mod log_file;
mod loopback;
mod mistreated;
mod options;
mod paths;
mod promises;
mod results;
mod schema;
mod sockets;
mod timestamps;
mod two_ringperfs;
mod udp_interop;
mod udp_loopback;
mod udp_loss;
