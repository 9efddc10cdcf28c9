//! The system's words for what went wrong.

use std::io;

/// What the system says, without Rust's "(os error N)".
#[must_use]
pub fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
