//! Parameters from a client's request.

use std::time::Duration;

use serde::Serialize;

use super::{Hello, PARAMS_BYTES_MAX, ParamsTooLong, Request};
use crate::config::ranges::DATAGRAM_BYTES;
use crate::config::{Direction, EndCondition, Protocol};

/// The version of iperf3 whose protocol this is; servers do not look at it.
const CLIENT_VERSION: &str = "3.21";
/// Most datagrams that one segmentation offload takes (the kernel's `UDP_MAX_SEGMENTS`).
const SEGMENTS_MAX: u32 = 128;

/// The text to send after [`crate::protocol::State::ParamExchange`]: compact, with the keys in the order of
/// iperf3 3.21.
///
/// A fraction of a second is rounded up, as the protocol knows whole seconds only; the client ends the test
/// anyway.
///
/// # Errors
/// The text would be longer than [`PARAMS_BYTES_MAX`].
pub fn encode(request: &Request) -> Result<String, ParamsTooLong> {
    let text = serde_json::to_string(&Wire::new(request)).expect("plain numbers and strings are always JSON");
    match text.len() {
        0..=PARAMS_BYTES_MAX => Ok(text),
        bytes => Err(ParamsTooLong { bytes }),
    }
}

/// The parameters as they travel, in iperf3's order.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(skip_serializing_if = "is_off")]
    tcp: bool,
    #[serde(skip_serializing_if = "is_off")]
    udp: bool,
    #[serde(skip_serializing_if = "is_off")]
    sctp: bool,
    omit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_affinity: Option<u32>,
    time: u64,
    num: u64,
    blockcount: u64,
    #[serde(rename = "MSS", skip_serializing_if = "is_zero")]
    mss: u64,
    #[serde(skip_serializing_if = "is_off")]
    nodelay: bool,
    parallel: u32,
    #[serde(skip_serializing_if = "is_off")]
    reverse: bool,
    #[serde(skip_serializing_if = "is_off")]
    bidirectional: bool,
    #[serde(skip_serializing_if = "is_off")]
    mptcp: bool,
    #[serde(skip_serializing_if = "is_zero")]
    window: u64,
    len: u32,
    #[serde(skip_serializing_if = "is_zero")]
    bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    fqrate: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pacing_timer: u64,
    #[serde(skip_serializing_if = "is_zero")]
    burst: u64,
    #[serde(flatten)]
    offload: Option<OffloadWire>,
    #[serde(rename = "TOS", skip_serializing_if = "is_zero")]
    tos: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flowlabel: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    congestion: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    get_server_output: u64,
    #[serde(skip_serializing_if = "is_zero")]
    udp_counters_64bit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    repeating_payload: u64,
    #[serde(skip_serializing_if = "is_zero")]
    zerocopy: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dont_fragment: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    authtoken: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    skip_rx_copy: u64,
    client_version: &'static str,
    #[serde(rename = "ringperf", skip_serializing_if = "Option::is_none")]
    hello: Option<&'a Hello>,
}

/// Segmentation and receive offload of a UDP test. An iperf3 server goes on with those of the test before
/// when they are not there, so each UDP test has them.
#[derive(Serialize)]
struct OffloadWire {
    gso: u32,
    gso_dg_size: u32,
    gso_bf_size: u32,
    gro: u32,
    gro_bf_size: u32,
}

impl<'a> Wire<'a> {
    fn new(request: &'a Request) -> Self {
        let test = &request.test;
        let udp = test.protocol.udp();
        let options = udp.unwrap_or_default();
        let (time, num, blockcount) = match test.end {
            EndCondition::Time(time) => (whole_seconds(time), 0, 0),
            EndCondition::Bytes(bytes) => (0, bytes, 0),
            EndCondition::Blocks(blocks) => (0, 0, blocks),
            EndCondition::Unlimited => (0, 0, 0),
        };
        Self {
            tcp: matches!(test.protocol, Protocol::Tcp | Protocol::Mptcp),
            udp: udp.is_some(),
            sctp: matches!(test.protocol, Protocol::Sctp(_)),
            omit: test.omit_secs,
            server_affinity: test.server_cpu,
            time,
            num,
            blockcount,
            mss: test.socket.mss_bytes.map_or(0, u64::from),
            nodelay: test.socket.no_delay,
            parallel: test.parallel,
            reverse: test.direction == Direction::Reverse,
            bidirectional: test.direction == Direction::Bidir,
            mptcp: test.protocol == Protocol::Mptcp,
            window: test.socket.window_bytes.map_or(0, u64::from),
            len: test.block.bytes,
            bandwidth: test.pacing.bits_per_second,
            fqrate: test.socket.fq_bits_per_second,
            pacing_timer: test.pacing_timer_us,
            burst: u64::from(test.pacing.burst_blocks),
            offload: udp.map(|udp| OffloadWire::new(udp.gsro, test.block.bytes)),
            tos: test.socket.tos.into(),
            flowlabel: test.socket.flow_label,
            title: test.title.as_deref(),
            extra_data: test.extra_data.as_deref(),
            congestion: test.socket.congestion.as_deref(),
            get_server_output: u64::from(test.server_output),
            udp_counters_64bit: u64::from(options.counters_64bit),
            repeating_payload: u64::from(test.repeating_payload),
            zerocopy: u64::from(test.zerocopy),
            dont_fragment: u64::from(options.dont_fragment),
            authtoken: request.auth_token.as_deref(),
            skip_rx_copy: u64::from(test.skip_rx_copy),
            client_version: CLIENT_VERSION,
            hello: request.hello.as_ref(),
        }
    }
}

impl OffloadWire {
    /// One send of an iperf3 server takes as many datagrams as fit.
    fn new(gsro: bool, datagram_bytes: u32) -> Self {
        if !gsro {
            return Self {
                gso: 0,
                gso_dg_size: 0,
                gso_bf_size: DATAGRAM_BYTES.max,
                gro: 0,
                gro_bf_size: DATAGRAM_BYTES.max,
            };
        }
        let segments = (DATAGRAM_BYTES.max / datagram_bytes).min(SEGMENTS_MAX);
        Self {
            gso: 1,
            gso_dg_size: datagram_bytes,
            gso_bf_size: segments * datagram_bytes,
            gro: 1,
            gro_bf_size: DATAGRAM_BYTES.max,
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_off(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BlockSize, EngineChoice, Pacing, SctpConfig, SocketConfig, TestConfig};
    use crate::protocol::Extension;

    fn text_of(test: TestConfig) -> String {
        encode(&Request { test, client_version: None, auth_token: None, hello: None }).unwrap()
    }

    /// What iperf3 sends for -m --bidir, --sctp, and for what tells its server how to run and to mark
    /// packets.
    #[test]
    fn the_captured_texts_of_other_protocols_and_marks() {
        let with = |protocol| TestConfig { protocol, ..TestConfig::default() };
        let marked = TestConfig {
            socket: SocketConfig { tos: 16, flow_label: Some(5), ..SocketConfig::default() },
            server_cpu: Some(0),
            pacing_timer_us: 1024,
            ..TestConfig::default()
        };
        for (test, text) in [
            (
                TestConfig { direction: Direction::Bidir, ..with(Protocol::Mptcp) },
                r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,"bidirectional":true,
                "mptcp":true,"len":131072,"pacing_timer":1000,"client_version":"3.21"}"#,
            ),
            (
                TestConfig {
                    block: BlockSize { bytes: 65_536, explicit: false },
                    ..with(Protocol::Sctp(SctpConfig { streams: 4 }))
                },
                r#"{"sctp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,"len":65536,
                "pacing_timer":1000,"client_version":"3.21"}"#,
            ),
            (
                marked,
                r#"{"tcp":true,"omit":0,"server_affinity":0,"time":10,"num":0,"blockcount":0,"parallel":1,
                "len":131072,"pacing_timer":1024,"TOS":16,"flowlabel":5,"client_version":"3.21"}"#,
            ),
            (
                TestConfig { pacing_timer_us: 0, ..TestConfig::default() },
                r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,"len":131072,
                "client_version":"3.21"}"#,
            ),
        ] {
            assert_eq!(text_of(test), text.split_whitespace().collect::<String>());
        }
    }

    #[test]
    fn a_token_stands_where_iperf3_has_it() {
        let test = TestConfig { zerocopy: true, skip_rx_copy: true, ..TestConfig::default() };
        let auth_token = Some("bWFyaW8=".to_owned());
        let text = encode(&Request { test, client_version: None, auth_token, hello: None }).unwrap();
        let end = r#""zerocopy":1,"authtoken":"bWFyaW8=","skip_rx_copy":1,"client_version":"3.21"}"#;
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn the_captured_texts_of_iperf3() {
        let pacing = Pacing { bits_per_second: 10_000_000, burst_blocks: 0 };
        let end = EndCondition::Time(Duration::from_secs(1));
        let base = TestConfig { pacing, end, ..TestConfig::default() };
        let many = TestConfig {
            omit_secs: 1,
            block: BlockSize { bytes: 65_536, explicit: true },
            pacing: Pacing { bits_per_second: 10_000_000, burst_blocks: 20 },
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
            ..base.clone()
        };
        for (test, text) in [
            (
                base.clone(),
                r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,
                "parallel":1,"len":131072,"bandwidth":10000000,"pacing_timer":1000,
                "client_version":"3.21"}"#,
            ),
            (
                TestConfig { direction: Direction::Reverse, ..base.clone() },
                r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,
                "parallel":1,"reverse":true,"len":131072,"bandwidth":10000000,"pacing_timer":1000,
                "client_version":"3.21"}"#,
            ),
            (
                TestConfig { direction: Direction::Bidir, parallel: 2, ..base },
                r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,
                "parallel":2,"bidirectional":true,"len":131072,"bandwidth":10000000,"pacing_timer":1000,
                "client_version":"3.21"}"#,
            ),
            (
                many,
                r#"{"tcp":true,"omit":1,"time":1,"num":0,"blockcount":0,"MSS":1400,
                "nodelay":true,"parallel":1,"window":204800,"len":65536,"bandwidth":10000000,
                "fqrate":50000000,
                "pacing_timer":1000,"burst":20,"title":"ttl","extra_data":"ed","congestion":"cubic",
                "get_server_output":1,"repeating_payload":1,"zerocopy":1,"skip_rx_copy":1,
                "client_version":"3.21"}"#,
            ),
        ] {
            assert_eq!(text_of(test), text.split_whitespace().collect::<String>());
        }
    }

    #[test]
    fn offload_takes_whole_datagrams() {
        for (datagram, buffer) in
            [(16, 2048), (1000, 65_000), (32_768, 32_768), (40_000, 40_000), (65_507, 65_507)]
        {
            let offload = OffloadWire::new(true, datagram);
            assert_eq!((offload.gso_dg_size, offload.gso_bf_size), (datagram, buffer));
        }
    }

    #[test]
    fn one_end_condition_is_sent_in_whole_seconds() {
        for (end, text) in [
            (EndCondition::Time(Duration::from_millis(500)), r#""time":1,"num":0,"blockcount":0"#),
            (EndCondition::Time(Duration::from_millis(2001)), r#""time":3,"num":0,"blockcount":0"#),
            (EndCondition::Bytes(4096), r#""time":0,"num":4096,"blockcount":0"#),
            (EndCondition::Blocks(7), r#""time":0,"num":0,"blockcount":7"#),
            (EndCondition::Unlimited, r#""time":0,"num":0,"blockcount":0"#),
        ] {
            let sent = text_of(TestConfig { end, ..TestConfig::default() });
            assert!(sent.contains(text), "{sent}");
        }
    }

    #[test]
    fn hello_comes_last() {
        let hello = Hello {
            version: "0.1.0".to_owned(),
            engine: Some(EngineChoice::UringZc),
            cpus: Some("2-3,7".parse().unwrap()),
            explicit_block: true,
            extras: true,
            extension: Extension::OWN,
        };
        let request = Request {
            test: TestConfig::default(),
            client_version: None,
            auth_token: None,
            hello: Some(hello),
        };
        let text = encode(&request).unwrap();
        let end = concat!(
            r#""ringperf":{"version":"0.1.0","engine":"uring-zc","cpus":"2-3,7","#,
            r#""explicit_block":true,"extras":true,"extension":2}}"#
        );
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn what_servers_would_not_read_is_not_sent() {
        let with_title = |bytes: usize| {
            let test = TestConfig { title: Some("x".repeat(bytes)), ..TestConfig::default() };
            encode(&Request { test, client_version: None, auth_token: None, hello: None })
        };
        let without = with_title(0).unwrap().len();
        let room = PARAMS_BYTES_MAX - without;
        assert_eq!(with_title(room).map(|text| text.len()), Ok(PARAMS_BYTES_MAX));
        let error = with_title(room + 1).unwrap_err();
        assert_eq!(error, ParamsTooLong { bytes: 8193 });
        assert!(error.to_string().contains("8193") && error.to_string().contains("--title"), "{error}");
    }
}
