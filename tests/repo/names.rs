//! Habits of names: a limit says last whether it is the largest or the smallest, as in `STREAMS_MAX`, so that
//! names of one quantity begin alike and stand side by side in a list.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Checked, ensure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Folders whose Rust files are read.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "fuzz/fuzz_targets"];

#[test]
fn limits_put_the_qualifier_last() -> Checked {
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        let files = rust_files(&Path::new(ROOT).join(folder))?;
        ensure!(!files.is_empty(), "no file was found in {folder}");
        for file in files {
            let text = fs::read_to_string(&file)?;
            let names = text.lines().filter_map(constant).filter(|name| has_qualifier_first(name));
            let path = file.strip_prefix(ROOT).unwrap_or(&file).display();
            wrong.extend(names.map(|name| format!("{path}: {name}")));
        }
    }
    ensure!(wrong.is_empty(), "the qualifier comes last in names of limits:\n{}", wrong.join("\n"));
    Ok(())
}

/// All Rust files below a folder.
fn rust_files(folder: &Path) -> Checked<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The name of the constant that a line declares, if it declares one.
fn constant(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let declaration = match line.strip_prefix("pub") {
        // Of `pub` and `pub(super)` what stands behind them.
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = declaration.strip_prefix("const ")?;
    name.split(|one: char| !one.is_alphanumeric() && one != '_').next()
}

fn has_qualifier_first(name: &str) -> bool {
    ["MAX_", "MIN_"].iter().any(|qualifier| name.starts_with(qualifier))
}

#[test]
fn a_qualifier_that_comes_first_is_noticed() {
    for (line, is_noticed) in [
        ("const MAX_STREAMS: u32 = 128;", true),
        ("    pub const MIN_SECONDS: f64 = 1.0;", true),
        ("pub(super) const MAX_BYTES: usize = 1;", true),
        ("pub(in crate::config) const MAX_BYTES: usize = 1;", true),
        ("const STREAMS_MAX: u32 = 128;", false),
        ("pub const SO_MAX_PACING_RATE: i32 = 47;", false),
        ("const MAXIMUM: u32 = 1;", false),
        ("// const MAX_STREAMS: u32 = 128;", false),
        ("let text = \"const MAX_STREAMS\";", false),
    ] {
        assert_eq!(constant(line).is_some_and(has_qualifier_first), is_noticed, "{line}");
    }
}
