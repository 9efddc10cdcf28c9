//! Multishot recvmsg through io_uring, into a few buffers that each take a whole message.

use std::io;

use super::account::{Account, WAIT_MAX};
use super::pause::Pause;
use crate::engine::recorder::Recorder;
use crate::engine::{StreamJob, UdpJob};
use crate::sys::uring::{Operation, ReceiveBuffers, ReceiveRing, Ring};
use crate::sys::{Missing, error_message, is_path_error, monotonic_now, use_exact_timers};

/// Memory for the buffers of one stream: few large ones, so that they stay in the processor's cache ...
const BUFFERS_BYTES: u32 = 1024 * 1024 + 128 * 1024;
/// ... and of all streams of a test together, as long as none has too few.
const ALL_BUFFERS_BYTES: u32 = 16 * 1024 * 1024;
/// Buffers of one stream: at least, at most.
const BUFFERS: (u32, u32) = (4, 256);
/// What a buffer holds besides the payload: lengths and control messages.
const BUFFER_HEADER_BYTES: usize = 128;
/// The kernel copies this much of a datagram that is to be discarded: its header.
const HEADER_BYTES: usize = 16;
/// More than any message has. IPv6 carries datagrams of up to 65,527 bytes, and one that is longer than the
/// longest of a test must be seen to be longer.
const RECEIVED_BYTES_MAX: usize = 65_536;

/// The loop of one receiving ring.
pub(in crate::engine) struct UdpUringReceive<R> {
    ring: R,
    udp: UdpJob,
    discard: bool,
    buffers: u16,
    drops_before: u32,
}

impl UdpUringReceive<Ring> {
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        udp: UdpJob,
    ) -> Result<(Self, Option<Missing>), Missing> {
        let refused = |error| Missing::from(&error);
        let (together, note) = prepare_socket(job, udp);
        let bytes = (slot_bytes(job, together) + BUFFER_HEADER_BYTES).next_multiple_of(64);
        let bytes = u32::try_from(bytes).expect("at most a message and a header");
        let count = buffer_count(bytes, job.streams);
        // A completion for each buffer at once, and for the end of the operation.
        let entries = u32::from(count / 2).max(8);
        let mut ring = job.ring(entries)?;
        let buffers = ReceiveBuffers::new(count, bytes).map_err(|error| Missing {
            reason: format!("no memory for receive buffers: {}", error_message(&error)),
            fix: "use fewer streams".to_owned(),
        })?;
        ring.register_buffers(buffers).map_err(refused)?;
        let ring = ring.enable(&[Operation::ReceiveMessages]).map_err(refused)?;
        Ok((Self { drops_before: drops_before(job), ..Self::over(ring, job, udp, count) }, note))
    }
}

impl<R: ReceiveRing> UdpUringReceive<R> {
    /// The loop over a ring that has so many buffers.
    pub(in crate::engine) fn over(ring: R, job: &StreamJob, udp: UdpJob, buffers: u16) -> Self {
        Self { ring, udp, discard: job.skip_rx_copy, buffers, drops_before: 0 }
    }

    /// How often completions had no room.
    pub(in crate::engine) fn overflows(&self) -> u64 {
        self.ring.overflows()
    }

    pub(in crate::engine) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let mut account = Account::new(job, self.udp, self.drops_before);
        let buffer_bytes = job.socket.receive_buffer().unwrap_or(0);
        let mut pause = Pause::new(self.buffers.into(), buffer_bytes, self.ring.now());
        use_exact_timers();
        self.ring.push_receive_messages(self.discard);
        loop {
            recorder.publish();
            let (since, before) = (self.ring.now(), recorder.bytes());
            self.ring.wait(WAIT_MAX)?;
            let taken = self.reap(&mut account, recorder)?;
            let now = self.ring.now();
            let came = account.publish_counts(job, recorder, before, now);
            if account.is_over(job.stop.since(), came, since, now) {
                account.close(job, recorder);
                return Ok(());
            }
            if let Some(pause) = pause.after(now, taken, account.messages(), recorder.bytes()) {
                self.ring.pause(pause);
            }
        }
    }

    /// Takes every message that is there, and says how many.
    fn reap(&mut self, account: &mut Account, recorder: &mut Recorder) -> io::Result<u64> {
        let arrived = monotonic_now();
        let before = account.messages();
        while let Some(completion) = self.ring.next_completion() {
            if let Some(message) = self.ring.message(&completion) {
                account.take(&message, arrived, recorder);
            }
            if let Some(buffer) = completion.buffer {
                self.ring.give_back(buffer);
            }
            if completion.result < 0 {
                // ENOBUFS: all buffers were full at once; they are given back by now.
                if !matches!(-completion.result, libc::ENOBUFS | libc::EAGAIN | libc::EINTR) {
                    pass_over(io::Error::from_raw_os_error(-completion.result), recorder)?;
                }
            }
            if !completion.more {
                self.ring.push_receive_messages(self.discard);
            }
        }
        Ok(account.messages() - before)
    }
}

/// Buffers of so many bytes for each of so many streams: a power of two, as the kernel wants it.
fn buffer_count(bytes: u32, streams: u32) -> u16 {
    let share = (ALL_BUFFERS_BYTES / streams.max(1)).min(BUFFERS_BYTES);
    let count = (share / bytes).clamp(BUFFERS.0, BUFFERS.1);
    u16::try_from(1 << count.ilog2()).expect("at most the largest count")
}

/// Sets the socket up for receiving. Says whether the kernel puts datagrams together, and what is missing if
/// it should but does not.
pub(super) fn prepare_socket(job: &StreamJob, udp: UdpJob) -> (bool, Option<Missing>) {
    // Without the counter no loss can be put down to the socket; nothing else depends on it.
    let _ = job.socket.report_drops();
    // Without the kernel's time of arrival it is that of the look at the message.
    let _ = job.socket.stamp_arrivals();
    // Of datagrams that were put together and then discarded only the first header would be seen.
    if !udp.offload || job.skip_rx_copy {
        return (false, None);
    }
    match job.socket.set_receive_offload() {
        Ok(()) => (true, None),
        Err(error) => {
            let missing = Missing {
                reason: format!(
                    "no UDP receive offload, so each datagram is received by itself: {}",
                    error_message(&error)
                ),
                fix: "use Linux 5.0 or later".to_owned(),
            };
            (false, Some(missing))
        }
    }
}

/// What the socket has dropped before the test: while it had no peer, a flood from anywhere may have filled
/// its buffer.
pub(super) fn drops_before(job: &StreamJob) -> u32 {
    // A kernel that does not say it here says nothing at the end either.
    job.socket.drops_before().unwrap_or(0)
}

/// Bytes of memory for one message.
pub(super) fn slot_bytes(job: &StreamJob, together: bool) -> usize {
    let datagram = usize::try_from(job.block.bytes).expect("a u32 fits a usize on Linux");
    if job.skip_rx_copy {
        HEADER_BYTES
    } else if together {
        RECEIVED_BYTES_MAX
    } else {
        // One byte more, so that a longer datagram is seen to be longer.
        datagram + 1
    }
}

/// Puts down a failed receive that only tells of the way to the peer: an ICMP message about something that
/// this socket has sent.
///
/// # Errors
/// The same error, if it is another one.
pub(super) fn pass_over(error: io::Error, recorder: &mut Recorder) -> io::Result<()> {
    match error.raw_os_error() {
        Some(errno) if is_path_error(errno) => {
            recorder.passed_over(errno);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_few_when_they_are_large_or_shared_by_many() {
        assert_eq!(buffer_count(65_664, 1), 16);
        assert_eq!(buffer_count(65_664, 256), 4);
        assert_eq!(buffer_count(1_600, 1), 256);
        assert_eq!(buffer_count(192, 128), 256);
        assert_eq!(buffer_count(1_600, 128), 64);
    }
}
