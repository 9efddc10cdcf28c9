//! What long runs tell: how far they are, and their figures.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::Holdings;

/// Runs of fewer are over soon and say nothing.
const LONG: u64 = 500;
/// Lines of progress in a long run.
const PARTS: u64 = 10;

/// The figures of one run.
pub struct Figures {
    name: &'static str,
    planned: u64,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    memory: Vec<String>,
}

impl Figures {
    pub fn new(name: &'static str, planned: u64) -> Self {
        Self { name, planned, began: Instant::now(), seen: Mutex::default() }
    }

    /// One more is done, and it took so long until the next good client was served, or until the end.
    pub fn note(&self, took: Duration) {
        let mut seen = self.seen.lock().expect("nobody panics here");
        seen.times.push(took);
        let done = u64::try_from(seen.times.len()).expect("a usize fits a u64");
        if self.planned >= LONG && done.is_multiple_of((self.planned / PARTS).max(1)) {
            tell(&format!("  {}: {done} of {}, {:.0?}", self.name, self.planned, self.began.elapsed()));
        }
    }

    pub fn note_memory(&self, before: &Holdings, after: &Holdings) {
        let text = format!(
            "{} KiB before, {} KiB after; {} descriptors before, {} after",
            before.memory_kib, after.memory_kib, before.files, after.files
        );
        self.seen.lock().expect("nobody panics here").memory.push(text);
    }

    /// Tells the figures of a long run; those of a short one are not worth it.
    pub fn print(&self) {
        if self.planned < LONG {
            return;
        }
        let mut seen = self.seen.lock().expect("nobody panics here");
        seen.times.sort_unstable();
        let at = |percent: usize| {
            seen.times.get((seen.times.len() * percent / 100).min(seen.times.len().saturating_sub(1)))
        };
        let times = at(50).zip(at(99)).zip(seen.times.last());
        let times = times.map_or("no time taken".to_owned(), |((p50, p99), worst)| {
            format!("median {p50:.1?}, p99 {p99:.1?}, worst {worst:.1?}")
        });
        tell(&format!("{}: {} in {:.0?}; {times}", self.name, self.planned, self.began.elapsed()));
        seen.memory.iter().for_each(|memory| tell(&format!("  {memory}")));
    }
}

/// A number of the environment, for who wants a longer run or a shorter one.
pub fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Past the test harness, which keeps what a test prints until it fails.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
