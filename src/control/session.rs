//! One test at a server, from the cookie to the last byte.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{sleep, sleep_until, timeout};

use super::budget::Share;
use super::client::test_start;
use super::connect::check_protocol;
use super::limits;
use super::link::Link;
use super::listener::{Entrance, StreamDoor};
use super::part;
use super::places::Places;
use super::rate_watch::{Limit, asked_bits_per_second};
use super::results::{CpuMeter, Measured, read_results};
use super::router::{self, Accepted, Control, Penalty, Slot};
use super::running::{Ended, Patience, Schedule, keep_last, run_until_end};
use super::server::{House, interrupted};
use super::signals::Signals;
use super::sources::Source;
use super::streams::Streams;
use super::turns::{Matter, Turn};
use super::udp_door::UdpDoor;
use super::{socket_options, way_out};
use crate::config::{EngineChoice, Flow, LocalConfig, Role, ServerConfig, ServerLimits, TestConfig};
use crate::engine;
use crate::error::RunError;
use crate::protocol::{
    Extension, PeerReport, Request, ServerError, ServerHello, ServerText, State, params, results,
};
use crate::report::{ReportHandle, RunEvent, ServerOutput, SessionInfo};
use crate::sys::{Transport, plain};

/// One test at a server.
pub(super) struct Session {
    house: Rc<House>,
    entrance: Entrance,
    report: ReportHandle,
    signals: Signals,
    /// Number of the test.
    number: u64,
    slot: Rc<Slot>,
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

/// How a session has ended, and what is left to do when its slot is free again.
pub(super) struct Closing {
    pub(super) outcome: Result<(), RunError>,
    pub(super) farewell: Option<Farewell>,
}

/// The end of a control connection.
pub(super) struct Farewell {
    link: Link,
    words: Option<Vec<u8>>,
    not_before: Option<Instant>,
    /// Ends when the words are said.
    penalty: Option<Penalty>,
}

impl Farewell {
    /// Says the last words and hangs up, which takes a second or two at most.
    pub(super) async fn say(mut self) {
        if let Some(moment) = self.not_before {
            sleep_until(moment.into()).await;
        }
        // Before the client hears of it: it may come again at once.
        drop(self.penalty);
        if let Some(words) = self.words {
            // The client may be gone; then nobody needs to be told.
            let _ = self.link.write(words).await;
        }
        self.link.close().await;
    }
}

/// Where the streams of a test come in.
enum Door<'a> {
    Connections(StreamDoor),
    Udp(UdpDoor<'a>),
}

impl Door<'_> {
    /// The next stream, within the time that a client has for it, and its place among those of the test.
    async fn next(&mut self, test: &TestConfig, flow: Flow) -> Result<Accepted, RunError> {
        match self {
            Self::Connections(door) => {
                let silent = |_| RunError::Silent {
                    waiting_for: "the client's next data connection",
                    after: limits::SET_UP,
                };
                timeout(limits::SET_UP, door.next()).await.map_err(silent)?
            }
            Self::Udp(door) => {
                let silent = |_| RunError::UdpNoClient { after: limits::SET_UP };
                let socket = timeout(limits::SET_UP, door.next(test, flow)).await.map_err(silent)??;
                // A client says its words one after the other.
                Ok(Accepted { number: 0, socket })
            }
        }
    }
}

impl Session {
    /// Takes over a client that has been admitted.
    ///
    /// # Errors
    /// [`RunError::System`], or [`RunError::SocketOption`].
    pub(super) fn new(
        house: Rc<House>,
        entrance: Entrance,
        control: Control,
        (number, report): (u64, ReportHandle),
        signals: Signals,
    ) -> Result<Self, RunError> {
        let failed = |source| RunError::System { what: "preparing a control connection", source };
        let Control { socket, cookie, peer, slot } = control;
        let local = socket.local_addr().map_err(failed)?;
        socket_options::control(&socket, &house.config.local)?;
        let log = report.debug_log(house.config.output.debug);
        let link = Link::new(socket.into_stream(), house.runtime, log).map_err(failed)?;
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
            interval: house.config.output.interval,
            test: Arc::default(),
        };
        let (client, meter) = (peer.ip(), CpuMeter::start());
        Ok(Self {
            house,
            entrance,
            report,
            signals,
            number,
            slot,
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
    pub(super) async fn hold(mut self) -> Closing {
        let outcome = self.converse().await.map_err(|error| match error {
            RunError::Closed { waiting_for } => RunError::ClientGone { waiting_for },
            other => other,
        });
        if matches!(outcome, Err(RunError::Interrupted { .. })) {
            self.link.hurry();
        }
        let words = outcome.as_ref().err().filter(|_| !self.told).and_then(last_words);
        let penalty = self.told_at.map(|_| self.slot.penalize(Source::of(self.client)));
        let farewell = Farewell { link: self.link, words, not_before: self.told_at, penalty };
        Closing { outcome, farewell: Some(farewell) }
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
                self.report.emit(RunEvent::Warning(fault));
            }
        }
        let file = self.house.config.local.file.as_deref();
        let measured = Measured::new(&streams, Role::Server, &self.info.test, &self.meter, file);
        let own = (measured.to_results(), measured.part());
        self.report.emit(RunEvent::End(Box::new(measured.alone())));
        match ended {
            Ended::Peer(State::TestEnd) => {
                let part = request.extension().is_spoken().then(|| own.1.encode());
                self.unless_signal(async |session| session.exchange((own.0, part), &streams).await).await
            }
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
        if let Some(words) = last_words(error).filter(|_| !std::mem::replace(&mut self.told, true)) {
            // The client may be gone; then nobody needs to be told.
            let _ = self.link.write(words).await;
        }
    }

    /// Takes a step of the conversation, unless a signal comes first.
    async fn unless_signal<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        // The session must stay whole for its last words, so the signals are taken out meanwhile.
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
        self.link.write_state(State::ParamExchange).await?;
        let frame = self.link.frame_within("parameters", limits::PARAMS_BYTES, limits::SET_UP).await?;
        let request = params::decode(&frame)?;
        self.info.user = self.admit(&request).await?;
        self.info.extras_in_output = request.hello.as_ref().is_some_and(|hello| hello.extras);
        self.info.test = Arc::new(request.test.clone());
        let engine = self.engine_for(&request);
        self.info.has_rate = engine != EngineChoice::Null;
        self.report.emit(RunEvent::Session(Box::new(self.info.clone())));
        self.check(&request.test)?;
        engine::check(engine).map_err(|missing| RunError::Engine { choice: engine, missing })?;
        // Before the next line: it is all processors of this process that the client may choose from.
        let places = self.places_for(&request)?;
        // Tried before any stream is there; it is the stream threads that run there, and not this one.
        drop(way_out::pin(request.test.server_cpu, "the client's -A")?);

        let test = Arc::clone(&self.info.test);
        let local = self.local_config();
        let mut streams = Streams::new(Role::Server, Arc::clone(&test), engine, &local, places)
            .kept_on(request.test.server_cpu)
            .with_peer(request.extension().is_spoken());
        let turn = self.turn(&test).await?;
        let mut door = self.open_door(&test, &local)?;
        let late = |_| RunError::Silent {
            waiting_for: "all of the client's data connections",
            after: limits::ALL_STREAMS,
        };
        self.invite(request.extension()).await?;
        let arrived = timeout(limits::ALL_STREAMS, self.take_streams(&mut streams, &mut door)).await;
        if !matches!(arrived, Ok(Ok(true))) {
            self.warn_of_strangers(&door);
        }
        drop(door);
        if !arrived.map_err(late)?? {
            return Ok(None);
        }
        drop(turn);
        streams.wait_ready().await?;
        streams.watch_queues();
        streams.forget_received();
        self.report.emit(RunEvent::Start(Box::new(test_start(&streams))));
        self.link.write_states(&[State::TestStart, State::TestRunning]).await?;
        Ok(Some((request, streams)))
    }

    /// Says of streams that have not come who has tried to open one meanwhile.
    fn warn_of_strangers(&self, door: &Door<'_>) {
        let Door::Udp(door) = door else { return };
        if let Some(stranger) = door.stranger() {
            self.report.emit(RunEvent::Warning(format!(
                "the client at {} has not opened its UDP streams, but {stranger} tried to and was not heard: if \
                 that is the client, routing or address translation gives its datagrams another address than its \
                 control connection",
                self.client.to_canonical()
            )));
        }
    }

    /// Whether this server runs such a test.
    fn check(&mut self, test: &TestConfig) -> Result<(), RunError> {
        let ServerLimits { rate, duration, counted, .. } = self.house.config.limits;
        check_protocol(test.protocol)?;
        if self.house.config.local.file.is_some() && test.protocol.udp().is_some() {
            return Err(RunError::FileOverUdp);
        }
        let asked = asked_bits_per_second(test);
        if rate.is_some_and(|limit| asked.is_none_or(|asked| asked > limit.bits_per_second)) {
            return Err(RunError::RateLimit);
        }
        let omit = Duration::from_secs(test.omit_secs.into());
        let is_counted = counted && test.goal_bytes().is_some();
        let fits = |most: Duration| match test.duration() {
            Some(planned) => planned + omit <= most,
            // It is ended when the time is over.
            None => is_counted && omit <= most,
        };
        if duration.is_some_and(|most| !fits(most)) {
            return Err(RunError::TooLongTest);
        }
        self.share = self.house.budget.reserve(self.number, asked).map_err(|_| RunError::RateLimit)?;
        Ok(())
    }

    /// Waits until no other set-up is in the way of this one.
    async fn turn(&mut self, test: &TestConfig) -> Result<Turn, RunError> {
        let client = self.client.to_canonical();
        let matter = match Transport::of(test.protocol) {
            Some(_) if test.socket.window_bytes.is_some() => Matter::ConnectionsOfTheirOwn(client),
            Some(_) => Matter::Connections(client),
            None => Matter::Words(client),
        };
        let turn = timeout(limits::TURN, self.house.turns.take(matter)).await;
        turn.map_err(|_| RunError::NoTurn(limits::TURN))
    }

    /// Lets the client know that it may open its streams, and that this is a ringperf if it is one as well.
    async fn invite(&mut self, extension: Extension) -> Result<(), RunError> {
        if extension.is_spoken() {
            self.link.write_state(State::Hello).await?;
            self.link.write_frame("hello", &ServerHello::own().encode()).await?;
        }
        self.link.write_state(State::CreateStreams).await
    }

    /// Takes the streams of the test as they come; `false` when the client changes its mind.
    async fn take_streams(&mut self, streams: &mut Streams, door: &mut Door<'_>) -> Result<bool, RunError> {
        let test = Arc::clone(&self.info.test);
        let local = self.local_config();
        let receives = test.direction.flows(Role::Server).contains(&Flow::Receive);
        let planned = Streams::planned(Role::Server, &test);
        let mut connections = Vec::new();
        for &flow in &planned {
            let next = tokio::select! {
                biased;
                state = self.link.next_state("the client's data connections") => Err(state?),
                accepted = door.next(&test, flow) => Ok(accepted?),
                never = streams.answer_again(), if streams.is_udp() => match never {},
                () = sleep(local.receive_timeout), if receives => {
                    return Err(RunError::Stalled(local.receive_timeout));
                }
            };
            let accepted = match next {
                Ok(accepted) => accepted,
                Err(State::IperfDone) => return Ok(false),
                Err(State::ClientTerminate) => return Err(RunError::ClientTerminated),
                Err(state) => return Err(RunError::Unexpected { state, waiting_for: "data connections" }),
            };
            match door {
                Door::Connections(_) => connections.push(accepted),
                Door::Udp(_) => streams.add(accepted.socket, flow).await?,
            }
        }
        // The order in which they were made is all that tells the streams apart, and the one that the client
        // goes by. Their cookies come in another one where a packet was lost or late.
        connections.sort_by_key(|accepted| accepted.number);
        for (flow, Accepted { socket, .. }) in planned.into_iter().zip(connections) {
            socket_options::after_accept(&socket, &test, &local)?;
            streams.add(socket, flow).await?;
        }
        Ok(true)
    }

    /// The user that the client is, on a server that wants to know.
    async fn admit(&mut self, request: &Request) -> Result<Option<String>, RunError> {
        let Some(logins) = &self.house.logins else { return Ok(None) };
        let asked = Instant::now();
        let client = self.client.to_canonical();
        let judged = logins.admit(request.auth_token.clone(), client).await;
        judged.map(Some).map_err(|refusal| {
            // Whatever was wrong, and even if the client does not wait for it: guessing is slow.
            self.told_at = Some(asked + limits::REFUSED_LOGIN);
            RunError::Unauthorized { client, refusal }
        })
    }

    /// Where the streams of the test come in.
    fn open_door<'c>(&self, test: &TestConfig, local: &'c LocalConfig) -> Result<Door<'c>, RunError> {
        let count = Streams::planned(Role::Server, test).len();
        Ok(match Transport::of(test.protocol) {
            None => Door::Udp(self.house.porters.open_door(self.local, self.client, local)?),
            Some(transport) => {
                let made = (transport, test.socket.window_bytes);
                let client = self.client.to_canonical();
                let door = self.entrance.expect_streams(&self.slot, made, client, count)?;
                if let Some(why) = &door.late_window {
                    self.report.emit(RunEvent::Warning(format!(
                        "the window of -w is set when the connections are made already, so they may be \
                         slower: no listener of their own could be had: {}",
                        plain(why)
                    )));
                }
                Door::Connections(door)
            }
        })
    }

    async fn run(&mut self, streams: &mut Streams) -> Ended {
        let start = Instant::now();
        streams.start(start);
        let ServerConfig { local, limits, .. } = &self.house.config;
        let own = limits.rate.map(Limit::Own);
        let patience = Patience {
            receive_timeout: local.receive_timeout,
            rates: own.into_iter().chain(self.share.take().map(Limit::Shared)).collect(),
            longest: limits.duration,
        };
        let schedule = Schedule::new(Role::Server, &self.info.test, self.info.interval, start, patience);
        run_until_end(streams, &mut self.link, &mut self.signals, &self.report, schedule).await
    }

    /// From TEST_END to IPERF_DONE.
    async fn exchange(
        &mut self,
        (mut own, part): (results::Results, Option<String>),
        streams: &Streams,
    ) -> Result<(), RunError> {
        self.link.write_state(State::ExchangeResults).await?;
        let count = u32::try_from(streams.all().len()).expect("at most 256 streams");
        let most = limits::results_bytes(count);
        let frame = self.link.frame_within("results", most, limits::ANSWER).await?;
        // The own report is printed by now; what the client has measured must make sense all the same.
        read_results(&frame, streams)?;
        if self.info.test.server_output {
            // Where nobody reads this server's output, it cannot be had.
            let output = timeout(limits::OWN_OUTPUT, self.report.server_output()).await;
            own.server_output = output.ok().flatten().map(|output| match output {
                ServerOutput::Text(text) => ServerText::Text(text),
                ServerOutput::Json(value) => ServerText::Json(value),
            });
        }
        self.link.write_frame("results", &results::encode(&own)).await?;
        // Before the client knows that it may come.
        let part = part.map(|part| (self.slot.expect_streams(1), part));
        self.link.write_state(State::DisplayResults).await?;
        match self.last_word(part, streams).await {
            // Both sides have everything, so a client that just leaves has lost nothing.
            Ok(State::IperfDone | State::ClientTerminate) | Err(RunError::Closed { .. }) => Ok(()),
            Ok(state) => Err(RunError::Unexpected { state, waiting_for: "the client's last word" }),
            Err(error) => Err(error),
        }
    }

    /// What the client says last. A ringperf comes with its part before, on a connection of its own; whatever
    /// becomes of that, the test is over when the client says so.
    async fn last_word(
        &mut self,
        part: Option<(router::Streams, String)>,
        streams: &Streams,
    ) -> Result<State, RunError> {
        let client = self.client;
        if let Some((_, own)) = &part {
            self.link.log_sent("part", own);
        }
        let mut heard = None;
        let swap = async {
            if let Some((door, own)) = part {
                // A client that does not come has none; it is the one to miss something.
                heard = part::swap_with_client(door, client, &own).await.ok();
            }
            std::future::pending::<Infallible>().await
        };
        let said = tokio::select! {
            biased;
            said = self.link.state_within(limits::ANSWER, "the client's last word") => said,
            never = swap => match never {},
        };
        if let Some(heard) = heard {
            self.link.log_received("part", &heard);
            match PeerReport::decode(&heard, &streams.ids()) {
                Ok(peer) => self.report.emit(RunEvent::Peer(Box::new(peer))),
                Err(strange) => {
                    let warning = format!("the client's own figures are not known: {strange}");
                    self.report.emit(RunEvent::Warning(warning));
                }
            }
        }
        said
    }

    /// The client's wish, then `-Z`, then the server's own choice.
    fn engine_for(&self, request: &Request) -> EngineChoice {
        let wished = request.hello.as_ref().and_then(|hello| hello.engine);
        match (wished, self.house.config.local.engine) {
            (Some(engine), _) => engine,
            // UDP has no sendfile(2); iperf3 takes the flag and does nothing about it.
            (None, EngineChoice::Auto) if request.test.zerocopy && request.test.protocol.udp().is_none() => {
                EngineChoice::Sendfile
            }
            (None, own) => own,
        }
    }

    /// The server's own choice, be it -A; else the client's wish, within what this process may use.
    fn places_for(&self, request: &Request) -> Result<Places, RunError> {
        let local = self.local_config();
        let wished = request.hello.as_ref().and_then(|hello| hello.cpus.as_ref());
        match (&local.cpus, wished) {
            (Some(own), _) => Places::find(own, "--cpus"),
            (None, Some(wished)) if local.cpu.is_none() => Places::find(wished, "--peer-cpus"),
            (None, _) => Ok(Places::default()),
        }
    }

    fn local_config(&self) -> LocalConfig {
        self.house.config.local.clone()
    }

    async fn close_streams(&self, streams: &mut Streams) {
        let interval = self.info.interval;
        let rows = streams.finish().await;
        if rows.is_empty() {
            return;
        }
        for last in rows.into_iter().filter(|last| keep_last(last, interval)) {
            self.report.emit(RunEvent::Interval(last));
        }
        streams.warnings().into_iter().for_each(|warning| self.report.emit(RunEvent::Warning(warning)));
    }
}

/// What tells a client that there will be no result, as far as the protocol has words for it.
fn last_words(error: &RunError) -> Option<Vec<u8>> {
    match error {
        RunError::Interrupted { .. } => Some(vec![State::ServerTerminate.byte()]),
        error => error.code_for_client().map(|code| {
            let mut bytes = vec![State::ServerError.byte()];
            bytes.extend(ServerError { code, os_error: Some(0) }.encode());
            bytes
        }),
    }
}
