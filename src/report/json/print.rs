//! JSON on its way out: in lines or with tabs, a document in pieces, and without a character that a terminal
//! would obey.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::collected::{Collected, read_interval, unreadable};
use crate::report::document::{Document, Interval};
use crate::report::escape::escape_json;
use crate::report::spool::Values;

/// Bytes of a piece, as far as whole intervals allow.
const PIECE_BYTES: usize = 64 * 1024;

/// What `expect` says of text that is written into memory.
const CANNOT_FAIL: &str = "memory takes what is written, and reports have only text for keys";

/// The document of a test that is done. However many intervals it has, a few of them are in memory at a time.
#[derive(Debug)]
pub(super) struct Printing {
    collected: Collected,
    /// Those that are still to come.
    intervals: Option<Values<String>>,
    text: Tabbed,
    /// Text that is ready, printed up to `at`.
    ready: String,
    at: usize,
}

impl Printing {
    pub(super) fn new(mut collected: Collected) -> Self {
        let intervals = Some(collected.take_intervals());
        let mut text = Tabbed::default();
        text.begin(&collected).expect(CANNOT_FAIL);
        let ready = text.take();
        Self { collected, intervals, text, ready, at: 0 }
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
            self.refill().expect(CANNOT_FAIL);
        }
        let piece = first_piece(&self.ready[self.at..]);
        self.at += piece.len();
        (!piece.is_empty()).then(|| piece.to_owned())
    }

    /// The next intervals, and behind the last one all that follows them.
    fn refill(&mut self) -> io::Result<()> {
        while let Some(intervals) = &mut self.intervals
            && self.text.bytes.len() < PIECE_BYTES
        {
            match intervals.next().map(read_interval) {
                Some(Ok(interval)) => self.text.interval(&interval)?,
                end => {
                    if let Some(Err(error)) = end {
                        self.collected.warn(unreadable(&error));
                    }
                    self.intervals = None;
                    self.text.finish(&self.collected.document())?;
                }
            }
        }
        self.ready = self.text.take();
        self.at = 0;
        Ok(())
    }
}

/// The text of a value in one line, without its end.
pub(super) fn compact(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Harmless(CompactFormatter));
    value.serialize(&mut serializer).expect(CANNOT_FAIL);
    text_of(bytes)
}

/// Prints JSON from somewhere else as documents are printed.
pub(crate) fn print(json: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return escape_json(json).into_owned() };
    let mut text = Tabbed::default();
    text.value(&value).expect(CANNOT_FAIL);
    text.bytes.push(b'\n');
    text.take()
}

/// As much of the beginning as is printed at once.
fn first_piece(text: &str) -> &str {
    let end = (PIECE_BYTES..text.len()).find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(text.len())]
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Text with tabs, of a value or of a document whose intervals come one by one.
#[derive(Debug)]
struct Tabbed {
    bytes: Vec<u8>,
    tabs: Harmless<PrettyFormatter<'static>>,
    /// No interval is there yet.
    is_first: bool,
}

impl Default for Tabbed {
    fn default() -> Self {
        let tabs = Harmless(PrettyFormatter::with_indent(b"\t"));
        Self { bytes: Vec::new(), tabs, is_first: true }
    }
}

impl Tabbed {
    fn take(&mut self) -> String {
        text_of(std::mem::take(&mut self.bytes))
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
        value.serialize(&mut Serializer::with_formatter(&mut self.bytes, self.tabs.clone()))
    }

    /// All up to the intervals.
    fn begin(&mut self, collected: &Collected) -> io::Result<()> {
        self.tabs.begin_object(&mut self.bytes)?;
        self.key("start", true)?;
        self.value(&collected.start())?;
        self.tabs.end_object_value(&mut self.bytes)?;
        self.key("intervals", false)?;
        self.tabs.begin_array(&mut self.bytes)
    }

    fn interval(&mut self, interval: &Interval) -> io::Result<()> {
        self.tabs.begin_array_value(&mut self.bytes, std::mem::take(&mut self.is_first))?;
        self.value(interval)?;
        self.tabs.end_array_value(&mut self.bytes)
    }

    /// All behind the intervals.
    fn finish(&mut self, document: &Document) -> io::Result<()> {
        let Document {
            start: _,
            intervals: _,
            end,
            title,
            extra_data,
            server_output_json,
            server_output_text,
            error,
            ringperf,
        } = document;
        self.tabs.end_array(&mut self.bytes)?;
        self.tabs.end_object_value(&mut self.bytes)?;
        self.member("end", Some(end))?;
        self.member("title", title.as_ref())?;
        self.member("extra_data", extra_data.as_ref())?;
        self.member("server_output_json", server_output_json.as_ref())?;
        self.member("server_output_text", server_output_text.as_ref())?;
        self.member("error", error.as_ref())?;
        self.member("ringperf", ringperf.as_ref())?;
        self.tabs.end_object(&mut self.bytes)?;
        self.bytes.push(b'\n');
        Ok(())
    }

    /// A member that is not the first, if it is there.
    fn member(&mut self, key: &str, value: Option<&impl Serialize>) -> io::Result<()> {
        let Some(value) = value else { return Ok(()) };
        self.key(key, false)?;
        self.value(value)?;
        self.tabs.end_object_value(&mut self.bytes)
    }

    fn key(&mut self, key: &str, is_first: bool) -> io::Result<()> {
        self.tabs.begin_object_key(&mut self.bytes, is_first)?;
        self.value(key)?;
        self.tabs.end_object_key(&mut self.bytes)?;
        self.tabs.begin_object_value(&mut self.bytes)
    }
}

/// Writes the characters that a terminal would obey as escapes, and all else as another formatter does.
#[derive(Clone, Debug)]
struct Harmless<F>(F);

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        writer.write_all(escape_json(fragment).as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The document as the printer of `serde_json` writes it.
    fn pretty(value: &Value) -> String {
        let mut bytes = Vec::new();
        let tabs = PrettyFormatter::with_indent(b"\t");
        value.serialize(&mut Serializer::with_formatter(&mut bytes, tabs)).unwrap();
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
        fn what_is_printed_is_what_serde_json_makes_of_it(value in any_object()) {
            prop_assert_eq!(print(&value.to_string()), pretty(&value));
            prop_assert_eq!(compact(&value), value.to_string());
        }
    }

    #[test]
    fn no_string_has_a_character_that_a_terminal_obeys() {
        let value = json!({"\u{7f}\u{2028}": ["\u{9b}\u{202e}é\u{1b}"]});
        assert_eq!(compact(&value), r#"{"\u007f\u2028":["\u009b\u202eé\u001b"]}"#);
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
