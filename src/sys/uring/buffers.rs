//! A provided-buffer ring: memory that the kernel picks receive buffers from by itself.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::sys::Region;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Buffers of equal size that go round between the kernel (which fills them) and the engine (which counts
/// them).
#[derive(Debug)]
pub struct ReceiveBuffers {
    entries: Region,
    memory: Region,
    buffer_bytes: u32,
    count: u16,
    tail: u16,
    /// Of each buffer, whether the kernel has it, which may write to it at any moment then.
    lent: Vec<bool>,
}

impl ReceiveBuffers {
    /// `count` buffers (a power of two) of `buffer_bytes` bytes each.
    ///
    /// # Errors
    /// The system's, most likely ENOMEM.
    ///
    /// # Panics
    /// If `count` is not a power of two.
    pub fn new(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "the kernel wants a power of two");
        let bytes = usize::from(count) * usize::try_from(buffer_bytes).expect("a u32 fits a usize on Linux");
        Ok(Self {
            entries: Region::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Region::new(bytes)?,
            buffer_bytes,
            count,
            tail: 0,
            lent: vec![false; count.into()],
        })
    }

    /// Bytes of one buffer.
    #[must_use]
    pub fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// The kernel has filled a buffer, and leaves it alone until it is given back.
    ///
    /// # Panics
    /// If the kernel did not have it.
    pub(super) fn taken(&mut self, index: u16) {
        assert!(std::mem::take(&mut self.lent[usize::from(index)]), "buffer {index} was filled twice");
    }

    /// The first bytes of a buffer that the kernel has filled.
    ///
    /// # Panics
    /// If the kernel has that buffer, or it is smaller.
    pub(super) fn filled(&self, index: u16, bytes: usize) -> &[u8] {
        let buffer_bytes = usize::try_from(self.buffer_bytes).expect("fits a usize on Linux");
        assert!(!self.lent[usize::from(index)] && bytes <= buffer_bytes, "{bytes} bytes of buffer {index}");
        // SAFETY: the bytes are inside the memory, since `lent` has an element for their buffer, and
        // initialised, by the mapping if by nobody else. The kernel does not have this buffer and gets it
        // from `give_back` alone, for which this reference must be gone. It may be writing to the others, so
        // no slice covers them.
        unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr().add(usize::from(index) * buffer_bytes), bytes)
        }
    }

    /// Tells the kernel where the ring is and hands it every buffer.
    pub(super) fn register(&mut self, uring: &IoUring) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, long enough for `count` of them, and owned by self, which the
        // Ring that owns `uring` keeps (or leaks) for at least as long as the kernel may use them.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, self.count, GROUP, 0) }?;
        for index in 0..self.count {
            self.give_back(index);
        }
        Ok(())
    }

    /// Returns a buffer to the kernel.
    ///
    /// # Panics
    /// If there is no such buffer, or the kernel has it.
    pub(super) fn give_back(&mut self, index: u16) {
        assert!(!std::mem::replace(&mut self.lent[usize::from(index)], true), "buffer {index} is not ours");
        let base = self.entries.as_ptr().cast::<BufRingEntry>();
        let offset = usize::from(index) * usize::try_from(self.buffer_bytes).expect("fits a usize on Linux");
        debug_assert!(offset < self.memory.len());
        // SAFETY: `tail & (count - 1)` is inside the entries; the buffer's address is inside `memory`. The
        // kernel reads an entry only once the tail below has passed it, so this thread is the only one to
        // touch it now. The tail is aligned and inside the first entry, as the kernel lays it out, and only
        // this thread writes it.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & (self.count - 1)));
            entry.set_addr(self.memory.as_ptr().add(offset) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast::<AtomicU16>();
            // Release: the entry must be complete before the kernel, which loads with acquire, sees the new
            // tail.
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}
