//! The rules of all protocols: which evidence names which cause.
//!
//! `docs/VERDICTS.md` says the same in tables. Each function is one cause; what it wants first is what tells
//! it from the others, so that this is what speaks against it where it does not match.

use super::budget::{Budget, is_held_up};
use super::cause::{Cause, End};
use super::facts::{EndFacts, Facts, ThreadFacts, over_other};
use super::figures::Figure;
use super::rule::Rule;
use super::thresholds::{
    BACKLOG_DROPPED, BUFFER_FITS, BUFFER_FITS_ALONE, BUSY, ENDS_ALIKE, INTERRUPTS, LINK_PLAUSIBLE, LINK_USED,
    LOSS, LOSS_RTT, NO_QUEUE, NO_QUEUE_ADDED, OCCUPIED, OCCUPIED_BEHIND_BUFFERS, OCCUPIED_LITTLE,
    ON_PROCESSOR, OWN_PROCESSORS, OWN_PROCESSORS_FREE, PACING_HIGH, PACING_LOW, PAUSED, PCIE_STALLED,
    QDISC_DROPPED, QDISC_OVERLIMITS, QUEUE_ADDED, QUEUE_RTT, RATE_PLAUSIBLE, RATE_REACHED, RING_MISSED,
    RTT_TELLING, RUN_SHORT, RWND_LITTLE, RWND_STOPS, SNDBUF_LITTLE, SNDBUF_STOPS, SOCKET_DROPPED_LITTLE,
    STOPPED, STOPPED_MOSTLY, THROTTLED, Threshold, WAITING, WAITING_BEHIND_BUFFERS, WAITING_LITTLE,
    WINDOW_FITS,
};

/// The rate that was asked for was reached. What became of datagrams stands beside it.
pub(super) fn rate_asked(facts: &Facts) -> Rule {
    let mut rule = Rule::new(Cause::RateAsked, End::None)
        .needs(facts.rate_reached_percent, &RATE_REACHED, End::None)
        .needs(facts.rate_reached_percent, &RATE_PLAUSIBLE, End::None)
        .shows(Figure::GoodputBitsPerSecond, facts.goodput_bits_per_second, End::None);
    rule.evidence.extend(facts.losses());
    rule
}

/// The amount of bytes was sent before there was anything to judge.
pub(super) fn amount_sent(facts: &Facts) -> Rule {
    let rule = Rule::new(Cause::AmountSent, End::None).needs(facts.seconds, &RUN_SHORT, End::None);
    if facts.evidence.asked_bytes.is_some() { rule } else { rule.leave_open() }
}

/// The wire of an end carries as much as it can.
pub(super) fn link(facts: &Facts, end: End) -> Rule {
    let used = facts.of(end).device.link_used_percent;
    Rule::new(Cause::Link, end).needs(used, &LINK_USED, end).needs(used, &LINK_PLAUSIBLE, end)
}

/// A quota stopped the threads of an end.
pub(super) fn cpu_quota(facts: &Facts, end: End) -> Rule {
    let threads = facts.of(end).threads;
    Rule::new(Cause::CpuQuota, end)
        .needs(threads.throttled_percent, &THROTTLED, end)
        .has(threads.throttled_percent.unwrap_or(0.0))
        .shows(Figure::OnProcessorPercent, threads.on_percent, end)
        .shows(Figure::QuotaProcessors, threads.quota_processors, end)
}

/// The threads of an end have all the processor time that they can use. Threads that poll always have.
pub(super) fn cpu(facts: &Facts, end: End) -> Rule {
    let threads = facts.of(end).threads;
    let ThreadFacts { on_percent, waiting_percent, own_processors_percent, .. } = threads;
    let rule = Rule::new(Cause::Cpu, end);
    let rule = if threads.poll { rule.leave_open() } else { rule };
    let rule = if own_processors_percent.is_some_and(|percent| OWN_PROCESSORS.is_met(percent)) {
        rule.needs(own_processors_percent, &OWN_PROCESSORS, end)
            .has(on_percent.unwrap_or(0.0) + waiting_percent.unwrap_or(0.0))
    } else if end == End::Receiver && is_held_up(facts) && threads.is_occupation_known() {
        rule.needs(threads.occupied_percent(), &OCCUPIED_BEHIND_BUFFERS, end)
            .needs(waiting_percent, &WAITING_LITTLE, end)
            .needs(facts.stopped_percent(), &STOPPED, End::Sender)
            .shows(Figure::RwndLimitedPercent, facts.tcp.rwnd_percent, End::Sender)
            .shows(Figure::SndbufLimitedPercent, facts.tcp.sndbuf_percent, End::Sender)
            .has(on_percent.unwrap_or(0.0))
    } else {
        rule.needs(on_percent, &ON_PROCESSOR, end).has(on_percent.unwrap_or(0.0))
    };
    alike_ends(facts, rule)
}

/// Where both ends are at work all the time and no buffer tells which one waits for the other, it is no
/// single end.
fn alike_ends(facts: &Facts, rule: Rule) -> Rule {
    let other = if rule.end == End::Sender { End::Receiver } else { End::Sender };
    let on_there = facts.of(other).threads.on_percent;
    let occupied = [rule.end, other].map(|end| facts.of(end).threads.occupied_percent());
    let apart = occupied[0].zip(occupied[1]).map(|(here, there)| (here - there).abs());
    let are_alike = on_there.is_some_and(|percent| ON_PROCESSOR.is_met(percent))
        && apart.is_some_and(|percent| ENDS_ALIKE.is_met(percent));
    if facts.is_udp() || is_held_up(facts) || !are_alike || !rule.matches() {
        return rule;
    }
    rule.needs(on_there, &ON_PROCESSOR, other).needs(apart, &ENDS_ALIKE, End::None).lies_at(End::None)
}

/// Other work has the processors that the threads of an end wait for. Where a quota cannot be read, it can be
/// the quota that they wait for, and threads that poll may wait for nothing but to poll.
pub(super) fn cpu_contended(facts: &Facts, end: End) -> Rule {
    let threads = facts.of(end).threads;
    let ThreadFacts { on_percent, waiting_percent, throttled_percent, own_processors_percent, .. } = threads;
    let waits_behind_buffers = end == End::Receiver
        && is_held_up(facts)
        && waiting_percent.is_some_and(|percent| WAITING_BEHIND_BUFFERS.is_met(percent));
    let rule = Rule::new(Cause::CpuContended, end);
    let rule = if throttled_percent.is_none() || threads.poll { rule.leave_open() } else { rule };
    let rule = if waits_behind_buffers {
        rule.needs(waiting_percent, &WAITING_BEHIND_BUFFERS, end).needs(
            facts.stopped_percent(),
            &STOPPED,
            End::Sender,
        )
    } else {
        rule.needs(waiting_percent, &WAITING, end).needs(threads.occupied_percent(), &OCCUPIED, end)
    };
    rule.needs_if_known(own_processors_percent, &OWN_PROCESSORS_FREE, end)
        .has(waiting_percent.unwrap_or(0.0))
        .shows(Figure::OnProcessorPercent, on_percent, end)
}

/// The receive window stops the sender, and not because its reader is slow.
pub(super) fn receive_buffer(facts: &Facts, budget: &Budget) -> Rule {
    let tcp = &facts.tcp;
    let rule = Rule::new(Cause::ReceiveBuffer, End::Receiver)
        .needs(tcp.rwnd_percent, &RWND_STOPS, End::Sender)
        .shows(Figure::BufferBytes, facts.receiver.buffer_bytes, End::Receiver)
        .shows(Figure::RttMs, tcp.rtt_ms, End::Path)
        .needs(facts.stopped_percent(), &STOPPED, End::Sender)
        .needs(over_other(tcp.rwnd_percent, tcp.sndbuf_percent), &STOPPED_MOSTLY, End::Sender)
        .needs_if_known(facts.receiver.threads.occupied_percent(), &OCCUPIED_LITTLE, End::Receiver);
    // The advertised window is the buffer as the sender sees it, so it is looked at first.
    let rule = match tcp.window_per_bdp {
        Some(_) => rule.needs(tcp.window_per_bdp, &WINDOW_FITS, End::Receiver),
        None => rule.needs(facts.receiver.buffer_per_bdp, buffer_fits(facts), End::Receiver),
    };
    buffer_proves_something(facts, rule, &facts.receiver).has(budget.receive_window.percent())
}

/// The send buffer stops the sender, and not because the other end is slow.
pub(super) fn send_buffer(facts: &Facts, budget: &Budget) -> Rule {
    let tcp = &facts.tcp;
    let rule = Rule::new(Cause::SendBuffer, End::Sender)
        .needs(tcp.sndbuf_percent, &SNDBUF_STOPS, End::Sender)
        .shows(Figure::BufferBytes, facts.sender.buffer_bytes, End::Sender)
        .shows(Figure::RttMs, tcp.rtt_ms, End::Path)
        .needs(facts.stopped_percent(), &STOPPED, End::Sender)
        .needs(over_other(tcp.sndbuf_percent, tcp.rwnd_percent), &STOPPED_MOSTLY, End::Sender)
        .needs(facts.sender.buffer_per_bdp, buffer_fits(facts), End::Sender)
        .needs_if_known(facts.receiver.threads.occupied_percent(), &OCCUPIED_LITTLE, End::Receiver);
    buffer_proves_something(facts, rule, &facts.sender).has(budget.send_buffer.percent())
}

/// How well a buffer has to fit what is on its way. Behind a slow reader it is too large for that, so it has
/// to fit better where nothing is known of the reader.
fn buffer_fits(facts: &Facts) -> &'static Threshold {
    match facts.receiver.threads.occupied_percent() {
        Some(_) => &BUFFER_FITS,
        None => &BUFFER_FITS_ALONE,
    }
}

/// A buffer is only too small for a path that takes time, unless the user has fixed it.
fn buffer_proves_something(facts: &Facts, rule: Rule, buffer: &EndFacts) -> Rule {
    let tcp = &facts.tcp;
    let rule = reader_sleeps_on_nothing_else(facts, rule);
    let rule =
        if buffer.buffer_is_fixed { rule } else { rule.needs(tcp.min_rtt_ms, &RTT_TELLING, End::Path) };
    if tcp.rtt_per_min().is_some() { has_no_queue(facts, rule) } else { rule }
}

/// A reader that sleeps waits for data. One that writes to a file can sleep on the disk instead, and be slow.
pub(super) fn reader_sleeps_on_nothing_else(facts: &Facts, rule: Rule) -> Rule {
    if facts.receiver.writes_file { rule.leave_open() } else { rule }
}

/// No queue stands in the path. Where one does, its slowest part has no more to give: larger buffers make the
/// queue longer, and what is lost is what the queue cannot hold.
fn has_no_queue(facts: &Facts, rule: Rule) -> Rule {
    let tcp = &facts.tcp;
    let either = [(tcp.rtt_per_min(), &NO_QUEUE), (tcp.rtt_added_ms(), &NO_QUEUE_ADDED)];
    rule.needs_one_of(&either, End::Path)
}

/// The causes of the path that match or do not, the most telling first: only the first that matches counts.
pub(super) fn path(facts: &Facts, budget: &Budget) -> Vec<Rule> {
    let mut rules = vec![nic_ring(facts), softirq(facts, End::Receiver), softirq(facts, End::Sender)];
    rules.extend([pause(facts), pcie(facts, End::Sender), pcie(facts, End::Receiver)]);
    rules.extend([qdisc(facts), path_loss(facts), path_queue(facts)]);
    rules.extend(facts.is_paced().then(|| pacing(facts)));
    rules.into_iter().map(|rule| is_on_its_way(facts, rule).has(budget.path.percent())).collect()
}

/// Data is on its way all the time, and neither a window nor a buffer stops it.
fn is_on_its_way(facts: &Facts, rule: Rule) -> Rule {
    rule.needs(facts.tcp.busy_percent, &BUSY, End::Sender)
        .needs(facts.tcp.rwnd_percent, &RWND_LITTLE, End::Sender)
        .needs(facts.tcp.sndbuf_percent, &SNDBUF_LITTLE, End::Sender)
}

fn nic_ring(facts: &Facts) -> Rule {
    let missed = facts.receiver.device.ring_missed_percent;
    Rule::new(Cause::NicRing, End::Receiver).needs(missed, &RING_MISSED, End::Receiver).shows(
        Figure::RetransmittedPercent,
        facts.tcp.retransmitted_percent,
        End::Path,
    )
}

/// That a soft interrupt had to stop with work left is no proof by itself, and only shown.
fn softirq(facts: &Facts, end: End) -> Rule {
    let device = &facts.of(end).device;
    Rule::new(Cause::Softirq, end)
        .needs_one_of(
            &[(device.interrupt_percent, &INTERRUPTS), (device.backlog_dropped_percent, &BACKLOG_DROPPED)],
            end,
        )
        .shows(Figure::SqueezedPerSecond, device.squeezed_per_second, end)
}

fn pause(facts: &Facts) -> Rule {
    let device = &facts.sender.device;
    Rule::new(Cause::Pause, End::Path).needs(device.paused_percent, &PAUSED, End::Sender).shows(
        Figure::PauseFramesCount,
        device.pause_frames,
        End::Sender,
    )
}

fn pcie(facts: &Facts, end: End) -> Rule {
    let stalled = facts.of(end).device.pcie_stalled_percent;
    Rule::new(Cause::Pcie, end).needs(stalled, &PCIE_STALLED, end)
}

/// The queueing discipline in front of the sender's device holds packets back, or drops them.
pub(super) fn qdisc(facts: &Facts) -> Rule {
    let EndFacts { qdisc_overlimits_per_second, qdisc_dropped_percent, .. } = facts.sender;
    Rule::new(Cause::Qdisc, End::Sender).needs_one_of(
        &[(qdisc_overlimits_per_second, &QDISC_OVERLIMITS), (qdisc_dropped_percent, &QDISC_DROPPED)],
        End::Sender,
    )
}

/// A congestion control that goes by the rate it has found does not slow down for some loss. What the
/// receiving end dropped at its socket has come through the path.
fn path_loss(facts: &Facts) -> Rule {
    let tcp = &facts.tcp;
    let over_triple = tcp.rtt_ms.zip(tcp.min_rtt_ms).map(|(rtt, min)| (rtt - 3.0 * min).max(0.0));
    let rule = Rule::new(Cause::PathLoss, End::Path)
        .needs(tcp.retransmitted_percent, &LOSS, End::Path)
        .needs(over_triple, &LOSS_RTT, End::Path)
        .shows(Figure::RttMs, tcp.rtt_ms, End::Path)
        .shows(Figure::MinRttMs, tcp.min_rtt_ms, End::Path);
    let is_drop_known =
        facts.evidence.receiver.as_ref().is_some_and(|end| end.socket_dropped_packets.is_some());
    let rule = has_no_queue(facts, rule).likely_at_most_if(!is_drop_known);
    let rule = if is_drop_known {
        rule.needs(tcp.socket_dropped_percent, &SOCKET_DROPPED_LITTLE, End::Receiver)
    } else {
        rule
    };
    if facts.is_paced() { rule.leave_open() } else { rule }
}

/// Threads that wait for processors let the round-trip time grow without any queue in the path.
fn path_queue(facts: &Facts) -> Rule {
    let tcp = &facts.tcp;
    Rule::new(Cause::PathQueue, End::Path)
        .needs(tcp.rtt_per_min(), &QUEUE_RTT, End::Path)
        .needs(tcp.rtt_added_ms(), &QUEUE_ADDED, End::Path)
        .needs_if_known(facts.sender.threads.waiting_percent, &WAITING_LITTLE, End::Sender)
        .needs_if_known(facts.receiver.threads.waiting_percent, &WAITING_LITTLE, End::Receiver)
        .shows(Figure::RttMs, tcp.rtt_ms, End::Path)
        .shows(Figure::MinRttMs, tcp.min_rtt_ms, End::Path)
}

/// The kernel computes a pacing rate under every congestion control; it says something only of one that goes
/// by it. bbr finds that rate from what was delivered, so that a full path looks the same.
fn pacing(facts: &Facts) -> Rule {
    let ratio = facts.tcp.pacing_per_delivery;
    Rule::new(Cause::Pacing, End::Sender)
        .needs(ratio, &PACING_LOW, End::Sender)
        .needs(ratio, &PACING_HIGH, End::Sender)
        .likely_at_most_if(true)
        .shows(Figure::RetransmittedPercent, facts.tcp.retransmitted_percent, End::Path)
}
