//! Kernels that are none, for tests and benches of the loops.

pub mod null_kernel;
#[cfg(test)]
mod simulated;
