//! Whatever is reported can be read, is the same when it is written again, and keeps to the schema.

use jsonschema::Validator;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Direction, Protocol, Role, SctpConfig, TestConfig, UdpConfig};
use crate::report::escape::escape_json;
use crate::report::testing::fixtures;
use crate::report::{
    FailureText, FileReport, JsonReporter, JsonStreamReporter, Reporter, RunEvent, ServerOutput, SessionInfo,
    TestEnd,
};

use super::{Document, End, Event};

/// What happens in a test, and at which end.
type Case = (Role, Vec<RunEvent>);

#[test]
fn documents_are_read_and_written_again() {
    let validator = validator();
    for (role, events) in cases() {
        for mut reporter in [JsonReporter::new(role), JsonReporter::new(role).plain()] {
            let text = printed(&mut reporter, &events);
            let document = Document::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(with_tabs(&document), text);
            assert_eq!(Document::read(&compact(&document)).unwrap(), document);
            assert_keeps(&validator, &text);
        }
    }
}

#[test]
fn events_are_read_and_written_again() {
    let validator = validator();
    for (role, events) in cases() {
        for mut reporter in [
            JsonStreamReporter::new(role, false),
            JsonStreamReporter::new(role, false).marked(7),
            JsonStreamReporter::new(role, false).plain(),
        ] {
            let text = printed(&mut reporter, &events);
            assert!(text.ends_with('\n'));
            for line in text.lines() {
                let event = Event::read(line).unwrap_or_else(|error| panic!("{error}\n{line}"));
                assert_eq!(compact(&event), line);
                assert_keeps(&validator, line);
            }
        }
    }
}

#[test]
fn a_document_has_what_was_reported() {
    let (role, direction) = (Role::Client, Direction::Bidir);
    let events = complete(role, TestConfig { direction, parallel: 2, ..TestConfig::default() });
    let document = Document::read(&printed(&mut JsonReporter::new(role), &events)).unwrap();
    assert_eq!(
        (document.start.connected[3].socket, document.start.buffers().unwrap().sndbuf_actual),
        (8, 16_384)
    );
    assert_eq!(document.intervals[1].sum.span.bytes, 1_310_720);
    assert_eq!(document.intervals[1].streams[0].retransmits, Some(1));
    let End::Tcp(end) = &document.end else { panic!("{:?}", document.end) };
    assert_eq!(end.sum_received_bidir_reverse.as_ref().unwrap().total.bytes, Some(2_621_440));
    assert_eq!(document.ringperf.unwrap().cpu_seconds.local_system, Some(0.8));
}

#[test]
fn what_is_no_document_says_why() {
    for (text, why) in [
        ("{", "not what iperf3 or ringperf reports: EOF while parsing an object at line 1 column 1"),
        ("{}", "missing field `start`"),
        (
            r#"{"start":{"connected":[],"version":"","system_info":""},"intervals":[{}]}"#,
            "missing field `streams`",
        ),
    ] {
        let error = Document::read(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// What real programs have printed, but for the name of the machine. A server says twice what the target is,
/// and the older one does not tell all the parameters.
#[test]
fn documents_of_iperf3_are_read_and_nothing_of_them_is_lost() {
    for text in [
        include_str!("recorded/iperf3_3.12_tcp_server.json"),
        include_str!("recorded/iperf3_3.12_udp_client.json"),
        include_str!("recorded/iperf3_3.22_tcp_client.json"),
        include_str!("recorded/iperf3_3.22_udp_server.json"),
    ] {
        let document = Document::read(text).unwrap();
        assert_has(&serde_json::to_value(&document).unwrap(), &serde_json::from_str(text).unwrap(), "");
        assert_eq!(document.intervals.len(), 1);
        assert_eq!(document.ringperf, None);
        let is_udp = document.start.test_start.is_some_and(|test| test.protocol == "UDP");
        assert!(matches!((is_udp, &document.end), (true, End::Udp(_)) | (false, End::Tcp(_))), "{text}");
    }
}

/// The first time as the word of a server, and then as its own.
#[test]
fn the_last_error_of_a_server_of_iperf3_counts() {
    let text = include_str!("recorded/iperf3_3.22_udp_server.json").trim_end();
    let open = text.strip_suffix('}').unwrap();
    let text = format!("{open}, \"error\": \"SERVER ERROR - no\", \"error\": \"no\"}}");
    assert_eq!(Document::read(&text).unwrap().error.as_deref(), Some("no"));
}

/// A real loss of 0 with what iperf3 says of it where a datagram came after its interval.
#[test]
fn a_loss_below_zero_is_read_as_none() {
    let whole = include_str!("recorded/iperf3_3.22_udp_server.json");
    let none = "\"lost_packets\":\t0,";
    for lost in ["-1", "18446744073709551615"] {
        let text = whole.replace(none, &format!("\"lost_packets\": {lost},"));
        let text = text.replace("\"lost_percent\":\t0,", "\"lost_percent\": -12.5,");
        assert!(whole.matches(none).count() >= 4 && text.matches("-12.5").count() >= 4, "{text}");
        assert_eq!(Document::read(&text).unwrap(), Document::read(whole).unwrap(), "{lost}");
    }
}

/// Of a UDP test they have nothing but the sum of both ends in one.
#[test]
fn what_older_versions_of_iperf3_do_not_sum_is_not_known() {
    let mut value: Value =
        serde_json::from_str(include_str!("recorded/iperf3_3.12_udp_client.json")).unwrap();
    value["end"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("sum_"));
    let document = Document::read(&value.to_string()).unwrap();
    let End::Udp(end) = &document.end else { panic!("{:?}", document.end) };
    assert_eq!((end.sum.total.bytes, end.sum.sender), (Some(131_072), true));
    let written = serde_json::to_value(&document).unwrap();
    for (sum, sender) in [("sum_sent", true), ("sum_received", false)] {
        assert_eq!(
            written["end"][sum],
            json!({"start": 0, "end": null, "seconds": null, "bytes": null, "bits_per_second": null,
                "jitter_ms": null, "lost_packets": null, "packets": null, "lost_percent": null,
                "sender": sender})
        );
    }
}

/// Everything that `theirs` has is there in `ours`.
fn assert_has(ours: &Value, theirs: &Value, path: &str) {
    match theirs {
        Value::Array(elements) => {
            assert_eq!(ours.as_array().map(Vec::len), Some(elements.len()), "{path}");
            for (at, element) in elements.iter().enumerate() {
                assert_has(&ours[at], element, &format!("{path}/{at}"));
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                assert_has(&ours[key], member, &format!("{path}/{key}"));
            }
        }
        _ => assert_eq!((ours, ours.as_f64()), (theirs, theirs.as_f64()), "{path}"),
    }
}

/// A later version may have more to say.
#[test]
fn keys_that_are_not_known_are_passed_over() {
    let role = Role::Server;
    let text =
        printed(&mut JsonReporter::new(role), &complete(role, fixtures::udp_test(Direction::Forward, 1)));
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let all: Vec<String> =
        paths(&value, "").into_iter().filter(|path| !path.contains("server_output")).collect();
    for path in &all {
        value.pointer_mut(path).unwrap().as_object_mut().unwrap().insert("more".to_owned(), json!([{}]));
    }
    assert!(all.len() > 20, "{all:?}");
    assert_eq!(Document::read(&value.to_string()).unwrap(), Document::read(&text).unwrap());
}

/// Where the objects of a document are, the empty ones not counted.
fn paths(value: &Value, path: &str) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(at, element)| (at.to_string(), element)).collect()
        }
        Value::Object(members) => members.iter().map(|(key, member)| (key.clone(), member)).collect(),
        _ => Vec::new(),
    };
    let mut found: Vec<String> =
        below.iter().flat_map(|(key, value)| paths(value, &format!("{path}/{key}"))).collect();
    if value.is_object() && !below.is_empty() {
        found.push(path.to_owned());
    }
    found
}

/// Tests of every kind, and what can become of each.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        (Role::Client, vec![RunEvent::Error("connection refused".into())]),
        (
            Role::Server,
            vec![RunEvent::Warning("w".into()), RunEvent::Error("the client has terminated".into())],
        ),
    ];
    for role in [Role::Client, Role::Server] {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidir] {
            for parallel in [1, 2] {
                for protocol in [
                    Protocol::Tcp,
                    Protocol::Sctp(SctpConfig::default()),
                    Protocol::Udp(UdpConfig::default()),
                ] {
                    let test = TestConfig { protocol, direction, parallel, ..TestConfig::default() };
                    cases.extend(outcomes(role, &test).map(|events| (role, events)));
                }
            }
        }
    }
    cases
}

/// A test that is complete, that has all that may come with one, that breaks off, that moves nothing, and
/// whose peer does not tell what it has measured.
fn outcomes(role: Role, test: &TestConfig) -> [Vec<RunEvent>; 5] {
    let rich = TestConfig {
        title: Some("t\u{9b}\"\\é速\n".into()),
        extra_data: Some("{\"a\":[1,2]}".into()),
        server_output: true,
        ..test.clone()
    };
    let mut rich = complete(role, rich);
    let (mut broken, mut still, mut silent) =
        (complete(role, test.clone()), complete(role, test.clone()), complete(role, test.clone()));
    change(&mut rich, |end| {
        end.engines = vec![fixtures::sending_engine()];
        end.engines[0].pacing = Some(fixtures::pacing());
        end.file = Some(FileReport { name: "f".into(), bytes: Some(1 << 20) });
        end.datagrams = vec![fixtures::datagrams(1, "send")];
    });
    rich.insert(4, RunEvent::OmitOver);
    rich.push(RunEvent::Peer(Box::new(fixtures::peer())));
    rich.push(RunEvent::CommonWarning("w\u{202e}".into()));
    rich.push(RunEvent::ServerOutput(match role {
        Role::Client => {
            ServerOutput::Json(json!({"start": {}, "end": [1, 2.5, {"a": null}, "\u{9b}"]}).to_string())
        }
        Role::Server => ServerOutput::Text("rows\n\u{9b}".into()),
    }));
    broken.truncate(4);
    broken.push(RunEvent::Error(FailureText::from("interrupt - stopped")));
    if let Some(RunEvent::Session(session)) = still.first_mut() {
        **session = SessionInfo { has_rate: false, ..SessionInfo::clone(session) };
    }
    change(&mut silent, |end| {
        end.peer_unknown = true;
        end.file = Some(FileReport { name: "pipe".into(), bytes: None });
    });
    [complete(role, test.clone()), rich, broken, still, silent]
}

/// The events of a test of two intervals, the first of which is omitted.
fn complete(role: Role, test: TestConfig) -> Vec<RunEvent> {
    let (direction, parallel) = (test.direction, test.parallel);
    let (interval, end) = match test.protocol.udp() {
        Some(_) => (
            fixtures::udp_interval as fn(Role, Direction, u32, u64) -> crate::report::Interval,
            fixtures::udp_end(role, direction, parallel),
        ),
        None => (fixtures::interval as _, fixtures::end(role, direction, parallel)),
    };
    let mut omitted = interval(role, direction, parallel, 0);
    omitted.omitted = true;
    vec![
        RunEvent::Session(Box::new(fixtures::session(role, test))),
        RunEvent::Start(Box::new(fixtures::start(role, direction, parallel))),
        RunEvent::Interval(omitted),
        RunEvent::Interval(interval(role, direction, parallel, 1)),
        RunEvent::End(Box::new(end)),
    ]
}

fn change(events: &mut [RunEvent], change: impl Fn(&mut TestEnd)) {
    for event in events {
        if let RunEvent::End(end) = event {
            change(end);
        }
    }
}

fn printed(reporter: &mut dyn Reporter, events: &[RunEvent]) -> String {
    let events = events.iter().chain(&[RunEvent::Done]);
    events.map(|event| fixtures::printed(reporter, event)).collect()
}

/// The document as a printer of `serde_json` writes it.
fn with_tabs(document: &Document) -> String {
    let mut bytes = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, tabs)).unwrap();
    escape_json(std::str::from_utf8(&bytes).unwrap()).into_owned() + "\n"
}

fn compact(value: &impl Serialize) -> String {
    escape_json(&serde_json::to_string(value).unwrap()).into_owned()
}

fn validator() -> Validator {
    let schema = serde_json::from_str(crate::report::JSON_SCHEMA).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn assert_keeps(validator: &Validator, text: &str) {
    let value = serde_json::from_str(text).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{text}");
}
