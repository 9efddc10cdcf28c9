//! What one stream has moved so far.
//!
//! Each stream thread is the only writer of its [`SharedCounters`]; everybody else only loads. Nobody resets
//! them: an interval is the difference of two readings, and the omit period a baseline at the reader.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals of one stream, as plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes that the kernel took (sender) or gave (receiver).
    pub bytes: u64,
    /// Completed operations: system calls or ring completions that moved at least one byte.
    pub operations: u64,
}

/// [`Counters`] that other threads may read while the stream runs.
///
/// Padded to two cache lines, since the adjacent-line prefetcher pulls lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct SharedCounters {
    bytes: AtomicU64,
    operations: AtomicU64,
}

impl SharedCounters {
    /// Makes `totals` visible to the readers. Only the stream's own thread calls this.
    ///
    /// Relaxed stores: each number stands for itself, and exact totals come from joining the thread.
    pub fn publish(&self, totals: Counters) {
        self.bytes.store(totals.bytes, Ordering::Relaxed);
        self.operations.store(totals.operations, Ordering::Relaxed);
    }

    /// The newest published totals.
    #[must_use]
    pub fn load(&self) -> Counters {
        Counters {
            bytes: self.bytes.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_last() {
        let shared = SharedCounters::default();
        assert_eq!(shared.load(), Counters::default());
        shared.publish(Counters { bytes: 10, operations: 1 });
        shared.publish(Counters { bytes: 30, operations: 2 });
        assert_eq!(shared.load(), Counters { bytes: 30, operations: 2 });
    }

    #[test]
    fn two_streams_never_share_a_cache_line_pair() {
        assert_eq!(align_of::<SharedCounters>(), 128);
    }
}
