//! The report thread: takes events as they come and lets all observers write what these give.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backlog::{Backlog, Message, Outbox};
use super::observer::Observer;
use super::output::{Unwritten, complain_of_no_reader, to_standard_error};
use crate::report::{Intervals, RunEvent, ServerOutput};
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
    /// Those that the first observer that keeps some keeps.
    intervals: Option<Intervals>,
}

/// The receiving end, which the first handle has.
#[derive(Debug)]
struct ReportThread {
    result: JoinHandle<Result<(), Unwritten>>,
    /// Closed when the thread is over.
    over: Receiver<()>,
}

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
    /// Starts the thread for any number of observers, of which each gets everything, in this order.
    ///
    /// # Errors
    /// The system's when it has no thread to give.
    pub fn start(observers: Vec<Observer>) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let (still_there, over) = mpsc::channel();
        let has_terminal = observers.iter().any(Observer::is_standard) && io::stderr().is_terminal();
        let intervals = observers.iter().find_map(Observer::intervals).cloned();
        let backlog = Arc::new(Backlog::default());
        let outbox = Outbox::new(messages, Arc::clone(&backlog));
        let result = start_thread("report", move || {
            let _still_there = still_there;
            write_all(&inbox, &backlog, observers)
        })?;
        let thread = ReportThread { result, over };
        Ok(Self { outbox: Some(outbox), thread: Some(thread), has_terminal, intervals })
    }

    /// A handle of the same thread for the events of test number `test`, of which there are none yet, and
    /// which ends with [`RunEvent::Done`].
    ///
    /// [`Self::finish`] of the first handle waits until all others are gone.
    #[must_use]
    pub fn of_test(&self, test: u64) -> Self {
        let outbox = self.outbox.as_ref().map(|outbox| outbox.of_test(test));
        Self { outbox, thread: None, has_terminal: self.has_terminal, intervals: None }
    }

    /// One more handle for the events of the same test.
    #[must_use]
    pub fn another(&self) -> Self {
        let outbox = self.outbox.clone();
        Self { outbox, thread: None, has_terminal: self.has_terminal, intervals: None }
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
        Self { outbox: None, thread: None, has_terminal: false, intervals: None }
    }

    /// The intervals of the run, if an observer keeps them.
    #[must_use]
    pub fn intervals(&self) -> Option<Intervals> {
        self.intervals.clone()
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

    /// What a server sends to a client that asked for its output: all that was reported of this test so far,
    /// by the first observer that has such an output.
    pub async fn server_output(&self) -> Option<ServerOutput> {
        self.outbox.as_ref()?.server_output().await
    }

    /// Waits until everything that was handed over so far is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write to any sink failed, for example to a full disk.
    pub async fn written(&self) -> Result<(), Unwritten> {
        match &self.outbox {
            Some(outbox) => outbox.written().await,
            None => Err(Unwritten::GONE),
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write to any sink failed, for example to a full disk.
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
            return Err(Unwritten::TOO_LATE);
        }
        self.finish()
    }
}

fn write_all(
    inbox: &Receiver<Message>,
    backlog: &Backlog,
    mut observers: Vec<Observer>,
) -> Result<(), Unwritten> {
    for message in inbox {
        match message {
            Message::Event(test, event, bytes) => {
                tell(&mut observers, test, &event);
                drop(event);
                backlog.done_with(bytes);
            }
            Message::ServerOutput(test, answer) => {
                let output = observers.iter_mut().find_map(|observer| observer.server_output(test));
                // This and the other answer fail only when the session that asked is gone.
                drop(answer.send(output));
            }
            Message::Forget(test) => observers.iter_mut().for_each(|observer| observer.forget(test)),
            Message::Written(answer) => drop(answer.send(state(&observers))),
        }
    }
    // Nobody was there any more to tell it, and a document is told with its last word.
    let untold = backlog.left_out().map(|left_out| [left_out, RunEvent::Done]);
    untold.iter().flatten().for_each(|event| tell(&mut observers, None, event));
    state(&observers)
}

/// Tells all observers, and standard error of sinks that begin to fail.
fn tell(observers: &mut [Observer], test: Option<u64>, event: &RunEvent) {
    for failure in observers.iter_mut().filter_map(|observer| observer.take(test, event)) {
        to_standard_error(&format!("ringperf: error - {failure}\n"));
    }
}

fn state(observers: &[Observer]) -> Result<(), Unwritten> {
    match observers.iter().find_map(Observer::failed) {
        Some(kind) => Err(Unwritten { kind }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::config::{Direction, OutputConfig, Role, TestConfig};
    use crate::report::testing::fixtures;
    use crate::report::{JsonReporter, LogFile, MakeReporter, Reporter, Sink, TextReporter};

    /// A writer whose text can be looked at while somebody else has it.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text_reporter() -> Box<dyn Reporter> {
        Box::new(TextReporter::new(&OutputConfig::default()))
    }

    fn json_reporter() -> Box<dyn Reporter> {
        Box::new(JsonReporter::new(Role::Client))
    }

    /// A client's test of two seconds, with a warning.
    fn events() -> Vec<RunEvent> {
        let (role, direction) = (Role::Client, Direction::Forward);
        vec![
            RunEvent::Session(Box::new(fixtures::session(role, TestConfig::default()))),
            RunEvent::Start(Box::new(fixtures::start(role, direction, 1))),
            RunEvent::Interval(fixtures::interval(role, direction, 1, 0)),
            RunEvent::Warning("w".to_owned()),
            RunEvent::Interval(fixtures::interval(role, direction, 1, 1)),
            RunEvent::End(Box::new(fixtures::end(role, direction, 1))),
            RunEvent::Done,
        ]
    }

    /// All that a reporter writes that has a run for itself.
    fn alone(mut reporter: Box<dyn Reporter>) -> String {
        events().iter().map(|event| fixtures::printed(reporter.as_mut(), event)).collect()
    }

    #[test]
    fn each_observer_has_the_whole_run_in_its_own_sink() {
        let (text, json) = (Shared::default(), Shared::default());
        let report = ReportHandle::start(vec![
            Observer::new(text_reporter(), Sink::Writer(Box::new(text.clone()))),
            Observer::new(json_reporter(), Sink::Writer(Box::new(json.clone()))),
        ]);
        let report = report.unwrap();
        events().into_iter().for_each(|event| report.emit(event));
        report.finish().unwrap();
        assert_eq!(text.text(), alone(text_reporter()));
        assert_eq!(json.text(), alone(json_reporter()));
        assert!(text.text().contains("receiver") && json.text().contains("sum_received"));
    }

    #[test]
    fn a_sink_that_fails_is_told_of_once_and_is_no_matter_of_the_others() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let full = Sink::LogFile(LogFile::open(Path::new("/dev/full")).unwrap());
        for (sink, kind, words) in [
            (Sink::Writer(Box::new(pipe)), io::ErrorKind::BrokenPipe, "report: Broken pipe"),
            (full, io::ErrorKind::StorageFull, "report to /dev/full: No space left on device"),
        ] {
            let json = Shared::default();
            let mut observers = [
                Observer::new(text_reporter(), sink),
                Observer::new(json_reporter(), Sink::Writer(Box::new(json.clone()))),
            ];
            let mut told = Vec::new();
            for event in events() {
                told.extend(observers.iter_mut().filter_map(|observer| observer.take(None, &event)));
            }
            let told: Vec<String> = told.iter().map(ToString::to_string).collect();
            assert_eq!(told, [format!("unable to write the {words}")]);
            assert_eq!(json.text(), alone(json_reporter()));
            assert_eq!(state(&observers), Err(Unwritten { kind }));
        }
    }

    /// Takes only so many bytes, and counts the calls that it refuses.
    struct Narrow {
        room: usize,
        refused: Arc<Mutex<u32>>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.room = self.room.checked_sub(bytes.len()).ok_or_else(|| {
                *self.refused.lock().unwrap() += 1;
                io::Error::from(io::ErrorKind::QuotaExceeded)
            })?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_comes_behind_the_piece_of_a_document_that_had_no_room() {
        let refused = Arc::new(Mutex::new(0));
        let sink = Sink::Writer(Box::new(Narrow { room: 300_000, refused: Arc::clone(&refused) }));
        let mut observer = Observer::new(json_reporter(), sink);
        let [session, ..] = &events()[..] else { panic!() };
        let interval = RunEvent::Interval(fixtures::interval(Role::Client, Direction::Forward, 100, 0));
        let intervals = std::iter::repeat_n(&interval, 100);
        assert!([session].into_iter().chain(intervals).all(|event| observer.take(None, event).is_none()));
        let failure = observer.take(None, &RunEvent::Done).expect("the document is longer than the room");
        assert_eq!(failure.to_string(), "unable to write the report: quota exceeded");
        assert_eq!((observer.failed(), *refused.lock().unwrap()), (Some(io::ErrorKind::QuotaExceeded), 1));
    }

    #[test]
    fn the_first_observer_that_has_an_output_for_a_client_gives_it() {
        struct Silent;
        impl Reporter for Silent {
            fn event(&mut self, _: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
                Ok(())
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (reporters, expected) in [
            (vec![], None),
            (vec![Box::new(Silent) as Box<dyn Reporter>], None),
            (
                vec![Box::new(Silent), text_reporter(), json_reporter()],
                Some(ServerOutput::Text(String::new())),
            ),
        ] {
            let observers = reporters.into_iter().map(|reporter| Observer::new(reporter, Sink::Nowhere));
            let report = ReportHandle::start(observers.collect()).unwrap();
            assert_eq!(runtime.block_on(report.server_output()), expected);
            assert_eq!(runtime.block_on(report.written()), Ok(()));
            report.finish().unwrap();
        }
    }

    #[test]
    fn tests_side_by_side_have_reporters_of_their_own_until_they_are_done() {
        let path = std::env::temp_dir().join(format!("ringperf-many-{}", std::process::id()));
        let sink = Sink::LogFile(LogFile::open(&path).unwrap());
        let make: MakeReporter = Box::new(|test, _| {
            let reporter = TextReporter::new(&OutputConfig::default());
            Box::new(test.into_iter().fold(reporter, TextReporter::marked))
        });
        let report = ReportHandle::start(vec![Observer::of_tests(make, sink)]).unwrap();
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
        fn event(&mut self, event: &RunEvent, out: &mut dyn Write) -> io::Result<()> {
            self.0.take().into_iter().for_each(|told| told.recv().unwrap());
            self.1.event(event, out)
        }

        fn complaint(&self, event: &RunEvent) -> String {
            self.1.complaint(event)
        }
    }

    #[test]
    fn documents_are_whole_whatever_had_no_room() {
        let path = std::env::temp_dir().join(format!("ringperf-backlog-{}", std::process::id()));
        let sink = Sink::LogFile(LogFile::open(&path).unwrap());
        let (go, told) = mpsc::channel();
        let role = Role::Server;
        let halted = Box::new(Halted(Some(told), JsonReporter::new(role)));
        let report = ReportHandle::start(vec![Observer::new(halted, sink)]).unwrap();
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
