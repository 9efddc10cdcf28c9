//! The totals of a UDP test: both halves in one, and each by itself.

use serde::{Deserialize, Serialize};

use crate::config::Flow;

use super::{CpuUtilization, Known, Total, directions, in_order};
use crate::report::document::Number;
use crate::report::document::number::{read_lost, read_lost_percent};
use crate::report::totals::{Halves, Loss};
use crate::report::{StreamEnd, TestEnd, UdpEnd};

/// The totals of a UDP test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UdpTotals {
    /// Each stream by itself, those of the first direction first.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub streams: Vec<UdpStream>,
    /// Both ends of the only or the first direction in one: time and bytes of its sender, losses of its
    /// receiver.
    pub sum: UdpSum,
    /// What the sender of the only or the first direction has counted.
    // Older versions of iperf3 tell neither this nor the next.
    #[serde(default = "UdpSum::sent_unknown")]
    pub sum_sent: UdpSum,
    /// What the receiver of the only or the first direction has counted.
    #[serde(default = "UdpSum::received_unknown")]
    pub sum_received: UdpSum,
    /// As `sum`, of the second direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_bidir_reverse: Option<UdpSum>,
    /// What the sender of the second direction has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_sent_bidir_reverse: Option<UdpSum>,
    /// What the receiver of the second direction has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_received_bidir_reverse: Option<UdpSum>,
    /// Processor time of both ends.
    pub cpu_utilization_percent: CpuUtilization,
}

/// One stream of a UDP test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UdpStream {
    /// Both ends in one.
    pub udp: UdpStreamTotals,
}

/// Both ends of a UDP stream in one: time and bytes of the sender, losses of the receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UdpStreamTotals {
    /// The descriptor by which `connected` names the stream.
    pub socket: i32,
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// Jitter and losses.
    #[serde(flatten)]
    pub datagrams: DatagramTotals,
    /// Datagrams that came late or twice; a sender does not hear of them.
    pub out_of_order: Option<u64>,
    /// This process sends on the stream.
    #[serde(default)]
    pub sender: bool,
}

/// What one end of a direction of a UDP test has counted, or both in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UdpSum {
    /// Time and bytes.
    #[serde(flatten)]
    pub total: Total,
    /// Jitter and losses.
    #[serde(flatten)]
    pub datagrams: DatagramTotals,
    /// In `sum`, whether this process sends on the streams; else whether this is what a sender has counted.
    #[serde(default)]
    pub sender: bool,
}

/// The datagrams of the counted part of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatagramTotals {
    /// The receiver's jitter in milliseconds; of several streams the mean.
    pub jitter_ms: Option<Number>,
    /// Datagrams that the receiver missed; null also where an iperf3 before 3.14 does not say.
    #[serde(default, deserialize_with = "read_lost")]
    pub lost_packets: Option<u64>,
    /// Datagrams.
    pub packets: Option<u64>,
    /// Share of `packets` that was lost, in percent.
    #[serde(default, deserialize_with = "read_lost_percent")]
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub lost_percent: Option<Number>,
}

impl UdpTotals {
    pub(super) fn new(flows: &[Flow], end: &TestEnd, known: Known) -> Self {
        let mut directions = directions(flows, end);
        let first = directions.next().unwrap_or((Flow::Receive, Halves::default()));
        let [sum, sum_sent, sum_received] = UdpSum::three(first, known);
        let [both, sent, received] = match directions.next() {
            Some(direction) => UdpSum::three(direction, known).map(Some),
            None => [None, None, None],
        };
        Self {
            streams: in_order(flows, end).map(|stream| UdpStream::new(stream, known)).collect(),
            sum,
            sum_sent,
            sum_received,
            sum_bidir_reverse: both,
            sum_sent_bidir_reverse: sent,
            sum_received_bidir_reverse: received,
            cpu_utilization_percent: CpuUtilization::new(end, known),
        }
    }
}

impl UdpStream {
    /// iperf3 has one object for both halves, with the bytes and the time of the sender.
    fn new(stream: &StreamEnd, known: Known) -> Self {
        let Halves { sent, udp, .. } = Halves::from(stream);
        let udp = udp.unwrap_or_default();
        let knows_loss = known.of_half(stream.flow, Flow::Receive);
        let totals = UdpStreamTotals {
            socket: stream.socket,
            total: known.half(sent, stream.flow, Flow::Send),
            datagrams: DatagramTotals::of_both(udp, knows_loss),
            out_of_order: knows_loss.then_some(udp.out_of_order),
            sender: stream.flow == Flow::Send,
        };
        Self { udp: totals }
    }
}

impl UdpSum {
    /// Both ends of a direction in one, then each by itself.
    fn three((flow, halves): (Flow, Halves), known: Known) -> [Self; 3] {
        let udp = halves.udp.unwrap_or_default();
        let knows_loss = known.of_half(flow, Flow::Receive);
        let sent = known.half(halves.sent, flow, Flow::Send);
        let received = known.half(halves.received, flow, Flow::Receive);
        let at_sender = DatagramTotals::new(Loss::at_sender(udp));
        let at_receiver = DatagramTotals::new(Loss::at_receiver(udp));
        [
            Self {
                total: sent,
                datagrams: DatagramTotals::of_both(udp, knows_loss),
                sender: flow == Flow::Send,
            },
            Self {
                total: sent,
                datagrams: at_sender.if_known(known.of_half(flow, Flow::Send)),
                sender: true,
            },
            Self { total: received, datagrams: at_receiver.if_known(knows_loss), sender: false },
        ]
    }

    /// What a sender has counted that did not tell.
    fn sent_unknown() -> Self {
        Self { total: Total::default(), datagrams: DatagramTotals::default(), sender: true }
    }

    /// What a receiver has counted that did not tell.
    fn received_unknown() -> Self {
        Self { sender: false, ..Self::sent_unknown() }
    }
}

impl DatagramTotals {
    fn new(loss: Loss) -> Self {
        Self {
            jitter_ms: Some((1000.0 * loss.jitter_seconds).into()),
            lost_packets: loss.lost,
            packets: Some(loss.packets),
            lost_percent: loss.percent().map(Number::from),
        }
    }

    /// Of a direction whose receiver did not tell, there is at least how many were sent.
    fn of_both(udp: UdpEnd, knows_loss: bool) -> Self {
        let both = Self::new(Loss::of_both(udp));
        if knows_loss { both } else { Self { packets: both.packets, ..Self::default() } }
    }

    fn if_known(self, is_known: bool) -> Self {
        if is_known { self } else { Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::{Direction, Role};
    use crate::report::document::End;
    use crate::report::testing::fixtures::{self, pinned, shape};

    use super::*;

    const NULL: Value = Value::Null;

    const ONE_WAY: &str = "{streams:[{udp:{socket:n,SPAN,LOSS,out_of_order:n,sender:b}}],
        sum:{SPAN,LOSS,sender:b},sum_sent:{SPAN,LOSS,sender:b},sum_received:{SPAN,LOSS,sender:b},CPU}";
    const BOTH_WAYS: &str = "{streams:[{udp:{socket:n,SPAN,LOSS,out_of_order:n,sender:b}}],
        sum:{SPAN,LOSS,sender:b},sum_sent:{SPAN,LOSS,sender:b},sum_received:{SPAN,LOSS,sender:b},
        sum_bidir_reverse:{SPAN,LOSS,sender:b},sum_sent_bidir_reverse:{SPAN,LOSS,sender:b},
        sum_received_bidir_reverse:{SPAN,LOSS,sender:b},CPU}";

    fn document(flows: &[Flow], end: &TestEnd) -> Value {
        serde_json::to_value(End::new(flows, end, true)).unwrap()
    }

    /// The `end` of a client in which nothing of its peer is known.
    fn forgotten(end: TestEnd, direction: Direction) -> Value {
        document(direction.flows(Role::Client), &TestEnd { peer_unknown: true, ..end })
    }

    /// The keys of real iperf3 3.22 documents of the same tests, in the same order.
    #[test]
    fn udp_tests_have_the_keys_of_iperf3() {
        let cases = [
            (Role::Client, Direction::Forward, ONE_WAY),
            (Role::Client, Direction::Reverse, ONE_WAY),
            (Role::Client, Direction::Bidir, BOTH_WAYS),
            (Role::Server, Direction::Forward, ONE_WAY),
            (Role::Server, Direction::Reverse, ONE_WAY),
            (Role::Server, Direction::Bidir, BOTH_WAYS),
        ];
        for (role, direction, expected) in cases {
            for parallel in [1, 2] {
                let end = fixtures::udp_end(role, direction, parallel);
                let document = document(direction.flows(role), &end);
                assert_eq!(shape(&document), pinned(expected), "{role:?} {direction:?}");
            }
        }
    }

    #[test]
    fn values_of_a_bidirectional_udp_client() {
        let flows = Direction::Bidir.flows(Role::Client);
        let mut test_end = fixtures::udp_end(Role::Client, Direction::Bidir, 2);
        test_end.streams[3].udp.as_mut().unwrap().out_of_order = 7;
        let document = document(flows, &test_end);
        assert_eq!(
            document["streams"][3]["udp"],
            json!({"socket": 8, "start": 0, "end": 2, "seconds": 2, "bytes": 1_310_720,
                "bits_per_second": 5_242_880, "jitter_ms": 0.75, "lost_packets": 4, "packets": 1280,
                "lost_percent": 0.3125, "out_of_order": 7, "sender": false})
        );
        assert_eq!(
            document["sum_received"],
            json!({"start": 0, "end": 2, "seconds": 2, "bytes": 2_613_248, "bits_per_second": 10_452_992,
                "jitter_ms": 0.5, "lost_packets": 8, "packets": 2560, "lost_percent": 0.3125,
                "sender": false})
        );
        assert_eq!(
            document["sum_sent_bidir_reverse"],
            json!({"start": 0, "end": 2, "seconds": 2, "bytes": 2_621_440, "bits_per_second": 10_485_760,
                "jitter_ms": 0, "lost_packets": 0, "packets": 2560, "lost_percent": 0, "sender": true})
        );
    }

    /// Bytes are those of the sender, of which a server knows nothing while it receives, as in iperf3.
    #[test]
    fn values_of_a_udp_server() {
        let receiving = fixtures::udp_end(Role::Server, Direction::Forward, 1);
        let received = document(&[Flow::Receive], &receiving);
        let of_stream = &received["streams"][0]["udp"];
        assert_eq!((&of_stream["bytes"], &of_stream["packets"]), (&json!(0), &json!(1280)));
        assert_eq!(
            (&received["sum"]["lost_percent"], &received["sum"]["sender"]),
            (&json!(0.3125), &json!(false))
        );
        assert_eq!(
            (&received["sum_sent"]["packets"], &received["sum_sent"]["sender"]),
            (&json!(0), &json!(true))
        );
        assert_eq!(received["sum_received"]["bytes"], 1_306_624);
        let sending = fixtures::udp_end(Role::Server, Direction::Reverse, 1);
        let sent = document(&[Flow::Send], &sending);
        assert_eq!(sent["sum"]["packets"], 1280);
        assert_eq!(sent["sum_received"]["packets"], 0);
    }

    #[test]
    fn loss_that_is_not_known_is_null() {
        let mut unknown = fixtures::udp_end(Role::Client, Direction::Forward, 2);
        unknown.streams[0].udp.as_mut().unwrap().lost = None;
        let document = document(&[Flow::Send], &unknown);
        assert_eq!(document["streams"][0]["udp"]["lost_packets"], Value::Null);
        assert_eq!(document["streams"][1]["udp"]["lost_packets"], 4);
        assert_eq!(document["sum_received"]["lost_percent"], Value::Null);
        assert_eq!(document["sum_sent"]["lost_percent"], 0);
    }

    #[test]
    fn of_datagrams_a_sender_knows_no_loss_and_a_receiver_not_what_was_sent() {
        let sender = forgotten(fixtures::udp_end(Role::Client, Direction::Forward, 1), Direction::Forward);
        for object in [&sender["sum"], &sender["streams"][0]["udp"]] {
            assert_eq!((&object["lost_packets"], &object["jitter_ms"]), (&NULL, &NULL));
            assert_eq!(object["packets"], 1280);
        }
        assert_eq!(sender["sum_received"]["packets"], NULL);
        assert_eq!(sender["sum_sent"]["packets"], 1280);

        let receiver = forgotten(fixtures::udp_end(Role::Client, Direction::Reverse, 1), Direction::Reverse);
        assert_eq!(receiver["sum_sent"]["packets"], NULL);
        assert_eq!(receiver["sum"]["bytes"], NULL);
        assert_eq!(receiver["sum_received"]["lost_packets"], 4);
    }
}
