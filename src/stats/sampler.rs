//! From running totals to intervals.

use std::time::{Duration, Instant};

use super::tcp::TcpTracker;
use super::udp::UdpTracker;
use super::{Counters, TcpInterval, TcpSample, TcpSummary, UdpInterval, UdpSummary};

/// One stream's share of one interval. Times are since the start of the counted (or of the omitted) part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the interval began.
    pub start: Duration,
    /// When the interval really ended.
    pub end: Duration,
    /// Bytes moved in the interval.
    pub bytes: u64,
    /// TCP_INFO of a sender at the end of the interval; `None` on a receiver, and with UDP.
    pub tcp: Option<TcpInterval>,
    /// The datagrams of a UDP stream; zeros on a TCP stream.
    pub udp: UdpInterval,
}

/// Turns the running totals of one stream into intervals that add up to the total exactly.
#[derive(Clone, Debug)]
pub struct StreamSampler {
    started: Instant,
    last_tick: Instant,
    base_bytes: u64,
    last_bytes: u64,
    tcp: TcpTracker,
    udp: UdpTracker,
    awaits_zero: bool,
}

impl StreamSampler {
    /// A sampler that starts at `now` with nothing counted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            last_tick: now,
            base_bytes: 0,
            last_bytes: 0,
            tcp: TcpTracker::default(),
            udp: UdpTracker::default(),
            awaits_zero: false,
        }
    }

    /// Closes the interval since the last call at `now`, when the stream's running totals are `totals`.
    pub fn interval(&mut self, now: Instant, totals: Counters, tcp: Option<&TcpSample>) -> Sample {
        let udp = self.udp.interval(if self.awaits_zero { None } else { Some(&totals.datagrams) });
        // What has not been published yet may lie before the zero.
        let bytes = if self.awaits_zero { self.last_bytes } else { totals.bytes.max(self.last_bytes) };
        let sample = Sample {
            start: self.last_tick.duration_since(self.started),
            end: now.duration_since(self.started),
            bytes: bytes - self.last_bytes,
            tcp: tcp.map(|sample| self.tcp.interval(sample)),
            udp,
        };
        self.last_tick = now;
        self.last_bytes = bytes;
        sample
    }

    /// Ends the omit period at `now`: `totals` are the new zero.
    pub fn restart(&mut self, now: Instant, totals: Counters, tcp: Option<&TcpSample>) {
        self.started = now;
        self.last_tick = now;
        self.base_bytes = totals.bytes;
        self.last_bytes = totals.bytes;
        if let Some(sample) = tcp {
            self.tcp.restart(sample);
        }
        self.udp.restart(&totals.datagrams);
    }

    /// Leaves it to the stream where the counted part begins. Nothing counts until [`Self::set_zero`].
    pub fn await_zero(&mut self) {
        self.awaits_zero = true;
    }

    /// Makes `totals` the new zero, if [`Self::await_zero`] was called before.
    pub fn set_zero(&mut self, totals: Counters) {
        if std::mem::take(&mut self.awaits_zero) {
            self.base_bytes = totals.bytes;
            self.last_bytes = totals.bytes;
            self.udp.restart(&totals.datagrams);
        }
    }

    /// Bytes of all intervals since the start or restart.
    #[must_use]
    pub fn counted_bytes(&self) -> u64 {
        self.last_bytes - self.base_bytes
    }

    /// Time from the start or restart to the end of the last interval.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.last_tick.duration_since(self.started)
    }

    /// The start of the counted part, or of the omit period while that lasts.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The summary of TCP_INFO over the counted part.
    #[must_use]
    pub fn tcp_summary(&self) -> TcpSummary {
        self.tcp.summary()
    }

    /// The datagrams of the counted part.
    #[must_use]
    pub fn udp_summary(&self) -> UdpSummary {
        self.udp.summary()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::{DatagramCounters, DatagramTracker};

    fn totals(bytes: u64) -> Counters {
        Counters { bytes, operations: 1, ..Counters::default() }
    }

    #[test]
    fn the_omit_period_is_a_baseline() {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let mut sampler = StreamSampler::new(zero);
        assert_eq!(sampler.interval(at(1000), totals(700), None).bytes, 700);
        sampler.restart(at(1500), totals(1000), None);
        let sample = sampler.interval(at(2510), totals(1600), None);
        assert_eq!(sample.start, Duration::ZERO);
        assert_eq!(sample.end, Duration::from_millis(1010));
        assert_eq!(sample.bytes, 600);
        assert_eq!(sampler.counted_bytes(), 600);
        assert_eq!(sampler.elapsed(), Duration::from_millis(1010));
    }

    #[test]
    fn a_stream_may_say_later_where_its_counted_part_began() {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let of_sender = |packets: u64| {
            let datagrams = DatagramCounters { packets, ..DatagramCounters::default() };
            Counters { bytes: packets * 100, operations: 1, datagrams }
        };
        let mut sampler = StreamSampler::new(zero);
        sampler.restart(at(1000), of_sender(5), None);
        sampler.await_zero();
        assert_eq!(sampler.interval(at(1100), of_sender(7), None).bytes, 0);
        sampler.set_zero(of_sender(8));
        // What it has published last lies before that.
        let before = sampler.interval(at(1200), of_sender(7), None);
        assert_eq!((before.bytes, before.udp.packets), (0, 0));
        let after = sampler.interval(at(1300), of_sender(11), None);
        assert_eq!((after.bytes, after.udp.packets), (300, 3));
        sampler.set_zero(of_sender(9));
        assert_eq!(sampler.counted_bytes(), 300, "it is said once");
        let UdpSummary { counted, omitted_packets, .. } = sampler.udp_summary();
        assert_eq!((counted.packets, omitted_packets), (3, 8));
    }

    /// What comes next at a receiver of datagrams.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Datagram(u64),
        Interval,
        OmitOver,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => (1_u64..60).prop_map(Step::Datagram),
            1 => any::<u64>().prop_map(Step::Datagram),
            4 => Just(Step::Interval),
            1 => Just(Step::OmitOver),
        ]
    }

    proptest! {
        /// In whatever order datagrams come, twice, late or with numbers that nobody has sent.
        #[test]
        fn intervals_of_datagrams_add_up(
            wide: bool,
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let now = Instant::now();
            let mut sampler = StreamSampler::new(now);
            let mut tracker = DatagramTracker::new(wide);
            let (mut packets, mut lost, mut bytes, mut total_bytes) = (0, 0, 0, 0);
            for step in steps.into_iter().chain([Step::Interval]) {
                let totals = Counters { bytes: total_bytes, operations: 0, datagrams: tracker.counters() };
                match step {
                    Step::Datagram(number) => {
                        tracker.message(None, 1);
                        tracker.take(number, Duration::ZERO, Duration::ZERO);
                        total_bytes += 100;
                    }
                    Step::Interval => {
                        let Sample { udp, bytes: moved, .. } = sampler.interval(now, totals, None);
                        prop_assert!(udp.lost <= udp.packets, "{udp:?}");
                        (packets, lost, bytes) = (packets + udp.packets, lost + udp.lost, bytes + moved);
                        let end = sampler.udp_summary();
                        prop_assert_eq!((end.counted.packets, sampler.counted_bytes()), (packets, bytes));
                        prop_assert_eq!(end.counted.packets + end.omitted_packets, totals.datagrams.packets);
                        // Who came late was missing in the intervals before.
                        prop_assert!(end.counted.lost <= lost && end.counted.lost <= packets, "{end:?}");
                    }
                    Step::OmitOver => {
                        sampler.restart(now, totals, None);
                        (packets, lost, bytes) = (0, 0, 0);
                    }
                }
            }
        }

        #[test]
        fn intervals_add_up_exactly(steps in proptest::collection::vec(0_u64..1 << 40, 1..50)) {
            let zero = Instant::now();
            let mut sampler = StreamSampler::new(zero);
            let mut running = 0;
            let mut sum = 0;
            for (tick, step) in (1_u32..).zip(&steps) {
                running += step;
                let now = zero + Duration::from_millis(100) * tick;
                sum += sampler.interval(now, totals(running), None).bytes;
            }
            prop_assert_eq!(sum, running);
            prop_assert_eq!(sampler.counted_bytes(), running);
        }
    }
}
