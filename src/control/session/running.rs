//! The part of a test in which data flows: both ends wait here for whatever comes first.

use std::future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::link::Link;
use super::rate_watch::{Limit, RateWatch};
use crate::config::{DEFAULT_RECEIVE_TIMEOUT, Flow, Role, TestConfig};
use crate::control::base::limits;
use crate::control::base::signals::Signals;
use crate::control::serve::router::Entry;
use crate::control::streams::set::{Awaits, Reception, Streams};
use crate::error::{LimitError, PeerError, RunError};
use crate::protocol::State;
use crate::report::{Interval, RunEvent};

/// What ended the flow of data.
pub(super) enum Ended {
    /// The client's end condition is reached.
    Condition,
    /// The peer has sent a state.
    Peer(State),
    /// Something went wrong, at this end or at the other.
    Failed(RunError),
    /// A signal; its name.
    Signal(&'static str),
}

/// Lets the streams run until something ends the test. `tell` hears of each interval at its end, and of what
/// else should be reported.
pub(super) async fn run_until_end(
    streams: &mut Streams,
    link: &mut Link,
    signals: &mut Signals,
    tell: &dyn Fn(RunEvent),
    schedule: Schedule,
) -> Ended {
    let ended = wait_for_end(streams, link, signals, tell, schedule).await;
    streams.note_over(matches!(ended, Ended::Condition | Ended::Peer(State::TestEnd)));
    ended
}

async fn wait_for_end(
    streams: &mut Streams,
    link: &mut Link,
    signals: &mut Signals,
    tell: &dyn Fn(RunEvent),
    mut schedule: Schedule,
) -> Ended {
    let mut progress = StallWatch::new(schedule.start, schedule.stall, schedule.quiet_end);
    let mut quiet: Option<SilenceWatch> = None;
    loop {
        let check =
            quiet.as_ref().map_or(progress.next_check, |quiet| progress.next_check.min(quiet.next_check));
        let (moment, due) = schedule.next(check);
        tokio::select! {
            biased;
            name = signals.recv() => return Ended::Signal(name),
            still = has_to_go(schedule.claim.as_ref()) => {
                return Ended::Failed(LimitError::Displaced(still).into());
            }
            state = link.next_state("the end of the test") => return match state {
                Ok(state) => Ended::Peer(state),
                Err(error) => Ended::Failed(error.into()),
            },
            notice = streams.next_notice() => {
                streams.note(notice);
                // Before the goal: a stream that failed does not send what it has claimed of it.
                if let Some(error) = streams.all_lost() {
                    return Ended::Failed(error);
                }
                if schedule.is_done(streams) {
                    return Ended::Condition;
                }
            }
            () = sleep_until(moment.into()) => match due {
                Due::Interval => {
                    let omitted = schedule.omit_end.is_some();
                    tell(RunEvent::Interval(streams.interval(Instant::now(), omitted)));
                    schedule.interval_done();
                }
                Due::OmitEnd => {
                    schedule.close_omit(streams, tell);
                    tell(RunEvent::OmitOver);
                    quiet = schedule.counted_quiet.map(|quiet| SilenceWatch::new(Instant::now(), quiet));
                    if schedule.is_done(streams) {
                        return Ended::Condition;
                    }
                }
                Due::End => {
                    schedule.hold_row(streams);
                    if schedule.role == Role::Client {
                        return Ended::Condition;
                    }
                }
                Due::HeldRow => {
                    schedule.held_until = None;
                    streams.held_row().into_iter().for_each(|row| tell(RunEvent::Interval(row)));
                }
                Due::Progress => schedule.check_progress(streams),
                Due::Overdue => return Ended::Failed(LimitError::Overdue.into()),
                Due::Rate => {
                    let bytes = streams.moved_bytes();
                    if schedule.is_too_fast(bytes, Instant::now()) {
                        return Ended::Failed(LimitError::RateLimit.into());
                    }
                }
                Due::Check if SilenceWatch::is_over(&mut quiet, streams) => {
                    streams.end_reception();
                    if schedule.is_done(streams) {
                        return Ended::Condition;
                    }
                }
                Due::Check => match progress.check(streams.awaited_bytes()) {
                    StallCheck::Fine => {}
                    StallCheck::Over(silence) => {
                        tell(RunEvent::Warning(format!(
                            "no datagram came for {} seconds: the last ones of the test are lost, or the sending \
                             end has stopped",
                            silence.as_secs()
                        )));
                        return Ended::Condition;
                    }
                    StallCheck::Stalled(silence) => return Ended::Failed(PeerError::Stalled(silence).into()),
                },
            }
        }
    }
}

/// Comes when a test has to make room for another one, with the time for which nothing has moved in it.
async fn has_to_go(claim: Option<&SlotUse>) -> Duration {
    match claim {
        Some(claim) => {
            claim.entry.has_to_go().await;
            claim.moved.elapsed()
        }
        None => future::pending().await,
    }
}

/// What an end does not put up with while a test runs.
pub(super) struct RunLimits {
    /// Longest silence of those that it receives from.
    pub(super) receive_timeout: Duration,
    /// Highest rates, of a server that has limits.
    pub(crate) rates: Vec<Limit>,
    /// Longest test without a time of its own, the omitted part included, at a server that has a limit.
    pub(crate) longest: Option<Duration>,
    /// The test at a server's router.
    pub(crate) entry: Option<Rc<Entry>>,
}

/// What a test of a server has its slot for: that something moves.
struct SlotUse {
    entry: Rc<Entry>,
    bytes: u64,
    /// When something was last seen to have moved, or the start.
    moved: Instant,
    pause: Duration,
    next_check: Instant,
}

/// When what is due. All times are absolute, so nothing drifts.
pub(super) struct Schedule {
    role: Role,
    start: Instant,
    interval: Option<Duration>,
    next_interval: Option<Instant>,
    omit_end: Option<Instant>,
    end: Option<Instant>,
    /// The row at the planned end is held back until then.
    held_until: Option<Instant>,
    overdue: Option<Instant>,
    claim: Option<SlotUse>,
    rates: Vec<RateWatch>,
    stall: Duration,
    /// A counted UDP test is over after so much silence.
    quiet_end: Option<Duration>,
    /// A counted test with an omitted part may be over after so much silence at a client that receives.
    counted_quiet: Option<Duration>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Interval,
    OmitEnd,
    End,
    HeldRow,
    Progress,
    Overdue,
    Rate,
    Check,
}

impl Schedule {
    pub(crate) fn new(
        role: Role,
        test: &Arc<TestConfig>,
        interval: Option<Duration>,
        start: Instant,
        run_limits: RunLimits,
    ) -> Self {
        let omit = Duration::from_secs(u64::from(test.omit_secs));
        let end = test.duration().map(|duration| start + omit + duration);
        // Between two blocks of a slowly paced stream nothing moves, and nothing is wrong.
        let block_bits = f64::from(test.block.bytes) * 8.0 * f64::from(test.pacing.burst_blocks.max(1));
        let rate = u32::try_from(test.pacing.bits_per_second).unwrap_or(u32::MAX);
        let pause = if rate == 0 { 0.0 } else { block_bits / f64::from(rate) };
        let pause = Duration::from_secs_f64(pause.min(1e6) * 2.0);
        let receives = test.direction.flows(role).contains(&Flow::Receive);
        let counts_datagrams = test.protocol.udp().is_some() && test.goal_bytes().is_some() && receives;
        let mut schedule = Self {
            role,
            start,
            interval,
            next_interval: None,
            omit_end: (test.omit_secs > 0).then(|| start + omit),
            end,
            held_until: None,
            overdue: match end {
                Some(end) => (role == Role::Server).then(|| end + limits::OVERDUE),
                None => run_limits.longest.map(|longest| start + longest),
            },
            claim: run_limits.entry.map(|entry| SlotUse {
                entry,
                bytes: 0,
                moved: start,
                pause,
                next_check: start,
            }),
            rates: run_limits.rates.into_iter().map(|limit| RateWatch::new(limit, interval, start)).collect(),
            stall: match run_limits.receive_timeout {
                _ if !receives => limits::STALL + pause,
                // Who sets a limit knows the pace of the test; the default must not end a slow one.
                DEFAULT_RECEIVE_TIMEOUT => DEFAULT_RECEIVE_TIMEOUT + pause,
                timeout => timeout,
            },
            quiet_end: (counts_datagrams && role == Role::Client).then_some(limits::UDP_QUIET + pause),
            counted_quiet: (role == Role::Client
                && receives
                && test.goal_bytes().is_some()
                && test.omit_secs > 0)
                .then_some(limits::COUNTED_QUIET + pause),
        };
        schedule.next_interval = interval.map(|interval| start + interval);
        schedule.skip_interval_at_the_end();
        schedule
    }

    fn next(&self, check: Instant) -> (Instant, Due) {
        // Of two that are due at the same moment the earlier one of this list comes first.
        let candidates = [
            (self.next_interval, Due::Interval),
            (self.omit_end, Due::OmitEnd),
            (self.end, Due::End),
            (self.held_until, Due::HeldRow),
            (self.claim.as_ref().map(|claim| claim.next_check), Due::Progress),
            (self.overdue, Due::Overdue),
            (self.rates.iter().map(RateWatch::next).min(), Due::Rate),
            (Some(check), Due::Check),
        ];
        let due = candidates.into_iter().filter_map(|(moment, due)| Some((moment?, due)));
        due.min_by_key(|(moment, _)| *moment).expect("a look is always due")
    }

    /// Tells the router when something has moved.
    fn check_progress(&mut self, streams: &Streams) {
        let Some(claim) = &mut self.claim else { return };
        let (bytes, now) = (streams.arrived_bytes(), Instant::now());
        if std::mem::replace(&mut claim.bytes, bytes) != bytes {
            claim.moved = now;
            claim.entry.note_moving(claim.pause);
        }
        // Often at first, and seldom when it takes long.
        let soon = limits::FIRST_BYTE_CHECK.max((now - self.start) / 16);
        claim.next_check =
            now + if bytes == 0 { soon.min(limits::MOVING_CHECK) } else { limits::MOVING_CHECK };
    }

    /// Whether one of the limits that are due now is exceeded.
    fn is_too_fast(&mut self, bytes: u64, now: Instant) -> bool {
        self.rates.iter_mut().any(|watch| watch.next() <= now && watch.is_exceeded(bytes, now))
    }

    /// Whether all that a client has asked for is done.
    fn is_done(&self, streams: &Streams) -> bool {
        let counts = self.omit_end.is_none();
        self.role == Role::Client && ((counts && streams.goal_reached()) || streams.file_sent())
    }

    /// The planned end has come: the row that ends there is made, be it that the test ends later.
    fn hold_row(&mut self, streams: &mut Streams) {
        if let (Some(interval), Some(end)) = (self.interval, self.end.take()) {
            let until = end + interval / 10;
            streams.hold_row(until);
            (self.held_until, self.next_interval) = (Some(until), Some(end + interval));
        }
    }

    fn interval_done(&mut self) {
        let now = Instant::now();
        if let (Some(next), Some(interval)) = (&mut self.next_interval, self.interval) {
            // A late tick is followed by the next regular one; ticks that were missed altogether are left
            // out.
            while *next <= now {
                *next += interval;
            }
        }
        self.skip_interval_at_the_end();
    }

    /// The counting begins anew, with its own intervals.
    fn close_omit(&mut self, streams: &mut Streams, tell: &dyn Fn(RunEvent)) {
        let now = Instant::now();
        if self.interval.is_some() {
            let rest = streams.interval(now, true);
            if rest.streams.iter().any(|stream| stream.end - stream.start >= Duration::from_millis(50)) {
                tell(RunEvent::Interval(rest));
            }
        }
        streams.omit_over(now);
        self.omit_end = None;
        self.next_interval = self.interval.map(|interval| now + interval);
        self.skip_interval_at_the_end();
    }

    /// The last interval is closed by the end of the test and not by a tick just before it.
    fn skip_interval_at_the_end(&mut self) {
        let limit = self.omit_end.or(self.end);
        if let (Some(next), Some(interval), Some(limit)) = (&mut self.next_interval, self.interval, limit) {
            let near = interval / 10;
            if *next + near > limit && *next < limit + near {
                *next += interval;
            }
        }
    }
}

/// Whether the last interval of a test is reported. By iperf3's rule it is if it moved something, or if it is
/// no mere remainder; besides, what was sent again or lost in it would be missing from the sum of them all.
pub(super) fn keep_last(last: &Interval, interval: Option<Duration>) -> bool {
    let shortest = interval.map_or(Duration::ZERO, |interval| interval / 10);
    last.streams.iter().any(|stream| {
        let sent_again = stream.tcp.is_some_and(|tcp| tcp.retransmits > 0);
        let passed = stream.udp.is_some_and(|udp| udp.packets > 0 || udp.lost > 0);
        stream.bytes > 0 || sent_again || passed || stream.end - stream.start >= shortest
    })
}

/// Notices the end of a counted test at a receiver that cannot be sure to get all that it wants.
struct SilenceWatch {
    /// So much silence is the end.
    quiet: Duration,
    operations: u64,
    /// How long nothing has come; time in which this process did not run is no silence.
    silence: Duration,
    /// How long the receivers have had all that they count.
    complete: Duration,
    last_check: Instant,
    next_check: Instant,
}

impl SilenceWatch {
    const CHECK_INTERVAL: Duration = Duration::from_millis(20);

    fn new(start: Instant, quiet: Duration) -> Self {
        let (silence, complete) = (Duration::ZERO, Duration::ZERO);
        Self {
            quiet,
            operations: 0,
            silence,
            complete,
            last_check: start,
            next_check: start + Self::CHECK_INTERVAL,
        }
    }

    /// Whether there is such an end, and it has come.
    fn is_over(quiet: &mut Option<Self>, streams: &Streams) -> bool {
        quiet.as_mut().is_some_and(|quiet| quiet.check(Instant::now(), streams.reception()))
    }

    /// Whether nothing more is to be waited for.
    fn check(&mut self, now: Instant, Reception { operations, state }: Reception) -> bool {
        if now < self.next_check {
            return false;
        }
        let passed = now.saturating_duration_since(self.last_check).min(2 * Self::CHECK_INTERVAL);
        (self.last_check, self.next_check) = (now, now + Self::CHECK_INTERVAL);
        let is_silent = std::mem::replace(&mut self.operations, operations) == operations;
        self.silence = if is_silent { self.silence + passed } else { Duration::ZERO };
        match state {
            Awaits::Bytes | Awaits::Nothing => false,
            Awaits::Silence => self.silence >= self.quiet,
            Awaits::Sender => {
                self.complete += passed;
                self.silence >= limits::QUIET || self.complete >= limits::THROUGH
            }
        }
    }
}

/// Notices a test in which nothing moves.
struct StallWatch {
    stall: Duration,
    quiet_end: Option<Duration>,
    bytes: u64,
    moved: Instant,
    next_check: Instant,
}

/// What a look at the progress shows.
#[derive(Debug, PartialEq, Eq)]
enum StallCheck {
    Fine,
    /// Silence that ends a counted UDP test.
    Over(Duration),
    /// Silence that no test has.
    Stalled(Duration),
}

impl StallWatch {
    const CHECK_INTERVAL: Duration = Duration::from_secs(5);

    fn new(start: Instant, stall: Duration, quiet_end: Option<Duration>) -> Self {
        let mut progress = Self { stall, quiet_end, bytes: 0, moved: start, next_check: start };
        progress.next_check = start + progress.pause(Duration::ZERO);
        progress
    }

    fn check(&mut self, bytes: u64) -> StallCheck {
        let now = Instant::now();
        if bytes != self.bytes {
            (self.bytes, self.moved) = (bytes, now);
        }
        let silence = now.duration_since(self.moved);
        self.next_check = now + self.pause(silence);
        match self.quiet_end {
            // Before the first byte it is the set-up that is slow, or nothing gets through at all.
            Some(quiet) if self.bytes > 0 && silence >= quiet => StallCheck::Over(silence),
            _ if silence >= self.stall => StallCheck::Stalled(self.stall),
            _ => StallCheck::Fine,
        }
    }

    /// Time to the next look after so much silence: it comes when the silence would be long enough, and often
    /// enough before to know when it began.
    fn pause(&self, silence: Duration) -> Duration {
        let limit = self.quiet_end.map_or(self.stall, |quiet| quiet.min(self.stall));
        let left = limit.saturating_sub(silence).max(limit / 50);
        left.min(limit / 8).min(Self::CHECK_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EndCondition, EngineChoice, LocalConfig, Pacing};
    use crate::control::streams::thread_placement::ThreadPlacement;
    use crate::report::IntervalStream;
    use crate::stats::{TcpInterval, UdpInterval};

    fn run_limits(receive_timeout: Duration) -> RunLimits {
        RunLimits { receive_timeout, rates: Vec::new(), longest: None, entry: None }
    }

    fn schedule(role: Role, end: EndCondition, omit_secs: u32, interval_ms: u64) -> (Schedule, Instant) {
        let test = Arc::new(TestConfig { end, omit_secs, ..TestConfig::default() });
        let start = Instant::now();
        let interval = Some(Duration::from_millis(interval_ms));
        (Schedule::new(role, &test, interval, start, run_limits(DEFAULT_RECEIVE_TIMEOUT)), start)
    }

    #[test]
    fn the_last_interval_ends_with_the_test() {
        let (schedule, start) = schedule(Role::Client, EndCondition::Time(Duration::from_secs(1)), 0, 1000);
        let check = start + Duration::from_secs(5);
        assert_eq!(schedule.next(check), (start + Duration::from_secs(1), Due::End));
    }

    #[test]
    fn a_remainder_is_reported_if_it_has_something_to_report() {
        let nothing = IntervalStream {
            socket: 5,
            flow: Flow::Send,
            start: Duration::from_secs(1),
            end: Duration::from_millis(1001),
            bytes: 0,
            tcp: Some(TcpInterval::default()),
            udp: Some(UdpInterval::default()),
        };
        let again = TcpInterval { retransmits: 1, ..TcpInterval::default() };
        let lost = UdpInterval { packets: 1, lost: 1, ..UdpInterval::default() };
        for (stream, is_kept) in [
            (nothing, false),
            (IntervalStream { bytes: 1, ..nothing }, true),
            (IntervalStream { end: Duration::from_millis(1100), ..nothing }, true),
            (IntervalStream { tcp: Some(again), ..nothing }, true),
            (IntervalStream { udp: Some(lost), ..nothing }, true),
        ] {
            let last = Interval { omitted: false, streams: vec![nothing, stream] };
            assert_eq!(keep_last(&last, Some(Duration::from_secs(1))), is_kept, "{stream:?}");
        }
    }

    #[test]
    fn a_server_ticks_on_when_the_end_does_not_come() {
        let (mut schedule, start) =
            schedule(Role::Server, EndCondition::Time(Duration::from_secs(1)), 0, 1000);
        let check = start + Duration::from_secs(5);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(schedule.next(check), (at(1000), Due::End));
        let local = LocalConfig::default();
        let test = Arc::new(TestConfig::default());
        let mut streams =
            Streams::new(Role::Server, test, EngineChoice::Sync, &local, ThreadPlacement::default());
        schedule.hold_row(&mut streams);
        // The row that ends there is told when the test turns out to go on.
        assert_eq!(schedule.next(check), (at(1100), Due::HeldRow));
        assert!(streams.held_row().is_some() && streams.held_row().is_none());
        schedule.held_until = None;
        assert_eq!(schedule.next(check), (at(2000), Due::Interval));
        assert_eq!(schedule.overdue, Some(at(16_000)));
    }

    #[test]
    fn a_receiver_that_may_have_missed_what_it_counts_waits_for_silence() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let quiet = || SilenceWatch::new(start, limits::COUNTED_QUIET);
        let ends = |mut quiet: SilenceWatch, state, moves: fn(u64) -> bool, until: u64| {
            let mut operations = 0;
            (20..=until).step_by(20).find(|&moment| {
                operations += u64::from(moves(moment));
                quiet.check(at(moment), Reception { operations, state })
            })
        };
        let stops = |moment| moment <= 100;
        assert_eq!(ends(quiet(), Awaits::Bytes, stops, 5000), None);
        assert_eq!(ends(quiet(), Awaits::Nothing, stops, 5000), None);
        assert_eq!(ends(quiet(), Awaits::Silence, stops, 5000), Some(600));
        assert_eq!(ends(quiet(), Awaits::Silence, |_| true, 5000), None);
        assert_eq!(ends(quiet(), Awaits::Sender, stops, 5000), Some(200));
        assert_eq!(ends(quiet(), Awaits::Sender, |_| true, 5000), Some(500));
        // A process that was halted has not listened meanwhile.
        let (mut halted, still) = (quiet(), Reception { operations: 1, state: Awaits::Silence });
        assert!(!halted.check(at(20), still) && !halted.check(at(9000), still));
    }

    #[test]
    fn the_omit_period_comes_first() {
        let (schedule, start) = schedule(Role::Client, EndCondition::Bytes(1), 2, 500);
        let check = start + Duration::from_secs(5);
        assert_eq!(schedule.next(check), (start + Duration::from_millis(500), Due::Interval));
        assert_eq!(schedule.omit_end, Some(start + Duration::from_secs(2)));
        assert_eq!(schedule.end, None);
    }

    #[test]
    fn only_a_receiver_has_the_receive_timeout() {
        let slow = Pacing { bits_per_second: 8 * 1024, burst_blocks: 0 };
        let test = Arc::new(TestConfig { pacing: slow, ..TestConfig::default() });
        let pause = Duration::from_secs(2 * 128);
        for (role, timeout, stall) in [
            (Role::Server, Duration::from_millis(500), Duration::from_millis(500)),
            (Role::Server, DEFAULT_RECEIVE_TIMEOUT, DEFAULT_RECEIVE_TIMEOUT + pause),
            (Role::Client, Duration::from_millis(500), limits::STALL + pause),
        ] {
            let schedule = Schedule::new(role, &test, None, Instant::now(), run_limits(timeout));
            assert_eq!(schedule.stall, stall, "{role:?}");
        }
    }

    #[test]
    fn silence_is_a_stall_only_when_it_lasts() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(200)).unwrap();
        let mut progress = StallWatch::new(long_ago, limits::STALL, None);
        assert_eq!(progress.check(10), StallCheck::Fine);
        assert_eq!(progress.check(10), StallCheck::Fine);
        progress.moved = long_ago;
        assert!(matches!(progress.check(10), StallCheck::Stalled(_)));
    }

    #[test]
    fn silence_ends_a_counted_udp_test_that_has_begun() {
        let start = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
        let mut progress = StallWatch::new(start, limits::STALL, Some(limits::UDP_QUIET));
        assert_eq!(progress.check(0), StallCheck::Fine);
        assert_eq!(progress.check(10), StallCheck::Fine);
        progress.moved = start;
        assert!(matches!(progress.check(10), StallCheck::Over(_)));
    }
}
