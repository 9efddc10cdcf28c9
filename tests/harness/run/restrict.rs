//! What is put on a child before it starts, so that its kernel is a poorer one.
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

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::harness::{Checked, ours, run};

/// io_uring_setup, io_uring_enter and io_uring_register, for [`refuse`].
pub const ALL_OF_IO_URING: u32 = u32::MAX;
/// io_uring_setup, for [`refuse`]; the number is the same on every architecture.
pub const SETUP: u32 = 425;
/// io_uring_register, for [`refuse_registering`].
const REGISTER: u32 = 427;

/// A copy of the program where every user may run it; the build folder may be private.
pub struct PublicCopy {
    pub path: PathBuf,
}

impl PublicCopy {
    /// A new one each time, under a name of its own.
    pub fn make() -> Checked<Self> {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let path = env::temp_dir().join(format!(
            "ringperf-test-copy-{}-{}",
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

/// Lets a system call fail with `ERRNO`.
pub fn refuse<const CALL: u32, const ERRNO: i32>(command: &mut Command) {
    restrict(command, || match CALL {
        ALL_OF_IO_URING => (SETUP..=REGISTER).try_for_each(|call| filter(call, None, ERRNO)),
        call => filter(call, None, ERRNO),
    });
}

/// Lets io_uring_register fail with `ERRNO` for one of its operations (`IORING_REGISTER_*` of
/// include/uapi/linux/io_uring.h).
pub fn refuse_registering<const OPERATION: u32, const ERRNO: i32>(command: &mut Command) {
    restrict(command, || filter(REGISTER, Some((SECOND, OPERATION)), ERRNO));
}

/// Lets setsockopt fail with EPERM for the options that notice a peer which has vanished.
pub fn refuse_keepalive(command: &mut Command) {
    restrict(command, || {
        let call = u32::try_from(libc::SYS_setsockopt).map_err(io::Error::other)?;
        for option in [libc::SO_KEEPALIVE, libc::TCP_USER_TIMEOUT, libc::TCP_KEEPINTVL] {
            let option = u32::try_from(option).map_err(io::Error::other)?;
            filter(call, Some((THIRD, option)), libc::EPERM)?;
        }
        Ok(())
    });
}

/// Lets setsockopt fail with EPERM for SO_BUSY_POLL, as older kernels do without CAP_NET_ADMIN.
pub fn refuse_busy_poll(command: &mut Command) {
    restrict(command, || {
        let call = u32::try_from(libc::SYS_setsockopt).map_err(io::Error::other)?;
        let option = u32::try_from(libc::SO_BUSY_POLL).map_err(io::Error::other)?;
        filter(call, Some((THIRD, option)), libc::EPERM)
    });
}

/// Lets getrusage(2) fail with EPERM.
pub fn refuse_getrusage(command: &mut Command) {
    restrict(command, || deny(libc::SYS_getrusage));
}

/// Lets socketpair(2) fail with EPERM.
pub fn refuse_socketpair(command: &mut Command) {
    restrict(command, || deny(libc::SYS_socketpair));
}

pub fn deny(call: libc::c_long) -> io::Result<()> {
    filter(u32::try_from(call).map_err(io::Error::other)?, None, libc::EPERM)
}

/// No locked memory, for a user without privileges.
pub fn forbid_locked_memory(command: &mut Command) {
    limit_locked_memory::<0>(command);
}

/// So many KiB of locked memory, for a user without privileges: root is not held to the limit.
pub fn limit_locked_memory<const KIB: u64>(command: &mut Command) {
    // The ids of `nobody`; only root can become somebody else, and has to.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        command.uid(65534).gid(65534);
    }
    restrict(command, || Ok(setrlimit(Resource::RLIMIT_MEMLOCK, KIB * 1024, KIB * 1024)?));
}

/// So many open files.
pub fn limit_files<const COUNT: u64>(command: &mut Command) {
    restrict(command, || Ok(setrlimit(Resource::RLIMIT_NOFILE, COUNT, COUNT)?));
}

/// So many descriptors that are taken before the program starts, and room for as many more as it likes.
pub fn take_files<const COUNT: u32>(command: &mut Command) {
    restrict(command, || {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        for _ in 0..COUNT {
            // SAFETY: dup(2) touches no memory. Its copy of standard input is meant to be inherited, and
            // nobody closes it.
            if unsafe { libc::dup(0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    });
}

/// So many MiB of memory that is written to: heap, stacks and private mappings.
pub fn limit_data<const MIB: u64>(command: &mut Command) {
    restrict(command, || Ok(setrlimit(Resource::RLIMIT_DATA, MIB << 20, MIB << 20)?));
}

/// So many MiB of address space, as `ulimit -v`.
pub fn limit_address_space<const MIB: u64>(command: &mut Command) {
    restrict(command, || Ok(setrlimit(Resource::RLIMIT_AS, MIB << 20, MIB << 20)?));
}

/// As `ulimit -f 0`, with the signal that goes with it: whoever runs the tests may have it ignored.
pub fn forbid_files(command: &mut Command) {
    restrict(command, || {
        // SAFETY: the default installs no handler, so no code runs in signal context.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigDfl) }?;
        Ok(setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?)
    });
}

pub fn restrict(command: &mut Command, action: fn() -> io::Result<()>) {
    // SAFETY: each `action` of this file makes system calls on memory of its own stack only; it allocates
    // nothing and takes no lock, so it is safe between fork and exec in a process with threads.
    unsafe { command.pre_exec(action) };
}

/// Which argument of a call is looked at: the second one, the third one.
const SECOND: u32 = 1;
const THIRD: u32 = 2;

/// Makes a system call, or those of its calls that have a certain argument, fail with `errno` from now on.
/// The child's architecture is its parent's, so the filter does not look at it.
pub fn filter(call: u32, argument: Option<(u32, u32)>, errno: i32) -> io::Result<()> {
    // Operation codes of linux/bpf_common.h.
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Offsets in struct seccomp_data: the number of the call, and the low half of its first argument.
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).map_err(io::Error::other)?;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Without an argument the second comparison holds either way.
    let (place, wanted, otherwise) = argument.map_or((0, 0, 0), |(place, wanted)| (place, wanted, 1));
    let mut filter = [
        step(LOAD_WORD, 0, 0, NUMBER),
        step(JUMP_IF_EQUAL, 0, 3, call),
        step(LOAD_WORD, 0, 0, FIRST_ARGUMENT + 8 * place),
        step(JUMP_IF_EQUAL, 0, otherwise, wanted),
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
