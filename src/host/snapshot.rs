//! All that is known of a machine at one moment, and what happened between two.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::cgroup::{Group, Mounts, read_groups};
use super::counters::{self, Counters, read_counters};
use super::pressure::{Pressure, read_pressure};
use super::processors::{Times, nanoseconds, read_processors};
use super::reading::{Absence, Reading, growth_of_readings};
use super::softnet::{Softnet, read_softnet};
use super::source::Source;
use super::threads::{Detail, Thread, read_own_ticks, read_threads};

/// Who takes snapshots of a machine. It has read what does not change while a test runs.
pub struct Observer<'a> {
    source: &'a dyn Source,
    ticks_per_second: NonZeroU64,
    mounts: Reading<Mounts>,
}

impl<'a> Observer<'a> {
    /// An observer of this source, whose kernel counts processor time in so many ticks per second
    /// ([`crate::sys::clock_ticks_per_second`]).
    #[must_use]
    pub fn new(source: &'a dyn Source, ticks_per_second: NonZeroU64) -> Self {
        Self { source, ticks_per_second, mounts: Mounts::read(source) }
    }

    /// Everything as it is now, which is `at`.
    #[must_use]
    pub fn snapshot(&self, at: Instant, detail: Detail) -> Snapshot {
        let threads = read_threads(self.source, detail);
        let ticks = read_own_ticks(self.source);
        let own_ns = ticks.and_then(|ticks| nanoseconds(ticks, self.ticks_per_second));
        let processors = read_processors(self.source, self.ticks_per_second);
        let online: Vec<u32> = processors.iter().flatten().map(|(&cpu, _)| cpu).collect();
        Snapshot {
            at,
            threads,
            own_ns,
            groups: read_groups(self.source, &self.mounts),
            processors,
            softnet: read_softnet(self.source, &online),
            counters: read_counters(self.source),
            pressure: read_pressure(self.source),
        }
    }
}

/// What is known of a machine at one moment. Counts begin with the machine, the process or the thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// That moment.
    pub at: Instant,
    /// The threads of this process by their ids.
    pub threads: Reading<BTreeMap<u32, Thread>>,
    /// Nanoseconds of processor time of this process, with threads that have ended, in whole ticks.
    pub own_ns: Reading<u64>,
    /// The groups that this process is in, the innermost first.
    pub groups: Reading<Vec<Group>>,
    /// The processors that are on-line by their numbers.
    pub processors: Reading<BTreeMap<u32, Times<u64>>>,
    /// Soft interrupts of these processors.
    pub softnet: Reading<BTreeMap<u32, Softnet<u32>>>,
    /// Counters of the protocols.
    pub counters: Counters,
    /// Waiting for a processor anywhere on this machine.
    pub pressure: Reading<Pressure>,
}

/// What happened between two moments: each count by how much it has grown. What was reset, or was not there
/// all the time, is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The time between the two.
    pub elapsed: Duration,
    /// The threads of this process by their ids. One that has started meanwhile has all its time here, one
    /// that has ended is absent.
    pub threads: Reading<BTreeMap<u32, Thread>>,
    /// Nanoseconds of processor time of this process, with threads that have ended, in whole ticks.
    pub own_ns: Reading<u64>,
    /// The groups that this process was in, the innermost first, with the quotas that they had in the end.
    pub groups: Reading<Vec<Group>>,
    /// All processors that were on-line by their numbers.
    pub processors: Reading<BTreeMap<u32, Times<Reading<u64>>>>,
    /// Soft interrupts of these processors.
    pub softnet: Reading<BTreeMap<u32, Softnet<Reading<u32>>>>,
    /// Counters of the protocols.
    pub counters: Counters,
    /// Waiting for a processor anywhere on this machine.
    pub pressure: Reading<Pressure>,
}

impl Snapshot {
    /// What happened since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Difference {
        let processors = both(&earlier.processors, &self.processors).map(|(earlier, later)| {
            by_key(earlier, later, |earlier, later| match (earlier, later) {
                (Some(earlier), Some(later)) => later.since(earlier),
                _ => Times::absent(Absence::NotThroughout),
            })
        });
        let softnet = both(&earlier.softnet, &self.softnet).map(|(earlier, later)| {
            by_key(earlier, later, |earlier, later| match (earlier, later) {
                (Some(earlier), Some(later)) => later.since(earlier),
                _ => Softnet::absent(Absence::NotThroughout),
            })
        });
        Difference {
            elapsed: self.at.saturating_duration_since(earlier.at),
            threads: both(&earlier.threads, &self.threads).map(|(earlier, later)| threads(earlier, later)),
            own_ns: growth_of_readings(earlier.own_ns, self.own_ns),
            groups: both(&earlier.groups, &self.groups).map(|(earlier, later)| groups(earlier, later)),
            processors,
            softnet,
            counters: counters::since(&self.counters, &earlier.counters),
            pressure: both(&earlier.pressure, &self.pressure).map(|(earlier, later)| later.since(earlier)),
        }
    }
}

fn both<'a, T>(earlier: &'a Reading<T>, later: &'a Reading<T>) -> Reading<(&'a T, &'a T)> {
    Ok((earlier.as_ref().map_err(|why| *why)?, later.as_ref().map_err(|why| *why)?))
}

/// What has become of each that is in one of the two.
fn by_key<T, Growth>(
    earlier: &BTreeMap<u32, T>,
    later: &BTreeMap<u32, T>,
    grown: impl Fn(Option<&T>, Option<&T>) -> Growth,
) -> BTreeMap<u32, Growth> {
    let keys = earlier.keys().chain(later.keys());
    keys.map(|key| (*key, grown(earlier.get(key), later.get(key)))).collect()
}

fn threads(earlier: &BTreeMap<u32, Thread>, later: &BTreeMap<u32, Thread>) -> BTreeMap<u32, Thread> {
    by_key(earlier, later, |earlier, later| match (earlier, later) {
        (Some(earlier), Some(later)) => later.since(earlier),
        (None, Some(started)) => *started,
        (_, None) => Thread::absent(Absence::NotThroughout),
    })
}

fn groups(earlier: &[Group], later: &[Group]) -> Vec<Group> {
    let was_left = |group: &&Group| !later.iter().any(|other| other.is_same_as(group));
    let all = later.iter().chain(earlier.iter().filter(was_left));
    all.map(|group| match (find(earlier, group), find(later, group)) {
        (Some(earlier), Some(later)) => later.since(earlier),
        _ => Group { throttling: Err(Absence::NotThroughout), ..group.clone() },
    })
    .collect()
}

fn find<'a>(groups: &'a [Group], wanted: &Group) -> Option<&'a Group> {
    groups.iter().find(|group| group.is_same_as(wanted))
}

#[cfg(test)]
mod tests {
    use nix::time::{ClockId, clock_gettime};
    use proptest::prelude::*;

    use super::*;
    use crate::host::cgroup::Throttling;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};
    use crate::host::threads::Schedule;
    use crate::sys::{clock_ticks_per_second, thread_id};

    const STAT: &str = include_str!("recorded/stat-6.18.txt");
    const STATUS: &str = include_str!("recorded/status-6.18.txt");
    const SOFTNET: &str = include_str!("recorded/softnet-6.18.txt");
    const PRESSURE: &str = "some avg10=10.29 avg60=6.42 avg300=16.15 total=426083599\n";
    const OWN: &str =
        "2953 (a) S 2951 2953 2953 0 -1 4194560 4447 60257 0 17 3 4 40 19 20 0 1 0 130506 0 0\n";
    const CGROUP: &str = "0::/job\n";
    const THROTTLED: &str = "nr_periods 30\nnr_throttled 29\nthrottled_usec 2914000\n";
    const HUNDRED: NonZeroU64 = NonZeroU64::new(100).unwrap();

    /// A machine of Linux 6.18 with two processors. What its files look like is said where each is read.
    fn machine() -> Recorded {
        Recorded::new(&[
            ("/proc/self/task/7/schedstat", "1000 2000 3\n"),
            ("/proc/self/task/7/status", STATUS),
            ("/proc/self/task/8/schedstat", "100 200 3\n"),
            ("/proc/self/task/8/status", STATUS),
            ("/proc/self/stat", OWN),
            ("/proc/self/cgroup", CGROUP),
            ("/proc/self/mountinfo", "29 24 0:25 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"),
            ("/sys/fs/cgroup/cpu.stat", "usage_usec 1\n"),
            ("/sys/fs/cgroup/job/cpu.max", "5000 100000\n"),
            ("/sys/fs/cgroup/job/cpu.stat", THROTTLED),
            ("/proc/stat", STAT),
            ("/proc/net/softnet_stat", SOFTNET),
            ("/proc/net/netstat", include_str!("recorded/netstat-6.18.txt")),
            ("/proc/net/snmp", include_str!("recorded/snmp-6.18.txt")),
            ("/proc/net/snmp6", include_str!("recorded/snmp6-6.18.txt")),
            ("/proc/pressure/cpu", PRESSURE),
        ])
    }

    fn snapshot(source: &Recorded, at: Instant) -> Snapshot {
        Observer::new(source, HUNDRED).snapshot(at, Detail::Full)
    }

    #[test]
    fn brief_snapshots_leave_out_switches_alone() {
        let (source, start) = (machine(), Instant::now());
        let observer = Observer::new(&source, HUNDRED);
        let full = observer.snapshot(start, Detail::Full);
        let mut brief = observer.snapshot(start, Detail::Brief);
        let grown = full.since(&brief).threads.unwrap()[&7];
        assert_eq!((grown.schedule, grown.switches), (Ok(Schedule::default()), Err(Absence::NotAsked)));
        for (id, thread) in brief.threads.as_mut().unwrap() {
            assert_eq!(thread.switches, Err(Absence::NotAsked));
            thread.switches = full.threads.as_ref().unwrap()[id].switches;
        }
        assert_eq!(brief, full);
    }

    fn difference(earlier: &Recorded, later: &Recorded) -> Difference {
        let start = Instant::now();
        snapshot(later, start + Duration::from_secs(2)).since(&snapshot(earlier, start))
    }

    #[test]
    fn nothing_happened_where_nothing_changed() {
        let same = difference(&machine(), &machine());
        assert_eq!(same.elapsed, Duration::from_secs(2));
        assert_eq!(same.own_ns, Ok(0));
        let threads = same.threads.unwrap();
        assert_eq!(threads.keys().copied().collect::<Vec<_>>(), [7, 8]);
        assert!(threads.values().all(|thread| thread.schedule == Ok(Schedule::default())));
        assert_eq!(same.groups.unwrap()[0].throttling, Ok(Throttling::default()));
        let nothing = Times::<u64>::default().since(&Times::default());
        assert!(same.processors.unwrap().values().all(|times| *times == nothing));
        let nothing = Softnet::<u32>::default().since(&Softnet::default());
        assert!(same.softnet.unwrap().values().all(|counts| *counts == nothing));
        assert!(same.counters.values().all(|value| *value == Ok(0)));
        assert_eq!(same.pressure.unwrap().some_us, Ok(0));
    }

    #[test]
    fn each_count_grows_by_itself() {
        let later = machine()
            .with("/proc/self/task/7/schedstat", "1500 2600 4\n")
            .with("/proc/self/stat", &OWN.replace(" 3 4 40 ", " 3 9 40 "))
            .with("/sys/fs/cgroup/job/cpu.stat", &THROTTLED.replace("2914000", "2915000"))
            .with("/proc/stat", &STAT.replace("cpu1 56238 0 ", "cpu1 56240 0 "))
            .with("/proc/net/softnet_stat", &SOFTNET.replace("03ba7c38", "03ba7c3f"))
            .with("/proc/pressure/cpu", &PRESSURE.replace("426083599", "426083600"));
        let grown = difference(&machine(), &later);
        let expected = Schedule { on_processor_ns: 500, waiting_ns: 600, timeslices: 1 };
        assert_eq!(grown.threads.unwrap()[&7].schedule, Ok(expected));
        assert_eq!(grown.own_ns, Ok(50_000_000));
        assert_eq!(grown.groups.unwrap()[0].throttling.unwrap().throttled_ns, 1_000_000);
        assert_eq!(grown.processors.unwrap()[&1].user_ns, Ok(20_000_000));
        assert_eq!(grown.softnet.unwrap()[&1].processed, Ok(7));
        assert_eq!(grown.pressure.unwrap().some_us, Ok(1));
    }

    #[test]
    fn what_comes_and_goes_is_absent() {
        let later = machine()
            .without("/proc/self/task/8/")
            .with("/proc/self/task/9/schedstat", "10 20 1\n")
            .with("/proc/self/task/9/status", STATUS)
            .with("/proc/self/cgroup", "0::/other\n")
            .with("/proc/stat", &STAT.replace("cpu1 ", "cpu2 "))
            .with("/proc/net/softnet_stat", &SOFTNET.replace("00000001 00000000 00000000\n", "2 0 0\n"));
        let grown = difference(&machine(), &later);
        let threads = grown.threads.unwrap();
        assert_eq!(threads[&7].schedule, Ok(Schedule::default()));
        assert_eq!(threads[&8], Thread::absent(Absence::NotThroughout));
        assert_eq!(threads[&9].schedule, Ok(Schedule { on_processor_ns: 10, waiting_ns: 20, timeslices: 1 }));
        let groups = grown.groups.unwrap();
        let throttling: Vec<_> = groups.iter().map(|group| (group.path.as_str(), group.throttling)).collect();
        let gone = Err(Absence::NotThroughout);
        assert_eq!(throttling, [("/other", gone), ("/", Err(Absence::NotControlled)), ("/job", gone)]);
        let processors = grown.processors.unwrap();
        assert_eq!(processors[&0].user_ns, Ok(0));
        assert_eq!((processors[&1].user_ns, processors[&2].user_ns), (gone_ns(), gone_ns()));
        let softnet = grown.softnet.unwrap();
        assert_eq!(softnet[&1], Softnet::absent(Absence::NotThroughout));
        assert_eq!(softnet[&2], Softnet::absent(Absence::NotThroughout));
    }

    fn gone_ns() -> Reading<u64> {
        Err(Absence::NotThroughout)
    }

    /// What one source has not, whether before or after, takes nothing from the others.
    #[test]
    fn each_source_may_be_missing() {
        for path in [
            "/proc/self/task",
            "/proc/self/stat",
            "/proc/self/cgroup",
            "/proc/self/mountinfo",
            "/proc/stat",
            "/proc/net/softnet_stat",
            "/proc/net/snmp6",
            "/proc/pressure",
        ] {
            let lacking = machine().without(path);
            for grown in [difference(&machine(), &lacking), difference(&lacking, &machine())] {
                let absent = [
                    grown.threads.is_err(),
                    grown.own_ns.is_err(),
                    grown.groups.is_err(),
                    grown.processors.is_err(),
                    grown.softnet.is_err(),
                    grown.counters.values().any(Result::is_err),
                    grown.pressure.is_err(),
                ];
                let throttling = grown.groups.iter().flatten().map(|group| group.throttling).next();
                let missing = absent.iter().filter(|is_absent| **is_absent).count();
                let is_hidden = path == "/proc/self/mountinfo" && throttling == Some(Err(Absence::NotHere));
                assert!(missing == 1 || missing == 0 && is_hidden, "{path}: {grown:?}");
            }
        }
    }

    #[test]
    fn a_machine_of_nothing_has_only_reasons() {
        let nothing = difference(&Recorded::default(), &Recorded::default());
        assert_eq!(nothing.threads, Err(Absence::NotHere));
        assert_eq!(nothing.processors, Err(Absence::NotHere));
        assert!(nothing.counters.values().all(|value| *value == Err(Absence::NotHere)));
    }

    /// This process computes for a while, which this machine's accounts have to show.
    #[test]
    fn this_machine_accounts_for_what_this_process_does() {
        let observer = Observer::new(&Machine, clock_ticks_per_second());
        let clock = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let earlier = observer.snapshot(Instant::now(), Detail::Full);
        let until = clock() + Duration::from_millis(300);
        while clock() < until {}
        let later = observer.snapshot(Instant::now(), Detail::Full);
        let grown = later.since(&earlier);
        let computed = Duration::from_millis(300);
        let own = Duration::from_nanos(grown.own_ns.unwrap());
        assert!(own >= computed - Duration::from_millis(40), "{own:?}");
        let processors = grown.processors.unwrap();
        let programs: Reading<Vec<u64>> = processors.values().map(Times::programs_ns).collect();
        let programs = Duration::from_nanos(programs.unwrap().iter().sum());
        assert!(programs >= computed / 2, "{programs:?}");
        // Each processor may be a few ticks late before and after.
        let count = u32::try_from(processors.len()).unwrap();
        let most = (grown.elapsed + Duration::from_millis(60)) * count;
        assert!(programs <= most && own <= most, "{programs:?} and {own:?} in {:?}", grown.elapsed);
        if let Ok(schedule) = grown.threads.unwrap()[&thread_id()].schedule {
            let on_processor = Duration::from_nanos(schedule.on_processor_ns);
            assert!(on_processor >= computed - Duration::from_millis(25), "{on_processor:?}");
            assert!(on_processor <= grown.elapsed + Duration::from_millis(25), "{on_processor:?}");
        }
        let softnet: Vec<u32> = grown.softnet.unwrap().into_keys().collect();
        assert_eq!(softnet, processors.into_keys().collect::<Vec<_>>());
    }

    proptest! {
        /// Whatever a file says, nothing grows by more than what it counts afterwards.
        #[test]
        fn growth_is_never_negative_or_huge(
            stat in spoilt(STAT), softnet in spoilt(SOFTNET), own in spoilt(OWN),
            cgroup in spoilt(CGROUP), throttled in spoilt(THROTTLED)
        ) {
            let spoilt = machine()
                .with("/proc/stat", &stat)
                .with("/proc/net/softnet_stat", &softnet)
                .with("/proc/self/stat", &own)
                .with("/proc/self/cgroup", &cgroup)
                .with("/sys/fs/cgroup/job/cpu.stat", &throttled);
            for (earlier, later) in [(&machine(), &spoilt), (&spoilt, &machine())] {
                let counted = snapshot(later, Instant::now());
                let grown = difference(earlier, later);
                if let Ok(own) = grown.own_ns {
                    prop_assert!(own <= counted.own_ns.unwrap());
                }
                for (cpu, times) in grown.processors.iter().flatten() {
                    if let Ok(user) = times.user_ns {
                        prop_assert!(user <= counted.processors.as_ref().unwrap()[cpu].user_ns);
                    }
                }
                for (cpu, counts) in grown.softnet.iter().flatten() {
                    let later = counted.softnet.as_ref().unwrap().get(cpu);
                    let most = later.map_or(0, |counts| counts.dropped).max(u32::MAX / 2);
                    prop_assert!(counts.dropped.is_err() || counts.dropped.unwrap() <= most);
                }
            }
        }
    }
}
