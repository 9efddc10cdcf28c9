//! The file of users: lines of a name, a comma, and the SHA-256 of `{name}password` in lower-case hex.

use std::cell::RefCell;
use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::read_all;

/// Most bytes of the file: room for some two hundred thousand users, and little enough to be read quickly.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most bytes of a line. A longer one is skipped, as by iperf3, whose buffer has 1024 bytes.
const LINE_BYTES_MAX: usize = 1023;

/// Time within which a file may be changed twice without its times showing it: those of some file systems are
/// whole seconds.
const MTIME_GRANULARITY: Duration = Duration::from_secs(2);

/// A SHA-256 digest. Texts are hashed before they are compared, so that their length does not show in the
/// time.
type Digest = [u8; 32];

/// The file of users, which is read again only where it may have changed.
#[derive(Debug)]
pub(super) struct UsersFile {
    path: PathBuf,
    last: RefCell<Option<(Identity, Arc<Users>)>>,
}

/// The state of a file that changes when it is replaced or written to: device, inode number, length, and the
/// times of its contents and of its inode.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

/// The users who may run tests.
pub(super) struct Users(Vec<User>);

struct User {
    /// Digest of the name.
    name: Digest,
    /// Digest of the name together with the hash of its password.
    login: Digest,
}

impl fmt::Debug for Users {
    /// Shows nothing of the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

/// The result of a search for a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordCheck {
    /// Name and password belong together.
    Right,
    /// The file has this name, with another password.
    WrongPassword,
    /// The file does not have this name.
    Unknown,
}

impl UsersFile {
    /// The file at `path`, which is not read yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last: RefCell::new(None) }
    }

    /// The path of the file.
    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The users that the file has now. A file system that does not answer may hold the call up for ever.
    ///
    /// # Errors
    /// The system's, and one for a file that is not regular: a pipe would have no end.
    pub(super) fn read(&self) -> io::Result<Arc<Users>> {
        let mut options = OpenOptions::new();
        // Otherwise a pipe would be waited for before it can be seen to be one.
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let identity = identity(&metadata);
        if let Some((of, users)) = &*self.last.borrow()
            && *of == identity
        {
            return Ok(Arc::clone(users));
        }
        let users = Arc::new(Users::parse(&read_all(file, FILE_BYTES_MAX)?));
        let keep = is_settled(&metadata).then(|| (identity, Arc::clone(&users)));
        *self.last.borrow_mut() = keep;
        Ok(users)
    }
}

fn identity(of: &Metadata) -> Identity {
    (of.dev(), of.ino(), of.len(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()))
}

/// Whether a later change of the file would show in its times.
fn is_settled(of: &Metadata) -> bool {
    let changed =
        u64::try_from(of.ctime()).map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|since| since > MTIME_GRANULARITY))
}

impl Users {
    /// Reads the lines of the file as iperf3 does: comments, empty lines and lines without a comma are
    /// skipped, and so are further fields.
    pub(super) fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| line.len() <= LINE_BYTES_MAX);
        Self(lines.filter_map(User::parse).collect())
    }

    /// Looks at every user to the end, wherever the name stands and whether it is there at all.
    pub(super) fn check(&self, name: &[u8], password: &[u8]) -> PasswordCheck {
        self.check_by(name, password, |one, other| verify_slices_are_equal(one, other).is_ok())
    }

    fn check_by(
        &self,
        name: &[u8],
        password: &[u8],
        mut equal: impl FnMut(&Digest, &Digest) -> bool,
    ) -> PasswordCheck {
        let hash = hex(&sha256(&[b"{", name, b"}", password]));
        let sought = User::new(name, hash.as_bytes());
        let (mut is_known, mut is_right) = (false, false);
        for user in &self.0 {
            is_known |= equal(&user.name, &sought.name);
            is_right |= equal(&user.login, &sought.login);
        }
        match (is_right, is_known) {
            (true, _) => PasswordCheck::Right,
            (false, true) => PasswordCheck::WrongPassword,
            (false, false) => PasswordCheck::Unknown,
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
    use super::*;
    use crate::auth::testing::keys::file;

    /// `printf '{mario}rossi' | sha256sum`
    const MARIO: &str = "mario,bf7a49a846d44b454a5d11e7acfaf13d138bbe0b7483aa3e050879700572709b";

    fn check(text: &str, name: &str, password: &str) -> PasswordCheck {
        Users::parse(text.as_bytes()).check(name.as_bytes(), password.as_bytes())
    }

    #[test]
    fn the_line_of_iperf3s_manual() {
        assert_eq!(line("mario", "rossi"), format!("{MARIO}\n"));
        assert_eq!(check(MARIO, "mario", "rossi"), PasswordCheck::Right);
        assert_eq!(check(MARIO, "mario", "rossI"), PasswordCheck::WrongPassword);
        assert_eq!(check(MARIO, "Mario", "rossi"), PasswordCheck::Unknown);
    }

    #[test]
    fn what_is_a_line() {
        let (mario, luigi) = (line("mario", "rossi"), line("luigi", "verdi"));
        let bare = mario.trim_end();
        let long = "x".repeat(1024 - bare.len());
        for (text, expected) in [
            (String::new(), PasswordCheck::Unknown),
            (format!("# users\n\n{luigi}nobody\n{mario}"), PasswordCheck::Right),
            (format!("{mario}{luigi}"), PasswordCheck::Right),
            (format!("{bare}\r\n"), PasswordCheck::Right),
            (format!("{bare},a comment\n"), PasswordCheck::Right),
            (format!(",{bare}\n"), PasswordCheck::Right),
            (format!("mario,{}\n{mario}", "0".repeat(64)), PasswordCheck::Right),
            (format!("{bare},{}\n", &long[2..]), PasswordCheck::Right),
            (format!("{bare},{long}\n"), PasswordCheck::Unknown),
            (format!("#{mario}"), PasswordCheck::Unknown),
            (format!(" {mario}"), PasswordCheck::Unknown),
            ("mario,\n".to_owned(), PasswordCheck::Unknown),
            ("mario,rossi\n".to_owned(), PasswordCheck::WrongPassword),
            (mario.to_uppercase().replace("MARIO", "mario"), PasswordCheck::WrongPassword),
        ] {
            assert_eq!(check(&text, "mario", "rossi"), expected, "{text}");
        }
    }

    #[test]
    fn every_search_compares_as_often() {
        let text: String = (0..100).map(|number| line(&format!("user{number}"), "secret")).collect();
        let users = Users::parse(text.as_bytes());
        for (name, password, expected) in [
            ("user0", "secret", PasswordCheck::Right),
            ("user99", "secret", PasswordCheck::Right),
            ("user0", "wrong", PasswordCheck::WrongPassword),
            ("user99", "", PasswordCheck::WrongPassword),
            ("nobody", "secret", PasswordCheck::Unknown),
            ("", "", PasswordCheck::Unknown),
        ] {
            let mut compared = 0;
            let found = users.check_by(name.as_bytes(), password.as_bytes(), |one, other| {
                compared += 1;
                one == other
            });
            assert_eq!((found, compared), (expected, 200), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_none() {
        let read = |path: &Path| UsersFile::new(path).read();
        assert!(read(Path::new("/nonexistent")).is_err());
        let pipe = file("pipe", b"").with_file_name("users-pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for none in [Path::new("/dev/zero"), &pipe, &std::env::temp_dir()] {
            let error = read(none).err().unwrap();
            assert!(error.to_string().contains("no regular file"), "{none:?}: {error}");
        }
        let long = file("long", b"");
        std::fs::File::options().write(true).open(&long).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = read(&long).err().unwrap();
        assert!(error.to_string().contains("larger than 16777216 bytes"), "{error}");
        let users = read(&file("some-users", line("mario", "rossi").as_bytes())).unwrap();
        assert_eq!(users.check(b"mario", b"rossi"), PasswordCheck::Right);
    }

    #[test]
    fn a_file_is_read_again_when_it_may_have_changed() {
        let settled = UsersFile::new(Path::new("/etc/passwd"));
        assert!(Arc::ptr_eq(&settled.read().unwrap(), &settled.read().unwrap()));
        let path = file("changing", line("mario", "rossi").as_bytes());
        let changing = UsersFile::new(&path);
        for name in ["mario", "luigi", "peach"] {
            // Of one length, and most likely within one tick of the clock.
            std::fs::write(&path, line(name, "rossi")).unwrap();
            assert_eq!(changing.read().unwrap().check(name.as_bytes(), b"rossi"), PasswordCheck::Right);
        }
        let other = file("other", line("daisy", "rossi").as_bytes());
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(changing.read().unwrap().check(b"daisy", b"rossi"), PasswordCheck::Right);
    }
}
