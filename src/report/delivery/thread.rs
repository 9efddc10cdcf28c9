//! The report thread: takes events as they come and writes what they give.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backlog::{Backlog, Message, Outbox};
use super::output::{Output, Sink, complain_of_no_reader, to_standard_error};
use crate::report::{Reporter, RunEvent, ServerOutput};
use crate::sys::start_thread;

/// The sending end of the report thread. Emitting never waits for a terminal: what has no room because nobody
/// reads the report is left out, and a warning says how much that was.
#[derive(Debug)]
pub struct ReportHandle {
    /// Gone once the report is finished.
    outbox: Option<Outbox>,
    thread: Option<ReportThread>,
    /// Errors are shown on a terminal.
    has_terminal: bool,
}

/// The receiving end, which the first handle has.
#[derive(Debug)]
struct ReportThread {
    result: JoinHandle<Result<(), Unwritten>>,
    /// Closed when the thread is over.
    over: Receiver<()>,
}

/// Makes the reporter of a test by its number; without one that of all that belongs to no test. Told as well
/// is whether another test is being reported, so that the lines of both must be told apart.
pub type MakeReporter = Box<dyn Fn(Option<u64>, bool) -> Box<dyn Reporter> + Send>;

/// Some of the report could not be written. Standard error has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to write the report")]
pub struct Unwritten;

/// Tells the report what passes between the two ends, as far as `-d` asks for it.
#[derive(Clone, Debug)]
pub struct DebugLog {
    outbox: Option<Outbox>,
    level: u8,
}

impl DebugLog {
    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self { outbox: None, level: 0 }
    }

    /// Tells `text`, complete lines, if `-d` asks for this level, which is 1 to 4.
    pub fn tell(&self, level: u8, text: impl FnOnce() -> String) {
        if let Some(outbox) = self.outbox.as_ref().filter(|_| level <= self.level) {
            outbox.post(RunEvent::Debug(text()));
        }
    }
}

impl ReportHandle {
    /// Starts the thread for one reporter, which gets everything.
    ///
    /// # Errors
    /// The system's when it has no thread to give.
    pub fn start(reporter: Box<dyn Reporter>, sink: Sink) -> io::Result<Self> {
        Self::start_with(Desk { common: reporter, make: None, tests: BTreeMap::new() }, sink)
    }

    /// Starts the thread for tests side by side, each with a reporter of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_many(make: MakeReporter, sink: Sink) -> io::Result<Self> {
        Self::start_with(Desk { common: make(None, false), make: Some(make), tests: BTreeMap::new() }, sink)
    }

    fn start_with(desk: Desk, sink: Sink) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let (still_there, over) = mpsc::channel();
        let has_terminal = matches!(sink, Sink::Standard) && io::stderr().is_terminal();
        let backlog = Arc::new(Backlog::default());
        let outbox = Outbox::new(messages, Arc::clone(&backlog));
        let result = start_thread("report", move || {
            let _still_there = still_there;
            write_all(&inbox, &backlog, desk, Output::new(sink))
        })?;
        let thread = ReportThread { result, over };
        Ok(Self { outbox: Some(outbox), thread: Some(thread), has_terminal })
    }

    /// A handle of the same thread for the events of test number `test`, of which there are none yet, and
    /// which ends with [`RunEvent::Done`].
    ///
    /// [`Self::finish`] of the first handle waits until all others are gone.
    #[must_use]
    pub fn of_test(&self, test: u64) -> Self {
        let outbox = self.outbox.as_ref().map(|outbox| outbox.of_test(test));
        Self { outbox, thread: None, has_terminal: self.has_terminal }
    }

    /// One more handle for the events of the same test.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { outbox: self.outbox.clone(), thread: None, has_terminal: self.has_terminal }
    }

    /// A log that tells this report everything up to `level`, which is that of `-d`: 0 for none, to 4.
    ///
    /// [`Self::finish`] waits until all logs of a level above 0 are gone.
    #[must_use]
    pub fn debug_log(&self, level: u8) -> DebugLog {
        DebugLog { outbox: self.outbox.clone().filter(|_| level > 0), level }
    }

    /// Writes a line for somebody who sits at a terminal, and only there, on standard error.
    pub fn tell_terminal(&self, line: &str) {
        if self.has_terminal {
            to_standard_error(line);
        }
    }

    /// A handle of the same test whose events nobody hears of.
    #[must_use]
    pub fn muted(&self) -> Self {
        Self { outbox: None, thread: None, has_terminal: false }
    }

    /// Whether somebody hears of its events.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.outbox.is_some()
    }

    /// There is no report of this test: what it has told so far is all.
    pub fn forget(&self) {
        self.outbox.iter().for_each(Outbox::forget);
    }

    /// Hands an event over, if there is room for it. [`RunEvent::Done`] always has some, unless nothing of
    /// its test had.
    pub fn emit(&self, event: RunEvent) {
        if let Some(outbox) = &self.outbox {
            outbox.post(event);
        }
    }

    /// What a server sends to a client that asked for its output: all that was reported of this test so far.
    pub async fn server_output(&self) -> Option<ServerOutput> {
        self.outbox.as_ref()?.server_output().await
    }

    /// Waits until everything that was handed over so far is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    pub async fn written(&self) -> Result<(), Unwritten> {
        match &self.outbox {
            Some(outbox) => outbox.written().await,
            None => Err(Unwritten),
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    ///
    /// # Panics
    /// If the report thread has panicked.
    pub fn finish(mut self) -> Result<(), Unwritten> {
        self.outbox = None;
        match self.thread.take() {
            Some(thread) => thread.result.join().expect("the report thread does not panic"),
            None => Ok(()),
        }
    }

    /// Waits until everything is written, but at most `wait`: whoever should read the report may have
    /// stopped doing so, and a signal is to end the process all the same.
    ///
    /// # Errors
    /// [`Unwritten`] as [`Self::finish`], or if some of it could not be written in time.
    ///
    /// # Panics
    /// As [`Self::finish`].
    pub fn finish_within(mut self, wait: Duration) -> Result<(), Unwritten> {
        self.outbox = None;
        let over = self.thread.as_ref().map(|thread| thread.over.recv_timeout(wait));
        if over == Some(Err(RecvTimeoutError::Timeout)) {
            complain_of_no_reader();
            return Err(Unwritten);
        }
        self.finish()
    }
}

/// The reporters of the tests that run, and the one of everything else.
struct Desk {
    common: Box<dyn Reporter>,
    /// Without it the common reporter has the tests as well, one after the other.
    make: Option<MakeReporter>,
    tests: BTreeMap<u64, Box<dyn Reporter>>,
}

impl Desk {
    fn reporter(&mut self, test: Option<u64>) -> &mut Box<dyn Reporter> {
        match (&self.make, test) {
            (Some(make), Some(number)) => {
                let is_beside = !self.tests.is_empty();
                self.tests.entry(number).or_insert_with(|| make(test, is_beside))
            }
            _ => &mut self.common,
        }
    }

    /// Writes what an event gives.
    fn write(&mut self, test: Option<u64>, event: &RunEvent, output: &mut Output) {
        let knows = test.is_some_and(|number| self.tests.contains_key(&number));
        let reporter = self.reporter(test);
        output.report(&reporter.event(event));
        write_more(&mut **reporter, output);
        output.complain(&reporter.complaint(event));
        let is_done = matches!(event, RunEvent::Done);
        // What passes between the two ends is told before a test begins and after it is done as well.
        let is_no_begin = matches!(event, RunEvent::Debug(_)) && !knows;
        if let (Some(number), true) = (test, is_done || is_no_begin) {
            self.tests.remove(&number);
        }
        if self.tests.is_empty() && (is_done || matches!(event, RunEvent::Listening { .. })) {
            output.rest();
        }
    }
}

fn write_all(
    inbox: &Receiver<Message>,
    backlog: &Backlog,
    mut desk: Desk,
    mut output: Output,
) -> Result<(), Unwritten> {
    for message in inbox {
        match message {
            Message::Event(test, event, bytes) => {
                desk.write(test, &event, &mut output);
                drop(event);
                backlog.done_with(bytes);
            }
            // These fail only when the session that asked is gone.
            Message::ServerOutput(test, answer) => drop(answer.send(desk.reporter(test).server_output())),
            Message::Forget(test) => drop(test.and_then(|test| desk.tests.remove(&test))),
            Message::Written(answer) => drop(answer.send(state(&output))),
        }
    }
    // Nobody was there any more to tell it, and a document is told with its last word.
    let untold = backlog.left_out().map(|left_out| [left_out, RunEvent::Done]);
    untold.iter().flatten().for_each(|event| desk.write(None, event, &mut output));
    state(&output)
}

/// Writes what the last event asks for beyond its lines. What comes behind a gap would be no document.
fn write_more(reporter: &mut dyn Reporter, output: &mut Output) {
    let mut is_whole = true;
    while let Some(piece) = reporter.more() {
        if is_whole {
            output.report(&piece);
            is_whole = output.is_well();
        }
    }
}

fn state(output: &Output) -> Result<(), Unwritten> {
    if output.is_well() { Ok(()) } else { Err(Unwritten) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OutputConfig, Role, TestConfig};
    use crate::report::testing::fixtures;
    use crate::report::{JsonReporter, LogFile, TextReporter};

    #[test]
    fn tests_side_by_side_have_reporters_of_their_own_until_they_are_done() {
        let path = std::env::temp_dir().join(format!("ringperf-many-{}", std::process::id()));
        let sink = Sink::LogFile(LogFile::open(&path).unwrap());
        let make: MakeReporter = Box::new(|test, _| {
            let reporter = TextReporter::new(&OutputConfig::default());
            Box::new(test.into_iter().fold(reporter, TextReporter::marked))
        });
        let report = ReportHandle::start_many(make, sink).unwrap();
        let tests = [report.of_test(7), report.of_test(8)];
        for text in ["one\n", "two\n"] {
            tests.iter().for_each(|test| test.emit(RunEvent::Debug(text.to_owned())));
        }
        tests[0].emit(RunEvent::Error("over".into()));
        tests.iter().for_each(|test| test.emit(RunEvent::Done));
        report.emit(RunEvent::Debug("three\n".to_owned()));
        drop(tests);
        report.finish().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = "#7:  one\n#8:  one\n#7:  two\n#8:  two\n#7:  ringperf: error - over\nthree\n";
        assert_eq!(written, expected);
    }

    /// Takes nothing before it is told to.
    struct Halted(Option<std::sync::mpsc::Receiver<()>>, JsonReporter);

    impl Reporter for Halted {
        fn event(&mut self, event: &RunEvent) -> String {
            self.0.take().into_iter().for_each(|told| told.recv().unwrap());
            self.1.event(event)
        }

        fn more(&mut self) -> Option<String> {
            self.1.more()
        }

        fn complaint(&self, event: &RunEvent) -> String {
            self.1.complaint(event)
        }

        fn server_output(&self) -> ServerOutput {
            self.1.server_output()
        }
    }

    #[test]
    fn documents_are_whole_whatever_had_no_room() {
        let path = std::env::temp_dir().join(format!("ringperf-backlog-{}", std::process::id()));
        let sink = Sink::LogFile(LogFile::open(&path).unwrap());
        let (go, told) = mpsc::channel();
        let role = Role::Server;
        let report =
            ReportHandle::start(Box::new(Halted(Some(told), JsonReporter::new(role))), sink).unwrap();
        let config = TestConfig { title: Some("t".repeat(7000)), parallel: 20, ..TestConfig::default() };
        let tests = 2000;
        for test in 1..=tests {
            let of_test = report.of_test(test);
            of_test.emit(RunEvent::Session(Box::new(fixtures::session(role, config.clone()))));
            let direction = config.direction;
            of_test.emit(RunEvent::Start(Box::new(fixtures::start(role, direction, 20))));
            (0..test % 50).for_each(|second| {
                of_test.emit(RunEvent::Interval(fixtures::interval(role, direction, 20, second)));
            });
            of_test.emit(RunEvent::End(Box::new(fixtures::end(role, direction, 20))));
            of_test.emit(RunEvent::Done);
        }
        go.send(()).unwrap();
        report.finish().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let documents = serde_json::Deserializer::from_str(&written).into_iter::<serde_json::Value>();
        let documents: Vec<serde_json::Value> = documents.map(Result::unwrap).collect();
        assert!((10..1500).contains(&documents.len()), "{} documents", documents.len());
        let (told, documents) = documents.split_last().unwrap();
        assert!(told["ringperf"]["warnings"][0].as_str().unwrap().contains(" tests had no room"), "{told}");
        for document in documents {
            assert_eq!(document["end"]["sum_received"]["bytes"], 20 * 2 * 655_360, "{document}");
        }
    }
}
