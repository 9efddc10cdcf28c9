//! Too little memory that may be locked, too few descriptors.

use std::process::Command;
use std::time::Duration;

use super::serves_within;
use crate::harness::restrict::{
    PublicCopy, forbid_files, limit_address_space, limit_data, limit_files, limit_locked_memory,
};
use crate::harness::{
    Cells, Checked, Failure, Finished, Folder, Process, Program, Server, alone, ensure, is_listening, ours,
    pick, run_client, run_pair, shared, wait_until,
};

/// Its name, and what sets it.
type Limit = (&'static str, fn(&mut Command));

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn memory_that_may_be_locked_is_never_a_reason_to_fail() -> Checked {
    locked_memory(&[1, 16])
}

#[test]
#[ignore = "takes minutes"]
fn soak_memory_that_may_be_locked_with_many_streams() -> Checked {
    locked_memory(&[1, 16, 128])
}

fn locked_memory(parallel: &[u32]) -> Checked {
    let limits: [Limit; 4] = [
        ("0", limit_locked_memory::<0>),
        ("64 KiB", limit_locked_memory::<64>),
        ("1 MiB", limit_locked_memory::<1024>),
        ("8 MiB", limit_locked_memory::<8192>),
    ];
    let _permit = alone();
    let copy = PublicCopy::make()?;
    for (name, prepare) in limits {
        for streams in parallel {
            // The limit is one of the user, so both ends share it.
            let program = Program { path: copy.path.clone(), prepare, ..ours() };
            // Four threads for each stream: all of hundreds want a turn.
            let seconds = if *streams > 16 { 2.0 } else { 0.5 };
            let options = format!("-t {seconds} -P {streams} --bidir -J");
            let client = run_pair((&program, ""), (&program, &options))?.client;
            let document = client.document()?;
            let moved = document.totals()?.received > 0 && document.totals_back()?.received > 0;
            ensure!(moved, "nothing moved with {name} and {streams} streams\n{client}");
        }
    }
    Ok(())
}

/// Descriptors of a process that has a few for a test and not for one with many streams.
const FILES: u64 = 40;

#[test]
fn a_client_without_descriptors_says_so_and_leaves() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let poor = Program { prepare: limit_files::<FILES>, ..ours() };
    for options in ["-P 64", "-P 64 -R", "-P 64 -u -b 1M"] {
        let client = run_client(&poor, server.port, &format!("-t 1 {options}"))?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("open files"), "the reason is not said\n{client}");
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn a_server_without_descriptors_refuses_and_goes_on() -> Checked {
    let _permit = shared();
    let poor = Program { prepare: limit_files::<FILES>, ..ours() };
    let server = Server::start(&poor, "")?;
    for options in ["-P 64", "-P 64 -R", "-P 64 -u -b 1M"] {
        let client = run_client(&ours(), server.port, &format!("-t 1 {options}"))?;
        client.failed_with_one_line()?;
        serves_within(&server, Duration::from_secs(3))?;
    }
    Ok(())
}

/// Whatever a descriptor is wanted for when there is none left, the reason is said, with the way out, and at
/// once.
#[test]
fn at_every_limit_on_descriptors_a_test_runs_or_says_why_not() -> Checked {
    const SOON: Duration = Duration::from_secs(5);
    fn says_why(run: &Finished) -> Checked {
        let line = run.failed_with_one_line()?;
        ensure!(line.contains("open files") && line.contains("`ulimit -n`"), "the reason is not said\n{run}");
        Ok(())
    }
    let limits: [fn(&mut Command); 10] = [
        limit_files::<13>,
        limit_files::<15>,
        limit_files::<17>,
        limit_files::<18>,
        limit_files::<19>,
        limit_files::<20>,
        limit_files::<21>,
        limit_files::<23>,
        limit_files::<25>,
        limit_files::<28>,
    ];
    let mut cells = Cells::default();
    for (limit, prepare) in limits.into_iter().enumerate() {
        for options in ["-P 8", "-P 8 -R", "-P 4 --bidir", "-P 8 -u -b 1M"] {
            let poor = Program { prepare, ..ours() };
            let options = format!("-t 0.2 {options}");
            cells.add(format!("{options}, limit {limit} of a client"), {
                let (poor, options) = (poor.clone(), options.clone());
                move || {
                    let server = Server::start(&ours(), "")?;
                    let client = run_client(&poor, server.port, &options)?;
                    ensure!(client.elapsed < SOON, "after {:?}\n{client}", client.elapsed);
                    if client.code == Some(0) { Ok(()) } else { says_why(&client) }
                }
            });
            // With the first limit no client comes as far as having a test.
            if limit == 0 {
                continue;
            }
            cells.add(format!("{options}, limit {limit} of a server"), move || {
                let server = Server::start(&poor, "-1")?;
                let client = run_client(&ours(), server.port, &options)?;
                ensure!(client.elapsed < SOON, "after {:?}\n{client}", client.elapsed);
                if client.code == Some(0) {
                    return Ok(());
                }
                client.failed_with_one_line()?;
                let server = server.finish()?;
                ensure!(server.stderr.contains("`ulimit -n`"), "the reason is not said\n{server}\n{client}");
                Ok(())
            });
        }
    }
    cells.run()
}

/// Limits on memory, some of them too low for any server, most of them for as many streams as there may be.
const MEMORY: [Limit; 16] = [
    ("24 MiB", limit_address_space::<24>),
    ("32 MiB", limit_address_space::<32>),
    ("40 MiB", limit_address_space::<40>),
    ("60 MiB", limit_address_space::<60>),
    ("80 MiB", limit_address_space::<80>),
    ("120 MiB", limit_address_space::<120>),
    ("160 MiB", limit_address_space::<160>),
    ("200 MiB", limit_address_space::<200>),
    ("300 MiB", limit_address_space::<300>),
    ("500 MiB", limit_address_space::<500>),
    ("700 MiB", limit_address_space::<700>),
    ("12 MiB of data", limit_data::<12>),
    ("20 MiB of data", limit_data::<20>),
    ("40 MiB of data", limit_data::<40>),
    ("80 MiB of data", limit_data::<80>),
    ("160 MiB of data", limit_data::<160>),
];

/// A server goes on as before behind a test that it has no memory for.
#[test]
fn a_server_without_memory_refuses_and_goes_on() -> Checked {
    let mut cells = Cells::default();
    for (limit, prepare) in MEMORY {
        cells.add(limit, move || {
            let poor = Program { prepare, ..ours() };
            let port = pick();
            let server = Process::spawn(poor.command(&format!("-s -p {port}")))?;
            if !server.runs_until(LIMIT, || is_listening(port))? {
                server.finish(LIMIT)?.failed_with_one_line()?;
                return Ok(());
            }
            let serves = || run_client(&ours(), port, "-n 1M").is_ok_and(|client| client.code == Some(0));
            let served = serves();
            for options in ["", "--bidir", "-u -b 100K --bidir", "--peer-engine uring"] {
                let client = run_client(&ours(), port, &format!("-t 0.2 -P 128 {options}"))?;
                ensure!(server.is_running(), "{options}\n{}\n{client}", server.so_far());
                if client.code != Some(0) {
                    client.failed_with_one_line()?;
                }
                wait_until(LIMIT, || !served || serves())
                    .map_err(|_| Failure(format!("not served behind {options}\n{}", server.so_far())))?;
            }
            server.terminate()?;
            server.finish(LIMIT)?.succeeded()
        });
    }
    cells.run_heavy()
}

/// So does a client, which has one test.
#[test]
fn a_client_without_memory_says_so_and_leaves() -> Checked {
    let mut cells = Cells::default();
    for (limit, prepare) in MEMORY {
        for options in ["", "-R", "-u -b 100K"] {
            cells.add(format!("{limit}, {options}"), move || {
                let poor = Program { prepare, ..ours() };
                let server = Server::start(&ours(), "-1")?;
                let client = run_client(&poor, server.port, &format!("-t 0.2 -P 128 {options}"))?;
                if client.code == Some(0) {
                    return Ok(());
                }
                let line = client.failed_with_one_line()?;
                ensure!(line.contains("memory"), "the reason is not said\n{client}");
                Ok(())
            });
        }
    }
    cells.run_heavy()
}

/// A process that may make no file at all is told so by a signal, which would end it without a word.
#[test]
fn a_limit_on_files_is_an_error_like_others() -> Checked {
    let folder = Folder::new()?;
    let log = folder.file("log");
    let server = Server::start(&ours(), "-1")?;
    let limited = Program { prepare: forbid_files, ..ours() };
    let client = run_client(&limited, server.port, &format!("-n 1M --logfile {}", log.display()))?;
    let line = client.failed_with_one_line()?;
    let expected = format!("unable to write the report to {}: File too large", log.display());
    ensure!(line.contains(&expected), "{client}");
    Ok(())
}
