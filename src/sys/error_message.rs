//! The system's messages for errors.

use std::io;

/// The system's message for an error, without Rust's "(os error N)", which nobody looks up.
#[must_use]
pub fn error_message(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), error.get_ref()) {
        (Some(number), _) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        (None, Some(inner)) => inner.downcast_ref().map_or(text, error_message),
        (None, None) => text,
    }
}

/// The system's message for an error, with what the user can do where a limit is reached that can be raised.
#[must_use]
pub fn with_fix(error: &io::Error) -> String {
    let fix = match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit on open files with `ulimit -n` or LimitNOFILE=",
        Some(libc::ENFILE) => "; raise the limit on the open files of this machine with sysctl fs.file-max",
        Some(libc::ENOMEM) => {
            "; raise the limit on memory with `ulimit -v` or LimitAS=, or use fewer streams"
        }
        _ => "",
    };
    error_message(error) + fix
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
            assert_eq!(error_message(&io::Error::from_raw_os_error(number)), words);
        }
        assert_eq!(error_message(&io::Error::other("a reason (os error 1)")), "a reason (os error 1)");
    }

    #[test]
    fn no_number_of_the_systems_is_said() {
        let system = || io::Error::from_raw_os_error(libc::ECONNRESET);
        let wrapped = io::Error::other(io::Error::other(system()));
        let resolver = io::Error::other("failed to lookup address information: Name or service not known");
        for (error, text) in [
            (system(), "Connection reset by peer"),
            (wrapped, "Connection reset by peer"),
            (io::Error::other("its own words"), "its own words"),
            (io::ErrorKind::NotFound.into(), "entity not found"),
            (resolver, "failed to lookup address information: Name or service not known"),
        ] {
            assert_eq!(error_message(&error), text);
        }
    }
}
