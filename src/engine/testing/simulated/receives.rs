//! A kernel for receivers that knows who owns each buffer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::life::Life;
use crate::engine::adapt::Adaptation;
use crate::engine::udp::Stamper;
use crate::sys::Message;
use crate::sys::uring::{AnyRing, Completion, ReceiveRing};

/// Failures in a row for no reason: a kernel that always fails does not receive.
const FAILURES_MAX: u32 = 4;
/// Bytes that a plain receive takes at most, and how long it waits.
const PLAIN_BYTES: u64 = 10_000;
const PLAIN_WAIT: Duration = Duration::from_millis(20);

/// What came, seen from outside.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Bytes that the loop was told of, those of foreign datagrams not among them.
    pub(super) bytes: u64,
    /// Different datagrams of the test that the loop was told of.
    pub(super) datagrams: u64,
    /// Datagrams of the test that came a second time.
    pub(super) duplicates: u64,
    /// Bytes that still wait for the loop.
    pub(super) unread: u64,
    /// The peer has ended its side, and the loop was told so.
    pub(super) ended: bool,
    /// The peer is gone, and the loop was told so.
    pub(super) failed: bool,
    /// The ring failed.
    pub(super) broken: bool,
    /// Buffers that neither the kernel has nor an unseen completion.
    pub(super) missing_buffers: usize,
    /// When the ring was given up.
    pub(super) given_up: Option<Instant>,
}

/// What the peer sends.
pub(super) enum Source {
    /// So many bytes, and then the end of the stream, if it ends.
    Stream { bytes: u64, ends: bool },
    /// Messages of datagrams, so many of them.
    Datagrams { messages: u64, stamper: Stamper, datagram_bytes: usize },
}

/// The operation that waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    Once,
    Multishot,
}

/// A message at the socket.
struct Arrived {
    contents: Vec<u8>,
    segment_bytes: usize,
    new: u64,
    again: u64,
}

pub(super) struct HostileReceiveRing {
    life: Life,
    source: Source,
    buffers: Vec<Vec<u8>>,
    /// Of each buffer: length of one of its datagrams.
    segments: Vec<usize>,
    /// Buffers that are the kernel's.
    free: Vec<u16>,
    /// At the socket: messages, or bytes.
    messages: VecDeque<Arrived>,
    bytes: u64,
    queued: Option<Armed>,
    armed: Option<Armed>,
    /// Each with the datagrams that it tells of, new ones and repeated ones.
    posted: VecDeque<(Completion, u64, u64)>,
    /// Failures for no reason since something was delivered.
    failures: u32,
    arrivals: Rc<RefCell<Arrivals>>,
    /// The trial of the loop, which finds now this way to be the fastest and now that one.
    trial: Option<Arc<Adaptation>>,
}

impl HostileReceiveRing {
    pub(super) fn new(
        life: Life,
        source: Source,
        buffers: u16,
        bytes: usize,
        trial: Option<Arc<Adaptation>>,
    ) -> (Self, Rc<RefCell<Arrivals>>) {
        let arrivals = Rc::new(RefCell::new(Arrivals::default()));
        let ring = Self {
            life,
            source,
            buffers: vec![vec![0; bytes]; buffers.into()],
            segments: vec![1; buffers.into()],
            free: (0..buffers).collect(),
            messages: VecDeque::new(),
            bytes: 0,
            queued: None,
            armed: None,
            posted: VecDeque::new(),
            failures: 0,
            arrivals: Rc::clone(&arrivals),
            trial,
        };
        (ring, arrivals)
    }

    fn push(&mut self, operation: Armed) {
        let nothing = self.queued.is_none() && self.armed.is_none();
        assert!(nothing, "a receive is armed while another one is");
        self.queued = Some(operation);
        self.life.gets_somewhere();
    }

    fn begin_wait(&mut self) -> io::Result<bool> {
        if let Some(trial) = &self.trial
            && self.life.dice.chance(20)
        {
            trial.use_way(self.life.dice.index(8));
        }
        let works = self.life.begin_wait();
        self.arrivals.borrow_mut().broken |= works.is_err();
        works
    }

    /// Something reaches the socket.
    fn arrive(&mut self) {
        let dice = &mut self.life.dice;
        match &mut self.source {
            Source::Stream { bytes, .. } => {
                let some = dice.below(*bytes / 4 + 2).min(*bytes);
                *bytes -= some;
                self.bytes += some;
                self.arrivals.borrow_mut().unread += some;
            }
            Source::Datagrams { messages, stamper, datagram_bytes, .. } => {
                let some = dice.below(4).min(*messages);
                *messages -= some;
                for _ in 0..some {
                    let length = *datagram_bytes;
                    let mut contents = vec![0; length * (1 + dice.index(4))];
                    stamper.stamp(&mut contents);
                    match dice.below(10) {
                        // Lost on the way.
                        0 => continue,
                        // A stranger's, or nothing at all.
                        1 => contents.truncate(length - 1 - dice.index(length)),
                        _ => {}
                    }
                    let new = u64::try_from(contents.len() / length).unwrap();
                    let bytes = u64::try_from(contents.len()).unwrap();
                    let mut copies = vec![(new, 0)];
                    if new > 0 && dice.chance(10) {
                        copies.push((0, new));
                    }
                    for (new, again) in copies {
                        let contents = contents.clone();
                        self.messages.push_back(Arrived { contents, segment_bytes: length, new, again });
                        self.arrivals.borrow_mut().unread += bytes;
                    }
                }
            }
        }
    }

    /// What is at the socket goes to the loop, as far as the kernel likes.
    fn deliver(&mut self) {
        if let Some(queued) = self.queued.take() {
            self.armed = Some(queued);
        }
        let mut left = 1 + self.life.dice.below(8);
        while left > 0
            && let Some(operation) = self.armed
        {
            left -= 1;
            if self.life.peer_is_gone() {
                self.arrivals.borrow_mut().failed = true;
                self.end(-libc::ENOTCONN);
            } else if self.failures < FAILURES_MAX && self.life.dice.chance(self.life.temper.failures) {
                self.failures += 1;
                let errno = self.life.dice.pick(&[libc::EAGAIN, libc::EINTR, libc::ENOBUFS]);
                self.end(-errno);
            } else if self.is_at_the_end() {
                self.end(0);
            } else if self.bytes == 0 && self.messages.is_empty() {
                return;
            } else {
                self.deliver_one(operation);
            }
        }
    }

    fn is_at_the_end(&self) -> bool {
        self.bytes == 0 && matches!(self.source, Source::Stream { bytes: 0, ends: true })
    }

    /// The operation is over; a result of 0 is the end of the stream, with or without a buffer.
    fn end(&mut self, result: i32) {
        self.armed = None;
        let with_buffer = result == 0 && self.life.dice.chance(50);
        let buffer = if with_buffer { self.free.pop() } else { None };
        self.arrivals.borrow_mut().ended |= result == 0;
        self.posted.push_back((Completion { result, buffer, ..Completion::default() }, 0, 0));
    }

    fn deliver_one(&mut self, operation: Armed) {
        self.failures = 0;
        if operation == Armed::Once {
            self.armed = None;
            let bytes = self.take_bytes(u64::MAX);
            let result = i32::try_from(bytes).unwrap();
            self.posted.push_back((Completion { result, ..Completion::default() }, 0, 0));
            return;
        }
        if self.free.is_empty() {
            return self.end(-libc::ENOBUFS);
        }
        // Any of them, not the one that was given back first.
        let buffer = self.free.swap_remove(self.life.dice.index(self.free.len()));
        let place = usize::from(buffer);
        let (filled, new, again) = match self.messages.pop_front() {
            Some(message) => {
                self.buffers[place][..message.contents.len()].copy_from_slice(&message.contents);
                self.segments[place] = message.segment_bytes;
                (u64::try_from(message.contents.len()).unwrap(), message.new, message.again)
            }
            None => (self.take_bytes(u64::try_from(self.buffers[place].len()).unwrap()), 0, 0),
        };
        let more = !self.life.dice.chance(10);
        if !more {
            self.armed = None;
        }
        let result = i32::try_from(filled).unwrap();
        let buffer = Some(buffer);
        self.posted.push_back((Completion { result, more, buffer, ..Completion::default() }, new, again));
    }

    /// Bytes that one receive gets.
    fn take_bytes(&mut self, most: u64) -> u64 {
        let most = self.bytes.min(most);
        let short = self.life.dice.chance(self.life.temper.short);
        let taken = if short { 1 + self.life.dice.below(most) } else { most };
        self.bytes -= taken;
        taken
    }

    fn count_missing_buffers(&self) -> usize {
        let posted = self.posted.iter().filter(|(completion, ..)| completion.buffer.is_some()).count();
        self.buffers.len() - self.free.len() - posted
    }
}

impl AnyRing for HostileReceiveRing {
    fn now(&self) -> Instant {
        self.life.now
    }

    fn pause(&mut self, time: Duration) {
        self.life.now += time;
    }

    fn wait_for(&mut self, _completions: usize, timeout: Duration) -> io::Result<()> {
        let is_armed = self.queued.is_some() || self.armed.is_some() || !self.posted.is_empty();
        assert!(is_armed, "the loop waits, and nothing can come");
        assert_eq!(self.count_missing_buffers(), 0, "the loop waits with a buffer in its hands");
        let works = self.begin_wait()?;
        if !self.life.peer_stalls() {
            self.arrive();
        }
        if works {
            self.deliver();
            self.life.end_wait(!self.posted.is_empty(), timeout);
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let (completion, new, again) = self.posted.pop_front()?;
        self.life.gets_somewhere();
        let mut arrivals = self.arrivals.borrow_mut();
        if let Ok(bytes) = u64::try_from(completion.result) {
            let datagram_bytes = match &self.source {
                Source::Stream { .. } => None,
                Source::Datagrams { datagram_bytes, .. } => Some(*datagram_bytes),
            };
            let told = |each: usize| (new + again) * u64::try_from(each).unwrap();
            arrivals.bytes += datagram_bytes.map_or(bytes, told);
            arrivals.unread -= bytes;
            arrivals.datagrams += new;
            arrivals.duplicates += again;
        }
        Some(completion)
    }

    fn in_flight(&self) -> u32 {
        u32::from(self.queued.is_some()) + u32::from(self.armed.is_some())
    }

    fn cancel_all(&mut self) {
        if self.queued.take().is_some() || self.armed.is_some() {
            self.end(-libc::ECANCELED);
        }
    }
}

impl ReceiveRing for HostileReceiveRing {
    fn push_receive(&mut self, _most: u32, _discard: bool) {
        self.push(Armed::Once);
    }

    fn push_receive_multishot(&mut self) {
        self.push(Armed::Multishot);
    }

    fn receive_plainly(&mut self, most: u32, _discard: bool) -> io::Result<usize> {
        assert_eq!(self.in_flight(), 0, "a plain receive takes what a receive in flight waits for");
        if !self.begin_wait()? {
            return Err(ErrorKind::Interrupted.into());
        }
        if !self.life.peer_stalls() {
            self.arrive();
        }
        if self.life.peer_is_gone() {
            self.arrivals.borrow_mut().failed = true;
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        if self.is_at_the_end() {
            self.arrivals.borrow_mut().ended = true;
            return Ok(0);
        }
        self.life.end_wait(self.bytes > 0, PLAIN_WAIT);
        if self.bytes == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = self.take_bytes(PLAIN_BYTES.min(most.into()));
        self.life.gets_somewhere();
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.bytes += bytes;
        arrivals.unread -= bytes;
        Ok(usize::try_from(bytes).unwrap())
    }

    fn push_receive_messages(&mut self, _discard: bool) {
        self.push(Armed::Multishot);
    }

    fn message(&self, completion: &Completion) -> Option<Message<'_>> {
        let bytes = usize::try_from(completion.result).ok()?;
        let place = usize::from(completion.buffer?);
        assert!(!self.free.contains(&completion.buffer?), "a buffer is read after it was given back");
        let payload = &self.buffers[place][..bytes];
        let segment_bytes = self.segments[place];
        Some(Message { payload, bytes, segment_bytes, socket_drops: None, arrived: None })
    }

    fn give_back(&mut self, buffer: u16) {
        assert!(!self.free.contains(&buffer), "buffer {buffer} is given back twice");
        let posted = self.posted.iter().any(|(completion, ..)| completion.buffer == Some(buffer));
        assert!(!posted, "buffer {buffer} is given back before the loop was told of it");
        self.free.push(buffer);
    }
}

impl Drop for HostileReceiveRing {
    fn drop(&mut self) {
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.missing_buffers = self.count_missing_buffers();
        arrivals.given_up = Some(self.life.now);
    }
}
