//! The features that the running kernel offers to this process, found out by trying.

use std::fs;
use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit};

use super::error_message::error_message;
use super::uring::{self, BUSY_POLL_STEP, RingError};

/// A feature that is missing here, and what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What failed and why, as the kernel tells; one sentence without a full stop.
    pub reason: String,
    /// What the user can do, as a clause without a full stop; empty if nothing.
    pub fix: String,
}

/// The features of io_uring here.
#[derive(Clone, Debug)]
pub struct Features {
    uring: Result<UringFeatures, Missing>,
}

#[derive(Clone, Copy, Debug)]
struct UringFeatures {
    send_zc: bool,
}

impl Features {
    /// The features, which are probed once per process.
    pub fn get() -> &'static Self {
        static FEATURES: OnceLock<Features> = OnceLock::new();
        FEATURES.get_or_init(|| Self {
            uring: uring::probe()
                .map(|send_zc| UringFeatures { send_zc })
                .map_err(|error| Missing::from(&error)),
        })
    }

    /// Whether the io_uring engines can run at all.
    ///
    /// # Errors
    /// What is missing.
    pub fn uring(&self) -> Result<(), Missing> {
        self.uring.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Whether io_uring has zero-copy sends.
    ///
    /// # Errors
    /// What is missing.
    pub fn send_zc(&self) -> Result<(), Missing> {
        match &self.uring {
            Ok(UringFeatures { send_zc: true }) => Ok(()),
            Ok(UringFeatures { send_zc: false }) => Err(Missing::send_zc()),
            Err(missing) => Err(missing.clone()),
        }
    }
}

impl Missing {
    /// A kernel without zero-copy sends of io_uring.
    #[must_use]
    pub fn send_zc() -> Self {
        Self {
            reason: "this kernel's io_uring has no SEND_ZC".to_owned(),
            fix: "use Linux 6.0 or later".to_owned(),
        }
    }
}

impl From<&RingError> for Missing {
    fn from(error: &RingError) -> Self {
        let name = error_name(&error.source);
        let step = error.step;
        match error.source.raw_os_error() {
            Some(libc::EPERM) => denied(step),
            Some(libc::ENOSYS) => Self {
                reason: format!(
                    "{step} failed with ENOSYS: no io_uring in this kernel, or hidden by a seccomp filter"
                ),
                fix: "use Linux 6.1 or later with CONFIG_IO_URING, or a seccomp profile that allows io_uring"
                    .to_owned(),
            },
            Some(libc::ENOMEM) if step == "mapping memory" => Self {
                reason: format!("{step} failed with ENOMEM: too little would be left"),
                fix: "raise the limit on memory with `ulimit -v` or LimitAS=, or use fewer streams"
                    .to_owned(),
            },
            Some(libc::ENOMEM) => Self {
                reason: format!("{step} failed with ENOMEM: memory lock limit is {}", memory_lock_limit()),
                fix: "raise it with `ulimit -l` or LimitMEMLOCK=, or grant CAP_IPC_LOCK".to_owned(),
            },
            Some(libc::EINVAL | libc::EOPNOTSUPP) if step == BUSY_POLL_STEP => Self {
                reason: format!("{step} failed with {name}: this kernel's io_uring cannot"),
                fix: "use Linux 6.9 or later, or an engine without io_uring".to_owned(),
            },
            Some(libc::EINVAL) => Self {
                reason: format!("{step} failed with EINVAL: this kernel's io_uring is too old"),
                fix: "use Linux 6.1 or later".to_owned(),
            },
            Some(libc::EMFILE | libc::ENFILE) => Self {
                reason: format!("{step} failed with {name}: too many open files"),
                fix: "raise the limit with `ulimit -n` or LimitNOFILE=".to_owned(),
            },
            _ => Self { reason: format!("{step} failed with {name}"), fix: String::new() },
        }
    }
}

/// The soft limit of locked memory, for people.
fn memory_lock_limit() -> String {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((nix::libc::RLIM_INFINITY, _)) => "unlimited".to_owned(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(error) => format!("unknown ({})", error.desc()),
    }
}

fn denied(step: &str) -> Missing {
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'));
    match switch.trim() {
        "2" => Missing {
            reason: format!("{step} failed with EPERM: sysctl kernel.io_uring_disabled is 2"),
            fix: "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        },
        "1" if !filtered => Missing {
            reason: format!("{step} failed with EPERM: sysctl kernel.io_uring_disabled is 1"),
            fix: "sysctl -w kernel.io_uring_disabled=0, or join the group of kernel.io_uring_group"
                .to_owned(),
        },
        _ if filtered => Missing {
            reason: format!(
                "{step} failed with EPERM: blocked by a seccomp filter, such as Docker's default profile"
            ),
            fix: "run with a seccomp profile that allows io_uring".to_owned(),
        },
        _ => Missing {
            reason: format!("{step} failed with EPERM: a security policy denies it"),
            fix: "ask the administrator to allow io_uring to this process".to_owned(),
        },
    }
}

fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => error_message(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_step_and_the_error() {
        for (number, name) in [
            (libc::EPERM, "EPERM"),
            (libc::ENOSYS, "ENOSYS"),
            (libc::ENOMEM, "ENOMEM"),
            (libc::EINVAL, "EINVAL"),
            (libc::EMFILE, "EMFILE"),
        ] {
            let error = RingError { step: "io_uring_setup", source: io::Error::from_raw_os_error(number) };
            let missing = Missing::from(&error);
            assert!(
                missing.reason.contains("io_uring_setup") && missing.reason.contains(name),
                "{missing:?}"
            );
        }
    }
}
