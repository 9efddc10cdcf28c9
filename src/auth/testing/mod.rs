//! What tests and fuzzers of logins need.

pub(crate) mod fuzzing;
#[cfg_attr(not(test), allow(dead_code, reason = "fuzzers need only some of them"))]
pub(super) mod keys;
