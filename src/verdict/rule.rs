//! A rule under way: what it wants of the facts, and what it has found.

use super::cause::{Cause, End, Evidence, RuledOut};
use super::figures::Figure;
use super::thresholds::{SHARE_LEAST, Threshold};

/// What became of a rule: a cause, and the evidence for or against it.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub cause: Cause,
    pub end: End,
    /// The time that the cause has, in percent.
    pub share_percent: f64,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// What speaks against it, the first of it.
    against: Option<Evidence>,
    /// Something that it needs is not known.
    is_open: bool,
    /// Something that it could be instead is not known, so that it is never sure.
    pub is_likely_at_most: bool,
}

impl Rule {
    pub fn new(cause: Cause, end: End) -> Self {
        Self {
            cause,
            end,
            share_percent: 0.0,
            evidence: Vec::new(),
            against: None,
            is_open: false,
            is_likely_at_most: false,
        }
    }

    /// Wants `value`, which is one of `end`, on the right side of `threshold`.
    pub fn needs(mut self, value: Option<f64>, threshold: &Threshold, end: End) -> Self {
        let Some(value) = value else {
            self.is_open = true;
            return self;
        };
        let evidence = Evidence::compared(threshold, end, value);
        if evidence.is_met() {
            self.evidence.push(evidence);
        } else if self.against.is_none() {
            self.against = Some(evidence);
        }
        self
    }

    /// Wants it if it is known.
    pub fn needs_if_known(self, value: Option<f64>, threshold: &Threshold, end: End) -> Self {
        if value.is_some() { self.needs(value, threshold, end) } else { self }
    }

    /// Wants one of several values, all of `end`, on the right side of its threshold.
    pub fn needs_one_of(self, values: &[(Option<f64>, &Threshold)], end: End) -> Self {
        let met = values.iter().find(|(value, threshold)| value.is_some_and(|value| threshold.is_met(value)));
        // None is met: one that is not known leaves the rule open, else the first speaks against it.
        let (value, threshold) = met
            .or_else(|| values.iter().find(|(value, _)| value.is_none()))
            .or(values.first())
            .expect("a rule wants one of some values");
        self.needs(*value, threshold, end)
    }

    /// Wants so much of the time, in percent.
    pub fn has(self, share_percent: f64) -> Self {
        self.with_share(share_percent).needs(Some(share_percent), &SHARE_LEAST, End::None)
    }

    /// Its share of the time, in percent, whatever that is.
    pub fn with_share(mut self, share_percent: f64) -> Self {
        self.share_percent = share_percent;
        self
    }

    /// The cause lies there after all.
    pub fn lies_at(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// A number that belongs to the cause and decides nothing.
    pub fn shows(mut self, name: Figure, value: Option<f64>, end: End) -> Self {
        self.evidence.extend(value.map(|value| Evidence::finding(name, end, value)));
        self
    }

    /// It cannot be answered here.
    pub fn leave_open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// It is never sure if `holds`.
    pub fn likely_at_most_if(mut self, holds: bool) -> Self {
        self.is_likely_at_most |= holds;
        self
    }

    pub fn matches(&self) -> bool {
        self.against.is_none() && !self.is_open
    }

    pub fn ruled_out(&self) -> Option<RuledOut> {
        let evidence = self.against.clone()?;
        Some(RuledOut { cause: self.cause, end: self.end, evidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::thresholds::{ON_PROCESSOR, THROTTLED, WAITING};

    fn rule() -> Rule {
        Rule::new(Cause::Cpu, End::Sender)
    }

    #[test]
    fn a_rule_matches_if_everything_is_there_and_beyond_its_threshold() {
        let needs = |value| rule().needs(value, &ON_PROCESSOR, End::Sender);
        assert!(needs(Some(85.0)).matches());
        assert!(!needs(Some(84.9)).matches());
        assert!(!needs(None).matches());
        assert!(rule().needs_if_known(None, &ON_PROCESSOR, End::Sender).matches());
        assert!(!needs(Some(90.0)).has(19.0).matches());
        assert!(!needs(Some(90.0)).leave_open().matches());
    }

    #[test]
    fn what_speaks_against_a_rule_is_kept_and_what_is_not_known_does_not() {
        let against = rule()
            .needs(Some(5.0), &THROTTLED, End::Sender)
            .needs(Some(6.0), &ON_PROCESSOR, End::Sender)
            .ruled_out()
            .unwrap();
        assert_eq!((against.evidence.name, against.evidence.value), (Figure::ThrottledPercent, 5.0));
        assert!(rule().needs(None, &THROTTLED, End::Sender).ruled_out().is_none());
    }

    #[test]
    fn one_of_several_is_enough() {
        let one_of =
            |on, waiting| rule().needs_one_of(&[(on, &ON_PROCESSOR), (waiting, &WAITING)], End::Sender);
        assert!(one_of(Some(90.0), None).matches());
        assert!(one_of(Some(10.0), Some(20.0)).matches());
        let open = one_of(Some(10.0), None);
        assert!(!open.matches() && open.ruled_out().is_none());
        assert_eq!(one_of(Some(10.0), Some(1.0)).ruled_out().unwrap().evidence.value, 10.0);
    }
}
