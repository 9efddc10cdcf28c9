//! One test, as both ends see it, and what only a client needs besides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{Placement, Tuning};
use crate::units::RateFormat;

/// Bytes of one TCP block when `-l` is not given (iperf3's `DEFAULT_TCP_BLKSIZE`).
pub const DEFAULT_BLOCK_BYTES: u32 = 128 * 1024;
/// Bytes of one SCTP block when `-l` is not given (iperf3's `DEFAULT_SCTP_BLKSIZE`).
pub const DEFAULT_SCTP_BLOCK_BYTES: u32 = 64 * 1024;
/// Bytes of a UDP datagram where the control connection's segment size says nothing better (iperf3's
/// `DEFAULT_UDP_BLKSIZE`).
pub const DEFAULT_DATAGRAM_BYTES: u32 = 1460;
/// Bits per second of a UDP stream when `-b` is not given (iperf3's `UDP_RATE`).
pub const DEFAULT_UDP_BITS_PER_SECOND: u64 = 1024 * 1024;

/// Microseconds of the pacing timer (iperf3's `DEFAULT_PACING_TIMER`).
pub const DEFAULT_PACING_TIMER_US: u64 = 1000;
/// Longest silence of a receiver before it gives up (iperf3's default of `--rcv-timeout`).
pub const DEFAULT_RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);

/// Port of a server where `-p` says nothing else (iperf3's `PORT`).
pub const DEFAULT_PORT: u16 = 5201;
/// Longest time for the control connection to come up where nothing else is asked for. A host that drops
/// packets should not hold a script for the minutes that the kernel would try.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the program calls itself, unless it is called `iperf3`.
pub const PROGRAM: &str = "ringperf";

/// Which process of the pair this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens the control connection and decides when the test ends.
    Client,
    /// Listens.
    Server,
}

/// Which way the payload of a whole test flows, as the client names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    #[default]
    Forward,
    /// Server to client (`-R`).
    Reverse,
    /// Both at once, on streams of their own (`--bidir`).
    Bidir,
}

impl Direction {
    /// What the streams of one end do, in the order in which the streams are opened.
    ///
    /// Forward and reverse have one group of streams; bidir has the client's senders first, then its
    /// receivers.
    #[must_use]
    pub fn flows(self, role: Role) -> &'static [Flow] {
        match (self, role) {
            (Self::Forward, Role::Client) | (Self::Reverse, Role::Server) => &[Flow::Send],
            (Self::Forward, Role::Server) | (Self::Reverse, Role::Client) => &[Flow::Receive],
            (Self::Bidir, Role::Client) => &[Flow::Send, Flow::Receive],
            (Self::Bidir, Role::Server) => &[Flow::Receive, Flow::Send],
        }
    }
}

/// What this process does on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// This process sends.
    Send,
    /// This process receives.
    Receive,
}

/// What carries the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// A TCP connection per stream.
    #[default]
    Tcp,
    /// A Multipath TCP connection per stream (`-m`).
    Mptcp,
    /// An SCTP association per stream (`--sctp`), in one-to-one style.
    Sctp(SctpConfig),
    /// Datagrams of one block each.
    Udp(UdpConfig),
}

impl Protocol {
    /// The name that reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp | Self::Mptcp => "TCP",
            Self::Sctp(_) => "SCTP",
            Self::Udp(_) => "UDP",
        }
    }

    /// What only UDP tests have.
    #[must_use]
    pub fn udp(self) -> Option<UdpConfig> {
        match self {
            Self::Tcp | Self::Mptcp | Self::Sctp(_) => None,
            Self::Udp(udp) => Some(udp),
        }
    }
}

/// What only an SCTP test has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SctpConfig {
    /// `--nstreams`: outgoing SCTP streams of an association; 0 leaves it to the kernel.
    pub streams: u16,
}

/// What only a UDP test has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpConfig {
    /// `--udp-counters-64bit`: sequence numbers of 64 bits instead of 32.
    pub counters_64bit: bool,
    /// `--gsro`: an iperf3 at the other end shall use segmentation and receive offload, too. A ringperf
    /// decides for itself.
    pub gsro: bool,
    /// `--dont-fragment`: set the flag of that name in IPv4 datagrams.
    pub dont_fragment: bool,
}

/// When a test is over. Only the client decides it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EndCondition {
    /// After this long, the omit period not counted.
    Time(Duration),
    /// After this many bytes per direction, rounded up to whole blocks.
    Bytes(u64),
    /// After this many blocks per direction.
    Blocks(u64),
    /// When somebody interrupts it (`-t 0`).
    Unlimited,
}

/// Bytes of one application block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    /// Bytes, of [`BLOCK_BYTES`](super::ranges::BLOCK_BYTES), with UDP of
    /// [`DATAGRAM_BYTES`](super::ranges::DATAGRAM_BYTES).
    pub bytes: u32,
    /// Somebody asked for this size, so each block stays an operation of its own. Otherwise one operation may
    /// cover several blocks.
    pub explicit: bool,
}

impl Default for BlockSize {
    fn default() -> Self {
        Self { bytes: DEFAULT_BLOCK_BYTES, explicit: false }
    }
}

/// Application pacing of each sending stream (`-b RATE[/BURST]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Bits per second of one stream; 0 means unlimited.
    pub bits_per_second: u64,
    /// Blocks sent back to back before the rate is looked at; 0 means one.
    pub burst_blocks: u32,
}

/// Options of the data sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketConfig {
    /// `SO_SNDBUF` and `SO_RCVBUF` in bytes (`-w`).
    pub window_bytes: Option<u32>,
    /// `TCP_MAXSEG` in bytes (`-M`).
    pub mss_bytes: Option<u32>,
    /// `TCP_NODELAY` (`-N`).
    pub no_delay: bool,
    /// `TCP_CONGESTION` (`-C`).
    pub congestion: Option<String>,
    /// `SO_MAX_PACING_RATE` in bits per second (`--fq-rate`); 0 means none.
    pub fq_bits_per_second: u64,
    /// `IP_TOS` or `IPV6_TCLASS`, the whole byte (`-S`, `--dscp`); 0 means none.
    pub tos: u8,
    /// IPv6 flow label, 1 to 0xFFFFF (`-L`); a client's matter.
    pub flow_label: Option<u32>,
}

/// How bytes are moved, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// Zero-copy where it is real, the next best where it is not
    #[default]
    Auto,
    /// io_uring SEND_ZC from registered buffers
    UringZc,
    /// io_uring copying sends from registered buffers
    Uring,
    /// sendfile(2) from an unnamed file (what -Z selects)
    Sendfile,
    /// vmsplice(2) and splice(2) of huge-page memory through a pipe
    Splice,
    /// send(2) with MSG_ZEROCOPY
    MsgZc,
    /// Plain send(2) and recv(2)
    Sync,
    /// No kernel at all: measures ringperf itself
    Null,
}

impl EngineChoice {
    /// Every choice, in the order of the command line's help.
    pub const ALL: [Self; 8] = [
        Self::Auto,
        Self::UringZc,
        Self::Uring,
        Self::Sendfile,
        Self::Splice,
        Self::MsgZc,
        Self::Sync,
        Self::Null,
    ];

    /// The name used on the command line, in parameters and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::UringZc => "uring-zc",
            Self::Uring => "uring",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::MsgZc => "msg-zc",
            Self::Sync => "sync",
            Self::Null => "null",
        }
    }

    /// The choice of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One test: what the command line of a client asks for and what a server reads from the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct TestConfig {
    /// What carries the payload.
    pub protocol: Protocol,
    /// Which way the payload flows.
    pub direction: Direction,
    /// Streams per direction, of [`STREAMS`](super::ranges::STREAMS).
    pub parallel: u32,
    /// When it is over.
    pub end: EndCondition,
    /// Seconds at the start that are not counted, of [`OMIT_SECS`](super::ranges::OMIT_SECS).
    pub omit_secs: u32,
    /// Bytes of one block.
    pub block: BlockSize,
    /// Application pacing.
    pub pacing: Pacing,
    /// Options of the data sockets.
    pub socket: SocketConfig,
    /// `-Z`: senders use sendfile(2).
    pub zerocopy: bool,
    /// `--skip-rx-copy`: receivers let the kernel discard (MSG_TRUNC).
    pub skip_rx_copy: bool,
    /// `--repeating-payload`: digits instead of random bytes.
    pub repeating_payload: bool,
    /// `-T`.
    pub title: Option<String>,
    /// `--extra-data`.
    pub extra_data: Option<String>,
    /// `--get-server-output`.
    pub server_output: bool,
    /// The processor that the server shall run on (the second number of `-A`), of
    /// [`PROCESSOR`](super::ranges::PROCESSOR).
    pub server_cpu: Option<u32>,
    /// `--pacing-timer` in microseconds; only iperf3 servers before 3.18 look at it.
    pub pacing_timer_us: u64,
}

impl Default for TestConfig {
    /// What iperf3 runs when nothing is asked for: TCP, forward, ten seconds, one stream.
    fn default() -> Self {
        Self {
            protocol: Protocol::Tcp,
            direction: Direction::Forward,
            parallel: 1,
            end: EndCondition::Time(Duration::from_secs(10)),
            omit_secs: 0,
            block: BlockSize::default(),
            pacing: Pacing::default(),
            socket: SocketConfig::default(),
            zerocopy: false,
            skip_rx_copy: false,
            repeating_payload: false,
            title: None,
            extra_data: None,
            server_output: false,
            server_cpu: None,
            pacing_timer_us: DEFAULT_PACING_TIMER_US,
        }
    }
}

impl TestConfig {
    /// Bytes per direction at which the test ends, in whole blocks; `None` for a test that time or a person
    /// ends.
    #[must_use]
    pub fn goal_bytes(&self) -> Option<u64> {
        let block = u64::from(self.block.bytes);
        match self.end {
            EndCondition::Bytes(bytes) => Some(bytes.div_ceil(block).saturating_mul(block)),
            EndCondition::Blocks(blocks) => Some(blocks.saturating_mul(block)),
            EndCondition::Time(_) | EndCondition::Unlimited => None,
        }
    }

    /// How long the counted part lasts; `None` when time does not end it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match self.end {
            EndCondition::Time(duration) => Some(duration),
            EndCondition::Bytes(_) | EndCondition::Blocks(_) | EndCondition::Unlimited => None,
        }
    }
}

/// Which IP version to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Whatever the name resolves to; a server listens on both.
    #[default]
    Any,
    /// `-4`.
    V4,
    /// `-6`.
    V6,
}

impl Family {
    /// The address of the loopback device; that of IPv4 where both will do.
    #[must_use]
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::Any | Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The shape of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// Rows, as they come.
    #[default]
    Text,
    /// One JSON document per test.
    Json,
    /// One JSON object per line, as things happen (`--json-stream`).
    JsonStream {
        /// The whole document follows at the end (`--json-stream-full-output`).
        full: bool,
    },
}

/// What is printed, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Text or JSON.
    pub format: OutputFormat,
    /// `-V`.
    pub verbose: bool,
    /// `-f`: unit of the bitrate column.
    pub rate_format: RateFormat,
    /// `-i`: time between interval rows; `None` means no rows but a last one.
    pub interval: Option<Duration>,
    /// `--logfile`: reports and errors are added to this file.
    pub log_file: Option<PathBuf>,
    /// `--timestamps`: a strftime format that stands before every line.
    pub timestamps: Option<String>,
    /// `-d`: 0 for none, to 4.
    pub debug: u8,
    /// What the program calls itself in front of errors and warnings: `ringperf`, or `iperf3` when it was
    /// called by that name.
    pub program: &'static str,
    /// What iperf3 does not say is said as well: lines, keys, events, warnings and reasons of errors.
    pub extras: bool,
    /// What is strange about the command line but no reason to refuse it; one line each, to be said once
    /// before anything else.
    pub warnings: Vec<String>,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            format: OutputFormat::Text,
            verbose: false,
            rate_format: RateFormat::Adaptive,
            interval: Some(Duration::from_secs(1)),
            log_file: None,
            timestamps: None,
            debug: 0,
            program: PROGRAM,
            extras: true,
            warnings: Vec::new(),
        }
    }
}

/// TCP keepalive of the control connection (`--cntl-ka`); what is `None` is left to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Seconds of silence before the first probe.
    pub idle_secs: Option<u32>,
    /// Seconds between two probes.
    pub interval_secs: Option<u32>,
    /// Probes without an answer before the connection is given up.
    pub count: Option<u32>,
}

/// What one end does on its own machine, whichever role it has. The other end does not hear of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// Which IP versions to use.
    pub family: Family,
    /// Local address (`-B`).
    pub bind: Option<IpAddr>,
    /// Network device that all sockets are bound to (`--bind-dev`, or `-B HOST%DEV`).
    pub bind_device: Option<String>,
    /// Processor to run on (`-A`), of [`PROCESSOR`](super::ranges::PROCESSOR).
    pub cpu: Option<u32>,
    /// Where the stream threads run (`--cpus`), if the user says so; never together with `cpu`. A server that
    /// has neither does what its client asks for.
    pub cpus: Option<Placement>,
    /// Senders read from this file and receivers write to it (`-F`).
    pub file: Option<PathBuf>,
    /// A receiver gives up after so much silence (`--rcv-timeout`).
    pub receive_timeout: Duration,
    /// `TCP_USER_TIMEOUT` of all connections (`--snd-timeout`).
    pub send_timeout: Option<Duration>,
    /// Keepalive of the control connection.
    pub keepalive: Option<Keepalive>,
    /// The process's number is written here while it runs (`-I`).
    pub pid_file: Option<PathBuf>,
    /// The engine of this end; of a server where the client does not ask for another.
    pub engine: EngineChoice,
    /// Whether this end may use UDP segmentation and receive offload; `false` is `--no-offload`.
    pub offload: bool,
    /// Whether sizes are tried out while a test runs; `false` is `--no-adapt`.
    pub adapt: bool,
    /// `--tune`: sizes of the data path that are fixed.
    pub tuning: Tuning,
    /// Microseconds for which the data sockets poll the network card (`--busy-poll`), of
    /// [`BUSY_POLL_US`](super::ranges::BUSY_POLL_US); `None` leaves it to the system.
    pub busy_poll: Option<u32>,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            family: Family::Any,
            bind: None,
            bind_device: None,
            cpu: None,
            cpus: None,
            file: None,
            receive_timeout: DEFAULT_RECEIVE_TIMEOUT,
            send_timeout: None,
            keepalive: None,
            pid_file: None,
            engine: EngineChoice::Auto,
            offload: true,
            adapt: true,
            tuning: Tuning::default(),
            busy_poll: None,
        }
    }
}

/// Who a client says it is, and how it keeps that from others on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOptions {
    /// User name.
    pub user: String,
    /// File with the server's public key, PEM.
    pub public_key: PathBuf,
    /// `--use-pkcs1-padding`: encrypt as iperf3 before 3.17 did.
    pub pkcs1_padding: bool,
}

/// Everything a client run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Host name or address as given.
    pub host: String,
    /// Control and data port.
    pub port: u16,
    /// What is this machine's own matter.
    pub local: LocalConfig,
    /// Local port of the first data stream (`--cport`); stream k uses port + k.
    pub client_port: Option<u16>,
    /// Longest time for the control connection to come up.
    pub connect_timeout: Duration,
    /// The engine asked of the other end, which obeys if it is a ringperf.
    pub peer_engine: Option<EngineChoice>,
    /// Where the stream threads of the other end shall run, which obeys if it is a ringperf and has no
    /// placement of its own.
    pub peer_cpus: Option<Placement>,
    /// Further local addresses of SCTP associations (`-X`).
    pub sctp_addresses: Vec<IpAddr>,
    /// Who the client says it is, if the server wants to know.
    pub login: Option<LoginOptions>,
    /// The test itself.
    pub test: TestConfig,
    /// What is printed.
    pub output: OutputConfig,
}

impl ClientConfig {
    /// A client of `host` that runs `test`, with everything else as it is without options.
    #[must_use]
    pub fn new(host: impl Into<String>, test: TestConfig) -> Self {
        Self {
            host: host.into(),
            port: DEFAULT_PORT,
            local: LocalConfig::default(),
            client_port: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            peer_engine: None,
            peer_cpus: None,
            sctp_addresses: Vec::new(),
            login: None,
            test,
            output: OutputConfig::default(),
        }
    }

    /// The local address of data stream number `index` to `server`, if it is not left to the kernel.
    #[must_use]
    pub fn stream_address(&self, server: &SocketAddr, index: u16) -> Option<SocketAddr> {
        let port = self.client_port.map_or(0, |first| first.wrapping_add(index));
        let unspecified = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let bind = self.local.bind;
        (bind.is_some() || port != 0).then(|| SocketAddr::new(bind.unwrap_or(unspecified), port))
    }
}
