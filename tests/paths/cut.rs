//! A cable that is pulled out, and a middlebox that forgets the control connection: neither end is told, and
//! both find out.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use super::{LIMIT, says_what_it_knows, served_after, show, tells_what_it_knows};
use crate::harness::{Cable, Cells, Checked, Failure, Namespace, Process, ensure, ours, shared, wait_until};

/// An end is done with a peer that has vanished by then ...
const NOTICED: Duration = Duration::from_secs(15);
/// ... and a server whose client was to end the test by itself.
const OVERDUE: Duration = Duration::from_secs(22);
/// What the kernel calls the timer of keepalive in its tables of connections.
const KEEPALIVE_TIMER: &str = "02";
/// Units in which it shows how long a timer has left, in a second.
const TICKS: u64 = 100;

/// What is done to the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    CutAtServer,
    CutAtClient,
    ControlSwallowed,
}

#[test]
fn a_cable_that_is_pulled_out_is_noticed_at_both_ends() -> Checked {
    let cells = [
        ("-t 5", Fate::CutAtServer),
        ("-t 5 -R -J", Fate::CutAtClient),
        ("-t 5 -u -R", Fate::CutAtClient),
        // These come to their end while the kernel still hopes for an answer to its probes.
        ("-t 10", Fate::CutAtServer),
        ("-t 8 -u -R -J", Fate::CutAtClient),
        ("-t 0 -J", Fate::CutAtClient),
        ("-t 0 -R", Fate::CutAtServer),
        ("-t 0 -u -R", Fate::CutAtServer),
        ("-n 20G", Fate::CutAtServer),
        ("-n 20G -R", Fate::CutAtClient),
        ("-n 1G -u -R -J", Fate::CutAtClient),
    ];
    all("D3", &cells)
}

#[test]
fn a_control_connection_that_is_swallowed_is_noticed_at_both_ends() -> Checked {
    let cells = ["-t 5", "-t 5 -R -J", "-t 10", "-t 0 --bidir", "-t 0 -u -R -J", "-n 20G"];
    all("D7", &cells.map(|options| (options, Fate::ControlSwallowed)))
}

/// All cells side by side, each with a cable of its own.
fn all(name: &'static str, fates: &[(&'static str, Fate)]) -> Checked {
    let _permit = shared();
    let mut cells = Cells::default();
    for &(options, fate) in fates {
        cells.add(options, move || vanishes(name, options, fate));
    }
    cells.run_at_once()
}

/// Both ends of a running test lose each other.
fn vanishes(name: &str, options: &str, fate: Fate) -> Checked {
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "")?;
    let command = ours().command(&format!("-c {} -p {} -b 10M {options}", cable.server.v4, server.port));
    let client = cable.client.within(|| Process::spawn(command))?;
    server.process.wait_for_stdout(" sec ", 1, LIMIT)?;
    match fate {
        Fate::CutAtServer => cable.server.unplug()?,
        Fate::CutAtClient => cable.client.unplug()?,
        Fate::ControlSwallowed => swallow_control(&cable, server.port)?,
    }
    let since = Instant::now();
    let limit = if options.contains("-t 0") || options.contains("-n") { NOTICED } else { OVERDUE };
    let free = cable.server.within(|| served_after(since, limit, server.port));
    let free = free.map_err(|Failure(why)| Failure(format!("{why}\n{}", server.process.so_far())))?;
    let client = client.finish(LIMIT)?;
    let left = client.ended.saturating_duration_since(since);
    show(&format!(
        "{name}: {options}: the server is free after {free:.1?}, the client has left after {left:.1?}"
    ));
    client.ended_within(since, NOTICED)?;
    tells_what_it_knows(&client)?;
    says_what_it_knows(&server)
}

/// Loses all packets of the control connection, after a look at its keepalive at both ends.
fn swallow_control(cable: &Cable, port: u16) -> Checked {
    let at_client = probed(&cable.client, |connection| connection.remote == port)?;
    let at_server = probed(&cable.server, |connection| connection.local == port)?;
    ensure!(at_client.local == at_server.remote, "{at_client:?} is not {at_server:?}");
    cable.client.swallow(at_client.local, port)?;
    cable.server.swallow(port, at_client.local)
}

/// A row of the kernel's tables of connections.
#[derive(Clone, Copy, Debug)]
struct Connection {
    local: u16,
    remote: u16,
    /// Until its next probe, if it has nothing else to wait for.
    probe: Option<Duration>,
}

/// The only connection of these that is probed, which is the control connection, and soon.
fn probed(namespace: &Namespace, is_one: impl Fn(&Connection) -> bool + Sync) -> Checked<Connection> {
    namespace.within(|| {
        let now = || -> Vec<Connection> {
            let all = connections().into_iter().filter(|connection| is_one(connection));
            all.filter(|connection| connection.probe.is_some()).collect()
        };
        // For as long as it waits for an acknowledgement it has another timer.
        let seen = Cell::new(None);
        let is_seen = || {
            let all = now();
            seen.set(all.first().copied().filter(|_| all.len() == 1));
            seen.get().is_some()
        };
        wait_until(LIMIT, is_seen)
            .map_err(|_| Failure(format!("not one connection is probed: {:?}", now())))?;
        let connection = seen.get().expect("it was seen");
        let soon = connection.probe.is_some_and(|left| left <= Duration::from_secs(5));
        ensure!(soon, "it is not probed within five seconds: {connection:?}");
        Ok(connection)
    })
}

/// The TCP connections of the network namespace of this thread.
fn connections() -> Vec<Connection> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(connection)).collect()
}

/// One row: number, local address:port in hexadecimal, remote one, state, queues, timer:when, ...
fn connection(row: &str) -> Option<Connection> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    let (timer, left) = fields.get(5)?.split_once(':')?;
    let left = u64::from_str_radix(left, 16).ok()?;
    let probe = (timer == KEEPALIVE_TIMER).then(|| Duration::from_millis(left * 1000 / TICKS));
    Some(Connection { local: port(fields.get(1)?)?, remote: port(fields.get(2)?)?, probe })
}
