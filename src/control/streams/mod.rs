//! The data connections of a test, with their threads and where these run.

pub(super) mod connect;
pub(super) mod part;
pub(super) mod set;
pub(super) mod thread_placement;
pub(super) mod udp;
pub(super) mod udp_demux;
