//! Which of a few ways to move bytes is fastest on this machine, found out while a test runs.
//!
//! What is fastest depends on caches, on the price of a wake-up and on what the peer sends at a time, which
//! no constant knows. So it is tried: all streams of a direction use the same way at the same time, and their
//! bytes together are its rate, since a stream alone could win by taking time from the others.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::StreamJob;
use crate::stats::inference::median;

/// Time before the first trial, in which connections get up to speed.
const WARM_UP: Duration = Duration::from_millis(10);
/// Time after a change in which what was under way still counts for the way before.
const SETTLING_TIME: Duration = Duration::from_millis(1);
/// Time over which the rate of a way is measured.
const WINDOW: Duration = Duration::from_millis(4);
/// A window that took longer than this tells of something else than sizes.
const WINDOW_MAX: Duration = Duration::from_millis(12);
/// How often each way is measured before the first choice.
const SURVEYS: usize = 6;
/// Time between two looks at a way that is not the fastest, for things that change.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// Looks at a way that count; the median of at least [`CHECKS_MIN`] decides.
const CHECKS: usize = 5;
const CHECKS_MIN: usize = 3;
/// Another way is taken only where it is faster by this factor, so that noise decides nothing.
const WORTHWHILE: f64 = 1.05;
/// Of [`SURVEYS`] comparisons with the first way another one may lose so many.
const LOSSES_MAX: usize = 1;
/// Below this many bytes in a second sizes make no difference.
const RATE_MIN: f64 = 250e6;

/// One way to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Bytes of one send, or of one receive buffer.
    pub bytes: u32,
    /// Whether a receiver that is busy is woken for many bytes at once (SO_RCVLOWAT), or for each.
    pub marked: bool,
    /// Whether plain system calls do it, and no ring.
    pub plain: bool,
}

/// What was found out about a direction: each way with its rate as a share of that of the way that is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The way that is used in the end.
    pub used: Way,
    /// The others, with their rate as a share of it where it is known.
    pub others: Vec<(Way, Option<f64>)>,
}

/// The trial that all streams of a direction take part in.
#[derive(Debug, Default)]
pub struct Adaptation {
    ways: OnceLock<Vec<Way>>,
    /// The one that is used now.
    way: AtomicUsize,
    moved_bytes: AtomicU64,
    began: OnceLock<Instant>,
    /// When somebody has to look again, in nanoseconds since it began.
    due_ns: AtomicU64,
    course: Mutex<Option<Course>>,
}

impl Adaptation {
    /// What was found out, once a stream has taken part.
    #[must_use]
    pub fn found(&self) -> Option<Found> {
        let ways = self.ways.get()?;
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let best = course.as_ref().map_or(0, |course| course.best);
        let others = (0..ways.len()).filter(|way| *way != best);
        let share = |way| course.as_ref().and_then(|course| course.share(way));
        Some(Found { used: ways[best], others: others.map(|way| (ways[way], share(way))).collect() })
    }

    /// Uses this one of the ways from now on, as if it had been found to be the fastest.
    #[cfg(test)]
    pub(super) fn use_way(&self, index: usize) {
        let ways = self.ways.get().map_or(1, Vec::len);
        self.way.store(index % ways, Ordering::Relaxed);
    }

    /// Takes part with these ways, which are those of all; says whether they are.
    fn join(&self, ways: &[Way]) -> bool {
        self.ways.get_or_init(|| ways.to_vec()) == ways
    }

    /// Bytes that a stream has moved by `now`. Whoever finds that it is time looks for all.
    fn moved(&self, bytes: u64, now: Instant) {
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
        let began = *self.began.get_or_init(|| now);
        let ns = u64::try_from(now.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX);
        if ns >= self.due_ns.load(Ordering::Relaxed) {
            self.look(ns);
        }
    }

    /// Goes on at `ns` nanoseconds, unless another stream does or has done so.
    fn look(&self, ns: u64) {
        let Ok(mut course) = self.course.try_lock() else { return };
        // Another one may have gone on since this one read its clock, to a moment that is later.
        if ns < self.due_ns.load(Ordering::Relaxed) {
            return;
        }
        let ways = self.ways.get().map_or(1, Vec::len);
        let moved_bytes = self.moved_bytes.load(Ordering::Relaxed);
        let (way, wait) = course.get_or_insert_with(|| Course::new(ways)).look(ns, moved_bytes);
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        self.way.store(way, Ordering::Relaxed);
        self.due_ns.store(ns.saturating_add(wait_ns), Ordering::Relaxed);
    }
}

/// The ways of one stream.
pub(super) struct Ways {
    ways: Vec<Way>,
    shared: Option<Arc<Adaptation>>,
}

impl Ways {
    /// These ways, of which the first is used where nothing is tried. There is at least one.
    pub(super) fn new(job: &StreamJob, ways: Vec<Way>) -> Self {
        assert!(!ways.is_empty(), "there is a way");
        let shared = job.adaptation.clone().filter(|shared| shared.join(&ways) && ways.len() > 1);
        Self { ways, shared }
    }

    /// The way to use now.
    pub(super) fn now(&self) -> Way {
        self.shared.as_ref().map_or(self.ways[0], |shared| self.ways[shared.way.load(Ordering::Relaxed)])
    }

    /// All of them, whichever is used.
    pub(super) fn all(&self) -> &[Way] {
        &self.ways
    }

    /// The one that is used where nothing is tried.
    pub(super) fn usual(&self) -> Way {
        self.ways[0]
    }

    /// These of them, for a stream that takes no part in a trial as it has not all. At least one is kept.
    pub(super) fn only(&self, kept: impl Fn(&Way) -> bool) -> Self {
        let ways: Vec<Way> = self.ways.iter().copied().filter(kept).collect();
        assert!(!ways.is_empty(), "there is a way");
        Self { ways, shared: None }
    }

    /// Bytes of one operation or buffer of the largest.
    pub(super) fn bytes(&self) -> u32 {
        self.ways.iter().map(|way| way.bytes).max().expect("there is a way")
    }

    /// The way that is used in the end, with what was found out about the others.
    pub(super) fn found(&self) -> Option<Found> {
        self.shared.as_ref()?.found()
    }

    /// So many bytes were moved by `now`.
    pub(super) fn moved(&self, bytes: u64, now: Instant) {
        if let Some(shared) = &self.shared {
            shared.moved(bytes, now);
        }
    }
}

/// Which way is used when, and what comes of it.
#[derive(Debug)]
struct Course {
    best: usize,
    stage: Stage,
    /// When the running window began, and the bytes moved by then.
    window: (u64, u64),
    /// Rates of each way in the survey.
    surveyed: Vec<Vec<f64>>,
    /// The latest rates of each way as shares of the best one's at the same time.
    checked: Vec<Vec<f64>>,
    /// The way that was looked at last.
    last_checked: usize,
}

#[derive(Debug)]
enum Stage {
    New,
    WarmUp,
    /// The next way begins to be measured.
    Settling(Plan),
    Measuring(Plan),
    Resting,
}

/// Ways that are still to be measured one after the other, the next one last.
#[derive(Debug)]
struct Plan {
    left: Vec<usize>,
    /// Rates measured so far.
    rates: Vec<f64>,
    /// It looks at this way, instead of all.
    check_of: Option<usize>,
}

impl Course {
    fn new(ways: usize) -> Self {
        Self {
            best: 0,
            stage: Stage::New,
            window: (0, 0),
            surveyed: vec![Vec::new(); ways],
            checked: vec![Vec::new(); ways],
            last_checked: 0,
        }
    }

    /// Goes on at `ns` nanoseconds, when so many bytes were moved: the way to use, and when to look again.
    fn look(&mut self, ns: u64, moved_bytes: u64) -> (usize, Duration) {
        match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::New => {
                self.stage = Stage::WarmUp;
                (self.best, WARM_UP)
            }
            Stage::WarmUp => self.begin(self.survey()),
            Stage::Settling(plan) => {
                self.window = (ns, moved_bytes);
                let way = *plan.left.last().expect("a plan has a way");
                self.stage = Stage::Measuring(plan);
                (way, WINDOW)
            }
            Stage::Measuring(plan) => self.measured(plan, ns, moved_bytes),
            Stage::Resting => match self.next_to_check() {
                Some(way) => {
                    self.last_checked = way;
                    self.begin(Plan {
                        left: vec![self.best, way, self.best],
                        rates: Vec::new(),
                        check_of: Some(way),
                    })
                }
                None => (self.best, CHECK_EVERY),
            },
        }
    }

    /// All ways, forwards and backwards, so that a rate that grows meanwhile favours none.
    fn survey(&self) -> Plan {
        let there = 0..self.surveyed.len();
        let there_and_back: Vec<usize> = there.clone().chain(there.rev()).collect();
        Plan { left: there_and_back.repeat(SURVEYS / 2), rates: Vec::new(), check_of: None }
    }

    fn begin(&mut self, plan: Plan) -> (usize, Duration) {
        let way = *plan.left.last().expect("a plan has a way");
        self.stage = Stage::Settling(plan);
        (way, SETTLING_TIME)
    }

    /// A window is over.
    fn measured(&mut self, mut plan: Plan, ns: u64, moved_bytes: u64) -> (usize, Duration) {
        let (began_ns, began_bytes) = self.window;
        let elapsed = Duration::from_nanos(ns - began_ns);
        let way = *plan.left.last().expect("a plan has a way");
        if elapsed > WINDOW_MAX {
            return self.begin(plan);
        }
        let rate = to_f64(moved_bytes - began_bytes) / elapsed.as_secs_f64();
        if rate < RATE_MIN {
            // Whatever limits it, sizes do not.
            return (self.best, CHECK_EVERY);
        }
        plan.rates.push(rate);
        if plan.check_of.is_none() {
            self.surveyed[way].push(rate);
        }
        plan.left.pop();
        if !plan.left.is_empty() {
            return self.begin(plan);
        }
        match plan.check_of {
            None => self.choose(),
            Some(way) => self.judge(way, &plan.rates),
        }
        (self.best, CHECK_EVERY)
    }

    /// After the survey: the first way stays unless another is clearly faster, and not only now and then. The
    /// fastest of several that are the same looks faster than it is.
    fn choose(&mut self) {
        let rates: Vec<f64> = self.surveyed.iter().map(|rates| median(rates).unwrap_or_default()).collect();
        let wins = |way: &usize| {
            let pairs = self.surveyed[*way].iter().zip(&self.surveyed[0]);
            pairs.filter(|(rate, first)| rate > first).count()
        };
        let clearly_faster = (1..rates.len())
            .filter(|way| rates[*way] > rates[0] * WORTHWHILE)
            .filter(|way| wins(way) >= SURVEYS - LOSSES_MAX);
        self.best = clearly_faster.max_by(|one, other| rates[*one].total_cmp(&rates[*other])).unwrap_or(0);
        self.checked = rates.iter().map(|rate| vec![rate / rates[self.best]]).collect();
    }

    /// After a look at one way between two at the best one.
    fn judge(&mut self, way: usize, rates: &[f64]) {
        let &[before, there, after] = rates else { return };
        let shares = &mut self.checked[way];
        shares.push(2.0 * there / (before + after));
        if shares.len() > CHECKS {
            shares.remove(0);
        }
        if shares.len() >= CHECKS_MIN && median(shares).is_some_and(|share| share > WORTHWHILE) {
            self.best = way;
            self.checked.iter_mut().for_each(Vec::clear);
        }
    }

    /// The next way that is not the best, in turn.
    fn next_to_check(&self) -> Option<usize> {
        let ways = self.checked.len();
        (1..=ways).map(|step| (self.last_checked + step) % ways).find(|way| *way != self.best)
    }

    /// The rate of a way as a share of the best one's.
    fn share(&self, way: usize) -> Option<f64> {
        median(&self.checked[way])
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a few milliseconds")]
fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a course for so long where each way has the rate that `rate` says, in bytes per second. Returns
    /// the way in the end, and the share of time that each had.
    fn run(ways: usize, time: Duration, rate: impl Fn(Duration, usize) -> f64) -> (usize, Vec<f64>) {
        let mut course = Course::new(ways);
        let mut now = Duration::ZERO;
        let mut bytes = 0.0;
        let mut times = vec![0.0; ways];
        while now < time {
            let ns = u64::try_from(now.as_nanos()).unwrap();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
            let (way, wait) = course.look(ns, bytes as u64);
            bytes += rate(now, way) * wait.as_secs_f64();
            times[way] += wait.as_secs_f64() / time.as_secs_f64();
            now += wait;
        }
        (course.best, times)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_fastest_way_is_found_in_a_tenth_of_a_second_and_has_nearly_all_of_the_time() {
        for fastest in 0..2 {
            let rate = |_, way| if way == fastest { 6e9 } else { 4e9 };
            assert_eq!(run(2, SECOND / 10, rate).0, fastest);
            let (best, times) = run(2, 10 * SECOND, rate);
            assert_eq!(best, fastest);
            assert!(times[fastest] > 0.97, "{times:?}");
        }
        let rate = |_, way| if way == 2 { 6e9 } else { 4e9 };
        assert_eq!(run(3, SECOND, rate).0, 2);
    }

    #[test]
    fn a_little_faster_is_not_enough_and_a_rate_that_grows_favours_nobody() {
        let grows = |now: Duration, way: usize| {
            (1e9 + 20e9 * now.as_secs_f64().min(0.1)) * if way == 1 { 1.04 } else { 1.0 }
        };
        assert_eq!(run(2, SECOND, grows).0, 0);
        let falls = |now: Duration, _| 9e9 - 50e9 * now.as_secs_f64().min(0.1);
        assert_eq!(run(3, SECOND, falls).0, 0);
    }

    #[test]
    fn what_is_faster_only_now_and_then_is_not_chosen() {
        // In half of the time the second way is far faster, and in the other half a little slower.
        let now_and_then = |now: Duration, way: usize| match way {
            0 => 5e9,
            _ if now.as_millis() % 80 < 40 => 9e9,
            _ => 4.9e9,
        };
        assert_eq!(run(2, SECOND / 10, now_and_then).0, 0);
    }

    #[test]
    fn what_changes_later_is_noticed() {
        let rate = |now: Duration, way: usize| match way {
            0 if now < 2 * SECOND => 6e9,
            1 if now >= 2 * SECOND => 6e9,
            _ => 4e9,
        };
        assert_eq!(run(2, 2 * SECOND, rate).0, 0);
        assert_eq!(run(2, 4 * SECOND, rate).0, 1);
    }

    #[test]
    fn slow_streams_stay_with_the_first_way() {
        let (best, times) = run(3, 5 * SECOND, |_, way| if way == 0 { 1e6 } else { 2e6 });
        assert_eq!(best, 0);
        assert!(times[0] > 0.9, "{times:?}");
    }

    #[test]
    fn one_way_is_no_choice() {
        assert_eq!(run(1, SECOND, |_, _| 5e9).0, 0);
    }

    #[test]
    fn a_stream_that_looks_late_with_an_earlier_moment_changes_nothing() {
        let adaptation = Adaptation::default();
        let way = |marked| Way { bytes: 1, marked, plain: false };
        assert!(adaptation.join(&[way(true), way(false)]));
        let state = || (adaptation.way.load(Ordering::Relaxed), adaptation.due_ns.load(Ordering::Relaxed));
        for millis in [0, 10, 11] {
            adaptation.look(millis * 1_000_000);
        }
        let before = state();
        adaptation.look(10_500_000);
        assert_eq!(state(), before);
        adaptation.look(15_000_000);
        assert_ne!(state(), before);
    }

    #[test]
    fn streams_with_other_ways_take_no_part() {
        let way = |bytes| Way { bytes, marked: true, plain: false };
        let adaptation = Adaptation::default();
        assert_eq!(adaptation.found(), None);
        assert!(adaptation.join(&[way(1), way(2)]));
        assert!(!adaptation.join(&[way(1)]));
        assert_eq!(adaptation.found(), Some(Found { used: way(1), others: vec![(way(2), None)] }));
    }
}
