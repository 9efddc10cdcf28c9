//! Results from a peer.

use super::{REAL_MAX, Results, ResultsError, STREAM_RESULTS_MAX, ServerText, StreamResult};
use crate::protocol::{Object, Value, parse_object};
use crate::stats::CpuUse;

/// Highest use of processors that is believed, in percent of one: what ten thousand of them can do.
const PERCENT_MAX: f64 = 1e6;
/// Longest name of a congestion control algorithm that is believed, in bytes.
const CONGESTION_BYTES_MAX: usize = 63;

/// What a peer has measured, every number finite and in its range.
///
/// The keys that iperf3 requires are required; the others count as absent when they have the wrong type. A
/// processor use that cannot be is taken as 0, which is what stands for one that is not known.
///
/// # Errors
/// See [`ResultsError`].
pub fn decode(bytes: &[u8]) -> Result<Results, ResultsError> {
    let mut root = parse_object(bytes)?;
    let server_output = server_output(&mut root);
    let keys = ResultKeys(&root);
    let streams = match keys.0.get("streams") {
        Some(Value::Array(streams)) if streams.len() <= STREAM_RESULTS_MAX => streams,
        Some(Value::Array(streams)) => return Err(ResultsError::TooManyStreams(streams.len())),
        _ => return Err(ResultsError::Missing { key: "streams" }),
    };
    Ok(Results {
        cpu: CpuUse {
            total: keys.percent("cpu_util_total")?,
            user: keys.percent("cpu_util_user")?,
            system: keys.percent("cpu_util_system")?,
        },
        sender_has_retransmits: keys.wrapped_integer("sender_has_retransmits")?,
        congestion_used: keys.congestion(),
        server_output,
        streams: streams.iter().map(decode_stream).collect::<Result<_, _>>()?,
    })
}

fn decode_stream(stream: &Value) -> Result<StreamResult, ResultsError> {
    let Value::Object(stream) = stream else { return Err(ResultsError::Missing { key: "id" }) };
    let keys = ResultKeys(stream);
    let id = keys.count("id")?.ok_or(ResultsError::Missing { key: "id" })?;
    let required = |key| keys.count(key)?.ok_or(ResultsError::Missing { key });
    Ok(StreamResult {
        id: u32::try_from(id).map_err(|_| ResultsError::Range { key: "id" })?,
        bytes: required("bytes")?,
        retransmits: u64::try_from(keys.wrapped_integer("retransmits")?).ok(),
        jitter_seconds: keys.real("jitter", 0.0)?.ok_or(ResultsError::Missing { key: "jitter" })?,
        errors: required("errors")?,
        omitted_errors: keys.known_count("omitted_errors"),
        packets: required("packets")?,
        omitted_packets: keys.known_count("omitted_packets"),
        start_seconds: keys.real("start_time", 0.0)?.unwrap_or(0.0),
        end_seconds: keys.real("end_time", 0.0)?.unwrap_or(0.0),
    })
}

/// The members of an object of the results.
struct ResultKeys<'a>(&'a Object);

impl ResultKeys<'_> {
    fn percent(&self, key: &'static str) -> Result<f64, ResultsError> {
        let percent = self.real(key, -REAL_MAX)?.ok_or(ResultsError::Missing { key })?;
        Ok(if (0.0..=PERCENT_MAX).contains(&percent) { percent } else { 0.0 })
    }

    fn real(&self, key: &'static str, min: f64) -> Result<Option<f64>, ResultsError> {
        match self.0.get(key).and_then(Value::number) {
            Some(number) if !(min..=REAL_MAX).contains(&number) => Err(ResultsError::Range { key }),
            number => Ok(number),
        }
    }

    fn count(&self, key: &'static str) -> Result<Option<u64>, ResultsError> {
        let Some(value) = self.0.get(key).filter(|value| value.number().is_some()) else { return Ok(None) };
        let count = value.integer().and_then(|number| u64::try_from(number).ok());
        count.map(Some).ok_or(ResultsError::Range { key })
    }

    fn wrapped_integer(&self, key: &'static str) -> Result<i64, ResultsError> {
        self.0.get(key).and_then(Value::wrapped_integer).ok_or(ResultsError::Missing { key })
    }

    /// A count for which a peer may write -1 when it does not know.
    fn known_count(&self, key: &'static str) -> Option<u64> {
        self.0.get(key)?.wrapped_integer().and_then(|number| u64::try_from(number).ok())
    }

    /// A name that may be printed. Real ones are short words.
    fn congestion(&self) -> Option<String> {
        let name = self.0.get("congestion_used")?.text()?;
        let believable =
            (1..=CONGESTION_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        believable.then(|| name.to_owned())
    }
}

/// What may be most of the message is not copied.
fn server_output(root: &mut Object) -> Option<ServerText> {
    match (root.take("server_output_json"), root.take("server_output_text")) {
        (Some(document @ Value::Object(_)), _) => Some(ServerText::Json(document.to_json().to_string())),
        (_, Some(Value::Text(text))) => Some(ServerText::Text(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::ErrorCode;

    /// A server's results of a forward TCP test, as iperf3 3.21 sent them.
    const SERVER: &str = r#"{"cpu_util_total":0.0887,"cpu_util_user":0,"cpu_util_system":0.0898,
        "sender_has_retransmits":-1,"congestion_used":"bbr","streams":[{"id":1,"bytes":1310720,
        "retransmits":-1,"jitter":0,"errors":0,"omitted_errors":0,"packets":0,"omitted_packets":0,
        "start_time":0,"end_time":1.001592}]}"#;

    fn with_stream(stream: &str) -> String {
        let root = r#""cpu_util_total":1,"cpu_util_user":1,"cpu_util_system":0,"sender_has_retransmits":1"#;
        format!("{{{root},\"streams\":[{stream}]}}")
    }

    #[test]
    fn the_captured_results_of_a_server() {
        let stream = StreamResult {
            id: 1,
            bytes: 1_310_720,
            omitted_errors: Some(0),
            omitted_packets: Some(0),
            end_seconds: 1.001_592,
            ..StreamResult::default()
        };
        let results = Results {
            cpu: CpuUse { total: 0.0887, user: 0.0, system: 0.0898 },
            sender_has_retransmits: -1,
            congestion_used: Some("bbr".to_owned()),
            server_output: None,
            streams: vec![stream],
        };
        assert_eq!(decode(SERVER.as_bytes()).unwrap(), results);
        assert_eq!(stream.seconds(), Some(1.001_592));
    }

    #[test]
    fn the_captured_stream_of_an_old_client() {
        let stream = r#"{"id":1,"bytes":655360,"retransmits":0,"jitter":0,"errors":0,"packets":0,
            "start_time":0,"end_time":1.000191}"#;
        let results = decode(with_stream(stream).as_bytes()).unwrap();
        let expected = StreamResult {
            id: 1,
            bytes: 655_360,
            retransmits: Some(0),
            end_seconds: 1.000_191,
            ..StreamResult::default()
        };
        assert_eq!(results.streams, [expected]);
    }

    /// A server of iperf3 3.22 and one of 3.12, in tests in which every tenth datagram was dropped.
    #[test]
    fn the_captured_streams_of_udp_receivers() {
        let new = r#"{"id":1,"bytes":122000,"retransmits":-1,"jitter":1.4415738814590568e-05,"errors":26,
            "omitted_errors":12,"packets":263,"omitted_packets":127,"start_time":0,"end_time":1.036097}"#;
        let old = r#"{"id":1,"bytes":123000,"retransmits":18446744073709551615,"jitter":7.07547839034459e-05,
            "errors":26,"packets":263,"start_time":0,"end_time":1.050471}"#;
        let expected = StreamResult {
            id: 1,
            bytes: 122_000,
            jitter_seconds: 1.441_573_881_459_056_8e-5,
            errors: 26,
            omitted_errors: Some(12),
            packets: 263,
            omitted_packets: Some(127),
            end_seconds: 1.036_097,
            ..StreamResult::default()
        };
        assert_eq!(decode(with_stream(new).as_bytes()).unwrap().streams, [expected]);
        let expected = StreamResult {
            bytes: 123_000,
            jitter_seconds: 7.075_478_390_344_59e-5,
            omitted_errors: None,
            omitted_packets: None,
            end_seconds: 1.050_471,
            ..expected
        };
        assert_eq!(decode(with_stream(old).as_bytes()).unwrap().streams, [expected]);
    }

    #[test]
    fn unknown_retransmits_in_every_spelling() {
        for (number, retransmits) in [
            ("-1", None),
            ("18446744073709551615", None),
            ("1.8446744073709552e+19", None),
            ("7", Some(7)),
            ("7.0", Some(7)),
        ] {
            let stream =
                format!(r#"{{"id":3,"bytes":1,"retransmits":{number},"jitter":0,"errors":0,"packets":0}}"#);
            let text =
                with_stream(&stream).replace("retransmits\":1,\"st", &format!("retransmits\":{number},\"st"));
            let results = decode(text.as_bytes()).unwrap();
            assert_eq!(results.streams[0].retransmits, retransmits, "{number}");
            assert_eq!(results.sender_has_retransmits, retransmits.map_or(-1, |_| 7), "{number}");
        }
    }

    #[test]
    fn each_required_key_is_required() {
        let root =
            ["cpu_util_total", "cpu_util_user", "cpu_util_system", "sender_has_retransmits", "streams"];
        let stream = ["id", "bytes", "retransmits", "jitter", "errors", "packets"];
        for key in root.into_iter().chain(stream) {
            for damage in ["x_", "x\":null,\"x_"] {
                let text = SERVER.replacen(&format!("\"{key}\""), &format!("\"{damage}{key}\""), 1);
                let error = decode(text.as_bytes()).unwrap_err();
                assert!(error.to_string().contains(&format!("\"{key}\"")), "{key}: {error}");
                assert_eq!(error.code(), ErrorCode::RECV_RESULTS);
            }
        }
    }

    #[test]
    fn what_is_refused() {
        for (from, to) in [
            ("\"bytes\":1310720", "\"bytes\":-1"),
            ("\"bytes\":1310720", "\"bytes\":18446744073709551615"),
            ("\"bytes\":1310720", "\"bytes\":\"1\""),
            ("\"id\":1", "\"id\":4294967296"),
            ("\"id\":1", "\"id\":-1"),
            ("\"errors\":0", "\"errors\":-1"),
            ("\"packets\":0", "\"packets\":-1"),
            ("\"end_time\":1.001592", "\"end_time\":-1"),
            ("\"end_time\":1.001592", "\"end_time\":1e10"),
            ("\"start_time\":0", "\"start_time\":-0.5"),
            ("\"jitter\":0", "\"jitter\":-1e-3"),
            ("\"jitter\":0", "\"jitter\":1e10"),
            ("\"jitter\":0", "\"jitter\":1e999"),
            ("\"jitter\":0", "\"jitter\":NaN"),
            ("\"jitter\":0", "\"jitter\":\"0\""),
            ("\"errors\":0", "\"errors\":9223372036854775808"),
            ("\"packets\":0", "\"packets\":1e30"),
            ("\"cpu_util_user\":0", "\"cpu_util_user\":1e300"),
            ("\"cpu_util_user\":0", "\"cpu_util_user\":1e999"),
            ("[{", "[7,{"),
            ("}]}", "}]}}"),
        ] {
            let text = SERVER.replacen(from, to, 1);
            assert_ne!(text, SERVER);
            assert!(decode(text.as_bytes()).is_err(), "{to}");
        }
        assert!(decode(b"[]").is_err());
    }

    #[test]
    fn what_is_forgiven() {
        for (from, to) in [
            ("\"cpu_util_user\":0", "\"cpu_util_user\":-0.25"),
            ("\"congestion_used\":\"bbr\"", "\"congestion_used\":5"),
            ("\"congestion_used\":\"bbr\"", "\"congestion_used\":\"\\u001b[31m\""),
            ("\"omitted_errors\":0", "\"omitted_errors\":-1"),
            ("\"omitted_errors\":0", "\"omitted_errors\":\"0\""),
            ("\"omitted_packets\":0", "\"omitted_packets\":18446744073709551615"),
            ("\"omitted_packets\":0", "\"omitted_packets\":1e30"),
            ("\"start_time\":0,", ""),
            (",\"end_time\":1.001592", ""),
            ("}]}", "}],\"server_output_text\":7,\"server_output_json\":\"x\"}"),
        ] {
            let text = SERVER.replacen(from, to, 1);
            assert_ne!(text, SERVER);
            let results = decode(text.as_bytes()).unwrap();
            assert!(results.cpu.user >= 0.0 && results.server_output.is_none(), "{to}");
            assert!(results.congestion_used.is_none_or(|name| name == "bbr"), "{to}");
        }
        assert_eq!(StreamResult::default().seconds(), None);
        assert_eq!(decode(with_stream("").as_bytes()).unwrap().streams, []);
    }

    #[test]
    fn the_number_of_streams_is_bounded() {
        let stream = r#"{"id":1,"bytes":0,"retransmits":0,"jitter":0,"errors":0,"packets":0}"#;
        let text = |streams: usize| with_stream(&vec![stream; streams].join(","));
        assert_eq!(decode(text(1024).as_bytes()).unwrap().streams.len(), 1024);
        assert!(matches!(decode(text(1025).as_bytes()), Err(ResultsError::TooManyStreams(1025))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_results_never_panic(at in 0..SERVER.len(), byte: u8) {
            let mut bytes = SERVER.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(results) = decode(&bytes) {
                prop_assert!(results.streams.iter().all(|stream| (0.0..=1e9).contains(&stream.end_seconds)));
            }
        }
    }
}
