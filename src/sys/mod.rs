//! The kernel, behind thin owning wrappers. All `unsafe` code of the project is in this folder; what it
//! offers is safe.

#![allow(unsafe_code)]

mod clock;
mod error_message;
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

pub use clock::{clock_ticks_per_second, monotonic_now, use_exact_timers};
pub use error_message::{error_message, with_fix};
pub use features::{Features, Missing};
pub use headroom::share_one_heap;
pub use links::open_trusted;
pub use local_time::local_time;
pub use memory::{PayloadFile, Pipe, Region, send_file, unnamed_file};
pub use net::{
    Card, DeviceQueue, ErrorQueue, ListenAddress, MESSAGE_BYTES_MAX, Message, OutgoingDevice, PacketMark,
    ReceiveSlots, Release, Rule, SEGMENTS_MAX, SendSlots, Socket, SpareDescriptor, Transport, Who,
    has_lost_device, is_out_of_descriptors, is_path_error, join, link_local_devices, listen_on, listener_at,
    local_addresses, receive_now, set_window, steer, udp_listener_at, unmap,
};
pub use process::{Fork, fork};
pub use signal::{exit_at_signals, has_signal_come, ignore_failed_writes, ignores_hangup, note_signals};
pub use thread::{
    Pinned, current_processor, random_bytes, set_time_slice, start_stream_thread, start_thread,
    thread_cpu_time, thread_id, thread_sleeps,
};
pub use topology::{Topology, second_level_cache_bytes};
