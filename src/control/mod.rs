//! The session: control connection, phases, deadlines, threads.
//!
//! [`run_client`], [`run_server`] and [`run_loopback`] are what the program does. `client.rs` and `server.rs`
//! read as the protocol goes, phase by phase; `running.rs` is the part where both wait for the end of the
//! test; `streams.rs` owns the data connections and their threads.

mod client;
mod connect;
mod datagrams;
mod limits;
mod link;
mod listener;
mod loopback;
mod rate_watch;
mod results;
mod running;
mod runtime;
mod server;
mod signals;
mod socket_options;
mod streams;
mod udp;

pub use client::run_client;
pub use loopback::run_loopback;
pub use server::run_server;
