//! What this machine did while a test ran: threads, quotas, processors, soft interrupts, counters, pressure.
//!
//! All of it is read through one [`Source`], so that a recorded tree of files does as well as the machine.
//! What is not there or must not be read is absent with its reason, never zero and never a fault.

mod cgroup;
mod counters;
mod fitness;
mod pressure;
mod processors;
mod reading;
mod snapshot;
mod softnet;
mod source;
#[cfg(test)]
mod testing;
mod threads;

pub use cgroup::{Group, Hierarchy, Quota, Throttling};
pub use counters::{COUNTERS, Counter, CounterFile, Counters};
pub use fitness::{Answer, Fitness, Peer, Sign, Waiting, fitness};
pub use pressure::Pressure;
pub use processors::Times;
pub use reading::{Absence, Reading};
pub use snapshot::{Difference, Observer, Snapshot};
pub use softnet::Softnet;
pub use source::{FILE_BYTES_MAX, Machine, NAMES_MAX, Source};
pub use threads::{Detail, Schedule, Switches, Thread, read_thread};
