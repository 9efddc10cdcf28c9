//! The table, on the terminal and in `docs/BENCHMARKS.md`.

use std::fmt::Write as _;
use std::fs;

use jiff::ZonedDateTime;
use nix::sys::utsname::uname;

use super::judge::{Ratio, Reached, Verdict, median};
use super::measure::{Pair, Run};
use super::tool::Tool;
use super::work::{Goal, Work};

/// Further apart than that the client's bytes and those of the interface are called different.
const CLAIM_TOLERANCE: f64 = 0.02;

/// A row that has been measured.
pub struct Row {
    pub work: Work,
    pub verdict: Verdict,
    /// Each pairing of the row with its medians: client, server, figures.
    pub pairs: Vec<Medians>,
}

/// Medians of one pairing.
pub struct Medians {
    client: &'static str,
    server: &'static str,
    gbit_per_second: f64,
    client_cost: f64,
    server_cost: f64,
    lost_percent: Option<f64>,
    claimed_of_carried: f64,
    seconds: f64,
    client_mib: f64,
}

impl Medians {
    pub fn of(pair: &Pair<'_>, runs: &[Run]) -> Self {
        let median = |value: fn(&Run) -> f64| median(runs.iter().map(value));
        let lost = runs[0].lost_percent.map(|_| median(|run| run.lost_percent.unwrap_or(0.0)));
        Self {
            client: pair.client.name,
            server: pair.server.name,
            gbit_per_second: median(|run| run.gbit_per_second),
            client_cost: median(|run| run.client_cost),
            server_cost: median(|run| run.server_cost),
            lost_percent: lost,
            claimed_of_carried: median(|run| run.claimed_of_carried),
            seconds: median(|run| run.seconds),
            client_mib: median(|run| run.client_mib),
        }
    }
}

impl Row {
    /// The row in the terms of its goal, for one line.
    fn cells(&self) -> [String; 4] {
        let against = |part: &Option<(&str, Ratio)>| {
            part.as_ref().map_or_else(
                || "-".to_owned(),
                |(peer, ratio)| {
                    let interval = ratio.interval.map_or_else(String::new, |(low, high)| {
                        format!(" [{}, {}]", figure(low), figure(high))
                    });
                    format!("{}{interval} {}, {peer}", figure(ratio.estimate), ratio.verdict())
                },
            )
        };
        let rate = match self.verdict.value {
            Some(value) if matches!(self.work.goal, Goal::Memory { .. }) => format!("{value:.1} MiB"),
            Some(value) => format!("{value:.4} Gbit/s"),
            None => against(&self.verdict.rate),
        };
        let wanted = match self.work.goal {
            Goal::Rate { ratio_min, cost_max } => format!(">= {ratio_min}, <= {cost_max}"),
            Goal::Paced { gbit_per_second, cost_max } => {
                format!("{gbit_per_second} Gbit/s within 0.1 %, <= {cost_max}")
            }
            Goal::Sooner { ratio_min, .. } => format!(">= {ratio_min} times sooner"),
            Goal::Memory { mib_max } => format!("<= {mib_max} MiB"),
        };
        let reached = if self.verdict.reached == Reached::Yes { "yes" } else { "**no**" };
        [rate, against(&self.verdict.cost), wanted, reached.to_owned()]
    }

    /// The row for the terminal.
    pub fn line(&self) -> String {
        let [rate, cost, wanted, reached] = self.cells();
        let name = self.work.name;
        format!("{name:<32} {rate:<46} {cost:<46} {wanted:<32} {}", reached.trim_matches('*'))
    }
}

/// Three digits that matter.
fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// What was done, for the head of the document.
pub struct Conditions<'a> {
    pub command: String,
    pub rounds: usize,
    pub seconds: f64,
    pub tools: Vec<&'a Tool>,
    pub missing: Vec<&'static str>,
}

/// The whole document.
pub fn document(conditions: &Conditions<'_>, rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    let Conditions { command, rounds, seconds, tools, missing } = conditions;
    let _ = writeln!(text, "\n## The run\n");
    let _ = writeln!(text, "- Date: {}", ZonedDateTime::now().strftime("%Y-%m-%d %H:%M %Z"));
    let _ = writeln!(text, "- Command: `{command}`: {rounds} rounds, {seconds} s a run");
    let _ = writeln!(text, "- Machine: {}", machine());
    let _ = writeln!(text, "- Kernel: {}", kernel());
    for tool in tools {
        let _ = writeln!(text, "- {}: {}", tool.name, tool.version);
    }
    if !missing.is_empty() {
        let _ = writeln!(text, "- Not installed, so not compared with: {}", missing.join(", "));
    }
    let _ = writeln!(text, "\n## Beside the best peer\n");
    let _ = writeln!(
        text,
        "| Work | Rate, ours / best peer | CPU-s per GB, ours / best peer | Wanted | Reached |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|");
    for row in rows {
        let _ = writeln!(text, "| {} | {} |", row.work.name, row.cells().join(" | "));
    }
    let missed: Vec<_> =
        rows.iter().filter(|row| row.verdict.reached == Reached::No).map(|row| row.work.name).collect();
    let _ = match missed.as_slice() {
        [] => writeln!(text, "\nNo row missed what is wanted."),
        names => writeln!(text, "\nMissed: {}.", names.join("; ")),
    };
    let _ = writeln!(text, "\n## All medians\n");
    let _ = writeln!(
        text,
        "| Work | Client, server | Gbit/s | CPU-s per GB, client + server | Lost, % | Exit, s | Memory, MiB | Bytes |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
    for row in rows {
        for pair in &row.pairs {
            let _ = writeln!(text, "| {} | {} |", row.work.name, pair.cells().join(" | "));
        }
    }
    text
}

impl Medians {
    fn cells(&self) -> [String; 7] {
        let apart = (self.claimed_of_carried - 1.0).abs();
        [
            format!("{}, {}", self.client, self.server),
            format!("{:.3}", self.gbit_per_second),
            format!("{:.3} + {:.3}", self.client_cost, self.server_cost),
            self.lost_percent.map_or_else(|| "-".to_owned(), |lost| format!("{lost:.2}")),
            format!("{:.3}", self.seconds),
            format!("{:.1}", self.client_mib),
            if apart <= CLAIM_TOLERANCE {
                "as carried".to_owned()
            } else {
                format!("{:.3} of what was carried", self.claimed_of_carried)
            },
        ]
    }
}

fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&processors, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&memory, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    format!("{model}, {count} processors, {} MiB", kib.unwrap_or(0) / 1024)
}

fn kernel() -> String {
    uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    )
}

const HEAD: &str = "\
# Benchmarks

Written by `make bench`; do not edit. It runs real processes against real processes, each tool's client against
its own server unless the row says otherwise, on one machine that does nothing else, in network namespaces of
their own, all with cubic.

- **Rounds are interleaved**: each round runs every tool once, in an order that changes from round to round.
  A first run of each does not count. Between two tools that run at different times nothing is compared.
- **A ratio** is ours to the peer's in the same round. Shown is the estimate of Hodges and Lehmann over the
  logarithms, and the exact interval of 95 % that belongs to Wilcoxon's signed-rank test, which takes six rounds.
  *Best peer* is the one that leaves us the worst ratio, which may be another one for the rate than for the cost.
  *More* and *less* mean that 1 is outside the interval, *the same* that all of it is within 3 % of 1; everything
  else is *not decided*, whatever the estimate says.
- **Rate** is what the receiver got, both directions together, in the time that the tool says; where the
  interface was busy for more than 5 % longer than that, in the time that it was. **CPU-s per GB** are processor
  seconds for 10^9 bytes received, of client and server together, as the kernel hands them over with each
  process's exit status: nobody's own claim.
- **Bytes** are checked against the counters of the interfaces, headers subtracted: *as carried* means within
  2 %. Over a lossy path, bytes that are sent and never counted as received show up in the column before.
";
