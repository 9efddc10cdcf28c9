//! A path that swallows packets of more than 1200 bytes and tells nobody: tests whose data fit through it
//! have everything that they have elsewhere.

use std::net::{SocketAddr, UdpSocket};

use crate::harness::{Cable, Cells, Checked, Dropper, Hook, ensure, ours, shared};

/// Largest packet that passes.
const LARGEST: u16 = 1200;
/// Tests whose data fit. Their results have three streams, as many as fit for an iperf3 as well.
const WAYS: [&str; 6] = [
    "-M 1000",
    "-M 1000 -R -P 3",
    "-M 1000 --bidir -6",
    "-M 1000 -R -6",
    "-u -l 1000 -b 10M --no-offload",
    "-u -l 1000 -b 10M --no-offload -R -6",
];

#[test]
fn a_path_that_swallows_large_packets_has_results_and_the_peers_part() -> Checked {
    let _permit = shared();
    let mut cells = Cells::default();
    for way in WAYS {
        cells.add(way, move || passes(way));
    }
    cells.run_at_once()
}

fn passes(way: &str) -> Checked {
    let cable = Cable::lay(1500, true)?;
    let to_server = Dropper::attach_to_large(&cable.client, Hook::Egress, LARGEST)?;
    let to_client = Dropper::attach_to_large(&cable.server, Hook::Egress, LARGEST)?;
    let server = cable.start_server(&ours(), "-1 -J")?;
    let client = cable.run_client(&ours(), server.port, &format!("-t 0.5 -J {way}"))?;
    let server = server.finish()?;
    client.succeeded()?;
    server.succeeded()?;
    for document in [client.document()?, server.document()?] {
        ensure!(!document.list("/ringperf/peer/engines")?.is_empty(), "no part\n{client}\n{server}");
        ensure!(document.list("/ringperf/warnings")?.is_empty(), "warnings\n{client}\n{server}");
    }
    ensure!(client.document()?.totals()?.received > 0, "nothing came\n{client}");
    for dropper in [&to_server, &to_client] {
        let passed = dropper.passed()?;
        ensure!(passed.seen > 10 && passed.dropped == 0, "{passed:?}");
    }
    swallows(&cable, &to_server)
}

/// It is as small as it should be: one byte more does not get through.
fn swallows(cable: &Cable, dropper: &Dropper) -> Checked {
    let target = SocketAddr::from((cable.server.v4, 9));
    for (payload, lost) in [(LARGEST - 28, 0), (LARGEST - 27, 1)] {
        cable.client.within(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            Ok(socket.send_to(&vec![0; payload.into()], target).map(|_| ())?)
        })?;
        let dropped = dropper.passed()?.dropped;
        ensure!(dropped == lost, "{dropped} instead of {lost} with {payload} bytes");
    }
    Ok(())
}
