//! The network device that a connection leaves by, and what it can do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::socket::Socket;

/// `RTM_GETROUTE` of include/uapi/linux/rtnetlink.h.
const GET_ROUTE: u16 = 26;
/// `RTA_DST`, `RTA_SRC` and `RTA_OIF` of include/uapi/linux/rtnetlink.h: where to, where from, by which
/// device.
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const DEVICE: u16 = 4;
/// Bytes of `struct nlmsghdr` and of `struct rtmsg`, which begin each message about a route.
const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
/// `ETHTOOL_GSG` of include/uapi/linux/ethtool.h: whether scatter-gather is on.
const GET_SCATTER_GATHER: u32 = 0x18;

/// `struct ethtool_value` of include/uapi/linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

impl Socket {
    /// The name of the device that what is sent leaves by, as the kernel chooses it now by both addresses.
    ///
    /// # Errors
    /// The system's, for example ENETUNREACH.
    pub fn outgoing_device(&self) -> io::Result<String> {
        let (local, remote): (SocketAddr, SocketAddr) = (self.local_addr()?, self.peer_addr()?);
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let question = question(local.ip(), remote.ip());
        sendto(netlink.as_raw_fd(), &question, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        // The kernel answers before the call that asks is over.
        let count = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        let index = device_of(&answer[..count]).ok_or(io::ErrorKind::NotFound)?;
        let name = if_indextoname(index)?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// Whether a device can take a packet in pieces. Without that the kernel copies the pieces together.
    ///
    /// # Errors
    /// ENODEV, or the device's.
    pub fn gathers(&self, device: &str) -> io::Result<bool> {
        let mut value = EthtoolValue { command: GET_SCATTER_GATHER, data: 0 };
        // SAFETY: all fields are integers, arrays of them or a union of both, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if device.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (letter, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
            *letter = libc::c_char::from_ne_bytes([byte]);
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: SIOCETHTOOL reads the name, which ends in a zero, and writes the value behind the pointer
        // for this command; both live until the call is over.
        let result = unsafe { libc::ioctl(self.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result == 0 { Ok(value.data != 0) } else { Err(io::Error::last_os_error()) }
    }
}

/// Which route leads from one address to another, in rtnetlink's words.
fn question(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let family = u8::try_from(family).expect("a small number");
    let (from, to) = (octets(from), octets(to));
    let bits = u8::try_from(to.len() * 8).expect("at most 128");
    let mut route = vec![family, bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (kind, octets) in [(DESTINATION, to), (SOURCE, from)] {
        let length = u16::try_from(4 + octets.len()).expect("at most 20");
        route.extend(length.to_ne_bytes());
        route.extend(kind.to_ne_bytes());
        route.extend(octets);
    }
    let length = u32::try_from(HEADER_BYTES + route.len()).expect("less than 100");
    let flags = u16::try_from(libc::NLM_F_REQUEST).expect("a flag");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(GET_ROUTE.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Number and sender, which nobody looks at.
    message.extend([0; 8]);
    message.extend(route);
    message
}

/// The number of the device in an answer about a route; `None` when the answer is a refusal.
fn device_of(answer: &[u8]) -> Option<u32> {
    let mut attributes = answer.get(HEADER_BYTES + ROUTE_BYTES..)?;
    loop {
        let word = |at: usize| Some(u16::from_ne_bytes(attributes.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(word(0)?), word(2)?);
        let value = attributes.get(4..length)?;
        if kind == DEVICE {
            return Some(u32::from_ne_bytes(value.try_into().ok()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn loopback_is_the_way_to_oneself_and_takes_packets_in_pieces() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((host, 0)) else { continue };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = Socket::from_stream(stream);
            assert_eq!(socket.outgoing_device().unwrap(), "lo");
            assert!(socket.gathers("lo").unwrap());
            assert!(socket.gathers("no-such-device").is_err());
        }
    }

    #[test]
    fn answers_that_are_none_are_none() {
        assert_eq!(device_of(&[]), None);
        assert_eq!(device_of(&[0; 40]), None);
        assert_eq!(device_of(&[0xff; 40]), None);
    }
}
