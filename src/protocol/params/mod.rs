//! The parameters: what a client asks its server to do.

mod decode;
mod encode;
mod keys;

use super::{ErrorCode, Extension, Hello, JsonError};
use crate::config::TestConfig;
use crate::config::ranges::CONGESTION_BYTES;

pub use decode::decode;
pub use encode::encode;

/// Most bytes of parameters that an iperf3 server reads, since 3.18 (`MAX_PARAMS_JSON_STRING`).
pub const PARAMS_BYTES_MAX: usize = 8 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The test.
    pub test: TestConfig,
    /// What the client calls its version. Not sent: a ringperf always names the iperf3 that it speaks like.
    pub client_version: Option<String>,
    /// Who the client says it is, encrypted and in base64, as it was sent. `None` if it says nothing.
    pub auth_token: Option<String>,
    /// What only ringperfs tell each other; `None` from an iperf3.
    pub hello: Option<Hello>,
}

impl Request {
    /// What the client and this ringperf both understand of the extension; nothing with an iperf3.
    #[must_use]
    pub fn extension(&self) -> Extension {
        self.hello.as_ref().map_or(Extension::NONE, |hello| hello.extension.common(Extension::OWN))
    }
}

/// The parameters do not fit in what servers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the test parameters take {bytes} bytes, but a server reads at most {PARAMS_BYTES_MAX}; \
     shorten --title, --extra-data or --peer-cpus"
)]
pub struct ParamsTooLong {
    /// Bytes of the text.
    pub bytes: usize,
}

/// Why parameters are refused.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// They are no JSON object.
    #[error("the parameters are {0}")]
    Json(#[from] JsonError),
    /// A value has the wrong type or is no number that fits. iperf3 would go on with the default instead, and
    /// run another test than the one asked for.
    #[error("parameter \"{key}\" is not {expected}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// A number is outside its range.
    #[error("parameter \"{key}\" is {value}, allowed is {min} to {max}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
        /// iperf3's number for this mistake.
        code: ErrorCode,
    },
    /// A UDP test without a datagram size. The default that iperf3 falls back to is that of TCP.
    #[error("parameter \"len\" is missing, which a UDP test must have")]
    DatagramSize,
    /// A congestion control name that no Linux can have.
    #[error("parameter \"congestion\" is not a name of 1 to {} bytes", CONGESTION_BYTES.max)]
    Congestion,
}

impl ParamsError {
    /// The number to send to the client, after [`super::State::ServerError`].
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_) | Self::Type { .. } => ErrorCode::RECV_PARAMS,
            Self::DatagramSize => ErrorCode::UDP_BLOCK_SIZE,
            Self::Congestion => ErrorCode::CONGESTION,
            Self::Range { code, .. } => *code,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{
        BlockSize, Direction, EndCondition, EngineChoice, Pacing, Protocol, SctpConfig, SocketConfig,
        UdpConfig, processor_list,
    };

    fn any_direction() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Direction::Forward), Just(Direction::Reverse), Just(Direction::Bidir)]
    }

    fn any_end() -> impl Strategy<Value = EndCondition> {
        let large = 1..=i64::MAX.unsigned_abs();
        prop_oneof![
            (1..=86_400u64).prop_map(|seconds| EndCondition::Time(Duration::from_secs(seconds))),
            large.clone().prop_map(EndCondition::Bytes),
            large.prop_map(EndCondition::Blocks),
            Just(EndCondition::Unlimited),
        ]
    }

    fn any_socket() -> impl Strategy<Value = SocketConfig> {
        let window = prop::option::of(1..=536_870_912u32);
        let congestion = prop::option::of("[a-z_]{1,15}");
        let rate = 0..=i64::MAX.unsigned_abs();
        let marks = (any::<u8>(), prop::option::of(1..=0xf_ffffu32));
        (window, prop::option::of(1..=32_767u32), any::<bool>(), congestion, rate, marks).prop_map(
            |(window_bytes, mss_bytes, no_delay, congestion, fq_bits_per_second, (tos, flow_label))| {
                SocketConfig {
                    window_bytes,
                    mss_bytes,
                    no_delay,
                    congestion,
                    fq_bits_per_second,
                    tos,
                    flow_label,
                }
            },
        )
    }

    /// A protocol and the bytes of its blocks. How many streams an SCTP association has is not sent.
    fn any_protocol() -> impl Strategy<Value = (Protocol, u32)> {
        let udp = any::<[bool; 3]>().prop_map(|[counters_64bit, gsro, dont_fragment]| {
            Protocol::Udp(UdpConfig { counters_64bit, gsro, dont_fragment })
        });
        let stream =
            prop::sample::select(vec![Protocol::Tcp, Protocol::Mptcp, Protocol::Sctp(SctpConfig::default())]);
        prop_oneof![(stream, 1..=1_048_576u32), (udp, 16..=65_507u32)]
    }

    fn any_hello() -> impl Strategy<Value = Hello> {
        let engine = prop::option::of(prop::sample::select(EngineChoice::ALL.to_vec()));
        let words = prop::sample::select(vec!["auto", "spread", "pack", "near"]).prop_map(str::to_owned);
        let list = prop::collection::vec(0..=1024u32, 1..10).prop_map(|list| processor_list(&list));
        let cpus = prop::option::of(prop_oneof![words, list]);
        let extension = prop::sample::select(vec![Extension::NONE, Extension::OWN]);
        ("[0-9.]{1,8}", engine, cpus, any::<[bool; 2]>(), extension).prop_map(
            |(version, engine, cpus, [explicit_block, extras], extension)| Hello {
                version,
                engine,
                cpus: cpus.map(|cpus| cpus.parse().unwrap()),
                explicit_block,
                extras,
                extension,
            },
        )
    }

    /// A request as a ringperf client makes it, so that the other end must read exactly the same.
    fn any_request() -> impl Strategy<Value = Request> {
        let traffic = (any_direction(), 1..=128u32, any_end(), 0..=600u32, any_protocol());
        let pacing = (0..=i64::MAX.unsigned_abs(), 0..=1000u32);
        let texts = (
            prop::option::of("[^\0]{0,40}"),
            prop::option::of("[^\0]{0,40}"),
            prop::option::of("[A-Za-z0-9+/]{1,40}={0,2}"),
        );
        let server = (prop::option::of(0..=1024u32), 1..=i64::MAX.unsigned_abs());
        (traffic, pacing, any_socket(), any::<[bool; 4]>(), texts, server, any_hello()).prop_map(
            |(
                (direction, parallel, end, omit_secs, (protocol, bytes)),
                rate,
                socket,
                on,
                (title, extra_data, auth_token),
                (server_cpu, pacing_timer_us),
                hello,
            )| {
                Request {
                    test: TestConfig {
                        protocol,
                        direction,
                        parallel,
                        end,
                        omit_secs,
                        block: BlockSize { bytes, explicit: hello.explicit_block },
                        pacing: Pacing { bits_per_second: rate.0, burst_blocks: rate.1 },
                        socket,
                        zerocopy: on[0],
                        skip_rx_copy: on[1],
                        repeating_payload: on[2],
                        server_output: on[3],
                        title,
                        extra_data,
                        server_cpu,
                        pacing_timer_us,
                    },
                    client_version: Some("3.21".to_owned()),
                    auth_token,
                    hello: Some(hello),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn requests_round_trip(request in any_request()) {
            let text = encode(&request).unwrap();
            prop_assert_eq!(decode(text.as_bytes()).unwrap(), request);
        }
    }

    /// What iperf3 sends for a UDP test with hardly any options, with those of UDP, and with all.
    #[test]
    fn captured_udp_requests_are_read_and_written_alike() {
        let bare = TestConfig {
            protocol: Protocol::Udp(UdpConfig::default()),
            block: BlockSize { bytes: 32_768, explicit: true },
            pacing: Pacing { bits_per_second: 1_048_576, burst_blocks: 0 },
            ..TestConfig::default()
        };
        let blocks = TestConfig {
            protocol: Protocol::Udp(UdpConfig { counters_64bit: true, gsro: true, dont_fragment: true }),
            block: BlockSize { bytes: 1000, explicit: true },
            end: EndCondition::Blocks(10),
            ..bare.clone()
        };
        let many = TestConfig {
            omit_secs: 1,
            end: EndCondition::Time(Duration::from_secs(1)),
            pacing: Pacing { bits_per_second: 5_000_000, burst_blocks: 20 },
            socket: SocketConfig {
                window_bytes: Some(204_800),
                mss_bytes: Some(1400),
                no_delay: true,
                congestion: Some("cubic".to_owned()),
                fq_bits_per_second: 50_000_000,
                tos: 0,
                flow_label: None,
            },
            zerocopy: true,
            skip_rx_copy: true,
            repeating_payload: true,
            title: Some("ttl".to_owned()),
            extra_data: Some("ed".to_owned()),
            server_output: true,
            ..blocks.clone()
        };
        for (test, text) in [
            (
                bare,
                r#"{"udp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,
                "len":32768,"bandwidth":1048576,"pacing_timer":1000,"gso":0,"gso_dg_size":0,
                "gso_bf_size":65507,"gro":0,"gro_bf_size":65507,"client_version":"3.21"}"#,
            ),
            (
                blocks,
                r#"{"udp":true,"omit":0,"time":0,"num":0,"blockcount":10,"parallel":1,
                "len":1000,"bandwidth":1048576,"pacing_timer":1000,"gso":1,"gso_dg_size":1000,
                "gso_bf_size":65000,"gro":1,"gro_bf_size":65507,"udp_counters_64bit":1,
                "dont_fragment":1,"client_version":"3.21"}"#,
            ),
            (
                many,
                r#"{"udp":true,"omit":1,"time":1,"num":0,"blockcount":0,"MSS":1400,"nodelay":true,
                "parallel":1,"window":204800,"len":1000,"bandwidth":5000000,"fqrate":50000000,
                "pacing_timer":1000,"burst":20,"gso":1,"gso_dg_size":1000,"gso_bf_size":65000,
                "gro":1,"gro_bf_size":65507,"title":"ttl","extra_data":"ed","congestion":"cubic",
                "get_server_output":1,"udp_counters_64bit":1,"repeating_payload":1,"zerocopy":1,
                "dont_fragment":1,"skip_rx_copy":1,"client_version":"3.21"}"#,
            ),
        ] {
            let text: String = text.split_whitespace().collect();
            let request =
                Request { test, client_version: Some("3.21".to_owned()), auth_token: None, hello: None };
            assert_eq!(encode(&request).unwrap(), text);
            assert_eq!(decode(text.as_bytes()).unwrap(), request);
        }
    }
}
