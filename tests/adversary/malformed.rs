//! Conversations that were good before they were spoilt, against both roles.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::peer::wire::Wire;
use crate::harness::{Checked, Failure, Finished, ensure, ours, shared, start_client, wait_until};

use super::catalogue::{Tormented, speaks_plainly};
use super::transcript::{Act, Ending, of_client, of_server, spoil};
use crate::harness::figures::{Figures, number_from};
use crate::harness::peer::random::Random;
use crate::harness::peer::served::is_served;
use crate::harness::peer::server::Listener;

/// Longest wait for what a good peer would say next: a server, which answers at once, and a client, which
/// runs its test meanwhile.
const ANSWER_OF_SERVER: Duration = Duration::from_millis(20);
const ANSWER_OF_CLIENT: Duration = Duration::from_millis(300);
/// Conversations at the same time, each against a victim of its own.
const LANES: u64 = 4;
/// A client ends so soon after its server is gone.
const CLIENT_END: Duration = Duration::from_secs(4);
/// More memory than a server needs for whatever it has not seen before.
const GROWTH_KIB: u64 = 4 * 1024;

/// What is asked of clients, and how many connections they make for it.
const CLIENTS: [(&str, usize, bool); 4] = [
    ("-t 0.1 -b 10M -V", 1, false),
    ("-t 0.1 -b 10M -P 3 --get-server-output -J", 3, false),
    ("-t 0.1 -R -J", 1, true),
    ("-t 0.1 --bidir -b 10M -d", 2, true),
];

#[test]
fn a_server_withstands_malformed_conversations() -> Checked {
    malformed_for_servers(200)
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_a_server_withstands_malformed_conversations() -> Checked {
    malformed_for_servers(number_from("SOAK_CONVERSATIONS", 10_000))
}

#[test]
fn a_client_withstands_malformed_conversations() -> Checked {
    malformed_for_clients(60)
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_a_client_withstands_malformed_conversations() -> Checked {
    malformed_for_clients(number_from("SOAK_CLIENTS", 2_000))
}

/// So many conversations in a few lanes, each with its own server. After each a good client is served.
fn malformed_for_servers(count: u64) -> Checked {
    let figures = Figures::new("malformed conversations with a server", count);
    in_lanes(count, |seeds| {
        let tormented = Tormented::start()?;
        for seed in seeds {
            let _permit = shared();
            let mut random = Random::seeded(seed);
            let acts = spoil(of_client(random.below(5)), &mut random);
            let port = tormented.server.port;
            converse(&acts, ANSWER_OF_SERVER, || Wire::connect(port));
            let served = is_served(port).map_err(|Failure(why)| {
                Failure(format!("{why} after seed {seed}: {acts:?}\n{}", tormented.server.process.so_far()))
            })?;
            figures.note(served);
        }
        let after = tormented.at_rest()?;
        let grown = after.memory_kib.saturating_sub(tormented.before.memory_kib);
        figures.note_memory(&tormented.before, &after);
        // The text of all its reports waits in a pipe, and not in the server.
        ensure!(grown <= GROWTH_KIB + count / 4, "{:?} became {after:?}", tormented.before);
        tormented.finish()
    })?;
    figures.print();
    Ok(())
}

fn malformed_for_clients(count: u64) -> Checked {
    let figures = Figures::new("malformed conversations with a client", count);
    in_lanes(count, |mut seeds| {
        seeds.try_for_each(|seed| {
            let _permit = shared();
            let took = malformed_for_client(seed)?;
            figures.note(took);
            Ok(())
        })
    })?;
    figures.print();
    Ok(())
}

/// A client with a spoilt server; how long it has outlived it.
fn malformed_for_client(seed: u64) -> Checked<Duration> {
    let mut random = Random::seeded(seed);
    let (options, streams, sends) = *random.pick(&CLIENTS);
    let acts = spoil(of_server(streams, sends), &mut random);
    let listener = Listener::open()?;
    let client = start_client(&ours(), listener.port, options)?;
    converse(&acts, ANSWER_OF_CLIENT, || accept_soon(&listener.tcp));
    drop(listener);
    let since = Instant::now();
    let check = |client: &Finished| -> Checked {
        ensure!(matches!(client.code, Some(0 | 1)), "an exit status of its own\n{client}");
        speaks_plainly(client)?;
        if options.contains("-J") {
            ensure!(client.stderr.is_empty(), "something on standard error\n{client}");
            return client.document().map(drop);
        }
        ensure!(client.code == Some(0) || client.stderr.lines().count() == 1, "not one line\n{client}");
        Ok(())
    };
    let client = client.finish(CLIENT_END);
    let result = client.and_then(|client| check(&client));
    result.map_err(|Failure(why)| Failure(format!("seed {seed}: {acts:?}\n{why}")))?;
    Ok(since.elapsed())
}

/// Acts it out. Whatever fails is skipped: the peer is not the one at fault.
fn converse(acts: &[Act], patience: Duration, open: impl Fn() -> Checked<Wire>) {
    let mut wires: BTreeMap<usize, Wire> = BTreeMap::new();
    for act in acts {
        if let Act::Open(number) = act {
            let Ok(wire) = open() else { return };
            if wire.0.set_read_timeout(Some(patience)).is_ok()
                && wire.0.set_write_timeout(Some(patience)).is_ok()
            {
                wires.insert(*number, wire);
            }
            continue;
        }
        let (Act::Say(number, _) | Act::Hear(number, _) | Act::HearFrame(number) | Act::End(number, _)) = act
        else {
            continue;
        };
        let Some(wire) = wires.get_mut(number) else { continue };
        match act {
            Act::Say(_, bytes) => wire.send_anyhow(bytes),
            Act::Hear(_, count) => drop(wire.take(*count)),
            Act::HearFrame(_) => drop(wire.read_frame()),
            Act::End(_, Ending::Half) => drop(wire.0.shutdown(Shutdown::Write)),
            Act::End(_, ending) => {
                if *ending == Ending::Reset {
                    drop(wire.reset_when_dropped());
                }
                wires.remove(number);
            }
            Act::Open(_) => {}
        }
    }
    // A peer that still sends would be reset otherwise; both endings are wanted.
    if let Some(control) = wires.get_mut(&0) {
        let _ = control.0.shutdown(Shutdown::Write);
        let _ = control.0.read(&mut [0; 64]);
    }
}

/// A client's next connection, if it comes soon.
fn accept_soon(listener: &TcpListener) -> Checked<Wire> {
    listener.set_nonblocking(true)?;
    let accepted = std::cell::RefCell::new(None);
    wait_until(ANSWER_OF_CLIENT, || {
        *accepted.borrow_mut() = listener.accept().ok();
        accepted.borrow().is_some()
    })?;
    let (stream, _) = accepted.into_inner().ok_or_else(|| Failure("nobody came".to_owned()))?;
    stream.set_nonblocking(false)?;
    Wire::new(stream)
}

/// Deals the seeds from 1 to `count` out to a few lanes.
fn in_lanes(count: u64, lane: impl Fn(Box<dyn Iterator<Item = u64>>) -> Checked + Sync) -> Checked {
    thread::scope(|scope| {
        let lane = &lane;
        let lanes = (0..LANES).map(|number| {
            let seeds = (1..=count).filter(move |seed| seed % LANES == number);
            scope.spawn(move || lane(Box::new(seeds)))
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })
}
