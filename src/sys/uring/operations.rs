//! Which operations a ring may do at all, and which of them the kernel has not finished with.

use io_uring::register::Restriction;
use io_uring::{opcode, squeue};

/// What a loop asks of its ring. The kernel refuses everything else once the ring is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Copying sends.
    Send,
    /// Sends by reference.
    SendZeroCopy,
    /// Sends of which each begins when the one before is done.
    Link,
    /// Single receives into the receive memory.
    Receive,
    /// Multishot receives into the receive buffers.
    ReceiveMultishot,
    /// Multishot receives of messages into the receive buffers.
    ReceiveMessages,
}

impl Operation {
    /// The system's operations that it consists of.
    fn codes(self) -> &'static [u8] {
        match self {
            Self::Send => &[opcode::Send::CODE, opcode::WriteFixed::CODE],
            Self::SendZeroCopy => &[opcode::SendZc::CODE],
            Self::Link => &[],
            Self::Receive => &[opcode::Recv::CODE],
            Self::ReceiveMultishot => &[opcode::RecvMulti::CODE],
            Self::ReceiveMessages => &[opcode::RecvMsgMulti::CODE],
        }
    }

    fn flags(self) -> squeue::Flags {
        match self {
            Self::Link => squeue::Flags::IO_LINK,
            Self::ReceiveMultishot | Self::ReceiveMessages => squeue::Flags::BUFFER_SELECT,
            Self::Send | Self::SendZeroCopy | Self::Receive => squeue::Flags::empty(),
        }
    }
}

/// The list of all that a ring for these operations may do: them, on its registered socket, and giving them
/// up. It has no place for a registration, so there is none after it.
pub(super) fn restrictions(operations: &[Operation]) -> Vec<Restriction> {
    let codes = operations.iter().flat_map(|operation| operation.codes());
    let all = operations.iter().fold(squeue::Flags::FIXED_FILE, |flags, operation| flags | operation.flags());
    let flags = Restriction::sqe_flags_allowed(all.bits());
    let codes = codes.chain([&opcode::AsyncCancel2::CODE]).map(|&code| Restriction::sqe_op(code));
    codes.chain([flags]).collect()
}

/// The operations that the kernel has not finished with.
///
/// The kernel is given a number of ours for each, made anew for each use, so a word about one that is over is
/// never taken for a word about another.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    owner: Option<Owner>,
    /// How often it was used, modulo 2^32.
    uses: u32,
}

/// Who began an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The loop, with a token that it knows it by.
    Loop(u64),
    /// The loop, with a slot of the payload that it refers to.
    Slot(usize),
    /// The ring itself, to give up the others.
    Cancellation,
}

impl InFlight {
    /// None yet; with room for as many as are usual.
    pub(super) fn with_capacity(usual: usize) -> Self {
        Self { entries: Vec::with_capacity(usual), free: Vec::with_capacity(usual) }
    }

    /// An operation begins. Gives the number that the kernel is to know it by.
    pub(super) fn begin(&mut self, owner: Owner) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { owner: None, uses: 0 });
            u32::try_from(self.entries.len() - 1).expect("a ring has fewer operations")
        });
        let entry = &mut self.entries[usize::try_from(index).expect("a u32 fits a usize on Linux")];
        entry.owner = Some(owner);
        entry.uses = entry.uses.wrapping_add(1);
        u64::from(entry.uses) << 32 | u64::from(index)
    }

    /// The operation with that number goes on, or is over. Gives whose it is; `None` if it was over before.
    ///
    /// A linked send by reference that is cancelled before it begins has a result that says nothing of a
    /// notification, and one follows all the same. It is about an operation that is over.
    pub(super) fn completed(&mut self, number: u64, goes_on: bool) -> Option<Owner> {
        let (uses, index) = (number >> 32, number & u64::from(u32::MAX));
        let entry = self.entries.get_mut(usize::try_from(index).ok()?)?;
        let owner = entry.owner.filter(|_| u64::from(entry.uses) == uses)?;
        if !goes_on {
            entry.owner = None;
            self.free.push(u32::try_from(index).expect("the lower half of a u64"));
        }
        Some(owner)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.entries.len() - self.free.len()).expect("a ring has fewer operations")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_over_once() {
        let mut in_flight = InFlight::with_capacity(2);
        let (first, second) = (in_flight.begin(Owner::Loop(7)), in_flight.begin(Owner::Slot(7)));
        assert_eq!(in_flight.completed(first, true), Some(Owner::Loop(7)));
        assert_eq!(in_flight.count(), 2);
        assert_eq!(in_flight.completed(second, false), Some(Owner::Slot(7)));
        // A notification that no result has announced, while another send waits for its own.
        assert_eq!(in_flight.completed(second, false), None);
        assert_eq!(in_flight.count(), 1, "the first is still in the kernel");
        assert_eq!(in_flight.completed(first, false), Some(Owner::Loop(7)));
        assert_eq!(in_flight.count(), 0);
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let mut in_flight = InFlight::with_capacity(1);
        let old = in_flight.begin(Owner::Loop(1));
        assert!(in_flight.completed(old, false).is_some());
        let new = in_flight.begin(Owner::Loop(2));
        assert_ne!(old, new);
        assert_eq!(in_flight.completed(old, false), None);
        for unknown in [u64::MAX, 0, new + 1] {
            assert_eq!(in_flight.completed(unknown, false), None, "{unknown:#x}");
        }
        assert_eq!(in_flight.completed(new, false), Some(Owner::Loop(2)));
    }
}
