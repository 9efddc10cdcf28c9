//! Network devices whose packets this program reads and writes, as Documentation/networking/tuntap.rst of the
//! kernel has them.
#![expect(unsafe_code, reason = "this ioctl has no safe wrapper among our dependencies")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// Makes a device in this thread's namespace, which is gone when the file is closed. A read takes the next
/// packet that is sent through it, a write has it receive one; neither waits. Packets begin with their IP
/// header.
pub fn tun(device: &str) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all fields are integers, arrays of them or a union of both, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (letter, byte) in request.ifr_name.iter_mut().take(15).zip(device.bytes()) {
        *letter = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)
        .expect("0x1001 is within the range of a short");
    // SAFETY: TUNSETIFF reads and writes the request, whose name ends in a zero and which lives until the
    // call is over.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}
