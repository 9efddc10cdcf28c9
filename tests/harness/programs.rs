//! The programs that are run: ringperf and its peers.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::installed::installed;
use super::{Checked, Failure};

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
