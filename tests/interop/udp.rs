//! UDP between ringperf and real iperf3, in both roles: every direction, slow, fast and without a limit, and
//! each option that both know.
//!
//! How much arrives depends on who gets a processor when: an iperf3 with its small receive buffer loses
//! datagrams on a busy machine at any rate. So the tests are about counts that agree. Only ringperf's own
//! receivers, whose buffer holds what a slow sender sends in hundreds of milliseconds, must get everything.

use crate::harness::{
    Account, Cells, Checked, Failure, Packets, Pair, Program, Way, debian, ensure, libiperf, ours, pick,
    receivers_have_room, run_pair,
};

/// Rates at which a sender never waits for its receiver.
const FAST: [&str; 2] = ["-b 1G -l 1400", "-b 0"];

/// Options that each get a test of their own. A `{port}` becomes a free one.
const OPTIONS: [&str; 20] = [
    "-b 10M -l 64",
    "-b 10M -l 8192",
    "-b 10M -l 65507",
    "-b 10M --udp-counters-64bit",
    "-b 10M --udp-counters-64bit -R",
    "-b 10M -O 1",
    "-b 10M -O 1 -R",
    "-b 100M -l 1400 -n 5M",
    "-b 100M -l 1400 -k 1000",
    "-b 100M -l 1400 -k 1000 -R",
    "-b 10M -6",
    "-b 10M --dont-fragment -l 1400",
    "-b 100M/20 -l 1400",
    "-b 10M -w 512K",
    "-b 10M --repeating-payload",
    "-b 10M --fq-rate 50M",
    "-b 10M -Z",
    "-b 10M -4",
    "-b 10M --cport {port}",
    "-b 10M -B 127.0.0.1",
];

/// The same for an iperf3 that can cut and join datagrams as we do.
const GSRO: [&str; 3] =
    ["-b 100M -l 1400 --gsro", "-b 100M -l 1400 --gsro -R", "-b 100M -l 1400 --gsro --bidir -P 2"];

#[test]
fn our_client_with_iperf3_server() -> Checked {
    slow(&ours(), &debian()?)?;
    fast(&ours(), &debian()?)
}

#[test]
fn iperf3_client_with_our_server() -> Checked {
    slow(&debian()?, &ours())?;
    fast(&debian()?, &ours())
}

#[test]
fn our_client_with_libiperf_server() -> Checked {
    slow(&ours(), &libiperf()?)?;
    fast(&ours(), &libiperf()?)
}

#[test]
fn libiperf_client_with_our_server() -> Checked {
    slow(&libiperf()?, &ours())?;
    fast(&libiperf()?, &ours())
}

/// Tests at rates that every machine can keep up with: each direction, and each option on its own.
fn slow(client: &Program, server: &Program) -> Checked {
    let mut cells = Cells::default();
    let mut options: Vec<String> = directions().map(|direction| format!("-b 10M {direction}")).collect();
    options.extend(OPTIONS.map(str::to_owned));
    if client.has_gsro && server.has_gsro {
        options.extend(GSRO.map(str::to_owned));
    }
    for option in options {
        let cell = Cell { client: client.clone(), server: server.clone(), keeps_up: receivers_have_room() };
        cells.add(cell.name(&option), move || cell.run(&option.replace("{port}", &pick().to_string())));
    }
    cells.run()
}

/// Each direction at rates at which datagrams are lost.
fn fast(client: &Program, server: &Program) -> Checked {
    let mut cells = Cells::default();
    for rate in FAST {
        for direction in directions() {
            let cell = Cell { client: client.clone(), server: server.clone(), keeps_up: false };
            let option = format!("{rate} {direction}");
            cells.add(cell.name(&option), move || cell.run(&option));
        }
    }
    cells.run_heavy()
}

/// Every direction with one stream and with several.
fn directions() -> impl Iterator<Item = String> {
    Way::ALL.into_iter().flat_map(|way| [1, 4].map(|parallel| format!("-P {parallel} {}", way.option())))
}

/// One test between two programs.
struct Cell {
    client: Program,
    server: Program,
    /// Our receivers must get everything.
    keeps_up: bool,
}

impl Cell {
    fn name(&self, option: &str) -> String {
        format!("{} -> {}: -u {option}", self.client.name, self.server.name)
    }

    fn run(&self, option: &str) -> Checked {
        let end = if option.contains("-n ") || option.contains("-k ") { "" } else { "-t 1" };
        let pair = run_pair((&self.server, "-J"), (&self.client, &format!("-u -J {end} {option}")))?;
        self.check(option, &pair)
            .map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
    }

    fn check(&self, option: &str, pair: &Pair) -> Checked {
        let (client, server) = (pair.client.document()?, pair.server.document()?);
        let (directions, at_server) = (client.packets()?, server.packets()?);
        ensure!(directions.len() == if option.contains("--bidir") { 2 } else { 1 }, "{directions:?}");
        let omits = option.contains("-O ");
        for (direction, at_server) in directions.iter().zip(&at_server) {
            self.check_direction(direction, client.integer("/start/test_start/blksize")?, omits)?;
            if !omits {
                results_arrived(direction, at_server)?;
            }
        }
        client.streams_add_up()?;
        if self.client.name == ours().name {
            for (direction, at_server) in directions.iter().zip(&at_server) {
                ensure!(direction.sends != at_server.sends, "both ends send: {direction:?}");
                check_goal(option, direction)?;
            }
            client.datagrams_add_up()?;
            for account in client.accounts()? {
                account.adds_up()?;
                self.check_receiver(&account)?;
            }
            return if omits { Ok(()) } else { client.accounts_agree() };
        }
        server.datagrams_add_up()?;
        server.accounts()?.iter().try_for_each(|account| self.check_receiver(account))
    }

    /// What the client says of one direction.
    fn check_direction(&self, packets: &Packets, block: u64, omits: bool) -> Checked {
        let Packets { sends, sent, sent_bytes, highest, lost, received_bytes } = *packets;
        ensure!(sent > 0 && highest > 0, "nothing was sent, or nothing came: {packets:?}");
        ensure!(lost <= highest, "more was lost than was there: {packets:?}");
        // Each end begins to count at a moment of its own.
        if omits {
            return Ok(());
        }
        ensure!(highest <= sent, "numbers came that were not sent: {packets:?}");
        ensure!(received_bytes == (highest - lost) * block, "blocks of {block} bytes: {packets:?}");
        let sender = if sends { &self.client } else { &self.server };
        let receiver = if sends { &self.server } else { &self.client };
        if sender.name == ours().name {
            ensure!(sent_bytes == sent * block, "blocks of {block} bytes: {packets:?}");
        }
        if receiver.name == ours().name && self.keeps_up {
            ensure!((highest, lost) == (sent, 0), "our receiver lost something: {packets:?}");
        }
        Ok(())
    }

    /// What ringperf says of its own receiving streams.
    fn check_receiver(&self, account: &Account) -> Checked {
        if account.flow != "receive" {
            return Ok(());
        }
        account.is_tidy()?;
        ensure!(!self.keeps_up || account.lost == Some(0), "our receiver lost something: {account:?}");
        Ok(())
    }
}

/// What the client says of the server is what the server says of itself.
fn results_arrived(client: &Packets, server: &Packets) -> Checked {
    // A libiperf that is told to stop in the middle of a send may count that packet, but not its bytes.
    let half = |packets: &Packets| match server.sends {
        true => [packets.sent, 0, 0],
        false => [packets.highest, packets.lost, packets.received_bytes],
    };
    ensure!(half(client) == half(server), "the client says {client:?}, the server {server:?}");
    Ok(())
}

/// Our client sends exactly as many datagrams as were asked for. Receivers ask a sender that has no goal to
/// stop, so what that one sends is not exact.
fn check_goal(option: &str, packets: &Packets) -> Checked {
    const MIB: u64 = 1024 * 1024;
    let goal = match option {
        _ if option.contains("-n 5M") => (5 * MIB).div_ceil(1400),
        _ if option.contains("-k 1000") => 1000,
        _ => return Ok(()),
    };
    let Packets { sends, sent, .. } = *packets;
    ensure!(if sends { sent == goal } else { sent >= goal }, "{goal} were asked for: {packets:?}");
    Ok(())
}
