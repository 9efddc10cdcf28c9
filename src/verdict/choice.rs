//! Which of the causes that match is named.
//!
//! What can be seen directly comes first: a rate that was reached, a run that was too short, a wire that is
//! full. Otherwise the budget decides: of the causes that match, the one with the largest share of the time
//! is named, if it stands out from the next. If it does not, the evidence contradicts itself, and nothing is
//! named. Neither is it if more of the time went elsewhere than to the cause that is left.

use crate::config::Protocol;

use super::budget::{Budget, Share};
use super::cause::{Cause, End};
use super::datagrams;
use super::facts::Facts;
use super::rule::Rule;
use super::rules::{
    amount_sent, cpu, cpu_contended, cpu_quota, link, path, rate_asked, receive_buffer, send_buffer,
};
use super::text::cause_words;
use super::thresholds::{RUN_SHORT, SHARE_APART, SHARE_LARGEST};

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Causes that stand: one is the verdict, several contradict each other.
    pub standing: Vec<Rule>,
    /// Those that do not.
    pub others: Vec<Rule>,
    /// Sentences about it, without a full stop.
    pub notes: Vec<String>,
}

impl Choice {
    pub fn new(facts: &Facts, budget: &Budget) -> Self {
        let rate = rate_asked(facts);
        if rate.matches() {
            return Self::of(rate, Vec::new());
        }
        let Some(seconds) = facts.seconds else {
            return Self { notes: vec!["the length of the run is not known".to_owned()], ..Self::default() };
        };
        if RUN_SHORT.is_met(seconds) {
            return Self::too_short(facts, rate);
        }
        let links = [End::Sender, End::Receiver].map(|end| link(facts, end));
        match links.each_ref().map(Rule::matches) {
            [true, true] => {
                let [mut both, other] = links;
                both.evidence.extend(other.evidence);
                return Self::of(both.lies_at(End::Path), vec![rate]);
            }
            [true, false] | [false, true] => {
                let (mut matching, mut others): (Vec<_>, Vec<_>) = links.into_iter().partition(Rule::matches);
                others.push(rate);
                return Self::of(matching.remove(0), others);
            }
            [false, false] => {}
        }
        let mut choice = match facts.evidence.protocol {
            Protocol::Tcp | Protocol::Mptcp | Protocol::Sctp(_) => {
                Self::by_share(of_streams(facts, budget)).within(budget)
            }
            Protocol::Udp(_) => Self::of_datagrams(facts, budget),
        };
        choice.others.insert(0, rate);
        choice.others.extend(links);
        choice
    }

    fn of(named: Rule, others: Vec<Rule>) -> Self {
        Self { standing: vec![named], others, notes: Vec::new() }
    }

    fn too_short(facts: &Facts, rate: Rule) -> Self {
        let amount = amount_sent(facts);
        if amount.matches() {
            return Self::of(amount, vec![rate]);
        }
        let notes = vec!["the run was too short to judge".to_owned()];
        Self { standing: Vec::new(), others: vec![rate], notes }
    }

    fn of_datagrams(facts: &Facts, budget: &Budget) -> Self {
        let losses = first_that_matches(datagrams::losses(facts));
        if losses.iter().any(Rule::matches) {
            return Self::by_share(losses);
        }
        let mut choice = Self::by_share(datagrams::sending(facts, budget)).within(budget);
        choice.others.extend(losses);
        choice
    }

    /// The largest share if it stands out, else all that match.
    fn by_share(rules: Vec<Rule>) -> Self {
        let (mut standing, mut others): (Vec<_>, Vec<_>) = rules.into_iter().partition(Rule::matches);
        standing.sort_by(|one, other| other.share_percent.total_cmp(&one.share_percent));
        if let [first, second, ..] = standing.as_slice()
            && SHARE_APART.is_met(first.share_percent / second.share_percent)
        {
            others.extend(standing.drain(1..));
        }
        Self { standing, others, notes: Vec::new() }
    }

    /// A cause does not stand where more of the time went elsewhere, whether there is a rule for that or not.
    fn within(mut self, budget: &Budget) -> Self {
        if self.standing.len() != 1 {
            return self;
        }
        let Some(only) = self.standing.pop() else { return self };
        let words = cause_words(only.cause, only.end);
        let other = largest_other(budget, only.cause) / only.share_percent;
        let only = only.needs(Some(other), &SHARE_LARGEST, End::None);
        if only.matches() {
            self.standing.push(only);
        } else {
            self.notes.push(format!("it can be {words}, but more of the time went elsewhere"));
            self.others.push(only);
        }
        self
    }

    /// The cause that is named; `None` if nothing stands out.
    pub fn named(&self) -> Option<&Rule> {
        match self.standing.as_slice() {
            [named] => Some(named),
            _ => None,
        }
    }
}

/// The largest share of the time, in percent, that is neither that of `cause` nor unknown. For what takes the
/// processor from threads, what they had of it counts half: two that share a processor have half of it each.
fn largest_other(budget: &Budget, cause: Cause) -> f64 {
    let mut others = *budget;
    others.unknown = Share::default();
    let own = match cause {
        Cause::Cpu => &mut others.processor,
        Cause::CpuContended => &mut others.processor_wait,
        Cause::CpuQuota => &mut others.quota,
        Cause::SendBuffer => &mut others.send_buffer,
        Cause::ReceiveBuffer => &mut others.receive_window,
        _ => &mut others.path,
    };
    *own = Share::default();
    if matches!(cause, Cause::CpuQuota | Cause::CpuContended) {
        others.processor = others.processor.half();
    }
    others.shares().into_iter().max().map_or(0.0, Share::percent)
}

/// The rules of protocols whose receiver can hold up the sender.
fn of_streams(facts: &Facts, budget: &Budget) -> Vec<Rule> {
    let mut rules = vec![cpu_quota(facts, End::Sender), cpu_quota(facts, End::Receiver)];
    // The end whose threads sleep more waits for the other, whatever they do when they are awake.
    let of_end = |rule: fn(&Facts, End) -> Rule, end: End| {
        let rule = rule(facts, end);
        if end == budget.threads_of { rule } else { rule.leave_open() }
    };
    for rule in [cpu, cpu_contended] {
        rules.extend([End::Sender, End::Receiver].map(|end| of_end(rule, end)));
    }
    rules.extend([receive_buffer(facts, budget), send_buffer(facts, budget)]);
    rules.extend(first_that_matches(path(facts, budget)));
    rules
}

/// Of rules of which only the first that matches counts: that one, and those that do not match.
fn first_that_matches(rules: Vec<Rule>) -> Vec<Rule> {
    let mut has_matched = false;
    let mut kept = rules;
    kept.retain(|rule| {
        let is_kept = !rule.matches() || !has_matched;
        has_matched |= rule.matches();
        is_kept
    });
    kept
}
