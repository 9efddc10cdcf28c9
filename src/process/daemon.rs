//! Going into the background.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::sys::{Fork, fork};

/// Exit code of the launching process when the daemon was ended by a signal before it was ready.
const KILLED: u8 = 1;

/// In which of the two processes [`launch`] returned.
#[derive(Debug)]
pub enum Launched {
    /// The process that the user has started, with its exit code: the daemon is ready, or has failed.
    Parent(u8),
    /// The process that is to serve.
    Daemon(Daemon),
}

/// A process on its way into the background.
#[derive(Debug)]
pub struct Daemon {
    ready: PipeWriter,
}

/// Splits this process in two. One of them waits for the other to be ready, the other is in a session of its
/// own, so that nothing that ends the user's session ends it. The working directory stays.
///
/// # Errors
/// The system's, and one if this process has more than one thread.
pub fn launch() -> io::Result<Launched> {
    let (is_ready, ready) = io::pipe()?;
    match fork()? {
        Fork::Parent(child) => {
            drop(ready);
            Ok(Launched::Parent(wait_until_ready(is_ready, child)?))
        }
        Fork::Child => {
            drop(is_ready);
            setsid()?;
            let nothing = dev_null()?;
            dup2_stdin(&nothing)?;
            dup2_stdout(&nothing)?;
            Ok(Launched::Daemon(Daemon { ready }))
        }
    }
}

impl Daemon {
    /// Lets go of the terminal, and of the process that waits. The caller is ready to serve: everything that
    /// can fail at the start has been tried.
    ///
    /// # Errors
    /// The system's.
    pub fn detach(mut self) -> io::Result<()> {
        dup2_stderr(dev_null()?)?;
        // Nobody waits any more if the launching process was killed meanwhile. A daemon need not care.
        let _ = self.ready.write_all(&[1]);
        Ok(())
    }
}

fn dev_null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// A daemon that ends before it is ready has told why, on the standard error that both share.
fn wait_until_ready(mut is_ready: PipeReader, child: Pid) -> io::Result<u8> {
    if is_ready.read(&mut [0])? > 0 {
        return Ok(0);
    }
    Ok(match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => u8::try_from(status).unwrap_or(KILLED),
        _ => KILLED,
    })
}
