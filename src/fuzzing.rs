//! What the fuzzers in `fuzz/` do with the bytes they make up: each a function of its own, which looks at
//! everything that must hold whatever the bytes are, and panics if it does not.
//!
//! The unit tests call the same functions with the corpus in `fuzz/corpus/`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::auth;
use crate::config::{Direction, Flow, OutputConfig, Role, TestConfig, cli};
use crate::control::testing::fuzzing as sessions;
use crate::control::with_results;
use crate::engine::{UdpJob, count_messages};
use crate::protocol::{PeerReport, Results, ServerHello, ServerText, params, results};
use crate::report::document::{Document, Event};
use crate::report::testing::fixtures;
use crate::report::{
    Interval, JsonReporter, JsonStreamReporter, Reporter, RunEvent, ServerOutput, SessionInfo, StreamEnd,
    TestEnd, TestStart, TextReporter,
};
use crate::stats::{Counters, CpuUse, DatagramCounters, StreamSampler};
use crate::sys::Message;
use crate::units;

/// Takes bytes and panics when something does not hold.
pub type Target = fn(&[u8]);

/// All targets by name. A file `fuzz/fuzz_targets/NAME.rs` and a folder `fuzz/corpus/NAME` belong to each.
pub const TARGETS: [(&str, Target); 9] = [
    ("params", params),
    ("results", results),
    ("extension", extension),
    ("server", server),
    ("client", client),
    ("datagrams", datagrams),
    ("token", token),
    ("users", users),
    ("command_line", command_line),
];

/// A client's parameters at a server.
///
/// # Panics
/// What was read is not what is written again, or a refusal would harm a log.
pub fn params(frame: &[u8]) {
    match params::decode(frame) {
        Ok(request) => {
            // A long token, or text that is written with more escapes than it came with, does not fit.
            let Ok(text) = params::encode(&request) else { return };
            let again = params::decode(text.as_bytes()).expect("own parameters are good");
            // The rounds of an offload's buffers and our own hello are not those of the peer.
            assert_eq!(again.test, TestConfig { block: again.test.block, ..request.test.clone() });
            assert_eq!(again.test.block.bytes, request.test.block.bytes);
        }
        Err(error) => assert_is_harmless(&error.to_string(), &[]),
    }
}

/// A peer's results and all reports of the test; the first byte says of what kind it was.
///
/// # Panics
/// What was read is not what is written again, or a report is not harmless or not JSON.
pub fn results(data: &[u8]) {
    let Some((&kind, frame)) = data.split_first() else { return };
    let results = match results::decode(frame) {
        Ok(results) => results,
        Err(error) => return assert_is_harmless(&error.to_string(), &[]),
    };
    let again = results::decode(results::encode(&results).as_bytes()).expect("own results are good");
    assert_eq!(again.streams, results.streams);
    // They come in pieces, and may have to do without a report that is too long.
    let pieces = 1 + usize::from(kind >> 5);
    assert_eq!(sift(frame, usize::MAX, pieces), frame);
    let without = results::decode(&sift(frame, 4, pieces)).expect("they are as good without a report");
    assert_eq!(without.streams, results.streams);
    let output = results.server_output.clone().map(|output| match output {
        ServerText::Text(text) => ServerOutput::Text(text),
        ServerText::Json(value) => ServerOutput::Json(value),
    });
    let (session, start, interval, own) = client_test(kind);
    let seconds = |id| own.streams.iter().find(|stream| stream.id == id).map_or(0.0, own_seconds);
    if let Err(error) = results.check_rates(seconds) {
        return assert_is_harmless(&error.to_string(), &[]);
    }
    let mut events = vec![
        RunEvent::Session(Box::new(session)),
        RunEvent::Start(Box::new(start)),
        RunEvent::Interval(interval),
        RunEvent::End(Box::new(with_results(own, results, None))),
    ];
    events.extend(output.map(RunEvent::ServerOutput));
    events.push(RunEvent::Done);
    assert_reports_are_good(&events);
}

/// A server's hello behind a byte with its highest bit; a peer's part and all reports of the test behind any
/// other, which says of what kind it was.
///
/// # Panics
/// What was read is not what is written again, or a report is not harmless or not JSON.
pub fn extension(data: &[u8]) {
    let Some((&kind, frame)) = data.split_first() else { return };
    if kind & 0x80 != 0 {
        match ServerHello::decode(frame) {
            Ok(hello) => assert_eq!(ServerHello::decode(hello.encode().as_bytes()).ok(), Some(hello)),
            Err(strange) => assert_is_harmless(&strange.to_string(), &[]),
        }
        return;
    }
    let (session, start, interval, own) = client_test(kind);
    let ids: Vec<u32> = own.streams.iter().map(|stream| stream.id).collect();
    let part = match PeerReport::decode(frame, &ids) {
        Ok(part) => part,
        Err(strange) => return assert_is_harmless(&strange.to_string(), &[]),
    };
    assert_eq!(PeerReport::decode(part.encode().as_bytes(), &ids).expect("own parts are good"), part);
    let results = Results {
        cpu: CpuUse::default(),
        sender_has_retransmits: -1,
        congestion_used: None,
        server_output: None,
        streams: Vec::new(),
    };
    assert_reports_are_good(&[
        RunEvent::Session(Box::new(session)),
        RunEvent::Start(Box::new(start)),
        RunEvent::Interval(interval),
        RunEvent::End(Box::new(with_results(own, results, Some(part)))),
        RunEvent::Done,
    ]);
}

/// What a client keeps of results that come in pieces of so many bytes.
fn sift(frame: &[u8], report_bytes: usize, piece_bytes: usize) -> Vec<u8> {
    let mut sieve = results::Sieve::new(report_bytes, usize::MAX);
    for piece in frame.chunks(piece_bytes) {
        sieve.push(piece).expect("there is room for all the rest");
    }
    sieve.finish().0
}

/// A client on a server's control connection, see `control/testing/fuzzing.rs`.
pub fn server(script: &[u8]) {
    sessions::converse_with_server(script);
}

/// A server on a client's control connection, see `control/testing/fuzzing.rs`.
pub fn client(script: &[u8]) {
    sessions::converse_with_client(script);
}

/// Messages of datagrams at a receiver. Three bytes say what is expected; a message is three 16-bit numbers,
/// its length, that of its datagrams and what is copied of it, one byte of drops, and the copied bytes.
///
/// # Panics
/// The counts contradict each other.
pub fn datagrams(data: &[u8]) {
    let [flags, high, low, rest @ ..] = data else { return };
    let udp = UdpJob { counters_64bit: flags & 1 != 0, offload: true };
    let bytes = u32::from(u16::from_be_bytes([*high, *low])).clamp(16, 65_507);
    let messages = messages(rest);
    let zero = Instant::now();
    let mut sampler = StreamSampler::new(zero);
    let (mut packets, mut lost, mut moved) = (0, 0, 0);
    for count in 0..=messages.len() {
        let (bytes, counters) = count_messages(udp, bytes, messages.iter().copied().take(count));
        assert_counts_agree(&counters);
        let now = zero + Duration::from_secs(1);
        let totals = Counters { bytes, operations: 0, datagrams: counters };
        let interval = sampler.interval(now, totals, None);
        (packets, lost) = (packets + interval.udp.packets, lost + interval.udp.lost);
        moved += interval.bytes;
        assert_eq!((sampler.udp_summary().counted.packets, sampler.counted_bytes()), (packets, moved));
        assert!(sampler.udp_summary().counted.lost <= lost);
    }
}

/// A token at a server. After an even first byte comes its text, after an odd one what is encrypted in it.
///
/// # Panics
/// It is good, which no fuzzer knows the password for, or the log would be harmed.
pub fn token(data: &[u8]) {
    let Some((&kind, text)) = data.split_first() else { return };
    let refusal = auth::testing::fuzzing::refusal(kind % 2 == 1, text).expect("nobody knows the password");
    assert_is_harmless(&refusal, &[]);
}

/// A file of users.
///
/// # Panics
/// Somebody is found in it who is not there.
pub fn users(file: &[u8]) {
    auth::testing::fuzzing::look_up(file);
}

/// A command line, its words divided by newlines.
///
/// # Panics
/// A mistake is not told in a line that can be printed.
pub fn command_line(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for word in text.lines() {
        let amounts = (units::parse_bytes(word), units::parse_rate(word));
        assert_eq!(amounts.0.is_err(), word.is_empty() || amounts.0.is_err());
    }
    match cli::parse(std::iter::once("ringperf").chain(text.lines())) {
        Ok(command) => drop(format!("{command:?}")),
        Err(usage) => assert!(usage.text.ends_with('\n') && usage.exit_code <= 1, "{usage:?}"),
    }
}

/// How long this end has counted.
fn own_seconds(stream: &StreamEnd) -> f64 {
    if stream.flow == Flow::Send { stream.sent.seconds } else { stream.received.seconds }
}

/// A test of one stream in each direction, from a client's side, as its reports see it.
fn client_test(kind: u8) -> (SessionInfo, TestStart, Interval, TestEnd) {
    let direction = match kind % 3 {
        0 => Direction::Forward,
        1 => Direction::Reverse,
        _ => Direction::Bidir,
    };
    let start = fixtures::start(Role::Client, direction, 1);
    if kind & 0x10 == 0 {
        let test = TestConfig { direction, ..TestConfig::default() };
        let interval = fixtures::interval(Role::Client, direction, 1, 0);
        let own = fixtures::end(Role::Client, direction, 1);
        (fixtures::session(Role::Client, test), start, interval, own)
    } else {
        let test = fixtures::udp_test(direction, 1);
        let interval = fixtures::udp_interval(Role::Client, direction, 1, 0);
        let own = fixtures::udp_end(Role::Client, direction, 1);
        (fixtures::session(Role::Client, test), start, interval, own)
    }
}

fn assert_reports_are_good(events: &[RunEvent]) {
    let output = OutputConfig { verbose: true, debug: 4, ..OutputConfig::default() };
    let reporters: [(Box<dyn Reporter>, bool); 3] = [
        (Box::new(TextReporter::new(&output)), false),
        (Box::new(JsonReporter::new(Role::Client)), true),
        (Box::new(JsonStreamReporter::new(Role::Client, true)), true),
    ];
    for (mut reporter, is_json) in reporters {
        for event in events {
            let text = fixtures::printed(reporter.as_mut(), event) + &reporter.complaint(event);
            assert_is_harmless(&text, &['\n', '\t']);
            if !is_json {
                assert_figures_can_be(&text);
            }
            for document in serde_json::Deserializer::from_str(if is_json { &text } else { "" })
                .into_iter::<serde_json::Value>()
            {
                let document = document.expect("a report is JSON");
                assert_no_null(&document, "");
                assert_numbers_can_be(&document);
                assert_can_be_read(&document);
            }
        }
    }
}

/// What is read of a document or an event is what was written.
fn assert_can_be_read(document: &serde_json::Value) {
    let text = document.to_string();
    let again = match document.get("event") {
        Some(_) => serde_json::to_value(Event::read(&text).expect("an event can be read")),
        None => serde_json::to_value(Document::read(&text).expect("a document can be read")),
    };
    assert_eq!(again.expect("what was read can be written"), *document);
}

/// A number that is none becomes `null` in JSON. These keys may have it for good reasons.
fn assert_no_null(value: &serde_json::Value, path: &str) {
    use serde_json::Value;
    match value {
        Value::Null => assert!(path.contains("ringperf") || path.contains("lost_"), "null at {path}"),
        // These are members of a document, and the first is what a server has written.
        Value::Object(members)
            if members
                .get("event")
                .and_then(Value::as_str)
                .is_some_and(|event| ["server_output_json", "ringperf"].contains(&event)) => {}
        Value::Array(elements) => elements.iter().for_each(|element| assert_no_null(element, path)),
        Value::Object(members) => {
            let own = members.iter().filter(|(key, _)| *key != "server_output_json");
            own.for_each(|(key, value)| assert_no_null(value, &format!("{path}.{key}")));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// No report has a number of more digits than a count of 64 bits, nor words for one that is none.
fn assert_figures_can_be(text: &str) {
    // A server's own output is its own.
    let own = text.split("Server output:").next().unwrap_or_default();
    let is_figure = |one: char| one.is_ascii_digit() || one == '.';
    let longest = own.split(|one| !is_figure(one)).map(|figure| figure.split('.').next().map_or(0, str::len));
    assert!(longest.max().is_none_or(|digits| digits <= 20), "{own}");
    for word in own.split_whitespace() {
        let bare = word.trim_matches(|one: char| !one.is_ascii_alphanumeric());
        assert!(!["inf", "NaN", "nan"].contains(&bare), "{own}");
    }
}

/// All numbers of a document, but those of a server's own.
fn assert_numbers_can_be(value: &serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(number) => {
            let number = number.as_f64().expect("a JSON number is one");
            assert!((-1.0..=1.3e21).contains(&number), "{number}");
        }
        Value::Array(elements) => elements.iter().for_each(assert_numbers_can_be),
        Value::Object(members) if members.get("event").is_some_and(|event| event == "server_output_json") => {
        }
        Value::Object(members) => {
            let own = members.iter().filter(|(key, _)| *key != "server_output_json");
            own.for_each(|(_, value)| assert_numbers_can_be(value));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn assert_is_harmless(text: &str, allowed: &[char]) {
    let harmful: BTreeSet<char> = text
        .chars()
        .filter(|one| one.is_control() || matches!(one, '\u{200e}' | '\u{2028}'..='\u{202e}' | '\u{2066}'))
        .filter(|one| !allowed.contains(one))
        .collect();
    assert!(harmful.is_empty(), "{harmful:?} in {text:?}");
}

fn assert_counts_agree(counters: &DatagramCounters) {
    let DatagramCounters { packets, errors, received, .. } = *counters;
    assert!(received <= packets && errors <= packets, "{counters:?}");
    assert!(counters.lost_in_socket <= packets - received, "{counters:?}");
    assert_eq!(counters.out_of_order, counters.duplicates + counters.reordered, "{counters:?}");
    assert!(counters.jitter_seconds.is_finite() && counters.jitter_seconds >= 0.0, "{counters:?}");
}

/// At most 64 messages, so that all beginnings of the list can be looked at.
fn messages(mut data: &[u8]) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    while let [a, b, c, d, e, f, drops, rest @ ..] = data
        && messages.len() < 64
    {
        let [bytes, segment, copied] = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_be_bytes);
        let (payload, rest) = rest.split_at(usize::from(copied.min(bytes)).min(rest.len()));
        messages.push(Message {
            payload,
            bytes: bytes.into(),
            segment_bytes: usize::from(segment.max(1)),
            socket_drops: (*drops > 0).then_some(u32::from(*drops)),
            arrived: Some(Duration::from_micros(u64::from(*drops) << 40)),
        });
        data = rest;
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// What a fuzzer has found once is found again at once.
    #[test]
    fn the_corpus_finds_nothing() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (name, target) in TARGETS {
            let corpus = files(&fuzz.join("corpus").join(name));
            assert!(corpus.len() >= 5, "the corpus of {name} has only {} files", corpus.len());
            for file in corpus {
                let bytes = fs::read(&file).unwrap();
                let kept = std::panic::catch_unwind(|| target(&bytes));
                assert!(kept.is_ok(), "{} is found again", file.display());
            }
        }
    }

    /// The text with the number at one of its places replaced.
    fn with_lie(text: &str, place: usize, lie: &str) -> String {
        let is_number =
            |at: &usize| text[at + 1..].starts_with(|one: char| one.is_ascii_digit() || one == '-');
        let places: Vec<usize> = text.match_indices(':').map(|(at, _)| at).filter(is_number).collect();
        let start = places[place % places.len()] + 1;
        let end = start + text[start..].find([',', '}', ']']).expect("objects end");
        format!("{}{lie}{}", &text[..start], &text[end..])
    }

    fn any_lie() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<u64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:e}")),
            (-400..400_i32).prop_map(|exponent| format!("1e{exponent}")),
            (0..200_u32).prop_map(|number| number.to_string()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Up to three lies in a peer's results, and in its part, in all kinds of tests: whatever is believed
        /// makes no report with a figure that cannot be.
        #[test]
        fn no_lie_makes_an_impossible_figure(
            kind in 0..0x80_u8,
            lies in prop::collection::vec((any::<usize>(), any_lie()), 1..4),
            in_part: bool,
        ) {
            let (file, target): (_, Target) =
                if in_part { ("extension/sender", extension) } else { ("results/tcp", results) };
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(file);
            let truth = String::from_utf8(fs::read(corpus).unwrap()[1..].to_vec()).unwrap();
            let text = lies.iter().fold(truth, |text, (place, lie)| with_lie(&text, *place, lie));
            target(&[&[kind], text.as_bytes()].concat());
        }
    }

    #[test]
    fn every_target_can_be_fuzzed() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let stems = |folder: &str| -> BTreeSet<String> {
            let files = files(&fuzz.join(folder));
            files.iter().map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect()
        };
        let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(stems("fuzz_targets"), names);
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in fuzz/Cargo.toml");
        }
    }
}
