//! What the rows of both reports are made of: spans of time with bytes in them, and their sums.

use crate::config::Flow;
use crate::stats::Half;
use crate::units;

use super::{IntervalStream, StreamEnd, TestEnd};

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
}

impl Halves {
    pub(super) fn sum(streams: &[&StreamEnd]) -> Self {
        let halves = || streams.iter().copied().map(Self::from);
        Self {
            sent: Span::sum(halves().map(|each| each.sent)),
            received: Span::sum(halves().map(|each| each.received)),
            retransmits: sum_retransmits(halves().map(|each| each.retransmits)),
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
        Self { sent: span(stream.sent), received: span(stream.received), retransmits }
    }
}

/// The retransmits of those streams that know them; `None` when none does.
pub(super) fn sum_retransmits(each: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    each.flatten().reduce(u64::saturating_add)
}

/// Processor seconds that each end needs for 10^9 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CpuPerGigabyte {
    /// `None` when this end moved nothing.
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
            local: per_gigabyte(end.cpu_time.total().as_secs_f64(), total(own_half)),
            remote: end
                .cpu_time_remote
                .and_then(|time| per_gigabyte(time.total().as_secs_f64(), total(other_half))),
        }
    }
}

fn own_half(stream: &StreamEnd) -> Half {
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
    use crate::report::fixtures;
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
    fn processor_time_per_gigabyte_counts_what_each_end_moved() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 2);
        for stream in &mut end.streams {
            stream.sent.bytes = 2_000_000_000;
            stream.received.bytes = 1_000_000_000;
        }
        let time = CpuTime { user: Duration::from_secs(1), system: Duration::from_secs(3) };
        end.cpu_time = time;
        end.cpu_time_remote = Some(time);
        assert_eq!(CpuPerGigabyte::from(&end), CpuPerGigabyte { local: Some(1.0), remote: Some(2.0) });
        end.cpu_time_remote = None;
        end.streams.clear();
        assert_eq!(CpuPerGigabyte::from(&end), CpuPerGigabyte { local: None, remote: None });
    }
}
