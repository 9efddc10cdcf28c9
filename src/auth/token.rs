//! The token: a user, a password and a time as iperf3 writes them, encrypted, in base64.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::is_blank;

/// The content of a token: what a client claims.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The user's name.
    pub(super) user: Vec<u8>,
    /// The user's password.
    pub(super) password: Vec<u8>,
    /// When the token was made, in seconds since 1970 by the client's clock.
    pub(super) time: i64,
}

impl Claim {
    /// The plaintext of a token (iperf3's `auth_text_format`).
    pub(super) fn to_plaintext(&self) -> Vec<u8> {
        let time = self.time.to_string();
        [b"user: ", self.user.as_slice(), b"\npwd:  ", self.password.as_slice(), b"\nts:   ", time.as_bytes()]
            .concat()
    }

    /// The claim in a plaintext. As for iperf3, any blanks separate the words.
    pub(super) fn from_plaintext(text: &[u8]) -> Option<Self> {
        let mut words = text.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
        let mut after = |label: &[u8]| words.next().filter(|word| *word == label).and_then(|_| words.next());
        let user = after(b"user:")?.to_vec();
        let password = after(b"pwd:")?.to_vec();
        let time = std::str::from_utf8(after(b"ts:")?).ok()?.parse().ok()?;
        words.next().is_none().then_some(Self { user, password, time })
    }
}

impl fmt::Debug for Claim {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = String::from_utf8_lossy(&self.user);
        f.debug_struct("Claim").field("user", &user).field("time", &self.time).finish_non_exhaustive()
    }
}

/// Whether a claim can have this as its user or password.
pub(super) fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().any(|byte| is_blank(*byte))
}

/// The base64 text in which a ciphertext travels.
pub(super) fn to_text(ciphertext: &[u8]) -> String {
    STANDARD.encode(ciphertext)
}

/// The ciphertext in a token's base64 text; `None` if it is none.
pub(super) fn from_text(token: &str) -> Option<Vec<u8>> {
    STANDARD.decode(token).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(user: &str, password: &str, time: i64) -> Claim {
        Claim { user: user.into(), password: password.into(), time }
    }

    #[test]
    fn the_plaintext_of_iperf3() {
        let mario = claim("mario", "rossi", 1_795_498_104);
        let text = b"user: mario\npwd:  rossi\nts:   1795498104";
        assert_eq!(mario.to_plaintext(), text);
        assert_eq!(Claim::from_plaintext(text), Some(mario));
    }

    #[test]
    fn what_is_a_claim() {
        for (text, expected) in [
            ("user: m pwd: r ts: 1", Some(claim("m", "r", 1))),
            (" user:\u{b}m\r\npwd:\tr\u{c}ts:\n-1\n", Some(claim("m", "r", -1))),
            ("user: pwd: pwd: ts: ts: 1", Some(claim("pwd:", "ts:", 1))),
            ("", None),
            ("user: m\npwd:  \nts:   1", None),
            ("user: m\npwd:  r", None),
            ("user: m\npwd:  r\nts:   ", None),
            ("user: m\npwd:  r\nts:   x", None),
            ("user: m\npwd:  r\nts:   1 2", None),
            ("user: m\npwd:  r\nts:   1x", None),
            ("user: m\npwd:  r\nts:   9223372036854775808", None),
            ("user: m n\npwd:  r\nts:   1", None),
            ("pwd: r user: m ts: 1", None),
            ("user:m\npwd:r\nts:1", None),
        ] {
            assert_eq!(Claim::from_plaintext(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(Claim::from_plaintext(b"user: m\npwd:  r\nts:   \xff"), None);
    }

    #[test]
    fn only_plain_base64_is_a_token() {
        assert_eq!(from_text("AP8Q"), Some(vec![0, 255, 16]));
        assert_eq!(from_text("AA=="), Some(vec![0]));
        assert_eq!(from_text(""), Some(vec![]));
        for text in ["A", "AA", "AA=", "AB==", "A===", "AP8Q\n", " AP8Q", "AP-_", "AP8Q=", "é", "AP8Q\0"] {
            assert_eq!(from_text(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn claims_round_trip(user in "[^\\s\u{b}]{1,40}", password in "[^\\s\u{b}]{1,40}", time: i64) {
            let claim = claim(&user, &password, time);
            prop_assume!(is_word(&claim.user) && is_word(&claim.password));
            prop_assert_eq!(Claim::from_plaintext(&claim.to_plaintext()), Some(claim));
        }

        #[test]
        fn ciphertexts_round_trip(bytes: Vec<u8>) {
            prop_assert_eq!(from_text(&to_text(&bytes)), Some(bytes));
        }

        #[test]
        fn no_plaintext_is_too_odd(text: Vec<u8>) {
            let _ = Claim::from_plaintext(&text);
        }
    }
}
