//! Where the time of a direction went: shares that add up to the whole.
//!
//! A run is a chain of two threads with TCP between them, and the end whose threads sleep less holds up the
//! other. So the time of the direction is the time of that end's threads: what they spent on a processor,
//! waiting for one, and stopped by a quota. The rest, in which they slept, is divided as the sender's TCP
//! divides its own time: nothing to send, the send buffer, the receive window, and else the path. What is
//! not known stays unknown.

use serde::{Deserialize, Serialize};

use super::cause::End;
use super::facts::{Facts, TcpFacts, ThreadFacts};
use super::thresholds::{OCCUPIED_BEHIND_BUFFERS, OWN_PROCESSORS, RATE_PLAUSIBLE, RATE_REACHED, STOPPED};

/// Where the time of a direction went. The shares add up to 1 exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Waiting for what was asked for, or for the application to hand over data.
    pub asked_or_application: Share,
    /// On a processor.
    pub processor: Share,
    /// Waiting for a processor that had other work.
    pub processor_wait: Share,
    /// Stopped by a quota.
    pub quota: Share,
    /// Waiting for room in the send buffer.
    pub send_buffer: Share,
    /// Waiting for room in the receive window.
    pub receive_window: Share,
    /// Data on its way, and nothing else to wait for.
    pub path: Share,
    /// Not known.
    pub unknown: Share,
    /// Whose threads the three shares of processors are those of; `none` if no end's are known.
    pub threads_of: End,
}

/// A share of a whole, in whole hundredths of a percent, so that shares can add up exactly. In JSON it is a
/// number from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Share(u32);

/// A number that is no share.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a share is a number from 0 to 1")]
pub struct ShareError;

impl Share {
    /// Parts of a whole.
    pub const WHOLE: u32 = 10_000;

    /// Hundredths of a percent.
    #[must_use]
    pub fn parts(self) -> u32 {
        self.0
    }

    /// Percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// One half of it.
    pub(super) fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// The share next below `fraction`, which is 0 to 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is ensured")]
    fn floor(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * f64::from(Self::WHOLE)) as u32)
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        Self::from(share.0) / Self::from(Share::WHOLE)
    }
}

impl TryFrom<f64> for Share {
    type Error = ShareError;

    fn try_from(fraction: f64) -> Result<Self, ShareError> {
        let half_a_part = 0.5 / f64::from(Self::WHOLE);
        if (0.0..=1.0).contains(&fraction) {
            Ok(Self::floor(fraction + half_a_part))
        } else {
            Err(ShareError)
        }
    }
}

/// Fractions of the time that the threads slept, which add up to 1.
#[derive(Clone, Copy, Debug, Default)]
struct Sleep {
    asked: f64,
    send_buffer: f64,
    receive_window: f64,
    path: f64,
    unknown: f64,
}

impl Budget {
    pub(super) fn new(facts: &Facts) -> Self {
        let threads_of = fuller_end(facts);
        let threads = match threads_of {
            End::None => ThreadFacts::default(),
            end => facts.of(end).threads,
        };
        let part = |percent: Option<f64>| percent.map_or(0.0, |percent| percent.min(100.0) / 100.0);
        let (on, waiting) = (part(threads.on_percent), part(threads.waiting_percent));
        let quota = part(threads.throttled_percent);
        // Threads that fill all processors wait for each other, and that is their own work.
        let fills = threads.own_processors_percent.is_some_and(|percent| OWN_PROCESSORS.is_met(percent));
        let (on, waiting) = if fills { (on + waiting, 0.0) } else { (on, waiting) };
        let sleeping = (1.0 - on - waiting - quota).max(0.0);
        // What they wait for can be a quota, if nothing is known of one.
        let (waiting, unclear) =
            if threads.throttled_percent.is_some() { (waiting, 0.0) } else { (0.0, waiting) };
        // What they do on a processor can be nothing, if they poll.
        let (on, unclear) = if threads.poll { (0.0, unclear + on) } else { (on, unclear) };
        let sleep = Sleep::new(facts);
        Self::rounded(
            [
                sleeping * sleep.asked,
                on,
                waiting,
                quota,
                sleeping * sleep.send_buffer,
                sleeping * sleep.receive_window,
                sleeping * sleep.path,
                sleeping * sleep.unknown + unclear,
            ],
            threads_of,
        )
    }

    /// All shares, in the order in which they are declared.
    #[must_use]
    pub fn shares(&self) -> [Share; 8] {
        [
            self.asked_or_application,
            self.processor,
            self.processor_wait,
            self.quota,
            self.send_buffer,
            self.receive_window,
            self.path,
            self.unknown,
        ]
    }

    /// Shares in proportion to these numbers, which are not negative and not all zero. What rounding leaves
    /// over goes to the largest.
    fn rounded(fractions: [f64; 8], threads_of: End) -> Self {
        let all: f64 = fractions.iter().sum();
        let mut shares = fractions.map(|fraction| Share::floor(fraction / all));
        let left = Share::WHOLE.saturating_sub(shares.iter().map(|share| share.0).sum());
        let largest = shares.iter_mut().max().expect("there are eight");
        largest.0 += left;
        let [
            asked_or_application,
            processor,
            processor_wait,
            quota,
            send_buffer,
            receive_window,
            path,
            unknown,
        ] = shares;
        Self {
            asked_or_application,
            processor,
            processor_wait,
            quota,
            send_buffer,
            receive_window,
            path,
            unknown,
            threads_of,
        }
    }
}

impl Sleep {
    fn new(facts: &Facts) -> Self {
        if is_rate_reached(facts) {
            return Self { asked: 1.0, ..Self::default() };
        }
        // Asleep or not, the sender's threads are known; else the path could be a processor.
        let is_sender_known = facts.sender.threads.on_percent.is_some();
        if facts.is_udp() && is_sender_known && facts.evidence.asked.is_none() {
            // A sender that may send whatever it can sleeps where the device takes no more.
            return Self { path: 1.0, ..Self::default() };
        }
        let TcpFacts { busy_percent: Some(busy), rwnd_percent, sndbuf_percent, .. } = facts.tcp else {
            return Self { unknown: 1.0, ..Self::default() };
        };
        let busy = busy / 100.0;
        let idle = if is_sender_known { 1.0 - busy } else { 0.0 };
        let (Some(rwnd), Some(sndbuf)) = (rwnd_percent, sndbuf_percent) else {
            return Self { asked: idle, unknown: 1.0 - idle, ..Self::default() };
        };
        let scale = busy / (rwnd + sndbuf).max(100.0);
        let (receive_window, send_buffer) = (rwnd * scale, sndbuf * scale);
        let rest = (busy - receive_window - send_buffer).max(0.0);
        let path = if is_sender_known { rest } else { 0.0 };
        let unknown = (1.0 - idle - receive_window - send_buffer - path).max(0.0);
        Self { asked: idle, send_buffer, receive_window, path, unknown }
    }
}

/// Whether the rate that was asked for was reached, and not exceeded.
pub(super) fn is_rate_reached(facts: &Facts) -> bool {
    facts
        .rate_reached_percent
        .is_some_and(|percent| RATE_REACHED.is_met(percent) && RATE_PLAUSIBLE.is_met(percent))
}

/// Whether the receiving end's buffers hold up the sender.
pub(super) fn is_held_up(facts: &Facts) -> bool {
    facts.stopped_percent().is_some_and(|percent| STOPPED.is_met(percent))
}

/// The end whose threads sleep less, and so hold up the other. Of two that hardly sleep it is the receiver
/// that makes a sender wait for room. A sender of datagrams waits for nobody.
fn fuller_end(facts: &Facts) -> End {
    let awake = |end: End| {
        let ThreadFacts { on_percent, waiting_percent, throttled_percent, .. } = facts.of(end).threads;
        Some(on_percent? + waiting_percent.unwrap_or(0.0) + throttled_percent.unwrap_or(0.0))
    };
    let (sender, receiver) = (awake(End::Sender), awake(End::Receiver));
    if facts.is_udp() {
        return sender.map_or(End::None, |_| End::Sender);
    }
    match (sender, receiver) {
        (None, None) => End::None,
        (Some(_), None) => End::Sender,
        (None, Some(_)) => End::Receiver,
        (Some(sender), Some(receiver)) => {
            let holds_up = is_held_up(facts) && OCCUPIED_BEHIND_BUFFERS.is_met(receiver);
            if holds_up || receiver > sender { End::Receiver } else { End::Sender }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Protocol, UdpConfig};
    use crate::verdict::evidence::{
        AskedBy, AskedRate, DirectionEvidence, EndEvidence, TcpEvidence, ThreadEvidence,
    };

    /// One thread that was on a processor, waiting, and stopped for so many hundredths of ten seconds.
    fn end(on: u64, waiting: u64, throttled: u64) -> Option<EndEvidence> {
        const PERCENT_NS: u64 = 100_000_000;
        let threads = ThreadEvidence {
            threads: Some(1),
            on_processor_ns: Some(on * PERCENT_NS),
            waiting_ns: Some((waiting + throttled) * PERCENT_NS),
            throttled_ns: Some(throttled * PERCENT_NS),
            processors: Some(2),
            ..ThreadEvidence::default()
        };
        Some(EndEvidence { threads, ..EndEvidence::default() })
    }

    /// Ten seconds of TCP with these percentages of the time.
    fn tcp(busy: f64, rwnd: f64, sndbuf: f64) -> DirectionEvidence {
        let tcp = TcpEvidence {
            busy_seconds: Some(busy / 10.0),
            rwnd_limited_seconds: Some(rwnd / 10.0),
            sndbuf_limited_seconds: Some(sndbuf / 10.0),
            ..TcpEvidence::default()
        };
        DirectionEvidence { streams: Some(1), seconds: Some(10.0), tcp, ..DirectionEvidence::default() }
    }

    /// The shares in percent and in the order of their declaration.
    fn shares(evidence: &DirectionEvidence) -> [f64; 8] {
        Budget::new(&Facts::new(evidence)).shares().map(|share| share.percent().round())
    }

    #[test]
    fn the_fuller_end_has_the_time_and_tcp_divides_the_rest() {
        for (sender, receiver, evidence, expected) in [
            // The send buffer over 20 ms, as measured: 59 % of busy time.
            (end(2, 5, 0), end(5, 9, 0), tcp(100.0, 3.0, 59.0), [0.0, 5.0, 9.0, 0.0, 51.0, 3.0, 33.0, 0.0]),
            // A processor of the receiving end.
            (end(20, 0, 0), end(95, 2, 0), tcp(100.0, 40.0, 0.0), [0.0, 95.0, 2.0, 0.0, 0.0, 1.0, 2.0, 0.0]),
            // A quota of the sending end.
            (end(5, 0, 95), end(3, 1, 0), tcp(40.0, 0.0, 0.0), [0.0, 5.0, 0.0, 95.0, 0.0, 0.0, 0.0, 0.0]),
            // An application that hands over little.
            (end(4, 1, 0), end(4, 0, 0), tcp(20.0, 0.0, 0.0), [76.0, 4.0, 1.0, 0.0, 0.0, 0.0, 19.0, 0.0]),
            // An iperf3 at the other end; then one at the sending end, and TCP is not known either.
            (end(10, 0, 0), None, tcp(100.0, 0.0, 0.0), [0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 90.0, 0.0]),
            (
                None,
                end(10, 0, 0),
                DirectionEvidence { seconds: Some(10.0), ..DirectionEvidence::default() },
                [0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 90.0],
            ),
            // Without the sender's threads, what TCP calls busy may be a processor.
            (None, None, tcp(100.0, 10.0, 20.0), [0.0, 0.0, 0.0, 0.0, 20.0, 10.0, 0.0, 70.0]),
        ] {
            let evidence = DirectionEvidence { sender, receiver, ..evidence };
            assert_eq!(shares(&evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn time_at_the_rate_asked_for_is_waiting_for_it() {
        let evidence = DirectionEvidence {
            goodput_bits_per_second: Some(99e6),
            asked: Some(AskedRate { bits_per_second: 1e8, by: AskedBy::FqRate }),
            sender: end(5, 0, 0),
            receiver: end(4, 0, 0),
            ..tcp(100.0, 0.0, 0.0)
        };
        assert_eq!(shares(&evidence), [95.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_udp_sender_that_sleeps_waits_for_the_path_if_nothing_was_asked() {
        let udp = DirectionEvidence {
            protocol: Protocol::Udp(UdpConfig::default()),
            seconds: Some(10.0),
            sender: end(40, 0, 0),
            receiver: end(95, 0, 0),
            ..DirectionEvidence::default()
        };
        assert_eq!(shares(&udp), [0.0, 40.0, 0.0, 0.0, 0.0, 0.0, 60.0, 0.0]);
        let asked = Some(AskedRate { bits_per_second: 1e9, by: AskedBy::Bitrate });
        let short = DirectionEvidence { asked, sent_bits_per_second: Some(5e8), ..udp };
        assert_eq!(shares(&short), [0.0, 40.0, 0.0, 0.0, 0.0, 0.0, 0.0, 60.0]);
    }

    /// What cannot be told apart is not known: a quota that cannot be read, and polling instead of sleep.
    #[test]
    fn time_that_can_be_two_things_is_unknown() {
        let mut sender = end(40, 30, 0);
        sender.as_mut().unwrap().threads.throttled_ns = None;
        let evidence = DirectionEvidence { sender, ..tcp(100.0, 0.0, 0.0) };
        assert_eq!(shares(&evidence), [0.0, 40.0, 0.0, 0.0, 0.0, 0.0, 30.0, 30.0]);
        let mut sender = end(90, 4, 0);
        sender.as_mut().unwrap().threads.polls = Some(true);
        let evidence = DirectionEvidence { sender, ..tcp(100.0, 0.0, 0.0) };
        assert_eq!(shares(&evidence), [0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 6.0, 90.0]);
    }

    #[test]
    fn threads_that_fill_all_processors_wait_for_themselves() {
        let threads = ThreadEvidence {
            threads: Some(4),
            on_processor_ns: Some(19_000_000_000),
            waiting_ns: Some(20_000_000_000),
            processors: Some(2),
            ..ThreadEvidence::default()
        };
        let sender = Some(EndEvidence { threads, ..EndEvidence::default() });
        let evidence = DirectionEvidence { sender, ..tcp(100.0, 0.0, 0.0) };
        let budget = Budget::new(&Facts::new(&evidence));
        assert_eq!((budget.processor.percent().round(), budget.processor_wait.parts()), (98.0, 0));
    }

    #[test]
    fn shares_go_through_json_and_nothing_else_is_one() {
        for parts in [0, 1, 3333, 5903, 9999, Share::WHOLE] {
            let json = serde_json::to_string(&Share(parts)).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), Share(parts), "{json}");
        }
        for bad in ["-0.1", "1.1", "null", "\"1\""] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
    }
}
