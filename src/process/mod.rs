//! The process as the system sees it: the pid file and the background.

mod daemon;
mod pid_file;

pub use daemon::{Daemon, Launched, launch};
pub use pid_file::{PidFile, PidFileError};
