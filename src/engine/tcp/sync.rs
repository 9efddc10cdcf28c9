//! Plain send(2) and recv(2): the control to compare everything with, and the engine for kernels without
//! io_uring.

use std::io;
use std::time::Instant;

use super::receive_mark::ReceiveMark;
use crate::engine::StreamJob;
use crate::engine::adapt::Ways;
use crate::engine::blocking;
use crate::engine::gate::SendGate;
use crate::engine::payload::{memory, repeating_payload};
use crate::engine::recorder::Recorder;
use crate::engine::sizes::{plain_receive_ways, plain_send_way};
use crate::engine::waiting::is_pause;
use crate::sys::{Missing, Region};

/// Sends one block per call, or several.
pub(in crate::engine) struct SyncSend {
    payload: Region,
    operation_bytes: u32,
}

impl SyncSend {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let operation_bytes = Ways::new(job, vec![plain_send_way(job)]).bytes();
        let payload = repeating_payload(job, job.block.bytes.min(operation_bytes), operation_bytes)?;
        Ok(Self { payload, operation_bytes })
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let payload = self.payload.as_slice();
        blocking::run(self.operation_bytes, gate, recorder, |bytes, _, _| job.socket.send(&payload[..bytes]))
    }
}

/// Receives until the peer is done.
pub(in crate::engine) struct SyncReceive {
    buffer: Region,
    ways: Ways,
}

impl SyncReceive {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let ways = Ways::new(job, plain_receive_ways(job));
        match memory(ways.bytes()) {
            Ok(buffer) => Ok(Self { buffer, ways }),
            // What is only tried beside the usual way is no reason to fail.
            Err(_) => {
                let ways = ways.only(|way| *way == ways.usual());
                Ok(Self { buffer: memory(ways.bytes())?, ways })
            }
        }
    }

    pub(in crate::engine) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        self.run_into(job, recorder, |_| Ok(()))
    }

    /// Receives until the peer is done, and gives all bytes to `keep`.
    pub(in crate::engine) fn run_into(
        &mut self,
        job: &StreamJob,
        recorder: &mut Recorder,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { buffer, ways } = self;
        let buffer = buffer.as_mut_slice();
        let mut mark = ReceiveMark::new(job);
        loop {
            let way = ways.now();
            mark.allow(way.marked);
            let bytes = usize::try_from(way.bytes).expect("a u32 fits a usize on Linux");
            let buffer = &mut buffer[..bytes];
            let received = if job.skip_rx_copy && job.file.is_none() {
                job.socket.receive_discarding(buffer)
            } else {
                job.socket.receive(buffer)
            };
            match received {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    keep(&buffer[..count])?;
                    let bytes = u64::try_from(count).expect("a usize fits a u64");
                    recorder.moved(bytes);
                    let now = Instant::now();
                    recorder.received(bytes, now);
                    recorder.publish();
                    mark.adapt(now, recorder.bytes());
                    ways.moved(bytes, now);
                }
                Err(error) if is_pause(&error) => mark.idle(),
                Err(error) => return Err(error),
            }
            if job.stop.is_set() {
                return Ok(());
            }
        }
    }
}
