//! A server's limit on the rate of its clients' tests: what they ask for, and what they really move.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::budget::Share;
use crate::config::{Direction, RateLimit, TestConfig};

/// Time between two looks when there are no reports whose intervals could be used.
const DEFAULT_STEP: Duration = Duration::from_secs(1);

/// Bits per second that all streams of a test together ask for; `None` when that is more than any number. A
/// test without a rate of its own asks for nothing; it is looked at while it runs.
pub(super) fn asked_bits_per_second(test: &TestConfig) -> Option<u64> {
    let directions = if test.direction == Direction::Bidir { 2 } else { 1 };
    test.pacing.bits_per_second.checked_mul(u64::from(test.parallel) * directions)
}

/// Watches the average rate of a running test, over a whole number of report intervals.
#[derive(Debug)]
pub(super) struct RateWatch {
    limit: Limit,
    step: Duration,
    /// Steps that the average is taken over.
    steps: usize,
    next: Instant,
    seen_bytes: u64,
    /// Bytes of the last steps, the newest one last.
    recent: VecDeque<u64>,
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

    fn is_exceeded_by(&self, bits_per_second: u64) -> bool {
        match self {
            Self::Own(limit) => bits_per_second > limit.bits_per_second,
            Self::Shared(share) => share.is_over(bits_per_second),
        }
    }
}

impl RateWatch {
    /// A watch that begins at `start`; `interval` is that of the reports.
    pub(super) fn new(limit: Limit, interval: Option<Duration>, start: Instant) -> Self {
        let step = interval.unwrap_or(DEFAULT_STEP);
        let rounded = (limit.averaged_over() + step / 2).as_nanos() / step.as_nanos().max(1);
        Self {
            limit,
            step,
            steps: usize::try_from(rounded).unwrap_or(usize::MAX).max(1),
            next: start + step,
            seen_bytes: 0,
            recent: VecDeque::new(),
        }
    }

    /// When to look.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the rate is too high, `bytes` being what has been moved since the start. Looks that come too
    /// late are not made up for: the average is then taken over a longer time.
    pub(super) fn is_exceeded(&mut self, bytes: u64, now: Instant) -> bool {
        let mut late = 1;
        self.next += self.step;
        while self.next <= now {
            self.next += self.step;
            late += 1;
        }
        self.recent.push_back(bytes.saturating_sub(self.seen_bytes));
        self.recent.extend(std::iter::repeat_n(0, late - 1));
        self.seen_bytes = bytes;
        while self.recent.len() > self.steps.max(late) {
            self.recent.pop_front();
        }
        if self.recent.len() < self.steps {
            return false;
        }
        let bits = u128::from(self.recent.iter().sum::<u64>()) * 8;
        let steps = u128::try_from(self.recent.len()).expect("a usize fits a u128");
        let nanos = (self.step.as_nanos() * steps).max(1);
        // Rounded up, so that a little too much is too much.
        let rate = (bits * 1_000_000_000).div_ceil(nanos);
        self.limit.is_exceeded_by(u64::try_from(rate).unwrap_or(u64::MAX))
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
}
