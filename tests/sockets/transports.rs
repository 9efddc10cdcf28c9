//! Multipath TCP, with everybody who has it, and SCTP, which most kernels have not.

use super::{count, shows};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{
    Cells, Checked, Document, Pair, Server, Way, debian, ensure, libiperf, ours, run_client, run_pair, shared,
};

#[test]
fn multipath_tcp_with_everybody() -> Checked {
    let mut cells = Cells::default();
    for (server, client) in [(ours(), ours()), (libiperf()?, ours()), (ours(), libiperf()?)] {
        for way in Way::ALL {
            for more in ["-P 2", "-6"] {
                let (server, client) = (server.clone(), client.clone());
                let options = format!("-m -t 1 -J {} {more}", way.option());
                cells.add(format!("{} -> {}: {options}", client.name, server.name), move || {
                    let pair = run_pair((&server, ""), (&client, &options))?;
                    let document = pair.client.document()?;
                    let totals = document.totals()?;
                    ensure!(totals.sent > 0 && totals.received > 0, "{totals:?}\n{}", pair.client);
                    let name = document.text("/start/test_start/protocol")?;
                    ensure!(name == "TCP", "the protocol is {name}");
                    Ok(())
                });
            }
        }
    }
    cells.run()
}

#[test]
fn data_connections_really_have_several_paths() -> Checked {
    let _permit = shared();
    let several = "tcp-ulp-mptcp";
    for (server, client) in [(ours(), ours()), (libiperf()?, ours()), (ours(), libiperf()?)] {
        for way in ["", "-R"] {
            shows((&server, ""), (&client, &format!("-m -P 2 {way}")), |seen| count(seen, several) == 4)?;
        }
        shows((&server, ""), (&client, "-P 2"), |seen| seen.len() == 6 && count(seen, several) == 0)?;
    }
    Ok(())
}

#[test]
fn multipath_tcp_does_not_stay_behind() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    // Plain connections that a listener for Multipath TCP has accepted would have no zero-copy sends.
    for round in 0..3 {
        run_client(&ours(), server.port, "-m -n 1M")?.succeeded()?;
        let client = run_client(&ours(), server.port, "-R -n 64M --peer-engine uring-zc -J")?;
        let received = client.document()?.totals()?.received;
        ensure!(received >= 64 << 20, "{received} bytes in round {round}\n{client}");
    }
    Ok(())
}

#[test]
fn strangers_change_nothing_while_streams_come_over_several_paths() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let parameters = r#"{"tcp":true,"mptcp":true,"time":1,"parallel":1,"len":1000}"#;
    let mut client = HonestClient::invited(server.port, parameters)?;
    let mut stranger = Wire::connect(server.port)?;
    stranger.send(&[b'x'; 37])?;
    stranger.expect_state(state::PARAM_EXCHANGE)?;
    // A client without Multipath TCP comes with plain TCP.
    client.proceed(ClientPoint::Running)?;
    drop(client);
    server.process.wait_for_stdout("Server listening", 2, super::LIMIT)?;
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn engines_over_several_paths() -> Checked {
    let _permit = shared();
    for engine in ["auto", "uring", "sync", "sendfile", "splice"] {
        let options = format!("-m -t 0.5 -J --engine {engine}");
        let pair = run_pair((&ours(), ""), (&ours(), &options))?;
        let document = pair.client.document()?;
        ensure!(document.totals()?.received > 0, "nothing was received\n{}", pair.client);
        explains_itself(&document, engine)?;
    }
    let server = Server::start(&ours(), "")?;
    for engine in ["uring-zc", "msg-zc"] {
        let client = run_client(&ours(), server.port, &format!("-m -t 1 --engine {engine}"))?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("Multipath TCP has no zero-copy sends"), "{client}");
    }
    Ok(())
}

/// `auto` says why it did not choose its favourite.
fn explains_itself(document: &Document, engine: &str) -> Checked {
    let reason = document.text("/ringperf/engines/0/reason")?;
    let used = document.text("/ringperf/engines/0/used")?;
    let right = match engine {
        "auto" => used == "uring" && reason == "Multipath TCP has no zero-copy sends",
        engine => used == engine,
    };
    ensure!(right, "{engine}: {used}, {reason}");
    Ok(())
}

#[test]
fn sctp_where_the_kernel_has_it_or_one_line() -> Checked {
    let _permit = shared();
    if has_sctp() {
        for way in Way::ALL {
            let options = format!("--sctp -t 1 -J {}", way.option());
            for (server, client) in [(ours(), ours()), (debian()?, ours()), (ours(), debian()?)] {
                let Pair { client, .. } = run_pair((&server, ""), (&client, &options))?;
                let totals = client.document()?.totals()?;
                ensure!(totals.received > 0, "{totals:?}\n{client}");
            }
        }
        return Ok(());
    }
    let server = Server::start(&ours(), "")?;
    let client = run_client(&ours(), server.port, "--sctp -t 1")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("no SCTP support available"), "{client}");
    // The server may not be through with the client before when the next one comes, so each has its own.
    let server = Server::start(&ours(), "")?;
    let client = run_client(&debian()?, server.port, "--sctp -t 1")?;
    ensure!(client.code == Some(1) && client.stderr.contains("no SCTP support available"), "{client}");
    let server = Server::start(&ours(), "")?;
    let parameters = r#"{"sctp":true,"time":1,"parallel":1,"len":1000}"#;
    let mut client = HonestClient::reach(server.port, parameters, ClientPoint::Asked)?;
    let code = client.control.read_server_error()?;
    ensure!(code == 18, "error {code} instead of 18");
    Ok(())
}

fn has_sctp() -> bool {
    std::fs::read_to_string("/proc/net/protocols").is_ok_and(|table| table.contains("SCTP"))
}
