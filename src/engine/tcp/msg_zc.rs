//! send(2) with MSG_ZEROCOPY, its completions read from the error queue.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::engine::StreamJob;
use crate::engine::blocking;
use crate::engine::gate::SendGate;
use crate::engine::payload::payload;
use crate::engine::recorder::Recorder;
use crate::engine::waiting::RELEASE_WAIT_MAX;
use crate::sys::{ErrorQueue, Missing, Region, error_message};

/// Most sends that may wait for their release.
const OUTSTANDING_MAX: usize = 256;
/// Number of sends that wait for their release at which the error queue is read.
const OUTSTANDING_READ: usize = 16;

/// Sends by reference, and counts the sends whose memory the kernel still holds.
pub(in crate::engine) struct MsgZc {
    payload: Region,
    outstanding: Outstanding,
}

impl MsgZc {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        job.socket.enable_zerocopy().map_err(|error| Missing {
            reason: format!("SO_ZEROCOPY failed: {}", error_message(&error)),
            fix: "use Linux 4.14 or later".to_owned(),
        })?;
        Ok(Self { payload: payload(job, job.block.bytes)?, outstanding: Outstanding::default() })
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let Self { payload, outstanding } = self;
        let payload = payload.as_slice();
        let mut queue = ErrorQueue::new(&job.socket);
        blocking::run(job.block.bytes, gate, recorder, |bytes, now, recorder| {
            if outstanding.sends.len() >= OUTSTANDING_READ {
                outstanding.read(&mut queue, recorder)?;
            }
            let crowded = outstanding.sends.len() >= OUTSTANDING_MAX;
            match if crowded { Err(no_buffers()) } else { job.socket.send_zerocopy(&payload[..bytes]) } {
                Ok(sent) => {
                    outstanding.add(sent, now, recorder);
                    Ok(sent)
                }
                // Too many sends wait for their release: one that copies keeps the stream going.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    outstanding.read(&mut queue, recorder)?;
                    job.socket.send(&payload[..bytes])
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Waits for the kernel to let go of everything, within reason.
    pub(in crate::engine) fn release_all(&mut self, job: &StreamJob, recorder: &mut Recorder) {
        let deadline = Instant::now() + RELEASE_WAIT_MAX;
        let mut queue = ErrorQueue::new(&job.socket);
        while !self.outstanding.sends.is_empty() && Instant::now() < deadline {
            if self.outstanding.read(&mut queue, recorder).is_err()
                || job.socket.wait_for_error_queue(Duration::from_millis(10)).is_err()
            {
                break;
            }
        }
        let left = u64::try_from(self.outstanding.sends.len()).expect("a usize fits a u64");
        recorder.zero_copy_outstanding(left);
    }
}

/// The sends that wait for their release, oldest first. The kernel numbers them from 0.
#[derive(Default)]
struct Outstanding {
    first_number: u32,
    sends: VecDeque<(u64, Instant, bool)>,
}

impl Outstanding {
    fn add(&mut self, bytes: usize, now: Instant, recorder: &mut Recorder) {
        let bytes = u64::try_from(bytes).expect("a usize fits a u64");
        recorder.zero_copy_requested(bytes);
        self.sends.push_back((bytes, now, false));
    }

    /// Takes every completion that is there.
    fn read(&mut self, queue: &mut ErrorQueue<'_>, recorder: &mut Recorder) -> io::Result<()> {
        while let Some(release) = queue.next_release()? {
            let count = release.last.wrapping_sub(release.first).wrapping_add(1);
            for step in 0..count {
                let number = release.first.wrapping_add(step);
                let index = usize::try_from(number.wrapping_sub(self.first_number)).unwrap_or(usize::MAX);
                let Some((bytes, submitted, released)) = self.sends.get_mut(index) else { break };
                *released = true;
                recorder.zero_copy_released(*bytes, release.copied, submitted.elapsed());
            }
        }
        while self.sends.front().is_some_and(|(_, _, released)| *released) {
            self.sends.pop_front();
            self.first_number = self.first_number.wrapping_add(1);
        }
        Ok(())
    }
}

fn no_buffers() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOBUFS)
}
