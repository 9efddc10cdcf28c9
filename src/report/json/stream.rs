//! The report for programs that do not want to wait for the end: an event per line, with iperf3's keys.

use std::io::{self, Write};

use super::print::{Printing, compact};
use crate::config::Role;
use crate::report::document::{Document, Event, Told};
use crate::report::{Interval, JsonReporter, Reporter, RunEvent, ServerOutput};

/// Writes each event of a test in one line of JSON when it happens, and at the end what remains.
#[derive(Debug)]
pub struct JsonStreamReporter {
    /// The whole document follows the last event.
    full: bool,
    /// Number of the test that this is about, where several run side by side.
    mark: Option<u64>,
    documents: JsonReporter,
}

impl JsonStreamReporter {
    /// A reporter that has seen nothing yet; with `full` the document follows the last event.
    #[must_use]
    pub fn new(role: Role, full: bool) -> Self {
        Self { full, mark: None, documents: JsonReporter::new(role) }
    }

    /// This reporter with the number of its test in each event, for tests side by side.
    #[must_use]
    pub fn marked(self, test: u64) -> Self {
        Self { mark: Some(test), ..self }
    }

    /// This reporter without what iperf3 does not say.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { documents: self.documents.plain(), ..self }
    }

    /// Keeps an interval only if somebody will ask for it once more: a test may have any number of them.
    fn interval(&mut self, interval: &Interval) -> String {
        let session = self.documents.session();
        let asked = session.is_some_and(|session| session.role == Role::Server && session.test.server_output);
        if self.full || asked {
            self.documents.add(&RunEvent::Interval(interval.clone()));
        }
        line(&Event::Interval(self.told(self.documents.collected().interval(interval))))
    }

    /// Writes everything that has not been told yet.
    fn done(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let collected = self.documents.take();
        let Document { error, server_output_json, server_output_text, ringperf, end, .. } =
            collected.document();
        let events = [
            error.map(|error| Event::Error(self.told(error))),
            server_output_json.map(|output| Event::ServerOutputJson(self.told(output))),
            server_output_text.map(|output| Event::ServerOutputText(self.told(output))),
            ringperf.map(|own| Event::Ringperf(self.told(own))),
            Some(Event::End(self.told(end))),
        ];
        let text: String = events.iter().flatten().map(line).collect();
        out.write_all(text.as_bytes())?;
        if self.full { Printing::new(collected).write_to(out) } else { Ok(()) }
    }

    fn told<T>(&self, data: T) -> Told<T> {
        Told { test: self.mark, data }
    }
}

fn line(event: &Event) -> String {
    compact(event) + "\n"
}

impl Reporter for JsonStreamReporter {
    fn event(&mut self, event: &RunEvent, out: &mut dyn Write) -> io::Result<()> {
        let text = match event {
            RunEvent::Interval(interval) => self.interval(interval),
            RunEvent::Done => return self.done(out),
            RunEvent::Start(_) => {
                self.documents.add(event);
                line(&Event::Start(self.told(self.documents.collected().start())))
            }
            _ => {
                self.documents.add(event);
                return Ok(());
            }
        };
        out.write_all(text.as_bytes())
    }

    fn complaint(&self, event: &RunEvent) -> String {
        self.documents.complaint(event)
    }

    fn server_output(&self) -> Option<ServerOutput> {
        self.documents.server_output()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::config::{Direction, TestConfig};
    use crate::report::testing::fixtures::{self, printed};
    use crate::report::{FailureText, Introduction};

    use super::*;

    /// The names of the events, and the data of each.
    fn events(text: &str) -> Vec<(String, Value)> {
        let event = |line: &str| -> (String, Value) {
            let mut event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event.as_object().unwrap().keys().collect::<Vec<_>>(), ["event", "data"]);
            (event["event"].as_str().unwrap().to_owned(), event["data"].take())
        };
        text.lines().map(event).collect()
    }

    #[test]
    fn each_event_is_told_at_once_and_in_the_order_of_iperf3() {
        for (role, asks, kept) in [(Role::Client, true, 0), (Role::Server, false, 0), (Role::Server, true, 2)]
        {
            let config = TestConfig {
                server_output: asks,
                direction: Direction::Bidir,
                parallel: 2,
                ..TestConfig::default()
            };
            let mut reporter = JsonStreamReporter::new(role, false);
            let session = RunEvent::Session(Box::new(fixtures::session(role, config.clone())));
            assert_eq!(printed(&mut reporter, &session), "");
            let direction = Direction::Bidir;
            let mut documents = JsonReporter::new(role);
            for event in [
                RunEvent::Session(Box::new(fixtures::session(role, config))),
                RunEvent::Start(Box::new(fixtures::start(role, direction, 2))),
                RunEvent::Interval(fixtures::interval(role, direction, 2, 0)),
                RunEvent::Interval(fixtures::interval(role, direction, 2, 1)),
                RunEvent::End(Box::new(fixtures::end(role, direction, 2))),
            ] {
                documents.add(&event);
            }
            let whole: Value = serde_json::from_str(&printed(&mut documents, &RunEvent::Done)).unwrap();
            let start = RunEvent::Start(Box::new(fixtures::start(role, Direction::Bidir, 2)));
            let start = printed(&mut reporter, &start);
            assert_eq!(events(&start), [("start".to_owned(), whole["start"].clone())]);
            for second in [0, 1] {
                let interval = RunEvent::Interval(fixtures::interval(role, Direction::Bidir, 2, second));
                let expected = whole["intervals"][usize::try_from(second).unwrap()].clone();
                assert_eq!(events(&printed(&mut reporter, &interval)), [("interval".to_owned(), expected)]);
            }
            let Some(ServerOutput::Json(output)) = reporter.server_output() else { panic!("not a document") };
            let output: Value = serde_json::from_str(&output).unwrap();
            assert_eq!(output["intervals"].as_array().unwrap().len(), kept);
            let end = fixtures::end(role, Direction::Bidir, 2);
            let output = ServerOutput::Text("rows\n".into());
            for event in [
                RunEvent::End(Box::new(end)),
                RunEvent::ServerOutput(output),
                RunEvent::Error(FailureText::new("interrupt - stop", Introduction::Bare)),
            ] {
                assert_eq!(printed(&mut reporter, &event), "");
            }
            let last = events(&printed(&mut reporter, &RunEvent::Done));
            let names: Vec<_> = last.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["error", "server_output_text", "ringperf", "end"]);
            assert_eq!(last[0].1, "interrupt - stop");
            assert_eq!(last[1].1, "rows\n");
            assert_eq!(last[3].1, whole["end"]);
        }
    }

    #[test]
    fn a_full_stream_ends_with_the_document() {
        let mut reporter = JsonStreamReporter::new(Role::Client, true);
        let session = fixtures::session(Role::Client, TestConfig::default());
        printed(&mut reporter, &RunEvent::Session(Box::new(session)));
        let interval = fixtures::interval(Role::Client, Direction::Forward, 1, 0);
        printed(&mut reporter, &RunEvent::Interval(interval));
        let text = printed(&mut reporter, &RunEvent::Done);
        let (line, document) = text.split_once('\n').unwrap();
        assert_eq!(line, r#"{"event":"end","data":{}}"#);
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["intervals"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_stream_of_a_test_that_never_began_is_an_error_and_an_end() {
        let mut reporter = JsonStreamReporter::new(Role::Client, false);
        printed(&mut reporter, &RunEvent::Error("connection\u{202e} refused".into()));
        assert_eq!(
            printed(&mut reporter, &RunEvent::Done),
            "{\"event\":\"error\",\"data\":\"connection\\u202e refused\"}\n\
             {\"event\":\"end\",\"data\":{}}\n"
        );
    }
}
