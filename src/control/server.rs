//! The server: one test at a time, for as many clients as come.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::client::test_start;
use super::connect::check_protocol;
use super::limits;
use super::link::Link;
use super::listener::{Control, Listener, StreamDoor};
use super::rate_watch::asks_for_too_much;
use super::results::{CpuMeter, Measured, read_results};
use super::running::{Ended, Patience, Schedule, keep_last, run_until_end};
use super::runtime::{RuntimeKind, block_on};
use super::signals::Signals;
use super::socket_options;
use super::streams::Streams;
use super::udp::UdpDoor;
use crate::auth::Gatekeeper;
use crate::config::{EngineChoice, Flow, LocalConfig, Role, ServerConfig, ServerLimits, TestConfig};
use crate::engine;
use crate::error::{Fault, RunError};
use crate::protocol::{Cookie, Request, ServerError, ServerText, State, params, results};
use crate::report::{ReportHandle, RunEvent, ServerOutput, SessionInfo};
use crate::sys::{Pinned, Socket, Transport};

/// Serves until a signal comes, or one test with `-1`. Calls `ready` once it listens and has said so.
///
/// # Errors
/// Why the server cannot serve, or which signal ended it. It has been reported already. A failed test ends
/// only itself.
pub fn run_server(
    config: &ServerConfig,
    report: &ReportHandle,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), RunError> {
    let result = load_and_serve(config, report, ready);
    if let Err(error) = &result
        && !matches!(error, RunError::Interrupted { .. } | RunError::Unwritten(_))
    {
        report.emit(RunEvent::Error(error.to_string()));
        report.emit(RunEvent::Done);
    }
    result
}

fn load_and_serve(
    config: &ServerConfig,
    report: &ReportHandle,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), RunError> {
    let gatekeeper = config.authentication.as_ref().map(Gatekeeper::load).transpose()?;
    let served = block_on(|runtime| async move {
        let signals =
            Signals::catch().map_err(|source| RunError::System { what: "catching signals", source })?;
        Server { config, gatekeeper, report, runtime, signals, closing: Vec::new() }.serve(|_| ready()).await
    });
    served.unwrap_or_else(|source| Err(RunError::System { what: "starting the control thread", source }))
}

/// A server on its control thread.
pub(super) struct Server<'a> {
    pub(super) config: &'a ServerConfig,
    /// Lets in only those who have a good token; without one everybody comes in.
    pub(super) gatekeeper: Option<Gatekeeper>,
    pub(super) report: &'a ReportHandle,
    pub(super) runtime: RuntimeKind,
    pub(super) signals: Signals,
    /// Control connections of finished tests that are being closed.
    pub(super) closing: Vec<JoinHandle<()>>,
}

impl Server<'_> {
    /// Listens, tells `listening` the port, and runs one test after the other.
    ///
    /// # Errors
    /// As [`run_server`].
    pub(super) async fn serve(
        &mut self,
        listening: impl FnOnce(u16) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let served = self.serve_all(listening).await;
        self.close_all().await;
        served
    }

    async fn serve_all(&mut self, listening: impl FnOnce(u16) -> io::Result<()>) -> Result<(), RunError> {
        let config = self.config;
        let _pinned = config.local.cpu.map(Pinned::to).transpose().map_err(RunError::Affinity)?;
        engine::check(config.local.engine)
            .map_err(|missing| RunError::Engine { choice: config.local.engine, missing })?;
        let mut listener = Listener::open(config)?;
        let port = listener.port();
        self.report.emit(RunEvent::Listening { port, test_number: 1 });
        // A server that cannot report does not start; one that no longer can goes on.
        self.report.written().await?;
        listening(port).map_err(|source| RunError::System { what: "going into the background", source })?;
        for test_number in 2.. {
            let control = loop {
                tokio::select! {
                    name = self.signals.recv() => {
                        let interrupted = interrupted(name);
                        self.report.emit(RunEvent::Error(interrupted.to_string()));
                        self.report.emit(RunEvent::Done);
                        return Err(interrupted);
                    }
                    control = listener.next_control() => break control,
                    () = idle_for(config.limits.idle) => {}
                }
                if config.one_off {
                    return Ok(());
                }
                listener = listener.reopen(config).await?;
            };
            let outcome = self.run_test(&listener, control).await;
            listener.set_idle();
            if let Err(error) = &outcome {
                self.report.emit(RunEvent::Error(error.to_string()));
            }
            self.report.emit(RunEvent::Done);
            match outcome {
                Err(error) if error.fault() == Fault::Interrupted => return Err(error),
                // Nobody can end a server, or use up its only test, without a password.
                Err(RunError::Unauthorized { .. }) => {
                    self.report.emit(RunEvent::Listening { port, test_number });
                }
                _ if config.one_off => break,
                _ => self.report.emit(RunEvent::Listening { port, test_number }),
            }
        }
        Ok(())
    }

    /// One test, from the first state to the last, and the words that a failure has in the protocol.
    async fn run_test(&mut self, listener: &Listener, control: Control) -> Result<(), RunError> {
        let failed = |source| RunError::System { what: "preparing a control connection", source };
        let local = control.socket.local_addr().map_err(failed)?;
        socket_options::control(&control.socket, &self.config.local)?;
        let log = self.report.debug_log(self.config.output.debug);
        let link = Link::new(control.socket.into_stream(), self.runtime, log).map_err(failed)?;
        let info = SessionInfo {
            role: Role::Server,
            host: control.peer.ip().to_string(),
            port: control.peer.port(),
            cookie: control.cookie.printable(),
            time: SystemTime::now(),
            control_mss: 0,
            user: None,
            interval: self.config.output.interval,
            test: Arc::default(),
        };
        let mut session = Session {
            server: self,
            listener,
            cookie: control.cookie,
            link,
            local,
            client: control.peer.ip(),
            info,
            meter: CpuMeter::start(),
            pinned: None,
            told: false,
        };
        let outcome = session.converse().await.map_err(|error| match error {
            RunError::Closed { waiting_for } => RunError::ClientGone { waiting_for },
            other => other,
        });
        if let Err(error) = &outcome {
            session.tell(error).await;
        }
        let link = session.link;
        // The next client need not wait for this one to hang up.
        self.closing.retain(|closing| !closing.is_finished());
        self.closing.push(tokio::task::spawn_local(link.close()));
        outcome
    }

    /// Lets the last control connections end as they should, which is a matter of a second at most.
    async fn close_all(&mut self) {
        for closing in self.closing.drain(..) {
            // A panic in there would have nothing to do with the result.
            let _ = closing.await;
        }
    }
}

/// One test at a server.
struct Session<'a, 'b> {
    server: &'a mut Server<'b>,
    listener: &'a Listener,
    cookie: Cookie,
    link: Link,
    /// The address that the client has connected to.
    local: SocketAddr,
    /// The client's host.
    client: IpAddr,
    info: SessionInfo,
    meter: CpuMeter,
    /// The processor that the client has chosen for this test.
    pinned: Option<Pinned>,
    /// The client knows that the test has failed.
    told: bool,
}

/// Where the streams of a test come in.
enum Door<'a> {
    Connections(StreamDoor),
    Udp(UdpDoor<'a>),
}

impl Door<'_> {
    /// The next stream, within the time that a client has for it.
    async fn next(
        &mut self,
        test: &TestConfig,
        local: &LocalConfig,
        flow: Flow,
        last: bool,
    ) -> Result<Socket, RunError> {
        match self {
            Self::Connections(door) => {
                let silent = |_| RunError::Silent {
                    waiting_for: "the client's next data connection",
                    after: limits::SET_UP,
                };
                let socket = timeout(limits::SET_UP, door.next()).await.map_err(silent)?;
                socket_options::after_accept(&socket, test, local)?;
                Ok(socket)
            }
            Self::Udp(door) => {
                let silent = |_| RunError::UdpNoClient { after: limits::SET_UP };
                timeout(limits::SET_UP, door.next(test, flow, last)).await.map_err(silent)?
            }
        }
    }

    /// No more streams come.
    async fn shut(self) {
        match self {
            Self::Connections(door) => door.shut().await,
            Self::Udp(_) => {}
        }
    }
}

impl<'b> Session<'_, 'b> {
    async fn converse(&mut self) -> Result<(), RunError> {
        let Some((request, mut streams)) = self.set_up_unless_signal().await? else { return Ok(()) };
        let ended = self.run(&mut streams).await;
        if let Ended::Failed(error) = &ended {
            // Before its data connections end: an old iperf3 would take that for the reason.
            self.tell(error).await;
        }
        // However it ended, what was measured is reported, and before the results are exchanged: the client
        // may want it.
        if matches!(ended, Ended::Peer(State::TestEnd)) {
            streams.stop_senders();
            if streams.is_udp() {
                streams.stop_receivers();
                streams.wait_stopped(Flow::Receive, limits::DRAIN).await;
            } else if request.hello.is_some() {
                // A ringperf ends its data connections, so everything it sent can be counted.
                streams.wait_stopped(Flow::Receive, limits::DRAIN).await;
            } else if self.local_config().file.is_some() {
                // An iperf3 does not, but a file should be whole.
                streams.wait_quiet().await;
            }
        }
        self.close_streams(&mut streams).await;
        if matches!(ended, Ended::Peer(State::TestEnd)) {
            for fault in streams.faults() {
                self.server.report.emit(RunEvent::Warning(fault));
            }
        }
        let file = self.server.config.local.file.as_deref();
        let measured = Measured::new(&streams, Role::Server, &self.info.test, &self.meter, file);
        let with_engines = request.hello.is_some();
        let own = measured.to_results(None, with_engines);
        self.server.report.emit(RunEvent::End(Box::new(measured.alone())));
        match ended {
            Ended::Peer(State::TestEnd) => self.exchange(own, &streams).await,
            Ended::Peer(State::IperfDone) => Ok(()),
            Ended::Peer(State::ClientTerminate) => Err(RunError::ClientTerminated),
            Ended::Peer(state) => Err(RunError::Unexpected { state, waiting_for: "the end of the test" }),
            Ended::Signal(name) => Err(interrupted(name)),
            Ended::Failed(error) => Err(error),
            Ended::Condition => unreachable!("only a client's schedule has an end"),
        }
    }

    /// Says why there will be no result, once, as far as the protocol has words for it.
    async fn tell(&mut self, error: &RunError) {
        let last_words = match error {
            RunError::Interrupted { .. } => Some(vec![State::ServerTerminate.byte()]),
            error => error.code_for_client().map(|code| {
                let mut bytes = vec![State::ServerError.byte()];
                bytes.extend(ServerError { code, os_error: Some(0) }.encode());
                bytes
            }),
        };
        if let Some(bytes) = last_words.filter(|_| !std::mem::replace(&mut self.told, true)) {
            // The client may be gone; then nobody needs to be told.
            let _ = self.link.write(bytes).await;
        }
    }

    async fn set_up_unless_signal(&mut self) -> Result<Option<(Request, Streams)>, RunError> {
        // The session must stay whole for its last words, so the signals are taken out while it is being set
        // up.
        let mut signals = std::mem::replace(&mut self.server.signals, Signals::ignore());
        let set_up = tokio::select! {
            name = signals.recv() => Err(interrupted(name)),
            set_up = self.set_up() => set_up,
        };
        self.server.signals = signals;
        set_up
    }

    /// From PARAM_EXCHANGE to running streams; `None` when the client changes its mind.
    async fn set_up(&mut self) -> Result<Option<(Request, Streams)>, RunError> {
        self.link.write_state(State::ParamExchange).await?;
        let frame = self.link.frame_within("parameters", limits::PARAMS_BYTES, limits::SET_UP).await?;
        let request = params::decode(&frame)?;
        self.info.user = self.admit(&request).await?;
        self.info.test = Arc::new(request.test.clone());
        let engine = self.engine_for(&request);
        self.server.report.emit(RunEvent::Session(Box::new(self.info.clone())));
        self.check(&request.test)?;
        engine::check(engine).map_err(|missing| RunError::Engine { choice: engine, missing })?;
        // The stream threads are started from here and run where this one does.
        self.pinned = request.test.server_cpu.map(Pinned::to).transpose().map_err(RunError::Affinity)?;

        let test = Arc::clone(&self.info.test);
        let local = self.local_config();
        let mut streams = Streams::new(Role::Server, Arc::clone(&test), engine, local);
        let mut door = self.open_door(&test, local)?;
        let arrived = self.take_streams(&mut streams, &mut door).await;
        door.shut().await;
        if !arrived? {
            return Ok(None);
        }
        self.listener.set_busy();
        streams.wait_ready().await?;
        streams.forget_received();
        self.server.report.emit(RunEvent::Start(Box::new(test_start(&streams))));
        self.link.write_states(&[State::TestStart, State::TestRunning]).await?;
        Ok(Some((request, streams)))
    }

    /// Whether this server runs such a test.
    fn check(&self, test: &TestConfig) -> Result<(), RunError> {
        let ServerLimits { rate, duration, .. } = self.server.config.limits;
        check_protocol(test.protocol)?;
        if self.server.config.local.file.is_some() && test.protocol.udp().is_some() {
            return Err(RunError::FileOverUdp);
        }
        if rate.is_some_and(|limit| asks_for_too_much(test, &limit)) {
            return Err(RunError::RateLimit);
        }
        let omit = Duration::from_secs(test.omit_secs.into());
        let fits = |most: Duration| test.duration().is_some_and(|planned| planned + omit <= most);
        if duration.is_some_and(|most| !fits(most)) {
            return Err(RunError::TooLongTest);
        }
        Ok(())
    }

    /// Takes the streams of the test as they come; `false` when the client changes its mind.
    async fn take_streams(&mut self, streams: &mut Streams, door: &mut Door<'_>) -> Result<bool, RunError> {
        self.link.write_state(State::CreateStreams).await?;
        let test = Arc::clone(&self.info.test);
        let local = self.local_config();
        let receives = test.direction.flows(Role::Server).contains(&Flow::Receive);
        let planned = Streams::planned(Role::Server, &test);
        for (index, &flow) in planned.iter().enumerate() {
            let last = index + 1 == planned.len();
            let next = tokio::select! {
                biased;
                state = self.link.next_state("the client's data connections") => Err(state?),
                socket = door.next(&test, local, flow, last) => Ok(socket?),
                () = sleep(local.receive_timeout), if receives => {
                    return Err(RunError::Stalled(local.receive_timeout));
                }
            };
            let socket = match next {
                Ok(socket) => socket,
                Err(State::IperfDone) => return Ok(false),
                Err(State::ClientTerminate) => return Err(RunError::ClientTerminated),
                Err(state) => return Err(RunError::Unexpected { state, waiting_for: "data connections" }),
            };
            streams.add(socket, flow)?;
        }
        Ok(true)
    }

    /// The user that the client is, on a server that wants to know.
    async fn admit(&mut self, request: &Request) -> Result<Option<String>, RunError> {
        let Some(gatekeeper) = &mut self.server.gatekeeper else { return Ok(None) };
        let refusal_at = Instant::now() + limits::REFUSED_LOGIN;
        match gatekeeper.admit(request.auth_token.as_deref(), SystemTime::now()) {
            Ok(user) => Ok(Some(user)),
            Err(refusal) => {
                // Whatever was wrong, and even if the client does not wait for it: guessing is slow.
                sleep_until(refusal_at.into()).await;
                Err(RunError::Unauthorized { client: self.client.to_canonical(), refusal })
            }
        }
    }

    /// Where the streams of the test come in.
    fn open_door<'c>(&self, test: &TestConfig, local: &'c LocalConfig) -> Result<Door<'c>, RunError> {
        match Transport::of(test.protocol) {
            None => {
                // Connections that come now are not of this test.
                self.listener.set_busy();
                Ok(Door::Udp(UdpDoor::open(self.local, self.client, local)?))
            }
            Some(transport) => Ok(Door::Connections(self.listener.expect_streams(&self.cookie, transport)?)),
        }
    }

    async fn run(&mut self, streams: &mut Streams) -> Ended {
        let start = Instant::now();
        streams.start(start);
        let Server { signals, report, config, .. } = &mut *self.server;
        let patience = Patience { receive_timeout: config.local.receive_timeout, rate: config.limits.rate };
        let schedule = Schedule::new(Role::Server, &self.info.test, self.info.interval, start, patience);
        run_until_end(streams, &mut self.link, signals, report, schedule).await
    }

    /// From TEST_END to IPERF_DONE.
    async fn exchange(&mut self, mut own: results::Results, streams: &Streams) -> Result<(), RunError> {
        self.link.write_state(State::ExchangeResults).await?;
        let count = u32::try_from(streams.all().len()).expect("at most 256 streams");
        let most = limits::client_results_bytes(count);
        let frame = self.link.frame_within("results", most, limits::ANSWER).await?;
        // The own report is printed by now; what the client has measured must make sense all the same.
        read_results(&frame, streams)?;
        if self.info.test.server_output {
            own.server_output = self.server.report.server_output().await.map(|output| match output {
                ServerOutput::Text(text) => ServerText::Text(text),
                ServerOutput::Json(value) => ServerText::Json(value),
            });
        }
        self.link.write_frame("results", &results::encode(&own)).await?;
        self.link.write_state(State::DisplayResults).await?;
        match self.link.state_within(limits::ANSWER, "the client's last word").await {
            // Both sides have everything, so a client that just leaves has lost nothing.
            Ok(State::IperfDone | State::ClientTerminate) | Err(RunError::Closed { .. }) => Ok(()),
            Ok(state) => Err(RunError::Unexpected { state, waiting_for: "the client's last word" }),
            Err(error) => Err(error),
        }
    }

    /// The client's wish, then `-Z`, then the server's own choice.
    fn engine_for(&self, request: &Request) -> EngineChoice {
        let wished = request.hello.as_ref().and_then(|hello| hello.engine);
        match (wished, self.server.config.local.engine) {
            (Some(engine), _) => engine,
            // UDP has no sendfile(2); iperf3 takes the flag and does nothing about it.
            (None, EngineChoice::Auto) if request.test.zerocopy && request.test.protocol.udp().is_none() => {
                EngineChoice::Sendfile
            }
            (None, own) => own,
        }
    }

    fn local_config(&self) -> &'b LocalConfig {
        &self.server.config.local
    }

    async fn close_streams(&self, streams: &mut Streams) {
        let interval = self.info.interval;
        if let Some(last) = streams.finish().await.filter(|last| keep_last(last, interval)) {
            self.server.report.emit(RunEvent::Interval(last));
        }
    }
}

/// Waits so long; for ever without a time.
async fn idle_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

fn interrupted(signal: &'static str) -> RunError {
    RunError::Interrupted { role: "server", signal }
}
