//! Tests of what is decided about a peer's words, beyond those of single files.

mod agreement;
mod decided;
