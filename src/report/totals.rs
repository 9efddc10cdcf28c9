//! What the rows of both reports are made of: spans of time with bytes or datagrams in them, and their sums.

use crate::config::Flow;
use crate::stats::{Half, UdpInterval};
use crate::units;

use super::{FileReport, IntervalStream, StreamEnd, TestEnd, UdpEnd};

/// Bytes between two moments, which are seconds since the start of the counted (or of the omitted) part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) bytes: u64,
}

impl Span {
    /// Everything that several streams moved, from the first start to the last end.
    pub(super) fn sum(spans: impl Iterator<Item = Self>) -> Self {
        let both = |left: Self, right: Self| Self {
            start: left.start.min(right.start),
            end: left.end.max(right.end),
            bytes: left.bytes.saturating_add(right.bytes),
        };
        spans.reduce(both).unwrap_or_default()
    }

    pub(super) fn seconds(self) -> f64 {
        self.end - self.start
    }

    pub(super) fn bits_per_second(self) -> f64 {
        units::bits_per_second(self.bytes, self.seconds())
    }
}

impl From<&IntervalStream> for Span {
    fn from(stream: &IntervalStream) -> Self {
        Self { start: stream.start.as_secs_f64(), end: stream.end.as_secs_f64(), bytes: stream.bytes }
    }
}

/// Both halves of a stream, or of all streams of one direction, over the whole counted part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Halves {
    pub(super) sent: Span,
    pub(super) received: Span,
    pub(super) retransmits: Option<u64>,
    /// In UDP tests.
    pub(super) udp: Option<UdpEnd>,
}

impl Halves {
    pub(super) fn sum(streams: &[&StreamEnd]) -> Self {
        let halves = || streams.iter().copied().map(Self::from);
        Self {
            sent: Span::sum(halves().map(|each| each.sent)),
            received: Span::sum(halves().map(|each| each.received)),
            retransmits: sum_retransmits(halves().map(|each| each.retransmits)),
            udp: sum_udp_ends(halves().filter_map(|each| each.udp)),
        }
    }
}

impl From<&StreamEnd> for Halves {
    /// A half of which nothing was heard gets the time of the half that was counted here.
    fn from(stream: &StreamEnd) -> Self {
        let own = own_half(stream).seconds;
        let span = |half: Half| {
            let end = if half.seconds > 0.0 { half.seconds } else { own };
            Span { start: 0.0, end, bytes: half.bytes }
        };
        let retransmits = stream.tcp.map(|tcp| tcp.retransmits).or(stream.remote_retransmits);
        Self { sent: span(stream.sent), received: span(stream.received), retransmits, udp: stream.udp }
    }
}

/// The retransmits of those streams that know them; `None` when none does.
pub(super) fn sum_retransmits(each: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    each.flatten().reduce(u64::saturating_add)
}

/// What is said of a test whose results were not exchanged.
pub(super) const PEER_UNKNOWN: &str =
    "what the other end has measured is not known: the test broke off before it could tell";

/// Whether these are the results of a UDP test.
pub(super) fn is_udp(end: &TestEnd) -> bool {
    end.streams.iter().any(|stream| stream.udp.is_some())
}

/// The datagrams of several streams in one interval, with their mean jitter; `None` outside of UDP tests.
pub(super) fn sum_udp_intervals(each: impl Iterator<Item = UdpInterval>) -> Option<UdpInterval> {
    let streams: Vec<UdpInterval> = each.collect();
    let total = |pick: fn(&UdpInterval) -> u64| streams.iter().map(pick).fold(0_u64, u64::saturating_add);
    Some(UdpInterval {
        packets: total(|udp| udp.packets),
        lost: total(|udp| udp.lost),
        out_of_order: total(|udp| udp.out_of_order),
        jitter_seconds: mean(streams.iter().map(|udp| udp.jitter_seconds))?,
    })
}

/// The sums of UDP streams at the end of a test. What one stream does not know, the sum does not know either.
fn sum_udp_ends(each: impl Iterator<Item = UdpEnd>) -> Option<UdpEnd> {
    let streams: Vec<UdpEnd> = each.collect();
    let total = |pick: fn(&UdpEnd) -> u64| streams.iter().map(pick).fold(0_u64, u64::saturating_add);
    Some(UdpEnd {
        packets_sent: total(|udp| udp.packets_sent),
        packets_received: total(|udp| udp.packets_received),
        lost: sum_known(streams.iter().map(|udp| udp.lost)),
        out_of_order: total(|udp| udp.out_of_order),
        jitter_seconds: mean(streams.iter().map(|udp| udp.jitter_seconds))?,
    })
}

/// The sum of numbers that are all known; `None` if one is not.
pub(super) fn sum_known(mut each: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    each.try_fold(0_u64, |sum, next| Some(sum.saturating_add(next?)))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Jitter and loss: what the rows and keys of a UDP test show beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loss {
    pub(super) jitter_seconds: f64,
    /// `None` when it is not known; never more than `packets`, whatever a peer says.
    pub(super) lost: Option<u64>,
    pub(super) packets: u64,
}

impl Loss {
    fn new(jitter_seconds: f64, lost: Option<u64>, packets: u64) -> Self {
        Self { jitter_seconds, lost: lost.map(|lost| lost.min(packets)), packets }
    }

    /// The half of the sender, which knows of no loss.
    pub(super) fn at_sender(end: UdpEnd) -> Self {
        Self::new(0.0, Some(0), end.packets_sent)
    }

    /// The half of the receiver.
    pub(super) fn at_receiver(end: UdpEnd) -> Self {
        Self::new(end.jitter_seconds, end.lost, end.packets_received)
    }

    /// Both halves in one, as iperf3 puts them together: of what was sent, if the sender's count is known.
    pub(super) fn of_both(end: UdpEnd) -> Self {
        let packets = if end.packets_sent > 0 { end.packets_sent } else { end.packets_received };
        Self::new(end.jitter_seconds, end.lost, packets)
    }

    /// Share of the datagrams that were lost, in percent; `None` when it is not known.
    pub(super) fn percent(self) -> Option<f64> {
        let share = |lost| 100.0 * units::to_f64(lost) / units::to_f64(self.packets);
        self.lost.map(|lost| if self.packets > 0 { share(lost) } else { 0.0 })
    }
}

impl From<UdpInterval> for Loss {
    fn from(udp: UdpInterval) -> Self {
        Self::new(udp.jitter_seconds, Some(udp.lost), udp.packets)
    }
}

impl FileReport {
    /// So many bytes as whole percent of the file; all of it for one that is empty, and nothing for one whose
    /// size is not known.
    pub(super) fn percent(&self, bytes: u64) -> Option<u64> {
        let size = self.bytes?;
        let percent = u128::from(bytes) * 100 / u128::from(size.max(1));
        Some(if size == 0 { 100 } else { u64::try_from(percent).unwrap_or(u64::MAX) })
    }
}

/// Processor seconds that each end needs for 10^9 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CpuPerGigabyte {
    /// `None` when this end moved nothing, or its use is not known.
    pub(super) local: Option<f64>,
    /// `None` when the other end moved nothing, or its use is not known.
    pub(super) remote: Option<f64>,
}

impl From<&TestEnd> for CpuPerGigabyte {
    fn from(end: &TestEnd) -> Self {
        let total = |half: fn(&StreamEnd) -> Half| {
            end.streams.iter().fold(0_u64, |sum, stream| sum.saturating_add(half(stream).bytes))
        };
        let per_gigabyte =
            |seconds: f64, bytes: u64| (bytes > 0).then(|| seconds / (units::to_f64(bytes) / 1e9));
        Self {
            local: end.cpu_time.and_then(|time| per_gigabyte(time.total().as_secs_f64(), total(own_half))),
            remote: end
                .cpu_time_remote
                .and_then(|time| per_gigabyte(time.total().as_secs_f64(), total(other_half))),
        }
    }
}

/// What this end has counted.
pub(super) fn own_half(stream: &StreamEnd) -> Half {
    match stream.flow {
        Flow::Send => stream.sent,
        Flow::Receive => stream.received,
    }
}

fn other_half(stream: &StreamEnd) -> Half {
    match stream.flow {
        Flow::Send => stream.received,
        Flow::Receive => stream.sent,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;
    use crate::stats::CpuTime;

    use super::*;

    #[test]
    fn a_sum_covers_all_its_spans() {
        let early = Span { start: 1.0, end: 2.0, bytes: 10 };
        let late = Span { start: 1.5, end: 3.0, bytes: 20 };
        let sum = Span::sum([early, late].into_iter());
        assert_eq!(sum, Span { start: 1.0, end: 3.0, bytes: 30 });
        assert_eq!(sum.bits_per_second().to_string(), "120");
        assert_eq!(Span::sum(std::iter::empty()), Span::default());
        let huge = Span { bytes: u64::MAX, ..early };
        assert_eq!(Span::sum([huge, late].into_iter()).bytes, u64::MAX);
    }

    #[test]
    fn a_half_that_was_never_heard_of_has_the_own_time() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.streams[0].received = Half::default();
        let halves = Halves::from(&end.streams[0]);
        assert_eq!(halves.received, Span { start: 0.0, end: halves.sent.end, bytes: 0 });
    }

    #[test]
    fn retransmits_come_from_here_or_from_the_peer() {
        assert_eq!(sum_retransmits([None, Some(2), Some(3)].into_iter()), Some(5));
        assert_eq!(sum_retransmits([None, None].into_iter()), None);
        for role in [Role::Client, Role::Server] {
            for direction in [Direction::Forward, Direction::Reverse] {
                let end = fixtures::end(role, direction, 2);
                let known = role == Role::Client || direction == Direction::Reverse;
                let sum = Halves::sum(&end.streams.iter().collect::<Vec<_>>());
                assert_eq!(sum.retransmits.is_some(), known, "{role:?} {direction:?}");
            }
        }
    }

    #[test]
    fn a_sum_of_datagrams_has_the_mean_jitter_and_knows_what_all_streams_know() {
        assert_eq!(sum_udp_intervals(std::iter::empty()), None);
        let one = UdpInterval { packets: 10, lost: 2, out_of_order: 1, jitter_seconds: 0.25 };
        let other = UdpInterval { packets: u64::MAX, lost: 1, out_of_order: 0, jitter_seconds: 0.75 };
        assert_eq!(
            sum_udp_intervals([one, other].into_iter()),
            Some(UdpInterval { packets: u64::MAX, lost: 3, out_of_order: 1, jitter_seconds: 0.5 })
        );

        let mut end = fixtures::udp_end(Role::Client, Direction::Forward, 2);
        let sum = |end: &TestEnd| Halves::sum(&end.streams.iter().collect::<Vec<_>>()).udp.unwrap();
        let expected = UdpEnd {
            packets_sent: 2560,
            packets_received: 2560,
            lost: Some(8),
            out_of_order: 0,
            jitter_seconds: 0.0005,
        };
        assert_eq!(sum(&end), expected);
        end.streams[1].udp.as_mut().unwrap().lost = None;
        assert_eq!(sum(&end), UdpEnd { lost: None, ..expected });
    }

    #[test]
    fn loss_is_never_more_than_everything() {
        let end = UdpEnd { packets_sent: 8, packets_received: 4, lost: Some(6), ..UdpEnd::default() };
        assert_eq!(Loss::at_sender(end).percent(), Some(0.0));
        assert_eq!(Loss::at_receiver(end).lost, Some(4));
        assert_eq!(Loss::at_receiver(end).percent(), Some(100.0));
        assert_eq!(Loss::of_both(end).percent(), Some(75.0));
        let unheard = UdpEnd { packets_sent: 0, lost: Some(1), ..end };
        assert_eq!(Loss::of_both(unheard).percent(), Some(25.0));
        let nothing = UdpEnd { lost: Some(0), ..UdpEnd::default() };
        assert_eq!(Loss::at_receiver(nothing).percent(), Some(0.0));
        assert_eq!(Loss::at_receiver(UdpEnd { lost: None, ..end }).percent(), None);
    }

    #[test]
    fn processor_time_per_gigabyte_counts_what_each_end_moved() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 2);
        for stream in &mut end.streams {
            stream.sent.bytes = 2_000_000_000;
            stream.received.bytes = 1_000_000_000;
        }
        let time = CpuTime { user: Duration::from_secs(1), system: Duration::from_secs(3) };
        end.cpu_time = Some(time);
        end.cpu_time_remote = Some(time);
        assert_eq!(CpuPerGigabyte::from(&end), CpuPerGigabyte { local: Some(1.0), remote: Some(2.0) });
        end.cpu_time_remote = None;
        end.streams.clear();
        assert_eq!(CpuPerGigabyte::from(&end), CpuPerGigabyte { local: None, remote: None });
    }
}
