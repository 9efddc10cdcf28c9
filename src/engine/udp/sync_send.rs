//! sendmmsg(2): a batch of messages per system call; or, without offload, one datagram per send(2).

use std::io;
use std::time::Instant;

use super::stamp::{Stamper, slot_memory};
use super::{Layout, Remedy, Setback, is_temporary};
use crate::engine::gate::SendGate;
use crate::engine::recorder::Recorder;
use crate::engine::waiting::wait_until_open;
use crate::engine::{StreamJob, UdpJob};
use crate::sys::{Missing, SendSlots, use_exact_timers};

/// Sends from slots, batch by batch.
pub(in crate::engine) struct UdpSyncSend {
    slots: SendSlots,
    layout: Layout,
    stamper: Stamper,
    /// Bytes of each slot of the batch.
    lengths: Vec<usize>,
    /// Slots of the batch that have gone.
    gone: usize,
    setback: Setback,
}

impl UdpSyncSend {
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        udp: UdpJob,
    ) -> Result<(Self, Option<Missing>), Missing> {
        let (mut layout, note) = Layout::prepare(job, udp.offload);
        if !udp.offload {
            // One datagram per system call was asked for.
            layout.batch_slots = 1;
        }
        let memory = slot_memory(job, layout.memory_bytes(layout.batch_slots))?;
        let engine = Self {
            slots: SendSlots::new(memory, layout.slot_bytes()),
            layout,
            stamper: Stamper::new(udp, layout.datagram_bytes),
            lengths: Vec::new(),
            gone: 0,
            setback: Setback::default(),
        };
        Ok((engine, note))
    }

    pub(in crate::engine) fn run(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        self.send_until_over(job, gate, recorder)?;
        self.layout.note_fragments(job, recorder);
        self.setback.verdict(job, recorder)
    }

    fn send_until_over(
        &mut self,
        job: &StreamJob,
        gate: &mut SendGate,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        use_exact_timers();
        gate.widen(u64::from(self.layout.memory_bytes(self.layout.batch_slots)));
        let mut now = Instant::now();
        while let Some(begun) = wait_until_open(gate, recorder, now) {
            self.fill(gate, begun, recorder);
            while self.gone < self.lengths.len() {
                self.send(job, recorder)?;
                if gate.is_over(Instant::now()) {
                    break;
                }
            }
            recorder.publish();
            now = Instant::now();
            recorder.completed(now.duration_since(begun));
        }
        Ok(())
    }

    /// Fills as many slots as the gate grants.
    fn fill(&mut self, gate: &mut SendGate, now: Instant, recorder: &mut Recorder) {
        self.lengths.clear();
        self.gone = 0;
        self.stamper.look_at_the_clock();
        let slot_bytes = u64::try_from(self.layout.slot_bytes()).expect("a usize fits a u64");
        let batch_slots = usize::try_from(self.layout.batch_slots).expect("a u32 fits a usize on Linux");
        for index in 0..batch_slots {
            let granted = usize::try_from(gate.take(slot_bytes)).expect("at most a slot");
            if granted == 0 {
                break;
            }
            self.stamper.stamp(&mut self.slots.slot_mut(index)[..granted]);
            self.lengths.push(granted);
        }
        let datagrams = self.lengths.iter().sum::<usize>() / self.layout.datagram_bytes;
        let datagrams = u64::try_from(datagrams).expect("a usize fits a u64");
        recorder.departs(now, datagrams, gate.goes_on());
    }

    /// Makes one system call for what is left of the batch.
    fn send(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let left = &self.lengths[self.gone..];
        let sent = match left {
            &[length] => job.socket.send(&self.slots.slot(self.gone)[..length]).map(|_| 1),
            many => self.slots.send(&job.socket, self.gone, many),
        };
        match sent {
            Ok(count) => {
                for &length in &left[..count] {
                    self.layout.sent(length, recorder);
                }
                self.gone += count;
                self.setback.sent();
                Ok(())
            }
            Err(error) => match error.raw_os_error() {
                Some(errno) if is_temporary(errno) => Ok(()),
                Some(errno) => {
                    let refused = (errno, Instant::now());
                    match self.layout.remedy(job, refused, &mut self.setback, recorder)? {
                        Remedy::OneByOne => self.demote(job, recorder),
                        Remedy::Pause(pause) => {
                            std::thread::sleep(pause);
                            Ok(())
                        }
                    }
                }
                None => Err(error),
            },
        }
    }

    /// Sends are not cut into datagrams any more: from now on each is sent by itself, those that are numbered
    /// already first.
    fn demote(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let slots = self.layout.batch_slots * self.layout.per_slot;
        self.layout.per_slot = 1;
        for index in self.gone..self.lengths.len() {
            let slot = &self.slots.slot(index)[..self.lengths[index]];
            self.layout.send_one_by_one(job, slot, &mut self.setback, recorder)?;
        }
        self.gone = self.lengths.len();
        self.layout.batch_slots = slots.min(super::BATCH_SLOTS_MAX);
        self.slots.divide(self.layout.slot_bytes());
        Ok(())
    }
}
