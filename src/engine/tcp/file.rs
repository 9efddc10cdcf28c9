//! A file as the source or the sink of a stream (`-F`), in plain system calls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::sync::SyncReceive;
use crate::engine::StreamJob;
use crate::engine::blocking;
use crate::engine::gate::SendGate;
use crate::engine::payload::memory;
use crate::engine::recorder::Recorder;
use crate::sys::{Missing, Region, send_file};

/// Sends the file once, from its beginning to its end, one block per call.
pub(in crate::engine) struct FileSend {
    file: Arc<File>,
    /// Where blocks are read to; `None` leaves that to sendfile(2).
    buffer: Option<Region>,
    /// Bytes in the buffer, ...
    filled: usize,
    /// ... and how many of them have gone.
    sent: usize,
}

impl FileSend {
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        file: &Arc<File>,
        sendfile: bool,
    ) -> Result<Self, Missing> {
        let buffer = if sendfile { None } else { Some(memory(job.block.bytes)?) };
        Ok(Self { file: Arc::clone(file), buffer, filled: 0, sent: 0 })
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let Self { file, buffer, filled, sent } = self;
        let socket = job.socket.as_ref();
        blocking::run(job.block.bytes, gate, recorder, |bytes, _, _| {
            let Some(buffer) = buffer else { return send_file(file, socket, bytes) };
            let buffer = buffer.as_mut_slice();
            if sent == filled {
                (*sent, *filled) = (0, file.as_ref().read(&mut buffer[..bytes])?);
                if *filled == 0 {
                    return Ok(0);
                }
            }
            // What a full socket leaves over goes first next time.
            let end = (*filled).min(*sent + bytes);
            let taken = socket.send(&buffer[*sent..end])?;
            *sent += taken;
            Ok(taken)
        })
    }
}

/// Writes what comes into the file.
pub(in crate::engine) struct FileReceive {
    file: Arc<File>,
    receive: SyncReceive,
}

impl FileReceive {
    pub(in crate::engine) fn prepare(job: &StreamJob, file: &Arc<File>) -> Result<Self, Missing> {
        Ok(Self { file: Arc::clone(file), receive: SyncReceive::prepare(job)? })
    }

    pub(in crate::engine) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let mut file = self.file.as_ref();
        self.receive.run_into(job, recorder, |bytes| file.write_all(bytes))
    }
}
