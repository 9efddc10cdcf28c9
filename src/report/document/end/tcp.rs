//! The totals of a TCP test: each half by itself.

use serde::{Deserialize, Serialize};

use crate::config::Flow;

use super::{CpuUtilization, Known, Total, directions, in_order};
use crate::report::totals::Halves;
use crate::report::{FileReport, StreamEnd, TestEnd};

/// The totals of a TCP test, or of an SCTP one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TcpTotals {
    /// Each stream by itself, those of the first direction first.
    pub streams: Vec<TcpStream>,
    /// What the sender of the only or the first direction has counted.
    pub sum_sent: SentSum,
    /// What the receiver of the only or the first direction has counted.
    pub sum_received: ReceivedSum,
    /// What the sender of the second direction has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_sent_bidir_reverse: Option<SentSum>,
    /// What the receiver of the second direction has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_received_bidir_reverse: Option<ReceivedSum>,
    /// Processor time of both ends.
    pub cpu_utilization_percent: CpuUtilization,
    /// Congestion control of the sender; in a bidirectional test, of this end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_tcp_congestion: Option<String>,
    /// Congestion control of the receiver; in a bidirectional test, of the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver_tcp_congestion: Option<String>,
}

/// One stream of a TCP test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TcpStream {
    /// What its sender has counted.
    pub sender: SentStream,
    /// What a file has to do with it (-F).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diskfile: Option<DiskFile>,
    /// What its receiver has counted.
    pub receiver: ReceivedStream,
}

/// What the sender of a TCP stream has counted. Of a sender at the other end only the retransmits are known,
/// and the rest is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(extend("dependentRequired" = {
        "retransmits": ["reorder", "max_snd_cwnd", "max_snd_wnd", "max_rtt", "min_rtt", "mean_rtt"],
    }))
)]
pub struct SentStream {
    /// The descriptor by which `connected` names the stream.
    pub socket: i32,
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// Segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// The kernel's tcpi_reordering at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<u32>,
    /// Largest congestion window at the end of an interval, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_snd_cwnd: Option<u64>,
    /// Largest window of the peer at the end of an interval, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_snd_wnd: Option<u64>,
    /// Longest round-trip time at the end of an interval, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rtt: Option<u32>,
    /// Shortest round-trip time at the end of an interval, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt: Option<u32>,
    /// Mean of the round-trip times at the ends of the intervals, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_rtt: Option<u32>,
    /// This process sends on the stream.
    #[serde(default)]
    pub sender: bool,
}

/// What the receiver of a TCP stream has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReceivedStream {
    /// The descriptor by which `connected` names the stream.
    pub socket: i32,
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// This process sends on the stream.
    #[serde(default)]
    pub sender: bool,
}

/// A file that a stream was read from or written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DiskFile {
    /// Bytes that were sent.
    pub sent: Option<u64>,
    /// Bytes that were received.
    pub received: Option<u64>,
    /// Size of the file in bytes; null of a pipe or a device, which has no size.
    pub size: Option<u64>,
    /// Whole percent of the file that were sent; null without a size.
    pub percent_sent: Option<u64>,
    /// Whole percent of the file that were received; null without a size.
    pub percent_received: Option<u64>,
    /// Name of the file as it was given.
    pub filename: String,
}

/// What the sender of a direction of a TCP test has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SentSum {
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// Segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// This process sends on the streams.
    #[serde(default)]
    pub sender: bool,
}

/// What the receiver of a direction of a TCP test has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReceivedSum {
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// This process sends on the streams.
    #[serde(default)]
    pub sender: bool,
}

impl TcpTotals {
    pub(super) fn new(flows: &[Flow], end: &TestEnd, known: Known) -> Self {
        let mut directions = directions(flows, end);
        let sums = |(flow, halves): (Flow, Halves)| {
            let sender = flow == Flow::Send;
            let sent = SentSum {
                total: known.half(halves.sent, flow, Flow::Send),
                retransmits: halves.retransmits,
                sender,
            };
            let received = ReceivedSum { total: known.half(halves.received, flow, Flow::Receive), sender };
            (sent, received)
        };
        let (sum_sent, sum_received) = sums(directions.next().unwrap_or((Flow::Receive, Halves::default())));
        let (sum_sent_bidir_reverse, sum_received_bidir_reverse) = directions.next().map(sums).unzip();
        let names = (end.congestion_local.clone(), end.congestion_remote.clone());
        let (sender, receiver) = if flows.contains(&Flow::Send) { names } else { (names.1, names.0) };
        Self {
            streams: in_order(flows, end).map(|stream| TcpStream::new(stream, end, known)).collect(),
            sum_sent,
            sum_received,
            sum_sent_bidir_reverse,
            sum_received_bidir_reverse,
            cpu_utilization_percent: CpuUtilization::new(end, known),
            sender_tcp_congestion: sender,
            receiver_tcp_congestion: receiver,
        }
    }
}

impl TcpStream {
    /// Of a sending peer's TCP only the retransmits are known; iperf3 prints zeros for the rest.
    fn new(stream: &StreamEnd, end: &TestEnd, known: Known) -> Self {
        let halves = Halves::from(stream);
        let tcp = halves.retransmits.map(|_| stream.tcp.unwrap_or_default());
        let sender = stream.flow == Flow::Send;
        Self {
            sender: SentStream {
                socket: stream.socket,
                total: known.half(halves.sent, stream.flow, Flow::Send),
                retransmits: halves.retransmits,
                reorder: tcp.map(|tcp| tcp.reordering),
                max_snd_cwnd: tcp.map(|tcp| tcp.max_snd_cwnd_bytes),
                max_snd_wnd: tcp.map(|tcp| tcp.max_snd_wnd_bytes),
                max_rtt: tcp.map(|tcp| tcp.max_rtt_us),
                min_rtt: tcp.map(|tcp| tcp.min_rtt_us),
                mean_rtt: tcp.map(|tcp| tcp.mean_rtt_us),
                sender,
            },
            diskfile: end.file.as_ref().map(|file| DiskFile::new(file, stream, known)),
            receiver: ReceivedStream {
                socket: stream.socket,
                total: known.half(halves.received, stream.flow, Flow::Receive),
                sender,
            },
        }
    }
}

impl DiskFile {
    fn new(file: &FileReport, stream: &StreamEnd, known: Known) -> Self {
        let sent = known.of_half(stream.flow, Flow::Send).then_some(stream.sent.bytes);
        let received = known.of_half(stream.flow, Flow::Receive).then_some(stream.received.bytes);
        Self {
            sent,
            received,
            size: file.bytes,
            percent_sent: sent.and_then(|bytes| file.percent(bytes)),
            percent_received: received.and_then(|bytes| file.percent(bytes)),
            filename: file.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::{Direction, Role};
    use crate::report::document::End;
    use crate::report::testing::fixtures;

    use super::*;

    const NULL: Value = Value::Null;

    fn document(flows: &[Flow], end: &TestEnd) -> Value {
        serde_json::to_value(End::new(flows, end, true)).unwrap()
    }

    /// The `end` of a client in which nothing of its peer is known.
    fn forgotten(end: TestEnd, direction: Direction) -> Value {
        document(direction.flows(Role::Client), &TestEnd { peer_unknown: true, ..end })
    }

    #[test]
    fn a_file_stands_between_the_two_halves() {
        let mut with_file = fixtures::end(Role::Server, Direction::Forward, 1);
        with_file.file = Some(FileReport { name: "out.dat".into(), bytes: Some(2_621_440) });
        let document = document(&[Flow::Receive], &with_file);
        let stream = document["streams"][0].as_object().unwrap();
        assert_eq!(stream.keys().collect::<Vec<_>>(), ["sender", "diskfile", "receiver"]);
        assert_eq!(
            stream["diskfile"],
            json!({"sent": 0, "received": 1_310_720, "size": 2_621_440, "percent_sent": 0,
                "percent_received": 50, "filename": "out.dat"})
        );
    }

    #[test]
    fn of_tcp_the_own_half_stays() {
        let end = fixtures::end(Role::Client, Direction::Bidir, 1);
        let whole = document(Direction::Bidir.flows(Role::Client), &end);
        let value = forgotten(end, Direction::Bidir);
        for (own, peer) in [
            ("/streams/0/sender", "/streams/0/receiver"),
            ("/streams/1/receiver", "/streams/1/sender"),
            ("/sum_sent", "/sum_received"),
            ("/sum_received_bidir_reverse", "/sum_sent_bidir_reverse"),
        ] {
            assert_eq!(value.pointer(own), whole.pointer(own), "{own}");
            let peer = value.pointer(peer).unwrap();
            assert_eq!((&peer["bytes"], &peer["bits_per_second"], &peer["end"]), (&NULL, &NULL, &NULL));
            assert_eq!(peer["start"], 0);
        }
        assert_eq!(value["cpu_utilization_percent"]["remote_total"], NULL);
        assert!(value["cpu_utilization_percent"]["host_total"].is_number());
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value), keys(&whole), "no key comes or goes");
    }

    #[test]
    fn of_a_file_nobody_knows_what_has_arrived() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.file = Some(FileReport { name: "f".into(), bytes: Some(1 << 20) });
        let file = &forgotten(end, Direction::Forward)["streams"][0]["diskfile"];
        assert_eq!((&file["received"], &file["percent_received"]), (&NULL, &NULL));
        assert_eq!((&file["size"], file["sent"].is_u64()), (&json!(1 << 20), true));
    }
}
