//! How much a stream moves at a time: from the job and facts about the machine to bytes. Every engine asks
//! here.
//!
//! Large operations save calls, small ones stay in the processor's cache. Which weighs more depends on the
//! machine (its second-level cache) and on whether the ends of a stream share a processor; docs/ENGINES.md
//! has what was measured. What no fact decides is tried while the test runs, the likeliest way first. A size
//! that the user fixed (`-l`, `--tune`) is what it is.

use std::sync::OnceLock;
use std::time::Duration;

use super::StreamJob;
use super::adapt::Way;
use crate::config::ranges::BLOCK_BYTES;
use crate::config::{BlockSize, EngineChoice};
use crate::sys::second_level_cache_bytes;

/// Bytes of one send when no block size was asked for.
const SEND_BYTES: u32 = 1024 * 1024;
/// Bytes of one send where the receiver takes it on the same processor, from a cache that is large enough.
const NEAR_SEND_BYTES: u32 = 128 * 1024;
/// Sends of all streams of a test together, as long as each is a block at least. Their memory is registered,
/// so the usual limit of 8 MiB per user is enough.
const ALL_SEND_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes of one receive buffer where the cache is too small for any that is worth a system call.
const RECEIVE_BYTES: u32 = 1024 * 1024;
/// Bytes of one receive buffer at least where a block size was asked for.
const EXPLICIT_RECEIVE_BYTES_MIN: u32 = 64 * 1024;
/// Bytes of one receive buffer however many streams there are.
const RECEIVE_BYTES_MIN: u32 = 128 * 1024;
/// Receive buffers of all streams of a test together, as long as none gets too small.
const ALL_RECEIVE_BYTES: u32 = 4 * 1024 * 1024;
/// Provided buffers of one receiving ring: few, so that they stay in the processor's cache.
pub(super) const RECEIVE_BUFFERS: u16 = 2;
/// Bytes of the only buffer of recv(2): large enough for what one wake-up brings, small enough for the
/// second-level cache.
const PLAIN_RECEIVE_BYTES: u32 = 256 * 1024;
/// Bytes of a larger buffer of recv(2) that is tried as well: it saves calls where a sender that copies
/// nothing brings more.
const LARGE_PLAIN_RECEIVE_BYTES: u32 = 1024 * 1024;
/// Sends of a ring in flight for operations of at least [`DEEP_BELOW_BYTES`].
const DEPTH_LARGE: u32 = 1;
/// Sends of a ring in flight for small operations, so that one system call submits many.
const DEPTH_SMALL: u32 = 256;
/// Operations below this size are small.
const DEEP_BELOW_BYTES: u32 = 16 * 1024;
/// What may be in flight of a paced stream, in time at its rate, so that it holds back itself when its peer
/// takes nothing: sends that wait in the ring go as soon as they can.
const PACED_IN_FLIGHT: Duration = Duration::from_millis(50);
/// Zero-copy sends that may be unreleased for each one that may be unsent.
const UNRELEASED_PER_SEND: usize = 8;
/// Zero-copy sends that may be unreleased in all: their completions need room in the ring.
const UNRELEASED_MAX: usize = 512;
/// Second-level caches below this do not hold what a receiver works on, whatever its buffers.
const CACHE_BYTES_MIN: u64 = 1024 * 1024;
/// Second-level caches below this do not keep a send beside the kernel's own work until the receiver has its
/// turn on the processor.
const NEAR_CACHE_BYTES_MIN: u64 = 2 * 1024 * 1024;

/// Bytes of one send of a ring.
pub(super) fn ring_send_bytes(job: &StreamJob) -> u32 {
    job.tuning.send_bytes.unwrap_or_else(|| usual_send_bytes(job))
}

/// Sends of a ring that may be unsent.
pub(super) fn ring_depth(job: &StreamJob) -> usize {
    let usual = if ring_send_bytes(job) < DEEP_BELOW_BYTES { DEPTH_SMALL } else { DEPTH_LARGE };
    usize::try_from(job.tuning.depth.unwrap_or(usual)).expect("a few hundred")
}

/// Sends of a ring that may be unsent because of the pacing: at least a burst.
pub(super) fn paced_depth(job: &StreamJob) -> usize {
    let (pacing, operation_bytes) = (job.pacing, ring_send_bytes(job));
    if pacing.bits_per_second == 0 {
        return usize::MAX;
    }
    let earned = u128::from(pacing.bits_per_second) * PACED_IN_FLIGHT.as_millis() / 8_000;
    let burst = u128::from(job.block.bytes) * u128::from(pacing.burst_blocks);
    usize::try_from(earned.max(burst) / u128::from(operation_bytes)).unwrap_or(usize::MAX).max(1)
}

/// Sends of a ring that the kernel may not have finished with.
pub(super) fn unreleased_sends(job: &StreamJob, zero_copy: bool) -> usize {
    let depth = ring_depth(job);
    if zero_copy { depth.max((depth * UNRELEASED_PER_SEND).min(UNRELEASED_MAX)) } else { depth }
}

/// Sends of a ring.
pub(super) fn ring_send_way(job: &StreamJob) -> Way {
    send_way(job, ring_send_bytes(job))
}

/// Calls of sendfile(2) or splice(2): fewer, longer ones leave the kernel fewer small segments at their ends.
pub(super) fn file_send_way(job: &StreamJob) -> Way {
    send_way(job, if job.block.explicit { job.block.bytes } else { SEND_BYTES })
}

/// Calls of send(2).
pub(super) fn plain_send_way(job: &StreamJob) -> Way {
    match job.adaptation {
        Some(_) => send_way(job, usual_send_bytes(job)),
        None => send_way(job, job.block.bytes),
    }
}

/// Provided buffers of a receiving ring, of which there are [`RECEIVE_BUFFERS`], and calls of recv(2) where
/// they are tried beside it.
pub(super) fn ring_receive_ways(job: &StreamJob) -> Vec<Way> {
    let share = receive_share(job.block, job.streams, shares_with_peer(job), cache_bytes());
    let bytes = share.min(at_most_all(job, share).max(RECEIVE_BYTES_MIN));
    let mut ways = receive_ways(job, bytes);
    if ways.len() > 1 && job.asked == EngineChoice::Auto {
        ways.extend(plain_ways(job, PLAIN_RECEIVE_BYTES));
    }
    ways
}

/// Calls of recv(2).
pub(super) fn plain_receive_ways(job: &StreamJob) -> Vec<Way> {
    let usual = if job.block.explicit { job.block.bytes } else { PLAIN_RECEIVE_BYTES };
    let mut ways: Vec<_> = plain_ways(job, usual.clamp(BLOCK_BYTES.min, BLOCK_BYTES.max)).collect();
    if ways.len() > 1 && job.tuning.receive_bytes.is_none() {
        ways.extend(plain_ways(job, LARGE_PLAIN_RECEIVE_BYTES));
    }
    ways
}

fn plain_ways(job: &StreamJob, bytes: u32) -> impl Iterator<Item = Way> {
    receive_ways(job, bytes).into_iter().map(|way| Way { plain: true, ..way })
}

/// So many bytes, or what the test is about where that is less: what is not used need not be made ready.
fn at_most_all(job: &StreamJob, bytes: u32) -> u32 {
    job.whole_bytes.and_then(|whole| u32::try_from(whole).ok()).map_or(bytes, |whole| bytes.min(whole))
}

fn send_way(job: &StreamJob, bytes: u32) -> Way {
    Way { bytes: job.tuning.send_bytes.unwrap_or(bytes), marked: true, plain: false }
}

/// With a receive mark and without, where there may be a difference that can be seen.
fn receive_ways(job: &StreamJob, bytes: u32) -> Vec<Way> {
    let bytes = job.tuning.receive_bytes.unwrap_or(bytes);
    let is_decided = job.block.explicit || job.tuning.mark_bytes.is_some() || is_paced(job);
    let ways: &[bool] = match () {
        () if is_decided => &[true],
        // While the peer has its turn enough comes together by itself.
        () if shares_with_peer(job) => &[false],
        () if job.streams > job.processors => &[true],
        () => &[true, false],
    };
    ways.iter().map(|&marked| Way { bytes, marked, plain: false }).collect()
}

/// Whether the two ends of a stream are here and have to take turns on processors. Then it is the scheduler
/// that decides rates, and a short trial tells about its turns.
fn shares_with_peer(job: &StreamJob) -> bool {
    job.socket.has_both_ends_here() && job.streams.saturating_mul(2) > job.processors
}

/// Whether the rate is asked for, so that sizes do not decide it.
fn is_paced(job: &StreamJob) -> bool {
    job.pacing.bits_per_second > 0
}

fn usual_send_bytes(job: &StreamJob) -> u32 {
    let most = send_most(shares_with_peer(job), cache_bytes());
    whole_blocks(job.block, job.streams, at_most_all(job, most))
}

/// Bytes of one send, whatever the block is and however few streams there are.
fn send_most(shares_with_peer: bool, cache_bytes: Option<u64>) -> u32 {
    if shares_with_peer && keeps_a_send(cache_bytes) { NEAR_SEND_BYTES } else { SEND_BYTES }
}

/// Whether a receiver finds on its own processor in the cache what was sent there before.
fn keeps_a_send(cache_bytes: Option<u64>) -> bool {
    cache_bytes.is_some_and(|cache| cache >= NEAR_CACHE_BYTES_MIN)
}

/// As many blocks as `most` holds, less where there are many streams; at least one. A block
/// size that was asked for stays alone.
fn whole_blocks(block: BlockSize, streams: u32, most: u32) -> u32 {
    if block.explicit {
        return block.bytes;
    }
    let share = (ALL_SEND_BYTES / streams.max(1)).min(most);
    block.bytes * (share / block.bytes).max(1)
}

fn receive_share(block: BlockSize, streams: u32, shares_with_peer: bool, cache_bytes: Option<u64>) -> u32 {
    if block.explicit {
        // Smaller buffers would only add completions.
        return block.bytes.max(EXPLICIT_RECEIVE_BYTES_MIN);
    }
    let most = match cache_share(cache_bytes) {
        _ if shares_with_peer && keeps_a_send(cache_bytes) => NEAR_SEND_BYTES,
        Some(share) if !shares_with_peer => share.min(RECEIVE_BYTES),
        Some(_) | None => RECEIVE_BYTES,
    };
    let share = ALL_RECEIVE_BYTES / (streams.max(1) * u32::from(RECEIVE_BUFFERS));
    share.clamp(RECEIVE_BYTES_MIN, most.max(RECEIVE_BYTES_MIN))
}

/// Bytes of one of two buffers that take a quarter of the cache together; `None` where that is too small.
fn cache_share(cache_bytes: Option<u64>) -> Option<u32> {
    let share = cache_bytes.filter(|cache| *cache >= CACHE_BYTES_MIN)? / 8;
    Some(u32::try_from(share).unwrap_or(u32::MAX))
}

/// The second-level cache of a processor, which does not change.
fn cache_bytes() -> Option<u64> {
    static BYTES: OnceLock<Option<u64>> = OnceLock::new();
    *BYTES.get_or_init(second_level_cache_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{Flow, Pacing, Tuning};
    use crate::sys::Socket;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn sends_are_whole_blocks_and_explicit_blocks_stay_alone() {
        let block = |bytes, explicit| BlockSize { bytes, explicit };
        assert_eq!(whole_blocks(block(64, true), 1, SEND_BYTES), 64);
        assert_eq!(whole_blocks(block(128 * 1024, false), 1, SEND_BYTES), SEND_BYTES);
        assert_eq!(whole_blocks(block(128 * 1024, false), 8, SEND_BYTES), 256 * 1024);
        assert_eq!(whole_blocks(block(128 * 1024, false), 128, SEND_BYTES), 128 * 1024);
    }

    #[test]
    fn sends_are_small_where_the_receiver_finds_them_in_its_cache() {
        for (shares_with_peer, cache, bytes) in [
            (true, Some(2 * MIB), NEAR_SEND_BYTES),
            (true, Some(MIB), SEND_BYTES),
            (true, Some(MIB / 2), SEND_BYTES),
            (true, None, SEND_BYTES),
            (false, Some(2 * MIB), SEND_BYTES),
        ] {
            assert_eq!(send_most(shares_with_peer, cache), bytes, "{shares_with_peer} {cache:?}");
        }
    }

    #[test]
    fn what_moves_few_bytes_takes_little_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let job = StreamJob { processors: 2, ..StreamJob::bare(Socket::from_stream(near), Flow::Send) };
        let block = job.block.bytes;
        for (blocks, sent) in [(1, block), (3, 3 * block), (8, SEND_BYTES), (100_000, SEND_BYTES)] {
            let few = StreamJob { whole_bytes: Some(u64::from(block) * blocks), ..job.clone() };
            assert_eq!(ring_send_bytes(&few), sent, "{blocks}");
            let usual = ring_receive_ways(&job)[0].bytes;
            assert_eq!(ring_receive_ways(&few)[0].bytes, usual.min(sent), "{blocks}");
        }
        let explicit = BlockSize { bytes: 1000, explicit: true };
        let few = StreamJob { block: explicit, whole_bytes: Some(1000), ..job };
        assert_eq!(ring_send_bytes(&few), 1000);
        assert_eq!(ring_receive_ways(&few)[0].bytes, EXPLICIT_RECEIVE_BYTES_MIN);
    }

    #[test]
    fn paced_senders_have_little_in_flight() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let job = StreamJob::bare(Socket::from_stream(near), Flow::Send);
        let paced_depth = |bits_per_second, burst_blocks| {
            let block = BlockSize { bytes: 4096, explicit: true };
            paced_depth(&StreamJob { block, pacing: Pacing { bits_per_second, burst_blocks }, ..job.clone() })
        };
        assert_eq!(paced_depth(10_000_000, 0), 15);
        assert_eq!(paced_depth(10_000_000, 100), 100);
        assert_eq!(paced_depth(1_000, 0), 1);
        assert_eq!(paced_depth(0, 0), usize::MAX);
    }

    #[test]
    fn a_receive_mark_is_tried_where_streams_have_a_processor_each() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let job = StreamJob::bare(Socket::from_stream(near), Flow::Receive);
        let marks = |job: &StreamJob| -> Vec<bool> {
            [ring_receive_ways(job), plain_receive_ways(job)].concat().iter().map(|way| way.marked).collect()
        };
        let both = StreamJob { processors: 2, ..job };
        assert_eq!(marks(&both), [true, false, true, false, true, false, true, false]);
        let plain: Vec<bool> = ring_receive_ways(&both).iter().map(|way| way.plain).collect();
        assert_eq!(plain, [false, false, true, true]);
        // Who asks for a ring gets no plain calls.
        let asked = StreamJob { asked: EngineChoice::Uring, ..both.clone() };
        assert!(ring_receive_ways(&asked).iter().all(|way| !way.plain));
        let bytes: Vec<u32> = plain_receive_ways(&both).iter().map(|way| way.bytes).collect();
        let (usual, large) = (PLAIN_RECEIVE_BYTES, LARGE_PLAIN_RECEIVE_BYTES);
        assert_eq!(bytes, [usual, usual, large, large]);
        let explicit = BlockSize { explicit: true, ..BlockSize::default() };
        let paced = Pacing { bits_per_second: 1, burst_blocks: 0 };
        let fixed = Tuning { mark_bytes: Some(0), ..Tuning::default() };
        for one in [
            StreamJob { block: explicit, ..both.clone() },
            StreamJob { pacing: paced, ..both.clone() },
            StreamJob { tuning: fixed, ..both.clone() },
        ] {
            assert_eq!(marks(&one), [true, true], "{one:?}");
        }
        // Both ends are here.
        assert_eq!(marks(&StreamJob { processors: 1, ..both.clone() }), [false, false]);
        assert_eq!(marks(&StreamJob { streams: 2, ..both }), [false, false]);
    }

    #[test]
    fn receive_buffers_fit_the_cache_where_it_is_large_and_many_streams_have_small_ones() {
        let default = BlockSize::default();
        for (streams, cache, bytes) in [
            (1, None, RECEIVE_BYTES),
            (1, Some(MIB / 2), RECEIVE_BYTES),
            (1, Some(MIB), RECEIVE_BYTES_MIN),
            (1, Some(2 * MIB), 256 * 1024),
            (1, Some(64 * MIB), RECEIVE_BYTES),
            (2, Some(MIB / 2), RECEIVE_BYTES),
            (8, Some(MIB / 2), 256 * 1024),
            (256, Some(2 * MIB), RECEIVE_BYTES_MIN),
        ] {
            let share = receive_share(default, streams, false, cache);
            assert_eq!(share, bytes, "{streams} streams, cache {cache:?}");
        }
        assert_eq!(receive_share(default, 2, true, Some(2 * MIB)), NEAR_SEND_BYTES);
        assert_eq!(receive_share(default, 2, true, Some(MIB)), RECEIVE_BYTES);
        assert_eq!(receive_share(default, 2, true, Some(MIB / 2)), RECEIVE_BYTES);
        let explicit = BlockSize { bytes: 64, explicit: true };
        assert_eq!(receive_share(explicit, 1, false, Some(2 * MIB)), EXPLICIT_RECEIVE_BYTES_MIN);
    }
}
