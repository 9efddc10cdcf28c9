//! A client's request from its parameters.

use std::time::Duration;

use super::keys::ParamKeys;
use super::{Hello, ParamsError, Request};
use crate::config::ranges::{
    BLOCK_BYTES, BURST_BLOCKS, CONGESTION_BYTES, DATAGRAM_BYTES, FLOW_LABEL, MSS_BYTES, OFFLOAD_BYTES,
    OMIT_SECS, PROCESSOR, RECEIVE_OFFLOAD, STREAMS, TEST_SECS, TOS, WINDOW_BYTES,
};
use crate::config::{
    BlockSize, DEFAULT_BLOCK_BYTES, DEFAULT_PACING_TIMER_US, DEFAULT_SCTP_BLOCK_BYTES, Direction,
    EndCondition, Pacing, Protocol, SctpConfig, SocketConfig, TestConfig, UdpConfig,
};
use crate::protocol::{Value, parse_object};

/// The request that a client sent, every number in its range.
///
/// Flags count when their key is there, whatever their value: `"reverse":false` is a reverse test, as in
/// iperf3. Where several end conditions are given, bytes go before blocks and blocks before time.
///
/// # Errors
/// See [`ParamsError`]; [`ParamsError::code`] is what the client should be told.
pub fn decode(bytes: &[u8]) -> Result<Request, ParamsError> {
    let keys = ParamKeys(parse_object(bytes)?);
    let hello = Hello::of(&keys.0);
    let protocol = keys.protocol()?;
    let test = TestConfig {
        protocol,
        direction: keys.direction()?,
        parallel: keys.number("parallel", &STREAMS)?.unwrap_or(1),
        end: keys.end()?,
        omit_secs: keys.number("omit", &OMIT_SECS)?.unwrap_or(0),
        block: keys.block(protocol, hello.as_ref())?,
        pacing: Pacing {
            bits_per_second: keys.count("bandwidth")?,
            burst_blocks: keys.number("burst", &BURST_BLOCKS)?.unwrap_or(0),
        },
        socket: keys.socket()?,
        zerocopy: keys.switch("zerocopy")?,
        skip_rx_copy: keys.switch("skip_rx_copy")?,
        repeating_payload: keys.number_present("repeating_payload")?,
        title: keys.text("title")?,
        extra_data: keys.text("extra_data")?,
        server_output: keys.number_present("get_server_output")?,
        server_cpu: keys.number("server_affinity", &PROCESSOR)?,
        pacing_timer_us: match keys.count("pacing_timer")? {
            0 => DEFAULT_PACING_TIMER_US,
            micros => micros,
        },
    };
    let client_version = keys.text("client_version")?;
    Ok(Request { test, client_version, auth_token: keys.token(), hello })
}

impl ParamKeys {
    /// If several keys are there, SCTP goes before UDP and that before TCP, since iperf3 looks at them in the
    /// opposite order and keeps the last.
    fn protocol(&self) -> Result<Protocol, ParamsError> {
        self.flag("tcp")?;
        let options = UdpConfig {
            counters_64bit: self.number_present("udp_counters_64bit")?,
            gsro: self.offload()?,
            dont_fragment: self.switch("dont_fragment")?,
        };
        Ok(match (self.flag("sctp")?, self.flag("udp")?, self.flag("mptcp")?) {
            (true, _, _) => Protocol::Sctp(SctpConfig::default()),
            (false, true, _) => Protocol::Udp(options),
            (false, false, true) => Protocol::Mptcp,
            (false, false, false) => Protocol::Tcp,
        })
    }

    /// Whether either kind of offload is asked for. How large its buffers are is a matter of the engine, but
    /// what iperf3 refuses is refused here, too.
    fn offload(&self) -> Result<bool, ParamsError> {
        for key in ["gso_dg_size", "gso_bf_size", "gro_bf_size"] {
            self.number(key, &OFFLOAD_BYTES)?;
        }
        let gso = self.number("gso", &OFFLOAD_BYTES)?;
        let gro = self.number("gro", &RECEIVE_OFFLOAD)?;
        Ok(gso.is_some_and(|on| on != 0) || gro == Some(1))
    }

    /// If both keys are there it is a bidirectional test, as iperf3 looks at that key last.
    fn direction(&self) -> Result<Direction, ParamsError> {
        Ok(match (self.flag("bidirectional")?, self.flag("reverse")?) {
            (true, _) => Direction::Bidir,
            (false, true) => Direction::Reverse,
            (false, false) => Direction::Forward,
        })
    }

    fn end(&self) -> Result<EndCondition, ParamsError> {
        let seconds = self.number("time", &TEST_SECS)?.unwrap_or(10);
        Ok(match (self.count("num")?, self.count("blockcount")?, seconds) {
            (0, 0, 0) => EndCondition::Unlimited,
            (0, 0, seconds) => EndCondition::Time(Duration::from_secs(seconds.into())),
            (0, blocks, _) => EndCondition::Blocks(blocks),
            (bytes, _, _) => EndCondition::Bytes(bytes),
        })
    }

    /// An iperf3 client does not tell whether its user has set the size, but who sends another one than TCP's
    /// default has. With UDP that is everybody: each path has a default of its own, and so the key must be
    /// there.
    fn block(&self, protocol: Protocol, hello: Option<&Hello>) -> Result<BlockSize, ParamsError> {
        let range = match protocol {
            Protocol::Tcp | Protocol::Mptcp | Protocol::Sctp(_) => &BLOCK_BYTES,
            Protocol::Udp(_) => &DATAGRAM_BYTES,
        };
        let bytes = match (self.number("len", range)?, protocol) {
            (Some(bytes), _) => bytes,
            (None, Protocol::Udp(_)) => return Err(ParamsError::DatagramSize),
            (None, _) => DEFAULT_BLOCK_BYTES,
        };
        let default = match protocol {
            Protocol::Sctp(_) => DEFAULT_SCTP_BLOCK_BYTES,
            Protocol::Tcp | Protocol::Mptcp | Protocol::Udp(_) => DEFAULT_BLOCK_BYTES,
        };
        let explicit = hello.map_or(bytes != default, |hello| hello.explicit_block);
        Ok(BlockSize { bytes, explicit })
    }

    fn socket(&self) -> Result<SocketConfig, ParamsError> {
        let congestion = self.text("congestion")?;
        if congestion.as_ref().is_some_and(|name| !CONGESTION_BYTES.contains(name.len())) {
            return Err(ParamsError::Congestion);
        }
        let non_zero = |bytes: &u32| *bytes != 0;
        Ok(SocketConfig {
            window_bytes: self.number("window", &WINDOW_BYTES)?.filter(non_zero),
            mss_bytes: self.number("MSS", &MSS_BYTES)?.filter(non_zero),
            no_delay: self.flag("nodelay")?,
            congestion,
            fq_bits_per_second: self.count("fqrate")?,
            tos: self.number("TOS", &TOS)?.unwrap_or(0),
            flow_label: self.number("flowlabel", &FLOW_LABEL)?,
        })
    }

    /// Whatever text stands there: what can be no token is judged with all others, since an answer of its own
    /// would tell something to those who guess. What is no text is as if it were missing.
    fn token(&self) -> Option<String> {
        self.0.get("authtoken").and_then(Value::text).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test_of(text: &str) -> TestConfig {
        decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).test
    }

    fn code_of(text: &str) -> i32 {
        decode(text.as_bytes()).map_or_else(|error| error.code().0, |request| panic!("{text}: {request:?}"))
    }

    #[test]
    fn an_empty_request_is_the_default_test() {
        let request =
            Request { test: TestConfig::default(), client_version: None, auth_token: None, hello: None };
        assert_eq!(decode(b"{}").unwrap(), request);
        assert_eq!(decode(b"[]").unwrap(), request);
    }

    #[test]
    fn a_captured_request_with_many_options() {
        let text = r#"{"tcp":true,"omit":1,"server_affinity":1,"time":1,"num":0,"blockcount":0,"MSS":1400,
            "nodelay":true,"parallel":1,"window":204800,"len":65536,"bandwidth":10000000,"fqrate":50000000,
            "pacing_timer":500,"burst":20,"TOS":16,"title":"ttl","extra_data":"ed","congestion":"cubic",
            "get_server_output":1,"repeating_payload":1,"zerocopy":1,"skip_rx_copy":1,
            "client_version":"3.21+"}"#;
        let test = TestConfig {
            protocol: Protocol::Tcp,
            direction: Direction::Forward,
            parallel: 1,
            end: EndCondition::Time(Duration::from_secs(1)),
            omit_secs: 1,
            block: BlockSize { bytes: 65_536, explicit: true },
            pacing: Pacing { bits_per_second: 10_000_000, burst_blocks: 20 },
            socket: SocketConfig {
                window_bytes: Some(204_800),
                mss_bytes: Some(1400),
                no_delay: true,
                congestion: Some("cubic".to_owned()),
                fq_bits_per_second: 50_000_000,
                tos: 16,
                flow_label: None,
            },
            zerocopy: true,
            skip_rx_copy: true,
            repeating_payload: true,
            title: Some("ttl".to_owned()),
            extra_data: Some("ed".to_owned()),
            server_output: true,
            server_cpu: Some(1),
            pacing_timer_us: 500,
        };
        let client_version = Some("3.21+".to_owned());
        let request = Request { test, client_version, auth_token: None, hello: None };
        assert_eq!(decode(text.as_bytes()).unwrap(), request);
    }

    #[test]
    fn what_asks_for_udp() {
        for text in [
            r#"{"udp":true,"len":16}"#,
            r#"{"udp":false,"len":16}"#,
            r#"{"tcp":true,"udp":true,"len":16}"#,
            r#"{"udp":true,"tcp":true,"len":16}"#,
        ] {
            assert_eq!(test_of(text).protocol, Protocol::Udp(UdpConfig::default()), "{text}");
        }
        for (key, expected) in [
            (r#""udp_counters_64bit":0"#, UdpConfig { counters_64bit: true, ..UdpConfig::default() }),
            (r#""dont_fragment":0"#, UdpConfig::default()),
            (r#""dont_fragment":-1"#, UdpConfig { dont_fragment: true, ..UdpConfig::default() }),
            (r#""gso":2"#, UdpConfig { gsro: true, ..UdpConfig::default() }),
            (r#""gso":0,"gro":1"#, UdpConfig { gsro: true, ..UdpConfig::default() }),
        ] {
            let udp = test_of(&format!(r#"{{"udp":true,"len":16,{key}}}"#)).protocol;
            assert_eq!(udp, Protocol::Udp(expected), "{key}");
            let tcp = test_of(&format!(r#"{{"tcp":true,{key}}}"#));
            assert_eq!(tcp, TestConfig::default(), "{key}");
        }
    }

    #[test]
    fn flags_count_by_presence_and_switches_by_value() {
        for (text, direction) in [
            (r#"{"reverse":false}"#, Direction::Reverse),
            (r#"{"REVERSE":true}"#, Direction::Reverse),
            (r#"{"bidirectional":false,"reverse":true}"#, Direction::Bidir),
            (r#"{"tcp":false}"#, Direction::Forward),
        ] {
            assert_eq!(test_of(text).direction, direction, "{text}");
        }
        assert!(test_of(r#"{"nodelay":false}"#).socket.no_delay);
        assert!(test_of(r#"{"get_server_output":0}"#).server_output);
        assert!(test_of(r#"{"repeating_payload":0}"#).repeating_payload);
        assert!(!test_of(r#"{"zerocopy":0,"skip_rx_copy":0}"#).zerocopy);
        assert!(test_of(r#"{"zerocopy":2}"#).zerocopy);
        assert!(!test_of(r#"{"skip_rx_copy":0}"#).skip_rx_copy);
    }

    #[test]
    fn end_conditions() {
        let seconds = |seconds| EndCondition::Time(Duration::from_secs(seconds));
        for (text, end) in [
            (r#"{"time":86400}"#, seconds(86_400)),
            (r#"{"time":1.5}"#, seconds(1)),
            (r#"{"time":0}"#, EndCondition::Unlimited),
            (r#"{"time":0,"num":5}"#, EndCondition::Bytes(5)),
            (r#"{"time":0,"blockcount":6}"#, EndCondition::Blocks(6)),
            (r#"{"time":3,"num":5,"blockcount":6}"#, EndCondition::Bytes(5)),
            (r#"{"blockcount":6}"#, EndCondition::Blocks(6)),
        ] {
            assert_eq!(test_of(text).end, end, "{text}");
        }
    }

    #[test]
    fn zero_means_unset() {
        let socket = test_of(r#"{"MSS":0,"window":0,"bandwidth":0,"fqrate":0}"#).socket;
        assert_eq!(socket, SocketConfig::default());
    }

    #[test]
    fn each_range_has_its_code() {
        for (good, bad, code) in [
            (r#"{"time":86400}"#, r#"{"time":86401}"#, 5),
            (r#"{"time":0}"#, r#"{"time":-1}"#, 5),
            (r#"{"parallel":128}"#, r#"{"parallel":129}"#, 6),
            (r#"{"parallel":1}"#, r#"{"parallel":0}"#, 6),
            (r#"{"parallel":2}"#, r#"{"parallel":4294967297}"#, 6),
            (r#"{"len":1048576}"#, r#"{"len":1048577}"#, 7),
            (r#"{"len":1}"#, r#"{"len":0}"#, 7),
            (r#"{"udp":true,"len":16}"#, r#"{"udp":true,"len":15}"#, 20),
            (r#"{"udp":true,"len":65507}"#, r#"{"udp":true,"len":65508}"#, 20),
            (r#"{"udp":true,"len":1460.5}"#, r#"{"udp":true,"len":0}"#, 20),
            (r#"{"udp":true,"len":1460}"#, r#"{"udp":true}"#, 20),
            (r#"{"gso":1}"#, r#"{"gso":-1}"#, 114),
            (r#"{"gro":1}"#, r#"{"gro":2}"#, 114),
            (r#"{"gso_dg_size":0}"#, r#"{"gso_dg_size":-1}"#, 114),
            (r#"{"gso_bf_size":2147483647}"#, r#"{"gso_bf_size":2147483648}"#, 114),
            (r#"{"gro_bf_size":0}"#, r#"{"gro_bf_size":-1}"#, 114),
            (r#"{"window":536870912}"#, r#"{"window":536870913}"#, 8),
            (r#"{"MSS":32767}"#, r#"{"MSS":32768}"#, 10),
            (r#"{"omit":600}"#, r#"{"omit":601}"#, 12),
            (r#"{"burst":1000}"#, r#"{"burst":1001}"#, 15),
            (r#"{"burst":1}"#, r#"{"burst":0}"#, 15),
            (r#"{"TOS":255}"#, r#"{"TOS":256}"#, 21),
            (r#"{"TOS":0}"#, r#"{"TOS":-1}"#, 21),
            (r#"{"flowlabel":1048575}"#, r#"{"flowlabel":0}"#, 127),
            (r#"{"flowlabel":1}"#, r#"{"flowlabel":1048576}"#, 127),
            (r#"{"server_affinity":1024}"#, r#"{"server_affinity":1025}"#, 132),
            (r#"{"server_affinity":0}"#, r#"{"server_affinity":-1}"#, 132),
            (r#"{"pacing_timer":0}"#, r#"{"pacing_timer":-1}"#, 114),
            (r#"{"num":9223372036854775807}"#, r#"{"num":-1}"#, 114),
            (r#"{"blockcount":1}"#, r#"{"blockcount":-1}"#, 114),
            (r#"{"bandwidth":1}"#, r#"{"bandwidth":-1}"#, 114),
            (r#"{"fqrate":1}"#, r#"{"fqrate":-1}"#, 114),
            (r#"{"num":1}"#, r#"{"num":18446744073709551615}"#, 114),
            (r#"{"congestion":"123456789012345"}"#, r#"{"congestion":"1234567890123456"}"#, 134),
            (r#"{"congestion":"x"}"#, r#"{"congestion":""}"#, 134),
        ] {
            test_of(good);
            assert_eq!(code_of(bad), code, "{bad}");
        }
    }

    #[test]
    fn wrong_types_and_no_json_are_refused() {
        for text in [
            r#"{"time":"5"}"#,
            r#"{"time":true}"#,
            r#"{"reverse":1}"#,
            r#"{"reverse":null}"#,
            r#"{"zerocopy":true}"#,
            r#"{"udp":1,"len":1460}"#,
            r#"{"udp":true,"len":"1460"}"#,
            r#"{"udp_counters_64bit":true}"#,
            r#"{"dont_fragment":true}"#,
            r#"{"gso":true}"#,
            r#"{"title":5}"#,
            r#"{"congestion":[]}"#,
            r#"{"time":1e30}"#,
            r#"{"time":5} x"#,
            "5",
            "",
        ] {
            assert_eq!(code_of(text), 114, "{text}");
        }
    }

    #[test]
    fn other_protocols() {
        let sctp = Protocol::Sctp(SctpConfig::default());
        for (text, protocol) in [
            (r#"{"sctp":true}"#, sctp),
            (r#"{"sctp":false,"tcp":true}"#, sctp),
            (r#"{"udp":true,"len":1460,"sctp":true}"#, sctp),
            (r#"{"sctp":true,"mptcp":true}"#, sctp),
            (r#"{"tcp":true,"mptcp":true}"#, Protocol::Mptcp),
            (r#"{"mptcp":false}"#, Protocol::Mptcp),
            (r#"{"udp":true,"len":1460,"mptcp":true}"#, Protocol::Udp(UdpConfig::default())),
        ] {
            assert_eq!(test_of(text).protocol, protocol, "{text}");
        }
    }

    #[test]
    fn every_text_is_a_token_to_be_judged() {
        let token_of =
            |value: &str| decode(format!("{{\"authtoken\":{value}}}").as_bytes()).unwrap().auth_token;
        for token in ["bWFyaW8=", "", "no base64"] {
            assert_eq!(token_of(&format!("\"{token}\"")).as_deref(), Some(token));
        }
        for value in ["1", "null", "true", "[]", "{}"] {
            assert_eq!(token_of(value), None, "{value}");
        }
    }

    #[test]
    fn who_chose_the_block_size() {
        for (text, explicit) in [
            ("{}", false),
            (r#"{"len":131072}"#, false),
            (r#"{"len":131071}"#, true),
            (r#"{"len":65536}"#, true),
            (r#"{"sctp":true,"len":65536}"#, false),
            (r#"{"udp":true,"len":1448}"#, true),
            (r#"{"udp":true,"len":1448,"ringperf":{"version":"1","explicit_block":false}}"#, false),
            (r#"{"len":131072,"ringperf":{"version":"1","explicit_block":true}}"#, true),
            (r#"{"len":131071,"ringperf":{"version":"1","explicit_block":false}}"#, false),
            (r#"{"len":131071,"ringperf":{"version":"1"}}"#, false),
        ] {
            assert_eq!(test_of(text).block.explicit, explicit, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_numbers_are_refused_or_in_range(
            key in prop::sample::select(vec!["time", "omit", "parallel", "len", "burst", "num", "gso", "gro"]),
            number in prop_oneof![any::<i64>(), -1..=70_000i64],
            protocol in prop::sample::select(vec!["tcp", "udp"]),
        ) {
            let text = format!("{{\"{protocol}\":true,\"{key}\":{number},\"len\":1000}}");
            if let Ok(Request { test, .. }) = decode(text.as_bytes()) {
                prop_assert!((1..=128).contains(&test.parallel));
                let bytes = if protocol == "udp" { 16..=65_507 } else { 1..=1_048_576 };
                prop_assert!(bytes.contains(&test.block.bytes));
                prop_assert!(test.omit_secs <= 600 && test.pacing.burst_blocks <= 1000);
                prop_assert!(test.duration().is_none_or(|time| time <= Duration::from_secs(86_400)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
