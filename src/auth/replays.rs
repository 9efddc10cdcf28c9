//! Tokens that were used already.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};

/// Most tokens that are remembered, of 40 bytes each.
const REMEMBERED_MAX: usize = 4096;

/// Remembers tokens so that none is accepted twice, since others may have seen it on its way. Each genuine
/// one is remembered for as long as its time would be accepted. If there are too many, those are forgotten
/// first whose time is farthest ahead: they come from wrong clocks, and would not be accepted for a long
/// time.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// The SHA-256 of a ciphertext, and the last second since 1970 in which its time is accepted.
    seen: HashMap<[u8; 32], i64>,
}

impl Replays {
    /// Whether this ciphertext is new at `now`. A genuine one is remembered until `until`; others are not, so
    /// that nobody can fill the memory without a password. One that there is no room for does not count as
    /// new. Times are in seconds since 1970.
    pub(super) fn is_first(&mut self, ciphertext: &[u8], is_genuine: bool, until: i64, now: i64) -> bool {
        let name = digest(&SHA256, ciphertext).as_ref().try_into().expect("SHA-256 has 32 bytes");
        self.seen.retain(|_, until| *until >= now);
        let is_first = !self.seen.contains_key(&name);
        let keep = is_genuine && is_first && until >= now;
        if keep && !self.has_room(until) {
            return false;
        }
        if keep {
            self.seen.insert(name, until);
        }
        is_first
    }

    /// Makes room for one more that is remembered until `until`, by forgetting one that would be remembered
    /// longer if need be, and says whether there is room.
    fn has_room(&mut self, until: i64) -> bool {
        if self.seen.len() < REMEMBERED_MAX {
            return true;
        }
        let farthest = self.seen.iter().max_by_key(|(_, until)| **until).map(|(name, until)| (*name, *until));
        match farthest {
            Some((name, its)) if its > until => self.seen.remove(&name).is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once() {
        let mut replays = Replays::default();
        assert!(replays.is_first(b"a", true, 110, 100));
        assert!(!replays.is_first(b"a", true, 110, 100));
        assert!(!replays.is_first(b"a", true, 110, 110));
        assert!(replays.is_first(b"b", true, 120, 110));
    }

    #[test]
    fn only_what_could_come_again_is_remembered() {
        let mut replays = Replays::default();
        assert!(replays.is_first(b"not genuine", false, 110, 100));
        assert!(replays.is_first(b"too old", true, 99, 100));
        assert!(replays.seen.is_empty());
        for number in 0..1000_i64 {
            assert!(replays.is_first(&number.to_be_bytes(), true, number + 10, number));
            assert!(replays.seen.len() <= 11);
        }
    }

    #[test]
    fn the_memory_is_bounded_and_what_could_come_again_soon_stays() {
        let mut replays = Replays::default();
        let mut first = |number: i64, until| replays.is_first(&number.to_be_bytes(), true, until, 100);
        assert!(first(0, 110));
        // The logins of somebody whose clock is centuries ahead.
        for number in 1..10_000 {
            first(number, 10_000_000_000 + number);
        }
        assert!(first(10_000, 120));
        assert!(!first(10_000, 120));
        assert!(!first(0, 110));
        for number in 20_000..30_000 {
            first(number, 120);
        }
        assert!(!first(30_000, 120), "one that cannot be remembered must not be good");
        assert!(!first(0, 110));
        assert_eq!(replays.seen.len(), REMEMBERED_MAX);
    }
}
