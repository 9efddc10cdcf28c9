//! The repository itself: habits of the source, and pages that must be true.
//!
//! Each habit is watched by a function that takes sources, and its test has sources made up that break it.

mod circles;
mod compatibility;
mod figures;
mod imports;
mod layering;
mod names;
mod promises;
mod source;
mod stops;
mod tree;
