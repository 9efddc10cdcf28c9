//! What a stream thread writes down while it runs.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{EngineUse, StreamExit, StreamJob};
use crate::config::Flow;
use crate::stats::{Counters, CpuTime, SharedCounters, ZeroCopy};
use crate::sys::Socket;

/// Time between two looks at the smoothed round-trip time.
const RTT_EVERY: Duration = Duration::from_millis(10);

/// The thread's own numbers. Only [`Self::publish`] is seen by others before the end.
pub(super) struct Recorder {
    shared: Arc<SharedCounters>,
    socket: Arc<Socket>,
    samples_rtt: bool,
    next_rtt: Instant,
    totals: Counters,
    last_received: Option<Instant>,
    exit: StreamExit,
}

impl Recorder {
    pub(super) fn new(job: &StreamJob, engine: EngineUse, start: Instant) -> Self {
        let exit = StreamExit { engine, ..StreamExit::never_started(job.asked) };
        Self {
            shared: Arc::clone(&job.counters),
            socket: Arc::clone(&job.socket),
            samples_rtt: job.flow == Flow::Send,
            next_rtt: start + RTT_EVERY,
            totals: Counters::default(),
            last_received: None,
            exit,
        }
    }

    /// One operation has moved `bytes` bytes.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.totals.bytes += bytes;
        self.totals.operations += 1;
    }

    /// A receiver has got something at `now`.
    pub(super) fn received_at(&mut self, now: Instant) {
        self.last_received = Some(now);
    }

    /// When a receiver has got something for the last time.
    pub(super) fn last_received(&self) -> Option<Instant> {
        self.last_received
    }

    /// Bytes moved so far.
    pub(super) fn bytes(&self) -> u64 {
        self.totals.bytes
    }

    /// Lets others see the totals; called before every wait in the kernel.
    pub(super) fn publish(&self) {
        self.shared.publish(self.totals);
    }

    /// A send was completed `time` after its submission.
    pub(super) fn completed(&mut self, time: Duration) {
        self.exit.completion.record(time);
    }

    /// A zero-copy send of `bytes` was handed over.
    pub(super) fn zero_copy_requested(&mut self, bytes: u64) {
        self.zero_copy().requested_bytes += bytes;
    }

    /// The kernel let go of a zero-copy send of `bytes`, `time` after its submission.
    pub(super) fn zero_copy_released(&mut self, bytes: u64, copied: bool, time: Duration) {
        self.exit.release.record(time);
        if copied {
            self.zero_copy().copied_bytes += bytes;
        }
    }

    /// So many zero-copy sends were never released.
    pub(super) fn zero_copy_outstanding(&mut self, count: u64) {
        self.zero_copy().outstanding += count;
    }

    /// From now on another engine does the work.
    pub(super) fn change_engine(&mut self, engine: EngineUse) {
        self.exit.engine = engine;
    }

    /// Looks at the round-trip time if it is time for that.
    pub(super) fn sample_rtt(&mut self, now: Instant) {
        if !self.samples_rtt || now < self.next_rtt {
            return;
        }
        self.next_rtt = now + RTT_EVERY;
        if let Ok(sample) = self.socket.tcp_info() {
            self.exit.rtt.record(Duration::from_micros(u64::from(sample.rtt_us)));
        }
    }

    /// The engine as it stands now.
    pub(super) fn engine(&self) -> &EngineUse {
        &self.exit.engine
    }

    pub(super) fn into_exit(self, finished: Instant, fault: Option<io::Error>, cpu: CpuTime) -> StreamExit {
        StreamExit { totals: self.totals, finished, fault, cpu, ..self.exit }
    }

    fn zero_copy(&mut self) -> &mut ZeroCopy {
        self.exit.zero_copy.get_or_insert_default()
    }
}
