//! sendfile(2) from a file without a name: what iperf3's `-Z` does.

use std::io;

use super::StreamJob;
use super::blocking;
use super::gate::SendGate;
use super::payload::payload;
use super::recorder::Recorder;
use crate::sys::{Missing, PayloadFile, plain};

/// Bytes of one operation when no block size was asked for: fewer, longer calls leave the kernel fewer small
/// segments at their ends.
const OPERATION_BYTES: u32 = 1024 * 1024;

/// Sends the file from its beginning, one block per call.
pub(super) struct Sendfile {
    file: PayloadFile,
    operation_bytes: u32,
}

impl Sendfile {
    pub(super) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let operation_bytes = if job.block.explicit { job.block.bytes } else { OPERATION_BYTES };
        let payload = payload(job, operation_bytes)?;
        let file = PayloadFile::new(payload.as_slice()).map_err(|error| Missing {
            reason: format!("no file for sendfile: {}", plain(&error)),
            fix: "raise the limit of open files, or set TMPDIR to a directory with room".to_owned(),
        })?;
        Ok(Self { file, operation_bytes })
    }

    pub(super) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let socket = job.socket.as_ref();
        blocking::run(self.operation_bytes, gate, recorder, |bytes, _, _| self.file.send_to(socket, bytes))
    }
}
