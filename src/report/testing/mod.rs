//! What tests of reports need.

#[cfg_attr(not(test), allow(dead_code, reason = "fuzzers need only some of them"))]
pub(crate) mod fixtures;
#[cfg(test)]
pub(super) mod harmless;
