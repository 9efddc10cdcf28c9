//! What is sent: the same bytes on every engine.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StreamJob;
use crate::config::MAX_BLOCK_BYTES;
use crate::sys::{Missing, Region, plain, random_bytes};

/// Memory of `bytes` bytes filled with the payload that the job asks for.
///
/// # Errors
/// What is missing when there is no memory for it, or the kernel gives no random bytes.
pub(super) fn payload(job: &StreamJob, bytes: u32) -> Result<Region, Missing> {
    let mut region = memory(bytes)?;
    fill(region.as_mut_slice(), job.repeating_payload).map_err(|error| Missing {
        reason: format!("no random bytes for the payload: {}", plain(&error)),
        fix: "allow getrandom(2), or use --repeating-payload".to_owned(),
    })?;
    Ok(region)
}

/// The same, where the first `part_bytes` bytes may follow each other until there are `bytes`: the processor
/// then reads from its cache what would not fit it otherwise.
///
/// # Errors
/// As [`payload`].
pub(super) fn repeating_payload(job: &StreamJob, part_bytes: u32, bytes: u32) -> Result<Region, Missing> {
    let part = payload(job, part_bytes)?;
    let times = usize::try_from(bytes / part_bytes).expect("a u32 fits a usize on Linux");
    match times {
        1 => Ok(part),
        // Only speed is lost where the system refuses.
        _ => Region::repeating(part.as_slice(), times).or_else(|_| payload(job, bytes)),
    }
}

/// Digits over and over, or random bytes.
fn fill(payload: &mut [u8], repeating: bool) -> io::Result<()> {
    if repeating {
        for (byte, digit) in payload.iter_mut().zip((b'0'..=b'9').cycle()) {
            *byte = digit;
        }
    } else {
        let longest = usize::try_from(MAX_BLOCK_BYTES).expect("a u32 fits a usize on Linux");
        let random = random_bytes_of_process(payload.len().min(longest))?;
        for chunk in payload.chunks_mut(longest) {
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
    Ok(())
}

/// Memory of `bytes` bytes to receive into.
///
/// # Errors
/// What is missing when there is no memory for it.
pub(super) fn memory(bytes: u32) -> Result<Region, Missing> {
    let bytes = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
    Region::new(bytes).map_err(|error| Missing {
        reason: format!("no memory for {bytes} bytes of buffer: {}", plain(&error)),
        fix: "use fewer streams or a smaller block".to_owned(),
    })
}

/// At least so many random bytes, the same for all streams of the process: what matters is that no device can
/// compress them. They are drawn as they are needed, since a short test would wait for those of a long block.
fn random_bytes_of_process(least: usize) -> io::Result<MutexGuard<'static, Vec<u8>>> {
    static DRAWN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = drawn.len();
    if before < least {
        // A client chooses how many they are.
        drawn.try_reserve_exact(least - before)?;
        drawn.resize(least, 0);
        random_bytes(&mut drawn[before..]).inspect_err(|_| drawn.truncate(before))?;
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_digits_or_cannot_be_compressed() {
        let mut payload = vec![0; 3_000_000];
        fill(&mut payload, true).unwrap();
        assert_eq!(&payload[..12], b"012345678901");
        assert_eq!(payload[2_999_999], b'9');
        fill(&mut payload, false).unwrap();
        for half in payload.chunks(1_500_000) {
            let mut seen = [0_u32; 256];
            half.iter().for_each(|&byte| seen[usize::from(byte)] += 1);
            assert!(seen.iter().all(|&count| (4_000..8_000).contains(&count)), "{seen:?}");
        }
    }
}
