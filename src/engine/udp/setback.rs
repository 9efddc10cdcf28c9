//! Sends that the network refuses for the moment.
//!
//! An ICMP message about an earlier datagram makes the next send fail, and anybody on the way can say such a
//! thing. Whether the peer is still there is a matter of the control connection. This machine's own filter,
//! routes and devices may change their mind as well. So a send that fails like that is made again, unless
//! none succeeds for seconds, or none at all.

use std::io;
use std::time::{Duration, Instant};

use super::too_large;
use crate::engine::StreamJob;
use crate::engine::recorder::Recorder;
use crate::sys::{error_message, is_path_error};

/// Nothing left for so long: there is no way to the peer.
const MOST: Duration = Duration::from_secs(5);
/// Attempts without a pause between them. Each one takes an ICMP message off, and those may come fast.
const AT_ONCE: u32 = 8;
/// Pause after so many attempts that have all failed.
const PAUSE: Duration = Duration::from_millis(1);

/// The attempts since the last send that went through.
#[derive(Debug, Default)]
pub(super) struct Setback {
    since: Option<Instant>,
    attempts: u32,
    errno: i32,
}

impl Setback {
    /// A send has gone through.
    pub(super) fn sent(&mut self) {
        if self.attempts > 0 {
            *self = Self::default();
        }
    }

    /// Whether a send has failed since the last one that went through.
    pub(super) fn is_one(&self) -> bool {
        self.attempts > 0
    }

    /// A send has failed at `now`: how long to wait before it is made again.
    ///
    /// # Errors
    /// Why that is no use.
    pub(super) fn failed(
        &mut self,
        job: &StreamJob,
        errno: i32,
        now: Instant,
        recorder: &mut Recorder,
    ) -> io::Result<Duration> {
        let since = *self.since.get_or_insert(now);
        // EINVAL is what a blackhole route says, and a route whose own address is gone.
        let may_pass = is_path_error(errno) || errno == libc::EINVAL;
        if !may_pass || now.duration_since(since) >= MOST {
            return Err(send_error(job, errno));
        }
        recorder.set_back(errno);
        self.attempts += 1;
        self.errno = errno;
        Ok(if self.attempts.is_multiple_of(AT_ONCE) { PAUSE } else { Duration::ZERO })
    }

    /// The verdict on a stream that is over.
    ///
    /// # Errors
    /// Why nothing at all could be sent.
    pub(super) fn verdict(&self, job: &StreamJob, recorder: &Recorder) -> io::Result<()> {
        if self.is_one() && recorder.bytes() == 0 { Err(send_error(job, self.errno)) } else { Ok(()) }
    }
}

/// A send that failed for good, in words.
pub(super) fn send_error(job: &StreamJob, errno: i32) -> io::Error {
    use io::{Error, ErrorKind};
    let error = Error::from_raw_os_error(errno);
    let forbidden =
        |whose: &str| Error::new(ErrorKind::PermissionDenied, format!("sending UDP is forbidden {whose}"));
    match errno {
        libc::EMSGSIZE => {
            let mtu = job.socket.path_mtu().map_or_else(|_| "unknown".to_owned(), |mtu| mtu.to_string());
            let bytes = job.block.bytes;
            Error::other(match too_large(job) {
                Some(_) => format!(
                    "datagrams of {bytes} bytes do not fit the path's MTU of {mtu} and may not be fragmented; \
                     use a smaller -l or drop --dont-fragment"
                ),
                None => format!(
                    "datagrams of {bytes} bytes are refused as too large, although they fit the path's MTU of \
                     {mtu}; use a smaller -l"
                ),
            })
        }
        libc::ECONNREFUSED => {
            Error::new(ErrorKind::ConnectionRefused, "the peer's UDP port is closed (or a firewall says so)")
        }
        libc::EPERM => forbidden("on this machine (a local firewall?)"),
        libc::EACCES => forbidden("on the way to the peer (a firewall or a route says so)"),
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::EHOSTDOWN
        | libc::ENONET
        | libc::ENETDOWN
        | libc::EINVAL => Error::new(
            error.kind(),
            format!("there is no way to the peer over UDP: {}", error_message(&error)),
        ),
        errno if is_path_error(errno) => Error::new(
            error.kind(),
            format!("somebody on the way refuses the datagrams: {}", error_message(&error)),
        ),
        _ => error,
    }
}
