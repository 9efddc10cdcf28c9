//! The queues in front of this machine's network devices, as rtnetlink tells of them. Reading them takes no
//! privileges.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::net::if_::if_indextoname;

use super::Socket;
use super::raw::get_raw;

/// Longest wait for an answer of the kernel, which is there as soon as it is asked.
const WAIT: Duration = Duration::from_millis(200);
/// More than the kernel puts into one answer.
const ANSWER_BYTES: usize = 64 * 1024;
/// Most answers to one question; a machine has fewer devices.
const ANSWERS_MAX: usize = 1000;
/// `SO_BINDTOIFINDEX` of include/uapi/asm-generic/socket.h.
const SO_BINDTOIFINDEX: libc::c_int = 62;
/// Bytes of `struct nlmsghdr`, `struct rtmsg`, `struct tcmsg`, `struct rtattr`.
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const QUEUE_HEADER: usize = 20;
const ATTRIBUTE_HEADER: usize = 4;
/// `TC_H_ROOT` of include/uapi/linux/pkt_sched.h: the queue that no other one is part of.
const ROOT: u32 = 0xffff_ffff;
/// `TCA_STATS_QUEUE` of include/uapi/linux/gen_stats.h, and the place of the drops in its
/// `struct gnet_stats_queue`. The drops of a queue are also those of all its parts.
const STATS_QUEUE: u16 = 3;
const DROPS: usize = 8;

/// The queue in which the packets of a socket wait for their device, with its drop counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceQueue {
    /// The device's name.
    pub device: String,
    /// The kind of the queue, as tc(8) names it.
    pub kind: String,
    index: u32,
    handle: u32,
    drops: u32,
}

impl DeviceQueue {
    /// The queue on the way of a connected socket. `None` where its device has none, as loopback.
    ///
    /// # Errors
    /// The system's, when the kernel does not tell.
    pub fn of_socket(socket: &Socket) -> io::Result<Option<Self>> {
        let index = outgoing_device(socket)?;
        Self::of_device(index)
    }

    /// Number of packets that the queue has dropped since this value was read, be they of this process or of
    /// others; `None` where that cannot be known, as when the queue was replaced. A large send that is still
    /// to be cut into datagrams is one packet.
    #[must_use]
    pub fn dropped_since(&self) -> Option<u64> {
        let now = Self::of_device(self.index).ok()??;
        let is_same = (&now.kind, now.handle) == (&self.kind, self.handle);
        is_same.then(|| now.drops.wrapping_sub(self.drops).into())
    }

    fn of_device(index: u32) -> io::Result<Option<Self>> {
        // All of them: a question for one alone is answered to whoever watches the queues, too.
        let body = [0; QUEUE_HEADER];
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        let mut found = None;
        ask(libc::RTM_GETQDISC, flags, &body, |message| {
            found = found.take().or_else(|| root_queue(message, index));
        })?;
        let queue = |(kind, handle, drops)| Self { device: device_name(index), kind, index, handle, drops };
        // A device without a queue has this kind.
        Ok(found.map(queue).filter(|queue| queue.kind != "noqueue"))
    }
}

/// The number of the device through which a connected socket sends.
pub(super) fn outgoing_device(socket: &Socket) -> io::Result<u32> {
    let (local, remote) = (socket.local_addr()?, socket.peer_addr()?);
    let bound: u32 = get_raw(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX).unwrap_or(0);
    let mark: u32 = get_raw(socket, libc::SOL_SOCKET, libc::SO_MARK).unwrap_or(0);
    let mut device = None;
    ask(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &route_question(local, remote, bound, mark), |message| {
        let attributes = message.get(ROUTE_HEADER..).unwrap_or_default();
        device = attribute(attributes, libc::RTA_OIF).and_then(|value| word(value, 0));
    })?;
    device.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// A `struct rtmsg` and its attributes that ask for the route from `local` to `remote`.
fn route_question(local: SocketAddr, remote: SocketAddr, bound: u32, mark: u32) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if remote.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let (source, destination) = (octets(local.ip()), octets(remote.ip()));
    let bits = u8::try_from(destination.len() * 8).expect("32 or 128");
    let mut body = vec![u8::try_from(family).expect("a small number"), bits, bits];
    body.resize(ROUTE_HEADER, 0);
    let scope = match remote {
        SocketAddr::V6(remote) if bound == 0 => remote.scope_id(),
        _ => bound,
    };
    add(&mut body, libc::RTA_DST, &destination);
    add(&mut body, libc::RTA_SRC, &source);
    if scope > 0 {
        add(&mut body, libc::RTA_OIF, &scope.to_ne_bytes());
    }
    if mark > 0 {
        add(&mut body, libc::RTA_MARK, &mark.to_ne_bytes());
    }
    body
}

/// Kind, handle and drops of a device's root queue, if the message, a `struct tcmsg`, is about that.
fn root_queue(message: &[u8], index: u32) -> Option<(String, u32, u32)> {
    let (device, handle, parent) = (word(message, 4)?, word(message, 8)?, word(message, 12)?);
    if (device, parent) != (index, ROOT) {
        return None;
    }
    let attributes = message.get(QUEUE_HEADER..)?;
    let kind = attribute(attributes, libc::TCA_KIND)?;
    let kind = kind.split(|&byte| byte == 0).next()?;
    let drops = word(attribute(attribute(attributes, libc::TCA_STATS2)?, STATS_QUEUE)?, DROPS)?;
    Some((String::from_utf8_lossy(kind).into_owned(), handle, drops))
}

fn device_name(index: u32) -> String {
    if_indextoname(index).map_or_else(|_| index.to_string(), |name| name.to_string_lossy().into_owned())
}

/// Asks the kernel, and shows `look` each message of its answer without the header.
fn ask(kind: u16, flags: libc::c_int, body: &[u8], mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let domain = socket2::Domain::from(libc::AF_NETLINK);
    let protocol = socket2::Protocol::from(libc::NETLINK_ROUTE);
    let mut socket = socket2::Socket::new(domain, socket2::Type::RAW.cloexec(), Some(protocol))?;
    socket.set_read_timeout(Some(WAIT))?;
    let flags = u16::try_from(flags).expect("the flags of a question fit sixteen bits");
    let bytes = u32::try_from(HEADER + body.len()).expect("a question is short");
    let mut question = bytes.to_ne_bytes().to_vec();
    question.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    question.resize(HEADER, 0);
    question.extend(body);
    socket.send(&question)?;
    let is_dump = flags & u16::try_from(libc::NLM_F_DUMP).expect("a flag") != 0;
    let mut answer = vec![0; ANSWER_BYTES];
    for _ in 0..ANSWERS_MAX {
        let bytes = socket.read(&mut answer)?;
        for (kind, message) in messages(&answer[..bytes]) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let errno = word(message, 0).map_or(0, u32::wrapping_neg);
                    return Err(io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0)));
                }
                _ => look(message),
            }
        }
        if !is_dump {
            return Ok(());
        }
    }
    Err(io::Error::other("the kernel's answer does not end"))
}

/// The messages of an answer: their kinds, and what stands behind their headers.
fn messages(mut answer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let bytes = usize::try_from(word(answer, 0)?).ok()?;
        let kind = half_word(answer, 4)?;
        let message = answer.get(HEADER..bytes)?;
        answer = answer.get(bytes.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, message))
    })
}

/// The value of the first attribute of that kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// `NLA_TYPE_MASK` of include/uapi/linux/netlink.h.
    const TYPE_MASK: u16 = 0x3fff;
    loop {
        let bytes = usize::from(half_word(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE_HEADER..bytes)?;
        if half_word(attributes, 2)? & TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(bytes.next_multiple_of(4)..)?;
    }
}

fn add(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let bytes = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("an address at most");
    body.extend(bytes.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's answer for a device with a tbf, shortened.
    fn told(parent: u32) -> Vec<u8> {
        let mut message = vec![0; 4];
        for number in [7_u32, 0x8001_0000, parent, 2] {
            message.extend(number.to_ne_bytes());
        }
        add(&mut message, libc::TCA_KIND, b"tbf\0");
        let mut stats = Vec::new();
        add(&mut stats, 1, &[0; 16]);
        let queue: Vec<u8> = [0_u32, 1, 99, 3, 4].iter().flat_map(|number| number.to_ne_bytes()).collect();
        add(&mut stats, STATS_QUEUE, &queue);
        add(&mut message, libc::TCA_STATS2 | 0x8000, &stats);
        message
    }

    #[test]
    fn the_drops_of_a_root_queue_are_found_and_no_others() {
        assert_eq!(root_queue(&told(ROOT), 7), Some(("tbf".to_owned(), 0x8001_0000, 99)));
        assert_eq!(root_queue(&told(ROOT), 8), None, "another device");
        assert_eq!(root_queue(&told(0x8001_0000), 7), None, "a part of a queue");
        for bytes in 0..told(ROOT).len() - 12 {
            assert_eq!(root_queue(&told(ROOT)[..bytes], 7), None, "cut off at {bytes}");
        }
    }

    #[test]
    fn loopback_is_a_device_without_a_queue() {
        let (near, _far) = crate::sys::net::datagram::tests::pair();
        assert_eq!(device_name(outgoing_device(&near).unwrap()), "lo");
        assert_eq!(DeviceQueue::of_socket(&near).unwrap(), None);
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_says_is_read_without_a_panic(bytes: Vec<u8>) {
            for (_, message) in messages(&bytes) {
                let _ = root_queue(message, 0);
            }
            let _ = (root_queue(&bytes, 0), attribute(&bytes, 1));
        }
    }
}
