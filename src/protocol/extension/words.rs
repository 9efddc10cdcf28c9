//! The connects of UDP streams: an iperf3's four bytes, and what two ringperfs put behind them.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::protocol::{Cookie, UDP_CONNECT, UDP_REPLY, is_udp_connect, is_udp_reply};

/// What a client sends to open a stream: a connect.
///
/// | Bytes | Field | |
/// |---|---|---|
/// | 4 | [`UDP_CONNECT`] | all that an iperf3 says, and all that is said to one |
/// | 37 | the cookie of the test | from extension 2 on |
/// | 8 | the server's [`UdpChallenge`], zeros before there is one | the same |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpConnect {
    /// The four bytes, in any spelling.
    Bare,
    /// With the test that the stream belongs to.
    Named {
        /// The test's.
        cookie: Cookie,
        /// What the server wants to have repeated.
        echo: UdpChallenge,
    },
}

impl UdpConnect {
    /// Bytes of a [`Self::Named`].
    pub const NAMED_BYTES: usize = UDP_CONNECT.len() + Cookie::LEN + UdpChallenge::LEN;

    /// The first connect of a stream; with a `cookie` if the server understands that.
    #[must_use]
    pub fn first(cookie: Option<Cookie>) -> Self {
        cookie.map_or(Self::Bare, |cookie| Self::Named { cookie, echo: UdpChallenge::default() })
    }

    /// The datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bare => UDP_CONNECT.to_vec(),
            Self::Named { cookie, echo } => [&UDP_CONNECT[..], cookie.as_bytes(), &echo.0].concat(),
        }
    }

    /// What a datagram says; `None` if it is no connect.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        if is_udp_connect(datagram) {
            return Some(Self::Bare);
        }
        let rest = datagram.strip_prefix(&UDP_CONNECT)?;
        let (cookie, echo) = rest.split_first_chunk()?;
        Some(Self::Named { cookie: Cookie::from_wire(*cookie), echo: UdpChallenge(echo.try_into().ok()?) })
    }

    /// Whether it belongs to the test whose connects have this cookie, or none. How long that takes tells
    /// nothing of the cookie.
    #[must_use]
    pub fn is_of(&self, test: Option<&Cookie>) -> bool {
        match (self, test) {
            (Self::Bare, None) => true,
            (Self::Named { cookie, .. }, Some(test)) => is_same(cookie.as_bytes(), test.as_bytes()),
            _ => false,
        }
    }
}

/// What a server says to an address other than that of the control connection, and wants to have repeated
/// from there: who cannot do that does not hear what is sent there, and may have made the address up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpChallenge([u8; UdpChallenge::LEN]);

impl UdpChallenge {
    const LEN: usize = 8;
    /// Bytes of its datagram: fewer than any datagram of a test has, and than the connect that it answers.
    pub const BYTES: usize = UDP_REPLY.len() + Self::LEN;

    /// One that nobody can guess, of random bytes.
    #[must_use]
    pub fn from_random(random: [u8; Self::LEN]) -> Self {
        Self(random)
    }

    /// The datagram: the answer of an iperf3, and the challenge behind it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&UDP_REPLY[..], &self.0].concat()
    }

    /// What a datagram says; `None` if it is no challenge.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        Some(Self(datagram.strip_prefix(&UDP_REPLY)?.try_into().ok()?))
    }

    /// Whether `echo` repeats it. How long that takes tells nothing of it.
    #[must_use]
    pub fn is_met_by(&self, echo: &Self) -> bool {
        is_same(&self.0, &echo.0)
    }
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

/// Whether a datagram of so many bytes, which begins like this, is of a handshake, be it said once more or
/// late: a ringperf is not surprised by it.
///
/// Where datagrams of a test are as long as a connect with a cookie, the cookie's characters stand where they
/// have the microseconds of a time, and are far more than a second has.
#[must_use]
pub fn is_udp_handshake(beginning: &[u8], bytes: usize) -> bool {
    const BARE_BYTES: usize = UDP_CONNECT.len();
    match bytes {
        BARE_BYTES => is_udp_connect(beginning) || is_udp_reply(beginning),
        UdpChallenge::BYTES => beginning.starts_with(&UDP_REPLY),
        UdpConnect::NAMED_BYTES => {
            let cookie = beginning.strip_prefix(&UDP_CONNECT).and_then(|rest| rest.first_chunk::<4>());
            cookie.is_some_and(|characters| characters.iter().all(u8::is_ascii_alphanumeric))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::DatagramHeader;

    #[test]
    fn a_word_is_of_one_test_only() {
        let [cookie, other] = [7, 8].map(|random| Cookie::from_random([random; 36]));
        let bare = UdpConnect::first(None);
        let named = UdpConnect::first(Some(cookie));
        assert_eq!(bare.encode(), UDP_CONNECT);
        assert_eq!(named.encode().len(), UdpConnect::NAMED_BYTES);
        assert!(bare.is_of(None) && !bare.is_of(Some(&cookie)));
        assert!(named.is_of(Some(&cookie)) && !named.is_of(Some(&other)) && !named.is_of(None));
        // Not only up to the first NUL, as for an iperf3's connections.
        let nul = |rest| {
            let mut bytes = [rest; Cookie::LEN];
            bytes[0] = 0;
            Cookie::from_wire(bytes)
        };
        assert!(!UdpConnect::first(Some(nul(1))).is_of(Some(&nul(2))));
        let encoded = named.encode();
        for wrong in
            [&encoded[1..], &encoded[..encoded.len() - 1], &[&encoded[..], b"x"].concat(), b"", b"98765"]
        {
            assert_eq!(UdpConnect::decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn words_are_no_datagrams_of_a_test() {
        let word = UdpConnect::first(Some(Cookie::from_random([9; 36]))).encode();
        let challenge = UdpChallenge([0xff; 8]).encode();
        for word in [&UDP_CONNECT[..], &UDP_REPLY, &challenge, &word] {
            assert!(is_udp_handshake(word, word.len()));
            // Of longer ones no more than a header may be known.
            assert!(is_udp_handshake(&word[..word.len().min(12)], word.len()));
            assert!(!is_udp_handshake(word, word.len() + 1));
        }
        let [bytes, word_seconds] = [UdpConnect::NAMED_BYTES, 0x3938_3736];
        let mut datagram = vec![0; bytes];
        for (seconds, microseconds) in [(0, 0), (u32::try_from(word_seconds).unwrap(), 999_999)] {
            DatagramHeader { seconds, microseconds, sequence: 1 }.write(true, &mut datagram);
            assert!(!is_udp_handshake(&datagram, bytes));
        }
        assert!(!is_udp_handshake(b"", bytes) && !is_udp_handshake(b"98", bytes));
    }

    proptest! {
        #[test]
        fn words_and_challenges_round_trip(
            cookie in prop::array::uniform32(any::<u8>()),
            random: [u8; 8],
            other: [u8; 8],
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut characters = [b'c'; Cookie::LEN];
            characters[..32].copy_from_slice(&cookie);
            let (cookie, echo) = (Cookie::from_wire(characters), UdpChallenge::from_random(random));
            let word = UdpConnect::Named { cookie, echo };
            prop_assert_eq!(UdpConnect::decode(&word.encode()), Some(word));
            prop_assert_eq!(UdpChallenge::decode(&echo.encode()), Some(echo));
            prop_assert_eq!(echo.encode().len(), UdpChallenge::BYTES);
            prop_assert_eq!(echo.is_met_by(&UdpChallenge::from_random(other)), random == other);
            if let Some(word) = UdpConnect::decode(&bytes) {
                prop_assert!(word == UdpConnect::Bare || word.encode() == bytes);
            }
        }
    }
}
