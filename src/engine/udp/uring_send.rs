//! A batch of sends per submission, each from a slot of registered memory, copying or by reference.
//!
//! The sends of a batch are linked, so the kernel begins each when the one before is done. Otherwise one that
//! finds the send buffer full would be overtaken by the next, and this end itself would put datagrams out of
//! order.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use super::stamp::{Stamper, slot_memory};
use super::{Layout, Remedy, Setback, is_refused_segmentation, is_temporary};
use crate::config::EngineChoice;
use crate::engine::gate::{GateState, SendGate};
use crate::engine::recorder::Recorder;
use crate::engine::waiting::{RELEASE_WAIT_MAX, SEND_WAIT_MAX, longest_wait};
use crate::engine::zero_copy::ZeroCopyProbe;
use crate::engine::{StreamJob, UdpJob};
use crate::sys::uring::{Completion, Operation, Ring, SendRing, Token};
use crate::sys::{Missing, use_exact_timers};

/// What a ring of this loop does. One that begins with sends by reference may go on with copying ones.
fn operations(zero_copy: bool) -> &'static [Operation] {
    if zero_copy {
        &[Operation::SendZeroCopy, Operation::Send, Operation::Link]
    } else {
        &[Operation::Send, Operation::Link]
    }
}

/// The loop of one sending ring.
pub(in crate::engine) struct UdpUringSend<R> {
    ring: R,
    layout: Layout,
    stamper: Stamper,
    zero_copy: bool,
    zero_copy_probe: ZeroCopyProbe,
    /// What it had to do without from the start.
    note: Option<Missing>,
    slots: Vec<Slot>,
    /// The one used last comes first again: it is most likely in the cache.
    free: Vec<usize>,
    /// Slots that are stamped and not sent, in the order of their numbers.
    batch: VecDeque<usize>,
    /// Sends in flight that have no result yet.
    unsent: usize,
    /// The first failure of the batch that is not worth a second try.
    failure: Option<i32>,
    setback: Setback,
}

#[derive(Clone, Copy)]
struct Slot {
    bytes: usize,
    submitted: Instant,
    sent: bool,
}

impl UdpUringSend<Ring> {
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        udp: UdpJob,
        zero_copy: bool,
    ) -> Result<(Self, Option<Missing>), Missing> {
        let automatic = job.asked == EngineChoice::Auto;
        let (layout, note) = Layout::prepare(job, udp.offload);
        let count = layout.slots(zero_copy);
        let entries = (count + 2).next_power_of_two();
        let refused = |error| Missing::from(&error);
        let mut ring = job.sending_ring(entries, zero_copy)?;
        let registered = ring.register_payload(slot_memory(job, layout.memory_bytes(count))?);
        let unregistered = match registered {
            Ok(()) => None,
            // Pages of unregistered zero-copy sends are charged to the same limit, so only copying is left.
            Err(error) if automatic && !zero_copy => Some(Missing::from(&error)),
            Err(error) => return Err(Missing::from(&error)),
        };
        ring.divide_payload(layout.slot_bytes());
        let ring = ring.enable(operations(zero_copy)).map_err(refused)?;
        let note = note.or(unregistered);
        Ok((Self { note: note.clone(), ..Self::over(ring, job, udp, layout, zero_copy) }, note))
    }
}

impl<R: SendRing> UdpUringSend<R> {
    /// The loop over a ring that has its slots.
    pub(in crate::engine) fn over(
        ring: R,
        job: &StreamJob,
        udp: UdpJob,
        layout: Layout,
        zero_copy: bool,
    ) -> Self {
        let count = usize::try_from(layout.slots(zero_copy)).expect("a u32 fits a usize on Linux");
        let submitted = ring.now();
        Self {
            ring,
            layout,
            note: None,
            stamper: Stamper::new(udp, layout.datagram_bytes),
            zero_copy,
            zero_copy_probe: ZeroCopyProbe::new(job.asked == EngineChoice::Auto),
            slots: vec![Slot { bytes: 0, submitted, sent: false }; count],
            free: (0..count).rev().collect(),
            batch: VecDeque::with_capacity(count),
            unsent: 0,
            failure: None,
            setback: Setback::default(),
        }
    }

    /// Whether the kernel has not finished with a send.
    pub(in crate::engine) fn has_unreleased(&self) -> bool {
        self.ring.in_flight() > 0
    }

    /// How often completions had no room.
    pub(in crate::engine) fn overflows(&self) -> u64 {
        self.ring.overflows()
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
        if let Some(note) = &self.note {
            recorder.does_without(note);
        }
        gate.widen(u64::from(self.layout.memory_bytes(self.layout.batch_slots)));
        let mut now = self.ring.now();
        loop {
            let state = gate.refresh(now);
            match state {
                GateState::Open => self.fill(gate, now, recorder),
                GateState::Until(_) => {}
                GateState::Exhausted | GateState::Stopped => return Ok(()),
            }
            if self.batch.is_empty() {
                // It is too early, or the kernel still holds every slot.
                recorder.publish();
                self.ring.wait(longest_wait(gate, state, now))?;
                self.reap(recorder);
            }
            while !self.batch.is_empty() {
                self.send_batch(job, gate, recorder)?;
                if gate.is_over(self.ring.now()) {
                    return Ok(());
                }
            }
            now = self.ring.now();
        }
    }

    /// Waits for the kernel to let go of everything, within reason.
    pub(in crate::engine) fn release_all(&mut self, recorder: &mut Recorder) {
        let deadline = self.ring.now() + RELEASE_WAIT_MAX;
        while self.ring.in_flight() > 0 && self.ring.now() < deadline && self.ring.wait(SEND_WAIT_MAX).is_ok()
        {
            self.reap(recorder);
        }
        if self.ring.in_flight() > 0 {
            recorder.zero_copy_outstanding(u64::from(self.ring.in_flight()));
        }
        if self.zero_copy {
            self.zero_copy_probe.verdict(recorder);
        }
    }

    /// Whether every slot is free again, or holds what could not be sent.
    #[cfg(test)]
    pub(in crate::engine) fn is_idle(&self) -> bool {
        let kept = self.batch.iter().filter(|&&slot| !self.slots[slot].sent).count();
        self.free.len() + kept == self.slots.len() && self.unsent == 0
    }

    /// Stamps as many free slots as the gate grants.
    fn fill(&mut self, gate: &mut SendGate, now: Instant, recorder: &mut Recorder) {
        self.stamper.look_at_the_clock();
        let slot_bytes = u64::try_from(self.layout.slot_bytes()).expect("a usize fits a u64");
        let batch_slots = usize::try_from(self.layout.batch_slots).expect("a u32 fits a usize on Linux");
        let mut bytes = 0;
        while self.batch.len() < batch_slots
            && let Some(&slot) = self.free.last()
        {
            let granted = usize::try_from(gate.take(slot_bytes)).expect("at most a slot");
            if granted == 0 {
                break;
            }
            self.free.pop();
            let memory = self.ring.slot_mut(slot).expect("a free slot is in nobody's hands");
            self.stamper.stamp(&mut memory[..granted]);
            self.slots[slot] = Slot { bytes: granted, submitted: now, sent: false };
            self.batch.push_back(slot);
            bytes += granted;
        }
        if bytes > 0 {
            let datagrams = u64::try_from(bytes / self.layout.datagram_bytes).expect("a usize fits a u64");
            recorder.departs(now, datagrams, gate.goes_on());
        }
    }

    /// Sends the batch, or what is left of it, and waits for all results.
    fn send_batch(&mut self, job: &StreamJob, gate: &SendGate, recorder: &mut Recorder) -> io::Result<()> {
        self.wait_for_slots(recorder)?;
        let submitted = self.ring.now();
        let last = self.batch.len() - 1;
        for (place, &slot) in self.batch.iter().enumerate() {
            let bytes = u32::try_from(self.slots[slot].bytes).expect("at most a message");
            self.ring.push_send_slot(slot, bytes, self.zero_copy, place < last);
        }
        self.unsent = self.batch.len();
        recorder.publish();
        let mut cancelled = false;
        while self.unsent > 0 {
            // At the deadline at the latest, unless it is results of cancelled sends that are waited for.
            let longest = match cancelled {
                true => SEND_WAIT_MAX,
                false => longest_wait(gate, GateState::Open, self.ring.now()),
            };
            self.ring.wait_for(self.unsent, longest)?;
            self.reap(recorder);
            let now = self.ring.now();
            if self.unsent > 0 && gate.is_over(now) {
                if !cancelled {
                    self.ring.cancel_all();
                    cancelled = true;
                } else if now.duration_since(submitted) > RELEASE_WAIT_MAX {
                    return Ok(());
                }
            }
        }
        recorder.completed(self.ring.now().duration_since(submitted));
        self.batch.retain(|&slot| !self.slots[slot].sent);
        match self.failure.take() {
            None => Ok(()),
            Some(errno) => self.failed(job, errno, recorder),
        }
    }

    /// A failed send by reference may be followed by a notification; until then its slot cannot go again.
    fn wait_for_slots(&mut self, recorder: &mut Recorder) -> io::Result<()> {
        let deadline = self.ring.now() + RELEASE_WAIT_MAX;
        while self.batch.iter().any(|&slot| self.ring.is_busy(slot)) {
            if self.ring.now() > deadline {
                return Err(io::Error::other("io_uring does not release the memory of a failed send"));
            }
            self.ring.wait(SEND_WAIT_MAX)?;
            self.reap(recorder);
        }
        Ok(())
    }

    /// Takes every completion that is there.
    fn reap(&mut self, recorder: &mut Recorder) {
        let now = self.ring.now();
        while let Some(completion) = self.ring.next_completion() {
            let Token::SendSlot(index) = completion.token else { continue };
            if completion.notification {
                let slot = self.slots[index];
                if slot.sent {
                    let waited = now.duration_since(slot.submitted);
                    let bytes = u64::try_from(slot.bytes).expect("a usize fits a u64");
                    recorder.zero_copy_released(bytes, completion.copied, waited);
                    self.zero_copy_probe.released(completion.copied);
                }
            } else {
                self.result(&completion, index, recorder);
            }
            if !completion.more && self.slots[index].sent {
                self.free.push(index);
            }
        }
        if let Some(fallback_reason) = self.zero_copy_probe.fallback_reason().filter(|_| self.zero_copy) {
            self.zero_copy = false;
            ZeroCopyProbe::step_down(recorder, &fallback_reason);
        }
    }

    /// Takes the result of a send.
    fn result(&mut self, completion: &Completion, index: usize, recorder: &mut Recorder) {
        self.unsent -= 1;
        if completion.result >= 0 {
            let slot = &mut self.slots[index];
            slot.sent = true;
            self.setback.sent();
            self.layout.sent(slot.bytes, recorder);
            if completion.more {
                recorder.zero_copy_requested(u64::try_from(slot.bytes).expect("a usize fits a u64"));
            }
        } else if !is_temporary(-completion.result) || self.gives_zero_copy_up(-completion.result) {
            self.failure.get_or_insert(-completion.result);
        }
    }

    /// Whether that failure is one of sends by reference, so that a second try would fail as well.
    fn gives_zero_copy_up(&self, errno: i32) -> bool {
        self.zero_copy && self.zero_copy_probe.fallback_reason_of_failure(errno).is_some()
    }

    /// Something was refused. The batch still holds what was not sent.
    fn failed(&mut self, job: &StreamJob, errno: i32, recorder: &mut Recorder) -> io::Result<()> {
        // A send of several datagrams may have been refused because it is one.
        let is_about_segments = self.layout.per_slot > 1 && is_refused_segmentation(errno);
        let fallback_reason =
            self.zero_copy_probe.fallback_reason_of_failure(errno).filter(|_| self.zero_copy);
        if let Some(fallback_reason) = fallback_reason.filter(|_| !is_about_segments) {
            self.zero_copy = false;
            ZeroCopyProbe::step_down(recorder, &fallback_reason);
            return Ok(());
        }
        let refused = (errno, self.ring.now());
        match self.layout.remedy(job, refused, &mut self.setback, recorder)? {
            Remedy::OneByOne => self.demote(job, recorder),
            Remedy::Pause(pause) => {
                self.ring.pause(pause);
                Ok(())
            }
        }
    }

    /// Sends are not cut into datagrams any more: from now on each is sent by itself, those that are numbered
    /// already first.
    fn demote(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        self.wait_for_slots(recorder)?;
        // Slots keep their place; from now on only their first datagram is used.
        self.layout.per_slot = 1;
        while let Some(slot) = self.batch.pop_front() {
            let bytes = self.slots[slot].bytes;
            let memory = self.ring.slot_mut(slot).expect("all slots of the batch were waited for");
            self.layout.send_one_by_one(job, &memory[..bytes], &mut self.setback, recorder)?;
            self.free.push(slot);
        }
        Ok(())
    }
}
