//! One test at a server, from the cookie to the last byte.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::client::test_start;
use super::context::ServerContext;
use super::ending;
use super::link::Link;
use super::rate_watch::{Limit, asked_bits_per_second};
use super::results::{CpuMeter, Measured, read_results};
use super::running::{Ended, RunLimits, Schedule, run_until_end};
use crate::config::{EngineChoice, Flow, LocalConfig, Role, ServerConfig, ServerLimits, TestConfig};
use crate::control::base::signals::Signals;
use crate::control::base::{fixes, limits, socket_options};
use crate::control::serve::budget::Share;
use crate::control::serve::listener::{ListenerHandle, StreamAcceptor};
use crate::control::serve::router::{self, Accepted, Busy, Control, Entry, Penalty};
use crate::control::serve::setup_lock::{LockKey, SetupGuard};
use crate::control::serve::sources::{RateDecision, ReportDecision, Source};
use crate::control::streams::connect::check_protocol;
use crate::control::streams::part;
use crate::control::streams::set::Streams;
use crate::control::streams::thread_placement::ThreadPlacement;
use crate::control::streams::udp::answer_repeated_connects;
use crate::control::streams::udp_demux::{Expected, UdpAcceptor};
use crate::engine;
use crate::error::{Interruption, LimitError, PeerError, RunError, SetupError};
use crate::protocol::{Cookie, Extension, Request, ServerError, ServerHello, State, params, results};
use crate::report::{ReportHandle, RunEvent, SessionInfo};
use crate::sys::{Transport, error_message};

/// What a set-up waits for at the end.
const ALL_STREAMS: &str = "all of the client's data connections";

/// One test at a server.
pub(crate) struct Session {
    context: Rc<ServerContext>,
    handle: ListenerHandle,
    report: ReportHandle,
    signals: Signals,
    /// Number of the test.
    number: u64,
    entry: Rc<Entry>,
    stage: Stage,
    cookie: Cookie,
    link: Link,
    /// The address that the client has connected to.
    local: SocketAddr,
    /// The client's host.
    client: IpAddr,
    info: SessionInfo,
    meter: CpuMeter,
    /// What the test has of the rate of all tests.
    share: Option<Share>,
    /// The client knows that the test has failed.
    told: bool,
    /// Before that it must not be told.
    told_at: Option<Instant>,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody knows what the client wants.
    Stranger,
    /// It has said what it wants.
    Known,
    /// The test has a slot, and its report has begun.
    Running,
}

/// How a session has ended, and what is left to do when its slot is free again.
pub(crate) struct Closing {
    pub(crate) graceful_close: Option<GracefulClose>,
    pub(crate) session_end: SessionEnd,
    /// Its report says that a signal has ended the server.
    pub(crate) tells_of_signal: bool,
    /// What is still to be reported, when it does not stand in the middle of a test.
    pub(crate) unreported: Vec<RunEvent>,
}

impl Closing {
    /// Reports the error of a session that has nothing else to say.
    pub(crate) fn failed(error: &RunError, report: &ReportHandle) -> Self {
        report.emit(RunEvent::Error(error.into()));
        let session_end = SessionEnd::Failed { is_reported: true };
        Self { graceful_close: None, session_end, tells_of_signal: false, unreported: Vec::new() }
    }
}

/// What a session was to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// A test that had a slot.
    Test {
        /// Not where its source has had too many of them reported.
        is_reported: bool,
    },
    /// A set-up that has failed, or a test that has made room for another one.
    Failed {
        /// As with a test.
        is_reported: bool,
    },
    /// Somebody who has no right to a test.
    Unauthorized {
        /// As with a test.
        is_reported: bool,
    },
    /// Somebody who has heard that the server is busy, or that it ends.
    TurnedAway,
}

impl SessionEnd {
    pub(crate) fn is_reported(self) -> bool {
        match self {
            Self::Test { is_reported }
            | Self::Failed { is_reported }
            | Self::Unauthorized { is_reported } => is_reported,
            Self::TurnedAway => false,
        }
    }
}

/// The end of a control connection.
pub(crate) struct GracefulClose {
    link: Link,
    message: Option<Vec<u8>>,
    not_before: Option<Instant>,
    /// Ends when the message is sent.
    penalty: Option<Penalty>,
}

impl GracefulClose {
    /// Sends the final message and closes, which takes a second or two at most.
    pub(crate) async fn run(mut self) {
        if let (Some(moment), Some(penalty)) = (self.not_before, &mut self.penalty) {
            tokio::select! {
                () = sleep_until(moment.into()) => {}
                // Too many wait for their refusal. It is early for the message, so there is none.
                () = penalty.is_cut_short() => self.message = None,
            }
        }
        // Before the client hears of it: it may come again at once.
        drop(self.penalty);
        if let Some(message) = self.message {
            // The client may be gone; then nobody needs to be told.
            let _ = self.link.write(message).await;
        }
        self.link.close().await;
    }
}

/// Where the streams of a test come in.
enum Acceptor<'a> {
    Connections(StreamAcceptor),
    Udp(UdpAcceptor<'a>),
}

impl Acceptor<'_> {
    /// The next stream, within the time that a client has for it, and its place among those of the test.
    async fn next(&mut self, test: &TestConfig, flow: Flow) -> Result<Accepted, RunError> {
        match self {
            Self::Connections(acceptor) => {
                let silent = |_| PeerError::Silent {
                    waiting_for: "the client's next data connection",
                    after: limits::SET_UP,
                };
                Ok(timeout(limits::SET_UP, acceptor.next()).await.map_err(silent)??)
            }
            Self::Udp(acceptor) => {
                let silent = |_| PeerError::UdpNoClient { after: limits::SET_UP };
                let socket = timeout(limits::SET_UP, acceptor.next(test, flow)).await.map_err(silent)??;
                // A client sends its connects one after the other.
                Ok(Accepted { number: 0, socket })
            }
        }
    }
}

impl Session {
    /// Takes over a client that has been admitted.
    ///
    /// # Errors
    /// [`SetupError::System`], or [`SetupError::SocketOption`].
    pub(crate) fn new(
        context: Rc<ServerContext>,
        handle: ListenerHandle,
        control: Control,
        (number, report): (u64, ReportHandle),
        signals: Signals,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError::System { what: "preparing a control connection", source };
        let Control { socket, cookie, peer, entry } = control;
        let local = socket.local_addr().map_err(failed)?;
        socket_options::control(&socket, &context.config.local)?;
        let log = report.debug_log(context.config.output.debug);
        let link = Link::new(socket.into_stream(), context.runtime, log).map_err(failed)?;
        let info = SessionInfo {
            role: Role::Server,
            host: peer.ip().to_string(),
            port: peer.port(),
            cookie: cookie.printable(),
            time: SystemTime::now(),
            control_mss: 0,
            user: None,
            extras_in_output: false,
            has_rate: true,
            interval: context.config.output.interval,
            test: Arc::default(),
        };
        let (client, meter) = (peer.ip(), CpuMeter::start());
        Ok(Self {
            context,
            handle,
            report,
            signals,
            number,
            entry,
            stage: Stage::Stranger,
            cookie,
            link,
            local,
            client,
            info,
            meter,
            share: None,
            told: false,
            told_at: None,
        })
    }

    /// The test from its first state to its last.
    pub(crate) async fn hold(mut self) -> Closing {
        let outcome = self.converse().await.map_err(|error| match error {
            RunError::Peer(PeerError::Closed { waiting_for }) => {
                RunError::from(PeerError::ClientGone { waiting_for })
            }
            other => other,
        });
        let is_interrupted = outcome.as_ref().is_err_and(RunError::is_interrupted);
        if is_interrupted {
            self.link.hurry();
        }
        let message = outcome.as_ref().err().filter(|_| !self.told).and_then(final_message);
        let (session_end, unreported) = self.report_end(outcome);
        let penalty = self.told_at.map(|_| self.entry.penalize(Source::of(self.client)));
        let graceful_close = GracefulClose { link: self.link, message, not_before: self.told_at, penalty };
        let tells_of_signal = is_interrupted && session_end.is_reported();
        Closing { graceful_close: Some(graceful_close), session_end, tells_of_signal, unreported }
    }

    /// Reports why the session has failed, if it has and if that is for anybody to know. What there is to say
    /// of a set-up is returned.
    fn report_end(&mut self, outcome: Result<(), RunError>) -> (SessionEnd, Vec<RunEvent>) {
        if self.stage == Stage::Running {
            let is_reported = self.report.is_heard();
            let is_displaced = matches!(outcome, Err(RunError::Limit(LimitError::Displaced(_))));
            outcome.err().into_iter().for_each(|error| self.report.emit(RunEvent::Error((&error).into())));
            let session_end = match is_displaced {
                true => SessionEnd::Failed { is_reported },
                false => SessionEnd::Test { is_reported },
            };
            return (session_end, Vec::new());
        }
        let is_unauthorized = matches!(outcome, Err(RunError::Limit(LimitError::Unauthorized { .. })));
        let is_turned_away =
            matches!(outcome, Err(RunError::Limit(LimitError::NoSlot) | RunError::Interrupted(_)));
        // Beside a test that goes on it would have heard that the server is busy.
        if is_turned_away || (self.entry.is_beside_a_full_server() && !is_unauthorized) {
            return (SessionEnd::TurnedAway, Vec::new());
        }
        let now = Instant::now();
        let decision = self.context.reported.borrow_mut().failure(Source::of(self.client), now);
        let is_reported = decision != ReportDecision::No;
        let known = (self.stage == Stage::Known).then(|| RunEvent::Session(Box::new(self.info.clone())));
        let last = (decision == ReportDecision::Last).then(|| self.no_more_of("failed set-ups"));
        let error = outcome.err().map(|error| RunEvent::Error((&error).into()));
        let unreported = known.into_iter().chain(last).chain(error).filter(|_| is_reported).collect();
        let session_end = if is_unauthorized {
            SessionEnd::Unauthorized { is_reported }
        } else {
            SessionEnd::Failed { is_reported }
        };
        (session_end, unreported)
    }

    /// Whether the report tells of this test, or its source has filled it with others; that is told once.
    fn choose_report(&mut self) {
        let decision = self.context.reported.borrow_mut().test(Source::of(self.client), Instant::now());
        match decision {
            ReportDecision::Yes => {}
            ReportDecision::Last => self.report.emit(self.no_more_of("tests")),
            ReportDecision::No => self.report = self.report.muted(),
        }
    }

    fn no_more_of(&self, what: &str) -> RunEvent {
        RunEvent::Warning(format!(
            "{} has had so many {what} within a minute that no more of them are reported until it is over",
            self.client.to_canonical()
        ))
    }

    async fn converse(&mut self) -> Result<(), RunError> {
        let Some((request, mut streams)) = self.unless_signal(Self::set_up).await? else { return Ok(()) };
        let ended = self.run(&mut streams).await;
        if let Ended::Failed(error) = &ended {
            // Before its data connections end: an old iperf3 would take that for the reason.
            self.tell(error).await;
        }
        // However it ended, what was measured is reported, and before the results are exchanged: the client
        // may want it.
        if matches!(ended, Ended::Peer(State::TestEnd)) {
            streams.stop_senders();
            if streams.is_udp() || request.hello.is_some() {
                // A ringperf ends its data connections, so everything it sent can be counted.
                ending::drain_receivers(&mut streams).await;
            } else if self.local_config().file.is_some() {
                // An iperf3 does not, but a file should be whole.
                streams.wait_quiet().await;
            }
        }
        ending::close_streams(&mut streams, self.info.interval, &|event| self.report.emit(event)).await;
        match streams.moved_bytes() > 0 {
            // There is no other test that could need the slot.
            true if self.context.config.one_off => self.entry.note_moving(Duration::ZERO),
            has_moved => self.entry.note_ending(has_moved),
        }
        if matches!(ended, Ended::Peer(State::TestEnd)) {
            ending::warn_of_faults(&streams, &|event| self.report.emit(event));
        }
        let file = self.context.config.local.file.as_deref();
        let measured = Measured::new(&streams, Role::Server, &self.info.test, &self.meter, file);
        let own = (measured.to_results(), measured.part());
        self.report.emit(RunEvent::End(Box::new(measured.alone())));
        match ended {
            Ended::Peer(State::TestEnd) => {
                let part = request.extension().is_spoken().then(|| own.1.encode());
                let entry = Rc::clone(&self.entry);
                self.unless_signal(async |session| {
                    tokio::select! {
                        exchanged = session.exchange((own.0, part), &streams) => exchanged,
                        () = entry.has_to_go() => Err(LimitError::Evicted.into()),
                    }
                })
                .await
            }
            Ended::Peer(State::IperfDone) => Ok(()),
            Ended::Peer(State::ClientTerminate) => Err(PeerError::ClientTerminated.into()),
            Ended::Peer(state) => {
                Err(PeerError::Unexpected { state, waiting_for: "the end of the test" }.into())
            }
            Ended::Signal(name) => Err(interrupted(name)),
            Ended::Failed(error) => Err(error),
            Ended::Condition => unreachable!("only a client's schedule has an end"),
        }
    }

    /// Says why there will be no result, once, as far as the protocol has words for it.
    async fn tell(&mut self, error: &RunError) {
        if let Some(message) = final_message(error).filter(|_| !std::mem::replace(&mut self.told, true)) {
            // The client may be gone; then nobody needs to be told.
            let _ = self.link.write(message).await;
        }
    }

    /// Takes a step of the conversation, unless a signal comes first.
    async fn unless_signal<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        // The session must stay whole for its final message, so the signals are taken out meanwhile.
        let mut signals = std::mem::replace(&mut self.signals, Signals::ignore());
        let taken = tokio::select! {
            name = signals.recv() => Err(interrupted(name)),
            taken = step(self) => taken,
        };
        self.signals = signals;
        taken
    }

    /// From PARAM_EXCHANGE to running streams; `None` when the client changes its mind.
    async fn set_up(&mut self) -> Result<Option<(Request, Streams)>, RunError> {
        let entry = Rc::clone(&self.entry);
        let whole = self.context.config.limits.set_up;
        let gathered = tokio::select! {
            gathered = timeout(whole, self.gather(Instant::now() + whole)) => gathered,
            // Others need its place more.
            () = entry.has_to_go() => return Err(LimitError::NoSlot.into()),
        };
        let late = |_| PeerError::Silent { waiting_for: ALL_STREAMS, after: whole };
        let Some((request, mut streams, connections)) = gathered.map_err(late)?? else { return Ok(None) };
        let named = request.extension().names_tests_in_connects().then_some(self.cookie);
        let Some(taken) = self.take_slot(&connections, named).await? else { return Ok(None) };
        self.begin(&mut streams, connections, taken).await?;
        Ok(Some((request, streams)))
    }

    /// Hears what the client wants, and takes its data connections as they come. This holds no slot, and has
    /// no thread and no memory but that of the connections.
    async fn gather(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<(Request, Streams, Vec<Accepted>)>, RunError> {
        self.link.write_state(State::ParamExchange).await?;
        let frame = self.link.frame_within("parameters", limits::PARAMS_BYTES, limits::SET_UP).await?;
        let request = params::decode(&frame).map_err(PeerError::from)?;
        self.info.user = self.admit(&request).await?;
        self.info.extras_in_output = request.hello.as_ref().is_some_and(|hello| hello.extras);
        self.info.test = Arc::new(request.test.clone());
        let engine = self.engine_for(&request);
        self.info.has_rate = engine != EngineChoice::Null;
        self.stage = Stage::Known;
        // What is allowed here is no fault of who asks.
        self.check(&request.test).inspect_err(|_| self.entry.excuse())?;
        engine::check(engine).map_err(|missing| SetupError::Engine { choice: engine, missing })?;
        // Before the next line: it is all processors of this process that the client may choose from.
        let thread_placement = self.placement_for(&request)?;
        // Tried before any stream is there; it is the stream threads that run there, and not this one.
        drop(fixes::pin(request.test.server_cpu, "the client's -A")?);

        let test = Arc::clone(&self.info.test);
        let local = self.local_config();
        let named = request.extension().names_tests_in_connects().then_some(self.cookie);
        let guard = self.lock_setup(&test, named).await?;
        let mut acceptor = self.open_acceptor((&test, named), &local)?;
        self.invite(request.extension()).await?;
        // While the client connects: to count the processors takes a while.
        let streams = Streams::new(Role::Server, Arc::clone(&test), engine, &local, thread_placement)
            .kept_on(request.test.server_cpu)
            .with_peer(request.extension().is_spoken());
        let arrived = timeout_at(deadline.into(), self.take_streams(&mut acceptor, named)).await;
        if !matches!(arrived, Ok(Ok(Some(_)))) {
            self.warn_of_strangers(&acceptor);
        }
        drop(acceptor);
        let whole = self.context.config.limits.set_up;
        let late = |_| PeerError::Silent { waiting_for: ALL_STREAMS, after: whole };
        let connections = arrived.map_err(late)??;
        drop(guard);
        Ok(connections.map(|connections| (request, streams, connections)))
    }

    /// Waits for a slot, and returns when it got it; `None` when the client changes its mind.
    async fn take_slot(
        &mut self,
        connections: &[Accepted],
        named: Option<Cookie>,
    ) -> Result<Option<Instant>, RunError> {
        let entry = Rc::clone(&self.entry);
        let is_udp = self.info.test.protocol.udp().is_some();
        tokio::select! {
            biased;
            state = self.link.next_state("a slot among the server's tests") => changes_mind(state?).map(|()| None),
            // Others need its place more.
            () = entry.has_to_go() => Err(LimitError::NoSlot.into()),
            taken = entry.take_slot() => {
                taken.map(Some).map_err(|Busy| RunError::from(LimitError::NoSlot))
            }
            never = answer_repeated_connects(connections, named.as_ref()), if is_udp => match never {},
        }
    }

    /// Starts the test that has got a slot at `taken`.
    async fn begin(
        &mut self,
        streams: &mut Streams,
        connections: Vec<Accepted>,
        taken: Instant,
    ) -> Result<(), RunError> {
        let (test, local) = (Arc::clone(&self.info.test), self.local_config());
        let source = Source::of(self.client);
        // Others of this source have come meanwhile.
        if self.context.test_rates.borrow_mut().note(source, Instant::now()) != RateDecision::Allowed {
            self.entry.excuse();
            return Err(LimitError::NoSlot.into());
        }
        self.choose_report();
        self.report.emit(RunEvent::Session(Box::new(self.info.clone())));
        self.stage = Stage::Running;
        let asked = asked_bits_per_second(&test);
        let share = self.context.budget.promise(self.number, asked, (taken, Instant::now()));
        self.share = share.map_err(|_| {
            self.entry.excuse();
            LimitError::RateLimit
        })?;
        let planned = Streams::planned(Role::Server, &test);
        for (flow, Accepted { socket, .. }) in planned.into_iter().zip(connections) {
            if test.protocol.udp().is_none() {
                socket_options::after_accept(&socket, &test, &local)?;
            }
            streams.add(socket, flow).await?;
        }
        streams.wait_ready(limits::SET_UP).await?;
        streams.watch_queues();
        streams.discard_received();
        self.report.emit(RunEvent::Start(Box::new(test_start(streams))));
        Ok(self.link.write_states(&[State::TestStart, State::TestRunning]).await?)
    }

    /// Says of streams that have not come who has tried to open one meanwhile.
    fn warn_of_strangers(&self, acceptor: &Acceptor<'_>) {
        let Acceptor::Udp(acceptor) = acceptor else { return };
        if let Some(warning) = acceptor.strangers() {
            self.report.emit(RunEvent::Warning(warning));
        }
    }

    /// Whether this server runs such a test.
    fn check(&self, test: &TestConfig) -> Result<(), RunError> {
        let ServerLimits { rate, duration, counted, .. } = self.context.config.limits;
        check_protocol(test.protocol)?;
        if self.context.config.local.file.is_some() && test.protocol.udp().is_some() {
            return Err(LimitError::FileOverUdp.into());
        }
        let asked = asked_bits_per_second(test);
        if rate.is_some_and(|limit| asked.is_none_or(|asked| asked > limit.bits_per_second)) {
            return Err(LimitError::RateLimit.into());
        }
        let omit = Duration::from_secs(test.omit_secs.into());
        let is_counted = counted && test.goal_bytes().is_some();
        let fits = |most: Duration| match test.duration() {
            Some(planned) => planned + omit <= most,
            // It is ended when the time is over.
            None => is_counted && omit <= most,
        };
        if duration.is_some_and(|most| !fits(most)) {
            return Err(LimitError::TooLongTest.into());
        }
        self.context.budget.check(asked).map_err(|_| LimitError::RateLimit.into())
    }

    /// Waits until no other set-up is in the way of this one. None is if the connects of its streams are
    /// `named`.
    async fn lock_setup(
        &mut self,
        test: &TestConfig,
        named: Option<Cookie>,
    ) -> Result<Option<SetupGuard>, LimitError> {
        let client = self.client.to_canonical();
        let key = match Transport::of(test.protocol) {
            Some(_) if test.socket.window_bytes.is_some() => LockKey::ExclusiveConnections(client),
            Some(_) => LockKey::Connections(client),
            None if named.is_some() => return Ok(None),
            None => LockKey::UdpHandshakes(client),
        };
        let guard = timeout(limits::SETUP_LOCK, self.context.setup_lock.take(key)).await;
        guard.map(Some).map_err(|_| LimitError::SetupLocked(limits::SETUP_LOCK))
    }

    /// Lets the client know that it may open its streams, and that this is a ringperf if it is one as well.
    async fn invite(&mut self, extension: Extension) -> Result<(), RunError> {
        if extension.is_spoken() {
            self.link.write_state(State::Hello).await?;
            self.link.write_frame("hello", &ServerHello::own().encode()).await?;
        }
        Ok(self.link.write_state(State::CreateStreams).await?)
    }

    /// Takes the data connections of the test as they come, and returns them in the order of its streams;
    /// `None` when the client changes its mind. `named` is the cookie that connects of UDP streams must have,
    /// if they must have one.
    async fn take_streams(
        &mut self,
        acceptor: &mut Acceptor<'_>,
        named: Option<Cookie>,
    ) -> Result<Option<Vec<Accepted>>, RunError> {
        let test = Arc::clone(&self.info.test);
        let (local, is_udp) = (self.local_config(), test.protocol.udp().is_some());
        let receives = test.direction.flows(Role::Server).contains(&Flow::Receive);
        let mut connections = Vec::new();
        for flow in Streams::planned(Role::Server, &test) {
            let next = tokio::select! {
                biased;
                state = self.link.next_state("the client's data connections") => Err(state?),
                accepted = acceptor.next(&test, flow) => Ok(accepted?),
                never = answer_repeated_connects(&connections, named.as_ref()), if is_udp => match never {},
                () = sleep(local.receive_timeout), if receives => {
                    return Err(PeerError::Stalled(local.receive_timeout).into());
                }
            };
            match next {
                Ok(accepted) => connections.push(accepted),
                Err(state) => return changes_mind(state).map(|()| None),
            }
        }
        // The order in which they were made is all that tells the streams apart, and the one that the client
        // goes by. Their cookies come in another one where a packet was lost or late.
        connections.sort_by_key(|accepted| accepted.number);
        Ok(Some(connections))
    }

    /// The user that the client is, on a server that wants to know.
    async fn admit(&mut self, request: &Request) -> Result<Option<String>, LimitError> {
        let Some(logins) = &self.context.logins else { return Ok(None) };
        let asked = Instant::now();
        let client = self.client.to_canonical();
        let judged = logins.admit(request.auth_token.clone(), client).await;
        judged.map(Some).map_err(|refusal| {
            // Whatever was wrong, and even if the client does not wait for it: guessing is slow.
            self.told_at = Some(asked + limits::REFUSED_LOGIN);
            LimitError::Unauthorized { client, refusal }
        })
    }

    /// Where the streams of the test come in.
    fn open_acceptor<'c>(
        &self,
        (test, named): (&TestConfig, Option<Cookie>),
        local: &'c LocalConfig,
    ) -> Result<Acceptor<'c>, SetupError> {
        let count = Streams::planned(Role::Server, test).len();
        Ok(match Transport::of(test.protocol) {
            None => {
                let any_source = self.context.config.limits.any_source;
                let expected = Expected { client: self.client, cookie: named, any_source };
                Acceptor::Udp(self.context.udp_listeners.open_acceptor(self.local, expected, local)?)
            }
            Some(transport) => {
                let made = (transport, test.socket.window_bytes);
                let client = self.client.to_canonical();
                let acceptor = self.handle.expect_streams(&self.entry, made, client, count)?;
                if let Some(why) = &acceptor.late_window {
                    self.report.emit(RunEvent::Warning(format!(
                        "the window of -w is set when the connections are made already, so they may be \
                         slower: no listener of their own could be had: {}",
                        error_message(why)
                    )));
                }
                Acceptor::Connections(acceptor)
            }
        })
    }

    async fn run(&mut self, streams: &mut Streams) -> Ended {
        let start = Instant::now();
        streams.start(start);
        let ServerConfig { local, limits, .. } = &self.context.config;
        let own = limits.rate.map(Limit::Own);
        let run_limits = RunLimits {
            receive_timeout: local.receive_timeout,
            rates: own.into_iter().chain(self.share.take().map(Limit::Shared)).collect(),
            longest: limits.duration,
            entry: Some(Rc::clone(&self.entry)),
        };
        let schedule = Schedule::new(Role::Server, &self.info.test, self.info.interval, start, run_limits);
        let tell = |event| self.report.emit(event);
        run_until_end(streams, &mut self.link, &mut self.signals, &tell, schedule).await
    }

    /// From TEST_END to IPERF_DONE.
    async fn exchange(
        &mut self,
        (mut own, part): (results::Results, Option<String>),
        streams: &Streams,
    ) -> Result<(), RunError> {
        self.link.write_state(State::ExchangeResults).await?;
        let most = ending::results_bytes_max(streams);
        let frame = self.link.frame_within("results", most, limits::ANSWER).await?;
        // The own report is printed by now; what the client has measured must make sense all the same.
        read_results(&frame, streams)?;
        if self.info.test.server_output {
            // Where nobody reads this server's output, it cannot be had.
            let output = timeout(limits::OWN_OUTPUT, self.report.server_output()).await;
            own.server_output = output.ok().flatten().map(ending::to_wire);
        }
        self.link.write_frame("results", &results::encode(&own)).await?;
        // Before the client knows that it may come.
        let part = part.map(|part| (self.entry.expect_streams(1), part));
        self.link.write_state(State::DisplayResults).await?;
        match self.final_state(part, streams).await {
            // Both sides have everything, so a client that just leaves has lost nothing.
            Ok(State::IperfDone | State::ClientTerminate) | Err(PeerError::Closed { .. }) => Ok(()),
            Ok(state) => Err(PeerError::Unexpected { state, waiting_for: "the client's last word" }.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the client says last. A ringperf comes with its part before, on a connection of its own; whatever
    /// becomes of that, the test is over when the client says so.
    async fn final_state(
        &mut self,
        part: Option<(router::IncomingStreams, String)>,
        streams: &Streams,
    ) -> Result<State, PeerError> {
        let client = self.client;
        if let Some((_, own)) = &part {
            self.link.log_sent("part", own);
        }
        let mut heard = None;
        let swap = async {
            if let Some((acceptor, own)) = part {
                // A client that does not come has none; it is the one to miss something.
                heard = part::swap_with_client(acceptor, client, &own).await.ok();
            }
            std::future::pending::<Infallible>().await
        };
        let said = tokio::select! {
            biased;
            said = self.link.state_within(limits::ANSWER, "the client's last word") => said,
            never = swap => match never {},
        };
        if let Some(heard) = heard {
            self.report.emit(match ending::read_part(&self.link, &heard, streams) {
                Ok(peer) => RunEvent::Peer(Box::new(peer)),
                Err(why) => ending::part_is_unknown("client", why),
            });
        }
        said
    }

    /// The client's wish, then `-Z`, then the server's own choice.
    fn engine_for(&self, request: &Request) -> EngineChoice {
        let wished = request.hello.as_ref().and_then(|hello| hello.engine);
        match (wished, self.context.config.local.engine) {
            (Some(engine), _) => engine,
            // UDP has no sendfile(2); iperf3 takes the flag and does nothing about it.
            (None, EngineChoice::Auto) if request.test.zerocopy && request.test.protocol.udp().is_none() => {
                EngineChoice::Sendfile
            }
            (None, own) => own,
        }
    }

    /// The server's own choice, be it -A; else the client's wish, within what this process may use.
    fn placement_for(&self, request: &Request) -> Result<ThreadPlacement, SetupError> {
        let local = self.local_config();
        let wished = request.hello.as_ref().and_then(|hello| hello.cpus.as_ref());
        match (&local.cpus, wished) {
            (Some(own), _) => ThreadPlacement::find(own, "--cpus"),
            (None, Some(wished)) if local.cpu.is_none() => ThreadPlacement::find(wished, "--peer-cpus"),
            (None, _) => Ok(ThreadPlacement::default()),
        }
    }

    fn local_config(&self) -> LocalConfig {
        self.context.config.local.clone()
    }
}

/// What a client says before its test has begun ends it, in one way or another.
fn changes_mind(state: State) -> Result<(), RunError> {
    match state {
        State::IperfDone => Ok(()),
        State::ClientTerminate => Err(PeerError::ClientTerminated.into()),
        state => Err(PeerError::Unexpected { state, waiting_for: "data connections" }.into()),
    }
}

/// What tells a client that there will be no result, as far as the protocol has words for it.
fn final_message(error: &RunError) -> Option<Vec<u8>> {
    match error {
        RunError::Interrupted(_) => Some(vec![State::ServerTerminate.byte()]),
        RunError::Limit(LimitError::NoSlot) => Some(vec![State::AccessDenied.byte()]),
        RunError::Setup(_) | RunError::Peer(_) | RunError::Limit(_) => error.code_for_client().map(|code| {
            let mut bytes = vec![State::ServerError.byte()];
            bytes.extend(ServerError { code, os_error: Some(0) }.encode());
            bytes
        }),
    }
}

fn interrupted(signal: &'static str) -> RunError {
    Interruption { role: "server", signal }.into()
}
