//! The JSON document of one test, with the questions that the tests ask it.

use std::fmt::Display;

use serde_json::Value;

use crate::harness::{Checked, Failure, ensure};

/// One JSON document.
pub struct Document(pub Value);

/// What the two ends of a direction, or of one stream, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub sent: u64,
    pub received: u64,
}

/// One stream, as one end reports it.
#[derive(Clone, Copy, Debug)]
pub struct StreamTotals {
    /// What both ends counted.
    pub totals: Totals,
    /// What the reporting end itself counted, in total.
    pub own: u64,
    /// What the reporting end itself counted, as the sum of its intervals.
    pub intervals: u64,
}

impl Document {
    /// Reads a text that must be exactly one document.
    pub fn parse(text: &str) -> Checked<Self> {
        let value = serde_json::from_str(text)
            .map_err(|error| Failure(format!("standard output is not one JSON document: {error}")))?;
        Ok(Self(value))
    }

    /// The value at a JSON pointer.
    pub fn at(&self, pointer: &str) -> Checked<&Value> {
        self.0.pointer(pointer).ok_or_else(|| self.lacks(&pointer))
    }

    /// The string at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Checked<&str> {
        self.at(pointer)?.as_str().ok_or_else(|| self.lacks(&format!("text {pointer}")))
    }

    /// The number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Checked<f64> {
        self.at(pointer)?.as_f64().ok_or_else(|| self.lacks(&format!("number {pointer}")))
    }

    /// The whole, non-negative number at a JSON pointer.
    pub fn integer(&self, pointer: &str) -> Checked<u64> {
        self.at(pointer)?.as_u64().ok_or_else(|| self.lacks(&format!("integer {pointer}")))
    }

    /// The array at a JSON pointer.
    pub fn list(&self, pointer: &str) -> Checked<&Vec<Value>> {
        self.at(pointer)?.as_array().ok_or_else(|| self.lacks(&format!("array {pointer}")))
    }

    /// The bytes at a JSON pointer; none where they are not known.
    fn bytes(&self, pointer: &str) -> Checked<u64> {
        if self.at(pointer)?.is_null() { Ok(0) } else { self.integer(pointer) }
    }

    /// Totals of the only direction, or in a bidirectional test of client to server.
    pub fn totals(&self) -> Checked<Totals> {
        let sent = self.bytes("/end/sum_sent/bytes")?;
        let received = self.bytes("/end/sum_received/bytes")?;
        Ok(Totals { sent, received })
    }

    /// Totals of server to client in a bidirectional test.
    pub fn totals_back(&self) -> Checked<Totals> {
        let sent = self.bytes("/end/sum_sent_bidir_reverse/bytes")?;
        let received = self.bytes("/end/sum_received_bidir_reverse/bytes")?;
        Ok(Totals { sent, received })
    }

    /// All streams in the order in which they were opened.
    pub fn streams(&self) -> Checked<Vec<StreamTotals>> {
        (0..self.list("/end/streams")?.len()).map(|index| self.stream(index)).collect()
    }

    fn stream(&self, index: usize) -> Checked<StreamTotals> {
        let sent = self.bytes(&format!("/end/streams/{index}/sender/bytes"))?;
        let received = self.bytes(&format!("/end/streams/{index}/receiver/bytes"))?;
        let sends = self.at(&format!("/end/streams/{index}/sender/sender"))? == &Value::Bool(true);
        let mut intervals = 0;
        for number in 0..self.list("/intervals")?.len() {
            let stream = format!("/intervals/{number}/streams/{index}");
            if self.at(&format!("{stream}/omitted"))? == &Value::Bool(false) {
                intervals += self.integer(&format!("{stream}/bytes"))?;
            }
        }
        let own = if sends { sent } else { received };
        Ok(StreamTotals { totals: Totals { sent, received }, own, intervals })
    }

    /// Each stream's intervals add up to its total, to the byte, and each interval's streams to its sums.
    pub fn adds_up(&self) -> Checked {
        for (index, stream) in self.streams()?.iter().enumerate() {
            let StreamTotals { own, intervals, .. } = *stream;
            ensure!(intervals == own, "stream {index}: intervals add up to {intervals}, total is {own}");
        }
        for (number, interval) in self.list("/intervals")?.iter().enumerate() {
            let bytes = |object: &Value| object["bytes"].as_u64().unwrap_or(0);
            let streams: u64 = interval["streams"].as_array().into_iter().flatten().map(bytes).sum();
            let sums = bytes(&interval["sum"]) + bytes(&interval["sum_bidir_reverse"]);
            ensure!(streams == sums, "interval {number}: streams add up to {streams}, its sums to {sums}");
        }
        Ok(())
    }

    /// Wherever the document speaks of losses, they are numbers that can be true.
    pub fn has_sane_losses(&self) -> Checked {
        let count = count_sane_losses(&self.0)?;
        ensure!(count > 0, "the document says nothing of losses\n{:#}", self.0);
        Ok(())
    }

    fn lacks(&self, what: &dyn Display) -> Failure {
        Failure(format!("the document lacks {what}\n{:#}", self.0))
    }
}

/// How many objects speak of losses, each with all its numbers in range.
fn count_sane_losses(value: &Value) -> Checked<usize> {
    let members: Vec<&Value> = match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    let mut count = 0;
    for member in members {
        count += count_sane_losses(member)?;
    }
    if value.get("lost_packets").is_some() {
        let (lost, packets) = (value["lost_packets"].as_u64(), value["packets"].as_u64());
        let real =
            |key: &str, most: f64| value[key].as_f64().is_some_and(|real| (0.0..=most).contains(&real));
        let is_unknown = ["lost_packets", "lost_percent", "jitter_ms"].iter().all(|key| value[key].is_null());
        let is_sane =
            lost.is_some() && lost <= packets && real("lost_percent", 100.0) && real("jitter_ms", 1e12);
        ensure!(is_sane || is_unknown, "not sane: {value:#}");
        count += 1;
    }
    Ok(count)
}
