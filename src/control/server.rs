//! The server: who comes, which tests run side by side, and when it ends. One test is in `session.rs`.

use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::auth::Authenticator;
use crate::config::{Placement, ServerConfig};
use crate::control::base::panics::contain_future;
use crate::control::base::runtime::block_on;
use crate::control::base::signals::Signals;
use crate::control::base::{fixes, limits, socket_options};
use crate::control::serve::listener::Listener;
use crate::control::serve::logins::Logins;
use crate::control::serve::router::{Control, Entry};
use crate::control::serve::sources::{RateDecision, Source};
use crate::control::session::context::ServerContext;
use crate::control::session::server_side::{Closing, Session, SessionEnd};
use crate::control::streams::thread_placement::ThreadPlacement;
use crate::engine;
use crate::error::{Interruption, LimitError, RunError, SetupError};
use crate::report::{ReportHandle, RunEvent};

/// Set-ups whose failures wait for the end of a test; with more of them they are told beside it, with marks.
const HELD_BACK_MAX: usize = 64;

/// Serves until a signal comes, or one test with `-1`. Calls `opened` once signals are events and it listens,
/// and `ready` once it has said so.
///
/// # Errors
/// Why the server cannot serve, or which signal ended it. It has been reported already, but for
/// [`SetupError::NotReady`], which is what `opened` says. A failed test ends only itself.
pub fn run_server(
    config: &ServerConfig,
    report: &ReportHandle,
    opened: impl FnOnce() -> Result<(), String>,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), RunError> {
    let result = load_and_serve(config, report, opened, ready);
    if let Err(error) = &result
        && !error.is_interrupted()
        && !matches!(error, RunError::Setup(SetupError::Unwritten(_) | SetupError::NotReady(_)))
    {
        report.emit(RunEvent::Error(error.into()));
        report.emit(RunEvent::Done);
    }
    result
}

fn load_and_serve(
    config: &ServerConfig,
    report: &ReportHandle,
    opened: impl FnOnce() -> Result<(), String>,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), RunError> {
    let logins = load_logins(config)?;
    let served = block_on(|runtime| async move {
        let signals =
            Signals::catch().map_err(|source| SetupError::System { what: "catching signals", source })?;
        let context = ServerContext::new(config, logins, runtime);
        Server::new(context, report, signals).serve(opened, |_| ready()).await
    });
    served.unwrap_or_else(|source| {
        Err(SetupError::System { what: "starting the control thread", source }.into())
    })
}

/// Starts to judge logins at a server that wants some.
pub(super) fn load_logins(config: &ServerConfig) -> Result<Option<Logins>, RunError> {
    // Tokens from before this moment may have been used at a server that ran before. One that runs a single
    // test is started anew for each, and would refuse every client whose clock is behind.
    let began = Some(SystemTime::now()).filter(|_| !config.one_off);
    let load = |logins| Authenticator::load(logins, began);
    let authenticator = config.authentication.as_ref().map(load).transpose().map_err(SetupError::from)?;
    Ok(authenticator.map(Logins::judged_by).transpose()?)
}

/// A server on its control thread.
pub(super) struct Server<'a> {
    context: Rc<ServerContext>,
    report: &'a ReportHandle,
    signals: Signals,
    /// Number of the last session.
    number: u64,
    /// Tests and set-ups that have been reported.
    reported: u64,
    /// Sessions that are not over.
    sessions: usize,
    /// What set-ups have left to be reported behind the test that runs, at a server for one at a time.
    held_back: Vec<(ReportHandle, Vec<RunEvent>)>,
    /// Everything that sessions do, up to their final messages.
    tasks: JoinSet<()>,
    /// Tells all sessions which signal has come.
    stop: watch::Sender<Option<&'static str>>,
    ended: (mpsc::UnboundedSender<SessionOver>, mpsc::UnboundedReceiver<SessionOver>),
}

/// A session is over, and its slot is free when this is dropped.
struct SessionOver {
    _entry: Rc<Entry>,
    session_end: SessionEnd,
    /// Its report says that a signal has ended the server.
    tells_of_signal: bool,
    /// What is to be reported when no test is being reported, and where.
    unreported: Option<(ReportHandle, Vec<RunEvent>)>,
}

/// What happens next at a server.
enum Next {
    Signal(&'static str),
    Client(Control),
    Over(SessionOver),
    /// Nobody came for a while.
    Idle,
}

impl<'a> Server<'a> {
    /// A server that does not listen yet.
    pub(super) fn new(context: ServerContext, report: &'a ReportHandle, signals: Signals) -> Self {
        Self {
            context: Rc::new(context),
            report,
            signals,
            number: 0,
            reported: 0,
            sessions: 0,
            held_back: Vec::new(),
            tasks: JoinSet::new(),
            stop: watch::Sender::new(None),
            ended: mpsc::unbounded_channel(),
        }
    }

    /// Listens, calls `opened`, says that it listens, tells `listening` the port, and runs tests as clients
    /// come.
    ///
    /// # Errors
    /// As [`run_server`].
    pub(super) async fn serve(
        mut self,
        opened: impl FnOnce() -> Result<(), String>,
        listening: impl FnOnce(u16) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let served = self.serve_all(opened, listening).await;
        let Self { tasks, signals, stop, .. } = &mut self;
        let mut last_closes = pin!(async { while tasks.join_next().await.is_some() {} });
        // The last control connections end as they should, which is a matter of seconds at most.
        if served.as_ref().is_err_and(RunError::is_interrupted) {
            // What they can still say is said by then.
            let _ = timeout(limits::CLOSES_AFTER_SIGNAL, last_closes).await;
        } else {
            tokio::select! {
                () = &mut last_closes => {}
                name = signals.recv() => {
                    stop.send_replace(Some(name));
                    let _ = timeout(limits::CLOSES_AFTER_SIGNAL, last_closes).await;
                }
            }
        }
        served
    }

    async fn serve_all(
        &mut self,
        opened: impl FnOnce() -> Result<(), String>,
        listening: impl FnOnce(u16) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let context = Rc::clone(&self.context);
        let config = &context.config;
        let _pinned = fixes::pin(config.local.cpu, "-A")?;
        ThreadPlacement::find(config.local.cpus.as_ref().unwrap_or(&Placement::Auto), "--cpus")?;
        socket_options::check_busy_poll(&config.local)?;
        engine::check(config.local.engine)
            .map_err(|missing| SetupError::Engine { choice: config.local.engine, missing })?;
        let mut listener = Listener::open(config)?;
        let port = listener.port();
        opened().map_err(SetupError::NotReady)?;
        self.report.emit(RunEvent::Listening { port, test_number: 1 });
        // A server that cannot report does not start; one that no longer can goes on.
        tokio::select! {
            name = self.signals.recv() => return Err(self.end_all(name).await),
            written = self.report.written() => written.map_err(SetupError::from)?,
        }
        listening(port).map_err(|source| SetupError::System { what: "going into the background", source })?;
        loop {
            match self.next(&mut listener).await {
                Next::Signal(name) => return Err(self.end_all(name).await),
                Next::Client(control) => self.start_session(&listener, control),
                Next::Over(mut over) => {
                    let session_end = over.session_end;
                    self.held_back.extend(over.unreported.take());
                    self.sessions -= 1;
                    self.reported += u64::from(session_end.is_reported());
                    let was_the_only_test = match session_end {
                        SessionEnd::Test { .. } => true,
                        // As with iperf3, but for others whose set-up goes on.
                        SessionEnd::Failed { .. } => self.sessions == 0,
                        // Nobody can end a server, or use up its only test, without a password.
                        SessionEnd::Unauthorized { .. } | SessionEnd::TurnedAway => false,
                    };
                    if config.one_off && was_the_only_test {
                        // Before its slot is free.
                        listener.close();
                        self.report_held_back();
                        return Ok(());
                    }
                    drop(over);
                    if config.limits.tests > 1
                        || !listener.runs_a_test()
                        || self.held_back.len() > HELD_BACK_MAX
                    {
                        self.report_held_back();
                    }
                    // It must not stand in the middle of a test.
                    if session_end.is_reported() && config.limits.tests == 1 && !listener.runs_a_test() {
                        self.report.emit(RunEvent::Listening { port, test_number: self.reported + 1 });
                    }
                }
                Next::Idle if config.one_off => return Ok(()),
                Next::Idle => listener = listener.renew(config).await?,
            }
        }
    }

    async fn next(&mut self, listener: &mut Listener) -> Next {
        loop {
            // The time of an idle server begins when nobody has anything left to say.
            let idle = self.context.config.limits.idle.filter(|_| self.tasks.is_empty());
            tokio::select! {
                // In this order: what is over was over before the signal, and new clients can wait.
                biased;
                over = self.ended.1.recv() => {
                    return Next::Over(over.expect("the server itself has a sender"));
                }
                name = self.signals.recv() => return Next::Signal(name),
                Some(_) = self.tasks.join_next() => {}
                control = listener.next_control() => return Next::Client(control),
                () = idle_for(idle) => return Next::Idle,
            }
        }
    }

    /// Starts the task of a new session, unless its client has had enough tests.
    fn start_session(&mut self, listener: &Listener, control: Control) {
        self.number += 1;
        let report = self.report.of_test(self.number);
        let client = control.peer.ip();
        let decision = self.context.test_rates.borrow_mut().check(Source::of(client), Instant::now());
        if let RateDecision::TooMany { is_news } = decision {
            if is_news {
                let most = self.context.config.limits.tests_per_minute.map_or(0, NonZeroU32::get);
                let error = RunError::from(LimitError::TooManyTests { client, most });
                report.emit(RunEvent::Error((&error).into()));
                report.emit(RunEvent::Done);
            }
            control.entry.excuse();
            listener.handle().refuse(control.socket);
            return;
        }
        self.sessions += 1;
        let signals = Signals::told_by(self.stop.subscribe());
        let (context, handle) = (Rc::clone(&self.context), listener.handle().clone());
        let [for_session, for_errors] = [report.another(), report.another()];
        let (number, entry) = (self.number, Rc::clone(&control.entry));
        let session = async move {
            match Session::new(context, handle, control, (number, for_session), signals) {
                Ok(session) => session.hold().await,
                Err(error) => Closing::failed(&error.into(), &for_errors),
            }
        };
        self.tasks.spawn_local(supervise(session, report, (entry, self.ended.0.clone())));
    }

    /// Reports what set-ups have left to be reported.
    fn report_held_back(&mut self) {
        for (report, events) in self.held_back.drain(..) {
            events.into_iter().chain([RunEvent::Done]).for_each(|event| report.emit(event));
        }
    }

    /// Ends all tests and reports the signal that does it.
    async fn end_all(&mut self, signal: &'static str) -> RunError {
        let interrupted = RunError::from(Interruption { role: "server", signal });
        self.stop.send_replace(Some(signal));
        let mut is_told = false;
        while self.sessions > 0 {
            let over = self.ended.1.recv().await.expect("the server itself has a sender");
            self.sessions -= 1;
            is_told |= over.tells_of_signal;
            self.held_back.extend(over.unreported);
        }
        self.report_held_back();
        // A test that has ended for a reason of its own tells that one.
        if !is_told {
            self.report.emit(RunEvent::Error((&interrupted).into()));
            self.report.emit(RunEvent::Done);
        }
        interrupted
    }
}

/// Runs a session, whatever becomes of it, and reports its end. It is over for the server before its client
/// has heard the final message.
async fn supervise(
    session: impl Future<Output = Closing>,
    report: ReportHandle,
    (entry, ended): (Rc<Entry>, mpsc::UnboundedSender<SessionOver>),
) {
    let contained = contain_future(session).await;
    let Closing { graceful_close, session_end, tells_of_signal, unreported } =
        contained.unwrap_or_else(|panic| Closing::failed(&SetupError::Defect(panic).into(), &report));
    let unreported = match (session_end.is_reported(), unreported.is_empty()) {
        (true, true) => {
            report.emit(RunEvent::Done);
            drop(report);
            None
        }
        (true, false) => Some((report, unreported)),
        (false, _) => {
            report.forget();
            drop(report);
            None
        }
    };
    // Fails only when the server does not listen any more.
    let _ = ended.send(SessionOver { _entry: entry, session_end, tells_of_signal, unreported });
    if let Some(graceful_close) = graceful_close {
        graceful_close.run().await;
    }
}

/// Waits so long; for ever without a time.
async fn idle_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::task::LocalSet;

    use super::*;
    use crate::config::cli::{self, Command};
    use crate::control::base::runtime::RuntimeKind;
    use crate::control::serve::router::{Destination, Router};
    use crate::protocol::Cookie;
    use crate::report::{Observer, Reporter, Sink};

    /// Tells a channel which errors it has heard of.
    struct Errors(std::sync::mpsc::Sender<String>);

    impl Reporter for Errors {
        fn event(&mut self, event: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
            if let RunEvent::Error(failure) = event {
                self.0.send(failure.full.clone()).unwrap();
            }
            Ok(())
        }
    }

    /// A report that tells the other end of the channel of errors.
    fn report() -> (ReportHandle, std::sync::mpsc::Receiver<String>) {
        let (errors, heard) = std::sync::mpsc::channel();
        let observer = Observer::new(Box::new(Errors(errors)), Sink::Nowhere);
        (ReportHandle::start(vec![observer]).unwrap(), heard)
    }

    fn entry(router: &Router) -> Option<Entry> {
        let client = Source::of([192, 0, 2, 1].into());
        match router.destination(&Cookie::from_wire([7; Cookie::LEN]), client) {
            Destination::Control(entry) => Some(entry),
            Destination::Stream(_) | Destination::Nowhere => None,
        }
    }

    /// The errors that are reported of a session that holds the only slot.
    fn errors(session: impl Future<Output = Closing> + 'static) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (report, heard) = report();
        let of_test = report.of_test(1);
        LocalSet::new().block_on(&runtime, async move {
            let router = Router::new(1);
            let (sender, mut ended) = mpsc::unbounded_channel();
            let mut tasks = JoinSet::new();
            let taken = Rc::new(entry(&router).unwrap());
            taken.take_slot().await.unwrap();
            taken.note_moving(Duration::ZERO);
            tasks.spawn_local(supervise(session, of_test, (taken, sender)));
            let over = ended.recv().await.expect("its end is told");
            assert!(entry(&router).is_none(), "the slot is taken until the server knows");
            drop(over);
            assert!(entry(&router).is_some(), "the next client is served");
            assert!(tasks.join_next().await.unwrap().is_ok(), "the panic went no further");
        });
        report.finish().unwrap();
        heard.iter().collect()
    }

    #[test]
    fn a_panic_ends_its_session_with_one_line_and_frees_its_slot() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("a slip of the pen\nand more")
        };
        let told = errors(panics);
        let [line] = told.as_slice() else { panic!("not one error: {told:?}") };
        assert!(line.starts_with("a bug in ringperf has ended the test (src/control/server.rs:"), "{line}");
        assert!(line.ends_with(": a slip of the pen and more); please report it"), "{line}");
    }

    #[test]
    fn a_session_that_ends_well_has_nothing_to_tell() {
        let session_end = SessionEnd::Test { is_reported: true };
        let session = async move {
            Closing { graceful_close: None, session_end, tells_of_signal: false, unreported: Vec::new() }
        };
        assert_eq!(errors(session), Vec::<String>::new());
    }

    #[test]
    fn a_signal_is_told_once_whatever_the_last_tests_tell() {
        let Ok(Command::Server(config)) = cli::parse(["ringperf", "-s", "--max-tests", "4"]) else {
            panic!("a server is asked for");
        };
        for (ends, told) in [(&[][..], 1), (&[false, false], 1), (&[true], 0), (&[false, true], 0)] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (report, heard) = report();
            let context = ServerContext::new(&config, None, RuntimeKind::Plain);
            let mut server = Server::new(context, &report, Signals::ignore());
            for &tells_of_signal in ends {
                let entry = Rc::new(entry(&Router::new(1)).unwrap());
                server.sessions += 1;
                let session_end = SessionEnd::Test { is_reported: true };
                let over = SessionOver { _entry: entry, session_end, tells_of_signal, unreported: None };
                assert!(server.ended.0.send(over).is_ok());
            }
            let ended = runtime.block_on(server.end_all("Interrupt(2)"));
            assert!(ended.is_interrupted());
            drop(server);
            report.finish().unwrap();
            assert_eq!(heard.iter().count(), told, "{ends:?}");
        }
    }
}
