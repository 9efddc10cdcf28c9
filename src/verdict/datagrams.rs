//! The rules that only UDP tests have.
//!
//! A sender of datagrams waits for nobody. Where few are lost, what limits is what limits its sending; where
//! many are, it is the place at which they get lost.

use super::budget::Budget;
use super::cause::{Cause, End};
use super::facts::Facts;
use super::figures::Figure;
use super::rule::Rule;
use super::rules::{cpu, cpu_contended, cpu_quota, qdisc, reader_sleeps_on_nothing_else};
use super::thresholds::{
    DATAGRAMS_LOST, LOST_IN_BACKLOG, LOST_IN_HOSTS_LITTLE, LOST_IN_NETWORK, LOST_IN_QDISC, LOST_IN_RING,
    LOST_IN_SOCKET, LOST_LITTLE, OCCUPIED_LITTLE,
};

/// The causes of a loss, in the order in which they are asked: the first that matches is it. None of them
/// matches where few datagrams are lost.
pub(super) fn losses(facts: &Facts) -> Vec<Rule> {
    let lost = &facts.datagrams;
    let in_socket = lost.in_socket_percent;
    let socket = Rule::new(Cause::ReceiverSocket, End::Receiver).needs(
        facts.receiver.threads.occupied_percent(),
        &OCCUPIED_LITTLE,
        End::Receiver,
    );
    let socket = reader_sleeps_on_nothing_else(facts, socket);
    let behind_socket = [
        cpu_quota(facts, End::Receiver),
        cpu_contended(facts, End::Receiver),
        cpu(facts, End::Receiver),
        socket,
    ];
    let behind_socket = behind_socket.into_iter().map(|rule| {
        rule.needs(in_socket, &LOST_IN_SOCKET, End::Receiver).with_share(in_socket.unwrap_or(0.0))
    });
    let on_the_way = places_on_the_way(facts).into_iter().map(|rule| {
        rule.needs(lost.in_network_percent, &LOST_IN_NETWORK, End::Path)
            .with_share(lost.in_network_percent.unwrap_or(0.0))
    });
    behind_socket
        .chain(on_the_way)
        .map(|rule| rule.needs(lost.lost_percent, &DATAGRAMS_LOST, End::Path))
        .collect()
}

fn places_on_the_way(facts: &Facts) -> [Rule; 4] {
    let lost = &facts.datagrams;
    [
        Rule::new(Cause::Qdisc, End::Sender).needs(lost.in_qdisc_percent, &LOST_IN_QDISC, End::Sender),
        Rule::new(Cause::NicRing, End::Receiver).needs(lost.in_ring_percent, &LOST_IN_RING, End::Receiver),
        Rule::new(Cause::Softirq, End::Receiver)
            .needs(lost.in_backlog_percent, &LOST_IN_BACKLOG, End::Receiver)
            .shows(Figure::InterruptPercent, facts.receiver.device.interrupt_percent, End::Receiver),
        // What hosts have dropped was not lost between them; what is not known of them can be all of it.
        Rule::new(Cause::PathLoss, End::Path)
            .needs(lost.in_hosts_percent, &LOST_IN_HOSTS_LITTLE, End::None)
            .likely_at_most_if(lost.in_ring_percent.is_none() || lost.in_backlog_percent.is_none()),
    ]
}

/// What limits the sending, where few datagrams are lost.
pub(super) fn sending(facts: &Facts, budget: &Budget) -> Vec<Rule> {
    // What a sender sleeps that was asked for more is unknown in the budget; a qdisc that holds back explains
    // it.
    let asleep = budget.path.percent() + budget.unknown.percent();
    [
        cpu_quota(facts, End::Sender),
        cpu(facts, End::Sender),
        cpu_contended(facts, End::Sender),
        qdisc(facts).has(asleep),
    ]
    .into_iter()
    .map(|rule| rule.needs(facts.datagrams.lost_percent, &LOST_LITTLE, End::Path))
    .collect()
}
