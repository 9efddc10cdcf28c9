//! Authentication: the token with which a client logs in, and how a server judges it.
//!
//! A client encrypts its user's name, the password and the time with the server's public key. That is the
//! token, a text among its parameters. The server has the private key and a file of users.
//!
//! [`Credentials`] are a client's side of it, an [`Authenticator`] is a server's. Time is an argument.

mod authenticator;
mod credentials;
mod failed_logins;
mod key;
mod password;
mod replays;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
mod token;
mod users;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use authenticator::{Authenticator, Reason, Refusal};
pub use credentials::Credentials;
pub use failed_logins::host_of;

use crate::sys::error_message;

/// Why this end cannot take part in authentication, in iperf3's words where it has any.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A client's own settings.
    #[error("you must specify a username, password, and path to a valid RSA public key: {0}")]
    Client(ClientFlaw),
    /// A server's own settings.
    #[error("you must specify a path to a valid RSA private key and a user credential file: {0}")]
    Server(ServerFlaw),
}

/// What is wrong with a client's settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientFlaw {
    /// The user name is empty or has blanks, so it cannot be written into a token.
    #[error("a user name has at least one character and no blanks")]
    User,
    /// There is no password in the environment, and no terminal to ask for it.
    #[error("no password; set IPERF3_PASSWORD, or run ringperf on a terminal and it asks: {}", error_message(.0))]
    NoPassword(io::Error),
    /// The password is empty or has blanks, so it cannot be written into a token.
    #[error("a password has at least one character and no blanks")]
    Password,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFlaw),
    /// The key is too short for this user.
    #[error(
        "name and password make a token of {bytes} bytes, but this key and padding encrypt at most {most}; \
         take shorter ones or a longer key"
    )]
    TooLong {
        /// Bytes of the token's plaintext.
        bytes: usize,
        /// Most bytes that the key encrypts.
        most: usize,
    },
    /// The library failed, which it does only without memory or random numbers.
    #[error("the token cannot be encrypted")]
    Encrypt,
}

/// What is wrong with a server's settings.
#[derive(Debug, thiserror::Error)]
pub enum ServerFlaw {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFlaw),
    /// The file of users cannot be read.
    #[error("cannot read the users in {}: {}", path.display(), error_message(source))]
    Users {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a file cannot be used as a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFlaw {
    /// The file cannot be read.
    #[error("cannot read the key in {}: {}", path.display(), error_message(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no PEM section of a kind that is understood.
    #[error("{} has no {wanted}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The kind of PEM section that was expected.
        wanted: &'static str,
    },
    /// The file's key is no RSA key, or has less than 2048 or more than 8192 bits.
    #[error(
        "the key in {} is no valid RSA key of 2048 to 8192 bits ({why}), and shorter ones can be broken; make a new \
         pair: openssl genrsa -out private.pem 2048 && openssl rsa -in private.pem -pubout -out public.pem",
        path.display()
    )]
    Rejected {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        why: String,
    },
}

/// Reads a whole file of at most `most` bytes.
fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_all(File::open(path)?, most)
}

/// Reads the rest of an open file, at most `most` bytes.
fn read_all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let count = file.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(count).is_ok_and(|count| count <= most) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it is larger than {most} bytes")))
    }
}

/// Seconds since 1970.
fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Whether a byte separates words for iperf3's servers, as C's `isspace` says.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}
