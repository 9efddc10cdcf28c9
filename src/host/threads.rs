//! How the threads of this process fared at the scheduler.

use std::collections::BTreeMap;

use super::reading::{Absence, Reading, growth, number, numbers, value_of};
use super::source::Source;

/// A folder for each thread of this process.
const THREADS: &str = "/proc/self/task";

/// What is known of a thread, or by how much it has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its time.
    pub schedule: Reading<Schedule>,
    /// How often it left its processor.
    pub switches: Reading<Switches>,
}

/// The time of a thread, as `/proc/PID/task/TID/schedstat` has it (Documentation/scheduler/sched-stats.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Nanoseconds on a processor. Those since the last tick of the scheduler are not yet among them.
    pub on_processor_ns: u64,
    /// Nanoseconds in which it was ready and had no processor, whether other threads had it or a quota was
    /// used up. A wait counts when it is over.
    pub waiting_ns: u64,
    /// How often it was given a processor.
    pub timeslices: u64,
}

/// How often a thread left its processor, as `/proc/PID/task/TID/status` has it
/// (Documentation/filesystems/proc.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Because it had to wait for something.
    pub voluntary: u64,
    /// Because others were to have the processor.
    pub involuntary: u64,
}

impl Thread {
    /// A thread of which nothing is known for this reason.
    pub(super) fn absent(why: Absence) -> Self {
        Self { schedule: Err(why), switches: Err(why) }
    }

    /// The growth since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let schedule = |earlier: Schedule, later: Schedule| {
            Ok(Schedule {
                on_processor_ns: growth(earlier.on_processor_ns, later.on_processor_ns)?,
                waiting_ns: growth(earlier.waiting_ns, later.waiting_ns)?,
                timeslices: growth(earlier.timeslices, later.timeslices)?,
            })
        };
        let switches = |earlier: Switches, later: Switches| {
            Ok(Switches {
                voluntary: growth(earlier.voluntary, later.voluntary)?,
                involuntary: growth(earlier.involuntary, later.involuntary)?,
            })
        };
        Self {
            schedule: earlier.schedule.and_then(|earlier| schedule(earlier, self.schedule?)),
            switches: earlier.switches.and_then(|earlier| switches(earlier, self.switches?)),
        }
    }
}

/// How much is read of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Their time: some microseconds for each, so that hundreds can be looked at many times in a second.
    Brief,
    /// Their switches too, which takes several times as long.
    Full,
}

/// All threads of this process by their ids.
pub(super) fn read_threads(source: &dyn Source, detail: Detail) -> Reading<BTreeMap<u32, Thread>> {
    let ids = source.list(THREADS)?;
    // Nothing else has a name there that is a number.
    let ids = ids.iter().filter_map(|name| name.parse().ok());
    Ok(ids.map(|id| (id, read_thread(source, id, detail))).collect())
}

/// One thread of this process, which may also be the calling one ([`crate::sys::thread_id`]).
#[must_use]
pub fn read_thread(source: &dyn Source, id: u32, detail: Detail) -> Thread {
    let read = |name: &str| source.read(&format!("{THREADS}/{id}/{name}"));
    let schedule = read("schedstat").and_then(|text| schedule(&text));
    if detail == Detail::Brief && schedule != Err(Absence::NotHere) {
        return Thread { schedule, switches: Err(Absence::NotAsked) };
    }
    // Each thread has this file.
    match read("status") {
        Ok(status) => Thread { schedule, switches: switches(&status) },
        Err(Absence::NotHere) => Thread::absent(Absence::NotThroughout),
        Err(why) => Thread { schedule, switches: Err(why) },
    }
}

fn schedule(text: &str) -> Reading<Schedule> {
    match numbers(text.split_ascii_whitespace())? {
        // proc_pid_schedstat of fs/proc/base.c, where the scheduler keeps no account.
        [0, 0, 0] => Err(Absence::NotCounted),
        [on_processor_ns, waiting_ns, timeslices] => Ok(Schedule { on_processor_ns, waiting_ns, timeslices }),
    }
}

fn switches(status: &str) -> Reading<Switches> {
    let count = |name| number(value_of(status, name).ok_or(Absence::NotHere)?);
    Ok(Switches {
        voluntary: count("voluntary_ctxt_switches:")?,
        involuntary: count("nonvoluntary_ctxt_switches:")?,
    })
}

/// Ticks of processor time, in user code and in the kernel, of all threads that this process has or had. Its
/// file is described in Documentation/filesystems/proc.rst.
pub(super) fn read_own_ticks(source: &dyn Source) -> Reading<u64> {
    own_ticks(&source.read("/proc/self/stat")?)
}

fn own_ticks(stat: &str) -> Reading<u64> {
    // The name stands in parentheses and may have some itself.
    let (_, fields) = stat.rsplit_once(')').ok_or(Absence::NotUnderstood)?;
    // The first of these fields, the state, is the third of the line; these are its 14th and 15th.
    let [user, system] = numbers(fields.split_ascii_whitespace().skip(11))?;
    user.checked_add(system).ok_or(Absence::NotUnderstood)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::resource::{UsageWho, getrusage};
    use nix::time::{ClockId, clock_gettime};
    use proptest::prelude::*;

    use super::*;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};
    use crate::sys::{clock_ticks_per_second, thread_id};

    /// Linux 6.18, proc_pid_schedstat of fs/proc/base.c.
    const SCHEDSTAT: &str = "47170209 54076667 289\n";
    /// Linux 6.18, do_task_stat of fs/proc/array.c, with a name that was made up.
    const STAT: &str =
        "2953 (a) 1 (b) S 2951 2953 2953 0 -1 4194560 4447 60257 0 17 3 4 40 19 20 0 1 0 130506 0 0\n";
    /// Linux 6.18, proc_pid_status of fs/proc/array.c.
    const STATUS: &str = include_str!("recorded/status-6.18.txt");

    #[test]
    fn a_thread_tells_its_time_and_switches() {
        let tree = Recorded::new(&[
            ("/proc/self/task/7/schedstat", SCHEDSTAT),
            ("/proc/self/task/7/status", STATUS),
            ("/proc/self/task/8/status", STATUS),
            ("/proc/self/task/9/schedstat", "0 0 0\n"),
            ("/proc/self/task/9/status", "Name:\tvoluntary_ctxt_switches:\n"),
        ]);
        let schedule = Schedule { on_processor_ns: 47_170_209, waiting_ns: 54_076_667, timeslices: 289 };
        let switches = Ok(Switches { voluntary: 99, involuntary: 191 });
        let threads = read_threads(&tree, Detail::Full).unwrap();
        assert_eq!(threads.keys().copied().collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(threads[&7], Thread { schedule: Ok(schedule), switches });
        assert_eq!(threads[&8], Thread { schedule: Err(Absence::NotHere), switches });
        assert_eq!(
            threads[&9],
            Thread { schedule: Err(Absence::NotCounted), switches: Err(Absence::NotHere) }
        );
        let brief = Thread { schedule: Ok(schedule), switches: Err(Absence::NotAsked) };
        assert_eq!(read_threads(&tree, Detail::Brief).unwrap()[&7], brief);
    }

    #[test]
    fn a_thread_that_is_gone_has_no_time() {
        let tree = Recorded::default();
        assert_eq!(read_threads(&tree, Detail::Full), Err(Absence::NotHere));
        let locked = tree.clone().refusing("/proc/self/task/7/status", Absence::NeedsRoot);
        let forbidden = Thread { schedule: Err(Absence::NotHere), switches: Err(Absence::NeedsRoot) };
        for detail in [Detail::Brief, Detail::Full] {
            assert_eq!(read_thread(&tree, 7, detail), Thread::absent(Absence::NotThroughout));
            assert_eq!(read_thread(&locked, 7, detail), forbidden);
        }
    }

    #[test]
    fn threads_grow_or_are_others() {
        let thread = |on_processor_ns, voluntary| Thread {
            schedule: Ok(Schedule { on_processor_ns, waiting_ns: 30, timeslices: 4 }),
            switches: Ok(Switches { voluntary, involuntary: 6 }),
        };
        let grown = Thread {
            schedule: Ok(Schedule { on_processor_ns: 20, waiting_ns: 0, timeslices: 0 }),
            switches: Ok(Switches { voluntary: 1, involuntary: 0 }),
        };
        assert_eq!(thread(120, 8).since(&thread(100, 7)), grown);
        let restarted = thread(90, 8).since(&thread(100, 7));
        assert_eq!(restarted, Thread { schedule: Err(Absence::Reset), ..grown });
        assert_eq!(
            thread(90, 8).since(&Thread::absent(Absence::NeedsRoot)),
            Thread::absent(Absence::NeedsRoot)
        );
    }

    #[test]
    fn a_process_tells_its_ticks() {
        assert_eq!(own_ticks(STAT), Ok(7));
        for wrong in ["", "1 (a", "1 (a) S 1 2 3 4 5 6 7 8 9 10 11", "1 (a) S 1 2 3 4 5 6 7 8 9 10 x 12"] {
            assert_eq!(own_ticks(wrong), Err(Absence::NotUnderstood), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_not_understood() {
        for wrong in ["", "1", "1 2", "1 2 x", "-1 2 3", "1.5 2 3", "18446744073709551616 2 3"] {
            assert_eq!(schedule(wrong), Err(Absence::NotUnderstood), "{wrong}");
        }
        assert_eq!(switches("voluntary_ctxt_switches:\tx\n"), Err(Absence::NotUnderstood));
    }

    fn clock(id: ClockId) -> Duration {
        Duration::from(clock_gettime(id).unwrap())
    }

    /// The clock of a thread is exact, the account of the scheduler lags by a tick at most, 10 ms at 100 Hz.
    #[test]
    fn time_on_a_processor_is_what_the_clock_of_the_thread_says() {
        const LAG: Duration = Duration::from_millis(25);
        let on_processor = || match read_thread(&Machine, thread_id(), Detail::Brief).schedule {
            Ok(schedule) => Some(Duration::from_nanos(schedule.on_processor_ns)),
            Err(why) => {
                assert!([Absence::NotHere, Absence::NotCounted].contains(&why), "{why}");
                None
            }
        };
        let Some(start) = on_processor() else { return };
        let clock_at_start = clock(ClockId::CLOCK_THREAD_CPUTIME_ID);
        while clock(ClockId::CLOCK_THREAD_CPUTIME_ID) < clock_at_start + Duration::from_millis(200) {}
        let before = clock(ClockId::CLOCK_THREAD_CPUTIME_ID);
        let end = on_processor().unwrap();
        let after = clock(ClockId::CLOCK_THREAD_CPUTIME_ID);
        assert!(before <= end + LAG, "{before:?} on a processor, {end:?} counted");
        assert!(end <= after, "{after:?} on a processor, {end:?} counted");
        assert!(end >= start + Duration::from_millis(200) - LAG, "from {start:?} to {end:?}");
    }

    #[test]
    fn ticks_of_this_process_are_what_getrusage_says() {
        // Two numbers of whole ticks are cut off.
        const TICKS: u64 = 3;
        let usage = || {
            let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
            let microseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
            u64::try_from(microseconds(usage.user_time()) + microseconds(usage.system_time())).unwrap()
                * clock_ticks_per_second().get()
                / 1_000_000
        };
        let until = clock(ClockId::CLOCK_THREAD_CPUTIME_ID) + Duration::from_millis(50);
        while clock(ClockId::CLOCK_THREAD_CPUTIME_ID) < until {}
        let before = usage();
        let ticks = read_own_ticks(&Machine).unwrap();
        let after = usage();
        assert!(before <= ticks + TICKS && ticks <= after + TICKS, "{before}, {ticks}, {after}");
        assert!(ticks >= 2, "{ticks}");
    }

    #[test]
    fn all_threads_of_this_process_are_found() {
        let threads = read_threads(&Machine, Detail::Full).unwrap();
        let this = threads[&thread_id()];
        assert!(this.switches.is_ok(), "{this:?}");
        assert!(threads.contains_key(&std::process::id()), "the first thread has the id of the process");
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic(
            schedstat in spoilt(SCHEDSTAT), status in spoilt(STATUS), stat in spoilt(STAT)
        ) {
            let (schedule, switches) = (schedule(&schedstat), switches(&status));
            let thread = Thread { schedule, switches };
            prop_assert!(thread.since(&thread).schedule.is_ok() == schedule.is_ok());
            let _ = own_ticks(&stat);
        }

        #[test]
        fn a_schedule_is_read_as_it_is_written(on: u64, waiting: u64, timeslices in 1_u64..) {
            let expected = Schedule { on_processor_ns: on, waiting_ns: waiting, timeslices };
            prop_assert_eq!(schedule(&format!("{on} {waiting} {timeslices}\n")), Ok(expected));
        }
    }
}
