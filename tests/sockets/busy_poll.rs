//! Data sockets that poll the network card: what the kernel is told, and what the report says of it.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::{
    Cable, Cells, Checked, DEVICE, Folder, Server, ensure, libiperf, ours, run, run_client, run_pair,
    set_merging, set_segmentation, shared,
};

/// What the report says over loopback.
const NO_EFFECT: &str = "Busy polling: 50 us asked, 50 us set, no effect: nothing came in through a NAPI that \
                         could be polled (as on loopback and veth)";

#[test]
fn the_kernel_is_told_of_each_data_socket_and_of_each_ring() -> Checked {
    let mut cells = Cells::default();
    for (options, sockets, rings) in [
        ("-P 2 --engine uring", 2, 2),
        ("-P 2 -R --engine uring", 2, 2),
        ("--bidir --engine sync", 2, 0),
        ("-u -b 10M --engine uring", 1, 1),
        ("-u -b 10M -R --engine uring", 1, 1),
        ("-u -b 10M -R --engine sync", 1, 0),
    ] {
        cells.add(options, move || {
            let server = Server::start(&ours(), "")?;
            let connect = format!("-c 127.0.0.1 -p {} -t 0.3", server.port);
            // One more is tried before there is a connection.
            let seen = calls(&format!("{connect} --busy-poll 50 {options}"))?;
            ensure!(seen == (sockets + 1, rings), "{options}: {seen:?}");
            let seen = calls(&format!("{connect} {options}"))?;
            ensure!(seen == (0, 0), "{options} without: {seen:?}");
            Ok(())
        });
    }
    cells.run()
}

/// How many sockets ringperf tells to poll for 50 us, and how many rings it tells to poll at all.
fn calls(options: &str) -> Checked<(usize, usize)> {
    let folder = Folder::new()?;
    let record = folder.file("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=setsockopt,io_uring_register", "-o"]).arg(&record);
    command.arg(ours().path).args(options.split_whitespace()).env("LC_ALL", "C");
    run(command)?.succeeded()?;
    let record = fs::read_to_string(record)?;
    // An old strace has only the number of an operation that is newer than it.
    let is_napi = |line: &&str| line.contains("IORING_REGISTER_NAPI") || line.contains("0x1b /*");
    let sockets = record.lines().filter(|line| line.contains("SO_BUSY_POLL, [50], 4) = 0")).count();
    Ok((sockets, record.lines().filter(is_napi).count()))
}

#[test]
fn a_report_says_that_it_had_no_effect() -> Checked {
    let mut cells = Cells::default();
    for options in ["-P 2", "-R", "--bidir --engine sync", "-u -b 10M", "-u -b 10M -R"] {
        cells.add(options, move || {
            let asked = format!("-t 0.3 --busy-poll 50 {options}");
            let client = run_pair((&ours(), ""), (&ours(), &asked))?.client;
            let lines = client.stdout.lines().filter(|line| line.trim() == NO_EFFECT).count();
            ensure!(lines == if options.contains("bidir") { 2 } else { 1 }, "{client}");
            let pair = run_pair((&ours(), "-J --busy-poll 20"), (&ours(), &format!("{asked} -J")))?;
            let (client, server) = (pair.client.document()?, pair.server.document()?);
            // An option of one end: each has its own.
            for (engines, micros) in [
                (client.list("/ringperf/engines")?, 50),
                (client.list("/ringperf/peer/engines")?, 20),
                (server.list("/ringperf/engines")?, 20),
            ] {
                for engine in engines {
                    let busy_poll = &engine["busy_poll"];
                    let is_set = busy_poll["asked_us"] == micros && busy_poll["set_us"] == micros;
                    ensure!(is_set && busy_poll["napi_streams"] == 0, "{engine:#}");
                }
            }
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn nobody_else_polls_or_speaks_of_it() -> Checked {
    let _permit = shared();
    let document = run_pair((&ours(), ""), (&ours(), "-t 0.3 -J --busy-poll 50"))?.client.document()?;
    ensure!(document.at("/ringperf/peer/engines/0")?.get("busy_poll").is_none(), "{:#}", document.0);
    let client = run_pair((&ours(), ""), (&ours(), "-t 0.3"))?.client;
    ensure!(!client.stdout.contains("Busy polling"), "{client}");
    run_pair((&libiperf()?, ""), (&ours(), "-t 0.3 --busy-poll 50")).map(|_| ())
}

#[test]
fn a_card_that_can_be_polled_is_told_of() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    // What the server sends comes to the client as from a card.
    cable.server.within(|| Ok(set_segmentation(DEVICE, false)?))?;
    cable.client.within(|| Ok(set_merging(DEVICE, true)?))?;
    for options in ["-R -P 2 --engine uring", "-R -P 2 --engine sync"] {
        let server = cable.start_server(&ours(), "-1")?;
        let asked = format!("-t 0.5 -J --busy-poll 50 {options}");
        let document = cable.run_client(&ours(), server.port, &asked)?.document()?;
        server.finish()?.succeeded()?;
        let busy_poll = document.at("/ringperf/engines/0/busy_poll")?;
        let expected = json!({"asked_us": 50, "set_us": 50, "streams": 2, "napi_streams": 2});
        ensure!(*busy_poll == expected, "{options}: {busy_poll:#}");
    }
    Ok(())
}

#[test]
fn what_is_no_time_to_poll_is_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for value in ["0", "10001", "-1", "50us", ""] {
        let mut command = ours().command(&format!("-c 127.0.0.1 -p {} -t 0.3", server.port));
        command.arg(format!("--busy-poll={value}"));
        let refused = run(command)?;
        let is_refused = refused.stderr.contains("is polled for 1 to 10000 microseconds");
        ensure!(is_refused && refused.code == Some(1), "{refused}");
    }
    run_client(&ours(), server.port, "-n 1K --busy-poll 10000")?.succeeded()
}
