//! Where the text of a report goes: standard output and standard error, a log file, or nowhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::sys::{open_unless_misled, plain};

/// Where the report goes.
#[derive(Debug)]
pub enum Sink {
    /// Reports to standard output, warnings and errors to standard error.
    Standard,
    /// All of it to the end of a file.
    LogFile(LogFile),
    /// Nowhere: the reporter keeps what it wants to keep.
    Nowhere,
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

    fn write(&mut self, text: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(append_to(&self.path)?),
        };
        file.write_all(text.as_bytes())
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
    let opened = open_unless_misled(path, flags, Mode::from_bits_truncate(0o666));
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::new(error.kind(), "it is a pipe that nobody reads"),
        _ => error,
    })?;
    // A reader that is slow is waited for.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

/// The writer behind the report thread. Everything it is given is on its way to the reader when it returns.
#[derive(Debug)]
pub(super) struct Output {
    sink: Sink,
    /// The last write failed, and standard error has been told.
    failed: bool,
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink, failed: false }
    }

    /// Writes lines of the report.
    pub(super) fn report(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let written = match &mut self.sink {
            // What has broken once does not mend.
            Sink::Standard if self.failed => return,
            Sink::Standard => to_standard_output(text),
            Sink::LogFile(log) => log.write(text),
            Sink::Nowhere => Ok(()),
        };
        self.note(written);
    }

    /// Writes a line that is a warning or an error.
    pub(super) fn complain(&mut self, text: &str) {
        match &mut self.sink {
            Sink::Standard => to_standard_error(text),
            Sink::LogFile(_) => self.report(text),
            Sink::Nowhere => {}
        }
    }

    /// A test is over, or none has begun: no log file is kept open.
    pub(super) fn rest(&mut self) {
        if let Sink::LogFile(log) = &mut self.sink {
            log.rest();
        }
    }

    /// Whether the last write succeeded.
    pub(super) fn is_well(&self) -> bool {
        !self.failed
    }

    /// A disk that stays full is told of once.
    fn note(&mut self, written: io::Result<()>) {
        let failed_before = std::mem::replace(&mut self.failed, written.is_err());
        if let (Err(error), false) = (written, failed_before) {
            let whereto = match &self.sink {
                Sink::LogFile(log) => format!(" to {}", log.path.display()),
                Sink::Standard | Sink::Nowhere => String::new(),
            };
            to_standard_error(&format!(
                "ringperf: error - unable to write the report{whereto}: {}\n",
                plain(&error)
            ));
        }
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

fn to_standard_output(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
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

    #[test]
    fn a_log_file_that_is_moved_away_between_two_tests_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("ringperf-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        fs::write(&path, "before\n").unwrap();
        let mut output = Output::new(Sink::LogFile(LogFile::open(&path).unwrap()));
        output.report("row 1\n");
        fs::rename(&path, &moved).unwrap();
        output.complain("error 1\n");
        output.rest();
        output.report("row 2\n");
        assert!(output.is_well());
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
            output.report("row\n");
            done.send(output.is_well()).unwrap();
        });
        let is_well = is_done.recv_timeout(std::time::Duration::from_secs(10));
        fs::remove_file(&pipe).unwrap();
        assert_eq!(is_well, Ok(false));
    }

    #[test]
    fn a_full_disk_is_noticed_and_may_be_over_later() {
        let mut output = Output::new(Sink::LogFile(LogFile::open(Path::new("/dev/full")).unwrap()));
        output.report("");
        assert!(output.is_well());
        output.report("row\n");
        assert!(!output.is_well());
        output.sink = Sink::LogFile(LogFile::open(Path::new("/dev/null")).unwrap());
        output.report("row\n");
        assert!(output.is_well());
    }

    #[test]
    fn a_missing_folder_is_an_error_at_once() {
        let error = LogFile::open(Path::new("/no/such/folder/log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
