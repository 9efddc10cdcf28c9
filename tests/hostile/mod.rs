//! Peers that break off, fall silent or talk nonsense, at every step of the protocol and in both roles.
//!
//! [`wire`] speaks the protocol by hand, independently of the library; [`clients`] torments a ringperf server
//! with it, [`servers`] a ringperf client.

mod clients;
mod servers;
mod wire;
