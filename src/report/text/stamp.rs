//! The time in front of a line.

use std::time::SystemTime;

use crate::sys::local_time;

/// What `--timestamps` puts in front of every line: the local time, in a format of strftime(3).
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    format: String,
}

impl Stamp {
    pub(super) fn new(format: &str) -> Self {
        Self { format: format.to_owned() }
    }

    /// The text in front of a line that is printed now.
    pub(super) fn now(&self) -> String {
        local_time(SystemTime::now(), &self.format)
    }
}
