//! The system's words for what went wrong.

use std::io;

/// What the system says, without Rust's "(os error N)".
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_c_programs_say() {
        for (number, words) in [
            (libc::ECONNREFUSED, "Connection refused"),
            (libc::EAGAIN, "Resource temporarily unavailable"),
            (9999, "Unknown error 9999"),
        ] {
            assert_eq!(plain(&io::Error::from_raw_os_error(number)), words);
        }
        assert_eq!(plain(&io::Error::other("a reason (os error 1)")), "a reason (os error 1)");
    }
}
