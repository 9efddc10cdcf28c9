//! Every message between two ringperfs as version 0.1.0 says it, and as older and later versions do. Later
//! versions must go on understanding what is recorded here.

use serde_json::{Value, json};

use super::*;
use crate::config::{EngineChoice, Placement};
use crate::protocol::{Cookie, UDP_CONNECT, UDP_REPLY, params};
use crate::stats::{Percentiles, ZeroCopy};

const MEMBER: &str = include_str!("recorded/parameters_member.json").trim_ascii_end();
const TCP_PART: &str = include_str!("recorded/tcp_part.json").trim_ascii_end();
const UDP_PART: &str = include_str!("recorded/udp_part.json").trim_ascii_end();

/// A cookie and a challenge, and the words that have them.
const COOKIE: [u8; Cookie::LEN] = *b"wxop4qzzoueffgsgb7qdzxc35x5um2llqa3k\0";
const CHALLENGE: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x31, 0x0a, 0xc3];
const NAMED: &[u8] = b"9876wxop4qzzoueffgsgb7qdzxc35x5um2llqa3k\0\0\0\0\0\0\0\0\0";
const NAMED_AGAIN: &[u8] = b"9876wxop4qzzoueffgsgb7qdzxc35x5um2llqa3k\0\x00\x01\x7f\x80\xff\x31\x0a\xc3";
const CHALLENGED: &[u8] = b"6789\x00\x01\x7f\x80\xff\x31\x0a\xc3";

/// The streams of a test in both directions.
const IDS: [u32; 2] = [1, 3];

/// The rows of a table: what stands in front of each, and its first three cells.
fn rows(text: &str, margin: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix(margin)?.strip_prefix("| "));
    rows.map(|row| row.split(" | ").take(3).map(|cell| cell.trim_end_matches(" |").to_owned()).collect())
        .collect()
}

#[test]
fn the_page_and_the_module_list_the_same_messages() {
    let module = rows(include_str!("mod.rs"), "//! ");
    let page = include_str!("../../../docs/PROTOCOL.md").split("## Two ringperfs").nth(1).unwrap();
    assert_eq!(module, rows(page, ""));
    assert_eq!(module.len(), 7, "a head and six messages");
}

/// What a server takes from parameters with this member.
fn hello_in(member: &str) -> Option<Hello> {
    let parameters = format!("{{\"tcp\":true,\"parallel\":1,\"ringperf\":{member}}}");
    params::decode(parameters.as_bytes()).unwrap().hello
}

fn recorded_hello() -> Hello {
    Hello {
        version: "0.1.0".to_owned(),
        engine: Some(EngineChoice::UringZc),
        cpus: Some(Placement::List("2-3,7".parse().unwrap())),
        explicit_block: true,
        extras: true,
        extension: Extension(2),
    }
}

#[test]
fn the_recorded_member_of_the_parameters() {
    assert_eq!(hello_in(MEMBER), Some(recorded_hello()));
    assert_eq!(serde_json::to_string(&recorded_hello()).unwrap(), MEMBER);
    // What is left to the server, and what nobody has asked for, is not said.
    let least = r#"{"version":"0.1.0","explicit_block":false,"extension":2}"#;
    let hello = Hello { engine: None, cpus: None, explicit_block: false, extras: false, ..recorded_hello() };
    assert_eq!(hello_in(least), Some(hello.clone()));
    assert_eq!(serde_json::to_string(&hello).unwrap(), least);
}

#[test]
fn the_member_of_another_version() {
    let none = Hello {
        version: "0".to_owned(),
        engine: None,
        cpus: None,
        explicit_block: false,
        extras: false,
        extension: Extension::NONE,
    };
    for (member, hello, common) in [
        // Older ones.
        (r#"{"version":"0"}"#, Some(none.clone()), Extension::NONE),
        (
            r#"{"version":"0","explicit_block":true,"extension":1}"#,
            Some(Hello { explicit_block: true, extension: Extension(1), ..none.clone() }),
            Extension(1),
        ),
        // Later ones: a larger number, more keys, an engine and a placement that are not known here.
        (
            r#"{"version":"0","engine":"warp","cpus":"far","extension":7,"more":{"of":["it"]}}"#,
            Some(Hello { extension: Extension(7), ..none }),
            Extension::OWN,
        ),
        // One that is no version of it at all is an iperf3's.
        (r#"{"extension":2}"#, None, Extension::NONE),
    ] {
        assert_eq!(hello_in(member), hello, "{member}");
        let parameters = format!("{{\"tcp\":true,\"ringperf\":{member}}}");
        assert_eq!(params::decode(parameters.as_bytes()).unwrap().extension(), common, "{member}");
    }
    assert_eq!(params::decode(b"{}").unwrap().extension(), Extension::NONE);
}

#[test]
fn the_recorded_hello() {
    let recorded = r#"{"version":"0.1.0","extension":2}"#;
    let hello = ServerHello { version: "0.1.0".to_owned(), extension: Extension(2) };
    assert_eq!(ServerHello::decode(recorded.as_bytes()).unwrap(), hello);
    assert_eq!(hello.encode(), recorded);
    assert_eq!(ServerHello::own().extension, Extension::OWN);
}

#[test]
fn the_hello_of_another_version() {
    for (text, version, extension, common) in [
        (r#"{"version":"0.1.0","extension":1}"#, "0.1.0", 1, Extension(1)),
        (
            r#"{"version":"9.1.0-rc1+g123","extension":7,"more":{"of":["it"]}}"#,
            "9.1.0-rc1+g123",
            7,
            Extension::OWN,
        ),
    ] {
        let hello = ServerHello::decode(text.as_bytes()).unwrap();
        assert_eq!((hello.version.as_str(), hello.extension), (version, Extension(extension)));
        assert_eq!(hello.extension.common(Extension::OWN), common);
    }
    // Who has nothing to say of it says no hello.
    assert!(ServerHello::decode(br#"{"version":"0.1.0"}"#).is_err());
    assert_eq!(Extension::OWN.common(Extension::NONE), Extension::NONE);
    for (extension, is_spoken, names_tests) in
        [(0, false, false), (1, true, false), (2, true, true), (u32::MAX, true, true)]
    {
        let common = Extension(extension).common(Extension::OWN);
        assert_eq!((common.is_spoken(), common.names_tests_in_connects()), (is_spoken, names_tests));
    }
}

#[test]
fn the_recorded_words() {
    let cookie = Cookie::from_wire(COOKIE);
    let challenge = UdpChallenge::from_random(CHALLENGE);
    for (word, recorded) in [
        (UdpConnect::first(None), &b"9876"[..]),
        (UdpConnect::first(Some(cookie)), NAMED),
        (UdpConnect::Named { cookie, echo: challenge }, NAMED_AGAIN),
    ] {
        assert_eq!(word.encode(), recorded);
        assert_eq!(UdpConnect::decode(recorded), Some(word));
    }
    assert_eq!(challenge.encode(), CHALLENGED);
    assert_eq!(UdpChallenge::decode(CHALLENGED), Some(challenge));
}

#[test]
fn the_words_of_another_version() {
    // An iperf3 and an older ringperf say and hear the four bytes only, which is no word of a test that has
    // its cookie in it; nor is the other one of a test that has not.
    let cookie = Cookie::from_wire(COOKIE);
    let [bare, named] = [&UDP_CONNECT[..], NAMED].map(|word| UdpConnect::decode(word).unwrap());
    assert!(bare.is_of(None) && !bare.is_of(Some(&cookie)));
    assert!(named.is_of(Some(&cookie)) && !named.is_of(None));
    // To an iperf3's answer there is nothing to repeat.
    assert_eq!(UdpChallenge::decode(&UDP_REPLY), None);
    // A later version cannot put anything behind them without a new number: it would be a datagram of a test.
    assert_eq!(UdpConnect::decode(&[NAMED, b"x"].concat()), None);
    assert_eq!(UdpChallenge::decode(&[CHALLENGED, b"x"].concat()), None);
}

fn times(count: u64, times: [f64; 5]) -> Option<Percentiles> {
    let [p50_us, p90_us, p99_us, p999_us, max_us] = times;
    Some(Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us })
}

/// What both recorded parts say of where the threads of one flow ran.
fn processors(flow: &str) -> Vec<ProcessorReport> {
    let share = |cpu, percent| ProcessorShare { cpu, percent };
    vec![match flow {
        "send" => ProcessorReport {
            id: 1,
            placed: Some(3),
            looks: 200,
            moves: 4,
            distinct: 2,
            shares: vec![share(3, 98.0), share(0, 2.0)],
            interrupts: Some(InterruptShare { processor_percent: 2.0, core_percent: 50.0 }),
        },
        _ => ProcessorReport {
            id: 3,
            placed: None,
            looks: 100,
            moves: 0,
            distinct: 1,
            shares: vec![share(1, 100.0)],
            interrupts: Some(InterruptShare { processor_percent: 0.0, core_percent: 0.0 }),
        },
    }]
}

/// What both recorded parts have in common for an engine of one flow.
fn engine(flow: &str) -> EngineReport {
    let is_sender = flow == "send";
    let node = u8::from(!is_sender);
    EngineReport {
        flow: flow.to_owned(),
        asked: String::new(),
        used: String::new(),
        reason: "as asked".to_owned(),
        fix: String::new(),
        operations: 0,
        zero_copy: None,
        latency: LatencyReport::default(),
        pacing: None,
        busy_seconds: None,
        rwnd_limited_seconds: None,
        sndbuf_limited_seconds: None,
        placement: Some(format!("near: the processors of node {node}")),
        busy_poll: Some(BusyPollReport {
            asked_us: 50,
            set_us: is_sender.then_some(40),
            streams: 1,
            napi_streams: is_sender.then_some(1),
        }),
        processors: processors(flow),
        sizes: None,
    }
}

fn tcp_part() -> PeerReport {
    let tried = |bytes, marked, plain, rate_share| TriedSizes { bytes, marked, plain, rate_share };
    let sender = EngineReport {
        asked: "auto".to_owned(),
        used: "uring-zc".to_owned(),
        reason: "zero-copy is real here".to_owned(),
        operations: 8000,
        zero_copy: Some(ZeroCopy {
            requested_bytes: 1_048_576_000,
            copied_bytes: 1_048_576,
            outstanding: 2,
            requested_sends: 8000,
            copied_sends: 8,
        }),
        latency: LatencyReport {
            rtt: times(100, [20.0, 30.0, 40.0, 50.5, 60.0]),
            completion: times(8000, [100.0, 110.0, 120.0, 130.0, 140.25]),
            release: times(7998, [200.0, 210.0, 220.0, 230.0, 240.0]),
        },
        busy_seconds: Some(1.0),
        rwnd_limited_seconds: Some(0.5),
        sndbuf_limited_seconds: Some(0.125),
        sizes: Some(SizesReport {
            bytes: 131_072,
            marked: None,
            plain: None,
            others: vec![tried(1_048_576, None, None, Some(0.75))],
        }),
        ..engine("send")
    };
    let receiver = EngineReport {
        asked: "sync".to_owned(),
        used: "sync".to_owned(),
        fix: "nothing".to_owned(),
        operations: 9000,
        sizes: Some(SizesReport {
            bytes: 262_144,
            marked: Some(true),
            plain: Some(false),
            others: vec![tried(65_536, Some(false), Some(true), None)],
        }),
        ..engine("receive")
    };
    PeerReport {
        version: "0.1.0".to_owned(),
        cpu_user_seconds: Some(0.25),
        cpu_system_seconds: Some(1.5),
        engines: vec![sender, receiver],
        datagrams: Vec::new(),
        queues: Vec::new(),
    }
}

fn udp_part() -> PeerReport {
    let completion = times(850, [10.0, 11.0, 12.0, 13.0, 14.5]);
    let sender = EngineReport {
        asked: "uring".to_owned(),
        used: "uring".to_owned(),
        operations: 850,
        latency: LatencyReport { completion, ..LatencyReport::default() },
        pacing: Some(PacingReport {
            target_bits_per_second: 1e7,
            achieved_bits_per_second: 9.99e6,
            bursts: 850,
            burst_mean: 1.5,
            burst_max: 4,
            inter_departure: times(849, [1000.0, 1010.0, 1020.0, 1030.0, 1040.5]),
        }),
        ..engine("send")
    };
    let receiver = EngineReport {
        asked: "auto".to_owned(),
        used: "uring".to_owned(),
        reason: "io_uring works here".to_owned(),
        operations: 1300,
        ..engine("receive")
    };
    let queue = |device: &str, kind: &str, dropped_packets| QueueReport {
        device: device.to_owned(),
        kind: kind.to_owned(),
        dropped_packets,
    };
    PeerReport {
        version: "0.1.0".to_owned(),
        cpu_user_seconds: Some(0.5),
        cpu_system_seconds: Some(2.25),
        engines: vec![sender, receiver],
        datagrams: vec![ReceivedDatagrams {
            id: 3,
            received: 1276,
            duplicates: 2,
            reordered: 5,
            lost_in_socket: 1,
            dropped_after_last: 7,
            foreign: 3,
        }],
        queues: vec![queue("eth0", "fq_codel", Some(17)), queue("lo", "noqueue", None)],
    }
}

fn parts() -> [(&'static str, PeerReport); 2] {
    [(TCP_PART, tcp_part()), (UDP_PART, udp_part())]
}

fn decode(text: &str) -> Result<PeerReport, PartError> {
    PeerReport::decode(text.as_bytes(), &IDS)
}

#[test]
fn the_recorded_parts() {
    for (recorded, part) in parts() {
        assert_eq!(decode(recorded).unwrap(), part);
        assert_eq!(part.encode(), recorded);
    }
}

/// Changes every object of a value, the inner ones first.
fn change_objects(value: &mut Value, change: &dyn Fn(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(|member| change_objects(member, change));
            change(members);
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| change_objects(element, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text of a recorded part with all its objects changed.
fn changed(recorded: &str, change: &dyn Fn(&mut serde_json::Map<String, Value>)) -> String {
    let mut value = serde_json::from_str(recorded).unwrap();
    change_objects(&mut value, change);
    value.to_string()
}

/// What the first ringperf that told a part did not tell yet.
const LATER_KEYS: [&[&str]; 10] = [
    &["requested_sends", "copied_sends"],
    &["pacing"],
    &["placement"],
    &["busy_poll"],
    &["processors"],
    &["interrupts"],
    &["sizes"],
    &["plain"],
    &["datagrams"],
    &["queues"],
];

fn without(recorded: &str, keys: &[&str]) -> String {
    changed(recorded, &|members| keys.iter().for_each(|key| drop(members.remove(*key))))
}

#[test]
fn the_part_of_an_older_ringperf() {
    for (recorded, mut part) in parts() {
        let older = without(recorded, &LATER_KEYS.concat());
        for engine in &mut part.engines {
            if let Some(sends) = &mut engine.zero_copy {
                (sends.requested_sends, sends.copied_sends) = (0, 0);
            }
            (engine.pacing, engine.placement, engine.busy_poll, engine.sizes) = (None, None, None, None);
            engine.processors.clear();
        }
        part.datagrams.clear();
        part.queues.clear();
        assert_eq!(decode(&older).unwrap(), part);
    }
    // Each may be missing by itself, wherever it stands.
    for (recorded, _) in parts() {
        for keys in LATER_KEYS {
            assert!(decode(&without(recorded, keys)).is_ok(), "without {keys:?}");
        }
    }
    // What has always been there may not.
    for key in ["version", "engines", "flow", "asked", "used", "reason", "fix", "operations", "latency"] {
        assert!(matches!(decode(&without(TCP_PART, &[key])), Err(PartError::Shape)), "without {key}");
    }
}

#[test]
fn the_part_of_a_later_ringperf() {
    for (recorded, part) in parts() {
        let more = |members: &mut serde_json::Map<String, Value>| {
            members.insert("later".to_owned(), json!({"of": [1, "it"]}));
        };
        assert_eq!(decode(&changed(recorded, &more)).unwrap(), part);
        // An engine that is not known here has a name like any other.
        let renamed = decode(&recorded.replace(r#""used":"uring"#, r#""used":"warp"#)).unwrap();
        assert!(renamed.engines.iter().any(|engine| engine.used.starts_with("warp")));
        // A third direction is none of this test's.
        let sideways = recorded.replacen(r#""flow":"receive""#, r#""flow":"sideways""#, 1);
        assert!(matches!(decode(&sideways), Err(PartError::Impossible("flow"))));
    }
}
