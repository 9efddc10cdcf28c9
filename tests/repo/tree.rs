//! The tree in docs/ARCHITECTURE.md names what is there: a folder file by file, or as a whole. The files that
//! any page names are there, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::{Checked, Failure, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Folders whose contents are all in the tree.
const TREES: [&str; 3] = ["src", "tests", "benches"];

#[test]
fn the_tree_names_what_is_there() -> Checked {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/ARCHITECTURE.md"))?;
    let tree = page.split("```").nth(1).ok_or_else(|| Failure("the page has no tree".to_owned()))?;
    let wrong = differences(tree)?;
    ensure!(wrong.is_empty(), "docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
    Ok(())
}

/// How the folders of the project differ from a tree.
fn differences(tree: &str) -> Checked<Vec<String>> {
    let named = named(tree);
    let mut wrong = Vec::new();
    for folder in TREES {
        if !named.contains_key(&format!("{folder}/")) {
            wrong.push(format!("nothing in {folder}/ is in the tree"));
        }
        compare(folder, &named, &mut wrong)?;
    }
    Ok(wrong)
}

/// The names in each folder of the tree; those of folders end in a slash.
fn named(tree: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        if depth > above.len() {
            // It goes on with what is said of the name above it.
            continue;
        }
        let is_name = |word: &&str| word.ends_with(".rs") || word.ends_with('/');
        for name in line.split_whitespace().take_while(is_name) {
            above.truncate(depth);
            folders.entry(above.concat()).or_default().insert(name.to_owned());
            if name.ends_with('/') {
                above.push(name.to_owned());
            }
        }
    }
    folders
}

/// Writes down how a folder differs from the names in the tree, and those in it.
fn compare(folder: &str, named: &BTreeMap<String, BTreeSet<String>>, wrong: &mut Vec<String>) -> Checked {
    let Some(named_here) = named.get(&format!("{folder}/")) else { return Ok(()) };
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(Path::new(ROOT).join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            there.insert(format!("{name}/"));
        } else if name.ends_with(".rs") {
            there.insert(name);
        }
    }
    wrong.extend(named_here.difference(&there).map(|name| format!("{folder}/{name} is not there")));
    // What only holds a folder together, and a file of nothing but tests, need not be named.
    let is_missing = |name: &&String| !["mod.rs", "tests.rs"].contains(&name.as_str());
    let missing = there.difference(named_here).filter(is_missing);
    wrong.extend(missing.map(|name| format!("{folder}/{name} is not in the tree")));
    for name in &there {
        if let Some(name) = name.strip_suffix('/') {
            compare(&format!("{folder}/{name}"), named, wrong)?;
        }
    }
    Ok(())
}

#[test]
fn files_that_the_pages_name_are_there() -> Checked {
    let mut count = 0;
    let mut wrong = Vec::new();
    for folder in ["", "docs", "fuzz"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder))? {
            let page = entry?.path();
            if page.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&page)?;
            let files = files_in(&text);
            count += files.len();
            let missing = files.into_iter().filter(|file| !is_there(file));
            wrong.extend(missing.map(|file| format!("{}: there is no {file}", page.display())));
        }
    }
    ensure!(count > 100, "only {count} names of files were found");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The Rust files that a page names by a path, from the project's folder or from src.
fn files_in(page: &str) -> Vec<&str> {
    let is_path = |word: &&str| word.ends_with(".rs") && word.contains('/');
    let words = page.split([' ', '\n', '`', '(', ')', ',']);
    words.filter(is_path).collect()
}

fn is_there(file: &str) -> bool {
    ["", "src"].iter().any(|folder| Path::new(ROOT).join(folder).join(file).exists())
}

#[test]
fn a_file_that_is_not_there_is_noticed() {
    let page = "See `tests/repo/tree.rs`, `engine/mod.rs` and [that](src/nowhere.rs); `mod.rs` is no path.";
    let files = files_in(page);
    assert_eq!(files, ["tests/repo/tree.rs", "engine/mod.rs", "src/nowhere.rs"]);
    let there: Vec<bool> = files.into_iter().map(is_there).collect();
    assert_eq!(there, [true, true, false]);
}

#[test]
fn a_folder_that_the_tree_leaves_out_is_noticed() -> Checked {
    let none = |folder: &str| format!("nothing in {folder}/ is in the tree");
    assert_eq!(differences("A page without its tree.")?, TREES.map(none));
    let wrong = differences("src/\n  nowhere.rs\ntests/                   with nothing in it\n")?;
    assert!(wrong.contains(&"src/nowhere.rs is not there".to_owned()), "{wrong:?}");
    assert!(wrong.contains(&"src/main.rs is not in the tree".to_owned()), "{wrong:?}");
    assert!(wrong.contains(&none("tests")) && wrong.contains(&none("benches")), "{wrong:?}");
    Ok(())
}

#[test]
fn names_are_read_with_their_folders() {
    let named = named("src/\n  a.rs  b.rs   two\n          c.rs is meant\n  d/      room\n    e.rs\n  f/\n");
    let all = |folder: &str| named[folder].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(all("src/"), ["a.rs", "b.rs", "d/", "f/"]);
    assert_eq!(all("src/d/"), ["e.rs"]);
    assert!(!named.contains_key("src/f/"));
}
