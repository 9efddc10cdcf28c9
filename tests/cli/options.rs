//! The command line, beside that of real iperf3 programs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::{self, ffi::OsStrExt};
use std::path::PathBuf;
use std::process::{self, Command};
use std::thread;

use crate::harness::{Checked, Program, debian, ensure, libiperf, ours, pick, run, run_client};

#[test]
fn help_and_version_are_no_errors() -> Checked {
    for option in ["-h", "--help", "-v", "--version"] {
        let run = run(ours().command(option))?;
        run.succeeded()?;
        ensure!(
            run.stdout.contains("ringperf") && run.stderr.is_empty(),
            "{option} goes to standard output\n{run}"
        );
    }
    Ok(())
}

#[test]
fn mistakes_of_our_own_options_are_named_in_one_line() -> Checked {
    for (arguments, named) in [
        ("-c 127.0.0.1 -u --engine sendfile", "auto, uring-zc, uring and sync"),
        ("-c 127.0.0.1 -u --peer-engine null", "auto, uring-zc, uring and sync"),
        ("-c 127.0.0.1 --engine nosuch", "nosuch"),
        ("-c 127.0.0.1 -J --engine", "engine"),
        ("completions tcsh", "tcsh"),
        ("loopback -t 0", "0.001"),
    ] {
        refused(arguments, named)?;
    }
    Ok(())
}

/// Exit status 1, one line that has `named` in it, and nothing on standard output.
fn refused(arguments: &str, named: &str) -> Checked {
    let run = run(ours().command(arguments))?;
    let line = run.failed_with_one_line()?;
    ensure!(line.starts_with("ringperf: parameter error - "), "no parameter error\n{run}");
    ensure!(line.contains(named), "{named:?} is not named\n{run}");
    ensure!(run.stdout.is_empty(), "something on standard output\n{run}");
    Ok(())
}

/// What a recent iperf3 refuses, and what ours must name.
const REFUSED: [(&str, &str); 56] = [
    ("", "must either be a client (-c) or server (-s)"),
    ("-D", "must either be a client (-c) or server (-s)"),
    ("-1", "must either be a client (-c) or server (-s)"),
    ("--no-such-option", "no-such-option"),
    ("-c 127.0.0.1 -J --no-such-option", "no-such-option"),
    ("-c", "client"),
    ("-c 127.0.0.1 -t", "time"),
    ("-c 127.0.0.1 --json=x", "json"),
    ("-c 127.0.0.1 --json-stream=x", "json-stream"),
    ("-c 127.0.0.1 --tim 3", "tim"),
    ("-s -c 127.0.0.1", "cannot be both server and client"),
    ("-s -t 1", "some option you are trying to set is client only"),
    ("-s -u", "some option you are trying to set is client only"),
    ("-s --gsro", "some option you are trying to set is client only"),
    ("-s -T title", "some option you are trying to set is client only"),
    ("-s --dscp ef", "some option you are trying to set is client only"),
    ("-s -A 0,1", "some option you are trying to set is client only"),
    ("-s --pacing-timer 4", "some option you are trying to set is client only"),
    ("-s --no-fq-socket-pacing", "some option you are trying to set is client only"),
    ("-c 127.0.0.1 -1", "some option you are trying to set is server only"),
    ("-c 127.0.0.1 -D", "some option you are trying to set is server only"),
    ("-c 127.0.0.1 --idle-timeout 5", "some option you are trying to set is server only"),
    ("-c 127.0.0.1 --server-max-duration 5", "some option you are trying to set is server only"),
    ("-c 127.0.0.1 --server-bitrate-limit 5M", "some option you are trying to set is server only"),
    ("-c 127.0.0.1 -t 1 -n 1M", "only one test end condition (-t, -n, -k) may be specified"),
    ("-c 127.0.0.1 -n 1M -k 5", "only one test end condition (-t, -n, -k) may be specified"),
    ("-c 127.0.0.1 -t 86401", "test duration valid values are 0 to 86400 seconds"),
    ("-c 127.0.0.1 -t -1", "test duration valid values are 0 to 86400 seconds"),
    ("-c 127.0.0.1 -R --bidir", "cannot be both reverse and bidirectional"),
    ("-c 127.0.0.1 -P 129", "invalid number of parallel streams (min = 1, max = 128)"),
    ("-c 127.0.0.1 -P abc", "invalid number of parallel streams (min = 1, max = 128)"),
    ("-c 127.0.0.1 -n 1Q", "invalid unit value or suffix: '1Q'"),
    ("-c 127.0.0.1 -l 2M", "block size too large (maximum = 1048576 bytes)"),
    ("-c 127.0.0.1 -u -l 15", "block size invalid (minimum = 16 bytes, maximum = 65507 bytes)"),
    ("-c 127.0.0.1 -u -b 1M/1001", "invalid burst count (maximum = 1000)"),
    ("-c 127.0.0.1 -w 600M", "socket buffer size too large (maximum = 536870912 bytes)"),
    ("-c 127.0.0.1 -M 32768", "TCP MSS too large (maximum = 32767 bytes)"),
    ("-c 127.0.0.1 -i 0.05", "invalid report interval (min = 0.1, max = 60 seconds)"),
    ("-c 127.0.0.1 -O 601", "bogus value for --omit (maximum = 600 seconds)"),
    ("-c 127.0.0.1 -p 65536", "port number must be between 1 and 65535 inclusive"),
    ("-c 127.0.0.1 --cport 0", "port number must be between 1 and 65535 inclusive"),
    ("-c 127.0.0.1 -f x", "bad format specifier (valid formats are in the set [kmgtKMGT])"),
    ("-c 127.0.0.1 -F /dev/null -u", "cannot transfer file using UDP"),
    ("-c 127.0.0.1 -A abc", "unable to set CPU affinity"),
    ("-c 127.0.0.1 -A 0,1025", "unable to set CPU affinity"),
    ("-c 127.0.0.1 -S 256", "bad TOS value (must be between 0 and 255 inclusive)"),
    ("-c 127.0.0.1 --dscp af44", "bad DSCP value (numeric: 0-63 inclusive"),
    ("-c 127.0.0.1 -L 0x100000", "unable to set IPv6 flow label"),
    ("-c 127.0.0.1 -R --rcv-timeout 99", "receive timeout value is incorrect or not in range"),
    ("-c 127.0.0.1 --rcv-timeout 500", "client receive timeout is valid only in receiving mode"),
    ("-c 127.0.0.1 --snd-timeout 86400001", "send timeout value is incorrect or not in range"),
    (
        "-c 127.0.0.1 --cntl-ka=3/1/3",
        "control connection Keepalive period should be larger than the full retry",
    ),
    ("-c 127.0.0.1 --pacing-timer abc", "invalid unit value or suffix: 'abc'"),
    ("-s --idle-timeout 0", "idle timeout parameter is not positive or larger than allowed limit"),
    ("-s --server-bitrate-limit 5M/61", "invalid time interval for calculating average data rate"),
    ("-s --server-max-duration 86401", "test duration valid values are 0 to 86400 seconds"),
];

/// The same of an iperf3 that has authentication, which the recent one here has not.
const LOGIN_REFUSED: [(&str, &str); 7] = [
    (
        "-c 127.0.0.1 --username me",
        "you must specify a username, password, and path to a valid RSA public key",
    ),
    (
        "-c 127.0.0.1 --rsa-public-key-path k",
        "you must specify a username, password, and path to a valid RSA",
    ),
    ("-s --username me", "some option you are trying to set is client only"),
    ("-c 127.0.0.1 --authorized-users-path u", "some option you are trying to set is server only"),
    (
        "-s --rsa-private-key-path k",
        "you must specify a path to a valid RSA private key and a user credential file",
    ),
    (
        "-s --authorized-users-path u",
        "you must specify a path to a valid RSA private key and a user credential",
    ),
    ("-s --time-skew-threshold 0", "skew threshold must be a positive number"),
];

#[test]
fn what_iperf3_refuses_is_refused() -> Checked {
    let peers = [(libiperf()?, &REFUSED[..]), (debian()?, &LOGIN_REFUSED[..])];
    for (peer, lines) in peers {
        for (arguments, named) in lines {
            let stock = run(peer.command(arguments))?;
            let is_understood = stock.stderr.contains("unable to connect") || stock.code == Some(0);
            ensure!(!is_understood, "{} does not refuse this\n{stock}", peer.name);
            refused(arguments, named)?;
        }
    }
    Ok(())
}

/// What both understand, so that what is refused is the connection.
const UNDERSTOOD: [&str; 50] = [
    "",
    "--time=3 --parallel=2",
    "-t3 -P4 -VR",
    "-t 3s -i 1s -O 1s",
    "-t 3 -t 4",
    "-n 0 -k 0 -t 0",
    "-n 1.5M",
    "-t inf",
    "-P 2.0 -O 0.0 -S 16.0 -M 1400.0",
    "-P +2 -n +1K",
    "-n 0x400",
    "-n 9223372036854775807",
    "-b 10Mbps -l 16KB -w 256KB",
    "-b 10Mbit --fq-rate 1Gbits/sec -n 1MiB",
    "-A 0,",
    "-A 0/1",
    "--e data --m",
    "--to 16 --get --ba 5M",
    "--cp 23456 --af 0",
    "-l 0 -w 0 -M 0 -b 0",
    "-b 1M/20 --fq-rate 5M",
    "--bandwidth 5m --linux-congestion cubic",
    "--fq-rate 5M --no-fq-socket-pacing",
    "-u --udp-counters-64bit --gsro --dont-fragment -l 1400",
    "-f mbps",
    "-A 0",
    "-A 0x0,0",
    "-B 127.0.0.1",
    "-B 127.0.0.1%lo",
    "-B localhost -4",
    "--bind-dev lo",
    "--cport 23456",
    "-S 0x10",
    "-S 010 --dscp EF",
    "--dscp 0x2e",
    "--dscp reliability",
    "-L 0xfffff",
    "-m",
    "-X 127.0.0.1",
    "-R --rcv-timeout 500",
    "--snd-timeout 0",
    "--connect-timeout 0",
    "--connect-timeout 1K --pacing-timer 0",
    "--cntl-ka",
    "--cntl-ka=10//3",
    "--timestamps=%T",
    "--debug=1",
    "--forceflush --repeating-payload --get-server-output",
    "--rev --skip-rx --title -x --extra-data=-y",
    "-Z -N -C reno stray words -- -J",
];

#[test]
fn what_iperf3_understands_is_understood() -> Checked {
    let port = pick();
    for options in UNDERSTOOD {
        for program in [libiperf()?, ours()] {
            let run = run_client(&program, port, options)?;
            ensure!(run.stderr.contains("Connection refused"), "{} refuses this\n{run}", program.name);
        }
    }
    Ok(())
}

#[test]
fn texts_need_not_be_utf8_and_numbers_may_have_blanks() -> Checked {
    let bytes = OsStr::from_bytes;
    let words = [bytes(b"-T"), bytes(b"a\xff"), bytes(b"--extra-data=\xfe"), bytes(b"-n"), bytes(b" 1K")];
    for program in [debian()?, ours()] {
        let mut command = program.command(&format!("-c 127.0.0.1 -p {}", pick()));
        command.args(words);
        let run = run(command)?;
        ensure!(run.stderr.contains("Connection refused"), "{} refuses this\n{run}", program.name);
    }
    Ok(())
}

/// What iperf3 takes and ringperf does not, since something else is meant; and what ringperf says is right.
#[test]
fn what_is_behind_a_number_is_not_overlooked() -> Checked {
    for (options, right) in [
        ("-b 10GB", "'80G' is that many bytes per second (option -b)"),
        ("-b 10Gxyz", "did you mean '10G', without 'xyz'? (option -b)"),
        ("-b 1GiB", "'8589934592' is that many bytes per second (option -b)"),
        ("--fq-rate 1GB", "'8G' is that many bytes per second (option --fq-rate)"),
        ("-w 64Kfoo", "did you mean '64K', without 'foo'? (option -w)"),
        ("-l 1Kx", "did you mean '1K', without 'x'? (option -l)"),
        ("-k 1Kx", "did you mean '1K', without 'x'? (option -k)"),
        ("-n 100Mbit", "'12500000' is an eighth of that many bits (option -n)"),
        ("-t 10m", "-t takes a number of seconds, and '10m' is none: test duration"),
        ("-t 10x", "-t takes a number of seconds, and '10x' is none: test duration"),
        ("-P 2x", "-P takes a whole number, and '2x' is none: invalid number of parallel streams"),
        ("-M 1Kx", "-M takes a whole number, and '1Kx' is none: TCP MSS"),
        ("-M a", "-M takes a whole number, and 'a' is none: TCP MSS"),
        ("-M 64B", "-M takes a whole number, and '64B' is none: TCP MSS"),
    ] {
        let stock = run_client(&libiperf()?, pick(), options)?;
        ensure!(stock.stderr.contains("Connection refused"), "iperf3 refuses this, too\n{stock}");
        refused(&format!("-c 127.0.0.1 {options}"), right)?;
    }
    Ok(())
}

/// The long options of both iperf3s.
const LONG: &str = "port format interval daemon one-off verbose json json-stream json-stream-full-output version \
    server client udp bitrate bandwidth server-bitrate-limit server-max-duration time bytes blockcount length \
    parallel reverse bidir window bind bind-dev cport set-mss no-delay version4 version6 tos dscp extra-data \
    flowlabel zerocopy omit file repeating-payload timestamps affinity title congestion linux-congestion sctp \
    nstreams xbind pidfile logfile forceflush get-server-output udp-counters-64bit no-fq-socket-pacing \
    dont-fragment skip-rx-copy username rsa-public-key-path rsa-private-key-path authorized-users-path \
    time-skew-threshold use-pkcs1-padding fq-rate pacing-timer connect-timeout idle-timeout rcv-timeout \
    snd-timeout cntl-ka mptcp gsro debug help";

/// What a program makes of an abbreviation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    /// This option.
    Option(String),
    /// One of those whose argument may be missing.
    SomeOptional,
    Ambiguous,
    Unknown,
}

/// As getopt_long(3) tells by itself: it names the option whose argument is missing, or is not wanted. What
/// follows keeps any of them from doing something.
fn meaning(program: &Program, abbreviation: &str) -> Checked<Meaning> {
    for words in [format!("--{abbreviation}=x --!"), format!("--{abbreviation}")] {
        let said = run(program.command(&words))?.stderr;
        if said.contains("is ambiguous") {
            return Ok(Meaning::Ambiguous);
        }
        if [format!("'--{abbreviation}'"), format!("'--{abbreviation}=x'")]
            .iter()
            .any(|word| said.contains(&format!("unrecognized option {word}")))
        {
            return Ok(Meaning::Unknown);
        }
        let names =
            ["requires an argument", "doesn't allow an argument"].iter().any(|text| said.contains(text));
        let name = said.split_once("option '--").and_then(|(_, rest)| rest.split_once('\''));
        if let Some((name, _)) = name.filter(|_| names) {
            return Ok(Meaning::Option(name.to_owned()));
        }
    }
    Ok(Meaning::SomeOptional)
}

/// Both iperf3s here have OpenSSL, and with it options that others lack.
fn is_taken_without_openssl(abbreviation: &str, meaning: &Meaning) -> bool {
    abbreviation == "a" && *meaning == Meaning::Option("affinity".to_owned())
}

/// Every abbreviation that one of two iperf3s takes means the same here; what is ambiguous to both is here.
#[test]
fn abbreviations_mean_what_they_mean_to_iperf3() -> Checked {
    // Longer than needed to tell an option from all others is as good as its whole name.
    let is_needed = |name: &&str, end: usize| {
        let is_like = |other: &str| other != *name && other.starts_with(&name[..end - 1]);
        end == 1 || end == name.len() || LONG.split_whitespace().any(is_like)
    };
    let abbreviations: BTreeSet<&str> = LONG
        .split_whitespace()
        .flat_map(|name| (1..=name.len()).filter(move |end| is_needed(&name, *end)).map(|end| &name[..end]))
        .collect();
    let abbreviations: Vec<&str> = abbreviations.into_iter().collect();
    ensure!(abbreviations.len() > 150, "{} are not all", abbreviations.len());
    let (halves, peers) = (abbreviations.chunks(abbreviations.len() / 4), [debian()?, libiperf()?]);
    thread::scope(|scope| {
        let halves: Vec<_> = halves.map(|half| scope.spawn(|| compare_abbreviations(half, &peers))).collect();
        halves.into_iter().try_for_each(|half| half.join().expect("no comparison panics"))
    })
}

fn compare_abbreviations(abbreviations: &[&str], peers: &[Program]) -> Checked {
    for abbreviation in abbreviations {
        let here = meaning(&ours(), abbreviation)?;
        let mut there = Vec::new();
        for peer in peers {
            there.push(meaning(peer, abbreviation)?);
        }
        let taken: Vec<&Meaning> = there
            .iter()
            .filter(|meaning| !matches!(meaning, Meaning::Ambiguous | Meaning::Unknown))
            .collect();
        let is_same = match taken.as_slice() {
            // Neither iperf3 here has SCTP, whose options others have.
            [] if there.contains(&Meaning::Unknown) => here != Meaning::Unknown,
            [] => here == Meaning::Ambiguous || is_taken_without_openssl(abbreviation, &here),
            taken => taken.iter().all(|meaning| **meaning == here),
        };
        ensure!(
            is_same,
            "--{abbreviation} is {here:?} here and {there:?} to {}, {}",
            peers[0].name,
            peers[1].name
        );
    }
    Ok(())
}

/// What both understand, so that what is refused is the address, which is nobody's.
#[test]
fn servers_understand_what_iperf3_understands() -> Checked {
    for options in [
        "-1 -i 0 -f K",
        "--cport 1",
        "-m -X 127.0.0.1",
        "--server-bitrate-limit 5M",
        "--server-bitrate-limit 5M/0",
        "--server-bitrate-limit 0/0.5",
        "--server-max-duration 0",
        "--idle-timeout 86400",
        "--rcv-timeout 100 --snd-timeout 5",
        "-A 0 --cntl-ka=10",
        "stray",
    ] {
        for program in [libiperf()?, ours()] {
            let run = run(program.command(&format!("-s -p {} -B 192.0.2.1 {options}", pick())))?;
            let is_refused = run.stderr.contains("Cannot assign requested address");
            ensure!(is_refused && run.code != Some(0), "{} refuses this\n{run}", program.name);
        }
    }
    Ok(())
}

#[test]
fn a_word_that_belongs_to_no_option_is_said_to_be_ignored() -> Checked {
    let run = run_client(&ours(), pick(), "-d 4 -n 1K")?;
    let lines: Vec<&str> = run.stderr.lines().collect();
    ensure!(lines.len() == 2, "not two lines on standard error\n{run}");
    ensure!(lines[0] == "warning: '4' belongs to no option and is ignored", "{:?}\n{run}", lines[0]);
    ensure!(lines[1].contains("Connection refused"), "{:?}\n{run}", lines[1]);
    Ok(())
}

#[test]
fn a_link_called_iperf3_calls_itself_so() -> Checked {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("link-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let path = folder.join("iperf3");
    unix::fs::symlink(ours().path, &path)?;
    let linked = Program { path, ..ours() };
    let version = run(linked.command("--version"))?;
    let mistake = run(linked.command("-s -t 1"))?;
    fs::remove_dir_all(&folder)?;

    version.succeeded()?;
    let number = version.stdout.strip_prefix("iperf ").and_then(|rest| rest.split_whitespace().next());
    ensure!(number == Some("3.21"), "no version of iperf\n{version}");
    let features = "Optional features available: ";
    ensure!(version.stdout.lines().nth(2).is_some_and(|line| line.starts_with(features)), "{version}");
    let prefix = "iperf3: parameter error - some option you are trying to set is client only";
    ensure!(mistake.stderr.starts_with(prefix), "another name\n{mistake}");
    Ok(())
}

#[test]
fn manual_and_completions_are_sound() -> Checked {
    for page in ["man", "man loopback"] {
        let manual = run(ours().command(page))?;
        manual.succeeded()?;
        ensure!(manual.stdout.contains(".SH SYNOPSIS"), "no manual page\n{manual}");
    }
    let completions = run(ours().command("completions bash"))?;
    completions.succeeded()?;
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{}\ncomplete -p ringperf", completions.stdout)]);
    let bash = run(bash)?;
    bash.succeeded()?;
    ensure!(bash.stdout.contains("-F _ringperf"), "bash knows of no completion\n{bash}");
    Ok(())
}
