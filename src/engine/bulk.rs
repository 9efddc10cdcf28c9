//! Bulk transfer: of each stream one end sends, as fast as it may, and the other receives.
//!
//! What is particular about it stands here: which engine does it in which direction, the gate that lets a
//! sender go on, the turn of a thread on its processor, and when a stream has finished.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recorder::Recorder;
use super::{Engine, SendGate, StreamJob, UdpJob, null, tcp, udp};
use crate::config::Flow;
use crate::sys::uring::Ring;
use crate::sys::{Missing, set_time_slice};

/// Turn of a receiver on its processor, shorter than a sender's: where they share one, what was sent is taken
/// while it is still in the cache, instead of after everything that a whole turn of the sender brings.
const RECEIVER_SLICE: Duration = Duration::from_micros(100);

/// An engine with everything it needs: rings, buffers, files. Made in the stream's own thread.
pub(super) enum Bulk {
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

impl Bulk {
    /// Makes one engine ready. The note that may come with it is something that it had to do without.
    pub(super) fn prepare(engine: Engine, job: &StreamJob) -> Result<(Self, Option<Missing>), Missing> {
        match (job.udp, &job.file) {
            (Some(udp), _) => prepare_udp(engine, job, udp),
            (None, Some(file)) => Ok((prepare_file(engine, job, file)?, None)),
            (None, None) => prepare_tcp(engine, job),
        }
    }

    /// Moves bytes from `start`, the zero of the test's time, to the end of the stream. Gives what came of
    /// it, and when the last byte was moved, as near as that is known.
    pub(super) fn run(
        &mut self,
        job: &StreamJob,
        start: Instant,
        recorder: &mut Recorder,
    ) -> (io::Result<()>, Instant) {
        let slice = if job.flow == Flow::Receive { RECEIVER_SLICE } else { Duration::ZERO };
        // Only speed is lost where it is refused.
        let _ = set_time_slice(slice);
        let result = self.run_loop(job, &mut job.gate(start), recorder);
        let told = match job.flow {
            // A sender may have slept through the word to stop.
            Flow::Send => job.stop.since(),
            Flow::Receive => recorder.finished(),
        };
        (result, told.unwrap_or_else(Instant::now))
    }

    fn run_loop(&mut self, job: &StreamJob, gate: &mut SendGate, recorder: &mut Recorder) -> io::Result<()> {
        match self {
            Self::UringSend(engine) => engine.run(gate, recorder),
            Self::UringReceive(engine) => engine.run(job, recorder),
            Self::Sendfile(engine) => engine.run(job, gate, recorder),
            Self::Splice(engine) => engine.run(job, gate, recorder),
            Self::MsgZc(engine) => engine.run(job, gate, recorder),
            Self::SyncSend(engine) => engine.run(job, gate, recorder),
            Self::SyncReceive(engine) => engine.run(job, recorder),
            Self::FileSend(engine) => engine.run(job, gate, recorder),
            Self::FileReceive(engine) => engine.run(job, recorder),
            Self::UdpUringSend(engine) => engine.run(job, gate, recorder),
            Self::UdpUringReceive(engine) => engine.run(job, recorder),
            Self::UdpSyncSend(engine) => engine.run(job, gate, recorder),
            Self::UdpSyncReceive(engine) => engine.run(job, recorder),
            Self::Null => null::run(job, gate, recorder),
        }
    }

    /// Waits for the kernel to let go of what was sent, within reason.
    pub(super) fn release_all(&mut self, job: &StreamJob, recorder: &mut Recorder) {
        match self {
            Self::UringSend(engine) => engine.release_all(recorder),
            Self::UdpUringSend(engine) => engine.release_all(recorder),
            Self::MsgZc(engine) => engine.release_all(job, recorder),
            _ => {}
        }
    }

    /// Whether the kernel holds on to sends that it has told the results of.
    pub(super) fn has_unreleased(&self) -> bool {
        match self {
            Self::UringSend(engine) => engine.has_unreleased(),
            Self::UdpUringSend(engine) => engine.has_unreleased(),
            _ => false,
        }
    }

    /// How often completions had no room in the ring, if there is one.
    pub(super) fn overflows(&self) -> u64 {
        match self {
            Self::UringSend(engine) => engine.overflows(),
            Self::UringReceive(engine) => engine.overflows(),
            Self::UdpUringSend(engine) => engine.overflows(),
            Self::UdpUringReceive(engine) => engine.overflows(),
            _ => 0,
        }
    }
}

fn prepare_udp(engine: Engine, job: &StreamJob, udp: UdpJob) -> Result<(Bulk, Option<Missing>), Missing> {
    let uring = matches!(engine, Engine::Uring | Engine::UringZc);
    Ok(match (job.flow, uring) {
        (Flow::Send, true) => {
            let (engine, note) = udp::UdpUringSend::prepare(job, udp, engine == Engine::UringZc)?;
            (Bulk::UdpUringSend(engine), note)
        }
        (Flow::Receive, true) => {
            let (engine, note) = udp::UdpUringReceive::prepare(job, udp)?;
            (Bulk::UdpUringReceive(engine), note)
        }
        (Flow::Send, false) => {
            let (engine, note) = udp::UdpSyncSend::prepare(job, udp)?;
            (Bulk::UdpSyncSend(engine), note)
        }
        (Flow::Receive, false) => {
            let (engine, note) = udp::UdpSyncReceive::prepare(job, udp)?;
            (Bulk::UdpSyncReceive(engine), note)
        }
    })
}

fn prepare_file(engine: Engine, job: &StreamJob, file: &Arc<File>) -> Result<Bulk, Missing> {
    Ok(match job.flow {
        Flow::Send => Bulk::FileSend(tcp::FileSend::prepare(job, file, engine == Engine::Sendfile)?),
        Flow::Receive => Bulk::FileReceive(tcp::FileReceive::prepare(job, file)?),
    })
}

fn prepare_tcp(engine: Engine, job: &StreamJob) -> Result<(Bulk, Option<Missing>), Missing> {
    let sends = job.flow == Flow::Send;
    let plain = |prepared| Ok((prepared, None));
    match engine {
        Engine::Null => plain(Bulk::Null),
        Engine::Uring | Engine::UringZc if sends => {
            let (engine, note) = tcp::UringSend::prepare(job, engine == Engine::UringZc)?;
            Ok((Bulk::UringSend(engine), note))
        }
        Engine::Uring | Engine::UringZc => plain(Bulk::UringReceive(tcp::UringReceive::prepare(job)?)),
        Engine::Sendfile if sends => plain(Bulk::Sendfile(tcp::Sendfile::prepare(job)?)),
        Engine::Splice if sends => plain(Bulk::Splice(tcp::Splice::prepare(job)?)),
        Engine::MsgZc if sends => plain(Bulk::MsgZc(tcp::MsgZc::prepare(job)?)),
        Engine::Sync if sends => plain(Bulk::SyncSend(tcp::SyncSend::prepare(job)?)),
        Engine::Sendfile | Engine::Splice | Engine::MsgZc | Engine::Sync => {
            plain(Bulk::SyncReceive(tcp::SyncReceive::prepare(job)?))
        }
    }
}
