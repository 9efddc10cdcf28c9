//! A server's limit on the rate of its clients' tests: what they ask for, and what they really move.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{Direction, RateLimit, TestConfig};
use crate::control::serve::budget::Share;

/// Time between two looks when there are no reports whose intervals could be used.
const DEFAULT_STEP: Duration = Duration::from_secs(1);

/// Bits per second that all streams of a test together ask for; `None` when that is more than any number. A
/// test without a rate of its own asks for nothing; it is looked at while it runs.
pub(super) fn asked_bits_per_second(test: &TestConfig) -> Option<u64> {
    let directions = if test.direction == Direction::Bidir { 2 } else { 1 };
    test.pacing.bits_per_second.checked_mul(u64::from(test.parallel) * directions)
}

/// A look that comes so much of a step before the time of the average is over counts as one at its end.
const EARLY: u32 = 10;

/// Watches the average rate of a running test, over a whole number of report intervals.
#[derive(Debug)]
pub(super) struct RateWatch {
    limit: Limit,
    step: Duration,
    /// The time that the average is taken over, whole steps.
    span: Duration,
    next: Instant,
    /// When there was a look, and all bytes until then: the newest one last, and the one that the average
    /// begins with first.
    looks: VecDeque<(Instant, u64)>,
}

/// What the rate must not exceed.
#[derive(Debug)]
pub(super) enum Limit {
    /// That of each test.
    Own(RateLimit),
    /// That of all tests together.
    Shared(Share),
}

impl Limit {
    fn averaged_over(&self) -> Duration {
        match self {
            Self::Own(limit) => limit.averaged_over,
            Self::Shared(share) => share.limit().averaged_over,
        }
    }

    /// The rate so far, before there is an average over the whole time.
    fn note(&self, bits_per_second: u64) {
        if let Self::Shared(share) = self {
            share.note(bits_per_second);
        }
    }

    fn is_exceeded_by(&self, bits_per_second: u64) -> bool {
        match self {
            Self::Own(limit) => bits_per_second > limit.bits_per_second,
            Self::Shared(share) => share.is_over(bits_per_second),
        }
    }
}

impl RateWatch {
    /// A watch that begins at `start`; `interval` is that of the reports.
    pub(crate) fn new(limit: Limit, interval: Option<Duration>, start: Instant) -> Self {
        let step = interval.unwrap_or(DEFAULT_STEP);
        let steps = (limit.averaged_over() + step / 2).as_nanos() / step.as_nanos().max(1);
        let span = step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX).max(1));
        Self { limit, step, span, next: start + step, looks: VecDeque::from([(start, 0)]) }
    }

    /// When to look.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the rate is too high, `bytes` being what has been moved since the start. Looks that come too
    /// late are not made up for: the average is then taken over the longer time.
    pub(super) fn is_exceeded(&mut self, bytes: u64, now: Instant) -> bool {
        while self.next <= now {
            self.next += self.step;
        }
        self.looks.push_back((now, bytes));
        let long_enough = self.span.saturating_sub(self.step / EARLY);
        let is_over = |(since, _): &(Instant, u64)| now.saturating_duration_since(*since) >= long_enough;
        while self.looks.get(1).is_some_and(is_over) {
            self.looks.pop_front();
        }
        let &(since, before) = self.looks.front().expect("there is at least the one of now");
        let bits = u128::from(bytes.saturating_sub(before)) * 8;
        let nanos = now.saturating_duration_since(since).as_nanos().max(1);
        // Rounded up, so that a little too much is too much.
        let rate = u64::try_from((bits * 1_000_000_000).div_ceil(nanos)).unwrap_or(u64::MAX);
        if self.looks.front().is_some_and(is_over) {
            return self.limit.is_exceeded_by(rate);
        }
        self.limit.note(rate);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pacing;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(bits_per_second: u64, seconds: f64) -> Limit {
        Limit::Own(RateLimit { bits_per_second, averaged_over: Duration::from_secs_f64(seconds) })
    }

    #[test]
    fn all_streams_of_both_directions_are_asked_for() {
        let test = |bits_per_second, parallel, direction| TestConfig {
            pacing: Pacing { bits_per_second, burst_blocks: 0 },
            parallel,
            direction,
            ..TestConfig::default()
        };
        for (rate, parallel, direction, asked) in [
            (0, 128, Direction::Bidir, Some(0)),
            (10, 1, Direction::Forward, Some(10)),
            (11, 1, Direction::Reverse, Some(11)),
            (5, 2, Direction::Forward, Some(10)),
            (5, 2, Direction::Bidir, Some(20)),
            (1 << 57, 127, Direction::Forward, Some(127 << 57)),
            (1 << 57, 128, Direction::Forward, None),
            (u64::MAX, 128, Direction::Bidir, None),
        ] {
            let test = test(rate, parallel, direction);
            assert_eq!(asked_bits_per_second(&test), asked, "{test:?}");
        }
    }

    #[test]
    fn the_average_is_taken_over_whole_intervals() {
        let start = Instant::now();
        // 2.4 s are two intervals of 1 s: the first look that counts is the second one.
        let mut watch = RateWatch::new(limit(8_000, 2.4), Some(SECOND), start);
        assert_eq!(watch.next(), start + SECOND);
        assert!(!watch.is_exceeded(1_900, start + SECOND));
        assert!(!watch.is_exceeded(2_000, start + 2 * SECOND), "1000 bytes a second are allowed");
        assert!(!watch.is_exceeded(3_900, start + 3 * SECOND), "100 and 1900");
        assert!(watch.is_exceeded(4_001, start + 4 * SECOND), "1900 and 101");
    }

    #[test]
    fn no_time_to_average_over_is_one_interval() {
        let start = Instant::now();
        let mut watch = RateWatch::new(limit(8_000, 0.0), Some(SECOND), start);
        assert!(!watch.is_exceeded(1_000, start + SECOND));
        assert!(watch.is_exceeded(2_001, start + 2 * SECOND));
        assert_eq!(RateWatch::new(limit(8, 0.0), None, start).next(), start + SECOND);
    }

    #[test]
    fn a_late_look_is_no_higher_rate() {
        let start = Instant::now();
        let mut watch = RateWatch::new(limit(8_000, 1.0), Some(SECOND), start);
        assert!(!watch.is_exceeded(3_000, start + 3 * SECOND));
        assert_eq!(watch.next(), start + 4 * SECOND);
        assert!(watch.is_exceeded(4_001, start + 4 * SECOND));
    }

    #[test]
    fn a_look_that_is_late_by_a_part_of_an_interval_is_no_higher_rate() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for seconds in [1.0, 2.0] {
            let mut watch = RateWatch::new(limit(8_000, seconds), Some(SECOND), start);
            for late in [1_490, 2_000, 3_990, 4_010, 5_000, 6_499, 7_000] {
                assert!(!watch.is_exceeded(late, at(late)), "1000 bytes a second are allowed");
            }
            assert_eq!(watch.next(), at(8_000));
        }
        // Nor does one that came late leave a shorter time for the next: 800 and 1200 are 1000 a second.
        let mut watch = RateWatch::new(limit(8_000, 1.0), Some(SECOND), start);
        assert!(!watch.is_exceeded(800, at(1_400)));
        assert!(!watch.is_exceeded(2_000, at(2_000)));
        assert!(watch.is_exceeded(3_001, at(3_000)));
    }
}
