//! What a process holds, and how busy it has been.

use std::fs;
use std::time::Duration;

use crate::harness::{Checked, Failure, Process, wait_until};

/// Far longer than a server needs to be done with a client.
const LIMIT: Duration = Duration::from_secs(20);
/// Threads that are there without a test, besides the control thread: the one that prints, and, where there
/// are users, the one that judges logins.
const AT_REST: [&str; 2] = ["report", "login"];

/// TCP connections that a process holds, in whatever state they are.
fn connections(process: &Process) -> Checked<usize> {
    const INODE: usize = 9;
    const STATE: usize = 3;
    const LISTENS: &str = "0A";
    let folder = format!("/proc/{}", process.id());
    let tables = [format!("{folder}/net/tcp"), format!("{folder}/net/tcp6")];
    // There is no second one where there is no IPv6.
    let tables: Vec<String> = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let connected: Vec<String> = rows
        .filter_map(|row| {
            let cells: Vec<&str> = row.split_ascii_whitespace().collect();
            let is_connected = *cells.get(STATE)? != LISTENS;
            is_connected.then(|| cells.get(INODE).map(|inode| format!("socket:[{inode}]")))?
        })
        .collect();
    let files = fs::read_dir(format!("{folder}/fd"))?.filter_map(Result::ok);
    let names = files.filter_map(|file| fs::read_link(file.path()).ok()?.into_os_string().into_string().ok());
    Ok(names.filter(|name| connected.contains(name)).count())
}

/// Descriptors, threads and memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub files: usize,
    pub threads: usize,
    /// Resident.
    pub memory_kib: u64,
}

impl Holdings {
    /// What a server holds once the threads of its last test have gone, and its last connection.
    pub fn at_rest(process: &Process) -> Checked<Self> {
        let others = || -> Checked<Vec<String>> {
            let tasks = fs::read_dir(format!("/proc/{}/task", process.id()))?;
            let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
            let others = tasks.iter().filter(|task| *task.file_name() != *process.id().to_string());
            others.map(|task| Ok(fs::read_to_string(task.path().join("comm"))?)).collect()
        };
        let is_at_rest =
            |names: &[String]| !names.is_empty() && names.iter().all(|name| AT_REST.contains(&name.trim()));
        let rests = || {
            others().is_ok_and(|names| is_at_rest(&names))
                && connections(process).is_ok_and(|count| count == 0)
        };
        wait_until(LIMIT, rests)?;
        Self::of(process)
    }

    /// What a server holds when it is down to the descriptors and threads that it had before.
    pub fn back_at_rest(process: &Process, before: Self) -> Checked<Self> {
        let rests =
            || Self::of(process).is_ok_and(|now| (now.files, now.threads) == (before.files, before.threads));
        wait_until(LIMIT, rests)
            .map_err(|_| Failure(format!("{before:?} has become {:?}", Self::of(process))))?;
        Self::of(process)
    }

    /// What a process holds now.
    pub fn of(process: &Process) -> Checked<Self> {
        let folder = format!("/proc/{}", process.id());
        let count = |name: &str| -> Checked<usize> { Ok(fs::read_dir(format!("{folder}/{name}"))?.count()) };
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory_kib = resident.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse().ok());
        Ok(Self {
            files: count("fd")?,
            threads: count("task")?,
            memory_kib: memory_kib.ok_or_else(|| Failure(format!("no resident memory in {status}")))?,
        })
    }
}

/// Time that all threads which a process has now have been on a processor.
pub fn busy(process: &Process) -> Checked<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
        nanoseconds += first.ok_or_else(|| Failure(format!("no time in {text:?}")))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
