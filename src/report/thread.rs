//! The report thread: takes events as they come and writes what they give.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::output::{Output, Sink, complain_of_no_reader, to_standard_error};
use super::{Reporter, RunEvent, ServerOutput};
use crate::sys::start_thread;

/// The sending end of the report thread. Emitting never waits for a terminal.
#[derive(Debug)]
pub struct ReportHandle {
    messages: Option<Sender<Message>>,
    thread: Option<ReportThread>,
    /// The test that all events of this handle belong to.
    test: Option<u64>,
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

/// Makes the reporter of a test by its number; without one that of all that belongs to no test.
pub type MakeReporter = Box<dyn Fn(Option<u64>) -> Box<dyn Reporter> + Send>;

/// Some of the report could not be written. Standard error has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to write the report")]
pub struct Unwritten;

/// Tells the report what passes between the two ends, as far as `-d` asks for it.
#[derive(Clone, Debug)]
pub struct DebugLog {
    messages: Option<Sender<Message>>,
    test: Option<u64>,
    level: u8,
}

impl DebugLog {
    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self { messages: None, test: None, level: 0 }
    }

    /// Tells `text`, complete lines, if `-d` asks for this level, which is 1 to 4.
    pub fn tell(&self, level: u8, text: impl FnOnce() -> String) {
        if let Some(messages) = self.messages.as_ref().filter(|_| level <= self.level) {
            // Fails only when the report is finished or its thread has panicked, which finish() tells.
            let _ = messages.send(Message::Event(self.test, Box::new(RunEvent::Debug(text()))));
        }
    }
}

enum Message {
    Event(Option<u64>, Box<RunEvent>),
    ServerOutput(Option<u64>, oneshot::Sender<ServerOutput>),
    Forget(Option<u64>),
    Written(oneshot::Sender<Result<(), Unwritten>>),
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
        Self::start_with(Desk { common: make(None), make: Some(make), tests: BTreeMap::new() }, sink)
    }

    fn start_with(desk: Desk, sink: Sink) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let (still_there, over) = mpsc::channel();
        let has_terminal = matches!(sink, Sink::Standard) && io::stderr().is_terminal();
        let result = start_thread("report", move || {
            let _still_there = still_there;
            write_all(&inbox, desk, Output::new(sink))
        })?;
        let thread = ReportThread { result, over };
        Ok(Self { messages: Some(messages), thread: Some(thread), test: None, has_terminal })
    }

    /// A handle of the same thread for the events of test number `test`, which ends with [`RunEvent::Done`].
    ///
    /// [`Self::finish`] of the first handle waits until all others are gone.
    #[must_use]
    pub fn of_test(&self, test: u64) -> Self {
        let (messages, has_terminal) = (self.messages.clone(), self.has_terminal);
        Self { messages, thread: None, test: Some(test), has_terminal }
    }

    /// A log that tells this report everything up to `level`, which is that of `-d`: 0 for none, to 4.
    ///
    /// [`Self::finish`] waits until all logs of a level above 0 are gone.
    #[must_use]
    pub fn debug_log(&self, level: u8) -> DebugLog {
        DebugLog { messages: self.messages.clone().filter(|_| level > 0), test: self.test, level }
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
        Self { messages: None, thread: None, test: self.test, has_terminal: false }
    }

    /// Whether somebody hears of its events.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.messages.is_some()
    }

    /// There is no report of this test: what it has told so far is all.
    pub fn forget(&self) {
        self.send(Message::Forget(self.test));
    }

    /// Hands an event over.
    pub fn emit(&self, event: RunEvent) {
        self.send(Message::Event(self.test, Box::new(event)));
    }

    /// What a server sends to a client that asked for its output: all that was reported of this test so far.
    pub async fn server_output(&self) -> Option<ServerOutput> {
        let (answer, question) = oneshot::channel();
        self.send(Message::ServerOutput(self.test, answer));
        question.await.ok()
    }

    /// Waits until everything that was handed over so far is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    pub async fn written(&self) -> Result<(), Unwritten> {
        let (answer, question) = oneshot::channel();
        self.send(Message::Written(answer));
        question.await.unwrap_or(Err(Unwritten))
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    ///
    /// # Panics
    /// If the report thread has panicked.
    pub fn finish(mut self) -> Result<(), Unwritten> {
        self.messages = None;
        match self.thread.take() {
            Some(thread) => thread.result.join().expect("the report thread does not panic"),
            None => Ok(()),
        }
    }

    /// The same for at most `wait`: whoever should read the report may have stopped doing so, and a signal is
    /// to end the process all the same.
    ///
    /// # Errors
    /// [`Unwritten`] as [`Self::finish`], or if some of it could not be written in time.
    ///
    /// # Panics
    /// As [`Self::finish`].
    pub fn finish_within(mut self, wait: Duration) -> Result<(), Unwritten> {
        self.messages = None;
        let over = self.thread.as_ref().map(|thread| thread.over.recv_timeout(wait));
        if over == Some(Err(RecvTimeoutError::Timeout)) {
            complain_of_no_reader();
            return Err(Unwritten);
        }
        self.finish()
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // Fails only when the thread has panicked, which finish() tells.
            let _ = messages.send(message);
        }
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
            (Some(make), Some(number)) => self.tests.entry(number).or_insert_with(|| make(test)),
            _ => &mut self.common,
        }
    }

    /// Writes what an event gives.
    fn write(&mut self, test: Option<u64>, event: &RunEvent, output: &mut Output) {
        let reporter = self.reporter(test);
        output.report(&reporter.event(event));
        write_more(&mut **reporter, output);
        output.complain(&reporter.complaint(event));
        let is_done = matches!(event, RunEvent::Done);
        if let (Some(number), true) = (test, is_done) {
            self.tests.remove(&number);
        }
        if self.tests.is_empty() && (is_done || matches!(event, RunEvent::Listening { .. })) {
            output.rest();
        }
    }
}

fn write_all(inbox: &Receiver<Message>, mut desk: Desk, mut output: Output) -> Result<(), Unwritten> {
    for message in inbox {
        match message {
            Message::Event(test, event) => desk.write(test, &event, &mut output),
            // These fail only when the session that asked is gone.
            Message::ServerOutput(test, answer) => drop(answer.send(desk.reporter(test).server_output())),
            Message::Forget(test) => drop(test.and_then(|test| desk.tests.remove(&test))),
            Message::Written(answer) => drop(answer.send(state(&output))),
        }
    }
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
    use crate::config::OutputConfig;
    use crate::report::{LogFile, TextReporter};

    #[test]
    fn tests_side_by_side_have_reporters_of_their_own_until_they_are_done() {
        let path = std::env::temp_dir().join(format!("ringperf-many-{}", std::process::id()));
        let sink = Sink::LogFile(LogFile::open(&path).unwrap());
        let make: MakeReporter = Box::new(|test| {
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
}
