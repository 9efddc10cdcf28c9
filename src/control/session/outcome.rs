//! What a run has come to, as a value for whoever has started it. Others hear of it from the report.

use std::cell::RefCell;

use crate::error::RunError;
use crate::protocol::PeerReport;
use crate::report::{DebugLog, Intervals, ReportHandle, RunEvent, SessionInfo, TestEnd, TestStart};

/// What a run of a client has come to, whether it has succeeded, failed or been interrupted: all that was
/// known of it by then.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// The test, from the moment at which the server was told of it.
    pub session: Option<SessionInfo>,
    /// Its streams, from the moment at which they were connected.
    pub start: Option<TestStart>,
    /// All totals of a test that has begun, with what a ringperf at the other end says of itself. A run
    /// without an error has them.
    pub end: Option<TestEnd>,
    /// What the user should know, in the order in which it was told.
    pub warnings: Vec<String>,
    /// Why there is no complete result.
    pub error: Option<RunError>,
    /// The intervals, if an observer of the report keeps them. All of them are there when the report is
    /// finished.
    pub intervals: Option<Intervals>,
}

impl RunOutcome {
    /// The totals of a run with a complete result.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// If a run without an error had no totals.
    pub fn into_result(self) -> Result<TestEnd, RunError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.end.expect("a client that has no error has told its totals")),
        }
    }

    fn note(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Session(session) => self.session = Some(SessionInfo::clone(session)),
            RunEvent::Start(start) => self.start = Some(TestStart::clone(start)),
            RunEvent::End(end) => self.end = Some(TestEnd::clone(end)),
            RunEvent::Peer(peer) => {
                if let Some(end) = &mut self.end {
                    end.peer = Some(PeerReport::clone(peer));
                }
            }
            RunEvent::Warning(text) | RunEvent::CommonWarning(text) => self.warnings.push(text.clone()),
            // Intervals may be too many for memory, and the error is here as a value.
            RunEvent::Interval(_)
            | RunEvent::Error(_)
            | RunEvent::Listening { .. }
            | RunEvent::OmitOver
            | RunEvent::ServerOutput(_)
            | RunEvent::Debug(_)
            | RunEvent::Done => {}
        }
    }
}

/// The report of a run. What its outcome is made of is kept on the way, since the report may be too slow to
/// hear of everything.
pub(super) struct RunReport<'a> {
    report: &'a ReportHandle,
    outcome: RefCell<RunOutcome>,
}

impl<'a> RunReport<'a> {
    pub(super) fn new(report: &'a ReportHandle) -> Self {
        let outcome = RunOutcome { intervals: report.intervals(), ..RunOutcome::default() };
        Self { report, outcome: RefCell::new(outcome) }
    }

    /// As [`ReportHandle::emit`].
    pub(super) fn emit(&self, event: RunEvent) {
        self.outcome.borrow_mut().note(&event);
        self.report.emit(event);
    }

    /// As [`ReportHandle::tell_terminal`].
    pub(super) fn tell_terminal(&self, line: &str) {
        self.report.tell_terminal(line);
    }

    /// As [`ReportHandle::debug_log`].
    pub(super) fn debug_log(&self, level: u8) -> DebugLog {
        self.report.debug_log(level)
    }

    /// What the run has come to.
    pub(super) fn into_outcome(self, error: Option<RunError>) -> RunOutcome {
        RunOutcome { error, ..self.outcome.into_inner() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Direction, Role, TestConfig};
    use crate::error::PeerError;
    use crate::report::testing::fixtures;
    use crate::report::{FailureText, Observer};

    #[test]
    fn an_outcome_has_all_that_was_told_of_the_run() {
        let (role, direction) = (Role::Client, Direction::Forward);
        let intervals = Intervals::default();
        let handle = ReportHandle::start(vec![Observer::keeping(&intervals)]).unwrap();
        let report = RunReport::new(&handle);
        for event in [
            RunEvent::Session(Box::new(fixtures::session(role, TestConfig::default()))),
            RunEvent::CommonWarning("first".to_owned()),
            RunEvent::Start(Box::new(fixtures::start(role, direction, 1))),
            RunEvent::Interval(fixtures::interval(role, direction, 1, 0)),
            RunEvent::Interval(fixtures::interval(role, direction, 1, 1)),
            RunEvent::Warning("second".to_owned()),
            RunEvent::End(Box::new(fixtures::end(role, direction, 1))),
            RunEvent::Peer(Box::new(fixtures::peer())),
            RunEvent::Error(FailureText::from("not in words")),
            RunEvent::Done,
        ] {
            report.emit(event);
        }
        let outcome = report.into_outcome(Some(PeerError::Busy.into()));
        handle.finish().unwrap();
        assert_eq!(outcome.session.as_ref().unwrap().cookie, fixtures::COOKIE);
        assert_eq!(outcome.start.as_ref().unwrap().streams.len(), 1);
        let end = outcome.end.as_ref().unwrap();
        assert_eq!((end.streams.len(), end.peer.as_ref()), (1, Some(&fixtures::peer())));
        assert_eq!(outcome.warnings, ["first", "second"]);
        let kept: Vec<_> = outcome.intervals.as_ref().unwrap().read().map(Result::unwrap).collect();
        assert_eq!(kept, [0, 1].map(|second| fixtures::interval(role, direction, 1, second)));
        assert!(matches!(outcome.into_result(), Err(RunError::Peer(PeerError::Busy))));
    }

    #[test]
    fn a_run_whose_intervals_nobody_wants_has_none() {
        let handle = ReportHandle::start(Vec::new()).unwrap();
        let report = RunReport::new(&handle);
        report.emit(RunEvent::Interval(fixtures::interval(Role::Client, Direction::Forward, 1, 0)));
        report.emit(RunEvent::End(Box::new(fixtures::end(Role::Client, Direction::Forward, 1))));
        let outcome = report.into_outcome(None);
        assert!(outcome.intervals.is_none() && outcome.session.is_none());
        assert!(outcome.into_result().is_ok());
    }
}
