use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::host::source::Machine;
use crate::host::testing::{Recorded, spoilt};
use crate::host::threads::{Detail, read_thread};
use crate::sys::thread_id;

/// A machine with both versions, the controller in version 1: proc_cgroup_show of kernel/cgroup/cgroup.c of
/// Linux 6.18, with names that were made up.
const CGROUP_BOTH: &str = "\
9:name=systemd:/
4:memory:/jobs/one
3:cpuset:/
2:cpuacct:/
1:cpu:/jobs/a b
0::/
";
const MOUNTS_BOTH: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw
";
/// Documentation/scheduler/sched-bwc.rst; the two last lines are of Linux 5.14 and later.
const STAT_V1: &str =
    "nr_periods 30\nnr_throttled 29\nthrottled_time 2914000111\nnr_bursts 0\nburst_time 0\n";
/// systemd with version 2 only.
const CGROUP_V2: &str = "0::/system.slice/job.service\n";
const MOUNTS_V2: &str = "\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 24 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
/// Documentation/admin-guide/cgroup-v2.rst: three lines always, the others with the controller.
const STAT_V2: &str = "usage_usec 3087542\nuser_usec 1046037\nsystem_usec 2041505\nnice_usec 0\n\
                       nr_periods 30\nnr_throttled 29\nthrottled_usec 2914000\nnr_bursts 0\nburst_usec 0\n";
const STAT_V2_WITHOUT: &str = "usage_usec 3087542\nuser_usec 1046037\nsystem_usec 2041505\nnice_usec 0\n";

fn both_versions() -> Recorded {
    Recorded::new(&[
        ("/proc/self/cgroup", CGROUP_BOTH),
        ("/proc/self/mountinfo", MOUNTS_BOTH),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/cpu/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
        ("/sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", "5000\n"),
        ("/sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/cpu/jobs/cpu.stat", STAT_V1),
        ("/sys/fs/cgroup/cpu/jobs/a b/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/cpu/jobs/a b/cpu.cfs_period_us", "50000\n"),
        ("/sys/fs/cgroup/cpu/jobs/a b/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
    ])
}

fn version_2() -> Recorded {
    Recorded::new(&[
        ("/proc/self/cgroup", CGROUP_V2),
        ("/proc/self/mountinfo", MOUNTS_V2),
        ("/sys/fs/cgroup/cpu.stat", STAT_V2_WITHOUT),
        ("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
        ("/sys/fs/cgroup/system.slice/cpu.stat", STAT_V2),
        ("/sys/fs/cgroup/system.slice/job.service/cpu.max", "150000 100000\n"),
        ("/sys/fs/cgroup/system.slice/job.service/cpu.stat", STAT_V2),
    ])
}

fn groups(source: &dyn Source) -> Reading<Vec<Group>> {
    read_groups(source, &Mounts::read(source))
}

fn paths(groups: &[Group]) -> Vec<&str> {
    groups.iter().map(|group| group.path.as_str()).collect()
}

#[test]
fn version_1_is_read_with_all_groups_above() {
    let groups = groups(&both_versions()).unwrap();
    assert_eq!(paths(&groups), ["/jobs/a b", "/jobs", "/"]);
    assert!(groups.iter().all(|group| group.hierarchy == Hierarchy::V1));
    let quotas: Vec<_> = groups.iter().map(|group| group.quota).collect();
    assert_eq!(quotas, [Ok(None), Ok(Some(Quota { quota_us: 5000, period_us: 100_000 })), Ok(None)]);
    let throttled = Throttling { periods: 30, throttled_periods: 29, throttled_ns: 2_914_000_111 };
    let throttling: Vec<_> = groups.iter().map(|group| group.throttling).collect();
    assert_eq!(throttling, [Ok(Throttling::default()), Ok(throttled), Ok(Throttling::default())]);
}

#[test]
fn version_2_is_read_with_all_groups_above() {
    let groups = groups(&version_2()).unwrap();
    assert_eq!(paths(&groups), ["/system.slice/job.service", "/system.slice", "/"]);
    assert!(groups.iter().all(|group| group.hierarchy == Hierarchy::V2));
    let quota = Quota { quota_us: 150_000, period_us: 100_000 };
    let throttled = Ok(Throttling { periods: 30, throttled_periods: 29, throttled_ns: 2_914_000_000 });
    assert_eq!((groups[0].quota, groups[0].throttling), (Ok(Some(quota)), throttled));
    assert_eq!((groups[1].quota, groups[1].throttling), (Ok(None), throttled));
    let uncontrolled = (Err(Absence::NotControlled), Err(Absence::NotControlled));
    assert_eq!((groups[2].quota, groups[2].throttling), uncontrolled);
}

/// As behind `ip netns exec`, which takes /sys away with all that is mounted in it; for one who may not read;
/// for a group that was removed.
#[test]
fn a_quota_that_cannot_be_read_is_absent() {
    let hidden = both_versions().with("/proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n");
    for group in groups(&hidden).unwrap() {
        assert_eq!((group.quota, group.throttling), (Err(Absence::NotMounted), Err(Absence::NotMounted)));
    }
    let unknown = both_versions().refusing("/proc/self/mountinfo", Absence::NeedsRoot);
    assert_eq!(groups(&unknown).unwrap()[1].quota, Err(Absence::NeedsRoot));
    let forbidden = version_2().refusing("/sys/fs/cgroup/system.slice/cpu.max", Absence::NeedsRoot);
    let group = groups(&forbidden).unwrap()[1].clone();
    assert!(group.quota == Err(Absence::NeedsRoot) && group.throttling.is_ok(), "{group:?}");
    let removed = version_2().without("/sys/fs/cgroup/system.slice/job.service");
    let group = groups(&removed).unwrap()[0].clone();
    assert_eq!((group.quota, group.throttling), (Err(Absence::NotHere), Err(Absence::NotHere)));
    assert_eq!(groups(&Recorded::default()), Err(Absence::NotHere));
}

/// In a container a group further down may be mounted where the uppermost is expected.
#[test]
fn a_mount_shows_the_groups_below_its_root() {
    let mounts = |lines: &str| Mounts::read(&Recorded::new(&[("/proc/self/mountinfo", lines)])).unwrap();
    let container =
        mounts("1 2 0:3 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro shared:1 - cgroup cgroup rw,cpu,cpuacct\n");
    for (path, folder) in [
        ("/docker/abc", Ok("/sys/fs/cgroup/cpu,cpuacct")),
        ("/docker/abc/job", Ok("/sys/fs/cgroup/cpu,cpuacct/job")),
        ("/docker/abcd", Err(Absence::NotMounted)),
        ("/docker", Err(Absence::NotMounted)),
        ("/", Err(Absence::NotMounted)),
    ] {
        assert_eq!(container.folder(Hierarchy::V1, path), folder.map(str::to_owned), "{path}");
        assert_eq!(container.folder(Hierarchy::V2, path), Err(Absence::NotMounted), "{path}");
    }
    let odd = mounts("1 2 0:3 / /mnt/a\\040b\\134 rw - cgroup2 none rw\n");
    assert_eq!(odd.folder(Hierarchy::V2, "/x"), Ok("/mnt/a b\\/x".to_owned()));
    assert_eq!(odd.folder(Hierarchy::V2, "/../x"), Err(Absence::NotMounted), "outside of the namespace");
    let others = mounts("1 2 0:3 / /a rw - cgroup cgroup rw,cpuset\n1 2 0:3 / /b rw - tmpfs none rw\n1 2\n");
    assert_eq!(others, Mounts::default());
}

#[test]
fn what_is_no_group_is_not_understood() {
    for (cgroup, why) in [
        ("", Absence::NotHere),
        ("3:cpuset:/a\n", Absence::NotHere),
        ("0:/a\n", Absence::NotUnderstood),
        ("0::a\n", Absence::NotUnderstood),
        (&*format!("0::{}\n", "/a".repeat(DEPTH_MAX + 1)), Absence::TooLong),
    ] {
        let tree = version_2().with("/proc/self/cgroup", cgroup);
        assert_eq!(groups(&tree), Err(why), "{cgroup}");
    }
    for wrong in ["", "max", "x 100000", "-1 100000", "100 x"] {
        assert_eq!(quota_of_version_2(wrong), Err(Absence::NotUnderstood), "{wrong}");
    }
    for wrong in ["nr_periods 1\nnr_throttled x\nthrottled_usec 1\n", "throttled_usec 18446744073709551615\n"]
    {
        let found = stat(&format!("{wrong}nr_periods 0\nnr_throttled 0\n"), TIME_OF_V2);
        assert_eq!(found, Err(Absence::NotUnderstood), "{wrong}");
    }
    assert_eq!(stat("throttled_time 1\nnr_periods 1\n", TIME_OF_V1), Err(Absence::NotHere));
}

#[test]
fn groups_grow() {
    let earlier = groups(&both_versions()).unwrap();
    let later = STAT_V1.replace("2914000111", "2914000222").replace("nr_periods 30", "nr_periods 31");
    let later = both_versions().with("/sys/fs/cgroup/cpu/jobs/cpu.stat", &later);
    let grown = groups(&later).unwrap()[1].since(&earlier[1]);
    let expected = Throttling { periods: 1, throttled_periods: 0, throttled_ns: 111 };
    assert_eq!((grown.throttling, grown.quota), (Ok(expected), earlier[1].quota));
    let reset = earlier[1].since(&groups(&later).unwrap()[1]);
    assert_eq!(reset.throttling, Err(Absence::Reset));
    assert!(earlier[1].is_same_as(&grown) && !earlier[1].is_same_as(&earlier[0]));
}

/// A group below one of this thread's, which goes with the test.
struct OwnGroup {
    folder: PathBuf,
    above: PathBuf,
}

impl OwnGroup {
    /// A group with 10 ms of processor time in each 100 ms; `None` for one who may not make one.
    fn below(above: &str) -> Option<Self> {
        let above = PathBuf::from(above);
        let folder = above.join(format!("ringperf-test-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, above };
        fs::write(group.folder.join("cpu.cfs_period_us"), "100000").unwrap();
        fs::write(group.folder.join("cpu.cfs_quota_us"), "10000").unwrap();
        Some(group)
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        let _ = enter(&self.above);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Puts the calling thread, and no other one of this process, into a group.
fn enter(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("tasks"), thread_id().to_string())
}

/// For one who may make groups of version 1: what a thread sees of its quota when it computes for a while.
#[test]
fn time_that_a_quota_took_is_seen() {
    let mounts = Mounts::read(&Machine);
    let own = Machine.read("/proc/thread-self/cgroup").unwrap();
    let Ok((Hierarchy::V1, path)) = membership(&own) else { return };
    let Ok(folder) = mounts.as_ref().unwrap().folder(Hierarchy::V1, path) else { return };
    let Some(group) = OwnGroup::below(&folder) else { return };
    let look = || {
        let groups = groups_of(&Machine, &mounts, "/proc/thread-self/cgroup").unwrap();
        (groups, read_thread(&Machine, thread_id(), Detail::Brief).schedule)
    };
    enter(&group.folder).unwrap();
    let start = Instant::now();
    let (groups, schedule) = look();
    while start.elapsed() < Duration::from_millis(800) {}
    let (later_groups, later_schedule) = look();
    let elapsed = start.elapsed();
    let folder = group.folder.clone();
    drop(group);
    assert!(!folder.exists(), "the group is left behind");
    assert!(groups[0].path.ends_with(folder.file_name().unwrap().to_str().unwrap()), "{groups:?}");
    assert_eq!(groups.last().map(|group| group.path.as_str()), Some("/"));
    let grown = later_groups[0].since(&groups[0]);
    assert_eq!(grown.quota, Ok(Some(Quota { quota_us: 10_000, period_us: 100_000 })));
    let throttling = grown.throttling.unwrap();
    let throttled = Duration::from_nanos(throttling.throttled_ns);
    // The rest is the quota, and what else this machine does.
    assert!(throttled >= elapsed / 4 && throttled <= 2 * elapsed, "{throttling:?} of {elapsed:?}");
    assert!(throttling.throttled_periods >= 2, "{throttling:?}");
    assert!(u128::from(throttling.periods) <= 2 + elapsed.as_millis() / 100, "{throttling:?}");
    let (Ok(before), Ok(after)) = (schedule, later_schedule) else { return };
    let on_processor = Duration::from_nanos(after.on_processor_ns - before.on_processor_ns);
    assert!(on_processor <= elapsed / 2, "{on_processor:?} of {elapsed:?}");
    let waiting = Duration::from_nanos(after.waiting_ns - before.waiting_ns);
    assert!(waiting >= throttled / 2, "waiting has to contain the quota: {waiting:?}, {throttled:?}");
}

#[test]
fn the_groups_of_this_process_are_found() {
    let groups = groups(&Machine);
    match groups {
        Ok(groups) => assert_eq!(groups.last().map(|group| group.path.as_str()), Some("/")),
        Err(why) => assert_eq!(why, Absence::NotHere),
    }
}

proptest! {
    #[test]
    fn whatever_the_text_it_is_read_without_a_panic(
        cgroup in prop_oneof![spoilt(CGROUP_BOTH), spoilt(CGROUP_V2)],
        mounts in prop_oneof![spoilt(MOUNTS_BOTH), spoilt(MOUNTS_V2)],
        text in prop_oneof![spoilt(STAT_V1), spoilt(STAT_V2), spoilt("150000 100000\n")],
    ) {
        let tree = both_versions()
            .with("/proc/self/cgroup", &cgroup)
            .with("/proc/self/mountinfo", &mounts)
            .with("/sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", &text)
            .with("/sys/fs/cgroup/cpu/jobs/cpu.stat", &text);
        if let Ok(groups) = groups(&tree) {
            prop_assert!(!groups.is_empty() && groups.len() <= DEPTH_MAX + 1);
            for group in &groups {
                prop_assert!(group.since(group).throttling.is_ok() == group.throttling.is_ok());
            }
        }
        let _ = (quota_of_version_2(&text), stat(&text, TIME_OF_V1), stat(&text, TIME_OF_V2));
    }
}
