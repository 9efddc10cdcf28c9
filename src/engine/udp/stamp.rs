//! Numbers and send times for datagrams that are about to leave.

use crate::engine::payload::payload;
use crate::engine::{StreamJob, UdpJob};
use crate::protocol::DatagramHeader;
use crate::sys::{Missing, Region, monotonic_now};

/// Stamps the datagrams of one stream, whose numbers begin with 1.
pub(in crate::engine) struct Stamper {
    counters_64bit: bool,
    datagram_bytes: usize,
    next: u64,
    seconds: u32,
    microseconds: u32,
}

impl Stamper {
    pub(in crate::engine) fn new(udp: UdpJob, datagram_bytes: usize) -> Self {
        Self { counters_64bit: udp.counters_64bit, datagram_bytes, next: 1, seconds: 0, microseconds: 0 }
    }

    /// Reads the clock for the datagrams to come. Those that leave together have the same time.
    pub(super) fn look_at_the_clock(&mut self) {
        let now = monotonic_now();
        // The header has 32 bits for them; receivers look at differences only.
        self.seconds = u32::try_from(now.as_secs() & u64::from(u32::MAX)).expect("masked to 32 bits");
        self.microseconds = now.subsec_micros();
    }

    /// Gives the datagrams that fill `slot` their headers.
    pub(in crate::engine) fn stamp(&mut self, slot: &mut [u8]) {
        for datagram in slot.chunks_exact_mut(self.datagram_bytes) {
            let header = DatagramHeader {
                seconds: self.seconds,
                microseconds: self.microseconds,
                sequence: self.next,
            };
            header.write(self.counters_64bit, datagram);
            self.next += 1;
        }
    }
}

/// Memory for slots, filled with payload; the headers come later.
///
/// # Errors
/// What is missing when there is no memory for it.
pub(super) fn slot_memory(job: &StreamJob, bytes: u32) -> Result<Region, Missing> {
    payload(job, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_numbered_from_one_over_all_slots() {
        for counters_64bit in [false, true] {
            let mut stamper = Stamper::new(UdpJob { counters_64bit, offload: true }, 20);
            stamper.look_at_the_clock();
            let mut sequences = Vec::new();
            for datagrams in [1, 3] {
                let mut slot = vec![7; datagrams * 20];
                stamper.stamp(&mut slot);
                for datagram in slot.chunks(20) {
                    let header = DatagramHeader::read(counters_64bit, datagram).unwrap();
                    assert!(header.microseconds < 1_000_000);
                    sequences.push(header.sequence);
                    let rest = &datagram[DatagramHeader::bytes(counters_64bit)..];
                    assert!(rest.iter().all(|&byte| byte == 7));
                }
            }
            assert_eq!(sequences, [1, 2, 3, 4]);
        }
    }
}
