//! Who comes to a server and what each may use of it: connections, sources, slots, shares.

pub(super) mod admission;
pub(super) mod budget;
pub(super) mod listener;
pub(super) mod listener_group;
pub(super) mod logins;
pub(super) mod router;
pub(super) mod setup_lock;
pub(super) mod slots;
pub(super) mod sources;
