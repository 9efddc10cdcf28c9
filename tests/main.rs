//! The integration tests: real processes, real sockets, real peers, all in one binary.
//!
//! Each test starts what it needs on ports of its own. [`harness`] holds what they share; read it first.

mod harness;

mod cli;
mod compatibility;
mod degraded;
mod differential;
mod hostile;
mod interop;
mod json_shape;
mod layering;
mod loopback;
mod mistreated;
mod options;
mod udp_interop;
mod udp_loopback;
mod udp_loss;
