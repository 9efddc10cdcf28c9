//! Processes: which are run, how, with which limits, and what becomes of them.

mod cells;
mod folder;
mod gate;
mod holdings;
mod installed;
pub mod login;
mod pair;
mod plan;
pub mod ports;
mod process;
mod programs;
pub mod restrict;
mod signals;

pub use cells::Cells;
pub use folder::Folder;
pub use gate::{Permit, alone, heavy, shared};
pub use holdings::{Holdings, busy};
pub use pair::{Pair, Server, run, run_client, run_pair, start_client};
pub use plan::{BLOCK_BYTES, End, Plan, Way, plans};
pub use ports::{bind_both, is_listening, pick, pick_run};
pub use process::{Finished, Process, wait_until, without_mark};
pub use programs::{Program, as_iperf3, debian, libiperf, ours};
pub use signals::is_ignored;
