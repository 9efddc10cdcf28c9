//! From the runs of a row to its figures, and who is ahead.

use ringperf::stats::inference;

use super::measure::Run;
use super::record::RatioRecord;
use super::work::Goal;

/// How far a paced test may be from the rate that was asked for.
const PACED_TOLERANCE: f64 = 0.001;
/// How often an interval of a ratio holds it.
const LEVEL: f64 = 0.95;
/// Closer to 1 than that a ratio is called the same.
const SAME: f64 = 0.03;

/// The middle of figures.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    inference::median(&values).unwrap_or(f64::NAN)
}

/// A ratio of pairs of runs.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// After Hodges and Lehmann, over logarithms.
    pub estimate: f64,
    /// Where it is, if there are enough rounds to say that.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let logs: Vec<f64> = ratios.map(f64::ln).collect();
        let judged = inference::signed_rank(&logs);
        let interval = inference::interval(&logs, LEVEL);
        Self {
            estimate: judged.map_or(f64::NAN, |judged| judged.estimate.exp()),
            interval: interval.map(|interval| (interval.low.exp(), interval.high.exp())),
        }
    }

    /// What is kept of it.
    pub fn record(&self) -> RatioRecord {
        let verdict = self.verdict().to_owned();
        RatioRecord { estimate: self.estimate, interval: self.interval, range: None, verdict }
    }

    /// Where it stands.
    pub fn verdict(&self) -> &'static str {
        match self.interval {
            None => "too few rounds",
            Some((low, high)) if low > 1.0 - SAME && high < 1.0 + SAME => "the same",
            Some((low, _)) if low > 1.0 => "more",
            Some((_, high)) if high < 1.0 => "less",
            Some(_) => "not decided",
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
    pub fn ratio(&self, value: impl Fn(&Run) -> f64) -> Ratio {
        Ratio::of(self.ours.iter().zip(self.theirs).map(|(ours, theirs)| value(ours) / value(theirs)))
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
    pub rate: Option<(&'static str, Ratio)>,
    /// Peer with the lowest cost, ours to its cost.
    pub cost: Option<(&'static str, Ratio)>,
    /// What the goal is about, where that is neither.
    pub value: Option<f64>,
    pub reached: Reached,
}

/// Compares with the best peer, which may be another one for rate and for cost.
pub fn judge(goal: Goal, ours: &[Run], contests: &[Contest<'_>]) -> Option<Verdict> {
    let ours_median = |value: fn(&Run) -> f64| median(ours.iter().map(value));
    let worst = |value: fn(&Run) -> f64, is_worse: fn(f64, f64) -> bool| {
        let ratios = contests.iter().map(|contest| (contest.peer, contest.ratio(value)));
        ratios.reduce(|worst, next| if is_worse(next.1.estimate, worst.1.estimate) { next } else { worst })
    };
    let rate = || worst(|run| run.gbit_per_second, |next, worst| next < worst);
    let cost = || worst(Run::cost, |next, worst| next > worst);
    let all = |reached| if reached { Reached::Yes } else { Reached::No };
    match goal {
        Goal::Rate { ratio_min, cost_max } => {
            let (rate, cost) = (rate()?, cost()?);
            let reached = all(rate.1.estimate >= ratio_min && cost.1.estimate <= cost_max);
            Some(Verdict { rate: Some(rate), cost: Some(cost), value: None, reached })
        }
        Goal::Paced { gbit_per_second, cost_max } => {
            let cost = cost()?;
            let received = ours_median(|run| run.gbit_per_second);
            let exact = (received / gbit_per_second - 1.0).abs() <= PACED_TOLERANCE;
            let reached = all(exact && cost.1.estimate <= cost_max);
            Some(Verdict { rate: None, cost: Some(cost), value: Some(received), reached })
        }
        Goal::Sooner { ratio_min, than } => {
            let peer = contests.iter().find(|contest| contest.peer == than)?;
            let (peer, sooner) = (peer.peer, peer.ratio(|run| 1.0 / run.seconds));
            let reached = all(sooner.estimate >= ratio_min);
            Some(Verdict { rate: Some((peer, sooner)), cost: None, value: None, reached })
        }
        Goal::Memory { mib_max } => {
            let value = ours_median(|run| run.client_mib.unwrap_or(f64::NAN));
            Some(Verdict { rate: None, cost: None, value: Some(value), reached: all(value <= mib_max) })
        }
    }
}
