//! Jitter: how evenly datagrams travel.

use std::time::Duration;

/// Longest step from one transit time to the next, in nanoseconds. No network makes a longer one: somebody
/// has set a clock, such as that of the day from which the kernel's times of arrival are, or has invented a
/// time.
const STEP_NS_MAX: u64 = 60_000_000_000;

/// Jitter by RFC 1889, in the integer form of its appendix A.8.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jitter {
    last_transit_ns: Option<i64>,
    sixteenths_ns: u64,
}

impl Jitter {
    /// Counts a datagram by the times at which it was sent and arrived, which are of two unrelated clocks.
    pub(super) fn take(&mut self, sent: Duration, arrived: Duration) {
        // Both are from 0 to the largest i64, so their difference fits.
        let transit = nanoseconds(arrived) - nanoseconds(sent);
        // The first datagram has nothing to be compared with.
        let step = self.last_transit_ns.map_or(0, |last| transit.abs_diff(last));
        self.last_transit_ns = Some(transit);
        // What was measured from a clock before it was set says nothing about the time after it.
        let step = if step > STEP_NS_MAX { 0 } else { step };
        self.sixteenths_ns = self.sixteenths_ns - (self.sixteenths_ns + 8) / 16 + step;
    }

    /// The jitter after the last datagram, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 6 days of jitter")]
    pub(super) fn seconds(self) -> f64 {
        self.sixteenths_ns as f64 / 16e9
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_datagram_makes_no_jitter_and_each_step_a_sixteenth() {
        let mut jitter = Jitter::default();
        let mut take = |arrived_us| {
            jitter.take(Duration::from_secs(900), Duration::from_micros(arrived_us));
            jitter.seconds()
        };
        assert!(take(1_000).abs() < 1e-12);
        assert!((take(1_160) - 10e-6).abs() < 1e-9);
        assert!((take(1_160) - 10e-6 * 15.0 / 16.0).abs() < 1e-9);
    }

    #[test]
    fn a_clock_that_is_set_makes_no_jitter() {
        for (before, after) in
            [(7200, 3600), (3600, 7200), (40_000_000, 71_536_000), (71_536_000, 40_000_000)]
        {
            let mut jitter = Jitter::default();
            for number in 0..100 {
                let clock = Duration::from_secs(if number < 50 { before } else { after });
                let travelled = Duration::from_micros(number % 2 * 160);
                jitter.take(Duration::from_secs(900), clock + travelled);
                assert!(jitter.seconds() < 200e-6, "{} after {number}", jitter.seconds());
            }
            assert!(jitter.seconds() > 100e-6, "{}", jitter.seconds());
        }
    }

    #[test]
    fn hostile_times_neither_overflow_nor_make_nonsense() {
        let mut jitter = Jitter::default();
        for _ in 0..500 {
            jitter.take(Duration::MAX, Duration::ZERO);
            jitter.take(Duration::ZERO, Duration::MAX);
            assert!(jitter.seconds().is_finite());
        }
        assert!(jitter.seconds() < 1.0);
    }
}
