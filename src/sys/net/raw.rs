//! Options of sockets that nix does not know.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Reads an option that nix does not know; `T` must be plain integers.
pub(super) fn get_raw<T: Copy + Default>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = T::default();
    let mut length = libc::socklen_t::try_from(size_of::<T>()).expect("a few words");
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`; every bit pattern is a
    // value of an integer.
    let result = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option that nix does not know; `T` must be the integer type that the kernel reads.
pub(super) fn set_raw<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("an integer's size");
    // SAFETY: the kernel reads `length` bytes, which is the size of the value behind the reference.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
