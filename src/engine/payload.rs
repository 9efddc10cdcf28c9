//! What is sent: the same bytes on every engine.

use std::io;

use super::StreamJob;
use crate::sys::{Missing, Region, error_message, random_bytes};

/// Memory of `bytes` bytes filled with the payload that the job asks for.
///
/// # Errors
/// What is missing when there is no memory for it, or the kernel gives no random bytes.
pub(super) fn payload(job: &StreamJob, bytes: u32) -> Result<Region, Missing> {
    let mut region = memory(bytes)?;
    fill(region.as_mut_slice(), job.repeating_payload).map_err(|error| Missing {
        reason: format!("no random bytes for the payload: {}", error_message(&error)),
        fix: "allow getrandom(2), or use --repeating-payload".to_owned(),
    })?;
    Ok(region)
}

/// Memory of `bytes` bytes in which a payload of `part_bytes` bytes may stand again and again: the processor
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

/// Digits over and over, or bytes that no device can compress.
fn fill(payload: &mut [u8], repeating: bool) -> io::Result<()> {
    if repeating {
        for (byte, digit) in payload.iter_mut().zip((b'0'..=b'9').cycle()) {
            *byte = digit;
        }
        return Ok(());
    }
    let mut seed = [0; 8];
    random_bytes(&mut seed)?;
    let mut noise = SplitMix64(u64::from_ne_bytes(seed));
    for piece in payload.chunks_mut(8) {
        piece.copy_from_slice(&noise.next().to_ne_bytes()[..piece.len()]);
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
        reason: format!("no memory for {bytes} bytes of buffer: {}", error_message(&error)),
        fix: "use fewer streams or a smaller block".to_owned(),
    })
}

/// The generator of that name (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014). It is far faster than the kernel's, for which a short test would wait, and nobody needs a payload
/// that cannot be guessed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs for this seed at https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
        let mut noise = SplitMix64(1_234_567);
        assert_eq!(
            [noise.next(), noise.next(), noise.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_payload_is_digits_or_cannot_be_compressed() {
        let mut payload = vec![0; 3_000_000];
        fill(&mut payload, true).unwrap();
        assert_eq!(&payload[..12], b"012345678901");
        assert_eq!(payload[2_999_999], b'9');
        let mut other = payload.clone();
        fill(&mut payload, false).unwrap();
        fill(&mut other, false).unwrap();
        assert_ne!(payload[..8], other[..8], "each has its own seed");
        for half in payload.chunks(1_500_000) {
            let mut seen = [0_u32; 256];
            half.iter().for_each(|&byte| seen[usize::from(byte)] += 1);
            assert!(seen.iter().all(|&count| (4_000..8_000).contains(&count)), "{seen:?}");
        }
    }
}
