//! What all tests of a server together may move (`--total-bitrate-limit`).
//!
//! A test that says its rate has that much reserved for it; one that does not may take what is left. When all
//! together move too much it is the largest of those that take more than was reserved that ends. So nobody
//! who keeps to what it has asked for is ever ended because of others.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::RateLimit;

/// The rates of all tests. All copies are one.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limit: Option<RateLimit>,
    shares: Rc<RefCell<Vec<Entry>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    reserved_bits_per_second: u64,
    moved_bits_per_second: u64,
}

impl Entry {
    /// What it moves beyond what was reserved for it.
    fn excess(&self) -> u64 {
        self.moved_bits_per_second.saturating_sub(self.reserved_bits_per_second)
    }
}

/// What one test has of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    number: u64,
    limit: RateLimit,
    shares: Rc<RefCell<Vec<Entry>>>,
}

impl Budget {
    /// Nothing is reserved yet; without a limit nothing ever is.
    pub(super) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, shares: Rc::default() }
    }

    /// Reserves `asked` bits per second for test number `number`: 0 if it does not say, `None` if it is more
    /// than any number.
    ///
    /// # Errors
    /// There is not so much left, or nothing at all.
    pub(super) fn reserve(&self, number: u64, asked: Option<u64>) -> Result<Option<Share>, OutOfBudget> {
        let Some(limit) = self.limit else { return Ok(None) };
        let mut shares = self.shares.borrow_mut();
        let reserved = shares.iter().map(|entry| u128::from(entry.reserved_bits_per_second)).sum::<u128>();
        let asked = asked.ok_or(OutOfBudget)?;
        let wanted = reserved + u128::from(asked.max(1));
        if wanted > u128::from(limit.bits_per_second) {
            return Err(OutOfBudget);
        }
        shares.push(Entry { number, reserved_bits_per_second: asked, moved_bits_per_second: 0 });
        Ok(Some(Share { number, limit, shares: Rc::clone(&self.shares) }))
    }
}

/// There is not so much left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfBudget;

impl Share {
    /// The limit of all tests together.
    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Notes the average rate of this test; tells whether it is the one that has to end.
    pub(super) fn is_over(&self, moved_bits_per_second: u64) -> bool {
        let mut shares = self.shares.borrow_mut();
        for entry in shares.iter_mut().filter(|entry| entry.number == self.number) {
            entry.moved_bits_per_second = moved_bits_per_second;
        }
        let moved = shares.iter().map(|entry| u128::from(entry.moved_bits_per_second)).sum::<u128>();
        let greediest = shares.iter().max_by_key(|entry| entry.excess());
        moved > u128::from(self.limit.bits_per_second)
            && greediest.is_some_and(|entry| entry.number == self.number && entry.excess() > 0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.borrow_mut().retain(|entry| entry.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(bits_per_second: u64) -> Budget {
        Budget::new(Some(RateLimit { bits_per_second, averaged_over: Duration::from_secs(1) }))
    }

    #[test]
    fn what_is_reserved_never_exceeds_the_limit() {
        let budget = budget(100);
        let first = budget.reserve(1, Some(60)).unwrap();
        assert_eq!(budget.reserve(2, Some(41)).unwrap_err(), OutOfBudget);
        let second = budget.reserve(2, Some(40)).unwrap();
        assert_eq!(budget.reserve(3, Some(0)).unwrap_err(), OutOfBudget, "nothing is left");
        drop(first);
        assert!(budget.reserve(3, Some(60)).is_ok());
        drop(second);
        for too_much in [None, Some(u64::MAX)] {
            assert_eq!(budget.reserve(4, too_much).unwrap_err(), OutOfBudget);
        }
        assert!(Budget::new(None).reserve(1, None).unwrap().is_none(), "no limit");
    }

    #[test]
    fn the_greediest_ends_and_nobody_who_keeps_to_its_word() {
        let budget = budget(100);
        let modest = budget.reserve(1, Some(60)).unwrap().unwrap();
        let small = budget.reserve(2, Some(0)).unwrap().unwrap();
        let large = budget.reserve(3, Some(0)).unwrap().unwrap();
        assert!(!modest.is_over(60));
        assert!(!small.is_over(10));
        assert!(!large.is_over(30), "100 is allowed");
        assert!(large.is_over(31));
        assert!(!small.is_over(10));
        assert!(!modest.is_over(60));
        drop(large);
        assert!(!small.is_over(40));
        assert!(small.is_over(41), "it is the greediest now");
    }
}
