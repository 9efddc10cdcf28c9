//! A kernel for senders that knows who owns each piece of memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::life::Life;
use crate::engine::UdpJob;
use crate::protocol::DatagramHeader;
use crate::sys::uring::{AnyRing, Completion, SendRing, Token};

/// The longest that a send by reference is held back, unless it is for ever. Shorter than any loop waits.
const HELD_MAX: Duration = Duration::from_millis(400);

/// What the peer got and what the loop was told, seen from outside.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes that the peer got.
    pub(super) bytes: u64,
    /// Numbers of the datagrams that the peer got, in this order.
    pub(super) sequences: Vec<u64>,
    /// Bytes of sends by reference whose result has said so.
    pub(super) by_reference_bytes: u64,
    /// Bytes of these whose notification has said that they were copied.
    pub(super) copied_bytes: u64,
    /// The peer is gone, and a send was told so.
    pub(super) failed: bool,
    /// A send was told that the network refuses it for the moment.
    pub(super) refused: bool,
    /// The datagrams may have got out of order: a submission was cut, so sends that should be linked were
    /// not.
    pub(super) order_unknown: bool,
    /// The ring failed.
    pub(super) broken: bool,
    /// Operations that the loop has not seen the end of.
    pub(super) in_flight: u32,
    /// Of these, sends by reference that are never released.
    pub(super) never_released: u32,
}

/// What the kernel cannot do in this run, and says so each time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    /// Sends by reference fail with this.
    pub(super) by_reference: Option<i32>,
    /// Sends of several datagrams fail with this.
    pub(super) segmentation: Option<i32>,
    /// Of a hundred sends by reference so many are never released.
    pub(super) releases: u64,
}

/// What kind of memory the sends come from.
pub(super) struct Slots {
    pub(super) udp: UdpJob,
    pub(super) datagram_bytes: usize,
    pub(super) count: usize,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy)]
struct Send {
    token: Token,
    bytes: u32,
    zero_copy: bool,
    linked: bool,
}

struct Held {
    token: Token,
    bytes: u32,
    since: Instant,
    for_ever: bool,
}

/// The number of a send.
fn number(token: Token) -> usize {
    match token {
        Token::Send(number) | Token::SendSlot(number) => number,
        Token::Receive | Token::Cancel => panic!("{token:?} is no send"),
    }
}

pub(super) struct HostileSendRing {
    life: Life,
    slots: Option<Slots>,
    memory: Vec<Vec<u8>>,
    refusals: Refusals,
    /// By the number of a send: an operation was pushed, and its last completion has not been taken.
    busy: Vec<bool>,
    /// Pushed, and not yet seen by the kernel.
    queued: VecDeque<Send>,
    /// The kernel has them, in this order.
    accepted: VecDeque<Send>,
    /// The result is there, the memory is not free.
    held: Vec<Held>,
    posted: VecDeque<Completion>,
    /// The send before has failed, and was linked to the one to come.
    chain_failed: bool,
    cancels: bool,
    ledger: Rc<RefCell<Ledger>>,
}

impl HostileSendRing {
    pub(super) fn new(life: Life, slots: Option<Slots>, refusals: Refusals) -> (Self, Rc<RefCell<Ledger>>) {
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let (count, bytes) = slots.as_ref().map_or((0, 0), |slots| (slots.count, slots.bytes));
        let ring = Self {
            life,
            slots,
            memory: vec![vec![0; bytes]; count],
            refusals,
            busy: Vec::new(),
            queued: VecDeque::new(),
            accepted: VecDeque::new(),
            held: Vec::new(),
            posted: VecDeque::new(),
            chain_failed: false,
            cancels: false,
            ledger: Rc::clone(&ledger),
        };
        (ring, ledger)
    }

    fn push(&mut self, send: Send) {
        let index = number(send.token);
        self.busy.resize(self.busy.len().max(index + 1), false);
        assert!(!self.busy[index], "slot {index} is used again before the kernel has let go of it");
        assert!(send.bytes > 0, "a send of nothing");
        self.busy[index] = true;
        self.life.gets_somewhere();
        self.queued.push_back(send);
        self.ledger.borrow_mut().in_flight += 1;
    }

    /// The kernel takes what was pushed, or the beginning of it.
    fn submit(&mut self) {
        let mut count = self.queued.len();
        if count > 0 && self.life.dice.chance(self.life.temper.partial_submissions) {
            count = self.life.dice.index(count + 1);
            self.ledger.borrow_mut().order_unknown = true;
        }
        self.accepted.extend(self.queued.drain(..count));
        // A chain ends with the submission.
        if let Some(last) = self.accepted.back_mut() {
            last.linked &= self.queued.is_empty();
        }
    }

    /// Some of what was accepted is done.
    fn work(&mut self, wanted: usize) {
        let there = self.accepted.len();
        let some = self.life.dice.index(there + 1);
        let mut left = self.life.dice.pick(&[wanted, some, there]);
        while left > 0 && (self.cancels || !self.life.peer_stalls()) {
            let Some(send) = self.accepted.pop_front() else { break };
            self.finish(send);
            left -= 1;
        }
        self.cancels &= !(self.accepted.is_empty() && self.queued.is_empty());
    }

    fn finish(&mut self, send: Send) {
        let result = self.result(send);
        self.chain_failed = send.linked && result < 0;
        if let Ok(taken) = u32::try_from(result) {
            self.arrive(send, taken);
        }
        // Both an error and a success may come with and without a notification.
        let more = send.zero_copy && self.life.dice.chance(if result < 0 { 50 } else { 95 });
        if more {
            let bytes = u32::try_from(result).unwrap_or(0);
            let for_ever = bytes > 0 && self.life.dice.chance(self.refusals.releases);
            let mut ledger = self.ledger.borrow_mut();
            ledger.never_released += u32::from(for_ever);
            ledger.by_reference_bytes += u64::from(bytes);
            self.held.push(Held { token: send.token, bytes, since: self.life.now, for_ever });
        }
        self.post(Completion { token: send.token, result, more, ..Completion::default() });
    }

    fn result(&mut self, send: Send) -> i32 {
        let dice = &mut self.life.dice;
        if self.chain_failed || (self.cancels && dice.chance(80)) {
            return -libc::ECANCELED;
        }
        let is_udp = self.slots.is_some();
        if let Some(errno) = self.refusals.by_reference.filter(|_| send.zero_copy) {
            return -errno;
        }
        let datagrams = self.datagrams(send);
        if let Some(errno) = self.refusals.segmentation.filter(|_| datagrams > 1) {
            // Where the stream is stopped before it can do without, nothing was sent at all.
            self.ledger.borrow_mut().refused = true;
            return -errno;
        }
        if self.life.peer_is_gone() {
            self.ledger.borrow_mut().failed = true;
            let dice = &mut self.life.dice;
            let errno = if is_udp { libc::EPIPE } else { dice.pick(&[libc::EPIPE, libc::ECONNRESET]) };
            return -errno;
        }
        let dice = &mut self.life.dice;
        if dice.chance(self.life.temper.failures) {
            let tcp = [libc::EAGAIN, libc::EINTR];
            let busy = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS];
            let network = [libc::ECONNREFUSED, libc::EMSGSIZE, libc::EPROTO, libc::EACCES, libc::EPERM];
            return -match (is_udp, dice.chance(50)) {
                (false, _) => dice.pick(&tcp),
                (true, false) => dice.pick(&busy),
                (true, true) => {
                    self.ledger.borrow_mut().refused = true;
                    dice.pick(&network)
                }
            };
        }
        let full = i32::try_from(send.bytes).unwrap();
        let is_short = !is_udp && dice.chance(self.life.temper.short);
        if is_short { i32::try_from(1 + dice.below(u64::from(send.bytes))).unwrap() } else { full }
    }

    fn datagrams(&self, send: Send) -> usize {
        let bytes = usize::try_from(send.bytes).unwrap();
        self.slots.as_ref().map_or(1, |slots| bytes.div_ceil(slots.datagram_bytes))
    }

    /// The peer gets it, as the memory is now.
    fn arrive(&mut self, send: Send, bytes: u32) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.bytes += u64::from(bytes);
        let Some(slots) = &self.slots else { return };
        let sent = &self.memory[number(send.token)][..usize::try_from(bytes).unwrap()];
        for datagram in sent.chunks(slots.datagram_bytes) {
            let header = DatagramHeader::read(slots.udp.counters_64bit, datagram);
            ledger.sequences.push(header.expect("a whole datagram").sequence);
        }
    }

    /// Lets go of some of what is held.
    fn release(&mut self) {
        let (now, late) = (self.life.now, self.life.temper.late);
        let held = std::mem::take(&mut self.held);
        for one in held {
            let overdue = now.duration_since(one.since) >= HELD_MAX;
            if one.for_ever || (!overdue && self.life.dice.chance(late)) {
                self.held.push(one);
                continue;
            }
            let copied = self.life.dice.chance(50);
            let mut ledger = self.ledger.borrow_mut();
            ledger.copied_bytes += if copied { u64::from(one.bytes) } else { 0 };
            drop(ledger);
            let notification = Completion { token: one.token, notification: true, ..Completion::default() };
            self.post(Completion { copied, ..notification });
        }
    }

    /// Puts a completion anywhere into the queue, but not before an earlier one of the same operation.
    fn post(&mut self, completion: Completion) {
        let before = self.posted.iter().rposition(|posted| posted.token == completion.token);
        let earliest = before.map_or(0, |place| place + 1);
        let place = earliest + self.life.dice.index(self.posted.len() - earliest + 1);
        self.posted.insert(place, completion);
    }
}

impl AnyRing for HostileSendRing {
    fn now(&self) -> Instant {
        self.life.now
    }

    fn pause(&mut self, time: Duration) {
        self.life.now += time;
    }

    fn wait_for(&mut self, completions: usize, timeout: Duration) -> io::Result<()> {
        let works = self.life.begin_wait();
        self.ledger.borrow_mut().broken |= works.is_err();
        if works? {
            self.submit();
            self.work(completions.max(1));
            self.release();
            self.life.end_wait(!self.posted.is_empty(), timeout);
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let completion = self.posted.pop_front()?;
        self.life.gets_somewhere();
        if !completion.more {
            self.busy[number(completion.token)] = false;
            self.ledger.borrow_mut().in_flight -= 1;
        }
        Some(completion)
    }

    fn in_flight(&self) -> u32 {
        self.ledger.borrow().in_flight
    }

    fn cancel_all(&mut self) {
        // What is still queued is submitted first and then cancelled.
        self.cancels = true;
    }
}

impl SendRing for HostileSendRing {
    fn push_send(&mut self, bytes: u32, number: usize) {
        self.push(Send { token: Token::Send(number), bytes, zero_copy: false, linked: false });
    }

    fn push_send_zc(&mut self, bytes: u32, number: usize) {
        self.push(Send { token: Token::Send(number), bytes, zero_copy: true, linked: false });
    }

    fn push_send_slot(&mut self, slot: usize, bytes: u32, zero_copy: bool, linked: bool) {
        self.push(Send { token: Token::SendSlot(slot), bytes, zero_copy, linked });
    }

    fn is_busy(&self, slot: usize) -> bool {
        self.busy.get(slot).is_some_and(|&busy| busy)
    }

    fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        (!self.is_busy(slot)).then(|| &mut self.memory[slot][..])
    }
}
