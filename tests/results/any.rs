//! Options as they come: what a test says adds up, and is the same whatever ran before it.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;

use crate::harness::peer::random::Random;
use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Server, differences, ensure, ours, run_client, run_pair,
    shape,
};

/// Tests of either kind.
const TESTS: u64 = 36;
const PAIRS: u64 = 24;

const COMMON: [&str; 10] = [
    "",
    "-6",
    "-i 0.1",
    "-S 0x20",
    "-T somebody",
    "--extra-data something",
    "--get-server-output",
    "--repeating-payload",
    "-V",
    "--skip-rx-copy",
];
const OF_TCP: [&str; 12] = [
    "",
    "-N",
    "-Z",
    "-w 64K",
    "-w 300K",
    "-M 1000",
    "-C reno",
    "-C cubic",
    "-l 1000",
    "-l 64K",
    "-b 50M -l 8K",
    "--fq-rate 1G",
];
const OF_UDP: [&str; 7] =
    ["", "-l 100", "-l 8000", "--udp-counters-64bit", "--no-offload", "--dont-fragment", "-w 1M"];
/// A test that is over in a moment has no latencies to speak of, so those whose shapes are compared last.
const TIMES: [&str; 2] = ["-t 1", "-t 0.8"];
const ENDS: [&str; 5] = ["-t 0.3", "-t 0.2", "-n 500K", "-n 1", "-k 30"];
const ENGINES: [&str; 8] = ["", "", "sync", "uring", "sendfile", "splice", "msg-zc", "uring-zc"];

/// Options of a client.
fn options(random: &mut Random, ends: &[&'static str]) -> String {
    let is_udp = random.below(3) == 0;
    let mut options = vec!["-J"];
    options.extend(if is_udp { ["-u -b 30M", *random.pick(&OF_UDP)] } else { ["", *random.pick(&OF_TCP)] });
    options.push(*random.pick(&COMMON));
    options.push(*random.pick(ends));
    options.push(*random.pick(&["", "-R", "--bidir"]));
    options.push(*random.pick(&["", "-P 2", "-P 3"]));
    let mut options = options.join(" ");
    let mut engines = String::new();
    for option in ["--engine", "--peer-engine"] {
        let engine = *random.pick(if is_udp { &ENGINES[..4] } else { &ENGINES[..] });
        // That option is about an engine by itself.
        if !engine.is_empty() && !options.contains("-Z") {
            engines.push_str(&format!(" {option} {engine}"));
        }
    }
    options.push_str(&engines);
    options.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn whatever_was_asked_for_the_numbers_add_up() -> Checked {
    let mut cells = Cells::default();
    let mut different = BTreeSet::new();
    for seed in 0..TESTS {
        let options = options(&mut Random::seeded(seed), &ENDS);
        different.insert(options.clone());
        cells.add(format!("{seed}: {options}"), move || {
            let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
            adds_up(&options, &pair.client, &pair.server)
                .map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
        });
    }
    ensure!(different.len() > 30, "{} sets of options", different.len());
    cells.run()?;
    println!("F10: {} sets of options, all sums exact", different.len());
    Ok(())
}

fn adds_up(options: &str, client: &Finished, server: &Finished) -> Checked {
    let (client, server) = (client.document()?, server.document()?);
    let is_udp = options.contains("-u ");
    for document in [&client, &server] {
        if is_udp {
            document.datagrams_add_up()?;
        } else {
            document.adds_up()?;
        }
        processor_use_is_possible(document)?;
    }
    let mut directions = vec![client.totals()?];
    if options.contains("--bidir") {
        directions.push(client.totals_back()?);
    }
    let streams = if is_udp { Vec::new() } else { client.streams()? };
    let all = streams.iter().map(|stream| stream.totals).chain(directions.iter().copied());
    for totals in all {
        ensure!(totals.received <= totals.sent, "more was received than sent: {totals:?}");
        ensure!(is_udp || totals.received == totals.sent, "something is missing: {totals:?}");
    }
    let sum = |of: fn(&crate::harness::Totals) -> u64| -> (u64, u64) {
        let of_streams = streams.iter().map(|stream| of(&stream.totals)).sum();
        (of_streams, directions.iter().map(of).sum())
    };
    for (of_streams, of_sums) in [sum(|totals| totals.sent), sum(|totals| totals.received)] {
        ensure!(is_udp || of_streams == of_sums, "the streams have {of_streams} bytes, the sums {of_sums}");
    }
    if is_udp {
        client.streams_add_up()?;
        client.has_sane_losses()?;
    }
    Ok(())
}

fn processor_use_is_possible(document: &Document) -> Checked {
    let most = 100.0 * f64::from(u32::try_from(thread::available_parallelism()?.get()).unwrap_or(1)) + 1.0;
    let used = document.at("/end/cpu_utilization_percent")?;
    let all = used.as_object().into_iter().flatten();
    for (name, percent) in all {
        let percent = percent.as_f64().unwrap_or(-1.0);
        ensure!((0.0..=most).contains(&percent), "{name} is {percent} percent");
    }
    ensure!(used["host_total"].is_number() && used["remote_total"].is_number(), "not said: {used}");
    Ok(())
}

#[test]
fn a_test_is_the_same_whatever_ran_before_it() -> Checked {
    let mut cells = Cells::default();
    for seed in 0..PAIRS {
        let mut random = Random::seeded(1000 + seed);
        let (before, measured) = (options(&mut random, &ENDS), options(&mut random, &TIMES));
        cells.add(format!("{seed}: {measured}, after {before}"), move || is_the_same(&before, &measured));
    }
    cells.run()?;
    println!("F9: {PAIRS} pairs of tests, shapes and settings equal to those of a fresh server");
    Ok(())
}

fn is_the_same(before: &str, measured: &str) -> Checked {
    // What is fastest, and whether a short test tells, is chance.
    let fresh = Server::start(&ours(), "-J --no-adapt")?;
    let used = Server::start(&ours(), "-J --no-adapt")?;
    let measured = &format!("{measured} --no-adapt");
    run_client(&ours(), used.port, before)?.succeeded()?;
    let mut documents = Vec::new();
    for server in [fresh, used] {
        let client = run_client(&ours(), server.port, measured)?;
        client.succeeded()?;
        server.process.terminate()?;
        documents.push([client.document()?.0, last_document(&server.finish()?)?]);
    }
    let [fresh, used] = documents.try_into().map_err(|_| Failure("there are two".to_owned()))?;
    for (fresh, used) in fresh.iter().zip(&used) {
        let differs = differences(&shape(used), &shape(fresh));
        ensure!(differs.is_empty(), "another shape\n{differs}");
        let (fresh, used) = (settings(fresh), settings(used));
        ensure!(fresh == used, "{used:#}\ninstead of\n{fresh:#}");
    }
    Ok(())
}

/// What a document says of how a test was set up.
fn settings(document: &Value) -> Value {
    let mut start = document["start"].clone();
    if let Some(members) = start.as_object_mut() {
        let changing = ["connected", "timestamp", "cookie", "accepted_connection", "connecting_to"];
        changing.iter().for_each(|name| drop(members.remove(*name)));
        if members.get("sock_bufsize").is_some_and(|bytes| bytes == 0) {
            // The kernel chooses them, and changes its mind.
            ["sndbuf_actual", "rcvbuf_actual"].iter().for_each(|name| drop(members.remove(*name)));
        }
    }
    let end = &document["end"];
    let congestion = [&end["sender_tcp_congestion"], &end["receiver_tcp_congestion"]];
    let engines = document["ringperf"]["engines"].as_array().into_iter().flatten();
    let engines: Vec<_> =
        engines.map(|engine| [&engine["flow"], &engine["asked"], &engine["used"]]).collect();
    serde_json::json!({"start": start, "congestion": congestion, "engines": engines})
}

/// The document of a server's last test.
fn last_document(server: &Finished) -> Checked<Value> {
    let documents = serde_json::Deserializer::from_str(&server.stdout).into_iter::<Value>();
    let documents: Vec<Value> =
        documents.collect::<Result<_, _>>().map_err(|error| Failure(format!("{error}\n{server}")))?;
    let whole = documents.into_iter().rfind(|document| document["end"]["streams"][0].is_object());
    whole.ok_or_else(|| Failure(format!("no document\n{server}")))
}
