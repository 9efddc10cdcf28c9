//! Recorded machines, and spoilt texts, for tests.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::reading::{Absence, Reading};
use super::source::{Source, text};

/// A tree of files by their whole paths. A folder is there as soon as a file in it is.
#[derive(Clone, Default)]
pub struct Recorded {
    files: BTreeMap<String, Reading<Vec<u8>>>,
}

impl Recorded {
    /// A tree of these files with their texts.
    pub fn new(files: &[(&str, &str)]) -> Self {
        files.iter().fold(Self::default(), |tree, (path, text)| tree.with(path, text))
    }

    /// This tree with a file more, or with another text in it.
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), Ok(text.as_bytes().to_vec()));
        self
    }

    /// This tree with a file that cannot be read.
    pub fn refusing(mut self, path: &str, why: Absence) -> Self {
        self.files.insert(path.to_owned(), Err(why));
        self
    }

    /// This tree without the files whose paths begin like this.
    pub fn without(mut self, path: &str) -> Self {
        self.files.retain(|file, _| !file.starts_with(path));
        self
    }
}

impl Source for Recorded {
    fn read(&self, path: &str) -> Reading<String> {
        text(self.files.get(path).cloned().unwrap_or(Err(Absence::NotHere))?)
    }

    fn list(&self, folder: &str) -> Reading<Vec<String>> {
        let below = |path: &String| {
            let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some(rest.split('/').next().unwrap_or_default().to_owned())
        };
        let names: BTreeSet<String> = self.files.keys().filter_map(below).collect();
        if names.is_empty() { Err(Absence::NotHere) } else { Ok(names.into_iter().collect()) }
    }
}

/// This text with some pieces of it replaced by bytes, mostly such as it has itself; or any bytes at all.
pub fn spoilt(text: &'static str) -> impl Strategy<Value = String> {
    let byte = prop_oneof![any::<u8>(), b'0'..=b'9', Just(b' '), Just(b'\n'), Just(b':'), Just(b'/')];
    let piece = (any::<Index>(), 0_usize..12, vec(byte, 0..6));
    let changed = vec(piece, 0..5).prop_map(move |pieces| {
        let mut bytes = text.as_bytes().to_vec();
        for (from, length, with) in pieces {
            let from = from.index(bytes.len() + 1);
            let to = bytes.len().min(from + length);
            bytes.splice(from..to, with);
        }
        bytes
    });
    let cut = any::<Index>().prop_map(move |at| text.as_bytes()[..at.index(text.len() + 1)].to_vec());
    prop_oneof![4 => changed, 1 => cut, 1 => vec(any::<u8>(), 0..300)]
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
