//! The groups that this process is in, and what their quotas of processor time did to it.
//!
//! Time that a quota takes is counted in the group that has the quota, so all groups above are read as well.
//! Formats: Documentation/scheduler/sched-bwc.rst for version 1, Documentation/admin-guide/cgroup-v2.rst for
//! version 2, proc_cgroup_show of kernel/cgroup/cgroup.c, and Documentation/filesystems/proc.rst, section
//! 3.5, for mountinfo.

use crate::host::reading::{Absence, Reading, growth, number, value_of};
use crate::host::source::Source;

/// Most groups above one another; deeper than anybody nests them.
const DEPTH_MAX: usize = 64;

/// Which version of groups has the controller of processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// A tree of its own.
    V1,
    /// The one tree of all controllers.
    V2,
}

/// A group that this process is in, or one above it, or what became of it between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its version.
    pub hierarchy: Hierarchy,
    /// Its path in the hierarchy, as this process may see it; `/` is the uppermost.
    pub path: String,
    /// What processor time it may use at most; `None` without a limit.
    pub quota: Reading<Option<Quota>>,
    /// What the quota has done.
    pub throttling: Reading<Throttling>,
}

/// A quota of processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of processor time in each period, of all processors together.
    pub quota_us: u64,
    /// Microseconds of a period.
    pub period_us: u64,
}

/// What the quota of a group has done since the group exists, or between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that have passed while threads of the group were ready.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Nanoseconds in which ready threads were held back, summed over the processors on which there were any.
    pub throttled_ns: u64,
}

impl Group {
    /// This group with the growth of what its quota did since `earlier`. The quota is that of the later look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |earlier: Throttling, later: Throttling| {
            Ok(Throttling {
                periods: growth(earlier.periods, later.periods)?,
                throttled_periods: growth(earlier.throttled_periods, later.throttled_periods)?,
                throttled_ns: growth(earlier.throttled_ns, later.throttled_ns)?,
            })
        };
        let throttling = earlier.throttling.and_then(|earlier| grown(earlier, self.throttling?));
        Self { throttling, ..self.clone() }
    }

    /// Whether this is the same group as another one.
    pub(in crate::host) fn is_same_as(&self, other: &Self) -> bool {
        self.hierarchy == other.hierarchy && self.path == other.path
    }
}

/// Where groups with the controller of processor time are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::host) struct Mounts(Vec<Mount>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    hierarchy: Hierarchy,
    /// The group that is seen at `folder`; `/` is the uppermost.
    root: String,
    folder: String,
}

impl Mounts {
    pub(in crate::host) fn read(source: &dyn Source) -> Reading<Self> {
        Ok(Self(source.read("/proc/self/mountinfo")?.lines().filter_map(mount).collect()))
    }

    /// Where the files of a group are.
    fn folder(&self, hierarchy: Hierarchy, path: &str) -> Reading<String> {
        let mut of_hierarchy = self.0.iter().filter(|mount| mount.hierarchy == hierarchy);
        of_hierarchy.find_map(|mount| mount.folder(path)).ok_or(Absence::NotMounted)
    }
}

impl Mount {
    fn folder(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        let is_inside = below.is_empty() || below.starts_with('/');
        // A group outside of the namespace of this process begins with steps upwards.
        let climbs = below.split('/').any(|step| step == "..");
        let folder = format!("{}{}", self.folder.trim_end_matches('/'), below.trim_end_matches('/'));
        (is_inside && !climbs).then_some(folder)
    }
}

/// A line of mountinfo, if it is of groups with the controller of processor time.
fn mount(line: &str) -> Option<Mount> {
    // Optional fields end with a dash.
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, folder) = (unescape(mount.next()?), unescape(mount.next()?));
    let mut system = system.split(' ');
    let (kind, options) = (system.next()?, system.next_back());
    let hierarchy = match kind {
        "cgroup2" => Hierarchy::V2,
        "cgroup" => Hierarchy::V1,
        _ => return None,
    };
    (hierarchy == Hierarchy::V2 || options.is_some_and(has_cpu)).then_some(Mount { hierarchy, root, folder })
}

/// Whether the controller of processor time is in a list.
fn has_cpu(list: &str) -> bool {
    list.split(',').any(|name| name == "cpu")
}

/// Space, tab, line feed and backslash stand there as three octal digits behind a backslash (mangle and
/// seq_escape of fs/seq_file.c).
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The groups of this process, the innermost first.
pub(in crate::host) fn read_groups(source: &dyn Source, mounts: &Reading<Mounts>) -> Reading<Vec<Group>> {
    groups_of(source, mounts, "/proc/self/cgroup")
}

/// The groups that a file names, and all above them.
fn groups_of(source: &dyn Source, mounts: &Reading<Mounts>, file: &str) -> Reading<Vec<Group>> {
    let text = source.read(file)?;
    let (hierarchy, innermost) = membership(&text)?;
    let all = upwards(innermost)?.into_iter().map(|path| {
        let folder = mounts.as_ref().map_err(|why| *why).and_then(|mounts| mounts.folder(hierarchy, path));
        let read = |name: &str| source.read(&format!("{}/{name}", folder.as_ref().map_err(|why| *why)?));
        let (quota, throttling) = match hierarchy {
            Hierarchy::V1 => {
                (quota_of_version_1(&read), read("cpu.stat").and_then(|text| stat(&text, TIME_OF_V1)))
            }
            Hierarchy::V2 => of_version_2(read("cpu.max"), read("cpu.stat")),
        };
        Group { hierarchy, path: path.to_owned(), quota, throttling }
    });
    Ok(all.collect())
}

/// The path of the group that has the controller of processor time. The kernel names a hierarchy of version 1
/// only while a controller is in it.
fn membership(text: &str) -> Reading<(Hierarchy, &str)> {
    let mut of_version_2 = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Absence::NotUnderstood);
        };
        if !path.starts_with('/') {
            return Err(Absence::NotUnderstood);
        }
        if has_cpu(controllers) {
            return Ok((Hierarchy::V1, path));
        }
        if id == "0" && controllers.is_empty() {
            of_version_2 = Some((Hierarchy::V2, path));
        }
    }
    of_version_2.ok_or(Absence::NotHere)
}

/// This path and all above it, up to `/`.
fn upwards(path: &str) -> Reading<Vec<&str>> {
    let mut paths = vec![path];
    let mut rest = path.trim_end_matches('/');
    while let Some((above, _)) = rest.rsplit_once('/') {
        paths.push(if above.is_empty() { "/" } else { above });
        rest = above;
        if paths.len() > DEPTH_MAX {
            return Err(Absence::TooLong);
        }
    }
    Ok(paths)
}

fn quota_of_version_1(read: &dyn Fn(&str) -> Reading<String>) -> Reading<Option<Quota>> {
    let quota_us: i64 = number(read("cpu.cfs_quota_us")?.trim())?;
    let period_us = number(read("cpu.cfs_period_us")?.trim())?;
    // -1 without a limit.
    Ok(u64::try_from(quota_us).ok().map(|quota_us| Quota { quota_us, period_us }))
}

/// In version 2 each group has the file of statistics, and only those with the controller have the rest.
fn of_version_2(
    max: Reading<String>,
    statistics: Reading<String>,
) -> (Reading<Option<Quota>>, Reading<Throttling>) {
    let is_there = statistics.is_ok();
    let quota = max.and_then(|text| quota_of_version_2(&text));
    let throttling = statistics.and_then(|text| stat(&text, TIME_OF_V2));
    let explain =
        |why: Absence| if why == Absence::NotHere && is_there { Absence::NotControlled } else { why };
    (quota.map_err(explain), throttling.map_err(explain))
}

fn quota_of_version_2(max: &str) -> Reading<Option<Quota>> {
    let mut words = max.split_ascii_whitespace();
    let (Some(quota), Some(period)) = (words.next(), words.next()) else {
        return Err(Absence::NotUnderstood);
    };
    let period_us = number(period)?;
    if quota == "max" { Ok(None) } else { Ok(Some(Quota { quota_us: number(quota)?, period_us })) }
}

/// The name of the time in which a quota held threads back, and the nanoseconds of its unit.
type TimeOf = (&'static str, u64);
const TIME_OF_V1: TimeOf = ("throttled_time ", 1);
const TIME_OF_V2: TimeOf = ("throttled_usec ", 1000);

fn stat(text: &str, (name, nanoseconds): TimeOf) -> Reading<Throttling> {
    let count = |name| number(value_of(text, name).ok_or(Absence::NotHere)?);
    let throttled: u64 = count(name)?;
    Ok(Throttling {
        periods: count("nr_periods ")?,
        throttled_periods: count("nr_throttled ")?,
        throttled_ns: throttled.checked_mul(nanoseconds).ok_or(Absence::NotUnderstood)?,
    })
}

#[cfg(test)]
mod tests;
