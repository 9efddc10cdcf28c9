//! The way of events to the report thread. Nobody waits at it, and it holds a limited number of bytes: what
//! has no room is left out, counted, and told as soon as there is room again.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;

use crate::report::{RunEvent, ServerOutput, Unwritten};

/// While less than this waits there is room for everything. Whoever reads the report at all is never so far
/// behind: it is some seconds of intervals of as many streams as there may be.
const FOR_ALL_BYTES: usize = 2 * 1024 * 1024;
/// While less than this waits there is room for what a test that has begun cannot do without. The largest of
/// these events takes some hundred KiB at a server, so no more than 4 MiB wait there.
const FOR_NEEDED_BYTES: usize = 3 * 1024 * 1024;
/// What was left out is told once no more than this waits, so that a slow reader does not get one such line
/// after another.
const TOLD_BYTES: usize = FOR_ALL_BYTES / 2;

/// What the report thread is asked for.
pub(super) enum Message {
    /// Of a test by its number, and what it counts in the backlog.
    Event(Option<u64>, Box<RunEvent>, usize),
    /// All that was reported of a test so far.
    ServerOutput(Option<u64>, oneshot::Sender<Option<ServerOutput>>),
    /// Nothing more is reported of a test.
    Forget(Option<u64>),
    /// Whether all so far is written.
    Written(oneshot::Sender<Result<(), Unwritten>>),
}

/// What waits for the report thread, and what had no room.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    events: AtomicU64,
    tests: AtomicU64,
}

impl Backlog {
    /// The thread is done with an event that counted so much.
    pub(super) fn done_with(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What was left out since this was asked for the last time, in words.
    pub(super) fn left_out(&self) -> Option<RunEvent> {
        let take = |count: &AtomicU64| match count.load(Ordering::Relaxed) {
            0 => 0,
            _ => count.swap(0, Ordering::Relaxed),
        };
        let words = match (take(&self.tests), take(&self.events)) {
            (0, 0) => return None,
            (0, events) => counted(events, "event"),
            (tests, 0) => counted(tests, "test"),
            (tests, events) => format!("{} and {}", counted(tests, "test"), counted(events, "event")),
        };
        Some(RunEvent::Warning(format!(
            "the report is read too slowly: {words} had no room and were left out"
        )))
    }
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The sending end for one test, or for all that belongs to none.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    messages: Sender<Message>,
    backlog: Arc<Backlog>,
    test: Option<u64>,
    /// Whether the first event of the test had room. Without it nothing else of the test is reported, since
    /// it would be half of a document, and many such halves have no limit.
    is_reported: Arc<OnceLock<bool>>,
    /// Something of the test was handed over.
    has_reporter: Arc<AtomicBool>,
}

impl Outbox {
    /// For what belongs to no test of many.
    pub(super) fn new(messages: Sender<Message>, backlog: Arc<Backlog>) -> Self {
        Self {
            messages,
            backlog,
            test: None,
            is_reported: Arc::new(true.into()),
            has_reporter: Arc::default(),
        }
    }

    /// The way for a test that nothing was reported of yet.
    pub(super) fn of_test(&self, test: u64) -> Self {
        Self { test: Some(test), is_reported: Arc::default(), has_reporter: Arc::default(), ..self.clone() }
    }

    /// Hands an event over, unless it has no room.
    pub(super) fn post(&self, event: RunEvent) {
        let waiting = self.backlog.bytes.load(Ordering::Relaxed);
        let has_room = match event {
            // Its reporter is freed by it. There is one for each test that has begun, so they have a limit.
            RunEvent::Done => true,
            RunEvent::Session(_)
            | RunEvent::Start(_)
            | RunEvent::OmitOver
            | RunEvent::End(_)
            | RunEvent::Peer(_)
            | RunEvent::ServerOutput(_)
            | RunEvent::Error(_) => waiting < FOR_NEEDED_BYTES,
            RunEvent::Listening { .. }
            | RunEvent::Interval(_)
            | RunEvent::Warning(_)
            | RunEvent::CommonWarning(_)
            | RunEvent::Debug(_) => waiting < FOR_ALL_BYTES,
        };
        let begins = || {
            let has_begun = waiting < FOR_ALL_BYTES;
            self.backlog.tests.fetch_add(u64::from(!has_begun), Ordering::Relaxed);
            has_begun
        };
        let is_reported = match event {
            // No test begins with what passes between the two ends: there is some before and after it.
            RunEvent::Debug(_) => self.is_reported.get().copied(),
            _ => Some(*self.is_reported.get_or_init(begins)),
        };
        if is_reported == Some(false) {
            return;
        }
        if !has_room {
            self.backlog.events.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_last = matches!(event, RunEvent::Done);
        if is_reported == Some(true) && (waiting <= TOLD_BYTES || is_last) {
            self.backlog.left_out().into_iter().for_each(|left_out| self.send(left_out));
        }
        self.send(event);
    }

    /// Nothing more is reported of this test, and its reporter is freed.
    pub(super) fn forget(&self) {
        // Those that never had one are as many as clients that come and go.
        if self.has_reporter.load(Ordering::Relaxed) {
            // Fails only when the thread has panicked, which finish() tells.
            let _ = self.messages.send(Message::Forget(self.test));
        }
    }

    /// What was reported of this test so far; `None` if nothing was, or nobody keeps it.
    pub(super) async fn server_output(&self) -> Option<ServerOutput> {
        if self.is_reported.get() != Some(&true) {
            return None;
        }
        self.answer(|answer| Message::ServerOutput(self.test, answer)).await.flatten()
    }

    /// Whether everything so far is written, once it is.
    pub(super) async fn written(&self) -> Result<(), Unwritten> {
        self.answer(Message::Written).await.unwrap_or(Err(Unwritten::GONE))
    }

    async fn answer<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, question) = oneshot::channel();
        // Fails only when the thread has panicked, which finish() tells.
        let _ = self.messages.send(message(answer));
        question.await.ok()
    }

    fn send(&self, event: RunEvent) {
        let bytes = event.bytes();
        self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.has_reporter.store(true, Ordering::Relaxed);
        // Fails only when the thread has panicked, which finish() tells.
        let _ = self.messages.send(Message::Event(self.test, Box::new(event), bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::config::{Direction, Role, TestConfig};
    use crate::report::FailureText;
    use crate::report::testing::fixtures;

    const MOST_BYTES: usize = 4 * 1024 * 1024;

    fn outbox() -> (Outbox, Arc<Backlog>, Receiver<Message>) {
        let (messages, inbox) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        (Outbox::new(messages, Arc::clone(&backlog)), backlog, inbox)
    }

    fn session(title: &str) -> RunEvent {
        let test = TestConfig { title: Some(title.to_owned()), ..TestConfig::default() };
        RunEvent::Session(Box::new(fixtures::session(Role::Server, test)))
    }

    /// A test with an event of nearly every kind, of as many streams as there may be.
    fn whole(test: u64) -> Vec<RunEvent> {
        let (role, direction) = (Role::Server, Direction::Bidir);
        vec![
            RunEvent::Debug("d".repeat(5000)),
            session(&"t".repeat(7000)),
            RunEvent::Start(Box::new(fixtures::start(role, direction, 128))),
            RunEvent::Interval(fixtures::interval(role, direction, 128, test)),
            RunEvent::CommonWarning("w".repeat(500)),
            RunEvent::End(Box::new(fixtures::end(role, direction, 128))),
            RunEvent::Peer(Box::new(fixtures::peer())),
            RunEvent::Error("e".into()),
            RunEvent::Done,
        ]
    }

    /// All that waits, of which the thread is done then.
    fn take(inbox: &Receiver<Message>, backlog: &Backlog) -> Vec<(Option<u64>, RunEvent)> {
        let taken = inbox.try_iter().map(|message| {
            let Message::Event(test, event, bytes) = message else { panic!("nobody has asked") };
            backlog.done_with(bytes);
            (test, *event)
        });
        let taken = taken.collect();
        assert_eq!(backlog.bytes.load(Ordering::Relaxed), 0);
        taken
    }

    #[test]
    fn what_waits_has_a_limit_and_what_has_no_room_is_counted_and_told() {
        let gone = |_| vec![session(&"t".repeat(7000)), RunEvent::Error("gone".into()), RunEvent::Done];
        let refused = |_| vec![RunEvent::Error("too often".into()), RunEvent::Done];
        let kinds: [&dyn Fn(u64) -> Vec<RunEvent>; 4] = [&whole, &gone, &refused, &|_| vec![RunEvent::Done]];
        for events_of in kinds {
            let (common, backlog, inbox) = outbox();
            let tests = 0..30_000;
            for test in tests.clone() {
                let outbox = common.of_test(test);
                common.post(RunEvent::Listening { port: 5201, test_number: test });
                events_of(test).into_iter().for_each(|event| outbox.post(event));
                let waiting = backlog.bytes.load(Ordering::Relaxed);
                assert!(waiting < MOST_BYTES, "{waiting} bytes wait");
            }
            let taken = take(&inbox, &backlog);
            let ends = taken.iter().filter(|(_, event)| matches!(event, RunEvent::Done));
            let reported: BTreeSet<u64> = ends.filter_map(|(test, _)| *test).collect();
            // Of other tests nothing is there that makes a report.
            let is_of_none = |test: &Option<u64>| test.is_none_or(|test| !reported.contains(&test));
            assert!(taken.iter().all(|(test, event)| {
                !is_of_none(test) || matches!(event, RunEvent::Listening { .. } | RunEvent::Debug(_))
            }));
            assert_eq!(
                backlog.tests.load(Ordering::Relaxed),
                30_000 - u64::try_from(reported.len()).unwrap()
            );
            assert!(!reported.is_empty() && reported.len() < 30_000, "{}", reported.len());

            common.of_test(30_000).post(RunEvent::Error("next".into()));
            let next = take(&inbox, &backlog);
            let [(Some(30_000), RunEvent::Warning(told)), (_, RunEvent::Error(_))] = &next[..] else {
                panic!("{next:?}")
            };
            assert!(told.contains(&format!("{} tests and ", 30_000 - reported.len())), "{told}");
            common.post(RunEvent::OmitOver);
            assert_eq!(take(&inbox, &backlog).len(), 1, "told once");
        }
    }

    #[test]
    fn a_test_that_has_begun_has_room_for_what_it_cannot_do_without() {
        let (common, backlog, inbox) = outbox();
        let outbox = common.of_test(1);
        let [debug, session, start, interval, warning, needed @ ..] = &whole(1)[..] else { panic!() };
        [debug, session, start].into_iter().for_each(|event| outbox.post(event.clone()));
        (0..500).for_each(|_| outbox.post(interval.clone()));
        outbox.post(warning.clone());
        needed.iter().for_each(|event| outbox.post(event.clone()));
        let taken = take(&inbox, &backlog);
        let count = |is_it: fn(&RunEvent) -> bool| taken.iter().filter(|(_, event)| is_it(event)).count();
        let intervals = count(|event| matches!(event, RunEvent::Interval(_)));
        // At the shortest interval there is these are five seconds.
        assert!((50..500).contains(&intervals), "{intervals} intervals");
        // Its own document says what is missing in it.
        let told = format!(
            "the report is read too slowly: {} events had no room and were left out",
            501 - intervals
        );
        let is_told = |event: &RunEvent| matches!(event, RunEvent::Warning(text) if *text == told);
        assert!(is_told(&taken[taken.len() - 2].1), "{:?} instead of {told}", taken[taken.len() - 2]);
        assert_eq!(taken.len(), 3 + intervals + needed.len() + 1);
    }

    #[tokio::test]
    async fn a_test_that_is_not_reported_has_no_output_of_its_own() {
        let (common, _, _inbox) = outbox();
        (0..100).for_each(|_| common.post(RunEvent::Debug("d".repeat(100_000))));
        let outbox = common.of_test(1);
        outbox.post(session("t"));
        assert_eq!(outbox.server_output().await, None);
    }

    #[test]
    fn an_event_counts_at_least_what_it_holds() {
        let long = || "x".repeat(100_000);
        let failure = |full| FailureText { full, ..FailureText::from("") };
        for event in [
            session(&long()),
            RunEvent::Debug(long()),
            RunEvent::Warning(long()),
            RunEvent::CommonWarning(long()),
            RunEvent::ServerOutput(ServerOutput::Json(long())),
            RunEvent::ServerOutput(ServerOutput::Text(long())),
            RunEvent::Error(failure(long())),
        ] {
            assert!((100_000..110_000).contains(&event.bytes()), "{}", event.bytes());
        }
        let events = |parallel| {
            let (role, direction) = (Role::Client, Direction::Bidir);
            [
                RunEvent::Start(Box::new(fixtures::start(role, direction, parallel))),
                RunEvent::Interval(fixtures::interval(role, direction, parallel, 0)),
                RunEvent::End(Box::new(fixtures::end(role, direction, parallel))),
            ]
        };
        for (many, one) in events(128).iter().zip(&events(1)) {
            assert!(many.bytes() > one.bytes() + 254 * 64, "{} and {}", many.bytes(), one.bytes());
        }
    }
}
