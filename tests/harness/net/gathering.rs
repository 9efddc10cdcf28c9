//! Features of a network device, as `ethtool -K DEVICE sg`, `tso` and `gro` switch them.
#![expect(unsafe_code, reason = "this ioctl has no safe wrapper among our dependencies")]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc;

/// `ETHTOOL_SSG` of linux/ethtool.h.
const SET_SCATTER_GATHER: u32 = 0x19;

/// `ETHTOOL_STSO` and `ETHTOOL_SGRO` of linux/ethtool.h.
const SET_SEGMENTATION: u32 = 0x1f;
const SET_MERGING: u32 = 0x2c;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Has a device of this thread's namespace take packets in pieces or not.
pub fn set_scatter_gather(device: &str, on: bool) -> io::Result<()> {
    set(device, SET_SCATTER_GATHER, on)
}

/// Has a device of this thread's namespace cut segments or not.
pub fn set_segmentation(device: &str, on: bool) -> io::Result<()> {
    set(device, SET_SEGMENTATION, on)
}

/// Has a device of this thread's namespace put segments together that come, or not. With this a veth device
/// receives through a NAPI what its peer has not cut itself.
pub fn set_merging(device: &str, on: bool) -> io::Result<()> {
    set(device, SET_MERGING, on)
}

fn set(device: &str, command: u32, on: bool) -> io::Result<()> {
    let mut value = EthtoolValue { command, data: on.into() };
    // SAFETY: all fields are integers, arrays of them or a union of both, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (letter, byte) in request.ifr_name.iter_mut().take(15).zip(device.bytes()) {
        *letter = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: SIOCETHTOOL reads the name, which ends in a zero, and the value behind the pointer; both live
    // until the call is over.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
