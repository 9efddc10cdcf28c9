//! The cookie: what ties the connections of one test together.

/// Thirty-six characters and a NUL, the first bytes on the control connection and on each TCP stream.
///
/// A peer may send any bytes; nothing is refused for its alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie([u8; Cookie::LEN]);

impl Cookie {
    /// Bytes on the wire, the NUL included (iperf3's `COOKIE_SIZE`).
    pub const LEN: usize = 37;

    /// A cookie of iperf3's own alphabet from 36 random bytes, five bits of each.
    #[must_use]
    pub fn from_random(random: [u8; Self::LEN - 1]) -> Self {
        const ALPHABET: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = [0; Self::LEN];
        for (byte, random) in bytes.iter_mut().zip(random) {
            *byte = ALPHABET[usize::from(random % 32)];
        }
        Self(bytes)
    }

    /// What a peer sent.
    #[must_use]
    pub fn from_wire(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether both name the same test: compared as iperf3 does, up to the first NUL.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.characters() == other.characters()
    }

    /// The 36 characters for reports; what is no printable ASCII becomes a question mark.
    #[must_use]
    pub fn printable(&self) -> String {
        let show = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
        self.0[..Self::LEN - 1].iter().map(show).collect()
    }

    /// The bytes before the first NUL.
    fn characters(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_captured_cookie_is_shown_as_it_is() {
        let wire = *b"wxop4qzzoueffgsgb7qdzxc35x5um2llqa3k\0";
        let cookie = Cookie::from_wire(wire);
        assert_eq!(cookie.printable(), "wxop4qzzoueffgsgb7qdzxc35x5um2llqa3k");
        assert_eq!(cookie.as_bytes(), &wire);
    }

    #[test]
    fn comparison_stops_at_the_first_nul() {
        let with = |text: &[u8]| {
            let mut bytes = [0xff; Cookie::LEN];
            bytes[..text.len()].copy_from_slice(text);
            Cookie::from_wire(bytes)
        };
        assert!(with(b"abc\0one").matches(&with(b"abc\0other")));
        assert!(!with(b"abc\0").matches(&with(b"abd\0")));
        assert!(!with(b"abc\0").matches(&with(b"abcd\0")));
        assert!(with(b"").matches(&with(b"")), "37 bytes without a NUL are a cookie, too");
        assert!(!with(b"").matches(&with(b"\0")));
    }

    #[test]
    fn unprintable_bytes_are_replaced() {
        let mut bytes = [b'a'; Cookie::LEN];
        bytes[..5].copy_from_slice(b"\x1b[ \0\xff");
        assert_eq!(Cookie::from_wire(bytes).printable(), format!("?[???{}", "a".repeat(31)));
    }

    proptest! {
        #[test]
        fn random_cookies_use_the_alphabet(random in prop::array::uniform32(any::<u8>())) {
            let mut bytes = [7; 36];
            bytes[..32].copy_from_slice(&random);
            let cookie = Cookie::from_random(bytes);
            prop_assert_eq!(cookie.as_bytes()[36], 0);
            let allowed = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
            prop_assert!(cookie.printable().chars().all(allowed));
            prop_assert!(cookie.matches(&Cookie::from_wire(*cookie.as_bytes())));
        }

        #[test]
        fn any_bytes_print_as_36_characters(bytes in prop::collection::vec(any::<u8>(), 37)) {
            let cookie = Cookie::from_wire(bytes.try_into().unwrap());
            prop_assert_eq!(cookie.printable().chars().count(), 36);
            prop_assert!(cookie.matches(&cookie));
        }
    }
}
