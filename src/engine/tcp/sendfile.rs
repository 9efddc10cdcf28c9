//! sendfile(2) from a file without a name: what iperf3's `-Z` does.

use std::io;

use crate::engine::StreamJob;
use crate::engine::adapt::Ways;
use crate::engine::blocking;
use crate::engine::gate::SendGate;
use crate::engine::payload::payload;
use crate::engine::recorder::Recorder;
use crate::engine::sizes::file_send_way;
use crate::sys::{Missing, PayloadFile, error_message};

/// Sends the file from its beginning, one block per call, or several.
pub(in crate::engine) struct Sendfile {
    file: PayloadFile,
    operation_bytes: u32,
}

impl Sendfile {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let operation_bytes = Ways::new(job, vec![file_send_way(job)]).bytes();
        let payload = payload(job, operation_bytes)?;
        let file = PayloadFile::new(payload.as_slice()).map_err(|error| Missing {
            reason: format!("no file for sendfile: {}", error_message(&error)),
            fix: "raise the limit of open files, or set TMPDIR to a directory with room".to_owned(),
        })?;
        Ok(Self { file, operation_bytes })
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let socket = job.socket.as_ref();
        blocking::run(self.operation_bytes, gate, recorder, |bytes, _, _| self.file.send_to(socket, bytes))
    }
}
