//! What the tests share, in reading order: how a test fails, how processes are run, what is run, what is
//! read.

mod failure;
mod gate;

mod ports;
mod process;
mod programs;
mod run;

mod cells;
mod document;
mod plan;
mod shape;

pub use cells::Cells;
pub use document::{Document, Totals};
pub(crate) use failure::ensure;
pub use failure::{Checked, Failure};
pub use gate::{alone, shared};
pub use plan::{BLOCK_BYTES, End, Plan, Way, plans};
pub use ports::{pick, pick_run};
pub use process::{Finished, Process};
pub use programs::{Program, debian, libiperf, ours};
pub use run::{Pair, Server, run, run_client, run_pair, start_client};
pub use shape::{differences, shape};
