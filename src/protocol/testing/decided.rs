//! What becomes of parameters that no iperf3 client sends: every number at its limits, and the table of
//! docs/COMPATIBILITY.md.

use crate::config::{EndCondition, TestConfig, UdpConfig};
use crate::protocol::params::{Request, decode, encode};

/// Reads a parameter back from the test that was made of it; `None` if it does not show there.
type Seen = fn(&TestConfig) -> Option<i64>;

fn udp(test: &TestConfig) -> UdpConfig {
    test.protocol.udp().unwrap()
}

fn signed(value: impl TryInto<i64>) -> Option<i64> {
    value.try_into().ok()
}

/// All parameters that are numbers, and how large they may be.
const NUMBERS: [(&str, std::ops::RangeInclusive<i64>, Seen); 26] = [
    ("time", 0..=86_400, |test| match test.end {
        EndCondition::Time(time) => signed(time.as_secs()),
        EndCondition::Unlimited => Some(0),
        _ => None,
    }),
    ("omit", 0..=600, |test| signed(test.omit_secs)),
    ("parallel", 1..=128, |test| signed(test.parallel)),
    ("len", 16..=65_507, |test| signed(test.block.bytes)),
    ("burst", 1..=1000, |test| signed(test.pacing.burst_blocks)),
    ("num", 0..=i64::MAX, |test| match test.end {
        EndCondition::Bytes(bytes) => signed(bytes),
        _ => Some(0),
    }),
    ("blockcount", 0..=i64::MAX, |test| match test.end {
        EndCondition::Blocks(blocks) => signed(blocks),
        _ => Some(0),
    }),
    ("bandwidth", 0..=i64::MAX, |test| signed(test.pacing.bits_per_second)),
    ("fqrate", 0..=i64::MAX, |test| signed(test.socket.fq_bits_per_second)),
    ("pacing_timer", 0..=i64::MAX, |test| signed(test.pacing_timer_us)),
    ("window", 0..=536_870_912, |test| signed(test.socket.window_bytes.unwrap_or(0))),
    ("MSS", 0..=32_767, |test| signed(test.socket.mss_bytes.unwrap_or(0))),
    ("TOS", 0..=255, |test| signed(test.socket.tos)),
    ("flowlabel", 1..=0xf_ffff, |test| signed(test.socket.flow_label?)),
    ("server_affinity", 0..=1024, |test| signed(test.server_cpu?)),
    // What an iperf3 does about its buffers is not known to the test; only whether they are wanted.
    ("gso", 0..=2_147_483_647, |_| None),
    ("gso_dg_size", 0..=2_147_483_647, |_| None),
    ("gso_bf_size", 0..=2_147_483_647, |_| None),
    ("gro", 0..=1, |test| signed(udp(test).gsro)),
    ("gro_bf_size", 0..=2_147_483_647, |_| None),
    // Of these only the presence counts, or whether it is 0.
    ("udp_counters_64bit", i64::MIN..=i64::MAX, |test| udp(test).counters_64bit.then_some(1)),
    ("repeating_payload", i64::MIN..=i64::MAX, |_| None),
    ("get_server_output", i64::MIN..=i64::MAX, |_| None),
    ("zerocopy", i64::MIN..=i64::MAX, |_| None),
    ("skip_rx_copy", i64::MIN..=i64::MAX, |_| None),
    ("dont_fragment", i64::MIN..=i64::MAX, |_| None),
];

/// What stands for a number, and the number; `None` for what is none or does not fit.
const VALUES: [(&str, Option<i64>); 24] = [
    ("-9223372036854775808", Some(i64::MIN)),
    ("-4294967295", Some(-4_294_967_295)),
    ("-1", Some(-1)),
    ("-0.9", Some(0)),
    ("0", Some(0)),
    ("1", Some(1)),
    ("1.9", Some(1)),
    ("16", Some(16)),
    ("255.5", Some(255)),
    ("32768", Some(32_768)),
    ("65536", Some(65_536)),
    ("2147483648", Some(2_147_483_648)),
    ("4294967297", Some(4_294_967_297)),
    ("1e15", Some(1_000_000_000_000_000)),
    ("9223372036854775807", Some(i64::MAX)),
    ("9223372036854775808", None),
    ("18446744073709551617", None),
    ("-1e30", None),
    ("1e999", None),
    ("\"5\"", None),
    ("null", None),
    ("true", None),
    ("[]", None),
    ("{}", None),
];

/// 26 parameters, 24 values: what is taken is what was sent, and the rest is refused.
#[test]
fn no_number_becomes_another_one() {
    for (key, range, seen) in NUMBERS {
        for (text, value) in VALUES {
            let len = if key == "len" { "" } else { "\"len\":1000," };
            let frame = format!("{{\"udp\":true,{len}\"{key}\":{text}}}");
            let decoded = decode(frame.as_bytes());
            let Some(value) = value.filter(|value| range.contains(value)) else {
                assert!(decoded.is_err(), "{frame}: {decoded:?}");
                continue;
            };
            let test = decoded.unwrap_or_else(|error| panic!("{frame}: {error}")).test;
            // The timer's 0 stands for its default.
            let expected = if key == "pacing_timer" && value == 0 { 1000 } else { value };
            if let Some(seen) = seen(&test).filter(|_| range.start() != &i64::MIN) {
                assert_eq!(seen, expected, "{frame}");
            }
        }
    }
}

/// Two extremes at once: the sums and products that are made of them must not overflow either.
#[test]
fn all_pairs_of_extremes_are_taken_or_refused() {
    let mut taken = 0;
    for (one, one_range, _) in NUMBERS {
        for (other, other_range, _) in NUMBERS {
            for value in [one_range.start(), one_range.end()] {
                for other_value in [other_range.start(), other_range.end()] {
                    let frame =
                        format!("{{\"udp\":true,\"{one}\":{value},\"{other}\":{other_value},\"len\":65507}}");
                    let Ok(request) = decode(frame.as_bytes()) else { continue };
                    taken += 1;
                    assert!(request.test.goal_bytes().is_none_or(|bytes| bytes > 0), "{frame}");
                    assert!(encode(&request).is_ok(), "{frame}");
                }
            }
        }
    }
    assert!(taken > 2000, "only {taken} were taken");
}

/// The rows of the page: what is sent, in the notation of Rust's byte strings, and what is done about it.
#[test]
fn the_page_tells_what_is_decided() {
    let page = include_str!("../../../docs/COMPATIBILITY.md");
    let table = page.split("### Parameters that nobody should send").nth(1).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 25, "only {} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let frame = bytes_of(cells[1].trim_matches('`'));
        let decoded = decode(&frame);
        match (cells[2], decoded) {
            ("default test", Ok(Request { test, .. })) => assert_eq!(test, TestConfig::default(), "{row}"),
            (expected, Ok(Request { test, .. })) => assert_eq!(expected, summary(&test), "{row}"),
            (expected, Err(error)) => assert_eq!(expected, format!("refused, {}", error.code().0), "{row}"),
        }
    }
}

/// What the rows look at.
fn summary(test: &TestConfig) -> String {
    match &test.title {
        Some(title) => format!("title {title:?}"),
        None => format!("{} s", test.duration().map_or(0, |time| time.as_secs())),
    }
}

/// `\xff` is a byte, and `[*9]` are nine arrays in each other.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\x") {
            bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        } else if let Some(after) = rest.strip_prefix("[*") {
            let (count, after) = after.split_once(']').unwrap();
            let count = count.parse().unwrap();
            bytes.extend(b"[".repeat(count));
            bytes.extend(b"]".repeat(count));
            rest = after;
        } else {
            bytes.extend(next.to_string().as_bytes());
            rest = &rest[next.len_utf8()..];
        }
    }
    bytes
}
