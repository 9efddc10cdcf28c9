//! From the options as typed to the checked configuration. Ranges and messages are those of iperf3.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::options::{BothOptions, Cli, ClientOptions, LoopbackOptions};
use super::{
    BlockSize, ClientConfig, DEFAULT_BLOCK_BYTES, DEFAULT_DATAGRAM_BYTES, DEFAULT_PACING_TIMER_US,
    DEFAULT_UDP_BITS_PER_SECOND, Direction, EndCondition, EngineChoice, Family, LocalConfig, LoopbackConfig,
    MAX_BLOCK_BYTES, MAX_BURST_BLOCKS, MAX_DATAGRAM_BYTES, MAX_MSS_BYTES, MAX_OMIT_SECS, MAX_STREAMS,
    MAX_TIME_SECS, MAX_WINDOW_BYTES, MIN_DATAGRAM_BYTES, OutputConfig, OutputFormat, Pacing, Protocol,
    ServerConfig, ServerLimits, SocketConfig, TestConfig, UdpConfig,
};
use crate::units::{RateFormat, UnitError, parse_bytes, parse_rate};

/// iperf3's `PORT`.
const DEFAULT_PORT: u16 = 5201;
/// A host that drops packets should not hold a script for the minutes that the kernel would try.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One day, as long as the longest test.
const MAX_CONNECT_TIMEOUT_MS: u32 = 86_400_000;
/// Long enough for every engine to be past TCP's slow start on a loopback device.
const DEFAULT_LOOPBACK_TIME: Duration = Duration::from_millis(1500);
/// A shorter test could not be told from one without an end.
const MIN_TIME_SECS: f64 = 0.001;
/// Longest name of a congestion control algorithm (`TCP_CA_NAME_MAX` of linux/net/tcp.h without its NUL).
const MAX_CONGESTION_BYTES: usize = 15;

/// What is wrong with the options, in iperf3's words where it has any, and which option it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum ParameterError {
    #[error("cannot be both server and client; drop -s or -c")]
    BothRoles,
    #[error("must either be a client (-c) or server (-s)")]
    NoRole,
    #[error("some option you are trying to set is client only: {0}; drop it, or be a client with -c HOST")]
    ClientOnly(String),
    #[error("some option you are trying to set is server only: {0}; drop it, or be a server with -s")]
    ServerOnly(String),
    #[error("only one test end condition (-t, -n, -k) may be specified")]
    EndConditions,
    #[error("cannot be both reverse and bidirectional; drop -R or --bidir")]
    ReverseBidir,
    #[error("-Z sends with sendfile(2), but --engine {0} does not; drop one of them")]
    ZerocopyEngine(EngineChoice),
    #[error("UDP tests run on the engines auto, uring-zc, uring and sync, not on {0}: {1} {0}")]
    UdpEngine(EngineChoice, &'static str),
    #[error("the address of -B {0} is not one of the IP version asked for; drop -4 or -6")]
    BindFamily(IpAddr),
    #[error("bad format specifier (valid formats are in the set [kmgtKMGT]): -f {0}")]
    Format(char),
    #[error("{source} (option {option})")]
    Unit { option: &'static str, source: UnitError },
    #[error("{rule}: {option} {given}")]
    Range { rule: &'static str, option: &'static str, given: String },
}

/// The configuration of a server.
pub(super) fn server(cli: &Cli) -> Result<ServerConfig, ParameterError> {
    Ok(ServerConfig {
        port: port("-p", cli.both.port, 0)?.unwrap_or(DEFAULT_PORT),
        local: local(cli, cli.engine.engine.unwrap_or_default())?,
        one_off: cli.server.one_off,
        daemon: false,
        limits: ServerLimits::default(),
        authentication: None,
        output: output(&cli.both)?,
    })
}

/// The configuration of a client of that host.
pub(super) fn client(cli: &Cli, host: &str) -> Result<ClientConfig, ParameterError> {
    let options = &cli.client;
    let test = test(options)?;
    Ok(ClientConfig {
        host: host.to_owned(),
        port: port("-p", cli.both.port, 1)?.unwrap_or(DEFAULT_PORT),
        local: local(cli, client_engine(options, cli.engine.engine)?)?,
        client_port: client_port(options, &test)?,
        connect_timeout: connect_timeout(options)?,
        peer_engine: options.peer_engine,
        sctp_addresses: Vec::new(),
        login: None,
        test,
        output: output(&cli.both)?,
    })
}

/// What is this machine's own matter.
fn local(cli: &Cli, engine: EngineChoice) -> Result<LocalConfig, ParameterError> {
    Ok(LocalConfig {
        family: family(&cli.both)?,
        bind: cli.both.bind,
        engine,
        offload: !cli.engine.no_offload,
        ..LocalConfig::default()
    })
}

/// The configuration of a comparison.
pub(super) fn loopback(options: &LoopbackOptions) -> Result<LoopbackConfig, ParameterError> {
    let seconds = match options.time {
        None => DEFAULT_LOOPBACK_TIME,
        Some(seconds) => {
            seconds_in("-t", seconds, MIN_TIME_SECS, "each engine can run for 0.001 to 86400 seconds")?
        }
    };
    Ok(LoopbackConfig {
        engines: options.engines.clone(),
        seconds,
        parallel: parallel(options.parallel)?,
        congestion: congestion(options.congestion.as_deref())?,
        block: block(Protocol::Tcp, options.length.as_deref())?,
        family: if options.version6 { Family::V6 } else { Family::V4 },
    })
}

fn test(options: &ClientOptions) -> Result<TestConfig, ParameterError> {
    let protocol = protocol(options);
    Ok(TestConfig {
        protocol,
        direction: direction(options)?,
        parallel: parallel(options.parallel)?,
        end: end_condition(options)?,
        omit_secs: match options.omit {
            Some(secs) => {
                number("-O", secs, 0..=MAX_OMIT_SECS, "bogus value for --omit (maximum = 600 seconds)")?
            }
            None => 0,
        },
        block: block(protocol, options.length.as_deref())?,
        pacing: pacing(protocol, options.bitrate.as_deref())?,
        socket: socket(options)?,
        zerocopy: options.zerocopy,
        skip_rx_copy: options.skip_rx_copy,
        repeating_payload: options.repeating_payload,
        title: options.title.clone(),
        extra_data: options.extra_data.clone(),
        server_output: options.get_server_output,
        server_cpu: None,
        pacing_timer_us: DEFAULT_PACING_TIMER_US,
    })
}

/// As in iperf3, what only UDP has is taken without -u, too, and means nothing there.
fn protocol(options: &ClientOptions) -> Protocol {
    if !options.udp {
        return Protocol::Tcp;
    }
    Protocol::Udp(UdpConfig {
        counters_64bit: options.udp_counters_64bit,
        gsro: options.gsro,
        dont_fragment: options.dont_fragment,
    })
}

fn direction(options: &ClientOptions) -> Result<Direction, ParameterError> {
    match (options.reverse, options.bidir) {
        (true, true) => Err(ParameterError::ReverseBidir),
        (true, false) => Ok(Direction::Reverse),
        (false, true) => Ok(Direction::Bidir),
        (false, false) => Ok(Direction::Forward),
    }
}

/// As in iperf3, -n 0 and -k 0 are the same as no such option, but -t 0 asks for a test without an end.
fn end_condition(options: &ClientOptions) -> Result<EndCondition, ParameterError> {
    const RULE: &str = "test duration valid values are 0 to 86400 seconds";
    let time = match options.time {
        None => None,
        Some(0.0) => Some(EndCondition::Unlimited),
        Some(seconds) => Some(EndCondition::Time(seconds_in("-t", seconds, MIN_TIME_SECS, RULE)?)),
    };
    let bytes = amount("-n", options.bytes.as_deref(), parse_bytes)?;
    let blocks = amount("-k", options.blockcount.as_deref(), parse_bytes)?;
    match (time, bytes, blocks) {
        (None, 0, 0) => Ok(TestConfig::default().end),
        (Some(end), 0, 0) => Ok(end),
        (None, bytes, 0) => Ok(EndCondition::Bytes(bytes)),
        (None, 0, blocks) => Ok(EndCondition::Blocks(blocks)),
        _ => Err(ParameterError::EndConditions),
    }
}

/// A length of 0 asks for the default, as in iperf3. With UDP that is only a first guess: the control
/// connection will tell what one packet holds.
fn block(protocol: Protocol, length: Option<&str>) -> Result<BlockSize, ParameterError> {
    let (default, range, rule) = match protocol {
        Protocol::Tcp | Protocol::Mptcp | Protocol::Sctp(_) => {
            (DEFAULT_BLOCK_BYTES, 1..=MAX_BLOCK_BYTES, "block size too large (maximum = 1048576 bytes)")
        }
        Protocol::Udp(_) => (
            DEFAULT_DATAGRAM_BYTES,
            MIN_DATAGRAM_BYTES..=MAX_DATAGRAM_BYTES,
            "block size invalid (minimum = 16 bytes, maximum = 65507 bytes)",
        ),
    };
    Ok(match amount("-l", length, parse_bytes)? {
        0 => BlockSize { bytes: default, explicit: false },
        bytes => BlockSize { bytes: number("-l", bytes, range, rule)?, explicit: true },
    })
}

fn parallel(given: Option<u64>) -> Result<u32, ParameterError> {
    const RULE: &str = "invalid number of parallel streams (min = 1, max = 128)";
    number("-P", given.unwrap_or(1), 1..=MAX_STREAMS, RULE)
}

fn pacing(protocol: Protocol, bitrate: Option<&str>) -> Result<Pacing, ParameterError> {
    const RULE: &str = "invalid burst count (maximum = 1000)";
    let Some(bitrate) = bitrate else {
        let bits_per_second = protocol.udp().map_or(0, |_| DEFAULT_UDP_BITS_PER_SECOND);
        return Ok(Pacing { bits_per_second, burst_blocks: 0 });
    };
    let (rate, burst) = match bitrate.split_once('/') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (bitrate, None),
    };
    let burst_blocks = match burst {
        None => 0,
        Some(burst) => match burst.parse() {
            Ok(blocks) => number("-b", blocks, 1..=MAX_BURST_BLOCKS, RULE)?,
            Err(_) => return Err(out_of_range(RULE, "-b", &bitrate)),
        },
    };
    Ok(Pacing { bits_per_second: amount("-b", Some(rate), parse_rate)?, burst_blocks })
}

fn socket(options: &ClientOptions) -> Result<SocketConfig, ParameterError> {
    const WINDOW_RULE: &str = "socket buffer size too large (maximum = 536870912 bytes)";
    const MSS_RULE: &str = "TCP MSS too large (maximum = 32767 bytes)";
    let window = number(
        "-w",
        amount("-w", options.window.as_deref(), parse_bytes)?,
        0..=MAX_WINDOW_BYTES,
        WINDOW_RULE,
    )?;
    let mss = number("-M", options.set_mss.unwrap_or(0), 0..=MAX_MSS_BYTES, MSS_RULE)?;
    Ok(SocketConfig {
        window_bytes: (window != 0).then_some(window),
        mss_bytes: (mss != 0).then_some(mss),
        no_delay: options.no_delay,
        congestion: congestion(options.congestion.as_deref())?,
        fq_bits_per_second: amount("--fq-rate", options.fq_rate.as_deref(), parse_rate)?,
        tos: 0,
        flow_label: None,
    })
}

fn congestion(name: Option<&str>) -> Result<Option<String>, ParameterError> {
    match name {
        Some(name) if !(1..=MAX_CONGESTION_BYTES).contains(&name.len()) => {
            Err(out_of_range("a congestion control name has 1 to 15 bytes", "-C", &name))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// -Z is iperf3's name of the sendfile engine. It means nothing to UDP, where both ends choose as without it.
fn client_engine(
    options: &ClientOptions,
    engine: Option<EngineChoice>,
) -> Result<EngineChoice, ParameterError> {
    let engine = engine.unwrap_or_default();
    if options.udp {
        sends_datagrams("--peer-engine", options.peer_engine.unwrap_or_default())?;
        return sends_datagrams("--engine", engine);
    }
    match (options.zerocopy, engine) {
        (true, EngineChoice::Auto | EngineChoice::Sendfile) => Ok(EngineChoice::Sendfile),
        (true, engine) => Err(ParameterError::ZerocopyEngine(engine)),
        (false, engine) => Ok(engine),
    }
}

/// The engine, if UDP has it.
fn sends_datagrams(option: &'static str, engine: EngineChoice) -> Result<EngineChoice, ParameterError> {
    match engine {
        EngineChoice::Auto | EngineChoice::UringZc | EngineChoice::Uring | EngineChoice::Sync => Ok(engine),
        EngineChoice::Sendfile | EngineChoice::Splice | EngineChoice::MsgZc | EngineChoice::Null => {
            Err(ParameterError::UdpEngine(engine, option))
        }
    }
}

/// Each stream takes the port after that of the one before, so all of them must exist.
fn client_port(options: &ClientOptions, test: &TestConfig) -> Result<Option<u16>, ParameterError> {
    let Some(first) = port("--cport", options.cport, 1)? else { return Ok(None) };
    let streams = test.parallel * if test.direction == Direction::Bidir { 2 } else { 1 };
    if u32::from(first) + streams - 1 > u32::from(u16::MAX) {
        return Err(out_of_range("the last stream's port would be larger than 65535", "--cport", &first));
    }
    Ok(Some(first))
}

fn connect_timeout(options: &ClientOptions) -> Result<Duration, ParameterError> {
    const RULE: &str = "the connect timeout must be between 1 and 86400000 milliseconds";
    let Some(timeout) = options.connect_timeout.as_deref() else { return Ok(DEFAULT_CONNECT_TIMEOUT) };
    let timeout = amount("--connect-timeout", Some(timeout), parse_bytes)?;
    let millis = number("--connect-timeout", timeout, 1..=MAX_CONNECT_TIMEOUT_MS, RULE)?;
    Ok(Duration::from_millis(millis.into()))
}

fn family(options: &BothOptions) -> Result<Family, ParameterError> {
    let family = match (options.version4, options.version6) {
        (true, _) => Family::V4,
        (false, true) => Family::V6,
        (false, false) => Family::Any,
    };
    match (family, options.bind) {
        (Family::V4, Some(address @ IpAddr::V6(_))) | (Family::V6, Some(address @ IpAddr::V4(_))) => {
            Err(ParameterError::BindFamily(address))
        }
        _ => Ok(family),
    }
}

fn output(options: &BothOptions) -> Result<OutputConfig, ParameterError> {
    const RULE: &str = "invalid report interval (min = 0.1, max = 60 seconds)";
    let default = OutputConfig::default();
    Ok(OutputConfig {
        format: if options.json { OutputFormat::Json } else { OutputFormat::Text },
        verbose: options.verbose,
        rate_format: match options.format {
            None => default.rate_format,
            Some(letter) => RateFormat::from_letter(letter).ok_or(ParameterError::Format(letter))?,
        },
        interval: match options.interval {
            None => default.interval,
            Some(0.0) => None,
            Some(seconds) if (0.1..=60.0).contains(&seconds) => Some(Duration::from_secs_f64(seconds)),
            Some(seconds) => return Err(out_of_range(RULE, "-i", &seconds)),
        },
        ..default
    })
}

fn port(option: &'static str, given: Option<u64>, min: u16) -> Result<Option<u16>, ParameterError> {
    const RULE: &str = "port number must be between 1 and 65535 inclusive";
    let Some(given) = given else { return Ok(None) };
    match u16::try_from(given) {
        Ok(port) if port >= min => Ok(Some(port)),
        _ => Err(out_of_range(RULE, option, &given)),
    }
}

/// A time of at least `min` seconds and at most that of the longest test.
fn seconds_in(
    option: &'static str,
    seconds: f64,
    min: f64,
    rule: &'static str,
) -> Result<Duration, ParameterError> {
    if (min..=f64::from(MAX_TIME_SECS)).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(out_of_range(rule, option, &seconds))
    }
}

/// A number with a unit letter, 0 when the option is not given. The protocol has signed numbers of 64 bits.
fn amount(
    option: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Result<u64, UnitError>,
) -> Result<u64, ParameterError> {
    let Some(given) = given else { return Ok(0) };
    let value = parse(given).map_err(|source| ParameterError::Unit { option, source })?;
    match i64::try_from(value) {
        Ok(_) => Ok(value),
        Err(_) => Err(out_of_range("the largest number is 9223372036854775807", option, &given)),
    }
}

fn number(
    option: &'static str,
    given: u64,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<u32, ParameterError> {
    match u32::try_from(given) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(out_of_range(rule, option, &given)),
    }
}

fn out_of_range(rule: &'static str, option: &'static str, given: &impl ToString) -> ParameterError {
    ParameterError::Range { rule, option, given: given.to_string() }
}

/// The other options are tested with the command line as a whole, in `cli`.
#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn run(options: &str) -> Result<ClientConfig, ParameterError> {
        let words = ["ringperf"].into_iter().chain(options.split_whitespace());
        client(&Cli::try_parse_from(words).unwrap(), "host")
    }

    #[test]
    fn every_udp_option_arrives() {
        let config = run("-u --udp-counters-64bit --gsro --dont-fragment -l 1400 -b 100M/20 -Z --no-offload");
        let test = TestConfig {
            protocol: Protocol::Udp(UdpConfig { counters_64bit: true, gsro: true, dont_fragment: true }),
            block: BlockSize { bytes: 1400, explicit: true },
            pacing: Pacing { bits_per_second: 100_000_000, burst_blocks: 20 },
            zerocopy: true,
            ..TestConfig::default()
        };
        assert_eq!(
            config,
            Ok(ClientConfig {
                test,
                local: LocalConfig { offload: false, ..LocalConfig::default() },
                ..run("").unwrap()
            })
        );
    }

    #[test]
    fn the_default_test_of_udp() {
        let test = TestConfig {
            protocol: Protocol::Udp(UdpConfig::default()),
            block: BlockSize { bytes: 1460, explicit: false },
            pacing: Pacing { bits_per_second: 1_048_576, burst_blocks: 0 },
            ..TestConfig::default()
        };
        assert_eq!(run("-u"), Ok(ClientConfig { test, ..run("").unwrap() }));
    }

    #[test]
    fn datagrams_and_rates_of_udp() {
        for bytes in [16, 65_507] {
            let block = run(&format!("-u -l {bytes}")).unwrap().test.block;
            assert_eq!(block, BlockSize { bytes, explicit: true });
        }
        for (options, bits_per_second, burst_blocks) in
            [("-b 0", 0, 0), ("-b 0/5", 0, 5), ("-b 1M", 1_000_000, 0)]
        {
            let pacing = run(&format!("{options} -u")).unwrap().test.pacing;
            assert_eq!(pacing, Pacing { bits_per_second, burst_blocks }, "{options}");
        }
    }

    #[test]
    fn what_only_tcp_has_is_taken_with_udp() {
        let options = "-u -M 1400 -N -C cubic --skip-rx-copy -6 --dont-fragment";
        let test = run(options).unwrap().test;
        assert!(test.protocol.udp().is_some_and(|udp| udp.dont_fragment));
        let socket = SocketConfig {
            mss_bytes: Some(1400),
            no_delay: true,
            congestion: Some("cubic".to_owned()),
            ..SocketConfig::default()
        };
        assert_eq!((test.socket, test.skip_rx_copy), (socket, true));
    }

    #[test]
    fn the_engines_of_udp() {
        for engine in EngineChoice::ALL {
            let asked =
                [run(&format!("-u -Z --engine {engine}")), run(&format!("-u -Z --peer-engine {engine}"))];
            let expected = if ["auto", "uring-zc", "uring", "sync"].contains(&engine.name()) {
                let neither = run("-u -Z").unwrap();
                [
                    Ok(ClientConfig {
                        local: LocalConfig { engine, ..neither.local.clone() },
                        ..neither.clone()
                    }),
                    Ok(ClientConfig { peer_engine: Some(engine), ..neither }),
                ]
            } else {
                ["--engine", "--peer-engine"].map(|option| Err(ParameterError::UdpEngine(engine, option)))
            };
            assert_eq!(asked, expected, "{engine}");
        }
        assert_eq!(run("-u -Z").unwrap().local.engine, EngineChoice::Auto);
    }
}
