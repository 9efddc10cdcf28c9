//! The options as they are typed. No logic: names and help. What a value means is decided in `resolve`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use super::{EngineChoice, Tuning};

/// Heading in the help of what only a server takes. It decides the role check as well.
pub(super) const SERVER_HEADING: &str = "Server only";
/// Heading in the help of what only a client takes. It decides the role check as well.
pub(super) const CLIENT_HEADING: &str = "Client only";

/// The options exactly as they were typed.
///
/// Numbers stay texts here, so that one that is out of range and one that is none get the same message.
#[derive(Debug, Parser)]
#[command(
    name = "ringperf",
    version,
    long_about = None,
    about = "Measures network throughput with io_uring, against another ringperf or any iperf3",
    after_help = "Amounts take K, M, G or T as powers of 1024, rates as powers of 1000. Seconds may end in s, \
        milliseconds in ms.",
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    next_line_help = true,
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
    /// Words that belong to no option. iperf3 ignores them.
    #[arg(hide = true)]
    pub(super) strays: Vec<OsString>,
}

/// What the first word may ask for instead of a test.
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Compare the engines on this machine, over the loopback device
    Loopback(LoopbackOptions),
    /// Print the manual page
    #[command(hide = true)]
    Man {
        /// The page of this subcommand
        #[arg(value_parser = ["loopback"])]
        page: Option<String>,
    },
    /// Print what a shell needs to complete the options
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Server and client")]
pub(super) struct BothOptions {
    /// Port to listen on or to connect to [default: 5201; 0 on a server takes a free one]
    #[arg(short, long, value_name = "PORT")]
    pub(super) port: Option<String>,
    /// Unit of the bitrate column: k m g t for bits, K M G T for bytes; the first letter counts [default:
    /// what fits]
    #[arg(short, long, value_name = "LETTER")]
    pub(super) format: Option<String>,
    /// Seconds between reports, 0.1 to 60, or 0 for none [default: 1]
    #[arg(short, long, value_name = "SECS")]
    pub(super) interval: Option<String>,
    /// Write the number of the process to this file while it runs
    #[arg(short = 'I', long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,
    /// Send what is in this file, or write what is received to it; not with -u. A client that sends it and
    /// has no -t, -n or -k sends it once
    #[arg(short = 'F', long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Processor to run on, 0 to 1024; a client may name the server's after a comma
    #[arg(short = 'A', long, value_name = "N[,M]")]
    pub(super) affinity: Option<String>,
    /// Local address of the control and the data connections, and the device to bind them to
    #[arg(short = 'B', long, value_name = "HOST[%DEV]")]
    pub(super) bind: Option<String>,
    /// Network device to bind all sockets to (SO_BINDTODEVICE)
    #[arg(long, value_name = "DEV")]
    pub(super) bind_dev: Option<String>,
    /// Local port of a client's first stream; each further one takes the next port [default: free ones]. No
    /// effect on a server
    #[arg(long, value_name = "PORT")]
    pub(super) cport: Option<String>,
    /// A further local address of a client's SCTP associations; may be given several times. No effect on a
    /// server or without --sctp
    #[arg(short = 'X', long, value_name = "HOST")]
    pub(super) xbind: Vec<String>,
    /// Use IPv4 only
    #[arg(short = '4', long, overrides_with = "version6")]
    pub(super) version4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, overrides_with = "version4")]
    pub(super) version6: bool,
    /// Send over Multipath TCP. No effect on a server, which does what each client asks for
    #[arg(short, long)]
    pub(super) mptcp: bool,
    /// Report more
    #[arg(short = 'V', long)]
    pub(super) verbose: bool,
    /// Report in JSON, one document per test
    #[arg(short = 'J', long)]
    pub(super) json: bool,
    /// Report in JSON, one object per line as things happen
    #[arg(long)]
    pub(super) json_stream: bool,
    /// With --json-stream: print the whole document as well, at the end
    #[arg(long)]
    pub(super) json_stream_full_output: bool,
    /// Add reports and errors to this file instead of printing them
    #[arg(long, value_name = "FILE")]
    pub(super) logfile: Option<PathBuf>,
    /// No effect: every row is written out at once anyway
    #[arg(long)]
    pub(super) forceflush: bool,
    /// Put the time before each line, in a format of strftime(3) [default format: "%c "]
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "%c ")]
    pub(super) timestamps: Option<String>,
    /// Milliseconds of silence after which a receiver gives up, 100 to 86400000 [default: 120000]. No effect
    /// on a client that only sends
    #[arg(long, value_name = "MS")]
    pub(super) rcv_timeout: Option<String>,
    /// Milliseconds for which sent data may stay unacknowledged (TCP_USER_TIMEOUT), to 86400000 [default: 0,
    /// what the system has]
    #[arg(long, value_name = "MS")]
    pub(super) snd_timeout: Option<String>,
    /// TCP keepalive of the control connection: seconds before the first probe, seconds between probes,
    /// number of probes [default of each: what the system has]
    #[arg(
        long,
        value_name = "IDLE/INTERVAL/COUNT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub(super) cntl_ka: Option<String>,
    /// The same as --debug
    #[arg(short, hide = true)]
    pub(super) d: bool,
    /// Print what is going on inside, level 1 to 4 [default level: 4; -d is the same without a level]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "4")]
    pub(super) debug: Option<String>,
    /// Called as iperf3: report what iperf3 does not know, too, as ringperf does under its own name
    #[arg(long, env = "RINGPERF_REPORT", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(super) ringperf_report: bool,
    /// Print the JSON Schema of the documents and events that -J and --json-stream print
    #[arg(long)]
    pub(super) json_schema: bool,
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
    /// Run in the background
    #[arg(short = 'D', long)]
    pub(super) daemon: bool,
    /// Leave after one test
    #[arg(short = '1', long)]
    pub(super) one_off: bool,
    /// Most bits per second of all streams of a test together, 0 for no limit; after a slash the seconds over
    /// which the average is taken, 0.1 to 60, or 0 for one report interval [default: 0/5]
    #[arg(long, value_name = "RATE[/SECS]")]
    pub(super) server_bitrate_limit: Option<String>,
    /// Longest test in seconds, the omitted part included, 0 for no limit [default: 0]
    #[arg(long, value_name = "SECS")]
    pub(super) server_max_duration: Option<String>,
    /// Tests that may run side by side, 1 to 64; not in iperf3 [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) max_tests: Option<String>,
    /// Tests that one address, or one /64 network of IPv6, may begin within a minute, 0 for any number; not
    /// in iperf3 [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) max_tests_per_minute: Option<String>,
    /// Most bits per second of all tests together, 0 for no limit; after a slash the seconds over which the
    /// average is taken, as above; not in iperf3 [default: 0/5]
    #[arg(long, value_name = "RATE[/SECS]")]
    pub(super) total_bitrate_limit: Option<String>,
    /// With --server-max-duration, end tests of -n and -k when that time is over, instead of refusing them;
    /// not in iperf3
    #[arg(long)]
    pub(super) allow_counted: bool,
    /// Defaults for the open internet: --server-max-duration 60 --allow-counted --total-bitrate-limit 10G
    /// --max-tests-per-minute 6; not in iperf3
    #[arg(long)]
    pub(super) public: bool,
    /// Let a ringperf's UDP streams come from another address than its control connection, as policy
    /// routing and carrier NAT make them: their first datagrams have the secret of the test, and the
    /// address has to answer; not in iperf3
    #[arg(long)]
    pub(super) udp_any_source: bool,
    /// Leave with -1, else look after the device of --bind-dev, after so many seconds without a client, 1 to
    /// 86400 [default: never]
    #[arg(long, value_name = "SECS")]
    pub(super) idle_timeout: Option<String>,
    /// File with the private RSA key that tokens of clients are read with, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) rsa_private_key_path: Option<PathBuf>,
    /// File with the users that may run tests, a line USER,HASH each
    #[arg(long, value_name = "FILE")]
    pub(super) authorized_users_path: Option<PathBuf>,
    /// Most seconds between this clock and that of a client who logs in [default: 10]
    #[arg(long, value_name = "SECS")]
    pub(super) time_skew_threshold: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = CLIENT_HEADING)]
pub(super) struct ClientOptions {
    /// Be a client of the server on this host, through this device
    #[arg(short, long, value_name = "HOST[%DEV]")]
    pub(super) client: Option<String>,
    /// Send UDP datagrams instead of a TCP stream
    #[arg(short, long)]
    pub(super) udp: bool,
    /// Send over SCTP
    #[arg(long)]
    pub(super) sctp: bool,
    /// Streams within an SCTP association, 0 for what the system has [default: 0]. No effect without --sctp
    #[arg(long, value_name = "N")]
    pub(super) nstreams: Option<String>,
    #[command(flatten)]
    pub(super) time: TimeOption,
    /// Run until this many bytes have gone one way, instead of -t
    #[arg(short = 'n', long, value_name = "BYTES")]
    pub(super) bytes: Option<String>,
    /// Run until this many blocks have gone one way, instead of -t
    #[arg(short = 'k', long, value_name = "BLOCKS")]
    pub(super) blockcount: Option<String>,
    #[command(flatten)]
    pub(super) length: LengthOption,
    #[command(flatten)]
    pub(super) parallel: ParallelOption,
    /// The server sends and the client receives
    #[arg(short = 'R', long)]
    pub(super) reverse: bool,
    /// Both send and receive
    #[arg(long)]
    pub(super) bidir: bool,
    /// Seconds at the start that do not count, 0 to 600 [default: 0]
    #[arg(short = 'O', long, value_name = "SECS")]
    pub(super) omit: Option<String>,
    /// Bits per second of each stream, 0 for no limit; after a slash the blocks of one burst [default: 0,
    /// with -u 1048576]
    #[arg(short, long, visible_alias = "bandwidth", value_name = "RATE[/BURST]")]
    pub(super) bitrate: Option<String>,
    /// Microseconds between two looks at the rate, for servers older than iperf 3.18 only [default: 1000]
    #[arg(long, value_name = "US")]
    pub(super) pacing_timer: Option<String>,
    /// Bits per second at which the kernel paces each stream (SO_MAX_PACING_RATE), 0 for no limit [default:
    /// 0]
    #[arg(long, value_name = "RATE", overrides_with = "no_fq_socket_pacing")]
    pub(super) fq_rate: Option<String>,
    /// The same as --fq-rate 0, and out of use
    #[arg(long, overrides_with = "fq_rate")]
    pub(super) no_fq_socket_pacing: bool,
    /// Size of the socket buffers [default: what the kernel tunes]
    #[arg(short, long, value_name = "BYTES")]
    pub(super) window: Option<String>,
    #[command(flatten)]
    pub(super) congestion: CongestionOption,
    /// Largest TCP segment in bytes [default: that of the path]
    #[arg(short = 'M', long, value_name = "BYTES")]
    pub(super) set_mss: Option<String>,
    /// Send small segments at once (TCP_NODELAY)
    #[arg(short = 'N', long)]
    pub(super) no_delay: bool,
    /// Type of service of the packets of both ends, 0 to 255; 0x and 0 in front mean hexadecimal and octal
    #[arg(short = 'S', long, value_name = "N", overrides_with = "dscp")]
    pub(super) tos: Option<String>,
    /// The same as a DSCP: 0 to 63, or af11-13 af21-23 af31-33 af41-43 cs0-7 ef va lowdelay throughput
    /// reliability
    #[arg(long, value_name = "N|NAME", overrides_with = "tos")]
    pub(super) dscp: Option<String>,
    /// Flow label of what the client sends over IPv6, 1 to 1048575
    #[arg(short = 'L', long, value_name = "N")]
    pub(super) flowlabel: Option<String>,
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
    #[arg(short = 'T', long, value_name = "TEXT")]
    pub(super) title: Option<OsString>,
    /// Text to be put into the JSON of both ends
    #[arg(long, value_name = "TEXT")]
    pub(super) extra_data: Option<OsString>,
    /// Milliseconds within which the control connection must be there, 0 for the default [default: 10000]
    #[arg(long, value_name = "MS")]
    pub(super) connect_timeout: Option<String>,
    /// Log in as this user; the password is read from $IPERF3_PASSWORD, or else from the terminal
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// File with the public RSA key of the server, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) rsa_public_key_path: Option<PathBuf>,
    /// Engine of the server, if that is a ringperf [default: the server's own choice]
    #[arg(long, value_name = "ENGINE", hide_possible_values = true)]
    pub(super) peer_engine: Option<EngineChoice>,
    /// The same as --cpus for the server, if that is a ringperf; its own --cpus or -A goes before it
    /// [default: the server's own choice]
    #[arg(long, value_name = "LIST|auto|spread|pack|near")]
    pub(super) peer_cpus: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "What iperf3 does not have, server and client")]
pub(super) struct EngineOptions {
    /// How this end moves the bytes; UDP has auto, uring-zc, uring and sync [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub(super) engine: Option<EngineChoice>,
    /// One datagram per operation: no UDP segmentation or receive offload at this end. No effect with TCP
    #[arg(long)]
    pub(super) no_offload: bool,
    /// Try nothing out while a TCP test runs: receivers keep their receive mark, and --engine sync sends one
    /// block at a time, as iperf3
    #[arg(long)]
    pub(super) no_adapt: bool,
    /// Processors of the stream threads of this end, not with -A: a list such as 2-9,14, of which each stream
    /// takes the next one; spread: one stream per core first, both ends of a stream apart; pack: as few cores
    /// as possible, both ends of a stream together; near: on the NUMA node of the test's network card, off
    /// the processors that serve its interrupts; auto: whatever the scheduler takes [default: auto]
    #[arg(long, value_name = "LIST|auto|spread|pack|near")]
    pub(super) cpus: Option<String>,
    /// Microseconds, 1 to 10000, for which the data sockets of this end poll the network card before they
    /// wait for its interrupt: less latency for more processor time [default: that of the system]
    #[arg(long, value_name = "US")]
    pub(super) busy_poll: Option<String>,
    /// Fixes sizes of this end's data path, to compare them:
    /// send=BYTES,receive=BYTES,mark=BYTES,depth=SENDS
    #[arg(long, value_name = "SIZES", hide = true)]
    pub(super) tune: Option<Tuning>,
    /// Tokens of a login are made, or read, as by iperf3 before 3.17 (PKCS#1 v1.5 instead of OAEP); iperf3
    /// has this on servers only
    #[arg(long)]
    pub(super) use_pkcs1_padding: bool,
}

// Each option of a test that a task has as well is a group by itself, since it has its own place in the help
// of each. A comment for the documentation would become what the help says of the whole command.

#[derive(Args, Debug)]
pub(super) struct TimeOption {
    /// Seconds to run, fractions allowed, or 0 until interrupted [default: 10]
    #[arg(id = "time", short = 't', long = "time", value_name = "SECS")]
    pub(super) given: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct LengthOption {
    /// Bytes of one block, at most 1M [default: 128K, with --sctp 64K]; with -u of one datagram, 16 to 65507
    /// [default: what one packet of the path holds]
    #[arg(id = "length", short = 'l', long = "length", value_name = "BYTES")]
    pub(super) given: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ParallelOption {
    /// Streams in each direction, 1 to 128 [default: 1]
    #[arg(id = "parallel", short = 'P', long = "parallel", value_name = "N")]
    pub(super) given: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct CongestionOption {
    /// Congestion control of the streams [default: that of the system]
    #[arg(
        id = "congestion",
        short = 'C',
        long = "congestion",
        visible_alias = "linux-congestion",
        value_name = "NAME"
    )]
    pub(super) given: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_line_help = true, infer_long_args = true, args_override_self = true)]
#[command(mut_args(in_a_comparison))]
pub(super) struct LoopbackOptions {
    /// The engines to compare [default: all that make sense]
    #[arg(value_name = "ENGINE")]
    pub(super) engines: Vec<EngineChoice>,
    #[command(flatten)]
    pub(super) time: TimeOption,
    #[command(flatten)]
    pub(super) parallel: ParallelOption,
    #[command(flatten)]
    pub(super) congestion: CongestionOption,
    #[command(flatten)]
    pub(super) length: LengthOption,
    /// Use IPv6 instead of IPv4
    #[arg(short = '6', long)]
    pub(super) version6: bool,
    /// Print this help; --help describes the engines, too
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// An option of a test with what it means in a comparison of engines, which has a time of its own and moves
/// bytes one way over TCP.
fn in_a_comparison(option: Arg) -> Arg {
    match option.get_id().as_str() {
        "time" => option.help("Seconds that each engine runs, fractions allowed [default: 1.5]"),
        "parallel" => option.help("Streams of each run, 1 to 128 [default: 1]"),
        "length" => option.help("Bytes of one block, at most 1M [default: 128K]"),
        // Its second name is one that iperf3 has had.
        "congestion" => option.visible_alias(None::<&'static str>),
        _ => option,
    }
}
