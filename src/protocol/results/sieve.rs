//! A server's results while they come in, without its own report where that is too long.

use std::ops::Range;

/// Takes a message in pieces and keeps it, except for the server's own report if that is longer than allowed:
/// `null` stands in its place then, and the results are as good as before.
///
/// It looks no further than it must. Whether the message makes sense is found out by whoever reads it.
#[derive(Debug)]
pub struct Sieve {
    kept: Vec<u8>,
    /// Bytes that a report may still have.
    report_room: usize,
    /// Bytes that all the rest may still have.
    rest_room: usize,
    /// Open arrays and objects.
    depth: u32,
    in_string: bool,
    /// The last character of the string was a backslash that makes the next one an ordinary one.
    is_escaped: bool,
    /// Where the last string of the outermost object is among the bytes that are kept.
    last_string: Range<usize>,
    report: Report,
    has_left_out: bool,
}

/// Where the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Outside,
    /// In a report that is kept from here on.
    Kept(usize),
    LeftOut,
}

/// The rest of a message is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too long even without the server's own report")]
pub struct RestTooLong;

impl Sieve {
    /// Keeps at most so many bytes of a report, and so many of all the rest.
    #[must_use]
    pub fn new(report_bytes: usize, rest_bytes: usize) -> Self {
        Self {
            kept: Vec::new(),
            report_room: report_bytes,
            rest_room: rest_bytes,
            depth: 0,
            in_string: false,
            is_escaped: false,
            last_string: 0..0,
            report: Report::Outside,
            has_left_out: false,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`RestTooLong`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), RestTooLong> {
        while !bytes.is_empty() {
            let plain = bytes.iter().position(|byte| is_mark(*byte)).unwrap_or(bytes.len());
            let (before, from) = bytes.split_at(plain);
            self.keep(before)?;
            self.is_escaped &= before.is_empty();
            bytes = match from {
                [mark, behind @ ..] => {
                    self.take_mark(*mark)?;
                    behind
                }
                [] => from,
            };
        }
        Ok(())
    }

    /// The message, and whether its report is left out.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, bool) {
        (self.kept, self.has_left_out)
    }

    fn take_mark(&mut self, mark: u8) -> Result<(), RestTooLong> {
        let is_outermost = self.depth == 1 && !self.in_string;
        if is_outermost && matches!(mark, b',' | b'}') {
            self.leave_report();
        }
        self.keep(&[mark])?;
        if is_outermost && mark == b':' && self.is_named_as_report() {
            self.report = Report::Kept(self.kept.len());
        }
        self.follow(mark);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), RestTooLong> {
        let room = match self.report {
            Report::Outside => &mut self.rest_room,
            Report::Kept(_) => &mut self.report_room,
            Report::LeftOut => return Ok(()),
        };
        match (room.checked_sub(bytes.len()), self.report) {
            (Some(left), _) => {
                *room = left;
                self.kept.extend_from_slice(bytes);
            }
            (None, Report::Kept(start)) => {
                *room = 0;
                self.kept.truncate(start);
                self.report = Report::LeftOut;
                self.has_left_out = true;
            }
            (None, _) => return Err(RestTooLong),
        }
        Ok(())
    }

    fn leave_report(&mut self) {
        if self.report == Report::LeftOut {
            self.kept.extend_from_slice(b"null");
        }
        self.report = Report::Outside;
    }

    fn is_named_as_report(&self) -> bool {
        let name = &self.kept[self.last_string.clone()];
        [&b"server_output_json"[..], b"server_output_text"].iter().any(|key| name.eq_ignore_ascii_case(key))
    }

    /// Finds out what the next bytes will mean.
    fn follow(&mut self, mark: u8) {
        match mark {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => {
                self.in_string = !self.in_string;
                if self.depth == 1 && self.report == Report::Outside {
                    match self.in_string {
                        true => self.last_string = self.kept.len()..self.kept.len(),
                        false => self.last_string.end = self.kept.len() - 1,
                    }
                }
            }
            _ if self.in_string => {}
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Whether what follows may mean something else because of this byte.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'{' | b'}' | b'[' | b']' | b',' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a text that comes in pieces of every size.
    fn sieved(text: &str, report_bytes: usize, rest_bytes: usize) -> Result<(String, bool), RestTooLong> {
        let outcomes = [1, 2, 7, 1000].map(|size| {
            let mut sieve = Sieve::new(report_bytes, rest_bytes);
            text.as_bytes().chunks(size).try_for_each(|chunk| sieve.push(chunk))?;
            let (kept, has_left_out) = sieve.finish();
            Ok((String::from_utf8(kept).unwrap(), has_left_out))
        });
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
        outcomes[0].clone()
    }

    #[test]
    fn only_a_report_that_is_too_long_is_left_out() {
        let with = |report: &str| format!(r#"{{"a":[1,{{"x":2}}],"server_output_json":{report},"b":"c"}}"#);
        let report = r#"{"a":"}],\"","server_output_text":[1,{}],"b":2}"#;
        let whole = with(report);
        assert_eq!(sieved(&whole, report.len(), 1000), Ok((whole.clone(), false)));
        assert_eq!(sieved(&whole, report.len() - 1, 1000), Ok((with("null"), true)));
        assert_eq!(sieved(&whole, 0, 1000), Ok((with("null"), true)));

        let last = |report: &str| format!(r#"{{ "a" : 1 , "Server_Output_Text" :{report}}}"#);
        let report = r#" "rows \\\" , } \\" "#;
        assert_eq!(sieved(&last(report), report.len(), 1000), Ok((last(report), false)));
        assert_eq!(sieved(&last(report), 5, 1000), Ok((last("null"), true)));
    }

    #[test]
    fn all_reports_together_have_one_limit() {
        let text = r#"{"server_output_text":"12345678","server_output_json":{"a":1},"server_output_text":5}"#;
        let kept = r#"{"server_output_text":"12345678","server_output_json":null,"server_output_text":null}"#;
        assert_eq!(sieved(text, 12, 1000), Ok((kept.to_owned(), true)));
    }

    #[test]
    fn the_rest_has_a_limit_of_its_own() {
        let text = r#"{"a":[1,2,3],"server_output_text":"12345678"}"#;
        let rest = text.len() - r#""12345678""#.len();
        assert_eq!(sieved(text, 10, rest), Ok((text.to_owned(), false)));
        assert_eq!(sieved(text, 10, rest - 1), Err(RestTooLong));
        // A report is one only in its place.
        for text in ["[[[[[[[[[[[[", "{\"a\":{\"server_output_text\":\"12345678\"}}", "server_output_text:11"]
        {
            assert_eq!(sieved(text, 1000, text.len()), Ok((text.to_owned(), false)));
            assert_eq!(sieved(text, 1000, text.len() - 1), Err(RestTooLong), "{text}");
        }
    }

    #[test]
    fn nonsense_is_kept_for_the_reader() {
        for text in ["", "\"", "}}}]]]", "{\"server_output_json\":", "\\\\\"\\", "{:,:}", "\"a\":{\"b\"}"] {
            assert_eq!(sieved(text, 1000, 1000), Ok((text.to_owned(), false)));
        }
    }
}
