//! Where what is known of a machine is read: the machine itself, or what was recorded of one.

use std::fs::{self, File};
use std::io::Read;

use super::reading::{Absence, Reading};

/// Longest file that is read, in bytes. The longest one, `/proc/stat`, has about a hundred for each processor
/// and ten for each interrupt.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Most names of a folder that is listed.
pub const NAMES_MAX: usize = 65_536;
/// Room that a file gets at first, in bytes: enough for most, so that the kernel makes up the text once.
const BUFFER_BYTES: usize = 16 * 1024;

/// Files and folders by their paths, as they are on a machine.
pub trait Source {
    /// The text of a file of at most [`FILE_BYTES_MAX`] bytes. What is no UTF-8 in it is replaced.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, path: &str) -> Reading<String>;

    /// The names in a folder, at most [`NAMES_MAX`] of them, in order.
    ///
    /// # Errors
    /// Why it cannot be listed.
    fn list(&self, folder: &str) -> Reading<Vec<String>>;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Source for Machine {
    fn read(&self, path: &str) -> Reading<String> {
        let file = File::open(path).map_err(|error| Absence::of(&error))?;
        let mut bytes = Vec::with_capacity(BUFFER_BYTES);
        let limit = u64::try_from(FILE_BYTES_MAX).expect("some MiB");
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Absence::of(&error))?;
        text(bytes)
    }

    fn list(&self, folder: &str) -> Reading<Vec<String>> {
        let entries = fs::read_dir(folder).map_err(|error| Absence::of(&error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Absence::of(&error))?;
            if names.len() == NAMES_MAX {
                return Err(Absence::TooLong);
            }
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// What was read of a file, up to a byte more than the limit.
pub(super) fn text(bytes: Vec<u8>) -> Reading<String> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Absence::TooLong);
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_and_folders_are_read_up_to_a_limit() {
        let folder = Folder(std::env::temp_dir().join(format!("ringperf-source-{}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        for (name, bytes, expected) in [
            ("plain", b"1 2\n".to_vec(), Ok("1 2\n".to_owned())),
            ("odd", b"a\xffb".to_vec(), Ok("a\u{fffd}b".to_owned())),
            ("full", vec![b'x'; FILE_BYTES_MAX], Ok("x".repeat(FILE_BYTES_MAX))),
            ("longer", vec![b'x'; FILE_BYTES_MAX + 1], Err(Absence::TooLong)),
        ] {
            fs::write(path(name), bytes).unwrap();
            assert!(Machine.read(&path(name)) == expected, "{name}");
        }
        assert_eq!(
            Machine.list(&path("")),
            Ok(["full", "longer", "odd", "plain"].map(str::to_owned).to_vec())
        );
        assert_eq!(Machine.read(&path("none")), Err(Absence::NotHere));
        assert_eq!(Machine.list(&path("none")), Err(Absence::NotHere));
        assert_eq!(Machine.list(&path("plain")), Err(Absence::NotHere));
        assert_eq!(Machine.read(&path("")), Err(Absence::System(libc::EISDIR)));
        assert_eq!(Machine.read("no\0path"), Err(Absence::NotUnderstood));
    }
}
