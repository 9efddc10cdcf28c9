//! Each call that makes a ring is refused with each error that it has: the test is done another way.

use std::process::Command;
use std::time::Duration;

use nix::libc;

use crate::harness::restrict::{SETUP, refuse, refuse_registering};
use crate::harness::{
    Account, Cells, Checked, Program, Server, Way, ensure, ours, run_client, run_pair, shared,
};

/// What is done to a command, with its name.
type Refusal = (&'static str, fn(&mut Command));

const SETUPS: [Refusal; 5] = [
    ("EPERM", refuse::<SETUP, { libc::EPERM }>),
    ("ENOSYS", refuse::<SETUP, { libc::ENOSYS }>),
    ("ENOMEM", refuse::<SETUP, { libc::ENOMEM }>),
    ("EMFILE", refuse::<SETUP, { libc::EMFILE }>),
    ("EINVAL", refuse::<SETUP, { libc::EINVAL }>),
];

#[test]
fn every_test_is_done_where_no_ring_can_be_made() -> Checked {
    let mut cells = Cells::default();
    for (name, prepare) in SETUPS {
        for (way, protocol) in
            Way::ALL.into_iter().flat_map(|way| ["", "-u -b 20M -l 1400"].map(|p| (way, p)))
        {
            cells.add(format!("{name} {way:?} {protocol}"), move || {
                let program = Program { prepare, ..ours() };
                let options = format!("-n 140K -J {protocol} {}", way.option());
                let pair = run_pair((&program, "-J"), (&program, &options))?;
                for document in [pair.client.document()?, pair.server.document()?] {
                    for engine in document.list("/ringperf/engines")? {
                        let reason = engine["reason"].as_str().unwrap_or_default();
                        ensure!(engine["used"] == "sync" && reason.contains(name), "no cause in {engine}");
                        ensure!(
                            engine["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
                            "no fix: {engine}"
                        );
                    }
                }
                if !protocol.is_empty() {
                    pair.client.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
                }
                Ok(())
            });
        }
    }
    cells.run()
}

#[test]
fn the_text_names_cause_and_fix_once() -> Checked {
    let _permit = shared();
    let program = Program { prepare: SETUPS[0].1, ..ours() };
    let client = run_pair((&program, ""), (&program, "-n 1K"))?.client;
    let own: Vec<&str> = client.stdout.lines().filter(|line| line.starts_with("Engine:")).collect();
    ensure!(own.len() == 1 && own[0].contains("EPERM") && own[0].contains("sync"), "{own:?}\n{client}");
    ensure!(client.stderr.is_empty(), "something on standard error\n{client}");
    Ok(())
}

#[test]
fn an_engine_that_was_asked_for_ends_at_once_with_cause_and_fix() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for (name, prepare) in SETUPS {
        let program = Program { prepare, ..ours() };
        let client = run_client(&program, server.port, "-t 1 --engine uring")?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains(name) && line.contains("io_uring"), "no cause\n{client}");
        let fixes = ["seccomp", "Linux 6.1", "ulimit -l", "ulimit -n"];
        ensure!(fixes.iter().any(|fix| line.contains(fix)), "no fix\n{client}");
        ensure!(client.elapsed < Duration::from_secs(3), "took {:?}\n{client}", client.elapsed);
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

/// One error of one operation of io_uring_register.
macro_rules! refusals {
    ($($operation:literal)+) => {
        [$(
            ($operation, "ENOMEM", refuse_registering::<$operation, { libc::ENOMEM }> as fn(&mut Command)),
            ($operation, "EINVAL", refuse_registering::<$operation, { libc::EINVAL }>),
            ($operation, "EOPNOTSUPP", refuse_registering::<$operation, { libc::EOPNOTSUPP }>),
            ($operation, "EPERM", refuse_registering::<$operation, { libc::EPERM }>),
        )+]
    };
}

#[test]
fn what_cannot_be_registered_costs_one_step() -> Checked {
    const BUFFERS: u32 = 0;
    const PROBE: u32 = 8;
    const BUFFER_RING: u32 = 22;
    let mut cells = Cells::default();
    // Buffers, files, the probe, restrictions, the enabling of a ring, a ring of buffers.
    for (operation, name, prepare) in refusals!(0 2 8 11 12 22) {
        cells.add(format!("operation {operation} {name}"), move || {
            let program = Program { prepare, ..ours() };
            let pair = run_pair((&program, "-J"), (&program, "-n 1M -J --bidir"))?;
            let document = pair.client.document()?;
            for engine in document.list("/ringperf/engines")? {
                let sends = engine["flow"] == "send";
                let expected = match operation {
                    // Without registered memory, or if it cannot know whether there are sends by reference, a
                    // sender copies and a receiver does not care.
                    BUFFERS | PROBE => "uring",
                    BUFFER_RING if sends => continue,
                    _ => "sync",
                };
                let reason = engine["reason"].as_str().unwrap_or_default();
                let said = reason.contains(name) || (matches!(operation, BUFFERS | PROBE) && !sends);
                ensure!(engine["used"] == expected && said, "not {expected} for {name}: {engine}");
            }
            let (there, back) = (document.totals()?, document.totals_back()?);
            ensure!(there.received > 0 && back.received > 0, "{there:?} {back:?}");
            Ok(())
        });
    }
    cells.run()
}

/// As Linux before 6.9 does.
#[test]
fn a_ring_that_cannot_poll_is_no_engine_for_who_wants_to() -> Checked {
    let _permit = shared();
    const NAPI: u32 = 27;
    let program = Program { prepare: refuse_registering::<NAPI, { libc::EINVAL }>, ..ours() };
    let server = Server::start(&ours(), "")?;
    for options in ["", "-R", "-u -b 10M", "-u -b 10M -R"] {
        let asked = format!("-t 0.3 -J --busy-poll 50 {options}");
        let document = run_client(&program, server.port, &asked)?.document()?;
        let engine = document.at("/ringperf/engines/0")?;
        let reason = engine["reason"].as_str().unwrap_or_default();
        ensure!(engine["used"] == "sync" && reason.contains("poll the network card"), "{engine:#}");
        ensure!(engine["busy_poll"]["set_us"] == 50, "{engine:#}");
    }
    let client = run_client(&program, server.port, "-t 0.3 --engine uring --busy-poll 50")?;
    ensure!(client.failed_with_one_line()?.contains("Linux 6.9"), "{client}");
    // Nobody else notices.
    let document = run_client(&program, server.port, "-t 0.3 -J -R --no-adapt")?.document()?;
    ensure!(document.text("/ringperf/engines/0/used")? == "uring", "{:#}", document.0);
    Ok(())
}
