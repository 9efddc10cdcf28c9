//! From the evidence to what rules compare: percentages and ratios of numbers that can be true.
//!
//! A number that cannot be true counts as unknown. Where two numbers contradict each other, both do, and a
//! note says so.

use crate::config::Protocol;
use crate::units::to_f64;

use super::cause::{End, Evidence};
use super::evidence::{
    BufferEvidence, DatagramEvidence, DeviceEvidence, DirectionEvidence, EndEvidence, QdiscEvidence,
    TcpEvidence, ThreadEvidence,
};
use super::figures::Figure;
use super::thresholds::{BUSY_LONG, TIME_IMPOSSIBLE};

/// Larger numbers measure nothing: a count has 64 bits.
const LARGEST: f64 = 1e20;
/// What stands for a ratio to nothing.
const RATIO_LARGEST: f64 = 1000.0;
const NS_PER_SECOND: f64 = 1e9;

/// What is known of a direction, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub evidence: &'a DirectionEvidence,
    pub seconds: Option<f64>,
    pub goodput_bits_per_second: Option<f64>,
    pub rate_reached_percent: Option<f64>,
    pub tcp: TcpFacts,
    pub datagrams: DatagramFacts,
    pub sender: EndFacts,
    pub receiver: EndFacts,
    /// Sentences about numbers that contradict each other.
    pub contradictions: Vec<String>,
}

/// TCP's view of a direction. All of it is unknown for other protocols.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpFacts {
    /// Of the time of the run.
    pub busy_percent: Option<f64>,
    /// Of busy time.
    pub rwnd_percent: Option<f64>,
    /// Of busy time.
    pub sndbuf_percent: Option<f64>,
    pub rtt_ms: Option<f64>,
    pub min_rtt_ms: Option<f64>,
    pub retransmitted_percent: Option<f64>,
    /// What the receiving end dropped at its socket, of the segments sent again.
    pub socket_dropped_percent: Option<f64>,
    pub pacing_per_delivery: Option<f64>,
    /// Rate times round-trip time of one stream, in bytes.
    pub bdp_bytes: Option<f64>,
    pub window_per_bdp: Option<f64>,
}

/// What became of datagrams. All of it is unknown for other protocols.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DatagramFacts {
    pub lost_percent: Option<f64>,
    /// This one and those below are percentages of the lost datagrams.
    pub in_socket_percent: Option<f64>,
    pub in_network_percent: Option<f64>,
    pub in_qdisc_percent: Option<f64>,
    pub in_ring_percent: Option<f64>,
    pub in_backlog_percent: Option<f64>,
    /// In the queueing discipline, and in the ring and the backlog as far as these are known.
    pub in_hosts_percent: Option<f64>,
}

/// What is known of one end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EndFacts {
    /// It says something of itself at all.
    pub is_known: bool,
    /// Its threads may sleep on a disk, so that their sleep does not speak for a buffer.
    pub writes_file: bool,
    pub threads: ThreadFacts,
    pub buffer_bytes: Option<f64>,
    pub buffer_is_fixed: bool,
    pub buffer_per_bdp: Option<f64>,
    pub qdisc_dropped_percent: Option<f64>,
    pub qdisc_overlimits_per_second: Option<f64>,
    pub device: DeviceFacts,
}

/// Where the time of an end's threads went, in percent of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadFacts {
    pub on_percent: Option<f64>,
    /// Without the time in which a quota stopped them, unless that is not known.
    pub waiting_percent: Option<f64>,
    pub throttled_percent: Option<f64>,
    /// How much of all processors the threads took; known only where there are more threads than processors.
    pub own_processors_percent: Option<f64>,
    pub quota_processors: Option<f64>,
    /// They are on a processor whether there is work or not.
    pub poll: bool,
}

/// What is known of a network device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceFacts {
    pub ring_missed_percent: Option<f64>,
    pub backlog_dropped_percent: Option<f64>,
    pub squeezed_per_second: Option<f64>,
    pub interrupt_percent: Option<f64>,
    pub paused_percent: Option<f64>,
    pub pause_frames: Option<f64>,
    pub pcie_stalled_percent: Option<f64>,
    pub link_used_percent: Option<f64>,
}

impl<'a> Facts<'a> {
    pub fn new(evidence: &'a DirectionEvidence) -> Self {
        let seconds = positive(evidence.seconds);
        let goodput = plausible(evidence.goodput_bits_per_second);
        let mut facts = Self {
            evidence,
            seconds,
            goodput_bits_per_second: goodput,
            rate_reached_percent: rate_reached(evidence),
            tcp: TcpFacts::default(),
            datagrams: DatagramFacts::default(),
            sender: EndFacts::new(evidence.sender.as_ref(), seconds),
            receiver: EndFacts::new(evidence.receiver.as_ref(), seconds),
            contradictions: Vec::new(),
        };
        facts.drop_impossible_threads();
        match evidence.protocol {
            Protocol::Tcp | Protocol::Mptcp => facts.read_tcp(&evidence.tcp),
            Protocol::Udp(_) => facts.read_datagrams(&evidence.datagrams),
            Protocol::Sctp(_) => {}
        }
        facts
    }

    pub fn is_udp(&self) -> bool {
        self.evidence.protocol.udp().is_some()
    }

    pub fn of(&self, end: End) -> &EndFacts {
        if end == End::Receiver { &self.receiver } else { &self.sender }
    }

    /// Both ends have told of themselves, and nothing contradicts itself.
    pub fn are_complete(&self) -> bool {
        self.sender.is_known && self.receiver.is_known && self.contradictions.is_empty()
    }

    /// The congestion control spreads what it sends over time by a rate that it has found out.
    pub fn is_paced(&self) -> bool {
        self.evidence.congestion.as_deref().is_some_and(|name| name.starts_with("bbr"))
    }

    /// Busy time in which a window or a buffer stopped the sender, in percent of busy time.
    pub fn stopped_percent(&self) -> Option<f64> {
        Some((self.tcp.rwnd_percent? + self.tcp.sndbuf_percent?).min(100.0))
    }

    /// Everything that is worth a look where nothing was named.
    pub fn findings(&self) -> Vec<Evidence> {
        let TcpFacts { busy_percent, rwnd_percent, sndbuf_percent, rtt_ms, min_rtt_ms, .. } = self.tcp;
        let mut found = Vec::new();
        for end in [End::Sender, End::Receiver] {
            let threads = self.of(end).threads;
            found.extend([
                (Figure::OnProcessorPercent, end, threads.on_percent),
                (Figure::WaitingPercent, end, threads.waiting_percent),
                (Figure::ThrottledPercent, end, threads.throttled_percent.filter(|percent| *percent > 0.0)),
            ]);
        }
        found.extend([
            (Figure::BusyPercent, End::Sender, busy_percent),
            (Figure::RwndLimitedPercent, End::Sender, rwnd_percent),
            (Figure::SndbufLimitedPercent, End::Sender, sndbuf_percent),
            (Figure::RttMs, End::Path, rtt_ms),
            (Figure::MinRttMs, End::Path, min_rtt_ms),
            (Figure::RetransmittedPercent, End::Path, self.tcp.retransmitted_percent),
            (Figure::RateReachedPercent, End::None, self.rate_reached_percent),
            (Figure::GoodputBitsPerSecond, End::None, self.goodput_bits_per_second),
            (Figure::RunSeconds, End::None, self.seconds),
        ]);
        for end in [End::Sender, End::Receiver] {
            let device = self.of(end).device;
            let is_there = |value: &f64| *value > 0.0;
            found.extend([
                (Figure::SqueezedPerSecond, end, device.squeezed_per_second.filter(is_there)),
                (Figure::PauseFramesCount, end, device.pause_frames.filter(is_there)),
            ]);
        }
        let mut findings: Vec<_> = found
            .into_iter()
            .filter_map(|(name, end, value)| Some(Evidence::finding(name, end, value?)))
            .collect();
        findings.extend(self.losses());
        findings
    }

    /// What became of the datagrams, where some were lost.
    pub fn losses(&self) -> Vec<Evidence> {
        let lost = &self.datagrams;
        [
            (Figure::LostPercent, End::Path, lost.lost_percent.filter(|percent| *percent > 0.0)),
            (Figure::LostInSocketPercent, End::Receiver, lost.in_socket_percent),
            (Figure::LostInNetworkPercent, End::Path, lost.in_network_percent),
        ]
        .into_iter()
        .filter_map(|(name, end, value)| Some(Evidence::finding(name, end, value?)))
        .collect()
    }

    /// Threads cannot have had more time than there was.
    fn drop_impossible_threads(&mut self) {
        for (end, words) in [(&mut self.sender, "sending"), (&mut self.receiver, "receiving")] {
            let ThreadFacts { on_percent, waiting_percent, throttled_percent, .. } = end.threads;
            let all = [on_percent, waiting_percent, throttled_percent];
            if TIME_IMPOSSIBLE.is_met(all.into_iter().flatten().sum()) {
                end.threads = ThreadFacts::default();
                self.contradictions
                    .push(format!("the threads of the {words} end say more time than there was"));
            }
        }
    }

    fn read_tcp(&mut self, tcp: &TcpEvidence) {
        self.tcp = TcpFacts {
            retransmitted_percent: percent(count(tcp.bytes_retransmitted), count(tcp.bytes_sent)),
            socket_dropped_percent: self.socket_dropped_percent(tcp.segments_retransmitted),
            pacing_per_delivery: ratio(
                plausible(tcp.pacing_bits_per_second),
                plausible(tcp.delivery_bits_per_second),
            ),
            ..TcpFacts::default()
        };
        self.read_limits(tcp);
        self.read_round_trips(tcp);
        if self.tcp.retransmitted_percent.is_some_and(|percent| TIME_IMPOSSIBLE.is_met(percent)) {
            self.tcp.retransmitted_percent = None;
            self.contradictions.push("more bytes were sent again than were sent".to_owned());
        }
    }

    /// What the receiving end dropped at its socket, in percent of the segments sent again. Where it dropped
    /// nothing, their number does not matter.
    fn socket_dropped_percent(&self, retransmitted: Option<u64>) -> Option<f64> {
        match self.evidence.receiver.as_ref()?.socket_dropped_packets? {
            0 => Some(0.0),
            dropped => percent(count(Some(dropped)), count(retransmitted)).map(|percent| percent.min(100.0)),
        }
    }

    /// Where the sender's TCP spent its time. The two limits are parts of busy time.
    fn read_limits(&mut self, tcp: &TcpEvidence) {
        let streams = positive(self.evidence.streams.map(f64::from));
        let busy = plausible(tcp.busy_seconds);
        let of_stream = ratio(busy, streams);
        let whole = self.seconds.zip(streams).map(|(seconds, streams)| seconds * streams);
        let busy_percent = percent(busy, whole);
        let is_long = of_stream.is_some_and(|seconds| BUSY_LONG.is_met(seconds));
        let of_busy = |seconds: Option<f64>| percent(seconds, busy).filter(|_| is_long);
        let (rwnd, sndbuf) = (of_busy(tcp.rwnd_limited_seconds), of_busy(tcp.sndbuf_limited_seconds));
        let parts = rwnd.unwrap_or(0.0) + sndbuf.unwrap_or(0.0);
        if busy_percent.is_some_and(|percent| TIME_IMPOSSIBLE.is_met(percent))
            || TIME_IMPOSSIBLE.is_met(parts)
        {
            self.contradictions.push("TCP_INFO says more time than there was".to_owned());
            return;
        }
        let capped = |value: Option<f64>| value.map(|percent| percent.min(100.0));
        let blocked = capped(busy_percent).zip(sndbuf).map(|(busy, sndbuf)| busy * sndbuf / 100.0);
        // Threads that poll run while they wait.
        let running = self.sender.threads.on_percent.filter(|_| !self.sender.threads.poll);
        let both = blocked.zip(running).map(|(blocked, running)| blocked + running);
        if both.is_some_and(|percent| TIME_IMPOSSIBLE.is_met(percent)) {
            self.sender.threads = ThreadFacts::default();
            let words = "the threads of the sending end ran while TCP_INFO says that they waited for room";
            self.contradictions.push(words.to_owned());
            return;
        }
        self.tcp.busy_percent = capped(busy_percent);
        self.tcp.rwnd_percent = capped(rwnd);
        self.tcp.sndbuf_percent = capped(sndbuf);
    }

    fn read_round_trips(&mut self, tcp: &TcpEvidence) {
        let ms = |micros: Option<f64>| positive(micros).map(|micros| micros / 1000.0);
        let (rtt, min_rtt) = (ms(tcp.rtt_us), ms(tcp.min_rtt_us));
        if percent(min_rtt, rtt).is_some_and(|percent| TIME_IMPOSSIBLE.is_met(percent)) {
            self.contradictions.push("the smallest RTT is larger than the RTT".to_owned());
            return;
        }
        let streams = positive(self.evidence.streams.map(f64::from));
        let bits_of_stream = ratio(self.goodput_bits_per_second, streams);
        let bdp = positive(bits_of_stream.zip(rtt).map(|(bits, ms)| bits * ms / 8000.0));
        self.tcp.rtt_ms = rtt;
        self.tcp.min_rtt_ms = min_rtt;
        self.tcp.bdp_bytes = bdp;
        self.tcp.window_per_bdp = ratio(positive(count(tcp.advertised_window_bytes)), bdp);
        for end in [&mut self.sender, &mut self.receiver] {
            end.buffer_per_bdp = ratio(end.buffer_bytes, bdp);
        }
    }

    fn read_datagrams(&mut self, datagrams: &DatagramEvidence) {
        let DatagramEvidence { sent, received, lost_in_network, lost_in_socket } = *datagrams;
        let Some((sent, received)) = sent.zip(received) else { return };
        let Some(lost) = sent.checked_sub(received) else {
            self.contradictions.push("more datagrams came than were sent".to_owned());
            return;
        };
        self.datagrams.lost_percent = percent(Some(to_f64(lost)), Some(to_f64(sent)));
        let of_lost = |part: Option<u64>| percent(count(part), Some(to_f64(lost)));
        let in_network = lost_in_network.or_else(|| lost.checked_sub(lost_in_socket?));
        let (in_socket, in_network) = (of_lost(lost_in_socket), of_lost(in_network));
        if TIME_IMPOSSIBLE.is_met(in_socket.unwrap_or(0.0) + in_network.unwrap_or(0.0)) {
            self.contradictions.push("more datagrams were lost in places than were lost".to_owned());
            return;
        }
        // Others send and receive through the same device, so its drops can be more than this loss.
        let capped = |part: Option<u64>| of_lost(part).map(|percent| percent.min(100.0));
        let (sender, receiver) = (&self.evidence.sender, &self.evidence.receiver);
        let device = receiver.as_ref().map(|end| &end.device);
        let in_qdisc = capped(sender.as_ref().and_then(|end| end.qdisc.dropped_packets));
        let in_ring = capped(device.and_then(|device| device.rx_missed_packets));
        let in_backlog = capped(device.and_then(|device| device.softnet_dropped_packets));
        let in_hosts = in_qdisc.map(|in_qdisc| in_qdisc + in_ring.unwrap_or(0.0) + in_backlog.unwrap_or(0.0));
        self.datagrams.in_socket_percent = in_socket;
        self.datagrams.in_network_percent = in_network;
        self.datagrams.in_qdisc_percent = in_qdisc;
        self.datagrams.in_ring_percent = in_ring;
        self.datagrams.in_backlog_percent = in_backlog;
        self.datagrams.in_hosts_percent = in_hosts.map(|percent| percent.min(100.0));
    }
}

impl TcpFacts {
    /// The round-trip time over the smallest one.
    pub fn rtt_per_min(&self) -> Option<f64> {
        over_other(self.rtt_ms, self.min_rtt_ms)
    }

    /// What the round-trip time has beyond the smallest one.
    pub fn rtt_added_ms(&self) -> Option<f64> {
        self.rtt_ms.zip(self.min_rtt_ms).map(|(rtt, min)| (rtt - min).max(0.0))
    }
}

impl EndFacts {
    fn new(evidence: Option<&EndEvidence>, seconds: Option<f64>) -> Self {
        let Some(evidence) = evidence else { return Self::default() };
        let EndEvidence { threads, buffer, writes_file, qdisc, device, .. } = evidence;
        let BufferEvidence { bytes, bytes_max, is_fixed } = *buffer;
        let buffer_is_fixed = is_fixed == Some(true);
        let limit = if buffer_is_fixed { bytes } else { bytes_max.or(bytes) };
        let QdiscEvidence { sent_packets, dropped_packets, overlimits, .. } = qdisc;
        Self {
            is_known: true,
            writes_file: *writes_file == Some(true),
            threads: ThreadFacts::new(threads, seconds),
            buffer_bytes: positive(count(limit)),
            buffer_is_fixed,
            buffer_per_bdp: None,
            qdisc_dropped_percent: share_of_packets(*dropped_packets, *sent_packets),
            qdisc_overlimits_per_second: ratio(count(*overlimits), seconds),
            device: DeviceFacts::new(device, seconds),
        }
    }
}

impl ThreadFacts {
    fn new(evidence: &ThreadEvidence, seconds: Option<f64>) -> Self {
        let threads = positive(evidence.threads.map(f64::from));
        let processors = positive(evidence.processors.map(f64::from));
        let span = |width: Option<f64>| Some(width? * seconds? * NS_PER_SECOND);
        let on_percent = percent(count(evidence.on_processor_ns), span(threads));
        let waiting = percent(count(evidence.waiting_ns), span(threads));
        // The group is stopped once for each processor that it runs on.
        let width = threads.map(|threads| processors.map_or(threads, |processors| threads.min(processors)));
        let throttled = percent(count(evidence.throttled_ns), span(width));
        // Others of the group may have been stopped while these threads had nothing to do, but a stopped
        // thread has waited or not run.
        let room = waiting.or(on_percent.map(|on| (100.0 - on).max(0.0))).unwrap_or(100.0);
        let throttled_percent = throttled.map(|percent| percent.min(room));
        let is_crowded = threads.zip(processors).is_some_and(|(threads, processors)| threads > processors);
        Self {
            on_percent,
            waiting_percent: waiting.map(|percent| percent - throttled_percent.unwrap_or(0.0)),
            throttled_percent,
            own_processors_percent: possible(percent(count(evidence.on_processor_ns), span(processors)))
                .filter(|_| is_crowded),
            quota_processors: positive(evidence.quota_processors),
            poll: evidence.polls == Some(true),
        }
    }

    /// What the threads did when they did not sleep is told apart: work, waiting, a quota.
    pub fn is_occupation_known(&self) -> bool {
        self.occupied_percent().is_some() && self.throttled_percent.is_some()
    }

    /// On a processor or waiting for one. It says nothing of threads that poll.
    pub fn occupied_percent(&self) -> Option<f64> {
        if self.poll {
            return None;
        }
        Some((self.on_percent? + self.waiting_percent?).min(100.0))
    }
}

impl DeviceFacts {
    fn new(evidence: &DeviceEvidence, seconds: Option<f64>) -> Self {
        Self {
            ring_missed_percent: share_of_packets(evidence.rx_missed_packets, evidence.rx_packets),
            backlog_dropped_percent: share_of_packets(
                evidence.softnet_dropped_packets,
                evidence.softnet_packets,
            ),
            squeezed_per_second: ratio(count(evidence.softnet_squeezed), seconds),
            interrupt_percent: possible(plausible(evidence.interrupt_percent)),
            paused_percent: possible(percent(evidence.paused_seconds, seconds)),
            pause_frames: count(evidence.pause_frames),
            pcie_stalled_percent: possible(percent(evidence.pcie_stalled_seconds, seconds)),
            link_used_percent: percent(
                plausible(evidence.wire_bits_per_second),
                plausible(evidence.link_bits_per_second),
            ),
        }
    }
}

/// How much of the rate asked for was reached. What limits a sender of datagrams is what it sends, and loss
/// is another matter.
fn rate_reached(evidence: &DirectionEvidence) -> Option<f64> {
    let goodput = plausible(evidence.goodput_bits_per_second);
    let sent = plausible(evidence.sent_bits_per_second);
    let reached = if evidence.protocol.udp().is_some() { sent.or(goodput) } else { goodput };
    percent(reached, Some(evidence.asked?.bits_per_second))
}

/// Packets dropped, in percent of those and the ones that went through.
fn share_of_packets(dropped: Option<u64>, passed: Option<u64>) -> Option<f64> {
    let (dropped, passed) = (count(dropped)?, count(passed)?);
    percent(Some(dropped), Some(dropped + passed))
}

/// A number that can be one of a measurement: neither negative nor beyond all measure.
fn plausible(value: Option<f64>) -> Option<f64> {
    // Adding zero makes a plain zero of a negative one.
    value.filter(|value| (0.0..=LARGEST).contains(value)).map(|value| value + 0.0)
}

fn positive(value: Option<f64>) -> Option<f64> {
    plausible(value).filter(|value| *value > 0.0)
}

fn count(value: Option<u64>) -> Option<f64> {
    plausible(value.map(to_f64))
}

fn percent(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    ratio(part.map(|part| 100.0 * part), whole)
}

/// A share of a time, unless it is more than that time.
fn possible(percent: Option<f64>) -> Option<f64> {
    percent.filter(|percent| !TIME_IMPOSSIBLE.is_met(*percent))
}

fn ratio(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    plausible(Some(plausible(part)? / positive(whole)?))
}

/// One of two parts over the other.
pub(super) fn over_other(part: Option<f64>, other: Option<f64>) -> Option<f64> {
    let (part, other) = (part?, other?);
    if part > 0.0 { Some((part / other).min(RATIO_LARGEST)) } else { Some(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(on_ms: u64, waiting_ms: u64, throttled_ms: Option<u64>) -> ThreadEvidence {
        ThreadEvidence {
            threads: Some(1),
            on_processor_ns: Some(on_ms * 1_000_000),
            waiting_ns: Some(waiting_ms * 1_000_000),
            throttled_ns: throttled_ms.map(|ms| ms * 1_000_000),
            processors: Some(2),
            ..ThreadEvidence::default()
        }
    }

    /// As measured with a quota of 5 %: schedstat's waiting contains the throttling.
    #[test]
    fn throttling_is_taken_out_of_waiting() {
        let facts = ThreadFacts::new(&threads(159, 2915, Some(2914)), Some(3.0));
        let rounded = |value: Option<f64>| value.map(|value| (value * 10.0).round() / 10.0);
        assert_eq!(rounded(facts.on_percent), Some(5.3));
        assert_eq!(rounded(facts.throttled_percent), Some(97.1));
        assert_eq!(rounded(facts.waiting_percent), Some(0.0));
    }

    /// A quota belongs to the whole group: it may have stopped others while these threads slept.
    #[test]
    fn more_throttling_than_waiting_was_that_of_others() {
        let facts = ThreadFacts::new(&threads(300, 100, Some(2000)), Some(1.0));
        assert_eq!(facts.throttled_percent, Some(10.0));
        assert_eq!(facts.waiting_percent, Some(0.0));
        let without_waiting = ThreadEvidence { waiting_ns: None, ..threads(300, 0, Some(2000)) };
        let facts = ThreadFacts::new(&without_waiting, Some(1.0));
        assert_eq!((facts.throttled_percent, facts.waiting_percent), (Some(70.0), None));
    }

    #[test]
    fn times_of_several_threads_are_shares_of_all_their_time() {
        let four = ThreadEvidence { threads: Some(4), ..threads(2000, 2000, None) };
        let facts = ThreadFacts::new(&four, Some(1.0));
        assert_eq!((facts.on_percent, facts.waiting_percent), (Some(50.0), Some(50.0)));
        assert_eq!(facts.own_processors_percent, Some(100.0));
        assert_eq!(ThreadFacts::new(&threads(1000, 0, None), Some(1.0)).own_processors_percent, None);
    }

    #[test]
    fn what_cannot_be_true_is_unknown() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            assert_eq!(plausible(Some(bad)), None, "{bad}");
            assert_eq!(percent(Some(1.0), Some(bad)), None, "{bad}");
        }
        assert_eq!(percent(Some(1.0), Some(0.0)), None);
        assert_eq!(percent(Some(1e17), Some(1e-300)), None);
        assert_eq!(plausible(Some(-0.0)).map(f64::is_sign_positive), Some(true));
    }

    fn tcp(busy: f64, rwnd: f64, sndbuf: f64) -> DirectionEvidence {
        let tcp = TcpEvidence {
            busy_seconds: Some(busy),
            rwnd_limited_seconds: Some(rwnd),
            sndbuf_limited_seconds: Some(sndbuf),
            ..TcpEvidence::default()
        };
        DirectionEvidence { streams: Some(1), seconds: Some(3.0), tcp, ..DirectionEvidence::default() }
    }

    #[test]
    fn limits_are_shares_of_busy_time() {
        let evidence = tcp(1.5, 0.3, 0.6);
        let facts = Facts::new(&evidence);
        let TcpFacts { busy_percent, rwnd_percent, sndbuf_percent, .. } = facts.tcp;
        assert_eq!(busy_percent, Some(50.0));
        assert!((rwnd_percent.unwrap() - 20.0).abs() < 1e-9 && (sndbuf_percent.unwrap() - 40.0).abs() < 1e-9);
        assert!(facts.contradictions.is_empty());
    }

    #[test]
    fn busy_times_of_few_jiffies_have_no_parts() {
        let evidence = tcp(0.39, 0.3, 0.0);
        let facts = Facts::new(&evidence);
        assert!(facts.tcp.busy_percent.is_some());
        assert_eq!(facts.tcp.rwnd_percent, None);
    }

    #[test]
    fn contradictions_are_noted_and_count_as_unknown() {
        for evidence in [tcp(3.0, 2.0, 2.0), tcp(4.0, 0.0, 0.0)] {
            let facts = Facts::new(&evidence);
            assert_eq!((facts.tcp.busy_percent, facts.tcp.rwnd_percent), (None, None));
            assert_eq!(facts.contradictions.len(), 1);
        }
        let running = EndEvidence { threads: threads(2700, 0, None), ..EndEvidence::default() };
        let blocked = DirectionEvidence { sender: Some(running), ..tcp(3.0, 0.0, 1.8) };
        let facts = Facts::new(&blocked);
        assert_eq!((facts.tcp.sndbuf_percent, facts.sender.threads.on_percent), (None, None));
        assert_eq!(facts.contradictions.len(), 1);
    }

    #[test]
    fn threads_that_poll_may_run_while_they_wait_for_room() {
        let polling = ThreadEvidence { polls: Some(true), ..threads(2700, 0, None) };
        let sender = Some(EndEvidence { threads: polling, ..EndEvidence::default() });
        let evidence = DirectionEvidence { sender, ..tcp(3.0, 0.0, 1.8) };
        let facts = Facts::new(&evidence);
        assert!(facts.contradictions.is_empty() && facts.tcp.sndbuf_percent.is_some());
        assert_eq!(facts.sender.threads.occupied_percent(), None);
    }
}
