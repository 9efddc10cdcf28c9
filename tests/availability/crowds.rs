//! Crowds at the door: half-open clients, floods, clients that do not hang up, and too few descriptors.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{LIMIT, PARAMETERS, admitted, at_once, cookie, of_crowd, percentile, runs, served};
use crate::harness::peer::wire::{Wire, frame, state};
use crate::harness::{
    Checked, Failure, Holdings, Process, Server, alone, busy, ensure, ours, run, run_client, shared,
    start_client, wait_until,
};

const SECOND: Duration = Duration::from_secs(1);

/// Lets this process hold as many descriptors as the system allows it.
fn hold_many() -> Checked {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| Failure(error.to_string()))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| Failure(error.to_string()))
}

/// So many connections that say nothing, from so many addresses.
fn half_open(port: u16, crowd: u8, connections: usize, addresses: usize) -> Checked<Vec<Wire>> {
    (0..connections).map(|number| Wire::connect_from(of_crowd(crowd, number % addresses), port)).collect()
}

#[test]
fn a_thousand_half_open_clients_do_not_delay_the_next() -> Checked {
    let _permit = alone();
    hold_many()?;
    for addresses in [1, 40] {
        let server = Server::start(&ours(), "")?;
        let at_once = at_once(server.port)?;
        let held = half_open(server.port, 10, 1000, addresses)?;
        let mut times: Vec<Duration> = (0..50).map(|_| served(server.port)).collect::<Checked<_>>()?;
        let (middle, worst) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("C1: 1000 half open from {addresses} addresses: served p50 {middle:?}, p99 {worst:?}");
        ensure!(middle <= at_once, "half of the clients were served after {middle:?} and not {at_once:?}");
        // One of fifty may get no processor for a while.
        ensure!(worst <= (10 * at_once).max(5 * SECOND), "a client was served after {worst:?}");
        runs(server.port, "-n 1M -P 8")?;
        // Those of clients that have left are closed by and by.
        let holds_few = || Holdings::of(&server.process).is_ok_and(|now| now.files < 300);
        wait_until(LIMIT, holds_few).map_err(|_| {
            let holdings = Holdings::of(&server.process).map(|holdings| format!("{holdings:?}"));
            Failure(format!("too many connections are kept: {}", holdings.unwrap_or_default()))
        })?;
        drop(held);
    }
    Ok(())
}

/// The oldest silent connection of an address goes for its newest, and others lose nothing by it.
#[test]
fn an_address_has_a_cap_of_its_own() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 4")?;
    let mut patient = Wire::connect_from(of_crowd(11, 0), server.port)?;
    let mut crowd: Vec<Wire> =
        (0..33).map(|_| Wire::connect_from(of_crowd(11, 1), server.port)).collect::<Checked<_>>()?;
    let took = crowd[0].wait_for_close()?;
    ensure!(took < Duration::from_secs(5), "the oldest is closed after {took:?}");
    for admitted in [&mut patient, &mut crowd[1]] {
        admitted.send(&cookie())?;
        admitted.expect_state(state::PARAM_EXCHANGE)?;
    }
    Ok(())
}

/// As many streams as there can be come at once from one address, each with its cookie right behind it.
#[test]
fn many_streams_are_no_crowd() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for options in ["-n 1M -P 128", "-n 1M -P 128 --bidir"] {
        run_client(&ours(), server.port, options)?.succeeded()?;
    }
    Ok(())
}

#[test]
fn strangers_do_not_disturb_a_running_test() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "-i 0.1")?;
    let client = start_client(&ours(), server.port, "-t 3 -b 100M -i 0.5 -J")?;
    // A test in which nothing has moved yet does not make the server busy.
    server.process.wait_for_stdout("bits/sec", 1, LIMIT)?;
    let deadline = Instant::now() + Duration::from_millis(2500);
    let mut strangers = Vec::new();
    let mut denied = 0;
    for number in 0..500 {
        ensure!(Instant::now() < deadline, "only {number} strangers came in time");
        let mut stranger = Wire::connect_from(of_crowd(12, number), server.port)?;
        match number % 4 {
            0 => {}
            1 => stranger.send_anyhow(&cookie()),
            2 => stranger.send_anyhow(&[b'x'; 5]),
            _ => stranger.reset_when_dropped()?,
        }
        if number % 4 == 1 {
            denied += usize::from(matches!(stranger.read(), Ok([state::ACCESS_DENIED])));
        }
        if number % 4 != 3 {
            strangers.push(stranger);
        }
    }
    let client = client.finish(LIMIT)?;
    client.succeeded()?;
    let document = client.document()?;
    let rate = document.number("/end/sum_received/bits_per_second")?;
    let intervals = document.list("/intervals")?.len();
    println!("C3: {rate:.0} bit/s of 100M, {intervals} intervals, {denied} of 125 strangers were told");
    // An end that gets no processor for a while leaves out an interval, or ends before it has caught up.
    let is_undisturbed = (90e6..110e6).contains(&rate) && (4..=6).contains(&intervals);
    ensure!(is_undisturbed, "{rate} bit/s in {intervals} intervals");
    ensure!(denied == 125, "{denied} of 125 were told");
    Ok(())
}

#[test]
fn who_does_not_hang_up_is_hung_up_on() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    let refuse = || -> Checked<(Wire, Instant, Duration)> {
        let mut wrong = admitted(server.port)?;
        wrong.send(&frame(r#"{"tcp":true,"parallel":0}"#))?;
        wrong.read_server_error()?;
        Ok((wrong, Instant::now(), served(server.port)?))
    };
    let at_once = at_once(server.port)?;
    let mut times = (0..5).map(|_| refuse().map(|(.., next)| next)).collect::<Checked<Vec<_>>>()?;
    let next = percentile(&mut times, 50);
    println!("C5: the next client is served after {times:?}");
    ensure!(next <= at_once, "the next client is served after {next:?} and not {at_once:?}");
    let (wrong, refused, _) = refuse()?;
    // A byte now and then does not keep the connection open.
    let gone = wait_until(LIMIT, || {
        use std::io::Write;
        (&wrong.0).write_all(b"x").is_err()
    });
    println!("C5: its connection is gone after {:?}", refused.elapsed());
    gone?;
    ensure!(refused.elapsed() <= Duration::from_secs(3), "gone after {:?}", refused.elapsed());
    Ok(())
}

/// A short version of a flood from 64 addresses; each connection is closed as soon as it is there.
#[test]
fn a_flood_of_connections_does_not_keep_the_next_client_out() -> Checked {
    let _permit = alone();
    hold_many()?;
    let server = Server::start(&ours(), "")?;
    run_client(&ours(), server.port, "-n 1K")?.succeeded()?;
    let at_once = at_once(server.port)?;
    let before = Holdings::of(&server.process)?;
    let over = AtomicBool::new(false);
    let port = server.port;
    let mut times = Vec::new();
    let flooded = thread::scope(|scope| -> Checked<usize> {
        let flood = scope.spawn(|| -> Checked<usize> {
            let mut number = 0;
            let started = Instant::now();
            while !over.load(Ordering::Relaxed) {
                Wire::connect_from(of_crowd(13, number % 64), port)?.reset_when_dropped()?;
                number += 1;
                // Two thousand a second, and no more.
                let due = Duration::from_micros(500) * u32::try_from(number).expect("not so many");
                thread::park_timeout(due.saturating_sub(started.elapsed()));
            }
            Ok(number)
        });
        let tried: Checked = (0..30).try_for_each(|_| {
            times.push(served(port)?);
            thread::park_timeout(Duration::from_millis(50));
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let flooded = flood.join().map_err(|_| Failure("the flood panicked".to_owned()))?;
        tried.and(flooded)
    })?;
    let late = percentile(&mut times, 95);
    runs(server.port, "-n 1K")?;
    let after = Holdings::of(&server.process)?;
    println!("C6: {flooded} connections; served p95 {late:?}; {before:?} became {after:?}");
    ensure!(flooded > 1000, "only {flooded} connections");
    ensure!(late <= (10 * at_once).max(5 * SECOND), "served after {late:?}");
    ensure!(after.memory_kib <= before.memory_kib + 16 * 1024, "{before:?} became {after:?}");
    let few = || Holdings::of(&server.process).is_ok_and(|now| now.files <= before.files + 1);
    wait_until(Duration::from_secs(5), few)
}

#[test]
fn a_server_without_descriptors_waits_for_some() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &server.process.id().to_string(), "--nofile=32:32"]);
    run(limit)?.succeeded()?;
    let held = half_open(server.port, 14, 200, 100)?;
    let are_taken = || Holdings::of(&server.process).is_ok_and(|now| (28..=32).contains(&now.files));
    wait_until(LIMIT, are_taken)?;
    let before = busy(&server.process)?;
    let watched = Duration::from_secs(3);
    let started = Instant::now();
    let is_there = server.process.runs_until(LIMIT, || started.elapsed() >= watched)?;
    ensure!(is_there, "the server is gone\n{}", server.process.so_far());
    let worked = busy(&server.process)?.saturating_sub(before);
    println!("C7: {worked:?} of processor time in {watched:?}");
    ensure!(worked <= watched / 10, "{worked:?} of processor time in {watched:?}");
    drop(held);
    let next = served(server.port)?;
    println!("C7: served {next:?} after the release");
    ensure!(next <= Duration::from_secs(5), "served {next:?} after the release");
    runs(server.port, "-n 1K")
}

/// Whoever comes gets an answer, whatever the tests beside it are doing.
#[test]
fn nobody_is_refused_by_the_kernel() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let port = server.port;
    let over = AtomicBool::new(false);
    let (admitted, denied) = thread::scope(|scope| -> Checked<(usize, usize)> {
        let tests = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // It may be told that the server is busy.
                let _ = run_client(&ours(), port, "-n 1K -P 3");
            }
        });
        let (mut admitted, mut denied) = (0, 0);
        let asked = (0..1500).try_for_each(|number| -> Checked {
            let mut client = Wire::connect_from(of_crowd(15, number), port)?;
            client.send_anyhow(&cookie());
            match client.read()? {
                [state::PARAM_EXCHANGE] => admitted += 1,
                [state::ACCESS_DENIED] => denied += 1,
                [other] => return Err(Failure(format!("client {number} got state {other}"))),
            }
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        tests.join().map_err(|_| Failure("the tests panicked".to_owned()))?;
        asked.map(|()| (admitted, denied))
    })?;
    println!("C10: {admitted} were admitted, {denied} were told that the server is busy");
    ensure!(admitted > 0 && denied > 0, "{admitted} admitted, {denied} denied");
    Ok(())
}

/// Clients that stop in the middle of their set-up hold no slot, and are given up after ten seconds.
#[test]
fn a_silent_client_has_no_slot_and_is_given_up_after_ten_seconds() -> Checked {
    let server = Server::start(&ours(), "")?;
    let started = Instant::now();
    let mut silent = Vec::new();
    for (number, reverse) in [false, true].into_iter().enumerate() {
        for step in 0..3 {
            let mut client =
                Wire::connect_from(Ipv4Addr::new(127, 16, 0, 1 + u8::from(reverse)), server.port)?;
            client.send(&cookie())?;
            client.expect_state(state::PARAM_EXCHANGE)?;
            let member = if reverse { r#"{"reverse":true,"# } else { "{" };
            let parameters = frame(&PARAMETERS.replacen('{', member, 1));
            match step {
                0 => {}
                1 => client.send(&parameters[..30])?,
                _ => {
                    client.send(&parameters)?;
                    client.expect_state(state::CREATE_STREAMS)?;
                }
            }
            silent.push((number * 3 + step, client));
        }
    }
    run_client(&ours(), server.port, "-n 128K")?.succeeded()?;
    ensure!(started.elapsed() < Duration::from_secs(9), "served after {:?}", started.elapsed());
    for (number, client) in &mut silent {
        client.wait_for_close()?;
        let took = started.elapsed();
        let in_time = (Duration::from_millis(9500)..Duration::from_secs(13)).contains(&took);
        ensure!(in_time, "client {number} was closed after {took:?}");
    }
    let next = served(server.port)?;
    println!("C2: all are given up after {:?}, the next client is served in {next:?}", started.elapsed());
    ensure!(next < Duration::from_secs(5), "served after {next:?}");
    complains_in_lines(&server.process)
}

/// One line for each failure, and no panic.
fn complains_in_lines(server: &Process) -> Checked {
    let output = server.so_far();
    ensure!(!output.contains("panicked") && !output.contains("a bug in ringperf"), "{output}");
    Ok(())
}
