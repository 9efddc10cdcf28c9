//! Whether this machine was busy with other things than the test, so that what was measured is worth little.

use super::reading::{Absence, Reading};
use super::snapshot::Difference;
use super::threads::Thread;
use crate::units::to_f64;

/// Seconds below which ticks and jiffies, of up to 10 ms, make shares too coarse.
const SECONDS_MIN: f64 = 0.2;
/// The share of the time that a thread may wait for a processor. From a fifth on other work has a part in the
/// result, as trials with a busy loop beside a stream have shown.
const WAITING_SHARE_MAX: f64 = 0.2;
/// The share of a virtual machine's processor time that its host may give to others.
const STEAL_SHARE_MAX: f64 = 0.01;
/// The share of the time in which some thread of the machine may wait. This is also so when the threads of
/// the test wait for one another, so only what is plain counts.
const PRESSURE_SHARE_MAX: f64 = 0.5;
/// Processors that others have to have used for each one that was waited for. While a thread waits, its
/// processor is used; where others did not use it, the threads of the test waited for one another or a quota.
const OTHERS_PER_WAITING: f64 = 0.5;

/// How fit a machine was to measure, with what says so. Shares are between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitness {
    /// What follows from the rest.
    pub answer: Answer,
    /// The thread of this process that waited longest for a processor; the time that quotas took is left out
    /// as far as it is known.
    pub waiting: Reading<Waiting>,
    /// How many processors were used by programs other than both ends of the test, on average.
    pub others_processors: Reading<f64>,
    /// The share of the time of all processors that the host of this virtual machine gave to others.
    pub steal_share: Reading<f64>,
    /// The share of the time in which at least one thread of this machine waited for a processor.
    pub pressure_share: Reading<f64>,
}

/// The thread that waited longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// Its id.
    pub thread_id: u32,
    /// The share of the time that it waited for a processor.
    pub share: f64,
}

/// Whether a machine was fit to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did little else.
    Fit,
    /// It was busy with other things, and these show it.
    Busy(Vec<Sign>),
    /// Too little is known of it, or the time was too short.
    Unknown,
}

/// What shows that a machine was busy with other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A thread of this process waited for a processor that others had: [`Fitness::waiting`].
    Waiting,
    /// The host of this virtual machine ran others: [`Fitness::steal_share`].
    Steal,
    /// Threads waited for processors that others had: [`Fitness::pressure_share`].
    Pressure,
}

/// Where the other end of the test ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// On another machine, or in this process.
    Elsewhere,
    /// In another process of this machine, over loopback or from another network namespace. It used so many
    /// nanoseconds of processor time meanwhile, if it is known.
    Here(Option<u64>),
}

/// How fit the machine was to measure in this time. What the other end did on it is part of the test; where
/// that is not known, nothing is laid to others.
#[must_use]
pub fn fitness(difference: &Difference, peer: Peer) -> Fitness {
    let seconds = difference.elapsed.as_secs_f64();
    if seconds < SECONDS_MIN {
        let why = Absence::TooShort;
        return Fitness {
            answer: Answer::Unknown,
            waiting: Err(why),
            others_processors: Err(why),
            steal_share: Err(why),
            pressure_share: Err(why),
        };
    }
    let share = |ns: u64| to_f64(ns) / 1e9 / seconds;
    let waiting = longest_waiting(difference, share);
    let others_processors = others_ns(difference, peer).map(share);
    let steal_share = steal_ns(difference).map(|(ns, count)| (share(ns) / to_f64(count)).min(1.0));
    let pressure = difference.pressure.and_then(|pressure| pressure.some_us);
    let pressure_share = pressure.map(|us| share(us.saturating_mul(1000)).min(1.0));
    let is_waiting = is_laid_to_others(waiting.map(|it| it.share), WAITING_SHARE_MAX, others_processors);
    let is_stolen = steal_share.map(|share| share > STEAL_SHARE_MAX).ok();
    // Many kernels do not tell of pressure, and it says little that the two others do not.
    let is_pressed = match pressure_share {
        Ok(_) => is_laid_to_others(pressure_share, PRESSURE_SHARE_MAX, others_processors),
        Err(_) => Some(false),
    };
    let signs = [(is_waiting, Sign::Waiting), (is_stolen, Sign::Steal), (is_pressed, Sign::Pressure)];
    let signs: Vec<_> = signs.into_iter().filter(|(is, _)| *is == Some(true)).map(|(_, it)| it).collect();
    let answer = match (is_waiting, is_stolen, is_pressed) {
        _ if !signs.is_empty() => Answer::Busy(signs),
        (Some(_), Some(_), Some(_)) => Answer::Fit,
        _ => Answer::Unknown,
    };
    Fitness { answer, waiting, others_processors, steal_share, pressure_share }
}

/// Whether there was more waiting than allowed, and others used processors for so long that it can have been
/// for them; `None` where that is not known.
fn is_laid_to_others(share: Reading<f64>, share_max: f64, others_processors: Reading<f64>) -> Option<bool> {
    let share = share.ok()?;
    if share < share_max {
        return Some(false);
    }
    Some(others_processors.ok()? >= OTHERS_PER_WAITING * share)
}

fn longest_waiting(difference: &Difference, share: impl Fn(u64) -> f64) -> Reading<Waiting> {
    let threads = difference.threads.as_ref().map_err(|why| *why)?;
    let known = |(id, thread): (&u32, &Thread)| Some((thread.schedule.ok()?.waiting_ns, *id));
    let Some((waiting_ns, thread_id)) = threads.iter().filter_map(known).max() else {
        let mut reasons = threads.values().filter_map(|thread| thread.schedule.err());
        return Err(reasons.next().unwrap_or(Absence::NotHere));
    };
    // The scheduler counts a thread that its quota holds back as one that waits. How much of that time was
    // this thread's is not known, so all of it is left out.
    let rest_ns = waiting_ns.saturating_sub(throttled_ns(difference));
    Ok(Waiting { thread_id, share: share(rest_ns).min(1.0) })
}

/// Time that the quotas of all groups took, as far as it is known.
fn throttled_ns(difference: &Difference) -> u64 {
    let groups = difference.groups.iter().flatten();
    groups.filter_map(|group| group.throttling.ok()).map(|it| it.throttled_ns).fold(0, u64::saturating_add)
}

fn others_ns(difference: &Difference, peer: Peer) -> Reading<u64> {
    let peer_ns = match peer {
        Peer::Elsewhere => 0,
        Peer::Here(peer_ns) => peer_ns.ok_or(Absence::PeerHere)?,
    };
    let processors = difference.processors.as_ref().map_err(|why| *why)?;
    let mut programs_ns: u64 = 0;
    for times in processors.values() {
        programs_ns = programs_ns.saturating_add(times.programs_ns()?);
    }
    Ok(programs_ns.saturating_sub(difference.own_ns?).saturating_sub(peer_ns))
}

/// Stolen time, and the number of processors.
fn steal_ns(difference: &Difference) -> Reading<(u64, u64)> {
    let processors = difference.processors.as_ref().map_err(|why| *why)?;
    let (mut stolen_ns, mut count): (u64, u64) = (0, 0);
    for times in processors.values() {
        stolen_ns = stolen_ns.saturating_add(times.steal_ns?);
        count += 1;
    }
    if count == 0 { Err(Absence::NotHere) } else { Ok((stolen_ns, count)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::host::cgroup::{Group, Hierarchy, Throttling};
    use crate::host::pressure::Pressure;
    use crate::host::processors::Times;
    use crate::host::threads::Schedule;

    const SECOND: u64 = 1_000_000_000;

    /// Ten seconds on two processors with nothing but a thread that computes all the time.
    fn quiet() -> Difference {
        let times =
            |user_ns, idle_ns| Times { user_ns, idle_ns, ..Times::default() }.since(&Times::<u64>::default());
        Difference {
            elapsed: Duration::from_secs(10),
            threads: Ok(BTreeMap::from([(7, thread(10 * SECOND, 0)), (8, thread(0, SECOND / 100))])),
            own_ns: Ok(10 * SECOND),
            groups: Ok(Vec::new()),
            processors: Ok(BTreeMap::from([(0, times(10 * SECOND, 0)), (1, times(0, 10 * SECOND))])),
            softnet: Ok(BTreeMap::new()),
            counters: BTreeMap::new(),
            pressure: Ok(Pressure { some_us: Ok(10_000), full_us: Err(Absence::NotCounted) }),
        }
    }

    fn thread(on_processor_ns: u64, waiting_ns: u64) -> Thread {
        Thread {
            schedule: Ok(Schedule { on_processor_ns, waiting_ns, timeslices: 9 }),
            switches: Err(Absence::NotHere),
        }
    }

    /// This thread waited, and others used so much of the first processor.
    fn beside_others(waiting_ns: u64, others_ns: u64) -> Difference {
        let mut difference = quiet();
        let rest = 10 * SECOND - waiting_ns;
        difference.threads.as_mut().unwrap().insert(7, thread(rest, waiting_ns));
        difference.own_ns = Ok(rest);
        difference.processors.as_mut().unwrap().get_mut(&0).unwrap().user_ns = Ok(rest + others_ns);
        difference.pressure = Ok(Pressure { some_us: Ok(waiting_ns / 1000), full_us: Err(Absence::NotHere) });
        difference
    }

    fn with_quota(throttled_ns: u64) -> Group {
        Group {
            hierarchy: Hierarchy::V1,
            path: "/".to_owned(),
            quota: Ok(None),
            throttling: Ok(Throttling { periods: 100, throttled_periods: 99, throttled_ns }),
        }
    }

    #[test]
    fn a_quiet_machine_is_fit() {
        let fitness = fitness(&quiet(), Peer::Elsewhere);
        assert_eq!(fitness.answer, Answer::Fit);
        assert_eq!(fitness.waiting, Ok(Waiting { thread_id: 8, share: 0.001 }));
        assert_eq!((fitness.others_processors, fitness.steal_share), (Ok(0.0), Ok(0.0)));
        assert_eq!(fitness.pressure_share, Ok(0.001));
    }

    #[test]
    fn waiting_for_others_is_a_sign() {
        for (waiting, others, expected) in [
            (19, 19, Answer::Fit),
            (21, 21, Answer::Busy(vec![Sign::Waiting])),
            (61, 61, Answer::Busy(vec![Sign::Waiting, Sign::Pressure])),
            // For threads of its own, or a quota that cannot be seen.
            (61, 10, Answer::Fit),
        ] {
            let difference = beside_others(waiting * SECOND / 10, others * SECOND / 10);
            let found = fitness(&difference, Peer::Elsewhere);
            assert_eq!(found.answer, expected, "{waiting} {others}");
        }
    }

    #[test]
    fn a_quota_is_no_other_work() {
        let mut difference = beside_others(6 * SECOND, 6 * SECOND);
        difference.pressure = Err(Absence::NotHere);
        for (throttled, answer) in [(5 * SECOND, Answer::Fit), (SECOND, Answer::Busy(vec![Sign::Waiting]))] {
            difference.groups = Ok(vec![with_quota(0), with_quota(throttled)]);
            assert_eq!(fitness(&difference, Peer::Elsewhere).answer, answer, "{throttled}");
        }
    }

    #[test]
    fn a_virtual_machine_is_disturbed_by_its_host() {
        for (stolen, answer) in [(SECOND / 10, Answer::Fit), (SECOND, Answer::Busy(vec![Sign::Steal]))] {
            let mut difference = quiet();
            difference.processors.as_mut().unwrap().get_mut(&1).unwrap().steal_ns = Ok(stolen);
            assert_eq!(fitness(&difference, Peer::Elsewhere).answer, answer, "{stolen}");
        }
    }

    /// What it computes is no other work, and may be all there is beside this process.
    #[test]
    fn a_peer_on_this_machine_is_part_of_the_test() {
        let difference = beside_others(6 * SECOND, 7 * SECOND);
        let busy = Answer::Busy(vec![Sign::Waiting, Sign::Pressure]);
        for (peer, others, answer) in [
            (Peer::Elsewhere, Ok(0.7), busy.clone()),
            (Peer::Here(Some(2 * SECOND)), Ok(0.5), busy),
            (Peer::Here(Some(5 * SECOND)), Ok(0.2), Answer::Fit),
            (Peer::Here(Some(u64::MAX)), Ok(0.0), Answer::Fit),
            (Peer::Here(None), Err(Absence::PeerHere), Answer::Unknown),
        ] {
            let found = fitness(&difference, peer);
            assert_eq!((found.others_processors, found.answer), (others, answer), "{peer:?}");
        }
    }

    #[test]
    fn an_unknown_peer_hides_only_what_may_be_its_doing() {
        let answer = |difference| fitness(&difference, Peer::Here(None)).answer;
        assert_eq!(answer(quiet()), Answer::Fit);
        let some_us = Ok(6_000_000);
        let pressed = Pressure { some_us, full_us: Err(Absence::NotCounted) };
        assert_eq!(answer(Difference { pressure: Ok(pressed), ..quiet() }), Answer::Unknown);
        let mut stolen = beside_others(6 * SECOND, 6 * SECOND);
        stolen.processors.as_mut().unwrap().get_mut(&1).unwrap().steal_ns = Ok(SECOND);
        assert_eq!(answer(stolen), Answer::Busy(vec![Sign::Steal]));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let unseen = Absence::NotHere;
        let without_pressure = Difference { pressure: Err(unseen), ..quiet() };
        assert_eq!(fitness(&without_pressure, Peer::Elsewhere).answer, Answer::Fit);
        for blind in [
            Difference { processors: Err(unseen), ..quiet() },
            Difference { threads: Err(unseen), ..quiet() },
            Difference { threads: Ok(BTreeMap::from([(7, Thread::absent(unseen))])), ..quiet() },
            Difference { processors: Ok(BTreeMap::new()), ..quiet() },
            Difference { own_ns: Err(unseen), ..beside_others(6 * SECOND, 6 * SECOND) },
        ] {
            assert_eq!(fitness(&blind, Peer::Elsewhere).answer, Answer::Unknown, "{blind:?}");
        }
        let short =
            Difference { elapsed: Duration::from_millis(100), ..beside_others(6 * SECOND, 6 * SECOND) };
        let found = fitness(&short, Peer::Elsewhere);
        assert_eq!((found.answer, found.waiting), (Answer::Unknown, Err(Absence::TooShort)));
    }

    /// A wait counts when it is over, so it may be longer than the time that is looked at.
    #[test]
    fn shares_are_shares() {
        let difference =
            Difference { elapsed: Duration::from_secs(1), ..beside_others(6 * SECOND, 6 * SECOND) };
        let found = fitness(&difference, Peer::Elsewhere);
        assert_eq!(found.waiting.map(|waiting| waiting.share), Ok(1.0));
        assert_eq!(found.pressure_share, Ok(1.0));
    }
}
