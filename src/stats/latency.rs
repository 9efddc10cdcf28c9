//! Distributions of times: round trips, send completions, releases of zero-copy buffers.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Largest recordable time in nanoseconds: one minute. Longer times count as one minute.
const HIGHEST_NS: u64 = 60_000_000_000;

/// A distribution of times with two significant digits, from 1 ns to one minute.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// The last time in nanoseconds, and how often it came in a row; not in the histogram yet. Operations
    /// that are submitted and completed together take the same time, and there may be many.
    row: (u64, u64),
}

impl Default for Latency {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, HIGHEST_NS, 2).expect("the bounds are constants in range");
        Self { histogram, row: (0, 0) }
    }
}

impl Latency {
    /// Records one time.
    pub fn record(&mut self, time: Duration) {
        self.record_n(time, 1);
    }

    /// Records a time `count` times.
    pub fn record_n(&mut self, time: Duration, count: u64) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(HIGHEST_NS);
        if nanoseconds != self.row.0 {
            self.close_row();
            self.row.0 = nanoseconds;
        }
        self.row.1 += count;
    }

    /// Adds all times of another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
        let (nanoseconds, count) = other.row;
        self.record_n(Duration::from_nanos(nanoseconds), count);
    }

    /// The usual percentiles; `None` when nothing was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut all = self.clone();
        all.close_row();
        let histogram = all.histogram;
        if histogram.is_empty() {
            return None;
        }
        let microseconds = |quantile| to_microseconds(histogram.value_at_quantile(quantile));
        Some(Percentiles {
            count: histogram.len(),
            p50_us: microseconds(0.5),
            p90_us: microseconds(0.9),
            p99_us: microseconds(0.99),
            p999_us: microseconds(0.999),
            max_us: to_microseconds(histogram.max()),
        })
    }

    fn close_row(&mut self) {
        let (nanoseconds, count) = self.row;
        if count > 0 {
            self.histogram.saturating_record_n(nanoseconds.max(1), count);
            self.row.1 = 0;
        }
    }
}

/// Percentiles of a distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Percentiles {
    /// Number of times that were recorded.
    pub count: u64,
    /// Median in microseconds.
    pub p50_us: f64,
    /// 90th percentile in microseconds.
    pub p90_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile in microseconds.
    pub p999_us: f64,
    /// Longest time in microseconds.
    pub max_us: f64,
}

#[expect(clippy::cast_precision_loss, reason = "at most a minute of nanoseconds, exact in an f64")]
fn to_microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_times() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), None);
        for microseconds in 1..=1000 {
            latency.record(Duration::from_micros(microseconds));
        }
        let seen = latency.percentiles().unwrap();
        assert_eq!(seen.count, 1000);
        for (value, expected) in
            [(seen.p50_us, 500.0), (seen.p90_us, 900.0), (seen.p99_us, 990.0), (seen.max_us, 1000.0)]
        {
            assert!((value - expected).abs() <= expected * 0.01, "{value} is not near {expected}");
        }
    }

    #[test]
    fn equal_times_count_whether_others_come_between_them_or_not() {
        let mut rows = Latency::default();
        let mut other = Latency::default();
        for microseconds in [5, 5, 7, 5] {
            rows.record(Duration::from_micros(microseconds));
        }
        for latency in [&mut rows, &mut other] {
            latency.record(Duration::from_micros(9));
            latency.record(Duration::from_micros(9));
        }
        let seen = rows.percentiles().unwrap();
        assert_eq!((seen.count, seen.p50_us.round(), seen.max_us.round()), (6, 5.0, 9.0));
        assert_eq!(rows.percentiles(), Some(seen), "asking changes nothing");
        rows.merge(&other);
        assert_eq!(rows.percentiles().unwrap().count, 8);
    }

    #[test]
    fn merging_counts_both_and_an_endless_wait_counts_as_a_minute() {
        let mut left = Latency::default();
        let mut right = Latency::default();
        left.record(Duration::from_micros(1));
        right.record_n(Duration::from_secs(3600), 3);
        left.merge(&right);
        let seen = left.percentiles().unwrap();
        assert_eq!(seen.count, 4);
        assert!((seen.max_us - 60e6).abs() <= 60e6 * 0.01);
    }
}
