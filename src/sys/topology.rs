//! The processors that a thread may run on, and which of them share a core.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::config::CpuList;

/// The processors that a thread may run on, core by core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cores: Vec<Vec<u32>>,
}

impl Topology {
    /// A topology of cores, each given by the numbers of its processors.
    #[must_use]
    pub fn new(cores: Vec<Vec<u32>>) -> Self {
        Self { cores }
    }

    /// The processors of this machine that the calling thread may use, the core with the lowest number first.
    /// Where the system does not tell which processors share a core, each has its own.
    ///
    /// # Errors
    /// The system's from sched_getaffinity(2): EINVAL on a machine with more than 1024 processors.
    pub fn of_this_thread() -> io::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for cpu in (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)) {
            let cpu = u32::try_from(cpu).expect("a set has 1024 processors");
            cores.entry(first_of_core(cpu)).or_default().push(cpu);
        }
        Ok(Self::new(cores.into_values().collect()))
    }

    /// The numbers of all processors, in rising order.
    #[must_use]
    pub fn processors(&self) -> Vec<u32> {
        let mut processors = self.core_by_core();
        processors.sort_unstable();
        processors
    }

    /// This topology without the processors that are not to be `kept`.
    #[must_use]
    pub fn only(&self, kept: impl Fn(u32) -> bool) -> Self {
        let kept = |core: &Vec<u32>| core.iter().copied().filter(|&cpu| kept(cpu)).collect();
        let cores: Vec<Vec<u32>> = self.cores.iter().map(kept).collect();
        Self::new(cores.into_iter().filter(|core| !core.is_empty()).collect())
    }

    /// This topology with the cores last that have one of these processors, their order else unchanged.
    #[must_use]
    pub fn with_last(mut self, processors: &BTreeSet<u32>) -> Self {
        self.cores.sort_by_key(|core| core.iter().any(|cpu| processors.contains(cpu)));
        self
    }

    /// The numbers of all processors, all of the first core before those of the next.
    #[must_use]
    pub fn core_by_core(&self) -> Vec<u32> {
        self.cores.concat()
    }

    /// The numbers of all processors, one of each core first, then a second one of each core that has one,
    /// and so on.
    #[must_use]
    pub fn across_cores(&self) -> Vec<u32> {
        let most = self.cores.iter().map(Vec::len).max().unwrap_or(0);
        (0..most).flat_map(|turn| self.cores.iter().filter_map(move |core| core.get(turn).copied())).collect()
    }
}

/// Bytes of the second-level cache of the processor that this thread runs on, or its share of one that
/// several cores have; `None` where the system does not tell.
#[must_use]
pub fn second_level_cache_bytes() -> Option<u64> {
    let cpu = super::current_processor().unwrap_or(0);
    (0..8).find_map(|index| {
        let read = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{name}");
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
        };
        let is_second =
            read("level").as_deref() == Some("2") && read("type").as_deref() != Some("Instruction");
        let size = read("size").filter(|_| is_second)?;
        // In KiB, as the kernel writes it (Documentation/ABI/testing/sysfs-devices-system-cpu).
        let bytes = size.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)?;
        let sharing = read("shared_cpu_list").and_then(|list| list.parse::<CpuList>().ok());
        let cores: BTreeSet<u32> =
            sharing.iter().flat_map(CpuList::numbers).map(|&cpu| first_of_core(cpu)).collect();
        Some(bytes / u64::try_from(cores.len().max(1)).ok()?)
    })
}

/// The lowest number among the processors that share a core with this one; it stands for the core. The
/// kernel's own numbers of cores begin anew in each package.
fn first_of_core(cpu: u32) -> u32 {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let siblings = fs::read_to_string(path).ok().and_then(|list| list.parse::<CpuList>().ok());
    siblings.and_then(|list| list.numbers().iter().min().copied()).unwrap_or(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_cores_with_two_threads() {
        // Two packages of two cores, as Linux numbers them.
        let topology = Topology::new(vec![vec![0, 4], vec![1, 5], vec![2, 6], vec![3, 7]]);
        assert_eq!(topology.across_cores(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(topology.core_by_core(), [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(topology.processors(), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Threads of a core that are numbered side by side.
        let topology = Topology::new(vec![vec![0, 1], vec![2, 3]]);
        assert_eq!(topology.across_cores(), [0, 2, 1, 3]);
        assert_eq!(topology.core_by_core(), [0, 1, 2, 3]);
    }

    #[test]
    fn orders_of_cores_that_are_allowed_in_part() {
        let topology = Topology::new(vec![vec![4], vec![1, 5], vec![7]]);
        assert_eq!(topology.across_cores(), [4, 1, 7, 5]);
        assert_eq!(topology.core_by_core(), [4, 1, 5, 7]);
        assert_eq!(topology.processors(), [1, 4, 5, 7]);
        assert!(Topology::new(vec![]).across_cores().is_empty());
    }

    #[test]
    fn this_machine_has_the_processors_of_the_mask() {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let count = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap()).count();
        let topology = Topology::of_this_thread().unwrap();
        let processors = topology.processors();
        assert!(count > 0 && processors.len() == count, "{topology:?}");
        assert!(processors.iter().all(|&cpu| allowed.is_set(usize::try_from(cpu).unwrap()).unwrap()));
        assert_eq!(topology.across_cores().len(), count);
    }
}
