//! Kernels that refuse: io_uring forbidden or missing, no memory to be locked. `auto` goes on and says why.
//!
//! The refusals are real ones: a seccomp filter and a resource limit, put on the child before it starts.
#![expect(
    unsafe_code,
    reason = "only code between fork and exec can restrict a child, and seccomp is a raw call"
)]

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use crate::harness::{
    Account, Checked, Document, Program, Server, Way, ensure, ours, run, run_client, run_pair, shared,
};

#[test]
fn auto_goes_on_where_io_uring_is_forbidden() -> Checked {
    goes_on_without_io_uring(forbid_io_uring, &["EPERM", "not permitted", "forbidden", "denied", "seccomp"])
}

#[test]
fn auto_goes_on_where_io_uring_is_missing() -> Checked {
    goes_on_without_io_uring(remove_io_uring, &["ENOSYS", "not implemented", "no io_uring", "has not"])
}

/// Both ends run without io_uring, in every direction, and each says one of `causes`.
fn goes_on_without_io_uring(prepare: fn(&mut Command), causes: &[&str]) -> Checked {
    let _permit = shared();
    let program = Program { prepare, ..ours() };
    let ways = Way::ALL.map(|way| ["", "-u -b 10M -l 1400"].map(|protocol| (way, protocol)));
    for (way, protocol) in ways.into_iter().flatten() {
        let options = format!("-t 0.3 -J {protocol} {}", way.option());
        let pair = run_pair((&program, "-J"), (&program, &options))?;
        for document in [pair.client.document()?, pair.server.document()?] {
            ensure!(document.totals()?.received > 0 || way != Way::Forward, "nothing was received");
            says_why(&document, causes)?;
        }
        if !protocol.is_empty() {
            pair.client.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
        }
    }
    Ok(())
}

/// Every engine was left to `auto`, is not one of io_uring, and its reason is one of `causes`.
fn says_why(document: &Document, causes: &[&str]) -> Checked {
    for engine in document.list("/ringperf/engines")? {
        let used = engine["used"].as_str().unwrap_or_default();
        let reason = engine["reason"].as_str().unwrap_or_default();
        ensure!(engine["asked"] == "auto" && !used.starts_with("uring"), "not a fallback: {engine}");
        ensure!(causes.iter().any(|cause| reason.contains(cause)), "no cause in {engine}");
    }
    Ok(())
}

#[test]
fn an_engine_that_was_asked_for_never_falls_back() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for prepare in [forbid_io_uring, remove_io_uring] {
        let program = Program { prepare, ..ours() };
        for engine in ["uring", "uring-zc"] {
            let client = run_client(&program, server.port, &format!("-t 1 --engine {engine}"))?;
            let line = client.failed_with_one_line()?;
            ensure!(line.contains("io_uring"), "the reason is not said\n{client}");
            ensure!(client.elapsed < Duration::from_secs(1), "took {:?}\n{client}", client.elapsed);
        }
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn auto_goes_on_where_no_memory_may_be_locked() -> Checked {
    let _permit = shared();
    let copy = PublicCopy::make()?;
    let program = Program { path: copy.path.clone(), prepare: forbid_locked_memory, ..ours() };
    let pair = run_pair((&program, ""), (&program, "-t 0.5 -J"))?;
    let document = pair.client.document()?;
    ensure!(document.totals()?.received > 0, "nothing was received");
    let senders = document.list("/ringperf/engines")?.iter().filter(|engine| engine["flow"] == "send");
    for engine in senders {
        let reason = engine["reason"].as_str().unwrap_or_default().to_lowercase();
        ensure!(reason.contains("memlock") || reason.contains("lock"), "no cause in {engine}");
    }
    Ok(())
}

#[test]
fn an_engine_that_needs_locked_memory_says_so() -> Checked {
    let _permit = shared();
    let copy = PublicCopy::make()?;
    let program = Program { path: copy.path.clone(), prepare: forbid_locked_memory, ..ours() };
    let server = Server::start(&ours(), "")?;
    let client = run_client(&program, server.port, "-t 1 --engine uring-zc")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("memory lock limit"), "the reason is not said\n{client}");
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

/// A copy of the program where every user may run it; the build folder may be private.
struct PublicCopy {
    path: PathBuf,
}

impl PublicCopy {
    /// A new one each time, under a name of its own.
    fn make() -> Checked<Self> {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let path = env::temp_dir().join(format!(
            "ringperf-test-{}-{}",
            process::id(),
            COPIES.fetch_add(1, Ordering::Relaxed)
        ));
        // Another process copies: a descriptor open for writing here could be inherited by some other test's
        // child, and no file can be executed while somebody may write to it.
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(ours().path).arg(&path);
        run(install)?.succeeded()?;
        Ok(Self { path })
    }
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// As a container's seccomp profile does.
fn forbid_io_uring(command: &mut Command) {
    restrict(command, || refuse_io_uring(libc::EPERM));
}

/// As a kernel built without it does.
fn remove_io_uring(command: &mut Command) {
    restrict(command, || refuse_io_uring(libc::ENOSYS));
}

/// No locked memory, for a user without privileges: root is not held to the limit.
fn forbid_locked_memory(command: &mut Command) {
    // The ids of `nobody`; only root can become somebody else, and has to.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        command.uid(65534).gid(65534);
    }
    restrict(command, || Ok(setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0)?));
}

fn restrict(command: &mut Command, action: fn() -> io::Result<()>) {
    // SAFETY: each `action` of this file makes system calls on memory of its own stack only; it allocates
    // nothing and takes no lock, so it is safe between fork and exec in a process with threads.
    unsafe { command.pre_exec(action) };
}

/// Makes io_uring_setup, io_uring_enter and io_uring_register fail with `errno` from now on.
fn refuse_io_uring(errno: i32) -> io::Result<()> {
    // 425 to 427 on every architecture that has them. The child's architecture is its parent's, so the filter
    // does not look at it.
    const FIRST: u32 = 425;
    const LAST: u32 = 427;
    // Operation codes of linux/bpf_common.h.
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS; offset 0 of seccomp_data is the call's number
    const JUMP_IF_LESS: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K with only `jf` used
    const JUMP_IF_MORE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).map_err(io::Error::other)?;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_LESS, 0, 2, FIRST),
        step(JUMP_IF_MORE, 1, 0, LAST),
        step(RETURN, 0, 0, refusal),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    prctl::set_no_new_privs()?;
    // SAFETY: `program` and the filter it points to live until the call returns; the kernel copies both.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
