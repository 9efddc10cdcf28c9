//! Datagrams that are dropped on the way: every one of them is missed, and no other.

use std::sync::Arc;

use super::{Account, BYTES, Keys, MTU};
use crate::harness::{
    Cable, Cells, Checked, Document, Dropper, Failure, Finished, Hook, Passed, Rule, Way, ensure, ours,
};

/// Datagrams of a test, and of one with a loss so rare that it needs more.
const COUNT: u32 = 5000;
const MANY: u32 = 20_000;

/// One test over the cable.
#[derive(Clone, Copy, Debug)]
struct Case {
    engine: &'static str,
    way: Way,
    offload: bool,
    v6: bool,
    /// Where the dropper sits: where datagrams leave the sender's device or come to the receiver's.
    hook: Hook,
    /// Datagrams that were handed to the kernel at once pass the dropper in one piece.
    together: bool,
    rule: Rule,
    count: u32,
}

#[test]
fn every_dropped_datagram_is_missed_and_no_other() -> Checked {
    // Here senders may hand over many datagrams at once; they are cut apart before they come to the dropper.
    let cable = Arc::new(Cable::lay(MTU, true)?);
    let mut cells = Cells::default();
    for engine in ["uring", "sync"] {
        for way in [Way::Forward, Way::Reverse] {
            for offload in [true, false] {
                for (rule, count, v6) in [
                    (Rule::Every(2), COUNT, false),
                    (Rule::Every(3), COUNT, true),
                    (Rule::Every(20), COUNT, false),
                    (Rule::Every(1000), MANY, false),
                    (Rule::Number(1), COUNT, true),
                    (Rule::Number(COUNT), COUNT, false),
                ] {
                    let hook = Hook::Ingress;
                    let case = Case { engine, way, offload, v6, hook, together: false, rule, count };
                    add(&mut cells, &cable, case);
                }
            }
        }
    }
    cells.run()
}

#[test]
fn datagrams_that_are_dropped_together_are_missed_one_by_one() -> Checked {
    // Here they cross the cable together, and a super-packet is dropped in one piece.
    let cable = Arc::new(Cable::lay(MTU, false)?);
    let mut cells = Cells::default();
    for (engine, way, rule, v6) in [
        ("auto", Way::Forward, Rule::Every(100), false),
        ("auto", Way::Reverse, Rule::Every(30), true),
        ("uring", Way::Forward, Rule::Every(1000), false),
        ("uring", Way::Reverse, Rule::Number(1), false),
        ("sync", Way::Forward, Rule::Number(COUNT), true),
        ("sync", Way::Reverse, Rule::Every(50), false),
        ("uring-zc", Way::Forward, Rule::Every(50), false),
        ("uring-zc", Way::Reverse, Rule::Every(1000), true),
    ] {
        for hook in [Hook::Egress, Hook::Ingress] {
            let (offload, together, count) = (true, true, COUNT);
            add(&mut cells, &cable, Case { engine, way, offload, v6, hook, together, rule, count });
        }
    }
    cells.run()
}

#[test]
fn an_unlimited_sender_counts_what_has_left_whenever_it_is_stopped() -> Checked {
    let cable = Arc::new(Cable::lay(MTU, false)?);
    let mut cells = Cells::default();
    for engine in ["uring", "uring-zc", "sync"] {
        for way in [Way::Forward, Way::Reverse] {
            for no_offload in ["", "--no-offload"] {
                let cable = Arc::clone(&cable);
                let options =
                    format!("--engine {engine} --peer-engine {engine} {} {no_offload}", way.option());
                cells.add(options.clone(), move || counts_what_has_left(&cable, way, &options, no_offload));
            }
        }
    }
    cells.run()
}

fn counts_what_has_left(cable: &Cable, way: Way, options: &str, no_offload: &str) -> Checked {
    let server = cable.start_server(&ours(), &format!("-1 -J {no_offload}"))?;
    let sender = if way == Way::Reverse { &cable.server } else { &cable.client };
    let dropper = Dropper::attach(sender, Hook::Egress, server.port, Rule::Nothing)?;
    let client =
        cable.run_client(&ours(), server.port, &format!("-u -J -b 0 -l {BYTES} -t 0.3 {options}"))?;
    let server = server.finish()?;
    client.succeeded()?;
    server.succeeded()?;
    let (document, Passed { seen, .. }) = (client.document()?, dropper.passed()?);
    let account = Account::of(&document, 0)?;
    let Account { sent, received, lost, duplicates, reordered, foreign, .. } = account;
    ensure!(sent == seen && sent == received + lost, "{seen} have left: {account:?}\n{client}\n{server}");
    ensure!((duplicates, reordered, foreign) == (0, 0, 0), "{account:?}\n{client}\n{server}");
    for pointer in ["/ringperf/engines/0/zero_copy", "/ringperf/peer/engines/0/zero_copy"] {
        let held = document.at(pointer)?["outstanding"].as_u64().unwrap_or(0);
        ensure!(held == 0, "the kernel still holds {held} sends\n{client}");
    }
    Ok(())
}

fn add(cells: &mut Cells, cable: &Arc<Cable>, case: Case) {
    let cable = Arc::clone(cable);
    cells.add(format!("{case:?}"), move || case.check(&cable));
}

impl Case {
    fn check(self, cable: &Cable) -> Checked {
        let server = cable.start_server(&ours(), &format!("-1 -J {}", self.no_offload()))?;
        let (sender, receiver) = match self.way {
            Way::Reverse => (&cable.server, &cable.client),
            _ => (&cable.client, &cable.server),
        };
        let end = if matches!(self.hook, Hook::Egress) { sender } else { receiver };
        let dropper = Dropper::attach(end, self.hook, server.port, self.rule)?;
        let client = cable.run_client(&ours(), server.port, &self.options())?;
        let server = server.finish()?;
        let passed = dropper.passed()?;
        self.compare(passed, &client, &server)
            .map_err(|Failure(why)| Failure(format!("{why}\n{passed:?}\n{client}\n{server}")))
    }

    /// Slow enough that nothing but the dropper loses anything, and in bursts so that offload has something
    /// to put together.
    fn options(&self) -> String {
        let Self { engine, way, v6, count, .. } = self;
        let v6 = if *v6 { "-6" } else { "" };
        let (way, no_offload) = (way.option(), self.no_offload());
        format!(
            "-u -J -b 100M/20 -l {BYTES} -k {count} --engine {engine} --peer-engine {engine} {way} {v6} {no_offload}"
        )
    }

    fn no_offload(&self) -> &'static str {
        if self.offload { "" } else { "--no-offload" }
    }

    fn compare(self, passed: Passed, client: &Finished, server: &Finished) -> Checked {
        client.succeeded()?;
        server.succeeded()?;
        let (client, server) = (client.document()?, server.document()?);
        let Passed { seen, dropped } = passed;
        ensure!(0 < dropped && dropped < seen, "nothing was dropped, or everything");
        let received = seen - dropped;
        let expected =
            Account { sent: seen, received, lost: dropped, lost_in_network: dropped, ..Account::default() };
        let account = Account::of(&client, 0)?;
        ensure!(account == expected, "{account:?} instead of {expected:?}");

        let receiver = if self.way == Way::Reverse { &client } else { &server };
        let keys = Keys::of(receiver, "", 0..1)?;
        // What is missing behind the last one that came is no loss to iperf3.
        let highest = self.last_that_came(seen).unwrap_or(keys.packets);
        let expected = Keys { packets: highest, lost: highest - received, out_of_order: 0 };
        ensure!(keys == expected, "{keys:?} instead of {expected:?}");
        check_client_keys(&client, seen, expected)?;
        ensure!(
            self.way == Way::Reverse || seen == u64::from(self.count),
            "{seen} datagrams instead of {}",
            self.count
        );
        Ok(())
    }

    /// The highest number that was not dropped; `None` where datagrams are dropped together, and the rule
    /// alone does not say which.
    fn last_that_came(self, seen: u64) -> Option<u64> {
        let is_dropped = |number: u64| match self.rule {
            Rule::Nothing => false,
            Rule::Every(n) => number.is_multiple_of(u64::from(n)),
            Rule::Number(one) => number == u64::from(one),
        };
        if self.together { None } else { (1..=seen).rev().find(|&number| !is_dropped(number)) }
    }
}

/// Both halves in the client's document, whichever way the datagrams went.
fn check_client_keys(client: &Document, sent: u64, received: Keys) -> Checked {
    for (pointer, expected) in [
        ("/end/sum_sent/packets", sent),
        ("/end/sum_sent/lost_packets", 0),
        ("/end/sum_received/packets", received.packets),
        ("/end/sum_received/lost_packets", received.lost),
        ("/end/sum/lost_packets", received.lost),
        ("/end/streams/0/udp/lost_packets", received.lost),
    ] {
        let found = client.integer(pointer)?;
        ensure!(found == expected, "{pointer} is {found} instead of {expected}");
    }
    for sum in ["sum", "sum_received", "streams/0/udp"] {
        let number = |key| client.number(&format!("/end/{sum}/{key}"));
        let (lost, packets, percent) = (number("lost_packets")?, number("packets")?, number("lost_percent")?);
        let expected = 100.0 * lost / packets;
        let differs = (percent - expected).abs() > 1e-9;
        ensure!(!differs, "{sum}: {percent} % instead of {expected} %");
    }
    Ok(())
}
