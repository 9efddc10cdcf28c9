//! Sockets, the devices that they leave by, and who connects to them.

mod card;
mod datagram;
mod device;
mod listen;
mod local;
mod options;
mod queue;
mod raw;
mod sctp;
mod socket;
mod steering;
mod tcp_info;
mod zerocopy;

pub use card::{Card, OutgoingDevice};
pub(super) use datagram::CONTROL_BYTES;
#[cfg(test)]
pub(super) use datagram::tests::pair as datagram_pair;
pub use datagram::{MESSAGE_BYTES_MAX, Message, ReceiveSlots, SEGMENTS_MAX, SendSlots, is_path_error};
pub use listen::{
    ListenAddress, SpareDescriptor, has_lost_device, is_out_of_descriptors, listen_on, receive_now,
    set_window,
};
pub use local::{link_local_devices, listener_at, local_addresses, udp_listener_at};
pub use options::PacketMark;
pub use queue::DeviceQueue;
pub use socket::{Socket, Transport, unmap};
pub use steering::{Rule, Who, join, steer};
pub use zerocopy::{ErrorQueue, Release};
