//! The memory that sends refer to.

use super::super::Region;

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
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// An operation refers to it.
    busy: bool,
    /// How often it was used, modulo 2^32. Tells a word of the kernel about the last use from one about an
    /// earlier use.
    uses: u32,
}

impl Payload {
    pub(super) fn new(memory: Region) -> Self {
        Self { memory, registered: false, slot_bytes: 0, slots: Vec::new() }
    }

    pub(super) fn divide(&mut self, slot_bytes: usize) {
        self.slot_bytes = slot_bytes;
        self.slots = vec![Slot::default(); self.memory.len() / slot_bytes];
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

    /// Where a send of `bytes` bytes from a slot begins, which is in use from now on, and the token of that
    /// send.
    pub(super) fn use_slot(&mut self, slot: usize, bytes: u32) -> (*const u8, u64) {
        let Slot { busy, uses } = &mut self.slots[slot];
        assert!(!*busy, "slot {slot} is in use");
        assert!(usize::try_from(bytes).is_ok_and(|bytes| bytes <= self.slot_bytes), "slot too short");
        *busy = true;
        *uses = uses.wrapping_add(1);
        let number = u32::try_from(slot).expect("a ring has fewer slots");
        let token = u64::from(*uses) << 32 | u64::from(number);
        // SAFETY: the slot is inside the memory, since `slots` has an element for it.
        (unsafe { self.memory.as_ptr().add(slot * self.slot_bytes) }, token)
    }

    /// The operation with that token goes on, or is over. Gives the number of its slot; tokens of operations
    /// without a slot stay as they are. `None` if the operation was over before.
    pub(super) fn completed(&mut self, token: u64, goes_on: bool) -> Option<u64> {
        let (uses, number) = (token >> 32, token & u64::from(u32::MAX));
        let slot = usize::try_from(number).ok().and_then(|number| self.slots.get_mut(number));
        let Some(slot) = slot else { return Some(token) };
        if !slot.busy || u64::from(slot.uses) != uses {
            return None;
        }
        slot.busy = goes_on;
        Some(number)
    }

    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.slots[slot].busy
    }

    pub(super) fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        if self.slots[slot].busy {
            return None;
        }
        // SAFETY: the slot is inside the memory, no operation refers to it, and `&mut self` makes this the
        // only Rust reference. The other slots may be read by the kernel meanwhile, so no slice covers them.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_ptr().add(slot * self.slot_bytes), self.slot_bytes)
        })
    }
}
