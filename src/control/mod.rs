//! The session: control connection, phases, deadlines, threads.
//!
//! [`run_client`], [`run_server`] and [`run_loopback`] are what the program does. `client.rs` and
//! `session.rs` read as the protocol goes, phase by phase; `running.rs` is the part where both wait for the
//! end of the test; `streams.rs` owns the data connections and their threads. `server.rs` has one session for
//! each client, and `listener.rs`, `admission.rs` and `router.rs` bring the connections to them; who of them
//! may run a test is decided in `slots.rs`.

mod admission;
mod budget;
mod client;
mod connect;
mod datagrams;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod limits;
mod link;
mod listener;
mod logins;
mod loopback;
mod members;
mod panics;
mod part;
mod places;
mod rate_watch;
mod results;
mod router;
mod running;
mod runtime;
mod server;
mod session;
mod signals;
mod slots;
mod socket_options;
mod sources;
mod streams;
mod turns;
mod udp;
mod udp_door;
mod way_out;

pub use client::run_client;
pub use loopback::run_loopback;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use results::with_results;
pub use server::run_server;
