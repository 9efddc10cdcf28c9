//! UDP: datagrams of one block each, with a header that numbers them.
//!
//! A sender fills a batch of slots and hands it to the kernel at once. A slot is one message: a datagram, or
//! as many as the kernel is to cut it into (UDP_SEGMENT). A receiver takes messages of one or many datagrams
//! (UDP_GRO). Neither is seen on the wire, so each end decides for itself.

mod account;
mod pause;
mod setback;
mod stamp;
mod sync_receive;
mod sync_send;
mod uring_receive;
mod uring_send;

use std::io;
use std::time::{Duration, Instant};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use account::count_messages;
use setback::{Setback, send_error};
pub(super) use stamp::Stamper;
pub(super) use sync_receive::UdpSyncReceive;
pub(super) use sync_send::UdpSyncSend;
pub(super) use uring_receive::UdpUringReceive;
pub(super) use uring_send::UdpUringSend;

use super::StreamJob;
use super::recorder::Recorder;
use crate::config::Pacing;
use crate::sys::{MESSAGE_BYTES_MAX, Missing, SEGMENTS_MAX, error_message, is_path_error};

/// Longest stretch of missed sending that a paced sender makes up for.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// What a paced sender sends at once, in time at its rate, when no burst was asked for. Short enough for
/// small buffers on the way, long enough that waking up costs less than sending.
const BURST_TIME: Duration = Duration::from_micros(250);
/// Memory of a batch: it should stay in the processor's second-level cache.
const BATCH_BYTES: u32 = 256 * 1024;
/// Batches whose memory the kernel may still hold when sends are by reference, the one being sent included.
const HELD_BATCHES: u32 = 4;
/// Registered memory of all streams of a test, so that the usual limit of 8 MiB per user is enough.
const REGISTERED_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Most slots of a batch.
const BATCH_SLOTS_MAX: u32 = 64;
/// Bytes of IP and UDP header in front of a datagram: with IPv4, with IPv6.
const HEADERS_BYTES: (u32, u32) = (28, 48);

/// The pacing of a sender: the user's, with a burst where the user has not chosen one.
pub(super) fn pacing(job: &StreamJob) -> Pacing {
    if job.pacing.burst_blocks > 0 || job.pacing.bits_per_second == 0 {
        return job.pacing;
    }
    let bits = u128::from(job.pacing.bits_per_second) * BURST_TIME.as_micros() / 1_000_000;
    let datagrams = bits / (u128::from(job.block.bytes) * 8);
    Pacing { burst_blocks: u32::try_from(datagrams).unwrap_or(u32::MAX).max(1), ..job.pacing }
}

/// How a sender divides its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a datagram.
    pub(super) datagram_bytes: usize,
    /// Datagrams of a slot.
    per_slot: u32,
    /// Slots of a batch.
    batch_slots: u32,
    /// The path takes no datagram of the test in one piece, which has been said.
    in_fragments: bool,
}

/// What a send that has failed needs before it is made again.
enum Remedy {
    /// Sends of one datagram each.
    OneByOne,
    /// So much time.
    Pause(Duration),
}

impl Layout {
    /// Decides it, and prepares the socket for it. The note says why datagrams go one by one although they
    /// should not.
    fn prepare(job: &StreamJob, offload: bool) -> (Self, Option<Missing>) {
        let one_by_one = Self::new(job, false);
        if let Some(missing) = too_large(job) {
            // What may not go in fragments does not go at all, and that is another story.
            let note = (!forbids_fragments(job)).then_some(missing);
            return (Self { in_fragments: note.is_some(), ..one_by_one }, note);
        }
        let wanted = Self::new(job, offload);
        if wanted.per_slot == 1 {
            return (wanted, None);
        }
        match segmentation(job) {
            Ok(()) => (wanted, None),
            Err(missing) => (one_by_one, Some(missing)),
        }
    }

    /// As large as the rate allows, if the socket can do it.
    pub(super) fn new(job: &StreamJob, offload: bool) -> Self {
        let bytes = job.block.bytes;
        let burst = pacing(job).burst_blocks.max(1);
        let paced = job.pacing.bits_per_second > 0;
        let most = (MESSAGE_BYTES_MAX / bytes).clamp(1, SEGMENTS_MAX);
        let per_slot = if !offload {
            1
        } else if paced {
            most.min(burst)
        } else {
            most
        };
        let share = REGISTERED_BYTES_MAX / (job.streams.max(1) * HELD_BATCHES);
        let slots = (BATCH_BYTES.min(share) / (per_slot * bytes)).clamp(1, BATCH_SLOTS_MAX);
        let batch_slots = if paced { slots.min(burst.div_ceil(per_slot)) } else { slots };
        Self {
            datagram_bytes: usize::try_from(bytes).expect("a u32 fits a usize on Linux"),
            per_slot,
            batch_slots,
            in_fragments: false,
        }
    }

    /// Slots of all batches whose memory the kernel may hold.
    pub(super) fn slots(self, zero_copy: bool) -> u32 {
        self.batch_slots * if zero_copy { HELD_BATCHES } else { 1 }
    }

    pub(super) fn slot_bytes(self) -> usize {
        self.datagram_bytes * usize::try_from(self.per_slot).expect("a u32 fits a usize on Linux")
    }

    /// Bytes of so many slots.
    fn memory_bytes(self, slots: u32) -> u32 {
        u32::try_from(self.slot_bytes()).expect("at most a message") * slots
    }
}

impl Layout {
    /// The kernel took so many bytes of whole datagrams.
    fn sent(self, bytes: usize, recorder: &mut Recorder) {
        let to_u64 = |count: usize| u64::try_from(count).expect("a usize fits a u64");
        recorder.moved(to_u64(bytes));
        recorder.sent_datagrams(to_u64(bytes / self.datagram_bytes));
    }

    /// What a send needs that was refused at `now`.
    ///
    /// # Errors
    /// Why another attempt is no use.
    fn remedy(
        &mut self,
        job: &StreamJob,
        (errno, now): (i32, Instant),
        setback: &mut Setback,
        recorder: &mut Recorder,
    ) -> io::Result<Remedy> {
        if errno == libc::EMSGSIZE && too_large(job).is_some() {
            if forbids_fragments(job) {
                return Err(send_error(job, errno));
            }
            self.note_fragments(job, recorder);
            if self.per_slot > 1 {
                give_segmentation_up(job, None, recorder);
                return Ok(Remedy::OneByOne);
            }
        }
        // An ICMP message that changes nothing is over with the send that has failed.
        let is_icmp = errno == libc::EMSGSIZE && !setback.is_one();
        if self.per_slot > 1 && is_refused_segmentation(errno) && !is_icmp {
            give_segmentation_up(job, Some(errno), recorder);
            return Ok(Remedy::OneByOne);
        }
        setback.failed(job, errno, now, recorder).map(Remedy::Pause)
    }

    /// Says once that datagrams go in fragments, if they do.
    fn note_fragments(&mut self, job: &StreamJob, recorder: &mut Recorder) {
        if self.in_fragments || forbids_fragments(job) {
            return;
        }
        if let Some(missing) = too_large(job) {
            self.in_fragments = true;
            recorder.does_without(&missing);
            recorder
                .warn(format!("on the way it came out that {}; {} avoids it", missing.reason, missing.fix));
        }
    }

    /// Sends the datagrams of a slot that the kernel does not cut up.
    fn send_one_by_one(
        &mut self,
        job: &StreamJob,
        slot: &[u8],
        setback: &mut Setback,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        for datagram in slot.chunks(self.datagram_bytes) {
            while let Err(error) = job.socket.send(datagram) {
                match error.raw_os_error() {
                    Some(errno) if is_temporary(errno) && !job.stop.is_set() => {}
                    Some(errno) if is_temporary(errno) => return Ok(()),
                    Some(errno) if is_path_error(errno) && job.stop.is_set() => return Ok(()),
                    Some(errno) => match self.remedy(job, (errno, Instant::now()), setback, recorder)? {
                        Remedy::Pause(pause) => std::thread::sleep(pause),
                        Remedy::OneByOne => {}
                    },
                    None => return Err(error),
                }
            }
            setback.sent();
            self.sent(datagram.len(), recorder);
        }
        Ok(())
    }
}

/// Takes segmentation back and puts down why, if it was refused.
fn give_segmentation_up(job: &StreamJob, refused: Option<i32>, recorder: &mut Recorder) {
    // Best effort: a socket that refuses even that fails at the next send.
    let _ = job.socket.set_segment_bytes(0);
    if let Some(errno) = refused {
        let why = error_message(&io::Error::from_raw_os_error(errno));
        let reason = format!(
            "the kernel refused to cut a send into datagrams of {} bytes ({why}), so each is sent by itself",
            job.block.bytes
        );
        recorder.does_without(&Missing { reason, fix: String::new() });
    }
}

/// Whether the user wants no fragments. As in iperf3 it is a matter of IPv4.
fn forbids_fragments(job: &StreamJob) -> bool {
    let is_wanted = job.protocol.udp().is_some_and(|udp| udp.dont_fragment);
    is_wanted && job.socket.peer_addr().is_ok_and(|peer| peer.is_ipv4())
}

/// What is to be said of datagrams that the path does not take in one piece, as far as the kernel knows it.
fn too_large(job: &StreamJob) -> Option<Missing> {
    let bytes = job.block.bytes;
    let is_ipv4 = job.socket.peer_addr().is_ok_and(|peer| peer.is_ipv4());
    let headers = if is_ipv4 { HEADERS_BYTES.0 } else { HEADERS_BYTES.1 };
    let mtu = job.socket.path_mtu().ok().filter(|mtu| bytes + headers > *mtu)?;
    Some(Missing {
        reason: format!(
            "datagrams of {bytes} bytes do not fit the path's MTU of {mtu}, so each is sent by itself, in fragments"
        ),
        fix: format!("-l {} or less", mtu.saturating_sub(headers)),
    })
}

/// Lets the kernel cut sends into datagrams, where it can.
fn segmentation(job: &StreamJob) -> Result<(), Missing> {
    job.socket.set_segment_bytes(job.block.bytes).map_err(|error| Missing {
        reason: format!(
            "no UDP segmentation offload, so each datagram is sent by itself: {}",
            error_message(&error)
        ),
        fix: "use Linux 4.18 or later".to_owned(),
    })
}

/// Whether a failed send of several datagrams may work one by one.
fn is_refused_segmentation(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::EOPNOTSUPP)
}

/// Whether a failed send has only to be tried again.
fn is_temporary(errno: i32) -> bool {
    matches!(errno, libc::EAGAIN | libc::EINTR | libc::ECANCELED | libc::ENOBUFS | libc::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BlockSize, Flow, Protocol, UdpConfig};
    use crate::engine::UdpJob;
    use crate::sys::Socket;

    fn job(bytes: u32, bits_per_second: u64, burst_blocks: u32) -> StreamJob {
        let sockets: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        sockets[0].connect(sockets[1].local_addr().unwrap()).unwrap();
        let socket = Socket::from_udp(sockets.into_iter().next().unwrap());
        StreamJob {
            protocol: Protocol::Udp(UdpConfig::default()),
            udp: Some(UdpJob { counters_64bit: false, offload: true }),
            block: BlockSize { bytes, explicit: true },
            pacing: Pacing { bits_per_second, burst_blocks },
            ..StreamJob::bare(socket, Flow::Send)
        }
    }

    fn layout(bytes: u32, bits_per_second: u64, burst: u32) -> (u32, u32) {
        let layout = Layout::new(&job(bytes, bits_per_second, burst), true);
        (layout.per_slot, layout.batch_slots)
    }

    #[test]
    fn unpaced_senders_use_full_messages_and_paced_ones_what_fits_a_burst() {
        assert_eq!(layout(1460, 0, 0), (44, 4));
        assert_eq!(layout(64, 0, 0), (128, 32));
        assert_eq!(layout(65_507, 0, 0), (1, 4));
        // 1 Gbit/s for a quarter of a millisecond is 21 datagrams; 10 Mbit/s is less than one.
        assert_eq!(layout(1460, 1_000_000_000, 0), (21, 1));
        assert_eq!(layout(1460, 10_000_000, 0), (1, 1));
        assert_eq!(layout(1460, 1_000_000_000, 100), (44, 3));
        assert_eq!(Layout::new(&job(1460, 0, 0), false).per_slot, 1);
        let many = StreamJob { streams: 16, ..job(1460, 0, 0) };
        assert_eq!(Layout::new(&many, true).batch_slots, 1);
    }

    #[test]
    fn a_burst_that_was_asked_for_is_kept() {
        assert_eq!(pacing(&job(1000, 80_000_000, 7)).burst_blocks, 7);
        assert_eq!(pacing(&job(1000, 80_000_000, 0)).burst_blocks, 2);
        assert_eq!(pacing(&job(1000, 0, 0)).burst_blocks, 0);
    }

    #[test]
    fn datagrams_larger_than_the_mtu_go_one_by_one_and_it_is_said() {
        let (layout, note) = Layout::prepare(&job(1460, 0, 0), true);
        assert_eq!((layout.per_slot, note), (44, None));
        let (layout, note) = Layout::prepare(&job(65_520, 0, 0), true);
        assert!(layout.per_slot == 1 && layout.in_fragments);
        assert!(note.unwrap().reason.contains("65535"));
    }

    #[test]
    fn a_late_paced_sender_makes_up_for_a_tenth_of_a_second() {
        let job = job(1000, 80_000_000, 0);
        let start = Instant::now();
        let mut gate = job.gate(start);
        let late = start + Duration::from_secs(10);
        let mut bytes = 0;
        while gate.refresh(late) == crate::engine::GateState::Open {
            bytes += gate.take(u64::MAX);
        }
        assert!((1_000_000..=1_005_000).contains(&bytes), "{bytes}");
    }
}
