//! The counters of a UDP stream.

/// Running totals of one UDP stream, the omit period included.
///
/// The first four are iperf3's own arithmetic, which travels in results and fills iperf3's rows and keys. The
/// others tell every datagram apart as far as a window of recent sequence numbers allows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DatagramCounters {
    /// Sender: datagrams sent. Receiver: the highest sequence number seen.
    pub packets: u64,
    /// Receiver: numbers that were skipped, less those datagrams that came late or twice; never negative.
    pub errors: u64,
    /// Receiver: datagrams that came late or twice.
    pub out_of_order: u64,
    /// Receiver: jitter by RFC 1889 in seconds, as it stands now.
    pub jitter_seconds: f64,
    /// Receiver: different datagrams that came.
    pub received: u64,
    /// Receiver: datagrams that came again.
    pub duplicates: u64,
    /// Receiver: datagrams that came after one with a higher number.
    pub reordered: u64,
    /// Receiver: datagrams that its own full socket buffer has dropped, as far as later datagrams show it.
    pub lost_in_socket: u64,
    /// Receiver: datagrams that the socket may have dropped after the last one that came.
    pub dropped_after_last: u64,
    /// Receiver: datagrams that were not of this test: too short, or of another length than agreed.
    pub foreign: u64,
}

/// A UDP stream in one interval, by iperf3's arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UdpInterval {
    /// Sender: datagrams sent. Receiver: sequence numbers that were passed.
    pub packets: u64,
    /// Receiver: datagrams missing. What comes late is taken off later intervals, so this is never negative.
    pub lost: u64,
    /// Receiver: datagrams that came late or twice.
    pub out_of_order: u64,
    /// Receiver: jitter in seconds at the interval's end.
    pub jitter_seconds: f64,
}

/// One end's count of a UDP stream over the counted part of a test, by iperf3's arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UdpSummary {
    /// The counted part alone.
    pub counted: UdpInterval,
    /// `packets` at the end of the omit period.
    pub omitted_packets: u64,
    /// `errors` at the end of the omit period.
    pub omitted_errors: u64,
}

/// Turns running totals into intervals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UdpTracker {
    base: DatagramCounters,
    last: DatagramCounters,
    /// Errors that intervals have reported since the base.
    reported_errors: u64,
}

impl UdpTracker {
    /// Closes an interval at these totals; without totals nothing counts in it.
    pub(super) fn interval(&mut self, totals: Option<&DatagramCounters>) -> UdpInterval {
        let totals = *totals.unwrap_or(&self.last);
        let errors = totals.errors.saturating_sub(self.base.errors);
        let lost = errors.saturating_sub(self.reported_errors);
        self.reported_errors += lost;
        let interval = UdpInterval {
            packets: totals.packets.saturating_sub(self.last.packets),
            lost,
            out_of_order: totals.out_of_order.saturating_sub(self.last.out_of_order),
            jitter_seconds: totals.jitter_seconds,
        };
        self.last = DatagramCounters { packets: totals.packets.max(self.last.packets), ..totals };
        interval
    }

    /// Ends the omit period: these totals are the new zero.
    pub(super) fn restart(&mut self, totals: &DatagramCounters) {
        *self = Self { base: *totals, last: *totals, reported_errors: 0 };
    }

    pub(super) fn summary(&self) -> UdpSummary {
        UdpSummary {
            counted: UdpInterval {
                packets: self.last.packets.saturating_sub(self.base.packets),
                lost: self.last.errors.saturating_sub(self.base.errors),
                out_of_order: self.last.out_of_order.saturating_sub(self.base.out_of_order),
                jitter_seconds: self.last.jitter_seconds,
            },
            omitted_packets: self.base.packets,
            omitted_errors: self.base.errors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(packets: u64, errors: u64) -> DatagramCounters {
        DatagramCounters { packets, errors, ..DatagramCounters::default() }
    }

    #[test]
    fn a_late_datagram_never_makes_an_interval_negative() {
        let mut tracker = UdpTracker::default();
        assert_eq!(tracker.interval(Some(&totals(10, 3))).lost, 3);
        assert_eq!(tracker.interval(Some(&totals(20, 1))).lost, 0);
        assert_eq!(tracker.interval(Some(&totals(30, 4))).lost, 1);
        assert_eq!(tracker.summary().counted.lost, 4);
    }

    #[test]
    fn the_omit_period_is_a_baseline() {
        let mut tracker = UdpTracker::default();
        tracker.interval(Some(&totals(10, 2)));
        tracker.restart(&totals(12, 3));
        assert_eq!(tracker.interval(Some(&totals(20, 5))).packets, 8);
        let summary = tracker.summary();
        assert_eq!((summary.counted.packets, summary.counted.lost), (8, 2));
        assert_eq!((summary.omitted_packets, summary.omitted_errors), (12, 3));
    }
}
