//! Sends through io_uring: copying from registered memory, or by reference (zero-copy).
//!
//! The payload never changes, so it is sent again and again without waiting for the release of earlier sends:
//! releases are counted and bounded, not waited for, until the stream ends.

use std::io;
use std::time::Instant;

use crate::config::EngineChoice;
use crate::engine::StreamJob;
use crate::engine::adapt::Ways;
use crate::engine::gate::{GateState, SendGate};
use crate::engine::payload::repeating_payload;
use crate::engine::recorder::Recorder;
use crate::engine::sizes::{paced_depth, ring_depth, ring_send_bytes, ring_send_way, unreleased_sends};
use crate::engine::waiting::{RELEASE_WAIT_MAX, SEND_WAIT_MAX, longest_wait};
use crate::engine::zero_copy::ZeroCopyProbe;
use crate::sys::Missing;
use crate::sys::uring::{Completion, Operation, Ring, SendRing, Token};

/// The operations that a ring of this loop is allowed. One that begins with sends by reference may go on with
/// copying ones.
fn operations(zero_copy: bool) -> &'static [Operation] {
    if zero_copy { &[Operation::SendZeroCopy, Operation::Send] } else { &[Operation::Send] }
}

/// The loop of one sending ring.
pub(in crate::engine) struct UringSend<R> {
    ring: R,
    operation_bytes: u32,
    depth: usize,
    zero_copy: bool,
    slots: Vec<Slot>,
    free: Vec<usize>,
    unsent: usize,
    zero_copy_probe: ZeroCopyProbe,
}

/// One send that the kernel has not finished with.
#[derive(Clone, Copy)]
struct Slot {
    bytes: u32,
    zero_copy: bool,
    submitted: Instant,
}

impl UringSend<Ring> {
    /// Makes a ring with registered payload. With `auto`, a memory lock limit that is too low costs the
    /// registration and not the engine; the note says so.
    pub(in crate::engine) fn prepare(
        job: &StreamJob,
        zero_copy: bool,
    ) -> Result<(Self, Option<Missing>), Missing> {
        let automatic = job.asked == EngineChoice::Auto;
        let operation_bytes = Ways::new(job, vec![ring_send_way(job)]).bytes();
        let slots = unreleased_sends(job, zero_copy);
        let entries = u32::try_from(slots + 2).expect("a few hundred").next_power_of_two();
        let refused = |error| Missing::from(&error);
        let mut ring = job.sending_ring(entries, zero_copy)?;
        let registered = ring.register_payload(repeating_payload(
            job,
            job.block.bytes.min(operation_bytes),
            operation_bytes,
        )?);
        let note = match registered {
            Ok(()) => None,
            // Pages of unregistered zero-copy sends are charged to the same limit, so only copying is left.
            Err(error) if automatic && !zero_copy => Some(Missing::from(&error)),
            Err(error) => return Err(Missing::from(&error)),
        };
        let note = note.map(|missing| Missing {
            reason: format!("send buffers are not registered: {}", missing.reason),
            fix: missing.fix,
        });
        let ring = ring.enable(operations(zero_copy)).map_err(refused)?;
        Ok((Self::over(ring, job, zero_copy), note))
    }
}

impl<R: SendRing> UringSend<R> {
    /// The loop over a ring that has its payload.
    pub(in crate::engine) fn over(ring: R, job: &StreamJob, zero_copy: bool) -> Self {
        let operation_bytes = ring_send_bytes(job);
        let slots = unreleased_sends(job, zero_copy);
        let submitted = ring.now();
        Self {
            ring,
            operation_bytes,
            depth: ring_depth(job).min(paced_depth(job)),
            zero_copy,
            slots: vec![Slot { bytes: 0, zero_copy, submitted }; slots],
            free: (0..slots).rev().collect(),
            unsent: 0,
            zero_copy_probe: ZeroCopyProbe::new(job.asked == EngineChoice::Auto),
        }
    }

    /// Whether there is a send that the kernel has not finished with.
    pub(in crate::engine) fn has_unreleased(&self) -> bool {
        self.ring.in_flight() > 0
    }

    /// Number of completions for which the completion queue had no room.
    pub(in crate::engine) fn overflows(&self) -> u64 {
        self.ring.overflows()
    }

    pub(in crate::engine) fn run(&mut self, gate: &mut SendGate, recorder: &mut Recorder) -> io::Result<()> {
        let depth = u64::try_from(self.depth).expect("a usize fits a u64");
        gate.widen(u64::from(self.operation_bytes) * depth);
        let mut now = self.ring.now();
        loop {
            let state = gate.refresh(now);
            match state {
                GateState::Open => self.submit(gate, now),
                GateState::Stopped => return self.give_up(gate, recorder),
                GateState::Exhausted if self.unsent == 0 => return Ok(()),
                GateState::Exhausted | GateState::Until(_) => {}
            }
            recorder.publish();
            self.ring.wait(longest_wait(gate, state, now))?;
            now = self.ring.now();
            self.reap(gate, recorder, now)?;
            recorder.sample_rtt(now);
        }
    }

    /// Waits for the kernel to let go of everything, within reason.
    pub(in crate::engine) fn release_all(&mut self, recorder: &mut Recorder) {
        let deadline = self.ring.now() + RELEASE_WAIT_MAX;
        while self.ring.in_flight() > 0 && self.ring.now() < deadline {
            if self.ring.wait(SEND_WAIT_MAX).is_err() {
                break;
            }
            let now = self.ring.now();
            while let Some(completion) = self.ring.next_completion() {
                self.release(completion, recorder, now);
            }
        }
        if self.ring.in_flight() > 0 {
            recorder.zero_copy_outstanding(u64::from(self.ring.in_flight()));
        }
        if self.zero_copy {
            self.zero_copy_probe.verdict(recorder);
        }
    }

    /// Whether every slot is free again.
    #[cfg(test)]
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len() && self.unsent == 0
    }

    /// Fills the ring with what the gate grants.
    fn submit(&mut self, gate: &mut SendGate, now: Instant) {
        while self.unsent < self.depth {
            let Some(&slot) = self.free.last() else { return };
            let bytes =
                u32::try_from(gate.take(u64::from(self.operation_bytes))).expect("at most an operation");
            if bytes == 0 {
                return;
            }
            self.free.pop();
            self.unsent += 1;
            self.slots[slot] = Slot { bytes, zero_copy: self.zero_copy, submitted: now };
            if self.zero_copy {
                self.ring.push_send_zc(bytes, slot);
            } else {
                self.ring.push_send(bytes, slot);
            }
        }
    }

    /// Takes every completion that is there. After a failed send the others in flight still count.
    fn reap(&mut self, gate: &mut SendGate, recorder: &mut Recorder, now: Instant) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some(completion) = self.ring.next_completion() {
            if completion.notification {
                self.release(completion, recorder, now);
                if let Some(fallback_reason) =
                    self.zero_copy_probe.fallback_reason().filter(|_| self.zero_copy)
                {
                    self.step_down(recorder, &fallback_reason);
                }
            } else {
                outcome = outcome.and(self.result(completion, gate, recorder, now));
            }
        }
        if outcome.is_err() {
            self.give_up(gate, recorder)?;
        }
        outcome
    }

    /// Takes the result of a send.
    fn result(
        &mut self,
        completion: Completion,
        gate: &mut SendGate,
        recorder: &mut Recorder,
        now: Instant,
    ) -> io::Result<()> {
        let Token::Send(index) = completion.token else { return Ok(()) };
        let slot = self.slots[index];
        self.unsent -= 1;
        let Ok(sent) = u32::try_from(completion.result) else {
            gate.give_back(u64::from(slot.bytes));
            // A notification may follow all the same; it releases nothing that was sent.
            self.slots[index].bytes = 0;
            self.free_unless_held(completion, index);
            return self.failed(-completion.result, slot.zero_copy, recorder);
        };
        gate.give_back(u64::from(slot.bytes - sent));
        recorder.moved(u64::from(sent));
        recorder.completed(now.duration_since(slot.submitted));
        if completion.more {
            recorder.zero_copy_requested(u64::from(sent));
            self.slots[index].bytes = sent;
        }
        self.free_unless_held(completion, index);
        Ok(())
    }

    /// Takes the notification that a zero-copy send's memory is free.
    fn release(&mut self, completion: Completion, recorder: &mut Recorder, now: Instant) {
        let Token::Send(index) = completion.token else { return };
        if completion.notification {
            let slot = self.slots[index];
            let waited = now.duration_since(slot.submitted);
            recorder.zero_copy_released(u64::from(slot.bytes), completion.copied, waited);
            if slot.bytes > 0 {
                self.zero_copy_probe.released(completion.copied);
            }
        }
        self.free_unless_held(completion, index);
    }

    fn free_unless_held(&mut self, completion: Completion, index: usize) {
        if !completion.more {
            self.free.push(index);
        }
    }

    /// A send failed. `auto` gives zero-copy up where the kernel or the protocol has none; others that are in
    /// flight by reference then fail as well, which is no news.
    fn failed(&mut self, errno: i32, zero_copy: bool, recorder: &mut Recorder) -> io::Result<()> {
        if matches!(errno, libc::EAGAIN | libc::EINTR) {
            return Ok(());
        }
        match self.zero_copy_probe.fallback_reason_of_failure(errno).filter(|_| zero_copy) {
            Some(fallback_reason) => {
                self.step_down(recorder, &fallback_reason);
                Ok(())
            }
            None => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn step_down(&mut self, recorder: &mut Recorder, fallback_reason: &str) {
        if self.zero_copy {
            self.zero_copy = false;
            ZeroCopyProbe::step_down(recorder, fallback_reason);
        }
    }

    /// Cancels what the peer does not take, and counts what it took all the same.
    fn give_up(&mut self, gate: &mut SendGate, recorder: &mut Recorder) -> io::Result<()> {
        if self.unsent == 0 {
            return Ok(());
        }
        self.ring.cancel_all();
        let deadline = self.ring.now() + RELEASE_WAIT_MAX;
        while self.unsent > 0 && self.ring.now() < deadline {
            self.ring.wait(SEND_WAIT_MAX)?;
            let now = self.ring.now();
            while let Some(completion) = self.ring.next_completion() {
                if completion.notification {
                    self.release(completion, recorder, now);
                } else {
                    // A cancelled send is no failure.
                    let _ = self.result(completion, gate, recorder, now);
                }
            }
        }
        Ok(())
    }
}
