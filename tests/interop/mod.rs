//! Beside and with real iperf3 programs: both ways over TCP and UDP, the same lines, keys and events.

mod consumers;
mod differential;
mod json_shape;
mod json_stream;
mod schema;
mod tcp;
mod udp;
