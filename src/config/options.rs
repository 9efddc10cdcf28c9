//! The options as they are typed. No logic: names, help and the types that the parser checks by itself.

use clap::{ArgAction, Args, Parser, Subcommand};

use super::EngineChoice;

/// Heading in the help of what only a server takes. It decides the role check as well.
pub(super) const SERVER_HEADING: &str = "Server only";
/// Heading in the help of what only a client takes. It decides the role check as well.
pub(super) const CLIENT_HEADING: &str = "Client only";

/// The options exactly as they were typed.
///
/// Numbers with unit letters, and those whose range has a message of its own, are checked in `resolve`.
#[derive(Debug, Parser)]
#[command(
    name = "ringperf",
    version = concat!(env!("CARGO_PKG_VERSION"), " (speaks the protocol of iperf 3.21)"),
    long_about = None,
    about = "Measures network throughput with io_uring, against another ringperf or any iperf3",
    override_usage = "ringperf -s [OPTIONS]\n       ringperf -c HOST [OPTIONS]\n       \
        ringperf loopback [ENGINE]... [OPTIONS]",
    after_help = "Amounts take K, M, G or T as powers of 1024, rates as powers of 1000.",
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    infer_long_args = true,
    args_override_self = true,
    args_conflicts_with_subcommands = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) both: BothOptions,
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) client: ClientOptions,
    #[command(flatten)]
    pub(super) engine: EngineOptions,
    #[command(subcommand)]
    pub(super) task: Option<Task>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Compare the engines on this machine, over the loopback device
    Loopback(LoopbackOptions),
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Server and client")]
pub(super) struct BothOptions {
    /// Port to listen on or to connect to [default: 5201; 0 on a server takes a free one]
    #[arg(short, long, value_name = "PORT")]
    pub(super) port: Option<u64>,
    /// Unit of the bitrate column: k m g t for bits, K M G T for bytes [default: what fits]
    #[arg(short, long, value_name = "LETTER")]
    pub(super) format: Option<char>,
    /// Seconds between reports, 0.1 to 60, or 0 for none [default: 1]
    #[arg(short, long, value_name = "SECS")]
    pub(super) interval: Option<f64>,
    /// Local IP address of the control and the data connections
    #[arg(short = 'B', long, value_name = "ADDRESS")]
    pub(super) bind: Option<std::net::IpAddr>,
    /// Use IPv4 only
    #[arg(short = '4', long, overrides_with = "version6")]
    pub(super) version4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, overrides_with = "version4")]
    pub(super) version6: bool,
    /// Report more
    #[arg(short = 'V', long)]
    pub(super) verbose: bool,
    /// Report in JSON, one document per test
    #[arg(short = 'J', long)]
    pub(super) json: bool,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Print this help; --help describes the engines, too
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = SERVER_HEADING)]
pub(super) struct ServerOptions {
    /// Be a server
    #[arg(short, long)]
    pub(super) server: bool,
    /// Leave after one test
    #[arg(short = '1', long)]
    pub(super) one_off: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = CLIENT_HEADING)]
pub(super) struct ClientOptions {
    /// Be a client of the server on this host
    #[arg(short, long, value_name = "HOST")]
    pub(super) client: Option<String>,
    /// Send UDP datagrams instead of a TCP stream
    #[arg(short, long)]
    pub(super) udp: bool,
    /// Seconds to run, fractions allowed, or 0 until interrupted [default: 10]
    #[arg(short, long, value_name = "SECS")]
    pub(super) time: Option<f64>,
    /// Run until this many bytes have gone one way, instead of -t
    #[arg(short = 'n', long, value_name = "BYTES")]
    pub(super) bytes: Option<String>,
    /// Run until this many blocks have gone one way, instead of -t
    #[arg(short = 'k', long, value_name = "BLOCKS")]
    pub(super) blockcount: Option<String>,
    /// Bytes of one block, at most 1M [default: 128K]; with -u of one datagram, 16 to 65507 [default: what
    /// one packet of the path holds]
    #[arg(short, long, value_name = "BYTES")]
    pub(super) length: Option<String>,
    /// Streams in each direction, 1 to 128 [default: 1]
    #[arg(short = 'P', long, value_name = "N")]
    pub(super) parallel: Option<u64>,
    /// The server sends and the client receives
    #[arg(short = 'R', long)]
    pub(super) reverse: bool,
    /// Both send and receive
    #[arg(long)]
    pub(super) bidir: bool,
    /// Seconds at the start that do not count, 0 to 600 [default: 0]
    #[arg(short = 'O', long, value_name = "SECS")]
    pub(super) omit: Option<u64>,
    /// Bits per second of each stream, 0 for no limit; after a slash the blocks of one burst [default: 0,
    /// with -u 1048576]
    #[arg(short, long, visible_alias = "bandwidth", value_name = "RATE[/BURST]")]
    pub(super) bitrate: Option<String>,
    /// Bits per second at which the kernel paces each stream (SO_MAX_PACING_RATE), 0 for no limit [default:
    /// 0]
    #[arg(long, value_name = "RATE")]
    pub(super) fq_rate: Option<String>,
    /// Size of the socket buffers [default: what the kernel tunes]
    #[arg(short, long, value_name = "BYTES")]
    pub(super) window: Option<String>,
    /// Congestion control of the streams [default: that of the system]
    #[arg(short = 'C', long, visible_alias = "linux-congestion", value_name = "NAME")]
    pub(super) congestion: Option<String>,
    /// Largest TCP segment in bytes [default: that of the path]
    #[arg(short = 'M', long, value_name = "BYTES")]
    pub(super) set_mss: Option<u64>,
    /// Send small segments at once (TCP_NODELAY)
    #[arg(short = 'N', long)]
    pub(super) no_delay: bool,
    /// Senders use sendfile(2), that of the server too; the same as --engine sendfile on this end. No effect
    /// with -u
    #[arg(short = 'Z', long)]
    pub(super) zerocopy: bool,
    /// Receivers let the kernel discard the data instead of copying them (MSG_TRUNC)
    #[arg(long)]
    pub(super) skip_rx_copy: bool,
    /// Sequence numbers of 64 bits instead of 32 in the datagrams of -u
    #[arg(long)]
    pub(super) udp_counters_64bit: bool,
    /// Ask an iperf3 at the other end to use UDP segmentation and receive offload; a ringperf does so anyway
    #[arg(long)]
    pub(super) gsro: bool,
    /// Set the flag of that name in IPv4 datagrams of -u
    #[arg(long)]
    pub(super) dont_fragment: bool,
    /// Send digits instead of random bytes
    #[arg(long)]
    pub(super) repeating_payload: bool,
    /// Print what the server reports, too
    #[arg(long)]
    pub(super) get_server_output: bool,
    /// Text in front of every line
    #[arg(short = 'T', long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) title: Option<String>,
    /// Text to be put into the JSON of both ends
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) extra_data: Option<String>,
    /// Milliseconds within which the control connection must be there [default: 10000]
    #[arg(long, value_name = "MS")]
    pub(super) connect_timeout: Option<String>,
    /// Local port of the first stream; each further one takes the next port [default: free ones]
    #[arg(long, value_name = "PORT")]
    pub(super) cport: Option<u64>,
    /// Engine of the server, if that is a ringperf [default: the server's own choice]
    #[arg(long, value_name = "ENGINE", hide_possible_values = true)]
    pub(super) peer_engine: Option<EngineChoice>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineOptions {
    /// How this end moves the bytes; UDP has auto, uring-zc, uring and sync [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub(super) engine: Option<EngineChoice>,
    /// One datagram per operation: no UDP segmentation or receive offload at this end. No effect with TCP
    #[arg(long)]
    pub(super) no_offload: bool,
}

#[derive(Args, Debug)]
#[command(infer_long_args = true, args_override_self = true)]
pub(super) struct LoopbackOptions {
    /// The engines to compare [default: all that make sense]
    #[arg(value_name = "ENGINE")]
    pub(super) engines: Vec<EngineChoice>,
    /// Seconds that each engine runs, fractions allowed [default: 1.5]
    #[arg(short, long, value_name = "SECS")]
    pub(super) time: Option<f64>,
    /// Streams of each run, 1 to 128 [default: 1]
    #[arg(short = 'P', long, value_name = "N")]
    pub(super) parallel: Option<u64>,
    /// Congestion control of the streams [default: that of the system]
    #[arg(short = 'C', long, value_name = "NAME")]
    pub(super) congestion: Option<String>,
    /// Bytes of one block, at most 1M [default: 128K]
    #[arg(short, long, value_name = "BYTES")]
    pub(super) length: Option<String>,
    /// Use IPv6 instead of IPv4
    #[arg(short = '6', long)]
    pub(super) version6: bool,
    /// Print this help; --help describes the engines, too
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
}
