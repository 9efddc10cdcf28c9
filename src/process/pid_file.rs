//! The file that says which process runs.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use crate::sys::error_message;

/// Most bytes of a pid file; a longer file is none.
const BYTES_MAX: u64 = 32;

/// A file with the number of this process, which is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// The process that the file names runs.
    #[error("Another instance of ringperf appears to be running (process {pid}, named by {path})")]
    Running {
        /// Its number.
        pid: i32,
        /// The file.
        path: String,
    },
    /// The file is no pid file, and would be lost.
    #[error("{path} is not a pid file: {why}; choose another name or remove it")]
    Foreign {
        /// The file.
        path: String,
        /// What the file is instead.
        why: &'static str,
    },
    /// Another process keeps the file locked, perhaps while it starts.
    #[error("{path} is locked by another process; wait for it, or choose another name")]
    Locked {
        /// The file.
        path: String,
    },
    /// The system's answer.
    #[error("unable to write the pid file {path}: {}", error_message(source))]
    System {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl PidFile {
    /// Writes the number of this process into the file of that name, unless the process that it names runs.
    /// The file can be read by nobody else (mode 0600).
    ///
    /// # Errors
    /// [`PidFileError`].
    pub fn create(path: &Path) -> Result<Self, PidFileError> {
        let name = || path.display().to_string();
        let failed = |source: io::Error| PidFileError::System { path: name(), source };
        let foreign = |why| PidFileError::Foreign { path: name(), why };
        // A link is not followed: in a folder that others can write to it could lead anywhere.
        let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(foreign("it is a link")),
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(foreign("it is no regular file"));
        }
        if metadata.nlink() > 1 {
            return Err(foreign("it has other names, too (hard links)"));
        }
        // Its owner could name any process in it, now or later.
        if metadata.uid() != geteuid().as_raw() {
            return Err(foreign("it belongs to another user"));
        }
        // Of two that start at the same moment one is first, and the other does not wait for it.
        let mut file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                Errno::EWOULDBLOCK => PidFileError::Locked { path: name() },
                errno => failed(errno.into()),
            })?;
        match read_pid(&mut file).map_err(failed)? {
            Content::Pid(pid) if is_another_process(pid) => {
                return Err(PidFileError::Running { pid, path: name() });
            }
            Content::Pid(_) | Content::Nothing => {}
            Content::SomethingElse => return Err(foreign("it holds something else")),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another user may have put a file of their own there.
        let mut options = OpenOptions::new();
        let own = options.read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(&self.path);
        if let Ok(mut file) = own
            && matches!(read_pid(&mut file), Ok(Content::Pid(pid)) if Pid::from_raw(pid) == Pid::this())
        {
            // A file that cannot be removed names a process that is gone, which the next one will notice.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The content of a file that may be a pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Pid(i32),
    SomethingElse,
}

fn read_pid(file: &mut File) -> io::Result<Content> {
    let mut text = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    let Ok(text) = std::str::from_utf8(&text) else { return Ok(Content::SomethingElse) };
    Ok(match text.trim() {
        "" => Content::Nothing,
        // 0 and negative numbers mean whole groups to kill(2).
        number => match number.parse() {
            Ok(pid @ 1..) => Content::Pid(pid),
            _ => Content::SomethingElse,
        },
    })
}

/// In containers a process may well find its own number in the file of the one before.
fn is_another_process(pid: i32) -> bool {
    let pid = Pid::from_raw(pid);
    pid != Pid::this() && kill(pid, None) != Err(Errno::ESRCH)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    if file.metadata()?.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", Pid::this())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringperf-pid-{name}-{}", Pid::this()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_has_the_number_while_it_is_held() {
        let folder = Folder::new("held");
        let path = folder.0.join("pid");
        let own = Pid::this().to_string();
        for stale in [None, Some(""), Some("2147483647"), Some("2147483647\n"), Some(own.as_str())] {
            if let Some(stale) = stale {
                fs::write(&path, stale).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            }
            let held = PidFile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), own);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            drop(held);
            assert!(!path.exists(), "{stale:?}");
        }
    }

    #[test]
    fn a_running_process_and_the_files_of_others_are_respected() {
        let folder = Folder::new("others");
        let path = folder.0.join("pid");
        let cases = [
            ("1", "Another instance of ringperf appears to be running (process 1, named by "),
            ("key = value\n", "is not a pid file: it holds something else"),
            ("0", "is not a pid file"),
            ("-1", "is not a pid file"),
            ("99999999999999999999", "is not a pid file"),
        ];
        for (content, expected) in cases {
            fs::write(&path, content).unwrap();
            let error = PidFile::create(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{content}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn links_and_devices_are_no_pid_files() {
        let folder = Folder::new("links");
        let (target, link) = (folder.0.join("target"), folder.0.join("link"));
        fs::write(&target, "2147483647").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = PidFile::create(&link).unwrap_err().to_string();
        assert!(error.contains("is not a pid file: it is a link"), "{error}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "2147483647");
        let error = PidFile::create(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("/dev/null is not a pid file: it is no regular file"), "{error}");
        let error = PidFile::create(&folder.0.join("no/pid")).unwrap_err().to_string();
        assert!(error.contains("unable to write the pid file"), "{error}");
    }

    #[test]
    fn a_file_with_other_names_or_of_another_user_is_no_pid_file() {
        let folder = Folder::new("names");
        let (path, other) = (folder.0.join("pid"), folder.0.join("other"));
        fs::write(&other, "2147483647").unwrap();
        fs::hard_link(&other, &path).unwrap();
        let error = PidFile::create(&path).unwrap_err().to_string();
        assert!(error.contains("it has other names"), "{error}");
        fs::remove_file(&other).unwrap();
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let error = PidFile::create(&path).unwrap_err().to_string();
            assert!(error.contains("it belongs to another user"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "2147483647");
    }

    #[test]
    fn a_locked_file_is_not_waited_for() {
        let folder = Folder::new("locked");
        let path = folder.0.join("pid");
        let file = File::create(&path).unwrap();
        let _held = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
        let error = PidFile::create(&path).unwrap_err().to_string();
        assert!(error.contains("is locked by another process"), "{error}");
    }

    #[test]
    fn a_file_that_somebody_else_has_put_there_stays() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("pid");
        let held = PidFile::create(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    }
}
