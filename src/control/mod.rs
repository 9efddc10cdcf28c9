//! Tests as the protocol goes: control connection, phases, deadlines, threads.
//!
//! [`run_client`], [`run_server`] and [`run_loopback`] are what the program does. A client's run is a value,
//! its [`RunOutcome`]; reports only observe it. `session/` has one test: `client.rs` and `server_side.rs`
//! read as the protocol goes, phase by phase, and `running.rs` is the part where both wait for its end.
//! `streams/` has the data connections with their threads. `serve/` brings the connections of a server's
//! clients to their sessions and decides who may use what; `server.rs` has one session for each client.
//! `base/` is what all of it rests on.

mod base;
mod embedded;
mod loopback;
mod serve;
mod server;
mod session;
mod streams;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;

pub use embedded::EmbeddedServer;
pub use loopback::run_loopback;
pub use server::run_server;
pub use session::client::run_client;
pub use session::outcome::RunOutcome;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use session::results::with_results;
