//! A server's files and a stranger's tokens, for fuzzers.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use crate::auth::authenticator::Authenticator;
use crate::auth::key::{Padding, PublicKey};
use crate::auth::testing::keys::{PAIR, file};
use crate::auth::token::to_text;
use crate::auth::users::{PasswordCheck, Users, line};
use crate::config::Authentication;

static PUBLIC: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::read(&PAIR.public, Padding::Oaep).expect("it has just been written"));
static CONFIG: LazyLock<Authentication> = LazyLock::new(|| Authentication {
    private_key: PAIR.private.clone(),
    users: file("fuzzed-users", line("mario", "no fuzzer says blanks").as_bytes()),
    time_skew: Duration::from_secs(10),
    pkcs1_padding: false,
});

/// The server's reason to refuse `text` as a token, or the token that it is encrypted to if `sealed`; `None`
/// if it is accepted.
pub(crate) fn refusal(sealed: bool, text: &[u8]) -> Option<String> {
    let token = if sealed {
        let most = PUBLIC.max_plaintext_bytes().min(text.len());
        to_text(&PUBLIC.encrypt(&text[..most]).expect("it is short enough"))
    } else {
        String::from_utf8_lossy(text).into_owned()
    };
    let mut authenticator = Authenticator::load(&CONFIG, None).expect("its files have just been written");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_498_104);
    let admitted = authenticator.admit(Some(&token), Ipv4Addr::LOCALHOST.into(), now);
    admitted.err().map(|refusal| refusal.to_string())
}

/// Searches a file of users for one that is not there, and for one that is added behind its last line.
///
/// # Panics
/// If the first is found or the second is not.
pub(crate) fn look_up(text: &[u8]) {
    assert_eq!(Users::parse(text).check(b"no, such\nname", b"x"), PasswordCheck::Unknown);
    let with = [text, b"\n", line("mario", "rossi").as_bytes()].concat();
    assert_eq!(Users::parse(&with).check(b"mario", b"rossi"), PasswordCheck::Right);
}
