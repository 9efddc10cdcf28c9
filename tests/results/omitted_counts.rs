//! Counted tests with an omitted part: the sender sends what was asked for behind it and no byte more, the
//! receiver never counts more than that, and the test ends, whoever the peer is.

use std::time::Duration;

use crate::harness::{
    BLOCK_BYTES, Cells, Checked, Document, Failure, Program, Way, debian, ensure, libiperf, ours, run_pair,
};

/// A test of these amounts is over by then; the omitted part is a second of it.
const LIMIT: Duration = Duration::from_secs(8);
/// What is asked for, and how many bytes that is with blocks of [`BLOCK_BYTES`].
const AMOUNTS: [(&str, u64); 3] = [("-n 1M", 1 << 20), ("-k 160", 160 * BLOCK_BYTES), ("-n 100M", 100 << 20)];
const ENGINES: [&str; 6] = ["uring", "splice", "sendfile", "sync", "uring-zc", "msg-zc"];
/// Bytes of a datagram.
const DATAGRAM_BYTES: u64 = 1400;

/// One test between two ringperfs.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    parallel: u64,
    engine: &'static str,
    amount: (&'static str, u64),
    omit_secs: u64,
}

#[test]
fn behind_an_omitted_part_a_sender_is_exact() -> Checked {
    let mut cells = Cells::default();
    let mut number = 0;
    for way in Way::ALL {
        for parallel in [1, 4] {
            // Each engine and each amount comes with each way once.
            for _ in 0..2 {
                let (engine, amount) = (ENGINES[number % 6], AMOUNTS[number % 3]);
                Case { way, parallel, engine, amount, omit_secs: 1 }.add_to(&mut cells);
                number += 1;
            }
        }
        cells.add(format!("{way:?} over UDP"), move || over_udp(way));
    }
    cells.run()
}

#[test]
fn behind_an_omitted_part_a_counted_test_of_an_iperf3_server_ends() -> Checked {
    let mut cells = Cells::default();
    for server in [debian()?, libiperf()?] {
        for (way, amount) in [
            (Way::Forward, AMOUNTS[0]),
            (Way::Reverse, AMOUNTS[2]),
            (Way::Reverse, AMOUNTS[1]),
            (Way::Bidir, AMOUNTS[2]),
        ] {
            let server = server.clone();
            cells.add(format!("{} {way:?} {amount:?}", server.name), move || {
                with_iperf3(&server, way, amount)
            });
        }
    }
    cells.run()
}

#[test]
#[ignore = "takes minutes"]
fn soak_every_engine_counts_behind_every_omitted_part() -> Checked {
    let mut cells = Cells::default();
    for way in Way::ALL {
        for parallel in [1, 4] {
            for engine in ENGINES {
                for amount in AMOUNTS {
                    for omit_secs in [1, 2] {
                        Case { way, parallel, engine, amount, omit_secs }.add_to(&mut cells);
                    }
                }
            }
        }
    }
    cells.run()
}

impl Case {
    fn add_to(self, cells: &mut Cells) {
        cells.add(format!("{self:?}"), move || self.check());
    }

    fn check(&self) -> Checked {
        let Self { way, parallel, engine, amount: (amount, due), omit_secs } = *self;
        let engines = format!("--engine {engine} --peer-engine {engine}");
        let options = format!("{amount} -O {omit_secs} -P {parallel} {engines} {} -J", way.option());
        let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
        let check = || {
            let (client, server) = (pair.client.document()?, pair.server.document()?);
            client.adds_up()?;
            server.adds_up()?;
            ensure!(pair.client.elapsed < LIMIT, "it took {:?}", pair.client.elapsed);
            directions(&client, way)?.into_iter().try_for_each(|(sent, received)| {
                ensure!(sent == due, "{sent} bytes were sent instead of {due}");
                ensure!(received <= sent, "{received} bytes of {sent} were received");
                Ok(())
            })
        };
        check().map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
    }
}

/// What was sent and what was received in each direction.
fn directions(document: &Document, way: Way) -> Checked<Vec<(u64, u64)>> {
    let mut directions = vec![document.totals()?];
    if way == Way::Bidir {
        directions.push(document.totals_back()?);
    }
    Ok(directions.into_iter().map(|totals| (totals.sent, totals.received)).collect())
}

/// A server goes on until its client has enough, so it is the client's datagrams that are exact.
fn over_udp(way: Way) -> Checked {
    let due = (1_u64 << 20).div_ceil(DATAGRAM_BYTES) * DATAGRAM_BYTES;
    let options = format!("-u -b 100M -n 1M -l {DATAGRAM_BYTES} -O 1 {} -J", way.option());
    let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
    let check = || {
        let client = pair.client.document()?;
        client.datagrams_add_up()?;
        pair.server.document()?.datagrams_add_up()?;
        ensure!(pair.client.elapsed < LIMIT, "it took {:?}", pair.client.elapsed);
        let directions = directions(&client, way)?;
        let (sent, _) = directions[0];
        ensure!(way == Way::Reverse || sent == due, "{sent} bytes were sent instead of {due}");
        Ok(())
    };
    check().map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
}

fn with_iperf3(server: &Program, way: Way, (amount, due): (&str, u64)) -> Checked {
    let options = format!("{amount} -O 1 {} -J", way.option());
    let pair = run_pair((server, ""), (&ours(), &options))?;
    let check = || {
        let client = pair.client.document()?;
        client.adds_up()?;
        ensure!(pair.client.elapsed < LIMIT, "it took {:?}", pair.client.elapsed);
        let directions = directions(&client, way)?;
        let (sent, _) = directions[0];
        // What an iperf3 sender counts begins at its own end of the omitted part.
        ensure!(way == Way::Reverse || sent == due, "{sent} bytes were sent instead of {due}");
        for (sent, received) in directions {
            ensure!(received <= due && received <= sent, "{received} bytes of {sent} were received");
        }
        Ok(())
    };
    check().map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
}
