//! What two ringperfs tell each other beyond iperf3's protocol, seen from outside: where it stands and where
//! not, and that it is there in every kind of test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::server::{HonestServer, Listener, ServerPoint};
use crate::harness::peer::wire::{COOKIE, PART, Wire, frame, results, state};
use crate::harness::{Cells, Checked, Document, Failure, Server, ensure, ours, run_pair, start_client};

/// What a client of today asks for.
const ASKS: &str = r#"{"tcp":true,"parallel":1,"time":1,"ringperf":{"version":"9","extension":1}}"#;
/// All keys that an iperf3 has in its results.
const RESULTS: [&str; 5] =
    ["cpu_util_system", "cpu_util_total", "cpu_util_user", "sender_has_retransmits", "streams"];
const OPTIONAL: &str = "congestion_used";
/// A signal ends a client whatever it waits for.
const SIGNALLED: Duration = Duration::from_secs(2);

const WAYS: [&str; 6] =
    ["-P 4", "--bidir -6", "-n 1M -O 1", "-R --get-server-output", "-u -b 10M -R -P 2", "-B 127.0.0.3"];

#[test]
fn every_kind_of_test_has_the_peers_part_at_both_ends() -> Checked {
    let mut cells = Cells::default();
    for way in WAYS {
        cells.add(way, move || {
            let options = if way.contains("-n") { format!("-J {way}") } else { format!("-t 0.3 -J {way}") };
            let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
            let (client, server) = (pair.client.document()?, pair.server.document()?);
            tells_of(&client, &server)
                .and(tells_of(&server, &client))
                .map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
        });
    }
    cells.run()
}

/// One end's report says of the other end what that says of itself.
fn tells_of(one: &Document, other: &Document) -> Checked {
    let engines = one.at("/ringperf/peer/engines")?;
    ensure!(engines == other.at("/ringperf/engines")?, "not the other end's engines: {engines:#}");
    let warnings = one.list("/ringperf/warnings")?;
    ensure!(warnings.is_empty(), "warnings: {warnings:?}");
    Ok(())
}

/// It does not matter who listens: an iperf3 reads them as one of its own.
#[test]
fn results_hold_what_an_iperf3_says_and_nothing_else() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = told(server.port)?;
    only_known_keys(&client.theirs)?;
    let mut part = Wire::connect(server.port)?;
    part.send(&[&COOKIE[..], &frame(PART)].concat())?;
    ensure!(part.read_frame()?.contains(r#""engines":["#), "no part of the server");
    part.wait_for_close()?;
    client.leave()?;

    let listener = Listener::open()?;
    let client = start_client(&ours(), listener.port, "-t 0.1 -b 10M -J")?;
    let mut server = displayed(&listener)?;
    only_known_keys(&server.theirs)?;
    let mut part = listener.accept()?;
    let cookie: [u8; 37] = part.read()?;
    ensure!(cookie == server.cookie, "another cookie than that of the test");
    let told = part.read_frame()?;
    ensure!(told.contains(r#""flow":"send""#), "no engine in {told}");
    part.send_frame(PART)?;
    server.control.expect_state(state::IPERF_DONE)?;
    let client = client.finish(Duration::from_secs(5))?;
    client.succeeded()?;
    ensure!(client.document()?.text("/ringperf/peer/version")? == "0", "not what was said\n{client}");
    Ok(())
}

/// A client that waits for its server's part has all results already.
#[test]
fn a_signal_while_the_part_is_awaited_costs_the_part() -> Checked {
    let listener = Listener::open()?;
    let client = start_client(&ours(), listener.port, "-t 0.1 -b 10M -J")?;
    let mut server = displayed(&listener)?;
    let mut part = listener.accept()?;
    part.read::<37>()?;
    client.interrupt()?;
    let since = Instant::now();
    server.control.expect_state(state::IPERF_DONE)?;
    drop(server);
    let client = client.finish(Duration::from_secs(10))?;
    client.ended_within(since, SIGNALLED)?;
    client.succeeded()?;
    let document = client.document()?;
    ensure!(document.at("/ringperf/peer")?.is_null(), "a part that nobody told\n{client}");
    ensure!(document.integer("/end/sum_received/bytes")? == 7, "no results of the server\n{client}");
    Ok(())
}

/// A server that is told to end does so while a client may still come with its part.
#[test]
fn a_server_that_waits_for_a_part_ends_at_a_signal() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut client = told(server.port)?;
    let mut part = Wire::connect(server.port)?;
    part.send(COOKIE)?;
    part.read_frame()?;
    server.process.terminate()?;
    let since = Instant::now();
    let server = server.process.finish(Duration::from_secs(10))?;
    server.ended_within(since, SIGNALLED)?;
    client.control.wait_for_close().map(|_| ())
}

/// A client that has everything but its part.
fn told(port: u16) -> Checked<HonestClient> {
    let client = HonestClient::reach(port, ASKS, ClientPoint::Told)?;
    ensure!(client.hello.len() <= 507, "a hello of {} bytes", client.hello.len());
    Ok(client)
}

/// A ringperf as far as its last word, but for its part.
fn displayed(listener: &Listener) -> Checked<HonestServer> {
    let mut server = HonestServer::reach(listener, ServerPoint::ParametersRead)?;
    server.control.send(&[state::HELLO])?;
    server.control.send_frame(r#"{"version":"9","extension":7,"more":[{}]}"#)?;
    server.proceed(ServerPoint::ResultsRead)?;
    server.tell(&results(&[1], 0).replace(r#""bytes":0"#, r#""bytes":7"#))?;
    server.proceed(ServerPoint::Displayed)?;
    Ok(server)
}

fn only_known_keys(results: &str) -> Checked {
    let value: Value =
        serde_json::from_str(results).map_err(|error| Failure(format!("{error}: {results}")))?;
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let keys: BTreeSet<&str> = keys.filter(|key| *key != OPTIONAL).collect();
    ensure!(keys == BTreeSet::from(RESULTS), "these keys: {results}");
    ensure!(results.len() < 512, "{} bytes: {results}", results.len());
    Ok(())
}
