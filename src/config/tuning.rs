//! Sizes of the data path that are fixed for a measurement (`--tune`): what it would choose by itself is then
//! compared with what was best.

use std::str::FromStr;

use super::ranges::BLOCK_BYTES;
use crate::units::parse_bytes;

/// Most sends in flight.
pub const DEPTH_MAX: u32 = 256;

/// Sizes that are fixed; the data path chooses the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of one send, of [`BLOCK_BYTES`].
    pub send_bytes: Option<u32>,
    /// Bytes of one receive buffer, from 4096 to as many as a block may have.
    pub receive_bytes: Option<u32>,
    /// Largest receive mark (SO_RCVLOWAT) in bytes; 0 for none.
    pub mark_bytes: Option<u32>,
    /// Sends of a ring in flight, 1 to 256.
    pub depth: Option<u32>,
}

/// What is wrong with sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TuningError {
    /// Not of the form `send=256K,receive=128K,mark=0,depth=1`.
    #[error(
        "sizes are fixed by send=BYTES, receive=BYTES, mark=BYTES and depth=SENDS, with commas between them, not by {0:?}"
    )]
    Unreadable(String),
}

impl FromStr for Tuning {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Self, TuningError> {
        let mut tuning = Self::default();
        for part in text.split(',') {
            let unreadable = || TuningError::Unreadable(part.to_owned());
            let (name, size) = part.split_once('=').ok_or_else(unreadable)?;
            let bytes =
                parse_bytes(size).ok().and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(unreadable)?;
            let (place, range) = match name {
                "send" => (&mut tuning.send_bytes, BLOCK_BYTES.min..=BLOCK_BYTES.max),
                "receive" => (&mut tuning.receive_bytes, 4096..=BLOCK_BYTES.max),
                "mark" => (&mut tuning.mark_bytes, 0..=BLOCK_BYTES.max),
                "depth" => (&mut tuning.depth, 1..=DEPTH_MAX),
                _ => return Err(unreadable()),
            };
            *place = Some(bytes).filter(|bytes| range.contains(bytes));
            if place.is_none() {
                return Err(unreadable());
            }
        }
        Ok(tuning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named_and_within_bounds() {
        let tuning: Tuning = "send=256K,mark=0".parse().unwrap();
        assert_eq!(tuning, Tuning { send_bytes: Some(256 * 1024), mark_bytes: Some(0), ..Tuning::default() });
        assert_eq!("depth=2".parse::<Tuning>().unwrap().depth, Some(2));
        assert_eq!("receive=1M".parse::<Tuning>().unwrap().receive_bytes, Some(1024 * 1024));
        for wrong in [
            "",
            "send",
            "send=",
            "send=0",
            "receive=4095",
            "mark=2M",
            "depth=0",
            "depth=257",
            "width=1",
            "send=1K,",
            "send=x",
        ] {
            assert!(wrong.parse::<Tuning>().is_err(), "{wrong:?}");
        }
    }
}
