//! Habits of the source that no compiler lint watches: who may import whom, and what stands only in certain
//! places.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Files, module_of, paths_in};
use super::source::{Source, read_folder, words};
use crate::harness::{Checked, Failure, ensure};

/// Longest line, in characters.
const COLUMNS_MAX: usize = 110;

/// Each part of the crate and the parts that it imports, all from layers below it.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("units", &[]),
    ("config", &["units"]),
    ("stats", &["units"]),
    ("protocol", &["units", "config", "stats"]),
    ("sys", &["config", "stats"]),
    ("auth", &["config", "sys"]),
    ("engine", &["config", "protocol", "stats", "sys"]),
    ("host", &["units", "sys"]),
    ("verdict", &["units", "config"]),
    ("report", &["units", "config", "protocol", "stats", "sys"]),
    ("process", &["sys"]),
    ("error", &["config", "protocol", "sys", "auth", "report"]),
    ("control", &["units", "config", "protocol", "stats", "sys", "engine", "report", "auth", "error"]),
];

/// Files that put all parts together, and may import whatever they want.
const ABOVE_ALL: [&str; 3] = ["main", "lib", "fuzzing"];

/// Rooms inside a part, and the rooms of the same part that each imports, all below it. Files beside them are
/// not restricted.
const ROOMS: [(&str, &[&str]); 15] = [
    ("report/delivery", &[]),
    ("report/document", &[]),
    ("report/json", &["document"]),
    ("report/text", &["json"]),
    ("report/testing", &["json", "text"]),
    ("engine/tcp", &[]),
    ("engine/udp", &[]),
    ("engine/testing", &["tcp", "udp"]),
    ("sys/net", &[]),
    ("sys/uring", &["net"]),
    ("control/base", &[]),
    ("control/serve", &["base"]),
    ("control/streams", &["base", "serve"]),
    ("control/session", &["base", "serve", "streams"]),
    ("control/testing", &["session"]),
];

/// Parts whose folders are all [`ROOMS`].
const PARTS_WITH_ROOMS: [&str; 4] = ["sys", "engine", "report", "control"];

/// Most source files of one folder.
const FILES_MAX: usize = 16;

/// A habit: what is wrong with a file, a line each.
type Habit = fn(&Source) -> Vec<String>;

const HABITS_OF_SRC: [Habit; 11] = [
    imports_point_down,
    the_program_does_without_testing,
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

const HABITS_OF_TESTS: [Habit; 4] = [
    rooms_of_tests_share_the_harness_alone,
    nothing_reaches_over_its_parent,
    tests_do_not_sleep,
    lines_are_short,
];

#[test]
fn src_keeps_the_habits() -> Checked {
    let sources = read_folder("src")?;
    ensure!(sources.iter().any(|source| source.path == "src/lib.rs"), "src was not found");
    keeps(&sources, &HABITS_OF_SRC)
}

#[test]
fn rooms_keep_their_order() -> Checked {
    let wrong = wrong_rooms(&read_folder("src")?);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn folders_can_be_taken_in_at_a_glance() -> Checked {
    let full = full_folders(&[read_folder("src")?, read_folder("tests")?].concat());
    ensure!(full.is_empty(), "more than {FILES_MAX} files: {}", full.join(", "));
    Ok(())
}

fn full_folders(sources: &[Source]) -> Vec<String> {
    let mut folders = BTreeMap::new();
    for source in sources {
        let (folder, _) = source.path.rsplit_once('/').expect("a file is in a folder");
        *folders.entry(folder).or_insert(0) += 1;
    }
    let full = folders.into_iter().filter(|(_, files)| *files > FILES_MAX);
    full.map(|(folder, files)| format!("{folder}: {files} files")).collect()
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

#[test]
fn the_tables_allow_what_is_used_and_nothing_else() -> Checked {
    let sources = read_folder("src")?;
    let parts: Used = sources.iter().flat_map(parts_used).collect();
    let rooms = all_rooms_used(&sources);
    let unused = [unused(&MAY_IMPORT, &parts), unused(&ROOMS, &rooms)].concat();
    ensure!(unused.is_empty(), "take it out of the table: {}", unused.join(", "));
    Ok(())
}

/// Who imports what.
type Used = BTreeSet<(String, String)>;

/// What a table allows and nobody uses.
fn unused(table: &[(&str, &[&str])], used: &Used) -> Vec<String> {
    let edges = table.iter().flat_map(|(who, allowed)| allowed.iter().map(move |what| (*who, *what)));
    let unused = edges.filter(|(who, what)| !used.contains(&((*who).to_owned(), (*what).to_owned())));
    unused.map(|(who, what)| format!("{who} imports nothing of {what}")).collect()
}

/// The other parts that a file imports, unit tests included.
fn parts_used(source: &Source) -> Used {
    let is_part = |name: &str| ABOVE_ALL.contains(&name) || MAY_IMPORT.iter().any(|(part, _)| *part == name);
    let names = paths_in(source, &source.code).into_iter().map(|path| path[0].clone());
    let others = names.filter(|name| name != source.part() && is_part(name));
    others.map(|name| (source.part().to_owned(), name)).collect()
}

/// The part and the room that a file is in: `control` and `serve` for `src/control/serve/slots.rs`.
fn room_of(path: &str) -> Option<(&str, &str)> {
    let (part, below) = path.strip_prefix("src/")?.split_once('/')?;
    let (room, _) = below.split_once('/')?;
    PARTS_WITH_ROOMS.contains(&part).then_some((part, room))
}

/// The other rooms of its part that a file imports, by whatever name, unit tests left out.
fn rooms_used(source: &Source, files: &Files<'_>) -> Used {
    let Some((part, room)) = room_of(&source.path) else { return Used::new() };
    let paths = paths_in(source, source.production_code()).into_iter();
    let rooms = paths.filter(|path| path[0] == part).filter_map(|path| room_of(files.file_of(&path)?));
    let others = rooms.filter(|other| *other != (part, room));
    others.map(|(_, other)| (format!("{part}/{room}"), other.to_owned())).collect()
}

/// The other rooms that each room imports.
fn all_rooms_used(sources: &[Source]) -> Used {
    let files = Files::new(sources);
    sources.iter().flat_map(|source| rooms_used(source, &files)).collect()
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
    let foreign = parts_used(source).into_iter().filter(|(_, name)| !allowed.contains(&name.as_str()));
    foreign.map(|(part, name)| format!("imports {name}, which is not below {part}")).collect()
}

/// A room imports only rooms below it, also where another file passes on what is in them.
fn wrong_rooms(sources: &[Source]) -> Vec<String> {
    let files = Files::new(sources);
    let mut wrong = Vec::new();
    for source in sources {
        let path = &source.path;
        let Some((part, room)) = room_of(path) else { continue };
        let room = format!("{part}/{room}");
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            wrong.push(format!("{path}: {room} is a room that nobody knows: give it its place in ROOMS"));
            continue;
        };
        let others = rooms_used(source, &files).into_iter().map(|(_, other)| other);
        let foreign = others.filter(|other| !allowed.contains(&other.as_str()));
        wrong.extend(foreign.map(|other| format!("{path}: imports {other}, which is not below {room}")));
    }
    wrong
}

/// What tests, benches and fuzzers need stands in `testing/`, and nothing that runs in the program uses it.
fn the_program_does_without_testing(source: &Source) -> Vec<String> {
    if source.path.contains("/testing/") || source.part() == "fuzzing" {
        return Vec::new();
    }
    let paths = paths_in(source, source.production_code()).into_iter();
    let testing = paths.filter(|path| path.iter().any(|name| name == "testing"));
    testing.map(|path| format!("uses {}", path.join("::"))).collect()
}

/// What two rooms need has its place in the harness, which itself needs none of them.
fn rooms_of_tests_share_the_harness_alone(source: &Source) -> Vec<String> {
    let Some(room) = module_of(&source.path).first().cloned() else { return Vec::new() };
    let paths = paths_in(source, &source.code).into_iter();
    let foreign = paths.filter(|path| path[0] != room && path[0] != "harness");
    foreign.map(|path| format!("imports {}, which is of another room", path.join("::"))).collect()
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

/// Rust shows a system's error with its number, "(os error 104)", so `error_message` of
/// `sys/error_message.rs` puts all of them into words. What the type of an error is cannot be seen here: the
/// files that show errors of this crate are named, and in derived texts the type stands below.
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
        "src/sys/error_message.rs",
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
        seen.filter(|((code, comment), text)| code == text || comment == text).count() > COLUMNS_MAX
    });
    wrong.into_iter().map(|what| format!("longer than {COLUMNS_MAX} columns, {what}")).collect()
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

/// A habit, a file, a text of it that breaks the habit, and one that does not.
type Breach<'a> = (Habit, &'a str, &'a str, &'a str);

fn are_noticed(breaches: &[Breach]) {
    let noticed = |habit: Habit, path: &str, text: &str| !habit(&Source::new(path, text)).is_empty();
    for &(habit, path, bad, good) in breaches {
        assert!(noticed(habit, path, bad), "{path}: {bad:?} was not noticed");
        assert!(good.is_empty() || !noticed(habit, path, good), "{path}: {good:?} is no breach");
    }
}

#[test]
fn each_habit_of_imports_notices_its_breach() {
    are_noticed(&[
        (imports_point_down, "src/units.rs", "use crate::config::Role;", "use crate::units::Scale;"),
        (imports_point_down, "src/config/cli.rs", "use crate::protocol::State;", "use crate::units;"),
        (
            imports_point_down,
            "src/sys/a.rs",
            "use crate::{stats, engine::{Job, a}};",
            "use crate::{stats, config::a};",
        ),
        (imports_point_down, "src/auth/a.rs", "use crate::engine::Job;", "use crate::config::LoginOptions;"),
        (imports_point_down, "src/host/a.rs", "use crate::engine::Job;", "use crate::sys::thread_id;"),
        (imports_point_down, "src/report/a.rs", "fn f() -> crate::error::E;", "fn f() -> crate::stats::E;"),
        (imports_point_down, "src/engine/a.rs", "use crate::report::X;", "// like crate::report does"),
        (
            imports_point_down,
            "src/verdict/a.rs",
            "use crate::protocol::State;",
            "use crate::config::Protocol;",
        ),
        (imports_point_down, "src/unknown/a.rs", "fn f() {}", ""),
        (
            the_program_does_without_testing,
            "src/engine/a.rs",
            "use super::testing::null_kernel;",
            "mod testing;\n#[cfg(test)]\nmod tests {\n    use crate::engine::testing::a;\n}",
        ),
        (
            rooms_of_tests_share_the_harness_alone,
            "tests/own/a.rs",
            "use crate::hostile::SOON;",
            "use super::LIMIT;\nuse crate::own::b;\nuse crate::harness::{Checked, peer::wire};",
        ),
        (
            rooms_of_tests_share_the_harness_alone,
            "tests/own/mod.rs",
            "use super::hostile::SOON;",
            "use crate::harness::Checked;\nuse self::a::b;",
        ),
        (
            rooms_of_tests_share_the_harness_alone,
            "tests/harness/run/a.rs",
            "fn f() { crate::own::g() }",
            "use super::ports;",
        ),
        (nothing_reaches_over_its_parent, "src/a/b/c.rs", "use super::super::d;", "use crate::a::d;"),
    ]);
}

#[test]
fn each_habit_notices_its_breach() {
    are_noticed(&[
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
        (lines_are_short, "src/a.rs", &"x".repeat(COLUMNS_MAX + 1), &"x".repeat(COLUMNS_MAX)),
        (
            lines_are_short,
            "src/a.rs",
            &format!("//{}", "x".repeat(COLUMNS_MAX)),
            &format!("\"{}\"", "x".repeat(200)),
        ),
        (comments_name_no_issues, "src/a.rs", "// as in #123", "// see #1\nlet a = \"#123\";"),
        (tests_do_not_sleep, "tests/a.rs", "std::thread::sleep(d)", "let sleeper = 'x'; // sleep"),
    ]);
}

#[test]
fn a_room_out_of_its_order_is_noticed_by_whatever_name() {
    let rooms = [
        ("src/control/mod.rs", "mod base;\nmod serve;\nmod streams;\npub use streams::udp::Udp;"),
        ("src/control/base/mod.rs", "pub mod limits;"),
        ("src/control/base/limits.rs", "pub struct Limit;"),
        ("src/control/streams/mod.rs", "pub mod udp;"),
        ("src/control/streams/udp.rs", "pub struct Udp;"),
    ];
    let told = |path: &str, text: &str| {
        let mut sources: Vec<Source> = rooms.iter().map(|(path, text)| Source::new(path, text)).collect();
        sources.push(Source::new(path, text));
        wrong_rooms(&sources).join(", ")
    };
    let wrong = "imports streams, which is not below control/serve";
    for (path, text, found) in [
        ("src/control/serve/a.rs", "use crate::control::streams::udp;", wrong),
        ("src/control/serve/a.rs", "use crate::control::{Udp, base};", wrong),
        ("src/control/serve/a.rs", "fn f(_: crate::control::Udp) {}", wrong),
        ("src/control/serve/deep/a.rs", "use crate::control::streams::udp::Udp;", wrong),
        ("src/control/serve/mod.rs", "use super::streams::udp;", wrong),
        ("src/control/serve/mod.rs", "use super::base::limits::Limit;", ""),
        ("src/control/serve/a.rs", "use super::b;\nuse crate::control::{base, serve::c};", ""),
        ("src/control/serve/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::control::Udp;\n}", ""),
        ("src/control/server.rs", "use super::streams::udp;", ""),
        (
            "src/control/unknown/a.rs",
            "use super::b;",
            "control/unknown is a room that nobody knows: give it its place in ROOMS",
        ),
    ] {
        let expected = if found.is_empty() { String::new() } else { format!("{path}: {found}") };
        assert_eq!(told(path, text), expected, "{text}");
    }
}

#[test]
fn what_no_file_uses_is_noticed_in_a_table() {
    let sources = [
        Source::new("src/control/base/a.rs", ""),
        Source::new("src/control/serve/slots.rs", ""),
        Source::new("src/control/session/a.rs", "use crate::control::serve::slots;\nuse crate::units;"),
        Source::new(
            "src/control/session/b.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::control::base::a;\n}",
        ),
    ];
    let parts: Used = sources.iter().flat_map(parts_used).collect();
    let rooms = all_rooms_used(&sources);
    assert_eq!(unused(&[("control", &["units", "sys"])], &parts), ["control imports nothing of sys"]);
    let table: [(&str, &[&str]); 1] = [("control/session", &["serve", "base"])];
    assert_eq!(unused(&table, &rooms), ["control/session imports nothing of base"]);
}

#[test]
fn a_folder_of_too_many_files_is_noticed() {
    let files = |count: usize| -> Vec<Source> {
        (0..count).map(|number| Source::new(&format!("src/a/b/f{number}.rs"), "")).collect()
    };
    assert_eq!(full_folders(&files(FILES_MAX + 1)), [format!("src/a/b: {} files", FILES_MAX + 1)]);
    assert!(full_folders(&files(FILES_MAX)).is_empty());
}
