//! Habits of the source that no compiler lint watches: who may import whom, and what stands only in certain
//! places.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Checked, Failure, ensure};

/// Longest line, in characters.
const MAX_COLUMNS: usize = 110;

/// Each part of the crate and the parts it may import: those of the layers below it.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("units", &[]),
    ("config", &["units"]),
    ("stats", &["units", "config"]),
    ("protocol", &["units", "config", "stats"]),
    ("sys", &["units", "config", "protocol", "stats"]),
    ("auth", &["units", "config", "protocol", "stats", "sys"]),
    ("engine", &["units", "config", "protocol", "stats", "sys"]),
    ("report", &["units", "config", "protocol", "stats", "sys"]),
    ("process", &["units", "config", "protocol", "stats", "sys"]),
    ("control", &["units", "config", "protocol", "stats", "sys", "engine", "report", "auth", "error"]),
    ("error", &["config", "protocol", "sys", "auth", "report"]),
];

/// Files that put all parts together, and may import whatever they want.
const ABOVE_ALL: [&str; 3] = ["main", "lib", "fuzzing"];

/// Rooms inside a part, and the rooms of the same part that each may import: those below it. Files beside
/// them are not restricted.
const ROOMS: [(&str, &[&str]); 14] = [
    ("report/delivery", &[]),
    ("report/json", &[]),
    ("report/text", &["json"]),
    ("report/testing", &["delivery", "json", "text"]),
    ("engine/tcp", &[]),
    ("engine/udp", &[]),
    ("engine/testing", &["tcp", "udp"]),
    ("sys/net", &[]),
    ("sys/uring", &["net"]),
    ("control/base", &[]),
    ("control/serve", &["base"]),
    ("control/streams", &["base", "serve"]),
    ("control/session", &["base", "serve", "streams"]),
    ("control/testing", &[]),
];

/// Parts whose folders are all [`ROOMS`].
const PARTS_WITH_ROOMS: [&str; 4] = ["sys", "engine", "report", "control"];

/// Most source files of one folder.
const FILES_MAX: usize = 16;

/// A habit: what is wrong with a file, a line each.
type Habit = fn(&Source) -> Vec<String>;

const HABITS_OF_SRC: [Habit; 11] = [
    imports_point_down,
    rooms_import_rooms_below,
    nothing_reaches_over_its_parent,
    unsafe_stays_in_sys,
    tokio_uring_stays_in_its_two_files,
    output_stays_in_report,
    threads_start_in_control_and_report,
    the_clock_of_the_day_measures_nothing,
    errors_of_the_system_are_put_into_words,
    lines_are_short,
    comments_name_no_issues,
];

const HABITS_OF_TESTS: [Habit; 2] = [tests_do_not_sleep, lines_are_short];

#[test]
fn src_keeps_the_habits() -> Checked {
    let sources = read_folder("src")?;
    ensure!(sources.iter().any(|source| source.path == "src/lib.rs"), "src was not found");
    keeps(&sources, &HABITS_OF_SRC)
}

#[test]
fn folders_can_be_taken_in_at_a_glance() -> Checked {
    let mut folders = BTreeMap::new();
    let sources = [read_folder("src")?, read_folder("tests")?].concat();
    for source in &sources {
        let (folder, _) = source.path.rsplit_once('/').expect("a file is in a folder");
        *folders.entry(folder).or_insert(0) += 1;
    }
    let full = folders.into_iter().filter(|(_, files)| *files > FILES_MAX);
    let full: Vec<_> = full.map(|(folder, files)| format!("{folder}: {files} files")).collect();
    ensure!(full.is_empty(), "more than {FILES_MAX} files: {}", full.join(", "));
    Ok(())
}

#[test]
fn tests_keep_the_habits() -> Checked {
    let sources = read_folder("tests")?;
    ensure!(sources.iter().any(|source| source.path == "tests/repo/layering.rs"), "tests were not found");
    keeps(&sources, &HABITS_OF_TESTS)
}

fn keeps(sources: &[Source], habits: &[Habit]) -> Checked {
    let mut wrong = Vec::new();
    for source in sources {
        for habit in habits {
            wrong.extend(habit(source).into_iter().map(|what| format!("{}: {what}", source.path)));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure(wrong.join("\n"))) }
}

fn imports_point_down(source: &Source) -> Vec<String> {
    if ABOVE_ALL.contains(&source.part()) {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(part, _)| *part == source.part()) else {
        return vec![format!(
            "{} is a part that nobody knows: give it its place in MAY_IMPORT",
            source.part()
        )];
    };
    let foreign = |name: &String| *name != source.part() && !allowed.contains(&name.as_str());
    imported_parts(&source.code)
        .into_iter()
        .filter(foreign)
        .map(|name| format!("imports {name}, which is not below {}", source.part()))
        .collect()
}

fn rooms_import_rooms_below(source: &Source) -> Vec<String> {
    let part = source.part();
    let below_part = source.path.strip_prefix(&format!("src/{part}/")).and_then(|path| path.split_once('/'));
    let Some((room, _)) = below_part.filter(|_| PARTS_WITH_ROOMS.contains(&part)) else { return Vec::new() };
    let rooms = || ROOMS.iter().filter_map(|(path, below)| Some((path.strip_prefix(part)?.get(1..)?, below)));
    let Some((_, allowed)) = rooms().find(|(known, _)| *known == room) else {
        return vec![format!("{part}/{room} is a room that nobody knows: give it its place in ROOMS")];
    };
    let foreign = |name: &String| {
        name != room && rooms().any(|(known, _)| known == name) && !allowed.contains(&name.as_str())
    };
    names_after(source.production_code(), &format!("crate::{part}::"))
        .into_iter()
        .filter(foreign)
        .map(|name| format!("imports {part}::{name}, which is not below {part}::{room}"))
        .collect()
}

/// A path from the crate's root says where a thing is, a chain of `super` does not.
fn nothing_reaches_over_its_parent(source: &Source) -> Vec<String> {
    source.lines_with(&source.code, |line| line.contains("super::super"))
}

fn unsafe_stays_in_sys(source: &Source) -> Vec<String> {
    if source.part() == "sys" {
        return Vec::new();
    }
    source.lines_with(&source.code, |line| words(line).any(|word| word == "unsafe"))
}

fn tokio_uring_stays_in_its_two_files(source: &Source) -> Vec<String> {
    if ["src/control/base/runtime.rs", "src/control/session/link.rs"].contains(&source.path.as_str()) {
        return Vec::new();
    }
    source.lines_with(&source.code, |line| words(line).any(|word| word == "tokio_uring"))
}

fn output_stays_in_report(source: &Source) -> Vec<String> {
    if source.part() == "report" || source.part() == "main" {
        return Vec::new();
    }
    let prints = ["print!", "println!", "eprint!", "eprintln!", "stdout()", "stderr()"];
    source.lines_with(&source.code, |line| prints.iter().any(|call| has_call(line, call)))
}

/// Whether `line` has this call, and not one whose longer name ends in it.
fn has_call(line: &str, call: &str) -> bool {
    let is_part_of_a_word = |one: char| one.is_alphanumeric() || one == '_';
    line.match_indices(call).any(|(position, _)| !line[..position].ends_with(is_part_of_a_word))
}

/// Only control and report have threads, and all start in one way, which keeps signals from them. Unit tests
/// and fuzzers may start others: they play the other end.
fn threads_start_in_control_and_report(source: &Source) -> Vec<String> {
    let may_start = ["control", "report"].contains(&source.part());
    let is_free = ["src/sys/thread.rs", "src/control/testing/fuzzing.rs"].contains(&source.path.as_str());
    source.lines_with(source.production_code(), |line| {
        let starts = line.contains("start_thread(");
        let by_itself =
            ["thread::spawn", "thread::Builder", "thread::scope"].iter().any(|call| line.contains(call));
        !is_free && (by_itself || starts && !may_start)
    })
}

/// Rust shows a system's error with its number, "(os error 104)", so `plain` of `sys/words.rs` puts all of
/// them into words. What the type of an error is cannot be seen here: the files that show errors of this
/// crate are named, and in derived texts the type stands below.
fn errors_of_the_system_are_put_into_words(source: &Source) -> Vec<String> {
    const SHOW_OWN_ERRORS: [&str; 9] = [
        "src/main.rs",
        "src/config/cli/mod.rs",
        "src/config/resolve/error.rs",
        "src/config/resolve/local.rs",
        "src/control/loopback.rs",
        "src/control/server.rs",
        "src/control/session/client.rs",
        "src/fuzzing.rs",
        "src/sys/words.rs",
    ];
    if SHOW_OWN_ERRORS.contains(&source.path.as_str()) || source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let text = &source.text[..source.production_code().len()];
    let is_shown = |line: &str, name: &str| {
        line.contains(&format!("{{{name}}}")) || line.contains(&format!("{name}.to_string()"))
    };
    let shows = |line: &str| {
        !line.contains("panic!(") && ["error", "source", "fault"].iter().any(|name| is_shown(line, name))
    };
    let mut wrong = source.lines_with(text, shows);
    for derived in text.split("#[error(").skip(1) {
        let (attribute, below) = derived.split_once(")]").unwrap_or_default();
        let variant = below.split_once(")]").map_or(below, |(variant, _)| variant);
        let variant = variant.split("},").next().unwrap_or_default();
        let is_systems = variant.contains("(io::Error)") || variant.contains("(#[source] io::Error)");
        if is_systems && variant.find("io::Error") < variant.find("),") && attribute.contains("{0}") {
            wrong.push(format!("a system's error is shown: {}", attribute.trim()));
        }
    }
    wrong
}

/// The clock of the day may be set at any time, so it is only read for what is said of a test, and for
/// logins.
fn the_clock_of_the_day_measures_nothing(source: &Source) -> Vec<String> {
    let tells_or_judges = ["session/client.rs", "session/server_side.rs", "server.rs", "serve/logins.rs"]
        .iter()
        .any(|name| source.path.strip_prefix("src/control/") == Some(name));
    if tells_or_judges || source.part() == "report" {
        return Vec::new();
    }
    source.lines_with(source.production_code(), |line| {
        ["SystemTime::now", "CLOCK_REALTIME", "Zoned::now", "Timestamp::now"]
            .iter()
            .any(|clock| line.contains(clock))
    })
}

/// The text of string literals is not counted: what travels on the wire, or is printed, is best seen in one
/// piece.
fn lines_are_short(source: &Source) -> Vec<String> {
    let mut views = source.code.lines().zip(source.comments.lines());
    let wrong = source.lines_with(&source.text, |line| {
        let (code, comments) = views.next().expect("all views have the same lines");
        let seen = code.chars().zip(comments.chars()).zip(line.chars());
        seen.filter(|((code, comment), text)| code == text || comment == text).count() > MAX_COLUMNS
    });
    wrong.into_iter().map(|what| format!("longer than {MAX_COLUMNS} columns, {what}")).collect()
}

/// An issue number is a `#` with two digits or more.
fn comments_name_no_issues(source: &Source) -> Vec<String> {
    source.lines_with(&source.comments, |line| {
        line.split('#').skip(1).any(|after| after.chars().take_while(char::is_ascii_digit).count() >= 2)
    })
}

fn tests_do_not_sleep(source: &Source) -> Vec<String> {
    source.lines_with(&source.code, |line| words(line).any(|word| word == "sleep"))
}

/// A Rust file, taken apart.
#[derive(Clone)]
struct Source {
    /// From the project's folder, with forward slashes.
    path: String,
    text: String,
    /// The text with comments, strings and characters blanked out; same lines.
    code: String,
    /// The text with everything but comments blanked out; same lines.
    comments: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (code, comments) = separate(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// `config` for `src/config/cli.rs`, `units` for `src/units.rs`.
    fn part(&self) -> &str {
        let below_src = self.path.trim_start_matches("src/");
        below_src.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The code above the unit tests, which are last in each file.
    fn production_code(&self) -> &str {
        let tests = self.code.match_indices("#[cfg(test)]\n").find(|(position, _)| {
            let mut behind = self.code[*position..].lines().skip_while(|line| line.starts_with("#["));
            behind.next().is_some_and(|line| line.trim_start_matches("pub(super) ").starts_with("mod "))
        });
        tests.map_or(self.code.as_str(), |(position, _)| &self.code[..position])
    }

    /// The lines of `view`, which is one of this source's texts, that `is_wrong` finds.
    fn lines_with(&self, view: &str, mut is_wrong: impl FnMut(&str) -> bool) -> Vec<String> {
        let wrong = view.lines().enumerate().filter(|(_, line)| is_wrong(line));
        wrong
            .map(|(index, _)| {
                format!("line {}: {}", index + 1, self.text.lines().nth(index).unwrap_or_default().trim())
            })
            .collect()
    }
}

/// Reads all Rust files below a folder of the project.
fn read_folder(name: &str) -> Checked<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).expect("it was found below the root");
                sources.push(Source::new(&relative.to_string_lossy(), &fs::read_to_string(&path)?));
            }
        }
    }
    Ok(sources)
}

/// The names that directly follow `crate::`, also in a group like `crate::{config::Role, units}`.
fn imported_parts(code: &str) -> Vec<String> {
    names_after(code, "crate::")
}

/// The names that directly follow this path, also in a group.
fn names_after(code: &str, path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for after in code.split(path).skip(1) {
        match after.strip_prefix('{') {
            None => parts.extend(words(after).next().map(str::to_owned)),
            Some(group) => parts.extend(group_heads(group)),
        }
    }
    parts
}

/// The first word of each member of a group whose opening brace is already read.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(String::new()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        members.last_mut().expect("there is always one").push(character);
    }
    members.iter().filter_map(|member| words(member).next().map(str::to_owned)).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// What kind of text a position is in.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    Code,
    LineComment,
    /// With the depth of nesting.
    BlockComment(usize),
    /// A string or a character literal.
    Quoted,
}

/// Splits a Rust text into its code and its comments; both keep the line structure.
fn separate(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (region, length) = next_region(rest);
        let (taken, after) = rest.split_at(length);
        rest = after;
        let blank: String = taken.chars().map(|one| if one == '\n' { '\n' } else { ' ' }).collect();
        let is_comment = matches!(region, Region::LineComment | Region::BlockComment(_));
        code += if region == Region::Code { taken } else { &blank };
        comments += if is_comment { taken } else { &blank };
    }
    (code, comments)
}

/// The region at the start of `rest` and its length in bytes.
fn next_region(rest: &str) -> (Region, usize) {
    if rest.starts_with("//") {
        return (Region::LineComment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Region::BlockComment(1), block_comment_length(rest));
    }
    if let Some(length) = raw_string_length(rest) {
        return (Region::Quoted, length);
    }
    if rest.starts_with('"') {
        return (Region::Quoted, quoted_length(rest, '"'));
    }
    if is_character_literal(rest) {
        return (Region::Quoted, quoted_length(rest, '\''));
    }
    // A word is taken whole, so that the `r` at the end of `for` does not start a raw string.
    let word = rest.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    (Region::Code, word.max(first))
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut position = 0;
    while position < rest.len() {
        let here = &rest[position..];
        let step = if here.starts_with("/*") {
            depth += 1;
            2
        } else if here.starts_with("*/") {
            depth -= 1;
            2
        } else {
            here.chars().next().map_or(1, char::len_utf8)
        };
        position += step;
        if depth == 0 {
            break;
        }
    }
    position
}

/// The length of a raw string like `r"..."` or `br#"..."#`, if one starts here.
fn raw_string_length(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(*prefix).is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
    })?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let opening = prefix.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = rest[opening..].find(&closing).unwrap_or(rest.len() - opening - closing.len());
    Some(opening + body + closing.len())
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (position, character) in rest.char_indices().skip(1) {
        if character == quote && !escaped {
            return position + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    rest.len()
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character_literal(rest: &str) -> bool {
    let mut characters = rest.chars();
    characters.next() == Some('\'') && (characters.next() == Some('\\') || characters.next() == Some('\''))
}

#[test]
fn each_habit_notices_its_breach() {
    let noticed = |habit: Habit, path: &str, text: &str| !habit(&Source::new(path, text)).is_empty();
    for (habit, path, bad, good) in [
        (imports_point_down as Habit, "src/units.rs", "use crate::config::Role;", "use crate::units::Scale;"),
        (imports_point_down, "src/config/cli.rs", "use crate::protocol::State;", "use crate::units;"),
        (
            imports_point_down,
            "src/sys/a.rs",
            "use crate::{units, engine::{Job, a}};",
            "use crate::{units, config::a};",
        ),
        (imports_point_down, "src/auth/a.rs", "use crate::engine::Job;", "use crate::config::LoginOptions;"),
        (imports_point_down, "src/report/a.rs", "fn f() -> crate::error::E;", "fn f() -> crate::stats::E;"),
        (imports_point_down, "src/engine/a.rs", "use crate::report::X;", "// like crate::report does"),
        (imports_point_down, "src/unknown/a.rs", "fn f() {}", ""),
        (
            rooms_import_rooms_below,
            "src/control/serve/a.rs",
            "use crate::control::streams::udp;",
            "use crate::control::base::{limits, way_out};",
        ),
        (rooms_import_rooms_below, "src/control/unknown/a.rs", "fn f() {}", ""),
        (nothing_reaches_over_its_parent, "src/a/b/c.rs", "use super::super::d;", "use crate::a::d;"),
        (unsafe_stays_in_sys, "src/engine/a.rs", "unsafe { f() }", "let s = \"unsafe\"; // unsafe"),
        (tokio_uring_stays_in_its_two_files, "src/control/a.rs", "tokio_uring::start()", "tokio::start()"),
        (output_stays_in_report, "src/control/a.rs", "println!()", "error.use_stderr()"),
        (output_stays_in_report, "src/engine/a.rs", "io::stdout().lock()", "r#\"io::stdout()\"#"),
        (
            threads_start_in_control_and_report,
            "src/sys/a.rs",
            "thread::spawn(f)",
            "#[cfg(test)]\nmod t { thread::spawn(f) }",
        ),
        (
            threads_start_in_control_and_report,
            "src/control/a.rs",
            "thread::spawn(f)",
            "start_thread(\"a\", f)",
        ),
        (
            threads_start_in_control_and_report,
            "src/engine/a.rs",
            "start_thread(\"a\", f)",
            "// start_thread(\"a\", f)",
        ),
        (
            the_clock_of_the_day_measures_nothing,
            "src/engine/a.rs",
            "let now = SystemTime::now();",
            "let now = Instant::now(); // no SystemTime::now",
        ),
        (
            errors_of_the_system_are_put_into_words,
            "src/engine/a.rs",
            "format!(\"no pipe: {error}\")",
            "format!(\"no pipe: {}\", plain(&error))",
        ),
        (
            errors_of_the_system_are_put_into_words,
            "src/auth/a.rs",
            "#[error(\"no: {0}\")]\nA(io::Error),\n#[error(\"b\")]\nB,",
            "#[error(\"no: {}\", plain(.0))]\nA(io::Error),\n#[error(\"{0}\")]\nB(Own),",
        ),
        (lines_are_short, "src/a.rs", &"x".repeat(MAX_COLUMNS + 1), &"x".repeat(MAX_COLUMNS)),
        (
            lines_are_short,
            "src/a.rs",
            &format!("//{}", "x".repeat(MAX_COLUMNS)),
            &format!("\"{}\"", "x".repeat(200)),
        ),
        (comments_name_no_issues, "src/a.rs", "// as in #123", "// see #1\nlet a = \"#123\";"),
        (tests_do_not_sleep, "tests/a.rs", "std::thread::sleep(d)", "let sleeper = 'x'; // sleep"),
    ] {
        assert!(noticed(habit, path, bad), "{path}: {bad:?} was not noticed");
        assert!(good.is_empty() || !noticed(habit, path, good), "{path}: {good:?} is no breach");
    }
}

#[test]
fn code_and_comments_are_told_apart() {
    let text = "let a = \"// no\"; // yes\nlet b = 'x'; /* in /* in */ */ let c = r#\"\" // no\"#;\nfn f<'a>(x: &'a str) {}";
    let (code, comments) = separate(text);
    assert_eq!(code.lines().count(), 3);
    assert_eq!(
        comments.split_whitespace().collect::<Vec<_>>(),
        ["//", "yes", "/*", "in", "/*", "in", "*/", "*/"]
    );
    assert!(code.contains("let b =") && code.contains("let c =") && code.contains("fn f<'a>(x: &'a str) {}"));
    assert!(!code.contains("no"));
}
