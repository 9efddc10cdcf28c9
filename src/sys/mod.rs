//! The kernel, behind thin owning wrappers. All `unsafe` code of the project is in this folder; what it
//! offers is safe.

#![allow(unsafe_code)]

mod card;
mod clock;
mod datagram;
mod device;
mod features;
mod headroom;
mod links;
mod listen;
mod local;
mod local_time;
mod memory;
mod options;
mod process;
mod queue;
mod sctp;
mod signal;
mod socket;
mod steering;
mod tcp_info;
mod thread;
mod topology;
pub mod uring;
mod words;
mod zerocopy;

pub use card::{Card, OutgoingDevice};
pub use clock::{monotonic_now, use_exact_timers};
pub use datagram::{MESSAGE_BYTES_MAX, Message, ReceiveSlots, SEGMENTS_MAX, SendSlots, tells_of_the_way};
pub use features::{Features, Missing};
pub use headroom::share_one_heap;
pub use links::open_unless_misled;
pub use listen::{
    ListenAddress, SpareDescriptor, has_lost_device, is_out_of_descriptors, listen_on, receive_now,
    set_window,
};
pub use local::{link_local_devices, listener_at, local_addresses, udp_listener_at};
pub use local_time::local_time;
pub use memory::{PayloadFile, Pipe, Region, nameless_file, send_file};
pub use options::PacketMark;
pub use process::{Fork, fork};
pub use queue::DeviceQueue;
pub use signal::{exit_at_signals, has_signal_come, ignore_failed_writes, ignores_hangup, note_signals};
pub use socket::{Socket, Transport, unmap};
pub use steering::{Rule, Who, join, steer};
pub use thread::{
    Pinned, current_processor, random_bytes, set_time_slice, start_stream_thread, start_thread,
    thread_cpu_time, thread_sleeps,
};
pub use topology::{Topology, second_level_cache_bytes};
pub use words::{plain, with_way_out};
pub use zerocopy::{ErrorQueue, Release};
