//! Which tests get the slots of a server. It runs as many tests side by side as it has slots, and a set-up
//! holds none.
//!
//! Several set-ups go on at the same time, and the first whose streams are all there takes a slot. So silence
//! and slowness hold nothing that somebody else could have:
//!
//! - A server is full when all its slots are held by tests in which something moves. Until then new clients
//!   come in; from then on they hear that it is busy.
//! - A test in which nothing has moved after [`limits::FIRST_BYTE`] makes room for one whose streams are
//!   there. Later it may stand still for as long as it has moved, within [`limits::STILL_MAX`]. One that is
//!   over has its slot for its last messages, for [`limits::FIRST_BYTE`] again.
//! - A source whose set-ups and tests brought nothing, or had to make room, goes behind all others, and waits
//!   longer each time before it is heard again, as long as there are others.
//! - Nobody gets more than a share of the slots while somebody else was turned away a moment ago.
//! - There is a cap for the set-ups of each source and one for all; who has most makes room.
//!
//! This file only decides, and time is an argument; `router.rs` acts on the decisions.

use std::time::{Duration, Instant};

use super::sources::{Fruitless, Network, Source, TurnedAway, eviction_victim};
use crate::control::base::limits;

/// The slots of a server, and the tests that have one or want one.
#[derive(Debug)]
pub(super) struct Slots {
    count: usize,
    claims: Vec<SlotClaim>,
    fruitless: Fruitless,
    turned_away: TurnedAway,
    /// No further test gets a slot.
    closed: bool,
}

/// A test from its cookie to its end.
#[derive(Debug)]
struct SlotClaim {
    id: u64,
    source: Source,
    stage: Stage,
    /// Number of connections that it holds.
    connections: usize,
    /// Whether it is not held against the source if the test moves nothing, or has been already.
    excused: bool,
}

/// How far a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Some of its streams have not come yet.
    SetUp,
    /// All of its streams are there since this moment, and it waits for a slot.
    Complete(Instant),
    /// It has a slot, and its streams run.
    Running(Progress),
    /// It still has a slot, but its streams are over since this moment: only messages are left.
    Ending(Instant),
    /// It has made room for another one, and has a slot until it is gone.
    Displaced,
    /// It has made room for another one, and has no slot any more: its last messages take long.
    Lingering,
    /// It was told to go, and has no slot.
    Going,
}

/// When bytes have moved in a test that has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    since: Instant,
    /// The last check that found that bytes had moved; `None` before the first byte.
    moved: Option<Instant>,
    /// Longest time between two blocks that the client has asked for.
    pause: Duration,
}

impl Progress {
    /// The moment until which it may stand still.
    fn until(self) -> Instant {
        match self.moved {
            None => self.since + limits::FIRST_BYTE,
            Some(moved) => {
                let as_long = (moved - self.since).clamp(limits::FIRST_BYTE, limits::STILL_MAX);
                moved + as_long + self.pause.min(limits::STILL_MAX)
            }
        }
    }

    fn is_moving(self, now: Instant) -> bool {
        self.moved.is_some() && now < self.until()
    }
}

/// The answer to a new client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It may begin its set-up.
    In {
        /// Number of the set-up that has to end for it, if there are too many.
        evicted: Option<u64>,
    },
    /// It hears that the server is busy.
    Refused,
}

/// The answer to a test whose streams are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets a slot.
    Takes,
    /// The server is busy.
    Busy,
    /// It has to ask again when something changes, or at this moment if there is one.
    Waits(Option<Instant>),
    /// It has to ask again when the test with this number is gone, which has to make room.
    Displaces(u64),
}

impl Slots {
    /// `count` slots, all of them free.
    pub(crate) fn new(count: usize) -> Self {
        let (fruitless, turned_away) = (Fruitless::default(), TurnedAway::default());
        Self { count, claims: Vec::new(), fruitless, turned_away, closed: false }
    }

    /// Whether every slot is held by a test in which bytes move.
    pub(super) fn are_full(&self, now: Instant) -> bool {
        let moving = self.claims.iter().filter(|claim| claim.is_moving(now)).count();
        self.closed || moving >= self.count
    }

    /// Whether any test has a slot.
    pub(super) fn are_empty(&self) -> bool {
        self.taken() == 0
    }

    /// Gives no further test a slot; returns the numbers of the set-ups that have to end.
    pub(crate) fn close(&mut self) -> Vec<u64> {
        self.closed = true;
        let mut gone = Vec::new();
        for claim in self.claims.iter_mut().filter(|claim| claim.stage.is_evictable()) {
            claim.stage = Stage::Going;
            gone.push(claim.id);
        }
        gone
    }

    /// Registers the test of a new client, with this number, if it may begin its set-up.
    pub(super) fn enter(&mut self, id: u64, source: Source, now: Instant) -> Entered {
        if self.are_full(now) {
            self.turned_away.note(source, now);
            return Entered::Refused;
        }
        if self.fruitless.has_to_wait(source, now) && self.has_others(source.network(), now) {
            return Entered::Refused;
        }
        let evicted = self.make_room(source);
        evicted.into_iter().for_each(|evicted| self.claim(evicted).stage = Stage::Going);
        self.claims.push(SlotClaim { id, source, stage: Stage::SetUp, connections: 1, excused: false });
        Entered::In { evicted }
    }

    /// Ends a set-up for want of descriptors, the oldest one of the source that holds most of them; returns
    /// its number.
    pub(super) fn evict(&mut self) -> Option<u64> {
        let evictable = self.claims.iter().filter(|claim| claim.stage.is_evictable());
        let goes = eviction_victim(evictable.clone().map(|claim| (claim.source, claim.connections)))?;
        let evicted = evictable.map(|claim| claim.id).nth(goes)?;
        self.claim(evicted).stage = Stage::Going;
        Some(evicted)
    }

    /// Notes that a data connection of this test has come.
    pub(super) fn add_connection(&mut self, id: u64) {
        self.claim(id).connections += 1;
    }

    /// Decides whether a test whose streams are all there gets a slot.
    pub(super) fn decide(&mut self, id: u64, now: Instant) -> Verdict {
        let claim = self.claim(id);
        if claim.stage == Stage::SetUp {
            claim.stage = Stage::Complete(now);
        }
        let source = claim.source;
        loop {
            let verdict = self.verdict(id, source, now);
            match verdict {
                Verdict::Takes => {
                    let progress = Progress { since: now, moved: None, pause: Duration::ZERO };
                    self.claim(id).stage = Stage::Running(progress);
                    self.turned_away.forget(source);
                }
                Verdict::Busy => {
                    let claim = self.claim(id);
                    (claim.stage, claim.excused) = (Stage::Going, true);
                    self.turned_away.note(source, now);
                }
                Verdict::Displaces(other) if self.displace(other, now) => continue,
                Verdict::Displaces(_) | Verdict::Waits(_) => {}
            }
            return verdict;
        }
    }

    /// Notes that bytes have moved in this test, whose client has asked for pauses of up to `pause` between
    /// them.
    pub(crate) fn moves(&mut self, id: u64, pause: Duration, now: Instant) {
        // A test that was told to end has no way back.
        if let Stage::Running(progress) = &mut self.claim(id).stage {
            (progress.moved, progress.pause) = (Some(now), pause);
        }
    }

    /// Notes that the streams of this test are over; `has_moved` says whether any byte has moved.
    pub(crate) fn ends(&mut self, id: u64, has_moved: bool, now: Instant) {
        let claim = self.claim(id);
        if matches!(claim.stage, Stage::Running(_)) && has_moved {
            claim.stage = Stage::Ending(now);
        }
    }

    /// Does not hold it against the source of this test that it moves nothing.
    pub(crate) fn excuse(&mut self, id: u64) {
        self.claim(id).excused = true;
    }

    /// Removes a test that is over.
    pub(crate) fn leave(&mut self, id: u64, now: Instant) {
        let Some(index) = self.claims.iter().position(|claim| claim.id == id) else { return };
        let claim = self.claims.remove(index);
        match claim.stage {
            Stage::Ending(_) => self.fruitless.forgive(claim.source),
            Stage::Running(Progress { moved: Some(_), .. }) => {}
            _ if claim.excused => {}
            _ => self.fruitless.note(claim.source, now),
        }
    }

    /// Has a test make room, and says whether its slot is free at once. It is held against its source at
    /// once: tests of the same source that wait would take the slot otherwise.
    fn displace(&mut self, id: u64, now: Instant) -> bool {
        let claim = self.claim(id);
        let is_ending = matches!(claim.stage, Stage::Ending(_));
        claim.stage = if is_ending { Stage::Lingering } else { Stage::Displaced };
        claim.excused = true;
        let source = claim.source;
        self.fruitless.note(source, now);
        is_ending
    }

    fn verdict(&self, id: u64, source: Source, now: Instant) -> Verdict {
        let Some(rank) = self.rank(id, now) else { return Verdict::Busy };
        if self.closed {
            return Verdict::Busy;
        }
        let free = self.count.saturating_sub(self.taken());
        if free > 0 {
            return match rank {
                _ if self.has_its_share(source.network(), free, now) => Verdict::Busy,
                first if first < free => Verdict::Takes,
                _ => Verdict::Waits(None),
            };
        }
        let displaced = self.claims.iter().filter(|claim| claim.stage == Stage::Displaced).count();
        if rank < displaced {
            return Verdict::Waits(None);
        }
        let makes_room = self.claims.iter().filter_map(|claim| match claim.stage {
            Stage::Running(progress) if !progress.is_moving(now) => Some((progress.until(), claim.id)),
            Stage::Ending(since) => Some((since + limits::FIRST_BYTE, claim.id)),
            _ => None,
        });
        match makes_room.min() {
            Some((until, other)) if now >= until => Verdict::Displaces(other),
            Some((until, _)) => Verdict::Waits(Some(until)),
            None if displaced > 0 => Verdict::Waits(None),
            None => Verdict::Busy,
        }
    }

    /// The place of a test among those that wait for a slot, from 0; `None` if it was told to end.
    fn rank(&self, id: u64, now: Instant) -> Option<usize> {
        let mut waiting: Vec<_> = self
            .claims
            .iter()
            .filter_map(|claim| match claim.stage {
                Stage::Complete(since) => Some((self.fruitless.count(claim.source, now), since, claim.id)),
                _ => None,
            })
            .collect();
        waiting.sort_unstable();
        waiting.iter().position(|&(.., waits)| waits == id)
    }

    /// Whether the `free` slots are left to other networks, which have less.
    fn has_its_share(&self, network: Network, free: usize, now: Instant) -> bool {
        let own = self.of(network);
        let complete = self.claims.iter().filter_map(|claim| {
            let waits = matches!(claim.stage, Stage::Complete(_)) && claim.source.network() != network;
            (waits && self.fruitless.count(claim.source, now) == 0).then(|| claim.source.network())
        });
        let mut others: Vec<Network> = complete.chain(self.turned_away.others(network, now)).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|other| self.of(*other) < own);
        let mut running: Vec<Network> = self
            .claims
            .iter()
            .filter(|claim| claim.stage.has_slot())
            .map(|claim| claim.source.network())
            .filter(|running| *running != network && !others.contains(running))
            .collect();
        running.sort_unstable();
        running.dedup();
        let share = (self.count / (1 + others.len() + running.len())).max(1);
        // Clients that were turned away keep at most half of the slots free.
        own >= share && free <= others.len().min(self.count / 2)
    }

    fn has_others(&self, network: Network, now: Instant) -> bool {
        self.claims.iter().any(|claim| claim.source.network() != network)
            || self.turned_away.others(network, now).next().is_some()
    }

    fn make_room(&self, source: Source) -> Option<u64> {
        let evictable = || self.claims.iter().filter(|claim| claim.stage.is_evictable());
        let mut own = evictable().filter(|claim| claim.source == source);
        if own.clone().count() >= self.count + limits::SET_UPS_OF_A_SOURCE {
            return own.next().map(|claim| claim.id);
        }
        if evictable().count() < limits::SET_UPS {
            return None;
        }
        let goes = eviction_victim(evictable().map(|claim| (claim.source, 1)))?;
        evictable().nth(goes).map(|claim| claim.id)
    }

    /// Number of tests of this network that have a slot.
    fn of(&self, network: Network) -> usize {
        self.claims.iter().filter(|claim| claim.stage.has_slot() && claim.source.network() == network).count()
    }

    fn taken(&self) -> usize {
        self.claims.iter().filter(|claim| claim.stage.has_slot()).count()
    }

    fn claim(&mut self, id: u64) -> &mut SlotClaim {
        self.claims.iter_mut().find(|claim| claim.id == id).expect("a test is here until it is over")
    }
}

impl SlotClaim {
    fn is_moving(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Running(progress) if progress.is_moving(now))
    }
}

impl Stage {
    /// Whether it holds connections, and nothing that anybody has measured is lost with it.
    fn is_evictable(self) -> bool {
        matches!(self, Self::SetUp | Self::Complete(_) | Self::Lingering)
    }

    fn has_slot(self) -> bool {
        matches!(self, Self::Running(_) | Self::Ending(_) | Self::Displaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test of the source with this number may begin its set-up, and has all its streams.
    fn complete(slots: &mut Slots, id: u64, last: u8, now: Instant) -> Verdict {
        assert_eq!(enter(slots, id, last, now), Entered::In { evicted: None }, "{id}");
        slots.decide(id, now)
    }

    fn enter(slots: &mut Slots, id: u64, last: u8, now: Instant) -> Entered {
        slots.enter(id, source(last), now)
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn run(slots: &mut Slots, id: u64, last: u8, now: Instant) {
        assert_eq!(complete(slots, id, last, now), Verdict::Takes, "{id}");
        slots.moves(id, Duration::ZERO, now);
    }

    #[test]
    fn a_set_up_holds_no_slot_and_the_first_with_all_streams_takes_it() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        for id in 1..4 {
            assert_eq!(enter(&mut slots, id, 1, now), Entered::In { evicted: None });
        }
        run(&mut slots, 4, 2, now);
        assert!(slots.are_full(now));
        assert_eq!(enter(&mut slots, 5, 3, now), Entered::Refused, "at once");
        assert_eq!(slots.decide(1, now), Verdict::Busy);
        slots.leave(4, now);
        assert!(slots.are_empty() && !slots.are_full(now));
        assert_eq!(slots.decide(2, now), Verdict::Takes);
    }

    #[test]
    fn a_test_in_which_nothing_moves_makes_room() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        assert_eq!(complete(&mut slots, 1, 1, now), Verdict::Takes);
        let then = now + limits::FIRST_BYTE;
        assert_eq!(complete(&mut slots, 2, 2, now), Verdict::Waits(Some(then)));
        assert_eq!(complete(&mut slots, 3, 1, now), Verdict::Waits(Some(then)));
        assert_eq!(complete(&mut slots, 4, 2, now), Verdict::Waits(Some(then)));
        assert_eq!(slots.decide(3, then), Verdict::Displaces(1));
        assert_eq!(slots.decide(2, then), Verdict::Waits(None), "until it is gone");
        slots.moves(1, Duration::ZERO, then);
        slots.leave(1, then);
        assert_eq!(slots.decide(3, then), Verdict::Waits(None), "another one of its source is behind");
        assert_eq!(slots.decide(2, then), Verdict::Takes);
        slots.moves(2, Duration::ZERO, then);
        assert!(slots.are_full(then));
        assert_eq!(slots.decide(4, then), Verdict::Busy);
        assert_eq!(slots.decide(4, then), Verdict::Busy, "it was told to go");
        slots.leave(2, then);
        assert!(!slots.are_full(then));
    }

    #[test]
    fn a_test_may_stand_still_for_as_long_as_it_has_moved_and_as_its_pace_is_slow() {
        let second = Duration::from_secs(1);
        for (moved, pause, still) in [
            (Duration::ZERO, Duration::ZERO, limits::FIRST_BYTE),
            (5 * second, Duration::ZERO, 5 * second),
            (3600 * second, Duration::ZERO, limits::STILL_MAX),
            (Duration::ZERO, 3 * second, limits::FIRST_BYTE + 3 * second),
            (3600 * second, 3600 * second, 2 * limits::STILL_MAX),
        ] {
            let (mut slots, now) = (Slots::new(1), Instant::now());
            assert_eq!(complete(&mut slots, 1, 1, now), Verdict::Takes);
            slots.moves(1, pause, now + moved);
            let until = now + moved + still;
            let nearly = until - Duration::from_millis(1);
            assert!(slots.are_full(nearly) && !slots.are_full(until), "{moved:?} {pause:?}");
            assert_eq!(complete(&mut slots, 2, 2, until), Verdict::Displaces(1));
        }
    }

    #[test]
    fn a_test_whose_last_words_take_long_makes_room() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        run(&mut slots, 1, 1, now);
        slots.ends(1, true, now);
        assert!(!slots.are_full(now) && !slots.are_empty());
        let then = now + limits::FIRST_BYTE;
        assert_eq!(complete(&mut slots, 2, 2, now), Verdict::Waits(Some(then)));
        assert_eq!(slots.decide(2, then), Verdict::Takes, "it goes on without a slot");
        assert_eq!(slots.fruitless.count(source(1), then), 1);
        assert_eq!(slots.evict(), Some(1), "and without a right to stay");
        // A short test is over before it is seen to move.
        slots.ends(2, true, then);
        slots.leave(2, then);
        assert_eq!(slots.fruitless.count(source(2), then), 0);
    }

    #[test]
    fn nobody_gets_a_slot_of_a_server_that_is_closed() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        run(&mut slots, 1, 1, now);
        slots.ends(1, true, now);
        assert_eq!(enter(&mut slots, 2, 2, now), Entered::In { evicted: None });
        assert!(matches!(complete(&mut slots, 3, 3, now), Verdict::Waits(_)));
        assert_eq!(slots.close(), [2, 3]);
        slots.leave(1, now);
        assert_eq!(slots.decide(3, now), Verdict::Busy);
        assert_eq!(enter(&mut slots, 4, 4, now), Entered::Refused);
    }

    #[test]
    fn whoever_has_brought_nothing_goes_behind_others_and_waits() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        for id in 1..5 {
            assert_eq!(complete(&mut slots, id, 1, now), Verdict::Takes, "{id}");
            slots.leave(id, now);
        }
        // Alone it is heard all the same.
        assert_eq!(enter(&mut slots, 5, 1, now), Entered::In { evicted: None });
        assert_eq!(enter(&mut slots, 6, 2, now), Entered::In { evicted: None });
        assert_eq!(enter(&mut slots, 7, 1, now), Entered::Refused);
        assert_eq!(enter(&mut slots, 8, 3, now), Entered::In { evicted: None });
        assert_eq!(complete(&mut slots, 9, 3, now), Verdict::Takes);
        // The one that has waited longer is behind.
        let then = now + limits::FIRST_BYTE;
        assert!(matches!(slots.decide(5, now), Verdict::Waits(_)));
        assert!(matches!(slots.decide(6, then), Verdict::Displaces(9)));
        slots.leave(9, then);
        assert_eq!(slots.decide(5, then), Verdict::Waits(None));
        assert_eq!(slots.decide(6, then), Verdict::Takes);
        slots.moves(6, Duration::ZERO, then);
        assert_eq!(slots.decide(5, then), Verdict::Busy);
        // Busy is nobody's fault.
        slots.leave(5, then);
        assert_eq!(slots.fruitless.count(source(1), then), 4);
    }

    #[test]
    fn who_is_alone_has_all_slots_and_who_waits_has_a_share() {
        let (mut slots, now) = (Slots::new(4), Instant::now());
        for id in 0..4 {
            run(&mut slots, id, 1, now);
        }
        assert_eq!(enter(&mut slots, 10, 2, now), Entered::Refused);
        slots.leave(0, now);
        // The one that was turned away may come again.
        assert_eq!(complete(&mut slots, 11, 1, now), Verdict::Busy);
        run(&mut slots, 12, 2, now);
        slots.leave(1, now);
        run(&mut slots, 13, 1, now);
        slots.leave(2, now);
        assert_eq!(enter(&mut slots, 14, 1, now), Entered::In { evicted: None });
        assert_eq!(slots.decide(14, now + limits::WAITS), Verdict::Takes);
    }

    #[test]
    fn whoever_fills_the_server_makes_room_by_itself() {
        let (mut slots, now) = (Slots::new(1), Instant::now());
        let most = u64::try_from(1 + limits::SET_UPS_OF_A_SOURCE).unwrap();
        for id in 0..most {
            assert_eq!(enter(&mut slots, id, 1, now), Entered::In { evicted: None });
        }
        assert_eq!(enter(&mut slots, most, 1, now), Entered::In { evicted: Some(0) });
        let (mut slots, all) = (Slots::new(1), u64::try_from(limits::SET_UPS).unwrap());
        for id in 0..all {
            let last = u8::try_from(1 + id / 10).unwrap();
            assert_eq!(enter(&mut slots, id, last, now), Entered::In { evicted: None });
        }
        assert_eq!(enter(&mut slots, all, 99, now), Entered::In { evicted: Some(0) });
        for _ in 0..20 {
            slots.add_connection(77);
        }
        assert_eq!(slots.evict(), Some(70), "the oldest of the source that has most connections");
        assert_eq!(slots.evict(), Some(71), "and then the next one of it");
    }
}
