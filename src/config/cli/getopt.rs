//! The words of a command line as getopt_long(3) takes them: which option each is, abbreviated or not.
//!
//! Scripts abbreviate long options, so every abbreviation that an iperf3 takes means the same here, whatever
//! other options there are. Those of ringperf alone are abbreviated only where iperf3 knows nothing that
//! begins so.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// In which iperf3s an option is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// In all since 3.12.
    All,
    /// In later ones only.
    Later,
    /// Where SCTP is built in.
    Sctp,
    /// Where OpenSSL is built in.
    Ssl,
    /// Both: later, and with OpenSSL.
    LaterSsl,
}

/// The long options of iperf3 3.22, all features built in (`longopts` of `iperf_parse_arguments`).
const IPERF3: &[(&str, In)] = &[
    ("port", In::All),
    ("format", In::All),
    ("interval", In::All),
    ("daemon", In::All),
    ("one-off", In::All),
    ("verbose", In::All),
    ("json", In::All),
    ("json-stream", In::Later),
    ("json-stream-full-output", In::Later),
    ("version", In::All),
    ("server", In::All),
    ("client", In::All),
    ("udp", In::All),
    ("bitrate", In::All),
    ("bandwidth", In::All),
    ("server-bitrate-limit", In::All),
    ("server-max-duration", In::Later),
    ("time", In::All),
    ("bytes", In::All),
    ("blockcount", In::All),
    ("length", In::All),
    ("parallel", In::All),
    ("reverse", In::All),
    ("bidir", In::All),
    ("window", In::All),
    ("bind", In::All),
    ("bind-dev", In::All),
    ("cport", In::All),
    ("set-mss", In::All),
    ("no-delay", In::All),
    ("version4", In::All),
    ("version6", In::All),
    ("tos", In::All),
    ("dscp", In::All),
    ("extra-data", In::All),
    ("flowlabel", In::All),
    ("zerocopy", In::All),
    ("omit", In::All),
    ("file", In::All),
    ("repeating-payload", In::All),
    ("timestamps", In::All),
    ("affinity", In::All),
    ("title", In::All),
    ("congestion", In::All),
    ("linux-congestion", In::All),
    ("sctp", In::Sctp),
    ("nstreams", In::Sctp),
    ("xbind", In::Sctp),
    ("pidfile", In::All),
    ("logfile", In::All),
    ("forceflush", In::All),
    ("get-server-output", In::All),
    ("udp-counters-64bit", In::All),
    ("no-fq-socket-pacing", In::All),
    ("dont-fragment", In::All),
    ("skip-rx-copy", In::Later),
    ("username", In::Ssl),
    ("rsa-public-key-path", In::Ssl),
    ("rsa-private-key-path", In::Ssl),
    ("authorized-users-path", In::Ssl),
    ("time-skew-threshold", In::Ssl),
    ("use-pkcs1-padding", In::LaterSsl),
    ("fq-rate", In::All),
    ("pacing-timer", In::All),
    ("connect-timeout", In::All),
    ("idle-timeout", In::All),
    ("rcv-timeout", In::All),
    ("snd-timeout", In::All),
    ("cntl-ka", In::Later),
    ("mptcp", In::Later),
    ("gsro", In::Later),
    ("debug", In::All),
    ("help", In::All),
];

/// The iperf3s that differ in what an abbreviation means, as the options that they lack.
const BUILDS: [&[In]; 8] = [
    &[],
    &[In::Sctp],
    &[In::Ssl, In::LaterSsl],
    &[In::Sctp, In::Ssl, In::LaterSsl],
    &[In::Later, In::LaterSsl],
    &[In::Later, In::LaterSsl, In::Sctp],
    &[In::Later, In::LaterSsl, In::Ssl],
    &[In::Later, In::LaterSsl, In::Ssl, In::Sctp],
];

/// The same words with each long option by its full name. What follows a request for help or for the version
/// is left out, since nothing of it is looked at.
///
/// # Errors
/// A line, in the words of getopt_long(3), about the first option that is ambiguous, without the argument
/// that it takes, with one that it does not take, or with one that is no text. What is no option at all stays
/// for the parser to find.
pub(super) fn spell_out(command: &Command, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut spelled = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let found = match word.as_bytes() {
            b"--" => {
                spelled.push(word);
                break;
            }
            [b'-', b'-', ..] => long(command, &word)?,
            [b'-', _, ..] => short(command, &word)?,
            _ => None,
        };
        let Some(found) = found else {
            spelled.push(word);
            continue;
        };
        spelled.push(found.word);
        if found.wants_next {
            let next = words.next().ok_or(found.incomplete)?;
            check_text(found.option, &next)?;
            spelled.push(next);
        }
        if ["help", "version"].contains(&found.option.get_id().as_str()) {
            return Ok(spelled);
        }
    }
    spelled.extend(words);
    Ok(spelled)
}

/// The option that a word says, or the last one of several short ones.
struct Found<'a> {
    option: &'a Arg,
    /// The word, with the full name.
    word: OsString,
    /// The next word is the option's argument.
    wants_next: bool,
    /// What to say if there is none.
    incomplete: String,
}

fn long<'a>(command: &'a Command, word: &OsStr) -> Result<Option<Found<'a>>, String> {
    let bytes = &word.as_bytes()[2..];
    let (name, argument) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    };
    let Some(name) = std::str::from_utf8(name).ok() else { return Ok(None) };
    let Some((name, option)) = resolve(command, name)? else { return Ok(None) };
    let takes = option.get_action().takes_values();
    if let Some(argument) = argument {
        if !takes {
            return Err(format!("option '--{name}' doesn't allow an argument"));
        }
        check_text(option, OsStr::from_bytes(argument))?;
    }
    let mut word = format!("--{name}").into_bytes();
    if let Some(argument) = argument {
        word.push(b'=');
        word.extend(argument);
    }
    Ok(Some(Found {
        option,
        word: OsString::from_vec(word),
        wants_next: takes && !option.is_require_equals_set() && argument.is_none(),
        incomplete: format!("option '--{name}' requires an argument: --{name} {}", value_name(option)),
    }))
}

fn short<'a>(command: &'a Command, word: &OsStr) -> Result<Option<Found<'a>>, String> {
    let letters = &word.as_bytes()[1..];
    let mut last = None;
    for (index, letter) in letters.iter().enumerate() {
        let is_meant = |option: &&Arg| option.get_short() == Some(char::from(*letter));
        let Some(option) = command.get_arguments().find(is_meant) else { return Ok(None) };
        last = Some(option);
        if !option.get_action().takes_values() {
            continue;
        }
        let argument = &letters[index + 1..];
        check_text(option, OsStr::from_bytes(argument))?;
        return Ok(Some(Found {
            option,
            word: word.to_owned(),
            wants_next: argument.is_empty(),
            incomplete: format!(
                "option requires an argument -- '{}': --{} {}",
                char::from(*letter),
                option.get_long().unwrap_or_default(),
                value_name(option)
            ),
        }));
    }
    let found =
        |option| Found { option, word: word.to_owned(), wants_next: false, incomplete: String::new() };
    Ok(last.map(found))
}

/// The full name of the option that is called so, exactly or by how it begins.
fn resolve<'a>(command: &'a Command, name: &str) -> Result<Option<(&'a str, &'a Arg)>, String> {
    let options = || {
        command.get_arguments().flat_map(|option| {
            let names = option.get_long().into_iter().chain(option.get_all_aliases().unwrap_or_default());
            names.map(move |name| (name, option))
        })
    };
    if let Some(exact) = options().find(|(known, _)| *known == name) {
        return Ok(Some(exact));
    }
    let iperf3 = iperf3_names(name);
    let candidates: Vec<_> = options()
        .filter(|(known, _)| if iperf3.is_empty() { known.starts_with(name) } else { iperf3.contains(known) })
        .collect();
    match candidates.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let names: Vec<String> = several.iter().map(|(name, _)| format!("'--{name}'")).collect();
            Err(format!("option '--{name}' is ambiguous; possibilities: {}", names.join(" ")))
        }
    }
}

/// The only name that an iperf3 takes this beginning for. All names that begin so if none takes it, and also
/// if one of them takes it for something else than another.
fn iperf3_names(beginning: &str) -> Vec<&'static str> {
    let begin_so = || IPERF3.iter().filter(|(name, _)| name.starts_with(beginning));
    let mut taken_for: Vec<&str> = BUILDS
        .iter()
        .filter_map(|lacks| {
            let mut there = begin_so().filter(|(_, features)| !lacks.contains(features));
            there.next().filter(|_| there.next().is_none()).map(|(name, _)| *name)
        })
        .collect();
    taken_for.sort_unstable();
    taken_for.dedup();
    if taken_for.len() == 1 { taken_for } else { begin_so().map(|(name, _)| *name).collect() }
}

fn value_name(option: &Arg) -> &str {
    option.get_value_names().and_then(|names| names.first()).map_or("a value", |name| name.as_str())
}

/// Names of files may be anything, and so may texts that only travel. The rest is looked at as text.
fn check_text(option: &Arg, argument: &OsStr) -> Result<(), String> {
    if option.get_value_parser().type_id() == TypeId::of::<String>() && argument.to_str().is_none() {
        let name = option.get_long().unwrap_or_default();
        return Err(format!("option '--{name}' takes text in UTF-8, not '{}'", argument.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::definition;

    fn spell(words: &str) -> Result<String, String> {
        let words = words.split_whitespace().map(OsString::from).collect();
        let spelled = spell_out(&definition("ringperf"), words)?;
        Ok(spelled.join(OsStr::new(" ")).into_string().unwrap())
    }

    /// What an abbreviation stands for, or that it is ambiguous or nothing.
    fn option(abbreviation: &str) -> Result<Option<String>, String> {
        let definition = definition("ringperf");
        Ok(resolve(&definition, abbreviation)?.map(|(name, _)| name.to_owned()))
    }

    #[test]
    fn no_other_option_changes_what_iperf3_takes() {
        let (mut taken, mut ambiguous) = (0, 0);
        for (name, _) in IPERF3 {
            assert_eq!(option(name), Ok(Some((*name).to_owned())), "an option of iperf3 is missing");
            for end in 1..name.len() {
                let abbreviation = &name[..end];
                match option(abbreviation) {
                    Ok(Some(meant)) => {
                        let known = iperf3_names(abbreviation);
                        let is_name = IPERF3.iter().any(|(name, _)| *name == abbreviation);
                        assert!(is_name || known == [meant.as_str()], "{abbreviation}: {meant}");
                        taken += 1;
                    }
                    Ok(None) => panic!("{abbreviation} is unknown"),
                    Err(text) => {
                        let (_, names) = text.split_once("possibilities: ").unwrap();
                        let is_iperf3s =
                            |name: &str| IPERF3.iter().any(|(known, _)| name == format!("'--{known}'"));
                        assert!(names.split(' ').count() > 1 && names.split(' ').all(is_iperf3s), "{text}");
                        ambiguous += 1;
                    }
                }
            }
        }
        assert!(taken > 300 && ambiguous > 30, "{taken} {ambiguous}");
    }

    #[test]
    fn abbreviations() {
        for (abbreviation, meant) in [
            ("e", "extra-data"),
            ("m", "mptcp"),
            ("to", "tos"),
            ("cp", "cport"),
            ("j", "json"),
            ("g", "get-server-output"),
            ("gs", "gsro"),
            ("a", "affinity"),
            ("ba", "bandwidth"),
            ("engine", "engine"),
            ("en", "engine"),
            ("cpu", "cpus"),
            ("max-tests", "max-tests"),
            ("tot", "total-bitrate-limit"),
            ("udp-", "udp-counters-64bit"),
            ("udp-a", "udp-any-source"),
        ] {
            assert_eq!(option(abbreviation), Ok(Some(meant.to_owned())), "{abbreviation}");
        }
        assert_eq!(option("bogus"), Ok(None));
        let several = option("tim").unwrap_err();
        let words = "option '--tim' is ambiguous; possibilities: ";
        assert!(several.starts_with(words) && several.contains("'--time'"), "{several}");
        let own = option("max").unwrap_err();
        assert_eq!(own, "option '--max' is ambiguous; possibilities: '--max-tests' '--max-tests-per-minute'");
    }

    #[test]
    fn arguments_are_no_options() {
        for (words, spelled) in [
            ("--ti x --rev", Err("option '--ti' is ambiguous")),
            ("--tit --rev --rev", Ok("--title --rev --reverse")),
            ("--tit=--rev stray --rev", Ok("--title=--rev stray --reverse")),
            ("-T --rev -VRT --rev", Ok("-T --rev -VRT --rev")),
            ("-Tx --rev", Ok("-Tx --reverse")),
            ("--timest --rev", Ok("--timestamps --reverse")),
            ("--timest=%T", Ok("--timestamps=%T")),
            ("--rev -- --rev", Ok("--reverse -- --rev")),
            ("--bogus --rev", Ok("--bogus --reverse")),
            ("-q --rev", Ok("-q --reverse")),
            ("--rev --version --bogus", Ok("--reverse --version")),
            ("-h --tim", Ok("-h")),
            ("--rev=x", Err("option '--reverse' doesn't allow an argument")),
            ("--par", Err("option '--parallel' requires an argument: --parallel N")),
            ("-VP", Err("option requires an argument -- 'P': --parallel N")),
        ] {
            match (spell(words), spelled) {
                (Ok(got), Ok(spelled)) => assert_eq!(got, spelled, "{words}"),
                (Err(got), Err(text)) => assert!(got.starts_with(text), "{words}: {got}"),
                (got, _) => panic!("{words}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let definition = definition("ringperf");
        let run = |words: &[&[u8]]| spell_out(&definition, words.iter().map(|word| bytes(word)).collect());
        for words in [&[b"-B".as_slice(), b"\xff"], &[b"-4B\xff".as_slice(), b""], &[b"--bind=\xff", b""]] {
            let error = run(words).unwrap_err();
            assert!(error.starts_with("option '--bind' takes text in UTF-8, not '"), "{error}");
        }
        for words in [&[b"-T".as_slice(), b"\xff"], &[b"--extra=\xff".as_slice(), b""], &[b"-F", b"\xff"]] {
            assert!(run(words).is_ok());
        }
        assert!(run(&[b"--\xff"]).is_ok(), "the parser finds it");
    }
}
