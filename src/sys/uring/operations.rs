//! Which operations a ring may do at all, and which of them the kernel has not finished with.

use io_uring::register::Restriction;
use io_uring::{opcode, squeue};

use super::traits::Token;

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

/// What the kernel knows an operation by (`user_data` of its submission and of its completions).
///
/// It is another one each time that a place is used again, so a word about an operation that is over is never
/// taken for a word about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserData {
    /// The place of the operation among those in flight.
    place: u32,
    /// How often this place was used, modulo 2^32.
    use_number: u32,
}

impl UserData {
    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.use_number) << 32 | u64::from(self.place)
    }

    pub(super) fn from_u64(number: u64) -> Self {
        let lower = |number| u32::try_from(number & u64::from(u32::MAX)).expect("half of a u64");
        Self { place: lower(number), use_number: lower(number >> 32) }
    }
}

/// The operations that the kernel has not finished with.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The operation that has this place, if any does.
    token: Option<Token>,
    /// How often the place was used, modulo 2^32.
    use_number: u32,
}

impl InFlight {
    /// None yet; with room for as many as are usual.
    pub(super) fn with_capacity(usual: usize) -> Self {
        Self { entries: Vec::with_capacity(usual), free: Vec::with_capacity(usual) }
    }

    /// An operation begins. Gives what the kernel is to know it by.
    pub(super) fn begin(&mut self, token: Token) -> UserData {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { token: None, use_number: 0 });
            u32::try_from(self.entries.len() - 1).expect("a ring has fewer operations")
        });
        let entry = &mut self.entries[usize::try_from(place).expect("a u32 fits a usize on Linux")];
        entry.token = Some(token);
        entry.use_number = entry.use_number.wrapping_add(1);
        UserData { place, use_number: entry.use_number }
    }

    /// The operation that the kernel knows by this goes on, or is over. Gives which one it is; `None` if it
    /// was over before.
    ///
    /// A linked send by reference that is cancelled before it begins has a result that says nothing of a
    /// notification, and one follows all the same. It is about an operation that is over.
    pub(super) fn completed(&mut self, known_by: UserData, goes_on: bool) -> Option<Token> {
        let entry = self.entries.get_mut(usize::try_from(known_by.place).ok()?)?;
        let token = entry.token.filter(|_| entry.use_number == known_by.use_number)?;
        if !goes_on {
            entry.token = None;
            self.free.push(known_by.place);
        }
        Some(token)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.entries.len() - self.free.len()).expect("a ring has fewer operations")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_operation_is_over_once() {
        let mut in_flight = InFlight::with_capacity(2);
        let (first, second) = (in_flight.begin(Token::Send(7)), in_flight.begin(Token::SendSlot(7)));
        assert_eq!(in_flight.completed(first, true), Some(Token::Send(7)));
        assert_eq!(in_flight.count(), 2);
        assert_eq!(in_flight.completed(second, false), Some(Token::SendSlot(7)));
        // A notification that no result has announced, while another send waits for its own.
        assert_eq!(in_flight.completed(second, false), None);
        assert_eq!(in_flight.count(), 1, "the first is still in the kernel");
        assert_eq!(in_flight.completed(first, false), Some(Token::Send(7)));
        assert_eq!(in_flight.count(), 0);
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let mut in_flight = InFlight::with_capacity(1);
        let old = in_flight.begin(Token::Send(1));
        assert!(in_flight.completed(old, false).is_some());
        let new = in_flight.begin(Token::Send(2));
        assert_ne!(old, new);
        assert_eq!(in_flight.completed(old, false), None);
        for unknown in [u64::MAX, 0, new.to_u64() + 1] {
            assert_eq!(in_flight.completed(UserData::from_u64(unknown), false), None, "{unknown:#x}");
        }
        assert_eq!(in_flight.completed(new, false), Some(Token::Send(2)));
    }

    proptest! {
        #[test]
        fn user_data_is_what_it_was(number: u64, place: u32, use_number: u32) {
            prop_assert_eq!(UserData::from_u64(number).to_u64(), number);
            let user_data = UserData { place, use_number };
            prop_assert_eq!(UserData::from_u64(user_data.to_u64()), user_data);
        }

        /// Sends, receives and requests to give up come to their ends in any order, and each word is about
        /// the operation that was begun with it.
        #[test]
        fn no_operation_is_taken_for_another(
            steps in prop::collection::vec((0..4_usize, 0..3_usize, any::<usize>()), 1..200),
        ) {
            let mut in_flight = InFlight::with_capacity(4);
            let mut begun: Vec<(UserData, Token)> = Vec::new();
            let mut over = Vec::new();
            for (kind, number, which) in steps {
                let tokens = [Token::Send(number), Token::SendSlot(number), Token::Receive, Token::Cancel];
                let token = tokens[kind];
                begun.push((in_flight.begin(token), token));
                if which % 3 == 0 {
                    continue;
                }
                let (known_by, token) = begun.swap_remove(which % begun.len());
                prop_assert_eq!(in_flight.completed(known_by, false), Some(token));
                over.push(known_by);
            }
            prop_assert_eq!(usize::try_from(in_flight.count()).unwrap(), begun.len());
            for known_by in over {
                prop_assert_eq!(in_flight.completed(known_by, false), None);
            }
        }
    }
}
