//! From the options as typed to the checked configuration. Messages are those of iperf3, and ranges those of
//! [`ranges`](super::ranges).

mod error;
mod limits;
mod local;
mod number;
mod output;
mod socket;
mod traffic;

use std::net::IpAddr;
use std::time::Duration;

use self::local::{address, affinity, check_host, local, placement, server_host};
use self::number::{amount, out_of_range, port, whole_seconds, within};
use self::output::{client_output, output};
use self::socket::congestion;
use self::traffic::{block, comparison_time, parallel, test};
use super::options::{BothOptions, ClientOptions, EngineOptions, LoopbackOptions, ServerOptions};
use super::ranges::{CONNECT_TIMEOUT_MS, LISTEN_PORT, PORT, SKEW_SECS};
use super::{
    Authentication, ClientConfig, DEFAULT_CONNECT_TIMEOUT, DEFAULT_PORT, Direction, EngineChoice, Family,
    LocalConfig, LoginOptions, LoopbackConfig, Protocol, Role, ServerConfig, TestConfig,
};
use crate::units::parse_count;

pub(super) use self::error::ParameterError;
pub(super) use self::output::ignored;

/// Long enough for every engine to be past TCP's slow start on a loopback device.
const DEFAULT_LOOPBACK_TIME: Duration = Duration::from_millis(1500);
/// Largest difference of clocks in seconds, as in iperf3.
const DEFAULT_SKEW_SECS: u32 = 10;

/// The configuration of a server.
pub(super) fn server(
    options: &ServerOptions,
    both: &BothOptions,
    engine: &EngineOptions,
) -> Result<ServerConfig, ParameterError> {
    if matches!(affinity(both)?, Some((_, Some(_)))) {
        return Err(ParameterError::ClientOnly("the second number of -A (--affinity)".to_owned()));
    }
    port("--cport", both.cport.as_deref(), &PORT)?;
    Ok(ServerConfig {
        port: port("-p", both.port.as_deref(), &LISTEN_PORT)?.unwrap_or(DEFAULT_PORT),
        local: local(Role::Server, both, engine, None)?,
        one_off: options.one_off,
        daemon: options.daemon,
        limits: limits::limits(options)?,
        authentication: authentication(options, engine)?,
        output: output(both)?,
    })
}

/// The configuration of a client of that host.
pub(super) fn client(
    host: &str,
    options: &ClientOptions,
    both: &BothOptions,
    engine: &EngineOptions,
) -> Result<ClientConfig, ParameterError> {
    check_host("-c", host, "-p")?;
    let (host, device) = server_host(host);
    let test = test(options, both)?;
    if both.rcv_timeout.is_some() && test.direction == Direction::Forward {
        return Err(ParameterError::ReceiveTimeout);
    }
    let chosen = client_engine(options, engine.engine)?;
    let local = LocalConfig { engine: chosen, ..local(Role::Client, both, engine, device)? };
    Ok(ClientConfig {
        port: port("-p", both.port.as_deref(), &PORT)?.unwrap_or(DEFAULT_PORT),
        client_port: client_port(both, &test)?,
        connect_timeout: connect_timeout(options)?,
        peer_engine: options.peer_engine,
        peer_cpus: placement("--peer-cpus", options.peer_cpus.as_deref(), test.server_cpu.is_some())?,
        sctp_addresses: sctp_addresses(options, both, local.family)?,
        login: login(options, engine)?,
        local,
        output: client_output(options, both)?,
        ..ClientConfig::new(host, test)
    })
}

/// The configuration of a comparison.
pub(super) fn loopback(options: &LoopbackOptions) -> Result<LoopbackConfig, ParameterError> {
    Ok(LoopbackConfig {
        engines: options.engines.clone(),
        seconds: options.time.given.as_deref().map_or(Ok(DEFAULT_LOOPBACK_TIME), comparison_time)?,
        parallel: parallel(&options.parallel)?,
        congestion: congestion(&options.congestion)?,
        block: block(Protocol::Tcp, &options.length)?,
        family: if options.version6 { Family::V6 } else { Family::V4 },
    })
}

fn authentication(
    options: &ServerOptions,
    engine: &EngineOptions,
) -> Result<Option<Authentication>, ParameterError> {
    let skew_secs = match options.time_skew_threshold.as_deref() {
        None => DEFAULT_SKEW_SECS,
        Some(given) => whole_seconds("--time-skew-threshold", given, &SKEW_SECS)?,
    };
    match (&options.rsa_private_key_path, &options.authorized_users_path) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(ParameterError::Authentication("--authorized-users-path")),
        (None, Some(_)) => Err(ParameterError::Authentication("--rsa-private-key-path")),
        (Some(private_key), Some(users)) => Ok(Some(Authentication {
            private_key: private_key.clone(),
            users: users.clone(),
            time_skew: Duration::from_secs(skew_secs.into()),
            pkcs1_padding: engine.use_pkcs1_padding,
        })),
    }
}

/// The server takes the token apart at its blanks, so a name with one could never be let in.
fn login(options: &ClientOptions, engine: &EngineOptions) -> Result<Option<LoginOptions>, ParameterError> {
    const RULE: &str = "a user name is not empty and has no blanks";
    match (&options.username, &options.rsa_public_key_path) {
        (None, None) if engine.use_pkcs1_padding => Err(ParameterError::Login("--username")),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ParameterError::Login("--rsa-public-key-path")),
        (None, Some(_)) => Err(ParameterError::Login("--username")),
        (Some(user), Some(_)) if user.is_empty() || user.contains(char::is_whitespace) => {
            Err(out_of_range(RULE, "--username", user))
        }
        (Some(user), Some(public_key)) => Ok(Some(LoginOptions {
            user: user.clone(),
            public_key: public_key.clone(),
            pkcs1_padding: engine.use_pkcs1_padding,
        })),
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
fn client_port(both: &BothOptions, test: &TestConfig) -> Result<Option<u16>, ParameterError> {
    let Some(first) = port("--cport", both.cport.as_deref(), &PORT)? else { return Ok(None) };
    let streams = test.parallel * if test.direction == Direction::Bidir { 2 } else { 1 };
    if u32::from(first) + streams - 1 > u32::from(u16::MAX) {
        return Err(out_of_range("the last stream's port would be larger than 65535", "--cport", first));
    }
    Ok(Some(first))
}

/// iperf3 would wait as long as the kernel does when it is told 0 or nothing.
fn connect_timeout(options: &ClientOptions) -> Result<Duration, ParameterError> {
    let timeout = options.connect_timeout.as_deref().map(|given| given.strip_suffix("ms").unwrap_or(given));
    let timeout = amount("--connect-timeout", timeout, parse_count)?;
    match within("--connect-timeout", timeout, &CONNECT_TIMEOUT_MS)? {
        0 => Ok(DEFAULT_CONNECT_TIMEOUT),
        millis => Ok(Duration::from_millis(millis)),
    }
}

/// As in iperf3 these may be given without --sctp and mean nothing then, so they are not looked at either.
fn sctp_addresses(
    options: &ClientOptions,
    both: &BothOptions,
    family: Family,
) -> Result<Vec<IpAddr>, ParameterError> {
    let hosts = both.xbind.iter().filter(|_| options.sctp);
    hosts.map(|host| address("-X", host, family)).collect()
}

/// The other options are tested with the command line as a whole, in `cli`.
#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::options::Cli;
    use crate::config::{BlockSize, Pacing, SocketConfig, UdpConfig};

    fn run(options: &str) -> Result<ClientConfig, ParameterError> {
        let words = ["ringperf"].into_iter().chain(options.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap();
        client("host", &cli.client, &cli.both, &cli.engine)
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
