//! Figures in the pages are those of the constants that they are about.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::source::Source;
use crate::harness::{Checked, Failure, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// All deadlines and byte limits.
const LIMITS: &str = "src/control/base/limits.rs";
/// Pages that name the constants of [`LIMITS`] beside their figures.
const NAMING: [&str; 2] = ["docs/PROTOCOL.md", "docs/SERVER.md"];

/// A page, words of it with a figure in braces, and the constant in a file that the figure is.
type Tie = (&'static str, &'static str, &'static str, &'static str);

const TIES: [Tie; 41] = [
    ("docs/ARCHITECTURE.md", "a flag is seen within {50 ms}", "src/engine/waiting.rs", "SEND_WAIT_MAX"),
    ("docs/ENGINES.md", "in the kernel lasts longer than {50 ms}", "src/engine/waiting.rs", "SEND_WAIT_MAX"),
    ("docs/RELIABILITY.md", "{26} parameters with", "src/protocol/testing/decided.rs", "NUMBERS"),
    ("docs/RELIABILITY.md", "parameters with {24} values each", "src/protocol/testing/decided.rs", "VALUES"),
    ("docs/RELIABILITY.md", "{nine} fuzzers, half a minute each", "src/fuzzing.rs", "TARGETS"),
    ("docs/RELIABILITY.md", "parameters up to {8 KiB}", LIMITS, "PARAMS_BYTES"),
    ("docs/RELIABILITY.md", "has no slot, and is given up after {10 s}", LIMITS, "SET_UP"),
    ("docs/RELIABILITY.md", "gives a set-up {15 s} in all", "src/config/resolve/limits.rs", "PUBLIC_SET_UP"),
    ("docs/RELIABILITY.md", "{60} failures and", LIMITS, "FAILURES_TOLD"),
    ("docs/RELIABILITY.md", "failures and {2,000} tests a minute", LIMITS, "TESTS_TOLD"),
    ("docs/RELIABILITY.md", "the planned end of the test and {15 s} more", LIMITS, "OVERDUE"),
    ("docs/RELIABILITY.md", "never hears TEST_END waits {15 s}", LIMITS, "OVERDUE"),
    ("docs/RELIABILITY.md", "each message has {10 s} of its own", LIMITS, "ANSWER"),
    ("docs/RELIABILITY.md", "is an error after {5 s} unless the test is reverse", LIMITS, "UDP_REPLY"),
    ("docs/RELIABILITY.md", "| {1 s} after the question", LIMITS, "REFUSED_LOGIN"),
    (
        "docs/RELIABILITY.md",
        "{10} refusals a minute, then none",
        "src/auth/failed_logins.rs",
        "FAILED_LOGINS_PER_MINUTE",
    ),
    ("docs/RELIABILITY.md", "a document's intervals {4 MiB}, then", "src/report/spool.rs", "MEMORY_BYTES"),
    ("docs/RELIABILITY.md", "{3,000} seeds", "src/engine/testing/simulated/mod.rs", "SEEDS"),
    ("docs/SERVER.md", "is remembered for {ten minutes}", LIMITS, "FRUITLESS_MEMORY"),
    ("docs/SERVER.md", "1, 2, 4, ... {60 s}", LIMITS, "FRUITLESS_WAIT_MAX"),
    ("docs/SERVER.md", "was turned away in the last {5 s}", LIMITS, "WAITS"),
    ("docs/SERVER.md", "without a cookie, of one source | {32} |", LIMITS, "WAITING_OF_A_SOURCE"),
    ("docs/SERVER.md", "set-ups of all sources | {256} |", LIMITS, "SET_UPS"),
    ("docs/SERVER.md", "hear the answer | {256}, 1 s, 64 KiB each", LIMITS, "LEAVING_CONNECTIONS"),
    ("docs/SERVER.md", "hear the answer | 256, {1 s}, 64 KiB each", LIMITS, "LINGER"),
    ("docs/SERVER.md", "hear the answer | 256, 1 s, {64 KiB} each", LIMITS, "LINGER_BYTES"),
    ("docs/SERVER.md", "the next attempt comes {100 ms} later", LIMITS, "ACCEPT_PAUSE"),
    (
        "docs/SERVER.md",
        "After {ten} refusals within a minute",
        "src/auth/failed_logins.rs",
        "FAILED_LOGINS_PER_MINUTE",
    ),
    ("docs/COMPATIBILITY.md", "at most {1 s} (UDP: 0.1 s)", "src/engine/gate.rs", "CATCH_UP_MAX"),
    ("docs/COMPATIBILITY.md", "at most 1 s (UDP: {0.1 s})", "src/engine/udp/mod.rs", "CATCH_UP_MAX"),
    ("docs/COMPATIBILITY.md", "one of more than {16 MiB} and says so", LIMITS, "SERVER_REPORT_BYTES"),
    ("docs/COMPATIBILITY.md", "moves ends after {120 s}, whichever way", LIMITS, "STALL"),
    (
        "docs/COMPATIBILITY.md",
        "after {ten} bad ones within a minute",
        "src/auth/failed_logins.rs",
        "FAILED_LOGINS_PER_MINUTE",
    ),
    ("docs/ENGINES.md", "for each, at most {512}", "src/engine/sizes.rs", "UNRELEASED_MAX"),
    ("docs/ENGINES.md", "have {2 MiB} of sends", "src/engine/sizes.rs", "ALL_SEND_BYTES"),
    ("docs/ENGINES.md", "{4 MiB} of receive buffers, so", "src/engine/sizes.rs", "ALL_RECEIVE_BYTES"),
    ("docs/ENGINES.md", "**Batches** take {256 KiB} of memory", "src/engine/udp/mod.rs", "BATCH_BYTES"),
    ("docs/ENGINES.md", "and have {64} slots at most", "src/engine/udp/mod.rs", "BATCH_SLOTS_MAX"),
    ("docs/ENGINES.md", "socket asks for {16 MiB}", "src/control/streams/udp.rs", "RECEIVE_BUFFER_BYTES"),
    ("docs/ENGINES.md", "they take turns of {4 ms}", "src/engine/adapt.rs", "WINDOW"),
    ("docs/MEASURING.md", "A client takes {16 MiB} of a report", LIMITS, "SERVER_REPORT_BYTES"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Count(u64),
    Time(Duration),
}

#[test]
fn figures_are_those_of_the_constants() -> Checked {
    let mut wrong = Vec::new();
    for (page, words, file, constant) in TIES {
        if let Err(Failure(why)) = holds(&read(page)?, words, &read(file)?, constant) {
            wrong.push(format!("{page}, {constant} of {file}: {why}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn figures_beside_the_names_of_limits_are_theirs() -> Checked {
    let limits = read(LIMITS)?;
    let mut count = 0;
    for page in NAMING {
        for (name, figure) in named_figures(&read(page)?) {
            let Ok(value) = constant(&limits, name) else { continue };
            ensure!(value == figure, "{page}: `{name}` is {value:?} and not {figure:?}");
            count += 1;
        }
    }
    ensure!(count >= 30, "only {count} names have a figure beside them");
    Ok(())
}

fn read(file: &str) -> Checked<String> {
    let read = fs::read_to_string(Path::new(ROOT).join(file));
    read.map_err(|error| Failure(format!("{file}: {error}")))
}

/// The page has these words, and their figure is that of the constant.
fn holds(page: &str, words: &str, file: &str, name: &str) -> Checked {
    let sentence = words.replace(['{', '}'], "");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(page.contains(&sentence), "{sentence:?} is not there");
    let figure = words.split(['{', '}']).nth(1).and_then(figure);
    let figure = figure.ok_or_else(|| Failure(format!("no figure in {words:?}")))?;
    let value = constant(file, name)?;
    ensure!(value == figure, "{figure:?} instead of {value:?} in {sentence:?}");
    Ok(())
}

/// The names in backticks that have a figure right behind them.
fn named_figures(page: &str) -> Vec<(&str, Figure)> {
    let mut parts = page.split('`').skip(1);
    let mut found = Vec::new();
    while let (Some(name), Some(behind)) = (parts.next(), parts.next()) {
        let mut words = behind.trim_start().split([' ', ',', ';', '\n']);
        let (number, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        found.extend(figure(&format!("{number} {unit}")).map(|figure| (name, figure)));
    }
    found
}

/// What a page means by a number and its unit: `64`, `2,000`, `0.25 s`, `64 KiB`, `ten minutes`.
fn figure(text: &str) -> Option<Figure> {
    const NUMBERS: [&str; 13] = [
        "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let word = NUMBERS.iter().position(|word| *word == number).map(|number| number.to_string());
    let number = word.unwrap_or_else(|| number.replace(',', ""));
    let count = |factor: u64| number.parse::<u64>().ok().map(|count| Figure::Count(count * factor));
    let time = |seconds: f64| {
        let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
        Duration::try_from_secs_f64(number * seconds).ok().map(Figure::Time)
    };
    match unit {
        "" | "bytes" => count(1),
        "KiB" => count(1 << 10),
        "MiB" => count(1 << 20),
        "ms" => time(0.001),
        "s" | "seconds" => time(1.0),
        "minutes" => time(60.0),
        _ => None,
    }
}

/// The value of a constant of a file, and of a table its length.
fn constant(file: &str, name: &str) -> Checked<Figure> {
    let code = Source::new("", file).code;
    let definition = code.split_once(&format!("const {name}: ")).map(|(_, behind)| behind);
    let definition = definition.ok_or_else(|| Failure(format!("there is no constant {name}")))?;
    let (kind, value) = definition.split_once(" = ").unwrap_or_default();
    if let Some((_, length)) = kind.trim_end_matches(']').rsplit_once("; ") {
        return length.parse().map(Figure::Count).map_err(|_| Failure(format!("{name}: {kind}")));
    }
    let value = value.split(';').next().unwrap_or_default().trim();
    evaluated(value).ok_or_else(|| Failure(format!("{name} is {value}, which is not understood")))
}

/// A number, a product of numbers, or a time.
fn evaluated(value: &str) -> Option<Figure> {
    if let Some((unit, number)) = value.strip_prefix("Duration::from_").and_then(|time| time.split_once('('))
    {
        let number: u64 = number.trim_end_matches(')').parse().ok()?;
        let time = match unit {
            "secs" => Duration::from_secs(number),
            "millis" => Duration::from_millis(number),
            "micros" => Duration::from_micros(number),
            _ => return None,
        };
        return Some(Figure::Time(time));
    }
    let factors = value.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok());
    factors.product::<Option<u64>>().map(Figure::Count)
}

#[test]
fn another_figure_than_that_of_the_constant_is_noticed() {
    let file = "/// Of old it was 7.\npub const WAIT: Duration = Duration::from_millis(1500);\n\
                const ROOM_BYTES: u32 = 64 * 1024;\nconst MANY: u64 = 2_000;\nconst ALL: [(&str, u8); 9] = [\n";
    let page = "The wait is 1.5 s,\nthe room 64 KiB, and there are nine of 2,000.";
    for (words, name) in [
        ("wait is {1.5 s}", "WAIT"),
        ("room {64 KiB}, and", "ROOM_BYTES"),
        ("{2,000}", "MANY"),
        ("{nine} of", "ALL"),
    ] {
        assert!(holds(page, words, file, name).is_ok(), "{words}: {:?}", holds(page, words, file, name));
    }
    for (page, words, name) in [
        ("The wait is 2 s.", "wait is {2 s}", "WAIT"),
        ("The wait is 2 s.", "wait is {1.5 s}", "WAIT"),
        ("The room is 64 bytes.", "room is {64 bytes}", "ROOM_BYTES"),
        ("There are ten.", "are {ten}", "ALL"),
        ("There are 7.", "are {7}", "NONE"),
    ] {
        assert!(holds(page, words, file, name).is_err(), "{page}");
    }
    let figures = named_figures("| `WAIT` 1.5 s; `--option` 5 or `ROOM_BYTES` |");
    assert_eq!(figures, [("WAIT", Figure::Time(Duration::from_millis(1500)))]);
}
