//! What can happen in a run, as the reports see it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::config::{Flow, Role, TestConfig};
use crate::protocol::{EngineReport, PeerReport, QueueReport};
use crate::stats::{CpuTime, CpuUse, Half, TcpInterval, TcpSummary, UdpInterval};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// A server waits for its next client.
    Listening {
        /// The port.
        port: u16,
        /// 1 for the first test of the process.
        test_number: u64,
    },
    /// A test has a control connection and its parameters.
    Session(Box<SessionInfo>),
    /// The streams are connected and the test begins.
    Start(Box<TestStart>),
    /// An interval is over.
    Interval(Interval),
    /// The omit period is over.
    OmitOver,
    /// The test is over, with all the numbers there are.
    End(Box<TestEnd>),
    /// What a ringperf at the other end says of itself, behind [`RunEvent::End`].
    Peer(Box<PeerReport>),
    /// What the server had to say, at a client that asked for it.
    ServerOutput(ServerOutput),
    /// Something the user should know; the test goes on. iperf3 does not say it.
    Warning(String),
    /// Something the user should know, in the words of iperf3, which says it, too.
    CommonWarning(String),
    /// The test failed.
    Error(FailureText),
    /// What passes between the two ends, for `-d`; complete lines that may hold a peer's own characters.
    Debug(String),
    /// Nothing more comes for this test: a document is complete now.
    Done,
}

impl RunEvent {
    /// What an allocator, a box and a place in a queue take beside an event.
    const BESIDE_BYTES: usize = 128;

    /// Memory that the event takes on its way to the report, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let behind = match self {
            Self::Session(session) => {
                let test = &session.test;
                let texts = [&session.host, &session.cookie].into_iter().chain(&session.user);
                let texts = texts.chain(&test.title).chain(&test.extra_data);
                size_of::<SessionInfo>()
                    + size_of::<TestConfig>()
                    + texts.map(String::capacity).sum::<usize>()
            }
            Self::Start(start) => size_of::<TestStart>() + of_vec(&start.streams),
            Self::Interval(interval) => of_vec(&interval.streams),
            Self::End(end) => {
                let lists = of_vec(&end.streams) + of_vec(&end.datagrams) + of_vec(&end.queues);
                let engines = of_engines(&end.engines) + end.peer.as_ref().map_or(0, of_peer);
                size_of::<TestEnd>() + lists + engines
            }
            Self::Peer(peer) => size_of::<PeerReport>() + of_peer(peer),
            Self::ServerOutput(ServerOutput::Text(text) | ServerOutput::Json(text))
            | Self::Warning(text)
            | Self::CommonWarning(text)
            | Self::Debug(text) => text.capacity(),
            Self::Error(FailureText { full, plain, introduction }) => {
                full.capacity() + plain.capacity() + introduction.bytes()
            }
            Self::Listening { .. } | Self::OmitOver | Self::Done => 0,
        };
        size_of::<Self>() + Self::BESIDE_BYTES + behind
    }
}

fn of_vec<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

fn of_peer(peer: &PeerReport) -> usize {
    peer.version.capacity() + of_engines(&peer.engines) + of_vec(&peer.datagrams)
}

fn of_engines(engines: &Vec<EngineReport>) -> usize {
    let of_engine = |engine: &EngineReport| {
        let EngineReport { flow, asked, used, reason, fix, placement, processors, .. } = engine;
        let texts = [flow, asked, used, reason, fix].map(String::capacity).iter().sum::<usize>();
        texts
            + placement.as_ref().map_or(0, String::capacity)
            + of_vec(processors)
            + processors.iter().map(|of_stream| of_vec(&of_stream.shares)).sum::<usize>()
    };
    of_vec(engines) + engines.iter().map(of_engine).sum::<usize>()
}

/// Why a test has failed, without program name and introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureText {
    /// What is known of it, and what helps.
    pub full: String,
    /// iperf3's words for it, exactly; the same as `full` for what iperf3 has no words for.
    pub plain: String,
    /// What stands in front of these words.
    pub introduction: Introduction,
}

/// How the words of a failure are introduced, which tells who has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// Not at all: the words say by themselves what has ended the test, a signal or a client that has left.
    Bare,
    /// By `error - `, as iperf3 does.
    Error,
    /// By `SERVER ERROR - `, as iperf3 does: the server has said that it failed.
    ServerError {
        /// What iperf3 says in a line of its own before it reports the failure like any other.
        announcement: String,
    },
}

impl FailureText {
    /// Words that iperf3 has, too, or that it has none for.
    #[must_use]
    pub fn new(words: &str, introduction: Introduction) -> Self {
        Self { full: words.to_owned(), plain: words.to_owned(), introduction }
    }
}

impl From<&str> for FailureText {
    /// The words of an error like most.
    fn from(words: &str) -> Self {
        Self::new(words, Introduction::Error)
    }
}

impl Introduction {
    /// Memory behind it in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Bare | Self::Error => 0,
            Self::ServerError { announcement } => announcement.capacity(),
        }
    }
}

/// A test that has a control connection.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// This process.
    pub role: Role,
    /// Client: the host as the user named it. Server: the client's address as text.
    pub host: String,
    /// Client: the server's port. Server: the client's control port.
    pub port: u16,
    /// 36 characters; bytes that are no printable ASCII are replaced.
    pub cookie: String,
    /// Wall-clock time of the control connection.
    pub time: SystemTime,
    /// `TCP_MAXSEG` of the control connection in bytes; 0 on a server, as in iperf3.
    pub control_mss: u32,
    /// Who the client is, at a server that has made sure of it.
    pub user: Option<String>,
    /// The client wants to see in a server's output what iperf3 does not say, too.
    pub extras_in_output: bool,
    /// Bytes go over the network. With the engine `null` none do, and then there is no rate.
    pub has_rate: bool,
    /// Time between interval rows; `None` means none.
    pub interval: Option<Duration>,
    /// The test.
    pub test: Arc<TestConfig>,
}

/// The moment at which a test starts.
#[derive(Clone, Debug)]
pub struct TestStart {
    /// The streams in the order in which they were opened.
    pub streams: Vec<ConnectedStream>,
    /// `SO_SNDBUF` of the first stream in bytes, as the kernel has it.
    pub sndbuf_actual: u32,
    /// `SO_RCVBUF` of the first stream in bytes, as the kernel has it.
    pub rcvbuf_actual: u32,
}

/// One connected stream.
#[derive(Clone, Debug)]
pub struct ConnectedStream {
    /// The process's own descriptor number: what `[  5]` and `"socket"` show.
    pub socket: i32,
    /// iperf3's stream number: 1, 3, 4, 5, ...
    pub id: u32,
    /// What this process does on it.
    pub flow: Flow,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// One interval of all streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// It belongs to the omit period.
    pub omitted: bool,
    /// The streams in the order in which they were opened.
    pub streams: Vec<IntervalStream>,
}

/// One stream in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalStream {
    /// As in [`ConnectedStream`].
    pub socket: i32,
    /// As in [`ConnectedStream`].
    pub flow: Flow,
    /// Begin, since the start of the counted (or of the omitted) part.
    pub start: Duration,
    /// Measured end, likewise.
    pub end: Duration,
    /// Bytes moved.
    pub bytes: u64,
    /// TCP's own view; on senders.
    pub tcp: Option<TcpInterval>,
    /// The datagrams; in UDP tests.
    pub udp: Option<UdpInterval>,
}

/// A test that is over, successfully or not.
#[derive(Clone, Debug)]
pub struct TestEnd {
    /// The file that senders have read or receivers have written (`-F`).
    pub file: Option<FileReport>,
    /// The other end's results arrived. Otherwise the remote halves are zero.
    pub exchanged: bool,
    /// They did not, and the report says so. Without this it has iperf3's zeros.
    pub peer_unknown: bool,
    /// The streams in the order in which they were opened.
    pub streams: Vec<StreamEnd>,
    /// This end, in percent of one core; `None` if it is not known.
    pub cpu_local: Option<CpuUse>,
    /// The other end, likewise; zero if its results did not arrive.
    pub cpu_remote: Option<CpuUse>,
    /// Processor time of this end; `None` if it is not known.
    pub cpu_time: Option<CpuTime>,
    /// Processor time of the other end, computed from its percentages where it does not say; `None` if not
    /// known.
    pub cpu_time_remote: Option<CpuTime>,
    /// Congestion control that this end's sockets really used.
    pub congestion_local: Option<String>,
    /// Congestion control that the other end says it used.
    pub congestion_remote: Option<String>,
    /// The sending and the receiving engine of this end, those that ran.
    pub engines: Vec<EngineReport>,
    /// What a ringperf at the other end says of itself.
    pub peer: Option<PeerReport>,
    /// What became of the datagrams of each stream of a UDP test.
    pub datagrams: Vec<DatagramReport>,
    /// What the queues of this end's devices have dropped while a UDP test sent through them.
    pub queues: Vec<QueueReport>,
}

/// A file that a test has read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Its name as it was given.
    pub name: String,
    /// Its size in bytes at the end of the test; `None` of a pipe or a device, which has none.
    pub bytes: Option<u64>,
}

/// Totals of one stream.
#[derive(Clone, Debug)]
pub struct StreamEnd {
    /// As in [`ConnectedStream`].
    pub socket: i32,
    /// As in [`ConnectedStream`].
    pub id: u32,
    /// As in [`ConnectedStream`].
    pub flow: Flow,
    /// What the sender counted. On a receiver that never heard from it: zero.
    pub sent: Half,
    /// What the receiver counted. On a sender that never heard from it: zero.
    pub received: Half,
    /// The sender's TCP: full detail on the sender itself, `None` on the receiver.
    pub tcp: Option<TcpSummary>,
    /// Retransmits as the sending peer reports them; on receivers, when known.
    pub remote_retransmits: Option<u64>,
    /// The datagrams; in UDP tests.
    pub udp: Option<UdpEnd>,
}

/// The datagrams of a stream by iperf3's arithmetic, the omit period not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UdpEnd {
    /// Datagrams that the sender has counted; 0 when nothing was heard of it.
    pub packets_sent: u64,
    /// The highest sequence number that the receiver has seen; 0 when nothing was heard of it.
    pub packets_received: u64,
    /// Datagrams that the receiver missed; `None` when an iperf3 before 3.14 does not say how many of them
    /// belong to the omit period. 0 when nothing was heard of the receiver.
    pub lost: Option<u64>,
    /// Datagrams that came late or twice; a sender does not hear of them.
    pub out_of_order: u64,
    /// The receiver's jitter in seconds.
    pub jitter_seconds: f64,
}

/// What became of the datagrams of one UDP stream, the omitted part included, since both ends count the same
/// datagrams only over the whole test. What this end cannot know is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatagramReport {
    /// iperf3's number of the stream: 1, 3, 4, 5, ...
    pub id: u32,
    /// What this process does on the stream.
    #[cfg_attr(test, schemars(extend("enum" = ["send", "receive"])))]
    pub flow: Cow<'static, str>,
    /// Datagrams that the sender has handed to its kernel.
    pub sent: Option<u64>,
    /// Different datagrams that the receiver has taken.
    pub received: Option<u64>,
    /// `sent` less `received`: `lost_in_network` and `lost_in_socket` together.
    pub lost: Option<u64>,
    /// Lost anywhere before the receiver's socket.
    pub lost_in_network: Option<u64>,
    /// Lost because the receiver's socket buffer was full.
    pub lost_in_socket: Option<u64>,
    /// Datagrams that came again.
    pub duplicates: Option<u64>,
    /// Datagrams that came after one with a higher number.
    pub reordered: Option<u64>,
    /// Datagrams that were not of this test: too short, or of another length than agreed.
    pub foreign: Option<u64>,
}

/// A server's own report, on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerOutput {
    /// What a text-mode server printed for this test.
    Text(String),
    /// The document of a JSON-mode server so far, as compact JSON: start, intervals, end.
    Json(String),
}
