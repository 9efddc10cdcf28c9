//! On which processors the streams of both ends run: `--cpus`, `--peer-cpus`, and what the report says of it.

use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{LIMIT, processors};
use crate::harness::{
    Cable, Cells, Checked, Document, Failure, Process, Server, ensure, libiperf, ours, pick, run, run_client,
    run_pair, shared, start_client,
};

#[test]
fn threads_are_kept_where_the_list_says() -> Checked {
    let _permit = shared();
    let cpu = allowed()?[0].to_string();
    for (server_options, client_options) in
        [(format!("--cpus {cpu}"), format!("--cpus {cpu}")), (String::new(), format!("--peer-cpus {cpu}"))]
    {
        let server = Server::start(&ours(), &server_options)?;
        let anywhere = processors(&server.process, "ringperf")?;
        let client = start_client(&ours(), server.port, &format!("{client_options} -P 2 -t 20 -b 1M -l 1K"))?;
        let are_placed = || {
            let placed =
                |process: &Process, thread| processors(process, thread).is_ok_and(|list| list == cpu);
            let both = |process| ["stream-1", "stream-3"].iter().all(|thread| placed(process, thread));
            both(&server.process) && (client_options.contains("peer") || both(&client))
        };
        // Only streams stay there: a control thread goes there to start them, and comes back.
        let are_free = || {
            let is_free = |process| processors(process, "ringperf").is_ok_and(|list| list == anywhere);
            is_free(&client) && is_free(&server.process)
        };
        let is_right = client.runs_until(LIMIT, || are_placed() && are_free())?;
        ensure!(is_right, "{}\n{}", client.so_far(), server.process.so_far());
        client.interrupt()?;
        client.finish(LIMIT)?;
    }
    Ok(())
}

#[test]
fn a_report_says_where_both_ends_ran() -> Checked {
    let mut cells = Cells::default();
    let cpu = allowed()?[0];
    for options in [
        "-P 2",
        "-P 2 -R",
        "--bidir",
        "-b 50M --engine sync --peer-engine sync",
        "-Z",
        "--engine null --peer-engine null -R",
        "-u -b 100M -P 2",
        "-u -b 0 -R",
        "-u -b 100M --bidir --engine sync --peer-engine sync",
    ] {
        cells.add(options, move || {
            let client = format!("-t 0.5 -J --cpus {cpu} {options}");
            let pair = run_pair((&ours(), &format!("-J --cpus {cpu}")), (&ours(), &client))?;
            let (client, server) = (pair.client.document()?, pair.server.document()?);
            let peer = client.at("/ringperf/peer/engines")?;
            let streams = client.list("/end/streams")?.len();
            for engines in [client.at("/ringperf/engines")?, peer, server.at("/ringperf/engines")?] {
                let seen = threads(engines);
                ensure!(seen.len() == streams, "{} threads of {streams} streams\n{engines:#}", seen.len());
                for thread in seen {
                    let stays = thread["placed"] == cpu && thread["moves"] == 0 && thread["distinct"] == 1;
                    let is_there = thread["shares"] == json!([{"cpu": cpu, "percent": 100.0}]);
                    ensure!(stays && is_there, "not on {cpu}: {thread:#}");
                    // About fifty; but many tests run at once, and a test may take longer then.
                    let looks = thread["looks"].as_u64().unwrap_or(0);
                    ensure!((1..=500).contains(&looks), "{looks} looks in half a second");
                }
            }
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn whoever_is_left_to_the_scheduler_is_watched_all_the_same() -> Checked {
    let _permit = shared();
    let pair = run_pair((&ours(), ""), (&ours(), "-t 0.5 -J"))?;
    let document = pair.client.document()?;
    let allowed = allowed()?;
    for (_, thread) in both_ends(&document)? {
        let shares = thread["shares"].as_array().ok_or(Failure(thread.to_string()))?;
        let percent: f64 = shares.iter().filter_map(|share| share["percent"].as_f64()).sum();
        let is_allowed =
            |share: &Value| allowed.iter().any(|&cpu| share["cpu"].as_u64() == Some(u64::from(cpu)));
        let is_whole = (99.9..100.1).contains(&percent) || shares.len() == 8;
        ensure!(thread["placed"].is_null() && is_whole && shares.iter().all(is_allowed), "{thread:#}");
    }
    Ok(())
}

#[test]
fn packed_ends_meet_and_spread_ends_do_not() -> Checked {
    let _permit = shared();
    let processors = allowed()?.len();
    for (placement, options) in
        [("pack", "-P 2"), ("spread", "-P 2"), ("spread", ""), ("pack", "-R"), ("spread", "--bidir")]
    {
        let client = format!("-t 0.3 -J --cpus {placement} --peer-cpus {placement} {options}");
        let document = run_pair((&ours(), ""), (&ours(), &client))?.client.document()?;
        let ends = both_ends(&document)?;
        ensure!(ends.iter().all(|(_, thread)| thread["placed"].is_u64()), "not all are placed: {ends:?}");
        for (is_peer, thread) in &ends {
            let other = ends.iter().find(|(other, end)| other != is_peer && end["id"] == thread["id"]);
            let other = other.ok_or(Failure(format!("no other end of {thread:#}")))?;
            let meet = thread["placed"] == other.1["placed"];
            ensure!(meet == (placement == "pack" || processors == 1), "{placement} {options}: {ends:?}");
        }
    }
    Ok(())
}

#[test]
fn near_leaves_it_to_the_scheduler_where_there_is_no_card() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    let near = "-t 0.3 --cpus near --peer-cpus near";
    let is_told = |line: &str, said: &str| line.trim() == format!("Placement: near: {said}");
    for options in ["-P 2", "-R", "-u"] {
        let over_loopback = |more: &str| {
            Ok::<_, Failure>(run_pair((&ours(), ""), (&ours(), &format!("{near} {options} {more}")))?.client)
        };
        let over_cable = |more: &str| {
            let server = cable.start_server(&ours(), "-1")?;
            let client = cable.run_client(&ours(), server.port, &format!("{near} {options} {more}"))?;
            server.finish()?.succeeded()?;
            Ok::<_, Failure>(client)
        };
        for (texts, documents, device) in
            [(over_loopback(""), over_loopback("-J"), "lo"), (over_cable(""), over_cable("-J"), "cable")]
        {
            let said = format!("{device} has no card, so the scheduler has the choice");
            let (text, document) = (texts?, documents?.document()?);
            let lines = text.stdout.lines().filter(|line| is_told(line, &said)).count();
            ensure!(lines == 2, "not told of both ends: {text}");
            for end in ["/ringperf/engines/0", "/ringperf/peer/engines/0"] {
                let engine = document.at(end)?;
                ensure!(engine["placement"] == format!("near: {said}"), "{engine:#}");
            }
            for (_, thread) in both_ends(&document)? {
                let is_free = thread["placed"].is_null() && thread.get("interrupts").is_none();
                ensure!(is_free, "{thread:#}");
            }
        }
    }
    // Nobody else hears of it.
    let document = run_pair((&ours(), ""), (&ours(), "-t 0.3 -J --cpus spread"))?.client.document()?;
    ensure!(document.at("/ringperf/engines/0")?.get("placement").is_none(), "{:#}", document.0);
    Ok(())
}

#[test]
fn a_servers_own_choice_goes_before_its_clients() -> Checked {
    let _permit = shared();
    let first = allowed()?[0];
    for (server, asked, placed) in [
        (String::new(), format!("{first}"), Some(first)),
        (format!("--cpus {first}"), "spread".to_owned(), Some(first)),
        ("--cpus auto".to_owned(), format!("{first}"), None),
        (format!("-A {first}"), "spread".to_owned(), None),
        // Not even looked at.
        (format!("--cpus {first}"), "1000".to_owned(), Some(first)),
    ] {
        let client = format!("-t 0.3 -J --peer-cpus {asked}");
        let document = run_pair((&ours(), &server), (&ours(), &client))?.client.document()?;
        let seen = document.at("/ringperf/peer/engines/0/processors/0")?;
        ensure!(seen["placed"] == json!(placed), "{server} with {asked}: {seen:#}");
        ensure!(placed.is_none() || seen["shares"][0]["cpu"] == json!(first), "{seen:#}");
        ensure!(
            document.at("/ringperf/engines/0/processors/0/placed")?.is_null(),
            "the client is placed, too"
        );
    }
    // An iperf3 knows nothing of it.
    run_pair((&libiperf()?, ""), (&ours(), &format!("-t 0.3 --peer-cpus {first}"))).map(|_| ())
}

#[test]
fn processors_out_of_reach_are_refused_before_anything_is_connected() -> Checked {
    let all = allowed()?;
    let (first, last) = (all[0], all[all.len() - 1]);
    let outside = last + 1;
    let refused = |options: String| {
        let run = run(ours().command(&options))?;
        let line = run.failed_with_one_line()?;
        ensure!(line.contains("unable to set CPU affinity: processor "), "{run}");
        ensure!(line.contains(" does not exist or is not one that this process may use"), "{run}");
        Ok(())
    };
    for role in [format!("-c 127.0.0.1 -p {}", pick()), format!("-s -p {}", pick())] {
        refused(format!("{role} --cpus {outside}"))?;
        refused(format!("{role} --cpus {first},1024"))?;
        if last != first {
            // It exists, but it is not in the mask that this process is started with.
            on_one_processor(first, || refused(format!("{role} --cpus {last}")))?;
        }
    }
    Ok(())
}

#[test]
fn a_server_refuses_what_it_cannot_use_and_serves_on() -> Checked {
    let _permit = shared();
    let first = allowed()?[0];
    let server = on_one_processor(first, || Server::start(&ours(), ""))?;
    let client = run_client(&ours(), server.port, "-t 1 --peer-cpus 1000")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("the server cannot run its streams on --peer-cpus 1000"), "{client}");
    let client = run_client(&ours(), server.port, "-t 0.3 -P 2 -J --peer-cpus spread")?;
    let document = client.document()?;
    let seen = document.list("/ringperf/peer/engines/0/processors")?;
    ensure!(seen.len() == 2 && seen.iter().all(|thread| thread["placed"] == first), "{seen:?}");
    server.process.interrupt()?;
    let server = server.finish()?;
    let reason =
        "processor 1000 of --peer-cpus does not exist or is not one that this process may use, which";
    ensure!(server.stderr.contains(reason), "{server}");
    Ok(())
}

/// The threads of all streams at both ends; the peer's are marked.
fn both_ends(document: &Document) -> Checked<Vec<(bool, Value)>> {
    let own = threads(document.at("/ringperf/engines")?).into_iter().map(|thread| (false, thread));
    let peers = threads(document.at("/ringperf/peer/engines")?).into_iter().map(|thread| (true, thread));
    let both: Vec<_> = own.chain(peers).collect();
    ensure!(both.len() >= 2, "not both ends tell\n{:#}", document.0);
    Ok(both)
}

/// What is told of the streams' threads by all engines of one end.
fn threads(engines: &Value) -> Vec<Value> {
    let engines = engines.as_array().into_iter().flatten();
    engines.filter_map(|engine| engine["processors"].as_array()).flatten().cloned().collect()
}

/// The processors that this process may use, and so its children.
fn allowed() -> Checked<Vec<u32>> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| Failure(error.to_string()))?;
    let is_allowed = |cpu: &usize| set.is_set(*cpu) == Ok(true);
    let allowed = (0..CpuSet::count()).filter(is_allowed).filter_map(|cpu| u32::try_from(cpu).ok());
    Ok(allowed.collect())
}

/// Does something on a thread that may use only this processor, as may the children that it starts.
fn on_one_processor<T: Send>(cpu: u32, action: impl FnOnce() -> Checked<T> + Send) -> Checked<T> {
    let failed = |error: nix::Error| Failure(format!("cannot stay on processor {cpu}: {error}"));
    thread::scope(|scope| {
        let alone = scope.spawn(|| {
            let mut only = CpuSet::new();
            only.set(usize::try_from(cpu).expect("a u32 fits a usize on Linux")).map_err(failed)?;
            sched_setaffinity(Pid::from_raw(0), &only).map_err(failed)?;
            action()
        });
        alone.join().expect("the action does not panic")
    })
}
