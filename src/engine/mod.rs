//! The data path: one blocking loop per stream thread, over a ring or over plain system calls.
//!
//! [`run`] is what the streams of every workload do: it prepares the engine, says that it is ready, waits for
//! the start, runs the loop, and gives back everything it has counted. What a workload does between start and
//! end is its own: that of bulk transfer is `bulk.rs`, where an engine is an arm in each step and a file.

mod adapt;
mod blocking;
mod bulk;
mod gate;
mod job;
mod null;
mod payload;
mod recorder;
mod resolve;
mod sizes;
mod tcp;
pub mod testing;
mod udp;
mod waiting;
mod zero_copy;

use std::io;

pub use adapt::{Adaptation, Found, Way};
pub use gate::{ByteGoal, GateState, SendGate};
pub use job::{EngineUse, Notice, StartGate, StopToken, StreamExit, StreamJob, UdpJob};
pub use resolve::{Engine, check};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use udp::count_messages;

use crate::sys::{Missing, thread_cpu_time};
use bulk::Bulk;
use recorder::Recorder;

/// What is left of a stream that has ended: rings, buffers, files. To drop it gives them back, which takes a
/// moment.
pub struct Remains {
    _prepared: Option<Bulk>,
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

    let mut recorder = Recorder::new(job, engine, start);
    let (result, finished) = prepared.run(job, start, &mut recorder);
    recorder.publish();
    if result.is_ok() {
        // A stream that failed has not done its part; its exit tells.
        notify(Notice::Stopped);
    }

    prepared.release_all(job, &mut recorder);
    recorder.overflowed(prepared.overflows());
    // What the kernel does not let go of takes long to get back, for which nobody should have to wait later.
    let prepared = Some(prepared).filter(|prepared| !prepared.has_unreleased());
    let fault = result.err().filter(|error| !(job.stop.is_set() && is_disconnect(error)));
    let cpu = cpu_before.zip(thread_cpu_time()).map(|(before, now)| now.since(before));
    (recorder.into_exit(finished, fault, cpu), Remains { _prepared: prepared })
}

/// Tries the engines that the choice allows, best first.
fn prepare_first_possible(job: &StreamJob) -> Result<(Bulk, EngineUse), Missing> {
    let mut refused: Option<Missing> = None;
    for candidate in resolve::candidates(job) {
        let prepared = match candidate.possible {
            Ok(()) => Bulk::prepare(candidate.engine, job),
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

/// Whether an error only says that the connection has ended.
#[must_use]
pub fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | ConnectionAborted | NotConnected
    )
}
