//! One test, as the protocol goes: the client's half, the server's half, and what both share.

pub(super) mod client;
pub(super) mod context;
pub(super) mod datagrams;
pub(super) mod ending;
pub(super) mod link;
pub(super) mod outcome;
pub(super) mod rate_watch;
pub(super) mod results;
pub(super) mod running;
pub(super) mod server_side;
