//! What the tests share, in reading order: how a test fails, how processes are run, what is run, what
//! lies between two ends, what is read.

mod failure;
mod folder;
mod gate;
mod holdings;

mod installed;
mod ports;
mod process;
mod programs;
mod run;
mod signals;

mod dropper;
mod gathering;
mod netns;
mod proxy;

mod cells;
mod datagrams;
mod document;
mod plan;
mod shape;

pub use cells::Cells;
pub use datagrams::{Account, Packets, receivers_have_room};
pub use document::{Document, Totals};
pub use dropper::{Dropper, Hook, Passed, Rule};
pub(crate) use failure::ensure;
pub use failure::{Checked, Failure};
pub use folder::Folder;
pub use gate::{Permit, alone, heavy, shared};
pub use gathering::{set_merging, set_scatter_gather, set_segmentation};
pub use holdings::{Holdings, busy};
pub use netns::{Cable, DEVICE, Namespace};
pub use plan::{BLOCK_BYTES, End, Plan, Way, plans};
pub use ports::{bind_both, is_listening, pick, pick_run};
pub use process::{Finished, Process, wait_until, without_mark};
pub use programs::{Program, as_iperf3, debian, libiperf, ours};
pub use proxy::{Mischief, Passage, Proxy, ProxyPlan, Traffic};
pub use run::{Pair, Server, run, run_client, run_pair, start_client};
pub use shape::{differences, line_shapes, shape};
pub use signals::is_ignored;
