//! What limited a run: from the evidence of both ends to a verdict. Pure.
//!
//! First the time of a direction is divided into a [`Budget`]; then the cause is named that has the largest
//! share of it and stands out, refined by counters. What matches no rule is undetermined, with the evidence.
//! `docs/VERDICTS.md` has the rules, thresholds and their sources.

mod advice;
mod budget;
mod cause;
mod choice;
mod datagrams;
mod document;
mod evidence;
mod facts;
mod figures;
mod rule;
mod rules;
#[cfg(test)]
mod testing;
mod text;
pub mod thresholds;

pub use budget::{Budget, Share, ShareError};
pub use cause::{Cause, Confidence, End, Evidence, RuledOut};
pub use document::Verdict;
pub use evidence::{
    AskedBy, AskedRate, BufferEvidence, DatagramEvidence, DeviceEvidence, DirectionEvidence, DirectionName,
    EndEvidence, QdiscEvidence, TcpEvidence, ThreadEvidence,
};
pub use figures::{Figure, Unit};
pub use text::lines;

use advice::{advice, undetermined};
use choice::Choice;
use facts::Facts;
use rule::Rule;
use text::cause_words;
use thresholds::SHARE_SURE;

/// What has limited one direction of a run.
#[must_use]
pub fn judge(evidence: &DirectionEvidence) -> Verdict {
    let facts = Facts::new(evidence);
    let budget = Budget::new(&facts);
    let choice = Choice::new(&facts, &budget);
    let mut notes = choice.notes.clone();
    let mut verdict = Verdict {
        direction: evidence.direction,
        cause: Cause::Undetermined,
        end: End::None,
        confidence: Confidence::None,
        budget,
        evidence: Vec::new(),
        ruled_out: choice.others.iter().filter_map(Rule::ruled_out).collect(),
        tries: Vec::new(),
        notes: Vec::new(),
    };
    match choice.named() {
        Some(named) => {
            verdict.cause = named.cause;
            verdict.end = named.end;
            verdict.confidence = confidence(&facts, named);
            // One cause can have several rules, of which one is enough.
            verdict.ruled_out.retain(|out| (out.cause, out.end) != (named.cause, named.end));
            verdict.evidence = named.evidence.clone();
            verdict.tries = advice(&facts, named);
        }
        None => {
            notes.extend(contradiction(&choice.standing));
            verdict.evidence = choice.standing.into_iter().flat_map(|rule| rule.evidence).collect();
            verdict.evidence.extend(facts.findings());
            verdict.tries = undetermined(&facts);
        }
    }
    notes.extend(basis(evidence).map(str::to_owned));
    if verdict.cause.is_untried() {
        notes.push("this rule is untried on a card".to_owned());
    }
    if verdict.cause == Cause::Pacing {
        notes.push("the pacing rate of bbr can be simply that of the path".to_owned());
    }
    notes.extend(facts.contradictions);
    verdict.notes = notes;
    verdict
}

/// What can be seen directly is sure; what follows from the budget is if nothing is missing in it.
fn confidence(facts: &Facts, named: &Rule) -> Confidence {
    let is_direct = matches!(named.cause, Cause::RateAsked | Cause::AmountSent);
    let is_large = facts.are_complete() && SHARE_SURE.is_met(named.share_percent);
    let is_weak = named.cause.is_untried() || named.is_likely_at_most;
    if is_direct || is_large && !is_weak { Confidence::Sure } else { Confidence::Likely }
}

/// That several causes match, none of which stands out.
fn contradiction(standing: &[Rule]) -> Option<String> {
    let causes: Vec<_> = standing.iter().map(|rule| cause_words(rule.cause, rule.end)).collect();
    (!causes.is_empty()).then(|| format!("it can be {}", causes.join(" or ")))
}

/// Whose evidence it is, where it is not that of both ends.
fn basis(evidence: &DirectionEvidence) -> Option<&'static str> {
    match (&evidence.sender, &evidence.receiver) {
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some("from the sending end alone"),
        (None, Some(_)) => Some("from the receiving end alone"),
        (None, None) => Some("neither end has told of itself"),
    }
}
