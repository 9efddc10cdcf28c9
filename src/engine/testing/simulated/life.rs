//! What both kinds of rings have in common: a temper, a clock that only waits move on, and the rule that a
//! loop gets somewhere.

use std::io;
use std::time::{Duration, Instant};

use super::dice::Dice;
use crate::engine::StopToken;

/// Waits in a row that may bring nothing while nothing new is asked for.
const IDLE_TURNS_MAX: u32 = 1000;
/// Waits of a whole run.
const TURNS_MAX: u64 = 20_000;

/// How the kernel behaves in one run.
#[derive(Debug)]
pub(super) struct Temper {
    /// Of a hundred waits so many end at once, with nothing submitted: EINTR, EAGAIN, EBUSY.
    interruptions: u64,
    /// Of a hundred submissions so many stop in the middle.
    pub(super) partial_submissions: u64,
    /// Of a hundred operations so many move less than they could.
    pub(super) short: u64,
    /// Of a hundred operations so many fail although nothing is wrong.
    pub(super) failures: u64,
    /// Of a hundred releases so many have to wait for the next turn.
    pub(super) late: u64,
    /// The turn from which the ring is unusable.
    breaks_at: Option<u64>,
    /// The turn at which somebody says stop.
    stops_at: Option<u64>,
    /// The turn from which the peer is gone.
    closes_at: Option<u64>,
    /// The turns, from and to, in which the peer takes and gives nothing.
    stalls: (u64, u64),
}

impl Temper {
    pub(super) fn throw(dice: &mut Dice) -> Self {
        let rarely = |dice: &mut Dice| dice.pick(&[0, 0, 5, 30]);
        let stall = dice.below(40);
        Self {
            interruptions: rarely(dice),
            partial_submissions: rarely(dice),
            short: dice.pick(&[0, 10, 50, 100]),
            failures: rarely(dice),
            late: dice.pick(&[0, 50, 90]),
            breaks_at: dice.perhaps(3, 40),
            stops_at: dice.perhaps(50, 60),
            closes_at: dice.perhaps(5, 40),
            stalls: if dice.chance(30) { (stall, stall + dice.below(60)) } else { (0, 0) },
        }
    }
}

/// A kernel while it lives.
pub(super) struct Life {
    pub(super) dice: Dice,
    pub(super) temper: Temper,
    pub(super) now: Instant,
    pub(super) turn: u64,
    stop: StopToken,
    idle_turns: u32,
    /// The last wait failed for good.
    pub(super) broken: bool,
}

impl Life {
    pub(super) fn new(mut dice: Dice, start: Instant, stop: StopToken) -> Self {
        let temper = Temper::throw(&mut dice);
        Self { dice, temper, now: start, turn: 0, stop, idle_turns: 0, broken: false }
    }

    /// Lets the run be over at its last turn, if nothing else ends it.
    pub(super) fn must_be_stopped(&mut self) {
        self.temper.stops_at.get_or_insert(60);
    }

    /// A wait begins. Says whether the kernel does anything in it.
    pub(super) fn begin_wait(&mut self) -> io::Result<bool> {
        self.turn += 1;
        self.idle_turns += 1;
        assert!(self.idle_turns < IDLE_TURNS_MAX, "the loop waits and waits");
        assert!(self.turn < TURNS_MAX, "the run does not end");
        if self.temper.stops_at.is_some_and(|turn| self.turn >= turn) {
            self.stop.set_at(self.now);
        }
        if self.temper.breaks_at.is_some_and(|turn| self.turn >= turn) {
            self.broken = true;
            return Err(io::Error::from_raw_os_error(libc::EBADR));
        }
        let percent = self.temper.interruptions;
        let works = !self.dice.chance(percent);
        if !works {
            self.now += Duration::from_micros(self.dice.below(100));
        }
        Ok(works)
    }

    /// Time passes: all of a wait that brings nothing, a part of one that brings something.
    pub(super) fn end_wait(&mut self, brings_something: bool, timeout: Duration) {
        let most = u64::try_from(timeout.as_micros()).unwrap();
        // A timer ends late rather than early.
        let micros = if brings_something { self.dice.below(most.clamp(1, 2000)) } else { most + 1 };
        self.now += Duration::from_micros(micros);
    }

    /// Something was asked for or delivered.
    pub(super) fn gets_somewhere(&mut self) {
        self.idle_turns = 0;
    }

    pub(super) fn peer_is_gone(&self) -> bool {
        self.temper.closes_at.is_some_and(|turn| self.turn >= turn)
    }

    pub(super) fn peer_stalls(&self) -> bool {
        (self.temper.stalls.0..self.temper.stalls.1).contains(&self.turn)
    }
}
