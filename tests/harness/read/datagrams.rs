//! What the document of a UDP test says about datagrams.

use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Checked, Document, Failure, ensure};

/// What the keys of the first and of the second direction end in; only bidirectional tests have a second.
const GROUPS: [&str; 2] = ["", "_bidir_reverse"];

/// What both ends of a direction counted, by iperf3's arithmetic and without the omitted part.
#[derive(Clone, Copy, Debug)]
pub struct Packets {
    /// Whether the end that wrote the document is the sender.
    pub sends: bool,
    /// The sender's count, and its bytes.
    pub sent: u64,
    pub sent_bytes: u64,
    /// The highest number that came, how many were missed below it, and the bytes that came.
    pub highest: u64,
    pub lost: u64,
    pub received_bytes: u64,
}

/// What became of the datagrams of one stream in the whole test, as ringperf alone tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    pub flow: String,
    pub sent: Option<u64>,
    pub received: Option<u64>,
    pub lost: Option<u64>,
    pub lost_in_network: Option<u64>,
    pub lost_in_socket: Option<u64>,
    pub duplicates: Option<u64>,
    pub reordered: Option<u64>,
    pub foreign: Option<u64>,
}

impl Account {
    /// Every datagram that was sent has come or is lost, and none is unaccounted for.
    pub fn adds_up(&self) -> Checked {
        let (Some(sent), Some(received), Some(lost)) = (self.sent, self.received, self.lost) else {
            return Err(Failure(format!("something is not known: {self:?}")));
        };
        ensure!(sent > 0 && sent == received + lost, "sent is not received and lost together: {self:?}");
        Ok(())
    }

    /// Every datagram has come, once and in order, unless the receiver had no room for it.
    pub fn is_complete(&self) -> Checked {
        self.adds_up()?;
        self.is_tidy()?;
        let excused = if receivers_have_room() { Some(0) } else { self.lost_in_socket };
        ensure!(self.lost == excused, "something was lost: {self:?}");
        Ok(())
    }

    /// The receiver saw each datagram at most once, in order, and no strangers; it knows where the rest is.
    pub fn is_tidy(&self) -> Checked {
        let strays = [self.duplicates, self.reordered, self.foreign];
        ensure!(strays == [Some(0); 3], "duplicates, reordered or foreign: {self:?}");
        let parts = self.lost_in_network.zip(self.lost_in_socket).map(|(network, socket)| network + socket);
        ensure!(parts.is_some() && parts == self.lost, "the parts of the loss do not add up: {self:?}");
        Ok(())
    }
}

impl Document {
    /// Each direction, client to server first in bidirectional tests.
    pub fn packets(&self) -> Checked<Vec<Packets>> {
        self.groups().map(|group| self.packets_of(group)).collect()
    }

    /// The accounts of all streams.
    pub fn accounts(&self) -> Checked<Vec<Account>> {
        let list = self.at("/ringperf/datagrams")?.clone();
        let accounts: Vec<Account> =
            serde_json::from_value(list).map_err(|error| Failure(format!("no accounts: {error}")))?;
        ensure!(!accounts.is_empty(), "no stream has an account");
        Ok(accounts)
    }

    /// The accounts say the same as iperf3's keys, for which a datagram above the highest number that came is
    /// not lost. Holds for tests without an omitted part, which is in the accounts only.
    pub fn accounts_agree(&self) -> Checked {
        let accounts = self.accounts()?;
        for packets in self.packets()? {
            let flow = if packets.sends { "send" } else { "receive" };
            let of_flow = || accounts.iter().filter(|account| account.flow == flow);
            let sent: u64 = of_flow().filter_map(|account| account.sent).sum();
            let lost: u64 = of_flow().filter_map(|account| account.lost).sum();
            let above = sent.checked_sub(packets.highest);
            let agree = sent == packets.sent && above.is_some_and(|above| lost == packets.lost + above);
            ensure!(agree, "{sent} sent and {lost} lost by the accounts, but {packets:?}");
        }
        Ok(())
    }

    /// The streams of a direction add up to its sum, in packets and in losses.
    pub fn streams_add_up(&self) -> Checked {
        for group in self.groups() {
            let sum = self.at(&format!("/end/sum{group}"))?;
            let streams = self.list("/end/streams")?.iter().map(|stream| &stream["udp"]);
            let streams: Vec<_> = streams.filter(|udp| udp["sender"] == sum["sender"]).collect();
            for key in ["packets", "lost_packets"] {
                let parts: u64 = streams.iter().map(|udp| integer(udp, key)).sum();
                ensure!(parts == integer(sum, key), "{key} of {streams:?} are not those of {sum}");
            }
        }
        Ok(())
    }

    /// The counted intervals of a direction add up to what this end has counted in total.
    pub fn datagrams_add_up(&self) -> Checked {
        for group in self.groups() {
            let of_group = self.packets_of(group)?;
            let (mut bytes, mut packets, mut lost) = (0, 0, 0);
            for interval in self.list("/intervals")? {
                let sum = &interval[format!("sum{group}")];
                let streams = interval["streams"].as_array().into_iter().flatten();
                let streams = streams.filter(|stream| stream["sender"] == sum["sender"]);
                let of_streams: u64 = streams.map(|stream| integer(stream, "packets")).sum();
                ensure!(of_streams == integer(sum, "packets"), "streams do not add up to {sum}");
                if sum["omitted"] == false {
                    bytes += integer(sum, "bytes");
                    packets += integer(sum, "packets");
                    lost += integer(sum, "lost_packets");
                }
            }
            let Packets { sends, sent, sent_bytes, highest, received_bytes, .. } = of_group;
            let total = if sends { (sent_bytes, sent, 0) } else { (received_bytes, highest, of_group.lost) };
            ensure!(
                (bytes, packets, lost) == total,
                "intervals: {bytes}, {packets}, {lost}; total: {total:?}"
            );
        }
        Ok(())
    }

    fn groups(&self) -> impl Iterator<Item = &'static str> {
        GROUPS.into_iter().filter(|group| self.0["end"].get(format!("sum{group}")).is_some())
    }

    fn packets_of(&self, group: &str) -> Checked<Packets> {
        let of = |sum: &str, key: &str| self.integer(&format!("/end/{sum}{group}/{key}"));
        Ok(Packets {
            sends: self.at(&format!("/intervals/0/sum{group}/sender"))? == &Value::Bool(true),
            sent: of("sum_sent", "packets")?,
            sent_bytes: of("sum_sent", "bytes")?,
            highest: of("sum_received", "packets")?,
            lost: of("sum_received", "lost_packets")?,
            received_bytes: of("sum_received", "bytes")?,
        })
    }
}

/// Whether the system gives ringperf's receivers the buffer that they ask for. A smaller one is full when a
/// busy machine leaves a receiver without a processor for some hundredths of a second.
pub fn receivers_have_room() -> bool {
    const WANTED_BYTES: usize = 4 * 1024 * 1024;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    if setsockopt(&socket, sockopt::RcvBufForce, &WANTED_BYTES).is_err() {
        // Takes as much as everybody may have.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &WANTED_BYTES);
    }
    getsockopt(&socket, sockopt::RcvBuf).is_ok_and(|bytes| bytes >= WANTED_BYTES)
}

/// A number that only some objects have.
fn integer(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or(0)
}
