//! Which engine runs: what was asked for, what makes sense, what the kernel has.

use std::fmt;

use super::StreamJob;
use crate::config::{EngineChoice, Flow, Protocol};
use crate::sys::{Features, Missing};

/// Below this many bytes per operation a zero-copy send costs more than the copy it saves.
const ZERO_COPY_BYTES_MIN: u32 = 4096;
/// With more streams than this for each processor a ring is dearer than plain receives.
const STREAMS_PER_PROCESSOR_MAX: u32 = 2;

/// An engine that can run; what [`EngineChoice`] becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// See [`EngineChoice::UringZc`].
    UringZc,
    /// See [`EngineChoice::Uring`].
    Uring,
    /// See [`EngineChoice::Sendfile`].
    Sendfile,
    /// See [`EngineChoice::Splice`].
    Splice,
    /// See [`EngineChoice::MsgZc`].
    MsgZc,
    /// See [`EngineChoice::Sync`].
    Sync,
    /// See [`EngineChoice::Null`].
    Null,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choice = match self {
            Self::UringZc => EngineChoice::UringZc,
            Self::Uring => EngineChoice::Uring,
            Self::Sendfile => EngineChoice::Sendfile,
            Self::Splice => EngineChoice::Splice,
            Self::MsgZc => EngineChoice::MsgZc,
            Self::Sync => EngineChoice::Sync,
            Self::Null => EngineChoice::Null,
        };
        choice.fmt(f)
    }
}

/// An engine that may be tried, with the reason to take it.
pub(super) struct Candidate {
    pub(super) engine: Engine,
    pub(super) reason: &'static str,
    pub(super) possible: Result<(), Missing>,
}

/// Whether the kernel has what an explicit choice needs, asked before anything is connected.
///
/// # Errors
/// What is missing. `auto` is always possible.
pub fn check(choice: EngineChoice) -> Result<(), Missing> {
    match choice {
        EngineChoice::UringZc => Features::get().send_zc(),
        EngineChoice::Uring => Features::get().uring(),
        _ => Ok(()),
    }
}

/// The engines that the job's choice allows, best first. Only `auto` has more than one.
pub(super) fn candidates(job: &StreamJob) -> Vec<Candidate> {
    let possible = || check(job.asked).and_then(|()| check_path(job));
    let as_asked = |engine| Candidate { engine, reason: "as asked", possible: possible() };
    match job.asked {
        _ if job.file.is_some() => vec![for_a_file(job)],
        EngineChoice::Sendfile | EngineChoice::Splice | EngineChoice::MsgZc | EngineChoice::Null
            if job.udp.is_some() =>
        {
            let reason = "with UDP there are uring-zc, uring and sync only";
            vec![Candidate { engine: Engine::Sync, reason, possible: Ok(()) }]
        }
        EngineChoice::Auto => automatic(job),
        // A receiver has nothing to copy from: zero-copy is the sender's matter.
        EngineChoice::UringZc if job.flow == Flow::Receive => vec![as_asked(Engine::Uring)],
        EngineChoice::UringZc => vec![as_asked(Engine::UringZc)],
        EngineChoice::Uring => vec![as_asked(Engine::Uring)],
        EngineChoice::Sendfile | EngineChoice::Splice | EngineChoice::MsgZc if job.flow == Flow::Receive => {
            vec![Candidate { reason: "receives with recv(2)", ..as_asked(Engine::Sync) }]
        }
        EngineChoice::Sendfile => vec![as_asked(Engine::Sendfile)],
        EngineChoice::Splice => vec![as_asked(Engine::Splice)],
        EngineChoice::MsgZc => vec![as_asked(Engine::MsgZc)],
        EngineChoice::Sync => vec![as_asked(Engine::Sync)],
        EngineChoice::Null => vec![as_asked(Engine::Null)],
    }
}

/// Whether an explicit choice makes sense for what carries the payload.
fn check_path(job: &StreamJob) -> Result<(), Missing> {
    let by_reference = matches!(job.asked, EngineChoice::UringZc | EngineChoice::MsgZc);
    match job.protocol {
        Protocol::Mptcp | Protocol::Sctp(_) if by_reference && job.flow == Flow::Send => Err(Missing {
            reason: format!("{} has no zero-copy sends", path_name(job.protocol)),
            fix: "let --engine be auto, uring or sync".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn path_name(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Mptcp { "Multipath TCP" } else { protocol.name() }
}

/// A file is read and written block by block, whatever was asked for.
fn for_a_file(job: &StreamJob) -> Candidate {
    let (engine, reason) = match (job.flow, job.asked) {
        (Flow::Send, EngineChoice::Sendfile) => (Engine::Sendfile, "as asked, from the file of -F"),
        (Flow::Send, _) => (Engine::Sync, "the file of -F is read and sent with plain system calls"),
        (Flow::Receive, _) => {
            (Engine::Sync, "what comes is written to the file of -F with plain system calls")
        }
    };
    Candidate { engine, reason, possible: Ok(()) }
}

/// What the kernel lacks shows when the engine is made, which is tried with the next one then: to ask before
/// would take a ring of its own.
fn automatic(job: &StreamJob) -> Vec<Candidate> {
    let sync = Candidate { engine: Engine::Sync, reason: "io_uring is not to be had", possible: Ok(()) };
    let uring = |reason| Candidate { engine: Engine::Uring, reason, possible: Ok(()) };
    match job.flow {
        _ if matches!(job.protocol, Protocol::Sctp(_)) => {
            vec![Candidate { reason: "SCTP sends messages, one per system call", ..sync }]
        }
        Flow::Receive if job.udp.is_none() && is_crowded(job) => {
            vec![Candidate { reason: "with many streams per processor recv(2) costs less", ..sync }]
        }
        Flow::Receive => vec![uring("io_uring is available"), sync],
        Flow::Send if job.protocol == Protocol::Mptcp => {
            vec![uring("Multipath TCP has no zero-copy sends"), sync]
        }
        Flow::Send if job.udp.is_some() && job.pacing.bits_per_second > 0 => {
            vec![uring("a paced sending end has time to copy"), sync]
        }
        Flow::Send if job.block.bytes < ZERO_COPY_BYTES_MIN && !cuts_large_sends(job) => {
            vec![uring("blocks below 4 KiB are cheaper to copy"), sync]
        }
        Flow::Send => vec![
            Candidate {
                engine: Engine::UringZc,
                reason: "the kernel takes sends by reference",
                possible: Ok(()),
            },
            uring("no zero-copy"),
            sync,
        ],
    }
}

/// Whether streams wait for a processor more than for their peer. What a ring saves then is less than what
/// its buffers take of the cache.
fn is_crowded(job: &StreamJob) -> bool {
    job.streams > job.processors.saturating_mul(STREAMS_PER_PROCESSOR_MAX)
}

/// Whether one operation holds many datagrams, so that it is large although they are small.
fn cuts_large_sends(job: &StreamJob) -> bool {
    job.udp.is_some_and(|udp| udp.offload)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::sys::Socket;

    #[test]
    fn many_streams_are_received_with_plain_calls() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let job = StreamJob::bare(Socket::from_stream(near), Flow::Receive);
        for (streams, processors, first) in [
            (1, 1, Engine::Uring),
            (2, 1, Engine::Uring),
            (3, 1, Engine::Sync),
            (4, 2, Engine::Uring),
            (128, 2, Engine::Sync),
            (128, 64, Engine::Uring),
            (128, u32::MAX, Engine::Uring),
        ] {
            let job = StreamJob { streams, processors, ..job.clone() };
            assert_eq!(candidates(&job)[0].engine, first, "{streams} {processors}");
            let job = StreamJob { asked: EngineChoice::Uring, ..job };
            assert_eq!(candidates(&job)[0].engine, Engine::Uring, "{streams} {processors}");
        }
    }
}
