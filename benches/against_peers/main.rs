//! ringperf beside the real iperf3 programs: real processes, the same work, rounds interleaved.
//!
//! `make bench` runs it. It needs root, for network namespaces, and an otherwise idle machine. Writes
//! `docs/BENCHMARKS.md`, whose head says how to read it.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it is a program that prints figures")]

mod document;
#[path = "../../tests/harness/installed.rs"]
mod installed;
mod judge;
mod measure;
mod network;
mod tool;
mod work;

use std::error::Error;
use std::fs;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use document::{Conditions, Medians, Row, document};
use judge::{Contest, judge};
use measure::{Pair, Run};
use network::Network;
use tool::Tool;
use work::{Goal, Pairing, Place, WORK, Work};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the table goes.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/BENCHMARKS.md");
/// Runs listen on the ports above this one.
const PORTS_FROM: u16 = 10_000;
/// Shortest run in which a tenth of a percent of a rate can be told.
const PACED_SECONDS_MIN: f64 = 5.0;
/// Seconds of the first run of each pairing, which does not count.
const WARM_UP_SECONDS: f64 = 1.0;

/// ringperf beside its peers.
#[derive(Parser)]
struct Options {
    /// The most telling rows only, six rounds of a second: about five minutes
    #[arg(long)]
    quick: bool,
    /// Rounds of each row; fewer than six decide nothing [default: 6]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one run [default: 2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Only rows with this text in their names; several may be given
    #[arg(long)]
    row: Vec<String>,
    /// Only these peers; several may be given
    #[arg(long)]
    peer: Vec<String>,
    /// Where to write the document [default: docs/BENCHMARKS.md, unless rows or peers were chosen]
    #[arg(long)]
    write: Option<String>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    let rounds = options.rounds.unwrap_or(6);
    let seconds = options.seconds.unwrap_or(if options.quick { 1.0 } else { 2.0 });
    let ours = tool::ours();
    let (mut peers, missing) = tool::peers();
    peers.retain(|peer| options.peer.is_empty() || options.peer.iter().any(|name| name == peer.name));
    if peers.is_empty() {
        return Err("no peer is installed: run `make peers` first".into());
    }
    let wanted = |work: &Work| {
        (work.quick || !options.quick)
            && (options.row.is_empty() || options.row.iter().any(|text| work.name.contains(text.as_str())))
    };
    let plans: Vec<Plan<'_>> =
        WORK.iter().filter(|work| wanted(work)).map(|work| Plan::new(work, &ours, &peers)).collect();
    let runs: usize = plans.iter().map(|plan| plan.pairs().count() * (rounds + 1)).sum();
    let mut bench =
        Bench { rounds, seconds, networks: Vec::new(), port: PORTS_FROM, progress: progress(runs)? };
    let mut rows = Vec::new();
    for plan in &plans {
        let row = bench.measure(plan)?;
        bench.progress.suspend(|| println!("{}", row.line()));
        rows.push(row);
    }
    bench.progress.finish_and_clear();

    let whole = options.row.is_empty() && options.peer.is_empty();
    if let Some(path) = options.write.as_deref().or(whole.then_some(DOCUMENT)) {
        let command = command(std::env::args().skip(1));
        let tools: Vec<&Tool> = std::iter::once(&ours).chain(&peers).collect();
        let conditions = Conditions { command, rounds, seconds, tools, missing };
        fs::write(path, document(&conditions, &rows))?;
        println!("\nwritten to {path}");
    }
    Ok(())
}

/// How to do the same again.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let given: Vec<String> = arguments.filter(|argument| argument != "--bench").collect();
    if given.is_empty() { "make bench".to_owned() } else { format!("make bench BENCH='{}'", given.join(" ")) }
}

/// A row before it is measured: ours, and each peer that can do the work.
struct Plan<'a> {
    work: Work,
    /// One for all peers, or one for each where a peer is at the other end.
    ours: Vec<Pair<'a>>,
    theirs: Vec<Pair<'a>>,
}

impl<'a> Plan<'a> {
    fn new(work: &'a Work, ours: &'a Tool, peers: &'a [Tool]) -> Self {
        let alone = matches!(work.goal, Goal::Memory { .. });
        let able = peers.iter().filter(|peer| !alone && peer.can(work.options));
        let theirs: Vec<_> =
            able.map(|peer| Pair { client: peer, server: peer, options: work.options }).collect();
        let own = work.ours.unwrap_or(work.options);
        let ours = match work.pairing {
            Pairing::Own => vec![Pair { client: ours, server: ours, options: own }],
            Pairing::TheirServer => {
                theirs.iter().map(|pair| Pair { client: ours, options: own, ..*pair }).collect()
            }
            Pairing::TheirClient => theirs.iter().map(|pair| Pair { server: ours, ..*pair }).collect(),
        };
        Self { work: *work, ours, theirs }
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair<'a>> {
        self.ours.iter().chain(&self.theirs)
    }
}

/// What all rows share.
struct Bench {
    rounds: usize,
    seconds: f64,
    /// Those that were needed so far.
    networks: Vec<(Place, Network)>,
    /// The last port that was used.
    port: u16,
    progress: ProgressBar,
}

impl Bench {
    fn measure(&mut self, plan: &Plan<'_>) -> Outcome<Row> {
        self.progress.set_message(plan.work.name);
        let network = self.network(plan.work.place)?;
        let pairs: Vec<_> = plan.pairs().collect();
        for pair in &pairs {
            self.run(network, pair, WARM_UP_SECONDS.min(self.seconds))?;
        }
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); pairs.len()];
        for round in 0..self.rounds {
            // The order changes, so that nobody always runs on what the same other has left behind.
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            order.rotate_left(round % pairs.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let seconds = match plan.work.goal {
                    Goal::Paced { .. } => self.seconds.max(PACED_SECONDS_MIN),
                    _ => self.seconds,
                };
                runs[index].push(self.run(network, pairs[index], seconds)?);
            }
        }
        let (ours, theirs) = runs.split_at(plan.ours.len());
        let contests: Vec<_> = plan
            .theirs
            .iter()
            .zip(theirs)
            .enumerate()
            .map(|(index, (pair, theirs))| {
                let ours = ours.get(index).filter(|_| plan.work.pairing != Pairing::Own).unwrap_or(&ours[0]);
                Contest { peer: pair.client.name, ours, theirs }
            })
            .collect();
        let verdict = judge(plan.work.goal, &ours[0], &contests)
            .ok_or_else(|| format!("no installed peer can do {}", plan.work.name))?;
        let medians = pairs.iter().zip(&runs).map(|(pair, runs)| Medians::of(pair, runs)).collect();
        Ok(Row { work: plan.work, verdict, pairs: medians })
    }

    /// The place of that network among those that exist by now.
    fn network(&mut self, place: Place) -> Outcome<usize> {
        if let Some(index) = self.networks.iter().position(|(known, _)| *known == place) {
            return Ok(index);
        }
        self.networks.push((place, Network::new(place)?));
        Ok(self.networks.len() - 1)
    }

    fn run(&mut self, network: usize, pair: &Pair<'_>, seconds: f64) -> Outcome<Run> {
        // A port of its own for each: the connections of the last run linger on.
        self.port = self.port.checked_add(1).unwrap_or(PORTS_FROM);
        let run = pair.run(&self.networks[network].1, self.port, seconds);
        self.progress.inc(1);
        run
    }
}

fn progress(runs: usize) -> Outcome<ProgressBar> {
    let bar = ProgressBar::new(u64::try_from(runs)?);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {eta} left: {msg}")?);
    bar.enable_steady_tick(Duration::from_secs(1));
    Ok(bar)
}
