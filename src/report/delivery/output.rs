//! Where the output of a reporter goes: standard output and standard error, a log file, any writer, or
//! nowhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::sys::{error_message, open_trusted};

/// Where the output of a reporter goes.
pub enum Sink {
    /// Reports to standard output, warnings and errors to standard error.
    Standard,
    /// All of it to the end of a file.
    LogFile(LogFile),
    /// Reports to this writer, each in as many calls as the reporter makes. Warnings and errors go nowhere:
    /// it has them if the reporter writes them there.
    Writer(Box<dyn Write + Send>),
    /// Nowhere: the reporter keeps what it wants to keep.
    Nowhere,
}

/// Some of the report could not be written. Standard error has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to write the report")]
pub struct Unwritten {
    /// What kind of failure the last write of a sink was, that of the first observer whose last one failed.
    /// `TimedOut` where nobody has read the report in time.
    pub kind: io::ErrorKind,
}

impl Unwritten {
    /// The report thread is gone.
    pub(super) const GONE: Self = Self { kind: io::ErrorKind::NotConnected };
    /// The time for writing is over.
    pub(super) const TOO_LATE: Self = Self { kind: io::ErrorKind::TimedOut };
}

/// A file to which reports are added.
///
/// It is open only while a test runs, and found by its name again for the next one, so that it can be moved
/// away in between. A pipe stays open: its reader sees one stream, and opening it anew would wait for a
/// reader that may be gone for good.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    /// Opens the file, or makes it if it is not there.
    ///
    /// # Errors
    /// The system's, for example when its folder is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Some(append_to(path)?) })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(append_to(&self.path)?),
        };
        file.write_all(bytes)
    }

    /// Lets go of the file until the next test.
    fn rest(&mut self) {
        let is_pipe = |file: &File| file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        self.file = self.file.take().filter(is_pipe);
    }
}

/// Does not wait for somebody to read a pipe, which is an error if nobody does.
fn append_to(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK;
    let opened = open_trusted(path, flags, Mode::from_bits_truncate(0o666));
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::new(error.kind(), "it is a pipe that nobody reads"),
        _ => error,
    })?;
    // A reader that is slow is waited for.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

/// The writer behind an observer. Everything it is given is on its way to the reader when it returns.
pub(super) struct Output {
    sink: Sink,
    /// What kind of failure the last write was, if it was one; that has been told.
    failed: Option<io::ErrorKind>,
}

/// A sink has begun to fail.
#[derive(Debug, thiserror::Error)]
#[error("unable to write the report{whereto}: {}", error_message(source))]
pub(super) struct Failure {
    /// Empty, or a clause with the name of the file.
    whereto: String,
    source: io::Error,
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink, failed: None }
    }

    /// Takes note of what became of an event's output, and returns what is to be told: a disk that stays full
    /// is told of once.
    pub(super) fn note(&mut self, written: io::Result<()>) -> Option<Failure> {
        let source = written.err()?;
        let failed_before = self.failed.replace(source.kind()).is_some();
        let whereto = match &self.sink {
            Sink::LogFile(log) => format!(" to {}", log.path.display()),
            Sink::Standard | Sink::Writer(_) | Sink::Nowhere => String::new(),
        };
        (!failed_before).then_some(Failure { whereto, source })
    }

    /// Writes lines that are warnings or errors. Returns what is to be told as [`Self::note`] does.
    pub(super) fn complain(&mut self, text: &str) -> Option<Failure> {
        match &mut self.sink {
            Sink::Standard => to_standard_error(text),
            Sink::LogFile(_) => {
                let written = self.write_all(text.as_bytes());
                return self.note(written);
            }
            Sink::Writer(_) | Sink::Nowhere => {}
        }
        None
    }

    /// A test is over, or none has begun: no log file is kept open.
    pub(super) fn rest(&mut self) {
        if let Sink::LogFile(log) = &mut self.sink {
            log.rest();
        }
    }

    /// What kind of failure the last write was, if it was one.
    pub(super) fn failed(&self) -> Option<io::ErrorKind> {
        self.failed
    }

    pub(super) fn is_standard(&self) -> bool {
        matches!(self.sink, Sink::Standard)
    }
}

impl Write for Output {
    /// Takes all of it, or fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match (&mut self.sink, self.failed) {
            // What has broken once does not mend.
            (Sink::Standard, Some(kind)) => return Err(kind.into()),
            (Sink::Standard, None) => to_standard_output(bytes)?,
            (Sink::LogFile(log), _) => log.append(bytes)?,
            (Sink::Writer(writer), _) => writer.write_all(bytes).and_then(|()| writer.flush())?,
            (Sink::Nowhere, _) => {}
        }
        self.failed = None;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells that the rest of the report is given up, while its own thread still waits for somebody to take it.
pub(super) fn complain_of_no_reader() {
    // Standard error may be the very thing that nobody reads.
    let error = io::stderr();
    let mut ready = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO) == Ok(1) {
        to_standard_error("ringperf: error - unable to write the report: nobody reads it\n");
    }
}

fn to_standard_output(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
}

pub(super) fn to_standard_error(text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    /// Writes lines as an observer does.
    fn report(output: &mut Output, text: &str) -> Option<Failure> {
        let written = output.write_all(text.as_bytes());
        output.note(written)
    }

    #[test]
    fn a_log_file_that_is_moved_away_between_two_tests_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("ringperf-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        fs::write(&path, "before\n").unwrap();
        let mut output = Output::new(Sink::LogFile(LogFile::open(&path).unwrap()));
        assert!(report(&mut output, "row 1\n").is_none());
        fs::rename(&path, &moved).unwrap();
        assert!(output.complain("error 1\n").is_none());
        output.rest();
        assert!(report(&mut output, "row 2\n").is_none());
        assert_eq!(output.failed(), None);
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\nrow 1\nerror 1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "row 2\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pipe_without_its_reader_holds_nothing_up() {
        let pipe = std::env::temp_dir().join(format!("ringperf-output-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Both ends at once, so that nobody waits.
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let mut output = Output::new(Sink::LogFile(LogFile::open(&pipe).unwrap()));
        output.rest();
        drop(reader);
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let failure = report(&mut output, "row\n").map(|failure| failure.to_string());
            done.send((failure, output.failed().is_some())).unwrap();
        });
        let told = is_done.recv_timeout(std::time::Duration::from_secs(10));
        fs::remove_file(&pipe).unwrap();
        let line = format!("unable to write the report to {}: Broken pipe", pipe.display());
        assert_eq!(told, Ok((Some(line), true)));
    }

    #[test]
    fn a_full_disk_is_noticed_and_may_be_over_later() {
        let mut output = Output::new(Sink::LogFile(LogFile::open(Path::new("/dev/full")).unwrap()));
        assert!(report(&mut output, "").is_none());
        assert_eq!(output.failed(), None);
        let failure = report(&mut output, "row\n").unwrap();
        assert_eq!(failure.to_string(), "unable to write the report to /dev/full: No space left on device");
        assert!(report(&mut output, "row\n").is_none(), "it is told once");
        assert_eq!(output.failed(), Some(io::ErrorKind::StorageFull));
        assert!(report(&mut output, "").is_none());
        assert_eq!(output.failed(), Some(io::ErrorKind::StorageFull), "nothing was tried");
        output.sink = Sink::LogFile(LogFile::open(Path::new("/dev/null")).unwrap());
        assert!(report(&mut output, "row\n").is_none());
        assert_eq!(output.failed(), None);
    }

    #[test]
    fn a_missing_folder_is_an_error_at_once() {
        let error = LogFile::open(Path::new("/no/such/folder/log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
