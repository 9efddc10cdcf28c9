//! Options that a test sets only when it is asked to: where packets go, how they are marked, how long a
//! silent peer is trusted.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::sockopt;

use super::raw::set_raw;
use super::socket::Socket;

/// `IPV6_FL_A_GET` of include/uapi/linux/in6.h: lease a label.
const FLOW_LABEL_GET: u8 = 0;
/// `IPV6_FL_F_CREATE` of include/uapi/linux/in6.h: make it if nobody has it.
const FLOW_LABEL_CREATE: u16 = 1;
/// `IPV6_FL_S_ANY` of include/uapi/linux/in6.h: anybody may share it.
const FLOW_LABEL_SHARED: u8 = 255;

/// `struct in6_flowlabel_req` of include/uapi/linux/in6.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct FlowLabelRequest {
    destination: [u8; 16],
    /// In network byte order.
    label: u32,
    action: u8,
    share: u8,
    flags: u16,
    expires: u16,
    linger: u16,
    padding: u32,
}

/// Which mark of a packet could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketMark {
    /// The type of service of IPv4.
    TypeOfService,
    /// The traffic class of IPv6.
    TrafficClass,
}

impl Socket {
    /// Restricts the socket to this network device.
    ///
    /// # Errors
    /// ENODEV when there is none of that name, EPERM where this needs a privilege.
    pub fn bind_device(&self, name: &str) -> io::Result<()> {
        self.inner.bind_device(Some(name.as_bytes()))
    }

    /// Marks what is sent to `peer` with this type of service or traffic class, all eight bits.
    ///
    /// An IPv6 socket that talks to an IPv4 peer gets both.
    ///
    /// # Errors
    /// The system's, with the mark that it refused: Multipath TCP has no traffic class.
    pub fn set_packet_mark(&self, mark: u8, peer: &SocketAddr) -> Result<(), (PacketMark, io::Error)> {
        let v4 = || self.inner.set_tos_v4(mark.into()).map_err(|error| (PacketMark::TypeOfService, error));
        let v6 = || self.inner.set_tclass_v6(mark.into()).map_err(|error| (PacketMark::TrafficClass, error));
        let is_v6_socket = self.inner.domain().is_ok_and(|domain| domain == socket2::Domain::IPV6);
        match (is_v6_socket, peer.ip().to_canonical().is_ipv4()) {
            (false, _) => v4(),
            (true, false) => v6(),
            (true, true) => {
                // No packet of an IPv4 connection has it.
                let _ = v6();
                v4()
            }
        }
    }

    /// Leases an IPv6 flow label for this destination and lets it be sent; the address to connect to must
    /// carry it, too.
    ///
    /// # Errors
    /// The system's, for example EPERM when another user has the label for himself.
    pub fn lease_flow_label(&self, label: u32, destination: Ipv6Addr) -> io::Result<()> {
        let request = FlowLabelRequest {
            destination: destination.octets(),
            label: label.to_be(),
            action: FLOW_LABEL_GET,
            share: FLOW_LABEL_SHARED,
            flags: FLOW_LABEL_CREATE,
            expires: 0,
            linger: 0,
            padding: 0,
        };
        set_raw(&self.inner, libc::IPPROTO_IPV6, libc::IPV6_FLOWLABEL_MGR, &request)?;
        set_raw::<libc::c_int>(&self.inner, libc::IPPROTO_IPV6, libc::IPV6_FLOWINFO_SEND, &1)
    }

    /// Has the kernel give the connection up when bytes stay unacknowledged for `timeout`
    /// (`TCP_USER_TIMEOUT`).
    ///
    /// # Errors
    /// ENOPROTOOPT with Multipath TCP.
    pub fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set(sockopt::TcpUserTimeout, &u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))
    }

    /// Switches keepalive on (`SO_KEEPALIVE`).
    ///
    /// # Errors
    /// The system's.
    pub fn enable_keepalive(&self) -> io::Result<()> {
        self.set(sockopt::KeepAlive, &true)
    }

    /// Sets the seconds of silence before the first keepalive probe.
    ///
    /// # Errors
    /// EINVAL for a number that the kernel refuses.
    pub fn set_keepalive_idle(&self, seconds: u32) -> io::Result<()> {
        self.set(sockopt::TcpKeepIdle, &seconds)
    }

    /// Sets the seconds between two keepalive probes.
    ///
    /// # Errors
    /// EINVAL for a number that the kernel refuses.
    pub fn set_keepalive_interval(&self, seconds: u32) -> io::Result<()> {
        self.set(sockopt::TcpKeepInterval, &seconds)
    }

    /// Sets the number of keepalive probes without an answer after which the connection is given up.
    ///
    /// # Errors
    /// EINVAL for a number that the kernel refuses.
    pub fn set_keepalive_count(&self, count: u32) -> io::Result<()> {
        self.set(sockopt::TcpKeepCount, &count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::sys::net::Transport;

    fn connected(ip: IpAddr) -> Option<(Socket, SocketAddr)> {
        let listener = TcpListener::bind((ip, 0)).ok()?;
        let address = listener.local_addr().unwrap();
        Some((Socket::from_stream(TcpStream::connect(address).unwrap()), address))
    }

    #[test]
    fn packets_are_marked_by_ip_version() {
        let (v4, peer) = connected(Ipv4Addr::LOCALHOST.into()).unwrap();
        v4.set_packet_mark(0x48, &peer).unwrap();
        assert_eq!(v4.inner.tos_v4().unwrap(), 0x48);
        let Some((v6, peer)) = connected(Ipv6Addr::LOCALHOST.into()) else { return };
        v6.set_packet_mark(0x48, &peer).unwrap();
        assert_eq!(v6.inner.tclass_v6().unwrap(), 0x48);
    }

    #[test]
    fn a_mapped_peer_is_marked_as_ipv4() {
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 9);
        let Ok(socket) = Socket::new_stream(Transport::Tcp, &mapped) else { return };
        socket.set_packet_mark(0x10, &mapped).unwrap();
        assert_eq!(socket.inner.tos_v4().unwrap(), 0x10);
        assert_eq!(socket.inner.tclass_v6().unwrap(), 0x10);
    }

    #[test]
    fn a_flow_label_can_be_shared() {
        let destination = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9);
        let Ok(first) = Socket::new_stream(Transport::Tcp, &destination) else { return };
        let second = Socket::new_stream(Transport::Tcp, &destination).unwrap();
        for socket in [first, second] {
            socket.lease_flow_label(0x1234, Ipv6Addr::LOCALHOST).unwrap();
        }
    }

    #[test]
    fn devices_and_times() {
        let (socket, _) = connected(Ipv4Addr::LOCALHOST.into()).unwrap();
        socket.bind_device("lo").unwrap();
        let error = socket.bind_device("no-such-device").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        socket.set_user_timeout(Duration::from_millis(1234)).unwrap();
        assert_eq!(getsockopt(&socket.inner, sockopt::TcpUserTimeout).unwrap(), 1234);
        socket.enable_keepalive().unwrap();
        socket.set_keepalive_idle(7).unwrap();
        socket.set_keepalive_interval(3).unwrap();
        socket.set_keepalive_count(2).unwrap();
        let times = (
            getsockopt(&socket.inner, sockopt::TcpKeepIdle).unwrap(),
            getsockopt(&socket.inner, sockopt::TcpKeepInterval).unwrap(),
            getsockopt(&socket.inner, sockopt::TcpKeepCount).unwrap(),
        );
        assert_eq!(times, (7, 3, 2));
        assert!(socket.set_keepalive_count(1000).is_err());
    }
}
