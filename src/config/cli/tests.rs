//! What becomes of whole command lines.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::*;
use crate::config::{
    Authentication, BlockSize, Direction, EndCondition, EngineChoice, Family, Keepalive, LocalConfig,
    LoginOptions, OutputConfig, OutputFormat, Pacing, Placement, Protocol, RateLimit, SctpConfig,
    ServerLimits, SocketConfig, TestConfig, Tuning,
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
        peer_cpus: None,
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
        "-p 5300 -f m -i 0.5 -B 127.0.0.1%lo -4 -V -t 0.5 -l 64K -P 4 -R -w 1M -C bbr -M 1400 -N -O 2 \
         -b 10M/20 --fq-rate 50M --skip-rx-copy --repeating-payload --get-server-output -T title \
         --extra-data data --connect-timeout 500 --cport 6000 --engine uring --peer-engine sync \
         -S 0x10 -L 0x5 -m -A 1,2 -F file --rcv-timeout 500 --snd-timeout 600 --cntl-ka=10/1/3 -I pid \
         --json-stream --json-stream-full-output --logfile log --timestamps=%T --debug=2 --forceflush \
         --pacing-timer 1K --username me --rsa-public-key-path key --use-pkcs1-padding",
    );
    let expected = ClientConfig {
        host: "host".to_owned(),
        port: 5300,
        local: LocalConfig {
            family: Family::V4,
            bind: Some([127, 0, 0, 1].into()),
            bind_device: Some("lo".to_owned()),
            cpu: Some(1),
            cpus: None,
            file: Some("file".into()),
            receive_timeout: millis(500),
            send_timeout: Some(millis(600)),
            keepalive: Some(Keepalive { idle_secs: Some(10), interval_secs: Some(1), count: Some(3) }),
            pid_file: Some("pid".into()),
            engine: EngineChoice::Uring,
            offload: true,
            adapt: true,
            tuning: Tuning::default(),
            busy_poll: None,
        },
        client_port: Some(6000),
        connect_timeout: millis(500),
        peer_engine: Some(EngineChoice::Sync),
        peer_cpus: None,
        sctp_addresses: Vec::new(),
        login: Some(LoginOptions { user: "me".to_owned(), public_key: "key".into(), pkcs1_padding: true }),
        test: TestConfig {
            protocol: Protocol::Mptcp,
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
                tos: 16,
                flow_label: Some(5),
            },
            zerocopy: false,
            skip_rx_copy: true,
            repeating_payload: true,
            title: Some("title".to_owned()),
            extra_data: Some("data".to_owned()),
            server_output: true,
            server_cpu: Some(2),
            pacing_timer_us: 1024,
        },
        output: OutputConfig {
            format: OutputFormat::JsonStream { full: true },
            verbose: true,
            rate_format: RateFormat::from_letter('m').unwrap(),
            interval: Some(millis(500)),
            log_file: Some("log".into()),
            timestamps: Some("%T".to_owned()),
            debug: 2,
            program: "ringperf",
            extras: true,
            warnings: [
                "Report format (-f) flag ignored with JSON output (-J)",
                "Verbose output (-v) may interfere with JSON output (-J)",
                "Debug output (-d) may interfere with JSON output (-J)",
            ]
            .map(str::to_owned)
            .to_vec(),
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
            busy_poll: Some(50),
            cpus: Some(Placement::Spread),
            ..LocalConfig::default()
        },
        one_off: true,
        daemon: true,
        limits: ServerLimits {
            rate: Some(RateLimit { bits_per_second: 5_000_000, averaged_over: millis(2500) }),
            duration: Some(millis(60_000)),
            idle: Some(millis(30_000)),
            any_source: true,
            ..ServerLimits::default()
        },
        authentication: Some(Authentication {
            private_key: "key".into(),
            users: "users".into(),
            time_skew: millis(5000),
            pkcs1_padding: true,
        }),
        output: OutputConfig { format: OutputFormat::Json, interval: None, ..OutputConfig::default() },
    };
    let options = "-p 5300 -6 -B ::1 -1 --engine splice --no-offload --busy-poll 50 --cpus spread -J -i 0 -D --server-max-duration 60 --udp-any-source \
        --server-bitrate-limit 5M/2.5 --idle-timeout 30 --rsa-private-key-path key \
        --authorized-users-path users --time-skew-threshold 5 --use-pkcs1-padding";
    assert_eq!(server(options), expected);
    assert_eq!(server("--cport 1 -X 127.0.0.1 -m --time-skew-threshold 5"), server(""));
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
        ("--time 3 --rev", "-t 3 -R"),
        ("-t 3s -O 2s", "-t 3 -O 2"),
        ("-R --rcv-timeout 500ms --connect-timeout 70ms", "-R --rcv-timeout 500 --connect-timeout 70"),
        ("-f Mbits", "-f M"),
        ("-S 4 --dscp ef", "-S 184"),
        ("--dscp ef -S 4", "--tos 004"),
        ("--dscp 056", "-S 0xb8"),
        ("--fq-rate 5M --no-fq-socket-pacing --fq-rate 3M", "--fq-rate 3M"),
        ("--json-stream-full-output", ""),
        ("--json-stream -J", "--json-stream"),
        ("--forceflush --nstreams 3 -X name.invalid", ""),
        ("--snd-timeout 0 --connect-timeout 0 --pacing-timer 1000", ""),
        ("-B 127.0.0.1%lo --bind-dev lo", "-B 127.0.0.1 --bind-dev lo"),
        ("--cntl-ka=0//", "--cntl-ka"),
        ("-d4", "--debug -4"),
        ("--debug=9", "--debug"),
        ("--debug=0", ""),
        ("-A 0x1,010", "-A 1,8"),
        ("-A 1,", "-A 1,0"),
        ("-t inf", "-t 0"),
        ("-P 2.0 -O 1.0 -S 16.0 -M 1400.0 -p 5654.0", "-P 2 -O 1 -S 16 -M 1400 -p 5654"),
        ("-P +2 -p +5654 --cport +6000 -L +5", "-P 2 -p 5654 --cport 6000 -L 5"),
        ("-n +1K", "-n 1024"),
        ("-n 0x400", "-n 1024"),
        ("-b 10Mbps -l 16KB -w 256KB -t 1s", "-b 10M -l 16K -w 256K -t 1"),
        ("-b 10Mbit --fq-rate 1Gbit/s -l 8KiB -t 1sec", "-b 10M --fq-rate 1G -l 8K -t 1"),
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
    assert_eq!(client("-n 9223372036854775807").test.end, EndCondition::Bytes(u64::MAX / 2));
    let config = client("-A 1/2");
    assert_eq!((config.local.cpu, config.test.server_cpu), (Some(1), None));
    assert_eq!(client("--cport 65535").client_port, Some(65_535));
}

#[test]
fn texts_that_only_travel_need_not_be_utf8() {
    let words = [b"ringperf".as_slice(), b"-c", b"host", b"-T", b"a\xff", b"--extra-data=\xfe"];
    let command = parse(words.map(OsStr::from_bytes));
    let Ok(Command::Client(config)) = command else { panic!("{command:?}") };
    assert_eq!(config.test.title.as_deref(), Some("a\u{fffd}"));
    assert_eq!(config.test.extra_data.as_deref(), Some("\u{fffd}"));
}

#[test]
fn numbers_may_have_blanks_around_them() {
    let command = parse(["ringperf", "-c", "host", "-n", " 1K", "-P", " 2 "]);
    let Ok(Command::Client(config)) = command else { panic!("{command:?}") };
    assert_eq!((config.test.end, config.test.parallel), (EndCondition::Bytes(1024), 2));
}

#[test]
fn places_of_streams() {
    let list = |text: &str| Some(Placement::List(text.parse().unwrap()));
    for (options, own, peers) in [
        ("", None, None),
        ("--cpus auto", Some(Placement::Auto), None),
        ("--cpus pack --peer-cpus pack", Some(Placement::Pack), Some(Placement::Pack)),
        ("--cpus near --peer-cpus near", Some(Placement::Near), Some(Placement::Near)),
        ("--cpus=spread --peer-cpus=auto", Some(Placement::Spread), Some(Placement::Auto)),
        ("--cpus 2-9,14", list("2-9,14"), None),
        ("--cpus 0 --cpus 3,1", list("3,1"), None),
        ("--peer-cpus 0-3 -A 1", None, list("0-3")),
    ] {
        let config = client(options);
        assert_eq!((config.local.cpus, config.peer_cpus), (own, peers), "{options}");
    }
    assert_eq!(server("--cpus 1,0").local.cpus, list("1,0"));
    assert_eq!(client("--cp 7").client_port, Some(7), "iperf3's short form of --cport");
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
    refuses(&[
        ("", "must either be a client (-c) or server (-s)"),
        ("-1", "must either be a client (-c) or server (-s)"),
        ("-t 5 10.0.0.1 b", "must either be a client (-c) or server (-s); did you mean -c 10.0.0.1?"),
        ("server", "must either be a client (-c) or server (-s); did you mean -s?"),
        ("-c 10.0.0.1:5201", "'10.0.0.1:5201' is no host name or address: write -c 10.0.0.1 -p 5201"),
        ("-c [::1]:5201", "'[::1]:5201' is no host name or address: write -c ::1 -p 5201"),
        ("-c [fe80::1%lo]", "'[fe80::1%lo]' is no host name or address: write -c fe80::1%lo"),
        ("-c http://name:80/", "'http://name:80/' is no host name or address: write -c name -p 80"),
        ("-c host -B 127.0.0.1:7", "'127.0.0.1:7' is no host name or address: write -B 127.0.0.1 --cport 7"),
        ("-s -B 127.0.0.1:7", "'127.0.0.1:7' is no host name or address: write -B 127.0.0.1 -p 7"),
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
        (
            "-c host -t abc",
            "-t takes a number of seconds, and 'abc' is none: test duration valid values are 0 to 86400 seconds",
        ),
        (
            "-c host -t 10m",
            "-t takes a number of seconds, and '10m' is none: test duration valid values are 0 to",
        ),
        ("-c host -t -1", "test duration valid values are 0 to 86400 seconds: -t -1"),
        (
            "-c host -P 4x",
            "-P takes a whole number, and '4x' is none: invalid number of parallel streams (min = 1",
        ),
        ("-c host -t 1e-9", "test duration valid values are 0 to 86400 seconds"),
        (
            "-c host -t nan",
            "-t takes a number of seconds, and 'nan' is none: test duration valid values are 0 to",
        ),
        ("-c host -P 129", "invalid number of parallel streams (min = 1, max = 128): -P 129"),
        ("-c host -P 0", "invalid number of parallel streams (min = 1, max = 128)"),
        ("-c host -P 4294967297", "invalid number of parallel streams (min = 1, max = 128)"),
        ("-c host -l 1048577", "block size too large (maximum = 1048576 bytes)"),
        ("-c host -u -l 15", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes): -l 15"),
        ("-c host -l 65508 -u", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes): -l 65508"),
        ("-c host -u -l 4294967312", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes)"),
        ("-c host -u -b 1M/0", "invalid burst count (maximum = 1000)"),
        ("-c host -w 513M", "socket buffer size too large (maximum = 536870912 bytes)"),
        ("-c host -M 32768", "TCP MSS too large (maximum = 32767 bytes)"),
        ("-c host -O 601", "bogus value for --omit (maximum = 600 seconds): -O 601"),
        ("-c host -b 1M/1001", "invalid burst count (maximum = 1000)"),
        ("-c host -b 1M/0", "invalid burst count (maximum = 1000)"),
        (
            "-c host -b 1M/x",
            "-b takes a whole number, and '1M/x' is none: invalid burst count (maximum = 1000)",
        ),
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
            "-c host --connect-timeout 86400001",
            "the connect timeout must be between 0 and 86400000 milliseconds",
        ),
        ("-c host -u --engine splice", "UDP tests run on the engines auto, uring-zc, uring and sync, not on"),
        ("-c host -Z --engine uring", "-Z sends with sendfile(2), but --engine uring does not"),
        ("-c host -4 -B ::1", "the address of -B ::1 is not one of the IP version asked for"),
        ("-s -6 -B 127.0.0.1", "the address of -B 127.0.0.1 is not one of the IP version asked for"),
        ("-c host -u --sctp", "a test has one protocol; drop -u or --sctp"),
        ("-c host -u -m", "a test has one protocol; drop -u or -m"),
        ("-c host --sctp -m", "a test has one protocol; drop --sctp or -m"),
        ("-c host -u -F file", "cannot transfer file using UDP"),
        ("-c host -D", "some option you are trying to set is server only: -D (--daemon)"),
        ("-c host --idle-timeout 5", "some option you are trying to set is server only: --idle-timeout"),
        ("-s -A 1,2", "some option you are trying to set is client only: the second number of -A"),
        ("-s --dscp ef", "some option you are trying to set is client only: --dscp"),
        ("loopback -t 0", "each engine can run for 0.001 to 86400 seconds: -t 0"),
        ("loopback -P 0", "invalid number of parallel streams"),
    ]);
}

#[test]
fn parameter_errors_of_sockets_and_servers() {
    refuses(&[
        ("-c host -A 1025", "unable to set CPU affinity, processors have numbers from 0 to 1024: -A 1025"),
        ("-c host -A ,1", "-A takes a whole number, and ',1' is none: unable to set CPU affinity"),
        ("-s --busy-poll 0", "a network card is polled for 1 to 10000 microseconds: --busy-poll 0"),
        ("-c host --busy-poll 10001", "a network card is polled for 1 to 10000 microseconds"),
        ("-c host --busy-poll 50us", "--busy-poll takes a whole number, and '50us' is none"),
        (
            "-c host -A 1 --cpus 2",
            "-A and --cpus both say where the streams of one end run; drop one of them",
        ),
        ("-s --cpus auto -A 1", "-A and --cpus both say where the streams of one end run"),
        ("-c host -A 1,2 --peer-cpus pack", "-A and --peer-cpus both say where the streams of one end run"),
        ("-s --peer-cpus 0", "some option you are trying to set is client only: --peer-cpus"),
        ("-c host --cpus 1025", "processors have numbers from 0 to 1024: --cpus 1025"),
        (
            "-c host --peer-cpus 3-1",
            "threads are placed by auto, spread, pack, near or a list of processors such as",
        ),
        (
            "-s --cpus -1",
            "threads are placed by auto, spread, pack, near or a list of processors such as 2-9,14: --cpus -1",
        ),
        ("-c host --cpus 0-1023,5", "a list has at most 1024 processors: --cpus 0-1023,5"),
        (
            "-c host -A 1,2,3",
            "-A takes a whole number, and '1,2,3' is none: unable to set CPU affinity, processors",
        ),
        ("-c host -B %lo", "-B '' is no address of this machine"),
        ("-c host -B name.invalid", "-B 'name.invalid' is no address of this machine: "),
        ("-c host --sctp -X name.invalid", "-X 'name.invalid' is no address of this machine: "),
        ("-c host%a --bind-dev b", "sockets are bound to one device only, not to b and a"),
        ("-c host --bind-dev 1234567890123456", "a network device has a name of 1 to 15 bytes"),
        ("-c host -S 256", "bad TOS value (must be between 0 and 255 inclusive): -S 256"),
        (
            "-c host -S 5x",
            "-S takes a whole number, and '5x' is none: bad TOS value (must be between 0 and 255 incl",
        ),
        ("-c host --dscp 64", "bad DSCP value (numeric: 0-63 inclusive, symbolic: one of [af11-13"),
        ("-c host -L 0", "unable to set IPv6 flow label, which is a number from 1 to 1048575: -L 0"),
        ("-c host -R --rcv-timeout 99", "receive timeout value is incorrect or not in range"),
        ("-s --rcv-timeout 86400001", "receive timeout value is incorrect or not in range"),
        ("-s --snd-timeout -1", "send timeout value is incorrect or not in range"),
        ("-s --idle-timeout 0", "idle timeout parameter is not positive or larger than allowed limit"),
        ("-s --server-max-duration 86401", "test duration valid values are 0 to 86400 seconds"),
        ("-s --server-bitrate-limit 5M/61", "invalid time interval for calculating average data rate"),
        (
            "-s --server-bitrate-limit 5M/x",
            "--server-bitrate-limit takes a number of seconds, and '5M/x' is none: inv",
        ),
        ("-s --server-bitrate-limit 5Q", "invalid unit value or suffix: '5Q'"),
        ("-c host --cntl-ka=3/1/3", "control connection Keepalive period should be larger than the full"),
        ("-c host --cntl-ka=9/1/1/1", "keepalive is IDLE/INTERVAL/COUNT"),
        (
            "-c host --cntl-ka=x",
            "--cntl-ka takes a whole number, and 'x' is none: keepalive is IDLE/INTERVAL/COUNT",
        ),
        (
            "-c host --debug=x",
            "--debug takes a whole number, and 'x' is none: a debug level is a number from 1 to 4",
        ),
        ("-c host --sctp --nstreams 64K", "an SCTP association has at most 65535 streams"),
        ("-c host --username me", "you must specify a username, password, and path to a valid RSA public"),
        ("-c host --rsa-public-key-path k", "you must specify a username, password, and path to a valid"),
        ("-c host --use-pkcs1-padding", "you must specify a username, password, and path to a valid RSA"),
        ("-s --rsa-private-key-path k", "you must specify a path to a valid RSA private key and a user"),
        ("-s --authorized-users-path k", "you must specify a path to a valid RSA private key and a user"),
        ("-s --time-skew-threshold 0", "skew threshold must be a positive number"),
    ]);
}

/// Each line is refused with one line that begins with its text.
fn refuses(lines: &[(&str, &str)]) {
    for (line, text) in lines {
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
        "-c host --bogus",
        "-c host --bi",
        "-c host -q",
        "-c host --engine warp",
        "-c host --ud",
        "-c host --tim 3",
        "-c host --json-stream=x",
        "-c host --timestam=%T --json=1",
        "completions tcsh",
        "man server",
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
fn help_is_no_failure() {
    for (line, text) in [
        ("-h", "Server only:"),
        ("--help", "io_uring SEND_ZC from registered buffers"),
        ("-c host -h", "Client only:"),
        ("loopback -h", "The engines to compare"),
    ] {
        let error = run(line).unwrap_err();
        assert!(error.text.contains(text), "{line}: {error}");
        assert_eq!((error.to_stdout, error.exit_code), (true, 0), "{line}");
    }
}

#[test]
fn what_is_strange_is_said() {
    for (line, warnings) in [
        ("-J", vec![]),
        ("-d -V -f m", vec![]),
        ("-J -d", vec!["Debug output (-d) may interfere with JSON output (-J)"]),
        ("--json-stream -V", vec!["Verbose output (-v) may interfere with JSON output (-J)"]),
        ("--no-fq-socket-pacing", vec!["--no-fq-socket-pacing is deprecated"]),
        (
            "-A 1/2",
            vec![
                "-A 1/2: what follows the slash is ignored, as by iperf3; the server's processor stands behind a \
                 comma",
            ],
        ),
        (
            "stray --timestamps %T -- -J loopback",
            vec![
                "'stray' belongs to no option and is ignored",
                "'%T' belongs to no option and is ignored",
                "'-J' belongs to no option and is ignored",
                "'loopback' belongs to no option and is ignored",
            ],
        ),
    ] {
        let config = client(line);
        assert_eq!(config.output.warnings, warnings, "{line}");
    }
    assert_eq!(client("--timestamps %T").output.timestamps.as_deref(), Some("%c "));
    assert_eq!(server("loopback").output.warnings, ["'loopback' belongs to no option and is ignored"]);
}

#[test]
fn addresses_and_devices() {
    let parts = |line| {
        let config = client(line);
        (config.host, config.local.bind.map(|bind| bind.to_string()), config.local.bind_device)
    };
    let text = |text: &str| Some(text.to_owned());
    let host = "host".to_owned();
    assert_eq!(parts("-B fe80::1%eth0"), (host.clone(), text("fe80::1"), text("eth0")));
    assert_eq!(parts("-B localhost -4"), (host.clone(), text("127.0.0.1"), None));
    assert_eq!(parts("--bind-dev lo"), (host.clone(), None, text("lo")));
    assert_eq!(parts("-c ::1%lo"), ("::1".to_owned(), None, text("lo")));
    assert_eq!(parts("-c name%lo"), ("name".to_owned(), None, text("lo")));
    assert_eq!(parts("-c ::1"), ("::1".to_owned(), None, None));
    assert_eq!(parts("-c 1::2:5201"), ("1::2:5201".to_owned(), None, None));
    assert_eq!(parts("-c fe80::1%lo"), ("fe80::1%lo".to_owned(), None, None));
}

#[test]
fn sctp_has_its_own_block_and_streams() {
    let config = client("--sctp --nstreams 3 -X 127.0.0.1 -X ::1");
    assert_eq!(config.test.protocol, Protocol::Sctp(SctpConfig { streams: 3 }));
    assert_eq!(config.test.block, BlockSize { bytes: 65_536, explicit: false });
    assert_eq!(config.test.pacing, Pacing::default());
    let addresses: Vec<String> = config.sctp_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1", "::1"]);
}

/// The manifest is a file that has a size.
#[test]
fn a_file_is_sent_once() {
    let manifest = concat!("-F ", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let bytes = std::fs::metadata(&manifest[3..]).unwrap().len();
    let time = |secs| EndCondition::Time(Duration::from_secs(secs));
    for (options, end) in [
        ("", EndCondition::Bytes(bytes)),
        ("--bidir", EndCondition::Bytes(bytes)),
        ("-R", time(10)),
        ("-t 3", time(3)),
        ("-t 0", EndCondition::Unlimited),
        ("-k 3", EndCondition::Blocks(3)),
    ] {
        assert_eq!(client(&format!("{manifest} {options}")).test.end, end, "{options}");
    }
    assert_eq!(client("-F /no/such/file").test.end, time(10));
}

#[test]
fn the_name_of_the_program() {
    for (path, name) in [
        ("iperf3", "iperf3"),
        ("/usr/bin/iperf3", "iperf3"),
        ("/opt/iperf3/ringperf", "ringperf"),
        ("iperf3-rs", "ringperf"),
        ("", "ringperf"),
    ] {
        assert_eq!(program_name(Some(OsStr::new(path))), name, "{path}");
    }
    assert_eq!(program_name(None), "ringperf");
    let error = parse(["/usr/bin/iperf3", "-s", "-c", "host"]).unwrap_err();
    assert!(error.text.starts_with("iperf3: parameter error - cannot be both"), "{error}");
    assert!(error.text.ends_with(" (see iperf3 --help)\n"), "{error}");
    let Ok(Command::Server(config)) = parse(["iperf3", "-s"]) else { panic!("no server") };
    assert_eq!(config.output.program, "iperf3");
}

#[test]
fn what_is_printed_instead_of_a_test() {
    for line in ["-v", "--version", "-c host -v", "-s -t abc --version"] {
        assert_eq!(run(line), Ok(Command::Version), "{line}");
    }
    for (line, text) in [
        ("man", "server\\-bitrate\\-limit"),
        ("man", ".TH ringperf 1"),
        ("man loopback", "engines to compare"),
        ("completions bash", "--server-bitrate-limit"),
        ("completions zsh", "#compdef ringperf"),
        ("completions fish", "complete -c ringperf"),
    ] {
        let Ok(Command::Print(printed)) = run(line) else { panic!("{line}") };
        assert!(printed.contains(text), "{line}: {printed}");
    }
}

#[test]
fn engines_are_named_alike_everywhere() {
    for engine in EngineChoice::ALL {
        assert_eq!(client(&format!("--engine {engine}")).local.engine, engine);
    }
}
