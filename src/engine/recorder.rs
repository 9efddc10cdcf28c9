//! What a stream thread writes down while it runs.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ByteGoal, Engine, EngineUse, StreamExit, StreamJob};
use crate::config::Flow;
use crate::stats::{Counters, CpuTime, DatagramCounters, SharedCounters, ZeroCopy};
use crate::sys::{Missing, Socket, current_processor, error_message};

/// Time between two looks at what is not counted: the processor and the smoothed round-trip time.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The thread's own numbers. Only [`Self::publish`] is seen by others before the end.
pub(super) struct Recorder {
    shared: Arc<SharedCounters>,
    socket: Arc<Socket>,
    samples_rtt: bool,
    next_look: Instant,
    totals: Counters,
    goal: Option<Arc<ByteGoal>>,
    counts: bool,
    /// No byte counts beyond the goal.
    is_exact: bool,
    last_received: Option<Instant>,
    /// What a UDP sender has handed over last, until the kernel has taken some of it.
    departing: Option<Departing>,
    finished: Option<Instant>,
    without: Option<Missing>,
    set_back: Option<(u64, i32)>,
    passed_over: Option<(u64, i32)>,
    exit: StreamExit,
}

/// Datagrams that were handed to the kernel at once.
#[derive(Clone, Copy)]
struct Departing {
    now: Instant,
    datagrams: u64,
    /// They are more of the burst before.
    goes_on: bool,
}

impl Recorder {
    /// Made by the stream's own thread when the test starts.
    pub(super) fn new(job: &StreamJob, engine: EngineUse, start: Instant) -> Self {
        let goal = job.goal.clone().filter(|_| job.flow == Flow::Receive);
        let exit = StreamExit { engine, ..StreamExit::never_started(job.asked) };
        let mut recorder = Self {
            shared: Arc::clone(&job.counters),
            socket: Arc::clone(&job.socket),
            samples_rtt: job.flow == Flow::Send && job.udp.is_none(),
            next_look: start + LOOK_EVERY,
            totals: Counters::default(),
            is_exact: goal.as_ref().is_some_and(|goal| !goal.is_armed()),
            goal,
            counts: false,
            last_received: None,
            departing: None,
            finished: None,
            without: None,
            set_back: None,
            passed_over: None,
            exit,
        };
        // However short the test is, it is known where it ran.
        recorder.note_processor();
        recorder
    }

    /// One operation has moved `bytes` bytes.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.totals.bytes += bytes;
        self.totals.operations += 1;
    }

    /// Tells the goal, if there is one, of `bytes` bytes that were received since the last call and are
    /// counted in the totals. Returns how many of them count.
    ///
    /// Where there is an omitted part, the sender's goal begins at another byte than the receiver's, and
    /// bytes of that part may come late. They must not make more of a test than was asked for: what is beyond
    /// the goal is taken back.
    pub(super) fn reach(&mut self, bytes: u64) -> u64 {
        let Some(goal) = &self.goal else { return bytes };
        if !self.counts {
            if !goal.is_armed() {
                return bytes;
            }
            self.counts = true;
            self.shared.count_from(self.totals.bytes - bytes);
        }
        let counted = goal.received(bytes);
        if !self.is_exact {
            return bytes;
        }
        self.totals.bytes -= bytes - counted;
        counted
    }

    /// A receiver has got `bytes` bytes at `now`, of which its goal may not need all.
    pub(super) fn received(&mut self, bytes: u64, now: Instant) {
        if self.reach(bytes) > 0 {
            self.received_at(now);
        }
    }

    /// From now on a receiver counts nothing beyond its goal.
    pub(super) fn count_exactly(&mut self) {
        self.is_exact = true;
    }

    /// A receiver has got something at `now`.
    pub(super) fn received_at(&mut self, now: Instant) {
        self.last_received = Some(now);
        self.look_around(now);
    }

    /// A UDP sender hands so many datagrams to the kernel at once, which may be more of the burst before.
    /// They are a burst, or part of one, if it takes some.
    pub(super) fn departs(&mut self, now: Instant, datagrams: u64, goes_on: bool) {
        // Where nothing was taken of the part before, this one takes its place.
        let goes_on = goes_on && self.departing.is_none_or(|before| before.goes_on);
        self.departing = Some(Departing { now, datagrams, goes_on });
        self.look_around(now);
    }

    /// The kernel took so many datagrams of a UDP sender.
    pub(super) fn sent_datagrams(&mut self, datagrams: u64) {
        match self.departing.take() {
            Some(Departing { datagrams, goes_on: true, .. }) => self.exit.departures.more(datagrams),
            Some(Departing { now, datagrams, .. }) => self.exit.departures.burst(now, datagrams),
            None => {}
        }
        self.totals.datagrams.packets += datagrams;
    }

    /// What a UDP receiver has counted so far.
    pub(super) fn received_datagrams(&mut self, counters: DatagramCounters) {
        self.totals.datagrams = counters;
    }

    /// The stream ended at that moment, and not when its loop did.
    pub(super) fn finished_at(&mut self, moment: Instant) {
        self.finished = Some(moment);
    }

    /// When the stream ended, if its engine knows better than the end of its loop.
    pub(super) fn finished(&self) -> Option<Instant> {
        self.finished
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
        let zero_copy = self.zero_copy();
        zero_copy.requested_bytes += bytes;
        zero_copy.requested_sends += 1;
    }

    /// The kernel let go of a zero-copy send of `bytes`, `time` after its submission.
    pub(super) fn zero_copy_released(&mut self, bytes: u64, copied: bool, time: Duration) {
        self.exit.release.record(time);
        if copied && bytes > 0 {
            let zero_copy = self.zero_copy();
            zero_copy.copied_bytes += bytes;
            zero_copy.copied_sends += 1;
        }
    }

    /// So many zero-copy sends were never released.
    pub(super) fn zero_copy_outstanding(&mut self, count: u64) {
        self.zero_copy().outstanding += count;
    }

    /// This engine does the work, for this reason. What had to be done without stays said.
    pub(super) fn explain(&mut self, used: Engine, reason: String) {
        let (reason, fix) = match &self.without {
            Some(without) => (format!("{reason}; {}", without.reason), without.fix.clone()),
            None => (reason, String::new()),
        };
        self.exit.engine = EngineUse { asked: self.exit.engine.asked, used, reason, fix };
    }

    /// The device that the stream leaves by, if the kernel has to copy packets together for it.
    pub(super) fn copying_device(&self) -> Option<String> {
        let device = self.socket.outgoing_device().ok()?;
        (!self.socket.gathers(&device).ok()?).then_some(device)
    }

    /// Completions had no room for so many waits.
    pub(super) fn overflowed(&mut self, waits: u64) {
        if waits > 0 {
            let reason = &mut self.exit.engine.reason;
            reason.push_str(&format!("; io_uring's completion queue was full {waits} times"));
        }
    }

    /// A send failed with this error, and is tried again.
    pub(super) fn set_back(&mut self, errno: i32) {
        self.set_back.get_or_insert((0, errno)).0 += 1;
    }

    /// A receive has failed with this error about something that was sent before, and means nothing.
    pub(super) fn passed_over(&mut self, errno: i32) {
        self.passed_over.get_or_insert((0, errno)).0 += 1;
    }

    /// Something happened that the user should know.
    pub(super) fn warn(&mut self, warning: String) {
        self.exit.warnings.push(warning);
    }

    /// The engine has to do without something.
    pub(super) fn does_without(&mut self, missing: &Missing) {
        self.without = Some(missing.clone());
        let Missing { reason, fix } = missing.clone();
        self.exit.engine = EngineUse { reason, fix, ..self.exit.engine };
    }

    /// Looks at the round-trip time if it is time for that.
    pub(super) fn sample_rtt(&mut self, now: Instant) {
        if self.look_around(now)
            && self.samples_rtt
            && let Ok(sample) = self.socket.tcp_info()
        {
            self.exit.rtt.record(Duration::from_micros(u64::from(sample.rtt_us)));
        }
    }

    /// Notes where the thread runs if it is time for that, and says whether it was.
    pub(super) fn look_around(&mut self, now: Instant) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now + LOOK_EVERY;
        self.note_processor();
        true
    }

    pub(super) fn into_exit(
        mut self,
        finished: Instant,
        fault: Option<io::Error>,
        cpu: Option<CpuTime>,
    ) -> StreamExit {
        let why = |errno| error_message(&io::Error::from_raw_os_error(errno));
        let reason = &mut self.exit.engine.reason;
        if let Some((times, errno)) = self.set_back {
            let why = why(errno);
            reason.push_str(&format!("; the network refused {times} sends, which were made again ({why})"));
        }
        if let Some((times, errno)) = self.passed_over {
            let why = why(errno);
            reason.push_str(&format!("; {times} ICMP messages were passed over ({why})"));
        }
        let last_received = self.last_received;
        StreamExit { totals: self.totals, last_received, finished, fault, cpu, ..self.exit }
    }

    fn note_processor(&mut self) {
        if let Some(cpu) = current_processor() {
            self.exit.processors.found_on(cpu);
        }
    }

    fn zero_copy(&mut self) -> &mut ZeroCopy {
        self.exit.zero_copy.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::EngineChoice;
    use crate::engine::Engine;

    #[test]
    fn what_the_kernel_takes_nothing_of_is_no_burst() {
        let socket = Socket::from_udp(UdpSocket::bind("127.0.0.1:0").unwrap());
        let job = StreamJob::bare(socket, Flow::Send);
        let start = Instant::now();
        let departures = |taken: &[(u64, bool)]| {
            let engine = EngineUse::new(EngineChoice::Sync, Engine::Sync, "", None);
            let mut recorder = Recorder::new(&job, engine, start);
            for &(taken, goes_on) in taken {
                recorder.departs(start, 5, goes_on);
                (0..taken).for_each(|_| recorder.sent_datagrams(1));
            }
            let departures = recorder.into_exit(start, None, None).departures;
            (departures.bursts, departures.datagrams)
        };
        assert_eq!(departures(&[(0, false)]), (0, 0));
        assert_eq!(departures(&[(0, false), (5, false), (0, false), (2, false)]), (2, 10));
        // Of a burst in three parts the first is refused.
        assert_eq!(departures(&[(0, false), (5, true), (5, true), (1, false)]), (2, 15));
    }
}
