//! Files that are opened by a name that others may have turned into a link.
//!
//! Whoever may write to a folder can put a symbolic link there that leads a program of another user, root for
//! example, to a file of that user. Linux has `fs.protected_symlinks` against it, which covers folders that
//! are sticky and open to everybody, where it is switched on.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::geteuid;

/// Most links on the way to a file, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Opens a file as open(2) does, but follows no link that another user has placed: one that belongs neither
/// to this user nor to root, in a folder that its group or everybody may write to.
///
/// # Errors
/// The system's; PermissionDenied with a sentence about such a link.
pub fn open_trusted(path: &Path, flags: OFlag, mode: Mode) -> io::Result<File> {
    let flags = flags | OFlag::O_CLOEXEC;
    let look = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let begin = |path: &Path| open(if path.is_absolute() { "/" } else { "." }, look, mode);
    let mut folder = begin(path)?;
    let mut names = names(path);
    let mut links = 0;
    // Step by step: what is looked at and what is opened is the same, whatever others do meanwhile.
    while let Some(name) = names.pop_front() {
        let wanted = if names.is_empty() { flags } else { look };
        let found = openat(&folder, name.as_os_str(), wanted | OFlag::O_NOFOLLOW, mode);
        let (found, refusal) = match found {
            // So a link refuses to be opened for anything but a look; EACCES where it is to be made.
            Err(refusal @ (Errno::ELOOP | Errno::EACCES)) => {
                (openat(&folder, name.as_os_str(), look | OFlag::O_NOFOLLOW, mode)?, Some(refusal))
            }
            found => (found?, None),
        };
        let status = fstat(&found)?;
        let is_link = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK;
        if let Some(refusal) = refusal.filter(|_| !is_link) {
            return Err(refusal.into());
        }
        folder = match (is_link, names.is_empty()) {
            (false, true) => return Ok(found.into()),
            (false, false) => found,
            (true, is_last) => {
                links += 1;
                is_trusted(&status, &fstat(&folder)?)?;
                if links > LINKS_MAX {
                    return Err(Errno::ELOOP.into());
                }
                if fstatfs(&found)?.filesystem_type() == PROC_SUPER_MAGIC {
                    // What it leads to may have no name, and only the kernel makes links there.
                    let target = openat(&folder, name.as_os_str(), wanted, mode)?;
                    if is_last {
                        return Ok(target.into());
                    }
                    target
                } else {
                    let target = readlinkat(&found, "")?;
                    let target = Path::new(&target);
                    let mut before = self::names(target);
                    before.append(&mut names);
                    names = before;
                    if target.is_absolute() { begin(target)? } else { folder }
                }
            }
        };
    }
    Err(Errno::EISDIR.into())
}

fn names(path: &Path) -> VecDeque<OsString> {
    let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).map(|part| part.as_os_str().to_owned()).collect()
}

fn is_trusted(link: &FileStat, folder: &FileStat) -> io::Result<()> {
    let is_open = Mode::from_bits_truncate(folder.st_mode).intersects(Mode::S_IWGRP | Mode::S_IWOTH);
    if !is_open || [0, geteuid().as_raw()].contains(&link.st_uid) {
        return Ok(());
    }
    let why = "a link on the way belongs to another user, in a folder that others may write to";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    use std::path::PathBuf;

    use super::*;

    /// `open/` is a folder for everybody, `own/` for this user; in each `link` leads to `target`.
    fn folders(name: &str, target: &Path) -> [PathBuf; 2] {
        let root = std::env::temp_dir().join(format!("ringperf-{name}-{}", std::process::id()));
        [("open", 0o1777), ("own", 0o755)].map(|(name, mode)| {
            let folder = root.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
            symlink(target, folder.join("link")).unwrap();
            folder
        })
    }

    fn read(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        open_trusted(path, OFlag::O_RDONLY, Mode::empty())?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_link_is_followed_unless_another_user_may_have_placed_it() {
        let root = std::env::temp_dir().join(format!("ringperf-links-{}", std::process::id()));
        let [open, own] = folders("links", &root);
        fs::write(root.join("file"), "text").unwrap();
        for folder in [&open, &own] {
            // As the last part, on the way, and through a second one.
            symlink("../file", folder.join("last")).unwrap();
            symlink("last", folder.join("second")).unwrap();
            for path in ["last", "second", "link/file", "./link/own/../file"] {
                assert_eq!(read(&folder.join(path)).unwrap(), "text", "{path}");
            }
            symlink("round", folder.join("round")).unwrap();
            assert_eq!(read(&folder.join("round")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        }
        // Only root can give its own links away.
        if geteuid().is_root() {
            for folder in [&open, &own] {
                for link in ["link", "last"] {
                    lchown(folder.join(link), Some(65534), None).unwrap();
                }
            }
            for path in ["last", "second", "link/file"] {
                assert_eq!(read(&own.join(path)).unwrap(), "text", "{path}");
                let error = read(&open.join(path)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{path}");
            }
            let made = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
            assert!(open_trusted(&open.join("last"), made, Mode::S_IRUSR).is_err());
            assert_eq!(read(&root.join("file")).unwrap(), "text", "nothing is cut off");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_no_link_is_opened_as_ever() {
        let null = open_trusted(Path::new("/dev/null"), OFlag::O_WRONLY, Mode::empty());
        assert!(null.is_ok(), "{null:?}");
        // A name that only the kernel can follow.
        let pipe = open_trusted(Path::new("/proc/self/fd/0"), OFlag::O_RDONLY, Mode::empty());
        assert!(pipe.is_ok(), "{pipe:?}");
        for (path, errno) in [
            ("/no/such", libc::ENOENT),
            ("/dev/null/x", libc::ENOTDIR),
            ("", libc::EISDIR),
            ("/", libc::EISDIR),
        ] {
            let error = open_trusted(Path::new(path), OFlag::O_WRONLY, Mode::empty()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "{path}");
        }
        // Makes a file where there is none, with its mode.
        let path = std::env::temp_dir().join(format!("ringperf-made-{}", std::process::id()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
        drop(open_trusted(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        fs::remove_file(&path).unwrap();
        assert_eq!(mode, 0o600);
    }
}
