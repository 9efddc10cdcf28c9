//! Peers that break off, fall silent or talk nonsense, at every step of the protocol and in both roles.
//!
//! They are honest peers up to a point, and deviate from there: [`clients`] torments a ringperf server,
//! [`servers`] a ringperf client, [`udp_clients`] and [`udp_servers`] do so over UDP. [`udp_wire`] looks at
//! honest tests with them, [`udp_words`] at handshakes that lose their datagrams, [`unreachable`] at ICMP
//! messages that a closed port makes, [`icmp`] at all that can be forged.

mod clients;
mod icmp;
mod servers;
mod udp_clients;
mod udp_servers;
mod udp_wire;
mod udp_words;
mod unreachable;

use std::time::Duration;

/// What nothing holds up is there by then, also on a loaded machine; a silent peer is given up after twice
/// that.
const SOON: Duration = Duration::from_secs(5);
