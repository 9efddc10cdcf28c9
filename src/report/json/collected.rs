//! What a document says of one test, as it becomes known.

use std::io;

use serde::Serialize;

use crate::config::{Flow, Role};
use crate::protocol::PeerReport;
use crate::sys::error_message;

use crate::report::document::{Document, End, Interval, Nothing, Own, Start};
use crate::report::spool::{Spool, Values};
use crate::report::totals::PEER_UNKNOWN;
use crate::report::{
    self, ERROR, FailureText, Introduction, RECORD_BYTES_MAX, RunEvent, ServerOutput, SessionInfo, TestEnd,
    TestStart,
};

/// What becomes the document of one test.
///
/// Intervals become text at once and are kept where they take no memory, since a test may have any number of
/// them.
#[derive(Debug)]
pub(super) struct Collected {
    role: Role,
    /// What iperf3 does not say is said as well.
    extras: bool,
    session: Option<SessionInfo>,
    start: Option<TestStart>,
    /// The text of each.
    intervals: Spool<String>,
    end: Option<TestEnd>,
    server_output: Option<ServerOutput>,
    warnings: Vec<String>,
    error: Option<FailureText>,
}

impl Collected {
    pub(super) fn new(role: Role, extras: bool) -> Self {
        Self {
            role,
            extras,
            session: None,
            start: None,
            intervals: Spool::default(),
            end: None,
            server_output: None,
            warnings: Vec::new(),
            error: None,
        }
    }

    pub(super) fn add(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Session(session) => self.session = Some(SessionInfo::clone(session)),
            RunEvent::Start(start) => self.start = Some(TestStart::clone(start)),
            RunEvent::Interval(interval) => self.add_interval(interval),
            RunEvent::End(end) => {
                self.end = Some(TestEnd::clone(end));
                self.warnings.extend(end.peer_unknown.then(|| PEER_UNKNOWN.to_owned()));
            }
            RunEvent::Peer(peer) => {
                if let Some(end) = &mut self.end {
                    end.peer = Some(PeerReport::clone(peer));
                }
            }
            RunEvent::ServerOutput(output) => self.server_output = Some(output.clone()),
            RunEvent::Warning(text) | RunEvent::CommonWarning(text) => self.warn(text.clone()),
            RunEvent::Error(failure) => self.error = Some(failure.clone()),
            RunEvent::Listening { .. } | RunEvent::OmitOver | RunEvent::Debug(_) | RunEvent::Done => {}
        }
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// The test that has a control connection.
    pub(super) fn session(&self) -> Option<&SessionInfo> {
        self.session.as_ref()
    }

    /// What this end does on the streams of the test, in the order in which they are listed.
    fn flows(&self) -> &'static [Flow] {
        self.session.as_ref().map_or(&[], |session| session.test.direction.flows(self.role))
    }

    /// What it says of who tests what with whom.
    pub(super) fn start(&self) -> Start {
        self.start_with(self.extras)
    }

    fn start_with(&self, extras: bool) -> Start {
        Start::new(self.role, self.session.as_ref(), self.start.as_ref(), extras)
    }

    /// The intervals, which are taken out.
    pub(super) fn take_intervals(&mut self) -> Values<String> {
        std::mem::take(&mut self.intervals).into_values()
    }

    /// All but the intervals.
    pub(super) fn document(&self) -> Document {
        let test = self.session.as_ref().map(|session| &session.test);
        let (server_output_json, server_output_text) = match &self.server_output {
            // The session takes nothing but an object.
            Some(ServerOutput::Json(json)) => (serde_json::from_str(json).ok(), None),
            Some(ServerOutput::Text(text)) => (None, Some(text.clone())),
            None => (None, None),
        };
        let has_extras = self.extras && (self.end.is_some() || !self.warnings.is_empty());
        Document {
            start: self.start(),
            intervals: Vec::new(),
            end: self.end(),
            title: test.and_then(|test| test.title.clone()),
            extra_data: test.and_then(|test| test.extra_data.clone()),
            server_output_json,
            server_output_text,
            error: self.error.as_ref().map(|failure| self.error_text(failure)),
            ringperf: has_extras.then(|| Own::new(self.end.as_ref(), &self.warnings)),
        }
    }

    /// What a server sends to a client that asks for it. A client waits for it only so long, so of a long
    /// test these are the first intervals, and a warning says so.
    pub(super) fn measurements(&self) -> String {
        let extras = self.session.as_ref().is_some_and(|session| session.extras_in_output);
        let start = self.start_with(extras);
        let mut bytes = text_of(&start).len();
        let mut intervals = Vec::new();
        let mut gap = None;
        for line in self.intervals.values() {
            bytes += line.as_ref().map_or(0, |line| line.len() + 1);
            match read_interval(line) {
                Ok(interval) if bytes < RECORD_BYTES_MAX => intervals.push(interval),
                Ok(_) => gap = Some(too_many()),
                Err(error) => gap = Some(unreadable(&error)),
            }
            if gap.is_some() {
                break;
            }
        }
        let ringperf = gap.filter(|_| extras).map(|gap| Own::new(None, &[gap]));
        text_of(&Document { ringperf, ..Document::bare(start, intervals, self.end()) })
    }

    fn add_interval(&mut self, interval: &report::Interval) {
        let line = text_of(&self.interval(interval));
        let warning = self.intervals.push(&line);
        self.warnings.extend(warning);
    }

    /// An element of `intervals`.
    pub(super) fn interval(&self, interval: &report::Interval) -> Interval {
        Interval::new(self.flows(), interval, self.has_rate())
    }

    fn end(&self) -> End {
        match &self.end {
            Some(end) => End::new(self.flows(), end, self.has_rate()),
            None => End::Nothing(Nothing {}),
        }
    }

    fn has_rate(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.has_rate)
    }

    /// A client says no more than the words, as iperf3's does, and so of the two errors that iperf3 writes
    /// where a server has failed only the last, which readers find.
    fn error_text(&self, failure: &FailureText) -> String {
        let words = if self.extras { &failure.full } else { &failure.plain };
        match (self.role, &failure.introduction) {
            (Role::Server, Introduction::Error) => format!("{ERROR}{words}"),
            (Role::Client, _) | (Role::Server, Introduction::Bare | Introduction::ServerError { .. }) => {
                words.clone()
            }
        }
    }
}

/// An interval that was kept.
pub(super) fn read_interval(line: io::Result<String>) -> io::Result<Interval> {
    Ok(serde_json::from_str(&line?)?)
}

/// The warning where a report that is sent leaves off.
fn too_many() -> String {
    let most = RECORD_BYTES_MAX >> 20;
    format!("later intervals are left out: {most} MiB are enough for a report that is sent")
}

/// The warning where a document breaks off its intervals.
pub(super) fn unreadable(error: &io::Error) -> String {
    format!("intervals are missing, their temporary file cannot be read: {}", error_message(error))
}

/// The text of a value in one line.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs become JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::{Direction, TestConfig};
    use crate::report::json::print::Printing;
    use crate::report::system::json_version;
    use crate::report::testing::fixtures;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// A server's document of a test with four streams and so many intervals.
    fn long(intervals: usize) -> Collected {
        let mut document = Collected::new(Role::Server, true);
        let test = TestConfig { direction: Direction::Bidir, parallel: 2, ..TestConfig::default() };
        let session = fixtures::session(Role::Server, test);
        let session = SessionInfo { extras_in_output: true, ..session };
        document.add(&RunEvent::Session(Box::new(session)));
        let interval = fixtures::interval(Role::Server, Direction::Bidir, 2, 0);
        // The first one goes the whole way; to render each of them would take the time of many other tests.
        document.add_interval(&interval);
        let line = text_of(&document.interval(&interval));
        for _ in 1..intervals {
            assert_eq!(document.intervals.push(&line), None);
        }
        document
    }

    fn intervals(document: &Value) -> usize {
        document["intervals"].as_array().unwrap().len()
    }

    #[test]
    fn a_long_test_takes_no_more_memory_than_a_short_one() {
        let document = long(100_000);
        assert!(document.intervals.memory_bytes() <= 8 * MIB, "{}", document.intervals.memory_bytes());
        let warnings: usize = document.warnings.iter().map(String::len).sum();
        assert_eq!(warnings, 0);
    }

    #[test]
    fn a_long_document_is_printed_in_short_pieces() {
        let mut printing = Printing::new(long(10_000));
        let mut text = String::new();
        while let Some(piece) = printing.next() {
            assert!(piece.len() < MIB / 2);
            text += &piece;
        }
        assert!(text.len() > 12 * MIB);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(intervals(&document), 10_000);
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["start", "intervals", "end"]);
    }

    #[test]
    fn a_client_gets_as_many_intervals_as_it_waits_for() {
        let text = long(10_000).measurements();
        assert!(text.len() > 7 * MIB && text.len() < 9 * MIB, "{}", text.len());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert!((4000..10_000).contains(&intervals(&document)));
        assert_eq!(
            document["ringperf"]["warnings"],
            json!(["later intervals are left out: 8 MiB are enough for a report that is sent"])
        );
        let document: Value = serde_json::from_str(&long(100).measurements()).unwrap();
        assert_eq!(intervals(&document), 100);
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["start", "intervals", "end"]);
    }

    /// Not even that some of them are missing, where strict readers would refuse the key.
    #[test]
    fn who_does_not_ask_for_more_gets_what_iperf3_sends() {
        let mut document = long(10_000);
        document.session.as_mut().unwrap().extras_in_output = false;
        let document: Value = serde_json::from_str(&document.measurements()).unwrap();
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["start", "intervals", "end"]);
        assert_eq!(document["start"]["version"], "iperf 3.21");
    }

    #[test]
    fn where_nothing_moves_no_rate_is_told() {
        let (role, direction) = (Role::Client, Direction::Bidir);
        let mut document = Collected::new(role, true);
        let test = TestConfig { direction, ..TestConfig::default() };
        let session = SessionInfo { has_rate: false, ..fixtures::session(role, test) };
        document.add(&RunEvent::Session(Box::new(session)));
        let interval = fixtures::interval(role, direction, 1, 0);
        let of_interval: Value = serde_json::to_value(document.interval(&interval)).unwrap();
        document.add(&RunEvent::End(Box::new(fixtures::end(role, direction, 1))));
        let whole: Value = serde_json::to_value(document.document()).unwrap();
        for rate in [
            &of_interval["streams"][0]["bits_per_second"],
            &of_interval["sum_bidir_reverse"]["bits_per_second"],
            &whole["end"]["streams"][1]["receiver"]["bits_per_second"],
            &whole["end"]["sum_sent"]["bits_per_second"],
        ] {
            assert_eq!(*rate, Value::Null);
        }
        let text = of_interval.to_string() + &whole.to_string();
        assert!(
            text.matches("\"bits_per_second\":null").count() == text.matches("\"bits_per_second\"").count()
        );
    }

    #[test]
    fn without_extras_a_document_has_only_keys_and_words_of_iperf3() {
        let (role, direction) = (Role::Client, Direction::Forward);
        let failure = FailureText {
            full: "full (it says why)".into(),
            plain: "full".into(),
            introduction: Introduction::ServerError { announcement: "full".into() },
        };
        for (extras, keys, version, error) in [
            (false, &["start", "intervals", "end", "error"][..], "iperf 3.21", "full"),
            (
                true,
                &["start", "intervals", "end", "error", "ringperf"],
                json_version(true),
                "full (it says why)",
            ),
        ] {
            let mut document = Collected::new(role, extras);
            document.add(&RunEvent::Session(Box::new(fixtures::session(role, TestConfig::default()))));
            document.add(&RunEvent::End(Box::new(fixtures::end(role, direction, 1))));
            document.add(&RunEvent::Warning("w".into()));
            document.add(&RunEvent::CommonWarning("w".into()));
            document.add(&RunEvent::Error(failure.clone()));
            let document: Value = serde_json::to_value(document.document()).unwrap();
            assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
            assert_eq!(document["start"]["version"], version);
            assert_eq!(document["error"], error);
        }
    }

    #[test]
    fn a_file_that_is_lost_breaks_no_document() {
        let document = long(10_000);
        document.intervals.cut_file(MIB);
        let sent: Value = serde_json::from_str(&document.measurements()).unwrap();
        let mut printing = Printing::new(document);
        let text: String = std::iter::from_fn(|| printing.next()).collect();
        let printed: Value = serde_json::from_str(&text).unwrap();
        for document in [sent, printed] {
            assert!((100..2000).contains(&intervals(&document)));
            let warning = document["ringperf"]["warnings"][0].as_str().unwrap();
            assert!(warning.starts_with("intervals are missing, their temporary file cannot be read: "));
        }
    }
}
