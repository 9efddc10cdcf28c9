//! What is measured: the rows of the table, with the figures that are to be reached.

use std::time::Duration;

use super::probe::Call;

/// Where client and server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One namespace, over IPv4 loopback.
    Loopback,
    /// The same over IPv6.
    LoopbackV6,
    /// One namespace, over IPv4 loopback with segments of up to 512 KiB (BIG TCP).
    BigTcp,
    /// The same over IPv6.
    BigTcpV6,
    /// Two namespaces with a veth cable of this MTU.
    Veth(u32),
    /// Two namespaces with this round-trip time between them.
    Distant(Duration),
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Ours to ours, each peer to itself.
    Own,
    /// Our client to each peer's server, beside that peer to itself.
    TheirServer,
    /// Each peer's client to our server, beside that peer to itself.
    TheirClient,
    /// So many clients of ours to one server, beside as many of each peer, each with a server of its own.
    Crowd(usize),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Rate received, ours to the peer's, at least so much; processor time per byte at most so much.
    Rate { ratio_min: f64, cost_max: f64 },
    /// As [`Self::Rate`] with a rate that was asked for: what was received is within 0.1 % of it.
    Paced { gbit_per_second: f64, cost_max: f64 },
    /// How many times sooner than that peer's our client exits, at least.
    Sooner { ratio_min: f64, than: &'static str },
    /// Resident memory of our client at its peak, in MiB, at most.
    Memory { mib_max: f64 },
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name in the table.
    pub name: &'static str,
    /// Options of the client, for everybody.
    pub options: &'static str,
    /// Options of a ringperf client instead, where they differ.
    pub ours: Option<&'static str>,
    pub place: Place,
    pub pairing: Pairing,
    pub goal: Goal,
    /// What the same work is with plain calls and nothing around them: how the senders send, and how many
    /// streams there are.
    pub probe: Option<(Call, usize)>,
    /// It belongs to the short run.
    pub quick: bool,
}

impl Work {
    /// Options of a ringperf client.
    pub fn our_options(&self) -> &'static str {
        self.ours.unwrap_or(self.options)
    }
}

const fn row(name: &'static str, options: &'static str, ratio_min: f64, cost_max: f64) -> Work {
    Work {
        name,
        options,
        ours: None,
        place: Place::Loopback,
        pairing: Pairing::Own,
        goal: Goal::Rate { ratio_min, cost_max },
        probe: None,
        quick: false,
    }
}

const fn quick(work: Work) -> Work {
    Work { quick: true, ..work }
}

const fn at(place: Place, work: Work) -> Work {
    Work { place, ..work }
}

const fn with(pairing: Pairing, work: Work) -> Work {
    Work { pairing, ..work }
}

const fn probed(call: Call, streams: usize, work: Work) -> Work {
    Work { probe: Some((call, streams)), ..work }
}

/// The options of ours are others.
const fn ours(options: &'static str, work: Work) -> Work {
    Work { ours: Some(options), ..work }
}

const fn memory(name: &'static str, options: &'static str, mib_max: f64) -> Work {
    Work { goal: Goal::Memory { mib_max }, ..row(name, options, 0.0, 0.0) }
}

use Call::{Sendfile, Splice, Write};
use Pairing::{Crowd, TheirClient, TheirServer};
use Place::{BigTcp, BigTcpV6, Distant, LoopbackV6, Veth};

/// All rows. The figures are floors for a machine with two cores.
pub const WORK: &[Work] = &[
    quick(probed(Write, 1, row("TCP", "", 1.25, 0.85))),
    quick(probed(Write, 1, row("TCP -R", "-R", 1.25, 0.85))),
    quick(probed(Write, 2, row("TCP --bidir", "--bidir", 1.05, 0.95))),
    quick(probed(Sendfile, 1, row("TCP -Z", "-Z", 1.1, 0.85))),
    quick(probed(Splice, 1, ours("--engine splice", row("TCP splice against -Z", "-Z", 1.35, 0.7)))),
    at(LoopbackV6, row("TCP -6", "-6", 1.25, 0.85)),
    at(BigTcp, row("TCP, BIG TCP", "", 1.25, 0.85)),
    at(BigTcpV6, row("TCP -6, BIG TCP", "-6", 1.5, 0.7)),
    row("TCP --skip-rx-copy", "--skip-rx-copy", 1.25, 0.8),
    quick(probed(Write, 2, row("TCP -P 2", "-P 2", 1.05, 0.95))),
    probed(Write, 8, row("TCP -P 8", "-P 8", 1.05, 0.95)),
    probed(Write, 16, row("TCP -P 8 --bidir", "-P 8 --bidir", 1.05, 0.95)),
    probed(Write, 128, row("TCP -P 128", "-P 128", 1.1, 0.9)),
    row("TCP -l 16K", "-l 16K", 1.0, 1.0),
    row("TCP -l 4K", "-l 4K", 1.0, 1.0),
    row("TCP -l 1K", "-l 1K", 1.4, 0.75),
    row("TCP -l 64", "-l 64", 1.4, 0.75),
    ours("--engine uring", row("TCP --engine uring", "", 1.0, 1.0)),
    ours("--engine sync --peer-engine sync", row("TCP --engine sync", "", 1.0, 1.0)),
    ours("--engine uring-zc", row("TCP --engine uring-zc", "", 0.0, 9.9)),
    ours("--engine msg-zc", row("TCP --engine msg-zc", "", 0.0, 9.9)),
    row("MPTCP", "-m", 1.0, 1.0),
    at(Veth(1500), quick(row("TCP, veth, MTU 1500", "", 1.15, 0.85))),
    at(Veth(9000), row("TCP, veth, MTU 9000", "", 1.1, 0.9)),
    // The window limits everybody there, so to be as fast is all that can be.
    at(Distant(Duration::from_millis(20)), row("TCP -w 4M over a path of 20 ms", "-w 4M", 0.97, 1.0)),
    with(Crowd(8), row("TCP, 8 clients at once", "", 1.0, 1.0)),
    quick(row("UDP -l 1460", "-u -b 0 -l 1460", 5.0, 0.25)),
    row("UDP -l 1460 -R", "-u -b 0 -l 1460 -R", 5.0, 0.25),
    row("UDP -l 1460 -P 4", "-u -b 0 -l 1460 -P 4", 2.0, 0.5),
    row("UDP -l 8192", "-u -b 0 -l 8192", 1.0, 1.0),
    quick(row("UDP -l 64", "-u -b 0 -l 64", 20.0, 0.1)),
    row("UDP -l 1460 --gsro", "-u -b 0 -l 1460 --gsro", 1.2, 0.85),
    Work {
        goal: Goal::Paced { gbit_per_second: 1.0, cost_max: 0.5 },
        ..row("UDP -b 1G -l 1460", "-u -b 1G -l 1460", 0.0, 0.0)
    },
    with(TheirServer, quick(row("TCP to a peer's server", "", 1.0, 1.0))),
    with(TheirServer, row("TCP -R from a peer's server", "-R", 1.0, 1.0)),
    with(TheirClient, row("TCP from a peer's client", "", 1.0, 1.0)),
    with(TheirClient, row("TCP -R to a peer's client", "-R", 1.0, 1.0)),
    with(TheirServer, row("UDP to a peer's server", "-u -b 0 -l 1460", 1.0, 1.0)),
    with(TheirClient, row("UDP from a peer's client", "-u -b 0 -l 1460", 1.0, 1.0)),
    Work {
        goal: Goal::Sooner { ratio_min: 50.0, than: "iperf3-rs" },
        ..quick(row("TCP -n 1K, start to exit", "-n 1K", 0.0, 0.0))
    },
    memory("TCP, memory of the client", "", 12.0),
    memory("TCP -P 128, memory of the client", "-P 128", 64.0),
    memory("UDP, memory of the client", "-u -b 0 -l 1460", 12.0),
];
