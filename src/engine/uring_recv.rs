//! Receives through io_uring: one multishot receive into a few large buffers that go round.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StreamJob;
use super::payload::memory;
use super::receive_mark::ReceiveMark;
use super::recorder::Recorder;
use crate::config::BlockSize;
use crate::sys::Missing;
use crate::sys::uring::{ReceiveBuffers, Ring};

/// Bytes of one receive buffer when there are few streams.
const BUFFER_BYTES: u32 = 256 * 1024;
/// Bytes of one receive buffer however many streams there are.
const BUFFER_BYTES_MIN: u32 = 32 * 1024;
/// Receive buffers of all streams of a test together, as long as none gets too small.
const ALL_BUFFERS_BYTES: u32 = 16 * 1024 * 1024;
/// Receive buffers of one stream: few, so that they stay in the processor's cache.
const BUFFERS: u16 = 4;
/// Longest wait in the kernel, and the longest that bytes below the receive mark stay unseen.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Token of the only operation.
const RECEIVE: u64 = 0;

/// One receiving ring.
pub(super) struct UringReceive {
    ring: Ring,
    discard: bool,
}

impl UringReceive {
    pub(super) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let refused = |error| Missing::from(&error);
        let mut ring = Ring::new(Arc::clone(&job.socket), 8).map_err(refused)?;
        let buffer_bytes = buffer_bytes(job.block, job.streams);
        if job.skip_rx_copy {
            ring.set_receive_memory(memory(buffer_bytes)?);
        } else {
            let buffers = ReceiveBuffers::new(BUFFERS, buffer_bytes).map_err(|error| Missing {
                reason: format!("no memory for receive buffers: {error}"),
                fix: "use fewer streams".to_owned(),
            })?;
            ring.register_buffers(buffers).map_err(refused)?;
        }
        Ok(Self { ring, discard: job.skip_rx_copy })
    }

    pub(super) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let mut mark = ReceiveMark::new(job);
        self.arm();
        loop {
            recorder.publish();
            self.ring.wait(WAIT_MAX)?;
            let before = recorder.bytes();
            if self.reap(recorder)? {
                return Ok(());
            }
            let received = recorder.bytes() - before;
            if received == 0 {
                mark.idle();
            } else {
                if let Some(goal) = &job.goal {
                    goal.received(received);
                }
                let now = Instant::now();
                recorder.received_at(now);
                mark.adapt(now, recorder.bytes());
            }
            if job.stop.is_set() {
                return Ok(());
            }
        }
    }

    /// Takes every completion that is there; says whether the peer is done.
    fn reap(&mut self, recorder: &mut Recorder) -> io::Result<bool> {
        while let Some(completion) = self.ring.next_completion() {
            if let Some(buffer) = completion.buffer {
                self.ring.give_back(buffer);
            }
            match u64::try_from(completion.result) {
                Ok(0) => return Ok(true),
                Ok(bytes) => recorder.moved(bytes),
                // All buffers were full at once; they are given back by now.
                Err(_) if matches!(-completion.result, libc::ENOBUFS | libc::EAGAIN | libc::EINTR) => {}
                Err(_) => return Err(io::Error::from_raw_os_error(-completion.result)),
            }
            if !completion.more {
                self.arm();
            }
        }
        Ok(false)
    }

    fn arm(&mut self) {
        if self.discard {
            self.ring.push_receive(true, RECEIVE);
        } else {
            self.ring.push_receive_multishot(RECEIVE);
        }
    }
}

fn buffer_bytes(block: BlockSize, streams: u32) -> u32 {
    if block.explicit {
        // A page at least: smaller buffers would only add completions.
        return block.bytes.max(4096);
    }
    let share = ALL_BUFFERS_BYTES / (streams.max(1) * u32::from(BUFFERS));
    share.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_have_smaller_buffers() {
        let default = BlockSize::default();
        assert_eq!(buffer_bytes(default, 1), BUFFER_BYTES);
        assert_eq!(buffer_bytes(default, 16), BUFFER_BYTES);
        assert_eq!(buffer_bytes(default, 64), 64 * 1024);
        assert_eq!(buffer_bytes(default, 256), BUFFER_BYTES_MIN);
        assert_eq!(buffer_bytes(BlockSize { bytes: 64, explicit: true }, 1), 4096);
    }
}
