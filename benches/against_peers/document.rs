//! The table, on the terminal and in `docs/BENCHMARKS.md`.

use std::fmt::Write as _;

use super::judge::{Ratio, Reached, Verdict, median};
use super::measure::Run;
use super::record::{Against, Beside, MedianRecord, RatioRecord, Record, Renewed, RowRecord};
use super::work::{Goal, Work};

/// Further apart than that the client's bytes and those of the interface are called different.
const CLAIM_TOLERANCE: f64 = 0.02;

/// What is kept of a row that was measured.
pub fn row(
    work: &Work,
    verdict: &Verdict,
    probe: Option<Beside>,
    oracle: Option<Beside>,
    medians: Vec<MedianRecord>,
) -> RowRecord {
    let against = |part: &Option<(&str, Ratio)>| {
        part.as_ref().map(|(peer, ratio)| Against { peer: (*peer).to_owned(), ratio: ratio.record() })
    };
    let value = verdict.value.map(|value| match work.goal {
        Goal::Memory { .. } => format!("{value:.1} MiB"),
        _ => format!("{value:.4} Gbit/s"),
    });
    let wanted = match work.goal {
        Goal::Rate { ratio_min, cost_max } => format!(">= {ratio_min}, <= {cost_max}"),
        Goal::Paced { gbit_per_second, cost_max } => {
            format!("{gbit_per_second} Gbit/s within 0.1 %, <= {cost_max}")
        }
        Goal::Sooner { ratio_min, .. } => format!(">= {ratio_min} times sooner"),
        Goal::Memory { mib_max } => format!("<= {mib_max} MiB"),
    };
    RowRecord {
        work: work.name.to_owned(),
        rate: against(&verdict.rate),
        cost: against(&verdict.cost),
        value,
        wanted,
        reached: verdict.reached == Reached::Yes,
        probe,
        oracle,
        medians,
    }
}

/// The medians of one contender.
pub fn medians(who: String, runs: &[Run]) -> MedianRecord {
    let median = |value: fn(&Run) -> f64| median(runs.iter().map(value));
    let lost = runs[0].lost_percent.map(|_| median(|run| run.lost_percent.unwrap_or(0.0)));
    let memory = runs[0].client_mib.map(|_| median(|run| run.client_mib.unwrap_or(0.0)));
    let claimed = runs[0].claimed_of_carried.map(|_| median(|run| run.claimed_of_carried.unwrap_or(0.0)));
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let cells = vec![
        format!("{:.3}", median(|run| run.gbit_per_second)),
        format!("{:.3} + {:.3}", median(|run| run.client_cost), median(|run| run.server_cost)),
        or_dash(lost.map(|lost| format!("{lost:.2}"))),
        format!("{:.3}", median(|run| run.seconds)),
        or_dash(memory.map(|mib| format!("{mib:.1}"))),
        or_dash(claimed.map(|share| match (share - 1.0).abs() <= CLAIM_TOLERANCE {
            true => "as carried".to_owned(),
            false => format!("{share:.3} of what was carried"),
        })),
    ];
    MedianRecord { who, cells }
}

/// The row for the terminal.
pub fn line(row: &RowRecord) -> String {
    let beside = |name, beside: &Option<Beside>| {
        beside.as_ref().map_or_else(String::new, |beside| {
            let (rate, cost) = (ratio(&beside.rate), ratio(&beside.cost));
            format!("\n    {name}: rate {rate}, cost {cost}; {}", beside.what)
        })
    };
    let reached = if row.reached { "yes" } else { "no" };
    format!(
        "{:<32} {:<46} {:<46} {:<32} {reached}{}{}",
        row.work,
        rate(row),
        against(row.cost.as_ref()),
        row.wanted,
        beside("of the probe", &row.probe),
        beside("of the best setting", &row.oracle)
    )
}

/// The whole document, from all that is kept.
pub fn document(records: &[Record]) -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(
        text,
        "\n## Side by side\n\nRate and CPU-s per GB, ours / best peer, on each kind of processor.\n"
    );
    let kinds: Vec<String> = records.iter().map(|record| record.machine.kind()).collect();
    let _ = writeln!(text, "| Work | {} |", kinds.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(kinds.len()));
    for work in works(records) {
        let cells = records.iter().map(|record| {
            let Some(row) = record.rows.iter().find(|row| row.work == work) else { return String::new() };
            match (&row.value, &row.rate, &row.cost) {
                (Some(value), ..) => value.clone(),
                (_, Some(rate), Some(cost)) => {
                    format!("{}; {}", figure(rate.ratio.estimate), figure(cost.ratio.estimate))
                }
                (_, Some(rate), None) => format!("{} times sooner", figure(rate.ratio.estimate)),
                _ => String::new(),
            }
        });
        let _ = writeln!(text, "| {work} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    for record in records {
        section(&mut text, record);
    }
    text
}

/// Every work of any record, in the order of the first that has it.
fn works(records: &[Record]) -> Vec<&str> {
    let mut works: Vec<&str> = Vec::new();
    for row in records.iter().flat_map(|record| &record.rows) {
        if !works.contains(&row.work.as_str()) {
            works.push(&row.work);
        }
    }
    works
}

fn section(text: &mut String, record: &Record) {
    let Record { machine, date, command, rounds, seconds, tools, missing, failed, renewed, rows } = record;
    let _ = writeln!(text, "\n## {}\n", machine.kind());
    let _ = writeln!(text, "- Date: {date}");
    let _ = writeln!(text, "- Command: `{command}`: {rounds} rounds, {seconds} s a run");
    let _ = writeln!(text, "- Machine: {}, {} MiB; {}", machine.kind(), machine.memory_mib, machine.kernel);
    for (name, version) in tools {
        let _ = writeln!(text, "- {name}: {version}");
    }
    if !missing.is_empty() {
        let _ = writeln!(text, "- Not installed, so not compared with: {}", missing.join(", "));
    }
    for failure in failed {
        let _ = writeln!(text, "- Not measured: {failure}");
    }
    for Renewed { works, date, command, version } in renewed {
        let works = works.join("; ");
        let _ = writeln!(text, "- Measured again, {date}, `{command}`, ringperf {version}: {works}");
    }
    beside_peers(text, rows);
    beside_itself(text, rows);
    let _ = writeln!(text, "\n### All medians\n");
    let _ = writeln!(
        text,
        "| Work | Client, server | Gbit/s | CPU-s per GB, client + server | Lost, % | Exit, s | Memory, MiB | Bytes |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
    for row in rows {
        for medians in &row.medians {
            let _ = writeln!(text, "| {} | {} | {} |", row.work, medians.who, medians.cells.join(" | "));
        }
    }
}

fn beside_peers(text: &mut String, rows: &[RowRecord]) {
    let _ = writeln!(text, "\n### Beside the best peer\n");
    let _ = writeln!(
        text,
        "| Work | Rate, ours / best peer | CPU-s per GB, ours / best peer | Wanted | Reached |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|");
    for row in rows {
        let reached = if row.reached { "yes" } else { "**no**" };
        let (rate, cost) = (rate(row), against(row.cost.as_ref()));
        let _ = writeln!(text, "| {} | {rate} | {cost} | {} | {reached} |", row.work, row.wanted);
    }
    let missed: Vec<_> = rows.iter().filter(|row| !row.reached).map(|row| row.work.as_str()).collect();
    let _ = match missed.as_slice() {
        [] => writeln!(text, "\nNo row missed what is wanted."),
        names => writeln!(text, "\nMissed: {}.", names.join("; ")),
    };
}

/// Beside plain calls, and beside the best setting.
fn beside_itself(text: &mut String, rows: &[RowRecord]) {
    let probes = rows.iter().filter_map(|row| Some((row.work.as_str(), row.probe.as_ref()?)));
    table_beside(text, "Beside plain calls with nothing around them", probes.collect());
    let oracles = rows.iter().filter_map(|row| Some((row.work.as_str(), row.oracle.as_ref()?)));
    table_beside(text, "What it chooses beside the best setting of a grid", oracles.collect());
}

fn table_beside(text: &mut String, title: &str, rows: Vec<(&str, &Beside)>) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n### {title}\n\n| Work | Rate | CPU-s per GB | Which |\n|---|---|---|---|");
    for (work, beside) in rows {
        let (rate, cost) = (ratio(&beside.rate), ratio(&beside.cost));
        let _ = writeln!(text, "| {work} | {rate} | {cost} | {} |", beside.what);
    }
}

fn rate(row: &RowRecord) -> String {
    row.value.clone().unwrap_or_else(|| against(row.rate.as_ref()))
}

fn against(part: Option<&Against>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{}, {}", ratio(&part.ratio), part.peer))
}

fn ratio(record: &RatioRecord) -> String {
    let between = match (record.interval, record.range) {
        (Some((low, high)), _) => format!(" [{}, {}]", figure(low), figure(high)),
        (None, Some((low, high))) => format!(" ({}-{})", figure(low), figure(high)),
        (None, None) => String::new(),
    };
    format!("{}{between} {}", figure(record.estimate), record.verdict)
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

const HEAD: &str = "\
# Benchmarks

Written by `make bench`; do not edit. It runs real processes against real processes, each tool's client against
its own server unless the row says otherwise, on one machine that does nothing else, in network namespaces of
their own, all with cubic. Processors differ so much that figures of one kind say little about another: the last
run on each kind is kept.

- **Rounds are interleaved**: each round runs every tool once, in an order that changes from round to round.
  A first run of each does not count. Between two tools that run at different times nothing is compared.
- **A ratio** is ours to the peer's in the same round. Shown is the estimate of Hodges and Lehmann over the
  logarithms, and in brackets the exact interval of 95 % that belongs to Wilcoxon's signed-rank test, which takes
  six rounds. *Best peer* is the one that leaves us the worst ratio, which may be another one for the rate than for
  the cost. *More* and *less* mean that 1 is outside the interval, *the same* that all of it is within 3 % of 1;
  everything else is *not decided*, whatever the estimate says. Runs of before there were intervals have the median,
  with the smallest and the largest round in parentheses.
- **Rate** is what the receiver got, both directions together, in the time that the tool says; where the
  interface was busy for more than 5 % longer than that, in the time that it was. **CPU-s per GB** are processor
  seconds for 10^9 bytes received, of client and server together, as the kernel hands them over with each
  process's exit status: nobody's own claim.
- **A path of 20 ms** joins two TUN devices with an MTU of 65535 bytes: the benchmark itself holds each packet
  for 10 ms, in both directions. Before the first run it checks with datagrams that a round trip takes 20 ms
  and at most a tenth more. The kernel's work for what arrives is done in its threads and counts for nobody.
- **Plain calls** (write, sendfile, splice; recv) in two threads for each stream, with no protocol, pace or report
  around them, are what the machine can do. Their sizes are those that were fastest in a search before, and they run
  in the same rounds.
- **The best setting** (with `--oracle`) is the fastest of a grid of engines and sizes, searched for in runs before;
  it then runs in the same rounds beside what ringperf chooses by itself.
- **Bytes** are checked against the counters of the interfaces, headers subtracted: *as carried* means within
  2 %. Over a lossy path, bytes that are sent and never counted as received show up in the column before.
";
