//! A client whose datagrams come to the server from another address than its connections: a server with
//! `--udp-any-source` takes them from a client that it can be sure of, and one without it says who came.

use std::net::IpAddr;
use std::time::Duration;

use crate::harness::{Cable, Cells, Checked, Failure, Server, debian, ensure, libiperf, ours, wait_until};

/// Every direction, several streams, both families, and datagrams that are as long as the words that open the
/// streams.
const WAYS: [&str; 7] =
    ["", "-R", "--bidir", "-P 4", "-R -P 4 --engine sync", "--bidir -P 2 -6", "-l 49 --skip-rx-copy"];

#[test]
fn datagrams_from_another_address_are_taken_where_the_server_wants_them() -> Checked {
    let mut cells = Cells::default();
    for way in WAYS {
        cells.add(way, move || is_served(way));
    }
    cells.run()
}

fn is_served(way: &str) -> Checked {
    let cable = Cable::lay(1500, false)?;
    let [v4, v6] = cable.client.split_sources(&cable.server)?;
    let source = if way.contains("-6") { v6 } else { v4 };
    let server = cable.start_server(&ours(), "-1 -J --udp-any-source")?;
    let options = format!("-u -t 0.5 -b 2M -l 1000 -J {way}");
    let client = cable.run_client(&ours(), server.port, &options)?;
    let server = server.finish()?;
    client.succeeded()?;
    server.succeeded()?;
    for account in client.document()?.list("/ringperf/datagrams")? {
        let is_clean = account["received"].as_u64() > Some(0)
            && account["lost"] == 0
            && account["foreign"].as_u64().is_none_or(|count| count == 0);
        ensure!(is_clean, "not exactly the datagrams of the test: {account:#}\n{client}\n{server}");
    }
    let document = server.document()?;
    for stream in document.list("/start/connected")? {
        let from = stream["remote_host"].as_str().and_then(|host| host.parse::<IpAddr>().ok());
        ensure!(from == Some(source), "a stream from {from:?} instead of {source}\n{server}");
    }
    let control: Option<IpAddr> = document.text("/start/accepted_connection/host")?.parse().ok();
    ensure!(control.is_some_and(|host| host != source), "the connection comes from {control:?}\n{server}");
    Ok(())
}

/// Without the option, and for a client without a cookie in its words whatever the server would like.
#[test]
fn they_are_not_taken_otherwise() -> Checked {
    let mut cells = Cells::default();
    for way in ["", "-R"] {
        cells.add(way, move || is_refused(way));
    }
    for (name, stock) in [("iperf3", debian as fn() -> _), ("iperf3-rs", libiperf)] {
        cells.add(name, move || {
            let cable = Cable::lay(1500, false)?;
            cable.client.split_sources(&cable.server)?;
            let server = cable.start_server(&ours(), "-1 --udp-any-source")?;
            let client = cable.start_client(&stock()?, server.port, "-u -t 1 -b 2M -l 1000")?;
            has_warned(&server, "if that is the client")?;
            drop(client);
            Ok(())
        });
    }
    cells.run_at_once()
}

fn is_refused(way: &str) -> Checked {
    let cable = Cable::lay(1500, false)?;
    let [source, _] = cable.client.split_sources(&cable.server)?;
    let server = cable.start_server(&ours(), "-1")?;
    let client = cable.run_client(&ours(), server.port, &format!("-u -t 1 -b 2M -l 1000 {way}"))?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("another address"), "unclear: {line}");
    has_warned(&server, &format!("but {source}:"))?;
    has_warned(&server, "--udp-any-source")
}

fn has_warned(server: &Server, words: &str) -> Checked {
    let warned = || server.process.so_far().contains(words);
    wait_until(Duration::from_secs(20), warned)
        .map_err(|_| Failure(format!("nothing about {words:?}\n{}", server.process.so_far())))
}
