//! RSA keys from PEM files: encryption and decryption.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use super::{KeyFlaw, read_file};

/// Most bytes of a key file: far more than a key of 8192 bits with comments around it has.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The padding that makes a message as long as the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// OAEP with SHA-1, which is not broken in this place: iperf3 since 3.17.
    Oaep,
    /// PKCS#1 v1.5: iperf3 before.
    Pkcs1,
}

impl Padding {
    /// PKCS#1 v1.5 if `pkcs1`, as with `--use-pkcs1-padding`; OAEP otherwise.
    pub(super) fn new(pkcs1: bool) -> Self {
        if pkcs1 { Self::Pkcs1 } else { Self::Oaep }
    }
}

/// A server's public key, at its clients.
pub(super) enum PublicKey {
    Oaep(OaepPublicEncryptingKey),
    Pkcs1(Pkcs1PublicEncryptingKey),
}

impl PublicKey {
    /// Reads the public key in this file.
    pub(super) fn read(path: &Path, padding: Padding) -> Result<Self, KeyFlaw> {
        let flaw = |wanted| KeyFlaw::Pem { path: path.to_owned(), wanted };
        let pem = read_key_file(path)?;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
            .map_err(|_| flaw("public key in PEM (BEGIN PUBLIC KEY)"))?;
        let key = PublicEncryptingKey::from_der(&der).map_err(|why| rejected(path, &why))?;
        Self::new(key, padding).map_err(|why| rejected(path, &why))
    }

    fn new(key: PublicEncryptingKey, padding: Padding) -> Result<Self, Unspecified> {
        Ok(match padding {
            Padding::Oaep => Self::Oaep(OaepPublicEncryptingKey::new(key)?),
            Padding::Pkcs1 => Self::Pkcs1(Pkcs1PublicEncryptingKey::new(key)?),
        })
    }

    /// Most bytes that can be encrypted.
    pub(super) fn max_plaintext_bytes(&self) -> usize {
        match self {
            Self::Oaep(key) => key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1),
            Self::Pkcs1(key) => key.max_plaintext_size(),
        }
    }

    /// Encrypts `plaintext` into as many bytes as the key has, different ones each time.
    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Oaep(key) => {
                let mut room = vec![0; key.ciphertext_size()];
                key.encrypt(&OAEP_SHA1_MGF1SHA1, plaintext, &mut room, None).map(|bytes| bytes.to_vec())
            }
            Self::Pkcs1(key) => {
                let mut room = vec![0; key.ciphertext_size()];
                key.encrypt(plaintext, &mut room).map(|bytes| bytes.to_vec())
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

/// A server's private key.
pub(super) enum PrivateKey {
    Oaep(OaepPrivateDecryptingKey),
    Pkcs1(Pkcs1PrivateDecryptingKey),
}

impl PrivateKey {
    /// Reads the private key in this file, and derives its public half.
    pub(super) fn read(path: &Path, padding: Padding) -> Result<(Self, PublicKey), KeyFlaw> {
        let wanted =
            "RSA private key in PEM without a passphrase (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)";
        let flaw = || KeyFlaw::Pem { path: path.to_owned(), wanted };
        let key = match PrivateKeyDer::from_pem_slice(&read_key_file(path)?).map_err(|_| flaw())? {
            PrivateKeyDer::Pkcs8(der) => PrivateDecryptingKey::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => {
                // The library reads this form for signatures only, but writes the other one.
                let pair = KeyPair::from_der(der.secret_pkcs1_der()).map_err(|why| rejected(path, &why))?;
                let der: Pkcs8V1Der = pair.as_der().map_err(|why| rejected(path, &why))?;
                PrivateDecryptingKey::from_pkcs8(der.as_ref())
            }
            _ => return Err(flaw()),
        };
        let key = key.map_err(|why| rejected(path, &why))?;
        let public = PublicKey::new(key.public_key(), padding).map_err(|why| rejected(path, &why))?;
        let private = match padding {
            Padding::Oaep => OaepPrivateDecryptingKey::new(key).map(Self::Oaep),
            Padding::Pkcs1 => Pkcs1PrivateDecryptingKey::new(key).map(Self::Pkcs1),
        };
        Ok((private.map_err(|why| rejected(path, &why))?, public))
    }

    /// Decrypts a ciphertext; `None` if it was made for another key or padding.
    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Oaep(key) => {
                let mut room = vec![0; key.min_output_size()];
                let plaintext = key.decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut room, None);
                plaintext.ok().map(|bytes| bytes.to_vec())
            }
            Self::Pkcs1(key) => {
                let mut room = vec![0; key.min_output_size()];
                key.decrypt(ciphertext, &mut room).ok().map(|bytes| bytes.to_vec())
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

fn read_key_file(path: &Path) -> Result<Vec<u8>, KeyFlaw> {
    read_file(path, FILE_BYTES_MAX).map_err(|source| KeyFlaw::Read { path: path.to_owned(), source })
}

fn rejected(path: &Path, why: &impl fmt::Display) -> KeyFlaw {
    KeyFlaw::Rejected { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::auth::testing::keys::{OTHER_PAIR, PAIR, Pair, file, pem};

    fn pair(pair: &Pair, padding: Padding) -> (PublicKey, PrivateKey) {
        let public = PublicKey::read(&pair.public, padding).unwrap();
        (public, PrivateKey::read(&pair.private, padding).unwrap().0)
    }

    #[test]
    fn only_the_same_key_and_padding_decrypt() {
        for (padding, other_padding, overhead) in
            [(Padding::Oaep, Padding::Pkcs1, 42), (Padding::Pkcs1, Padding::Oaep, 11)]
        {
            let (public, private) = pair(&PAIR, padding);
            assert_eq!(public.max_plaintext_bytes(), 256 - overhead);
            let longest = vec![b'x'; public.max_plaintext_bytes()];
            let ciphertext = public.encrypt(&longest).unwrap();
            assert_eq!(ciphertext.len(), 256);
            assert_eq!(private.decrypt(&ciphertext), Some(longest.clone()));
            assert_ne!(public.encrypt(&longest).unwrap(), ciphertext);
            assert!(public.encrypt(&[longest.as_slice(), b"x"].concat()).is_err());
            // PKCS#1 has no checksum: it takes what begins with 0 and 2 and has a zero later. OAEP begins
            // with 0 and is random from there, so once in a few hundred times something comes out.
            for private in [pair(&OTHER_PAIR, padding).1, pair(&PAIR, other_padding).1] {
                assert_ne!(private.decrypt(&ciphertext), Some(longest.clone()));
            }
            assert_eq!(private.decrypt(&ciphertext[1..]), None);
            assert_eq!(private.decrypt(&[255; 256]), None);
        }
    }

    /// The form that older OpenSSL writes has the same key inside.
    #[test]
    fn both_forms_of_a_private_key_are_read() {
        let der = PrivateKeyDer::from_pem_slice(&fs::read(&PAIR.private).unwrap()).unwrap();
        let whole = der.secret_der();
        // The inner key is all behind the second octet-string header of four bytes.
        let start = whole.windows(2).position(|bytes| bytes == [0x04, 0x82]).unwrap() + 4;
        let path = file("traditional.pem", pem("RSA PRIVATE KEY", &whole[start..]).as_bytes());
        let (private, public) = PrivateKey::read(&path, Padding::Oaep).unwrap();
        let ciphertext = pair(&PAIR, Padding::Oaep).0.encrypt(b"a").unwrap();
        assert_eq!(private.decrypt(&ciphertext), Some(b"a".to_vec()));
        assert_eq!(private.decrypt(&public.encrypt(b"b").unwrap()), Some(b"b".to_vec()));
    }

    #[test]
    fn what_is_no_key() {
        let nonsense = file("nonsense.pem", b"nonsense");
        let no_der = file("no-der.pem", pem("PUBLIC KEY", b"nonsense").as_bytes());
        let locked = file("locked.pem", pem("ENCRYPTED PRIVATE KEY", b"whatever").as_bytes());
        let huge = file("huge.pem", &vec![b' '; 70_000]);
        for (path, text) in [
            (Path::new("/nonexistent"), "cannot read the key in /nonexistent: No such file"),
            (&huge, "it is larger than 65536 bytes"),
            (&nonsense, "has no public key in PEM (BEGIN PUBLIC KEY)"),
            (&PAIR.private, "has no public key in PEM (BEGIN PUBLIC KEY)"),
            (&no_der, "is no valid RSA key of 2048 to 8192 bits"),
        ] {
            let error = PublicKey::read(path, Padding::Oaep).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        for path in [&nonsense, &PAIR.public, &locked] {
            let error = PrivateKey::read(path, Padding::Oaep).unwrap_err().to_string();
            assert!(error.contains("has no RSA private key in PEM without a passphrase"), "{error}");
        }
    }
}
