//! What fuzzers of sessions need.

pub(crate) mod fuzzing;
