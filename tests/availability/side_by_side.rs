//! `--max-tests`: tests side by side, each with its own streams, limits and report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LIMIT, PARAMETERS, cookie, request, served};
use crate::harness::login::{Login, start_server};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{
    Account, Checked, Document, Failure, Process, Server, debian, ensure, libiperf, ours, run, run_client,
    shared, start_client,
};

/// Every kind of test at the same time, from every kind of client, exact to the byte.
#[test]
fn tests_side_by_side_are_not_mixed_up() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 8 -J")?;
    let tests = [
        (ours(), "-n 3M -P 3 -b 20M", 3 << 20),
        (ours(), "-n 2M -R -b 20M", 2 << 20),
        (libiperf()?, "-n 1M -b 8M", 1 << 20),
        (ours(), "-u -n 1000K -l 1000 -b 8M", 1000 << 10),
        (ours(), "-u -R -n 500K -l 1000 -b 4M -P 2", 500 << 10),
        (debian()?, "-u -n 200K -l 1000 -b 2M", 200 << 10),
        (ours(), "-n 4M --bidir -b 30M", 4 << 20),
    ];
    let clients: Vec<(Process, &str, u64)> = tests
        .into_iter()
        .enumerate()
        .map(|(number, (program, options, bytes))| {
            let own = 2 + u8::try_from(number).expect("few tests");
            let options_of_client = format!("-J -B 127.0.0.{own} {options}");
            Ok((start_client(&program, server.port, &options_of_client)?, options, bytes))
        })
        .collect::<Checked<_>>()?;
    let count = clients.len();
    for (client, options, bytes) in clients {
        let client = client.finish(LIMIT)?;
        client.succeeded()?;
        let document = client.document()?;
        let sent = document.integer("/end/sum_sent/bytes").or_else(|_| document.integer("/end/sum/bytes"))?;
        let parallel = document.integer("/start/test_start/num_streams")?;
        let block = document.integer("/start/test_start/blksize")?;
        // iperf3 may send a block more on each stream, and a server has no goal over UDP: it is told to stop.
        let is_told = options.starts_with("-u -R");
        let range = bytes..=if is_told { 2 * bytes } else { bytes + parallel * block };
        ensure!(range.contains(&sent), "{options}: {sent} bytes instead of {bytes}\n{client}");
        if options.starts_with("-u") && client.to_string().contains("ringperf") {
            document.accounts()?.iter().try_for_each(Account::is_complete)?;
        }
    }
    server.process.wait_for_stdout("\"cookie\"", count, LIMIT)?;
    server.process.terminate()?;
    let server = server.finish()?;
    let documents = serde_json::Deserializer::from_str(&server.stdout).into_iter::<Value>();
    let documents: Vec<Value> =
        documents.collect::<Result<_, _>>().map_err(|error| Failure(format!("{error}\n{server}")))?;
    let whole = documents.iter().filter(|document| document["end"]["streams"][0].is_object()).count();
    ensure!(whole == count, "{whole} documents of {count} tests\n{server}");
    Ok(())
}

/// The slots are counted exactly, and one that is given back is free at once.
#[test]
fn one_more_than_the_slots_is_told_at_once() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 3 -i 0.1")?;
    let mut guests = Vec::new();
    for number in 1..=3 {
        guests.push(start_client(&ours(), server.port, "-t 30 -b 1M")?);
        // Something has moved in it.
        let row = format!("#{number}:  [ ID] Interval");
        server.process.wait_for_stdout(&row, 1, LIMIT)?;
    }
    let started = Instant::now();
    let mut other = Wire::connect(server.port)?;
    other.expect_state(state::ACCESS_DENIED)?;
    other.wait_for_close()?;
    ensure!(started.elapsed() < Duration::from_secs(4), "denied after {:?}", started.elapsed());
    guests.pop();
    served(server.port)?;
    Ok(())
}

/// A lab behind one address has all slots of a server, as long as nobody else wants one.
#[test]
fn one_address_may_have_all_slots() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 8")?;
    let clients: Vec<Process> =
        (0..8).map(|_| start_client(&ours(), server.port, "-t 1 -b 1M -P 2")).collect::<Checked<_>>()?;
    clients.into_iter().try_for_each(|client| client.finish(LIMIT)?.succeeded())
}

/// The words of UDP streams have no cookie unless both ends are ringperfs: tests of one host take turns,
/// those of others do not wait, nor do those that need not.
#[test]
fn udp_tests_of_one_host_take_turns() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 4")?;
    let mut slow = asked(server.port, [127, 0, 0, 1])?;
    slow.proceed(ClientPoint::Invited)?;
    run_client(&debian()?, server.port, "-u -n 10K -B 127.0.0.2")?.succeeded()?;
    let named = run_client(&ours(), server.port, "-u -n 10K -J -b 1M")?;
    named.succeeded()?;
    named.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
    // It hears of its turn when the first one has gone, and has all its datagrams for itself.
    let mut next = asked(server.port, [127, 0, 0, 1])?;
    next.control.0.set_read_timeout(Some(Duration::from_millis(300)))?;
    ensure!(next.control.read::<1>().is_err(), "two set-ups of one host at once");
    next.control.0.set_read_timeout(Some(LIMIT))?;
    drop(slow);
    next.proceed(ClientPoint::Invited)?;
    let patient = start_client(&libiperf()?, server.port, "-u -n 10K -J -b 1M")?;
    drop(next);
    let patient = patient.finish(LIMIT)?;
    patient.succeeded()?;
    let came = patient.document()?.integer("/end/sum/packets")?;
    ensure!(came > 0, "nothing came\n{patient}");
    // Who waits in vain is told that the server is busy, long before the other one is given up.
    let _slow = asked(server.port, [127, 0, 0, 1])?;
    let mut in_vain = asked(server.port, [127, 0, 0, 1])?;
    let started = Instant::now();
    let code = in_vain.control.read_server_error()?;
    ensure!(code == 121, "error {code} instead of 121");
    ensure!(started.elapsed() < Duration::from_secs(7), "told after {:?}", started.elapsed());
    Ok(())
}

/// A UDP client that has sent its parameters.
fn asked(port: u16, address: [u8; 4]) -> Checked<HonestClient> {
    let parameters = r#"{"udp":true,"omit":0,"time":10,"num":0,"parallel":2,"len":1000}"#;
    HonestClient::reach(port, request(address.into(), parameters), ClientPoint::Asked)
}

/// Many UDP tests of one host, all at once: each gets its own streams, nobody those of another.
#[test]
fn udp_tests_of_one_host_are_not_mixed_up() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 6")?;
    let options = ["-P 3", "-R -P 2", "--bidir", "-P 4", "-R", "-P 2 --bidir"];
    let clients: Vec<Process> = options
        .iter()
        .map(|options| start_client(&ours(), server.port, &format!("-u -n 200K -l 1000 -b 4M -J {options}")))
        .collect::<Checked<_>>()?;
    for client in clients {
        let client = client.finish(LIMIT)?;
        client.succeeded()?;
        client.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
    }
    Ok(())
}

/// Lines of a text report say which test they are of, and so do events; a server with one test has no marks.
#[test]
fn reports_say_which_test_they_are_about() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 2 -i 0.2")?;
    let clients = both(server.port)?;
    server.process.wait_for_stdout("receiver", 2, LIMIT)?;
    server.process.terminate()?;
    let server = server.finish()?;
    let (banner, lines): (Vec<&str>, Vec<&str>) =
        server.stdout.lines().partition(|line| line.contains("listening on") || line.starts_with("---"));
    ensure!(banner.len() == 3, "not one banner\n{server}");
    for (mark, port) in [("#1:  ", clients.0), ("#2:  ", clients.1)] {
        let own: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(mark)).collect();
        ensure!(own[0].ends_with(&format!("port {port}")) || own[0].starts_with("Accepted"), "{server}");
        ensure!(own.iter().filter(|line| line.contains("receiver")).count() == 1, "{server}");
        ensure!(own.len() > 6, "only {} lines of {mark}\n{server}", own.len());
    }
    ensure!(lines.iter().all(|line| line.starts_with('#')), "a line without a mark\n{server}");

    let server = Server::start(&ours(), "--max-tests 2 -i 0.2 --json-stream")?;
    both(server.port)?;
    server.process.wait_for_stdout("\"event\":\"end\"", 2, LIMIT)?;
    server.process.terminate()?;
    let server = server.finish()?;
    let mut events: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in server.stdout.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| Failure(format!("{error}: {line}")))?;
        let Some(test) = event["test"].as_u64() else {
            // The signal that ended the server is of no test.
            ensure!(server.stdout.lines().rev().take(2).any(|last| last == line), "no test in {line}");
            continue;
        };
        events.entry(test).or_default().push(event["event"].as_str().unwrap_or_default().to_owned());
    }
    ensure!(events.len() == 2, "{events:?}");
    for events in events.values() {
        ensure!(events[0] == "start" && events.last().is_some_and(|last| last == "end"), "{events:?}");
    }
    Ok(())
}

/// Two tests at the same time; returns the ports of their control connections.
fn both(port: u16) -> Checked<(u64, u64)> {
    let first = start_client(&ours(), port, "-t 1 -b 1M -J")?;
    let second = start_client(&ours(), port, "-t 1 -b 1M -J")?;
    let port = |client: Process| -> Checked<u64> {
        let client = client.finish(LIMIT)?;
        client.succeeded()?;
        client.document()?.integer("/start/connected/0/local_port")
    };
    Ok((port(first)?, port(second)?))
}

/// A signal ends every test, each with a report, and then the server; every client is told.
#[test]
fn a_signal_ends_all_tests() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 3 -J")?;
    let clients = ["-t 20 -b 1M", "-t 20 -b 1M -R", "-u -t 20 -b 1M"]
        .map(|options| start_client(&ours(), server.port, &format!("{options} -i 0.1 --json-stream")));
    let clients: Vec<Process> = clients.into_iter().collect::<Checked<_>>()?;
    for client in &clients {
        client.wait_for_stdout("\"event\":\"interval\"", 2, LIMIT)?;
    }
    let asked = Instant::now();
    server.process.terminate()?;
    let server = server.finish()?;
    server.succeeded()?;
    server.ended_within(asked, Duration::from_secs(3))?;
    let documents = serde_json::Deserializer::from_str(&server.stdout).into_iter::<Value>();
    let documents: Vec<Value> =
        documents.collect::<Result<_, _>>().map_err(|error| Failure(format!("{error}\n{server}")))?;
    ensure!(documents.len() == 3, "{} documents\n{server}", documents.len());
    for document in documents.into_iter().map(Document) {
        ensure!(document.text("/error")?.contains("terminated by signal"), "{server}");
        ensure!(!document.list("/end/streams")?.is_empty(), "nothing was measured\n{server}");
    }
    for client in clients {
        let client = client.finish(LIMIT)?;
        ensure!(client.stdout.contains("the server has terminated"), "not told\n{client}");
    }
    Ok(())
}

/// With -1 a server has one test, whatever else it may have at a time.
#[test]
fn a_one_off_server_has_one_test() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "-1 --max-tests 4")?;
    let first = start_client(&ours(), server.port, "-t 1 -b 1M")?;
    server.process.wait_for_stdout("connected to", 1, LIMIT)?;
    let mut other = Wire::connect(server.port)?;
    other.expect_state(state::ACCESS_DENIED)?;
    first.finish(LIMIT)?.succeeded()?;
    server.finish()?.succeeded()
}

/// Whoever is in a set-up when that test is over is told so, and keeps the server no longer.
#[test]
fn a_one_off_server_sends_set_ups_away_and_ends() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "-1")?;
    let mut waiting = in_set_up(server.port, [127, 0, 0, 2])?;
    run_client(&ours(), server.port, "-n 128K")?.succeeded()?;
    waiting.control.expect_state(state::ACCESS_DENIED)?;
    waiting.control.wait_for_close()?;
    let server = server.finish()?;
    server.succeeded()?;
    ensure!(server.stdout.matches("Accepted connection").count() == 1, "not one test\n{server}");
    Ok(())
}

/// At a server for one test at a time no line of another client stands in the middle of a test.
#[test]
fn a_set_up_that_fails_is_told_behind_the_test() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let mut client = in_set_up(server.port, [127, 0, 0, 2])?;
    client.proceed(ClientPoint::Running)?;
    // Nothing has moved yet, so others come in.
    let mut fails = in_set_up(server.port, [127, 0, 0, 3])?;
    fails.control.send(&[state::UNKNOWN])?;
    fails.control.wait_for_close()?;
    client.streams[0].send(&[0; 1000])?;
    client.proceed(ClientPoint::Told)?;
    client.control.send(&[state::IPERF_DONE])?;
    server.process.wait_for_stdout("Accepted connection", 2, LIMIT)?;
    server.process.terminate()?;
    let server = server.finish()?;
    let at = |text: &str| {
        server.stdout.find(text).ok_or_else(|| Failure(format!("{text:?} is missing\n{server}")))
    };
    ensure!(at("receiver")? < at("connection from 127.0.0.3")?, "in the middle of a test\n{server}");
    ensure!(!server.stdout.contains("#2:"), "with a mark\n{server}");
    Ok(())
}

/// A client whose data connection a server waits for.
fn in_set_up(port: u16, address: [u8; 4]) -> Checked<HonestClient> {
    HonestClient::invited(port, request(address.into(), PARAMETERS))
}

/// Who guesses passwords has to wait; nobody else has.
#[test]
fn a_refused_login_holds_up_nobody_else() -> Checked {
    let _permit = shared();
    let server = start_server(&ours(), "")?;
    let wrong = Login { password: "guess", ..Login::RIGHT };
    let guesser = Process::spawn(wrong.command(&ours(), server.port, "")?)?;
    server_has_refused(&server)?;
    // The guesser is told after a second, and until then its host has no other test.
    let mut again = Wire::connect(server.port)?;
    again.send_anyhow(&cookie());
    again.expect_state(state::ACCESS_DENIED)?;
    // Whoever is held up is told so, and fails.
    run(Login::RIGHT.command(&ours(), server.port, "-B 127.0.0.2")?)?.succeeded()?;
    let guesser = guesser.finish(LIMIT)?;
    ensure!(guesser.stderr.contains("test authorization failed"), "{guesser}");
    ensure!(guesser.elapsed >= Duration::from_secs(1), "told after {:?}", guesser.elapsed);
    Login::RIGHT.run(&ours(), server.port, "")?.succeeded()
}

/// The server's log says so at once.
fn server_has_refused(server: &Server) -> Checked {
    let said = || server.process.so_far().contains("wrong password");
    ensure!(server.process.runs_until(LIMIT, said)?, "{}", server.process.so_far());
    Ok(())
}
