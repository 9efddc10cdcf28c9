//! That the harness mistreats datagrams exactly as it says: the dropper between two namespaces, and the
//! proxy. What ringperf makes of such datagrams is told by tests that rely on this.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::{
    Cable, Checked, Dropper, Failure, Hook, Mischief, Passed, Proxy, ProxyPlan, Rule, Traffic, bind_both,
    ensure, is_ignored, ours, pick, run, shared,
};

/// Bytes of each datagram.
const BYTES: usize = 100;
/// Datagrams of each test; a receive buffer of the default size holds them all.
const COUNT: u64 = 100;
/// Far longer than a datagram travels.
const LIMIT: Duration = Duration::from_secs(10);

/// A test that is run in the background, or to outlive its terminal, still ends its programs by signals.
#[test]
fn ignored_signals_are_not_passed_on() -> Checked {
    let mut shell = Command::new("sh");
    let tests = std::env::current_exe()?;
    let again = format!("trap '' HUP INT QUIT TERM; exec {} --exact {CHILD}", tests.display());
    shell.args(["-c", &again]);
    let run = run(shell)?;
    run.succeeded()?;
    ensure!(run.stdout.contains("1 passed"), "that is no test\n{run}");
    Ok(())
}

const CHILD: &str = "udp_loss::mistreated::a_child_ignores_no_signal_that_ends_it";

#[test]
fn a_child_ignores_no_signal_that_ends_it() -> Checked {
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status");
    let status = run(cat)?;
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        ensure!(!is_ignored(&status.stdout, signal), "{signal}\n{status}");
    }
    Ok(())
}

#[test]
fn ringperf_runs_over_a_cable() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(9000, false)?;
    for options in ["", "-6", "-R"] {
        let server = cable.start_server(&ours(), "-1")?;
        let client = cable.run_client(&ours(), server.port, &format!("-n 10M -J {options}"))?;
        client.succeeded()?;
        server.finish()?.succeeded()?;
        let document = client.document()?;
        ensure!(document.totals()?.received == 10 << 20, "not all bytes came\n{client}");
        let local = document.text("/start/connected/0/local_host")?;
        let expected =
            if options == "-6" { cable.client.v6.to_string() } else { cable.client.v4.to_string() };
        ensure!(local == expected, "the connection is from {local}\n{client}");
    }
    Ok(())
}

/// Two sockets at the two ends of a cable, connected to each other.
struct Ends {
    sender: UdpSocket,
    receiver: UdpSocket,
    port: u16,
}

impl Ends {
    fn on(cable: &Cable, v6: bool) -> Checked<Self> {
        let address =
            |end: &crate::harness::Namespace| if v6 { IpAddr::V6(end.v6) } else { IpAddr::V4(end.v4) };
        let socket = |end| Ok(UdpSocket::bind((address(end), 0))?);
        let sender = cable.client.within(|| socket(&cable.client))?;
        let receiver = cable.server.within(|| socket(&cable.server))?;
        sender.connect(receiver.local_addr()?)?;
        receiver.connect(sender.local_addr()?)?;
        receiver.set_read_timeout(Some(LIMIT))?;
        let port = receiver.local_addr()?.port();
        Ok(Self { sender, receiver, port })
    }

    /// Sends numbered datagrams, `together` at once as one super-packet.
    fn send(&self, together: u64) -> Checked {
        if together > 1 {
            let bytes = i32::try_from(BYTES).expect("it is small");
            setsockopt(&self.sender, sockopt::UdpGsoSegment, &bytes).map_err(std::io::Error::from)?;
        }
        for first in (1..=COUNT).step_by(usize::try_from(together).expect("it is small")) {
            let packet: Vec<u8> = (first..first + together).flat_map(datagram).collect();
            self.sender.send(&packet)?;
        }
        Ok(())
    }

    /// The numbers of so many datagrams that come, and that nothing else comes.
    fn receive(&self, count: usize) -> Checked<Vec<u64>> {
        let numbers = (0..count).map(|_| receive_number(&self.receiver)).collect::<Checked<Vec<u64>>>()?;
        ensure!(is_empty(&self.receiver)?, "more than {count} datagrams came");
        Ok(numbers)
    }
}

fn datagram(number: u64) -> [u8; BYTES] {
    let mut datagram = [0; BYTES];
    datagram[8..16].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn receive_number(socket: &UdpSocket) -> Checked<u64> {
    let mut datagram = [0; BYTES + 1];
    let bytes = socket.recv(&mut datagram)?;
    ensure!(bytes == BYTES, "a datagram of {bytes} bytes");
    Ok(u64::from_be_bytes(datagram[8..16].try_into().expect("these are eight bytes")))
}

fn is_empty(socket: &UdpSocket) -> Checked<bool> {
    socket.set_nonblocking(true)?;
    let nothing = socket.recv(&mut [0; BYTES]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    socket.set_nonblocking(false)?;
    Ok(nothing)
}

/// Whether a datagram is dropped.
type IsDropped = fn(u64) -> bool;

/// The rules and what they drop of 1 to [`COUNT`].
const RULES: [(Rule, IsDropped); 6] = [
    (Rule::Nothing, |_| false),
    (Rule::Every(2), |number| number % 2 == 0),
    (Rule::Every(7), |number| number % 7 == 0),
    (Rule::Every(1), |_| true),
    (Rule::Number(1), |number| number == 1),
    (Rule::Number(100), |number| number == 100),
];

#[test]
fn the_dropper_drops_by_its_rules() -> Checked {
    let cable = Cable::lay(1500, true)?;
    for v6 in [false, true] {
        for (hook, end) in [(Hook::Ingress, &cable.server), (Hook::Egress, &cable.client)] {
            for (rule, is_dropped) in RULES {
                let ends = Ends::on(&cable, v6)?;
                let dropper = Dropper::attach(end, hook, ends.port, rule)?;
                ends.send(1)?;
                let expected: Vec<u64> = (1..=COUNT).filter(|&number| !is_dropped(number)).collect();
                let came = ends.receive(expected.len())?;
                ensure!(came == expected, "{hook:?} {rule:?}: {came:?} instead of {expected:?}");
                let dropped = COUNT - u64::try_from(expected.len()).expect("there are a hundred");
                passed(&dropper, COUNT, dropped)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_dropper_counts_the_datagrams_of_super_packets() -> Checked {
    for (single_segments, hook, dropped) in [
        // In one piece with the 25th, 50th, 75th and 100th datagram.
        (false, Hook::Egress, vec![21..31, 41..51, 71..81, 91..101]),
        (false, Hook::Ingress, vec![21..31, 41..51, 71..81, 91..101]),
        // Cut by the sender's kernel, behind its egress.
        (true, Hook::Egress, vec![21..31, 41..51, 71..81, 91..101]),
        (true, Hook::Ingress, vec![25..26, 50..51, 75..76, 100..101]),
    ] {
        let cable = Cable::lay(1500, single_segments)?;
        for v6 in [false, true] {
            let ends = Ends::on(&cable, v6)?;
            let end = if matches!(hook, Hook::Egress) { &cable.client } else { &cable.server };
            let dropper = Dropper::attach(end, hook, ends.port, Rule::Every(25))?;
            ends.send(10)?;
            let lost: HashSet<u64> = dropped.iter().cloned().flatten().collect();
            let expected: Vec<u64> = (1..=COUNT).filter(|number| !lost.contains(number)).collect();
            let came = ends.receive(expected.len())?;
            ensure!(came == expected, "{hook:?} {single_segments}: {came:?} instead of {expected:?}");
            passed(&dropper, COUNT, u64::try_from(lost.len()).expect("there are a hundred at most"))?;
        }
    }
    Ok(())
}

#[test]
fn the_dropper_leaves_the_handshake_and_other_ports_alone() -> Checked {
    let cable = Cable::lay(1500, false)?;
    for v6 in [false, true] {
        let [ours, other] = [Ends::on(&cable, v6)?, Ends::on(&cable, v6)?];
        let dropper = Dropper::attach(&cable.server, Hook::Ingress, ours.port, Rule::Every(1))?;
        other.send(1)?;
        other.receive(100)?;
        // The words of an iperf3 and of a ringperf, and one byte more.
        let mut word = [0; 64];
        for bytes in [4, 49] {
            ours.sender.send(&[b'9'; 50][..bytes])?;
            ensure!(ours.receiver.recv(&mut word)? == bytes, "the word of the handshake did not come");
        }
        passed(&dropper, 0, 0)?;
        ours.sender.send(&[b'9'; 50])?;
        // What comes back from the port counts as well, and later datagrams are behind earlier ones.
        ours.sender.send(b"9876")?;
        ensure!(ours.receiver.recv(&mut word)? == 4, "the word of the handshake did not come");
        passed(&dropper, 1, 1)?;
        drop(dropper);
        ours.send(1)?;
        ours.receive(100)?;
    }
    Ok(())
}

fn passed(dropper: &Dropper, seen: u64, dropped: u64) -> Checked {
    let passed = dropper.passed()?;
    ensure!(passed == Passed { seen, dropped }, "{passed:?} instead of {seen} and {dropped}");
    Ok(())
}

/// A client and a server that speak only as much as the proxy needs to hear.
struct Pair {
    client: (TcpStream, UdpSocket),
    server: (TcpStream, UdpSocket),
    proxy: Proxy,
}

impl Pair {
    fn connect(plan: ProxyPlan) -> Checked<Self> {
        let (listener, server) = bind_both()?;
        let proxy = Proxy::start(listener.local_addr()?.port(), plan)?;
        let control = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port))?;
        let (accepted, _) = listener.accept()?;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect((Ipv4Addr::LOCALHOST, proxy.port))?;
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(LIMIT))?;
        }
        for stream in [&control, &accepted] {
            stream.set_read_timeout(Some(LIMIT))?;
        }
        client.send(b"9876")?;
        let mut word = [0; 4];
        let (_, from) = server.recv_from(&mut word)?;
        server.connect(from)?;
        server.send(b"6789")?;
        ensure!(word == *b"9876" && client.recv(&mut word)? == 4 && word == *b"6789", "it is {word:?}");
        Ok(Self { client: (control, client), server: (accepted, server), proxy })
    }

    /// Sends [`COUNT`] datagrams, says a word behind them, and takes all that has come when the word comes.
    fn transfer(from: &mut (TcpStream, UdpSocket), to: &mut (TcpStream, UdpSocket)) -> Checked<Vec<u64>> {
        for number in 1..=COUNT {
            from.1.send(&datagram(number))?;
        }
        from.0.write_all(b"end")?;
        to.0.read_exact(&mut [0; 3])?;
        let mut came = Vec::new();
        while !is_waiting_for_more(&to.1)? {
            came.push(receive_number(&to.1)?);
        }
        Ok(came)
    }

    fn finish(self) -> Checked<Traffic> {
        let Self { client, server, proxy } = self;
        drop(client);
        drop(server);
        let mut traffic = proxy.finish()?;
        ensure!(traffic.len() == 1, "{} streams instead of one", traffic.len());
        traffic.pop().ok_or_else(|| Failure("no stream".to_owned()))
    }
}

fn is_waiting_for_more(socket: &UdpSocket) -> Checked<bool> {
    socket.set_nonblocking(true)?;
    let nothing = socket.peek(&mut [0; BYTES]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    socket.set_nonblocking(false)?;
    Ok(nothing)
}

#[test]
fn the_proxy_knows_what_it_has_delivered() -> Checked {
    let mischief = Mischief {
        seed: 7,
        drop_percent: 10,
        duplicate_percent: 10,
        reorder_percent: 20,
        span: 8,
        lost_words: 0,
    };
    for seed in 0..20 {
        let from_client = Mischief { seed, ..mischief };
        let plan = ProxyPlan { from_client, counters_64bit: true, ..ProxyPlan::default() };
        let mut pair = Pair::connect(plan)?;
        let there = Pair::transfer(&mut pair.client, &mut pair.server)?;
        let back = Pair::transfer(&mut pair.server, &mut pair.client)?;
        let traffic = pair.finish()?;
        let all: Vec<u64> = (1..=COUNT).collect();
        ensure!(
            traffic.from_client.sent == all && traffic.from_client.delivered == there,
            "{traffic:?} {there:?}"
        );
        ensure!(traffic.from_server.sent == all && traffic.from_server.delivered == all, "{traffic:?}");
        ensure!(back == all, "{back:?}");
        is_mistreated(&there)?;
    }
    Ok(())
}

/// Some were lost, some came twice, some were late but by no more than the span, and nothing was invented.
fn is_mistreated(came: &[u64]) -> Checked {
    let different: HashSet<u64> = came.iter().copied().collect();
    ensure!(different.iter().all(|number| (1..=COUNT).contains(number)), "{came:?}");
    ensure!(different.len() < 100, "nothing was lost: {came:?}");
    ensure!(different.len() < came.len(), "nothing came twice: {came:?}");
    let mut highest = 0;
    let mut latest = 0;
    for &number in came {
        highest = highest.max(number);
        latest = latest.max(highest - number);
    }
    ensure!((1..=8).contains(&latest), "late by {latest}: {came:?}");
    Ok(())
}

#[test]
fn a_proxy_that_nobody_comes_to_stops_with_its_test() -> Checked {
    let since = Instant::now();
    drop(Proxy::start(pick(), ProxyPlan::default())?);
    ensure!(since.elapsed() < LIMIT, "it took {:?}", since.elapsed());
    Ok(())
}
