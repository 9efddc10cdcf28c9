//! Hostile UDP clients, and strangers, against `ringperf -s`: nobody but the client is heard or answered, and
//! whatever is not a datagram of the test is not counted as one.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::SOON;
use crate::harness::peer::client::{ClientPoint, HonestClient, expect_challenge};
use crate::harness::peer::datagrams::{
    CONNECTS, Header, got_nothing, named as with_cookie, noise, send_anyhow, socket_on,
};
use crate::harness::peer::request::Wish;
use crate::harness::peer::wire::{COOKIE, Wire, state};
use crate::harness::{Cells, Checked, Failure, Server, ensure, heavy, ours, run_client, wait_until};

/// An honest client gets through soon, and counts what it should. Until then it may be told
/// that the server is busy.
fn serves_udp(server: &Server) -> Checked {
    let started = Instant::now();
    loop {
        let client = run_client(&ours(), server.port, "-u -k 5 -l 100 -b 0 -J")?;
        if client.code == Some(0) {
            let document = client.document()?;
            let count = |key: &str| document.integer(&format!("/end/sum_received/{key}"));
            let (packets, lost) = (count("packets")?, count("lost_packets")?);
            ensure!((packets, lost) == (5, 0), "{packets} datagrams, {lost} lost\n{client}");
            return Ok(());
        }
        let is_busy = client.failed_in_document()?.1.contains("busy");
        let waited = started.elapsed();
        ensure!(is_busy && waited < SOON, "not served after {waited:?}\n{client}");
    }
}

/// Hosts that are not the client's, and other ports of the client's host.
struct Strangers {
    others: Vec<UdpSocket>,
    neighbour: UdpSocket,
}

impl Strangers {
    fn new() -> Checked<Self> {
        let others = [2, 3, 77].map(|last| socket_on(Ipv4Addr::new(127, 0, 0, last)));
        Ok(Self {
            others: others.into_iter().collect::<Checked<_>>()?,
            neighbour: socket_on([127, 0, 0, 1])?,
        })
    }

    /// Everybody sends everything that could be taken for something; only at the client's host a word of the
    /// handshake is the client's.
    fn pester(&self, port: u16) -> Checked {
        for (number, other) in self.others.iter().enumerate() {
            let mut datagrams = CONNECTS.map(|word| word.to_vec()).to_vec();
            // The largest ones once, or they would fill the receive buffer and keep the client out.
            datagrams.extend(noise().into_iter().filter(|datagram| number == 0 || datagram.len() < 10_000));
            send_anyhow(other, port, &datagrams)?;
        }
        let small = noise().into_iter().filter(|datagram| datagram.len() < 10_000);
        send_anyhow(&self.neighbour, port, &small.collect::<Vec<_>>())
    }

    /// Nobody has got an answer; all that the server had to say it has said by now.
    fn got_nothing(&self) -> Checked {
        self.others.iter().chain([&self.neighbour]).try_for_each(got_nothing)
    }
}

/// In no state does a third address get a byte, become a stream, or change a number.
#[test]
fn strangers_get_no_answer_and_change_nothing() -> Checked {
    let server = Server::start(&ours(), "")?;
    let strangers = Strangers::new()?;
    let pester = || strangers.pester(server.port);
    let wish = Wish { parallel: 2, ..Wish::default() };
    for _ in 0..2 {
        pester()?;
        let mut guest = HonestClient::invited(server.port, wish)?;
        pester()?;
        guest.open()?;
        pester()?;
        guest.open()?;
        pester()?;
        guest.start()?;
        for number in 1..=10 {
            guest.send(0, number)?;
            pester()?;
            guest.send(1, number)?;
        }
        guest.end(10)?.is_clean(2, 10)?;
        strangers.got_nothing()?;
    }
    pester()?;
    serves_udp(&server)?;
    strangers.got_nothing()
}

/// Whose datagrams have another address than its control connection gets no test, and the server says why.
#[test]
fn a_client_whose_datagrams_have_another_address_is_named_with_both() -> Checked {
    let server = Server::start(&ours(), "-1")?;
    let mut guest = HonestClient::invited(server.port, Wish { parallel: 2, ..Wish::default() })?;
    let other = socket_on([127, 0, 0, 2])?;
    let address = SocketAddr::from(([127, 0, 0, 2], other.local_addr()?.port()));
    send_anyhow(&other, server.port, &[CONNECTS[0].to_vec()])?;
    // What was said before has been heard when this is answered.
    guest.open()?;
    let warned = || server.process.so_far().contains("was not heard");
    drop(guest);
    wait_until(Duration::from_secs(15), warned)
        .map_err(|_| Failure(format!("nobody is named\n{}", server.process.so_far())))?;
    let said = server.process.so_far();
    ensure!(said.contains("the client at 127.0.0.1 has not opened its UDP streams"), "{said}");
    ensure!(said.contains(&format!("but {address} tried to")), "{said}");
    got_nothing(&other)
}

/// Whoever sends from other addresses than the client's, and does not know the cookie of the test or does not
/// hear what is sent there, is no stream, and gets fewer bytes than it sends.
#[test]
fn a_server_that_takes_any_source_is_sure_of_it_all_the_same() -> Checked {
    for (options, extension) in [("--udp-any-source", 2), ("--udp-any-source", 1), ("", 2)] {
        let takes_any = extension == 2 && !options.is_empty();
        let server = Server::start(&ours(), options)?;
        let wish = Wish { parallel: 3, extension, ..Wish::default() };
        let mut guest = HonestClient::invited(server.port, wish)?;
        let strangers = Strangers::new()?;
        let pester = || {
            strangers.pester(server.port)?;
            let mut wrong = vec![with_cookie(COOKIE, [0; 8])[..48].to_vec()];
            for at in [0, 18, 36] {
                let mut cookie = *COOKIE;
                cookie[at] ^= 1;
                wrong.push(with_cookie(&cookie, [0; 8]));
            }
            let mut senders = strangers.others.iter().chain([&strangers.neighbour]);
            senders.try_for_each(|stranger| send_anyhow(stranger, server.port, &wrong))
        };
        pester()?;
        let word = if extension == 2 { with_cookie(COOKIE, [0; 8]) } else { CONNECTS[0].to_vec() };
        // What is known of the cookie by whoever reads along, and sent in the name of somebody else.
        let spoofed = socket_on([127, 0, 0, 5])?;
        send_anyhow(&spoofed, server.port, &[with_cookie(COOKIE, [0; 8]), with_cookie(COOKIE, [7; 8])])?;
        guest.open_with(&word)?;
        pester()?;
        if takes_any {
            let asked = expect_challenge(&spoofed)?;
            ensure!(expect_challenge(&spoofed)? == asked, "a challenge that changes can be guessed at");
            guest.open_from([127, 0, 0, 6].into())?;
            // It was asked before somebody else was.
            send_anyhow(&spoofed, server.port, &[with_cookie(COOKIE, asked)])?;
            guest.open_from([127, 0, 0, 7].into())?;
            expect_challenge(&spoofed)?;
        } else {
            guest.open_with(&word)?;
            guest.open_with(&word)?;
        }
        got_nothing(&spoofed)?;
        pester()?;
        guest.start()?;
        for number in 1..=10 {
            (0..3).try_for_each(|stream| guest.send(stream, number))?;
            pester()?;
            guest.sockets[1].send(&word)?;
        }
        guest.end(10)?.is_clean(3, 10)?;
        strangers.got_nothing()?;
        got_nothing(&spoofed)?;
    }
    Ok(())
}

/// Their words say whose they are, so tests of one host need not wait for each other, and what is left of an
/// earlier test opens no stream of the next.
#[test]
fn tests_whose_words_have_a_cookie_are_set_up_side_by_side() -> Checked {
    let server = Server::start(&ours(), "--max-tests 2")?;
    let wishes = [*b"one", *b"two"].map(|name| {
        let mut cookie = *COOKIE;
        cookie[..3].copy_from_slice(&name);
        Wish { parallel: 2, extension: 2, cookie, ..Wish::default() }
    });
    let [mut one, mut two] =
        [HonestClient::invited(server.port, wishes[0])?, HonestClient::invited(server.port, wishes[1])?];
    let [first, second] = wishes.map(|wish| with_cookie(&wish.cookie, [0; 8]));
    two.open_with(&second)?;
    one.open_with(&first)?;
    let stale = socket_on([127, 0, 0, 1])?;
    send_anyhow(&stale, server.port, &[with_cookie(COOKIE, [0; 8]), CONNECTS[0].to_vec()])?;
    one.open_with(&first)?;
    two.open_with(&second)?;
    for (guest, count) in [(&mut one, 3), (&mut two, 5)] {
        guest.start()?;
        for number in 1..=count {
            (0..2).try_for_each(|stream| guest.send(stream, number))?;
        }
    }
    one.end(3)?.is_clean(2, 3)?;
    two.end(5)?.is_clean(2, 5)?;
    got_nothing(&stale)
}

/// What waits at the port when the client comes is never counted, nor what found no room there.
#[test]
fn a_flood_before_the_handshake_leaves_no_trace() -> Checked {
    for engine in ["sync", "uring"] {
        let server = Server::start(&ours(), &format!("--engine {engine}"))?;
        let stranger = socket_on([127, 0, 0, 2])?;
        let mut guest = HonestClient::invited(server.port, Wish::default())?;
        server.process.pause()?;
        let datagrams: Vec<_> =
            (1..1000).map(|number| Header::numbered(number).datagram(100, false)).collect();
        send_anyhow(&stranger, server.port, &datagrams)?;
        server.process.resume()?;
        guest.open_with_patience()?;
        guest.start()?;
        // The first one was lost on the way.
        for number in 2..=5 {
            guest.send(0, number)?;
        }
        let count = guest.end(5)?;
        count.has(
            0,
            &[("packets", 5), ("errors", 1), ("bytes", 400)],
            &[("received", 4), ("lost_in_socket", 0), ("dropped_after_last", 0)],
        )?;
        got_nothing(&stranger)?;
    }
    Ok(())
}

/// Nobody has a right to send before the test runs.
#[test]
fn what_comes_before_the_start_does_not_count() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut guest = HonestClient::invited(server.port, Wish { parallel: 2, ..Wish::default() })?;
    guest.open()?;
    for number in 1..50 {
        guest.send(0, 1000 + number)?;
    }
    guest.open()?;
    guest.start()?;
    for number in 1..=3 {
        guest.send(0, number)?;
        guest.send(1, number)?;
    }
    guest.end(3)?.is_clean(2, 3)
}

#[test]
fn words_are_taken_in_every_spelling() -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut guest = HonestClient::invited(server.port, Wish { parallel: CONNECTS.len(), ..Wish::default() })?;
    for word in CONNECTS {
        named(&format!("{word:?}"), guest.open_with(word))?;
    }
    guest.start()?;
    guest.end(0)?.is_clean(CONNECTS.len(), 0)
}

/// Datagrams of another length, and those without a byte, are counted apart from the test's. A word of the
/// handshake that comes again is neither.
#[test]
fn what_is_no_datagram_of_the_test_is_foreign() -> Checked {
    let mut cells = Cells::default();
    for options in
        ["--engine sync", "--engine uring", "--engine sync --no-offload", "--engine uring --no-offload"]
    {
        for (is_wide, more) in [(false, ""), (true, ""), (false, r#""skip_rx_copy":1,"#)] {
            let wish = Wish { length: 1000, is_wide, more, ..Wish::default() };
            cells.add(format!("{options} {wish:?}"), move || foreign_ones_are_counted_apart(options, wish));
        }
    }
    cells.run()
}

fn foreign_ones_are_counted_apart(options: &str, wish: Wish) -> Checked {
    let server = Server::start(&ours(), options)?;
    let mut guest = HonestClient::running(server.port, wish)?;
    let mut foreign = 0;
    let mut number = 0;
    for length in [0, 1, 4, 11, 12, 15, 16, 500, 999, 1001, 1012, 2000, 9000, 65_507] {
        number += 1;
        guest.send(0, number)?;
        guest.sockets[0].send(&Header::numbered(77).datagram(length, wish.is_wide)[..length])?;
        foreign += 1;
    }
    for word in CONNECTS {
        guest.sockets[0].send(&word)?;
    }
    // Three datagrams that travel as one, of which the last is too short.
    let together: Vec<u8> = [1000, 1000, 400]
        .into_iter()
        .flat_map(|length| {
            number += 1;
            Header::numbered(number).datagram(length, wish.is_wide)
        })
        .collect();
    setsockopt(&guest.sockets[0], sockopt::UdpGsoSegment, &1000)
        .map_err(|error| Failure(format!("cannot set UDP_SEGMENT: {error}")))?;
    guest.sockets[0].send(&together)?;
    number -= 1;
    foreign += 1;

    let (packets, count) = (i64::try_from(number).expect("a few"), guest.end(number)?);
    count.has(
        0,
        &[("packets", packets), ("errors", 0), ("bytes", 1000 * packets)],
        &[("received", packets), ("duplicates", 0), ("reordered", 0), ("foreign", foreign)],
    )
}

/// IPv6 carries datagrams that are longer than the longest of a test.
#[test]
fn the_longest_datagrams_are_not_cut_to_fit() -> Checked {
    for options in
        ["--engine sync", "--engine uring", "--engine sync --no-offload", "--engine uring --no-offload"]
    {
        let server = Server::start(&ours(), options)?;
        let wish = Wish { address: Ipv6Addr::LOCALHOST.into(), length: 65_507, ..Wish::default() };
        let mut guest = HonestClient::running(server.port, wish)?;
        guest.send(0, 1)?;
        for length in [65_508, 65_527] {
            guest.sockets[0].send(&Header::numbered(2).datagram(length, false))?;
        }
        guest.send(0, 2)?;
        let expected = &[("received", 2), ("duplicates", 0), ("foreign", 2)];
        named(options, guest.end(2)?.has(0, &[("packets", 2), ("errors", 0)], expected))?;
    }
    Ok(())
}

/// Numbers and times that nobody sends: the report stays one of real numbers in their ranges.
#[test]
fn hostile_numbers_and_times_are_survived() -> Checked {
    let mut cells = Cells::default();
    for is_wide in [false, true] {
        for engine in ["sync", "uring"] {
            for format in ["-J", "-V"] {
                let options = format!("{format} -1 -i 0.1 --engine {engine}");
                cells.add(format!("{options} {is_wide}"), move || hostile_numbers(&options, is_wide));
            }
        }
    }
    cells.run()
}

fn hostile_numbers(options: &str, is_wide: bool) -> Checked {
    let server = Server::start(&ours(), options)?;
    let mut guest = HonestClient::running(server.port, Wish { parallel: 2, is_wide, ..Wish::default() })?;
    let numbers = [
        0,
        1,
        u64::from(u32::MAX),
        1 << 31,
        1 << 32,
        1 << 63,
        i64::MAX.unsigned_abs(),
        u64::MAX,
        0,
        2,
        u64::MAX,
    ];
    let times = [(0, 0), (u32::MAX, u32::MAX), (0, 1_000_000), (u32::MAX, 0), (1, 1)];
    for (sequence, &(seconds, microseconds)) in numbers.into_iter().zip(times.iter().cycle()) {
        for stream in [0, 1] {
            guest.send_header(stream, Header { seconds, microseconds, sequence })?;
        }
    }
    let count = guest.end(u64::MAX >> 1)?;
    for stream in [0, 1] {
        let (packets, errors) = (count.of(stream, "packets")?, count.of(stream, "errors")?);
        ensure!(0 <= errors && errors <= packets, "{errors} of {packets} lost");
    }
    let server = server.finish()?;
    server.succeeded()?;
    ensure!(server.stderr.is_empty(), "something on standard error\n{server}");
    if options.contains("-J") {
        server.document()?.has_sane_losses()?;
    }
    Ok(())
}

/// A clock that is wrong by a year, and one that is set while the test runs: only differences count, and one
/// that no network makes is none.
#[test]
fn a_clock_that_is_wrong_or_set_makes_no_jitter() -> Checked {
    const YEAR: u32 = 365 * 86_400;
    const NOW: u32 = 1_790_000_000;
    let server = Server::start(&ours(), "")?;
    let mut worst: f64 = 0.0;
    for clock in [NOW, NOW - YEAR, NOW + YEAR] {
        for set_to in [clock, clock - 3600, clock + 3600, clock + YEAR] {
            let mut guest = HonestClient::running(server.port, Wish::default())?;
            let started = Instant::now();
            for sequence in 1..=40 {
                let seconds = if sequence <= 20 { clock } else { set_to };
                let microseconds = u32::try_from(started.elapsed().as_micros()).expect("it takes no hour");
                let (more, microseconds) = (microseconds / 1_000_000, microseconds % 1_000_000);
                guest.send_header(0, Header { seconds: seconds + more, microseconds, sequence })?;
            }
            let count = guest.end(40)?;
            ensure!(count.of(0, "packets")? == 40, "not all came");
            worst = worst.max(count.jitter(0)?);
        }
    }
    println!("F8: clocks a year off, set by an hour or a year: jitter of at most {:.3} ms", worst * 1e3);
    ensure!((0.0..0.1).contains(&worst), "{worst} s of jitter");
    Ok(())
}

/// At each step of the set-up a client may fall silent for ten seconds; both cases at once, to save the time.
#[test]
fn a_client_that_never_says_its_word_is_told_so() -> Checked {
    thread::scope(|scope| {
        let cases = [0, 1].map(|opened| scope.spawn(move || is_given_up(opened)));
        cases.into_iter().try_for_each(|case| case.join().expect("a silent client does not panic"))
    })
}

fn is_given_up(opened: usize) -> Checked {
    let server = Server::start(&ours(), "")?;
    let mut guest = HonestClient::invited(server.port, Wish { parallel: 2, ..Wish::default() })?;
    for _ in 0..opened {
        guest.open()?;
    }
    // What comes from elsewhere does not make the wait longer.
    Strangers::new()?.pester(server.port)?;
    let code = guest.control.read_server_error()?;
    ensure!(code == 204, "error {code} instead of 204");
    serves_udp(&server)?;
    server.process.interrupt()?;
    let server = server.finish()?;
    let lines = server.stderr.lines().filter(|line| line.contains("UDP") && line.contains("firewall"));
    ensure!(lines.count() == 1, "not one clear line\n{server}");
    Ok(())
}

#[test]
fn a_udp_client_may_hang_up_anywhere() -> Checked {
    let server = Server::start(&ours(), "")?;
    let wish = Wish { parallel: 2, ..Wish::default() };
    drop(HonestClient::invited(server.port, wish)?);
    named("invited", serves_udp(&server))?;
    let mut guest = HonestClient::invited(server.port, wish)?;
    guest.open()?;
    drop(guest);
    named("one stream of two", serves_udp(&server))?;
    let reverse = Wish { more: r#""reverse":true,"#, ..wish };
    for wish in [wish, reverse] {
        drop(HonestClient::running(server.port, wish)?);
        named("running", serves_udp(&server))?;
        let guest = HonestClient::running(server.port, wish)?;
        guest.control.reset_when_dropped()?;
        drop(guest);
        named("reset", serves_udp(&server))?;
        let mut guest = HonestClient::running(server.port, wish)?;
        guest.proceed(ClientPoint::Ended)?;
        drop(guest);
        named("ended", serves_udp(&server))?;
    }
    Ok(())
}

/// Somebody else has the UDP port: the client hears why, and when the port is free the next one is served.
#[test]
fn a_taken_port_is_an_error_of_one_test() -> Checked {
    let server = Server::start(&ours(), "")?;
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, server.port))?;
    let mut guest = HonestClient::reach(server.port, Wish::default(), ClientPoint::Asked)?;
    let code = guest.control.read_server_error()?;
    ensure!(code == 202, "error {code} instead of 202");
    let client = run_client(&ours(), server.port, "-u -k 1")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("unable to start stream listener"), "unclear: {line}");
    let holder = format!("(process {}) has the port: end it, or choose another", std::process::id());
    let said = server.process.so_far();
    let says = |line: &str| line.contains(", UDP: Address already in use; ") && line.contains(&holder);
    ensure!(said.lines().filter(|line| says(line)).count() == 2, "{holder:?} is not said\n{said}");
    drop(taken);
    // A process that another test has just forked may hold the descriptor until it becomes another program.
    let row = format!(":{:04X} ", server.port);
    let is_free = || !fs::read_to_string("/proc/net/udp").is_ok_and(|table| table.contains(&row));
    server.process.runs_until(Duration::from_secs(5), is_free)?;
    serves_udp(&server)
}

#[test]
fn datagrams_of_no_possible_length_are_refused() -> Checked {
    let server = Server::start(&ours(), "")?;
    for length in
        [r#""x":1"#, r#""len":1"#, r#""len":15"#, r#""len":65508"#, r#""len":131072"#, r#""len":-1"#]
    {
        let parameters = format!(r#"{{"udp":true,{length}}}"#);
        let mut guest = HonestClient::reach(server.port, parameters.as_str(), ClientPoint::Asked)?;
        let code = guest.control.read_server_error()?;
        ensure!(code == 20, "{length}: error {code} instead of 20");
        guest.control.wait_for_close()?;
    }
    serves_udp(&server)
}

/// In a UDP test there are no TCP streams, and a server that is told to stop sending does so.
#[test]
fn a_reverse_test_ends_for_a_client_that_does_not_read() -> Checked {
    let _permit = heavy();
    let server = Server::start(&ours(), "")?;
    let wish = Wish { more: r#""reverse":true,"#, parallel: 2, ..Wish::default() };
    let mut guest = HonestClient::running(server.port, wish)?;
    let mut stream = Wire::connect(server.port)?;
    stream.expect_state(state::ACCESS_DENIED)?;
    guest.sockets[0].recv(&mut [0; 200])?;
    let count = guest.end(0)?;
    ensure!(count.of(0, "packets")? > 0, "nothing was sent");
    serves_udp(&server)
}

/// Says in which case something failed.
fn named(case: &str, result: Checked) -> Checked {
    result.map_err(|Failure(why)| Failure(format!("{case}: {why}")))
}
