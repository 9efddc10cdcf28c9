//! The running totals of one stream.
//!
//! Each stream thread is the only writer of its [`SharedCounters`]; everybody else only loads. Nobody resets
//! them: an interval is the difference of two readings, and the omit period a baseline at the reader.

use std::sync::atomic::{AtomicU64, Ordering};

use super::DatagramCounters;

/// Running totals of one stream, as plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Payload bytes that the kernel took (sender) or gave (receiver).
    pub bytes: u64,
    /// Completed operations: system calls or ring completions that moved at least one byte.
    pub operations: u64,
    /// The datagrams of a UDP stream; zeros on a TCP stream.
    pub datagrams: DatagramCounters,
}

/// [`Counters`] that other threads may read while the stream runs.
///
/// Padded to two cache lines, since the adjacent-line prefetcher pulls lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct SharedCounters {
    bytes: AtomicU64,
    operations: AtomicU64,
    packets: AtomicU64,
    errors: AtomicU64,
    out_of_order: AtomicU64,
    jitter_seconds: AtomicU64,
    /// One more than the bytes before the counted part; 0 while that has not begun.
    counting: AtomicU64,
}

impl SharedCounters {
    /// Makes `totals` visible to the readers. Only the stream's own thread calls this.
    ///
    /// Relaxed stores: each number stands for itself, and exact totals come from joining the thread. Of the
    /// datagrams only what intervals show is published.
    pub fn publish(&self, totals: Counters) {
        self.bytes.store(totals.bytes, Ordering::Relaxed);
        self.operations.store(totals.operations, Ordering::Relaxed);
        let datagrams = &totals.datagrams;
        self.packets.store(datagrams.packets, Ordering::Relaxed);
        self.errors.store(datagrams.errors, Ordering::Relaxed);
        self.out_of_order.store(datagrams.out_of_order, Ordering::Relaxed);
        self.jitter_seconds.store(datagrams.jitter_seconds.to_bits(), Ordering::Relaxed);
    }

    /// Says that the counted part of the test begins behind the first `bytes` bytes. Only the stream's own
    /// thread calls this, and only where it is the one that decides.
    pub fn count_from(&self, bytes: u64) {
        self.counting.store(bytes.saturating_add(1), Ordering::Relaxed);
    }

    /// The bytes before the counted part; `None` if the stream's thread has not decided where it begins.
    #[must_use]
    pub fn counts_from(&self) -> Option<u64> {
        self.counting.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The newest published totals.
    #[must_use]
    pub fn load(&self) -> Counters {
        Counters {
            bytes: self.bytes.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            datagrams: DatagramCounters {
                packets: self.packets.load(Ordering::Relaxed),
                errors: self.errors.load(Ordering::Relaxed),
                out_of_order: self.out_of_order.load(Ordering::Relaxed),
                jitter_seconds: f64::from_bits(self.jitter_seconds.load(Ordering::Relaxed)),
                ..DatagramCounters::default()
            },
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
        let datagrams = DatagramCounters { packets: 5, jitter_seconds: 0.25, ..DatagramCounters::default() };
        shared.publish(Counters { bytes: 10, operations: 1, datagrams });
        assert_eq!(shared.load(), Counters { bytes: 10, operations: 1, datagrams });
        let datagrams = DatagramCounters { errors: 2, out_of_order: 1, ..datagrams };
        shared.publish(Counters { bytes: 30, operations: 2, datagrams });
        assert_eq!(shared.load(), Counters { bytes: 30, operations: 2, datagrams });
    }

    #[test]
    fn the_counted_part_may_begin_with_the_first_byte_or_not_yet() {
        let shared = SharedCounters::default();
        assert_eq!(shared.counts_from(), None);
        for bytes in [0, 7] {
            shared.count_from(bytes);
            assert_eq!(shared.counts_from(), Some(bytes));
        }
    }

    #[test]
    fn two_streams_never_share_a_cache_line_pair() {
        assert_eq!(align_of::<SharedCounters>(), 128);
    }
}
