//! How a sender spreads its datagrams over time.

use std::time::Instant;

use super::Latency;

/// Bursts of one stream: datagrams handed to the kernel at once.
#[derive(Clone, Debug, Default)]
pub struct Departures {
    /// Times from the departure of one burst to that of the next.
    pub between: Latency,
    /// Number of bursts.
    pub bursts: u64,
    /// Number of datagrams of all bursts.
    pub datagrams: u64,
    /// Number of datagrams of the largest burst.
    pub largest: u64,
    last: Option<Instant>,
    /// Number of datagrams of the last burst.
    current: u64,
}

impl Departures {
    /// Counts a burst of `datagrams` datagrams that leaves at `now`.
    pub fn burst(&mut self, now: Instant, datagrams: u64) {
        if let Some(last) = self.last.replace(now) {
            self.between.record(now.saturating_duration_since(last));
        }
        self.bursts += 1;
        self.current = 0;
        self.more(datagrams);
    }

    /// Counts `datagrams` more datagrams that leave with the last burst.
    pub fn more(&mut self, datagrams: u64) {
        self.current += datagrams;
        self.datagrams += datagrams;
        self.largest = self.largest.max(self.current);
    }

    /// Adds the bursts of another stream.
    pub fn merge(&mut self, other: &Self) {
        self.between.merge(&other.between);
        self.bursts += other.bursts;
        self.datagrams += other.datagrams;
        self.largest = self.largest.max(other.largest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_may_leave_in_parts() {
        let start = Instant::now();
        let mut departures = Departures::default();
        for tick in 0..2 {
            departures.burst(start + Duration::from_secs(1) * tick, 40);
            departures.more(40);
            departures.more(20);
        }
        assert_eq!((departures.bursts, departures.datagrams, departures.largest), (2, 200, 100));
        assert_eq!(departures.between.percentiles().unwrap().count, 1);
    }

    #[test]
    fn times_are_between_bursts_of_the_same_stream() {
        let start = Instant::now();
        let mut left = Departures::default();
        for (tick, datagrams) in [(0, 1), (1, 3), (2, 2)] {
            left.burst(start + Duration::from_millis(10) * tick, datagrams);
        }
        let mut right = Departures::default();
        right.burst(start + Duration::from_secs(5), 7);
        left.merge(&right);
        assert_eq!((left.bursts, left.datagrams, left.largest), (4, 13, 7));
        let between = left.between.percentiles().unwrap();
        assert_eq!(between.count, 2);
        assert!((between.max_us - 10_000.0).abs() <= 100.0, "{between:?}");
    }
}
