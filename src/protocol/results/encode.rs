//! Results to send.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{REAL_MAX, Results, ServerText, StreamResult};

/// The text to send, with the keys in the order of iperf3.
///
/// Numbers that [`super::decode()`] would refuse are brought into range first, so that a peer never gets a
/// `null`.
#[must_use]
pub fn encode(results: &Results) -> String {
    serde_json::to_string(&Wire::new(results)).expect("numbers, strings and raw JSON are always JSON")
}

/// The results as they travel, in iperf3's order.
#[derive(Serialize)]
struct Wire<'a> {
    cpu_util_total: f64,
    cpu_util_user: f64,
    cpu_util_system: f64,
    sender_has_retransmits: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    congestion_used: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_output_json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_output_text: Option<&'a str>,
    streams: Vec<WireStream>,
}

#[derive(Serialize)]
struct WireStream {
    id: u32,
    bytes: i64,
    retransmits: i64,
    jitter: f64,
    errors: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_errors: Option<i64>,
    packets: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_packets: Option<i64>,
    start_time: f64,
    end_time: f64,
}

impl<'a> Wire<'a> {
    fn new(results: &'a Results) -> Self {
        let (document, text) = match &results.server_output {
            // What is no JSON would spoil all the rest with it.
            Some(ServerText::Json(document)) => (serde_json::from_str(document).ok(), None),
            Some(ServerText::Text(text)) => (None, Some(text.as_str())),
            None => (None, None),
        };
        Self {
            cpu_util_total: in_range(results.cpu.total),
            cpu_util_user: in_range(results.cpu.user),
            cpu_util_system: in_range(results.cpu.system),
            sender_has_retransmits: results.sender_has_retransmits,
            congestion_used: results.congestion_used.as_deref(),
            server_output_json: document,
            server_output_text: text,
            streams: results.streams.iter().map(WireStream::new).collect(),
        }
    }
}

impl WireStream {
    fn new(stream: &StreamResult) -> Self {
        Self {
            id: stream.id,
            bytes: signed(stream.bytes),
            retransmits: stream.retransmits.map_or(-1, signed),
            jitter: in_range(stream.jitter_seconds),
            errors: signed(stream.errors),
            omitted_errors: stream.omitted_errors.map(signed),
            packets: signed(stream.packets),
            omitted_packets: stream.omitted_packets.map(signed),
            start_time: in_range(stream.start_seconds),
            end_time: in_range(stream.end_seconds),
        }
    }
}

/// The number as iperf3 can read it.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The number, or the nearest that a peer believes; 0 for what is none.
fn in_range(number: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number.clamp(0.0, REAL_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::results::decode;
    use crate::stats::CpuUse;

    fn results() -> Results {
        let stream = StreamResult { id: 1, bytes: 1_310_720, end_seconds: 1.5, ..StreamResult::default() };
        Results {
            cpu: CpuUse { total: 0.5, user: 0.0, system: 0.5 },
            sender_has_retransmits: -1,
            congestion_used: Some("bbr".to_owned()),
            server_output: None,
            streams: vec![stream],
        }
    }

    #[test]
    fn server_output_comes_before_the_streams() {
        let mut results = results();
        for output in [
            ServerText::Text("line\n".to_owned()),
            ServerText::Json(r#"{"start":{},"intervals":[1.5,null]}"#.to_owned()),
        ] {
            results.server_output = Some(output);
            let text = encode(&results);
            assert!(text.find("server_output").unwrap() < text.find("\"streams\"").unwrap(), "{text}");
            assert_eq!(decode(text.as_bytes()).unwrap(), results);
        }
    }

    #[test]
    fn no_null_is_ever_sent() {
        let cpu = CpuUse { total: f64::NAN, user: f64::INFINITY, system: -1.0 };
        let mut results = results();
        results.cpu = cpu;
        results.streams[0].bytes = u64::MAX;
        results.streams[0].jitter_seconds = f64::NAN;
        results.streams[0].omitted_packets = Some(u64::MAX);
        let read = decode(encode(&results).as_bytes()).unwrap();
        assert_eq!(read.cpu, CpuUse { total: 0.0, user: 0.0, system: 0.0 });
        assert_eq!(read.streams[0].bytes, i64::MAX.unsigned_abs());
        assert_eq!(read.streams[0].jitter_seconds, 0.0);
        assert_eq!(read.streams[0].omitted_packets, Some(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn the_keys_come_in_the_order_of_iperf3() {
        let mut results = results();
        results.streams[0].omitted_errors = Some(0);
        results.streams[0].omitted_packets = Some(0);
        assert_eq!(
            encode(&results),
            concat!(
                r#"{"cpu_util_total":0.5,"cpu_util_user":0.0,"cpu_util_system":0.5,"#,
                r#""sender_has_retransmits":-1,"congestion_used":"bbr","streams":[{"id":1,"bytes":1310720,"#,
                r#""retransmits":-1,"jitter":0.0,"errors":0,"omitted_errors":0,"packets":0,"#,
                r#""omitted_packets":0,"start_time":0.0,"end_time":1.5}]}"#
            )
        );
    }

    /// Apart from the spelling of 0, what iperf3 3.22 sends for a stream that it has sent and for one that it
    /// has received.
    #[test]
    fn the_streams_of_a_udp_test() {
        let sent = StreamResult {
            id: 1,
            bytes: 131_000,
            omitted_errors: Some(0),
            packets: 263,
            omitted_packets: Some(132),
            end_seconds: 1.000_081,
            ..StreamResult::default()
        };
        let received = StreamResult {
            id: 3,
            bytes: 122_000,
            jitter_seconds: 1.4415e-5,
            errors: 26,
            omitted_errors: Some(12),
            omitted_packets: Some(127),
            end_seconds: 1.036_097,
            ..sent
        };
        let results = Results {
            sender_has_retransmits: 0,
            congestion_used: None,
            streams: vec![sent, received],
            ..results()
        };
        let expected = concat!(
            r#""sender_has_retransmits":0,"streams":[{"id":1,"bytes":131000,"retransmits":-1,"jitter":0.0,"#,
            r#""errors":0,"omitted_errors":0,"packets":263,"omitted_packets":132,"start_time":0.0,"#,
            r#""end_time":1.000081},{"id":3,"bytes":122000,"retransmits":-1,"jitter":0.000014415,"#,
            r#""errors":26,"omitted_errors":12,"packets":263,"omitted_packets":127,"start_time":0.0,"#,
            r#""end_time":1.036097}]}"#
        );
        let text = encode(&results);
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(decode(text.as_bytes()).unwrap(), results);
    }
}
