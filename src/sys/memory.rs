//! Memory that the kernel reads payload from or writes it to.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice, vmsplice};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use nix::sys::sendfile::sendfile;

use super::headroom::take;

/// Size of a huge page on x86-64 and on arm64 with 4 KiB pages.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Page-aligned anonymous memory with an address that never changes.
///
/// The kernel may read or write it behind Rust's back while an operation is in flight: whoever starts
/// operations on it owns it (see [`super::uring::Ring`]) and lends slices only while nothing is in flight.
#[derive(Debug)]
pub struct Region {
    address: NonNull<u8>,
    mapped_bytes: NonZeroUsize,
    bytes: usize,
    /// Whether its memory is mapped at several addresses.
    repeats: bool,
}

// SAFETY: a Region is the only owner of its mapping, and nothing about a mapping is tied to the thread that
// made it.
unsafe impl Send for Region {}

impl Region {
    /// Maps `bytes` bytes of zeros, in huge pages where the system gives them and the region fills one.
    ///
    /// # Errors
    /// The system's, most likely ENOMEM.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let huge = bytes >= HUGE_PAGE_BYTES;
        let unit = if huge { HUGE_PAGE_BYTES } else { 4096 };
        let mapped_bytes = NonZeroUsize::new(bytes.max(1).next_multiple_of(unit)).expect("at least one unit");
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice touches no other
        // memory.
        let map = || unsafe {
            mmap_anonymous(
                None,
                mapped_bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
            )
        };
        let address = take(mapped_bytes.get(), || Ok(map()?))?;
        let region = Self { address: address.cast(), mapped_bytes, bytes, repeats: false };
        if huge {
            // SAFETY: the range is exactly the mapping made above. Advice only: a refusal costs speed,
            // nothing else.
            let _ = unsafe { madvise(address, mapped_bytes.get(), MmapAdvise::MADV_HUGEPAGE) };
        }
        Ok(region)
    }

    /// Maps `contents` `times` times, one after the other, and keeps it in memory once: as long as it may be
    /// for the kernel, and as small as it is for the processor's cache.
    ///
    /// # Errors
    /// The system's; EINVAL unless `contents` fills whole pages.
    pub fn repeating(contents: &[u8], times: usize) -> io::Result<Self> {
        let file = File::from(memfd_create(c"ringperf-payload", MFdFlags::MFD_CLOEXEC)?);
        (&file).write_all(contents)?;
        let part_bytes = NonZeroUsize::new(contents.len()).filter(|bytes| bytes.get().is_multiple_of(4096));
        let (part_bytes, times) = part_bytes.zip(NonZeroUsize::new(times)).ok_or(Errno::EINVAL)?;
        let mapped_bytes = part_bytes.checked_mul(times).ok_or(Errno::EINVAL)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let map =
            || unsafe { mmap_anonymous(None, mapped_bytes, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) };
        let bytes = mapped_bytes.get();
        let address = take(bytes, || Ok(map()?))?;
        let region = Self { address: address.cast(), mapped_bytes, bytes, repeats: true };
        // Registration with io_uring asks for memory that may be written.
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        for part in 0..times.get() {
            let place = region.address.as_ptr().addr() + part * part_bytes.get();
            // SAFETY: the range lies inside the mapping made above, which nobody has used yet, and takes the
            // place of that part of it. The file stays as long as it is mapped.
            unsafe {
                let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
                mmap(NonZeroUsize::new(place), part_bytes, access, flags, &file, 0)
            }?;
        }
        Ok(region)
    }

    /// Bytes asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether no byte was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is readable, at least `bytes` long, initialised by the kernel, and lives as
        // long as self.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.bytes) }
    }

    /// Its bytes, to be changed.
    ///
    /// # Panics
    /// If the region repeats itself: a byte would change at several places.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        assert!(!self.repeats, "what repeats itself is never changed");
        // SAFETY: as in `as_slice`; `&mut self` makes this the only Rust reference.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.bytes) }
    }

    /// Start of the memory, for operations that the kernel does on its own time.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no slice of it outlives self. Ring leaks the Region instead of
        // dropping it when the kernel may still be using it.
        let unmapped = unsafe { munmap(self.address.cast(), self.mapped_bytes.get()) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}

/// A file without a name that holds one block of payload: the source of sendfile(2).
///
/// It lies in the directory for temporary files, as iperf3's does, or in memory where that is not possible.
/// The page cache of a disk file system keeps it in large folios, which become few fragments; a memory file
/// is made of single pages unless the system has huge pages for shared memory, and was a quarter slower.
#[derive(Debug)]
pub struct PayloadFile {
    file: File,
}

/// A file without a name in the folder for temporary files, which is gone when it is closed.
///
/// # Errors
/// The system's, for example when the file system of that folder has no such files.
pub fn unnamed_file() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    options.open(temporary_folder())
}

/// The folder for temporary files, by the variables that iperf3 looks at, in its order.
fn temporary_folder() -> PathBuf {
    let named = ["TMPDIR", "TEMP", "TMP"].into_iter().find_map(std::env::var_os);
    named.filter(|folder| !folder.is_empty()).map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

impl PayloadFile {
    /// Makes a file with these contents.
    ///
    /// # Errors
    /// The system's, most likely ENOMEM or EMFILE.
    pub fn new(contents: &[u8]) -> io::Result<Self> {
        let on_disk = unnamed_file().and_then(|file| Self::filled(file, contents));
        on_disk.or_else(|_| {
            let file = memfd_create(c"ringperf-payload", MFdFlags::MFD_CLOEXEC)?;
            Self::filled(File::from(file), contents)
        })
    }

    fn filled(mut file: File, contents: &[u8]) -> io::Result<Self> {
        file.write_all(contents)?;
        Ok(Self { file })
    }

    /// Sends the first `bytes` bytes through `socket` and returns how many went.
    ///
    /// # Errors
    /// The socket's; EAGAIN when its send timeout is over.
    pub fn send_to(&self, socket: impl AsFd, bytes: usize) -> io::Result<usize> {
        let mut offset = 0;
        Ok(sendfile(socket, &self.file, Some(&mut offset), bytes)?)
    }
}

/// Sends up to `bytes` bytes of `file` from where it stands through `socket`, without a copy in this process,
/// and returns how many went; 0 means that the file is at its end.
///
/// # Errors
/// The socket's, EAGAIN when its send timeout is over; EINVAL for a file that cannot be read this way.
pub fn send_file(file: &File, socket: impl AsFd, bytes: usize) -> io::Result<usize> {
    Ok(sendfile(socket, file, None, bytes)?)
}

/// Pieces of memory that are put into a pipe at once.
const SLICES_MAX: usize = 32;

/// A pipe that carries references to pages, from memory to a socket.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// Makes a pipe for about `bytes` bytes; it may get smaller than that where the system's limit is lower.
    ///
    /// # Errors
    /// The system's, most likely EMFILE.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut wanted = bytes;
        let capacity = loop {
            let size = i32::try_from(wanted).unwrap_or(i32::MAX);
            match fcntl(&write, FcntlArg::F_SETPIPE_SZ(size)) {
                Ok(size) => break usize::try_from(size).unwrap_or(0),
                Err(_) if wanted > 64 * 1024 => wanted /= 2,
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self { read, write, capacity })
    }

    /// Bytes that the pipe really holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Puts references to the pages of `memory` into the pipe, over and over again up to `bytes` bytes, and
    /// returns how many bytes they cover.
    ///
    /// The pages are not copied: whoever changes `memory` before it has left the socket changes what is sent.
    ///
    /// # Errors
    /// The system's; EAGAIN when the pipe is full.
    pub fn fill_from(&self, memory: &[u8], bytes: usize) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut left = bytes;
        let mut count = 0;
        while left > 0 && count < SLICES_MAX {
            let part = left.min(memory.len());
            slices[count] = IoSlice::new(&memory[..part]);
            left -= part;
            count += 1;
        }
        Ok(vmsplice(&self.write, &slices[..count], SpliceFFlags::SPLICE_F_NONBLOCK)?)
    }

    /// Moves up to `bytes` bytes of the pipe into `socket` and returns how many went.
    ///
    /// # Errors
    /// The socket's; EAGAIN when its send timeout is over.
    pub fn drain_to(&self, socket: impl AsFd, bytes: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, bytes, SpliceFFlags::SPLICE_F_MOVE)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_writable_and_of_the_size_asked_for() {
        for bytes in [1, 4096, 5000, 3 * 1024 * 1024] {
            let mut region = Region::new(bytes).unwrap();
            assert_eq!(region.len(), bytes);
            assert!(region.as_slice().iter().all(|&byte| byte == 0));
            region.as_mut_slice().fill(7);
            assert_eq!(region.as_slice()[bytes - 1], 7);
        }
    }

    #[test]
    fn a_repeating_region_is_one_piece_of_memory_at_many_places() {
        let contents: Vec<u8> = (0..=255).cycle().take(8192).collect();
        let region = Region::repeating(&contents, 3).unwrap();
        assert_eq!(region.len(), 3 * 8192);
        assert!(region.as_slice().chunks(8192).all(|part| part == contents));
        for (bytes, times) in [(5000, 2), (0, 2), (4096, 0)] {
            let refused = Region::repeating(&contents[..bytes], times).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{bytes} {times}");
        }
    }

    #[test]
    #[should_panic(expected = "never changed")]
    fn what_repeats_itself_is_not_lent_out_to_be_changed() {
        Region::repeating(&[0; 4096], 2).unwrap().as_mut_slice()[0] = 1;
    }

    #[test]
    fn a_payload_file_is_sent_from_its_beginning_every_time() {
        use std::io::Read;
        let file = PayloadFile::new(&[7; 5000]).unwrap();
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        for _ in 0..2 {
            assert_eq!(file.send_to(&near, 5000).unwrap(), 5000);
            let mut received = [0; 5000];
            far.read_exact(&mut received).unwrap();
            assert_eq!(received, [7; 5000]);
        }
    }

    #[test]
    fn a_pipe_takes_pages_and_gives_them_to_a_socket() {
        let region = Region::new(64 * 1024).unwrap();
        let pipe = Pipe::new(64 * 1024).unwrap();
        assert!(pipe.capacity() >= 64 * 1024);
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        let filled = pipe.fill_from(&region.as_slice()[..4096], 10_000).unwrap();
        assert_eq!(filled, 10_000);
        assert_eq!(pipe.drain_to(&left, filled).unwrap(), 10_000);
        drop((left, right));
    }
}
