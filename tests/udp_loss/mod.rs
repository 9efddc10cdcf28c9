//! What became of the datagrams of a UDP test, against somebody who knows: a dropper on a cable between two
//! namespaces, a proxy that drops, repeats and delays, a receive buffer that is too small.
//!
//! [`Account`] is what ringperf says of every datagram, [`Keys`] what it says in iperf3's keys by iperf3's
//! arithmetic. Both are compared to the datagram.

mod dropped;
mod fragments;
mod full_socket;
mod mistreated;
mod narrow;
mod own_queue;
mod proxied;
mod zero_copy;

use std::ops::Range;

use crate::harness::{Checked, Document};

/// Bytes of a datagram; with its headers it fits the cable.
const BYTES: u64 = 1200;
/// What the cable carries in one piece.
const MTU: u32 = 1500;

/// What became of the datagrams of one stream: an entry of `ringperf.datagrams`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    sent: u64,
    received: u64,
    lost: u64,
    lost_in_network: u64,
    lost_in_socket: u64,
    duplicates: u64,
    reordered: u64,
    foreign: u64,
}

impl Account {
    /// What a client says of the stream that was opened at this place.
    fn of(document: &Document, stream: usize) -> Checked<Self> {
        let number = |key| document.integer(&format!("/ringperf/datagrams/{stream}/{key}"));
        Ok(Self {
            sent: number("sent")?,
            received: number("received")?,
            lost: number("lost")?,
            lost_in_network: number("lost_in_network")?,
            lost_in_socket: number("lost_in_socket")?,
            duplicates: number("duplicates")?,
            reordered: number("reordered")?,
            foreign: number("foreign")?,
        })
    }
}

/// What a receiver counts by iperf3's arithmetic, which looks only at the numbers in the order in which they
/// came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Keys {
    /// The highest number.
    packets: u64,
    lost: u64,
    out_of_order: u64,
}

impl Keys {
    /// What a receiver says of the streams at these places, which are those of one direction.
    fn of(receiver: &Document, direction: &str, streams: Range<usize>) -> Checked<Self> {
        let out_of_order =
            streams.map(|stream| receiver.integer(&format!("/end/streams/{stream}/udp/out_of_order")));
        Ok(Self {
            packets: receiver.integer(&format!("/end/sum_received{direction}/packets"))?,
            lost: receiver.integer(&format!("/end/sum_received{direction}/lost_packets"))?,
            out_of_order: out_of_order.sum::<Checked<u64>>()?,
        })
    }
}
