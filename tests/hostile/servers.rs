//! Hostile servers against `ringperf -c`: it ends in time, says why in one line, and reports what it has.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::peer::server::{HonestServer, Listener, ServerPoint, program_against};
use crate::harness::peer::wire::{Wire, frame, results, state};
use crate::harness::restrict::limit_data;
use crate::harness::{Checked, Failure, Finished, Program, ensure, libiperf, ours, shared};

/// A peer that hangs up is noticed this fast.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);
/// A peer that falls silent is given up this fast.
const SILENCE_LIMIT: Duration = Duration::from_secs(14);
/// Bytes of a stream that have come before a running test is disturbed, so that there is something to report.
const MOVED_BYTES: usize = 100_000;

/// Plays an honest server up to this point.
fn reach(listener: &Listener, point: ServerPoint) -> Checked<HonestServer> {
    let mut server = HonestServer::reach(listener, point.min(ServerPoint::Started))?;
    if point >= ServerPoint::Running {
        server.run_until(MOVED_BYTES)?;
        server.proceed(point)?;
    }
    Ok(server)
}

/// From here on the client has something to report.
fn has_report(point: ServerPoint) -> bool {
    point >= ServerPoint::Running
}

/// What a script leaves open until the client is gone, and when it began to misbehave.
struct Misbehaved {
    _open: Option<HonestServer>,
    since: Instant,
}

impl Misbehaved {
    fn silent(server: HonestServer) -> Self {
        Self { _open: Some(server), since: Instant::now() }
    }

    fn closed(server: HonestServer) -> Self {
        server.close();
        Self { _open: None, since: Instant::now() }
    }
}

/// Runs a client with `options` against a script; returns how it ended, and when the script was through.
fn against(
    options: &str,
    script: impl FnOnce(&Listener) -> Checked<Misbehaved> + Send,
) -> Checked<(Finished, Instant)> {
    program_against(&ours(), options, script).map(|(client, misbehaved)| (client, misbehaved.since))
}

/// A client's failure in text mode: status 1, one line, and the summary if there is anything to sum up.
fn fails_in_text(client: &Finished, has_report: bool) -> Checked<String> {
    let line = client.failed_with_one_line()?.to_owned();
    ensure!(client.stdout.contains("sender") == has_report, "summary rows: expected {has_report}\n{client}");
    ensure!(!client.stdout.contains("iperf Done."), "a failed test is not done\n{client}");
    Ok(line)
}

/// A client's failure in JSON mode: status 1, one document with the reason, and the intervals if there are
/// any.
fn fails_in_json(client: &Finished, has_report: bool) -> Checked<String> {
    let (document, error) = client.failed_in_document()?;
    let intervals = document.list("/intervals")?.len();
    ensure!((intervals > 0) == has_report, "{intervals} intervals\n{client}");
    ensure!(!has_report || document.totals()?.sent > 0, "nothing was sent\n{client}");
    Ok(error)
}

/// Runs a script that must make the client fail within `limit`, in text mode and in JSON mode, for the reason
/// `text`.
fn fails(
    point: ServerPoint,
    limit: Duration,
    text: &str,
    script: impl Fn(&Listener) -> Checked<Misbehaved> + Sync,
) -> Checked {
    thread::scope(|scope| {
        let in_json = scope.spawn(|| {
            let (client, since) = against("-t 0.5 -J", &script)?;
            client.ended_within(since, limit)?;
            fails_in_json(&client, has_report(point))
        });
        let (client, since) = against("-t 0.5", &script)?;
        client.ended_within(since, limit)?;
        let line = fails_in_text(&client, has_report(point))?;
        let error = in_json.join().expect("the other mode does not panic")?;
        ensure!(line.contains(text), "{text:?} is not said in {line:?}");
        ensure!(error.contains(text), "{text:?} is not said in {error:?}");
        Ok(())
    })
    .map_err(|Failure(why)| Failure(format!("{point:?}: {why}")))
}

#[test]
fn a_server_may_hang_up_anywhere() -> Checked {
    let _permit = shared();
    for point in ServerPoint::all_unfinished() {
        fails(point, CLOSE_LIMIT, "", |listener| Ok(Misbehaved::closed(reach(listener, point)?)))?;
    }
    Ok(())
}

#[test]
fn a_server_may_reset_anywhere() -> Checked {
    let _permit = shared();
    for point in ServerPoint::all_unfinished() {
        fails(point, CLOSE_LIMIT, "", |listener| {
            let server = reach(listener, point)?;
            server.control.reset_when_dropped()?;
            server.streams.iter().try_for_each(Wire::reset_when_dropped)?;
            Ok(Misbehaved::closed(server))
        })?;
    }
    Ok(())
}

/// The client decides how long a test runs, so a server may be silent then; everywhere else it has about ten
/// seconds.
#[test]
fn a_silent_server_is_given_up() -> Checked {
    let _permit = shared();
    let points = ServerPoint::all_unfinished().filter(|point| *point != ServerPoint::Running);
    thread::scope(|scope| {
        let silent = |point: ServerPoint| {
            move || {
                fails(point, SILENCE_LIMIT, "", |listener| Ok(Misbehaved::silent(reach(listener, point)?)))
            }
        };
        let threads: Vec<_> = points.map(|point| scope.spawn(silent(point))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a silent server does not panic"))
    })
}

/// One that goes on sending in a reverse test is given up no later: what it sends is no part of the exchange.
#[test]
fn a_silent_server_that_goes_on_sending_is_given_up_as_soon() -> Checked {
    /// Ten seconds for an answer and one to hang up.
    const AS_SOON: Duration = Duration::from_millis(12_500);
    let _permit = shared();
    let points =
        [ServerPoint::Ended, ServerPoint::ResultsAsked, ServerPoint::ResultsRead, ServerPoint::ResultsSent];
    let given_up = |point: ServerPoint| {
        let (client, since) = against("-t 0.5 -R", |listener| {
            let mut server = reach(listener, ServerPoint::Started)?;
            server.run()?;
            let mut stream = server.streams[0].0.try_clone()?;
            thread::spawn(move || while stream.write_all(&[0; 100_000]).is_ok() {});
            server.proceed(point)?;
            Ok(Misbehaved::silent(server))
        })?;
        client.failed_with_one_line()?;
        ensure!(client.stdout.contains("receiver"), "no summary\n{client}");
        client.ended_within(since, AS_SOON)
    };
    thread::scope(|scope| {
        let threads = points.map(|point| (point, scope.spawn(move || given_up(point))));
        threads.into_iter().try_for_each(|(point, thread)| {
            let ended = thread.join().expect("a silent server does not panic");
            ended.map_err(|Failure(why)| Failure(format!("{point:?}: {why}")))
        })
    })
}

/// Sends `bytes` at `point` and leaves everything open; the client must end at once for the reason `text`.
fn answers(point: ServerPoint, bytes: &[u8], text: &str) -> Checked {
    fails(point, CLOSE_LIMIT, text, |listener| {
        let mut server = reach(listener, point)?;
        server.control.send(bytes)?;
        Ok(Misbehaved::silent(server))
    })
}

/// Sends `bytes` at `point` and hangs up; the client must end at once for the reason `text`.
fn answers_and_closes(point: ServerPoint, bytes: &[u8], text: &str) -> Checked {
    fails(point, CLOSE_LIMIT, text, |listener| {
        let mut server = reach(listener, point)?;
        server.control.send(bytes)?;
        Ok(Misbehaved::closed(server))
    })
}

#[test]
fn a_busy_server_is_named() -> Checked {
    answers_and_closes(
        ServerPoint::CookieRead,
        &[state::ACCESS_DENIED],
        "the server is busy running a test. try again later",
    )
}

#[test]
fn a_servers_error_is_named() -> Checked {
    let over_limit = [&[state::SERVER_ERROR][..], &27_i32.to_be_bytes()].concat();
    let with_errno = [&over_limit[..], &0_i32.to_be_bytes()].concat();
    for point in [
        ServerPoint::ParametersRead,
        ServerPoint::StreamsOpen,
        ServerPoint::Running,
        ServerPoint::ResultsAsked,
    ] {
        answers(point, &with_errno, "total required bandwidth is larger than server limit")?;
    }
    // Servers up to 3.18 leave out the second number, and something between may cut off the first.
    let point = ServerPoint::ParametersRead;
    answers_and_closes(point, &over_limit, "total required bandwidth is larger than server limit")?;
    answers_and_closes(point, &[state::SERVER_ERROR], "")
}

/// The words of the numbers that a server may send, as a real client says them. It adds the text of the
/// second number, which is 0 here.
#[test]
fn a_servers_numbers_have_iperf3s_words() -> Checked {
    let peer = libiperf()?;
    let numbers: Vec<i32> = (1..=48).chain(100..=165).chain(200..=208).chain(300..=302).collect();
    // The text of a bad unit is the client's own.
    let numbers: Vec<i32> = numbers.into_iter().filter(|number| *number != 38).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = numbers
            .chunks(numbers.len() / 4 + 1)
            .map(|numbers| scope.spawn(|| numbers.iter().try_for_each(|number| has_words(&peer, *number))))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
    })
}

fn has_words(peer: &Program, number: i32) -> Checked {
    let said_by = |program: &Program| {
        let script = |listener: &Listener| {
            let mut server = reach(listener, ServerPoint::ParametersRead)?;
            let numbers = [number.to_be_bytes(), 0_i32.to_be_bytes()].concat();
            server.control.send(&[&[state::SERVER_ERROR][..], &numbers].concat())?;
            Ok(Misbehaved::closed(server))
        };
        let (client, _) = program_against(program, "-t 1", script)?;
        let words = client.stderr.split_once("SERVER ERROR - ").and_then(|(_, words)| words.lines().next());
        let words = words.unwrap_or_default().trim_end_matches(": ").trim_end_matches(':').to_owned();
        ensure!(!words.is_empty(), "{number}: no words\n{client}");
        Ok(words)
    };
    let (ours, theirs) = (said_by(&ours())?, said_by(peer)?);
    ensure!(ours == theirs, "{number}: {ours:?} instead of {theirs:?}");
    Ok(())
}

#[test]
fn a_terminated_server_is_named() -> Checked {
    for point in [ServerPoint::ParametersRead, ServerPoint::Running, ServerPoint::Ended] {
        answers(point, &[state::SERVER_TERMINATE], "the server has terminated")?;
    }
    Ok(())
}

#[test]
fn unknown_states_are_errors() -> Checked {
    for point in
        [ServerPoint::CookieRead, ServerPoint::ParametersRead, ServerPoint::Running, ServerPoint::Ended]
    {
        answers(point, &[state::UNKNOWN], "")?;
    }
    Ok(())
}

#[test]
fn bad_results_are_errors() -> Checked {
    let complete = results(&[1], 0);
    for bytes in [
        frame("no results"),
        frame("{}"),
        frame(&complete.replace("\"bytes\":0", "\"bytes\":-5")),
        frame(&complete.replace("\"end_time\":1", "\"end_time\":1e999")),
        frame(&results(&[77], 0)),
        vec![0; 4],
        vec![0xFF; 4],
        // Room for a server's output, which nobody has asked for.
        (1_u32 << 26).to_be_bytes().to_vec(),
    ] {
        answers(ServerPoint::ResultsRead, &bytes, "")?;
    }
    Ok(())
}

/// An iperf3 sends its whole report, whatever its length. A client that cannot take it has its results all
/// the same.
#[test]
fn a_servers_report_that_is_too_long_is_left_out() -> Checked {
    let report = format!("{{\"server_output_text\":\"{}\",", "x".repeat(64 << 20));
    let seven = results(&[1], 0).replace("\"bytes\":0", "\"bytes\":7");
    let long = frame(&seven.replacen('{', &report, 1));
    let script = |listener: &Listener| {
        let mut server = reach(listener, ServerPoint::ResultsRead)?;
        server.control.send(&long)?;
        server.control.send(&[state::DISPLAY_RESULTS])?;
        server.control.expect_state(state::IPERF_DONE)?;
        Ok(Misbehaved::closed(server))
    };
    let (client, _) = against("-t 0.5 -J --get-server-output", script)?;
    client.succeeded()?;
    let document = client.document()?;
    ensure!(document.totals()?.received == 7, "the results are lost\n{client}");
    ensure!(!client.stdout.contains("server_output_text"), "there is no room for a report\n{client}");
    ensure!(
        client.stdout.contains("the server's own output is left out: it has more than 16 MiB"),
        "{client}"
    );
    Ok(())
}

/// The memory that a server's report takes has a limit even if it is made of what takes the most.
#[test]
fn a_servers_report_takes_no_more_memory_than_it_should() -> Checked {
    const LONGEST: usize = 16 << 20;
    let tight = Program { prepare: limit_data::<400>, ..ours() };
    for element in [r#"{"":0}"#, r#"{"":{"":{"":0}}}"#, "[]", r#""""#] {
        // So many of them that they are read, and so many that they are not.
        for count in [200_000, LONGEST / (element.len() + 1) - 2] {
            let elements = vec![element; count].join(",");
            let report = format!("{{\"server_output_json\":{{\"a\":[{elements}]}},");
            let long = frame(&results(&[1], 0).replacen('{', &report, 1));
            let script = |listener: &Listener| {
                let mut server = reach(listener, ServerPoint::ResultsRead)?;
                // A client that gets too little of the machine gives them up.
                server.control.send_anyhow(&long);
                // One that has understood the results waits for the next word.
                server.control.send_anyhow(&[state::DISPLAY_RESULTS]);
                Ok(Misbehaved::closed(server))
            };
            let (client, _) = program_against(&tight, "-t 0.5 -J --get-server-output", script)?;
            ensure!(client.code.is_some(), "killed by {count} times {element}: {}", client.stderr);
            let document = client.document()?;
            ensure!(document.at("/end/sum_sent").is_ok(), "nothing of {count} times {element}");
        }
    }
    Ok(())
}

/// Only a client that has asked for a report makes room for one.
#[test]
fn a_report_that_nobody_asked_for_is_an_error() -> Checked {
    let report = format!("{{\"server_output_text\":\"{}\",", "x".repeat(70_000));
    let text = "the peer announced results of";
    answers(ServerPoint::ResultsRead, &frame(&results(&[1], 0).replacen('{', &report, 1)), text)
}

/// iperf3 3.12 and 3.13 print -1 as an unsigned number.
#[test]
fn unsigned_minus_one_is_understood() -> Checked {
    let (client, _) = against("-t 0.5 -J", |listener| {
        let mut server = reach(listener, ServerPoint::ResultsRead)?;
        server.control.send_frame(&results(&[1], u64::MAX))?;
        server.control.send(&[state::DISPLAY_RESULTS])?;
        server.control.expect_state(state::IPERF_DONE)?;
        Ok(Misbehaved::closed(server))
    })?;
    client.succeeded()?;
    ensure!(client.document()?.integer("/end/sum_sent/retransmits")? < 1_000_000, "misread\n{client}");
    Ok(())
}

/// Old servers send a stale error after the client has said that it is done; the test was good.
#[test]
fn nothing_counts_after_done() -> Checked {
    let (client, _) = against("-t 0.5", |listener| {
        let mut server = reach(listener, ServerPoint::ResultsSent)?;
        server.control.send(&[state::DISPLAY_RESULTS])?;
        server.control.expect_state(state::IPERF_DONE)?;
        server.control.send_anyhow(&[state::SERVER_ERROR, 0, 0, 0, 119, 0, 0, 0, 0]);
        Ok(Misbehaved::closed(server))
    })?;
    client.succeeded()?;
    ensure!(client.stderr.is_empty() && client.stdout.contains("iperf Done."), "not a good test\n{client}");
    Ok(())
}
