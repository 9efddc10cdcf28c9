//! A document on its way out: piece by piece, with tabs, and without a character that a terminal would obey.

use std::io::{self, Write};

use super::document::{Document, unreadable};
use crate::report::escape::escape_json;
use crate::report::spool::Values;

/// Bytes of a piece before it is indented, as far as whole intervals allow.
const PIECE_BYTES: usize = 64 * 1024;

/// The document of a test that is done. However long it is, one piece of it is in memory at a time.
#[derive(Debug)]
pub(super) struct Printing {
    document: Document,
    /// Those that are still to come.
    intervals: Option<Values<String>>,
    /// What comes before the next interval.
    separator: &'static str,
    /// Compact text, printed up to `at`.
    ready: String,
    at: usize,
    tabs: Tabs,
}

impl Printing {
    pub(super) fn new(mut document: Document) -> Self {
        let intervals = Some(document.take_intervals());
        let ready = document.head();
        Self { document, intervals, separator: "", ready, at: 0, tabs: Tabs::default() }
    }

    /// Writes the document, a piece with each call of the writer, up to a piece that it does not take: what
    /// comes behind a gap would be no document.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn write_to(mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some(piece) = self.next() {
            out.write_all(piece.as_bytes())?;
        }
        Ok(())
    }

    /// The next piece, until there is none.
    pub(super) fn next(&mut self) -> Option<String> {
        if self.at == self.ready.len() {
            self.refill();
        }
        let piece = first_piece(&self.ready[self.at..]);
        self.at += piece.len();
        (!piece.is_empty()).then(|| self.tabs.indent(&escape_json(piece)))
    }

    /// The next intervals, and behind the last one all that follows them.
    fn refill(&mut self) {
        self.ready.clear();
        self.at = 0;
        while let Some(intervals) = &mut self.intervals {
            match intervals.next() {
                Some(Ok(interval)) => {
                    self.ready += std::mem::replace(&mut self.separator, ",");
                    self.ready += &interval;
                }
                end => {
                    if let Some(Err(error)) = end {
                        self.document.warn(unreadable(&error));
                    }
                    self.intervals = None;
                    self.ready += &self.document.tail();
                }
            }
            if self.ready.len() >= PIECE_BYTES {
                return;
            }
        }
    }
}

/// Prints compact JSON from somewhere else as documents are printed.
pub(crate) fn print(compact: &str) -> String {
    Tabs::default().indent(&escape_json(compact))
}

/// As much of the beginning as is printed at once.
fn first_piece(text: &str) -> &str {
    let end = (PIECE_BYTES..text.len()).find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(text.len())]
}

/// Turns compact JSON into the same with tabs; it may be given in pieces of any size.
#[derive(Debug, Default)]
struct Tabs {
    /// Open arrays and objects.
    depth: usize,
    in_string: bool,
    /// The last character of the string was a backslash that makes the next one an ordinary one.
    is_escaped: bool,
    /// The last character has opened an array or object.
    is_opened: bool,
}

impl Tabs {
    fn indent(&mut self, compact: &str) -> String {
        let mut text = String::with_capacity(2 * compact.len());
        for character in compact.chars() {
            if self.in_string {
                text.push(character);
                self.in_string = self.is_escaped || character != '"';
                self.is_escaped = character == '\\' && !self.is_escaped;
            } else {
                self.token(character, &mut text);
            }
        }
        text
    }

    /// A character outside strings. What is empty stays on one line, and a document ends with a newline.
    fn token(&mut self, character: char, text: &mut String) {
        let closes = matches!(character, '}' | ']');
        if closes {
            self.depth = self.depth.saturating_sub(1);
        }
        if self.is_opened != closes {
            self.line(text);
        }
        self.is_opened = matches!(character, '{' | '[');
        text.push(character);
        match character {
            '{' | '[' => self.depth += 1,
            '}' | ']' if self.depth == 0 => text.push('\n'),
            ',' => self.line(text),
            ':' => text.push(' '),
            '"' => self.in_string = true,
            _ => {}
        }
    }

    fn line(&self, text: &mut String) {
        text.push('\n');
        text.extend(std::iter::repeat_n('\t', self.depth));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;

    /// The document as the printer of `serde_json` writes it.
    fn pretty(value: &Value) -> String {
        let mut bytes = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, tabs)).unwrap();
        String::from_utf8(bytes).unwrap() + "\n"
    }

    #[test]
    fn what_is_empty_stays_on_one_line() {
        let value = json!({"a": [], "b": {}, "c": [[], [{}], "[1,{\"\\\\:"], "d": -2.5e-7});
        let expected = "{\n\t\"a\": [],\n\t\"b\": {},\n\t\"c\": [\n\t\t[],\n\t\t[\n\t\t\t{}\n\t\t],\n\
                        \t\t\"[1,{\\\"\\\\\\\\:\"\n\t],\n\t\"d\": -2.5e-7\n}\n";
        assert_eq!(print(&value.to_string()), expected);
        assert_eq!(pretty(&value), expected);
        assert_eq!(print("{}"), "{}\n");
        assert_eq!(print("[\"\u{9b}é\"]"), "[\n\t\"\\u009bé\"\n]\n");
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            r#"[ -~é"\\\n,:{}\[\]]{0,9}"#.prop_map(Into::into),
        ];
        let value = leaf.prop_recursive(5, 40, 5, |inner| {
            let members = prop::collection::vec((r#"[a-c"\\:]{0,3}"#, inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Into::into),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        value.prop_map(|value| json!({ "a": value }))
    }

    proptest! {
        #[test]
        fn pieces_make_what_serde_json_makes_of_the_whole(value in any_object(), cuts: Vec<u8>) {
            let compact = value.to_string();
            let mut tabs = Tabs::default();
            let mut text = String::new();
            let mut rest = compact.as_str();
            for cut in cuts {
                let at = (0..=usize::from(cut % 16)).rev().find(|&at| rest.is_char_boundary(at)).unwrap();
                text += &tabs.indent(&rest[..at]);
                rest = &rest[at..];
            }
            text += &tabs.indent(rest);
            prop_assert_eq!(text, pretty(&value));
        }
    }

    #[test]
    fn a_piece_ends_at_a_whole_character() {
        let text = "é".repeat(PIECE_BYTES);
        assert_eq!(first_piece(&text).len(), PIECE_BYTES);
        let shifted = format!("a{text}");
        assert_eq!(first_piece(&shifted).len(), PIECE_BYTES + 1);
        assert_eq!(first_piece("ab"), "ab");
    }
}
