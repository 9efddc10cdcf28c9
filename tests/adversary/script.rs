//! The catalogue's own little language: what a case says, one step to a line.
//!
//! ```text
//! case a wrong length is refused: $LENGTH        the name; a case with a `for` is one case for each value
//!   for $LENGTH in 0 | 8193
//!   why what the case is about, for whoever sees it fail
//!   within 12                                     seconds that all of it may take; 3 if it is not there
//!   client -t 0.2                                 only at a client: its options ...
//!   exit 1                                        ... its exit status, which is 1 if it is not there ...
//!   says the server has terminated                ... words that its error must have ...
//!   warns the server's hello makes no sense       ... and those of its only warning, if there must be one
//!   reach admitted {"tcp":true}                   play the honest peer up to a point, with these parameters
//!   connect NAME [FROM], udp NAME [FROM]          a new connection, or datagrams, to speak on
//!   accept NAME                                   the next connection of a client, to speak on
//!   on NAME                                       speak on that one again; the first is called `control`
//!   send PIECE ...                                bytes, all at once; over UDP they are one datagram
//!   drip MILLISECONDS PIECE ...                   bytes, one at a time, until the peer says something
//!   expect PIECE ...                              exactly these bytes come
//!   take COUNT                                    so many bytes come
//!   frame                                         a length word comes, and as many bytes
//!   error CODE                                    SERVER_ERROR comes with this number of iperf3's
//!   closed [FROM] UNTIL                           the peer closes, so many seconds after this step began
//!   quiet MILLISECONDS                            nothing comes for so long, and the peer does not close
//!   half-close, reset, close                      end this one: for sending only, with a RST, with a FIN
//! ```
//!
//! A PIECE is `"text"` with the escapes of Rust, `cookie`, the name of a state in capitals, `hex:00ff`,
//! `word:8193` for a number of four bytes, `fill:ff*100`, `random:SEED*100`, or `json:` and the rest of the
//! line, which becomes a length word and that text.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::peer::wire::{COOKIE, frame, state};
use crate::harness::{Checked, Failure};

use crate::harness::peer::random::Random;

/// Longest case that does not say how long it takes.
const WITHIN: Duration = Duration::from_secs(3);

/// One case of the catalogue.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub why: String,
    pub within: Duration,
    /// The client's options.
    pub client: String,
    /// What the client exits with.
    pub exit: i32,
    /// What the client's error must contain.
    pub says: String,
    /// What the client's warning must contain; without it there is none.
    pub warns: Option<String>,
    pub steps: Vec<Step>,
}

/// One line of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Reach { point: String, parameters: Option<String> },
    Connect { name: String, from: Ipv4Addr },
    Accept(String),
    Udp { name: String, from: Ipv4Addr },
    On(String),
    Send(Vec<u8>),
    Drip(Duration, Vec<u8>),
    Expect(Vec<u8>),
    Take(usize),
    Frame,
    Error(i32),
    Closed { from: Duration, until: Duration },
    Quiet(Duration),
    HalfClose,
    Reset,
    Close,
}

/// All cases of a catalogue's text, those with a `for` once for each value.
pub fn read(text: &str) -> Checked<Vec<Case>> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let starts = lines.iter().enumerate().filter(|(_, (_, line))| line.starts_with("case "));
    let mut starts: Vec<usize> = starts.map(|(index, _)| index).collect();
    starts.push(lines.len());
    let mut cases = Vec::new();
    for ends in starts.windows(2) {
        cases.extend(expand(&lines[ends[0]..ends[1]])?);
    }
    Ok(cases)
}

/// A case, or one for each value of its `for`.
fn expand(lines: &[(usize, &str)]) -> Checked<Vec<Case>> {
    let values = lines.iter().find_map(|(_, line)| line.strip_prefix("for "));
    let Some((variable, values)) = values.and_then(|text| text.split_once(" in ")) else {
        return Ok(vec![read_case(lines, ToOwned::to_owned)?]);
    };
    values.split(" | ").map(|value| read_case(lines, |line| line.replace(variable, value.trim()))).collect()
}

fn read_case(lines: &[(usize, &str)], fill_in: impl Fn(&str) -> String) -> Checked<Case> {
    let mut case = Case {
        name: String::new(),
        why: String::new(),
        within: WITHIN,
        client: String::new(),
        exit: 1,
        says: String::new(),
        warns: None,
        steps: Vec::new(),
    };
    for (number, line) in lines.iter().filter(|(_, line)| !line.starts_with("for ")) {
        let line = fill_in(line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        read_line(&mut case, word, rest.trim())
            .map_err(|Failure(why)| Failure(format!("line {number} of a catalogue: {why}: {line}")))?;
    }
    Ok(case)
}

fn read_line(case: &mut Case, word: &str, rest: &str) -> Checked {
    match word {
        "case" => case.name = rest.to_owned(),
        "why" => case.why = rest.to_owned(),
        "within" => case.within = seconds(rest)?,
        "client" => case.client = rest.to_owned(),
        "exit" => case.exit = number(rest)?,
        "says" => case.says = rest.to_owned(),
        "warns" => case.warns = Some(rest.to_owned()),
        _ => case.steps.push(read_step(word, rest)?),
    }
    Ok(())
}

fn read_step(word: &str, rest: &str) -> Checked<Step> {
    let name = || rest.to_owned();
    Ok(match word {
        "reach" => {
            let (point, parameters) = rest.split_once(' ').unwrap_or((rest, ""));
            let parameters = Some(parameters.to_owned()).filter(|text| !text.is_empty());
            Step::Reach { point: point.to_owned(), parameters }
        }
        "accept" => Step::Accept(name()),
        "connect" | "udp" => {
            let (name, from) = rest.split_once(' ').unwrap_or((rest, "127.0.0.1"));
            let from = from.parse().map_err(|_| Failure("no address".to_owned()))?;
            let name = name.to_owned();
            if word == "udp" { Step::Udp { name, from } } else { Step::Connect { name, from } }
        }
        "on" => Step::On(name()),
        "send" => Step::Send(bytes(rest)?),
        "drip" => {
            let (pause, pieces) = rest.split_once(' ').unwrap_or((rest, ""));
            Step::Drip(Duration::from_millis(number(pause)?), bytes(pieces)?)
        }
        "expect" => Step::Expect(bytes(rest)?),
        "take" => Step::Take(number(rest)?),
        "frame" => Step::Frame,
        "error" => Step::Error(number(rest)?),
        "closed" => {
            let (from, until) = rest.split_once(' ').unwrap_or(("0", rest));
            Step::Closed { from: seconds(from)?, until: seconds(until)? }
        }
        "quiet" => Step::Quiet(Duration::from_millis(number(rest)?)),
        "half-close" => Step::HalfClose,
        "reset" => Step::Reset,
        "close" => Step::Close,
        _ => return Err(Failure("no step".to_owned())),
    })
}

/// The bytes of all pieces.
fn bytes(mut text: &str) -> Checked<Vec<u8>> {
    let mut bytes = Vec::new();
    while !text.is_empty() {
        let end = match text.strip_prefix('"') {
            Some(rest) => 2 + rest.find('"').ok_or_else(|| Failure("no closing quote".to_owned()))?,
            None if text.starts_with("json:") => text.len(),
            None => text.find(' ').unwrap_or(text.len()),
        };
        bytes.extend(piece(&text[..end])?);
        text = text[end..].trim_start();
    }
    Ok(bytes)
}

fn piece(text: &str) -> Checked<Vec<u8>> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unescape(quoted.trim_end_matches('"'));
    }
    let (kind, value) = text.split_once(':').unwrap_or((text, ""));
    Ok(match kind {
        "cookie" => COOKIE.to_vec(),
        "hex" => hex(value)?,
        "word" => number::<u32>(value)?.to_be_bytes().to_vec(),
        "json" => frame(value),
        "fill" => {
            let (byte, count) = value.split_once('*').ok_or_else(|| Failure("no count".to_owned()))?;
            hex(byte)?.repeat(number(count)?)
        }
        "random" => {
            let (seed, count) = value.split_once('*').ok_or_else(|| Failure("no count".to_owned()))?;
            Random::seeded(number(seed)?).bytes(number(count)?)
        }
        _ => vec![state_byte(kind)?],
    })
}

fn unescape(text: &str) -> Checked<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                *hex(&String::from_utf8_lossy(&digits))?
                    .first()
                    .ok_or_else(|| Failure("\\x without digits".to_owned()))?
            }
            _ => return Err(Failure("an escape that nobody knows".to_owned())),
        });
    }
    Ok(bytes)
}

fn hex(digits: &str) -> Checked<Vec<u8>> {
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len())
        .step_by(2)
        .map(|at| pair(at).ok_or_else(|| Failure(format!("no hexadecimal digits: {digits}"))))
        .collect()
}

fn state_byte(name: &str) -> Checked<u8> {
    Ok(match name {
        "TEST_START" => state::TEST_START,
        "TEST_RUNNING" => state::TEST_RUNNING,
        "TEST_END" => state::TEST_END,
        "PARAM_EXCHANGE" => state::PARAM_EXCHANGE,
        "CREATE_STREAMS" => state::CREATE_STREAMS,
        "SERVER_TERMINATE" => state::SERVER_TERMINATE,
        "CLIENT_TERMINATE" => state::CLIENT_TERMINATE,
        "EXCHANGE_RESULTS" => state::EXCHANGE_RESULTS,
        "DISPLAY_RESULTS" => state::DISPLAY_RESULTS,
        "IPERF_DONE" => state::IPERF_DONE,
        "HELLO" => state::HELLO,
        "SERVER_ERROR" => state::SERVER_ERROR,
        "ACCESS_DENIED" => state::ACCESS_DENIED,
        _ => return Err(Failure(format!("no piece: {name}"))),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Checked<T> {
    text.parse().map_err(|_| Failure(format!("no number: {text:?}")))
}

fn seconds(text: &str) -> Checked<Duration> {
    Ok(Duration::from_secs_f64(number(text)?))
}

#[test]
fn a_case_is_read_as_it_is_written() -> Checked {
    let text = "
        # a comment
        case of $N
          for $N in 1 | 8193
          why it is so
          within 12.5
          reach admitted {\"tcp\":true}
          send word:$N TEST_END \"a\\x1b \\n\" hex:00ff fill:07*3
          send json:{\"a\": 1}
          closed 9.5 12
        case other
          close
    ";
    let cases = read(text)?;
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["of 1", "of 8193", "other"]);
    assert_eq!(cases[1].within, Duration::from_secs_f64(12.5));
    let sent = b"\0\0\x20\x01\x04a\x1b \n\0\xff\x07\x07\x07".to_vec();
    let parameters = Some("{\"tcp\":true}".to_owned());
    assert_eq!(
        cases[1].steps,
        [
            Step::Reach { point: "admitted".to_owned(), parameters },
            Step::Send(sent),
            Step::Send(b"\0\0\0\x08{\"a\": 1}".to_vec()),
            Step::Closed { from: Duration::from_millis(9500), until: Duration::from_secs(12) },
        ]
    );
    for wrong in ["sned cookie", "send \"a", "send hex:0", "send NONSENSE", "error x", "drip x cookie"] {
        assert!(read(&format!("case wrong\n{wrong}")).is_err(), "{wrong}");
    }
    Ok(())
}
