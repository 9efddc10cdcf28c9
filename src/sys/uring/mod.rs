//! io_uring for one socket: a ring that owns everything the kernel may touch on its behalf.
//!
//! [`Ring`] is created in the thread that uses it (SINGLE_ISSUER, DEFER_TASKRUN), owns the payload and the
//! receive buffers, and has the socket registered. A [`RingBuilder`] registers all that, and the kernel lets
//! the finished ring do the operations of its loop and nothing else, no further registration either.
//! Operations name offsets and lengths, never addresses, so the engines need no `unsafe`. Their loops know a
//! ring by its traits only, [`SendRing`] and [`ReceiveRing`]. Not used, on purpose: SQPOLL, several sockets
//! per ring.

mod buffers;
mod operations;
mod payload;
mod ring;
mod traits;

pub use buffers::ReceiveBuffers;
pub use operations::Operation;
pub(super) use ring::BUSY_POLL_STEP;
pub use ring::{Ring, RingBuilder, RingError, probe};
pub use traits::{AnyRing, Completion, ReceiveRing, SendRing, Token};
