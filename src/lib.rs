//! ringperf: a network throughput tester that speaks iperf3's protocol and moves bytes through io_uring.
//!
//! The parts, in reading order; each uses only those before it:
//!
//! 1. [`units`]: amounts and rates, read and printed.
//! 2. [`config`], [`protocol`], [`stats`]: what to do, what the wire says, what was counted. Pure.
//! 3. [`sys`]: the kernel. All `unsafe` code of the project. Beside it [`auth`]: who may run a test.
//! 4. [`engine`]: the data path; one blocking loop per stream thread. Beside it [`host`]: what this machine
//!    did meanwhile.
//! 5. [`verdict`]: from what both ends have counted to what limited a run. Pure.
//!    [`report`]: the only writer of standard output.
//! 6. [`error`]: what can go wrong, in kinds of whose doing it was, and the exit code.
//! 7. [`control`]: the session: phases, deadlines, threads.
//! 8. [`process`]: pid file and background.

pub mod auth;
pub mod config;
pub mod control;
pub mod engine;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod process;
pub mod protocol;
pub mod report;
pub mod stats;
pub mod sys;
pub mod units;
pub mod verdict;
