//! The memory that sends refer to.

use crate::sys::Region;

/// One piece of memory that is sent from its start again and again, or slots of equal size that are filled
/// anew.
///
/// A slot is lent out only while no operation refers to it. The ring says when one begins to, and when it
/// ends.
#[derive(Debug)]
pub(super) struct Payload {
    memory: Region,
    /// The kernel has it pinned as fixed buffer 0.
    pub(super) registered: bool,
    slot_bytes: usize,
    /// Of each slot, whether an operation refers to it.
    busy: Vec<bool>,
}

impl Payload {
    pub(super) fn new(memory: Region) -> Self {
        Self { memory, registered: false, slot_bytes: 0, busy: Vec::new() }
    }

    pub(super) fn divide(&mut self, slot_bytes: usize) {
        self.slot_bytes = slot_bytes;
        self.busy = vec![false; self.memory.len() / slot_bytes];
    }

    /// All of it, as the kernel wants to hear of it.
    pub(super) fn vector(&self) -> libc::iovec {
        libc::iovec { iov_base: self.memory.as_ptr().cast(), iov_len: self.memory.len() }
    }

    /// Where a send of `bytes` bytes from the start begins.
    pub(super) fn start(&self, bytes: u32) -> *const u8 {
        assert!(usize::try_from(bytes).is_ok_and(|bytes| bytes <= self.memory.len()), "payload too short");
        self.memory.as_ptr()
    }

    /// Where a send of `bytes` bytes from a slot begins, which is in use from now on.
    pub(super) fn use_slot(&mut self, slot: usize, bytes: u32) -> *const u8 {
        assert!(!self.busy[slot], "slot {slot} is in use");
        assert!(usize::try_from(bytes).is_ok_and(|bytes| bytes <= self.slot_bytes), "slot too short");
        self.busy[slot] = true;
        // SAFETY: the slot is inside the memory, since `busy` has an element for it.
        unsafe { self.memory.as_ptr().add(slot * self.slot_bytes) }
    }

    /// The operation that referred to a slot is over.
    pub(super) fn free_slot(&mut self, slot: usize) {
        self.busy[slot] = false;
    }

    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.busy[slot]
    }

    pub(super) fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        if self.busy[slot] {
            return None;
        }
        // SAFETY: the slot is inside the memory, no operation refers to it, and `&mut self` makes this the
        // only Rust reference. The other slots may be read by the kernel meanwhile, so no slice covers them.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_ptr().add(slot * self.slot_bytes), self.slot_bytes)
        })
    }
}
