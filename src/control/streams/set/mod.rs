//! The data connections of one test and their threads: opened, started, stopped, joined. How they get on is
//! in `progress.rs`, and what their rows and sums are made of in `rows.rs`.

mod progress;
mod rows;

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};

pub(crate) use self::progress::{Awaits, Reception};
use self::rows::{FlowEnd, HeldRow};
use crate::config::{
    BlockSize, Direction, EngineChoice, Flow, LocalConfig, Protocol, Role, TestConfig, Tuning,
};
use crate::control::base::panics::contain;
use crate::control::base::{limits, socket_options};
use crate::control::streams::thread_placement::ThreadPlacement;
use crate::control::streams::udp;
use crate::engine::{
    self, Adaptation, ByteGoal, Found, Notice, StartGate, StopToken, StreamExit, StreamJob, UdpJob,
};
use crate::error::{PeerError, RunError, SetupError};
use crate::protocol::QueueReport;
use crate::report::{ConnectedStream, Interval};
use crate::stats::{Counters, SharedCounters, StreamSampler, TcpSample};
use crate::sys::{
    Card, DeviceQueue, Missing, OutgoingDevice, Pinned, Socket, Transport, open_trusted, start_stream_thread,
    start_thread,
};

/// Longest wait of a stream thread in a blocking call before it looks at its stop token.
const BLOCKING_WAIT: Duration = Duration::from_millis(20);

/// All streams of a test, in the order in which they were opened.
pub(crate) struct Streams {
    role: Role,
    test: Arc<TestConfig>,
    engine: EngineChoice,
    offload: bool,
    tuning: Tuning,
    /// The trial of sizes that the streams of each flow take part in; `None` where nothing is tried.
    sends: Option<Arc<Adaptation>>,
    receives: Option<Arc<Adaptation>>,
    /// Microseconds for which the streams poll the network card, if that was asked for.
    busy_poll: Option<u32>,
    /// Processors that the streams may run on.
    processors: u32,
    file: Option<PathBuf>,
    thread_placement: ThreadPlacement,
    /// The device that the first stream sends through; `None` before there is one, or if it is not known.
    device: Option<OutgoingDevice>,
    /// The processor that all threads without one of their own are kept on.
    processor: Option<u32>,
    /// Why a thread has panicked, if one has.
    panicked: Option<String>,
    streams: Vec<Stream>,
    start: Arc<StartGate>,
    stop_senders: StopToken,
    stop_receivers: StopToken,
    send_goal: Option<Arc<ByteGoal>>,
    receive_goal: Option<Arc<ByteGoal>>,
    receive_goal_reached: bool,
    /// Whether the receivers of a counted test get no more bytes, although some are missing.
    receive_over: bool,
    /// Whether the other end is known to be a ringperf that counts as this one does.
    peer_is_ringperf: bool,
    began: Instant,
    /// The end of the flow of data; `None` while data flows.
    over: Option<FlowEnd>,
    /// The row at the planned end, held back for as long as the test may be over just behind it.
    held: Option<HeldRow>,
    finished: bool,
    /// The queues through which a UDP test sends, as they were at its start.
    queues: Vec<DeviceQueue>,
    notices: mpsc::UnboundedReceiver<StreamNotice>,
    notify: mpsc::UnboundedSender<StreamNotice>,
}

/// One data connection of a test with its thread and its numbers.
pub(crate) struct Stream {
    pub(crate) connected: ConnectedStream,
    pub(crate) socket: Arc<Socket>,
    pub(crate) sampler: StreamSampler,
    pub(crate) exit: Option<StreamExit>,
    /// When it ended, once all streams have.
    ended: Option<Instant>,
    /// The number of the processor that its thread is kept on; `None` leaves it to the scheduler.
    pub(crate) placed: Option<u32>,
    has_tcp_info: bool,
    counters: Arc<SharedCounters>,
    thread: Option<JoinHandle<()>>,
    ready: bool,
    stopped: bool,
}

/// A message of a stream thread to the control thread; streams have their numbers in the set, from 0.
pub(crate) enum StreamNotice {
    /// The set-up of the stream with this number is over, well or not.
    Ready(usize, Result<(), Missing>),
    /// The stream with this number has moved its last byte.
    Stopped(usize),
    /// The thread of the stream with this number has ended.
    Exit(usize, Box<StreamExit>),
    /// The receivers have all the bytes that the test counts.
    GoalReached,
    /// A thread has panicked; its exit follows.
    Panicked(String),
}

impl Streams {
    /// A set for a test, without any stream yet.
    pub(crate) fn new(
        role: Role,
        test: Arc<TestConfig>,
        engine: EngineChoice,
        local: &LocalConfig,
        thread_placement: ThreadPlacement,
    ) -> Self {
        let (notify, notices) = mpsc::unbounded_channel();
        let goal = |flow: Flow| {
            // Of the datagrams that a server sends some may be lost, so it goes on until the client has
            // enough.
            let endless = role == Role::Server && flow == Flow::Send && test.protocol.udp().is_some();
            let bytes = test.goal_bytes().filter(|_| !endless)?;
            let notify = notify.clone();
            Some(Arc::new(ByteGoal::new(bytes, move || {
                if flow == Flow::Receive {
                    // Fails only when the session is gone.
                    let _ = notify.send(StreamNotice::GoalReached);
                }
            })))
        };
        let tries = local.adapt && test.protocol.udp().is_none();
        let adaptation = || tries.then(|| Arc::new(Adaptation::default()));
        Self {
            role,
            engine,
            offload: local.offload,
            tuning: local.tuning,
            sends: adaptation(),
            receives: adaptation(),
            busy_poll: local.busy_poll,
            // Unknown is as good as one: then there is little to be had from a ring for many.
            processors: thread::available_parallelism()
                .map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(u32::MAX)),
            file: local.file.clone(),
            thread_placement,
            device: None,
            processor: None,
            panicked: None,
            streams: Vec::new(),
            start: Arc::new(StartGate::default()),
            stop_senders: StopToken::default(),
            stop_receivers: StopToken::default(),
            send_goal: goal(Flow::Send),
            receive_goal: goal(Flow::Receive),
            receive_goal_reached: false,
            receive_over: false,
            peer_is_ringperf: false,
            began: Instant::now(),
            over: None,
            held: None,
            finished: false,
            queues: Vec::new(),
            notices,
            notify,
            test,
        }
    }

    /// This set with all threads that have no processor of their own on `processor`.
    #[must_use]
    pub(crate) fn kept_on(mut self, processor: Option<u32>) -> Self {
        self.processor = processor;
        self
    }

    /// This set with a peer that is a ringperf that counts as this one does, or is not known to be one.
    #[must_use]
    pub(crate) fn with_peer(mut self, is_ringperf: bool) -> Self {
        self.peer_is_ringperf = is_ringperf;
        if self.role == Role::Server && !is_ringperf && self.test.omit_secs > 0 {
            // How far an iperf3 goes beyond what was asked for is its own affair.
            self.receive_goal = None;
        }
        self
    }

    /// The flow at this end of each stream of the test, in the order in which they are opened.
    pub(crate) fn planned(role: Role, test: &TestConfig) -> Vec<Flow> {
        let parallel = usize::try_from(test.parallel).expect("at most 128");
        let flows = test.direction.flows(role);
        flows.iter().flat_map(|&flow| std::iter::repeat_n(flow, parallel)).collect()
    }

    /// Takes over the next connection and starts its thread, which prepares its engine and waits for the
    /// start.
    pub(crate) async fn add(&mut self, socket: Socket, flow: Flow) -> Result<(), RunError> {
        let failed = |what| move |source| SetupError::System { what, source };
        if let Some(name) = self.test.socket.congestion.as_ref().filter(|_| self.is_tcp()) {
            match socket_options::set_congestion(&socket, name) {
                Ok(()) => {}
                // A server that lacks the algorithm goes on with its own, as iperf3 does; the report tells
                // which.
                Err(SetupError::Congestion { source, .. })
                    if self.role == Role::Server && source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        socket.set_blocking(BLOCKING_WAIT).map_err(failed("setting a data connection to blocking mode"))?;
        let index = self.streams.len();
        if self.thread_placement.is_unresolved() {
            self.device = OutgoingDevice::of(&socket).ok();
            self.thread_placement.resolve_near(self.device.as_ref());
        }
        let connected = describe(&socket, index, flow).map_err(|source| match source.kind() {
            // A peer that resets it at once is no riddle of this machine's.
            io::ErrorKind::NotConnected => RunError::from(PeerError::StreamReset(source)),
            _ => failed("reading a data connection's addresses")(source).into(),
        })?;
        let socket = Arc::new(socket);
        let counters = Arc::new(SharedCounters::default());
        let file = self.open_file(flow).await?;
        let job = self.job(Arc::clone(&socket), flow, Arc::clone(&counters), file);
        let placed = self.thread_placement.of(self.role, index, Self::planned(self.role, &self.test).len());
        let thread = self.start_stream(index, job, placed)?;
        if index == 0 && self.device.is_none() {
            // While the thread prepares its engine, which is at work longer.
            self.device = OutgoingDevice::of(&socket).ok();
        }
        self.streams.push(Stream {
            connected,
            socket,
            sampler: StreamSampler::new(Instant::now()),
            exit: None,
            ended: None,
            placed,
            has_tcp_info: flow == Flow::Send && self.is_tcp(),
            counters,
            thread: Some(thread),
            ready: false,
            stopped: false,
        });
        Ok(())
    }

    /// Waits at most `wait` until every engine is ready.
    ///
    /// # Errors
    /// [`SetupError::Engine`], [`SetupError::EnginesLate`] or [`SetupError::Defect`]. The threads are this
    /// machine's, so the peer has no part in it.
    pub(crate) async fn wait_ready(&mut self, wait: Duration) -> Result<(), SetupError> {
        let deadline = Instant::now() + wait;
        while self.streams.iter().any(|stream| !stream.ready) {
            let notice = timeout_at(deadline.into(), self.notices.recv()).await;
            match notice.map_err(|_| SetupError::EnginesLate(wait))?.expect("self holds a sender") {
                StreamNotice::Ready(_, Err(missing)) => {
                    return Err(SetupError::Engine { choice: self.engine, missing });
                }
                other => self.note(other),
            }
        }
        self.panicked.take().map_or(Ok(()), |panic| Err(SetupError::Defect(panic)))
    }

    /// Whether the streams are UDP streams.
    pub(crate) fn is_udp(&self) -> bool {
        self.test.protocol.udp().is_some()
    }

    /// Whether the streams are TCP streams, on one path or on several.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.test.protocol, Protocol::Tcp | Protocol::Mptcp)
    }

    /// Discards what UDP receivers got before the test begins: nobody has a right to send yet.
    pub(crate) fn discard_received(&self) {
        if self.is_udp() {
            self.of(Flow::Receive).for_each(|stream| udp::discard_received(&stream.socket));
        }
    }

    /// Reads the drop counters of the queues through which a UDP test is about to send.
    pub(crate) fn watch_queues(&mut self) {
        if !self.is_udp() {
            return;
        }
        for stream in self.streams.iter().filter(|stream| stream.connected.flow == Flow::Send) {
            // Where the kernel does not tell, nothing is known of it.
            if let Ok(Some(queue)) = DeviceQueue::of_socket(&stream.socket)
                && !self.queues.iter().any(|known| known.device == queue.device)
            {
                self.queues.push(queue);
            }
        }
    }

    /// The packets that these queues have dropped since [`Self::watch_queues`].
    pub(crate) fn queue_reports(&self) -> Vec<QueueReport> {
        let report = |queue: &DeviceQueue| QueueReport {
            device: queue.device.clone(),
            kind: queue.kind.clone(),
            dropped_packets: queue.dropped_since(),
        };
        self.queues.iter().map(report).collect()
    }

    /// Opens the start gate of all streams; `now` is the zero of the test's time.
    pub(crate) fn start(&mut self, now: Instant) {
        self.began = now;
        for stream in &mut self.streams {
            stream.sampler = StreamSampler::new(now);
        }
        if self.test.omit_secs == 0 {
            self.arm_goals();
        }
        self.start.open(now);
    }

    /// Starts the counted part of the test: bytes up to now do not count.
    pub(crate) fn omit_over(&mut self, now: Instant) {
        let goals = [Flow::Send, Flow::Receive].map(|flow| self.decides_zero(flow).then_some(flow));
        for stream in &mut self.streams {
            let tcp = stream.tcp_sample();
            stream.sampler.restart(now, stream.totals(), tcp.as_ref());
            if goals.contains(&Some(stream.connected.flow)) {
                stream.sampler.await_zero();
            }
        }
        self.arm_goals();
    }

    /// Waits for the next message of a stream thread.
    pub(crate) async fn next_notice(&mut self) -> StreamNotice {
        self.notices.recv().await.expect("self holds a sender")
    }

    /// Takes account of a message of a stream thread.
    pub(crate) fn note(&mut self, notice: StreamNotice) {
        match notice {
            StreamNotice::Ready(index, _) => self.streams[index].ready = true,
            StreamNotice::Stopped(index) => {
                self.streams[index].stopped = true;
                self.push_the_last_bytes(index);
                self.say_through(index);
            }
            StreamNotice::Exit(index, exit) => {
                let stream = &mut self.streams[index];
                (stream.ready, stream.stopped) = (true, true);
                // With much still queued, a sender ends its connection by a reset, and when the test is over
                // that is as good as any other end.
                let is_over = self.stop_senders.is_set();
                let mut exit = *exit;
                exit.fault = exit.fault.take().filter(|fault| !(is_over && engine::is_disconnect(fault)));
                stream.exit = Some(exit);
            }
            StreamNotice::GoalReached => self.receive_goal_reached = true,
            StreamNotice::Panicked(panic) => self.panicked = Some(panic),
        }
    }

    /// Switches Nagle's algorithm off behind the last bytes of a sender. It would hold them back until all
    /// bytes before them are acknowledged, which a receiver may delay by 40 ms, and nothing more comes that
    /// it could join them with.
    fn push_the_last_bytes(&self, index: usize) {
        let stream = &self.streams[index];
        if stream.connected.flow == Flow::Send && self.is_tcp() {
            // Where it is refused it is this time that is lost.
            let _ = stream.socket.set_no_delay();
        }
    }

    /// Closes the sending side of a server's stream that has sent all that was asked for, to tell its client:
    /// with an omitted part the client cannot count on seeing all of it.
    fn say_through(&self, index: usize) {
        let stream = &self.streams[index];
        let is_sender = self.role == Role::Server && stream.connected.flow == Flow::Send;
        let is_counted = self.send_goal.is_some() && self.test.omit_secs > 0;
        if is_sender && is_counted && self.peer_is_ringperf {
            stream.socket.shutdown(Shutdown::Write);
        }
    }

    /// Stops the senders at once, and closes the sending side of TCP connections so that the peer knows.
    pub(crate) fn stop_senders(&self) {
        self.stop_senders.set();
        if self.is_udp() {
            return;
        }
        for stream in self.of(Flow::Send) {
            stream.socket.shutdown(Shutdown::Write);
        }
    }

    /// Lets receivers take what has arrived, and end. Those of a UDP test listen on until nothing comes any
    /// more.
    pub(crate) fn stop_receivers(&self) {
        if self.is_udp() {
            self.stop_receivers.set();
            return;
        }
        for stream in self.of(Flow::Receive) {
            stream.socket.shutdown(Shutdown::Read);
        }
    }

    /// Ends receivers whose peer may send for ever. Bytes that have arrived are read if that takes no time.
    pub(crate) async fn cut_off_receivers(&mut self) {
        self.stop_receivers();
        if !self.wait_stopped(Flow::Receive, limits::QUIET).await {
            self.abort();
        }
    }

    /// Waits at most `wait` until all threads of one flow have moved their last byte, and says whether they
    /// have.
    pub(crate) async fn wait_stopped(&mut self, flow: Flow, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while !self.all_stopped(flow) {
            match timeout_at(deadline.into(), self.notices.recv()).await {
                Ok(notice) => self.note(notice.expect("self holds a sender")),
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends every thread, by force if need be, and returns the last intervals of the streams; none when that
    /// was done before.
    pub(crate) async fn finish(&mut self) -> Vec<Interval> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        self.note_over(false);
        self.start.cancel();
        self.stop_senders();
        self.stop_receivers();
        if !self.wait_exits(limits::THREAD_EXIT).await {
            self.abort();
            self.wait_exits(limits::THREAD_EXIT).await;
        }
        self.last_intervals()
    }

    /// The streams, in the order in which they were opened.
    pub(crate) fn all(&self) -> &[Stream] {
        &self.streams
    }

    /// Bytes of the send and of the receive buffer that the first stream has begun with. Like iperf3 this
    /// looks at a socket without a connection, since the kernel grows buffers whose size the user has not
    /// fixed.
    pub(crate) fn buffers_at_first(&self) -> Option<(u32, u32)> {
        let first = self.streams.first()?;
        let of = |socket: &Socket| Some((socket.send_buffer().ok()?, socket.receive_buffer().ok()?));
        match Transport::of(self.test.protocol) {
            Some(transport) if self.test.socket.window_bytes.is_none() => {
                of(&Socket::new_stream(transport, &first.connected.remote).ok()?)
            }
            _ => of(&first.socket),
        }
    }

    /// The network card of the first stream, if it has one.
    pub(crate) fn card(&self) -> Option<&Card> {
        self.device.as_ref()?.card.as_ref()
    }

    /// Microseconds for which the streams were asked to poll the network card; `None` if they were not.
    pub(crate) fn busy_poll(&self) -> Option<u32> {
        self.busy_poll
    }

    /// Which processors were chosen as near to the card, if the user has asked for `near`.
    pub(crate) fn placement(&self) -> Option<&str> {
        self.thread_placement.near_choice()
    }

    /// iperf3's numbers of all streams.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.streams.iter().map(|stream| stream.connected.id).collect()
    }

    /// The streams of one flow.
    pub(crate) fn of(&self, flow: Flow) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| stream.connected.flow == flow)
    }

    /// Opens the file of the next stream. Each stream opens it anew, so each begins at the file's start.
    async fn open_file(&self, flow: Flow) -> Result<Option<Arc<File>>, SetupError> {
        let Some(path) = &self.file else { return Ok(None) };
        let flags = match flow {
            Flow::Send => OFlag::O_RDONLY,
            // What comes back would destroy what is being sent.
            Flow::Receive if self.test.direction == Direction::Bidir => return Ok(None),
            Flow::Receive => OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC,
        };
        let failed = |source| SetupError::File { path: path.clone(), source };
        let opened = open_within(limits::SET_UP, flags, path.clone()).await.map_err(failed)?;
        if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Some(Arc::new(opened)))
    }

    fn job(
        &self,
        socket: Arc<Socket>,
        flow: Flow,
        counters: Arc<SharedCounters>,
        file: Option<Arc<File>>,
    ) -> StreamJob {
        let test = &self.test;
        let flows = u32::try_from(test.direction.flows(self.role).len()).expect("one or two");
        // Only the client knows when its test is over; a server sends until it is told.
        let duration = planned(test).filter(|_| self.role == Role::Client);
        let (goal, stop, adaptation) = match flow {
            Flow::Send => (&self.send_goal, &self.stop_senders, &self.sends),
            Flow::Receive => (&self.receive_goal, &self.stop_receivers, &self.receives),
        };
        StreamJob {
            socket,
            file,
            flow,
            asked: self.engine,
            protocol: test.protocol,
            udp: test
                .protocol
                .udp()
                .map(|udp| UdpJob { counters_64bit: udp.counters_64bit, offload: self.offload }),
            block: BlockSize {
                // A block is a message, and the kernel takes none that is larger than the socket's buffer.
                explicit: test.block.explicit || matches!(test.protocol, Protocol::Sctp(_)),
                ..test.block
            },
            streams: test.parallel * flows,
            processors: self.processors,
            pacing: test.pacing,
            window_fixed: test.socket.window_bytes.is_some(),
            goal: goal.clone(),
            // What an omitted part moves is not known.
            whole_bytes: test.goal_bytes().filter(|_| test.omit_secs == 0),
            duration,
            skip_rx_copy: test.skip_rx_copy,
            tuning: self.tuning,
            adaptation: adaptation.clone(),
            busy_poll: self.busy_poll,
            repeating_payload: test.repeating_payload,
            counters,
            start: Arc::clone(&self.start),
            stop: stop.clone(),
        }
    }

    /// Starts the thread of a stream where it is to run, so that all memory that it takes is near to it.
    fn start_stream(
        &self,
        index: usize,
        job: StreamJob,
        cpu: Option<u32>,
    ) -> Result<JoinHandle<()>, SetupError> {
        let notify = self.notify.clone();
        // A thread begins with the processors of the one that starts it.
        let _pinned = cpu.or(self.processor).map(Pinned::to).transpose().map_err(SetupError::Affinity)?;
        let name = format!("stream-{}", stream_id(index));
        start_stream_thread(name, move || run_stream(index, &job, &notify))
            .map_err(|source| SetupError::System { what: "starting a stream thread", source })
    }

    fn arm_goals(&self) {
        for goal in [&self.send_goal, &self.receive_goal].into_iter().flatten() {
            goal.arm();
        }
    }

    /// The result of the trial of sizes that the streams of a flow took part in.
    pub(crate) fn found(&self, flow: Flow) -> Option<Found> {
        let adaptation = if flow == Flow::Send { &self.sends } else { &self.receives };
        adaptation.as_ref()?.found()
    }

    fn all_stopped(&self, flow: Flow) -> bool {
        self.of(flow).all(|stream| stream.stopped)
    }

    fn abort(&self) {
        self.stop_senders.set();
        self.stop_receivers.set();
        for stream in &self.streams {
            stream.socket.shutdown(Shutdown::Both);
        }
    }

    async fn wait_exits(&mut self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while self.streams.iter().any(|stream| stream.exit.is_none()) {
            match timeout_at(deadline.into(), self.notices.recv()).await {
                Ok(notice) => self.note(notice.expect("self holds a sender")),
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for Streams {
    /// A session that fails on its way leaves no thread behind.
    fn drop(&mut self) {
        self.start.cancel();
        self.abort();
        // Not when they told of their exit: the results would wait until the system has taken them down. It
        // was their last word, so there is nothing to wait for now, and a panic after it changes nothing.
        for stream in self.streams.iter_mut().filter(|stream| stream.exit.is_some()) {
            let _ = stream.thread.take().map(JoinHandle::join);
        }
    }
}

impl Stream {
    /// Exact totals of a stream that has ended, the newest published ones of a running one.
    pub(crate) fn totals(&self) -> Counters {
        self.exit.as_ref().map_or_else(|| self.counters.load(), |exit| exit.totals)
    }

    fn tcp_sample(&self) -> Option<TcpSample> {
        if self.has_tcp_info { self.socket.tcp_info().ok() } else { None }
    }
}

/// From the start to the planned end of a test that has one.
fn planned(test: &TestConfig) -> Option<Duration> {
    test.duration().map(|duration| Duration::from_secs(u64::from(test.omit_secs)) + duration)
}

/// The body of a stream thread.
fn run_stream(index: usize, job: &StreamJob, notify: &mpsc::UnboundedSender<StreamNotice>) {
    let tell = |notice| {
        // Fails only when the session is gone; then nobody wants to know.
        let _ = notify.send(notice);
    };
    let run = || {
        engine::run_to_exit(job, &|notice| match notice {
            Notice::Ready(ready) => tell(StreamNotice::Ready(index, ready)),
            Notice::Stopped => tell(StreamNotice::Stopped(index)),
        })
    };
    // Whatever a panic leaves behind belongs to this thread alone, and the test ends.
    let (exit, remains) = contain(run).map_or_else(
        |panic| {
            tell(StreamNotice::Panicked(panic));
            (StreamExit::panicked(job.asked), None)
        },
        |(exit, remains)| (exit, Some(remains)),
    );
    tell(StreamNotice::Exit(index, Box::new(exit)));
    // Nobody waits for that.
    drop(remains);
}

/// Opens a file that may be a pipe, which waits for somebody at its other end, on a thread of its own: nobody
/// could end this process meanwhile otherwise.
async fn open_within(wait: Duration, flags: OFlag, path: PathBuf) -> io::Result<File> {
    let (sender, opened) = oneshot::channel();
    let name = path.clone();
    // Fails to tell only when nobody waits any more.
    let own = Mode::S_IRUSR | Mode::S_IWUSR;
    start_thread("open", move || drop(sender.send(open_trusted(&name, flags, own))))?;
    match timeout(wait, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => Err(io::Error::other("the thread that opens it has ended")),
        Err(_) => {
            // To be the other end for a moment lets the thread go.
            drop(open_trusted(&path, OFlag::O_RDWR | OFlag::O_NONBLOCK, own));
            Err(io::Error::new(io::ErrorKind::TimedOut, "nobody has opened the other end of the pipe"))
        }
    }
}

fn describe(socket: &Socket, index: usize, flow: Flow) -> io::Result<ConnectedStream> {
    use std::os::fd::AsRawFd;
    let (local, remote): (SocketAddr, SocketAddr) = (socket.local_addr()?, socket.peer_addr()?);
    Ok(ConnectedStream { socket: socket.as_raw_fd(), id: stream_id(index), flow, local, remote })
}

/// iperf3's stream numbers: 1, 3, 4, 5, ... for the first, second, third ...
fn stream_id(index: usize) -> u32 {
    let index = u32::try_from(index).expect("at most 256 streams");
    if index == 0 { 1 } else { index + 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndCondition;

    #[test]
    fn stream_numbers_are_iperf3s() {
        assert_eq!([0, 1, 2, 3].map(stream_id), [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_thread_that_panics_ends_the_test_and_not_only_its_stream() {
        let test = Arc::new(TestConfig { parallel: 2, ..TestConfig::default() });
        let local = LocalConfig::default();
        let mut streams = Streams::new(
            Role::Server,
            Arc::clone(&test),
            EngineChoice::Sync,
            &local,
            ThreadPlacement::default(),
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peers = Vec::new();
        for _ in 0..2 {
            peers.push(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let socket = Socket::from_stream(listener.accept().unwrap().0);
            streams.add(socket, Flow::Receive).await.unwrap();
        }
        streams.wait_ready(limits::SET_UP).await.unwrap();
        assert!(streams.all_lost().is_none());
        streams.note(StreamNotice::Panicked("src/x.rs:1:1: why".to_owned()));
        let lost = streams.all_lost();
        assert!(matches!(lost, Some(RunError::Setup(SetupError::Defect(why))) if why == "src/x.rs:1:1: why"));
        assert!(!streams.finish().await.is_empty(), "all threads end as in every test");
    }

    #[tokio::test]
    async fn a_thread_that_is_never_ready_is_no_fault_of_the_peer() {
        let local = LocalConfig::default();
        let mut streams = Streams::new(
            Role::Client,
            Arc::default(),
            EngineChoice::Sync,
            &local,
            ThreadPlacement::default(),
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        streams.add(Socket::from_stream(near), Flow::Send).await.unwrap();
        streams.wait_ready(limits::SET_UP).await.unwrap();
        // As if its thread had not said so.
        streams.streams[0].ready = false;
        let late = streams.wait_ready(Duration::from_millis(1)).await;
        assert!(matches!(late, Err(SetupError::EnginesLate(wait)) if wait == Duration::from_millis(1)));
        streams.finish().await;
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_sender_are_not_held_back() {
        let (end, block) = (EndCondition::Blocks(1), BlockSize { bytes: 10, explicit: true });
        let test = TestConfig { direction: Direction::Reverse, end, block, ..TestConfig::default() };
        let local = LocalConfig::default();
        let mut streams = Streams::new(
            Role::Server,
            Arc::new(test),
            EngineChoice::Sync,
            &local,
            ThreadPlacement::default(),
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        streams.add(Socket::from_stream(near.try_clone().unwrap()), Flow::Send).await.unwrap();
        streams.wait_ready(limits::SET_UP).await.unwrap();
        assert!(!near.nodelay().unwrap());
        streams.start(Instant::now());
        assert!(streams.wait_stopped(Flow::Send, limits::DRAIN).await);
        assert!(near.nodelay().unwrap());
    }

    #[test]
    fn bidir_opens_the_forward_streams_first() {
        let test = TestConfig { direction: Direction::Bidir, parallel: 2, ..TestConfig::default() };
        let client = Streams::planned(Role::Client, &test);
        assert_eq!(client, [Flow::Send, Flow::Send, Flow::Receive, Flow::Receive]);
        let server = Streams::planned(Role::Server, &test);
        assert_eq!(server, [Flow::Receive, Flow::Receive, Flow::Send, Flow::Send]);
    }
}
