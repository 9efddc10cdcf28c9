//! The data path: one blocking loop per stream thread, over a ring or over plain system calls.
//!
//! An engine is a variant of [`Engine`], an arm in [`run`] and a file. [`run`] prepares the engine, says that
//! it is ready, waits for the start, runs the loop, and gives back everything it has counted.

mod adapt;
mod blocking;
mod gate;
mod job;
mod null;
pub mod null_kernel;
mod payload;
mod recorder;
mod resolve;
#[cfg(test)]
mod simulated;
mod sizes;
mod tcp;
mod udp;
mod waiting;
mod zero_copy;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use adapt::{Adaptation, Found, Way};
pub use gate::{ByteGoal, GateState, SendGate};
pub use job::{EngineUse, Notice, StartGate, StopToken, StreamExit, StreamJob, UdpJob};
pub use resolve::{Engine, check};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use udp::count_messages;

use crate::config::Flow;
use crate::sys::uring::Ring;
use crate::sys::{Missing, set_time_slice, thread_cpu_time};
use recorder::Recorder;

/// Turn of a receiver on its processor, shorter than a sender's: where they share one, what was sent is taken
/// while it is still in the cache, instead of after everything that a whole turn of the sender brings.
const RECEIVER_SLICE: Duration = Duration::from_micros(100);

/// An engine with everything it needs: rings, buffers, files. Made in the stream's own thread.
enum Prepared {
    UringSend(tcp::UringSend<Ring>),
    UringReceive(tcp::UringReceive<Ring>),
    Sendfile(tcp::Sendfile),
    Splice(tcp::Splice),
    MsgZc(tcp::MsgZc),
    SyncSend(tcp::SyncSend),
    SyncReceive(tcp::SyncReceive),
    FileSend(tcp::FileSend),
    FileReceive(tcp::FileReceive),
    UdpUringSend(udp::UdpUringSend<Ring>),
    UdpUringReceive(udp::UdpUringReceive<Ring>),
    UdpSyncSend(udp::UdpSyncSend),
    UdpSyncReceive(udp::UdpSyncReceive),
    Null,
}

impl Prepared {
    /// Whether the kernel holds on to sends that it has told the results of.
    fn has_unreleased(&self) -> bool {
        match self {
            Self::UringSend(engine) => engine.has_unreleased(),
            Self::UdpUringSend(engine) => engine.has_unreleased(),
            _ => false,
        }
    }

    /// How often completions had no room in the ring, if there is one.
    fn overflows(&self) -> u64 {
        match self {
            Self::UringSend(engine) => engine.overflows(),
            Self::UringReceive(engine) => engine.overflows(),
            Self::UdpUringSend(engine) => engine.overflows(),
            Self::UdpUringReceive(engine) => engine.overflows(),
            _ => 0,
        }
    }
}

/// What is left of a stream that has ended: rings, buffers, files. To drop it gives them back, which takes a
/// moment.
pub struct Remains {
    _prepared: Option<Prepared>,
}

/// Runs one stream from preparation to its end, on the calling thread.
///
/// Tells `notify` first whether it is ready, then (once) that it has moved its last byte. Returns when
/// nothing of the stream is in the hands of the kernel any more.
pub fn run(job: &StreamJob, notify: &dyn Fn(Notice)) -> StreamExit {
    run_to_exit(job, notify).0
}

/// Runs one stream as [`run`] does, but returns as soon as everything is counted. The caller gives back what
/// remains, on the same thread.
pub fn run_to_exit(job: &StreamJob, notify: &dyn Fn(Notice)) -> (StreamExit, Remains) {
    let cpu_before = thread_cpu_time();
    let (mut prepared, engine) = match prepare_first_possible(job) {
        Ok(both) => both,
        Err(missing) => {
            notify(Notice::Ready(Err(missing)));
            return (StreamExit::never_started(job.asked), Remains { _prepared: None });
        }
    };
    notify(Notice::Ready(Ok(())));
    let Some(start) = job.start.wait() else {
        let exit = StreamExit { engine, ..StreamExit::never_started(job.asked) };
        return (exit, Remains { _prepared: Some(prepared) });
    };

    let slice = if job.flow == Flow::Receive { RECEIVER_SLICE } else { Duration::ZERO };
    // Only speed is lost where it is refused.
    let _ = set_time_slice(slice);
    let mut recorder = Recorder::new(job, engine, start);
    let mut gate = job.gate(start);
    let result = run_loop(&mut prepared, job, &mut gate, &mut recorder);
    let told = match job.flow {
        // A sender may have slept through the word to stop.
        Flow::Send => job.stop.since(),
        Flow::Receive => recorder.finished(),
    };
    let finished = told.unwrap_or_else(Instant::now);
    recorder.publish();
    if result.is_ok() {
        // A stream that failed has not done its part; its exit tells.
        notify(Notice::Stopped);
    }

    match &mut prepared {
        Prepared::UringSend(engine) => engine.release_all(&mut recorder),
        Prepared::UdpUringSend(engine) => engine.release_all(&mut recorder),
        Prepared::MsgZc(engine) => engine.release_all(job, &mut recorder),
        _ => {}
    }
    recorder.overflowed(prepared.overflows());
    // What the kernel does not let go of takes long to get back, for which nobody should have to wait later.
    let prepared = Some(prepared).filter(|prepared| !prepared.has_unreleased());
    let fault = result.err().filter(|error| !(job.stop.is_set() && is_disconnect(error)));
    let cpu = cpu_before.zip(thread_cpu_time()).map(|(before, now)| now.since(before));
    (recorder.into_exit(finished, fault, cpu), Remains { _prepared: prepared })
}

/// Tries the engines that the choice allows, best first.
fn prepare_first_possible(job: &StreamJob) -> Result<(Prepared, EngineUse), Missing> {
    let mut refused: Option<Missing> = None;
    for candidate in resolve::candidates(job) {
        let prepared = match candidate.possible {
            Ok(()) => prepare(candidate.engine, job),
            Err(missing) => Err(missing),
        };
        match prepared {
            Ok((prepared, note)) => {
                let why_not_better = note.or(refused);
                return Ok((
                    prepared,
                    EngineUse::new(job.asked, candidate.engine, candidate.reason, why_not_better),
                ));
            }
            Err(missing) => refused = refused.or(Some(missing)),
        }
    }
    Err(refused.expect("there is at least one candidate, and it was refused"))
}

/// Makes one engine ready. The note that may come with it is something that it had to do without.
fn prepare(engine: Engine, job: &StreamJob) -> Result<(Prepared, Option<Missing>), Missing> {
    match (job.udp, &job.file) {
        (Some(udp), _) => prepare_udp(engine, job, udp),
        (None, Some(file)) => Ok((prepare_file(engine, job, file)?, None)),
        (None, None) => prepare_tcp(engine, job),
    }
}

fn prepare_udp(engine: Engine, job: &StreamJob, udp: UdpJob) -> Result<(Prepared, Option<Missing>), Missing> {
    let uring = matches!(engine, Engine::Uring | Engine::UringZc);
    Ok(match (job.flow, uring) {
        (Flow::Send, true) => {
            let (engine, note) = udp::UdpUringSend::prepare(job, udp, engine == Engine::UringZc)?;
            (Prepared::UdpUringSend(engine), note)
        }
        (Flow::Receive, true) => {
            let (engine, note) = udp::UdpUringReceive::prepare(job, udp)?;
            (Prepared::UdpUringReceive(engine), note)
        }
        (Flow::Send, false) => {
            let (engine, note) = udp::UdpSyncSend::prepare(job, udp)?;
            (Prepared::UdpSyncSend(engine), note)
        }
        (Flow::Receive, false) => {
            let (engine, note) = udp::UdpSyncReceive::prepare(job, udp)?;
            (Prepared::UdpSyncReceive(engine), note)
        }
    })
}

fn prepare_file(engine: Engine, job: &StreamJob, file: &Arc<File>) -> Result<Prepared, Missing> {
    Ok(match job.flow {
        Flow::Send => Prepared::FileSend(tcp::FileSend::prepare(job, file, engine == Engine::Sendfile)?),
        Flow::Receive => Prepared::FileReceive(tcp::FileReceive::prepare(job, file)?),
    })
}

fn prepare_tcp(engine: Engine, job: &StreamJob) -> Result<(Prepared, Option<Missing>), Missing> {
    let sends = job.flow == Flow::Send;
    let plain = |prepared| Ok((prepared, None));
    match engine {
        Engine::Null => plain(Prepared::Null),
        Engine::Uring | Engine::UringZc if sends => {
            let (engine, note) = tcp::UringSend::prepare(job, engine == Engine::UringZc)?;
            Ok((Prepared::UringSend(engine), note))
        }
        Engine::Uring | Engine::UringZc => plain(Prepared::UringReceive(tcp::UringReceive::prepare(job)?)),
        Engine::Sendfile if sends => plain(Prepared::Sendfile(tcp::Sendfile::prepare(job)?)),
        Engine::Splice if sends => plain(Prepared::Splice(tcp::Splice::prepare(job)?)),
        Engine::MsgZc if sends => plain(Prepared::MsgZc(tcp::MsgZc::prepare(job)?)),
        Engine::Sync if sends => plain(Prepared::SyncSend(tcp::SyncSend::prepare(job)?)),
        Engine::Sendfile | Engine::Splice | Engine::MsgZc | Engine::Sync => {
            plain(Prepared::SyncReceive(tcp::SyncReceive::prepare(job)?))
        }
    }
}

fn run_loop(
    prepared: &mut Prepared,
    job: &StreamJob,
    gate: &mut SendGate,
    recorder: &mut Recorder,
) -> io::Result<()> {
    match prepared {
        Prepared::UringSend(engine) => engine.run(gate, recorder),
        Prepared::UringReceive(engine) => engine.run(job, recorder),
        Prepared::Sendfile(engine) => engine.run(job, gate, recorder),
        Prepared::Splice(engine) => engine.run(job, gate, recorder),
        Prepared::MsgZc(engine) => engine.run(job, gate, recorder),
        Prepared::SyncSend(engine) => engine.run(job, gate, recorder),
        Prepared::SyncReceive(engine) => engine.run(job, recorder),
        Prepared::FileSend(engine) => engine.run(job, gate, recorder),
        Prepared::FileReceive(engine) => engine.run(job, recorder),
        Prepared::UdpUringSend(engine) => engine.run(job, gate, recorder),
        Prepared::UdpUringReceive(engine) => engine.run(job, recorder),
        Prepared::UdpSyncSend(engine) => engine.run(job, gate, recorder),
        Prepared::UdpSyncReceive(engine) => engine.run(job, recorder),
        Prepared::Null => null::run(job, gate, recorder),
    }
}

/// Whether an error only says that the connection has ended.
#[must_use]
pub fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | ConnectionAborted | NotConnected
    )
}
