//! recvmmsg(2): many messages per system call, each of many datagrams where the kernel puts them together.

use std::io;
use std::time::Instant;

use super::account::Account;
use super::pause::Pause;
use super::uring_receive::{drops_before, pass_over, prepare_socket, slot_bytes};
use crate::engine::recorder::Recorder;
use crate::engine::waiting::is_pause;
use crate::engine::{StreamJob, UdpJob};
use crate::sys::{Missing, ReceiveSlots, error_message, monotonic_now, use_exact_timers};

/// Messages of one system call when each may hold many datagrams ...
const LARGE_SLOTS: usize = 8;
/// ... and when each is one datagram.
const SMALL_SLOTS: usize = 64;

/// Receives until it is told to stop and everything has been read.
pub(in crate::engine) struct UdpSyncReceive {
    slots: ReceiveSlots,
    udp: UdpJob,
    drops_before: u32,
}

impl UdpSyncReceive {
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        udp: UdpJob,
    ) -> Result<(Self, Option<Missing>), Missing> {
        let (together, note) = prepare_socket(job, udp);
        let count = match (together, udp.offload) {
            (true, _) => LARGE_SLOTS,
            (false, true) => SMALL_SLOTS,
            // One datagram per system call was asked for.
            (false, false) => 1,
        };
        let slots = ReceiveSlots::new(count, slot_bytes(job, together)).map_err(|error| Missing {
            reason: format!("no memory for receive buffers: {}", error_message(&error)),
            fix: "use fewer streams".to_owned(),
        })?;
        Ok((Self { slots, udp, drops_before: drops_before(job) }, note))
    }

    pub(in crate::engine) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let mut account = Account::new(job, self.udp, self.drops_before);
        let buffer_bytes = job.socket.receive_buffer().unwrap_or(0);
        let mut pause = Pause::new(self.slots.len(), buffer_bytes, Instant::now());
        use_exact_timers();
        loop {
            recorder.publish();
            let (since, before) = (Instant::now(), recorder.bytes());
            let messages = account.messages();
            match self.slots.receive(&job.socket, job.skip_rx_copy) {
                Ok(count) => {
                    let arrived = monotonic_now();
                    for index in 0..count {
                        account.take(&self.slots.message(index), arrived, recorder);
                    }
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => pass_over(error, recorder)?,
            }
            let now = Instant::now();
            let came = account.publish_counts(job, recorder, before, now);
            if account.is_over(job.stop.since(), came, since, now) {
                account.close(job, recorder);
                return Ok(());
            }
            let taken = account.messages() - messages;
            if self.udp.offload
                && let Some(pause) = pause.after(now, taken, account.messages(), recorder.bytes())
            {
                std::thread::sleep(pause);
            }
        }
    }
}
