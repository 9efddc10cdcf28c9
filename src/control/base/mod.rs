//! What all of control rests on: limits, the runtime, signals, socket options, panics, and errors in words.

pub(super) mod fixes;
pub(super) mod limits;
pub(super) mod panics;
pub(super) mod runtime;
pub(super) mod signals;
pub(super) mod socket_options;
