//! The file of users: lines of a name, a comma, and the SHA-256 of `{name}password` in lower-case hex.

use std::io;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::read_file;

/// Room for some two hundred thousand users, and nothing that would hold a server up for long.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Longer lines are none for iperf3 either (its buffer has 1024 bytes).
const MAX_LINE_BYTES: usize = 1023;

/// A SHA-256 digest. Whatever is compared is hashed before, so its length does not show in the time.
type Digest = [u8; 32];

/// Everybody who may run tests.
pub(super) struct Users(Vec<User>);

struct User {
    /// Of the name.
    name: Digest,
    /// Of the name with the hash of its password.
    login: Digest,
}

/// What the file says of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Name and password belong together.
    Right,
    /// There is this name, with another password.
    WrongPassword,
    /// There is no such name.
    Unknown,
}

impl Users {
    /// The users in this file.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&read_file(path, MAX_FILE_BYTES)?))
    }

    /// As iperf3 reads them: comments, empty lines and those without a comma are skipped, further fields too.
    pub(super) fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| line.len() <= MAX_LINE_BYTES);
        Self(lines.filter_map(User::parse).collect())
    }

    /// Looks at every user to the end, wherever the name stands and whether it is there at all.
    pub(super) fn standing(&self, name: &[u8], password: &[u8]) -> Standing {
        self.standing_by(name, password, |one, other| verify_slices_are_equal(one, other).is_ok())
    }

    fn standing_by(
        &self,
        name: &[u8],
        password: &[u8],
        mut equal: impl FnMut(&Digest, &Digest) -> bool,
    ) -> Standing {
        let hash = hex(&sha256(&[b"{", name, b"}", password]));
        let sought = User::new(name, hash.as_bytes());
        let (mut is_known, mut is_right) = (false, false);
        for user in &self.0 {
            is_known |= equal(&user.name, &sought.name);
            is_right |= equal(&user.login, &sought.login);
        }
        match (is_right, is_known) {
            (true, _) => Standing::Right,
            (false, true) => Standing::WrongPassword,
            (false, false) => Standing::Unknown,
        }
    }
}

impl User {
    fn new(name: &[u8], hash: &[u8]) -> Self {
        Self { name: sha256(&[name]), login: sha256(&[name, b",", hash]) }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = line.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if line.starts_with(b"#") {
            return None;
        }
        let mut fields = line.split(|byte| *byte == b',').filter(|field| !field.is_empty());
        Some(Self::new(fields.next()?, fields.next()?))
    }
}

fn sha256(parts: &[&[u8]]) -> Digest {
    digest(&SHA256, &parts.concat()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line of the file.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn line(name: &str, password: &str) -> String {
    let hash = hex(&sha256(&[b"{", name.as_bytes(), b"}", password.as_bytes()]));
    format!("{name},{hash}\n")
}

#[cfg(test)]
mod tests {
    use super::super::test_keys::file;
    use super::*;

    /// `printf '{mario}rossi' | sha256sum`
    const MARIO: &str = "mario,bf7a49a846d44b454a5d11e7acfaf13d138bbe0b7483aa3e050879700572709b";

    fn standing(text: &str, name: &str, password: &str) -> Standing {
        Users::parse(text.as_bytes()).standing(name.as_bytes(), password.as_bytes())
    }

    #[test]
    fn the_line_of_iperf3s_manual() {
        assert_eq!(line("mario", "rossi"), format!("{MARIO}\n"));
        assert_eq!(standing(MARIO, "mario", "rossi"), Standing::Right);
        assert_eq!(standing(MARIO, "mario", "rossI"), Standing::WrongPassword);
        assert_eq!(standing(MARIO, "Mario", "rossi"), Standing::Unknown);
    }

    #[test]
    fn what_is_a_line() {
        let (mario, luigi) = (line("mario", "rossi"), line("luigi", "verdi"));
        let bare = mario.trim_end();
        let long = "x".repeat(1024 - bare.len());
        for (text, expected) in [
            (String::new(), Standing::Unknown),
            (format!("# users\n\n{luigi}nobody\n{mario}"), Standing::Right),
            (format!("{mario}{luigi}"), Standing::Right),
            (format!("{bare}\r\n"), Standing::Right),
            (format!("{bare},a comment\n"), Standing::Right),
            (format!(",{bare}\n"), Standing::Right),
            (format!("mario,{}\n{mario}", "0".repeat(64)), Standing::Right),
            (format!("{bare},{}\n", &long[2..]), Standing::Right),
            (format!("{bare},{long}\n"), Standing::Unknown),
            (format!("#{mario}"), Standing::Unknown),
            (format!(" {mario}"), Standing::Unknown),
            ("mario,\n".to_owned(), Standing::Unknown),
            ("mario,rossi\n".to_owned(), Standing::WrongPassword),
            (mario.to_uppercase().replace("MARIO", "mario"), Standing::WrongPassword),
        ] {
            assert_eq!(standing(&text, "mario", "rossi"), expected, "{text}");
        }
    }

    #[test]
    fn every_search_compares_as_often() {
        let text: String = (0..100).map(|number| line(&format!("user{number}"), "secret")).collect();
        let users = Users::parse(text.as_bytes());
        for (name, password, expected) in [
            ("user0", "secret", Standing::Right),
            ("user99", "secret", Standing::Right),
            ("user0", "wrong", Standing::WrongPassword),
            ("user99", "", Standing::WrongPassword),
            ("nobody", "secret", Standing::Unknown),
            ("", "", Standing::Unknown),
        ] {
            let mut compared = 0;
            let found = users.standing_by(name.as_bytes(), password.as_bytes(), |one, other| {
                compared += 1;
                one == other
            });
            assert_eq!((found, compared), (expected, 200), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_none() {
        assert!(Users::read(Path::new("/nonexistent")).is_err());
        let error = Users::read(Path::new("/dev/zero")).err().unwrap();
        assert!(error.to_string().contains("larger than 16777216 bytes"), "{error}");
        let users = Users::read(&file("some-users", line("mario", "rossi").as_bytes())).unwrap();
        assert_eq!(users.standing(b"mario", b"rossi"), Standing::Right);
    }
}
