//! A client's side: name, password and the server's public key, from which each test gets a fresh token.

use std::fmt;
use std::time::SystemTime;

use super::key::{Padding, PublicKey};
use super::token::{Claim, is_word, to_text};
use super::{AuthError, ClientFlaw, password, unix_seconds};
use crate::config::LoginOptions;

/// A client's user name and password, and the key that encrypts them for its server.
pub struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
    key: PublicKey,
}

impl Credentials {
    /// Reads the key, then takes the password from the environment or asks for it.
    ///
    /// Asking blocks until somebody answers, so it comes before anything that cannot wait.
    ///
    /// # Errors
    /// [`AuthError::Client`] when name, key or password is missing, or cannot be written into a token.
    pub fn load(login: &LoginOptions) -> Result<Self, AuthError> {
        Self::with_password(login, password::fetch).map_err(AuthError::Client)
    }

    fn with_password(
        login: &LoginOptions,
        fetch: impl FnOnce() -> Result<Vec<u8>, ClientFlaw>,
    ) -> Result<Self, ClientFlaw> {
        let user = login.user.clone().into_bytes();
        if !is_word(&user) {
            return Err(ClientFlaw::User);
        }
        let key = PublicKey::read(&login.public_key, Padding::new(login.pkcs1_padding))?;
        let password = fetch()?;
        if !is_word(&password) {
            return Err(ClientFlaw::Password);
        }
        Ok(Self { user, password, key })
    }

    /// A token with the time `now`, in base64. A server accepts it once.
    ///
    /// # Errors
    /// [`AuthError::Client`] when name and password are too long for the key, or the library fails.
    pub fn token(&self, now: SystemTime) -> Result<String, AuthError> {
        self.encrypted(now).map(|ciphertext| to_text(&ciphertext)).map_err(AuthError::Client)
    }

    fn encrypted(&self, now: SystemTime) -> Result<Vec<u8>, ClientFlaw> {
        let claim =
            Claim { user: self.user.clone(), password: self.password.clone(), time: unix_seconds(now) };
        let plaintext = claim.to_plaintext();
        let (bytes, most) = (plaintext.len(), self.key.max_plaintext_bytes());
        if bytes > most {
            return Err(ClientFlaw::TooLong { bytes, most });
        }
        self.key.encrypt(&plaintext).map_err(|_| ClientFlaw::Encrypt)
    }
}

impl fmt::Debug for Credentials {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = String::from_utf8_lossy(&self.user);
        f.debug_struct("Credentials").field("user", &user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::key::PrivateKey;
    use crate::auth::testing::keys::PAIR;
    use crate::auth::token::from_text;

    fn credentials(user: &str, password: &str, pkcs1_padding: bool) -> Result<Credentials, ClientFlaw> {
        let login = LoginOptions { user: user.to_owned(), public_key: PAIR.public.clone(), pkcs1_padding };
        Credentials::with_password(&login, || Ok(password.into()))
    }

    #[test]
    fn a_token_says_who_and_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_498_104_999);
        for (pkcs1, padding) in [(false, Padding::Oaep), (true, Padding::Pkcs1)] {
            let credentials = credentials("mario", "rossi", pkcs1).unwrap();
            let token = credentials.token(now).unwrap();
            assert_eq!(token.len(), 344);
            assert_ne!(credentials.token(now).unwrap(), token);
            let (key, _) = PrivateKey::read(&PAIR.private, padding).unwrap();
            let plaintext = key.decrypt(&from_text(&token).unwrap()).unwrap();
            assert_eq!(plaintext, b"user: mario\npwd:  rossi\nts:   1795498104");
        }
    }

    #[test]
    fn what_no_server_could_read_is_refused() {
        for (user, password, text) in [
            ("", "rossi", "a user name has at least one character and no blanks"),
            ("ma rio", "rossi", "a user name has"),
            ("mario\u{b}", "rossi", "a user name has"),
            ("mario", "", "a password has at least one character and no blanks"),
            ("mario", "ros si", "a password has"),
            ("mario", "rossi\n", "a password has"),
        ] {
            let error = credentials(user, password, false).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn the_key_limits_name_and_password() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_498_104);
        let with = |bytes: usize, pkcs1: bool| {
            let password = "x".repeat(bytes - "user: m\npwd:  \nts:   1795498104".len());
            credentials("m", &password, pkcs1).unwrap().token(now)
        };
        for (pkcs1, most) in [(false, 214), (true, 245)] {
            assert!(with(most, pkcs1).is_ok());
            let error = with(most + 1, pkcs1).unwrap_err().to_string();
            assert!(error.contains(&format!("of {} bytes, but", most + 1)), "{error}");
            assert!(error.contains(&format!("at most {most};")), "{error}");
        }
    }

    #[test]
    fn the_password_is_not_asked_for_in_vain() {
        let login = LoginOptions {
            user: "mario".to_owned(),
            public_key: "/nonexistent".into(),
            pkcs1_padding: false,
        };
        let error = Credentials::with_password(&login, || panic!("it was asked for")).unwrap_err();
        assert!(matches!(error, ClientFlaw::Key(_)), "{error}");
    }

    #[test]
    fn nothing_prints_a_password() {
        let credentials = credentials("mario", "rossi", false).unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials { user: \"mario\", .. }");
    }
}
