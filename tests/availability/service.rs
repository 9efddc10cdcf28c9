//! docs/ringperf.service shuts away what a server does not need, and nothing that it does.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Checked, Failure, ensure, ours, run};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ringperf.service");

/// systemd's own judgement, on a scale of 0 to 10 where less is better; the option takes it times ten.
#[test]
fn systemd_sees_little_exposure() -> Checked {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--threshold=25", "--no-pager", UNIT]);
    let judged = run(command).map_err(|Failure(why)| Failure(format!("{why}: run `make peers`")))?;
    judged.succeeded()?;
    ensure!(judged.stdout.contains("Overall exposure level"), "no judgement\n{judged}");
    Ok(())
}

/// What the unit starts is a command line that this build takes.
#[test]
fn the_unit_starts_a_public_server() -> Checked {
    let unit = fs::read_to_string(UNIT)?;
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/ringperf "));
    let options = command.ok_or_else(|| Failure(format!("no ExecStart in {UNIT}")))?;
    ensure!(options.split(' ').any(|option| option == "--public"), "not public: {options}");
    let server = run(ours().command(&format!("{options} -p 0 -1 --idle-timeout 1")))?;
    server.succeeded()?;
    ensure!(server.elapsed < Duration::from_secs(5), "took {:?}", server.elapsed);
    Ok(())
}
