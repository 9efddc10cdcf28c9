//! One element of `intervals`: what the streams moved in one interval.

use serde::{Deserialize, Serialize};

use crate::config::Flow;
use crate::stats::UdpInterval;

use super::Number;
use super::number::{read_lost, read_lost_percent};
use crate::report::totals::{self, Loss, sum_retransmits, sum_udp_intervals};
use crate::report::{self, IntervalStream};

/// What the streams moved in one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interval {
    /// Each stream by itself, those of the first direction first.
    pub streams: Vec<StreamRow>,
    /// All streams of the only direction, or of the first one of a bidirectional test.
    pub sum: SumRow,
    /// All streams of the second direction of a bidirectional test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_bidir_reverse: Option<SumRow>,
}

/// One stream in one interval: a TCP receiver, a TCP sender, a UDP sender or a UDP receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(extend(
        "dependentRequired" = {
            "retransmits": ["snd_cwnd", "snd_wnd", "rtt", "rttvar", "pmtu", "reorder"],
            "snd_cwnd": ["retransmits"],
            "snd_wnd": ["retransmits"],
            "rtt": ["retransmits"],
            "rttvar": ["retransmits"],
            "pmtu": ["retransmits"],
            "reorder": ["retransmits"],
            "jitter_ms": ["lost_packets", "packets", "lost_percent"],
            "lost_packets": ["jitter_ms"],
            "lost_percent": ["jitter_ms"],
        },
        "not" = { "required": ["retransmits", "packets"] }
    ))
)]
pub struct StreamRow {
    /// The descriptor by which `connected` names the stream.
    pub socket: i32,
    /// Time and bytes.
    #[serde(flatten)]
    pub span: Span,
    /// TCP sender: segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// TCP sender: congestion window in bytes at the end of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snd_cwnd: Option<u64>,
    /// TCP sender: the window of its peer in bytes at the end of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snd_wnd: Option<u64>,
    /// TCP sender: smoothed round-trip time in microseconds at the end of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<u32>,
    /// TCP sender: mean deviation of the round-trip time in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rttvar: Option<u32>,
    /// TCP sender: path MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pmtu: Option<u32>,
    /// TCP sender: the kernel's tcpi_reordering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<u32>,
    /// UDP: datagrams.
    #[serde(flatten)]
    pub datagrams: Datagrams,
    /// The interval belongs to the part that does not count.
    pub omitted: bool,
    /// This process sends on the stream.
    pub sender: bool,
}

/// All streams of one direction in one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(extend(
        "dependentRequired" = {
            "jitter_ms": ["lost_packets", "packets", "lost_percent"],
            "lost_packets": ["jitter_ms"],
            "lost_percent": ["jitter_ms"],
        },
        "not" = { "required": ["retransmits", "packets"] }
    ))
)]
pub struct SumRow {
    /// Time and bytes.
    #[serde(flatten)]
    pub span: Span,
    /// TCP sender: segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// UDP: datagrams.
    #[serde(flatten)]
    pub datagrams: Datagrams,
    /// The interval belongs to the part that does not count.
    pub omitted: bool,
    /// This process sends on the streams.
    pub sender: bool,
}

/// A span of time, and what was moved in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span {
    /// Seconds since the start of the counted part, or of the omitted one.
    pub start: Number,
    /// Seconds since the same moment.
    pub end: Number,
    /// Length of the span in seconds.
    pub seconds: Number,
    /// Bytes of payload.
    pub bytes: u64,
    /// Bits of payload per second; null with the engine null, which moves nothing.
    pub bits_per_second: Option<Number>,
}

/// The datagrams of an interval: nothing of TCP, `packets` of a sender, and all of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Datagrams {
    /// UDP receiver: jitter in milliseconds at the end of the interval; of several streams the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<Number>,
    /// UDP receiver: datagrams that are missing.
    #[serde(default, deserialize_with = "read_lost", skip_serializing_if = "Option::is_none")]
    pub lost_packets: Option<u64>,
    /// UDP: datagrams sent; at a receiver those of which something is known, the missing ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// UDP receiver: share of `packets` that is missing, in percent.
    #[serde(default, deserialize_with = "read_lost_percent", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub lost_percent: Option<Number>,
}

impl Interval {
    /// What happened in an interval of a test in which this end does `flows`.
    pub(in crate::report) fn new(flows: &[Flow], interval: &report::Interval, has_rate: bool) -> Self {
        let rows = |&flow: &Flow| {
            let streams = interval.streams.iter().filter(move |stream| stream.flow == flow);
            streams.map(|stream| StreamRow::new(stream, interval.omitted, has_rate))
        };
        let sum = |flow| SumRow::new(flow, interval, has_rate);
        Self {
            streams: flows.iter().flat_map(rows).collect(),
            sum: sum(flows.first().copied().unwrap_or(Flow::Receive)),
            sum_bidir_reverse: flows.get(1).copied().map(sum),
        }
    }
}

impl StreamRow {
    fn new(stream: &IntervalStream, omitted: bool, has_rate: bool) -> Self {
        let tcp = stream.tcp.filter(|_| stream.udp.is_none());
        Self {
            socket: stream.socket,
            span: Span::new(totals::Span::from(stream), has_rate),
            retransmits: tcp.map(|tcp| tcp.retransmits),
            snd_cwnd: tcp.map(|tcp| tcp.snd_cwnd_bytes),
            snd_wnd: tcp.map(|tcp| tcp.snd_wnd_bytes),
            rtt: tcp.map(|tcp| tcp.rtt_us),
            rttvar: tcp.map(|tcp| tcp.rttvar_us),
            pmtu: tcp.map(|tcp| tcp.pmtu_bytes),
            reorder: tcp.map(|tcp| tcp.reordering),
            datagrams: Datagrams::new(stream.flow, stream.udp),
            omitted,
            sender: stream.flow == Flow::Send,
        }
    }
}

impl SumRow {
    fn new(flow: Flow, interval: &report::Interval, has_rate: bool) -> Self {
        let streams = || interval.streams.iter().filter(|stream| stream.flow == flow);
        let udp = sum_udp_intervals(streams().filter_map(|stream| stream.udp));
        let retransmits = sum_retransmits(streams().map(|stream| stream.tcp.map(|tcp| tcp.retransmits)));
        Self {
            span: Span::new(totals::Span::sum(streams().map(totals::Span::from)), has_rate),
            retransmits: retransmits.filter(|_| udp.is_none()),
            datagrams: Datagrams::new(flow, udp),
            omitted: interval.omitted,
            sender: flow == Flow::Send,
        }
    }
}

impl Span {
    fn new(span: totals::Span, has_rate: bool) -> Self {
        Self {
            start: span.start.into(),
            end: span.end.into(),
            seconds: span.seconds().into(),
            bytes: span.bytes,
            bits_per_second: has_rate.then(|| span.bits_per_second().into()),
        }
    }
}

impl Datagrams {
    /// A sender counts its datagrams, a receiver also those that are missing.
    fn new(flow: Flow, udp: Option<UdpInterval>) -> Self {
        let loss = udp.filter(|_| flow == Flow::Receive).map(Loss::from);
        Self {
            jitter_ms: loss.map(|loss| (1000.0 * loss.jitter_seconds).into()),
            lost_packets: loss.and_then(|loss| loss.lost),
            packets: udp.map(|udp| udp.packets),
            lost_percent: loss.and_then(Loss::percent).map(Number::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures::{self, pinned, shape};

    use super::*;

    const SENDING: &str = "{streams:[{socket:n,SPAN,packets:n,omitted:b,sender:b}],
        sum:{SPAN,packets:n,omitted:b,sender:b}}";
    const RECEIVING: &str = "{streams:[{socket:n,SPAN,LOSS,omitted:b,sender:b}],
        sum:{SPAN,LOSS,omitted:b,sender:b}}";
    const SENDING_FIRST: &str = "{
        streams:[{socket:n,SPAN,packets:n,omitted:b,sender:b}|{socket:n,SPAN,LOSS,omitted:b,sender:b}],
        sum:{SPAN,packets:n,omitted:b,sender:b},sum_bidir_reverse:{SPAN,LOSS,omitted:b,sender:b}}";
    const RECEIVING_FIRST: &str = "{
        streams:[{socket:n,SPAN,LOSS,omitted:b,sender:b}|{socket:n,SPAN,packets:n,omitted:b,sender:b}],
        sum:{SPAN,LOSS,omitted:b,sender:b},sum_bidir_reverse:{SPAN,packets:n,omitted:b,sender:b}}";

    fn document(flows: &[Flow], interval: &report::Interval) -> Value {
        serde_json::to_value(Interval::new(flows, interval, true)).unwrap()
    }

    /// The keys of real iperf3 3.22 documents of the same tests, in the same order.
    #[test]
    fn udp_tests_have_the_keys_of_iperf3() {
        let cases = [
            (Role::Client, Direction::Forward, SENDING),
            (Role::Client, Direction::Reverse, RECEIVING),
            (Role::Client, Direction::Bidir, SENDING_FIRST),
            (Role::Server, Direction::Forward, RECEIVING),
            (Role::Server, Direction::Reverse, SENDING),
            (Role::Server, Direction::Bidir, RECEIVING_FIRST),
        ];
        for (role, direction, expected) in cases {
            for parallel in [1, 2] {
                let interval = fixtures::udp_interval(role, direction, parallel, 0);
                let document = document(direction.flows(role), &interval);
                assert_eq!(shape(&document), pinned(expected), "{role:?} {direction:?}");
            }
        }
    }

    #[test]
    fn values_of_a_bidirectional_udp_client() {
        let flows = Direction::Bidir.flows(Role::Client);
        let interval = document(flows, &fixtures::udp_interval(Role::Client, Direction::Bidir, 2, 1));
        assert_eq!(
            interval["streams"][0],
            json!({"socket": 5, "start": 1, "end": 2, "seconds": 1, "bytes": 655_360,
                "bits_per_second": 5_242_880, "packets": 640, "omitted": false, "sender": true})
        );
        assert_eq!(
            interval["sum_bidir_reverse"],
            json!({"start": 1, "end": 2, "seconds": 1, "bytes": 1_306_624, "bits_per_second": 10_452_992,
                "jitter_ms": 0.5, "lost_packets": 4, "packets": 1280, "lost_percent": 0.3125,
                "omitted": false, "sender": false})
        );
    }

    proptest! {
        /// Numbers of any length are read as they were before they were written.
        #[test]
        fn what_is_written_is_read(nanoseconds in any::<[u32; 4]>(), bytes: [u64; 2], jitter in 0.0..1e9) {
            let role = Role::Client;
            for mut interval in [
                fixtures::interval(role, Direction::Bidir, 1, 0),
                fixtures::udp_interval(role, Direction::Bidir, 1, 0),
            ] {
                for (stream, bytes) in interval.streams.iter_mut().zip(bytes) {
                    let [seconds, start, length, lost] = nanoseconds;
                    stream.start = Duration::new(seconds.into(), start % 1_000_000_000);
                    stream.end = stream.start + Duration::from_nanos(length.into());
                    stream.bytes = bytes;
                    if let Some(udp) = &mut stream.udp {
                        (udp.jitter_seconds, udp.lost, udp.packets) = (jitter, lost.into(), bytes);
                    }
                }
                let told = Interval::new(Direction::Bidir.flows(role), &interval, true);
                let text = serde_json::to_string(&told).unwrap();
                let read: Interval = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&serde_json::to_string(&read).unwrap(), &text);
                prop_assert_eq!(read, told);
            }
        }
    }
}
