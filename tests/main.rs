//! The integration tests: real processes, real sockets, real peers, all in one binary.
//!
//! Each test starts what it needs on ports of its own. [`harness`] holds what they share; read it first.

mod harness;

mod adversary;
mod authentication;
mod availability;
mod cli;
mod degraded;
mod hostile;
mod interop;
mod own;
mod paths;
mod repo;
mod results;
mod sockets;
mod udp_loss;
