//! How a test says what went wrong.

use std::fmt;
use std::io;

/// Why a test, or one cell of a table, failed. Its `Debug` is the plain text, since that is what cargo
/// prints.
#[derive(Clone)]
pub struct Failure(pub String);

/// What every test and every helper returns.
pub type Checked<T = ()> = Result<T, Failure>;

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Ends the current function with a [`Failure`] of the given text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::harness::Failure(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;
