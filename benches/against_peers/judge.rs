//! From the runs of a row to its figures, and who is ahead.

use super::measure::Run;
use super::work::Goal;

/// Rounds below which nobody is called ahead.
const ROUNDS_MIN: usize = 3;
/// How far a paced test may be from the rate that was asked for.
const PACED_TOLERANCE: f64 = 0.001;

/// A median with its spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    rounds: usize,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, min: values[0], max: values[values.len() - 1], rounds: values.len() }
    }

    /// Where a ratio stands: only what every single round agrees on is more than noise.
    pub fn verdict(&self) -> &'static str {
        match self {
            _ if self.rounds < ROUNDS_MIN => "too few rounds",
            _ if self.min > 1.0 => "more",
            _ if self.max < 1.0 => "less",
            _ => "equal within noise",
        }
    }
}

/// Ours beside one peer, round by round.
pub struct Contest<'a> {
    pub peer: &'static str,
    pub ours: &'a [Run],
    pub theirs: &'a [Run],
}

impl Contest<'_> {
    /// Ours divided by the peer's.
    pub fn ratio(&self, value: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.ours.iter().zip(self.theirs).map(|(ours, theirs)| value(ours) / value(theirs)))
    }
}

/// Whether a row's figures are where they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Yes,
    No,
}

/// A row of the table.
pub struct Verdict {
    /// Peer with the best rate, ours to its rate.
    pub rate: Option<(&'static str, Spread)>,
    /// Peer with the lowest cost, ours to its cost.
    pub cost: Option<(&'static str, Spread)>,
    /// What the goal is about, where that is neither.
    pub value: Option<f64>,
    pub reached: Reached,
}

/// Compares with the best peer, which may be another one for rate and for cost.
pub fn judge(goal: Goal, ours: &[Run], contests: &[Contest<'_>]) -> Option<Verdict> {
    let median = |value: fn(&Run) -> f64| Spread::of(ours.iter().map(value)).median;
    let worst = |value: fn(&Run) -> f64, is_worse: fn(f64, f64) -> bool| {
        let ratios = contests.iter().map(|contest| (contest.peer, contest.ratio(value)));
        ratios.reduce(|worst, next| if is_worse(next.1.median, worst.1.median) { next } else { worst })
    };
    let rate = || worst(|run| run.gbit_per_second, |next, worst| next < worst);
    let cost = || worst(Run::cost, |next, worst| next > worst);
    let all = |reached| if reached { Reached::Yes } else { Reached::No };
    match goal {
        Goal::Rate { ratio_min, cost_max } => {
            let (rate, cost) = (rate()?, cost()?);
            let reached = all(rate.1.median >= ratio_min && cost.1.median <= cost_max);
            Some(Verdict { rate: Some(rate), cost: Some(cost), value: None, reached })
        }
        Goal::Paced { gbit_per_second, cost_max } => {
            let cost = cost()?;
            let received = median(|run| run.gbit_per_second);
            let exact = (received / gbit_per_second - 1.0).abs() <= PACED_TOLERANCE;
            let reached = all(exact && cost.1.median <= cost_max);
            Some(Verdict { rate: None, cost: Some(cost), value: Some(received), reached })
        }
        Goal::Sooner { ratio_min, than } => {
            let peer = contests.iter().find(|contest| contest.peer == than)?;
            let (peer, sooner) = (peer.peer, peer.ratio(|run| 1.0 / run.seconds));
            let reached = all(sooner.median >= ratio_min);
            Some(Verdict { rate: Some((peer, sooner)), cost: None, value: None, reached })
        }
        Goal::Memory { mib_max } => {
            let value = median(|run| run.client_mib);
            Some(Verdict { rate: None, cost: None, value: Some(value), reached: all(value <= mib_max) })
        }
    }
}
