//! A client that has everything and keeps all of its connections, which it never reads.

use std::time::{Duration, Instant};

use super::{served_after, show};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::wire::state;
use crate::harness::{Cells, Checked, Holdings, Server, alone, ensure, ours};

/// A server is done with such a client by then.
const FREE: Duration = Duration::from_secs(5);

/// Whatever the direction, and whether the client is one that ends its data connections, as a ringperf does.
#[test]
fn nothing_is_left_of_a_client_that_keeps_its_connections() -> Checked {
    let _permit = alone();
    let mut cells = Cells::default();
    for direction in ["", r#""reverse":true,"#, r#""bidirectional":true,"#] {
        for hello in ["", r#","ringperf":{"version":"0.1.0"}"#] {
            let common = r#""tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":4,"len":131072"#;
            let parameters = format!("{{{direction}{common}{hello}}}");
            cells.add(parameters.clone(), move || keeps_all(&parameters));
        }
    }
    cells.run_at_once()
}

fn keeps_all(parameters: &str) -> Checked {
    let server = Server::start(&ours(), "")?;
    let before = Holdings::at_rest(&server.process)?;
    let mut client = HonestClient::reach(server.port, parameters, ClientPoint::Told)?;
    client.control.send(&[state::IPERF_DONE])?;
    let since = Instant::now();
    let free = served_after(since, FREE, server.port)?;
    Holdings::back_at_rest(&server.process, before)?;
    let gone = since.elapsed();
    show(&format!("D5: {parameters}: free after {free:.1?}, nothing left after {gone:.1?}"));
    ensure!(gone <= FREE, "{before:?} only after {gone:?}");
    let output = server.process.so_far();
    ensure!(!output.contains("ringperf: "), "something went wrong\n{output}");
    Ok(())
}
