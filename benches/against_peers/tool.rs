//! The programs that are compared.

use std::path::PathBuf;
use std::process::Command;

use super::installed::installed;

/// A program with iperf3's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name in the table.
    pub name: &'static str,
    pub path: PathBuf,
    /// What it says of its version.
    pub version: String,
    /// Options that it does not have, or that do nothing.
    lacks: &'static [&'static str],
}

impl Tool {
    /// Whether it can do work with these options.
    pub fn can(&self, options: &str) -> bool {
        !options.split_whitespace().any(|option| self.lacks.contains(&option))
    }
}

/// The ringperf of this build.
pub fn ours() -> Tool {
    Tool {
        name: "ringperf",
        path: PathBuf::from(env!("CARGO_BIN_EXE_ringperf")),
        version: format!("{}, {}", env!("CARGO_PKG_VERSION"), commit()),
        lacks: &[],
    }
}

/// The peers that are installed, and the names of those that are not.
pub fn peers() -> (Vec<Tool>, Vec<&'static str>) {
    let known: [(&str, &[&str]); 3] = [
        ("iperf3-rs", &[]),
        // That of Debian 12 is older than these options.
        ("iperf3", &["--gsro", "--skip-rx-copy", "-m"]),
        ("riperf3", &["--gsro"]),
    ];
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (name, lacks) in known {
        match installed(name).and_then(|path| version(&path).map(|version| (path, version))) {
            Some((path, version)) => found.push(Tool { name, path, version, lacks }),
            None => missing.push(name),
        }
    }
    (found, missing)
}

fn version(path: &PathBuf) -> Option<String> {
    let output = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::trim).map(str::to_owned)
}

/// The commit that was measured, with a plus sign where the tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown commit".to_owned() };
    let changed = git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| !changes.is_empty());
    format!("commit {commit}{}", if changed { "+" } else { "" })
}
