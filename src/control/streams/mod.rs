//! The data connections of a test, with their threads and where these run.

pub(super) mod connect;
pub(super) mod part;
pub(super) mod places;
pub(super) mod set;
pub(super) mod udp;
pub(super) mod udp_door;
