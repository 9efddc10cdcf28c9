//! What each processor did, as `/proc/stat` has it (Documentation/filesystems/proc.rst, section 1.7).

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::reading::{Absence, Reading, growth, number, numbers};
use super::source::Source;

const NANOSECONDS: u128 = 1_000_000_000;

/// The time of a processor by what it did, in nanoseconds, counted in whole ticks of some milliseconds. `T`
/// is a count, or a count that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times<T> {
    /// Programs, and virtual machines that it hosts.
    pub user_ns: T,
    /// Programs that have lowered their priority.
    pub nice_ns: T,
    /// The kernel on behalf of programs.
    pub system_ns: T,
    /// Nothing. The kernel lets it fall sometimes.
    pub idle_ns: T,
    /// Nothing, while something waited for a disk. The kernel lets it fall sometimes.
    pub iowait_ns: T,
    /// Interrupts.
    pub irq_ns: T,
    /// Soft interrupts: most of what becomes of received packets.
    pub softirq_ns: T,
    /// Time in which the host of this virtual machine let others run.
    pub steal_ns: T,
}

impl Times<u64> {
    /// The growth since `earlier`, kind by kind.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Times<Reading<u64>> {
        Times {
            user_ns: growth(earlier.user_ns, self.user_ns),
            nice_ns: growth(earlier.nice_ns, self.nice_ns),
            system_ns: growth(earlier.system_ns, self.system_ns),
            idle_ns: growth(earlier.idle_ns, self.idle_ns),
            iowait_ns: growth(earlier.iowait_ns, self.iowait_ns),
            irq_ns: growth(earlier.irq_ns, self.irq_ns),
            softirq_ns: growth(earlier.softirq_ns, self.softirq_ns),
            steal_ns: growth(earlier.steal_ns, self.steal_ns),
        }
    }
}

impl Times<Reading<u64>> {
    /// Times that are all absent for this reason.
    pub(super) fn absent(why: Absence) -> Self {
        Self {
            user_ns: Err(why),
            nice_ns: Err(why),
            system_ns: Err(why),
            idle_ns: Err(why),
            iowait_ns: Err(why),
            irq_ns: Err(why),
            softirq_ns: Err(why),
            steal_ns: Err(why),
        }
    }

    /// Nanoseconds that programs had, with what the kernel did on their behalf.
    ///
    /// # Errors
    /// Why one of the three parts is absent.
    pub fn programs_ns(&self) -> Reading<u64> {
        Ok(self.user_ns?.saturating_add(self.nice_ns?).saturating_add(self.system_ns?))
    }
}

/// The times of all processors that are on-line, by their numbers.
pub(super) fn read_processors(
    source: &dyn Source,
    ticks_per_second: NonZeroU64,
) -> Reading<BTreeMap<u32, Times<u64>>> {
    processors(&source.read("/proc/stat")?, ticks_per_second)
}

fn processors(stat: &str, ticks_per_second: NonZeroU64) -> Reading<BTreeMap<u32, Times<u64>>> {
    let mut processors = BTreeMap::new();
    for line in stat.lines() {
        let mut words = line.split_ascii_whitespace();
        // The line of all processors has no number.
        let cpu = words.next().and_then(|name| name.strip_prefix("cpu")).filter(|cpu| !cpu.is_empty());
        let Some(cpu) = cpu else { continue };
        if processors.insert(number(cpu)?, times(words, ticks_per_second)?).is_some() {
            return Err(Absence::NotUnderstood);
        }
    }
    if processors.is_empty() { Err(Absence::NotUnderstood) } else { Ok(processors) }
}

fn times<'a>(words: impl Iterator<Item = &'a str>, ticks_per_second: NonZeroU64) -> Reading<Times<u64>> {
    let [user, nice, system, idle, iowait, irq, softirq, steal] = numbers(words)?;
    let ns = |ticks| nanoseconds(ticks, ticks_per_second);
    Ok(Times {
        user_ns: ns(user)?,
        nice_ns: ns(nice)?,
        system_ns: ns(system)?,
        idle_ns: ns(idle)?,
        iowait_ns: ns(iowait)?,
        irq_ns: ns(irq)?,
        softirq_ns: ns(softirq)?,
        steal_ns: ns(steal)?,
    })
}

/// The time of so many ticks.
pub(super) fn nanoseconds(ticks: u64, ticks_per_second: NonZeroU64) -> Reading<u64> {
    let nanoseconds = u128::from(ticks) * NANOSECONDS / u128::from(ticks_per_second.get());
    u64::try_from(nanoseconds).map_err(|_| Absence::NotUnderstood)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{SysconfVar, sysconf};
    use proptest::prelude::*;

    use super::*;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};
    use crate::sys::clock_ticks_per_second;

    /// Linux 6.18 with two processors, show_stat of fs/proc/stat.c.
    const STAT: &str = include_str!("recorded/stat-6.18.txt");
    const HUNDRED: NonZeroU64 = NonZeroU64::new(100).unwrap();

    #[test]
    fn each_processor_tells_what_it_did() {
        let tree = Recorded::new(&[("/proc/stat", STAT)]);
        let processors = read_processors(&tree, HUNDRED).unwrap();
        let ms = |ticks: u64| ticks * 10_000_000;
        let second = Times {
            user_ns: ms(56_238),
            nice_ns: 0,
            system_ns: ms(56_046),
            idle_ns: ms(34_123),
            iowait_ns: ms(3_099),
            irq_ns: 0,
            softirq_ns: ms(16_821),
            steal_ns: ms(75),
        };
        assert_eq!(processors.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(processors[&1], second);
        // Alpha has another clock.
        let faster = processors_of(STAT, 1024);
        assert_eq!(faster[&1].steal_ns, 75 * 1_000_000_000 / 1024);
    }

    fn processors_of(stat: &str, ticks_per_second: u64) -> BTreeMap<u32, Times<u64>> {
        processors(stat, NonZeroU64::new(ticks_per_second).unwrap()).unwrap()
    }

    #[test]
    fn many_processors_with_gaps_and_later_columns_are_read() {
        let line = |cpu: u32| format!("cpu{cpu} 1 2 3 4 5 6 7 8 9 10 11\n");
        let stat: String = (0..512).map(|cpu| line(2 * cpu)).collect();
        let found = processors_of(&format!("cpu  9 9 9 9 9 9 9 9 9 9\n{stat}intr 1 2 3\n"), 1_000_000_000);
        assert_eq!(found.len(), 512);
        assert_eq!(found[&1022].softirq_ns, 7);
    }

    #[test]
    fn what_is_no_account_of_processors_is_not_understood() {
        for wrong in [
            "",
            "cpu  1 2 3 4 5 6 7 8\n",
            "cpu0 1 2 3 4 5 6 7\n",
            "cpu0 1 2 3 4 5 6 7 x\n",
            "cpux 1 2 3 4 5 6 7 8\n",
            "cpu0 1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\n",
            "cpu0 1 2 3 4 5 6 7 18446744073709551615\n",
        ] {
            assert_eq!(processors(wrong, HUNDRED), Err(Absence::NotUnderstood), "{wrong}");
        }
        assert_eq!(read_processors(&Recorded::default(), HUNDRED), Err(Absence::NotHere));
    }

    /// What falls takes nothing else with it: iowait does so on any kernel.
    #[test]
    fn times_grow_kind_by_kind() {
        let earlier = Times { user_ns: 10, iowait_ns: 30, ..Times::default() };
        let later = Times { user_ns: 15, system_ns: 7, iowait_ns: 20, ..Times::default() };
        let grown = later.since(&earlier);
        assert_eq!((grown.user_ns, grown.iowait_ns), (Ok(5), Err(Absence::Reset)));
        assert_eq!(grown.programs_ns(), Ok(12));
        assert_eq!(Times::absent(Absence::NotHere).programs_ns(), Err(Absence::NotHere));
    }

    #[test]
    fn this_machine_has_the_processors_that_sysconf_counts() {
        let found = read_processors(&Machine, clock_ticks_per_second()).unwrap();
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).unwrap().unwrap();
        assert_eq!(i64::try_from(found.len()), Ok(online));
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic(stat in spoilt(STAT), ticks in 1_u64..2000) {
            let ticks = NonZeroU64::new(ticks).unwrap();
            if let Ok(found) = processors(&stat, ticks) {
                prop_assert!(!found.is_empty());
                for times in found.values() {
                    prop_assert_eq!(times.since(times), Times::<u64>::default().since(&Times::default()));
                }
            }
        }
    }
}
