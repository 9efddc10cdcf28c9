//! `--public`, and each of the limits that it is made of.

use std::time::Duration;

use super::{LIMIT, of_crowd, request};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::datagrams::CONNECTS;
use crate::harness::peer::wire::state;
use crate::harness::{
    Checked, Failure, Finished, Server, alone, ensure, ours, run, run_client, shared, start_client,
    wait_until,
};

/// iperf3's number for a rate that is too high.
const TOTAL_RATE: i32 = 27;
/// iperf3's number for a test that is too long.
const DURATION_MAX: i32 = 37;

/// Members of the parameters, and the number that a public server answers with; 0 if it takes the test.
const ASKED: &[(&str, i32)] = &[
    (r#""time":60"#, 0),
    (r#""time":61"#, DURATION_MAX),
    (r#""time":86400"#, DURATION_MAX),
    (r#""time":0"#, DURATION_MAX),
    (r#""time":50,"omit":10"#, 0),
    (r#""time":50,"omit":11"#, DURATION_MAX),
    (r#""time":1,"omit":600"#, DURATION_MAX),
    (r#""time":0,"reverse":true"#, DURATION_MAX),
    (r#""time":0,"bidirectional":true"#, DURATION_MAX),
    (r#""time":86400,"reverse":true"#, DURATION_MAX),
    (r#""time":86400,"bidirectional":true"#, DURATION_MAX),
    (r#""num":1"#, 0),
    (r#""num":9007199254740992"#, 0),
    (r#""blockcount":1"#, 0),
    (r#""blockcount":9007199254740992,"len":1"#, 0),
    (r#""num":1000,"omit":61"#, DURATION_MAX),
    (r#""blockcount":1000,"omit":600"#, DURATION_MAX),
    (r#""bandwidth":10000000000"#, 0),
    (r#""bandwidth":10000000001"#, TOTAL_RATE),
    (r#""bandwidth":5000000000,"parallel":2"#, 0),
    (r#""bandwidth":5000000001,"parallel":2"#, TOTAL_RATE),
    (r#""bandwidth":5000000000,"bidirectional":true"#, 0),
    (r#""bandwidth":5000000001,"bidirectional":true"#, TOTAL_RATE),
    (r#""bandwidth":39062500,"parallel":128,"bidirectional":true"#, 0),
    (r#""bandwidth":39062501,"parallel":128,"bidirectional":true"#, TOTAL_RATE),
    (r#""bandwidth":78125001,"parallel":128"#, TOTAL_RATE),
    // 2^57, of which 128 are 2^64, and its neighbours.
    (r#""bandwidth":144115188075855872,"parallel":128"#, TOTAL_RATE),
    (r#""bandwidth":144115188075855872,"parallel":127"#, TOTAL_RATE),
    (r#""bandwidth":144115188075855871,"parallel":128"#, TOTAL_RATE),
    (r#""bandwidth":144115188075855873,"parallel":128"#, TOTAL_RATE),
    (r#""bandwidth":144115188075855872,"parallel":64,"bidirectional":true"#, TOTAL_RATE),
    (r#""bandwidth":72057594037927936,"parallel":128,"bidirectional":true"#, TOTAL_RATE),
    (r#""bandwidth":9223372036854775807,"parallel":2"#, TOTAL_RATE),
    (r#""bandwidth":9223372036854775807,"parallel":128,"bidirectional":true"#, TOTAL_RATE),
    (r#""bandwidth":4611686018427387904,"parallel":4,"reverse":true"#, TOTAL_RATE),
    (r#""bandwidth":144115188075855872,"parallel":128,"reverse":true"#, TOTAL_RATE),
    (r#""udp":true,"len":1000,"bandwidth":144115188075855872,"parallel":128"#, TOTAL_RATE),
    (r#""udp":true,"len":1000,"bandwidth":10000000001"#, TOTAL_RATE),
    (r#""udp":true,"len":1000,"time":0"#, DURATION_MAX),
    (r#""udp":true,"len":1000,"time":61,"reverse":true"#, DURATION_MAX),
    (r#""udp":true,"len":1000,"time":60,"bandwidth":1000000"#, 0),
];

#[test]
fn a_public_server_refuses_what_has_no_end_or_is_too_much() -> Checked {
    let _permit = shared();
    ensure!(ASKED.len() >= 40, "only {} sets of parameters", ASKED.len());
    let server = Server::start(&ours(), "--public --max-tests-per-minute 0 --max-tests 2")?;
    let mut wrong = Vec::new();
    for (number, (members, expected)) in ASKED.iter().enumerate() {
        let code = answer(&server, number, members)?;
        if code != *expected {
            wrong.push(format!("{members}: {code} instead of {expected}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = ASKED.iter().filter(|(_, code)| *code != 0).count();
    server.process.terminate()?;
    let server = server.finish()?;
    let lines = server.stderr.lines().filter(|line| line.contains("error - ")).count();
    ensure!(lines == refused, "{lines} lines for {refused} refusals\n{server}");
    println!("C11: {} sets of parameters, {refused} refused, {lines} lines of the log", ASKED.len());
    Ok(())
}

/// What a server says to a test with these members of its parameters: an error's number, or 0 for go on.
fn answer(server: &Server, number: usize, members: &str) -> Checked<i32> {
    let protocol = if members.contains("udp") { "" } else { r#""tcp":true,"# };
    let parameters = format!("{{{protocol}{members}}}");
    let request = request(of_crowd(20, number), &parameters);
    let mut client = HonestClient::reach(server.port, request, ClientPoint::Asked)?;
    let [first] = client.control.read()?;
    if first == state::CREATE_STREAMS {
        client.leave()?;
        return Ok(0);
    }
    ensure!(first == state::SERVER_ERROR, "{members}: state {first}");
    let code = i32::from_be_bytes(client.control.read()?);
    client.control.wait_for_close()?;
    Ok(code)
}

/// `--total-bitrate-limit` counts what runs already, up to a share of it for each test, and what is over no
/// more.
#[test]
fn what_is_promised_to_a_running_test_is_not_given_twice() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 3 --total-bitrate-limit 100M -i 0.1")?;
    let first = start_client(&ours(), server.port, "-t 20 -b 33M")?;
    server.process.wait_for_stdout("bits/sec", 1, LIMIT)?;
    refused(&run_client(&ours(), server.port, "-t 1 -b 68M")?)?;
    run_client(&ours(), server.port, "-t 1 -b 66M")?.succeeded()?;
    first.interrupt()?;
    first.finish(LIMIT)?;
    // A client that is interrupted does not wait for its server.
    wait_until(LIMIT, || server.process.so_far().contains("the client has terminated"))?;
    run_client(&ours(), server.port, "-t 1 -b 90M")?.succeeded()
}

/// The cap holds within five percent for tests that do not say their rate, and who keeps to what it has said
/// is not ended because of them.
#[test]
fn the_total_rate_holds_while_tests_run() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "--max-tests 2 --total-bitrate-limit 100M/1 -i 0.5")?;
    // A sender counts what it has handed to its kernel, so the buffers must be small beside the rate.
    for direction in ["-R -w 64K", "-w 64K"] {
        run_client(&ours(), server.port, &format!("-t 3 --fq-rate 95M {direction}"))?.succeeded()?;
        let above = run_client(&ours(), server.port, &format!("-t 8 --fq-rate 150M {direction}"))?;
        refused(&above)?;
        ensure!(above.elapsed < Duration::from_secs(5), "ended after {:?}\n{above}", above.elapsed);
    }
    let promised = start_client(&ours(), server.port, "-t 4 -b 60M")?;
    server.process.wait_for_stdout("connected to", 5, LIMIT)?;
    let greedy = run_client(&ours(), server.port, "-t 8 -R --fq-rate 60M -w 64K")?;
    refused(&greedy)?;
    promised.finish(LIMIT)?.succeeded()
}

fn refused(client: &Finished) -> Checked {
    let told = client.stderr.contains("total required bandwidth is larger than server limit");
    ensure!(client.code == Some(1) && told, "not refused\n{client}");
    Ok(())
}

/// The seventh test of an address within a minute is denied, with one line in the log for all of them; other
/// addresses are not.
#[test]
fn a_source_has_six_tests_a_minute() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--public")?;
    for _ in 0..6 {
        run_client(&ours(), server.port, "-n 1K -B 127.0.0.2")?.succeeded()?;
    }
    for _ in 0..3 {
        let client = run_client(&ours(), server.port, "-n 1K -B 127.0.0.2")?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("the server is busy running a test. try again later"), "{client}");
    }
    run_client(&ours(), server.port, "-n 1K -B 127.0.0.3")?.succeeded()?;
    server.process.terminate()?;
    let server = server.finish()?;
    let told = "the client at 127.0.0.2 was turned away: it has had 6 tests within a minute";
    ensure!(server.stderr.matches(told).count() == 1, "not told once\n{server}");
    Ok(())
}

/// What is asked for by itself goes before what --public asks for.
#[test]
fn explicit_options_go_before_the_profile() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests-per-minute 1 --public --server-max-duration 2")?;
    let client = run_client(&ours(), server.port, "-t 3")?;
    ensure!(client.stderr.contains("exceeds the server's maximum permitted limit"), "{client}");
    run_client(&ours(), server.port, "-t 1 -b 1M")?.succeeded()?;
    let client = run_client(&ours(), server.port, "-t 1 -b 1M")?;
    ensure!(client.stderr.contains("the server is busy"), "{client}");
    Ok(())
}

/// A test of bytes or blocks is let in, and ended when the longest time is over.
#[test]
fn a_counted_test_ends_with_the_longest_time() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--server-max-duration 2 --allow-counted")?;
    run_client(&ours(), server.port, "-n 1M")?.succeeded()?;
    for options in ["-n 1G -b 1M", "-k 100000 -b 1M -R", "-u -n 1G -b 1M"] {
        let client = run_client(&ours(), server.port, options)?;
        ensure!(client.stderr.contains("server test duration expired"), "{client}");
        let range = Duration::from_millis(1900)..Duration::from_secs(4);
        ensure!(range.contains(&client.elapsed), "ended after {:?}\n{client}", client.elapsed);
    }
    let client = run_client(&ours(), server.port, "-t 3")?;
    ensure!(client.stderr.contains("exceeds the server's maximum permitted limit"), "{client}");
    Ok(())
}

#[test]
fn limits_out_of_range_are_mistakes() -> Checked {
    for (options, words) in [
        ("--max-tests 0", "a server runs 1 to 64 tests side by side"),
        ("--max-tests 65", "a server runs 1 to 64 tests side by side"),
        ("--max-tests x", "--max-tests"),
        ("--max-tests-per-minute 100001", "the number of tests within a minute is 0 to 100000"),
        ("--total-bitrate-limit 1M/61", "invalid time interval"),
        ("--total-bitrate-limit 1Q", "--total-bitrate-limit"),
    ] {
        let server = run(ours().command(&format!("-s -p 0 {options}")))?;
        ensure!(server.failed_with_one_line()?.contains(words), "{options}\n{server}");
    }
    for option in ["--max-tests 2", "--public", "--allow-counted", "--total-bitrate-limit 1"] {
        let client = run(ours().command(&format!("-c 127.0.0.1 {option}")))?;
        ensure!(client.failed_with_one_line()?.contains("server only"), "{option}\n{client}");
    }
    Ok(())
}

/// A hand-made reverse test over UDP: nothing is sent before the word, to nobody else, and no longer than the
/// control connection is there.
#[test]
fn datagrams_go_to_the_control_peer_alone_and_only_while_it_is_there() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--public")?;
    let parameters =
        r#"{"udp":true,"reverse":true,"omit":0,"time":30,"parallel":1,"len":1000,"bandwidth":100000000}"#;
    let mut client = HonestClient::invited(server.port, parameters)?;
    let word = CONNECTS[0];
    let [own, stranger] = ["127.0.0.1:0", "127.0.0.9:0"].map(std::net::UdpSocket::bind);
    let (own, stranger) = (own?, stranger?);
    for socket in [&own, &stranger] {
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    }
    let mut datagram = [0; 2000];
    stranger.send_to(&word, ("127.0.0.1", server.port))?;
    ensure!(own.recv(&mut datagram).is_err(), "something was sent before the word");
    own.set_read_timeout(Some(LIMIT))?;
    own.send_to(&word, ("127.0.0.1", server.port))?;
    let answer = own.recv(&mut datagram).map_err(|error| Failure(format!("no answer: {error}")))?;
    ensure!(answer == 4, "{answer} bytes for a word of 4");
    client.start()?;
    ensure!(own.recv(&mut datagram)? == 1000, "no datagram of the test");
    own.set_read_timeout(Some(Duration::from_millis(300)))?;
    drop(client);
    let left = std::time::Instant::now();
    let mut last = left;
    while own.recv(&mut datagram).is_ok() {
        last = std::time::Instant::now();
        ensure!(last - left < LIMIT, "it never stops");
    }
    println!("C9: the last datagram came {:?} after the end of the control connection", last - left);
    ensure!(last - left <= Duration::from_secs(3), "datagrams came for another {:?}", last - left);
    ensure!(stranger.recv(&mut datagram).is_err(), "a stranger got something");
    Ok(())
}
