//! The kernel, behind thin owning wrappers. All `unsafe` code of the project is in this folder; what it
//! offers is safe.

#![allow(unsafe_code)]

mod clock;
mod datagram;
mod features;
mod listen;
mod memory;
mod options;
mod process;
mod sctp;
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
pub use listen::{Diversion, ListenAddress, listen_on};
pub use memory::{PayloadFile, Pipe, Region, send_file};
pub use options::PacketMark;
pub use process::{Fork, fork};
pub use signal::ignore_broken_pipes;
pub use socket::{Socket, Transport, unmap};
pub use thread::{Pinned, block_signals, random_bytes, thread_cpu_time};
pub use words::plain;
pub use zerocopy::{ErrorQueue, Release};
