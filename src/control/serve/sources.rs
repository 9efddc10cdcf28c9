//! The sources that clients come from: how often each has used a server, and which has to go when too many
//! are there.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::auth::host_of;
use crate::control::base::limits;

/// Time over which the tests and the failures of a source are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// Most sources that are remembered. Each has come within minutes, so more of them are no single host.
const SOURCES_MAX: usize = 4096;
/// Number of sources that a network may count as, however many it has.
const SOURCES_OF_A_NETWORK: u32 = 4;

/// The host behind an address as far as limits go: the address itself with IPv4, its /64 network with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

/// The addresses that a single customer may have: one address with IPv4, a /48 network with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network(IpAddr);

impl Source {
    /// The source of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(host_of(address))
    }

    /// The network that this source belongs to.
    pub(crate) fn network(self) -> Network {
        Network(match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into(),
        })
    }
}

/// The index of the item that has to go when there are too many: the first one of the source that has most,
/// in the network that has most, so that whoever fills a server makes room by itself. Each item is given by
/// its source and its weight.
pub(super) fn eviction_victim(all: impl Iterator<Item = (Source, usize)> + Clone) -> Option<usize> {
    let (mut networks, mut sources) = (HashMap::new(), HashMap::new());
    for (source, weight) in all.clone() {
        *networks.entry(source.network()).or_insert(0) += weight;
        *sources.entry(source).or_insert(0) += weight;
    }
    let share = |source: Source| (networks[&source.network()], sources[&source]);
    let most = all.clone().map(|(source, _)| share(source)).max()?;
    all.map(|(source, _)| share(source)).position(|share| share == most)
}

/// A value and the time of its last use for each of a bounded number of sources or networks.
#[derive(Debug)]
struct Memory<Key, Value>(HashMap<Key, (Instant, Value)>);

impl<Key, Value> Default for Memory<Key, Value> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Key: Copy + Eq + Hash, Value: Default> Memory<Key, Value> {
    /// The value of `key`, if it was used within the last `time`.
    fn get(&self, key: Key, (now, time): (Instant, Duration)) -> Option<&Value> {
        self.0.get(&key).filter(|(last, _)| now.duration_since(*last) < time).map(|(_, value)| value)
    }

    /// The value of `key`, to be changed; a default one if it was not used within the last `time`. Where
    /// there are too many keys, those that were not used for `time` are forgotten, or else the one whose last
    /// use is oldest.
    fn touch(&mut self, key: Key, (now, time): (Instant, Duration)) -> &mut Value {
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (last, _)| now.duration_since(*last) < time);
            if self.0.len() >= SOURCES_MAX {
                let oldest = self.0.iter().min_by_key(|(_, (last, _))| *last).map(|(key, _)| *key);
                oldest.map(|oldest| self.0.remove(&oldest));
            }
        }
        let entry = self.0.entry(key).or_insert_with(|| (now, Value::default()));
        if now.duration_since(entry.0) >= time {
            entry.1 = Value::default();
        }
        entry.0 = now;
        &mut entry.1
    }

    /// The last use of `key`, if it is remembered.
    fn last(&self, key: Key) -> Option<Instant> {
        self.0.get(&key).map(|(last, _)| *last)
    }

    fn forget(&mut self, key: Key) {
        self.0.remove(&key);
    }
}

/// Counts the tests of each source (`--max-tests-per-minute`).
#[derive(Debug)]
pub(crate) struct TestRateLimiter {
    /// Tests that a source may have within a minute; `None` for any number.
    most: Option<NonZeroU32>,
    sources: Memory<Source, RecentTests>,
    networks: Memory<Network, RecentTests>,
}

#[derive(Debug, Default)]
struct RecentTests {
    /// When its tests of the last minute began, the oldest first.
    tests: VecDeque<Instant>,
    /// Whether it has been turned away since its last test.
    turned_away: bool,
}

impl RecentTests {
    /// Whether it has had `most` tests or more within the last minute.
    fn has_had(&mut self, most: u32, now: Instant) -> bool {
        while self.tests.front().is_some_and(|&begun| now.duration_since(begun) >= MINUTE) {
            self.tests.pop_front();
        }
        u32::try_from(self.tests.len()).is_ok_and(|tests| tests >= most)
    }

    fn note(&mut self, now: Instant) {
        self.tests.push_back(now);
        self.turned_away = false;
    }
}

/// The answer to a source that wants a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateDecision {
    /// It may have a test.
    Allowed,
    /// It has had as many tests within the last minute as it may have.
    TooMany {
        /// Whether it hears this for the first time since its last test, so that the report tells of it.
        is_news: bool,
    },
}

impl TestRateLimiter {
    /// No source has had a test yet.
    pub(crate) fn new(most: Option<NonZeroU32>) -> Self {
        Self { most, sources: Memory::default(), networks: Memory::default() }
    }

    /// Whether this source may have a test now, which is not counted yet.
    pub(crate) fn check(&mut self, source: Source, now: Instant) -> RateDecision {
        let Some(most) = self.most else { return RateDecision::Allowed };
        let recent = self.sources.touch(source, (now, MINUTE));
        let network = self.networks.touch(source.network(), (now, MINUTE));
        let all_of_it = most.get().saturating_mul(SOURCES_OF_A_NETWORK);
        if recent.has_had(most.get(), now) || network.has_had(all_of_it, now) {
            return RateDecision::TooMany { is_news: !std::mem::replace(&mut recent.turned_away, true) };
        }
        RateDecision::Allowed
    }

    /// Counts a test that begins, if the source may have it.
    pub(crate) fn note(&mut self, source: Source, now: Instant) -> RateDecision {
        let decision = self.check(source, now);
        if self.most.is_some() && decision == RateDecision::Allowed {
            self.sources.touch(source, (now, MINUTE)).note(now);
            self.networks.touch(source.network(), (now, MINUTE)).note(now);
        }
        decision
    }
}

/// Number of set-ups and tests in a row that moved nothing or had to make room, for each source.
#[derive(Debug, Default)]
pub(super) struct Fruitless {
    sources: Memory<Source, u32>,
    networks: Memory<Network, u32>,
}

impl Fruitless {
    /// Counts one more set-up or test of this source that moved nothing.
    pub(crate) fn note(&mut self, source: Source, now: Instant) {
        let memory = (now, limits::FRUITLESS_MEMORY);
        let sources = self.sources.touch(source, memory);
        *sources = sources.saturating_add(1);
        let networks = self.networks.touch(source.network(), memory);
        *networks = networks.saturating_add(1);
    }

    /// Sets the count of this source back to 0, since a test of it has moved bytes.
    pub(super) fn forgive(&mut self, source: Source) {
        self.sources.forget(source);
        self.networks.forget(source.network());
    }

    /// The count of this source, or its share of the count of its network if that is more.
    pub(crate) fn count(&self, source: Source, now: Instant) -> u32 {
        let memory = (now, limits::FRUITLESS_MEMORY);
        let own = self.sources.get(source, memory).copied().unwrap_or(0);
        let network = self.networks.get(source.network(), memory).copied().unwrap_or(0);
        own.max(network / SOURCES_OF_A_NETWORK)
    }

    /// Whether this source still has to wait while others are there; each wait is twice as long as the one
    /// before.
    pub(super) fn has_to_wait(&self, source: Source, now: Instant) -> bool {
        let Some(doublings) = self.count(source, now).checked_sub(limits::FRUITLESS_FREE) else {
            return false;
        };
        let wait = limits::FRUITLESS_WAIT.saturating_mul(2_u32.saturating_pow(doublings));
        // A source that is not known has the wait of its network.
        let ended = self.sources.last(source).or_else(|| self.networks.last(source.network()));
        ended.is_some_and(|ended| now.duration_since(ended) < wait.min(limits::FRUITLESS_WAIT_MAX))
    }
}

/// The networks that were told a moment ago that the server is busy, and may be waiting.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway(Memory<Network, ()>);

impl TurnedAway {
    /// Notes that this source was told that the server is busy.
    pub(crate) fn note(&mut self, source: Source, now: Instant) {
        self.0.touch(source.network(), (now, limits::WAITS));
    }

    /// Notes that this source does not wait any more.
    pub(crate) fn forget(&mut self, source: Source) {
        self.0.forget(source.network());
    }

    /// All networks that may be waiting, but for this one.
    pub(crate) fn others(&self, network: Network, now: Instant) -> impl Iterator<Item = Network> {
        let waits = move |(other, (last, ())): (&Network, &(Instant, ()))| {
            (*other != network && now.duration_since(*last) < limits::WAITS).then_some(*other)
        };
        self.0.0.iter().filter_map(waits)
    }
}

/// Number of failures and tests of each source that were reported within a minute.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    failures: Memory<Source, Filled>,
    tests: Memory<Source, Filled>,
}

#[derive(Debug, Default)]
struct Filled {
    since: Option<Instant>,
    count: u32,
}

/// Whether a failure or a test is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportDecision {
    /// It is reported.
    Yes,
    /// It is reported, as the last one of this source for the rest of the minute.
    Last,
    /// It is not reported.
    No,
}

impl Reported {
    /// Counts a failed set-up of this source.
    pub(crate) fn failure(&mut self, source: Source, now: Instant) -> ReportDecision {
        Self::count(&mut self.failures, source, now, limits::FAILURES_TOLD)
    }

    /// Counts a test of this source that begins.
    pub(crate) fn test(&mut self, source: Source, now: Instant) -> ReportDecision {
        Self::count(&mut self.tests, source, now, limits::TESTS_TOLD)
    }

    fn count(memory: &mut Memory<Source, Filled>, source: Source, now: Instant, most: u32) -> ReportDecision {
        let filled = memory.touch(source, (now, MINUTE));
        if filled.since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            *filled = Filled { since: Some(now), count: 0 };
        }
        filled.count = filled.count.saturating_add(1);
        match filled.count.cmp(&most) {
            std::cmp::Ordering::Less => ReportDecision::Yes,
            std::cmp::Ordering::Equal => ReportDecision::Last,
            std::cmp::Ordering::Greater => ReportDecision::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_host_is_one_source_whatever_its_address() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::2"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }

    #[test]
    fn a_source_has_so_many_tests_in_any_minute() {
        let mut test_rates = TestRateLimiter::new(NonZeroU32::new(2));
        let start = Instant::now();
        let mut come = |host: &str, secs| test_rates.note(source(host), start + Duration::from_secs(secs));
        assert_eq!(come("192.0.2.1", 0), RateDecision::Allowed);
        assert_eq!(come("192.0.2.1", 30), RateDecision::Allowed);
        assert_eq!(come("192.0.2.1", 31), RateDecision::TooMany { is_news: true });
        assert_eq!(come("192.0.2.1", 59), RateDecision::TooMany { is_news: false });
        assert_eq!(come("192.0.2.2", 59), RateDecision::Allowed);
        assert_eq!(come("192.0.2.1", 60), RateDecision::Allowed);
        assert_eq!(come("192.0.2.1", 61), RateDecision::TooMany { is_news: true });
        assert_eq!(come("192.0.2.1", 90), RateDecision::Allowed);
    }

    #[test]
    fn any_number_of_sources_takes_no_more_memory() {
        let mut test_rates = TestRateLimiter::new(NonZeroU32::new(1));
        let start = Instant::now();
        for number in 0..10_000_u32 {
            let address = IpAddr::V4(number.into());
            let now = start + Duration::from_millis(number.into());
            assert_eq!(test_rates.note(Source::of(address), now), RateDecision::Allowed);
        }
        assert!(test_rates.sources.0.len() <= SOURCES_MAX, "{}", test_rates.sources.0.len());
        let last = Source::of(IpAddr::V4(9_999.into()));
        assert_eq!(
            test_rates.note(last, start + Duration::from_secs(11)),
            RateDecision::TooMany { is_news: true }
        );
    }
    #[test]
    fn a_network_counts_as_four_sources_however_many_it_has() {
        let mut test_rates = TestRateLimiter::new(NonZeroU32::new(2));
        let now = Instant::now();
        let welcome = (0..100).filter(|number| {
            test_rates.note(source(&format!("2001:db8:1:{number:x}::1")), now) == RateDecision::Allowed
        });
        assert_eq!(welcome.count(), 8);
        assert_eq!(test_rates.note(source("2001:db8:2::1"), now), RateDecision::Allowed);
        assert_eq!(source("2001:db8:1:2::1").network(), source("2001:db8:1:ffff::1").network());
        assert_ne!(source("192.0.2.1").network(), source("192.0.2.2").network());
    }

    #[test]
    fn asking_is_no_test() {
        let mut test_rates = TestRateLimiter::new(NonZeroU32::new(1));
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(test_rates.check(source("192.0.2.1"), now), RateDecision::Allowed);
        }
        assert_eq!(test_rates.note(source("192.0.2.1"), now), RateDecision::Allowed);
        assert_eq!(test_rates.check(source("192.0.2.1"), now), RateDecision::TooMany { is_news: true });
        assert_eq!(test_rates.note(source("192.0.2.1"), now), RateDecision::TooMany { is_news: false });
    }

    #[test]
    fn whoever_has_most_makes_room() {
        let goes =
            |all: &[(&str, usize)]| eviction_victim(all.iter().map(|(text, weight)| (source(text), *weight)));
        assert_eq!(goes(&[]), None);
        assert_eq!(goes(&[("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.2", 1)]), Some(1));
        assert_eq!(goes(&[("192.0.2.1", 3), ("192.0.2.2", 1), ("192.0.2.2", 1)]), Some(0));
        // No source has more than one, but all but the first are of one network.
        let crowd = ["192.0.2.1", "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"];
        assert_eq!(goes(&crowd.map(|text| (text, 1))), Some(1));
    }

    #[test]
    fn whoever_brings_nothing_waits_longer_each_time() {
        let (mut fruitless, one) = (Fruitless::default(), source("192.0.2.1"));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            fruitless.note(one, now);
            let wait = (0_u64..).find(|&secs| !fruitless.has_to_wait(one, now + Duration::from_secs(secs)));
            waits.push(wait.unwrap());
            now += Duration::from_secs(*waits.last().unwrap());
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert!(!fruitless.has_to_wait(source("192.0.2.2"), now));
        fruitless.note(one, now);
        assert!(fruitless.has_to_wait(one, now));
        fruitless.forgive(one);
        assert!(!fruitless.has_to_wait(one, now) && fruitless.count(one, now) == 0);
        fruitless.note(one, now);
        assert_eq!(fruitless.count(one, now + limits::FRUITLESS_MEMORY), 0, "forgotten");
    }

    #[test]
    fn a_new_source_waits_for_what_its_network_has_done() {
        let (mut fruitless, now) = (Fruitless::default(), Instant::now());
        for number in 0..40 {
            fruitless.note(source(&format!("2001:db8:1:{number:x}::1")), now);
        }
        assert!(fruitless.has_to_wait(source("2001:db8:1:fff::1"), now));
        assert!(!fruitless.has_to_wait(source("2001:db8:2::1"), now));
    }

    #[test]
    fn a_source_fills_so_much_of_the_report_in_a_minute() {
        let (mut reported, now) = (Reported::default(), Instant::now());
        let mut told = Vec::new();
        for _ in 0..=limits::FAILURES_TOLD {
            told.push(reported.failure(source("192.0.2.1"), now));
        }
        let yes = told.iter().filter(|told| **told == ReportDecision::Yes).count();
        assert_eq!(yes + 1, usize::try_from(limits::FAILURES_TOLD).unwrap());
        assert_eq!(told[told.len() - 2..], [ReportDecision::Last, ReportDecision::No]);
        assert_eq!(reported.failure(source("192.0.2.2"), now), ReportDecision::Yes);
        assert_eq!(reported.test(source("192.0.2.1"), now), ReportDecision::Yes);
        let almost = now + Duration::from_secs(59);
        assert_eq!(reported.failure(source("192.0.2.1"), almost), ReportDecision::No);
        assert_eq!(reported.failure(source("192.0.2.1"), now + MINUTE), ReportDecision::Yes);
    }
}
