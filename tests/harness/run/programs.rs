//! The programs that are run: ringperf and its peers.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::OnceLock;
use std::{env, fs, thread};

use super::installed::installed;
use crate::harness::{Checked, Failure};

/// A program with iperf3's command line.
#[derive(Clone)]
pub struct Program {
    /// How failure texts call it.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
    /// It has `--skip-rx-copy` (iperf3 since 3.19).
    pub skips_rx_copy: bool,
    /// It has `--gsro` (iperf3 since 3.21).
    pub has_gsro: bool,
    /// What is done to each command before it is started.
    pub prepare: fn(&mut Command),
}

impl Program {
    /// The program with these arguments, separated by white space.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments.split_whitespace()).env("LC_ALL", "C");
        (self.prepare)(&mut command);
        command
    }
}

/// The ringperf of this build; the environment variable `RINGPERF_BIN` names another one to be tested
/// instead.
pub fn ours() -> Program {
    let path = env::var_os("RINGPERF_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringperf")), PathBuf::from);
    Program { name: "ringperf", path, skips_rx_copy: true, has_gsro: true, prepare: |_| {} }
}

/// The same called `iperf3`, through a link of that name as it stands in for the real one.
pub fn as_iperf3() -> Checked<Program> {
    static LINK: OnceLock<PathBuf> = OnceLock::new();
    let ours = ours();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("called");
    let link = folder.join("iperf3");
    if LINK.get().is_none() {
        fs::create_dir_all(&folder)?;
        // Renamed into its place, so that a test of another run never finds it missing.
        let new = folder.join(format!("iperf3-{}-{:?}", process::id(), thread::current().id()));
        symlink(&ours.path, &new)?;
        fs::rename(&new, &link)?;
    }
    Ok(Program { name: "ringperf as iperf3", path: LINK.get_or_init(|| link).clone(), ..ours })
}

/// The distribution's iperf3: one thread for everything, as iperf3 was before 3.16.
pub fn debian() -> Checked<Program> {
    let path = find("iperf3")?;
    Ok(Program { name: "iperf3", path, skips_rx_copy: false, has_gsro: false, prepare: |_| {} })
}

/// iperf3-rs: a wrapper around a libiperf of 3.22, with a thread per stream.
pub fn libiperf() -> Checked<Program> {
    let path = find("iperf3-rs")?;
    Ok(Program { name: "iperf3-rs", path, skips_rx_copy: true, has_gsro: true, prepare: |_| {} })
}

fn find(name: &str) -> Checked<PathBuf> {
    installed(name).ok_or_else(|| Failure(format!("the peer {name} is not installed: run `make peers`")))
}
