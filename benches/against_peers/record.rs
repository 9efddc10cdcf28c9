//! What is kept of a run, one file for each kind of processor.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::utsname::uname;
use ringperf::sys::second_level_cache_bytes;
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Where records are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/against_peers/records");

/// A run of the benchmark on one machine.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub machine: Machine,
    pub date: String,
    pub command: String,
    pub rounds: usize,
    pub seconds: f64,
    /// Names and versions.
    pub tools: Vec<(String, String)>,
    pub missing: Vec<String>,
    /// Rows that could not be measured, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Rows that were measured again later than the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renewed: Vec<Renewed>,
    pub rows: Vec<RowRecord>,
}

/// When and how rows were measured again.
#[derive(Serialize, Deserialize)]
pub struct Renewed {
    pub works: Vec<String>,
    pub date: String,
    pub command: String,
    /// Version of ringperf.
    pub version: String,
}

/// Where it ran.
#[derive(Serialize, Deserialize)]
pub struct Machine {
    /// Processors with the same of these are one kind.
    pub model: String,
    pub cache_kib: Option<u64>,
    pub processors: usize,
    pub memory_mib: u64,
    pub kernel: String,
}

/// One row.
#[derive(Serialize, Deserialize)]
pub struct RowRecord {
    pub work: String,
    pub rate: Option<Against>,
    pub cost: Option<Against>,
    /// What the row is about where it is no ratio.
    pub value: Option<String>,
    pub wanted: String,
    pub reached: bool,
    /// Ours beside plain calls with nothing around them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Beside>,
    /// What was chosen by itself beside the best setting of the grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Beside>,
    pub medians: Vec<MedianRecord>,
}

/// Ours beside a peer.
#[derive(Serialize, Deserialize)]
pub struct Against {
    pub peer: String,
    pub ratio: RatioRecord,
}

/// Ours beside something else.
#[derive(Serialize, Deserialize)]
pub struct Beside {
    pub what: String,
    pub rate: RatioRecord,
    pub cost: RatioRecord,
}

/// A ratio of paired runs.
#[derive(Clone, Serialize, Deserialize)]
pub struct RatioRecord {
    pub estimate: f64,
    /// The interval of 95 %, if there were enough rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// The smallest and the largest of the rounds, in records of before there were intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    pub verdict: String,
}

/// Medians of one contender: the cells of its line.
#[derive(Serialize, Deserialize)]
pub struct MedianRecord {
    pub who: String,
    pub cells: Vec<String>,
}

impl Machine {
    /// The one that this runs on.
    pub fn this() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        let kernel = uname().map_or_else(
            |_| "unknown".to_owned(),
            |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        );
        Self {
            model: field(&processors, "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cache_kib: second_level_cache_bytes().map(|bytes| bytes / 1024),
            processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel,
        }
    }

    /// What is alike on all machines of this kind.
    pub fn kind(&self) -> String {
        let cache = self.cache_kib.map_or_else(String::new, |kib| format!(", {kib} KiB of L2"));
        format!("{}, {} processors{cache}", self.model, self.processors)
    }

    /// The kind as a file name.
    fn file(&self) -> PathBuf {
        let kind = self.kind().to_lowercase();
        let words: Vec<_> = kind
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        Path::new(FOLDER).join(words.join("-")).with_extension("json")
    }
}

impl Record {
    /// Puts its rows in the place of those that were kept for the same kind of processor, whose others stay.
    pub fn renew(self) -> Outcome<()> {
        let path = self.machine.file();
        let nothing = |error| format!("nothing is kept in {}: {error}", path.display());
        let text = fs::read(&path).map_err(nothing)?;
        let mut kept: Self = serde_json::from_slice(&text)?;
        let version = self.tools.into_iter().next().map_or_else(String::new, |(_, version)| version);
        let works: Vec<_> = self.rows.iter().map(|row| row.work.clone()).collect();
        for row in self.rows {
            match kept.rows.iter_mut().find(|kept| kept.work == row.work) {
                Some(place) => *place = row,
                None => kept.rows.push(row),
            }
        }
        kept.renewed.push(Renewed { works, date: self.date, command: self.command, version });
        kept.keep()
    }

    /// Takes the place of what was kept for the same kind of processor.
    pub fn keep(&self) -> Outcome<()> {
        fs::create_dir_all(FOLDER)?;
        Ok(fs::write(self.machine.file(), serde_json::to_string_pretty(self)? + "\n")?)
    }
}

/// Everything that is kept, in the order of the kinds.
pub fn kept() -> Outcome<Vec<Record>> {
    let mut files =
        fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    files.iter().map(|file| Ok(serde_json::from_str(&fs::read_to_string(file)?)?)).collect()
}
