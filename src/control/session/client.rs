//! The client: opens a test, lets it run, and exchanges results.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};

use super::ending;
use super::link::{Link, late};
use super::outcome::{RunOutcome, RunReport};
use super::results::{CpuMeter, Measured, read_results};
use super::running::{Ended, RunLimits, Schedule, run_until_end};
use crate::auth::Credentials;
use crate::config::ranges::DATAGRAM_BYTES;
use crate::config::{ClientConfig, EndCondition, EngineChoice, Flow, Placement, Role, TestConfig};
use crate::control::base::runtime::{RuntimeKind, block_on};
use crate::control::base::signals::Signals;
use crate::control::base::{fixes, limits, socket_options};
use crate::control::streams::connect::{check_protocol, connect_control, connect_with_cookie};
use crate::control::streams::set::Streams;
use crate::control::streams::thread_placement::ThreadPlacement;
use crate::control::streams::{part, udp};
use crate::engine;
use crate::error::{Interruption, PeerError, RunError, SetupError, due};
use crate::protocol::results::Sieve;
use crate::protocol::{
    Cookie, ErrorCode, Extension, Hello, PeerReport, Request, Results, ServerError, ServerHello, ServerText,
    State, params, results,
};
use crate::report::{ReportHandle, RunEvent, SessionInfo, TestEnd, TestStart};
use crate::sys::{Socket, random_bytes};

/// An iperf3 receiver counts what it has read when the end of the test reaches it. It gets this long to read
/// the last bytes of a byte- or block-counted test, after its kernel has acknowledged them.
const LAST_BYTES_WAIT: Duration = Duration::from_millis(5);
/// Time for an iperf3 receiver to read the last datagrams of a UDP test, which it does as they come.
const LAST_DATAGRAMS_WAIT: Duration = Duration::from_millis(2);
/// Time between two looks at what is unacknowledged.
const UNACKNOWLEDGED_POLL: Duration = Duration::from_millis(1);

/// Somebody at a terminal hears after this time what is waited for.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Runs one test against a server, reports it and returns what it has come to, whatever becomes of it. Calls
/// `ready` once signals are events and before anything is connected.
///
/// The error in the outcome has been reported already, but for [`SetupError::NotReady`], which is what
/// `ready` says.
pub fn run_client(
    config: &ClientConfig,
    report: &ReportHandle,
    ready: impl FnOnce() -> Result<(), String>,
) -> RunOutcome {
    let report = RunReport::new(report);
    let error = load_and_run(config, &report, ready).err();
    if !matches!(error, Some(RunError::Setup(SetupError::NotReady(_)))) {
        error.iter().for_each(|error| report.emit(RunEvent::Error(error.into())));
        report.emit(RunEvent::Done);
    }
    report.into_outcome(error)
}

fn load_and_run(
    config: &ClientConfig,
    report: &RunReport<'_>,
    ready: impl FnOnce() -> Result<(), String>,
) -> Result<(), RunError> {
    // It may have to ask for a password, and as long as nobody waits for signals they should end the process.
    let credentials = config.login.as_ref().map(Credentials::load).transpose().map_err(SetupError::from)?;
    let ran = block_on(|runtime| async move {
        let signals =
            Signals::catch().map_err(|source| SetupError::System { what: "catching signals", source })?;
        ready().map_err(SetupError::NotReady)?;
        run((config, credentials), report, runtime, signals).await
    });
    ran.unwrap_or_else(
        |source| Err(SetupError::System { what: "starting the control thread", source }.into()),
    )
}

async fn run(
    (config, credentials): (&ClientConfig, Option<Credentials>),
    report: &RunReport<'_>,
    runtime: RuntimeKind,
    mut signals: Signals,
) -> Result<(), RunError> {
    let _pinned = fixes::pin(config.local.cpu, "-A")?;
    let thread_placement =
        ThreadPlacement::find(config.local.cpus.as_ref().unwrap_or(&Placement::Auto), "--cpus")?;
    socket_options::check_busy_poll(&config.local)?;
    engine::check(config.local.engine)
        .map_err(|missing| SetupError::Engine { choice: config.local.engine, missing })?;
    check_protocol(config.test.protocol)?;
    // Fails before anything is connected if it can; a UDP datagram's size does not make it longer.
    params::encode(&request(config, &config.test, credentials.as_ref())?).map_err(SetupError::from)?;
    let cookie = random_cookie()?;
    let socket = tokio::select! {
        name = signals.recv() => return Err(interrupted(name)),
        connected = told(Wait::to_connect(config), report, connect_control(config)) => connected?,
    };
    let failed = |source| SetupError::System { what: "preparing the control connection", source };
    let (local, server) =
        socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?))).map_err(failed)?;
    socket_options::control(&socket, &config.local)?;
    let link =
        Link::new(socket.into_stream(), runtime, report.debug_log(config.output.debug)).map_err(failed)?;
    let mut client = Client {
        config,
        credentials,
        thread_placement,
        report,
        link,
        local,
        server,
        info: SessionInfo {
            role: Role::Client,
            host: config.host.clone(),
            port: config.port,
            cookie: cookie.printable(),
            time: SystemTime::now(),
            control_mss: 0,
            user: None,
            extras_in_output: false,
            has_rate: config.local.engine != EngineChoice::Null
                && config.peer_engine != Some(EngineChoice::Null),
            interval: config.output.interval,
            test: Arc::new(config.test.clone()),
        },
        meter: CpuMeter::start(),
        extension: Extension::NONE,
    };
    let result = client.converse(&cookie, &mut signals).await;
    tokio::select! {
        () = client.link.close() => {}
        // Everything is said; the server's end is only waited for so that it hears it.
        _ = signals.recv() => {}
    }
    result
}

/// A client with a control connection.
struct Client<'a> {
    config: &'a ClientConfig,
    credentials: Option<Credentials>,
    thread_placement: ThreadPlacement,
    report: &'a RunReport<'a>,
    link: Link,
    /// Where the control connection comes from and leads to.
    local: SocketAddr,
    server: SocketAddr,
    info: SessionInfo,
    meter: CpuMeter,
    /// What the server, if it is a ringperf, understands as well; known from its consent on.
    extension: Extension,
}

impl Client<'_> {
    /// The whole test, from the cookie to the last byte.
    async fn converse(&mut self, cookie: &Cookie, signals: &mut Signals) -> Result<(), RunError> {
        let set_up = tokio::select! {
            name = signals.recv() => Err(interrupted(name)),
            set_up = self.set_up(cookie) => set_up,
        };
        let mut streams = match set_up {
            Ok(streams) => streams,
            Err(error) => {
                self.send_final_state(&error).await;
                return Err(error);
            }
        };
        let outcome = self.run_and_exchange(&mut streams, signals).await;
        if let Err(error @ RunError::Interrupted(_)) = &outcome {
            // At once: a server that goes on sending would hold up the end of its streams.
            self.send_final_state(error).await;
        }
        if matches!(outcome, Err(RunError::Peer(PeerError::Silent { .. }))) {
            streams.cut_off_receivers().await;
        }
        // However it ended, what was measured is reported.
        ending::close_streams(&mut streams, self.info.interval, &|event| self.report.emit(event)).await;
        let error = match outcome {
            Ok(Exchanged { measured, mut results, lost }) => {
                let part = self.swap_parts((cookie, &streams, &measured), lost.is_some(), signals).await;
                // If all of them are lost, that is the error.
                if lost.is_none() {
                    ending::warn_of_faults(&streams, &|event| self.report.emit(event));
                }
                let output = results.server_output.take();
                let end = measured.with_peer(results, part);
                self.report_end(end, output);
                return self.finish(lost).await;
            }
            Err(error) => error,
        };
        let end = self.measure(&streams).alone();
        // Readers of iperf3's documents expect its zeros.
        self.report_end(TestEnd { peer_unknown: self.config.output.extras, ..end }, None);
        if !error.is_interrupted() {
            self.send_final_state(&error).await;
        }
        Err(error)
    }

    /// From the cookie to running streams.
    async fn set_up(&mut self, cookie: &Cookie) -> Result<Streams, RunError> {
        self.link.write(cookie.as_bytes().to_vec()).await?;
        self.expect(State::ParamExchange, "the server's first answer; it may be busy").await?;
        // Like iperf3's, only now: the server's first answer has opened its window, and the segment size with
        // it.
        self.info.control_mss = self.link.mss();
        self.info.test = Arc::new(with_datagram_size(&self.config.test, self.info.control_mss));
        let request = request(self.config, &self.info.test, self.credentials.as_ref())?;
        let text = params::encode(&request).map_err(SetupError::from)?;
        self.link.write_frame("parameters", &text).await?;
        self.report.emit(RunEvent::Session(Box::new(self.info.clone())));
        if let Some(warning) = fragmentation_warning(&self.info) {
            self.report.emit(RunEvent::CommonWarning(warning));
        }
        // An iperf3 since 3.21 just closes when it does not let somebody in.
        let consent = match self.credentials {
            Some(_) => "the server's consent; user, password, key, padding or clock may be wrong",
            None => "the server's consent to the parameters; it may want a --username",
        };
        let test = Arc::clone(&self.info.test);
        let local = &self.config.local;
        let thread_placement = self.thread_placement.clone();
        // While the server thinks: to count the processors takes a while.
        let streams = Streams::new(Role::Client, Arc::clone(&test), local.engine, local, thread_placement);
        self.expect_consent(consent).await?;

        let mut streams = streams.with_peer(self.extension.is_spoken());
        let deadline = Instant::now() + limits::ALL_STREAMS;
        for (index, flow) in (0..).zip(Streams::planned(Role::Client, &test)) {
            // One after the other: the order in which the server accepts them is all that tells them apart.
            let socket = self.open_stream(cookie, &test, (index, flow), deadline).await?;
            if let Err(error) = streams.add(socket, flow).await {
                return Err(self.better_reason(error).await);
            }
        }
        streams.wait_ready(limits::SET_UP).await?;
        streams.watch_queues();
        self.expect(State::TestStart, "the start of the test").await?;
        self.report.emit(RunEvent::Start(Box::new(test_start(&streams))));
        self.expect(State::TestRunning, "the start of the test").await?;
        Ok(streams)
    }

    /// Opens stream number `index`, unless the server says meanwhile that there will be no test.
    async fn open_stream(
        &mut self,
        cookie: &Cookie,
        test: &TestConfig,
        (index, flow): (u16, Flow),
        deadline: Instant,
    ) -> Result<Socket, RunError> {
        let (config, server, report) = (self.config, self.server, self.report);
        let (started, too_early) = (Notify::new(), Notify::new());
        let plan = udp::ConnectPlan::to(test, self.extension, cookie);
        let is_last = Streams::planned(Role::Client, test).len() == usize::from(index) + 1;
        let open = async {
            match test.protocol.udp() {
                Some(_) => {
                    let wait = Wait::of(config, "the server's answer over UDP", limits::UDP_REPLY);
                    let stream = (index, flow, plan);
                    told(wait, report, udp::connect_stream(config, test, server, stream, &started)).await
                }
                None => {
                    let what = "the server to take a data connection";
                    let wait = Wait::of(config, what, limits::STREAM_CONNECT);
                    told(wait, report, connect_with_cookie(config, server, cookie, index)).await
                }
            }
        };
        let said = if is_last { &started } else { &too_early };
        let state = tokio::select! {
            biased;
            opened = open => match opened {
                Err(error) => return Err(self.better_reason(error).await),
                opened => return opened,
            },
            state = self.link.next_state_but(State::TestStart, said, "data connections") => state?,
            () = sleep_until(deadline.into()) => {
                let waiting_for = "its side of all streams";
                return Err(PeerError::Silent { waiting_for, after: limits::ALL_STREAMS }.into());
            }
        };
        Err(self.refusal(state, "the data connections").await.into())
    }

    /// A server that does not answer over UDP, or ends a data connection at once, may have said why on the
    /// control connection.
    async fn better_reason(&mut self, error: RunError) -> RunError {
        match self.link.state_within(limits::FAILURE_REASON, "a reason").await {
            Ok(state @ (State::ServerError | State::ServerTerminate | State::AccessDenied)) => {
                self.refusal(state, "a data connection").await.into()
            }
            _ => error,
        }
    }

    /// Lets the test run to its end and exchanges results.
    async fn run_and_exchange(
        &mut self,
        streams: &mut Streams,
        signals: &mut Signals,
    ) -> Result<Exchanged, RunError> {
        let start = Instant::now();
        streams.start(start);
        let receive_timeout = self.config.local.receive_timeout;
        let run_limits = RunLimits { receive_timeout, rates: Vec::new(), longest: None, entry: None };
        let schedule = Schedule::new(Role::Client, &self.info.test, self.info.interval, start, run_limits);
        let tell = |event| self.report.emit(event);
        let ended = run_until_end(streams, &mut self.link, signals, &tell, schedule).await;
        let lost = match ended {
            Ended::Condition => None,
            Ended::Failed(lost @ RunError::Peer(PeerError::StreamsLost { .. })) => Some(lost),
            Ended::Failed(error) => return Err(error),
            Ended::Signal(name) => return Err(interrupted(name)),
            Ended::Peer(state) => return Err(self.refusal(state, "the end of the test").await.into()),
        };
        tokio::select! {
            name = signals.recv() => Err(interrupted(name)),
            exchanged = self.exchange(streams) => match (exchanged, lost) {
                // The data connections of a server that dies are the first to tell.
                (Ok((measured, results, None | Some(PeerError::Closed { .. }))), Some(lost)) => {
                    Ok(Exchanged { measured, results, lost: Some(lost) })
                }
                (Ok((measured, results, missed)), _) => {
                    let lost = missed.map(RunError::from).or_else(|| streams.nothing_sent());
                    Ok(Exchanged { measured, results, lost })
                }
                (Err(RunError::Peer(PeerError::Closed { .. })), Some(lost)) => Err(lost),
                (Err(error), _) => Err(error),
            }
        }
    }

    /// From TEST_END to the results of both ends, which are known even if the server's last word, all that
    /// comes behind them, is missed.
    async fn exchange(
        &mut self,
        streams: &mut Streams,
    ) -> Result<(Measured, Results, Option<PeerError>), RunError> {
        self.wait_for_delivery(streams).await;
        self.link.write_state(State::TestEnd).await?;
        streams.stop_senders();
        self.expect_readiness().await?;
        let is_ready = Instant::now();
        // A sending server has closed its data connections by now; what is under way still counts.
        if !ending::drain_receivers(streams).await {
            streams.cut_off_receivers().await;
        }
        ending::close_streams(streams, self.info.interval, &|event| self.report.emit(event)).await;
        let own = self.measure(streams);
        self.link.write_frame("results", &results::encode(&own.to_results())).await?;
        // A server that goes on sending after it has asked for results gains no time by that.
        let wait = limits::ANSWER.saturating_sub(is_ready.elapsed());
        let theirs = read_results(&self.receive_results(streams, wait).await?, streams)?;
        let final_state = self.expect(State::DisplayResults, "the end of the exchange").await;
        Ok((own, theirs, final_state.err()))
    }

    /// The server's part, if it is a ringperf. The test is none the worse without it, so it is given up at a
    /// signal.
    async fn swap_parts(
        &mut self,
        (cookie, streams, measured): (&Cookie, &Streams, &Measured),
        is_lost: bool,
        signals: &mut Signals,
    ) -> Option<PeerReport> {
        if !self.extension.is_spoken() || is_lost {
            return None;
        }
        let own = measured.part().encode();
        self.link.log_sent("part", &own);
        let wait = Wait::of(self.config, "the server's own figures", limits::PART);
        let swap = part::swap_with_server(&self.config.local, (self.local, self.server), cookie, &own);
        let heard = tokio::select! {
            _ = signals.recv() => return None,
            heard = told(wait, self.report, swap) => heard,
        };
        let part = heard.map_err(|lost| lost.to_string());
        let part = part.and_then(|heard| ending::read_part(&self.link, &heard, streams));
        part.map_err(|why| self.report.emit(ending::part_is_unknown("server", why))).ok()
    }

    /// The server's results, which begin within `begins_within`. A server that has failed, or is being ended,
    /// sends a state in their place, which reads as the first byte of a length. None of results without a
    /// report is that long, and none at all is as long as SERVER_ERROR says.
    async fn receive_results(
        &mut self,
        streams: &Streams,
        begins_within: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let wait = Wait::of(self.config, "the server's results", limits::ANSWER);
        let first = told(wait, self.report, self.link.peek_within(begins_within, "results")).await;
        let first = first.map_err(|error| late(error, "results", limits::ANSWER))?;
        match State::from_byte(first) {
            Some(State::ServerTerminate) if self.config.test.server_output => {}
            Some(state @ (State::ServerError | State::ServerTerminate)) => {
                self.link.state_within(limits::ANSWER, "results").await?;
                return Err(self.refusal(state, "results").await);
            }
            _ => {}
        }
        self.results_frame(streams).await
    }

    /// The server's results. Only who asks for the server's own report makes room for it, and one that is too
    /// long is left out: the test is none the worse for it.
    async fn results_frame(&mut self, streams: &Streams) -> Result<Vec<u8>, PeerError> {
        let most = ending::results_bytes_max(streams);
        let wait = Wait::of(self.config, "the rest of the server's results", limits::ANSWER);
        if !self.config.test.server_output {
            return told(wait, self.report, self.link.frame_within("results", most, limits::ANSWER)).await;
        }
        let most = usize::try_from(most).expect("a u32 fits a usize on Linux");
        let sieve = Sieve::new(limits::SERVER_REPORT_BYTES, most);
        let most = limits::SERVER_RESULTS_BYTES;
        let results = self.link.results_within(most, sieve, limits::ANSWER);
        let (frame, has_left_out) = told(wait, self.report, results).await?;
        if has_left_out {
            let most = limits::SERVER_REPORT_BYTES >> 20;
            let warning = format!("the server's own output is left out: it has more than {most} MiB");
            self.report.emit(RunEvent::Warning(warning));
        }
        Ok(frame)
    }

    fn measure(&self, streams: &Streams) -> Measured {
        let file = self.config.local.file.as_deref();
        Measured::new(streams, Role::Client, &self.info.test, &self.meter, file)
    }

    /// Lets an iperf3 server read the last bytes of a counted test, and the last datagrams of any, before it
    /// hears of the end, since then it stops counting.
    async fn wait_for_delivery(&self, streams: &mut Streams) {
        let counted = matches!(self.config.test.end, EndCondition::Bytes(_) | EndCondition::Blocks(_));
        let whole = counted || self.config.local.file.is_some();
        if !(whole || streams.is_udp()) || streams.of(Flow::Send).next().is_none() {
            return;
        }
        if streams.is_udp() {
            streams.stop_senders();
            streams.wait_stopped(Flow::Send, limits::DRAIN).await;
        }
        let deadline = Instant::now() + limits::DRAIN;
        while streams.unacknowledged_bytes() > 0 && Instant::now() < deadline {
            sleep(UNACKNOWLEDGED_POLL).await;
        }
        match (streams.is_udp(), self.extension.is_spoken()) {
            (true, _) => sleep(LAST_DATAGRAMS_WAIT).await,
            (false, false) => sleep(LAST_BYTES_WAIT).await,
            // It reads on to the end of its data connections.
            (false, true) => {}
        }
    }

    fn report_end(&self, end: TestEnd, output: Option<ServerText>) {
        self.report.emit(RunEvent::End(Box::new(end)));
        if let Some(output) = output.filter(|_| self.config.test.server_output) {
            self.report.emit(RunEvent::ServerOutput(ending::to_report(output)));
        }
    }

    async fn finish(&mut self, lost: Option<RunError>) -> Result<(), RunError> {
        // Everything is known: a server that is gone by now has missed nothing.
        let _ = self.link.write_state(State::IperfDone).await;
        lost.map_or(Ok(()), Err)
    }

    /// Tells the server why it is left alone, as far as the protocol has words for it.
    async fn send_final_state(&mut self, error: &RunError) {
        let final_state = match error {
            RunError::Interrupted(_) => {
                self.link.hurry();
                State::ClientTerminate
            }
            RunError::Peer(
                PeerError::Closed { .. } | PeerError::Control(_) | PeerError::Busy | PeerError::Server(_),
            ) => return,
            RunError::Setup(_) | RunError::Peer(_) | RunError::Limit(_) => State::IperfDone,
        };
        // The error is what matters now; the server may well be gone.
        let _ = self.link.write_state(final_state).await;
    }

    async fn next_state(&mut self, waiting_for: &'static str) -> Result<State, PeerError> {
        let wait = Wait::of(self.config, due(waiting_for), limits::SET_UP);
        told(wait, self.report, self.link.state_within(limits::SET_UP, waiting_for)).await
    }

    /// Waits for one state.
    async fn expect(&mut self, expected: State, waiting_for: &'static str) -> Result<(), PeerError> {
        match self.next_state(waiting_for).await? {
            state if state == expected => Ok(()),
            other => Err(self.refusal(other, waiting_for).await),
        }
    }

    /// Waits until the server wants the streams. One that is a ringperf says so before, since it was asked.
    async fn expect_consent(&mut self, waiting_for: &'static str) -> Result<(), PeerError> {
        let mut state = self.next_state(waiting_for).await?;
        if state == State::Hello {
            let wait = Wait::of(self.config, "the rest of the server's hello", limits::SET_UP);
            let hello = self.link.frame_within("hello", ServerHello::BYTES_MAX, limits::SET_UP);
            let hello = told(wait, self.report, hello).await?;
            match ServerHello::decode(&hello) {
                Ok(hello) => self.extension = hello.extension.common(Extension::OWN),
                Err(strange) => self.report.emit(RunEvent::Warning(strange.to_string())),
            }
            state = self.next_state(waiting_for).await?;
        }
        match state {
            State::CreateStreams => Ok(()),
            other => Err(self.refusal(other, waiting_for).await),
        }
    }

    /// Waits for the server's answer to the end of the test. Who asks for a keepalive of its own has as much
    /// patience with silent hosts as it likes.
    async fn expect_readiness(&mut self) -> Result<(), PeerError> {
        let waiting_for = "the server's readiness for results";
        if self.config.local.keepalive.is_some() {
            return self.expect(State::ExchangeResults, waiting_for).await;
        }
        let wait = Wait::of(self.config, waiting_for, limits::ANSWER);
        match told(wait, self.report, self.link.state_of_live_host(limits::ANSWER, waiting_for)).await? {
            State::ExchangeResults => Ok(()),
            other => Err(self.refusal(other, waiting_for).await),
        }
    }

    /// What it means that the server sent this state instead of the one that was due.
    async fn refusal(&mut self, state: State, waiting_for: &'static str) -> PeerError {
        match state {
            State::AccessDenied => PeerError::Busy,
            State::ServerTerminate => PeerError::ServerTerminated,
            State::ServerError => {
                // Servers up to 3.18 send one integer in some cases, and close.
                let bytes = self.link.rest_within(ServerError::LEN, limits::LINGER).await;
                match ServerError::decode(&bytes) {
                    Some(error) => self.server_error(error),
                    None => PeerError::Closed { waiting_for: "the server's reason for its failure" },
                }
            }
            state => PeerError::Unexpected { state, waiting_for },
        }
    }

    /// What a server says of its failure; where this client has asked for too much, in words that name the
    /// option.
    fn server_error(&self, error: ServerError) -> PeerError {
        match (error.code, self.config.peer_engine, &self.config.peer_cpus) {
            (ErrorCode::INIT_TEST, Some(engine), _) => PeerError::Engine(engine),
            (ErrorCode::AFFINITY, _, Some(cpus)) => PeerError::Cpus(cpus.clone()),
            _ => PeerError::Server(error),
        }
    }
}

/// What is waited for, in words for somebody who sees nothing happen.
struct Wait(Option<String>);

impl Wait {
    fn of(config: &ClientConfig, what: &str, most: Duration) -> Self {
        let program = config.output.program;
        // What stands in for iperf3 has nothing to say that iperf3 does not say.
        Self(
            config
                .output
                .extras
                .then(|| format!("{program}: waiting for {what}, {} seconds at most\n", most.as_secs_f64())),
        )
    }

    fn to_connect(config: &ClientConfig) -> Self {
        let what = format!("{}, port {}, to take the connection", config.host.escape_debug(), config.port);
        Self::of(config, &what, config.connect_timeout)
    }
}

/// Does something, and tells at a terminal what it waits for if it takes long.
async fn told<T>(wait: Wait, report: &RunReport<'_>, done: impl Future<Output = T>) -> T {
    let mut done = pin!(done);
    if let Ok(done) = timeout(TELL_AFTER, &mut done).await {
        return done;
    }
    if let Some(text) = &wait.0 {
        report.tell_terminal(text);
    }
    done.await
}

/// A test that ran to its end.
struct Exchanged {
    measured: Measured,
    results: Results,
    /// The data connections died, or the server's last word did not come; its results are there all the same.
    lost: Option<RunError>,
}

/// What the report says of the start, at either end.
pub(super) fn test_start(streams: &Streams) -> TestStart {
    let (sndbuf_actual, rcvbuf_actual) = streams.buffers_at_first().unwrap_or((0, 0));
    TestStart {
        streams: streams.all().iter().map(|stream| stream.connected.clone()).collect(),
        sndbuf_actual,
        rcvbuf_actual,
    }
}

/// The test with datagrams as large as the segments of the control connection, where the user has not chosen.
fn with_datagram_size(test: &TestConfig, control_mss: u32) -> TestConfig {
    let mut test = test.clone();
    let fits = DATAGRAM_BYTES.contains(control_mss);
    if test.protocol.udp().is_some() && !test.block.explicit && fits {
        test.block.bytes = control_mss;
    }
    test
}

/// iperf3's warning of datagrams that do not fit the path, as far as the control connection knows it.
fn fragmentation_warning(info: &SessionInfo) -> Option<String> {
    let (bytes, mss) = (info.test.block.bytes, info.control_mss);
    (info.test.protocol.udp().is_some() && mss > 0 && bytes > mss)
        .then(|| format!("UDP block size {bytes} exceeds TCP MSS {mss}, may result in fragmentation / drops"))
}

/// The request as it is right now: its token, if it has one, is of this moment.
fn request(
    config: &ClientConfig,
    test: &TestConfig,
    credentials: Option<&Credentials>,
) -> Result<Request, SetupError> {
    Ok(Request {
        test: test.clone(),
        client_version: None,
        auth_token: credentials.map(|credentials| credentials.token(SystemTime::now())).transpose()?,
        hello: Some(Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: config.peer_engine,
            cpus: config.peer_cpus.clone(),
            explicit_block: test.block.explicit,
            extension: Extension::OWN,
            extras: test.server_output && config.output.extras,
        }),
    })
}

fn random_cookie() -> Result<Cookie, SetupError> {
    let mut random = [0; Cookie::LEN - 1];
    random_bytes(&mut random)
        .map_err(|source| SetupError::System { what: "getting random bytes from the kernel", source })?;
    Ok(Cookie::from_random(random))
}

fn interrupted(signal: &'static str) -> RunError {
    Interruption { role: "client", signal }.into()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::net::Ipv4Addr;

    use tokio::sync::oneshot;

    use super::*;
    use crate::config::{Family, OutputConfig, ServerConfig};
    use crate::control::embedded::EmbeddedServer;
    use crate::report::{Intervals, Observer, Reporter, Sink};

    fn config(port: u16, end: EndCondition) -> ClientConfig {
        ClientConfig {
            port,
            output: OutputConfig { interval: Some(Duration::from_millis(100)), ..OutputConfig::default() },
            ..ClientConfig::new(
                Ipv4Addr::LOCALHOST.to_string(),
                TestConfig { end, parallel: 2, ..TestConfig::default() },
            )
        }
    }

    fn server() -> EmbeddedServer {
        EmbeddedServer::start(ServerConfig::on_loopback(Family::V4)).unwrap()
    }

    #[test]
    fn a_run_that_succeeds_has_come_to_its_totals_whoever_hears_of_it() {
        let server = server();
        let intervals = Intervals::default();
        for (observers, keeps) in [(vec![], false), (vec![Observer::keeping(&intervals)], true)] {
            let report = ReportHandle::start(observers).unwrap();
            let config = config(server.port(), EndCondition::Bytes(8 * 1024 * 1024));
            let outcome = run_client(&config, &report, || Ok(()));
            report.finish().unwrap();
            assert!(outcome.error.is_none(), "{outcome:?}");
            assert_eq!(outcome.session.as_ref().unwrap().test.parallel, 2);
            assert_eq!(outcome.start.as_ref().unwrap().streams.len(), 2);
            assert_eq!(outcome.intervals.is_some(), keeps);
            let end = outcome.into_result().unwrap();
            let received: u64 = end.streams.iter().map(|stream| stream.received.bytes).sum();
            assert_eq!(received, 8 * 1024 * 1024);
        }
        let kept = intervals.read().map(|interval| interval.unwrap().streams);
        assert_eq!(kept.flatten().map(|stream| stream.bytes).sum::<u64>(), 8 * 1024 * 1024);
        server.finish().unwrap();
    }

    #[test]
    fn a_run_that_fails_has_come_to_its_error() {
        // Nobody listens at a port that is only taken.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let report = ReportHandle::start(Vec::new()).unwrap();
        let outcome = run_client(&config(port, EndCondition::Unlimited), &report, || Ok(()));
        report.finish().unwrap();
        assert!(matches!(outcome.error, Some(RunError::Peer(PeerError::Connect { .. }))), "{outcome:?}");
        assert!(outcome.session.is_none() && outcome.start.is_none() && outcome.end.is_none());
    }

    /// Stops a run when it hears of an interval.
    struct Stopping(Option<oneshot::Sender<()>>);

    impl Reporter for Stopping {
        fn event(&mut self, event: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
            if let RunEvent::Interval(_) = event {
                // That it is gone means the same.
                self.0 = None;
            }
            Ok(())
        }
    }

    #[test]
    fn a_run_that_is_interrupted_has_come_to_what_was_measured_by_then() {
        let server = server();
        let (stop, stopped) = oneshot::channel();
        let observer = Observer::new(Box::new(Stopping(Some(stop))), Sink::Nowhere);
        let handle = ReportHandle::start(vec![observer]).unwrap();
        let report = RunReport::new(&handle);
        let config = config(server.port(), EndCondition::Unlimited);
        let ran = block_on(|runtime| run((&config, None), &report, runtime, Signals::until(stopped)));
        let outcome = report.into_outcome(ran.unwrap().err());
        handle.finish().unwrap();
        assert!(matches!(outcome.error, Some(RunError::Interrupted(_))), "{outcome:?}");
        assert!(outcome.session.is_some() && outcome.start.is_some());
        let end = outcome.end.as_ref().unwrap();
        assert!(!end.exchanged && end.streams.iter().any(|stream| stream.sent.bytes > 0), "{end:?}");
        server.finish().unwrap();
    }
}
