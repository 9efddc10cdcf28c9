//! A path that is narrower somewhere than the cables at both ends: the first datagrams are lost, a router
//! says so, and the others go in fragments.

use std::time::Duration;

use super::Account;
use crate::harness::{Cable, Cells, Checked, Document, Failure, Finished, ensure, ours, shared};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
/// What passes between the routers.
const MTU: u32 = 1400;
/// Bytes of a datagram of its own size, and of its headers.
const SIZES: [(u32, u32); 2] = [(1448, 28), (1428, 48)];

#[test]
fn datagrams_go_in_fragments_where_the_path_is_narrower_than_the_cable() -> Checked {
    let mut cells = Cells::default();
    for options in
        ["", "-R", "--engine sync", "--engine uring -R -6", "--engine uring-zc -b 100M/100 -6", "-P 2"]
    {
        cells.add(options, move || narrow_from_the_start(options));
    }
    for options in ["", "--bidir --no-offload", "--engine sync -b 50M/50 -R -6"] {
        cells.add(format!("{options} in mid-test"), move || narrow_in_mid_test(options));
    }
    let _permit = shared();
    cells.run_at_once()
}

fn narrow_from_the_start(options: &str) -> Checked {
    let cable = Cable::lay_routed(MTU)?;
    let server = cable.start_server(&ours(), "-1 -J")?;
    let client = cable.run_client(&ours(), server.port, &format!("-u -J -t 0.5 -b 10M {options}"))?;
    went_on(&server.finish()?, &client, options, MTU)
}

fn narrow_in_mid_test(options: &str) -> Checked {
    let cable = Cable::lay_routed(1500)?;
    let server = cable.start_server(&ours(), "-1 -i 0.1")?;
    let options = format!("-b 10M {options}");
    let client = cable.start_client(&ours(), server.port, &format!("-u -J -t 1.5 {options}"))?;
    server.process.wait_for_stdout(" sec ", 2, LIMIT)?;
    cable.narrow(1300)?;
    went_on(&server.finish()?, &client.finish(LIMIT)?, &options, 1300)
}

/// The test came to its end, with an account of each datagram, and it was said once what has happened.
fn went_on(server: &Finished, client: &Finished, options: &str, mtu: u32) -> Checked {
    let judge = || {
        client.succeeded()?;
        server.succeeded()?;
        let document = client.document()?;
        let (bytes, headers) = SIZES[usize::from(options.contains("-6"))];
        let reason = format!("datagrams of {bytes} bytes do not fit the path's MTU of {mtu}");
        let mut lost_in_all = 0;
        for (stream, account) in document.list("/ringperf/datagrams")?.iter().enumerate() {
            let Account { sent, received, lost, lost_in_network, duplicates, reordered, .. } =
                Account::of(&document, stream)?;
            ensure!(sent == received + lost && lost == lost_in_network, "it does not add up: {account}");
            ensure!((duplicates, reordered) == (0, 0), "a number went twice: {account}");
            ensure!(lost < sent / 2, "not only the first ones were lost: {account}");
            lost_in_all += lost;
        }
        ensure!(lost_in_all > 0, "the path was not narrow");
        let fix = format!("-l {} or less", mtu - headers);
        for engine in senders(&document)? {
            let says = engine["reason"].as_str().unwrap_or_default();
            ensure!(says.contains(&reason) && engine["fix"] == fix.as_str(), "it says {engine}");
        }
        let warnings = |text: &str| text.matches(&format!("came out that {reason}")).count();
        if !options.contains("-R") {
            ensure!(warnings(&client.stdout) == 1, "the client does not say it once");
        }
        if options.contains("-R") || options.contains("--bidir") {
            let said = warnings(&server.stdout) + warnings(&server.stderr);
            ensure!(said == 1, "the server does not say it once");
        }
        Ok(())
    };
    judge().map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
}

/// What is said of the sending engines at both ends.
fn senders(document: &Document) -> Checked<Vec<serde_json::Value>> {
    let engines = document.list("/ringperf/engines")?.iter().chain(document.list("/ringperf/peer/engines")?);
    let senders: Vec<_> = engines.filter(|engine| engine["flow"] == "send").cloned().collect();
    ensure!(!senders.is_empty(), "nobody sent");
    Ok(senders)
}

/// A user who wants no fragments is told what the path takes.
#[test]
fn where_fragments_are_forbidden_a_narrow_path_ends_the_test() -> Checked {
    let mut cells = Cells::default();
    for options in ["--engine sync", "-b 100M/50", "--engine uring-zc -b 0"] {
        cells.add(options, move || {
            let cable = Cable::lay_routed(MTU)?;
            let server = cable.start_server(&ours(), "-1")?;
            let options = format!("-u -J -t 5 -b 10M --dont-fragment {options}");
            let client = cable.run_client(&ours(), server.port, &options)?;
            let (_, error) = client.failed_in_document()?;
            let expected = format!("datagrams of 1448 bytes do not fit the path's MTU of {MTU} and may not");
            ensure!(error.contains(&expected), "it says {error}\n{client}");
            server.finish()?.succeeded()
        });
    }
    cells.run()
}
