//! iperf3's control protocol as data: what each side says, checked before anybody believes it.
//!
//! Pure: no sockets, no clock, no randomness. What a peer sends is hostile until it has become one of these
//! types.

mod codes;
mod cookie;
mod datagram;
mod extension;
mod json;
pub mod params;
pub mod results;
mod state;
#[cfg(test)]
mod testing;

pub use codes::{ErrorCode, ServerError};
pub use cookie::Cookie;
pub use datagram::{DatagramHeader, UDP_CONNECT, UDP_REPLY, is_udp_connect, is_udp_reply};
pub use extension::{
    BusyPollReport, EngineReport, Extension, Hello, InterruptShare, LatencyReport, PacingReport, PartError,
    PeerReport, ProcessorReport, ProcessorShare, QueueReport, ReceivedDatagrams, ServerHello, SizesReport,
    StrangeHello, TriedSizes, UdpChallenge, UdpConnect, is_udp_handshake,
};
pub use json::{JsonError, Object, Value, parse_object};
pub use params::{PARAMS_BYTES_MAX, ParamsError, ParamsTooLong, Request};
pub use results::{Results, ResultsError, STREAM_RESULTS_MAX, ServerText, StreamResult};
pub use state::State;
