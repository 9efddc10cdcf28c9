//! ringperf beside the real iperf3 programs: real processes, the same work, rounds interleaved.
//!
//! `make bench` runs it. It needs root, for network namespaces, and an otherwise idle machine. Writes
//! `docs/BENCHMARKS.md`, whose head says how to read it.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it is a program that prints figures")]

mod document;
#[path = "../../tests/harness/run/installed.rs"]
mod installed;
mod judge;
mod measure;
mod network;
mod oracle;
mod plan;
mod probe;
mod record;
mod relay;
mod tool;
mod tun;
mod work;

use std::error::Error;
use std::fs;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::ZonedDateTime;

use judge::{Contest, judge};
use measure::Run;
use network::Network;
use plan::{Contender, Plan};
use probe::Probe;
use record::{Beside, Machine, Record, RowRecord};
use work::{Goal, Pairing, Place, WORK, Work};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the table goes.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/BENCHMARKS.md");
/// Runs listen on the ports above this one.
const PORTS_FROM: u16 = 10_000;
/// Shortest run in which a tenth of a percent of a rate can be told.
const PACED_SECONDS_MIN: f64 = 5.0;
/// Seconds of the first run of each contender, which does not count.
const WARM_UP_SECONDS: f64 = 1.0;

/// ringperf beside its peers.
#[derive(Parser)]
struct Options {
    /// The most telling rows only, six rounds of a second: about five minutes
    #[arg(long)]
    quick: bool,
    /// Search for the best engines and sizes of each row, and measure them beside what is chosen by itself; a
    /// minute and a half more for each row
    #[arg(long)]
    oracle: bool,
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
    /// Put the chosen rows into what is kept of this kind of processor, with date and command of their own
    #[arg(long, conflicts_with = "write")]
    renew: bool,
    /// Write the document from what is kept, and measure nothing
    #[arg(long)]
    render: bool,
    /// Where to write this run's document [default: it is kept, and docs/BENCHMARKS.md is written, unless rows or
    /// peers were chosen]
    #[arg(long)]
    write: Option<String>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    if options.render {
        return Ok(fs::write(DOCUMENT, document::document(&record::kept()?))?);
    }
    let ours = tool::ours();
    let (mut peers, missing) = tool::peers();
    peers.retain(|peer| options.peer.is_empty() || options.peer.iter().any(|name| name == peer.name));
    if peers.is_empty() {
        return Err("no peer is installed: run `make peers` first".into());
    }
    let wanted = |work: &&Work| {
        (work.quick || !options.quick)
            && (options.row.is_empty() || options.row.iter().any(|text| work.name.contains(text.as_str())))
    };
    let plans: Vec<Plan<'_>> =
        WORK.iter().filter(wanted).map(|work| Plan::new(work, &ours, &peers)).collect();
    let mut bench = Bench::new(&options, &plans)?;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for plan in &plans {
        // What one kernel or one setting makes impossible costs its row and not the others.
        match bench.measure(plan) {
            Ok(row) => {
                bench.progress.suspend(|| println!("{}", document::line(&row)));
                rows.push(row);
            }
            Err(error) => {
                let failure = format!("{}: {error}", plan.work.name);
                bench.progress.suspend(|| println!("not measured: {failure}"));
                failed.push(failure);
            }
        }
    }
    bench.progress.finish_and_clear();

    let tools = std::iter::once(&ours).chain(&peers);
    let record = Record {
        machine: Machine::this(),
        date: ZonedDateTime::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
        command: command(std::env::args().skip(1)),
        rounds: bench.rounds,
        seconds: bench.seconds,
        tools: tools.map(|tool| (tool.name.to_owned(), tool.version.clone())).collect(),
        missing: missing.into_iter().map(str::to_owned).collect(),
        failed,
        renewed: Vec::new(),
        rows,
    };
    let whole = options.row.is_empty() && options.peer.is_empty();
    if let Some(path) = &options.write {
        fs::write(path, document::document(&[record]))?;
        println!("\nwritten to {path}");
    } else if whole || options.renew {
        if options.renew { record.renew() } else { record.keep() }?;
        fs::write(DOCUMENT, document::document(&record::kept()?))?;
        println!("\nwritten to {DOCUMENT}");
    }
    Ok(())
}

/// How to do the same again.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let given: Vec<String> = arguments.filter(|argument| argument != "--bench").collect();
    if given.is_empty() { "make bench".to_owned() } else { format!("make bench BENCH='{}'", given.join(" ")) }
}

/// What all rows share.
struct Bench {
    rounds: usize,
    seconds: f64,
    oracle: bool,
    /// Those that were needed so far.
    networks: Vec<(Place, Network)>,
    /// The next port that nobody has used.
    port: u16,
    progress: ProgressBar,
}

/// The runs of a contender.
type Runs = Vec<Run>;

impl Bench {
    fn new(options: &Options, plans: &[Plan<'_>]) -> Outcome<Self> {
        let rounds = options.rounds.unwrap_or(6);
        let seconds = options.seconds.unwrap_or(if options.quick { 1.0 } else { 2.0 });
        let runs = |plan: &Plan<'_>| {
            let settings = if options.oracle { oracle::grid(plan.work).len() } else { 0 };
            let besides = usize::from(plan.work.probe.is_some()) + usize::from(settings > 0);
            (plan.pairs().count() + besides) * (rounds + 1) + oracle::runs(settings)
        };
        let progress = progress(plans.iter().map(runs).sum())?;
        Ok(Self { rounds, seconds, oracle: options.oracle, networks: Vec::new(), port: PORTS_FROM, progress })
    }

    fn measure(&mut self, plan: &Plan<'_>) -> Outcome<RowRecord> {
        self.progress.set_message(plan.work.name);
        let network = self.network(plan.work.place)?;
        let pairs = plan.pairs().cloned().map(Contender::Pair);
        let mut contenders: Vec<_> = pairs.map(|pair| (pair, String::new())).collect();
        let probe = self.probe(plan, network)?;
        let best = self.best(plan, network)?;
        let (probe_index, best_index) = (contenders.len(), contenders.len() + usize::from(probe.is_some()));
        contenders.extend(probe.map(|probe| (Contender::Probe(probe), probe.describe())));
        contenders.extend(best);
        let runs = self.run_all(plan, network, &contenders)?;

        let (ours, theirs) = runs.split_at(plan.ours.len());
        let contests: Vec<_> = plan
            .theirs
            .iter()
            .zip(theirs)
            .enumerate()
            .map(|(index, (pair, theirs))| {
                let own = matches!(plan.work.pairing, Pairing::Own | Pairing::Crowd(_));
                let ours = ours.get(index).filter(|_| !own).unwrap_or(&ours[0]);
                Contest { peer: pair.client.name, ours, theirs }
            })
            .collect();
        let verdict = judge(plan.work.goal, &ours[0], &contests)
            .ok_or_else(|| format!("no installed peer can do {}", plan.work.name))?;
        let beside = |index: usize, wanted: bool| {
            let (theirs, (_, what)) = runs.get(index).zip(contenders.get(index)).filter(|_| wanted)?;
            let contest = Contest { peer: "", ours: &ours[0], theirs };
            let rate = contest.ratio(|run| run.gbit_per_second).record();
            Some(Beside { what: what.clone(), rate, cost: contest.ratio(Run::cost).record() })
        };
        let probe = beside(probe_index, probe.is_some());
        let oracle = beside(best_index, contenders.len() > best_index);
        let medians = contenders.iter().zip(&runs).map(|((contender, what), runs)| {
            let who = match contender {
                Contender::Pair(pair) if what.is_empty() => {
                    format!("{}, {}", pair.client.name, pair.server.name)
                }
                Contender::Pair(_) => format!("ringperf, {what}"),
                Contender::Probe(_) => format!("plain calls, {what}"),
            };
            document::medians(who, runs)
        });
        Ok(document::row(plan.work, &verdict, probe, oracle, medians.collect()))
    }

    /// Plain calls with the sizes that are best here, if the row has something to do for them.
    fn probe(&self, plan: &Plan<'_>, network: usize) -> Outcome<Option<Probe>> {
        let Some((call, streams)) = plan.work.probe else { return Ok(None) };
        Probe::best(call, streams, &self.networks[network].1).map(Some)
    }

    /// Ours with the engines and sizes that are best here, and what they are.
    fn best<'a>(&mut self, plan: &Plan<'a>, network: usize) -> Outcome<Option<(Contender<'a>, String)>> {
        if !self.oracle {
            return Ok(None);
        }
        let settings = oracle::grid(plan.work);
        let best = oracle::search(settings, |setting, seconds| {
            let contender = Contender::Pair(plan.fixed(setting));
            self.run(network, &contender, seconds).map(|run| run.gbit_per_second)
        })?;
        Ok(best.map(|best| (Contender::Pair(plan.fixed(&best)), best.client)))
    }

    /// All rounds; the runs of each contender.
    fn run_all(
        &mut self,
        plan: &Plan<'_>,
        network: usize,
        contenders: &[(Contender<'_>, String)],
    ) -> Outcome<Vec<Runs>> {
        for (contender, _) in contenders {
            self.run(network, contender, WARM_UP_SECONDS.min(self.seconds))?;
        }
        let seconds = match plan.work.goal {
            Goal::Paced { .. } => self.seconds.max(PACED_SECONDS_MIN),
            _ => self.seconds,
        };
        let mut runs: Vec<Runs> = vec![Vec::new(); contenders.len()];
        for round in 0..self.rounds {
            // The order changes, so that nobody always runs on what the same other has left behind.
            let mut order: Vec<usize> = (0..contenders.len()).collect();
            order.rotate_left(round % contenders.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                runs[index].push(self.run(network, &contenders[index].0, seconds)?);
            }
        }
        Ok(runs)
    }

    /// The place of that network among those that exist by now.
    fn network(&mut self, place: Place) -> Outcome<usize> {
        if let Some(index) = self.networks.iter().position(|(known, _)| *known == place) {
            return Ok(index);
        }
        self.networks.push((place, Network::new(place)?));
        Ok(self.networks.len() - 1)
    }

    fn run(&mut self, network: usize, contender: &Contender<'_>, seconds: f64) -> Outcome<Run> {
        // Ports of its own for each: the connections of the last run linger on.
        let ports = contender.ports();
        let port = if self.port > u16::MAX - ports { PORTS_FROM } else { self.port };
        self.port = port + ports;
        let run = contender.run(&self.networks[network].1, port, seconds);
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
