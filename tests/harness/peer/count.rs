//! What a server of datagrams has counted.

use serde_json::Value;

use crate::harness::{Checked, Failure, ensure};

/// What a server has counted, all its streams in the order of their numbers: its results, and under `part`
/// what it has told as a ringperf.
pub struct Count(Value);

impl Count {
    pub fn read(results: &str, part: &str) -> Checked<Self> {
        let read = |text| serde_json::from_str(text).map_err(|error| Failure(format!("{error} in {text}")));
        let mut value: Value = read(results)?;
        value["part"] = read(part)?;
        Ok(Self(value))
    }

    /// A number of a stream's results.
    pub fn of(&self, stream: usize, key: &str) -> Checked<i64> {
        self.number(&format!("/streams/{stream}/{key}"))
    }

    /// A number of what only ringperfs tell of a stream.
    pub fn detail(&self, stream: usize, key: &str) -> Checked<i64> {
        self.number(&format!("/part/datagrams/{stream}/{key}"))
    }

    /// The jitter of a stream, in seconds.
    pub fn jitter(&self, stream: usize) -> Checked<f64> {
        let number = self.0.pointer(&format!("/streams/{stream}/jitter")).and_then(Value::as_f64);
        number.ok_or_else(|| Failure(format!("no jitter in {:#}", self.0)))
    }

    /// Exactly so many datagrams came on each stream, each one once and in order, and nothing was lost.
    pub fn is_clean(&self, streams: usize, packets: i64) -> Checked {
        for stream in 0..streams {
            self.has(
                stream,
                &[("packets", packets), ("errors", 0)],
                &[("received", packets), ("duplicates", 0), ("reordered", 0), ("foreign", 0)],
            )?;
        }
        Ok(())
    }

    /// A stream has exactly these results and details.
    pub fn has(&self, stream: usize, results: &[(&str, i64)], details: &[(&str, i64)]) -> Checked {
        for &(key, expected) in results {
            let found = self.of(stream, key)?;
            ensure!(found == expected, "{key} is {found} instead of {expected}\n{:#}", self.0);
        }
        for &(key, expected) in details {
            let found = self.detail(stream, key)?;
            ensure!(found == expected, "{key} is {found} instead of {expected}\n{:#}", self.0);
        }
        Ok(())
    }

    fn number(&self, pointer: &str) -> Checked<i64> {
        let number = self.0.pointer(pointer).and_then(Value::as_i64);
        number.ok_or_else(|| Failure(format!("no {pointer} in {:#}", self.0)))
    }
}
