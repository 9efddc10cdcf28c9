//! Conversations as lists of acts, and ways to spoil them.

use crate::harness::peer::request::{Shape, stream_ids};
use crate::harness::peer::wire::{COOKIE, PART, frame, results, state};

use crate::harness::peer::random::Random;

/// What one end of a conversation does next. Connections have numbers; 0 is the control connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Makes a connection, or takes the next one.
    Open(usize),
    Say(usize, Vec<u8>),
    /// Takes so many bytes, if they come.
    Hear(usize, usize),
    /// Takes a length word and that many bytes, if they come.
    HearFrame(usize),
    End(usize, Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Half,
    Close,
    Reset,
}

/// What takes the place of a number, a flag or a text.
const VALUES: [&str; 22] = [
    "0",
    "-1",
    "1",
    "2",
    "128",
    "129",
    "255",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "1e308",
    "1e999",
    "1.5",
    "null",
    "true",
    "\"\\u001b[2J\"",
    "[{}]",
];
/// Lengths that are next to a limit.
const LENGTHS: [u32; 10] = [0, 1, 2, 8192, 8193, 65_536, 0x0400_0001, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// What clients ask for, without a length.
const REQUESTS: [&str; 5] = [
    r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":2,"len":131072,"bandwidth":1000000,"pacing_timer":1000,"client_version":"3.21"}"#,
    r#"{"tcp":true,"omit":0,"time":1,"num":100000,"parallel":1,"reverse":true,"len":1000,"burst":10,"nodelay":true,"MSS":1400,"window":100000,"TOS":16,"title":"a","congestion":"cubic"}"#,
    r#"{"tcp":true,"omit":1,"time":1,"blockcount":5,"parallel":1,"bidirectional":true,"len":4096,"get_server_output":1,"repeating_payload":1,"zerocopy":1,"extra_data":"b"}"#,
    r#"{"udp":true,"omit":0,"time":1,"num":0,"parallel":1,"len":1000,"bandwidth":1000000,"gso":1,"gso_dg_size":1000,"gso_bf_size":65507,"gro":1,"gro_bf_size":65507,"udp_counters_64bit":1}"#,
    r#"{"tcp":true,"time":1,"parallel":1,"len":131072,"skip_rx_copy":1,"server_affinity":0,"ringperf":{"version":"1","engine":"sync","cpus":"auto","explicit_block":true,"extension":1}}"#,
];

/// What a good client does in the test that it asks for with request number `which`.
pub fn of_client(which: usize) -> Vec<Act> {
    let request = REQUESTS[which % REQUESTS.len()];
    let streams = Shape::of(request).streams;
    let is_ringperf = request.contains(r#""extension""#);
    let mut acts = vec![
        Act::Open(0),
        Act::Say(0, COOKIE.to_vec()),
        Act::Hear(0, 1),
        Act::Say(0, frame(request)),
        Act::Hear(0, 1),
    ];
    if is_ringperf {
        // What was heard was the hello's state.
        acts.extend([Act::HearFrame(0), Act::Hear(0, 1)]);
    }
    for stream in 1..=streams {
        acts.extend([Act::Open(stream), Act::Say(stream, COOKIE.to_vec())]);
    }
    acts.push(Act::Hear(0, 2));
    acts.extend((1..=streams).map(|stream| Act::Say(stream, vec![0; 5000])));
    acts.extend([
        Act::Say(0, vec![state::TEST_END]),
        Act::Hear(0, 1),
        Act::Say(0, frame(&results(&stream_ids(streams), 0))),
        Act::HearFrame(0),
        Act::Hear(0, 1),
    ]);
    if is_ringperf {
        let part = streams + 1;
        let told = [&COOKIE[..], &frame(PART)].concat();
        acts.extend([Act::Open(part), Act::Say(part, told), Act::HearFrame(part)]);
    }
    acts.push(Act::Say(0, vec![state::IPERF_DONE]));
    acts
}

/// What a good server does in a test with so many connections, which it sends data on if it is to.
pub fn of_server(streams: usize, sends: bool) -> Vec<Act> {
    let mut acts = vec![
        Act::Open(0),
        Act::Hear(0, COOKIE.len()),
        Act::Say(0, vec![state::PARAM_EXCHANGE]),
        Act::HearFrame(0),
        Act::Say(0, vec![state::CREATE_STREAMS]),
    ];
    for stream in 1..=streams {
        acts.extend([Act::Open(stream), Act::Hear(stream, COOKIE.len())]);
    }
    acts.extend([Act::Say(0, vec![state::TEST_START]), Act::Say(0, vec![state::TEST_RUNNING])]);
    if sends {
        acts.extend((1..=streams).map(|stream| Act::Say(stream, vec![0; 50_000])));
    }
    let own = results(&stream_ids(streams), 3).replace(
        r#""streams""#,
        r#""congestion_used":"bbr","server_output_text":"text\n","ringperf":{"version":"1","cpu_user_seconds":1,"cpu_system_seconds":1,"engines":[]},"streams""#,
    );
    acts.extend([
        Act::Hear(0, 1),
        Act::Say(0, vec![state::EXCHANGE_RESULTS]),
        Act::HearFrame(0),
        Act::Say(0, frame(&own)),
        Act::Say(0, vec![state::DISPLAY_RESULTS]),
        Act::Hear(0, 1),
    ]);
    acts
}

/// Spoils a conversation in one to four places.
pub fn spoil(mut acts: Vec<Act>, random: &mut Random) -> Vec<Act> {
    for _ in 0..=random.below(4) {
        spoil_once(&mut acts, random);
    }
    acts
}

fn spoil_once(acts: &mut Vec<Act>, random: &mut Random) {
    let at = random.below(acts.len());
    let connections = acts.iter().filter(|act| matches!(act, Act::Open(_))).count();
    let somebody = random.below(connections);
    match random.below(12) {
        0 => drop(acts.remove(at)),
        1 => acts.insert(at, acts[at].clone()),
        2 => {
            let other = random.below(acts.len());
            acts.swap(at, other);
        }
        3 => {
            let count = random.below(64);
            acts.insert(at, Act::Say(somebody, random.bytes(count)));
        }
        4 => {
            let states = [1, 2, 4, 9, 10, 11, 12, 13, 14, 16, 0xFE, 0xFF, 99];
            acts.insert(at, Act::Say(somebody, vec![*random.pick(&states)]));
        }
        5 => {
            let ending = *random.pick(&[Ending::Half, Ending::Close, Ending::Reset]);
            acts.insert(at, Act::End(somebody, ending));
        }
        way => {
            let said = acts.iter_mut().filter_map(|act| match act {
                Act::Say(_, bytes) if !bytes.is_empty() => Some(bytes),
                _ => None,
            });
            let mut said: Vec<_> = said.collect();
            if said.is_empty() {
                return;
            }
            let which = random.below(said.len());
            spoil_bytes(said[which], way, random);
        }
    }
    // Something must be left to be spoiled.
    if acts.is_empty() {
        acts.push(Act::Open(0));
    }
}

fn spoil_bytes(bytes: &mut Vec<u8>, way: usize, random: &mut Random) {
    let at = random.below(bytes.len());
    match way {
        6 => bytes[at] ^= 1 << random.below(8),
        7 => bytes.truncate(at),
        8 => {
            let more = random.bytes(9);
            bytes.splice(at..at, more);
        }
        9 if bytes.len() > 4 => {
            bytes.splice(..4, random.pick(&LENGTHS).to_be_bytes());
        }
        _ => spoil_value(bytes, random),
    }
}

/// Puts another value behind some key of a message, with a length that fits.
fn spoil_value(bytes: &mut Vec<u8>, random: &mut Random) {
    let text = String::from_utf8_lossy(bytes.get(4..).unwrap_or_default()).into_owned();
    let colons: Vec<usize> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
    if colons.is_empty() {
        return;
    }
    let start = *random.pick(&colons);
    let end = text[start..].find([',', '}', ']']).map_or(text.len(), |end| start + end);
    *bytes = frame(&format!("{}{}{}", &text[..start], random.pick(&VALUES), &text[end..]));
}

#[test]
fn the_same_seed_spoils_in_the_same_way() {
    let spoilt = |seed| spoil(of_client(0), &mut Random::seeded(seed));
    assert_eq!(spoilt(7), spoilt(7));
    let different = (0..100).filter(|seed| spoilt(*seed) != of_client(0)).count();
    assert!(different > 80, "only {different} of 100 were spoilt");
}
