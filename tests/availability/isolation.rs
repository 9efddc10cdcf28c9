//! What one test leaves to the next: nothing.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::LIMIT;
use crate::harness::{
    Checked, Failure, Holdings, Process, Server, ensure, ours, run_client, shared, start_client, wait_until,
};

/// What /proc says of the state that a test could leave behind in a process.
fn state(process: &Process) -> Checked<Vec<String>> {
    let folder = format!("/proc/{}", process.id());
    let status = fs::read_to_string(format!("{folder}/status"))?;
    let kept = ["Cpus_allowed_list:", "SigBlk:", "SigIgn:", "SigCgt:", "Threads:", "CapEff:", "NoNewPrivs:"];
    let mut lines: Vec<String> = status
        .lines()
        .filter(|line| kept.iter().any(|key| line.starts_with(key)))
        .map(str::to_owned)
        .collect();
    lines.extend(fs::read_to_string(format!("{folder}/limits"))?.lines().map(str::to_owned));
    lines.push(format!("{} descriptors", Holdings::of(process)?.files));
    Ok(lines)
}

/// The settings of a test, as its server reports them.
fn settings(document: &Value) -> Vec<(&'static str, Value)> {
    let mut start = document["start"].clone();
    let mut test = start["test_start"].take();
    test["target_bitrate"].take();
    vec![
        ("sock_bufsize", start["sock_bufsize"].take()),
        ("sndbuf_actual", start["sndbuf_actual"].take()),
        ("rcvbuf_actual", start["rcvbuf_actual"].take()),
        ("tcp_mss_default", start["tcp_mss_default"].take()),
        ("test_start", test),
        ("congestion", document["end"]["receiver_tcp_congestion"].clone()),
        ("engine", document["ringperf"]["engines"][0]["used"].clone()),
        ("placed", document["ringperf"]["engines"][0]["processors"][0]["placed"].clone()),
    ]
}

#[test]
fn a_hostile_test_leaves_nothing_to_the_next() -> Checked {
    let _permit = shared();
    for tests in ["", "--max-tests 3"] {
        let measured =
            |server: &Server| -> Checked { run_client(&ours(), server.port, "-n 1M")?.succeeded() };
        let fresh = Server::start(&ours(), &format!("-J {tests}"))?;
        // The socket for connections with a window of their own is opened for the first of them, and stays.
        run_client(&ours(), fresh.port, "-n 1K -w 32K")?.succeeded()?;
        measured(&fresh)?;
        let used = Server::start(&ours(), &format!("-J {tests}"))?;
        // Everything that a client may set at a server, and then it is gone in the middle of it.
        let hostile =
            "-A 0,0 -C reno -w 32K -M 600 -S 0x20 -N -P 8 -R --peer-engine sync --fq-rate 5M -t 20 -J";
        let client = start_client(&ours(), used.port, hostile)?;
        let streams = || Holdings::of(&used.process).is_ok_and(|now| now.threads >= 10);
        ensure!(client.runs_until(LIMIT, streams)?, "{}", client.so_far());
        drop(client);
        let udp = start_client(&ours(), used.port, "-u -b 10M -w 16K -l 9000 --dont-fragment -t 20 -P 4 -J")?;
        let again = || Holdings::of(&used.process).is_ok_and(|now| now.threads >= 6);
        let served = udp.runs_until(LIMIT, again)?;
        drop(udp);
        if served || !tests.is_empty() {
            let at_rest = || Holdings::of(&used.process).is_ok_and(|now| now.threads == 2);
            wait_until(LIMIT, at_rest)?;
        }
        wait_until(LIMIT, || measured(&used).is_ok())?;
        let is_same = || matches!((state(&fresh.process), state(&used.process)), (Ok(a), Ok(b)) if a == b);
        if wait_until(Duration::from_secs(5), is_same).is_err() {
            let (fresh, used) = (state(&fresh.process)?, state(&used.process)?);
            return Err(Failure(format!("{tests}: {used:#?}\ninstead of\n{fresh:#?}")));
        }
        let (fresh, used) = (last_document(fresh)?, last_document(used)?);
        let (fresh, used) = (settings(&fresh), settings(&used));
        ensure!(fresh == used, "{tests}: {used:#?}\ninstead of\n{fresh:#?}");
        ensure!(fresh.iter().filter(|(_, value)| !value.is_null()).count() >= 6, "{fresh:?}");
    }
    Ok(())
}

/// The last document that a server has printed.
fn last_document(server: Server) -> Checked<Value> {
    server.process.terminate()?;
    let server = server.finish()?;
    let documents = serde_json::Deserializer::from_str(&server.stdout).into_iter::<Value>();
    let documents: Vec<Value> =
        documents.collect::<Result<_, _>>().map_err(|error| Failure(format!("{error}\n{server}")))?;
    let whole = documents.into_iter().rfind(|document| document["end"]["streams"][0].is_object());
    whole.ok_or_else(|| Failure(format!("no document\n{server}")))
}
