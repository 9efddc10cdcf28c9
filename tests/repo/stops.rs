//! docs/CONTRIBUTING.md says where one has to go to add something. The places are there, and the options have
//! been to those where every option has to go.

use std::fs;
use std::path::Path;

use super::source::{read_folder, words};
use crate::harness::{Checked, Failure, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = "docs/CONTRIBUTING.md";
/// The lists of stops.
const LISTS: [&str; 4] = ["an engine", "an option", "a number to the report", "a test"];
/// What an item of a list begins with that is about everything of its kind.
const EVERY_OPTION: &str = "*Every option:*";
/// Where the options are.
const OPTIONS: &str = "src/config/options.rs";
/// The structs of that file that are a test's.
const STRUCTS: [&str; 4] = ["BothOptions", "ServerOptions", "ClientOptions", "EngineOptions"];
/// The link to a table of the page itself.
const NOUNS: &str = "#one-noun-per-concept";

/// A stop, options that need not be there, and why.
const EXEMPT: [(&str, &[&str], &str); 5] = [
    ("src/config/resolve/", &["forceflush"], "it has no effect"),
    ("src/config/resolve/", &["version", "help"], "the library of the command line obeys them"),
    (PAGE_OF_OPTIONS, &["tune"], "it is for comparisons of sizes and is shown to nobody"),
    (
        "src/config/cli/tests.rs",
        &["tune"],
        "its words are tested where they are read, in src/config/tuning.rs",
    ),
    (
        NOUNS,
        &[
            "port",
            "format",
            "interval",
            "pidfile",
            "file",
            "affinity",
            "bind",
            "bind_dev",
            "cport",
            "xbind",
            "version4",
            "version6",
            "mptcp",
            "verbose",
            "json",
            "json_stream",
            "json_stream_full_output",
            "logfile",
            "forceflush",
            "timestamps",
            "rcv_timeout",
            "snd_timeout",
            "cntl_ka",
            "d",
            "debug",
            "ringperf_report",
            "json_schema",
            "version",
            "help",
            "server",
            "daemon",
            "one_off",
            "server_bitrate_limit",
            "server_max_duration",
            "max_tests",
            "max_tests_per_minute",
            "total_bitrate_limit",
            "allow_counted",
            "public",
            "udp_any_source",
            "idle_timeout",
            "time_skew_threshold",
            "client",
            "sctp",
            "nstreams",
            "pacing_timer",
            "no_fq_socket_pacing",
            "tos",
            "dscp",
            "flowlabel",
            "connect_timeout",
            "tune",
            "use_pkcs1_padding",
        ],
        "its name is all there is to it, or it is no concept of a test",
    ),
];
const PAGE_OF_OPTIONS: &str = "docs/COMPATIBILITY.md";

#[test]
fn every_stop_is_there() -> Checked {
    let page = read(PAGE)?;
    for list in LISTS {
        let section = section(&page, &format!("## How to add {list}"))?;
        let places = places(section);
        ensure!(places.len() > 3, "{list}: only {} places are named", places.len());
        for place in places.iter().filter(|place| !place.starts_with('#')) {
            ensure!(Path::new(ROOT).join(place).exists(), "{list}: there is no {place}");
        }
    }
    Ok(())
}

#[test]
fn every_option_has_been_to_its_stops() -> Checked {
    let page = read(PAGE)?;
    let list = section(&page, "## How to add an option")?;
    let options = options_in(&read(OPTIONS)?);
    ensure!(options.len() > 80, "only {} options were found", options.len());
    let stops: Vec<Vec<String>> =
        items(list).iter().filter(|item| item.contains(EVERY_OPTION)).map(|item| places(item)).collect();
    ensure!(stops.len() >= 5, "only {} stops are for every option", stops.len());
    let mut missed = Vec::new();
    for places in &stops {
        let text = places.iter().map(|place| text_of(place, &page)).collect::<Checked<Vec<_>>>()?.concat();
        let missing = missing_at(places, &options, &text);
        let exempt: Vec<&str> = exempt(places);
        missed.extend(
            missing
                .iter()
                .filter(|field| !exempt.contains(field))
                .map(|field| format!("{field} is not mentioned in {}", places.join(", "))),
        );
        // Whoever describes the words of the page need not come here to make this list shorter.
        let needless =
            exempt.iter().filter(|field| !missing.contains(field) && !places.contains(&NOUNS.to_owned()));
        missed.extend(needless.map(|field| format!("{field} need not be exempt from {}", places.join(", "))));
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}

fn exempt(places: &[String]) -> Vec<&'static str> {
    let rows = EXEMPT.iter().filter(|(stop, _, _)| places.iter().any(|place| place == stop));
    rows.flat_map(|(_, fields, _)| fields.iter().copied()).collect()
}

fn read(file: &str) -> Checked<String> {
    fs::read_to_string(Path::new(ROOT).join(file)).map_err(|error| Failure(format!("{file}: {error}")))
}

/// What stands below a heading.
fn section<'a>(page: &'a str, heading: &str) -> Checked<&'a str> {
    let below = page.split_once(&format!("{heading}\n")).map(|(_, below)| below);
    let below = below.ok_or_else(|| Failure(format!("{PAGE} has no {heading:?}")))?;
    Ok(below.split("\n## ").next().unwrap_or_default())
}

/// The items of a numbered list, each with its further lines.
fn items(list: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in list.lines() {
        let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        match (line.split_once(". "), items.last_mut()) {
            (Some((number, text)), _) if is_number(number) => items.push(text.to_owned()),
            (_, Some(item)) if line.starts_with("   ") => *item += &format!(" {}", line.trim()),
            _ => {}
        }
    }
    items
}

/// The files and folders that a text names by their paths, and those that it links to.
fn places(text: &str) -> Vec<String> {
    let is_path = |word: &&str| {
        ["src/", "tests/", "docs/", "benches/", "fuzz/"].iter().any(|root| word.starts_with(root))
            && !word.contains(char::is_whitespace)
    };
    let named = text.split('`').skip(1).step_by(2).filter(is_path).map(str::to_owned);
    let linked = text.split("](").skip(1).filter_map(|link| link.split(')').next());
    let linked = linked.map(|link| match link.strip_prefix("../") {
        Some(above) => above.to_owned(),
        None if link.starts_with('#') => link.to_owned(),
        None => format!("docs/{link}"),
    });
    named.chain(linked).collect()
}

/// What stands at a stop: in a folder in all its files, at a link into the page in its section.
fn text_of(place: &str, page: &str) -> Checked<String> {
    if let Some(anchor) = place.strip_prefix('#') {
        let slug = |heading: &str| heading.to_lowercase().replace(' ', "-");
        let heading =
            page.lines().filter_map(|line| line.strip_prefix("## ")).find(|name| slug(name) == anchor);
        let heading = heading.ok_or_else(|| Failure(format!("{PAGE} has no {place}")))?;
        return section(page, &format!("## {heading}")).map(str::to_owned);
    }
    if place.ends_with('/') {
        let sources = read_folder(place.trim_end_matches('/'))?;
        return Ok(sources.into_iter().map(|source| source.text).collect());
    }
    read(place)
}

/// An option as it is typed.
#[derive(Debug, PartialEq)]
struct Typed {
    field: String,
    long: Option<String>,
    short: Option<char>,
}

/// The options of the structs that are a test's.
fn options_in(text: &str) -> Vec<Typed> {
    let mut options = Vec::new();
    for name in STRUCTS {
        let body = text.split_once(&format!("struct {name} {{\n")).map_or("", |(_, body)| body);
        let body = body.split_once("\n}").map_or(body, |(body, _)| body);
        let code: Vec<&str> = body.lines().map(str::trim).filter(|line| !line.starts_with("///")).collect();
        for argument in code.join(" ").split("#[arg(").skip(1) {
            let Some((attribute, field)) = argument.split_once(")] ") else { continue };
            let field = field.trim_start_matches("pub(super) ").split(':').next().unwrap_or_default();
            options.push(Typed::new(field, attribute));
        }
    }
    options
}

impl Typed {
    fn new(field: &str, attribute: &str) -> Self {
        let settings: Vec<&str> = attribute.split(',').map(str::trim).collect();
        let letter = settings.iter().find_map(|setting| setting.strip_prefix("short = '")?.chars().next());
        let first = field.chars().next().filter(|_| settings.contains(&"short"));
        let long = settings.contains(&"long").then(|| field.replace('_', "-"));
        Self { field: field.to_owned(), long, short: letter.or(first) }
    }

    /// Whether this is the text that defines it.
    fn is_defined_in(&self, text: &str) -> bool {
        text.contains(&format!("{}: ", self.field))
    }

    /// Whether code looks at its field.
    fn is_used_in(&self, text: &str) -> bool {
        has_word(text, &format!(".{}", self.field), &['_', '('])
    }

    /// Whether a text has it as it is typed.
    fn is_typed_in(&self, text: &str) -> bool {
        let short = |letter: char| {
            let starts = [' ', '"', '`', '\n', '('];
            starts.iter().any(|start| has_word(text, &format!("{start}-{letter}"), &['-', '_']))
        };
        let long = |name: &String| has_word(text, &format!("--{name}"), &['-', '_']);
        self.long.as_ref().is_some_and(long) || self.short.is_some_and(short)
    }
}

/// Whether a text has these characters, and no letter, digit or other part of a longer word behind them.
fn has_word(text: &str, word: &str, parts: &[char]) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || parts.contains(&one);
    text.match_indices(word).any(|(at, _)| !text[at + word.len()..].starts_with(is_part))
}

/// The fields of the options that a stop lacks. The program has options by their fields, all others as typed.
fn missing_at<'a>(places: &[String], options: &'a [Typed], text: &str) -> Vec<&'a str> {
    let is_there = match places.first().map(String::as_str) {
        Some(OPTIONS) => Typed::is_defined_in,
        Some("src/config/resolve/") => Typed::is_used_in,
        _ => Typed::is_typed_in,
    };
    let missing = options.iter().filter(|option| !is_there(option, text));
    missing.map(|option| option.field.as_str()).collect()
}

#[test]
fn an_option_that_was_not_at_a_stop_is_noticed() {
    let options = options_in(
        "pub(super) struct BothOptions {\n    /// Help, with short words\n    #[arg(short, long, value_name = \"N\")]\n    \
         pub(super) rate_now: Option<String>,\n    #[arg(\n        short = 'Q',\n        long\n    )]\n    \
         pub(super) quiet: bool,\n    #[arg(short, hide = true)]\n    pub(super) d: bool,\n}\nstruct Other {}\n",
    );
    let typed = |field: &str, long: Option<&str>, short| Typed {
        field: field.to_owned(),
        long: long.map(str::to_owned),
        short: Some(short),
    };
    assert_eq!(
        options,
        [typed("rate_now", Some("rate-now"), 'r'), typed("quiet", Some("quiet"), 'Q'), typed("d", None, 'd')]
    );
    let stops: [(&str, &str, &[&str]); 6] = [
        ("src/config/options.rs", "rate_now: A, quiet: B, d: C", &[]),
        ("src/config/options.rs", "rate: A, quiet: B, debug: C", &["rate_now", "d"]),
        ("src/config/resolve/", "both.rate_now, (both.quiet) and both.d;", &[]),
        ("src/config/resolve/", "both.rate_now_too, both.quiet(), --d", &["rate_now", "quiet", "d"]),
        ("docs/A.md", "run --rate-now 5 `-Q` and \"-d\"", &[]),
        ("docs/A.md", "both.d, run --rate-nowhere 5 -Quiet and -d2", &["rate_now", "quiet", "d"]),
    ];
    for (place, text, missing) in stops {
        assert_eq!(missing_at(&[place.to_owned()], &options, text), missing, "{text}");
    }
}

#[test]
fn places_are_read_from_the_items_of_a_list() {
    let page = "## How to add a thing\n\n1. *Every option:* `src/a.rs`, a `field` in\n   `src/b/` or [there](C.md).\n\
                2. [Up](../D.md) and `no/path`, see [below](#one-two).\n\n## One two\n\nwords\n";
    let list = section(page, "## How to add a thing").expect("it is there");
    let places: Vec<Vec<String>> = items(list).iter().map(|item| places(item)).collect();
    assert_eq!(places, [vec!["src/a.rs", "src/b/", "docs/C.md"], vec!["D.md", "#one-two"]]);
    assert!(text_of("#one-two", page).is_ok_and(|text| words(&text).eq(["words"])));
    assert!(text_of("#one-three", page).is_err() && section(page, "## How to add it").is_err());
}
