//! The repository itself: habits of the source, and pages that must be true.

mod compatibility;
mod layering;
mod promises;
mod tree;
