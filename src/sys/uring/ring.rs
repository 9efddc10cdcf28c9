//! The ring itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fixed, Napi, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use super::buffers::{GROUP, ReceiveBuffers};
use super::operations::{InFlight, Operation, UserData, restrictions};
use super::payload::Payload;
use super::traits::{AnyRing, Completion, ReceiveRing, SendRing, Token};
use crate::sys::headroom::take;
use crate::sys::net::CONTROL_BYTES;
use crate::sys::{Message, Region, Socket, error_message};

/// `IORING_SEND_ZC_REPORT_USAGE` of include/uapi/linux/io_uring.h.
const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED` of include/uapi/linux/io_uring.h, as a notification's result.
const NOTIF_USAGE_ZC_COPIED: i32 = i32::MIN;
/// `IORING_RECVSEND_POLL_FIRST` of include/uapi/linux/io_uring.h.
const RECVSEND_POLL_FIRST: u16 = 1 << 0;
/// Copying sends below this many bytes are plain sends: a write from registered memory costs more to begin
/// than it saves.
const FIXED_BYTES_MIN: u32 = 16 * 1024;
/// The socket's place in the table of registered files.
const SOCKET: Fixed = Fixed(0);
/// How long a ring that is dropped waits for the kernel to let go of its memory.
const DROP_WAIT_MAX: Duration = Duration::from_millis(200);

/// How long a closed ring may take to give back what it had locked.
const LIMIT_WAIT: Duration = Duration::from_millis(50);

/// What a ring is being told when it is to poll the network card.
pub const BUSY_POLL_STEP: &str = "having io_uring poll the network card";

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", error_message(source))]
pub struct RingError {
    /// The system call or the missing feature.
    pub step: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

/// An io_uring for one socket.
///
/// Invariant that makes its operations safe: every address given to the kernel lies in `payload`, `scratch`,
/// `buffers` or `message_header`, which this struct owns and frees only when nothing is in flight; otherwise
/// it leaks them on purpose. A slot of the payload is lent out only while no operation refers to it, a
/// receive buffer only while the kernel does not have it.
pub struct Ring {
    // Before the memory, so that it is dropped first.
    uring: IoUring,
    payload: ManuallyDrop<Payload>,
    message_header: ManuallyDrop<Box<libc::msghdr>>,
    buffers: ManuallyDrop<Option<ReceiveBuffers>>,
    scratch: ManuallyDrop<Option<Region>>,
    socket: Arc<Socket>,
    in_flight: InFlight,
    overflows: u64,
}

/// A ring that is being made: it takes its memory, and does nothing yet.
#[derive(Debug)]
pub struct RingBuilder(Ring);

impl RingBuilder {
    /// A ring with room for `entries` submissions and four times as many completions, on the calling thread.
    ///
    /// # Errors
    /// [`RingError`] with the step that the kernel refused.
    pub fn new(socket: Arc<Socket>, entries: u32) -> Result<Self, RingError> {
        let uring = build(entries)?;
        uring
            .submitter()
            .register_files(&[socket.as_raw_fd()])
            .map_err(|source| RingError { step: "registering the socket with io_uring", source })?;
        let payload = Region::new(0).map_err(|source| RingError { step: "mapping memory", source })?;
        let usual = usize::try_from(entries).expect("a u32 fits a usize on Linux") * 4;
        Ok(Self(Ring {
            uring,
            payload: ManuallyDrop::new(Payload::new(payload)),
            message_header: ManuallyDrop::new(Box::new(control_only_header())),
            buffers: ManuallyDrop::new(None),
            scratch: ManuallyDrop::new(None),
            socket,
            in_flight: InFlight::with_capacity(usual),
            overflows: 0,
        }))
    }

    /// Takes the payload that sends refer to and registers it, so its pages are pinned once and not per
    /// operation.
    ///
    /// # Errors
    /// ENOMEM where the memory lock limit is too low for it.
    pub fn register_payload(&mut self, payload: Region) -> Result<(), RingError> {
        let Self(ring) = self;
        *ring.payload = Payload::new(payload);
        // SAFETY: the vector is exactly the payload, which the ring keeps until nothing is in flight.
        let register = || unsafe { ring.uring.submitter().register_buffers(&[ring.payload.vector()]) };
        let registered = match register() {
            // A ring that was closed a moment ago gives its share of the limit back only after a while.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                std::thread::sleep(LIMIT_WAIT);
                register()
            }
            first => first,
        };
        ring.payload.registered = registered.is_ok();
        registered.map_err(|source| RingError { step: "registering send buffers with io_uring", source })
    }

    /// Divides the payload into slots of `slot_bytes` bytes for [`SendRing::push_send_slot`].
    pub fn divide_payload(&mut self, slot_bytes: usize) {
        self.0.payload.divide(slot_bytes);
    }

    /// Registers receive buffers for [`ReceiveRing::push_receive_multishot`].
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn register_buffers(&mut self, mut buffers: ReceiveBuffers) -> Result<(), RingError> {
        let Self(ring) = self;
        assert!(ring.buffers.is_none(), "receive buffers are registered once");
        buffers
            .register(&ring.uring)
            .map_err(|source| RingError { step: "registering a buffer ring with io_uring", source })?;
        *ring.buffers = Some(buffers);
        Ok(())
    }

    /// Whether the kernel has sends by reference.
    ///
    /// # Errors
    /// The kernel's refusal to tell.
    pub fn has_zero_copy_sends(&self) -> Result<bool, RingError> {
        Ok(operations_of(&self.0.uring)?.is_supported(opcode::SendZc::CODE))
    }

    /// Polls the network card for so many microseconds in each wait, if a NAPI instance brings the socket's
    /// packets.
    ///
    /// # Errors
    /// EINVAL before Linux 6.9.
    pub fn busy_poll(&mut self, micros: u32) -> Result<(), RingError> {
        let mut napi = Napi::new().set_busy_poll_timeout(micros);
        let registered = self.0.uring.submitter().register_napi(&mut napi);
        registered.map_err(|source| RingError { step: BUSY_POLL_STEP, source })
    }

    /// Takes the memory that [`ReceiveRing::push_receive`] and [`ReceiveRing::receive_plainly`] receive into.
    pub fn set_receive_memory(&mut self, memory: Region) {
        assert!(self.0.scratch.is_none(), "receive memory is set once");
        *self.0.scratch = Some(memory);
    }

    /// The ring, which from now on can do these operations and nothing else.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn enable(self, operations: &[Operation]) -> Result<Ring, RingError> {
        enable(&self.0.uring, operations)?;
        Ok(self.0)
    }
}

impl Ring {
    /// Submissions that can be pushed before the next [`Self::wait`].
    pub fn free_entries(&mut self) -> usize {
        let queue = self.uring.submission();
        queue.capacity() - queue.len()
    }

    /// A copying send of an address inside the payload.
    fn copying_send(&self, address: *const u8, bytes: u32) -> squeue::Entry {
        if self.payload.registered && bytes >= FIXED_BYTES_MIN {
            // A write to a socket is a send without flags; offset -1 means that a socket has no position.
            opcode::WriteFixed::new(SOCKET, address, bytes, 0).offset(u64::MAX).build()
        } else {
            opcode::Send::new(SOCKET, address, bytes).flags(libc::MSG_NOSIGNAL).build()
        }
    }

    /// A send by reference of an address inside the payload.
    fn zero_copy_send(&self, address: *const u8, bytes: u32) -> squeue::Entry {
        opcode::SendZc::new(SOCKET, address, bytes)
            .buf_index(self.payload.registered.then_some(0))
            .flags(libc::MSG_NOSIGNAL)
            .zc_flags(SEND_ZC_REPORT_USAGE)
            .build()
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(self.in_flight.begin(token).to_u64());
        // SAFETY: the entry was built by one of the methods above from memory that self owns until nothing is
        // in flight, as the invariant of Ring says.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        assert!(pushed.is_ok(), "callers push no more than free_entries");
    }
}

impl AnyRing for Ring {
    fn wait_for(&mut self, completions: usize, timeout: Duration) -> io::Result<()> {
        let time = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&time);
        self.overflows += u64::from(self.uring.submission().cq_overflow());
        match self.uring.submitter().submit_with_args(completions, &arguments) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            let more = cqueue::more(entry.flags());
            let token = match self.in_flight.completed(UserData::from_u64(entry.user_data()), more) {
                None | Some(Token::Cancel) => continue,
                Some(token) => token,
            };
            if let Token::SendSlot(slot) = token
                && !more
            {
                self.payload.free_slot(slot);
            }
            let buffer = cqueue::buffer_select(entry.flags());
            if let (Some(index), Some(buffers)) = (buffer, self.buffers.as_mut()) {
                buffers.taken(index);
            }
            let notification = cqueue::notif(entry.flags());
            return Some(Completion {
                token,
                result: entry.result(),
                more,
                notification,
                copied: notification && entry.result() & NOTIF_USAGE_ZC_COPIED != 0,
                buffer,
            });
        }
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.count()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }

    fn cancel_all(&mut self) {
        let everything = io_uring::types::CancelBuilder::any();
        if self.free_entries() > 0 {
            self.push(opcode::AsyncCancel2::new(everything).build(), Token::Cancel);
        }
    }
}

impl SendRing for Ring {
    fn push_send(&mut self, bytes: u32, number: usize) {
        let entry = self.copying_send(self.payload.start(bytes), bytes);
        self.push(entry, Token::Send(number));
    }

    fn push_send_zc(&mut self, bytes: u32, number: usize) {
        let entry = self.zero_copy_send(self.payload.start(bytes), bytes);
        self.push(entry, Token::Send(number));
    }

    fn push_send_slot(&mut self, slot: usize, bytes: u32, zero_copy: bool, linked: bool) {
        let address = self.payload.use_slot(slot, bytes);
        let entry =
            if zero_copy { self.zero_copy_send(address, bytes) } else { self.copying_send(address, bytes) };
        let flags = if linked { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
        self.push(entry.flags(flags), Token::SendSlot(slot));
    }

    fn is_busy(&self, slot: usize) -> bool {
        self.payload.is_busy(slot)
    }

    fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        self.payload.slot_mut(slot)
    }
}

impl ReceiveRing for Ring {
    fn push_receive(&mut self, most: u32, discard: bool) {
        let memory = self.scratch.as_ref().expect("receive memory is set before the first receive");
        assert!(
            u32::try_from(memory.len()).is_ok_and(|bytes| most <= bytes),
            "the receive memory is shorter"
        );
        let entry = opcode::Recv::new(SOCKET, memory.as_ptr(), most)
            .ioprio(RECVSEND_POLL_FIRST)
            .flags(if discard { libc::MSG_TRUNC } else { 0 })
            .build();
        self.push(entry, Token::Receive);
    }

    fn push_receive_multishot(&mut self) {
        assert!(self.buffers.is_some(), "buffers are registered before the first receive");
        self.push(opcode::RecvMulti::new(SOCKET, GROUP).build(), Token::Receive);
    }

    fn receive_plainly(&mut self, most: u32, discard: bool) -> io::Result<usize> {
        assert_eq!(self.in_flight.count(), 0, "the receive memory is nobody else's");
        let memory = self.scratch.as_mut().expect("receive memory is set before the first receive");
        let most = usize::try_from(most).expect("a u32 fits a usize on Linux");
        let memory = &mut memory.as_mut_slice()[..most];
        if discard { self.socket.receive_discarding(memory) } else { self.socket.receive(memory) }
    }

    fn push_receive_messages(&mut self, discard: bool) {
        assert!(self.buffers.is_some(), "buffers are registered before the first receive");
        let header: *const libc::msghdr = &raw const **self.message_header;
        let flags = if discard { libc::MSG_TRUNC.unsigned_abs() } else { 0 };
        let entry = opcode::RecvMsgMulti::new(SOCKET, header, GROUP).flags(flags).build();
        self.push(entry, Token::Receive);
    }

    fn message(&self, completion: &Completion) -> Option<Message<'_>> {
        let filled = usize::try_from(completion.result).ok()?;
        let buffer = self.buffers.as_ref()?.filled(completion.buffer?, filled);
        // struct io_uring_recvmsg_out: lengths of name (which is not asked for), control and payload, flags;
        // then the control messages, in as much room as was asked for, then what was copied of the payload.
        let (out, rest) = buffer.split_first_chunk::<16>()?;
        let word = |at: usize| {
            let bytes = out[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_ne_bytes(bytes)).expect("a u32 fits a usize on Linux")
        };
        let (control, payload) = rest.split_at_checked(CONTROL_BYTES)?;
        let bytes = word(8);
        Some(Message::new(
            &payload[..payload.len().min(bytes)],
            bytes,
            &control[..word(4).min(CONTROL_BYTES)],
        ))
    }

    fn give_back(&mut self, buffer: u16) {
        self.buffers.as_mut().expect("a buffer came from somewhere").give_back(buffer);
    }
}

impl Ring {
    /// Waits until nothing is in flight, with more and more force; says whether it came to that.
    fn let_go(&mut self) -> bool {
        if self.in_flight.count() > 0 {
            self.cancel_all();
            self.drain(DROP_WAIT_MAX);
        }
        if self.in_flight.count() > 0 {
            // Sends by reference that a peer does not read stay queued for as long as it likes, even after
            // shutdown(2). Each test of such a peer would cost its memory for ever.
            self.socket.disconnect();
            self.drain(DROP_WAIT_MAX);
        }
        self.in_flight.count() == 0
    }

    fn drain(&mut self, longest: Duration) {
        let deadline = Instant::now() + longest;
        while self.in_flight.count() > 0 && Instant::now() < deadline {
            if self.wait(Duration::from_millis(50)).is_err() {
                break;
            }
            while self.next_completion().is_some() {}
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.let_go() {
            // The kernel may still read or write this memory. Losing it is better than giving it to somebody
            // else.
            return;
        }
        // SAFETY: dropped exactly once, here, and with nothing in flight.
        unsafe {
            ManuallyDrop::drop(&mut self.payload);
            ManuallyDrop::drop(&mut self.buffers);
            ManuallyDrop::drop(&mut self.scratch);
            ManuallyDrop::drop(&mut self.message_header);
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("socket", &self.socket)
            .field("in_flight", &self.in_flight.count())
            .finish_non_exhaustive()
    }
}

/// Makes a small ring to see what the kernel offers; returns whether it has SEND_ZC.
///
/// # Errors
/// [`RingError`] with what is missing.
pub fn probe() -> Result<bool, RingError> {
    let uring = build(4)?;
    let known = operations_of(&uring)?;
    for code in [opcode::Recv::CODE, opcode::WriteFixed::CODE, opcode::Send::CODE] {
        if !known.is_supported(code) {
            let source = io::Error::from(io::ErrorKind::Unsupported);
            return Err(RingError { step: "looking for io_uring's send and receive", source });
        }
    }
    enable(&uring, &[Operation::Send, Operation::Receive])?;
    Ok(known.is_supported(opcode::SendZc::CODE))
}

/// The operations that this kernel knows.
fn operations_of(uring: &IoUring) -> Result<Probe, RingError> {
    let mut known = Probe::new();
    let asked = uring.submitter().register_probe(&mut known);
    asked.map_err(|source| RingError { step: "asking io_uring for its operations", source })?;
    Ok(known)
}

/// A header that tells the kernel how much room a multishot receive has for control messages.
fn control_only_header() -> libc::msghdr {
    // SAFETY: all its fields are integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_controllen = CONTROL_BYTES;
    header
}

/// Memory of a ring for each of its entries: 64 bytes, four completions of 16, and an index, and at least a
/// page for the whole.
const ENTRY_BYTES: usize = 256;

/// One bar for all: what Linux 6.1 has. The ring can do nothing before it is enabled.
fn build(entries: u32) -> Result<IoUring, RingError> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_r_disabled().setup_cqsize(entries * 4);
    let failed = |step| move |source| RingError { step, source };
    let bytes = usize::try_from(entries).expect("a u32 fits a usize on Linux") * ENTRY_BYTES;
    let uring = take(bytes, || Ok(builder.build(entries))).map_err(failed("mapping memory"))?;
    let uring = uring.map_err(failed("io_uring_setup"))?;
    let parameters = uring.params();
    if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
        let source = io::Error::from(io::ErrorKind::Unsupported);
        return Err(RingError { step: "looking for io_uring's timed waits", source });
    }
    Ok(uring)
}

/// Takes from a ring everything but these operations, for good, and lets it begin.
fn enable(uring: &IoUring, operations: &[Operation]) -> Result<(), RingError> {
    let failed = |step| move |source| RingError { step, source };
    let submitter = uring.submitter();
    let restricted = submitter.register_restrictions(&mut restrictions(operations));
    restricted.map_err(failed("restricting io_uring to what is needed"))?;
    submitter.register_enable_rings().map_err(failed("enabling io_uring"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, Arc<Socket>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (near, Arc::new(Socket::from_stream(far)))
    }

    fn payload() -> Region {
        let mut region = Region::new(4096).unwrap();
        region.as_mut_slice().fill(b'x');
        region
    }

    /// Completions until nothing is in flight.
    fn drain(ring: &mut Ring) -> Vec<Completion> {
        let mut seen = Vec::new();
        while ring.in_flight() > 0 {
            ring.wait(Duration::from_millis(100)).unwrap();
            seen.extend(std::iter::from_fn(|| ring.next_completion()));
        }
        seen
    }

    #[test]
    fn copying_and_zero_copy_sends_arrive_whole() {
        let (mut near, socket) = pair();
        let mut ring = RingBuilder::new(socket, 8).unwrap();
        ring.register_payload(payload()).unwrap();
        let mut ring = ring.enable(&[Operation::Send, Operation::SendZeroCopy]).unwrap();
        ring.push_send(4096, 1);
        ring.push_send_zc(1000, 2);
        let seen = drain(&mut ring);
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!(seen.iter().find(|c| c.token == Token::Send(1)).unwrap().result, 4096);
        assert!(seen.iter().any(|c| c.token == Token::Send(2) && c.more && c.result == 1000));
        assert!(
            seen.iter().any(|c| c.token == Token::Send(2) && c.notification && c.copied),
            "loopback copies"
        );
        let mut received = vec![0; 5096];
        near.read_exact(&mut received).unwrap();
        assert!(received.iter().all(|&byte| byte == b'x'));
    }

    /// What a peer has not read holds the memory that it was sent from, for as long as the peer likes.
    #[test]
    fn a_peer_that_does_not_read_keeps_no_memory() {
        let (near, socket) = pair();
        let mut ring = RingBuilder::new(Arc::clone(&socket), 8).unwrap();
        let bytes = 8 * 1024 * 1024;
        ring.register_payload(Region::new(bytes).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::SendZeroCopy]).unwrap();
        ring.push_send_zc(u32::try_from(bytes).unwrap(), 1);
        // The part that fits is in the queue now.
        ring.wait(Duration::from_millis(50)).unwrap();
        socket.shutdown(std::net::Shutdown::Both);
        assert!(ring.let_go(), "{ring:?}");
        drop(near);
    }

    #[test]
    fn multishot_receives_use_the_buffers_and_end_at_the_end() {
        let (mut near, socket) = pair();
        let mut ring = RingBuilder::new(socket, 8).unwrap();
        ring.register_buffers(ReceiveBuffers::new(2, 4096).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::ReceiveMultishot]).unwrap();
        near.write_all(&[1; 10_000]).unwrap();
        drop(near);
        let mut received = 0;
        let mut rounds = 0;
        ring.push_receive_multishot();
        'all: loop {
            ring.wait(Duration::from_millis(100)).unwrap();
            while let Some(completion) = ring.next_completion() {
                if let Some(buffer) = completion.buffer {
                    ring.give_back(buffer);
                }
                match completion.result {
                    0 => break 'all,
                    bytes if bytes > 0 => received += bytes,
                    error => assert_eq!(-error, libc::ENOBUFS),
                }
                if !completion.more {
                    ring.push_receive_multishot();
                }
            }
            rounds += 1;
            assert!(rounds < 100);
        }
        assert_eq!(received, 10_000);
    }

    #[test]
    fn discarding_receives_count() {
        let (mut near, socket) = pair();
        let mut ring = RingBuilder::new(socket, 8).unwrap();
        ring.set_receive_memory(Region::new(8192).unwrap());
        let mut ring = ring.enable(&[Operation::Receive]).unwrap();
        near.write_all(&[1; 5000]).unwrap();
        ring.push_receive(1000, true);
        assert_eq!(drain(&mut ring)[0].result, 1000);
        assert_eq!(ring.receive_plainly(1500, true).unwrap(), 1500);
        ring.push_receive(8192, true);
        assert_eq!(drain(&mut ring)[0].result, 2500);
    }

    #[test]
    fn slots_are_sent_in_order_and_lent_out_when_they_are_free() {
        let (near, far) = crate::sys::net::datagram_pair();
        let mut ring = RingBuilder::new(Arc::new(near), 8).unwrap();
        ring.register_payload(Region::new(4 * 1000).unwrap()).unwrap();
        ring.divide_payload(1000);
        let mut ring = ring.enable(&[Operation::Send, Operation::SendZeroCopy, Operation::Link]).unwrap();
        for slot in 0..4_u8 {
            ring.slot_mut(slot.into()).unwrap().fill(slot);
            ring.push_send_slot(slot.into(), 1000, slot == 3, slot != 3);
        }
        assert!(ring.slot_mut(0).is_none());
        let seen = drain(&mut ring);
        assert_eq!(seen.len(), 5, "the zero-copy send has a notification: {seen:?}");
        assert!((0..4).all(|slot| ring.slot_mut(slot).is_some()));
        let mut buffer = [0; 1000];
        for slot in 0..4 {
            assert_eq!(far.receive(&mut buffer).unwrap(), 1000);
            assert_eq!(buffer, [slot; 1000]);
        }
    }

    /// Sends from slots and receives on one ring, as of a loop that answers what it gets.
    #[test]
    fn receives_are_not_taken_for_sends_from_slots() {
        let (near, far) = crate::sys::net::datagram_pair();
        let mut ring = RingBuilder::new(Arc::new(near), 8).unwrap();
        ring.register_payload(Region::new(2 * 1000).unwrap()).unwrap();
        ring.divide_payload(1000);
        ring.set_receive_memory(Region::new(2000).unwrap());
        let mut ring = ring.enable(&[Operation::Send, Operation::SendZeroCopy, Operation::Receive]).unwrap();
        // Nothing has come yet, so the receive is the first to begin and the last to end.
        ring.push_receive(2000, false);
        ring.push_send_slot(0, 1000, false, false);
        ring.push_send_slot(1, 999, true, false);
        let mut seen = Vec::new();
        while ring.in_flight() > 1 {
            ring.wait(Duration::from_millis(100)).unwrap();
            seen.extend(std::iter::from_fn(|| ring.next_completion()));
        }
        let results = |token| seen.iter().filter(move |c| c.token == token && !c.notification);
        assert!(results(Token::SendSlot(0)).map(|c| c.result).eq([1000]), "{seen:?}");
        assert!(results(Token::SendSlot(1)).map(|c| c.result).eq([999]), "{seen:?}");
        assert!((0..2).all(|slot| ring.slot_mut(slot).is_some()));
        ring.push_send_slot(0, 500, false, false);
        far.send(&[7; 300]).unwrap();
        let mut seen = Vec::new();
        while !seen.iter().any(|c: &Completion| c.token == Token::Receive) {
            ring.wait(Duration::from_millis(100)).unwrap();
            seen.extend(ring.next_completion());
            let is_sent = seen.iter().any(|c| c.token == Token::SendSlot(0));
            assert_eq!(ring.is_busy(0), !is_sent, "{seen:?}");
        }
        assert!(seen.iter().any(|c| (c.token, c.result) == (Token::Receive, 300)), "{seen:?}");
        // What is given up has no completion but its own.
        ring.push_receive(2000, false);
        ring.cancel_all();
        let rest = drain(&mut ring);
        let given_up = |c: &Completion| (c.token, c.result) == (Token::Receive, -libc::ECANCELED);
        assert_eq!(rest.iter().filter(|c| given_up(c)).count(), 1, "{rest:?}");
        assert!(rest.iter().all(|c| given_up(c) || c.token == Token::SendSlot(0)), "{rest:?}");
    }

    #[test]
    fn a_send_by_reference_that_was_never_begun_is_over_once() {
        const TOO_LONG: u32 = 65_508;
        let (near, far) = crate::sys::net::datagram_pair();
        let mut ring = RingBuilder::new(Arc::new(near), 8).unwrap();
        ring.register_payload(Region::new(2 * 65_508).unwrap()).unwrap();
        ring.divide_payload(65_508);
        let mut ring = ring.enable(&[Operation::SendZeroCopy, Operation::Link]).unwrap();
        for _ in 0..3 {
            ring.push_send_slot(0, TOO_LONG, true, true);
            ring.push_send_slot(1, 1000, true, false);
            let mut results = [None; 2];
            while ring.in_flight() > 0 {
                ring.wait(Duration::from_millis(100)).unwrap();
                while let Some(completion) = ring.next_completion() {
                    let Token::SendSlot(slot) = completion.token else { panic!("{completion:?}") };
                    if !completion.notification {
                        assert_eq!(results[slot].replace(-completion.result), None, "one result for each");
                    }
                    // Sent anew at once, as an engine does with what was not its fault.
                    if slot == 1 && completion.result == -libc::ECANCELED && !completion.more {
                        ring.push_send_slot(1, 1000, true, false);
                        results[1] = None;
                    }
                }
            }
            assert_eq!(results[0], Some(libc::EMSGSIZE));
            assert!([Some(-1000), Some(libc::ECANCELED)].contains(&results[1]), "{results:?}");
            if results[1] == Some(-1000) {
                assert_eq!(far.receive(&mut [0; 1001]).unwrap(), 1000);
            }
            assert!(ring.slot_mut(0).is_some() && ring.slot_mut(1).is_some());
        }
    }

    #[test]
    fn messages_come_with_their_segments() {
        let (near, far) = crate::sys::net::datagram_pair();
        far.set_receive_offload().unwrap();
        near.set_segment_bytes(700).unwrap();
        near.send(&[9; 2000]).unwrap();
        let mut ring = RingBuilder::new(Arc::new(far), 8).unwrap();
        ring.register_buffers(ReceiveBuffers::new(4, 70_000).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::ReceiveMessages]).unwrap();
        ring.push_receive_messages(false);
        ring.wait(Duration::from_millis(100)).unwrap();
        let completion = ring.next_completion().unwrap();
        let message = ring.message(&completion).unwrap();
        assert_eq!((message.bytes, message.segment_bytes), (2000, 700));
        assert_eq!(message.payload, [9; 2000]);
        assert!(completion.more);
        ring.give_back(completion.buffer.unwrap());
    }

    #[test]
    fn discarded_messages_keep_their_length() {
        let (near, far) = crate::sys::net::datagram_pair();
        near.send(&[9; 2000]).unwrap();
        let mut ring = RingBuilder::new(Arc::new(far), 8).unwrap();
        ring.register_buffers(ReceiveBuffers::new(4, 128).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::ReceiveMessages]).unwrap();
        ring.push_receive_messages(true);
        ring.wait(Duration::from_millis(100)).unwrap();
        let completion = ring.next_completion().unwrap();
        let message = ring.message(&completion).unwrap();
        assert_eq!((message.bytes, message.payload), (2000, &[9_u8; 16][..]));
    }

    /// The smallest queue has room for eight completions. What it has no room for comes later, and is
    /// counted.
    #[test]
    fn a_queue_that_overflows_loses_nothing_and_says_so() {
        const MESSAGES: u32 = 60;
        let (near, far) = crate::sys::net::datagram_pair();
        let mut ring = RingBuilder::new(Arc::new(far), 2).unwrap();
        ring.register_buffers(ReceiveBuffers::new(64, 256).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::ReceiveMessages]).unwrap();
        ring.push_receive_messages(false);
        ring.wait(Duration::from_millis(1)).unwrap();
        for number in 0..MESSAGES {
            near.send(&number.to_ne_bytes()).unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 60 {
            // Nothing is taken before the queue is full.
            ring.wait_for(9, Duration::from_millis(5)).unwrap();
            ring.wait_for(9, Duration::from_millis(5)).unwrap();
            while let Some(completion) = ring.next_completion() {
                if let Some(message) = ring.message(&completion) {
                    seen.push(u32::from_ne_bytes(message.payload.try_into().unwrap()));
                }
                if let Some(buffer) = completion.buffer {
                    ring.give_back(buffer);
                }
                if !completion.more {
                    ring.push_receive_messages(false);
                }
            }
        }
        assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
        assert!(ring.overflows() > 0, "nobody has noticed");
    }

    #[test]
    fn a_dropped_ring_leaves_nothing_in_flight() {
        let (_near, socket) = pair();
        let mut ring = RingBuilder::new(socket.clone(), 8).unwrap();
        ring.set_receive_memory(Region::new(4096).unwrap());
        let mut ring = ring.enable(&[Operation::Receive]).unwrap();
        ring.push_receive(4096, false);
        ring.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(ring.in_flight(), 1);
        drop(ring);
        assert_eq!(Arc::strong_count(&socket), 1);
    }

    #[test]
    fn a_ring_does_nothing_that_it_was_not_made_for() {
        let (mut near, socket) = pair();
        let mut ring = RingBuilder::new(socket, 8).unwrap();
        ring.register_payload(payload()).unwrap();
        let mut ring = ring.enable(&[Operation::SendZeroCopy]).unwrap();
        ring.push_send(1000, 1);
        assert_eq!(drain(&mut ring)[0].result, -libc::EACCES, "a copying send");
        let entry = opcode::Nop::new().build();
        ring.push(entry, Token::Send(2));
        assert_eq!(drain(&mut ring)[0].result, -libc::EACCES, "an operation of no loop");
        let entry = ring.zero_copy_send(ring.payload.start(1000), 1000).flags(squeue::Flags::ASYNC);
        ring.push(entry, Token::Send(3));
        assert_eq!(drain(&mut ring)[0].result, -libc::EACCES, "a thread of the kernel's");
        let refused = ring.uring.submitter().register_files_update(0, &[-1]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "another socket");
        ring.push_send_zc(1000, 4);
        assert_eq!(drain(&mut ring)[0].result, 1000);
        near.read_exact(&mut [0; 1000]).unwrap();
    }

    #[test]
    fn only_filled_buffers_are_read_and_given_back() {
        let (mut near, socket) = pair();
        let mut ring = RingBuilder::new(socket, 8).unwrap();
        ring.register_buffers(ReceiveBuffers::new(2, 4096).unwrap()).unwrap();
        let mut ring = ring.enable(&[Operation::ReceiveMultishot]).unwrap();
        near.write_all(&[5; 100]).unwrap();
        ring.push_receive_multishot();
        ring.wait(Duration::from_millis(100)).unwrap();
        let mine = ring.next_completion().unwrap().buffer.unwrap();
        let buffers = |ring: &Ring, index| {
            let filled = || ring.buffers.as_ref().unwrap().filled(index, 100).to_vec();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(filled))
        };
        assert_eq!(buffers(&ring, mine).unwrap(), [5; 100]);
        assert!(buffers(&ring, 1 - mine).is_err(), "the kernel has it");
        ring.give_back(mine);
        assert!(buffers(&ring, mine).is_err(), "the kernel has it again");
    }
}
