//! Datagrams that are lost, doubled and late, through a proxy that knows which, against a model of sets.

use std::collections::HashSet;
use std::ops::Range;

use super::{Account, Keys};
use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Mischief, Passage, Proxy, ProxyPlan, Server, Traffic, Way,
    ensure, libiperf, ours, run_client,
};

/// Datagrams of each direction, at least.
const COUNT: u64 = 1500;

const UNHARMED: Mischief =
    Mischief { seed: 0, lost_words: 0, drop_percent: 0, duplicate_percent: 0, reorder_percent: 0, span: 1 };

/// What is done to the datagrams, by name.
const MISCHIEF: [(&str, Mischief); 5] = [
    ("dropped", Mischief { drop_percent: 7, ..UNHARMED }),
    ("doubled", Mischief { duplicate_percent: 9, span: 30, ..UNHARMED }),
    ("late", Mischief { reorder_percent: 15, span: 50, ..UNHARMED }),
    ("all", Mischief { drop_percent: 10, duplicate_percent: 10, reorder_percent: 20, span: 8, ..UNHARMED }),
    (
        "very late",
        Mischief { drop_percent: 1, duplicate_percent: 2, reorder_percent: 2, span: 500, ..UNHARMED },
    ),
];

#[test]
fn the_account_is_that_of_a_set() -> Checked {
    let mut cells = Cells::default();
    for (name, mischief) in MISCHIEF {
        for way in Way::ALL {
            for (seed, options) in [
                (1, ""),
                (2, "--udp-counters-64bit"),
                (3, "-P 2 --engine sync --peer-engine sync"),
                (4, "--udp-counters-64bit --engine sync --peer-engine sync --no-offload"),
            ] {
                let mischief = Mischief { seed, ..mischief };
                cells.add(format!("{name} {way:?} {options}"), move || check(mischief, way, options));
            }
        }
    }
    cells.run()
}

fn check(mischief: Mischief, way: Way, options: &str) -> Checked {
    let server = Server::start(&ours(), "-1 -J")?;
    let other_way = Mischief { seed: mischief.seed + 100, ..mischief };
    let counters_64bit = options.contains("64bit");
    let plan = ProxyPlan { from_client: mischief, from_server: other_way, counters_64bit };
    let proxy = Proxy::start(server.port, plan)?;
    let options = format!("-u -J -b 10M/5 -l 500 -k {COUNT} {} {options}", way.option());
    let client = run_client(&ours(), proxy.port, &options)?;
    let server = server.finish()?;
    let traffic = proxy.finish()?;
    compare(&traffic, mischief, way, &client, &server)
        .map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
}

fn compare(
    traffic: &[Traffic],
    mischief: Mischief,
    way: Way,
    client: &Finished,
    server: &Finished,
) -> Checked {
    client.succeeded()?;
    server.succeeded()?;
    let (client, server) = (client.document()?, server.document()?);
    let streams = traffic.len();
    ensure!(streams == client.list("/end/streams")?.len(), "{streams} streams passed");
    // In a bidirectional test the first half of the streams goes to the server.
    let there = match way {
        Way::Forward => streams,
        Way::Bidir => streams / 2,
        Way::Reverse => 0,
    };
    for passed in traffic {
        for passage in [&passed.from_client, &passed.from_server] {
            ensure!(passage.sent.is_empty() || is_as_planned(passage, mischief), "the plan did not show");
        }
    }
    if there > 0 {
        compare_direction(0..there, &client, &Keys::of(&server, "", 0..there)?, |stream| {
            (&traffic[stream].from_client, &traffic[stream].from_server)
        })?;
    }
    if there < streams {
        let group = if there > 0 { "_bidir_reverse" } else { "" };
        compare_direction(there..streams, &client, &Keys::of(&client, group, there..streams)?, |stream| {
            (&traffic[stream].from_server, &traffic[stream].from_client)
        })?;
    }
    Ok(())
}

/// Datagrams of one direction were dropped, doubled and late if that was the plan, and only then.
fn is_as_planned(passage: &Passage, mischief: Mischief) -> bool {
    let Account { lost, duplicates, reordered, .. } = Model::of(&passage.delivered).account(passage);
    (lost > 0, duplicates > 0, reordered > 0)
        == (mischief.drop_percent > 0, mischief.duplicate_percent > 0, mischief.reorder_percent > 0)
}

/// The streams of one direction: what the client says of each, and what the receiver says of all by iperf3's
/// arithmetic.
fn compare_direction<'a>(
    streams: Range<usize>,
    client: &Document,
    keys: &Keys,
    passages: impl Fn(usize) -> (&'a Passage, &'a Passage),
) -> Checked {
    let mut expected_keys = Keys::default();
    for stream in streams {
        let (passage, against) = passages(stream);
        ensure!(against.sent.is_empty(), "stream {stream} went both ways");
        let model = Model::of(&passage.delivered);
        let (account, expected) = (Account::of(client, stream)?, model.account(passage));
        ensure!(account == expected, "stream {stream}: {account:?} instead of {expected:?}");
        expected_keys.packets += model.keys.packets;
        expected_keys.lost += model.keys.lost;
        expected_keys.out_of_order += model.keys.out_of_order;
    }
    ensure!(*keys == expected_keys, "{keys:?} instead of {expected_keys:?}");
    Ok(())
}

/// iperf3 as the receiver says only what its arithmetic knows, of the datagrams that it has read when it
/// hears that the test is over.
#[test]
fn what_is_lost_on_the_way_to_an_iperf3_follows_from_its_arithmetic() -> Checked {
    let mut cells = Cells::default();
    for (name, mischief) in MISCHIEF {
        for options in ["", "--udp-counters-64bit"] {
            let mischief = Mischief { seed: 5, ..mischief };
            cells.add(format!("{name} {options}"), move || check_against_iperf3(mischief, options));
        }
    }
    cells.run()
}

fn check_against_iperf3(mischief: Mischief, options: &str) -> Checked {
    /// Datagrams of the test: few and small, so that a default receive buffer holds them all, and an iperf3
    /// that gets no processor for a while loses none by itself.
    const FEW: usize = 250;
    let server = Server::start(&libiperf()?, "-1")?;
    let counters_64bit = options.contains("64bit");
    let plan = ProxyPlan { from_client: mischief, counters_64bit, ..ProxyPlan::default() };
    let proxy = Proxy::start(server.port, plan)?;
    let options = format!("-u -J -b 300K -l 100 -k {FEW} {options}");
    let client = run_client(&ours(), proxy.port, &options)?;
    let server = server.finish()?;
    let traffic = proxy.finish()?;
    client.succeeded()?;
    let document = client.document()?;
    let number = |key| document.integer(&format!("/ringperf/datagrams/0/{key}"));
    let (sent, received, lost) = (number("sent")?, number("received")?, number("lost")?);
    let Passage { sent: passed, delivered } = &traffic[0].from_client;
    ensure!(passed.len() == FEW && sent == count(FEW), "{sent} sent, {} passed\n{client}", passed.len());
    let told =
        (document.integer("/end/sum_received/packets")?, document.integer("/end/sum_received/lost_packets")?);
    // It may not have read all of them when it hears of the end.
    let read = (delivered.len() / 2..=delivered.len()).rev().find(|&read| {
        let Keys { packets, lost, .. } = Model::of(&delivered[..read]).keys;
        told == (packets, lost)
    });
    ensure!(read.is_some(), "{told:?} is not what the arithmetic makes of {delivered:?}\n{client}\n{server}");
    ensure!(
        (received, lost) == (told.0 - told.1, sent - (told.0 - told.1)),
        "{received} received and {lost} lost do not follow from {told:?}\n{client}"
    );
    Ok(())
}

/// What a sequence of numbers says by itself.
#[derive(Debug, Default)]
struct Model {
    came: HashSet<u64>,
    duplicates: u64,
    reordered: u64,
    keys: Keys,
}

impl Model {
    fn of(delivered: &[u64]) -> Self {
        let mut model = Self::default();
        for &number in delivered {
            let Keys { packets, lost, out_of_order } = &mut model.keys;
            let is_new = model.came.insert(number);
            if number > *packets {
                *lost += number - *packets - 1;
                *packets = number;
            } else {
                // iperf3 takes every such datagram for one that it had missed.
                *lost = lost.saturating_sub(1);
                *out_of_order += 1;
                model.reordered += u64::from(is_new);
                model.duplicates += u64::from(!is_new);
            }
        }
        model
    }

    fn account(&self, passage: &Passage) -> Account {
        let (sent, received) = (count(passage.sent.len()), count(self.came.len()));
        let lost = sent - received;
        Account {
            sent,
            received,
            lost,
            lost_in_network: lost,
            lost_in_socket: 0,
            duplicates: self.duplicates,
            reordered: self.reordered,
            foreign: 0,
        }
    }
}

fn count(items: usize) -> u64 {
    u64::try_from(items).expect("a usize fits a u64")
}
