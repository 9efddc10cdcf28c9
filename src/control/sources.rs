//! Where clients come from, and how often one place may come.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::auth::host_of;

/// Time over which the tests of a source are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// Sources that are remembered. Each has had a test within a minute, so more of them are no single host.
const SOURCES_MAX: usize = 4096;

/// Who stands behind an address as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The source of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(host_of(address))
    }
}

/// Counts the tests of each source (`--max-tests-per-minute`).
#[derive(Debug)]
pub(super) struct Visits {
    /// Tests that a source may have within a minute; `None` for any number.
    most: Option<NonZeroU32>,
    recent: HashMap<Source, Visitor>,
}

#[derive(Debug, Default)]
struct Visitor {
    /// When its tests of the last minute began, the oldest first.
    tests: VecDeque<Instant>,
    /// It has been turned away since its last test.
    turned_away: bool,
}

/// What becomes of somebody who wants a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It may have one.
    Welcome,
    /// It has had its tests of this minute.
    TooMany {
        /// For the first time since its last test: the next ones are no news.
        is_news: bool,
    },
}

impl Visits {
    /// Nobody has come yet.
    pub(super) fn new(most: Option<NonZeroU32>) -> Self {
        Self { most, recent: HashMap::new() }
    }

    /// Counts a visit, if it is welcome.
    pub(super) fn note(&mut self, source: Source, now: Instant) -> Visit {
        let Some(most) = self.most else { return Visit::Welcome };
        let most = usize::try_from(most.get()).expect("a u32 fits a usize on Linux");
        if self.recent.len() >= SOURCES_MAX && !self.recent.contains_key(&source) {
            self.make_room(now);
        }
        let visitor = self.recent.entry(source).or_default();
        while visitor.tests.front().is_some_and(|&begun| now.duration_since(begun) >= MINUTE) {
            visitor.tests.pop_front();
        }
        if visitor.tests.len() >= most {
            let is_news = !std::mem::replace(&mut visitor.turned_away, true);
            return Visit::TooMany { is_news };
        }
        visitor.tests.push_back(now);
        visitor.turned_away = false;
        Visit::Welcome
    }

    /// Forgets whoever has not come for a minute, or else who has not come for the longest time.
    fn make_room(&mut self, now: Instant) {
        let last = |visitor: &Visitor| visitor.tests.back().copied();
        self.recent.retain(|_, visitor| last(visitor).is_some_and(|last| now.duration_since(last) < MINUTE));
        if self.recent.len() >= SOURCES_MAX {
            let oldest =
                self.recent.iter().min_by_key(|(_, visitor)| last(visitor)).map(|(source, _)| *source);
            oldest.map(|source| self.recent.remove(&source));
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
        let mut visits = Visits::new(NonZeroU32::new(2));
        let start = Instant::now();
        let mut come = |host: &str, secs| visits.note(source(host), start + Duration::from_secs(secs));
        assert_eq!(come("192.0.2.1", 0), Visit::Welcome);
        assert_eq!(come("192.0.2.1", 30), Visit::Welcome);
        assert_eq!(come("192.0.2.1", 31), Visit::TooMany { is_news: true });
        assert_eq!(come("192.0.2.1", 59), Visit::TooMany { is_news: false });
        assert_eq!(come("192.0.2.2", 59), Visit::Welcome);
        assert_eq!(come("192.0.2.1", 60), Visit::Welcome);
        assert_eq!(come("192.0.2.1", 61), Visit::TooMany { is_news: true });
        assert_eq!(come("192.0.2.1", 90), Visit::Welcome);
    }

    #[test]
    fn any_number_of_sources_takes_no_more_memory() {
        let mut visits = Visits::new(NonZeroU32::new(1));
        let start = Instant::now();
        for number in 0..10_000_u32 {
            let address = IpAddr::V4(number.into());
            let now = start + Duration::from_millis(number.into());
            assert_eq!(visits.note(Source::of(address), now), Visit::Welcome);
        }
        assert!(visits.recent.len() <= SOURCES_MAX, "{}", visits.recent.len());
        let last = Source::of(IpAddr::V4(9_999.into()));
        assert_eq!(visits.note(last, start + Duration::from_secs(11)), Visit::TooMany { is_news: true });
    }
}
