//! Who comes to a server and what each may use of it: connections, sources, slots, shares.

pub(super) mod admission;
pub(super) mod budget;
pub(super) mod listener;
pub(super) mod logins;
pub(super) mod members;
pub(super) mod router;
pub(super) mod slots;
pub(super) mod sources;
pub(super) mod turns;
