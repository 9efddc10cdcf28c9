//! A value that was read, or the reason why there is none.

use std::io;
use std::str::FromStr;

use thiserror::Error;

use crate::sys::error_message;

/// A value, or why it is absent. What is absent is never taken for zero.
pub type Reading<T> = Result<T, Absence>;

/// Why a value is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Absence {
    /// There is no such file, or no such line in it.
    #[error("this kernel does not have it")]
    NotHere,
    /// The file system that has it cannot be seen from here.
    #[error("not mounted here")]
    NotMounted,
    /// The system refused.
    #[error("needs root")]
    NeedsRoot,
    /// It takes time to read and was not wanted.
    #[error("it was not asked for")]
    NotAsked,
    /// There is a zero for form's sake.
    #[error("this kernel does not count it")]
    NotCounted,
    /// A group of version 2 in which the controller of processor time is off.
    #[error("the group has no controller of processor time")]
    NotControlled,
    /// The text is not of the documented form.
    #[error("its text was not understood")]
    NotUnderstood,
    /// There is more of it than is read.
    #[error("it is longer than what is read")]
    TooLong,
    /// A thread, group or processor came or went.
    #[error("it was not there all the time")]
    NotThroughout,
    /// The counter fell.
    #[error("it was reset meanwhile, or has wrapped")]
    Reset,
    /// Nothing can be said of so little time.
    #[error("the time was too short")]
    TooShort,
    /// It cannot be told from what the other end of the test did on this machine.
    #[error("the other end is on this machine, and its processor time is not known")]
    PeerHere,
    /// The system's number for what else went wrong.
    #[error("{}", system_words(.0))]
    System(i32),
}

fn system_words(errno: &i32) -> String {
    error_message(&io::Error::from_raw_os_error(*errno))
}

impl Absence {
    /// Why a file or folder could not be read.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            // The last two are what files of a feature answer that is built in and switched off.
            Some(libc::ENOENT | libc::ENOTDIR | libc::EOPNOTSUPP | libc::ENOSYS) => Self::NotHere,
            Some(libc::EACCES | libc::EPERM) => Self::NeedsRoot,
            // A thread ended while it was looked at.
            Some(libc::ESRCH) => Self::NotThroughout,
            Some(errno) => Self::System(errno),
            None => Self::NotUnderstood,
        }
    }
}

/// By how much a counter of 64 bits has grown. None of them gets so far that it wraps, so one that is behind
/// its earlier value, or ahead of it by more than half of its range, was reset.
pub(super) fn growth(earlier: u64, later: u64) -> Reading<u64> {
    let grown = later.checked_sub(earlier).ok_or(Absence::Reset)?;
    if grown > u64::MAX / 2 { Err(Absence::Reset) } else { Ok(grown) }
}

/// By how much a counter of 32 bits has grown, which may have wrapped once. One that fell by less than half
/// of its range was reset.
pub(super) fn growth_of_32_bits(earlier: u32, later: u32) -> Reading<u32> {
    let grown = later.wrapping_sub(earlier);
    if later < earlier && grown > u32::MAX / 2 { Err(Absence::Reset) } else { Ok(grown) }
}

/// The growth of a counter that may have been absent before or after.
pub(super) fn growth_of_readings(earlier: Reading<u64>, later: Reading<u64>) -> Reading<u64> {
    growth(earlier?, later?)
}

/// One number.
pub(super) fn number<T: FromStr>(word: &str) -> Reading<T> {
    word.parse().map_err(|_| Absence::NotUnderstood)
}

/// The first `COUNT` words as numbers; what follows them is of a later kernel.
pub(super) fn numbers<'a, const COUNT: usize>(
    mut words: impl Iterator<Item = &'a str>,
) -> Reading<[u64; COUNT]> {
    let mut numbers = [0; COUNT];
    for place in &mut numbers {
        *place = number(words.next().ok_or(Absence::NotUnderstood)?)?;
    }
    Ok(numbers)
}

/// The text behind a name at the beginning of a line.
pub(super) fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reasons_are_plain_words() {
        for (errno, absence, words) in [
            (libc::ENOENT, Absence::NotHere, "this kernel does not have it"),
            (libc::EOPNOTSUPP, Absence::NotHere, "this kernel does not have it"),
            (libc::EACCES, Absence::NeedsRoot, "needs root"),
            (libc::EPERM, Absence::NeedsRoot, "needs root"),
            (libc::ESRCH, Absence::NotThroughout, "it was not there all the time"),
            (libc::EMFILE, Absence::System(libc::EMFILE), "Too many open files"),
        ] {
            let found = Absence::of(&io::Error::from_raw_os_error(errno));
            assert_eq!((found, found.to_string().as_str()), (absence, words));
        }
        assert_eq!(Absence::of(&io::ErrorKind::InvalidInput.into()), Absence::NotUnderstood);
    }

    #[test]
    fn a_counter_that_fell_has_no_growth() {
        assert_eq!(growth(5, 7), Ok(2));
        assert_eq!(growth(7, 7), Ok(0));
        for (earlier, later) in [(7, 5), (u64::MAX, 0), (0, u64::MAX), (5, u64::MAX - 2)] {
            assert_eq!(growth(earlier, later), Err(Absence::Reset), "{earlier} to {later}");
        }
        assert_eq!(growth_of_readings(Ok(1), Ok(4)), Ok(3));
        assert_eq!(growth_of_readings(Err(Absence::NeedsRoot), Ok(4)), Err(Absence::NeedsRoot));
        assert_eq!(growth_of_readings(Ok(1), Err(Absence::NotHere)), Err(Absence::NotHere));
    }

    #[test]
    fn a_short_counter_may_wrap_but_not_fall() {
        for (earlier, later, grown) in
            [(5, 7, 2), (u32::MAX, 0, 1), (u32::MAX - 9, 90, 100), (0, 3_000_000_000, 3_000_000_000)]
        {
            assert_eq!(growth_of_32_bits(earlier, later), Ok(grown), "{earlier} to {later}");
        }
        for (earlier, later) in [(7, 5), (1000, 0), (2_147_483_648, 1)] {
            assert_eq!(growth_of_32_bits(earlier, later), Err(Absence::Reset), "{earlier} to {later}");
        }
    }

    proptest! {
        #[test]
        fn growth_is_what_was_counted(earlier: u64, by in 0..=u64::MAX / 2) {
            let expected = earlier.checked_add(by).map_or(Err(Absence::Reset), |_| Ok(by));
            prop_assert_eq!(growth(earlier, earlier.wrapping_add(by)), expected);
        }

        #[test]
        fn short_growth_is_what_was_counted(earlier: u32, by in 0..=u32::MAX / 2) {
            prop_assert_eq!(growth_of_32_bits(earlier, earlier.wrapping_add(by)), Ok(by));
        }
    }
}
