//! Datagrams that do a server harm if anything does: by the hundred thousand from strangers in every state of
//! a test, of impossible lengths, and those that it sends itself to a client that has fallen silent.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::{LIMIT, of_crowd, request};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::datagrams::{CONNECTS, Header, got_nothing};
use crate::harness::peer::random::Random;
use crate::harness::peer::wire::{results, state};
use crate::harness::{
    Cable, Checked, Failure, Holdings, Server, alone, busy, ensure, ours, run_client, start_client,
};

/// Datagrams in each state of a test.
const MANY: usize = 100_000;
const STRANGERS: u8 = 64;

/// A crowd that sends whatever could be taken for something.
struct Crowd {
    sockets: Vec<UdpSocket>,
    random: Random,
    sent: usize,
}

impl Crowd {
    fn new() -> Checked<Self> {
        let address = |number| Ipv4Addr::new(127, 30, 0, number);
        let sockets = (1..=STRANGERS).map(|number| UdpSocket::bind((address(number), 0)));
        Ok(Self { sockets: sockets.collect::<Result<_, _>>()?, random: Random::seeded(8), sent: 0 })
    }

    fn pester(&mut self, port: u16) {
        let kinds: Vec<Vec<u8>> = (0..200)
            .map(|number| match number % 4 {
                0 => CONNECTS[number / 4 % CONNECTS.len()].to_vec(),
                1 => Header::numbered(self.random.next()).datagram(100, false),
                _ => {
                    let length = self.random.below(300);
                    self.random.bytes(length)
                }
            })
            .collect();
        for number in 0..MANY {
            let socket = &self.sockets[number % self.sockets.len()];
            // The port is closed in some states, and the system says so at the next datagram.
            let _ = socket.send_to(&kinds[self.random.below(kinds.len())], (Ipv4Addr::LOCALHOST, port));
        }
        self.sent += MANY;
    }
}

#[test]
fn a_crowd_of_strangers_gets_no_byte_in_any_state() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    let mut crowd = Crowd::new()?;
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    own.connect((Ipv4Addr::LOCALHOST, server.port))?;
    own.set_read_timeout(Some(Duration::from_millis(100)))?;
    crowd.pester(server.port);
    let parameters =
        r#"{"udp":true,"reverse":true,"omit":0,"time":30,"parallel":2,"len":100,"bandwidth":1000000}"#;
    let mut client = HonestClient::reach(server.port, parameters, ClientPoint::Admitted)?;
    crowd.pester(server.port);
    client.proceed(ClientPoint::Invited)?;
    crowd.pester(server.port);
    say_the_word(&own)?;
    crowd.pester(server.port);
    let second = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    second.connect((Ipv4Addr::LOCALHOST, server.port))?;
    second.set_read_timeout(Some(Duration::from_millis(100)))?;
    say_the_word(&second)?;
    client.start()?;
    crowd.pester(server.port);
    for socket in [&own, &second] {
        socket.set_read_timeout(Some(LIMIT))?;
        // A word that was said twice has two answers.
        let length = loop {
            match socket.recv(&mut [0; 200])? {
                4 => {}
                other => break other,
            }
        };
        ensure!(length == 100, "{length} bytes are no datagram of the test");
    }
    client.proceed(ClientPoint::Ended)?;
    crowd.pester(server.port);
    client.tell(&results(&[1, 3], 0))?;
    client.leave()?;
    crowd.pester(server.port);
    run_client(&ours(), server.port, "-u -k 5")?.succeeded()?;
    crowd.sockets.iter().try_for_each(got_nothing)?;
    println!("C8: {} datagrams of {STRANGERS} strangers, no byte for any of them", crowd.sent);
    Ok(())
}

/// Says it until the answer comes: the server's buffer may be full of what strangers say.
fn say_the_word(socket: &UdpSocket) -> Checked {
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut answer = [0; 200];
    while Instant::now() < deadline {
        socket.send(&CONNECTS[0])?;
        if let Ok(bytes) = socket.recv(&mut answer) {
            ensure!(bytes == 4, "{bytes} bytes for a word of 4");
            return Ok(());
        }
    }
    Err(Failure("no answer to the word".to_owned()))
}

/// Lengths of datagrams that no test has, offload or not, and what comes on streams that are opened with the
/// possible ones.
#[test]
fn impossible_lengths_leave_an_idle_server_behind() -> Checked {
    let _permit = alone();
    let server = Server::start(&ours(), "")?;
    run_client(&ours(), server.port, "-u -k 5 -b 0")?.succeeded()?;
    let lengths = ["-1", "0", "1", "11", "12", "15", "16", "65507", "65508", "2147483648", "4294967297"];
    let mut before = None;
    let (mut sessions, mut admitted) = (0, 0);
    for round in 0..24 {
        for length in lengths {
            for offload in ["", r#""gso":1,"gso_dg_size":1200,"gro":1,"gro_bf_size":65507,"#] {
                for direction in ["", r#""reverse":true,"#, r#""bidirectional":true,"#] {
                    admitted += usize::from(is_admitted(server.port, length, offload, direction, sessions)?);
                    sessions += 1;
                }
            }
        }
        // What the first ones have made it take is what it takes.
        if round == 7 {
            before = Some(Holdings::at_rest(&server.process)?);
        }
    }
    let before = before.ok_or(Failure("too few rounds".to_owned()))?;
    let after = Holdings::at_rest(&server.process)?;
    let worked = busy(&server.process)?;
    let watched = Duration::from_secs(1);
    let since = Instant::now();
    ensure!(server.process.runs_until(LIMIT, || since.elapsed() >= watched)?, "the server is gone");
    let worked = busy(&server.process)?.saturating_sub(worked);
    println!(
        "B4: {sessions} sessions, {admitted} admitted; {before:?} became {after:?}; idle: {worked:?} of {watched:?}"
    );
    ensure!(sessions > 1000 && admitted > 100, "{admitted} of {sessions} were admitted");
    ensure!(after.memory_kib <= before.memory_kib + 2048, "{before:?} became {after:?}");
    ensure!(worked <= watched / 20, "{worked:?} of {watched:?} without a client");
    run_client(&ours(), server.port, "-u -k 5 -b 0")?.succeeded()
}

/// Asks for datagrams of that length; if the server takes them, sends some of many lengths and leaves.
fn is_admitted(port: u16, length: &str, offload: &str, direction: &str, number: usize) -> Checked<bool> {
    let address = of_crowd(31, number);
    let parameters =
        format!(r#"{{"udp":true,{offload}{direction}"omit":0,"time":1,"parallel":1,"len":{length}}}"#);
    let mut client = loop {
        let request = request(address, &parameters);
        let mut client = HonestClient::reach(port, request, ClientPoint::Accepted)?;
        // It may not be through with the one before.
        if client.is_admitted()? {
            break client;
        }
    };
    client.proceed(ClientPoint::Asked)?;
    match client.control.read()? {
        [state::CREATE_STREAMS] => {}
        [state::SERVER_ERROR] => return Ok(false),
        [other] => return Err(Failure(format!("length {length}: state {other}"))),
    }
    let stream = UdpSocket::bind((address, 0))?;
    stream.connect((Ipv4Addr::LOCALHOST, port))?;
    stream.send(&CONNECTS[0])?;
    for bytes in [0, 1, 4, 11, 12, 16, 1200, 65_507] {
        // A test whose streams are complete may run already, or be over.
        let _ = stream.send(&vec![7; bytes]);
    }
    client.control.send_anyhow(&[state::IPERF_DONE]);
    Ok(true)
}

/// The next two take long and hardly any time of a processor, so they run beside everything else.
///
/// A client that is halted while its kernel lives on: the end of its test and some seconds are the limit.
#[test]
fn a_halted_client_is_sent_to_no_longer_than_its_test_and_some_seconds() -> Checked {
    let server = Server::start(&ours(), "-1")?;
    let client = start_client(&ours(), server.port, "-u -R -b 10M -l 1400 -t 2 -i 0.2")?;
    client.wait_for_stdout("bits/sec", 2, LIMIT)?;
    client.pause()?;
    let halted = Instant::now();
    let server = server.process.finish(Duration::from_secs(30))?;
    let took = server.ended.saturating_duration_since(halted);
    println!("C9: a halted client of a test of 2 s was sent to for {took:?}");
    ensure!(took <= Duration::from_secs(22), "the server ended after {took:?}\n{server}");
    client.resume()
}

/// A client whose host is gone, which the kernel finds out from the control connection.
#[test]
fn a_client_whose_host_is_gone_is_sent_to_for_ten_seconds() -> Checked {
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "-1")?;
    let client = cable.start_client(&ours(), server.port, "-u -R -b 10M -l 1400 -t 60 -i 0.2")?;
    client.wait_for_stdout("bits/sec", 2, LIMIT)?;
    cable.client.unplug()?;
    let unplugged = Instant::now();
    let server = server.process.finish(Duration::from_secs(30))?;
    let took = server.ended.saturating_duration_since(unplugged);
    println!("C9: a client whose host is gone was sent to for {took:?}");
    ensure!(took <= Duration::from_secs(15), "the server ended after {took:?}\n{server}");
    Ok(())
}
