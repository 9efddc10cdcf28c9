//! ICMP messages that say that the peer's port is closed, as anybody on the way can send them: they end no
//! test that has a control connection.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::peer::client::HonestClient;
use crate::harness::peer::request::Wish;
use crate::harness::peer::server::{ServerPoint, against};
use crate::harness::peer::wire::results;
use crate::harness::{
    Account, Cells, Checked, Failure, Finished, Process, Server, Way, ensure, ours, wait_until,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);
const ENGINES: [&str; 3] = ["sync", "uring", "uring-zc"];
/// Who sends nothing.
const NOBODY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9);

/// Datagrams that have found nobody at their port on this machine so far.
fn refused_datagrams() -> Checked<u64> {
    let table = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:")).map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(Failure(format!("no counters in {table}")));
    };
    let count = names.zip(values).find(|(name, _)| *name == "NoPorts").map(|(_, value)| value.parse());
    count.and_then(Result::ok).ok_or(Failure(table))
}

/// Takes a socket away until the peer must have heard often that its port is closed, and gives it back.
fn close_for_a_while(socket: &UdpSocket, peer: SocketAddr) -> Checked {
    // A socket that is connected to somebody else is not there for this peer, and keeps its port.
    socket.connect(NOBODY)?;
    let before = refused_datagrams()?;
    let opens = Instant::now() + Duration::from_millis(200);
    wait_until(LIMIT, || Instant::now() >= opens && refused_datagrams().is_ok_and(|now| now >= before + 20))?;
    // What came before that is not what comes afterwards.
    socket.set_nonblocking(true)?;
    while socket.recv(&mut [0; 2000]).is_ok() {}
    socket.set_nonblocking(false)?;
    Ok(socket.connect(peer)?)
}

#[test]
fn a_server_sends_on_to_a_port_that_was_closed_for_a_while() -> Checked {
    let mut cells = Cells::default();
    for engine in ENGINES {
        for offload in ["", "--no-offload"] {
            cells.add(format!("{engine} {offload}"), move || {
                let server = Server::start(&ours(), &format!("-1 -J --engine {engine} {offload}"))?;
                let wish =
                    Wish { more: r#""reverse":true,"bandwidth":20000000,"burst":5,"#, ..Wish::default() };
                let mut guest = HonestClient::running(server.port, wish)?;
                let server_address = guest.sockets[0].peer_addr()?;
                let mut datagram = [0; 200];
                for _ in 0..2 {
                    guest.sockets[0].recv(&mut datagram)?;
                    close_for_a_while(&guest.sockets[0], server_address)?;
                }
                let bytes = guest.sockets[0].recv(&mut datagram)?;
                ensure!(bytes == 100, "{bytes} bytes came");
                ensure!(guest.end(0)?.of(0, "packets")? > 0, "nothing was sent");
                let server = server.finish()?;
                server.succeeded()?;
                let reason = server.document()?.text("/ringperf/engines/0/reason")?.to_owned();
                ensure!(reason.contains("the network refused"), "it is not said: {reason}");
                Ok(())
            });
        }
    }
    cells.run()
}

#[test]
fn a_client_sends_on_to_a_port_that_was_closed_for_a_while() -> Checked {
    let mut cells = Cells::default();
    for engine in ENGINES {
        cells.add(engine, move || {
            let client = against(&format!("-u -t 1.5 -b 20M -l 100 -J --engine {engine}"), |host| {
                host.proceed(ServerPoint::Running)?;
                host.take()?;
                close_for_a_while(&host.door, host.addresses[0])?;
                host.take()?;
                host.finish(&results(&[1], 0))
            })?;
            client.succeeded()?;
            let took = client.document()?.number("/end/sum_sent/seconds")?;
            ensure!((1.4..3.0).contains(&took), "{took} s instead of 1.5 s\n{client}");
            Ok(())
        });
    }
    cells.run()
}

/// A client is told again and again that its peer is not there.
#[test]
fn a_storm_of_refusals_in_set_up_and_afterwards_ends_no_test() -> Checked {
    let mut cells = Cells::default();
    for way in Way::ALL {
        cells.add(way.option(), move || {
            let calls = "recvfrom,recvmmsg,sendmmsg";
            let options = format!("-u -t 0.5 -b 10M/20 -l 500 -P 2 -J --engine sync {}", way.option());
            let server = Server::start(&ours(), "-1")?;
            let client =
                Process::spawn(refused(calls, &format!("-c 127.0.0.1 -p {} {options}", server.port)))?;
            let client: Finished = client.finish(LIMIT)?;
            client.succeeded()?;
            let document = client.document()?;
            let received = document.integer("/end/sum_received/packets")?;
            ensure!(received > 100, "{received} datagrams came\n{client}");
            document.accounts()?.iter().try_for_each(Account::adds_up)?;
            server.finish()?.succeeded()
        });
    }
    cells.run()
}

/// ringperf below strace, which lets every third one of these calls fail without making it.
fn refused(calls: &str, options: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", &format!("trace={calls}")]);
    command.arg("-e").arg(format!("inject={calls}:error=ECONNREFUSED:when=2+3")).arg(ours().path);
    command.args(options.split_whitespace()).env("LC_ALL", "C");
    command
}
