//! bpf(2), as far as the dropper needs it. The structures are those of `union bpf_attr` in linux/bpf.h.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper among our dependencies")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

use super::assembler::Instruction;
use crate::harness::{Failure, Hook};

/// Commands.
const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const PROG_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;
const LINK_DETACH: u32 = 34;

/// Makes two counters of 64 bits, both 0.
pub fn create_counters() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
        flags: u32,
    }
    const ARRAY: u32 = 2; // BPF_MAP_TYPE_ARRAY
    let attributes = Attributes { kind: ARRAY, key_bytes: 4, value_bytes: 8, entries: 2, flags: 0 };
    // SAFETY: this is what MAP_CREATE reads, and it holds no addresses. The descriptor is new, so nobody else
    // closes it.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(MAP_CREATE, &attributes)?)) }
}

/// The value of a counter.
pub fn read(counters: &OwnedFd, index: u32) -> io::Result<u64> {
    #[repr(C)]
    struct Attributes {
        map: u32,
        padding: u32,
        key: *const u32,
        value: *mut u64,
        flags: u64,
    }
    let mut value = 0;
    let attributes = Attributes {
        map: number(counters),
        padding: 0,
        key: &raw const index,
        value: &raw mut value,
        flags: 0,
    };
    // SAFETY: this is what MAP_LOOKUP_ELEM reads. Key and value have the sizes with which `create_counters`
    // made the map, and outlive the call.
    unsafe { bpf(MAP_LOOKUP_ELEM, &attributes)? };
    Ok(value)
}

/// Lets the kernel check a program; if it refuses it, its reasons are in the failure.
pub fn load(code: &[Instruction]) -> Result<OwnedFd, Failure> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        instructions: u32,
        code: *const Instruction,
        license: *const libc::c_char,
        log_level: u32,
        log_bytes: u32,
        log: *mut u8,
    }
    const TRAFFIC_CONTROL: u32 = 3; // BPF_PROG_TYPE_SCHED_CLS
    const LOG_BYTES: u32 = 1 << 16;
    let mut log = vec![0_u8; 1 << 16];
    let attributes = Attributes {
        kind: TRAFFIC_CONTROL,
        instructions: u32::try_from(code.len()).expect("it is a short program"),
        code: code.as_ptr(),
        license: c"Dual MIT/GPL".as_ptr(),
        log_level: 1,
        log_bytes: LOG_BYTES,
        log: log.as_mut_ptr(),
    };
    // SAFETY: this is what PROG_LOAD reads. The instructions have their length beside them, the licence is
    // terminated, the log has LOG_BYTES bytes; all outlive the call. The descriptor is new.
    let program = unsafe { bpf(PROG_LOAD, &attributes).map(|program| OwnedFd::from_raw_fd(program)) };
    program.map_err(|error| {
        let log = String::from_utf8_lossy(&log);
        Failure(format!("cannot load the program: {error}\n{}", log.trim_end_matches('\0')))
    })
}

/// Attaches a program to a device of this thread's namespace, at least until the link is closed.
pub fn attach(program: &OwnedFd, device: u32, hook: Hook) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        device: u32,
        hook: u32,
        flags: u32,
    }
    let hook = match hook {
        Hook::Ingress => 46, // BPF_TCX_INGRESS
        Hook::Egress => 47,  // BPF_TCX_EGRESS
    };
    let attributes = Attributes { program: number(program), device, hook, flags: 0 };
    // SAFETY: this is what LINK_CREATE reads, and it holds no addresses. The descriptor is new.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(LINK_CREATE, &attributes)?)) }
}

/// Takes a program off its device at once. If the link were only closed, a child that has just been forked
/// would keep it until it executes its program.
pub fn detach(link: &OwnedFd) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
    }
    // SAFETY: this is what LINK_DETACH reads, and it holds no addresses.
    unsafe { bpf(LINK_DETACH, &Attributes { link: number(link) })? };
    Ok(())
}

fn number(descriptor: &OwnedFd) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).expect("open descriptors have numbers from 0")
}

/// # Safety
/// `attributes` is the structure that `command` reads, without padding, and the addresses in it are valid for
/// what the kernel does with them until the call returns.
unsafe fn bpf<T>(command: u32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the caller has promised all that the call needs; the size is that of the structure.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
