//! docs/ringperf.service shuts away what a server does not need, and nothing that it does.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    Cells, Checked, Failure, Holdings, Server, ensure, ours, run, start_client, wait_until,
};

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

/// What docs/SERVER.md says of a server: at rest, for each test, and for each of many streams.
const THREADS: [u64; 3] = [4, 0, 1];
const DESCRIPTORS: [u64; 3] = [20 + 512, 3, 3];
const MEMORY_KIB: [u64; 3] = [24 * 1024, 4 * 1024, 2560];
/// Streams of a test with `-P 128 --bidir`.
const STREAMS_MAX: u64 = 256;

fn takes([rest, of_test, of_stream]: [u64; 3], tests: u64, streams: u64) -> u64 {
    rest + tests * (of_test + streams * of_stream)
}

/// The limits of the unit are enough for the tests of its own example.
#[test]
fn the_limits_of_the_unit_are_enough_for_its_example() -> Checked {
    let said = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SERVER.md"))?;
    for row in [
        "| threads | 3, and 1 while a file of `-F` is opened | 0 | 1 |",
        "| descriptors | 20, and 512 for connections without a test | 3 | 3: ",
        "| memory | 24 MiB | 4 MiB | 4 MiB; with more than 8 streams 2.5 MiB, ",
    ] {
        ensure!(said.contains(row), "the page says something else than {row:?}");
    }
    let unit = fs::read_to_string(UNIT)?;
    let missing = |what: &str| Failure(format!("no {what} in {UNIT}"));
    let example = unit.split("--max-tests ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let tests: u64 = example.ok_or_else(|| missing("--max-tests"))?;
    for (key, needs, unit_of) in [
        ("TasksMax", takes(THREADS, tests, STREAMS_MAX), 1),
        ("LimitNOFILE", takes(DESCRIPTORS, tests, STREAMS_MAX), 1),
        ("MemoryMax", takes(MEMORY_KIB, tests, STREAMS_MAX), 1024 * 1024),
    ] {
        let text = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        let number = text.and_then(|text| text.trim_end_matches('G').parse::<u64>().ok());
        let limit = number.ok_or_else(|| missing(key))? * unit_of;
        ensure!(limit >= needs, "{key} is {limit}, and {tests} tests need {needs}");
    }
    Ok(())
}

/// What the limits are computed from is what a server really holds.
#[test]
fn a_test_holds_no_more_than_what_is_said() -> Checked {
    const LIMIT: Duration = Duration::from_secs(20);
    let mut cells = Cells::default();
    for engine in ["auto", "uring", "uring-zc", "sync", "sendfile", "splice", "msg-zc"] {
        for options in ["-b 100K", "-b 100K -l 1M", "-b 100K -l 1M -R", "-u -b 100K"] {
            if options.contains("-u") && ["sendfile", "splice", "msg-zc"].contains(&engine) {
                continue;
            }
            cells.add(format!("{engine}, {options}"), move || {
                let parallel = 16;
                let server = Server::start(&ours(), "")?;
                let way = if options.contains("-R") { "" } else { "--bidir" };
                let streams = if way.is_empty() { parallel } else { 2 * parallel };
                let client = start_client(
                    &ours(),
                    server.port,
                    &format!("-t 30 -i 0.1 -P {parallel} {way} {options} --peer-engine {engine}"),
                )?;
                // Every stream has begun.
                client.wait_for_stdout("[SUM]", 4, LIMIT)?;
                wait_until(LIMIT, || Holdings::of(&server.process).is_ok_and(|now| now.threads > 16))?;
                let Holdings { files, threads, memory_kib } = Holdings::of(&server.process)?;
                let held = [threads, files].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
                let most = [THREADS, DESCRIPTORS].map(|each| takes(each, 1, streams));
                ensure!(held[0] <= most[0], "{} threads, {} are said", held[0], most[0]);
                ensure!(held[1] + 512 <= most[1], "{} descriptors, {} are said", held[1], most[1] - 512);
                let most = takes(MEMORY_KIB, 1, streams);
                ensure!(memory_kib <= most, "{memory_kib} KiB, {most} are said");
                Ok(())
            });
        }
    }
    cells.run()
}
