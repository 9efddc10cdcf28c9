//! What takes part in a row.

use std::time::Duration;

use super::Outcome;
use super::measure::{Pair, Run};
use super::network::Network;
use super::oracle::Setting;
use super::probe::Probe;
use super::tool::Tool;
use super::work::{Goal, Pairing, Work};

/// Somebody who does the work of a row.
#[derive(Clone, Debug)]
pub enum Contender<'a> {
    Pair(Pair<'a>),
    Probe(Probe),
}

impl Contender<'_> {
    /// Ports that it takes, one after the other.
    pub fn ports(&self) -> u16 {
        match self {
            Self::Pair(pair) => u16::try_from(pair.clients).unwrap_or(1),
            Self::Probe(_) => 0,
        }
    }

    pub fn run(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Run> {
        match self {
            Self::Pair(pair) => pair.run(network, port, seconds),
            Self::Probe(probe) => probe.run(network, Duration::from_secs_f64(seconds)),
        }
    }
}

/// A row before it is measured: ours, and each peer that can do the work.
pub struct Plan<'a> {
    pub work: &'a Work,
    /// One for all peers, or one for each where a peer is at the other end.
    pub ours: Vec<Pair<'a>>,
    pub theirs: Vec<Pair<'a>>,
}

impl<'a> Plan<'a> {
    pub fn new(work: &'a Work, ours: &'a Tool, peers: &'a [Tool]) -> Self {
        let alone = matches!(work.goal, Goal::Memory { .. });
        let able = peers.iter().filter(|peer| !alone && peer.can(work.options));
        let clients = if let Pairing::Crowd(clients) = work.pairing { clients } else { 1 };
        let pair = |client, server, options: &str| Pair {
            client,
            server,
            options: options.to_owned(),
            server_options: String::new(),
            clients,
            one_server: false,
        };
        let theirs: Vec<_> = able.map(|peer| pair(peer, peer, work.options)).collect();
        let own = pair(ours, ours, work.our_options());
        let ours = match work.pairing {
            Pairing::Own => vec![own],
            Pairing::Crowd(clients) => {
                let server_options = format!("--max-tests {clients}");
                vec![Pair { server_options, one_server: true, ..own }]
            }
            Pairing::TheirServer => {
                theirs.iter().map(|pair| Pair { server: pair.server, ..own.clone() }).collect()
            }
            Pairing::TheirClient => theirs.iter().map(|pair| Pair { server: ours, ..pair.clone() }).collect(),
        };
        Self { work, ours, theirs }
    }

    /// Ours with everything fixed.
    pub fn fixed(&self, setting: &Setting) -> Pair<'a> {
        let own = self.ours[0].clone();
        let options = format!("{} {}", own.options, setting.client);
        Pair { options, server_options: setting.server.clone(), ..own }
    }

    pub fn pairs(&self) -> impl Iterator<Item = &Pair<'a>> {
        self.ours.iter().chain(&self.theirs)
    }
}
