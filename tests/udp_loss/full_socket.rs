//! Receive buffers that are too small: what is lost there is told from what is lost in the network.

use std::sync::Arc;

use super::{Account, BYTES, MTU};
use crate::harness::{
    Cable, Cells, Checked, Dropper, Failure, Finished, Hook, Passed, Rule, Way, alone, ensure, ours, run_pair,
};

/// The smallest receive buffer that a few datagrams fit into.
const WINDOW: &str = "16K";

#[test]
fn what_a_full_receive_buffer_drops_is_lost_in_the_socket() -> Checked {
    let mut cells = Cells::default();
    for engine in ["uring", "sync"] {
        for way in [Way::Forward, Way::Reverse] {
            for no_offload in ["", "--no-offload"] {
                let options =
                    format!("{} --engine {engine} --peer-engine {engine} {no_offload}", way.option());
                cells.add(options.clone(), move || {
                    let options = format!("-u -J -b 0 -l {BYTES} -t 0.5 -w {WINDOW} {options}");
                    let pair = run_pair((&ours(), &format!("-J {no_offload}")), (&ours(), &options))?;
                    let Account { sent, received, lost, lost_in_network, lost_in_socket, .. } =
                        Account::of(&pair.client.document()?, 0)?;
                    ensure!(0 < lost && lost < sent, "{lost} of {sent} lost\n{}", pair.client);
                    ensure!(sent == received + lost, "{sent} sent, {received} received\n{}", pair.client);
                    // On loopback there is no other place to lose a datagram.
                    ensure!(
                        (lost_in_network, lost_in_socket) == (0, lost),
                        "{lost_in_network} lost in the network, {lost_in_socket} in the socket\n{}",
                        pair.client
                    );
                    Ok(())
                });
            }
        }
    }
    cells.run()
}

/// With as many streams as this a receiving ring has four buffers, the fewest that there are, and its receive
/// ends again and again because all of them are full.
#[test]
fn the_smallest_rings_of_buffers_lose_nothing_but_what_the_socket_drops() -> Checked {
    let _permit = alone();
    for way in [Way::Forward, Way::Reverse] {
        for window in ["", "-w 16K"] {
            let options = format!("-u -J -b 0 -l {BYTES} -t 0.5 -P 64 {window} {}", way.option());
            let options = format!("{options} --engine uring --peer-engine uring");
            let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
            let document = pair.client.document()?;
            let (mut sent, mut received, mut dropped) = (0, 0, 0);
            for stream in 0..64 {
                let account = Account::of(&document, stream)?;
                ensure!(account.sent == account.received + account.lost_in_socket, "{stream}: {account:?}");
                ensure!(account.lost_in_network == 0, "{stream}: {account:?}");
                sent += account.sent;
                received += account.received;
                dropped += account.lost_in_socket;
            }
            println!(
                "G9: {way:?} {window}: {sent} sent, {received} received, {dropped} dropped by the sockets"
            );
            ensure!(sent > 1000, "only {sent} were sent");
        }
    }
    Ok(())
}

#[test]
fn losses_on_the_way_and_in_the_socket_are_told_apart() -> Checked {
    let cable = Arc::new(Cable::lay(MTU, true)?);
    let mut cells = Cells::default();
    for engine in ["uring", "sync"] {
        for way in [Way::Forward, Way::Reverse] {
            for rule in [Rule::Every(20), Rule::Every(3)] {
                for no_offload in ["", "--no-offload"] {
                    let cable = Arc::clone(&cable);
                    let options = format!("{} --engine {engine} --peer-engine {engine}", way.option());
                    cells.add(format!("{options} {rule:?} {no_offload}"), move || {
                        check_both(&cable, way, rule, &options, no_offload)
                    });
                }
            }
        }
    }
    cells.run()
}

/// Bursts that no such buffer takes in, over a cable on which some of their datagrams are dropped.
fn check_both(cable: &Cable, way: Way, rule: Rule, options: &str, no_offload: &str) -> Checked {
    let server = cable.start_server(&ours(), &format!("-1 -J {no_offload}"))?;
    let receiver = if way == Way::Reverse { &cable.client } else { &cable.server };
    let dropper = Dropper::attach(receiver, Hook::Ingress, server.port, rule)?;
    let options = format!("-u -J -b 100M/300 -l {BYTES} -t 0.5 -w {WINDOW} {options} {no_offload}");
    let client = cable.run_client(&ours(), server.port, &options)?;
    let server = server.finish()?;
    let passed = dropper.passed()?;
    are_told_apart(passed, &client, no_offload.is_empty())
        .map_err(|Failure(why)| Failure(format!("{why}\n{passed:?}\n{client}\n{server}")))
}

fn are_told_apart(passed: Passed, client: &Finished, offload: bool) -> Checked {
    client.succeeded()?;
    let account = Account::of(&client.document()?, 0)?;
    let Account { sent, received, lost, lost_in_network, lost_in_socket, .. } = account;
    ensure!(sent == passed.seen && sent == received + lost, "{account:?}");
    ensure!(lost_in_network + lost_in_socket == lost, "the parts do not add up: {account:?}");
    ensure!(lost > passed.dropped, "the socket has lost nothing: {account:?}");
    if offload {
        // The kernel counts messages, and what a dropped one held is not known. So more may be put down to
        // the socket than it has dropped.
        ensure!(lost_in_network <= passed.dropped, "too much is put down to the network: {account:?}");
    } else {
        ensure!(lost_in_network == passed.dropped, "not what was dropped in the network: {account:?}");
    }
    Ok(())
}
