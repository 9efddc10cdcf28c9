//! ringperf against itself: every engine in every direction, and the numbers exact to the byte.

use std::time::{Duration, Instant};

use crate::harness::{
    BLOCK_BYTES, Cells, Checked, Document, End, Failure, Pair, Plan, Process, Server, Totals, Way, alone,
    ensure, ours, pick_run, plans, run_client, run_pair, shared,
};

const ENDS: [End; 3] = [End::Time("0.5"), End::Mebibytes(5), End::Blocks(40)];

#[test]
fn engine_uring_zc() -> Checked {
    engine("uring-zc")
}

#[test]
fn engine_uring() -> Checked {
    engine("uring")
}

#[test]
fn engine_sendfile() -> Checked {
    engine("sendfile")
}

#[test]
fn engine_splice() -> Checked {
    engine("splice")
}

#[test]
fn engine_msg_zc() -> Checked {
    engine("msg-zc")
}

#[test]
fn engine_sync() -> Checked {
    engine("sync")
}

#[test]
fn engine_null() -> Checked {
    engine("null")
}

/// One engine at both ends, in every direction, with one stream and with several, until every kind of end.
///
/// Where the kernel has no io_uring, an engine that needs it has to say so; what runs then is in `degraded`.
fn engine(name: &'static str) -> Checked {
    if name.starts_with("uring") && io_uring::IoUring::new(2).is_err() {
        let server = Server::start(&ours(), "-1")?;
        run_client(&ours(), server.port, &format!("--engine {name} -t 0.5"))?.failed_with_one_line()?;
        return Ok(());
    }
    let mut cells = Cells::default();
    for plan in plans(&[1, 3], &ENDS) {
        cells.add(format!("{name}: {plan}"), move || {
            let options = format!("{plan} -i 0.2 --engine {name} --peer-engine {name} -J");
            let pair = run_pair((&ours(), "-J -i 0.2"), (&ours(), &options))?;
            check_engine(name, &plan, &pair)
                .map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
        });
    }
    cells.run()
}

fn check_engine(name: &str, plan: &Plan, pair: &Pair) -> Checked {
    let (client, server) = (pair.client.document()?, pair.server.document()?);
    client.adds_up()?;
    server.adds_up()?;
    let directions = if plan.way == Way::Bidir { 2 } else { 1 };
    let streams = client.streams()?;
    ensure!(u64::try_from(streams.len()) == Ok(plan.parallel * directions), "{} streams", streams.len());
    for (index, stream) in streams.iter().enumerate() {
        let Totals { sent, received } = stream.totals;
        // Without a kernel between them the ends of the null engine count each for itself.
        ensure!(name == "null" || sent == received, "stream {index}: sent {sent}, received {received}");
        ensure!(sent > 0 || plan.end.goal().is_some(), "stream {index} moved nothing");
    }
    if let Some(goal) = plan.end.goal() {
        check_goal(goal, plan, &client)?;
    }
    for document in [&client, &server] {
        let has_rate = document.at("/end/sum_sent/bits_per_second")?.is_number();
        ensure!(has_rate != (name == "null"), "a rate of nothing, or none of something");
    }
    names_engines(&client, "/ringperf/engines", name)?;
    names_engines(&client, "/ringperf/peer/engines", name)?;
    names_engines(&server, "/ringperf/engines", name)
}

/// The test went on until what was asked for had been moved, and not much further.
fn check_goal(goal: u64, plan: &Plan, client: &Document) -> Checked {
    let mut directions = vec![client.totals()?];
    if plan.way == Way::Bidir {
        directions.push(client.totals_back()?);
    }
    for Totals { sent, received } in directions.iter().copied() {
        let most = goal + plan.parallel * BLOCK_BYTES;
        ensure!(sent <= most && received <= most, "sent {sent}, received {received} of {goal}");
    }
    // The test is over when every direction has reached the goal.
    ensure!(
        directions.iter().all(|totals| totals.sent.max(totals.received) >= goal),
        "{directions:?} instead of {goal}"
    );
    Ok(())
}

/// The reports of one end name the engine that was asked for, and its sender never fell back.
fn names_engines(document: &Document, pointer: &str, name: &str) -> Checked {
    let engines = document.list(pointer)?;
    ensure!(!engines.is_empty(), "{pointer} is empty");
    for engine in engines {
        ensure!(engine["asked"] == name, "{pointer}: asked for something else than {name}: {engine}");
        ensure!(engine["flow"] != "send" || engine["used"] == name, "{pointer}: fell back: {engine}");
        ensure!(engine["reason"].is_string(), "{pointer}: no reason in {engine}");
    }
    Ok(())
}

#[test]
fn auto_says_which_engine_it_took_and_why() -> Checked {
    let _permit = shared();
    let pair = run_pair((&ours(), ""), (&ours(), "-t 0.5 -J"))?;
    let document = pair.client.document()?;
    for engine in document.list("/ringperf/engines")? {
        ensure!(engine["asked"] == "auto", "asked for: {engine}");
        ensure!(engine["used"] != "auto" && engine["used"].is_string(), "used: {engine}");
        ensure!(engine["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "no reason: {engine}");
    }
    Ok(())
}

#[test]
fn a_kilobyte_takes_no_interval() -> Checked {
    let _permit = alone();
    let pair = run_pair((&ours(), ""), (&ours(), "-n 1K -i 10 -J"))?;
    let Totals { sent, received } = pair.client.document()?.totals()?;
    ensure!(sent == BLOCK_BYTES && received == sent, "one block was due: sent {sent}, received {received}");
    ensure!(pair.client.elapsed < Duration::from_secs(8), "took {:?}", pair.client.elapsed);
    Ok(())
}

#[test]
fn intervals_and_durations() -> Checked {
    let mut cells = Cells::default();
    // Options, seconds of the counted part, and how many intervals of it may be reported: a control thread
    // that gets no processor for a while leaves some out.
    for (options, seconds, intervals) in [
        ("-t 0.5 -i 0.1", 0.5, 2..=6),
        ("-t 0.3 -i 0", 0.3, 1..=1),
        ("-t 0.3", 0.3, 1..=1),
        ("-t 1.25 -i 0.5", 1.25, 2..=3),
        ("-t 0.5 -O 1 -i 0.5", 0.5, 1..=2),
        ("-t 0.5 -O 1 -i 0.25 --bidir -P 2", 0.5, 1..=3),
        ("-t 0.3 -l 64", 0.3, 1..=1),
        ("-t 0.3 -R -l 64", 0.3, 1..=1),
    ] {
        cells.add(options, move || {
            let pair = run_pair((&ours(), "-J"), (&ours(), &format!("{options} -J")))?;
            let document = pair.client.document()?;
            document.adds_up()?;
            pair.server.document()?.adds_up()?;
            let took = document.number("/end/sum_sent/seconds")?;
            // Bytes and seconds are counted from the moment that was seen as the end of the omitted part, and
            // by a server from when it has told that the test runs.
            let range = seconds - 0.25..seconds + 1.0;
            ensure!(range.contains(&took), "{took} s instead of {seconds} s");
            let counted = document.list("/intervals")?.iter().filter(|one| one["sum"]["omitted"] == false);
            let counted = counted.count();
            ensure!(intervals.contains(&counted), "{counted} intervals instead of {intervals:?}");
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn the_kernel_paces_when_asked_to() -> Checked {
    let _permit = shared();
    for way in ["", "-R"] {
        let pair = run_pair((&ours(), ""), (&ours(), &format!("-t 1 --fq-rate 100M -J {way}")))?;
        let rate = pair.client.document()?.number("/end/sum_received/bits_per_second")?;
        // Unpaced it would be tens of gigabits; the first burst is as large as the send buffer.
        ensure!((10e6..1e9).contains(&rate), "{way}: {rate} bit/s instead of about 100 Mbit/s");
    }
    Ok(())
}

#[test]
fn text_has_the_unit_asked_for_and_a_verbose_one_everything() -> Checked {
    let _permit = shared();
    let pair = run_pair((&ours(), ""), (&ours(), "-4 -t 0.5 -f M -V --engine uring-zc"))?;
    pair.client.succeeded()?;
    for expected in [
        " MBytes/sec",
        "snd_tcp_congestion ",
        "rcv_tcp_congestion ",
        "CPU Utilization: local/sender ",
        "Engine: send uring-zc (asked uring-zc): as asked",
        "Peer engine: receive ",
        "Zero-copy: ",
        "Processors: stream 1 on ",
        "Round trip: p50 ",
        "Send completion: p50 ",
        "Buffer release: p50 ",
        "Limits: busy ",
        "CPU time per GB: local ",
    ] {
        ensure!(pair.client.stdout.contains(expected), "no {expected:?}\n{}", pair.client);
    }
    Ok(())
}

#[test]
fn a_client_keeps_to_its_ports() -> Checked {
    let _permit = shared();
    let first = pick_run(2);
    let pair = run_pair((&ours(), ""), (&ours(), &format!("-t 0.3 -P 2 --cport {first} -J")))?;
    let document = pair.client.document()?;
    for (index, port) in [first, first + 1].into_iter().enumerate() {
        let found = document.integer(&format!("/start/connected/{index}/local_port"))?;
        ensure!(found == u64::from(port), "stream {index} came from port {found} instead of {port}");
    }
    Ok(())
}

#[test]
fn both_ends_keep_to_their_address() -> Checked {
    let _permit = shared();
    let pair = run_pair((&ours(), "-B 127.0.0.1"), (&ours(), "-t 0.3 -B 127.0.0.2 -J"))?;
    let document = pair.client.document()?;
    let local = document.text("/start/connected/0/local_host")?;
    ensure!(local == "127.0.0.2", "the client used {local}");
    Ok(())
}

#[test]
fn a_server_says_where_it_listens() -> Checked {
    let server = Process::spawn(ours().command("-s -1 -p 0"))?;
    server.wait_for_stdout("(test #1)", 1, Duration::from_secs(5))?;
    let banner = server.so_far();
    let port = banner.split("Server listening on ").nth(1).and_then(|rest| rest.split(' ').next());
    let Some(port) = port.and_then(|port| port.parse().ok()) else {
        return Err(Failure(format!("no port in the banner\n{banner}")));
    };
    run_client(&ours(), port, "-n 1K")?.succeeded()?;
    server.finish(Duration::from_secs(5))?.succeeded()
}

#[test]
fn a_listener_stays_open_between_tests() -> Checked {
    let server = Server::start(&ours(), "")?;
    for _ in 0..3 {
        run_client(&ours(), server.port, "-n 1K")?.succeeded()?;
    }
    server.process.wait_for_stdout("Server listening on", 4, Duration::from_secs(5))?;
    let interrupted = Instant::now();
    server.process.interrupt()?;
    let server = server.finish()?;
    server.succeeded()?;
    // It has nothing to wait for.
    server.ended_within(interrupted, Duration::from_secs(4))
}

#[test]
fn as_many_streams_as_there_may_be() -> Checked {
    let _permit = alone();
    for way in Way::ALL {
        let plan = Plan { way, parallel: 128, end: End::Mebibytes(16) };
        let pair = run_pair((&ours(), "-J"), (&ours(), &format!("{plan} -J")))?;
        let document = pair.client.document()?;
        document.adds_up()?;
        for (index, stream) in document.streams()?.iter().enumerate() {
            let Totals { sent, received } = stream.totals;
            ensure!(sent == received, "{way:?}, stream {index}: sent {sent}, received {received}");
        }
    }
    Ok(())
}
