//! What UDP carries between any two ends: the words of iperf3's handshake, and the header of each datagram.
//! What two ringperfs put behind these words is in `extension/words.rs`.

/// What a client sends to connect a stream (`UDP_CONNECT_MSG`, since 3.17 in this order on any machine).
pub const UDP_CONNECT: [u8; 4] = *b"9876";
/// What a server answers (`UDP_CONNECT_REPLY`).
pub const UDP_REPLY: [u8; 4] = *b"6789";

/// Every spelling of the connect: of 3.12 to 3.16 on big-endian machines, and of 3.11 and older, which
/// sent 123456789 in the order of the machine.
const CONNECTS: [[u8; 4]; 4] =
    [UDP_CONNECT, *b"6789", 123_456_789_u32.to_le_bytes(), 123_456_789_u32.to_be_bytes()];
/// Every spelling of the answer: of 3.12 to 3.16 on big-endian machines, and of 3.11 and older, which sent
/// 987654321 in the order of the machine.
const REPLIES: [[u8; 4]; 4] =
    [UDP_REPLY, *b"9876", 987_654_321_u32.to_le_bytes(), 987_654_321_u32.to_be_bytes()];

/// Whether a datagram is what a client connects a stream with, of whatever version and machine. An iperf3
/// server does not look; but what is longer is a late datagram of an earlier test.
#[must_use]
pub fn is_udp_connect(datagram: &[u8]) -> bool {
    CONNECTS.iter().any(|connect| datagram == connect)
}

/// Whether a datagram is a server's answer to [`UDP_CONNECT`], of whatever version and machine.
#[must_use]
pub fn is_udp_reply(datagram: &[u8]) -> bool {
    REPLIES.iter().any(|reply| datagram == reply)
}

/// What each datagram of a test begins with; all numbers in network byte order.
///
/// | Offset | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | seconds of the sender's clock, of which only differences mean anything |
/// | 4 | 4 | microseconds |
/// | 8 | 4, or 8 with 64-bit counters | sequence number, from 1 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramHeader {
    /// When it was sent: seconds, the lower 32 bits.
    pub seconds: u32,
    /// When it was sent: microseconds.
    pub microseconds: u32,
    /// Its number; the lower 32 bits with 32-bit counters.
    pub sequence: u64,
}

impl DatagramHeader {
    /// Bytes of a header.
    #[must_use]
    pub const fn bytes(counters_64bit: bool) -> usize {
        if counters_64bit { 16 } else { 12 }
    }

    /// Puts the header in front of a datagram.
    ///
    /// # Panics
    /// If the datagram is shorter than [`Self::bytes`].
    pub fn write(&self, counters_64bit: bool, datagram: &mut [u8]) {
        datagram[..4].copy_from_slice(&self.seconds.to_be_bytes());
        datagram[4..8].copy_from_slice(&self.microseconds.to_be_bytes());
        let sequence = self.sequence.to_be_bytes();
        if counters_64bit {
            datagram[8..16].copy_from_slice(&sequence);
        } else {
            datagram[8..12].copy_from_slice(&sequence[4..]);
        }
    }

    /// Reads the header of a datagram; `None` if it is too short for one.
    #[must_use]
    pub fn read(counters_64bit: bool, datagram: &[u8]) -> Option<Self> {
        let word = |offset: usize| {
            let bytes = datagram.get(offset..offset + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        let (seconds, microseconds) = (word(0)?, word(4)?);
        let sequence = if counters_64bit {
            u64::from(word(8)?) << 32 | u64::from(word(12)?)
        } else {
            u64::from(word(8)?)
        };
        Some(Self { seconds, microseconds, sequence })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn captured_headers_are_read() {
        let narrow = [0, 0, 1, 0xdd, 0, 5, 0x4a, 0xf0, 0, 0, 0, 1, 99];
        let header = DatagramHeader { seconds: 0x1dd, microseconds: 0x5_4af0, sequence: 1 };
        assert_eq!(DatagramHeader::read(false, &narrow), Some(header));
        assert_eq!(DatagramHeader::read(true, &narrow), None);
        let wide = [0, 0, 1, 0xe2, 0, 0x0c, 0xf0, 0xc4, 0, 0, 0, 0, 0, 0, 0, 1];
        let header = DatagramHeader { seconds: 0x1e2, microseconds: 0xc_f0c4, sequence: 1 };
        assert_eq!(DatagramHeader::read(true, &wide), Some(header));
        assert_eq!(DatagramHeader::read(false, &wide[..11]), None);
    }

    #[test]
    fn all_spellings_of_both_words_are_known() {
        for connect in [*b"9876", *b"6789", [0x15, 0xcd, 0x5b, 0x07], [0x07, 0x5b, 0xcd, 0x15]] {
            assert!(is_udp_connect(&connect));
        }
        assert!(!is_udp_connect(b"987") && !is_udp_connect(b"98765") && !is_udp_connect(&[0; 4]));
        for reply in [*b"6789", *b"9876", [0xb1, 0x68, 0xde, 0x3a], [0x3a, 0xde, 0x68, 0xb1]] {
            assert!(is_udp_reply(&reply));
        }
        assert!(!is_udp_reply(b"678") && !is_udp_reply(b"67890") && !is_udp_reply(b"6788"));
    }

    proptest! {
        #[test]
        fn headers_round_trip(seconds: u32, microseconds: u32, sequence: u64, wide: bool) {
            let sequence = if wide { sequence } else { sequence & 0xffff_ffff };
            let header = DatagramHeader { seconds, microseconds, sequence };
            let mut datagram = [0; 20];
            header.write(wide, &mut datagram);
            prop_assert_eq!(DatagramHeader::read(wide, &datagram), Some(header));
            prop_assert!(datagram[DatagramHeader::bytes(wide)..].iter().all(|&byte| byte == 0));
        }
    }
}
