//! Totals of one stream or of a whole test.

use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One half of a stream: the numbers that one of its two ends has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Half {
    /// Payload bytes, the omit period not counted.
    pub bytes: u64,
    /// Seconds that this end measured for these bytes.
    pub seconds: f64,
}

/// Processor time that this end of a test has used: its control thread and its stream threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time in user code.
    pub user: Duration,
    /// Time in the kernel on behalf of these threads.
    pub system: Duration,
}

impl CpuTime {
    /// User and system time together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// The use since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// These times as percentages of one core over `elapsed`.
    #[must_use]
    pub fn percent_of(self, elapsed: Duration) -> CpuUse {
        let percent = |time: Duration| match elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => 100.0 * time.as_secs_f64() / seconds,
        };
        CpuUse { total: percent(self.total()), user: percent(self.user), system: percent(self.system) }
    }
}

impl AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }
}

/// Processor use in percent of one core, as iperf3 exchanges it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuUse {
    /// User and system time together, in percent of one core.
    pub total: f64,
    /// Time in user code, in percent of one core.
    pub user: f64,
    /// Time in the kernel, in percent of one core.
    pub system: f64,
}

/// The zero-copy sends of a stream, as the kernel's own notifications tell of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ZeroCopy {
    /// Bytes handed over by reference.
    pub requested_bytes: u64,
    /// Of the requested bytes, those that the kernel copied all the same.
    pub copied_bytes: u64,
    /// Number of notifications that had not come when the stream ended.
    pub outstanding: u64,
    /// Number of sends handed over by reference.
    #[serde(default)]
    pub requested_sends: u64,
    /// Of those, the number of sends that the kernel copied after all.
    #[serde(default)]
    pub copied_sends: u64,
}

impl ZeroCopy {
    /// Share of the requested bytes that was really not copied, in percent; `None` when none was requested.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage for display")]
    pub fn real_percent(self) -> Option<f64> {
        let real = self.requested_bytes.saturating_sub(self.copied_bytes);
        (self.requested_bytes > 0).then(|| 100.0 * real as f64 / self.requested_bytes as f64)
    }
}

impl AddAssign for ZeroCopy {
    fn add_assign(&mut self, other: Self) {
        self.requested_bytes += other.requested_bytes;
        self.copied_bytes += other.copied_bytes;
        self.outstanding += other.outstanding;
        self.requested_sends += other.requested_sends;
        self.copied_sends += other.copied_sends;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each of so many threads was busy for a part of the time, and no longer.
        #[test]
        fn no_end_uses_more_than_its_processors(
            elapsed_ms in 1_u32..100_000_000,
            parts in proptest::collection::vec((0.0..=0.5, 0.0..=0.5), 1..64),
        ) {
            let elapsed = Duration::from_millis(elapsed_ms.into());
            let mut used = CpuTime::default();
            for (user, system) in &parts {
                used += CpuTime { user: elapsed.mul_f64(*user), system: elapsed.mul_f64(*system) };
            }
            let percent = used.percent_of(elapsed);
            let most = 100.0 * f64::from(u32::try_from(parts.len()).unwrap());
            prop_assert!((0.0..=most + 0.001).contains(&percent.total), "{percent:?}");
            prop_assert!((percent.user + percent.system - percent.total).abs() < 0.001, "{percent:?}");
        }

        #[test]
        fn a_zero_copy_share_is_one_whatever_is_counted(requested: u64, copied: u64) {
            let sends = ZeroCopy { requested_bytes: requested, copied_bytes: copied, ..ZeroCopy::default() };
            prop_assert!(sends.real_percent().is_none_or(|share| (0.0..=100.0).contains(&share)));
        }
    }

    #[test]
    fn cpu_percentages_are_of_one_core() {
        let time = CpuTime { user: Duration::from_millis(500), system: Duration::from_millis(2500) };
        let used = time.percent_of(Duration::from_secs(2));
        assert_eq!(used, CpuUse { total: 150.0, user: 25.0, system: 125.0 });
        assert_eq!(time.percent_of(Duration::ZERO), CpuUse::default());
    }

    #[test]
    fn zero_copy_share() {
        assert_eq!(ZeroCopy::default().real_percent(), None);
        let half = ZeroCopy { requested_bytes: 100, copied_bytes: 50, ..ZeroCopy::default() };
        assert_eq!(half.real_percent(), Some(50.0));
    }
}
