//! Keys for tests, made once, since that takes a while.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A key pair in files of its own.
pub(in crate::auth) struct Pair {
    pub(in crate::auth) private: PathBuf,
    pub(in crate::auth) public: PathBuf,
}

/// The pair of most tests.
pub(in crate::auth) static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::generate("one"));
/// Somebody else's.
pub(in crate::auth) static OTHER_PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::generate("other"));

impl Pair {
    fn generate(name: &str) -> Self {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("such keys can be made");
        let private: Pkcs8V1Der = key.as_der().expect("every key has this form");
        let public: PublicKeyX509Der = key.public_key().as_der().expect("every key has this form");
        Self {
            private: file(&format!("{name}-private.pem"), pem("PRIVATE KEY", private.as_ref()).as_bytes()),
            public: file(&format!("{name}-public.pem"), pem("PUBLIC KEY", public.as_ref()).as_bytes()),
        }
    }
}

pub(in crate::auth) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Writes a file of this test run, beside the program, where cargo cleans up.
pub(in crate::auth) fn file(name: &str, contents: &[u8]) -> PathBuf {
    let program = std::env::current_exe().expect("it runs");
    let folder = program.with_file_name(format!("auth-tests-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("there is room beside the program");
    let path = folder.join(name);
    fs::write(&path, contents).expect("there is room beside the program");
    path
}
