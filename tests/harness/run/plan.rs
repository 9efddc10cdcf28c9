//! The three things that make up a test: which way, how many streams, until when.

use std::fmt;

/// Bytes of one block where no `-l` is given.
pub const BLOCK_BYTES: u64 = 128 * 1024;

/// Which way the payload flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Forward,
    Reverse,
    Bidir,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Forward, Self::Reverse, Self::Bidir];

    /// The option that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Forward => "",
            Self::Reverse => "-R",
            Self::Bidir => "--bidir",
        }
    }
}

/// What ends the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Seconds, as written on the command line.
    Time(&'static str),
    /// `-n`, in MiB.
    Mebibytes(u64),
    /// `-k`.
    Blocks(u64),
}

impl End {
    /// Bytes per direction at which the test ends; `None` for a test that time ends.
    pub fn goal(self) -> Option<u64> {
        match self {
            Self::Time(_) => None,
            Self::Mebibytes(count) => Some(count * 1024 * 1024),
            Self::Blocks(count) => Some(count * BLOCK_BYTES),
        }
    }
}

/// One test. Its `Display` is the client's options.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub way: Way,
    pub parallel: u64,
    pub end: End,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Time(seconds) => write!(f, "-t {seconds}")?,
            End::Mebibytes(count) => write!(f, "-n {count}M")?,
            End::Blocks(count) => write!(f, "-k {count}")?,
        }
        write!(f, " -P {} {}", self.parallel, self.way.option())
    }
}

/// Every combination of every way with these.
pub fn plans(parallel: &[u64], ends: &[End]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for way in Way::ALL {
        for &parallel in parallel {
            plans.extend(ends.iter().map(|&end| Plan { way, parallel, end }));
        }
    }
    plans
}
