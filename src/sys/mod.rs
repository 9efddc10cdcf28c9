//! The kernel, behind thin owning wrappers. All `unsafe` code of the project is in this folder; what it
//! offers is safe.

#![allow(unsafe_code)]

mod clock;
mod features;
mod headroom;
mod links;
mod local_time;
mod memory;
mod net;
mod process;
mod signal;
mod thread;
mod topology;
pub mod uring;
mod words;

pub use clock::{monotonic_now, use_exact_timers};
pub use features::{Features, Missing};
pub use headroom::share_one_heap;
pub use links::open_unless_misled;
pub use local_time::local_time;
pub use memory::{PayloadFile, Pipe, Region, nameless_file, send_file};
pub use net::{
    Card, DeviceQueue, ErrorQueue, ListenAddress, MESSAGE_BYTES_MAX, Message, OutgoingDevice, PacketMark,
    ReceiveSlots, Release, Rule, SEGMENTS_MAX, SendSlots, Socket, SpareDescriptor, Transport, Who,
    has_lost_device, is_out_of_descriptors, join, link_local_devices, listen_on, listener_at,
    local_addresses, receive_now, set_window, steer, tells_of_the_way, udp_listener_at, unmap,
};
pub use process::{Fork, fork};
pub use signal::{exit_at_signals, has_signal_come, ignore_failed_writes, ignores_hangup, note_signals};
pub use thread::{
    Pinned, current_processor, random_bytes, set_time_slice, start_stream_thread, start_thread,
    thread_cpu_time, thread_sleeps,
};
pub use topology::{Topology, second_level_cache_bytes};
pub use words::{plain, with_way_out};
