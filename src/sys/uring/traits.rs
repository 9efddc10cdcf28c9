//! What the loops of the engines ask of a ring.
//!
//! [`Ring`](super::Ring) answers from the kernel. The loops are generic over these traits, so the same code
//! also runs over something that is no kernel: one that does everything at once, to see what a loop costs by
//! itself, or one that does everything wrong that a kernel may do, to see whether a loop puts up with it.
//! Making a ring and giving it memory is not among this; each does it in its own way.

use std::io;
use std::time::{Duration, Instant};

use crate::sys::Message;

/// What an operation of a ring is, as its loop knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Token {
    /// A send of the payload from its start, with the number that its loop has given it.
    Send(usize),
    /// A send from the slot of the payload with this number.
    SendSlot(usize),
    /// A receive.
    #[default]
    Receive,
    /// A request to give up everything else. Its completion is the ring's own matter.
    Cancel,
}

/// One result from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The operation.
    pub token: Token,
    /// Bytes moved, or a negated errno. Meaningless on a notification.
    pub result: i32,
    /// More completions of the same operation will follow.
    pub more: bool,
    /// The kernel has let go of the payload of a zero-copy send.
    pub notification: bool,
    /// On a notification: the kernel copied the payload after all.
    pub copied: bool,
    /// The receive buffer that was filled; it must be given back.
    pub buffer: Option<u16>,
}

/// What every loop does with its ring.
pub trait AnyRing {
    /// The time. Waits are what makes it pass for a loop, so the ring is asked and not the system.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Lets time pass in which nothing is done, not even by the kernel.
    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Submits what was pushed and waits for at least `completions` of them, at most `timeout`.
    ///
    /// # Errors
    /// Those of io_uring_enter(2) that mean that the ring is unusable. A timeout, a signal or a full
    /// completion queue is none: look at the completions and come again.
    fn wait_for(&mut self, completions: usize, timeout: Duration) -> io::Result<()>;

    /// Submits what was pushed and waits for at least one completion, at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.wait_for(1, timeout)
    }

    /// The next completion that the kernel has posted.
    fn next_completion(&mut self) -> Option<Completion>;

    /// Operations whose last completion has not been seen.
    fn in_flight(&self) -> u32;

    /// Waits that found more completions than the queue has room for. None is lost, but the kernel keeps the
    /// others in memory of its own, and ends multishot receives.
    fn overflows(&self) -> u64 {
        0
    }

    /// Asks the kernel to give up every operation; their completions still come.
    fn cancel_all(&mut self);
}

/// A ring that sends from memory of its own: one payload that never changes, or slots that are filled anew.
pub trait SendRing: AnyRing {
    /// Sends the first `bytes` bytes of the payload by copying them, from registered memory where that is
    /// possible and pays. Its completion has the token [`Token::Send`] with that number.
    ///
    /// # Panics
    /// If the payload is shorter or the submission queue is full.
    fn push_send(&mut self, bytes: u32, number: usize);

    /// Sends the first `bytes` bytes of the payload by reference. Two completions follow: the result, and, if
    /// that one says `more`, the notification that the kernel has let go.
    ///
    /// # Panics
    /// As [`Self::push_send`].
    fn push_send_zc(&mut self, bytes: u32, number: usize);

    /// Sends the first `bytes` bytes of a slot as one message, with the token [`Token::SendSlot`]. With
    /// `zero_copy` two completions follow, as with [`Self::push_send_zc`]. With `linked` the next operation
    /// pushed begins when this one has been done, and is cancelled if this one fails.
    ///
    /// # Panics
    /// If an operation refers to the slot already, it is shorter, or the submission queue is full.
    fn push_send_slot(&mut self, slot: usize, bytes: u32, zero_copy: bool, linked: bool);

    /// Whether an operation refers to a slot of the payload.
    ///
    /// # Panics
    /// If there is no such slot.
    fn is_busy(&self, slot: usize) -> bool;

    /// A slot of the payload, to be changed. `None` while an operation refers to it.
    ///
    /// # Panics
    /// If there is no such slot.
    fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]>;
}

/// A ring that receives into memory of its own. The token of all completions is [`Token::Receive`].
pub trait ReceiveRing: AnyRing {
    /// Receives up to `most` bytes once into the receive memory, after the socket has become readable. With
    /// `discard` the kernel throws the bytes away instead of copying them.
    ///
    /// # Panics
    /// If there is no receive memory, less than `most` bytes of it, or the submission queue is full.
    fn push_receive(&mut self, most: u32, discard: bool);

    /// Receives again and again into the receive buffers, one completion each time, until one comes without
    /// `more`.
    ///
    /// # Panics
    /// If there are no receive buffers or the submission queue is full.
    fn push_receive_multishot(&mut self);

    /// Receives up to `most` bytes into the receive memory with one recv(2), which waits as long as the
    /// socket says. With `discard` the kernel throws the bytes away. 0 means that the peer is done.
    ///
    /// # Errors
    /// The socket's; EAGAIN when nothing came in time.
    ///
    /// # Panics
    /// If there is no receive memory, less than `most` bytes of it, or an operation may be using it.
    fn receive_plainly(&mut self, most: u32, discard: bool) -> io::Result<usize>;

    /// Receives messages, with what the kernel says about each, until a completion comes without `more`. With
    /// `discard` the kernel copies no more than fits a buffer and says how long each message really was.
    /// [`Self::message`] has what came.
    ///
    /// # Panics
    /// As [`Self::push_receive_multishot`].
    fn push_receive_messages(&mut self, discard: bool);

    /// The message that a completion of [`Self::push_receive_messages`] has brought, until its buffer is
    /// given back; `None` if it brought none.
    fn message(&self, completion: &Completion) -> Option<Message<'_>>;

    /// Returns a receive buffer to the kernel.
    ///
    /// # Panics
    /// If there is no such buffer.
    fn give_back(&mut self, buffer: u16);
}
