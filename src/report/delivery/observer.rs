//! Who hears of a run: a reporter, or one for each of the tests side by side, and what they write to.

use std::collections::BTreeMap;
use std::io;

use super::output::{Failure, Output, Sink};
use crate::report::intervals::Keeper;
use crate::report::{Intervals, Reporter, RunEvent, ServerOutput};

/// Makes the reporter of a test by its number; without one that of all that belongs to no test. Told as well
/// is whether another test is being reported, so that the lines of both must be told apart.
pub type MakeReporter = Box<dyn Fn(Option<u64>, bool) -> Box<dyn Reporter> + Send>;

/// Somebody who hears of all events, in their order, and writes to a sink of its own. What becomes of one
/// observer's sink is no matter of the others.
pub struct Observer {
    /// Hears of what belongs to no test.
    common: Box<dyn Reporter>,
    /// Without it the common reporter has the tests as well, one after the other.
    make: Option<MakeReporter>,
    /// The reporters of the tests that run.
    tests: BTreeMap<u64, Box<dyn Reporter>>,
    output: Output,
    /// Those that it keeps.
    intervals: Option<Intervals>,
}

impl Observer {
    /// One reporter that hears of everything.
    #[must_use]
    pub fn new(reporter: Box<dyn Reporter>, sink: Sink) -> Self {
        let output = Output::new(sink);
        Self { common: reporter, make: None, tests: BTreeMap::new(), output, intervals: None }
    }

    /// Writes nothing and keeps the intervals of a run, which are part of what the run has come to.
    #[must_use]
    pub fn keeping(intervals: &Intervals) -> Self {
        let keeper = Box::new(Keeper(intervals.clone()));
        Self { intervals: Some(intervals.clone()), ..Self::new(keeper, Sink::Nowhere) }
    }

    /// A reporter for each of the tests side by side.
    #[must_use]
    pub fn of_tests(make: MakeReporter, sink: Sink) -> Self {
        let common = make(None, false);
        Self { make: Some(make), ..Self::new(common, sink) }
    }

    /// Takes an event of a test, or of none, and writes what it gives. Returns what is to be told of the
    /// sink.
    pub(super) fn take(&mut self, test: Option<u64>, event: &RunEvent) -> Option<Failure> {
        let knows = test.is_some_and(|number| self.tests.contains_key(&number));
        let (reporter, output) = self.reporter(test);
        let written = reporter.event(event, output);
        let failure = output.note(written);
        let failure_of_complaint = output.complain(&reporter.complaint(event));
        let is_done = matches!(event, RunEvent::Done);
        // What passes between the two ends is told before a test begins and after it is done as well.
        let is_no_begin = matches!(event, RunEvent::Debug(_)) && !knows;
        if is_done || is_no_begin {
            self.forget(test);
        }
        if self.tests.is_empty() && (is_done || matches!(event, RunEvent::Listening { .. })) {
            self.output.rest();
        }
        failure.or(failure_of_complaint)
    }

    /// What a server sends of this test to a client that asked for its output.
    pub(super) fn server_output(&mut self, test: Option<u64>) -> Option<ServerOutput> {
        self.reporter(test).0.server_output()
    }

    /// Nothing more comes of this test.
    pub(super) fn forget(&mut self, test: Option<u64>) {
        drop(test.and_then(|number| self.tests.remove(&number)));
    }

    /// What kind of failure the last write was, if it was one.
    pub(super) fn failed(&self) -> Option<io::ErrorKind> {
        self.output.failed()
    }

    /// Those that it keeps.
    pub(super) fn intervals(&self) -> Option<&Intervals> {
        self.intervals.as_ref()
    }

    /// Its errors are shown on standard error.
    pub(super) fn is_standard(&self) -> bool {
        self.output.is_standard()
    }

    fn reporter(&mut self, test: Option<u64>) -> (&mut dyn Reporter, &mut Output) {
        let reporter = match (&self.make, test) {
            (Some(make), Some(number)) => {
                let is_beside = !self.tests.is_empty();
                self.tests.entry(number).or_insert_with(|| make(test, is_beside))
            }
            _ => &mut self.common,
        };
        (&mut **reporter, &mut self.output)
    }
}
