//! The rate that all tests of a server together may have (`--total-bitrate-limit`).
//!
//! A test that says its rate has it promised, but no more than its share of the whole, which is that of a
//! slot; one that does not may take what is left. When all together move too much it is the largest of those
//! that take more than was promised that ends. So nobody who keeps to a share is ever ended because of
//! others. What is promised and not used lapses within a second, so that it keeps nobody out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::RateLimit;
use crate::control::base::limits;

/// Time after which a promised rate is kept for a test only as far as the test uses it, so that one that
/// makes room because nothing has moved in it has nothing left.
const UNUSED: Duration = limits::FIRST_BYTE;

/// The rates of all tests. All copies are one.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limit: Option<RateLimit>,
    /// Most tests that may run side by side.
    slots: u64,
    shares: Rc<RefCell<Vec<Entry>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    began: Instant,
    promised_bits_per_second: u64,
    moved_bits_per_second: u64,
}

impl Entry {
    /// Bits per second that it moves beyond its promise.
    fn excess(&self) -> u64 {
        self.moved_bits_per_second.saturating_sub(self.promised_bits_per_second)
    }

    /// Bits per second that are kept for it: all of the promise at first, later at most twice its own rate.
    fn kept(&self, now: Instant) -> u64 {
        if now.duration_since(self.began) < UNUSED {
            return self.promised_bits_per_second;
        }
        self.promised_bits_per_second.min(self.moved_bits_per_second.saturating_mul(2))
    }
}

/// One test's share of the budget, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    number: u64,
    limit: RateLimit,
    shares: Rc<RefCell<Vec<Entry>>>,
}

impl Budget {
    /// The budget of a server for `slots` tests side by side, nothing of it promised yet. Without a limit no
    /// share is ever given.
    pub(crate) fn new(limit: Option<RateLimit>, slots: usize) -> Self {
        let slots = u64::try_from(slots).expect("a usize fits a u64").max(1);
        Self { limit, slots, shares: Rc::default() }
    }

    /// Checks that a test may ever have `asked` bits per second: 0 if it does not say its rate, `None` if its
    /// rate has no limit.
    ///
    /// # Errors
    /// [`OutOfBudget`] if that is more than all tests together may move.
    pub(crate) fn check(&self, asked: Option<u64>) -> Result<(), OutOfBudget> {
        let Some(limit) = self.limit else { return Ok(()) };
        asked.filter(|asked| *asked <= limit.bits_per_second).map(|_| ()).ok_or(OutOfBudget)
    }

    /// Promises test number `number`, which has a slot since `began`, the `asked` bits per second, or its
    /// share of the whole if that is less.
    ///
    /// # Errors
    /// [`OutOfBudget`] if less than `asked` is left, or nothing at all.
    pub(crate) fn promise(
        &self,
        number: u64,
        asked: Option<u64>,
        (began, now): (Instant, Instant),
    ) -> Result<Option<Share>, OutOfBudget> {
        self.check(asked)?;
        let (Some(limit), Some(asked)) = (self.limit, asked) else { return Ok(None) };
        let mut shares = self.shares.borrow_mut();
        let kept = shares.iter().map(|entry| u128::from(entry.kept(now))).sum::<u128>();
        if kept + u128::from(asked.max(1)) > u128::from(limit.bits_per_second) {
            return Err(OutOfBudget);
        }
        let promised_bits_per_second = asked.min(limit.bits_per_second / self.slots);
        shares.push(Entry { number, began, promised_bits_per_second, moved_bits_per_second: 0 });
        Ok(Some(Share { number, limit, shares: Rc::clone(&self.shares) }))
    }
}

/// Less of the budget is left than a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfBudget;

impl Share {
    /// The limit of all tests together.
    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Notes the rate of this test so far, in bits per second.
    pub(crate) fn note(&self, moved_bits_per_second: u64) {
        for entry in self.shares.borrow_mut().iter_mut().filter(|entry| entry.number == self.number) {
            entry.moved_bits_per_second = moved_bits_per_second;
        }
    }

    /// Notes the average rate of this test, in bits per second, and says whether this is the test that has to
    /// end.
    pub(crate) fn is_over(&self, moved_bits_per_second: u64) -> bool {
        self.note(moved_bits_per_second);
        let shares = self.shares.borrow();
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
    use super::*;

    fn budget(bits_per_second: u64, slots: usize) -> Budget {
        Budget::new(Some(RateLimit { bits_per_second, averaged_over: Duration::from_secs(1) }), slots)
    }

    #[test]
    fn what_is_promised_never_exceeds_the_limit() {
        let (budget, now) = (budget(100, 2), Instant::now());
        let first = budget.promise(1, Some(50), (now, now)).unwrap();
        assert_eq!(budget.promise(2, Some(51), (now, now)).unwrap_err(), OutOfBudget);
        let second = budget.promise(2, Some(50), (now, now)).unwrap();
        assert_eq!(budget.promise(3, Some(0), (now, now)).unwrap_err(), OutOfBudget, "nothing is left");
        drop(first);
        assert!(budget.promise(3, Some(50), (now, now)).is_ok());
        drop(second);
        for too_much in [None, Some(101), Some(u64::MAX)] {
            assert_eq!(budget.check(too_much).unwrap_err(), OutOfBudget);
            assert_eq!(budget.promise(4, too_much, (now, now)).unwrap_err(), OutOfBudget);
        }
        assert!(Budget::new(None, 1).promise(1, None, (now, now)).unwrap().is_none(), "no limit");
    }

    #[test]
    fn nobody_is_promised_more_than_a_share_and_what_is_not_used_lapses() {
        let (budget, now) = (budget(100, 4), Instant::now());
        let greedy: Vec<_> =
            (0..3).map(|number| budget.promise(number, Some(100 - 25 * number), (now, now))).collect();
        let shares: Vec<Share> = greedy.into_iter().map(|share| share.unwrap().unwrap()).collect();
        assert!(budget.promise(3, Some(26), (now, now)).is_err());
        let modest = budget.promise(3, Some(25), (now, now)).unwrap().unwrap();
        assert!(budget.promise(4, Some(1), (now, now)).is_err());
        let later = now + UNUSED;
        shares[0].note(10);
        modest.note(25);
        assert!(budget.promise(4, Some(56), (later, later)).is_err());
        assert!(budget.promise(4, Some(55), (later, later)).is_ok());
    }

    #[test]
    fn the_greediest_ends_and_nobody_who_keeps_to_its_word() {
        let (budget, now) = (budget(100, 1), Instant::now());
        let share = |number, asked| budget.promise(number, Some(asked), (now, now)).unwrap().unwrap();
        let (modest, small, large) = (share(1, 60), share(2, 0), share(3, 0));
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
