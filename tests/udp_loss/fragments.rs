//! Datagrams that are too large for the cable: they go in fragments, or not at all where that is forbidden.

use std::sync::Arc;

use super::{Account, MTU};
use crate::harness::{Cable, Cells, Checked, Document, Failure, Finished, Server, ensure, ours};

/// Bytes of a datagram: three fragments.
const BYTES: u32 = 4000;
/// Datagrams of a test.
const COUNT: u64 = 1000;

#[test]
fn datagrams_larger_than_the_mtu_go_in_fragments_one_by_one_and_it_is_said() -> Checked {
    let cable = Arc::new(Cable::lay(MTU, false)?);
    let mut cells = Cells::default();
    for (options, header_bytes) in
        [("", 28), ("-6 -R", 48), ("--engine sync -R", 28), ("--engine sync -6", 48)]
    {
        let cable = Arc::clone(&cable);
        cells.add(options, move || {
            let options = format!("-u -J -b 100M/10 -l {BYTES} -k {COUNT} {options}");
            let (server, client) = run(&cable, &options)?;
            goes_in_fragments(&server, &client, header_bytes)
                .map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
        });
    }
    cells.run()
}

fn goes_in_fragments(server: &Finished, client: &Finished, header_bytes: u32) -> Checked {
    client.succeeded()?;
    server.succeeded()?;
    let document = client.document()?;
    let account = Account::of(&document, 0)?;
    let Account { sent, .. } = account;
    ensure!(sent >= COUNT, "only {sent} datagrams were sent");
    let expected = Account { sent, received: sent, ..Account::default() };
    ensure!(account == expected, "{account:?} instead of {expected:?}");
    let sender = sending_engine(&document)?;
    let reason = sender["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains(&format!("of {BYTES} bytes do not fit the path's MTU of {MTU}")),
        "it says {reason}"
    );
    ensure!(reason.ends_with("each is sent by itself, in fragments"), "it says {reason}");
    let fix = format!("-l {} or less", MTU - header_bytes);
    ensure!(sender["fix"] == fix.as_str(), "it advises {} instead of {fix}", sender["fix"]);
    Ok(())
}

/// What the sending end says of its engine, whichever end that is.
fn sending_engine(client: &Document) -> Checked<serde_json::Value> {
    let mut engines = client.list("/ringperf/engines")?.iter().chain(client.list("/ringperf/peer/engines")?);
    let sender = engines.rfind(|engine| engine["flow"] == "send");
    sender.cloned().ok_or_else(|| Failure("nobody sent".to_owned()))
}

#[test]
fn where_fragments_are_forbidden_the_fault_names_the_mtu_and_what_there_is_is_reported() -> Checked {
    let cable = Arc::new(Cable::lay(MTU, false)?);
    let mut cells = Cells::default();
    for engine in ["uring", "uring-zc", "sync"] {
        for options in ["-t 2", "-k 1000", "-t 2 -b 100M/10", "-k 1000 -P 2", "-n 1M -b 0 --no-offload"] {
            let cable = Arc::clone(&cable);
            cells.add(format!("{engine} {options}"), move || {
                let options = format!("-u -J -l {BYTES} --dont-fragment --engine {engine} {options}");
                let (server, client) = run(&cable, &options)?;
                is_forbidden(&server, &client)
                    .map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
            });
        }
    }
    cells.run()
}

fn is_forbidden(server: &Finished, client: &Finished) -> Checked {
    server.succeeded()?;
    let (document, error) = client.failed_in_document()?;
    let expected =
        format!("datagrams of {BYTES} bytes do not fit the path's MTU of {MTU} and may not be fragmented");
    ensure!(error.contains(&expected), "it says {error}");
    for stream in 0..document.list("/end/streams")?.len() {
        // Where none was lost the other end could not tell.
        let account = document.at(&format!("/ringperf/datagrams/{stream}"))?;
        ensure!(account["sent"] == 0 && account["received"] == 0, "something was sent: {account}");
    }
    Ok(())
}

#[test]
fn a_server_that_may_not_send_fragments_tells_its_client() -> Checked {
    let cable = Cable::lay(MTU, false)?;
    for options in ["-t 2", "-k 1000"] {
        let (server, client) = run(&cable, &format!("-u -J -R -l {BYTES} --dont-fragment {options}"))?;
        let told = tells_its_client(&server, &client);
        told.map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))?;
    }
    Ok(())
}

fn tells_its_client(server: &Finished, client: &Finished) -> Checked {
    let (_, error) = client.failed_in_document()?;
    ensure!(error.contains("unable to write to stream socket"), "the client says {error}");
    // A server leaves with status 0 whatever became of its test.
    server.succeeded()?;
    let document = server.document()?;
    let error = document.text("/error")?;
    ensure!(error.contains(&format!("MTU of {MTU}")), "the server says {error}");
    Ok(())
}

/// A client and its server over the cable.
fn run(cable: &Cable, options: &str) -> Checked<(Finished, Finished)> {
    let server: Server = cable.start_server(&ours(), "-1 -J")?;
    let client = cable.run_client(&ours(), server.port, options)?;
    Ok((server.finish()?, client))
}
