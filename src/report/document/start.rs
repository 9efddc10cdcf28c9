//! The `start` object: who tests what with whom.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::config::{Direction, EndCondition, Role, TestConfig};

use super::Number;
use crate::report::system::{json_version, rfc_1123, since_epoch, system_info};
use crate::report::{ConnectedStream, SessionInfo, TestStart};

/// Who tests what with whom, as much as was known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(
        rename = "Start",
        extend("dependentRequired" = {
            "timestamp": ["cookie", "target_bitrate", "fq_rate"],
            "test_start": ["timestamp", "sock_bufsize", "sndbuf_actual", "rcvbuf_actual"],
        })
    )
)]
pub struct Start {
    /// The streams in the order in which they were opened.
    pub connected: Vec<Connected>,
    /// Begins with `iperf` and the version whose words these are.
    pub version: String,
    /// As `uname -a` prints it.
    pub system_info: String,
    /// What [`Start::buffers`] gives, in the place where a TCP server of iperf3 has it: it speaks of its
    /// listener.
    #[serde(flatten)]
    listener: Option<Buffers>,
    /// When the control connection was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Client: the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connecting_to: Option<Address>,
    /// Server: the client's control connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_connection: Option<Address>,
    /// What ties the connections of a test together; 36 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(equal = 36)))]
    pub cookie: Option<String>,
    /// Bytes of a TCP segment that were asked for (-M).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_mss: Option<u32>,
    /// Bytes of a TCP segment of the control connection, where none were asked for; 0 on a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_mss_default: Option<u32>,
    /// Bits per second of a stream; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bitrate: Option<u64>,
    /// Bits per second of a stream by the kernel's pacing; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fq_rate: Option<u64>,
    /// What [`Start::buffers`] gives, in the place where all others have it.
    #[serde(flatten)]
    streams: Option<Buffers>,
    /// The parameters of the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_start: Option<Parameters>,
}

/// One stream of `connected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connected {
    /// The descriptor by which all rows name the stream.
    pub socket: i32,
    /// Address of this end.
    pub local_host: String,
    /// Port of this end.
    pub local_port: u16,
    /// Address of the other end.
    pub remote_host: String,
    /// Port of the other end.
    pub remote_port: u16,
}

/// Sizes of the socket buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Buffers {
    /// Bytes of both socket buffers that were asked for (-w); 0 is the system's choice.
    pub sock_bufsize: u32,
    /// SO_SNDBUF in bytes, as the kernel has it.
    pub sndbuf_actual: u32,
    /// SO_RCVBUF in bytes, as the kernel has it.
    pub rcvbuf_actual: u32,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Timestamp {
    /// As RFC 1123 writes it, GMT.
    pub time: String,
    /// Seconds since 1970.
    pub timesecs: u64,
    /// Milliseconds since 1970.
    // iperf3 3.12 does not tell.
    #[serde(default)]
    pub timemillisecs: u64,
}

/// An end of the control connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Address {
    /// The host as the user named it, or the client's address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The parameters of a test.
// Those that iperf3 has not always told may be missing in a document that is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Parameters {
    /// What carries the payload.
    #[cfg_attr(test, schemars(extend("enum" = ["TCP", "UDP", "SCTP"])))]
    pub protocol: String,
    /// Streams in each direction.
    #[cfg_attr(test, schemars(range(min = 1, max = 128)))]
    pub num_streams: u32,
    /// Bytes of a block.
    pub blksize: u32,
    /// Seconds at the beginning that do not count.
    pub omit: u32,
    /// Seconds; 0 if something else ends the test.
    pub duration: Number,
    /// Bytes after which the test ends (-n); 0 if something else ends it.
    pub bytes: u64,
    /// Blocks after which the test ends (-k); 0 if something else ends it.
    pub blocks: u64,
    /// 1 where the server sends (-R).
    #[cfg_attr(test, schemars(range(max = 1)))]
    pub reverse: u8,
    /// The byte for the type of service.
    pub tos: u8,
    /// Bits per second of a stream; 0 is no limit.
    #[serde(default)]
    pub target_bitrate: u64,
    /// 1 where both ends send (--bidir).
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = 1)))]
    pub bidir: u8,
    /// Bits per second of a stream by the kernel's pacing; 0 is no limit.
    #[serde(default)]
    pub fqrate: u64,
    /// Seconds of an interval; 0 if there are none.
    #[serde(default)]
    pub interval: Number,
    /// 1 with segmentation offload for UDP (--gsro).
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = 1)))]
    pub gso: u8,
    /// 1 with receive offload for UDP (--gsro).
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = 1)))]
    pub gro: u8,
}

impl Start {
    /// As much as is known. `extras` is whether the version may name ringperf.
    pub(in crate::report) fn new(
        role: Role,
        session: Option<&SessionInfo>,
        start: Option<&TestStart>,
        extras: bool,
    ) -> Self {
        let streams = start.map_or(&[][..], |start| &start.streams);
        let mut told = Self {
            connected: streams.iter().map(Connected::from).collect(),
            version: json_version(extras).to_owned(),
            system_info: system_info(),
            listener: None,
            timestamp: None,
            connecting_to: None,
            accepted_connection: None,
            cookie: None,
            tcp_mss: None,
            tcp_mss_default: None,
            target_bitrate: None,
            fq_rate: None,
            streams: None,
            test_start: None,
        };
        if let Some(session) = session {
            told.add_session(session);
            if let Some(start) = start {
                let is_listener = role == Role::Server && session.test.protocol.udp().is_none();
                let place = if is_listener { &mut told.listener } else { &mut told.streams };
                *place = Some(Buffers::new(&session.test, start));
                told.test_start = Some(Parameters::from(session));
            }
        }
        told
    }

    /// From the control connection to the rates.
    fn add_session(&mut self, session: &SessionInfo) {
        let SessionInfo { role, host, port, cookie, time, control_mss, test, .. } = session;
        let since_epoch = since_epoch(*time);
        self.timestamp = Some(Timestamp {
            time: rfc_1123(*time),
            timesecs: since_epoch.as_secs(),
            timemillisecs: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        });
        let peer = match role {
            Role::Client => &mut self.connecting_to,
            Role::Server => &mut self.accepted_connection,
        };
        *peer = Some(Address { host: host.clone(), port: *port });
        self.cookie = Some(cookie.clone());
        match test.socket.mss_bytes {
            _ if test.protocol.udp().is_some() => {}
            Some(mss) => self.tcp_mss = Some(mss),
            None => self.tcp_mss_default = Some(*control_mss),
        }
        self.target_bitrate = Some(test.pacing.bits_per_second);
        self.fq_rate = Some(test.socket.fq_bits_per_second);
    }

    /// The sizes of the socket buffers; of a server that tests TCP those of its listener.
    #[must_use]
    pub fn buffers(&self) -> Option<Buffers> {
        self.listener.or(self.streams)
    }

    fn is_of_tcp_server(&self) -> bool {
        self.accepted_connection.is_some() && (self.tcp_mss.is_some() || self.tcp_mss_default.is_some())
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // With `remote = "Self"` this is what is derived above, and so it is below.
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Start {
    /// Of equal keys the last one counts: a server of iperf3 writes `target_bitrate` twice.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let mut start = Self::deserialize(value).map_err(D::Error::custom)?;
        let buffers = start.buffers();
        (start.listener, start.streams) =
            if start.is_of_tcp_server() { (buffers, None) } else { (None, buffers) };
        Ok(start)
    }
}

impl From<&ConnectedStream> for Connected {
    fn from(stream: &ConnectedStream) -> Self {
        Self {
            socket: stream.socket,
            local_host: stream.local.ip().to_canonical().to_string(),
            local_port: stream.local.port(),
            remote_host: stream.remote.ip().to_canonical().to_string(),
            remote_port: stream.remote.port(),
        }
    }
}

impl Buffers {
    fn new(test: &TestConfig, start: &TestStart) -> Self {
        Self {
            sock_bufsize: test.socket.window_bytes.unwrap_or(0),
            sndbuf_actual: start.sndbuf_actual,
            rcvbuf_actual: start.rcvbuf_actual,
        }
    }
}

impl From<&SessionInfo> for Parameters {
    fn from(session: &SessionInfo) -> Self {
        let test = &session.test;
        let (seconds, bytes, blocks) = match test.end {
            EndCondition::Time(duration) => (duration.as_secs_f64(), 0, 0),
            EndCondition::Bytes(bytes) => (0.0, bytes, 0),
            EndCondition::Blocks(blocks) => (0.0, 0, blocks),
            EndCondition::Unlimited => (0.0, 0, 0),
        };
        let offload = u8::from(test.protocol.udp().is_some_and(|udp| udp.gsro));
        Self {
            protocol: test.protocol.name().to_owned(),
            num_streams: test.parallel,
            blksize: test.block.bytes,
            omit: test.omit_secs,
            duration: seconds.into(),
            bytes,
            blocks,
            reverse: u8::from(test.direction == Direction::Reverse),
            tos: test.socket.tos,
            target_bitrate: test.pacing.bits_per_second,
            bidir: u8::from(test.direction == Direction::Bidir),
            fqrate: test.socket.fq_bits_per_second,
            interval: session.interval.unwrap_or_default().as_secs_f64().into(),
            gso: offload,
            gro: offload,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::{Protocol, UdpConfig};
    use crate::report::testing::fixtures::{self, pinned, shape};

    use super::*;

    /// The keys of a real iperf3 3.22, except that its servers say twice what the target is.
    #[test]
    fn udp_tests_have_the_keys_of_iperf3() {
        for (role, peer) in [(Role::Client, "connecting_to"), (Role::Server, "accepted_connection")] {
            let mut test = fixtures::udp_test(Direction::Bidir, 2);
            test.protocol = Protocol::Udp(UdpConfig { gsro: true, ..UdpConfig::default() });
            test.socket.mss_bytes = Some(1400);
            test.socket.tos = 0x20;
            let session = fixtures::session(role, test);
            let start =
                Start::new(role, Some(&session), Some(&fixtures::start(role, Direction::Bidir, 2)), true);
            let document = serde_json::to_value(start).unwrap();
            let expected = format!(
                "{{connected:CONNECTED,version:s,system_info:s,
                timestamp:{{time:s,timesecs:n,timemillisecs:n}},{peer}:{{host:s,port:n}},cookie:s,
                target_bitrate:n,fq_rate:n,BUFFERS,
                test_start:{{protocol:s,num_streams:n,blksize:n,omit:n,duration:n,bytes:n,blocks:n,reverse:n,
                    tos:n,target_bitrate:n,bidir:n,fqrate:n,interval:n,gso:n,gro:n}}}}"
            );
            assert_eq!(shape(&document), pinned(&expected), "{role:?}");
            let test_start = &document["test_start"];
            assert_eq!(test_start["protocol"], "UDP");
            assert_eq!(test_start["tos"], 32);
            assert_eq!((&test_start["gso"], &test_start["gro"]), (&json!(1), &json!(1)));
        }
    }

    #[test]
    fn a_key_may_come_twice() {
        let text = r#"{"connected":[],"version":"iperf 3.12","target_bitrate":1,"system_info":"","target_bitrate":2}"#;
        assert_eq!(serde_json::from_str::<Start>(text).unwrap().target_bitrate, Some(2));
    }
}
