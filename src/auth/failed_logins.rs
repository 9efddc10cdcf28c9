//! How many tokens of each host were refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Refusals within a minute after which no more tokens from that address are judged.
pub(super) const FAILED_LOGINS_PER_MINUTE: u32 = 10;
/// Seconds after the first refusal at which the count begins anew.
const SPAN_SECS: u64 = 60;
/// Most addresses that are remembered; beyond that the oldest one is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// Counts refusals for each host.
///
/// All hosts behind one address translator have the same address and fail together. That is why an address is
/// kept out for a minute at most, and has ten attempts in each.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    failed: HashMap<IpAddr, Failed>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When it failed for the first time, in seconds since 1970.
    since: i64,
    count: u32,
}

impl Failed {
    /// A clock that was set back by more than a span does not lengthen it.
    fn is_over(self, now: i64) -> bool {
        now.abs_diff(self.since) >= SPAN_SECS
    }
}

impl FailedLogins {
    /// Whether a token from this address is judged at `now`, in seconds since 1970.
    pub(super) fn may_try(&self, client: IpAddr, now: i64) -> bool {
        let failed = self.failed.get(&host_of(client)).filter(|failed| !failed.is_over(now));
        failed.is_none_or(|failed| failed.count < FAILED_LOGINS_PER_MINUTE)
    }

    /// Counts a token from this address that was refused at `now`, in seconds since 1970.
    pub(super) fn failed(&mut self, client: IpAddr, now: i64) {
        let client = host_of(client);
        self.failed.retain(|_, failed| !failed.is_over(now));
        if self.failed.len() >= ADDRESSES_MAX && !self.failed.contains_key(&client) {
            let oldest = self.failed.iter().min_by_key(|(_, failed)| failed.since).map(|(client, _)| *client);
            oldest.and_then(|oldest| self.failed.remove(&oldest));
        }
        self.failed.entry(client).or_insert(Failed { since: now, count: 0 }).count += 1;
    }
}

/// The host behind an address as far as limits go: the address itself with IPv4, its /64 network with IPv6,
/// since one host has all of that.
#[must_use]
pub fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: i64 = 1_795_498_104;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(failed_logins: &mut FailedLogins, client: &str, times: u32, now: i64) {
        (0..times).for_each(|_| failed_logins.failed(address(client), now));
    }

    #[test]
    fn ten_a_minute_and_then_none() {
        let mut failed_logins = FailedLogins::default();
        fail(&mut failed_logins, "192.0.2.1", 9, NOW);
        assert!(failed_logins.may_try(address("192.0.2.1"), NOW + 59));
        fail(&mut failed_logins, "192.0.2.1", 1, NOW + 59);
        assert!(!failed_logins.may_try(address("192.0.2.1"), NOW + 59));
        assert!(failed_logins.may_try(address("192.0.2.2"), NOW + 59));
        assert!(failed_logins.may_try(address("192.0.2.1"), NOW + 60));
        fail(&mut failed_logins, "192.0.2.1", 1, NOW + 60);
        assert!(failed_logins.may_try(address("192.0.2.1"), NOW + 61), "the count begins anew");
    }

    #[test]
    fn a_clock_that_is_set_keeps_nobody_out_for_long() {
        let mut failed_logins = FailedLogins::default();
        fail(&mut failed_logins, "192.0.2.1", 10, NOW);
        assert!(failed_logins.may_try(address("192.0.2.1"), NOW - 3600));
        fail(&mut failed_logins, "192.0.2.1", 10, i64::MAX);
        assert!(failed_logins.may_try(address("192.0.2.1"), i64::MIN));
    }

    #[test]
    fn who_has_a_whole_network_counts_as_one() {
        for (one, other, is_same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            let mut failed_logins = FailedLogins::default();
            fail(&mut failed_logins, one, 10, NOW);
            assert_eq!(failed_logins.may_try(address(other), NOW), !is_same, "{one} {other}");
        }
    }

    #[test]
    fn many_addresses_take_little_memory_and_the_newest_count() {
        let mut failed_logins = FailedLogins::default();
        for number in 0..10_000 {
            let client = Ipv4Addr::from_bits(number).into();
            let now = NOW + i64::from(number / 500);
            (0..10).for_each(|_| failed_logins.failed(client, now));
        }
        assert_eq!(failed_logins.failed.len(), ADDRESSES_MAX);
        assert!(!failed_logins.may_try(Ipv4Addr::from_bits(9_999).into(), NOW + 20));
    }
}
