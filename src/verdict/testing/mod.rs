//! What a verdict must be, and what every verdict must keep to.

mod cases;
mod made_up;
mod near_misses;
mod runs;

use proptest::prelude::*;

use super::{
    Cause, Confidence, DirectionEvidence, DirectionName, End, Share, Verdict, judge, lines, thresholds,
};
use cases::{Case, cases};
use made_up::{any_evidence, likely_evidence};
use near_misses::{NearMiss, contradictions, near_misses};
use runs::{plain, plain_udp};

/// What programs look for in iperf3's text.
const READERS_WORDS: [&str; 6] = ["sender", "receiver", "bits/sec", "sum", "connected", "error"];

#[test]
fn every_case_is_named_in_both_directions() {
    for Case { name, run, cause, end } in cases() {
        for direction in [DirectionName::Forward, DirectionName::Reverse] {
            let verdict = judge(&DirectionEvidence { direction, ..run.clone() });
            assert_eq!((verdict.cause, verdict.end), (cause, end), "{name}: {verdict:#?}");
            assert_eq!(verdict.direction, direction);
            check(&verdict, &run).unwrap_or_else(|what| panic!("{name}: {what}: {verdict:#?}"));
        }
    }
}

#[test]
fn every_cause_has_a_case() {
    let named: Vec<_> = cases().into_iter().map(|case| case.cause).collect();
    for cause in Cause::ALL {
        assert!(cause == Cause::Undetermined || named.contains(&cause), "{cause:?}");
    }
}

#[test]
fn a_near_miss_names_nothing() {
    for NearMiss { name, run, not } in near_misses() {
        let verdict = judge(&run);
        assert_ne!(verdict.cause, not, "{name}");
        assert_eq!(verdict.cause, Cause::Undetermined, "{name}: {verdict:#?}");
        check(&verdict, &run).unwrap_or_else(|what| panic!("{name}: {what}: {verdict:#?}"));
    }
}

#[test]
fn evidence_that_contradicts_itself_names_nothing_and_says_so() {
    for NearMiss { name, run, not } in contradictions() {
        let verdict = judge(&run);
        assert_ne!(verdict.cause, not, "{name}");
        assert_eq!(verdict.cause, Cause::Undetermined, "{name}: {verdict:#?}");
        assert!(!verdict.notes.is_empty(), "{name}: {verdict:#?}");
    }
}

#[test]
fn nothing_is_known_and_nothing_is_named() {
    let verdict = judge(&DirectionEvidence::default());
    assert_eq!((verdict.cause, verdict.confidence), (Cause::Undetermined, Confidence::None));
    assert_eq!(verdict.budget.unknown.parts(), Share::WHOLE);
}

/// Against an iperf3 there is the evidence of one end, and the processor of the other cannot be named.
#[test]
fn one_end_alone_is_said_and_says_nothing_of_the_other() {
    for Case { name, run, cause, .. } in cases() {
        for (alone, other) in [(End::Sender, End::Receiver), (End::Receiver, End::Sender)] {
            let mut half = run.clone();
            if other == End::Sender {
                half.sender = None;
            } else {
                half.receiver = None;
            }
            let verdict = judge(&half);
            assert!(verdict.notes.iter().any(|note| note.ends_with("end alone")), "{name}: {verdict:#?}");
            let of_processors = [Cause::Cpu, Cause::CpuQuota, Cause::CpuContended];
            assert!(!of_processors.contains(&verdict.cause) || verdict.end == alone, "{name}: {verdict:#?}");
            let is_direct = [Cause::RateAsked, Cause::AmountSent].contains(&verdict.cause);
            assert!(is_direct || verdict.confidence != Confidence::Sure, "{name}: {verdict:#?}");
            // What an end can see for itself does not change for want of the other.
            if [Cause::RateAsked, Cause::AmountSent].contains(&cause) {
                assert_eq!(verdict.cause, cause, "{name}");
            }
        }
    }
}

/// Where something else it can be is not known, a cause is not sure.
#[test]
fn what_can_be_something_unknown_is_likely_at_most() {
    let mut run = plain_udp();
    run.datagrams(400_000, 0);
    let named = |run: &DirectionEvidence| {
        let verdict = judge(run);
        (verdict.cause, verdict.confidence)
    };
    assert_eq!(named(&run), (Cause::PathLoss, Confidence::Sure));
    run.end_mut(End::Receiver).device.rx_missed_packets = None;
    assert_eq!(named(&run), (Cause::PathLoss, Confidence::Likely));
    let mut run = plain();
    run.loss(3333);
    assert_eq!(named(&run), (Cause::PathLoss, Confidence::Sure));
    run.end_mut(End::Receiver).socket_dropped_packets = None;
    assert_eq!(named(&run), (Cause::PathLoss, Confidence::Likely));
}

/// Where more of the time went elsewhere, a cause is not named, and the notes tell that it matched.
#[test]
fn a_cause_beside_a_larger_share_is_told_in_the_notes() {
    let mut run = plain();
    run.loss(110);
    run.limits(1000, 0, 0);
    run.threads(End::Sender, 790, 0, 0);
    let verdict = judge(&run);
    assert_eq!(verdict.cause, Cause::Undetermined);
    assert_eq!(verdict.notes, ["it can be loss in the path, but more of the time went elsewhere"]);
    run.threads(End::Sender, 490, 0, 0);
    assert_eq!(judge(&run).cause, Cause::PathLoss);
}

/// bbr's pacing follows what was delivered, so a full path shows like that too.
#[test]
fn pacing_is_likely_at_most_and_says_why() {
    for name in ["bbr", "bbr with loss, for which it does not slow down"] {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        let mut run = case.run;
        run.threads(End::Sender, 50, 10, 0);
        run.threads(End::Receiver, 80, 10, 0);
        let verdict = judge(&run);
        assert_eq!((verdict.cause, verdict.confidence), (Cause::Pacing, Confidence::Likely), "{name}");
        assert!(verdict.notes.iter().any(|note| note.ends_with("that of the path")), "{verdict:#?}");
    }
}

/// A buffer that holds no more than what is on its way limits, whatever the reader does.
#[test]
fn a_send_buffer_that_fits_is_named_without_the_receiver() {
    let case = cases().into_iter().find(|case| case.name == "tcp_wmem as it is, at 20 ms").unwrap();
    let verdict = judge(&DirectionEvidence { receiver: None, ..case.run });
    assert_eq!((verdict.cause, verdict.confidence), (Cause::SendBuffer, Confidence::Likely));
}

/// What a host does to a run does not depend on which end it is.
#[test]
fn causes_of_hosts_are_the_same_at_either_end() {
    for (threads, cause) in
        [((930, 20, 0), Cause::Cpu), ((480, 470, 0), Cause::CpuContended), ((53, 1, 940), Cause::CpuQuota)]
    {
        for end in [End::Sender, End::Receiver] {
            let mut run = plain();
            run.threads(end, threads.0, threads.1, threads.2);
            let verdict = judge(&run);
            assert_eq!((verdict.cause, verdict.end), (cause, end), "{verdict:#?}");
        }
    }
}

/// The text of the example in the design, with the figures of that run.
#[test]
fn a_verdict_is_four_lines() {
    let case = cases().into_iter().find(|case| case.name == "tcp_wmem as it is, at 20 ms").unwrap();
    let printed = lines(&judge(&case.run)).join("\n");
    assert_eq!(
        printed,
        "Limited by: the send buffer of the sending end (sure)
      since 59 % of busy time stopped by the send buffer, 4 MiB of buffer allowed, 20.2 ms of RTT, \
1.66 x rate x RTT is the buffer
      not:  the processor (2 % on a processor at the sending end; \
14 % on or waiting for a processor at the receiving end), \
other work on the processors (5 % waiting for a processor at the sending end; \
9 % waiting for a processor at the receiving end), \
the receive buffer (3 % of busy time stopped by the receive window), \
the qdisc (the own qdisc held packets back 0 times a second), loss in the path (0 % of the bytes sent again)
      try:  sysctl -w net.ipv4.tcp_wmem='4096 16384 33554432' at the sending end, or -P 4"
    );
}

/// JSON has the names that are promised, and is read back.
#[test]
fn the_document_has_its_names() {
    for Case { name, run, .. } in cases() {
        let verdict = judge(&run);
        let json = serde_json::to_value(&verdict).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            ["direction", "cause", "end", "confidence", "budget", "evidence", "ruled_out", "try", "notes"];
        assert_eq!(keys, expected, "{name}");
        let item = json["evidence"][0].as_object().unwrap();
        for key in ["name", "end", "value", "threshold", "bound", "source"] {
            assert!(item.contains_key(key), "{name}: {key}");
        }
        let read: Verdict = serde_json::from_value(json).unwrap();
        assert_eq!(
            (read.cause, read.end, read.budget),
            (verdict.cause, verdict.end, verdict.budget),
            "{name}"
        );
        assert_eq!(read.evidence.len(), verdict.evidence.len(), "{name}");
    }
    let names: Vec<_> = Cause::ALL.iter().map(|cause| serde_json::to_value(cause).unwrap()).collect();
    let promised = [
        "rate_asked",
        "cpu_quota",
        "cpu",
        "cpu_contended",
        "receive_buffer",
        "send_buffer",
        "receiver_socket",
        "qdisc",
        "path_queue",
        "path_loss",
        "pacing",
        "nic_ring",
        "softirq",
        "pause",
        "pcie",
        "link",
        "amount_sent",
        "undetermined",
    ];
    assert_eq!(names, promised);
}

/// What loses datagrams stands beside a rate that was reached.
#[test]
fn loss_is_a_finding_beside_the_rate() {
    let name = "a rate of datagrams of which most are lost";
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let verdict = judge(&case.run);
    let lost = verdict.evidence.iter().find(|one| one.name == super::Figure::LostPercent).unwrap();
    assert_eq!((lost.value, lost.threshold), (60.0, None));
    assert!(lines(&verdict)[1].contains("60 % of the datagrams lost"), "{verdict:#?}");
}

/// What every verdict keeps to, whatever the evidence.
fn check(verdict: &Verdict, evidence: &DirectionEvidence) -> Result<(), String> {
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let parts = verdict.budget.shares().map(Share::parts);
    ensure(parts.iter().sum::<u32>() == Share::WHOLE, "the shares are not the whole")?;
    ensure(parts.iter().all(|parts| *parts <= Share::WHOLE), "a share is more than the whole")?;
    ensure(verdict.evidence.iter().all(super::Evidence::is_met), "evidence is not beyond its threshold")?;
    let all = verdict.evidence.iter().chain(verdict.ruled_out.iter().map(|out| &out.evidence));
    ensure(all.clone().all(|one| one.value.is_finite()), "a value is no number")?;
    ensure(verdict.ruled_out.iter().all(|out| !out.evidence.is_met()), "a cause is ruled out by nothing")?;
    let is_table = |one: &super::Evidence| {
        let is_row = |row: &thresholds::Threshold| {
            row.figure == one.name && Some(row.value) == one.threshold && Some(row.bound) == one.bound
        };
        one.threshold.is_none() || thresholds::ALL.iter().any(is_row)
    };
    ensure(all.clone().all(is_table), "a threshold is not in the table")?;
    let is_named = verdict.cause != Cause::Undetermined;
    let has_compared = verdict.evidence.iter().any(|one| one.threshold.is_some());
    ensure(!is_named || has_compared, "a cause has no evidence")?;
    ensure(!is_named || !verdict.tries.is_empty(), "a cause has no advice")?;
    ensure(is_named == (verdict.confidence != Confidence::None), "confidence and cause differ")?;
    let is_out = |out: &super::RuledOut| (out.cause, out.end) == (verdict.cause, verdict.end);
    ensure(!verdict.ruled_out.iter().any(is_out), "what is named is ruled out")?;
    check_confidence(verdict, evidence)?;
    check_lines(verdict)
}

/// A sure verdict rests on both ends and on rules that were tried, unless it can be seen directly.
fn check_confidence(verdict: &Verdict, evidence: &DirectionEvidence) -> Result<(), String> {
    let is_direct = [Cause::RateAsked, Cause::AmountSent].contains(&verdict.cause);
    if verdict.confidence != Confidence::Sure || is_direct {
        return Ok(());
    }
    if evidence.sender.is_none() || evidence.receiver.is_none() || verdict.cause.is_untried() {
        return Err("it is sure of too little".to_owned());
    }
    Ok(())
}

fn check_lines(verdict: &Verdict) -> Result<(), String> {
    let lines = lines(verdict);
    if !(1..=4).contains(&lines.len()) || !lines[0].starts_with("Limited by: ") {
        return Err(format!("{} lines", lines.len()));
    }
    let has_word = |line: &&String| {
        let lower = line.to_ascii_lowercase();
        line.contains('\n') || line.len() > 2000 || READERS_WORDS.iter().any(|word| lower.contains(word))
    };
    lines.iter().find(has_word).map_or(Ok(()), |line| Err(format!("it says {line:?}")))
}

proptest! {
    #[test]
    fn any_evidence_has_a_verdict_that_keeps_to_the_rules(evidence in any_evidence()) {
        let verdict = judge(&evidence);
        prop_assert_eq!(check(&verdict, &evidence), Ok(()), "{:#?}", verdict);
    }

    #[test]
    fn likely_evidence_has_a_verdict_that_keeps_to_the_rules(evidence in likely_evidence()) {
        let verdict = judge(&evidence);
        prop_assert_eq!(check(&verdict, &evidence), Ok(()), "{:#?}", verdict);
    }

    /// The direction is a name: the same evidence has the same verdict.
    #[test]
    fn both_directions_are_judged_alike(evidence in likely_evidence()) {
        let [forward, reverse] = [DirectionName::Forward, DirectionName::Reverse]
            .map(|direction| judge(&DirectionEvidence { direction, ..evidence.clone() }));
        prop_assert_eq!((forward.cause, forward.end), (reverse.cause, reverse.end));
        prop_assert_eq!(forward.budget, reverse.budget);
        prop_assert_eq!(forward.evidence, reverse.evidence);
    }
}
