//! Tokens that were shown already.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};

/// Who sees a token on its way must not get in with it. Each one that was good is remembered for as long as
/// its time would be taken, so there are no more of them than users can log in meanwhile.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// The SHA-256 of a ciphertext, and the last second, since 1970, in which its time is taken.
    seen: HashMap<[u8; 32], i64>,
}

impl Replays {
    /// Whether this ciphertext is new. It is remembered until `until` if `is_genuine`, in seconds since 1970;
    /// nobody can fill the memory without a password.
    pub(super) fn is_first(&mut self, ciphertext: &[u8], is_genuine: bool, until: i64, now: i64) -> bool {
        let name = digest(&SHA256, ciphertext).as_ref().try_into().expect("SHA-256 has 32 bytes");
        self.seen.retain(|_, until| *until >= now);
        let is_first = !self.seen.contains_key(&name);
        if is_genuine && until >= now {
            self.seen.insert(name, until);
        }
        is_first
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
}
