//! The time in front of a line.

use jiff::ZonedDateTime;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};

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
        self.at(&ZonedDateTime::now())
    }

    /// The same for another moment. As with strftime(3), what is no conversion is printed as it stands.
    fn at(&self, time: &ZonedDateTime) -> String {
        let config = Config::new().custom(PosixCustom::new()).lenient(true);
        let mut text = String::new();
        match BrokenDownTime::from(time).format_with_config(&config, &self.format, &mut text) {
            Ok(()) => text,
            Err(_) => self.format.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats, and what C's strftime(3) makes of them in the locale `C`.
    #[test]
    fn stamps_look_as_in_c() {
        let time: ZonedDateTime = "2026-11-04T05:30:14+01:00[Europe/Berlin]".parse().unwrap();
        let cases = [
            ("%c ", "Wed Nov  4 05:30:14 2026 "),
            ("%F %T%z,", "2026-11-04 05:30:14+0100,"),
            ("%s: ", "1793766614: "),
            ("%H:%M %Z|", "05:30 CET|"),
            ("%x %X %p ", "11/04/26 05:30:14 AM "),
            ("%%%n%t", "%\n\t"),
            ("no conversion ", "no conversion "),
            ("%!", "%!"),
            ("", ""),
        ];
        for (format, expected) in cases {
            assert_eq!(Stamp::new(format).at(&time), expected, "{format}");
        }
    }
}
