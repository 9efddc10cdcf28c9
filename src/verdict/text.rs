//! A verdict in at most four lines.
//!
//! Programs find iperf3's rows by words such as sender and receiver, so no line has one of them: the ends are
//! the sending end and the receiving end.

use super::cause::{Cause, Confidence, End, Evidence, RuledOut};
use super::document::Verdict;
use super::figures::Figure;

/// Most numbers in the line of reasons.
const REASONS_MAX: usize = 4;
/// Figures that follow from others, which are read out instead.
const SILENT: [Figure; 7] = [
    Figure::SharePercent,
    Figure::OtherShareRatio,
    Figure::StoppedPercent,
    Figure::StoppedPerOtherRatio,
    Figure::ApartPercent,
    Figure::RttPerMinRatio,
    Figure::RttOverTripleMs,
];
/// Most causes in the line of those that it is not.
const RULED_OUT_MAX: usize = 5;

/// The lines of a verdict, without line ends: what it is, why, what it is not, what to do. Lines that have
/// nothing to say are left out.
#[must_use]
pub fn lines(verdict: &Verdict) -> Vec<String> {
    let Verdict { cause, end, confidence, evidence, ruled_out, tries, notes, .. } = verdict;
    let worth = match confidence {
        Confidence::Sure => Some("sure"),
        Confidence::Likely => Some("likely"),
        Confidence::None => None,
    };
    let remarks: Vec<&str> = worth.into_iter().chain(notes.iter().map(String::as_str)).collect();
    let mut first = format!("Limited by: {}", cause_words(*cause, *end));
    if !remarks.is_empty() {
        first += &format!(" ({})", remarks.join("; "));
    }
    let mut lines = vec![first];
    let mut add = |word: &str, items: Vec<String>, between: &str| {
        if !items.is_empty() {
            lines.push(format!("      {word:<5} {}", items.join(between)));
        }
    };
    add("since", reasons(evidence), ", ");
    add("not:", what_it_is_not(ruled_out), ", ");
    add("try:", tries.clone(), ", or ");
    lines
}

/// Each figure of an end is read out once.
fn reasons(evidence: &[Evidence]) -> Vec<String> {
    let mut seen: Vec<(Figure, End)> = Vec::new();
    let mut words = Vec::new();
    for one in evidence.iter().filter(|one| !SILENT.contains(&one.name)) {
        if !seen.contains(&(one.name, one.end)) {
            seen.push((one.name, one.end));
            words.push(evidence_words(one));
        }
    }
    words.truncate(REASONS_MAX);
    words
}

/// Each cause stands once, with a number of each end where it was looked for.
fn what_it_is_not(ruled_out: &[RuledOut]) -> Vec<String> {
    let mut causes: Vec<(Cause, Vec<String>)> = Vec::new();
    for RuledOut { cause, evidence, .. } in ruled_out {
        // Nobody asks why it is not a quota where there is none.
        let is_no_quota = *cause == Cause::CpuQuota && evidence.value == 0.0;
        if is_no_quota || cause.is_untried() || SILENT.contains(&evidence.name) {
            continue;
        }
        let words = evidence_words(evidence);
        match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, numbers)) => numbers.push(words),
            None => causes.push((*cause, vec![words])),
        }
    }
    causes
        .into_iter()
        .take(RULED_OUT_MAX)
        .map(|(cause, numbers)| format!("{} ({})", short_words(cause), numbers.join("; ")))
        .collect()
}

fn evidence_words(evidence: &Evidence) -> String {
    let words = evidence.name.read_out(evidence.value);
    match evidence.end {
        End::Sender if is_of_either_end(evidence.name) => format!("{words} at the sending end"),
        End::Receiver if is_of_either_end(evidence.name) => format!("{words} at the receiving end"),
        _ => words,
    }
}

/// Whether both ends have this figure, so that one has to say whose it is.
fn is_of_either_end(figure: Figure) -> bool {
    matches!(
        figure,
        Figure::ThrottledPercent
            | Figure::OnProcessorPercent
            | Figure::WaitingPercent
            | Figure::OccupiedPercent
            | Figure::OwnProcessorsPercent
            | Figure::BacklogDroppedPercent
            | Figure::SqueezedPerSecond
            | Figure::InterruptPercent
            | Figure::PauseFramesCount
            | Figure::PcieStalledPercent
            | Figure::LinkUsedPercent
    )
}

/// The cause with its place, as it follows `Limited by:`.
pub(super) fn cause_words(cause: Cause, end: End) -> String {
    let of_end = match end {
        End::Sender => " of the sending end",
        End::Receiver => " of the receiving end",
        End::Path | End::None => "",
    };
    match cause {
        Cause::AmountSent => "not determined: the amount was sent too soon to judge".to_owned(),
        Cause::Undetermined => "not determined".to_owned(),
        Cause::Cpu if end == End::None => "the processors of both ends".to_owned(),
        Cause::RateAsked | Cause::PathQueue | Cause::PathLoss | Cause::Pause => short_words(cause).to_owned(),
        _ => format!("{}{of_end}", short_words(cause)),
    }
}

fn short_words(cause: Cause) -> &'static str {
    match cause {
        Cause::RateAsked => "the rate asked for",
        Cause::CpuQuota => "the processor quota",
        Cause::Cpu => "the processor",
        Cause::CpuContended => "other work on the processors",
        Cause::ReceiveBuffer => "the receive buffer",
        Cause::SendBuffer => "the send buffer",
        Cause::ReceiverSocket => "the buffer of the UDP sockets",
        Cause::Qdisc => "the qdisc",
        Cause::PathQueue => "a queue in the path",
        Cause::PathLoss => "loss in the path",
        Cause::Pacing => "the pacing of the congestion control",
        Cause::NicRing => "the ring of the network card",
        Cause::Softirq => "the soft interrupts",
        Cause::Pause => "pause frames from the network",
        Cause::Pcie => "the PCIe bus of the network card",
        Cause::Link => "the link",
        Cause::AmountSent => "the amount of bytes",
        Cause::Undetermined => "nothing that is known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What programs look for in iperf3's text, as `report/text/own_lines.rs` has it.
    const READERS_WORDS: [&str; 6] = ["sender", "receiver", "bits/sec", "sum", "connected", "error"];

    #[test]
    fn no_words_are_those_that_rows_are_found_by() {
        let mut texts = Vec::new();
        for end in [End::Sender, End::Receiver, End::Path, End::None] {
            texts.extend(Cause::ALL.map(|cause| cause_words(cause, end)));
            for figure in Figure::ALL {
                texts.push(evidence_words(&Evidence::finding(*figure, end, 12.3)));
            }
        }
        texts.extend(Cause::ALL.map(|cause| short_words(cause).to_owned()));
        for text in texts {
            let lower = text.to_ascii_lowercase();
            assert!(READERS_WORDS.iter().all(|word| !lower.contains(word)), "{text}");
        }
    }
}
