//! That the numbers of a test are true and belong together, whatever was asked for: [`counted`] tests of
//! bytes and blocks, [`bursts`], tests with an [`omitted`] part and both together (`omitted_counts`),
//! [`retransmits`] beside those of the kernel, an [`outage`], [`large`] messages, [`any`] options after any
//! others, and what is [`unknown`].

mod any;
mod bursts;
mod counted;
mod large;
mod omitted;
mod omitted_counts;
mod outage;
mod retransmits;
mod unknown;

use serde_json::Value;

use crate::harness::Document;

/// The counted intervals of a sum, or of a stream if `of` finds one.
fn counted<'a>(document: &'a Document, of: impl Fn(&'a Value) -> &'a Value) -> Vec<&'a Value> {
    let intervals = document.0["intervals"].as_array().into_iter().flatten().map(of);
    intervals.filter(|interval| interval["omitted"] == false).collect()
}

/// A whole number of an object, 0 if it has none.
fn integer(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or(0)
}
