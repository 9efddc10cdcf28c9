//! A server's side: whether a token entitles its client to a test.
//!
//! Nothing that a stranger can measure tells how far a guess has come. Each token costs one decryption, one
//! reading of the file, one search through all users and one look at the tokens seen before, and the session
//! answers all refusals alike, at one time. That is also what keeps PKCS#1 v1.5, where a server may have to
//! take it, from telling an attacker whether a padding is right. Who has failed often is refused without any
//! of this, so nothing of the last token can show. Only a number larger than the key's modulus,
//! which everybody with the public key can recognise, is refused by the library without being decrypted.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::failed_logins::{FAILED_LOGINS_PER_MINUTE, FailedLogins};
use super::key::{Padding, PrivateKey};
use super::replays::Replays;
use super::token::{Claim, from_text};
use super::users::{PasswordCheck, Users, UsersFile};
use super::{AuthError, KeyFlaw, ServerFlaw, unix_seconds};
use crate::config::Authentication;
use crate::sys::error_message;

/// Judges the tokens of a server's clients.
#[derive(Debug)]
pub struct Authenticator {
    files: Files,
    /// A valid ciphertext, which is decrypted in place of a token that is none.
    decoy: Vec<u8>,
    time_skew_secs: u64,
    /// Second since 1970 in which this server began to take tokens; an earlier one may have been used at a
    /// server that ran before. `None` takes them all the same.
    began: Option<i64>,
    replays: Replays,
    failed_logins: FailedLogins,
}

/// The refusal of a token. Only this end's report has the reason; the client must not learn it.
#[derive(Debug)]
pub struct Refusal {
    /// Why the token is refused.
    pub reason: Reason,
    /// The user that the token names, if it could be decrypted and read.
    pub user: Option<String>,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The client has sent none.
    #[error("no token; the client needs --username and --rsa-public-key-path")]
    Missing,
    /// It is no base64, or not as long as a ciphertext of this key.
    #[error("the token is not base64 of as many bytes as the key has")]
    Malformed,
    /// It was encrypted for another key or padding.
    #[error("the token is for another key or padding; iperf3 before 3.17 needs --use-pkcs1-padding here")]
    Undecipherable,
    /// Its plaintext is not a user, a password and a time.
    #[error("the token does not hold a user, a password and a time")]
    NoClaim,
    /// It is from before this server began, and may have been used at a server that ran before.
    #[error(
        "the token is from before this server began, by {seconds} seconds of the client's clock, and may have \
         been used; a client whose clock is behind comes in once it has passed that moment"
    )]
    BeforeStart {
        /// Seconds between the token's time and this server's start.
        seconds: u64,
    },
    /// It was not judged within this time, since reading the file of users takes too long.
    #[error(
        "not judged within {} seconds; is the file of users on a file system that does not answer?",
        .0.as_secs()
    )]
    Late(Duration),
    /// The file of users cannot be read.
    #[error("cannot read the users: {}", error_message(.0))]
    Users(io::Error),
    /// The file of users does not have this user.
    #[error("unknown user")]
    UnknownUser,
    /// The file of users has another password for this user.
    #[error("wrong password")]
    WrongPassword,
    /// The two clocks are too far apart, or the token was kept.
    #[error("the token is {seconds} seconds {}, more than --time-skew-threshold {most}",
        if *is_old { "old" } else { "ahead" })]
    Skew {
        /// Seconds between the token's time and this server's clock.
        seconds: u64,
        /// Whether the token's time is before that of this server's clock.
        is_old: bool,
        /// Most seconds that are allowed between the two.
        most: u64,
    },
    /// The same token was used before.
    #[error("the token was used before")]
    Replayed,
    /// Too many tokens from this address were refused within a minute, so this one was not judged.
    #[error(
        "{FAILED_LOGINS_PER_MINUTE} tokens from this address were refused within a minute; \
         this one is not looked at"
    )]
    TooMany,
}

impl fmt::Display for Refusal {
    /// The user comes last, in quotes, with everything escaped that could pass for something else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, " (user {user:?})"))
    }
}

impl Authenticator {
    /// Reads the key, and the users once to see that they can be read. Tokens from before `began` are
    /// refused: a server that ran before may have taken them already.
    ///
    /// # Errors
    /// [`AuthError::Server`] when one of the two files cannot be read, or has no key.
    pub fn load(config: &Authentication, began: Option<SystemTime>) -> Result<Self, AuthError> {
        Self::try_load(config, began.map(unix_seconds)).map_err(AuthError::Server)
    }

    fn try_load(config: &Authentication, began: Option<i64>) -> Result<Self, ServerFlaw> {
        let path = || config.private_key.clone();
        let (key, public) = PrivateKey::read(&config.private_key, Padding::new(config.pkcs1_padding))?;
        let nobody = Claim { user: b"-".to_vec(), password: b"-".to_vec(), time: 0 };
        let decoy = public
            .encrypt(&nobody.to_plaintext())
            .map_err(|why| KeyFlaw::Rejected { path: path(), why: why.to_string() })?;
        let files = Files { key, users: UsersFile::new(&config.users) };
        files.users().map_err(|source| ServerFlaw::Users { path: config.users.clone(), source })?;
        let time_skew_secs = config.time_skew.as_secs();
        let (replays, failed_logins) = (Replays::default(), FailedLogins::default());
        Ok(Self { files, decoy, time_skew_secs, began, replays, failed_logins })
    }

    /// Judges a token and returns the name of its user. A token is accepted once, and after too many refusals
    /// no token from the same address is judged for a while.
    ///
    /// # Errors
    /// The refusal. The client should get the same answer for every reason, and after the same time.
    pub fn admit(&mut self, token: Option<&str>, client: IpAddr, now: SystemTime) -> Result<String, Refusal> {
        let now = unix_seconds(now);
        let Self { files, decoy, time_skew_secs, began, replays, failed_logins } = self;
        if !failed_logins.may_try(client, now) {
            return Err(Refusal { reason: Reason::TooMany, user: None });
        }
        let judged = Trial { steps: files, decoy, time_skew_secs: *time_skew_secs, began: *began, replays }
            .judge(token, now);
        if judged.is_err() {
            failed_logins.failed(client, now);
        }
        judged
    }
}

/// The steps of a judgement that take noticeable time.
trait Steps {
    fn decrypt(&self, ciphertext: &[u8]) -> Option<Vec<u8>>;
    fn users(&self) -> io::Result<Arc<Users>>;
}

#[derive(Debug)]
struct Files {
    key: PrivateKey,
    users: UsersFile,
}

impl Steps for Files {
    fn decrypt(&self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.key.decrypt(ciphertext)
    }

    /// Reads the file anew for each test, so that users can be added and removed without a restart.
    fn users(&self) -> io::Result<Arc<Users>> {
        self.users.read()
    }
}

/// The judgement of one token.
struct Trial<'a, S> {
    steps: &'a S,
    decoy: &'a [u8],
    time_skew_secs: u64,
    began: Option<i64>,
    replays: &'a mut Replays,
}

impl<S: Steps> Trial<'_, S> {
    /// Takes every step, whatever has come of those before, and then looks for the first that failed.
    fn judge(self, token: Option<&str>, now: i64) -> Result<String, Refusal> {
        let sealed = ciphertext(token, self.decoy.len());
        let ciphertext = sealed.as_deref().unwrap_or(self.decoy);
        let plaintext = self.steps.decrypt(ciphertext).ok_or(Reason::Undecipherable);
        let claim = plaintext.and_then(|text| Claim::from_plaintext(&text).ok_or(Reason::NoClaim));
        let (user, password, time) = match &claim {
            Ok(claim) => (claim.user.as_slice(), claim.password.as_slice(), claim.time),
            Err(_) => (b"-".as_slice(), b"-".as_slice(), 0),
        };
        let known = match self.steps.users().map(|users| users.check(user, password)) {
            Ok(PasswordCheck::Right) => Ok(()),
            Ok(PasswordCheck::WrongPassword) => Err(Reason::WrongPassword),
            Ok(PasswordCheck::Unknown) => Err(Reason::UnknownUser),
            Err(error) => Err(Reason::Users(error)),
        };
        let (seconds, most) = (now.abs_diff(time), self.time_skew_secs);
        let in_time =
            if seconds <= most { Ok(()) } else { Err(Reason::Skew { seconds, is_old: time < now, most }) };
        // In whole seconds, so that one of the first second is not refused to a client with a good clock.
        let is_fresh = match self.began {
            Some(began) if time < began => Err(Reason::BeforeStart { seconds: began.abs_diff(time) }),
            _ => Ok(()),
        };
        // A token that came too early would be good later, so it counts as shown as well.
        let is_genuine = sealed.is_ok() && claim.is_ok() && known.is_ok();
        let until = time.saturating_add_unsigned(most);
        let is_first = self.replays.is_first(ciphertext, is_genuine, until, now);
        let unused = if is_first { Ok(()) } else { Err(Reason::Replayed) };

        let user = String::from_utf8_lossy(user).into_owned();
        let is_readable = sealed.is_ok() && claim.is_ok();
        match sealed.map(drop).and(claim.map(drop)).and(known).and(in_time).and(is_fresh).and(unused) {
            Ok(()) => Ok(user),
            Err(reason) => Err(Refusal { reason, user: is_readable.then_some(user) }),
        }
    }
}

/// The ciphertext of a token, if it has as many bytes as one of this key.
fn ciphertext(token: Option<&str>, bytes: usize) -> Result<Vec<u8>, Reason> {
    let ciphertext = from_text(token.ok_or(Reason::Missing)?).ok_or(Reason::Malformed)?;
    if ciphertext.len() == bytes { Ok(ciphertext) } else { Err(Reason::Malformed) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::auth::key::PublicKey;
    use crate::auth::testing::keys::{OTHER_PAIR, PAIR, Pair, file};
    use crate::auth::token::to_text;
    use crate::auth::users::line;

    const NOW: i64 = 1_795_498_104;
    static CLIENTS: AtomicU32 = AtomicU32::new(1);

    fn authenticator(name: &str, pkcs1_padding: bool) -> Authenticator {
        let users = line("mario", "rossi") + &line("luigi", "verdi");
        let config = Authentication {
            private_key: PAIR.private.clone(),
            users: file(&format!("users-{name}"), users.as_bytes()),
            time_skew: Duration::from_secs(10),
            pkcs1_padding,
        };
        Authenticator::load(&config, None).unwrap()
    }

    fn sealed(pair: &Pair, padding: Padding, plaintext: &str) -> String {
        let key = PublicKey::read(&pair.public, padding).unwrap();
        to_text(&key.encrypt(plaintext.as_bytes()).unwrap())
    }

    fn token(user: &str, password: &str, time: i64) -> String {
        sealed(&PAIR, Padding::Oaep, &format!("user: {user}\npwd:  {password}\nts:   {time}"))
    }

    /// The user, or what the log says.
    fn judged(authenticator: &mut Authenticator, token: Option<&str>, now: i64) -> Result<String, String> {
        // Each comes from somewhere else.
        let client = Ipv4Addr::from_bits(CLIENTS.fetch_add(1, Ordering::Relaxed)).into();
        judged_from(client, authenticator, token, now)
    }

    fn judged_from(
        client: IpAddr,
        authenticator: &mut Authenticator,
        token: Option<&str>,
        now: i64,
    ) -> Result<String, String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unsigned_abs());
        authenticator.admit(token, client, now).map_err(|refusal| refusal.to_string())
    }

    /// Tokens that are refused, and the beginnings of what the log says.
    fn bad_tokens() -> Vec<(Option<String>, &'static str)> {
        let good = token("mario", "rossi", NOW);
        let claim = format!("user: mario\npwd:  rossi\nts:   {NOW}");
        let oaep = |plaintext: &str| Some(sealed(&PAIR, Padding::Oaep, plaintext));
        vec![
            (None, "no token"),
            (Some(String::new()), "the token is not base64"),
            (Some("%%%".to_owned()), "the token is not base64"),
            (Some(good[..good.len() - 1].to_owned()), "the token is not base64"),
            (Some(good[..good.len() - 4].to_owned()), "the token is not base64"),
            (Some(format!("{good}{good}")), "the token is not base64"),
            (Some(format!(" {good}")), "the token is not base64"),
            (Some(to_text(&[0; 256])), "the token is for another key"),
            (Some(to_text(&[1; 256])), "the token is for another key"),
            (Some(to_text(&[255; 256])), "the token is for another key"),
            (Some(sealed(&OTHER_PAIR, Padding::Oaep, &claim)), "the token is for another key"),
            (Some(sealed(&PAIR, Padding::Pkcs1, &claim)), "the token is for another key"),
            (oaep(""), "the token does not hold"),
            (oaep("\0"), "the token does not hold"),
            (oaep("user: mario pwd: rossi ts: soon"), "the token does not hold"),
            (oaep(&format!("{claim} more")), "the token does not hold"),
            (Some(token("peach", "rossi", NOW)), "unknown user (user \"peach\")"),
            (Some(token("mario", "verdi", NOW)), "wrong password (user \"mario\")"),
            (Some(token("\u{1b}[2J\u{202e}\"", "x", NOW)), "unknown user (user \"\\u{1b}[2J\\u{202e}\\\"\")"),
            (
                Some(token("mario", "rossi", NOW - 11)),
                "the token is 11 seconds old, more than --time-skew-threshold 10 (user \"mario\")",
            ),
            (Some(token("mario", "rossi", NOW + 11)), "the token is 11 seconds ahead, more than"),
            (Some(token("mario", "rossi", i64::MIN)), "the token is 9223372038650273912 seconds old"),
            (Some(token("mario", "rossi", i64::MAX)), "the token is 9223372035059277703 seconds ahead"),
        ]
    }

    #[test]
    fn users_come_in_once_per_token() {
        let mut authenticator = authenticator("once", false);
        for (user, password, time) in
            [("mario", "rossi", NOW), ("luigi", "verdi", NOW - 10), ("mario", "rossi", NOW + 10)]
        {
            let token = token(user, password, time);
            assert_eq!(judged(&mut authenticator, Some(&token), NOW), Ok(user.to_owned()));
            let again = judged(&mut authenticator, Some(&token), NOW).unwrap_err();
            assert_eq!(again, format!("the token was used before (user \"{user}\")"));
        }
    }

    #[test]
    fn bad_tokens_are_refused_for_what_they_are() {
        let mut authenticator = authenticator("bad", false);
        for (token, reason) in bad_tokens() {
            let refusal = judged(&mut authenticator, token.as_deref(), NOW).unwrap_err();
            assert!(refusal.starts_with(reason), "{refusal} instead of {reason}");
        }
    }

    #[test]
    fn a_token_of_the_future_is_not_kept_for_somebody_else() {
        let mut authenticator = authenticator("future", false);
        let early = token("mario", "rossi", NOW + 100);
        assert!(judged(&mut authenticator, Some(&early), NOW).unwrap_err().contains("ahead"));
        let later = judged(&mut authenticator, Some(&early), NOW + 100).unwrap_err();
        assert!(later.starts_with("the token was used before"), "{later}");
    }

    #[test]
    fn who_guesses_often_is_not_listened_to_and_others_are() {
        let mut authenticator = authenticator("guesses", false);
        let [guesser, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut from = |client, token: &str, now| judged_from(client, &mut authenticator, Some(token), now);
        for _ in 0..FAILED_LOGINS_PER_MINUTE {
            assert!(from(guesser, "guess", NOW).unwrap_err().starts_with("the token is not base64"));
        }
        let good = token("mario", "rossi", NOW);
        let refusal = from(guesser, &good, NOW).unwrap_err();
        assert_eq!(
            refusal,
            "10 tokens from this address were refused within a minute; this one is not looked at"
        );
        // It was not looked at, so it was not used up.
        assert_eq!(from(other, &good, NOW), Ok("mario".to_owned()));
        assert_eq!(from(guesser, &token("mario", "rossi", NOW + 60), NOW + 60), Ok("mario".to_owned()));
    }

    #[test]
    fn the_old_padding_is_taken_only_where_it_is_asked_for() {
        let mut authenticator = authenticator("padding", true);
        let claim = format!("user: mario\npwd:  rossi\nts:   {NOW}");
        let old = sealed(&PAIR, Padding::Pkcs1, &claim);
        assert_eq!(judged(&mut authenticator, Some(&old), NOW), Ok("mario".to_owned()));
        let new = sealed(&PAIR, Padding::Oaep, &claim);
        assert!(
            judged(&mut authenticator, Some(&new), NOW).unwrap_err().starts_with("the token is for another")
        );
    }

    #[test]
    fn users_are_read_anew_for_each_test() {
        let mut authenticator = authenticator("anew", false);
        let users = authenticator.files.users.path().to_owned();
        let fresh = || token("peach", "toadstool", NOW);
        assert!(judged(&mut authenticator, Some(&fresh()), NOW).is_err());
        fs::write(&users, line("peach", "toadstool")).unwrap();
        assert_eq!(judged(&mut authenticator, Some(&fresh()), NOW), Ok("peach".to_owned()));
        fs::remove_file(&users).unwrap();
        let refusal = judged(&mut authenticator, Some(&fresh()), NOW).unwrap_err();
        assert!(refusal.starts_with("cannot read the users: No such file"), "{refusal}");
    }

    #[test]
    fn a_token_from_before_the_start_may_have_been_used() {
        let mut authenticator = Authenticator { began: Some(NOW), ..authenticator("restarted", false) };
        for (time, verdict) in [
            (NOW - 1, Err("the token is from before this server began, by 1 seconds of the client's clock")),
            (NOW - 10, Err("the token is from before this server began, by 10 seconds")),
            (NOW - 11, Err("the token is 11 seconds old")),
            (NOW, Ok("mario")),
            (NOW + 1, Ok("mario")),
        ] {
            let judged = judged(&mut authenticator, Some(&token("mario", "rossi", time)), NOW);
            match verdict {
                Ok(user) => assert_eq!(judged, Ok(user.to_owned())),
                Err(reason) => assert!(judged.as_ref().unwrap_err().starts_with(reason), "{judged:?}"),
            }
        }
    }

    /// Counts what takes time, and does it.
    struct Counted<'a> {
        files: &'a Files,
        decrypted: Cell<u32>,
        searched: Cell<u32>,
    }

    impl Steps for Counted<'_> {
        fn decrypt(&self, ciphertext: &[u8]) -> Option<Vec<u8>> {
            // Another length would be refused before it costs anything.
            assert_eq!(ciphertext.len(), 256);
            self.decrypted.set(self.decrypted.get() + 1);
            self.files.decrypt(ciphertext)
        }

        fn users(&self) -> io::Result<Arc<Users>> {
            self.searched.set(self.searched.get() + 1);
            self.files.users()
        }
    }

    #[test]
    fn every_token_costs_the_same_work() {
        let Authenticator { files, decoy, time_skew_secs, mut replays, .. } = authenticator("work", false);
        let good = token("mario", "rossi", NOW);
        let good_twice = [(Some(good.clone()), "good"), (Some(good), "replayed")];
        for (token, what) in bad_tokens().into_iter().chain(good_twice) {
            let steps = Counted { files: &files, decrypted: Cell::new(0), searched: Cell::new(0) };
            let trial =
                Trial { steps: &steps, decoy: &decoy, time_skew_secs, began: None, replays: &mut replays };
            assert_eq!(trial.judge(token.as_deref(), NOW).is_ok(), what == "good");
            assert_eq!((steps.decrypted.get(), steps.searched.get()), (1, 1), "{what}");
        }
    }

    #[test]
    fn what_a_server_does_not_start_with() {
        let users = file("users-start", b"");
        for (private_key, users, text) in [
            ("/nonexistent".into(), users.clone(), "cannot read the key in /nonexistent"),
            (PAIR.public.clone(), users, "has no RSA private key"),
            (
                PAIR.private.clone(),
                "/nonexistent".into(),
                "cannot read the users in /nonexistent: No such file",
            ),
        ] {
            let time_skew = Duration::from_secs(10);
            let config = Authentication { private_key, users, time_skew, pkcs1_padding: false };
            let error = Authenticator::load(&config, None).unwrap_err().to_string();
            assert!(error.starts_with("you must specify a path to a valid RSA private key"), "{error}");
            assert!(error.contains(text), "{error}");
        }
    }
}
