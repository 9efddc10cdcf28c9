//! docs/RELIABILITY.md names a test for each promise. They must be there.

use std::fs;
use std::path::Path;

use crate::harness::{Checked, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_promise_has_tests_that_are_there() -> Checked {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/RELIABILITY.md"))?;
    let promises = page.lines().filter(|line| is_promise(line));
    let mut count = 0;
    for promise in promises {
        let tests: Vec<&str> = promise.split('`').filter(|word| word.contains("::")).collect();
        ensure!(!tests.is_empty(), "no test for: {promise}");
        for test in tests {
            ensure!(is_there(test), "there is no test {test}, named for: {promise}");
        }
        count += 1;
    }
    ensure!(count > 60, "only {count} promises were found");
    Ok(())
}

/// A row of a table that begins with a letter and a number.
fn is_promise(line: &str) -> bool {
    let id = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let (letter, number) = id.split_at(id.len().min(1));
    letter.starts_with(|letter: char| letter.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
}

/// Whether the file of its module has the test.
fn is_there(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else { return false };
    let module = module.replace("::", "/");
    let files = ["src", "tests"].iter().flat_map(|root| {
        [format!("{root}/{module}.rs"), format!("{root}/{module}/mod.rs")]
            .map(|file| Path::new(ROOT).join(file))
    });
    files.filter_map(|file| fs::read_to_string(file).ok()).any(|text| has_test(&text, name))
}

fn has_test(text: &str, name: &str) -> bool {
    let before = text.split_once(&format!("fn {name}(")).map(|(before, _)| before);
    // Attributes may stand between the two, but nothing that is or ends another function.
    let is_own = |line: &&str| line.trim() != "}" && !line.contains("fn ");
    before.is_some_and(|before| before.lines().rev().take_while(is_own).any(|line| line.trim() == "#[test]"))
}

#[test]
fn a_name_without_its_test_is_noticed() -> Checked {
    ensure!(is_there("repo::promises::a_name_without_its_test_is_noticed"), "this test is not found");
    ensure!(!is_there("repo::promises::is_there"), "a function is no test");
    ensure!(!is_there("repo::promises::no_such_test"), "what is not there is found");
    for (text, is_test) in [
        ("#[test]\nfn it() {}", true),
        ("#[test]\n#[ignore = \"slow\"]\n// Why.\n    pub fn it() {}", true),
        ("    proptest! {\n        #[test]\n        fn it(bytes: [u64; 2]) {}\n    }", true),
        ("#[test]\nfn other() {\n}\nfn it() {}", false),
        ("#[test]\nfn other() {}\nfn it() {}", false),
        ("fn it() {}\n#[test]\nfn other() {}", false),
    ] {
        ensure!(has_test(text, "it") == is_test, "{text}");
    }
    ensure!(is_promise("| B12 | x |") && !is_promise("| | What holds |"), "rows are not told apart");
    Ok(())
}
