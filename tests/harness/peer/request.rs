//! What a client asks for: the text that travels, and what follows from it for both ends.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::harness::Checked;

use super::wire::{COOKIE, Wire};

/// Who asks which server for what.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the server is.
    pub server: IpAddr,
    /// Where the client's connections come from; the system's choice if it has none.
    pub source: Option<Ipv4Addr>,
    pub cookie: [u8; 37],
    /// A JSON text.
    pub parameters: String,
}

impl From<&str> for Request {
    /// These parameters, from and to the loopback address.
    fn from(parameters: &str) -> Self {
        Self {
            server: Ipv4Addr::LOCALHOST.into(),
            source: None,
            cookie: *COOKIE,
            parameters: parameters.to_owned(),
        }
    }
}

impl Request {
    /// The next connection of the client to a port of its server.
    pub fn connect(&self, port: u16) -> Checked<Wire> {
        match self.source {
            Some(source) => Wire::connect_from(source, port),
            None => Wire::connect_to(self.server, port),
        }
    }
}

/// A UDP test that a client asks for, from one ringperf to another, which therefore tells every datagram.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub address: IpAddr,
    pub parallel: usize,
    pub length: usize,
    pub is_wide: bool,
    /// Further members of the parameters, each with a comma behind it.
    pub more: &'static str,
    pub cookie: [u8; 37],
    /// What it says it understands of ringperf's extension.
    pub extension: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            parallel: 1,
            length: 100,
            is_wide: false,
            more: "",
            cookie: *COOKIE,
            extension: 1,
        }
    }
}

impl From<Wish> for Request {
    fn from(wish: Wish) -> Self {
        let Wish { address, parallel, length, is_wide, more, cookie, extension } = wish;
        let wide = if is_wide { r#""udp_counters_64bit":1,"# } else { "" };
        let parameters = format!(
            r#"{{"udp":true,"omit":0,"time":10,"num":0,"parallel":{parallel},{wide}{more}"len":{length},"ringperf":{{"version":"0","extension":{extension}}}}}"#
        );
        Self { server: address, source: None, cookie, parameters }
    }
}

/// What both ends have to know of a test.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Data connections, those of both directions together.
    pub streams: usize,
    pub is_udp: bool,
    /// Bytes of a block, and of a datagram.
    pub block_bytes: usize,
    /// Whether datagrams have numbers of 64 bits.
    pub is_wide: bool,
    /// Whether a ringperf says hello to this client.
    pub has_extension: bool,
}

impl Shape {
    pub fn of(parameters: &str) -> Self {
        let parameters: Value = serde_json::from_str(parameters).unwrap_or_default();
        let number = |key: &str| parameters[key].as_u64().and_then(|number| usize::try_from(number).ok());
        let is_set = |key: &str| !parameters[key].is_null();
        Self {
            streams: number("parallel").unwrap_or(1) * if is_set("bidirectional") { 2 } else { 1 },
            is_udp: is_set("udp"),
            block_bytes: number("len").unwrap_or_default(),
            is_wide: is_set("udp_counters_64bit"),
            has_extension: !parameters["ringperf"]["extension"].is_null(),
        }
    }
}

/// iperf3's numbers of so many streams.
pub fn stream_ids(count: usize) -> Vec<u32> {
    (0..count).map(|index| u32::try_from(index).map_or(0, |index| index + 1 + u32::from(index > 0))).collect()
}
