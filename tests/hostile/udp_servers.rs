//! Hostile UDP servers, and strangers, against `ringperf -c -u`: it hears only its server, waits only as long
//! as it says, and believes no number that cannot be true.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::harness::peer::datagrams::{CONNECTS, Header, REPLIES, noise, socket_on};
use crate::harness::peer::server::{HonestServer, Listener, ServerPoint, against};
use crate::harness::peer::wire::{results, state};
use crate::harness::{Cells, Checked, Failure, Finished, ensure, heavy, ours, start_client};

/// A server's results of a UDP test with one stream that are what a receiver of nothing says.
fn honest() -> String {
    results(&[1], 0).replace(r#""packets":0"#, r#""omitted_errors":0,"packets":0,"omitted_packets":0"#)
}

/// One clear line, in time.
fn fails_clearly(client: &Finished, limit: Duration) -> Checked {
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("UDP port") && line.contains("firewall"), "unclear: {line}");
    ensure!(client.elapsed < limit, "only after {:?}", client.elapsed);
    Ok(())
}

/// A lost answer is an error within seconds. Only where the server never reads may the word be said again.
#[test]
fn a_server_that_does_not_answer_is_named() -> Checked {
    thread::scope(|scope| {
        let silent = |options| scope.spawn(move || is_named(options));
        let threads = ["", "--bidir", "-R"].map(silent);
        threads.into_iter().try_for_each(|thread| thread.join().expect("a silent server does not panic"))
    })
}

fn is_named(direction: &str) -> Checked {
    let client = against(&format!("-u -t 1 {direction}"), |host| {
        let stream = host.take_word()?;
        // Nobody but the server can answer for it.
        for stranger in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]] {
            let stranger = socket_on(stranger)?;
            REPLIES.iter().try_for_each(|reply| stranger.send_to(reply, stream).map(|_| ()))?;
        }
        let again = host.take_all(Duration::from_millis(3500))?;
        let is_good = |(word, source): &(Vec<u8>, SocketAddr)| *word == CONNECTS[0] && *source == stream;
        ensure!(again.iter().all(is_good), "not the word: {again:?}");
        let expected = if direction == "-R" { 1..=4 } else { 0..=0 };
        ensure!(expected.contains(&again.len()), "said again {} times", again.len());
        host.control.expect_state(state::IPERF_DONE)
    })?;
    fails_clearly(&client, Duration::from_secs(7))
}

#[test]
fn a_closed_port_is_named_at_once() -> Checked {
    for direction in ["", "-R", "--bidir"] {
        let Listener { tcp, udp, port } = Listener::open()?;
        drop(udp);
        let client = start_client(&ours(), port, &format!("-u -t 1 {direction}"))?;
        let elsewhere = Listener { tcp, udp: socket_on([127, 0, 0, 1])?, port };
        let _host = HonestServer::reach(&elsewhere, ServerPoint::StreamsAsked)?;
        fails_clearly(&client.finish(Duration::from_secs(8))?, Duration::from_secs(4))?;
    }
    Ok(())
}

#[test]
fn answers_are_taken_in_every_spelling() -> Checked {
    for reply in REPLIES {
        let client = against("-u -k 1", |host| {
            let stream = host.take_word()?;
            host.door.send_to(&reply, stream)?;
            host.run()?;
            host.finish(&honest())
        })?;
        client.succeeded()?;
    }
    Ok(())
}

/// Whatever overtakes the answer, however much of it, is skipped.
#[test]
fn what_is_no_answer_is_skipped() -> Checked {
    for (direction, rounds) in [("", 2), ("--bidir", 2), ("-R", 100)] {
        let streams = if direction == "--bidir" { 2 } else { 1 };
        let client = against(&format!("-u -k 1 -l 100 {direction}"), |host| {
            for _ in 0..streams {
                let stream = host.take_word()?;
                for _ in 0..rounds {
                    for datagram in noise().iter().filter(|datagram| datagram.len() < 1000) {
                        host.door.send_to(datagram, stream)?;
                    }
                }
                host.door.send_to(&REPLIES[0], stream)?;
            }
            host.run()?;
            for stream in &host.addresses {
                host.door.send_to(&Header::numbered(1).datagram(100, false), stream)?;
            }
            let both = results(&[1, 3][..streams], 0);
            host.finish(&both)
        })?;
        client.succeeded().map_err(|Failure(why)| Failure(format!("{direction}: {why}")))?;
    }
    Ok(())
}

/// A number of the results that is absurd is an error, or at least makes no absurd loss.
#[test]
fn absurd_results_make_no_absurd_loss() -> Checked {
    let mut cells = Cells::default();
    // A member of the results, and the client's exit status.
    for (member, code) in [
        (r#""errors":-1"#, 1),
        (r#""errors":9223372036854775808"#, 1),
        (r#""errors":1e308"#, 1),
        (r#""errors":9223372036854775807"#, 0),
        (r#""errors":1000000"#, 0),
        (r#""packets":-1"#, 1),
        (r#""packets":9223372036854775808"#, 1),
        (r#""packets":1e308"#, 1),
        (r#""packets":9223372036854775807"#, 0),
        (r#""packets":"5""#, 1),
        (r#""jitter":-1"#, 1),
        (r#""jitter":1e308"#, 1),
        (r#""jitter":9223372036854775808"#, 1),
        (r#""jitter":999999999"#, 0),
        (r#""bytes":9223372036854775807"#, 1),
        (r#""omitted_packets":9223372036854775807"#, 0),
        (r#""omitted_errors":9223372036854775807"#, 0),
        (r#""omitted_packets":-1"#, 0),
        (r#""omitted_errors":1e308"#, 0),
    ] {
        for direction in ["", "-R"] {
            cells.add(format!("{member} {direction}"), move || absurd(member, direction, code));
        }
    }
    cells.run()
}

fn absurd(member: &str, direction: &str, code: i32) -> Checked {
    let key = member.split(':').next().unwrap_or_default();
    let honest = honest();
    let start = honest.find(key).ok_or_else(|| Failure(format!("no {key} in {honest}")))?;
    let length = honest[start..].find([',', '}']).ok_or_else(|| Failure("no end".to_owned()))?;
    let absurd = format!("{}{member}{}", &honest[..start], &honest[start + length..]);
    let client = against(&format!("-u -k 3 -l 100 -J {direction}"), |host| {
        host.proceed(ServerPoint::Running)?;
        for number in [1, 2, 3] {
            host.door.send_to(&Header::numbered(number).datagram(100, false), host.addresses[0])?;
        }
        host.finish(&absurd)
    })?;
    ensure!(client.code == Some(code), "exit status {:?} instead of {code}\n{client}", client.code);
    ensure!(client.stderr.is_empty(), "something on standard error\n{client}");
    client.document()?.has_sane_losses()
}

/// Numbers that nobody sends, and a server that never stops sending.
#[test]
fn a_server_that_sends_for_ever_does_not_hold_the_client() -> Checked {
    let _permit = heavy();
    for options in ["--engine sync", "--engine uring"] {
        let client = against(&format!("-u -t 0.3 -R -l 100 -J {options}"), |host| {
            host.proceed(ServerPoint::Running)?;
            let (door, stream) = (host.door.try_clone()?, host.addresses[0]);
            let datagrams = [0, 1, 5, 1 << 31, u64::from(u32::MAX), 3]
                .map(|number| Header::numbered(number).datagram(100, false));
            thread::scope(|scope| {
                let finish = scope.spawn(|| host.finish(&honest()));
                while !finish.is_finished() {
                    for datagram in &datagrams {
                        // The client's port is closed at the end.
                        let _ = door.send_to(datagram, stream);
                    }
                }
                finish.join().expect("the end of a test does not panic")
            })
        })?;
        client.succeeded()?;
        client.document()?.has_sane_losses()?;
        ensure!(client.elapsed < Duration::from_secs(4), "took {:?}", client.elapsed);
    }
    Ok(())
}
