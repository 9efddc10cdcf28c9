//! Folders for the files of a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::Checked;

/// An empty folder of one test's own. It is removed when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Checked<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringperf-test-folder-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it, which need not be there.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays in the temporary folder hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
