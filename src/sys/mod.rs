//! The kernel, behind thin owning wrappers. All `unsafe` code of the project is in this folder; what it
//! offers is safe.

#![allow(unsafe_code)]

mod clock;
mod datagram;
mod features;
mod memory;
mod process;
mod signal;
mod socket;
mod tcp_info;
mod thread;
pub mod uring;
mod words;
mod zerocopy;

pub use clock::{monotonic_now, use_exact_timers};
pub use datagram::{MESSAGE_BYTES_MAX, Message, ReceiveSlots, SEGMENTS_MAX, SendSlots};
pub use features::{Features, Missing};
pub use memory::{PayloadFile, Pipe, Region};
pub use process::{Fork, fork};
pub use signal::ignore_broken_pipes;
pub use socket::{Socket, listen_on, unmap};
pub use thread::{block_signals, random_bytes, thread_cpu_time};
pub use words::plain;
pub use zerocopy::{ErrorQueue, Release};
