//! How much a stream moves at a time: from the job and facts about the machine to bytes. Every engine asks
//! here.
//!
//! Large operations save calls, small ones stay in the processor's cache. Which weighs more depends on the
//! machine (its second-level cache) and on whether the ends of a stream share a processor; docs/ENGINES.md
//! has what was measured. A size that the user fixed (`-l`, `--tune`) is what it is.

use std::sync::OnceLock;

use super::StreamJob;
use crate::config::{BlockSize, Flow, MAX_BLOCK_BYTES};
use crate::sys::second_level_cache_bytes;

/// Bytes of one send when no block size was asked for.
const SEND_BYTES: u32 = 1024 * 1024;
/// Registered memory of all sending rings of a test, so that the usual limit of 8 MiB per user is enough.
const REGISTERED_BYTES_MAX: u32 = 4 * 1024 * 1024;
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
/// Second-level caches below this do not hold what a receiver works on, whatever its buffers.
const CACHE_BYTES_MIN: u64 = 1024 * 1024;

/// Bytes of one send of a ring.
pub(super) fn ring_send_bytes(job: &StreamJob) -> u32 {
    job.tuning.send_bytes.unwrap_or_else(|| whole_blocks(job.block, job.streams, SEND_BYTES))
}

/// Bytes of one provided buffer of a receiving ring, of which there are [`RECEIVE_BUFFERS`].
pub(super) fn ring_receive_bytes(job: &StreamJob) -> u32 {
    job.tuning.receive_bytes.unwrap_or_else(|| receive_share(job.block, job.streams, cache_bytes()))
}

/// Bytes of one call of recv(2).
pub(super) fn plain_receive_bytes(job: &StreamJob) -> u32 {
    let usual = if job.block.explicit { job.block.bytes } else { PLAIN_RECEIVE_BYTES };
    job.tuning.receive_bytes.unwrap_or(usual).clamp(1, MAX_BLOCK_BYTES)
}

/// Bytes of one call of sendfile(2) or splice(2): fewer, longer ones leave the kernel fewer small segments at
/// their ends.
pub(super) fn file_send_bytes(job: &StreamJob) -> u32 {
    let usual = if job.block.explicit { job.block.bytes } else { SEND_BYTES };
    job.tuning.send_bytes.unwrap_or(usual)
}

/// What a stream moves at a time with one call of send(2).
pub(super) fn plain_send_bytes(job: &StreamJob) -> u32 {
    debug_assert_eq!(job.flow, Flow::Send);
    job.tuning.send_bytes.unwrap_or(job.block.bytes)
}

/// As many blocks as `most` holds, less where many streams share the registered memory; at least one. A block
/// size that was asked for stays alone.
fn whole_blocks(block: BlockSize, streams: u32, most: u32) -> u32 {
    if block.explicit {
        return block.bytes;
    }
    let share = (REGISTERED_BYTES_MAX / streams.max(1)).min(most);
    block.bytes * (share / block.bytes).max(1)
}

fn receive_share(block: BlockSize, streams: u32, cache_bytes: Option<u64>) -> u32 {
    if block.explicit {
        // Smaller buffers would only add completions.
        return block.bytes.max(EXPLICIT_RECEIVE_BYTES_MIN);
    }
    // Both buffers take a quarter of the cache.
    let fits = cache_bytes.filter(|cache| *cache >= CACHE_BYTES_MIN).map(|cache| cache / 8);
    let most =
        fits.and_then(|fits| u32::try_from(fits).ok()).map_or(RECEIVE_BYTES, |fits| fits.min(RECEIVE_BYTES));
    let share = ALL_RECEIVE_BYTES / (streams.max(1) * u32::from(RECEIVE_BUFFERS));
    share.clamp(RECEIVE_BYTES_MIN, most.max(RECEIVE_BYTES_MIN))
}

/// The second-level cache of a processor, which does not change.
fn cache_bytes() -> Option<u64> {
    static BYTES: OnceLock<Option<u64>> = OnceLock::new();
    *BYTES.get_or_init(second_level_cache_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn sends_are_whole_blocks_and_explicit_blocks_stay_alone() {
        let block = |bytes, explicit| BlockSize { bytes, explicit };
        assert_eq!(whole_blocks(block(64, true), 1, SEND_BYTES), 64);
        assert_eq!(whole_blocks(block(128 * 1024, false), 1, SEND_BYTES), SEND_BYTES);
        assert_eq!(whole_blocks(block(128 * 1024, false), 16, SEND_BYTES), 256 * 1024);
        assert_eq!(whole_blocks(block(128 * 1024, false), 128, SEND_BYTES), 128 * 1024);
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
            assert_eq!(receive_share(default, streams, cache), bytes, "{streams} streams, cache {cache:?}");
        }
        let explicit = BlockSize { bytes: 64, explicit: true };
        assert_eq!(receive_share(explicit, 1, Some(2 * MIB)), EXPLICIT_RECEIVE_BYTES_MIN);
    }
}
