//! Pages of memory into a pipe of our own, and from there into the socket: no copy on the sending side.

use std::io;

use crate::config::ranges::BLOCK_BYTES;
use crate::engine::StreamJob;
use crate::engine::adapt::Ways;
use crate::engine::blocking;
use crate::engine::gate::SendGate;
use crate::engine::payload::payload;
use crate::engine::recorder::Recorder;
use crate::engine::sizes::file_send_way;
use crate::sys::{Missing, Pipe, Region, error_message};

/// Bytes of the payload's memory: a huge page, since contiguous pages become one fragment.
const PAYLOAD_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes of it that are sent over and over again when no block size was asked for: the receiver's processor
/// then finds them in its cache.
const PART_BYTES: u32 = 32 * 1024;

/// References to the payload's pages, over and over again.
pub(in crate::engine) struct Splice {
    payload: Region,
    pipe: Pipe,
    operation_bytes: u32,
    part_bytes: usize,
    in_pipe: usize,
}

impl Splice {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let operation_bytes = Ways::new(job, vec![file_send_way(job)]).bytes();
        let part_bytes = if job.block.explicit { job.block.bytes } else { PART_BYTES };
        let part_bytes = usize::try_from(part_bytes.min(PAYLOAD_BYTES)).expect("fits a usize on Linux");
        let pipe_bytes =
            usize::try_from(operation_bytes.min(BLOCK_BYTES.max)).expect("fits a usize on Linux");
        let pipe = Pipe::new(pipe_bytes).map_err(|error| Missing {
            reason: format!("no pipe for splice: {}", error_message(&error)),
            fix: "raise the limit of open files, or sysctl fs.pipe-user-pages-soft".to_owned(),
        })?;
        Ok(Self { payload: payload(job, PAYLOAD_BYTES)?, pipe, operation_bytes, part_bytes, in_pipe: 0 })
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let Self { payload, pipe, operation_bytes, part_bytes, in_pipe } = self;
        let part = &payload.as_slice()[..*part_bytes];
        blocking::run(*operation_bytes, gate, recorder, |bytes, _, _| {
            if *in_pipe == 0 {
                *in_pipe = pipe.fill_from(part, bytes)?;
            }
            // What a timeout leaves in the pipe goes first next time; it counts when the socket has taken it.
            let moved = pipe.drain_to(job.socket.as_ref(), bytes.min(*in_pipe))?;
            *in_pipe -= moved;
            Ok(moved)
        })
    }
}
