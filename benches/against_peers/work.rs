//! What is measured: the rows of the table, with the figures that are to be reached.

/// Where client and server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One namespace, over IPv4 loopback.
    Loopback,
    /// One namespace, over IPv6 loopback with segments of up to 512 KiB (BIG TCP).
    BigTcp,
    /// Two namespaces with a veth cable of this MTU.
    Veth(u32),
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
    /// It belongs to the short run.
    pub quick: bool,
}

const fn row(name: &'static str, options: &'static str, ratio_min: f64, cost_max: f64) -> Work {
    Work {
        name,
        options,
        ours: None,
        place: Place::Loopback,
        pairing: Pairing::Own,
        goal: Goal::Rate { ratio_min, cost_max },
        quick: false,
    }
}

const fn quick(work: Work) -> Work {
    Work { quick: true, ..work }
}

const fn at(place: Place, work: Work) -> Work {
    Work { place, ..work }
}

const fn memory(name: &'static str, options: &'static str, mib_max: f64) -> Work {
    Work { goal: Goal::Memory { mib_max }, ..row(name, options, 0.0, 0.0) }
}

/// All rows. The figures are floors for a machine with two cores.
pub const WORK: [Work; 29] = [
    quick(row("TCP", "", 1.6, 0.65)),
    quick(row("TCP -R", "-R", 1.6, 0.65)),
    row("TCP --bidir", "--bidir", 1.5, 0.7),
    quick(row("TCP -Z", "-Z", 1.2, 0.85)),
    quick(Work { ours: Some("--engine splice"), ..row("TCP splice against -Z", "-Z", 1.5, 0.7) }),
    at(Place::BigTcp, row("TCP -6, BIG TCP", "-6", 2.5, 0.45)),
    row("TCP --skip-rx-copy", "--skip-rx-copy", 1.25, 0.8),
    quick(row("TCP -P 2", "-P 2", 1.15, 0.9)),
    row("TCP -P 8", "-P 8", 1.15, 0.9),
    row("TCP -P 128", "-P 128", 1.15, 0.9),
    row("TCP -l 1K", "-l 1K", 1.4, 0.75),
    row("TCP -l 64", "-l 64", 1.4, 0.75),
    at(Place::Veth(1500), quick(row("TCP, veth, MTU 1500", "", 1.2, 0.85))),
    at(Place::Veth(9000), row("TCP, veth, MTU 9000", "", 1.2, 0.85)),
    quick(row("UDP -l 1460", "-u -b 0 -l 1460", 5.0, 0.25)),
    row("UDP -l 1460 -R", "-u -b 0 -l 1460 -R", 5.0, 0.25),
    quick(row("UDP -l 64", "-u -b 0 -l 64", 20.0, 0.1)),
    row("UDP -l 1460 --gsro", "-u -b 0 -l 1460 --gsro", 1.2, 0.85),
    Work {
        goal: Goal::Paced { gbit_per_second: 1.0, cost_max: 0.5 },
        ..row("UDP -b 1G -l 1460", "-u -b 1G -l 1460", 0.0, 0.0)
    },
    Work { pairing: Pairing::TheirServer, ..quick(row("TCP to a peer's server", "", 1.0, 1.0)) },
    Work { pairing: Pairing::TheirServer, ..row("TCP -R from a peer's server", "-R", 1.0, 1.0) },
    Work { pairing: Pairing::TheirClient, ..row("TCP from a peer's client", "", 1.0, 1.0) },
    Work { pairing: Pairing::TheirClient, ..row("TCP -R to a peer's client", "-R", 1.0, 1.0) },
    Work { pairing: Pairing::TheirServer, ..row("UDP to a peer's server", "-u -b 0 -l 1460", 1.0, 1.0) },
    Work { pairing: Pairing::TheirClient, ..row("UDP from a peer's client", "-u -b 0 -l 1460", 1.0, 1.0) },
    Work {
        goal: Goal::Sooner { ratio_min: 50.0, than: "iperf3-rs" },
        ..quick(row("TCP -n 1K, start to exit", "-n 1K", 0.0, 0.0))
    },
    memory("TCP, memory of the client", "", 12.0),
    memory("TCP -P 128, memory of the client", "-P 128", 64.0),
    memory("UDP, memory of the client", "-u -b 0 -l 1460", 12.0),
];
