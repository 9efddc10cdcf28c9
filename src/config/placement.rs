//! Where the stream threads of one end run: what `--cpus` and `--peer-cpus` say.

use std::fmt;
use std::str::FromStr;

use super::ranges::PROCESSOR;

/// Most processors that a list has. The kernel's usual mask has room for as many.
pub const LISTED_CPUS_MAX: usize = 1024;

/// Where the stream threads of one end run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the scheduler puts them.
    #[default]
    Auto,
    /// On as many cores as there are: one thread on each before a core gets a second one.
    Spread,
    /// On as few cores as there can be with a processor for each thread.
    Pack,
    /// Near to the network card of the test: on its NUMA node, off the processors that serve its interrupts.
    Near,
    /// On these processors, one after the other.
    List(CpuList),
}

/// Processors in the order in which they are taken: 1 to [`LISTED_CPUS_MAX`] numbers of [`PROCESSOR`]. One
/// may stand there several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<u32>);

/// What is wrong with a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Neither a word nor numbers and ranges.
    #[error("threads are placed by auto, spread, pack, near or a list of processors such as 2-9,14")]
    Unreadable,
    /// A number that no processor has.
    #[error("processors have numbers from 0 to {}", PROCESSOR.max)]
    Number,
    /// A list that is longer than any mask.
    #[error("a list has at most {LISTED_CPUS_MAX} processors")]
    Length,
}

impl CpuList {
    /// The numbers, in the order in which they are taken; there is at least one.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }
}

impl FromStr for CpuList {
    type Err = PlacementError;

    /// Numbers and ascending ranges with commas between them.
    fn from_str(text: &str) -> Result<Self, PlacementError> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(PlacementError::Unreadable);
            }
            numbers.extend(first..=last);
            if numbers.len() > LISTED_CPUS_MAX {
                return Err(PlacementError::Length);
            }
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&processor_list(&self.0))
    }
}

impl FromStr for Placement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        match text {
            "auto" => Ok(Self::Auto),
            "spread" => Ok(Self::Spread),
            "pack" => Ok(Self::Pack),
            "near" => Ok(Self::Near),
            list => list.parse().map(Self::List),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Spread => f.write_str("spread"),
            Self::Pack => f.write_str("pack"),
            Self::Near => f.write_str("near"),
            Self::List(list) => list.fmt(f),
        }
    }
}

/// The numbers as a list has them, those that follow each other as a range.
#[must_use]
pub fn processor_list(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|number, next| number.checked_add(1) == Some(*next));
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        single => single.iter().map(u32::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// Digits only: the standard library would take a sign.
fn number(text: &str) -> Result<u32, PlacementError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PlacementError::Unreadable);
    }
    text.parse::<u32>().ok().and_then(|number| PROCESSOR.value(number)).ok_or(PlacementError::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_with_ranges() {
        for (text, numbers, canonical) in [
            ("0", vec![0], "0"),
            ("2-9,14", vec![2, 3, 4, 5, 6, 7, 8, 9, 14], "2-9,14"),
            ("14,2-3", vec![14, 2, 3], "14,2-3"),
            ("3,2,1", vec![3, 2, 1], "3,2,1"),
            ("1,1,2", vec![1, 1, 2], "1,1-2"),
            (" 1 - 2 , 3 ", vec![1, 2, 3], "1-3"),
            ("5-5,007", vec![5, 7], "5,7"),
            ("1024", vec![1024], "1024"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(
                (list.numbers(), list.to_string().as_str()),
                (numbers.as_slice(), canonical),
                "{text}"
            );
            assert_eq!(text.parse(), Ok(Placement::List(list)), "{text}");
        }
    }

    #[test]
    fn what_is_no_placement() {
        use PlacementError::{Length, Number, Unreadable};
        let many = format!("0-1023{}", ",0".repeat(2000));
        for (text, error) in [
            ("", Unreadable),
            (",", Unreadable),
            ("1,", Unreadable),
            ("-1", Unreadable),
            ("1-", Unreadable),
            ("3-2", Unreadable),
            ("1-2-3", Unreadable),
            ("+1", Unreadable),
            ("0x1", Unreadable),
            ("Pack", Unreadable),
            ("everywhere", Unreadable),
            ("1025", Number),
            ("0-4294967295", Number),
            ("99999999999999999999", Number),
            ("0-1024", Length),
            ("0-1000,0-1000,0-1000", Length),
            (many.as_str(), Length),
        ] {
            assert_eq!(text.parse::<Placement>(), Err(error), "{text}");
        }
        assert_eq!("0-1023".parse::<CpuList>().map(|list| list.numbers().len()), Ok(LISTED_CPUS_MAX));
    }

    proptest! {
        #[test]
        fn lists_round_trip(numbers in prop::collection::vec(0..=PROCESSOR.max, 1..200)) {
            let list = CpuList(numbers);
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }

        #[test]
        fn what_is_read_is_in_range(text in "[0-9,-]{0,30}") {
            if let Ok(list) = text.parse::<CpuList>() {
                let numbers = list.numbers();
                prop_assert!((1..=LISTED_CPUS_MAX).contains(&numbers.len()));
                prop_assert!(numbers.iter().all(|number| *number <= PROCESSOR.max));
            }
        }
    }
}
