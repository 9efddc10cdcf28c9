//! What became of the datagrams of a UDP test, from what both ends have counted.

use crate::config::Flow;
use crate::control::streams::set::Stream;
use crate::protocol::{ReceivedDatagrams, StreamResult};
use crate::report::{DatagramReport, UdpEnd};
use crate::stats::{DatagramCounters, UdpSummary};

/// What this end alone has counted of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpCount {
    flow: Flow,
    id: u32,
    /// The counted part, by iperf3's arithmetic.
    summary: UdpSummary,
    /// The whole test.
    totals: DatagramCounters,
}

impl UdpCount {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self {
            flow: stream.connected.flow,
            id: stream.connected.id,
            summary: stream.sampler.udp_summary(),
            totals: stream.totals().datagrams,
        }
    }

    /// A count that leads to this end of a stream; `None` if it is none of a UDP test. For fuzzers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of_end(stream: &crate::report::StreamEnd) -> Option<Self> {
        let UdpEnd { packets_sent, packets_received, lost, out_of_order, jitter_seconds } = stream.udp?;
        let packets = if stream.flow == Flow::Send { packets_sent } else { packets_received };
        let lost = lost.unwrap_or(0);
        let counted = crate::stats::UdpInterval { packets, lost, out_of_order, jitter_seconds };
        let totals = DatagramCounters {
            packets,
            errors: lost,
            received: packets.saturating_sub(lost),
            ..DatagramCounters::default()
        };
        let summary = UdpSummary { counted, ..UdpSummary::default() };
        Some(Self { flow: stream.flow, id: stream.id, summary, totals })
    }

    /// The own half by iperf3's arithmetic; the other half is not known yet.
    pub(crate) fn end(&self) -> UdpEnd {
        let counted = self.summary.counted;
        match self.flow {
            Flow::Send => UdpEnd { packets_sent: counted.packets, lost: Some(0), ..UdpEnd::default() },
            Flow::Receive => UdpEnd {
                packets_received: counted.packets,
                lost: Some(counted.lost.min(counted.packets)),
                out_of_order: counted.out_of_order,
                jitter_seconds: counted.jitter_seconds,
                ..UdpEnd::default()
            },
        }
    }

    /// Both halves by iperf3's arithmetic.
    ///
    /// iperf3 before 3.14 does not tell what belongs to the omit period. The packets of that time are then
    /// taken from the own count; of the losses nothing can be said if there was such a period.
    pub(super) fn end_with(&self, theirs: &StreamResult) -> UdpEnd {
        let own = self.end();
        let omitted = theirs.omitted_packets.unwrap_or(self.summary.omitted_packets);
        let packets = theirs.packets.saturating_sub(omitted);
        match self.flow {
            Flow::Receive => UdpEnd { packets_sent: packets, ..own },
            Flow::Send => UdpEnd {
                packets_received: packets,
                lost: match theirs.omitted_errors {
                    Some(omitted) => Some(theirs.errors.saturating_sub(omitted).min(packets)),
                    None if self.summary.omitted_packets > 0 && theirs.errors > 0 => None,
                    None => Some(theirs.errors.min(packets)),
                },
                jitter_seconds: theirs.jitter_seconds,
                ..own
            },
        }
    }

    /// What the protocol's results say of the stream besides bytes and times.
    pub(super) fn add_to(&self, result: &mut StreamResult) {
        let UdpSummary { counted, omitted_packets, omitted_errors } = self.summary;
        // The protocol's numbers are signed; only a hostile sender makes them so large.
        let bounded = |count: u64| count.min(i64::MAX.unsigned_abs());
        result.packets = bounded(counted.packets.saturating_add(omitted_packets));
        result.omitted_packets = Some(bounded(omitted_packets));
        if self.flow == Flow::Receive {
            result.jitter_seconds = counted.jitter_seconds;
            result.errors = bounded(counted.lost.saturating_add(omitted_errors));
            result.omitted_errors = Some(bounded(omitted_errors));
        }
    }

    /// What a sending ringperf wants to know; only receivers have something to say.
    pub(super) fn for_peer(&self) -> Option<ReceivedDatagrams> {
        (self.flow == Flow::Receive).then_some(ReceivedDatagrams {
            id: self.id,
            received: self.totals.received,
            duplicates: self.totals.duplicates,
            reordered: self.totals.reordered,
            lost_in_socket: self.totals.lost_in_socket,
            dropped_after_last: self.totals.dropped_after_last,
            foreign: self.totals.foreign,
        })
    }

    /// The account of the whole test. `theirs` is what the other end has counted, and `details` what a
    /// ringperf there says besides.
    pub(crate) fn report(
        &self,
        theirs: Option<&StreamResult>,
        details: Option<&ReceivedDatagrams>,
    ) -> DatagramReport {
        match self.flow {
            Flow::Receive => {
                let own = self.for_peer().unwrap_or_default();
                // Who says that nothing was sent where something came has not counted.
                let counted = |packets: &u64| *packets > 0 || self.totals.packets == 0;
                let sent = theirs.map(|result| result.packets).filter(counted);
                account(self.id, "receive", sent, Some(self.totals.packets), &own)
            }
            Flow::Send => {
                let sent = Some(self.totals.packets);
                let highest = theirs.map(|result| result.packets);
                match (details, theirs) {
                    (Some(details), _) => account(self.id, "send", sent, highest, details),
                    (None, Some(result)) => account_of_iperf3(self.id, self.totals.packets, result),
                    (None, None) => {
                        DatagramReport { id: self.id, flow: "send".into(), sent, ..DatagramReport::default() }
                    }
                }
            }
        }
    }
}

/// An account with a receiver that has told every datagram apart. A sender that did not say what it sent has
/// sent at least what the receiver knows of.
fn account(
    id: u32,
    flow: &'static str,
    sent: Option<u64>,
    highest: Option<u64>,
    receiver: &ReceivedDatagrams,
) -> DatagramReport {
    let known_sent = sent.or(highest).unwrap_or(0);
    let lost = known_sent.saturating_sub(receiver.received);
    let tail = highest.map_or(0, |highest| known_sent.saturating_sub(highest));
    let in_socket = receiver.lost_in_socket.saturating_add(tail.min(receiver.dropped_after_last)).min(lost);
    DatagramReport {
        id,
        flow: flow.into(),
        sent,
        received: Some(receiver.received),
        lost: Some(lost),
        lost_in_network: Some(lost - in_socket),
        lost_in_socket: Some(in_socket),
        duplicates: Some(receiver.duplicates),
        reordered: Some(receiver.reordered),
        foreign: Some(receiver.foreign),
    }
}

/// An iperf3 receiver tells the highest number it saw and how many it missed below. That says how many came
/// as long as none came twice.
fn account_of_iperf3(id: u32, sent: u64, result: &StreamResult) -> DatagramReport {
    let received = result.packets.saturating_sub(result.errors);
    // With --skip-rx-copy iperf3 sees no datagrams, although there are bytes.
    let saw_them = result.packets > 0 || result.bytes == 0;
    DatagramReport {
        id,
        flow: "send".into(),
        sent: Some(sent),
        received: saw_them.then_some(received),
        lost: saw_them.then(|| sent.saturating_sub(received)),
        ..DatagramReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::UdpInterval;

    fn receiver(totals: DatagramCounters) -> UdpCount {
        let counted = UdpInterval { packets: totals.packets, lost: totals.errors, ..UdpInterval::default() };
        let summary = UdpSummary { counted, ..UdpSummary::default() };
        UdpCount { flow: Flow::Receive, id: 1, summary, totals }
    }

    fn sender(packets: u64) -> UdpCount {
        let counted = UdpInterval { packets, ..UdpInterval::default() };
        let totals = DatagramCounters { packets, ..DatagramCounters::default() };
        UdpCount { flow: Flow::Send, id: 1, summary: UdpSummary { counted, ..UdpSummary::default() }, totals }
    }

    #[test]
    fn both_parts_of_the_loss_add_up_and_the_tail_belongs_to_it() {
        let totals = DatagramCounters {
            packets: 90,
            errors: 20,
            received: 70,
            lost_in_socket: 15,
            dropped_after_last: 4,
            ..DatagramCounters::default()
        };
        let count = receiver(totals);
        let theirs = StreamResult { packets: 100, ..StreamResult::default() };
        let report = count.report(Some(&theirs), None);
        assert_eq!((report.sent, report.lost), (Some(100), Some(30)));
        assert_eq!((report.lost_in_network, report.lost_in_socket), (Some(11), Some(19)));
        let alone = count.report(None, None);
        assert_eq!((alone.sent, alone.lost, alone.lost_in_socket), (None, Some(20), Some(15)));
        // A sender that says nothing of what has come has not counted; one that got no turn has sent nothing.
        let silent = StreamResult::default();
        assert_eq!(count.report(Some(&silent), None).sent, None);
        let starved = receiver(DatagramCounters::default()).report(Some(&silent), None);
        assert_eq!((starved.sent, starved.lost), (Some(0), Some(0)));
        // The sender comes to the same from what the receiver tells it.
        let told = StreamResult { packets: 90, errors: 20, ..StreamResult::default() };
        let same = sender(100).report(Some(&told), count.for_peer().as_ref());
        assert_eq!(DatagramReport { flow: "receive".into(), ..same }, report);
    }

    #[test]
    fn an_iperf3_receiver_tells_enough_for_the_loss() {
        let told = StreamResult { bytes: 1, packets: 90, errors: 20, ..StreamResult::default() };
        let report = sender(100).report(Some(&told), None);
        assert_eq!((report.received, report.lost, report.lost_in_socket), (Some(70), Some(30), None));
        let blind = StreamResult { bytes: 16, ..StreamResult::default() };
        assert_eq!(sender(100).report(Some(&blind), None).lost, None);
    }

    #[test]
    fn a_lying_peer_makes_no_absurd_loss() {
        let lie = StreamResult {
            packets: 5,
            errors: u64::MAX,
            omitted_errors: Some(0),
            omitted_packets: Some(9),
            ..StreamResult::default()
        };
        let end = sender(100).end_with(&lie);
        assert_eq!((end.packets_received, end.lost), (0, Some(0)));
        let details = ReceivedDatagrams { received: u64::MAX, lost_in_socket: 7, ..Default::default() };
        let report = sender(100).report(Some(&lie), Some(&details));
        assert_eq!((report.lost, report.lost_in_network, report.lost_in_socket), (Some(0), Some(0), Some(0)));
    }

    #[test]
    fn an_old_iperf3_does_not_say_what_it_lost_in_the_omit_period() {
        let old = StreamResult { packets: 50, errors: 5, ..StreamResult::default() };
        let mut count = sender(40);
        assert_eq!(count.end_with(&old).lost, Some(5));
        count.summary.omitted_packets = 10;
        let end = count.end_with(&old);
        assert_eq!((end.packets_received, end.lost), (40, None));
    }
}
