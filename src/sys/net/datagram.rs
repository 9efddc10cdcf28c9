//! What only UDP sockets can do: segmentation and receive offload, many datagrams per system call, and the
//! count of what a full socket buffer has dropped.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt;

use super::Socket;
use super::raw::{get_raw, set_raw};
use crate::sys::Region;

/// `UDP_SEGMENT` of include/uapi/linux/udp.h.
const UDP_SEGMENT: libc::c_int = 103;
/// `UDP_GRO` of include/uapi/linux/udp.h.
const UDP_GRO: libc::c_int = 104;
/// `SO_MEMINFO` of include/uapi/asm-generic/socket.h.
const SO_MEMINFO: libc::c_int = 55;
/// Index of the drop counter among the words that `SO_MEMINFO` returns (`SK_MEMINFO_DROPS` of
/// linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;
/// Number of the words that `SO_MEMINFO` returns (`SK_MEMINFO_VARS` of linux/sock_diag.h).
const MEMINFO_WORDS: usize = 9;
/// `IP_MTU` of include/uapi/linux/in.h.
const IP_MTU: libc::c_int = 14;
/// `IPV6_MTU` of include/uapi/linux/in6.h.
const IPV6_MTU: libc::c_int = 24;
/// `IP_PMTUDISC_DO` of include/uapi/linux/in.h.
const IP_PMTUDISC_DO: libc::c_int = 2;

/// Bytes for the control messages of one message: two of 24 bytes and one of 32.
pub(in crate::sys) const CONTROL_BYTES: usize = 96;
/// Most datagrams that the kernel cuts one send into (`UDP_MAX_SEGMENTS` of include/linux/udp.h, 64 before
/// Linux 6.9).
pub const SEGMENTS_MAX: u32 = 128;
/// Most bytes of one UDP send or receive, segmented or not.
pub const MESSAGE_BYTES_MAX: u32 = 65_507;

impl Socket {
    /// Lets the kernel cut each send into datagrams of `bytes` bytes; 0 switches it off.
    ///
    /// # Errors
    /// ENOPROTOOPT before Linux 4.18.
    pub fn set_segment_bytes(&self, bytes: u32) -> io::Result<()> {
        set_raw(self, libc::SOL_UDP, UDP_SEGMENT, &bytes)
    }

    /// Lets the kernel put arriving datagrams of equal length together into one message.
    ///
    /// # Errors
    /// ENOPROTOOPT before Linux 5.0.
    pub fn set_receive_offload(&self) -> io::Result<()> {
        set_raw::<libc::c_int>(self, libc::SOL_UDP, UDP_GRO, &1)
    }

    /// Asks for the socket's drop counter with every message.
    ///
    /// # Errors
    /// The system's.
    pub fn report_drops(&self) -> io::Result<()> {
        self.set(sockopt::RxqOvfl, &1)
    }

    /// Has the kernel say with every message when it arrived.
    ///
    /// # Errors
    /// The system's.
    pub fn stamp_arrivals(&self) -> io::Result<()> {
        self.set(sockopt::ReceiveTimestampns, &true)
    }

    /// Number of messages that the socket has dropped so far, most likely because its buffer was full. The
    /// counter wraps.
    ///
    /// # Errors
    /// ENOPROTOOPT before Linux 4.12.
    pub fn socket_drops(&self) -> io::Result<u32> {
        let words: [u32; MEMINFO_WORDS] = get_raw(self, libc::SOL_SOCKET, SO_MEMINFO)?;
        Ok(words[MEMINFO_DROPS])
    }

    /// This socket with the value that its counter of dropped messages had before any datagram of the test
    /// could come.
    #[must_use]
    pub fn with_drops_before(self, drops: u32) -> Self {
        Self { drops_before: Some(drops), ..self }
    }

    /// Number of messages that the socket had dropped before the test: the value of
    /// [`Self::with_drops_before`], or else those up to now.
    ///
    /// # Errors
    /// As [`Self::socket_drops`].
    pub fn drops_before(&self) -> io::Result<u32> {
        self.drops_before.map_or_else(|| self.socket_drops(), Ok)
    }

    /// Largest IP packet in bytes that the path to the peer of this connected socket takes.
    ///
    /// # Errors
    /// ENOTCONN when it is not connected.
    pub fn path_mtu(&self) -> io::Result<u32> {
        let domain: libc::c_int = get_raw(self, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let (level, name) = match domain {
            libc::AF_INET => (libc::IPPROTO_IP, IP_MTU),
            _ => (libc::IPPROTO_IPV6, IPV6_MTU),
        };
        let mtu: libc::c_int = get_raw(self, level, name)?;
        Ok(u32::try_from(mtu).unwrap_or(0))
    }

    /// Sets the don't-fragment flag in every IPv4 datagram.
    ///
    /// # Errors
    /// The system's.
    pub fn set_dont_fragment(&self) -> io::Result<()> {
        set_raw(self, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &IP_PMTUDISC_DO)
    }

    /// Makes the receive buffer hold `bytes` bytes, or as many as the system allows; it never becomes
    /// smaller.
    pub fn grow_receive_buffer(&self, bytes: u32) {
        let wanted = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        let before = self.receive_buffer().unwrap_or(0);
        if before >= bytes {
            return;
        }
        // Root may go beyond the system's limit. What is refused here shows in the report's buffer sizes.
        if self.set(sockopt::RcvBufForce, &wanted).is_err() {
            let _ = self.set(sockopt::RcvBuf, &wanted);
        }
    }

    /// Makes the send buffer hold `bytes` bytes, or as many as the system allows; it never becomes smaller.
    pub fn grow_send_buffer(&self, bytes: u32) {
        let wanted = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        if self.send_buffer().unwrap_or(0) < bytes && self.set(sockopt::SndBufForce, &wanted).is_err() {
            let _ = self.set(sockopt::SndBuf, &wanted);
        }
    }

    /// Discards the messages that have arrived so far, at most `most` of them.
    pub fn discard_received(&self, most: u32) {
        for _ in 0..most {
            match self.receive_now(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A pending error is forgotten with the rest.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Whether a failed send or receive of a connected UDP socket only tells of the way to the peer: what ICMP
/// says of earlier datagrams, which anybody can say who knows the ports, or what this machine's own filter,
/// routes and devices say for the moment.
#[must_use]
pub fn is_path_error(errno: i32) -> bool {
    // Of ICMP `icmp_err_convert` of net/ipv4/icmp.c and `udp_err` of net/ipv4/udp.c, of ICMPv6
    // `icmpv6_err_convert` of net/ipv6/icmp.c.
    let says_icmp = matches!(
        errno,
        libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ECONNREFUSED
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EMSGSIZE
            | libc::EPROTO
            | libc::EACCES
    );
    says_icmp || matches!(errno, libc::EPERM | libc::ENETDOWN)
}

/// One message from the kernel: a datagram, or several of equal length put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The bytes of it that were copied.
    pub payload: &'a [u8],
    /// Length in bytes that it really has.
    pub bytes: usize,
    /// Bytes of each of its datagrams; the last one may be shorter. As large as `bytes` if it is only one.
    pub segment_bytes: usize,
    /// The socket's drop counter when the message was queued; `None` as long as nothing was dropped.
    pub socket_drops: Option<u32>,
    /// When it arrived (the first of its datagrams), on the clock of the day; `None` if that was not asked
    /// for.
    pub arrived: Option<Duration>,
}

impl<'a> Message<'a> {
    pub(in crate::sys) fn new(payload: &'a [u8], bytes: usize, control: &[u8]) -> Self {
        let control = AncillaryData::parse(control);
        Self {
            payload,
            bytes,
            segment_bytes: control.segment_bytes.unwrap_or(bytes).max(1),
            socket_drops: control.socket_drops,
            arrived: control.arrived,
        }
    }
}

/// The ancillary data of a message: what the kernel says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AncillaryData {
    segment_bytes: Option<usize>,
    socket_drops: Option<u32>,
    arrived: Option<Duration>,
}

impl AncillaryData {
    /// Reads control messages as they lie in memory: length, level, type, data, each aligned to a word.
    fn parse(mut bytes: &[u8]) -> Self {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        const WORD: usize = size_of::<usize>();
        let mut control = Self::default();
        while let Some((header, _)) = bytes.split_at_checked(HEADER) {
            let word = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
            let length = usize::from_ne_bytes(header[..WORD].try_into().expect("a word"));
            let Some(data) = bytes.get(HEADER..length) else { break };
            let value = data.first_chunk::<4>().map(|value| u32::from_ne_bytes(*value));
            match (word(WORD), word(WORD + 4)) {
                (libc::SOL_UDP, UDP_GRO) => {
                    control.segment_bytes = value.and_then(|value| usize::try_from(value).ok());
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => control.socket_drops = value,
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => control.arrived = timespec(data),
                _ => {}
            }
            bytes = bytes.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        }
        control
    }
}

/// A struct timespec as it lies in memory.
fn timespec(data: &[u8]) -> Option<Duration> {
    const WORD: usize = size_of::<libc::c_long>();
    let word = |at: usize| {
        let bytes = data.get(at..at + WORD)?.try_into().ok()?;
        Some(libc::c_long::from_ne_bytes(bytes))
    };
    let (seconds, nanoseconds) = (u64::try_from(word(0)?).ok()?, u32::try_from(word(WORD)?).ok()?);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds.into()))
}

/// Memory for datagrams to be sent, in slots of equal size, each one message: a datagram, or as many as the
/// kernel is to cut it into.
#[derive(Debug)]
pub struct SendSlots {
    memory: Region,
    slot_bytes: usize,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl SendSlots {
    /// Divides `memory` into slots of `slot_bytes` bytes.
    ///
    /// # Panics
    /// If not even one slot fits.
    #[must_use]
    pub fn new(memory: Region, slot_bytes: usize) -> Self {
        let count = memory.len() / slot_bytes;
        assert!(count > 0, "there is at least one slot");
        Self { memory, slot_bytes, vectors: Vec::with_capacity(count), headers: Vec::with_capacity(count) }
    }

    /// Divides the memory anew. What is in it stays.
    pub fn divide(&mut self, slot_bytes: usize) {
        self.slot_bytes = slot_bytes;
    }

    /// The bytes of a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn slot(&self, index: usize) -> &[u8] {
        &self.memory.as_slice()[index * self.slot_bytes..][..self.slot_bytes]
    }

    /// The bytes of a slot, to be changed.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.memory.as_mut_slice()[index * self.slot_bytes..][..self.slot_bytes]
    }

    /// Sends the first `lengths[k]` bytes of slot `first + k`, for each k, with one system call. Returns the
    /// number of slots that the kernel took.
    ///
    /// # Errors
    /// The socket's, if not even the first slot went; EAGAIN when its send timeout is over.
    ///
    /// # Panics
    /// If one of these slots is not there, or is shorter.
    pub fn send(&mut self, socket: &Socket, first: usize, lengths: &[usize]) -> io::Result<usize> {
        self.vectors.clear();
        self.headers.clear();
        for (index, &length) in lengths.iter().enumerate() {
            let iov_base = self.slot(first + index)[..length].as_ptr().cast_mut().cast();
            self.vectors.push(libc::iovec { iov_base, iov_len: length });
        }
        for vector in &mut self.vectors {
            self.headers.push(message_header(vector));
        }
        let count = libc::c_uint::try_from(lengths.len()).expect("a few hundred slots");
        // SAFETY: each header points at one vector and each vector at a slot, all of which self keeps until
        // the call returns; the kernel only reads the payload and writes the lengths into the headers.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Memory that many messages are received into with one system call.
#[derive(Debug)]
pub struct ReceiveSlots {
    memory: Region,
    control: Region,
    slot_bytes: usize,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl ReceiveSlots {
    /// `count` slots of `slot_bytes` bytes.
    ///
    /// # Errors
    /// The system's, most likely ENOMEM.
    pub fn new(count: usize, slot_bytes: usize) -> io::Result<Self> {
        let memory = Region::new(count * slot_bytes)?;
        let control = Region::new(count * CONTROL_BYTES)?;
        let vector = |index: usize| {
            // SAFETY: the region has `slot_bytes` bytes for each index.
            let start = unsafe { memory.as_ptr().add(index * slot_bytes) };
            libc::iovec { iov_base: start.cast(), iov_len: slot_bytes }
        };
        let mut vectors: Vec<libc::iovec> = (0..count).map(vector).collect();
        // The vectors stay where they are from now on, so the headers may point at them.
        let headers = vectors.iter_mut().map(message_header).collect();
        Ok(Self { memory, control, slot_bytes, vectors, headers })
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Waits for a message as long as the socket's timeout says and takes all that are there, as many as
    /// there are slots. With `discard` the kernel copies no more than fits and says how long each really was.
    /// Returns how many came; [`Self::message`] has them.
    ///
    /// # Errors
    /// The socket's; EAGAIN when its receive timeout is over.
    pub fn receive(&mut self, socket: &Socket, discard: bool) -> io::Result<usize> {
        debug_assert_eq!(self.vectors.len(), self.headers.len());
        for (index, header) in self.headers.iter_mut().enumerate() {
            // SAFETY: the offset is inside the region, which has CONTROL_BYTES for each header.
            header.msg_hdr.msg_control = unsafe { self.control.as_ptr().add(index * CONTROL_BYTES) }.cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
        }
        let count = libc::c_uint::try_from(self.headers.len()).expect("a few hundred slots");
        let flags = libc::MSG_WAITFORONE | if discard { libc::MSG_TRUNC } else { 0 };
        // SAFETY: headers, vectors and both regions are self's and stay in place until the call returns; no
        // slice of the regions is lent out meanwhile, since self is borrowed mutably.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, flags, std::ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// A message that the last [`Self::receive`] took.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn message(&self, index: usize) -> Message<'_> {
        let header = &self.headers[index];
        let bytes = usize::try_from(header.msg_len).expect("a u32 fits a usize on Linux");
        let slot = &self.memory.as_slice()[index * self.slot_bytes..][..self.slot_bytes];
        let control = &self.control.as_slice()[index * CONTROL_BYTES..][..CONTROL_BYTES];
        let control_bytes = header.msg_hdr.msg_controllen.min(CONTROL_BYTES);
        Message::new(&slot[..bytes.min(self.slot_bytes)], bytes, &control[..control_bytes])
    }
}

/// A message header for one vector and nothing else.
fn message_header(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all its fields are integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Two UDP sockets on loopback that only talk to each other.
    pub(in crate::sys) fn pair() -> (Socket, Socket) {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        let (near, far) = (Socket::from_udp(near), Socket::from_udp(far));
        near.set_blocking(Duration::from_millis(100)).unwrap();
        far.set_blocking(Duration::from_millis(100)).unwrap();
        (near, far)
    }

    fn slots(count: usize, slot_bytes: usize) -> SendSlots {
        SendSlots::new(Region::new(count * slot_bytes).unwrap(), slot_bytes)
    }

    #[test]
    fn many_datagrams_go_with_one_call_each_from_its_slot() {
        let (near, far) = pair();
        let mut slots = slots(3, 100);
        for index in 0..3 {
            slots.slot_mut(index).fill(u8::try_from(index).unwrap());
        }
        assert_eq!(slots.send(&near, 0, &[100, 50, 10]).unwrap(), 3);
        let mut received = ReceiveSlots::new(8, 200).unwrap();
        assert_eq!(received.receive(&far, false).unwrap(), 3);
        let seen: Vec<_> = (0..3).map(|index| received.message(index)).collect();
        assert_eq!(seen[1].payload, [1; 50]);
        assert_eq!(seen.iter().map(|message| message.bytes).collect::<Vec<_>>(), [100, 50, 10]);
        assert!(seen.iter().all(|message| message.segment_bytes == message.bytes));
        assert_eq!(received.receive(&far, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn one_send_is_cut_and_put_together_again() {
        let (near, far) = pair();
        near.set_segment_bytes(1000).unwrap();
        far.set_receive_offload().unwrap();
        far.stamp_arrivals().unwrap();
        let mut slots = slots(1, 3500);
        assert_eq!(slots.send(&near, 0, &[3500]).unwrap(), 1);
        let mut received = ReceiveSlots::new(4, 65_536).unwrap();
        assert_eq!(received.receive(&far, false).unwrap(), 1);
        let message = received.message(0);
        assert_eq!((message.bytes, message.segment_bytes), (3500, 1000));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.saturating_sub(message.arrived.unwrap());
        assert!(age < Duration::from_secs(10), "{age:?}");
    }

    #[test]
    fn a_full_buffer_is_counted_and_the_next_message_says_so() {
        let (near, far) = pair();
        far.report_drops().unwrap();
        far.set_buffers(4096).unwrap();
        for _ in 0..100 {
            near.send(&[0; 1000]).unwrap();
        }
        let drops = far.socket_drops().unwrap();
        assert!((50..100).contains(&drops), "{drops}");
        far.discard_received(1000);
        near.send(&[0; 1000]).unwrap();
        let mut received = ReceiveSlots::new(1, 16).unwrap();
        assert_eq!(received.receive(&far, true).unwrap(), 1);
        let message = received.message(0);
        assert_eq!((message.payload.len(), message.bytes), (16, 1000));
        assert_eq!(message.socket_drops, Some(drops));
    }

    #[test]
    fn the_path_knows_its_largest_packet() {
        let (near, _far) = pair();
        assert_eq!(near.path_mtu().unwrap(), 65_535, "the largest IPv4 packet");
        near.grow_receive_buffer(1 << 20);
        assert!(near.receive_buffer().unwrap() >= 212_992);
    }

    #[test]
    fn broken_control_messages_are_ignored() {
        assert_eq!(AncillaryData::parse(&[]), AncillaryData::default());
        assert_eq!(AncillaryData::parse(&[0xff; 40]), AncillaryData::default());
        assert_eq!(AncillaryData::parse(&[0; 40]), AncillaryData::default());
        let mut bytes = 20_usize.to_ne_bytes().to_vec();
        bytes.extend(libc::SOL_UDP.to_ne_bytes());
        bytes.extend(UDP_GRO.to_ne_bytes());
        bytes.extend(1460_i32.to_ne_bytes());
        bytes.extend([0; 4]);
        assert_eq!(AncillaryData::parse(&bytes).segment_bytes, Some(1460));
        assert_eq!(AncillaryData::parse(&bytes[..19]), AncillaryData::default());
    }
}
