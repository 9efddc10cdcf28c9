//! Handshakes whose datagrams are lost or overtaken. A client says its word again to a ringperf, and where no
//! server could take it for a datagram of the test, so there a few losses delay the test and do no more.

use std::time::Duration;

use crate::harness::peer::client::HonestClient;
use crate::harness::peer::datagrams::{CONNECTS, Header, REPLIES, named};
use crate::harness::peer::request::Wish;
use crate::harness::peer::server::{ServerPoint, against};
use crate::harness::peer::wire::{COOKIE, results};
use crate::harness::{
    Cells, Checked, Document, Mischief, Program, Proxy, ProxyPlan, Server, debian, ensure, libiperf, ours,
    run_client,
};

/// A test of a moment.
const SHORT: &str = "-u -t 0.3 -b 10M -l 500 -J";

fn losing(lost_words: u32) -> Mischief {
    Mischief { lost_words, ..Mischief::default() }
}

/// Runs a client through a proxy that loses words and answers; what the test says if it has taken place.
fn run_losing(server: &Program, words: u32, answers: u32, options: &str) -> Checked<Document> {
    let server = Server::start(server, "-1")?;
    let plan = ProxyPlan { from_client: losing(words), from_server: losing(answers), ..ProxyPlan::default() };
    let proxy = Proxy::start(server.port, plan)?;
    let client = run_client(&ours(), proxy.port, &format!("{SHORT} {options}"))?;
    client.succeeded()?;
    let most = Duration::from_secs(u64::from(words + answers) + 8);
    ensure!(client.elapsed < most, "it took {:?}\n{client}", client.elapsed);
    proxy.finish()?;
    client.document()
}

fn moved_something(document: &Document) -> Checked {
    let received = document.integer("/end/sum_received/packets")?;
    ensure!(received > 0, "nothing came: {:#}", document.0["end"]);
    Ok(())
}

#[test]
fn words_that_are_lost_are_said_again_in_reverse() -> Checked {
    let mut cells = Cells::default();
    for lost in [4, 3, 2, 1] {
        cells.add(format!("{lost} words"), move || {
            let document = run_losing(&ours(), lost, 0, "-R")?;
            moved_something(&document)?;
            let lost = document.integer("/ringperf/datagrams/0/lost")?;
            ensure!(lost == 0, "{lost} datagrams of the test were lost");
            Ok(())
        });
        cells.add(format!("{lost} words to iperf3"), move || {
            moved_something(&run_losing(&libiperf()?, lost, 0, "-R")?)
        });
    }
    cells.run()
}

/// Of the last stream a lost answer does not matter, since the start of the test shows as well that the
/// server has heard the word. Of the others a ringperf answers again.
#[test]
fn answers_that_are_lost_do_not_keep_a_test_from_starting() -> Checked {
    let mut cells = Cells::default();
    for lost in [3, 2, 1] {
        for options in ["-R", "-R -P 2", ""] {
            cells.add(format!("{lost} answers, {options}"), move || {
                let document = run_losing(&ours(), 0, lost, options)?;
                moved_something(&document)?;
                let lost = document.integer("/ringperf/datagrams/0/lost")?;
                ensure!(lost == 0, "{lost} datagrams of the test were lost");
                Ok(())
            });
        }
        for options in ["-R", ""] {
            cells.add(format!("{lost} answers of iperf3, {options}"), move || {
                moved_something(&run_losing(&libiperf()?, 0, lost, options)?)
            });
        }
    }
    cells.run()
}

/// A ringperf has said in its hello that it is one, so in the other directions the word is repeated as well,
/// and sooner, so that more may be lost.
#[test]
fn words_and_answers_between_two_ringperfs_may_be_lost_in_every_direction() -> Checked {
    let mut cells = Cells::default();
    let lost = [(8, 0), (0, 8), (3, 3), (1, 0), (0, 1)];
    let ways = ["", "--bidir", "-P 3", "-R -P 3", "--bidir -P 2 --engine sync"];
    for (number, options) in ways.into_iter().enumerate() {
        for (words, answers) in [lost[number], lost[(number + 2) % lost.len()]] {
            cells.add(format!("{words} words, {answers} answers, {options}"), move || {
                let document = run_losing(&ours(), words, answers, options)?;
                moved_something(&document)?;
                for account in document.list("/ringperf/datagrams")? {
                    let clean =
                        account["lost"] == 0 && account["foreign"].as_u64().is_none_or(|count| count == 0);
                    ensure!(clean, "not exactly the datagrams of the test: {account:#}");
                }
                Ok(())
            });
        }
    }
    cells.run()
}

/// A repetition may be late, and come when the test has begun, at a receiver on either end.
#[test]
fn a_late_word_is_no_datagram_of_the_test() -> Checked {
    for engine in ["sync", "uring"] {
        let server = Server::start(&ours(), &format!("--engine {engine}"))?;
        let word = named(COOKIE, [0; 8]);
        // Where its datagrams are as long as its words, too.
        for length in [100, word.len()] {
            for more in ["", r#""skip_rx_copy":1,"#] {
                let mut guest = HonestClient::running(
                    server.port,
                    Wish { parallel: 2, length, more, ..Wish::default() },
                )?;
                for number in 1..=10 {
                    guest.sockets[0].send(&CONNECTS[0])?;
                    for stream in 0..2 {
                        guest.send(stream, number)?;
                        guest.sockets[stream].send(&CONNECTS[0])?;
                        guest.sockets[stream].send(&word)?;
                    }
                }
                guest.end(10)?.is_clean(2, 10)?;
            }
        }

        let client = against(&format!("-u -t 0.4 -l 100 -R -J --engine {engine}"), |host| {
            host.proceed(ServerPoint::Running)?;
            for number in 1..=10 {
                host.door.send_to(&REPLIES[0], host.addresses[0])?;
                host.door.send_to(&[&REPLIES[0][..], &[9; 8]].concat(), host.addresses[0])?;
                host.door.send_to(&Header::numbered(number).datagram(100, false), host.addresses[0])?;
            }
            host.finish(&results(&[1], 0).replace(r#""packets":0"#, r#""packets":10"#))
        })?;
        client.succeeded()?;
        let account = client.document()?.at("/ringperf/datagrams/0")?.clone();
        ensure!(account["received"] == 10 && account["foreign"] == 0, "{account:#}\n{client}");
    }
    Ok(())
}

/// An iperf3 server would count a repetition in the other directions, so there it is an error that says where
/// to look.
#[test]
fn a_lost_word_that_may_not_be_repeated_is_an_error_that_names_the_port() -> Checked {
    type Peer = (fn() -> Checked<Program>, &'static str);
    let mut cells = Cells::default();
    let peers: [Peer; 3] = [(libiperf, ""), (libiperf, "--bidir"), (debian, "")];
    for (program, options) in peers {
        cells.add(options, move || {
            let server = Server::start(&program()?, "-1")?;
            let plan = ProxyPlan { from_client: losing(1), ..ProxyPlan::default() };
            let proxy = Proxy::start(server.port, plan)?;
            let client = run_client(&ours(), proxy.port, &format!("-u -t 1 {options}"))?;
            let line = client.failed_with_one_line()?;
            ensure!(line.contains("UDP port") && line.contains("firewall"), "unclear: {line}");
            ensure!(client.elapsed < Duration::from_secs(7), "only after {:?}", client.elapsed);
            Ok(())
        });
    }
    cells.run()
}

/// Datagrams of the test that overtake the answer count like all others.
#[test]
fn datagrams_that_overtake_the_answer_count() -> Checked {
    for with_answer in [true, false] {
        let client = against("-u -t 0.4 -l 100 -R -J", |host| {
            let stream = host.take_word()?;
            for number in 1..=5 {
                host.door.send_to(&Header::numbered(number).datagram(100, false), stream)?;
            }
            if with_answer {
                host.door.send_to(&REPLIES[0], stream)?;
            }
            host.run()?;
            let sent = results(&[1], 0).replace(r#""packets":0"#, r#""packets":5"#);
            host.finish(&sent)
        })?;
        client.succeeded()?;
        let number = |key: &str| client.document()?.integer(&format!("/end/sum_received/{key}"));
        let counted = (number("packets")?, number("lost_packets")?);
        ensure!(counted == (5, 0), "{counted:?} instead of five that came\n{client}");
    }
    Ok(())
}

/// What a full receive buffer drops before the client's thread is ready to look is the buffer's loss, too.
#[test]
fn datagrams_that_overtake_the_answer_may_be_lost_in_the_socket() -> Checked {
    const SENT: u64 = 2000;
    for engine in ["sync", "uring"] {
        let client = against(&format!("-u -t 0.4 -l 1000 -w 16K -R -J --engine {engine}"), |host| {
            let stream = host.take_word()?;
            for number in 1..=SENT {
                host.door.send_to(&Header::numbered(number).datagram(1000, false), stream)?;
            }
            host.door.send_to(&REPLIES[0], stream)?;
            host.run()?;
            let sent = results(&[1], 0).replace(r#""packets":0"#, &format!(r#""packets":{SENT}"#));
            host.finish(&sent)
        })?;
        client.succeeded()?;
        let document = client.document()?;
        let number = |key: &str| document.integer(&format!("/ringperf/datagrams/0/{key}"));
        let (received, in_socket) = (number("received")?, number("lost_in_socket")?);
        ensure!(in_socket > 0, "nothing was lost\n{client}");
        ensure!(received + in_socket == SENT, "{received} and {in_socket} of {SENT}\n{client}");
    }
    Ok(())
}
