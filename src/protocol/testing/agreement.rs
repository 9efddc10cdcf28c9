//! One below the smallest value of each range, the smallest, the largest, one above: on the command line and,
//! where the quantity travels, in a client's parameters. The same values are taken on both ways, and the same
//! test is made of them.

use std::iter::zip;

use crate::config::cli::{Command, UsageError, parse};
use crate::config::ranges::{
    AMOUNT, AVERAGE_SECS, BLOCK_BYTES, BURST_BLOCKS, BUSY_POLL_US, CONGESTION_BYTES, CONNECT_TIMEOUT_MS,
    DATAGRAM_BYTES, DEBUG_LEVEL, DEVICE_BYTES, DSCP, ENGINE_SECS, FLOW_LABEL, IDLE_SECS, KEEPALIVE_PROBES,
    KEEPALIVE_SECS, LISTEN_PORT, MSS_BYTES, OFFLOAD_BYTES, OMIT_SECS, PORT, PROCESSOR, RECEIVE_OFFLOAD,
    RECEIVE_TIMEOUT_MS, REPORT_SECS, Range, SCTP_STREAMS, SEND_TIMEOUT_MS, SKEW_SECS, STREAMS, TEST_SECS,
    TESTS, TESTS_PER_MINUTE, TIMED_SECS, TOS, WINDOW_BYTES,
};
use crate::protocol::ErrorCode;
use crate::protocol::params::decode;

/// A quantity at the bounds of its range. `#` stands for the value.
#[derive(Clone)]
struct Case {
    /// The command line without the program's name, if an option has the quantity.
    line: Option<&'static str>,
    /// The parameters of the same test, if the quantity travels.
    parameters: Option<&'static str>,
    below: Below,
    /// One below the range, its bounds, one above.
    values: [String; 4],
    rule: &'static str,
    code: ErrorCode,
}

/// What the command line makes of a value below the range.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Below {
    /// It is out of range.
    Refused,
    /// It is negative, which no number with a unit letter can be.
    Negative,
    /// It asks for the default, for which there is no word in the parameters.
    Default,
}

impl Case {
    fn of<T: Copy + TryInto<i128>>(range: &Range<T>, line: &'static str) -> Self {
        let bound = |value: T| value.try_into().ok().expect("an i128 holds all other integers");
        let (min, max) = (bound(range.min), bound(range.max));
        let values = [min - 1, min, max, max + 1].map(|value| value.to_string());
        Self::at(range, line, values)
    }

    /// The quantity is the length of a name.
    fn of_name(range: &Range<usize>, line: &'static str) -> Self {
        let lengths = [range.min - 1, range.min, range.max, range.max + 1];
        Self::at(range, line, lengths.map(|length| "x".repeat(length)))
    }

    /// With values just outside of a range that is not one of integers.
    fn of_fraction(range: &Range<f64>, line: &'static str, [below, above]: [&str; 2]) -> Self {
        let [min, max] = [range.min, range.max].map(|bound| bound.to_string());
        Self::at(range, line, [below.to_owned(), min, max, above.to_owned()])
    }

    fn at<T>(range: &Range<T>, line: &'static str, values: [String; 4]) -> Self {
        let code = ErrorCode::beyond(range);
        Self { line: Some(line), parameters: None, below: Below::Refused, values, rule: range.rule, code }
    }

    /// A number with a unit letter.
    fn amount(self) -> Self {
        Self { below: Below::Negative, ..self }
    }

    fn travels(self, parameters: &'static str) -> Self {
        Self { parameters: Some(parameters), ..self }
    }

    /// The value as the command line's words have it, one for each.
    fn command(&self, value: &str) -> Option<Result<Command, UsageError>> {
        let words = self.line?.split(' ').map(|word| word.replace('#', value));
        Some(parse(std::iter::once("ringperf".to_owned()).chain(words)))
    }
}

/// What a client tells its server.
fn cases_that_travel() -> Vec<Case> {
    let of_udp = r#"{"udp":true,"bandwidth":1048576,"len":#}"#;
    let offload = |range, parameters| Case { line: None, ..Case::of(range, "").travels(parameters) };
    vec![
        Case::of(&TEST_SECS, "-c host -t #").travels(r#"{"time":#}"#),
        Case::of(&STREAMS, "-c host -P #").travels(r#"{"parallel":#}"#),
        Case { below: Below::Default, ..Case::of(&BLOCK_BYTES, "-c host -l #").travels(r#"{"len":#}"#) },
        Case::of(&DATAGRAM_BYTES, "-c host -u -l #").travels(of_udp),
        Case::of(&WINDOW_BYTES, "-c host -w #").travels(r#"{"window":#}"#).amount(),
        Case::of(&MSS_BYTES, "-c host -M #").travels(r#"{"MSS":#}"#),
        Case::of(&OMIT_SECS, "-c host -O #").travels(r#"{"omit":#}"#),
        Case::of(&BURST_BLOCKS, "-c host -b 1M/#").travels(r#"{"bandwidth":1000000,"burst":#}"#),
        Case::of(&TOS, "-c host -S #").travels(r#"{"TOS":#}"#),
        Case::of(&FLOW_LABEL, "-c host -L #").travels(r#"{"flowlabel":#}"#),
        Case::of(&PROCESSOR, "-c host -A 0,#").travels(r#"{"server_affinity":#}"#),
        Case::of(&AMOUNT, "-c host -n #").travels(r#"{"num":#}"#).amount(),
        Case::of(&AMOUNT, "-c host -k #").travels(r#"{"blockcount":#}"#).amount(),
        Case::of(&AMOUNT, "-c host -b #").travels(r#"{"bandwidth":#}"#).amount(),
        Case::of(&AMOUNT, "-c host --fq-rate #").travels(r#"{"fqrate":#}"#).amount(),
        Case {
            code: ErrorCode::CONGESTION,
            ..Case::of_name(&CONGESTION_BYTES, "-c host -C #").travels(r##"{"congestion":"#"}"##)
        },
        offload(&OFFLOAD_BYTES, r#"{"udp":true,"len":16,"gso":#}"#),
        offload(&OFFLOAD_BYTES, r#"{"udp":true,"len":16,"gso_dg_size":#}"#),
        offload(&OFFLOAD_BYTES, r#"{"udp":true,"len":16,"gso_bf_size":#}"#),
        offload(&OFFLOAD_BYTES, r#"{"udp":true,"len":16,"gro_bf_size":#}"#),
        offload(&RECEIVE_OFFLOAD, r#"{"udp":true,"len":16,"gro":#}"#),
    ]
}

/// What stays with whoever types it.
fn cases_that_stay() -> Vec<Case> {
    vec![
        Case::of_fraction(&TIMED_SECS, "-c host -t #", ["0.0009", "86400.1"]),
        Case::of_fraction(&ENGINE_SECS, "loopback -t #", ["0.0009", "86400.1"]),
        Case::of_fraction(&REPORT_SECS, "-c host -i #", ["0.09", "60.1"]),
        Case::of_fraction(&AVERAGE_SECS, "-s --server-bitrate-limit 1M/#", ["0.09", "60.1"]),
        Case::of_fraction(&AVERAGE_SECS, "-s --total-bitrate-limit 1M/#", ["0.09", "60.1"]),
        Case::of(&PORT, "-c host -p #"),
        Case::of(&PORT, "-c host --cport #"),
        Case::of(&LISTEN_PORT, "-s -p #"),
        Case::of(&STREAMS, "loopback -P #"),
        Case { below: Below::Default, ..Case::of(&BLOCK_BYTES, "loopback -l #") },
        Case::of_name(&CONGESTION_BYTES, "loopback -C #"),
        Case::of(&PROCESSOR, "-s -A #"),
        Case::of(&TEST_SECS, "-s --server-max-duration #"),
        Case::of(&SKEW_SECS, "-s --time-skew-threshold #"),
        Case::of(&IDLE_SECS, "-s --idle-timeout #"),
        Case::of(&RECEIVE_TIMEOUT_MS, "-c host -R --rcv-timeout #"),
        Case::of(&SEND_TIMEOUT_MS, "-c host --snd-timeout #"),
        Case::of(&CONNECT_TIMEOUT_MS, "-c host --connect-timeout #").amount(),
        Case::of(&DSCP, "-c host --dscp #"),
        Case::of(&SCTP_STREAMS, "-c host --sctp --nstreams #").amount(),
        Case::of_name(&DEVICE_BYTES, "-c host --bind-dev #"),
        Case::of(&BUSY_POLL_US, "-c host --busy-poll #"),
        Case::of(&KEEPALIVE_SECS, "-c host --cntl-ka=#"),
        Case::of(&KEEPALIVE_SECS, "-c host --cntl-ka=/#"),
        Case::of(&KEEPALIVE_PROBES, "-c host --cntl-ka=//#"),
        Case::of(&TESTS, "-s --max-tests #"),
        Case::of(&TESTS_PER_MINUTE, "-s --max-tests-per-minute #"),
        Case::of(&DEBUG_LEVEL, "-c host --debug=#"),
    ]
}

#[test]
fn the_command_line_takes_what_is_in_range() {
    for case in [cases_that_travel(), cases_that_stay()].concat() {
        let expected = match case.below {
            Below::Refused => Some(case.rule),
            Below::Negative => Some("invalid unit value or suffix"),
            Below::Default => None,
        };
        for (value, refusal) in zip(&case.values, [expected, None, None, Some(case.rule)]) {
            let Some(command) = case.command(value) else { continue };
            let told = command.as_ref().err().map(|error| error.text.as_str());
            let as_expected = match (told, refusal) {
                (Some(told), Some(refusal)) => told.contains(refusal),
                (told, refusal) => told.is_none() && refusal.is_none(),
            };
            assert!(as_expected, "{:?} with {value}: {command:?}", case.line);
        }
    }
}

#[test]
fn a_client_may_ask_for_what_its_user_may_type() {
    for case in cases_that_travel() {
        let parameters = case.parameters.expect("it travels");
        for (value, is_in_range) in zip(&case.values, [false, true, true, false]) {
            let text = parameters.replace('#', value);
            match decode(text.as_bytes()) {
                Ok(request) => {
                    assert!(is_in_range, "{text} is taken");
                    if let Some(command) = case.command(value) {
                        let Ok(Command::Client(client)) = command else { panic!("{text}: {command:?}") };
                        assert_eq!(request.test, client.test, "{text}");
                    }
                }
                Err(refusal) => {
                    assert!(!is_in_range, "{text}: {refusal}");
                    assert_eq!(refusal.code(), case.code, "{text}: {refusal}");
                }
            }
        }
    }
}

#[test]
fn no_range_is_left_out() {
    let ranges = include_str!("../../config/ranges.rs");
    let names = ranges.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let here = include_str!("agreement.rs");
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(here.contains(&format!("(&{name}, ")), "nothing is tried of {name}");
    }
    assert!(count > 30, "only {count} ranges were found");
}
