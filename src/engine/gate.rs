//! "How much may I send now?": pacing, byte goal, deadline and stop in one answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{StopToken, StreamJob, udp};
use crate::config::Pacing;
use crate::stats::SharedCounters;

/// Bytes granted at once to an unpaced sender of small blocks, so that it reads the clock once per this many.
const ROUND_BYTES: u64 = 64 * 1024;
/// Largest number of blocks granted at once to such a sender.
const ROUND_BLOCKS_MAX: u64 = 64;
/// Longest stretch of missed sending that a paced TCP sender makes up for.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// What a sender may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Take bytes and send them.
    Open,
    /// Nothing before this moment.
    Until(Instant),
    /// All bytes of the goal are given out; what is in flight may still come back.
    Exhausted,
    /// Time is over, or somebody said stop: give up what is in flight.
    Stopped,
}

/// Answers a sender's question once per kernel wait. Between two answers [`Self::take`] costs no clock and no
/// atomic.
#[derive(Debug)]
pub struct SendGate {
    stop: StopToken,
    deadline: Option<Instant>,
    pacer: Option<Pacer>,
    goal: Option<Arc<ByteGoal>>,
    /// What is granted now counts towards the goal.
    counts: bool,
    /// Granted before that.
    omitted_bytes: u64,
    counters: Arc<SharedCounters>,
    round_bytes: u64,
    quota: u64,
    /// What was granted last belongs to the burst before it.
    goes_on: bool,
}

impl SendGate {
    pub(super) fn new(job: &StreamJob, start: Instant) -> Self {
        let block = u64::from(job.block.bytes);
        let (pacing, catch_up_max) = match job.udp {
            Some(_) => (udp::pacing(job), udp::CATCH_UP_MAX),
            None => (job.pacing, CATCH_UP_MAX),
        };
        Self {
            stop: job.stop.clone(),
            deadline: job.duration.map(|duration| start + duration),
            pacer: Pacer::new(pacing, block, start, catch_up_max),
            goal: job.goal.clone(),
            counts: false,
            omitted_bytes: 0,
            counters: Arc::clone(&job.counters),
            round_bytes: block * (ROUND_BYTES / block).clamp(1, ROUND_BLOCKS_MAX),
            quota: 0,
            goes_on: false,
        }
    }

    /// Lets one answer grant at least `bytes`, for engines that keep several operations in flight.
    pub fn widen(&mut self, bytes: u64) {
        self.round_bytes = self.round_bytes.max(bytes);
    }

    /// Looks at the clock, the stop token, the pacing and the goal.
    pub fn refresh(&mut self, now: Instant) -> GateState {
        if self.is_over(now) {
            self.quota = 0;
            return GateState::Stopped;
        }
        if self.quota == 0 {
            self.count_from_here();
            // Before the pace: who has nothing left to send does not wait for its turn.
            if self.counts && self.goal.as_ref().is_some_and(|goal| goal.is_given_out()) {
                return GateState::Exhausted;
            }
            let mut grant = self.round_bytes;
            self.goes_on = self.pacer.as_ref().is_some_and(|pacer| pacer.begun_bytes > 0);
            if let Some(pacer) = &mut self.pacer {
                match pacer.allowance(now) {
                    Ok(bytes) => grant = grant.min(bytes),
                    Err(next) => return GateState::Until(next),
                }
            }
            if let Some(goal) = &self.goal {
                if self.counts {
                    grant = goal.claim(grant);
                    if grant == 0 {
                        return GateState::Exhausted;
                    }
                } else {
                    self.omitted_bytes += grant;
                }
            }
            if let Some(pacer) = &mut self.pacer {
                pacer.goes(grant);
            }
            self.quota = grant;
        }
        GateState::Open
    }

    /// Notices that the counted part of the test has begun. All that was granted before is of the omitted
    /// part, also what is still on its way into the kernel.
    fn count_from_here(&mut self) {
        if !self.counts && self.goal.as_ref().is_some_and(|goal| goal.is_armed()) {
            self.counts = true;
            self.counters.count_from(self.omitted_bytes);
        }
    }

    /// Whether time is over, or somebody said stop.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.stop.is_set() || self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Takes up to `most` of the granted bytes; 0 means that it is time to refresh.
    pub fn take(&mut self, most: u64) -> u64 {
        let taken = most.min(self.quota);
        self.quota -= taken;
        taken
    }

    /// Whether what was granted last is the rest of a burst, of which an engine can have taken only a part.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Returns bytes that were taken but not sent.
    pub fn give_back(&mut self, bytes: u64) {
        self.quota += bytes;
    }

    /// How long a kernel wait that begins at `now` may last: until the deadline, at most `longest`.
    #[must_use]
    pub fn wait_at_most(&self, now: Instant, longest: Duration) -> Duration {
        match self.deadline {
            Some(deadline) => deadline.saturating_duration_since(now).min(longest),
            None => longest,
        }
    }
}

/// Keeps a stream at its average rate since the start, as iperf3 does: a burst may go when the average is not
/// above the rate. After a stall at most `catch_up_max` of the rate is made up for.
#[derive(Debug)]
struct Pacer {
    bits_per_second: u64,
    burst_bytes: u64,
    catch_up_max: Duration,
    origin: Instant,
    spent_bytes: u64,
    /// What is left of a burst that has begun. It goes whatever the average is.
    begun_bytes: u64,
}

impl Pacer {
    fn new(pacing: Pacing, block: u64, start: Instant, catch_up_max: Duration) -> Option<Self> {
        (pacing.bits_per_second > 0).then(|| Self {
            bits_per_second: pacing.bits_per_second,
            burst_bytes: block * u64::from(pacing.burst_blocks.max(1)),
            catch_up_max,
            origin: start,
            spent_bytes: 0,
            begun_bytes: 0,
        })
    }

    /// Bytes that may go now, to the end of a burst, or when the next burst may go.
    fn allowance(&mut self, now: Instant) -> Result<u64, Instant> {
        if self.begun_bytes > 0 {
            return Ok(self.begun_bytes);
        }
        let earned = self.earned(now.saturating_duration_since(self.origin));
        let forgiven = earned.saturating_sub(self.earned(self.catch_up_max).max(self.burst_bytes));
        self.spent_bytes = self.spent_bytes.max(forgiven);
        if self.spent_bytes <= earned {
            let whole_bursts = (earned - self.spent_bytes) / self.burst_bytes + 1;
            Ok(whole_bursts * self.burst_bytes)
        } else {
            Err(self.origin + self.time_for(self.spent_bytes))
        }
    }

    /// So much of the allowance goes.
    fn goes(&mut self, bytes: u64) {
        self.spent_bytes += bytes;
        let into_burst = (self.burst_bytes - self.begun_bytes + bytes) % self.burst_bytes;
        self.begun_bytes = if into_burst == 0 { 0 } else { self.burst_bytes - into_burst };
    }

    fn earned(&self, elapsed: Duration) -> u64 {
        let bytes = u128::from(self.bits_per_second) * elapsed.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanoseconds = (u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(self.bits_per_second));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// The bytes at which one direction of a test ends, shared by all of its streams.
///
/// Senders claim bytes before they send them; receivers report what has come. Each stream begins with that
/// when it finds the goal armed, and notes what it has moved until then: during the omit period nothing
/// counts.
pub struct ByteGoal {
    remaining: AtomicU64,
    armed: AtomicBool,
    reached: Box<dyn Fn() + Send + Sync>,
}

impl ByteGoal {
    /// A goal of `bytes` that counts from [`Self::arm`] on. Receivers call `reached` when the last byte has
    /// come.
    pub fn new(bytes: u64, reached: impl Fn() + Send + Sync + 'static) -> Self {
        Self { remaining: AtomicU64::new(bytes), armed: AtomicBool::new(false), reached: Box::new(reached) }
    }

    /// The counted part of the test begins.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Whether the counted part of the test has begun.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Whether no byte is left to be claimed.
    #[must_use]
    pub fn is_given_out(&self) -> bool {
        self.remaining.load(Ordering::Relaxed) == 0
    }

    /// Claims up to `wanted` bytes for sending; 0 means that all are given out.
    #[must_use]
    pub fn claim(&self, wanted: u64) -> u64 {
        // Relaxed: the number stands for itself.
        let before = self
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)))
            .expect("the closure always returns a value");
        before.min(wanted)
    }

    /// Reports received bytes and returns how many of them the goal still lacked.
    pub fn received(&self, bytes: u64) -> u64 {
        let counted = self.claim(bytes);
        // Whoever claimed last sees zero; it may be seen twice, which does no harm.
        if counted > 0 && self.remaining.load(Ordering::Relaxed) == 0 {
            (self.reached)();
        }
        counted
    }
}

impl fmt::Debug for ByteGoal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteGoal").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn gate(pacing: Pacing, block: u64, goal: Option<u64>, start: Instant) -> SendGate {
        let goal = goal.map(|bytes| Arc::new(ByteGoal::new(bytes, || ())));
        if let Some(goal) = &goal {
            goal.arm();
        }
        SendGate {
            stop: StopToken::default(),
            deadline: None,
            pacer: Pacer::new(pacing, block, start, CATCH_UP_MAX),
            goal,
            counts: false,
            omitted_bytes: 0,
            counters: Arc::default(),
            round_bytes: block,
            quota: 0,
            goes_on: false,
        }
    }

    #[test]
    fn what_was_granted_before_the_goal_counts_is_omitted_and_the_goal_is_whole() {
        let now = Instant::now();
        let goal = Arc::new(ByteGoal::new(2500, || ()));
        let mut gate = gate(Pacing::default(), 1000, None, now);
        gate.goal = Some(Arc::clone(&goal));
        let counters = Arc::clone(&gate.counters);
        assert_eq!((gate.refresh(now), gate.take(1000)), (GateState::Open, 1000));
        assert_eq!((gate.refresh(now), gate.take(400)), (GateState::Open, 400));
        goal.arm();
        // The rest of that grant, and what the kernel did not take of it, are still of the omitted part.
        gate.give_back(300);
        assert_eq!((gate.refresh(now), gate.take(1000)), (GateState::Open, 900));
        assert_eq!(counters.counts_from(), None);
        let mut counted = 0;
        while gate.refresh(now) == GateState::Open {
            counted += gate.take(1000);
        }
        assert_eq!((counted, counters.counts_from()), (2500, Some(2000)));
    }

    #[test]
    fn a_goal_is_given_out_exactly_and_returned_bytes_go_again() {
        let now = Instant::now();
        let mut gate = gate(Pacing::default(), 1000, Some(2500), now);
        let mut sent = 0;
        while gate.refresh(now) == GateState::Open {
            sent += gate.take(1000);
        }
        assert_eq!((sent, gate.refresh(now)), (2500, GateState::Exhausted));
        gate.give_back(300);
        assert_eq!(gate.refresh(now), GateState::Open);
        assert_eq!(gate.take(1000), 300);
        assert_eq!(gate.refresh(now), GateState::Exhausted);
    }

    #[test]
    fn stop_and_deadline_close_it_whatever_is_left() {
        let now = Instant::now();
        let mut gate = gate(Pacing::default(), 1000, None, now);
        gate.deadline = Some(now + Duration::from_secs(1));
        assert_eq!(gate.refresh(now), GateState::Open);
        assert_eq!(gate.wait_at_most(now, Duration::from_secs(5)), Duration::from_secs(1));
        assert_eq!(gate.refresh(now + Duration::from_secs(1)), GateState::Stopped);
        assert_eq!(gate.take(1), 0);
        gate.deadline = None;
        gate.stop.set();
        assert_eq!(gate.refresh(now), GateState::Stopped);
    }

    #[test]
    fn a_receiver_reports_the_goal_once() {
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&count);
        let goal = ByteGoal::new(100, move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let counted: Vec<u64> = (0..5).map(|_| goal.received(40)).collect();
        assert_eq!((counted, count.load(Ordering::Relaxed)), (vec![40, 40, 20, 0, 0], 1));
    }

    #[test]
    fn a_paced_sender_keeps_the_average_and_makes_up_for_a_short_stall_only() {
        // 8 kbit/s, blocks of 100 bytes: one each 100 ms, 1000 bytes in the second that is made up for.
        let start = Instant::now();
        let pacing = Pacing { bits_per_second: 8_000, burst_blocks: 0 };
        let mut gate = gate(pacing, 100, None, start);
        assert_eq!(gate.refresh(start), GateState::Open);
        assert_eq!(gate.take(1000), 100);
        assert_eq!(gate.refresh(start), GateState::Until(start + Duration::from_millis(100)));
        let late = start + Duration::from_secs(60);
        let mut sent = 0;
        while gate.refresh(late) == GateState::Open {
            sent += gate.take(1000);
        }
        assert!((1000..=1100).contains(&sent), "{sent} bytes after a minute of silence");
    }

    #[test]
    fn who_has_nothing_left_to_send_does_not_wait_for_its_turn() {
        let start = Instant::now();
        let pacing = Pacing { bits_per_second: 8_000, burst_blocks: 0 };
        let mut gate = gate(pacing, 100, Some(200), start);
        assert_eq!((gate.refresh(start), gate.take(1000)), (GateState::Open, 100));
        let next = start + Duration::from_millis(100);
        assert_eq!(gate.refresh(start), GateState::Until(next));
        assert_eq!((gate.refresh(next), gate.take(1000)), (GateState::Open, 100));
        assert_eq!(gate.refresh(next), GateState::Exhausted);
    }

    #[test]
    fn a_burst_goes_at_once() {
        let start = Instant::now();
        let pacing = Pacing { bits_per_second: 8_000, burst_blocks: 5 };
        let mut gate = gate(pacing, 100, None, start);
        gate.widen(10_000);
        assert_eq!(gate.refresh(start), GateState::Open);
        assert_eq!(gate.take(10_000), 500);
        assert_eq!(gate.refresh(start), GateState::Until(start + Duration::from_millis(500)));
    }

    #[test]
    fn a_burst_goes_to_its_end_however_little_an_engine_takes_at_a_time() {
        let start = Instant::now();
        let pacing = Pacing { bits_per_second: 8_000, burst_blocks: 5 };
        let mut gate = gate(pacing, 100, None, start);
        for tick in 0..3 {
            let now = start + Duration::from_millis(500) * tick;
            for piece in 0..5 {
                assert_eq!(gate.refresh(now), GateState::Open);
                assert_eq!(gate.goes_on(), piece > 0, "piece {piece}");
                assert_eq!(gate.take(10_000), 100);
            }
            assert_eq!(gate.refresh(now), GateState::Until(now + Duration::from_millis(500)));
        }
    }

    proptest! {
        #[test]
        fn the_rate_is_never_exceeded_by_more_than_a_burst(
            rate in 1_000_u64..100_000_000_000, block in 1_u64..1 << 20, burst in 0_u32..100,
        ) {
            let start = Instant::now();
            let pacing = Pacing { bits_per_second: rate, burst_blocks: burst };
            let mut gate = gate(pacing, block, None, start);
            let mut sent = 0_u64;
            let mut now = start;
            for _ in 0..200 {
                match gate.refresh(now) {
                    GateState::Open => sent += gate.take(u64::MAX),
                    GateState::Until(next) => { prop_assert!(next > now); now = next; }
                    other => prop_assert!(false, "{:?}", other),
                }
                let elapsed = now.duration_since(start).as_nanos();
                let earned = u128::from(rate) * elapsed / 8_000_000_000;
                prop_assert!(u128::from(sent) <= earned + u128::from(block) * u128::from(burst.max(1)));
            }
        }
    }
}
