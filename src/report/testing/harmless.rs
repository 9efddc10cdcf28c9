//! No report lets a peer speak to a terminal, or write a line of its own.

use crate::config::{
    BlockSize, Direction, EndCondition, OutputConfig, Pacing, Protocol, Role, SocketConfig, TestConfig,
};
use crate::protocol::{Cookie, EngineReport, PeerReport, QueueReport};

use crate::report::testing::fixtures;
use crate::report::{
    FailureText, Introduction, JsonReporter, JsonStreamReporter, Reporter, RunEvent, ServerOutput,
    SessionInfo, TestEnd, TextReporter,
};

/// Clears a screen in both ways, colours it, rings, and turns the direction of writing; between that a line
/// that looks like one of the report's own.
const EVIL: &str =
    "a\u{1b}[2J\u{9b}31m\u{7}\u{0}\r\nFORGED\u{7f}\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}b";

/// As [`EVIL`], for what may have lines: what a server has printed.
const EVIL_LINES: &str = "one\n\u{1b}[2J\u{9b}31m\ttwo\r\n\u{202e}";

#[test]
fn nothing_that_a_peer_says_is_obeyed() {
    for role in [Role::Client, Role::Server] {
        for mut reporter in reporters(role) {
            for event in events(role) {
                let text = fixtures::printed(reporter.as_mut(), &event) + &reporter.complaint(&event);
                let bad: Vec<char> = text.chars().filter(|&one| is_harmful(one)).collect();
                assert!(bad.is_empty(), "{bad:?} in {text} of {event:?}");
                assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{text} of {event:?}");
            }
        }
    }
}

#[test]
fn a_document_has_the_words_as_they_came() {
    let mut reporter = JsonReporter::new(Role::Server);
    let text: String =
        events(Role::Server).iter().map(|event| fixtures::printed(&mut reporter, event)).collect();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["title"], EVIL);
    assert_eq!(document["extra_data"], EVIL);
    assert_eq!(document["ringperf"]["peer"]["engines"][0]["reason"], EVIL);
}

fn is_harmful(one: char) -> bool {
    one.is_control() && one != '\n' && one != '\t'
        || matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(one, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn reporters(role: Role) -> Vec<Box<dyn Reporter>> {
    let output = OutputConfig { verbose: true, debug: 4, ..OutputConfig::default() };
    vec![
        Box::new(TextReporter::new(&output)),
        Box::new(JsonReporter::new(role)),
        Box::new(JsonStreamReporter::new(role, true)),
    ]
}

/// Everything that can happen, with the words of a peer wherever there may be some.
fn events(role: Role) -> Vec<RunEvent> {
    let events = vec![
        RunEvent::Listening { port: 5201, test_number: 1 },
        RunEvent::Session(Box::new(evil_session(role))),
        RunEvent::Debug(format!("{EVIL_LINES}\n")),
        RunEvent::Start(Box::new(fixtures::start(role, Direction::Bidir, 1))),
        RunEvent::OmitOver,
        RunEvent::Interval(fixtures::interval(role, Direction::Bidir, 1, 0)),
        RunEvent::Warning(EVIL.to_owned()),
        RunEvent::CommonWarning(EVIL.to_owned()),
        RunEvent::End(Box::new(evil_end(role))),
        RunEvent::Peer(Box::new(evil_peer())),
        RunEvent::ServerOutput(ServerOutput::Text(EVIL_LINES.to_owned())),
        RunEvent::ServerOutput(ServerOutput::Json(serde_json::json!({ EVIL: [EVIL] }).to_string())),
        RunEvent::Error(EVIL.into()),
        RunEvent::Error(FailureText::new(EVIL, Introduction::ServerError { announcement: EVIL.to_owned() })),
        RunEvent::Done,
    ];
    // An event that is missing above is missing here, and then this is not compiled.
    for event in &events {
        match event {
            RunEvent::Listening { .. }
            | RunEvent::Session(_)
            | RunEvent::Start(_)
            | RunEvent::Interval(_)
            | RunEvent::OmitOver
            | RunEvent::End(_)
            | RunEvent::Peer(_)
            | RunEvent::ServerOutput(ServerOutput::Text(_) | ServerOutput::Json(_))
            | RunEvent::Warning(_)
            | RunEvent::CommonWarning(_)
            | RunEvent::Error(_)
            | RunEvent::Debug(_)
            | RunEvent::Done => {}
        }
    }
    events
}

/// Every field is named here and below, so a new one must be thought of. A client's title is its own.
fn evil_session(role: Role) -> SessionInfo {
    let evil = || Some(EVIL.to_owned());
    let test = TestConfig {
        protocol: Protocol::Tcp,
        direction: Direction::Bidir,
        parallel: 1,
        end: EndCondition::Unlimited,
        omit_secs: 1,
        block: BlockSize::default(),
        pacing: Pacing::default(),
        socket: SocketConfig {
            window_bytes: None,
            mss_bytes: None,
            no_delay: false,
            congestion: evil(),
            fq_bits_per_second: 0,
            tos: 0,
            flow_label: None,
        },
        zerocopy: false,
        skip_rx_copy: false,
        repeating_payload: false,
        title: if role == Role::Server { evil() } else { None },
        extra_data: evil(),
        server_output: true,
        server_cpu: None,
        pacing_timer_us: 0,
    };
    let mut cookie = [0x9b; Cookie::LEN];
    cookie[..8].copy_from_slice(b"\x1b[2J\n\r\x7f\0");
    let plain = fixtures::session(role, test);
    SessionInfo {
        role: plain.role,
        host: EVIL.to_owned(),
        port: plain.port,
        cookie: Cookie::from_wire(cookie).printable(),
        time: plain.time,
        control_mss: plain.control_mss,
        user: evil(),
        extras_in_output: true,
        has_rate: plain.has_rate,
        interval: plain.interval,
        test: plain.test,
    }
}

fn evil_end(role: Role) -> TestEnd {
    let plain = fixtures::end(role, Direction::Bidir, 1);
    TestEnd {
        file: None,
        exchanged: plain.exchanged,
        peer_unknown: plain.peer_unknown,
        streams: plain.streams,
        cpu_local: plain.cpu_local,
        cpu_remote: plain.cpu_remote,
        cpu_time: plain.cpu_time,
        cpu_time_remote: plain.cpu_time_remote,
        congestion_local: Some(EVIL.to_owned()),
        congestion_remote: Some(EVIL.to_owned()),
        engines: vec![evil_engine()],
        peer: Some(evil_peer()),
        datagrams: plain.datagrams,
        queues: plain.queues,
    }
}

fn evil_peer() -> PeerReport {
    PeerReport {
        version: EVIL.to_owned(),
        cpu_user_seconds: Some(0.0),
        cpu_system_seconds: Some(0.0),
        engines: vec![evil_engine()],
        datagrams: Vec::new(),
        queues: vec![QueueReport {
            device: EVIL.to_owned(),
            kind: EVIL.to_owned(),
            dropped_packets: Some(1),
        }],
    }
}

fn evil_engine() -> EngineReport {
    let plain = fixtures::sending_engine();
    let evil = || EVIL.to_owned();
    EngineReport {
        flow: evil(),
        asked: evil(),
        used: evil(),
        reason: evil(),
        fix: evil(),
        operations: plain.operations,
        zero_copy: plain.zero_copy,
        latency: plain.latency,
        pacing: plain.pacing,
        busy_seconds: plain.busy_seconds,
        rwnd_limited_seconds: plain.rwnd_limited_seconds,
        sndbuf_limited_seconds: plain.sndbuf_limited_seconds,
        placement: Some(evil()),
        busy_poll: plain.busy_poll,
        processors: plain.processors,
        sizes: plain.sizes,
    }
}
