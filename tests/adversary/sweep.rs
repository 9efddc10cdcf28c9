//! Every byte in every state of a server.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::Checked;
use crate::harness::peer::wire::state;

use super::catalogue::{Tormented, run_all};
use super::script::{Case, Step};

/// States of a server, by the point that a client has reached and, for those that wait for more than a byte,
/// how many it takes to be understood.
const STATES: [(&str, Option<&str>, usize); 8] = [
    ("connected", None, 37),
    ("admitted", None, 4),
    ("invited", None, 1),
    ("invited", Some(r#"{"udp":true,"len":1000,"parallel":1,"time":5}"#), 1),
    ("half", None, 1),
    ("running", None, 1),
    ("ended", None, 4),
    ("told", None, 1),
];

/// In an ordinary run all bytes below this, which are those of most states ...
const LOW: u8 = 18;
/// ... every so many of the others ...
const STRIDE: u8 = 29;
/// ... and those that are next to a state at the upper end.
const HIGH: u8 = 0xFC;

#[test]
fn a_server_withstands_bytes_in_every_state() -> Checked {
    sweep(|byte| !(LOW..HIGH).contains(&byte) || byte.is_multiple_of(STRIDE))
}

/// All of 2,048 conversations.
#[test]
#[ignore = "takes a while: `make soak`"]
fn soak_a_server_withstands_every_byte_in_every_state() -> Checked {
    sweep(|_| true)
}

fn sweep(is_tried: impl Fn(u8) -> bool) -> Checked {
    let bytes = || (0..=u8::MAX).filter(|byte| is_tried(*byte));
    let cases = STATES.iter().flat_map(|state| bytes().map(|byte| case(*state, byte)));
    run_all(cases.collect(), Tormented::start, Tormented::play, Tormented::finish)
}

fn case((point, parameters, count): (&str, Option<&str>, usize), byte: u8) -> Case {
    let reach = match point {
        "connected" => Step::Connect { name: "control".to_owned(), from: Ipv4Addr::LOCALHOST },
        _ => Step::Reach { point: point.to_owned(), parameters: parameters.map(ToOwned::to_owned) },
    };
    let mut steps = vec![reach, Step::Send(vec![byte; count])];
    let closed = Step::Closed { from: Duration::ZERO, until: Duration::from_secs(1) };
    match (point, byte) {
        // Any cookie is one.
        ("connected", _) => steps.push(Step::Expect(vec![state::PARAM_EXCHANGE])),
        ("running", state::TEST_END) => steps.push(Step::Expect(vec![state::EXCHANGE_RESULTS])),
        ("admitted", _) => steps.extend([Step::Error(114), closed]),
        ("ended", _) => steps.extend([Step::Error(117), closed]),
        (_, state::IPERF_DONE) | ("told", state::CLIENT_TERMINATE) => steps.push(closed),
        (_, state::CLIENT_TERMINATE) => steps.extend([Step::Error(119), closed]),
        _ => steps.extend([Step::Error(110), closed]),
    }
    Case {
        name: format!("byte {byte:#04x} at {point} {parameters:?}"),
        why: "A byte that is not due ends its session with a reason, at once.".to_owned(),
        within: Duration::from_secs(3),
        client: String::new(),
        exit: 0,
        says: String::new(),
        warns: None,
        steps,
    }
}
