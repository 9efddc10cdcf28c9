//! The data connections of one test and their threads: opened, started, sampled, stopped, joined.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::{connect, limits, udp};
use crate::config::{Direction, EngineChoice, Flow, Role, TestConfig};
use crate::engine::{self, ByteGoal, Notice, StartGate, StopToken, StreamExit, StreamJob, UdpJob};
use crate::error::RunError;
use crate::report::{ConnectedStream, Interval, IntervalStream};
use crate::stats::{Counters, SharedCounters, StreamSampler, TcpSample};
use crate::sys::{Missing, Socket};

/// Longest wait of a stream thread in a blocking call before it looks up.
const BLOCKING_WAIT: Duration = Duration::from_millis(20);

/// All streams of a test, in the order in which they were opened.
pub(super) struct Streams {
    role: Role,
    test: Arc<TestConfig>,
    engine: EngineChoice,
    offload: bool,
    streams: Vec<Stream>,
    start: Arc<StartGate>,
    stop_senders: StopToken,
    stop_receivers: StopToken,
    send_goal: Option<Arc<ByteGoal>>,
    receive_goal: Option<Arc<ByteGoal>>,
    receive_goal_reached: bool,
    finished: bool,
    notices: mpsc::UnboundedReceiver<StreamNotice>,
    notify: mpsc::UnboundedSender<StreamNotice>,
}

/// One stream.
pub(super) struct Stream {
    pub(super) connected: ConnectedStream,
    pub(super) socket: Arc<Socket>,
    pub(super) sampler: StreamSampler,
    pub(super) exit: Option<StreamExit>,
    is_udp: bool,
    counters: Arc<SharedCounters>,
    thread: Option<JoinHandle<()>>,
    ready: bool,
    stopped: bool,
}

/// What stream threads tell.
pub(super) enum StreamNotice {
    /// The first stream's set-up is over.
    Ready(usize, Result<(), Missing>),
    /// A stream has moved its last byte.
    Stopped(usize),
    /// A stream's thread is over.
    Exit(usize, Box<StreamExit>),
    /// The receivers have all the bytes that the test is about.
    GoalReached,
}

impl Streams {
    /// No stream yet. `offload` says whether UDP streams may use segmentation and receive offload.
    pub(super) fn new(role: Role, test: Arc<TestConfig>, engine: EngineChoice, offload: bool) -> Self {
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
        Self {
            role,
            engine,
            offload,
            streams: Vec::new(),
            start: Arc::new(StartGate::default()),
            stop_senders: StopToken::default(),
            stop_receivers: StopToken::default(),
            send_goal: goal(Flow::Send),
            receive_goal: goal(Flow::Receive),
            receive_goal_reached: false,
            finished: false,
            notices,
            notify,
            test,
        }
    }

    /// What each stream of the test does at this end, in the order in which they are opened.
    pub(super) fn planned(role: Role, test: &TestConfig) -> Vec<Flow> {
        let parallel = usize::try_from(test.parallel).expect("at most 128");
        let flows = test.direction.flows(role);
        flows.iter().flat_map(|&flow| std::iter::repeat_n(flow, parallel)).collect()
    }

    /// Takes over the next connection and starts its thread, which prepares its engine and waits for the
    /// start.
    pub(super) fn add(&mut self, socket: Socket, flow: Flow) -> Result<(), RunError> {
        let failed = |what| move |source| RunError::System { what, source };
        if let Some(name) = self.test.socket.congestion.as_ref().filter(|_| !self.is_udp()) {
            match connect::set_congestion(&socket, name) {
                Ok(()) => {}
                // A server that lacks the algorithm goes on with its own, as iperf3 does; the report tells
                // which.
                Err(RunError::SocketOption { source, .. })
                    if self.role == Role::Server && source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        socket.set_blocking(BLOCKING_WAIT).map_err(failed("setting a data connection to blocking mode"))?;
        let index = self.streams.len();
        let connected =
            describe(&socket, index, flow).map_err(failed("reading a data connection's addresses"))?;
        let socket = Arc::new(socket);
        let counters = Arc::new(SharedCounters::default());
        let job = self.job(Arc::clone(&socket), flow, Arc::clone(&counters));
        let notify = self.notify.clone();
        let thread = thread::Builder::new()
            .name(format!("stream-{}", connected.id))
            .spawn(move || run_stream(index, &job, &notify))
            .map_err(failed("starting a stream thread"))?;
        self.streams.push(Stream {
            connected,
            socket,
            sampler: StreamSampler::new(Instant::now()),
            exit: None,
            is_udp: self.is_udp(),
            counters,
            thread: Some(thread),
            ready: false,
            stopped: false,
        });
        Ok(())
    }

    /// Waits until every engine is ready.
    pub(super) async fn wait_ready(&mut self) -> Result<(), RunError> {
        let deadline = Instant::now() + limits::SET_UP;
        while self.streams.iter().any(|stream| !stream.ready) {
            let notice = timeout_at(deadline.into(), self.notices.recv()).await.map_err(|_| {
                RunError::Silent { waiting_for: "its own engine's readiness", after: limits::SET_UP }
            })?;
            match notice.expect("self holds a sender") {
                StreamNotice::Ready(_, Err(missing)) => {
                    return Err(RunError::Engine { choice: self.engine, missing });
                }
                other => self.note(other),
            }
        }
        Ok(())
    }

    /// Whether the streams are UDP streams.
    pub(super) fn is_udp(&self) -> bool {
        self.test.protocol.udp().is_some()
    }

    /// Throws away what UDP receivers got before the test begins: nobody has a right to send yet.
    pub(super) fn forget_received(&self) {
        if self.is_udp() {
            self.of(Flow::Receive).for_each(|stream| udp::forget_received(&stream.socket));
        }
    }

    /// Lets all streams go; `now` is the zero of the test's time.
    pub(super) fn start(&mut self, now: Instant) {
        for stream in &mut self.streams {
            stream.sampler = StreamSampler::new(now);
        }
        if self.test.omit_secs == 0 {
            self.arm_goals();
        }
        self.start.open(now);
    }

    /// The omit period is over: what was counted so far does not count.
    pub(super) fn omit_over(&mut self, now: Instant) {
        for stream in &mut self.streams {
            let tcp = stream.tcp_sample();
            stream.sampler.restart(now, stream.totals(), tcp.as_ref());
        }
        self.arm_goals();
    }

    /// The next thing that a stream has to tell.
    pub(super) async fn next_notice(&mut self) -> StreamNotice {
        self.notices.recv().await.expect("self holds a sender")
    }

    /// Takes account of what a stream has told.
    pub(super) fn note(&mut self, notice: StreamNotice) {
        match notice {
            StreamNotice::Ready(index, _) => self.streams[index].ready = true,
            StreamNotice::Stopped(index) => self.streams[index].stopped = true,
            StreamNotice::Exit(index, exit) => {
                let stream = &mut self.streams[index];
                (stream.ready, stream.stopped) = (true, true);
                stream.exit = Some(*exit);
                if let Some(thread) = stream.thread.take() {
                    // The exit was the thread's last word, so this does not wait; a panic after it changes
                    // nothing.
                    let _ = thread.join();
                }
            }
            StreamNotice::GoalReached => self.receive_goal_reached = true,
        }
    }

    /// Whether all that the test is about has been sent, and has been received.
    pub(super) fn goal_reached(&self) -> bool {
        let flows = self.test.direction.flows(self.role);
        self.test.goal_bytes().is_some()
            && flows.iter().all(|flow| match flow {
                Flow::Send => self.all_stopped(Flow::Send),
                Flow::Receive => self.receive_goal_reached,
            })
    }

    /// Why no stream is left, when the test is not over yet: all have ended, at least one by a fault.
    ///
    /// A client learns from its TCP streams what has become of those at the server. Of UDP streams it does
    /// not, so there a server tells. That the client's port is closed is no such news: the client is gone, or
    /// about to say that it goes.
    pub(super) fn all_lost(&self) -> Option<RunError> {
        let is_told = self.role == Role::Client || self.is_udp();
        let is_news = |fault: &&io::Error| {
            self.role == Role::Client || fault.kind() != io::ErrorKind::ConnectionRefused
        };
        let all_ended = self.streams.iter().all(|stream| stream.exit.is_some());
        let mut faults = self.streams.iter().filter_map(|stream| stream.exit.as_ref()?.fault.as_ref());
        let ended_by_peer = self.role == Role::Client && self.test.direction == Direction::Reverse;
        if !is_told || !all_ended || self.streams.is_empty() {
            return None;
        }
        match faults.rfind(is_news) {
            Some(fault) => Some(RunError::StreamsLost { reason: fault.to_string() }),
            None if ended_by_peer && !self.receive_goal_reached => {
                Some(RunError::StreamsLost { reason: "the peer closed them".to_owned() })
            }
            None => None,
        }
    }

    /// Tells senders to stop at once, and the peer that nothing more comes, as far as the protocol has words
    /// for it.
    pub(super) fn stop_senders(&self) {
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
    pub(super) fn stop_receivers(&self) {
        if self.is_udp() {
            self.stop_receivers.set();
            return;
        }
        for stream in self.of(Flow::Receive) {
            stream.socket.shutdown(Shutdown::Read);
        }
    }

    /// Waits until all threads of one flow have moved their last byte, at most `wait`; says whether they
    /// have.
    pub(super) async fn wait_stopped(&mut self, flow: Flow, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while !self.all_stopped(flow) {
            match timeout_at(deadline.into(), self.notices.recv()).await {
                Ok(notice) => self.note(notice.expect("self holds a sender")),
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends every thread, by force if need be, and closes the last interval of every stream; `None` when that
    /// is done already.
    pub(super) async fn finish(&mut self) -> Option<Interval> {
        if std::mem::replace(&mut self.finished, true) {
            return None;
        }
        self.start.cancel();
        self.stop_senders();
        self.stop_receivers();
        if !self.wait_exits(limits::THREAD_EXIT).await {
            self.abort();
            self.wait_exits(limits::THREAD_EXIT).await;
        }
        Some(self.last_interval())
    }

    /// Closes an interval.
    pub(super) fn interval(&mut self, now: Instant, omitted: bool) -> Interval {
        self.sample(omitted, |_| now)
    }

    /// The streams, in the order in which they were opened.
    pub(super) fn all(&self) -> &[Stream] {
        &self.streams
    }

    /// The streams of one flow.
    pub(super) fn of(&self, flow: Flow) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| stream.connected.flow == flow)
    }

    /// Bytes moved by all streams so far.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.totals().bytes).sum()
    }

    /// Bytes of all senders that have not left: that the peer's kernel has not acknowledged, or, with UDP,
    /// that wait in this machine.
    pub(super) fn unacknowledged_bytes(&self) -> u64 {
        self.of(Flow::Send).map(|stream| stream.socket.unacknowledged_bytes().unwrap_or(0)).sum()
    }

    /// Every different way in which a stream has failed, with the stream's descriptor.
    pub(super) fn faults(&self) -> Vec<String> {
        let fault = |stream: &Stream| {
            let fault = stream.exit.as_ref()?.fault.as_ref()?;
            Some(format!("a data connection failed: {fault}"))
        };
        let different: BTreeSet<String> = self.streams.iter().filter_map(fault).collect();
        different.into_iter().collect()
    }

    fn job(&self, socket: Arc<Socket>, flow: Flow, counters: Arc<SharedCounters>) -> StreamJob {
        let test = &self.test;
        let flows = u32::try_from(test.direction.flows(self.role).len()).expect("one or two");
        let omit = Duration::from_secs(u64::from(test.omit_secs));
        // Only the client knows when its test is over; a server sends until it is told.
        let duration = test.duration().filter(|_| self.role == Role::Client).map(|duration| omit + duration);
        let (goal, stop) = match flow {
            Flow::Send => (&self.send_goal, &self.stop_senders),
            Flow::Receive => (&self.receive_goal, &self.stop_receivers),
        };
        StreamJob {
            socket,
            flow,
            asked: self.engine,
            udp: test
                .protocol
                .udp()
                .map(|udp| UdpJob { counters_64bit: udp.counters_64bit, offload: self.offload }),
            block: test.block,
            streams: test.parallel * flows,
            pacing: test.pacing,
            window_fixed: test.socket.window_bytes.is_some(),
            goal: goal.clone(),
            duration,
            skip_rx_copy: test.skip_rx_copy,
            repeating_payload: test.repeating_payload,
            counters,
            start: Arc::clone(&self.start),
            stop: stop.clone(),
        }
    }

    fn arm_goals(&self) {
        for goal in [&self.send_goal, &self.receive_goal].into_iter().flatten() {
            goal.arm();
        }
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

    /// The interval since the last tick, each stream up to the moment at which it ended.
    fn last_interval(&mut self) -> Interval {
        let now = Instant::now();
        self.sample(false, |stream| stream.exit.as_ref().map_or(now, |exit| exit.finished))
    }

    fn sample(&mut self, omitted: bool, end: impl Fn(&Stream) -> Instant) -> Interval {
        let streams = self.streams.iter_mut().map(|stream| {
            // A stream that ended before the last tick has nothing more, and no time runs backwards.
            let end = end(stream).max(stream.sampler.started() + stream.sampler.elapsed());
            let tcp = stream.tcp_sample();
            let sample = stream.sampler.interval(end, stream.totals(), tcp.as_ref());
            IntervalStream {
                socket: stream.connected.socket,
                flow: stream.connected.flow,
                start: sample.start,
                end: sample.end,
                bytes: sample.bytes,
                tcp: sample.tcp,
                udp: self.test.protocol.udp().map(|_| sample.udp),
            }
        });
        Interval { omitted, streams: streams.collect() }
    }
}

impl Drop for Streams {
    /// A session that fails on its way leaves no thread behind.
    fn drop(&mut self) {
        self.start.cancel();
        self.abort();
    }
}

impl Stream {
    /// Exact totals of a stream that has ended, the newest published ones of a running one.
    pub(super) fn totals(&self) -> Counters {
        self.exit.as_ref().map_or_else(|| self.counters.load(), |exit| exit.totals)
    }

    fn tcp_sample(&self) -> Option<TcpSample> {
        if self.connected.flow == Flow::Receive || self.is_udp {
            return None;
        }
        self.socket.tcp_info().ok()
    }
}

/// The body of a stream thread.
fn run_stream(index: usize, job: &StreamJob, notify: &mpsc::UnboundedSender<StreamNotice>) {
    crate::sys::block_signals();
    let tell = |notice| {
        // Fails only when the session is gone; then nobody wants to know.
        let _ = notify.send(notice);
    };
    let run = || {
        engine::run(job, &|notice| match notice {
            Notice::Ready(ready) => tell(StreamNotice::Ready(index, ready)),
            Notice::Stopped => tell(StreamNotice::Stopped(index)),
        })
    };
    // Whatever a panic leaves behind belongs to this thread alone, and the test ends.
    let exit = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| StreamExit::panicked(job.asked));
    tell(StreamNotice::Exit(index, Box::new(exit)));
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

    #[test]
    fn stream_numbers_are_iperf3s() {
        assert_eq!([0, 1, 2, 3].map(stream_id), [1, 3, 4, 5]);
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
