//! Values that are kept for later: a few of them in memory, many of them in a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::sys::{error_message, unnamed_file};

/// Bytes that are kept in memory. No test of an ordinary length has more, so most never have a file.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the length in front of each value.
const LENGTH_BYTES: usize = size_of::<u32>();

/// What a spool can keep.
pub(super) trait Record: Sized {
    /// Appends the value to `bytes`.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// The value that is all of these bytes; `None` if they are none.
    fn decode(bytes: Vec<u8>) -> Option<Self>;
}

impl Record for String {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Self::from_utf8(bytes).ok()
    }
}

/// Any number of values of which not more than a few MiB are in memory.
///
/// The file has no name and is gone with the last copy of the spool. Copies share it; only one of them may go
/// on growing.
#[derive(Debug)]
pub(super) struct Spool<T> {
    /// Values that are not in the file, each behind its length.
    recent: Vec<u8>,
    file: Option<Arc<File>>,
    filed_bytes: u64,
    /// The file could not be made or has no room, so nothing more goes there.
    is_full: bool,
    values: PhantomData<T>,
}

impl<T> Default for Spool<T> {
    fn default() -> Self {
        Self { recent: Vec::new(), file: None, filed_bytes: 0, is_full: false, values: PhantomData }
    }
}

impl<T: Record> Spool<T> {
    /// Keeps a value. Returns a warning, once, when the values have to stay in memory.
    pub(super) fn push(&mut self, value: &T) -> Option<String> {
        let start = self.recent.len();
        self.recent.extend_from_slice(&[0; LENGTH_BYTES]);
        value.encode(&mut self.recent);
        let length = self.recent.len() - start - LENGTH_BYTES;
        let length = u32::try_from(length).expect("no value has 4 GiB");
        self.recent[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        if self.recent.len() < MEMORY_BYTES || self.is_full {
            return None;
        }
        match self.file_recent() {
            Ok(()) => {
                self.recent.clear();
                None
            }
            Err(error) => {
                self.is_full = true;
                let why = error_message(&error);
                Some(format!("no temporary file for the intervals, they stay in memory: {why}"))
            }
        }
    }

    /// All values in their order.
    pub(super) fn values(&self) -> Values<T> {
        let copy = Self { recent: self.recent.clone(), file: self.file.clone(), ..*self };
        copy.into_values()
    }

    /// All values in their order, without a second copy of those in memory.
    pub(super) fn into_values(self) -> Values<T> {
        let filed = Filed { file: self.file, position: 0, end: self.filed_bytes };
        let source = BufReader::new(filed).chain(Cursor::new(self.recent));
        Values { source, has_failed: false, values: PhantomData }
    }

    /// What it holds in memory.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.recent.capacity()
    }

    /// Takes from the file all behind its first `bytes` bytes.
    #[cfg(test)]
    pub(super) fn cut_file(&self, bytes: usize) {
        let file = self.file.as_ref().expect("there is a file");
        file.set_len(u64::try_from(bytes).expect("a usize fits a u64 on Linux")).expect("it is our own");
    }

    /// What a write that failed has left behind is overwritten or not read.
    fn file_recent(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(unnamed_file()?)),
        };
        file.write_all_at(&self.recent, self.filed_bytes)?;
        self.filed_bytes += u64::try_from(self.recent.len()).expect("a usize fits a u64 on Linux");
        Ok(())
    }
}

/// The values of a spool. The first error is the end of what can be had.
#[derive(Debug)]
pub(super) struct Values<T> {
    source: Chain<BufReader<Filed>, Cursor<Vec<u8>>>,
    has_failed: bool,
    values: PhantomData<T>,
}

impl<T: Record> Values<T> {
    fn read(&mut self) -> io::Result<Option<T>> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut length = [0; LENGTH_BYTES];
        self.source.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let mut bytes = Vec::new();
        self.source.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        T::decode(bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl<T: Record> Iterator for Values<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        if self.has_failed {
            return None;
        }
        let next = self.read().transpose();
        self.has_failed = matches!(next, Some(Err(_)));
        next
    }
}

/// The part that is in the file. It has a position of its own, so that it may be read while others write.
#[derive(Debug)]
struct Filed {
    file: Option<Arc<File>>,
    position: u64,
    end: u64,
}

impl Read for Filed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = file.read_at(&mut buffer[..most], self.position)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += u64::try_from(read).expect("a usize fits a u64 on Linux");
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of about a hundred bytes.
    fn line(number: usize) -> String {
        format!("{number} {}", "é".repeat(50))
    }

    fn filled(lines: usize) -> Spool<String> {
        let mut spool = Spool::default();
        for number in 0..lines {
            assert_eq!(spool.push(&line(number)), None);
        }
        spool
    }

    fn assert_holds(spool: &Spool<String>, lines: usize) {
        let mut numbers = 0..lines;
        for read in spool.values() {
            assert_eq!(read.unwrap(), line(numbers.next().unwrap()));
        }
        assert_eq!(numbers.next(), None);
    }

    #[test]
    fn few_lines_have_no_file_and_many_little_memory() {
        assert_holds(&filled(0), 0);
        let few = filled(1000);
        assert!(few.file.is_none());
        assert_holds(&few, 1000);
        // Copies are made at any time, and the spool goes on afterwards.
        let mut many = filled(200_000);
        assert!(many.filed_bytes > 16 * 1024 * 1024 && many.memory_bytes() <= 2 * MEMORY_BYTES);
        assert_holds(&many, 200_000);
        assert_eq!(many.push(&line(200_000)), None);
        assert_holds(&many, 200_001);
    }

    #[test]
    fn a_file_without_room_is_told_of_once_and_nothing_is_lost() {
        let mut spool = filled(100_000);
        // A file that takes no bytes stands for a disk without room.
        let read_only = Arc::new(File::open("/proc/self/exe").unwrap());
        let filed = std::mem::replace(spool.file.as_mut().unwrap(), read_only);
        let warnings: Vec<_> = (100_000..200_000).filter_map(|number| spool.push(&line(number))).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("no temporary file for the intervals, they stay in memory: "));
        spool.file = Some(filed);
        assert_holds(&spool, 200_000);
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let spool = filled(100_000);
        spool.cut_file(150);
        let mut lines = spool.values();
        assert_eq!(lines.next().unwrap().unwrap(), line(0));
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none(), "the first error is the end");
    }
}
