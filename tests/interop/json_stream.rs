//! `--json-stream` has the events of iperf3, with the same keys and types, at both ends.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Program, Server, differences, ensure, libiperf, ours, pick,
    run, run_pair, shape, start_client,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);
/// The one event of ringperf's own.
const OUR_EVENT: &str = "ringperf";

#[test]
fn events_have_the_shape_of_iperf3() -> Checked {
    let reference = libiperf()?;
    let mut cells = Cells::default();
    for (server_options, client_options) in [
        ("--json-stream", "--json-stream"),
        ("--json-stream", "--json-stream --bidir -P 2 -O 1"),
        ("--json-stream", "--json-stream -R --get-server-output"),
        ("--json-stream", "--json-stream -T title --extra-data more"),
        ("--json-stream", "--json-stream -u"),
        ("--json-stream", "--json-stream -u --bidir -P 2 --get-server-output"),
        ("", "--json-stream --get-server-output"),
        ("-J", "--json-stream -u -R --get-server-output"),
        ("--json-stream", "-J --get-server-output"),
    ] {
        let reference = reference.clone();
        cells.add(format!("{server_options} | {client_options}"), move || {
            let run = |program: &Program| {
                run_pair((program, server_options), (program, &format!("-t 1 -b 5M {client_options}")))
            };
            let (ours, theirs) = (run(&ours())?, run(&reference)?);
            if client_options.contains("--json-stream") {
                compare(&ours.client, &theirs.client)?;
            }
            if server_options.contains("--json-stream") {
                compare(&ours.server, &theirs.server)?;
            }
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn failures_are_an_error_and_an_end_as_in_iperf3() -> Checked {
    let port = pick();
    let mut seen = Vec::new();
    for program in [ours(), libiperf()?] {
        let server = Server::start(&program, "")?;
        for options in
            [format!("-c 127.0.0.1 -p {port} --json-stream"), format!("-s -p {} --json-stream", server.port)]
        {
            let failed = run(program.command(&options))?;
            ensure!(failed.code != Some(0), "{failed}");
            let events = events(&failed.stdout)?;
            let [(first, error), (last, end)] = &events[..] else { return Err(Failure(failed.to_string())) };
            ensure!(
                first == "error" && last == "end" && *end == Value::Object(serde_json::Map::new()),
                "{failed}"
            );
            seen.push(error.as_str().unwrap_or_default().to_owned());
        }
    }
    let [our_client, our_server, their_client, their_server] = &seen[..] else { unreachable!("four runs") };
    for (ours, theirs) in [(our_client, their_client), (our_server, their_server)] {
        // Up to the system's words; ringperf adds the address.
        let start = theirs.split_once(": ").map_or(theirs.as_str(), |(start, _)| start);
        ensure!(!start.is_empty() && ours.starts_with(start), "{ours}\n{theirs}");
    }
    Ok(())
}

#[test]
fn each_event_comes_when_it_happens_and_a_signal_ends_a_stream_as_it_should() -> Checked {
    let server = Server::start(&ours(), "-1 --json-stream")?;
    let client = start_client(&ours(), server.port, "--json-stream -t 60 -b 5M -i 0.1")?;
    client.wait_for_stdout(r#"{"event":"interval""#, 2, LIMIT)?;
    server.process.wait_for_stdout(r#"{"event":"start""#, 1, LIMIT)?;
    client.interrupt()?;
    let (client, server) = (client.finish(LIMIT)?, server.finish()?);
    client.succeeded()?;
    server.succeeded()?;
    for (run, expected) in [
        (&client, "interrupt - the client has terminated by signal Interrupt(2)"),
        (&server, "the client has terminated"),
    ] {
        let events = events(&run.stdout)?;
        let last: Vec<&str> = events.iter().rev().take(3).map(|(name, _)| name.as_str()).collect();
        ensure!(last == ["end", OUR_EVENT, "error"], "{last:?}\n{run}");
        let error = events.iter().find(|(name, _)| name == "error").map(|(_, error)| error);
        ensure!(error.is_some_and(|error| error == expected), "{error:?}\n{run}");
        ensure!(run.stderr.is_empty(), "{run}");
    }
    Ok(())
}

#[test]
fn the_full_output_is_the_document_after_the_last_event() -> Checked {
    let options = "--json-stream --json-stream-full-output -t 1 -b 5M -i 0.2";
    let pair = run_pair((&ours(), "--json-stream --json-stream-full-output"), (&ours(), options))?;
    for run in [&pair.client, &pair.server] {
        let (stream, document) = run.stdout.split_once("\n{\n").ok_or_else(|| Failure(run.to_string()))?;
        let events = events(stream)?;
        let document = Document::parse(&format!("{{\n{document}"))?;
        let data = |name: &str| -> Vec<&Value> {
            events.iter().filter(|(event, _)| event == name).map(|(_, data)| data).collect()
        };
        ensure!(data("start") == [document.at("/start")?], "{run}");
        ensure!(data("interval").into_iter().eq(document.list("/intervals")?), "{run}");
        ensure!(data("end") == [document.at("/end")?], "{run}");
        ensure!(events.last().is_some_and(|(name, _)| name == "end"), "{run}");
    }
    Ok(())
}

/// The same events in the same order, each with the same keys; how many intervals there are is a matter of
/// chance.
fn compare(ours: &Finished, theirs: &Finished) -> Checked {
    let (mut own, expected) = (events(&ours.stdout)?, events(&theirs.stdout)?);
    let all = own.len();
    own.retain(|(name, _)| name != OUR_EVENT);
    ensure!(all == own.len() + 1, "not one event of our own\n{ours}");
    let names = |events: &[(String, Value)]| {
        let mut names: Vec<String> = events.iter().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    };
    ensure!(names(&own) == names(&expected), "{:?}\n{:?}", names(&own), names(&expected));
    for name in names(&own) {
        let merged = |events: &[(String, Value)]| {
            let data = events.iter().filter(|(event, _)| *event == name).map(|(_, data)| data.clone());
            shape(&Value::Array(data.collect()))
        };
        let differences = differences(&merged(&own), &merged(&expected));
        ensure!(differences.is_empty(), "{name}\n{differences}");
    }
    Ok(())
}

/// Each line's event and data.
fn events(text: &str) -> Checked<Vec<(String, Value)>> {
    let event = |line: &str| {
        let Document(mut event) = Document::parse(line)?;
        let keys = event.as_object().map_or(0, serde_json::Map::len);
        ensure!(keys == 2, "not only event and data: {line}");
        Ok((event["event"].as_str().unwrap_or_default().to_owned(), event["data"].take()))
    };
    text.lines().map(event).collect()
}
