//! TCP_INFO in the units in which it is reported.

use std::time::Duration;

/// One reading of TCP_INFO from a data socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSample {
    /// Segments retransmitted since the connection was made (`tcpi_total_retrans`).
    pub retransmits: u64,
    /// Congestion window in bytes (`tcpi_snd_cwnd` x `tcpi_snd_mss`).
    pub snd_cwnd_bytes: u64,
    /// The peer's advertised window in bytes (`tcpi_snd_wnd`, since Linux 5.4).
    pub snd_wnd_bytes: u64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Mean deviation of the round-trip time in microseconds.
    pub rttvar_us: u32,
    /// Path MTU in bytes.
    pub pmtu_bytes: u32,
    /// Reordering metric in segments (`tcpi_reordering`).
    pub reordering: u32,
    /// Where the sender's time went since the connection was made.
    pub limits: TcpLimits,
}

/// Where a sender's time went (`tcpi_busy_time` and its parts, since Linux 4.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpLimits {
    /// Time in which data was in flight or waiting.
    pub busy: Duration,
    /// Of that, time in which the peer's receive window stopped the sender.
    pub rwnd_limited: Duration,
    /// Of that, time in which this end's send buffer stopped the sender.
    pub sndbuf_limited: Duration,
}

/// A sender's TCP_INFO at the end of an interval; retransmits are those of the interval alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInterval {
    /// Segments retransmitted in the interval.
    pub retransmits: u64,
    /// Congestion window in bytes.
    pub snd_cwnd_bytes: u64,
    /// The peer's advertised window in bytes.
    pub snd_wnd_bytes: u64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Mean deviation of the round-trip time in microseconds.
    pub rttvar_us: u32,
    /// Path MTU in bytes.
    pub pmtu_bytes: u32,
    /// Reordering metric in segments.
    pub reordering: u32,
}

/// A sender's TCP_INFO over the whole counted part of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSummary {
    /// Segments retransmitted, the omit period not counted.
    pub retransmits: u64,
    /// Reordering metric in segments at the end.
    pub reordering: u32,
    /// Largest congestion window seen at an interval's end, in bytes.
    pub max_snd_cwnd_bytes: u64,
    /// Largest advertised window seen at an interval's end, in bytes.
    pub max_snd_wnd_bytes: u64,
    /// Largest smoothed round-trip time seen at an interval's end, in microseconds.
    pub max_rtt_us: u32,
    /// Smallest smoothed round-trip time seen at an interval's end, in microseconds.
    pub min_rtt_us: u32,
    /// Mean of the smoothed round-trip times at the intervals' ends, in microseconds.
    pub mean_rtt_us: u32,
    /// Where the time went, from the connection's start to the end of the test.
    pub limits: TcpLimits,
}

/// Collects a [`TcpSummary`] from the samples of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpTracker {
    summary: TcpSummary,
    rtt_sum_us: u64,
    rtt_count: u64,
    retransmits_before: u64,
    retransmits_base: u64,
}

impl TcpTracker {
    /// Takes a sample at an interval's end.
    pub(super) fn interval(&mut self, sample: &TcpSample) -> TcpInterval {
        let retransmits = sample.retransmits.saturating_sub(self.retransmits_before);
        self.retransmits_before = sample.retransmits;
        let summary = &mut self.summary;
        summary.retransmits = sample.retransmits.saturating_sub(self.retransmits_base);
        summary.reordering = sample.reordering;
        summary.limits = sample.limits;
        summary.max_snd_cwnd_bytes = summary.max_snd_cwnd_bytes.max(sample.snd_cwnd_bytes);
        summary.max_snd_wnd_bytes = summary.max_snd_wnd_bytes.max(sample.snd_wnd_bytes);
        summary.max_rtt_us = summary.max_rtt_us.max(sample.rtt_us);
        summary.min_rtt_us = match summary.min_rtt_us {
            0 => sample.rtt_us,
            before => before.min(sample.rtt_us),
        };
        self.rtt_sum_us += u64::from(sample.rtt_us);
        self.rtt_count += 1;
        summary.mean_rtt_us =
            u32::try_from(self.rtt_sum_us / self.rtt_count).expect("a mean of u32 values is a u32");
        TcpInterval {
            retransmits,
            snd_cwnd_bytes: sample.snd_cwnd_bytes,
            snd_wnd_bytes: sample.snd_wnd_bytes,
            rtt_us: sample.rtt_us,
            rttvar_us: sample.rttvar_us,
            pmtu_bytes: sample.pmtu_bytes,
            reordering: sample.reordering,
        }
    }

    /// Forgets everything up to `sample`: the omit period is over.
    pub(super) fn restart(&mut self, sample: &TcpSample) {
        *self = Self {
            retransmits_before: sample.retransmits,
            retransmits_base: sample.retransmits,
            ..Self::default()
        };
    }

    pub(super) fn summary(&self) -> TcpSummary {
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(retransmits: u64, rtt_us: u32) -> TcpSample {
        TcpSample { retransmits, rtt_us, snd_cwnd_bytes: u64::from(rtt_us) * 10, ..TcpSample::default() }
    }

    #[test]
    fn interval_retransmits_add_up_and_the_omit_period_does_not_count() {
        let mut tracker = TcpTracker::default();
        assert_eq!(tracker.interval(&sample(3, 100)).retransmits, 3);
        tracker.restart(&sample(5, 100));
        assert_eq!(tracker.interval(&sample(6, 40)).retransmits, 1);
        assert_eq!(tracker.interval(&sample(9, 80)).retransmits, 3);
        let summary = tracker.summary();
        assert_eq!(summary.retransmits, 4);
        assert_eq!((summary.min_rtt_us, summary.mean_rtt_us, summary.max_rtt_us), (40, 60, 80));
        assert_eq!(summary.max_snd_cwnd_bytes, 800);
    }
}
