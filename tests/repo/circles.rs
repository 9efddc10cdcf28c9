//! No file needs another that needs it: the files of a part can be read one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Files, paths_in};
use super::source::{Source, read_folder};
use crate::harness::{Checked, ensure};

/// Which files a file needs, all by their paths.
type Needs<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Circles that are there, each with the reason why it stays. One that is gone has no place here.
const KNOWN: [(&[&str], &str); 1] = [(
    &[
        "src/engine/adapt.rs",
        "src/engine/gate.rs",
        "src/engine/job.rs",
        "src/engine/recorder.rs",
        "src/engine/resolve.rs",
        "src/engine/udp/mod.rs",
    ],
    "a job has the goal, the trials and the engine that its streams share, and each of these is made from a job",
)];

#[test]
fn files_need_each_other_in_one_direction() -> Checked {
    let sources = read_folder("src")?;
    let needs = needs(&sources);
    let edges: usize = needs.values().map(BTreeSet::len).sum();
    ensure!(edges > 200, "only {edges} imports were found");
    let found = circles(&needs);
    let known: Vec<Vec<&str>> = KNOWN.iter().map(|(files, _)| files.to_vec()).collect();
    let unknown: Vec<String> =
        found.iter().filter(|circle| !known.contains(circle)).map(|circle| told(circle, &needs)).collect();
    ensure!(unknown.is_empty(), "files that need each other:\n{}", unknown.join("\n"));
    let gone: Vec<_> = known.iter().filter(|circle| !found.contains(circle)).collect();
    ensure!(gone.is_empty(), "these circles are gone from the sources, but not from KNOWN: {gone:?}");
    Ok(())
}

/// What each file needs of the other files of its part. A folder is its `mod.rs`, which may of course need
/// the files in it.
fn needs(sources: &[Source]) -> Needs<'_> {
    let files = Files::new(sources);
    let mut needs = Needs::new();
    for source in sources {
        let needed = needs.entry(source.path.as_str()).or_default();
        let own_folder = source.path.strip_suffix("mod.rs");
        for path in paths_in(source, source.production_code()) {
            let Some(file) = files.file_of(&path) else { continue };
            let is_below = own_folder.is_some_and(|folder| file.starts_with(folder));
            if path[0] == source.part() && file != source.path && !is_below {
                needed.insert(file);
            }
        }
    }
    needs
}

/// The sets of files that all need each other, directly or by others between them.
fn circles<'a>(needs: &Needs<'a>) -> Vec<Vec<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        needs.keys().map(|file| (*file, reached_from(file, needs))).collect();
    let mut circles = BTreeSet::new();
    for (file, from_here) in &reached {
        if from_here.contains(file) {
            let back = from_here.iter().copied().filter(|other| reached[other].contains(file));
            circles.insert(back.collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

/// All files that a file needs, and those that these need, and so on.
fn reached_from<'a>(file: &str, needs: &Needs<'a>) -> BTreeSet<&'a str> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&str> = needs.get(file).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(needs.get(file).into_iter().flatten());
        }
    }
    reached
}

/// A circle with what its files need of each other.
fn told(circle: &[&str], needs: &Needs<'_>) -> String {
    let lines = circle.iter().map(|file| {
        let needed: Vec<_> = needs[file].iter().copied().filter(|other| circle.contains(other)).collect();
        format!("  {file} needs {}", needed.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_circle_is_noticed_wherever_its_names_come_from() {
    let part = |files: &[(&str, &str)]| -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(&format!("src/p/{path}"), text)).collect()
    };
    let root = ("mod.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use b::B;\npub struct Own;");
    let circles_of = |files: &[(&str, &str)]| {
        let sources = part(&[&[root][..], files].concat());
        circles(&needs(&sources)).concat().join(" ")
    };
    let both = "src/p/a.rs src/p/b.rs";
    let c = ("c.rs", "use super::Own;\nuse crate::p::a::A;\nuse crate::other::p::B;");
    for (a, b, found) in [
        ("use super::b::B;\npub struct A;", "use super::a::A;\npub struct B;", both),
        ("use super::B;\npub struct A;", "use crate::p::{A, Own};\npub struct B;", both),
        ("pub fn f(_: super::B) {}\npub struct A;", "impl From<crate::p::A> for B {}\npub struct B;", both),
        ("use super::Own;\npub struct A;", "use super::{A, Own};\npub struct B;", ""),
        (
            "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::p::B;\n}",
            "use super::A;\npub struct B;",
            "",
        ),
        ("// as crate::p::B does\npub struct A;", "use super::A;\npub struct B;", ""),
    ] {
        assert_eq!(circles_of(&[("a.rs", a), ("b.rs", b), c]), found, "{a:?} and {b:?}");
    }
    let by_a_folder = [
        ("a.rs", "use super::d::D;\npub struct A;"),
        ("b.rs", "pub struct B;"),
        ("c.rs", ""),
        ("d/mod.rs", "mod e;\nuse super::A;\nuse e::E;\npub struct D;"),
        ("d/e.rs", "use super::D;\npub struct E;"),
    ];
    assert_eq!(circles_of(&by_a_folder), "src/p/a.rs src/p/d/mod.rs");
}
