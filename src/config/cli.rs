//! The command line: from its words to a checked configuration.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use super::options::{CLIENT_HEADING, Cli, SERVER_HEADING, Task};
use super::resolve::{self, ParameterError};
use super::{ClientConfig, LoopbackConfig, ServerConfig};

/// What the program is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a test against a server.
    Client(Box<ClientConfig>),
    /// Wait for clients.
    Server(Box<ServerConfig>),
    /// Compare the engines on this machine.
    Loopback(LoopbackConfig),
}

/// Why nothing is to be done: the command line is wrong, or it asks for help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// Complete lines to print.
    pub text: String,
    /// They were asked for and go to standard output; otherwise to standard error.
    pub to_stdout: bool,
    /// What the process exits with: 0 if they were asked for, else 1 as in iperf3.
    pub exit_code: u8,
}

/// The command of a whole command line, the program's name first.
///
/// # Errors
/// An option is unknown, has a bad value, contradicts another or belongs to the other role, or help or the
/// version is asked for.
pub fn parse<I, T>(args: I) -> Result<Command, UsageError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = Cli::command().try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok(match (&cli.task, cli.server.server, &cli.client.client) {
        (Some(Task::Loopback(loopback)), _, _) => Command::Loopback(resolve::loopback(loopback)?),
        (None, true, Some(_)) => return Err(ParameterError::BothRoles.into()),
        (None, false, None) => return Err(ParameterError::NoRole.into()),
        (None, true, None) => match given_under(CLIENT_HEADING, &matches) {
            Some(option) => return Err(ParameterError::ClientOnly(option).into()),
            None => Command::Server(Box::new(resolve::server(&cli)?)),
        },
        (None, false, Some(host)) => match given_under(SERVER_HEADING, &matches) {
            Some(option) => return Err(ParameterError::ServerOnly(option).into()),
            None => Command::Client(Box::new(resolve::client(&cli, host)?)),
        },
    })
}

/// The first option on the command line that stands under this heading of the help, as the user knows it.
fn given_under(heading: &str, matches: &clap::ArgMatches) -> Option<String> {
    let command = Cli::command();
    let given = command.get_arguments().find(|option| {
        let source = matches.value_source(option.get_id().as_str());
        option.get_help_heading() == Some(heading) && source == Some(clap::parser::ValueSource::CommandLine)
    })?;
    let long = format!("--{}", given.get_long()?);
    Some(given.get_short().map_or(long.clone(), |short| format!("-{short} ({long})")))
}

impl From<ParameterError> for UsageError {
    fn from(error: ParameterError) -> Self {
        Self::mistake(&error.to_string())
    }
}

impl From<clap::Error> for UsageError {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if error.exit_code() == 0 {
            return Self { text, to_stdout: true, exit_code: 0 };
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let says_what =
            |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
        let words: Vec<&str> = text.lines().take_while(says_what).flat_map(str::split_whitespace).collect();
        Self::mistake(&words.join(" "))
    }
}

impl UsageError {
    /// One line, so that a script's log has the whole story in it.
    fn mistake(what: &str) -> Self {
        let text = format!("ringperf: parameter error - {what} (see ringperf --help)\n");
        Self { text, to_stdout: false, exit_code: 1 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{
        BlockSize, Direction, EndCondition, EngineChoice, Family, LocalConfig, OutputConfig, OutputFormat,
        Pacing, Protocol, ServerLimits, SocketConfig, TestConfig,
    };
    use crate::units::RateFormat;

    fn run(line: &str) -> Result<Command, UsageError> {
        parse(["ringperf"].into_iter().chain(line.split_whitespace()))
    }

    fn client(options: &str) -> ClientConfig {
        match run(&format!("-c host {options}")) {
            Ok(Command::Client(config)) => *config,
            other => panic!("{options}: {other:?}"),
        }
    }

    fn server(options: &str) -> ServerConfig {
        match run(&format!("-s {options}")) {
            Ok(Command::Server(config)) => *config,
            other => panic!("{options}: {other:?}"),
        }
    }

    fn loopback(options: &str) -> LoopbackConfig {
        match run(&format!("loopback {options}")) {
            Ok(Command::Loopback(config)) => config,
            other => panic!("{options}: {other:?}"),
        }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_option_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_client_is_the_default_test() {
        let expected = ClientConfig {
            host: "host".to_owned(),
            port: 5201,
            local: LocalConfig::default(),
            client_port: None,
            connect_timeout: Duration::from_secs(10),
            peer_engine: None,
            sctp_addresses: Vec::new(),
            login: None,
            test: TestConfig::default(),
            output: OutputConfig::default(),
        };
        assert_eq!(client(""), expected);
    }

    #[test]
    fn every_client_option_arrives() {
        let config = client(
            "-p 5300 -f m -i 0.5 -B 127.0.0.1 -4 -V -J -t 0.5 -l 64K -P 4 -R -w 1M -C bbr -M 1400 -N -O 2 \
             -b 10M/20 --fq-rate 50M --skip-rx-copy --repeating-payload --get-server-output -T title \
             --extra-data data --connect-timeout 500 --cport 6000 --engine uring --peer-engine sync",
        );
        let expected = ClientConfig {
            host: "host".to_owned(),
            port: 5300,
            local: LocalConfig {
                family: Family::V4,
                bind: Some([127, 0, 0, 1].into()),
                engine: EngineChoice::Uring,
                ..LocalConfig::default()
            },
            client_port: Some(6000),
            connect_timeout: millis(500),
            peer_engine: Some(EngineChoice::Sync),
            sctp_addresses: Vec::new(),
            login: None,
            test: TestConfig {
                protocol: Protocol::Tcp,
                direction: Direction::Reverse,
                parallel: 4,
                end: EndCondition::Time(millis(500)),
                omit_secs: 2,
                block: BlockSize { bytes: 65_536, explicit: true },
                pacing: Pacing { bits_per_second: 10_000_000, burst_blocks: 20 },
                socket: SocketConfig {
                    window_bytes: Some(1_048_576),
                    mss_bytes: Some(1400),
                    no_delay: true,
                    congestion: Some("bbr".to_owned()),
                    fq_bits_per_second: 50_000_000,
                    tos: 0,
                    flow_label: None,
                },
                zerocopy: false,
                skip_rx_copy: true,
                repeating_payload: true,
                title: Some("title".to_owned()),
                extra_data: Some("data".to_owned()),
                server_output: true,
                server_cpu: None,
                pacing_timer_us: 1000,
            },
            output: OutputConfig {
                format: OutputFormat::Json,
                verbose: true,
                rate_format: RateFormat::from_letter('m').unwrap(),
                interval: Some(millis(500)),
                ..OutputConfig::default()
            },
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn every_server_option_arrives() {
        let expected = ServerConfig {
            port: 5300,
            local: LocalConfig {
                family: Family::V6,
                bind: Some("::1".parse().unwrap()),
                engine: EngineChoice::Splice,
                offload: false,
                ..LocalConfig::default()
            },
            one_off: true,
            daemon: false,
            limits: ServerLimits::default(),
            authentication: None,
            output: OutputConfig { format: OutputFormat::Json, interval: None, ..OutputConfig::default() },
        };
        assert_eq!(server("-p 5300 -6 -B ::1 -1 --engine splice --no-offload -J -i 0"), expected);
        assert_eq!(server("-p 0").port, 0);
        assert_eq!(server("").port, 5201);
        assert_eq!(server("").local.family, Family::Any);
    }

    #[test]
    fn every_loopback_option_arrives() {
        let expected = LoopbackConfig {
            engines: vec![EngineChoice::Sync, EngineChoice::UringZc],
            seconds: millis(250),
            parallel: 2,
            congestion: Some("reno".to_owned()),
            block: BlockSize { bytes: 4096, explicit: true },
            family: Family::V6,
        };
        assert_eq!(loopback("sync uring-zc -t 0.25 -P 2 -C reno -l 4K -6"), expected);
        let default = loopback("");
        assert_eq!(default.engines, []);
        assert_eq!((default.seconds, default.parallel, default.family), (millis(1500), 1, Family::V4));
    }

    #[test]
    fn end_conditions() {
        let time = |secs| EndCondition::Time(Duration::from_secs(secs));
        for (options, end) in [
            ("", time(10)),
            ("-t 86400", time(86_400)),
            ("-t 0", EndCondition::Unlimited),
            ("-t 0.0", EndCondition::Unlimited),
            ("-n 1M", EndCondition::Bytes(1_048_576)),
            ("-k 2K", EndCondition::Blocks(2048)),
            ("-n 0", time(10)),
            ("-k 0", time(10)),
            ("-n 0 -t 3", time(3)),
            ("-k 0 -n 5", EndCondition::Bytes(5)),
            ("-t 5 -t 7", time(7)),
        ] {
            assert_eq!(client(options).test.end, end, "{options}");
        }
    }

    #[test]
    fn spellings() {
        for (line, like) in [
            ("--time=3", "-t 3"),
            ("-t3 -P4", "-t 3 -P 4"),
            ("--tim 3 --rev", "-t 3 -R"),
            ("--bandwidth 1M", "-b 1M"),
            ("--linux-congestion bbr", "-C bbr"),
            ("-VJ", "-V -J"),
            ("-6 -4", "-4"),
            ("-w 0 -M 0 -b 0 --fq-rate 0 -l 0", ""),
            ("-V -V", "-V"),
            ("--engine auto", ""),
            ("--udp-counters-64bit --gsro --dont-fragment", ""),
            ("--udp --udp-c", "-u --udp-counters-64bit"),
            ("-u -l 0 -b 1048576", "-u"),
            ("-u -u", "-u"),
        ] {
            assert_eq!(client(line), client(like), "{line}");
        }
        assert_eq!(client("-b 0/10").test.pacing, Pacing { bits_per_second: 0, burst_blocks: 10 });
        assert_eq!(client("-T -x").test.title.as_deref(), Some("-x"));
        assert_eq!(client("--cport 65535").client_port, Some(65_535));
    }

    #[test]
    fn zerocopy_is_the_sendfile_engine() {
        for (options, engine, zerocopy) in [
            ("-Z", EngineChoice::Sendfile, true),
            ("-Z --engine auto", EngineChoice::Sendfile, true),
            ("-Z --engine sendfile", EngineChoice::Sendfile, true),
            ("--engine sendfile --skip-rx-copy", EngineChoice::Sendfile, false),
        ] {
            let config = client(options);
            assert_eq!((config.local.engine, config.test.zerocopy), (engine, zerocopy), "{options}");
        }
    }

    #[test]
    fn parameter_errors_speak_like_iperf3() {
        for (line, text) in [
            ("", "must either be a client (-c) or server (-s)"),
            ("-1", "must either be a client (-c) or server (-s)"),
            ("-s -c host", "cannot be both server and client"),
            ("-s -t 3", "some option you are trying to set is client only: -t (--time)"),
            ("-s --bidir", "some option you are trying to set is client only: --bidir"),
            ("-s -u", "some option you are trying to set is client only: -u (--udp)"),
            ("-s --gsro", "some option you are trying to set is client only: --gsro"),
            ("-s --peer-engine sync", "some option you are trying to set is client only: --peer-engine"),
            ("-c host -1", "some option you are trying to set is server only: -1 (--one-off)"),
            ("-c host -R --bidir", "cannot be both reverse and bidirectional"),
            ("-c host --bidir -R", "cannot be both reverse and bidirectional"),
            ("-c host -t 0 -n 1", "only one test end condition (-t, -n, -k) may be specified"),
            ("-c host -n 1M -k 5", "only one test end condition (-t, -n, -k) may be specified"),
            ("-c host -t 86401", "test duration valid values are 0 to 86400 seconds: -t 86401"),
            ("-c host -t 1e-9", "test duration valid values are 0 to 86400 seconds"),
            ("-c host -t nan", "test duration valid values are 0 to 86400 seconds"),
            ("-c host -P 129", "invalid number of parallel streams (min = 1, max = 128): -P 129"),
            ("-c host -P 0", "invalid number of parallel streams (min = 1, max = 128)"),
            ("-c host -P 4294967297", "invalid number of parallel streams (min = 1, max = 128)"),
            ("-c host -l 1048577", "block size too large (maximum = 1048576 bytes)"),
            ("-c host -u -l 15", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes): -l 15"),
            (
                "-c host -l 65508 -u",
                "block size invalid (minimum = 16 bytes, maximum = 65507 bytes): -l 65508",
            ),
            ("-c host -u -l 4294967312", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes)"),
            ("-c host -u -b 1M/0", "invalid burst count (maximum = 1000)"),
            ("-c host -w 513M", "socket buffer size too large (maximum = 536870912 bytes)"),
            ("-c host -M 32768", "TCP MSS too large (maximum = 32767 bytes)"),
            ("-c host -O 601", "bogus value for --omit (maximum = 600 seconds): -O 601"),
            ("-c host -b 1M/1001", "invalid burst count (maximum = 1000)"),
            ("-c host -b 1M/0", "invalid burst count (maximum = 1000)"),
            ("-c host -b 1M/x", "invalid burst count (maximum = 1000): -b 1M/x"),
            ("-c host -i 0.05", "invalid report interval (min = 0.1, max = 60 seconds): -i 0.05"),
            ("-c host -i 61", "invalid report interval (min = 0.1, max = 60 seconds)"),
            ("-c host -p 0", "port number must be between 1 and 65535 inclusive: -p 0"),
            ("-c host -p 65536", "port number must be between 1 and 65535 inclusive"),
            ("-s -p 65536", "port number must be between 1 and 65535 inclusive"),
            ("-c host --cport 0", "port number must be between 1 and 65535 inclusive: --cport 0"),
            ("-c host --cport 65535 --bidir", "the last stream's port would be larger than 65535"),
            ("-c host -f x", "bad format specifier (valid formats are in the set [kmgtKMGT]): -f x"),
            ("-c host -C 1234567890123456", "a congestion control name has 1 to 15 bytes"),
            (
                "-c host --connect-timeout 0",
                "the connect timeout must be between 1 and 86400000 milliseconds",
            ),
            (
                "-c host -u --engine splice",
                "UDP tests run on the engines auto, uring-zc, uring and sync, not on",
            ),
            ("-c host -Z --engine uring", "-Z sends with sendfile(2), but --engine uring does not"),
            ("-c host -4 -B ::1", "the address of -B ::1 is not one of the IP version asked for"),
            ("-s -6 -B 127.0.0.1", "the address of -B 127.0.0.1 is not one of the IP version asked for"),
            ("loopback -t 0", "each engine can run for 0.001 to 86400 seconds: -t 0"),
            ("loopback -P 0", "invalid number of parallel streams"),
        ] {
            let error = run(line).unwrap_err();
            let start = format!("ringperf: parameter error - {text}");
            assert!(error.text.starts_with(&start), "{line}: {error}");
            assert!(error.text.ends_with(" (see ringperf --help)\n"), "{error}");
            assert_eq!(error.text.lines().count(), 1, "{error}");
            assert_eq!((error.to_stdout, error.exit_code), (false, 1), "{line}");
        }
    }

    #[test]
    fn bad_units_name_their_option() {
        for option in ["-n", "-k", "-l", "-w", "-b", "--fq-rate", "--connect-timeout"] {
            let error = run(&format!("-c host {option} 1Q")).unwrap_err();
            assert!(error.text.contains("invalid unit value or suffix: '1Q'"), "{error}");
            assert!(error.text.contains(&format!("(option {option})")), "{error}");
        }
    }

    #[test]
    fn what_the_parser_itself_refuses() {
        for line in [
            "-c",
            "-c host -t abc",
            "-c host -t 10m",
            "-c host -P 4x",
            "-c host -P=-1",
            "-c host stray",
            "-c host -B name",
            "-c host --bogus",
            "-c host --bi",
            "-c host --engine warp",
            "-c host -f kk",
            "-c host --ud",
            "-c host -m",
            "-s -D",
            "-s loopback",
            "loopback warp",
            "loopback -R",
        ] {
            let error = run(line).unwrap_err();
            assert!(error.text.starts_with("ringperf: parameter error - "), "{line}: {error}");
            assert!(!error.text.contains("error: "), "{line}: {error}");
            assert_eq!((error.to_stdout, error.exit_code), (false, 1), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_failure() {
        for (line, text) in [
            ("-h", "Server only:"),
            ("--help", "io_uring SEND_ZC from registered buffers"),
            ("-v", "ringperf 0"),
            ("--version", "iperf 3.21"),
            ("-c host -h", "Client only:"),
            ("loopback -h", "The engines to compare"),
        ] {
            let error = run(line).unwrap_err();
            assert!(error.text.contains(text), "{line}: {error}");
            assert_eq!((error.to_stdout, error.exit_code), (true, 0), "{line}");
        }
    }

    #[test]
    fn engines_are_named_alike_everywhere() {
        for engine in EngineChoice::ALL {
            assert_eq!(client(&format!("--engine {engine}")).local.engine, engine);
        }
    }
}
