//! ICMP messages of every type and code, forged for the streams of a running test by somebody who knows the
//! ports: none ends it, and none costs a datagram.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{
    Account, Cable, Cells, Checked, Failure, Finished, Namespace, Process, Server, ensure, ours, run_pair,
    shared, wait_until,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two messages, so that each is told of by itself. A datagram leaves every two milliseconds.
const APART: Duration = Duration::from_millis(5);
/// Bytes of IP header in front of the UDP header that a message quotes: IPv4, IPv6.
const QUOTED: (usize, usize) = (20, 40);
/// The number of UDP in an IP header.
const UDP: u8 = 17;
/// What the "too big" messages say: what the path takes anyway.
const MTU: u16 = 1500;

/// Every type and code that may come as the answer to a datagram, and some that may not.
fn messages(is_v4: bool) -> Vec<(u8, u8)> {
    let table: &[(u8, std::ops::RangeInclusive<u8>)] = if is_v4 {
        &[(3, 0..=16), (4, 0..=0), (5, 0..=1), (11, 0..=1), (12, 0..=2), (18, 0..=0)]
    } else {
        &[(1, 0..=9), (2, 0..=0), (3, 0..=1), (4, 0..=4), (5, 0..=0), (100, 0..=0), (127, 0..=0)]
    };
    table.iter().flat_map(|(kind, codes)| codes.clone().map(move |code| (*kind, code))).collect()
}

#[test]
fn no_icmp_message_ends_a_test_or_costs_a_datagram() -> Checked {
    let mut cells = Cells::default();
    for engine in ["sync", "uring", "uring-zc"] {
        for family in ["", "-6"] {
            cells.add(format!("{engine} {family}"), move || {
                let cable = Cable::lay(1500, false)?;
                let server = cable.start_server(&ours(), &format!("-1 -i 0.1 --engine {engine}"))?;
                let options = format!("-u --bidir -b 5M -l 1000 -t 1.5 -J --engine {engine} {family}");
                let client = cable.start_client(&ours(), server.port, &options)?;
                server.process.wait_for_stdout(" sec ", 2, LIMIT)?;
                storm(&cable, family.is_empty())?;
                passed(&client.finish(LIMIT)?, &server.finish()?)
            });
        }
    }
    let _permit = shared();
    cells.run_at_once()
}

/// Sends every message to both ends, about both streams.
fn storm(cable: &Cable, is_v4: bool) -> Checked {
    let began = Instant::now();
    for (victim, forger) in [(&cable.client, &cable.server), (&cable.server, &cable.client)] {
        let address = |end: &Namespace| if is_v4 { IpAddr::V4(end.v4) } else { IpAddr::V6(end.v6) };
        let streams = victim.within(|| streams(address(forger), is_v4))?;
        ensure!(streams.len() == 2, "two streams, one each way, and not {streams:?}");
        let ports = streams;
        forger.within(|| {
            let (domain, protocol) = match is_v4 {
                true => (Domain::IPV4, Protocol::ICMPV4),
                false => (Domain::IPV6, Protocol::ICMPV6),
            };
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            for (kind, code) in messages(is_v4) {
                for &(local, remote) in &ports {
                    let from = SocketAddr::new(address(victim), local);
                    let to = SocketAddr::new(address(forger), remote);
                    socket.send_to(&forged(kind, code, from, to), &SocketAddr::new(from.ip(), 0).into())?;
                }
                let next = Instant::now() + APART;
                wait_until(LIMIT, || Instant::now() >= next)?;
            }
            Ok(())
        })?;
    }
    ensure!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());
    Ok(())
}

/// The ports of all UDP sockets here that are connected to `peer`: their own and the peer's.
fn streams(peer: IpAddr, is_v4: bool) -> Checked<Vec<(u16, u16)>> {
    let table =
        fs::read_to_string(if is_v4 { "/proc/thread-self/net/udp" } else { "/proc/thread-self/net/udp6" })?;
    let peer_hex: String = match peer {
        IpAddr::V4(address) => format!("{:08X}", u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => {
            let word = |four: &[u8]| u32::from_ne_bytes(four.try_into().expect("four bytes"));
            address.octets().chunks(4).map(|four| format!("{:08X}", word(four))).collect()
        }
    };
    let port = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
    let ports = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        remote.starts_with(&peer_hex).then(|| Some((port(local)?, port(remote)?)))?
    });
    Ok(ports.collect())
}

/// A message about a datagram that went from one port to the other.
fn forged(kind: u8, code: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0];
    message.extend(MTU.to_be_bytes());
    let mut quoted = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0; QUOTED.0];
            (header[0], header[3], header[8], header[9]) = (0x45, 228, 64, UDP);
            header[12..16].copy_from_slice(&from.octets());
            header[16..].copy_from_slice(&to.octets());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0; QUOTED.1];
            (header[0], header[5], header[6], header[7]) = (0x60, 208, UDP, 64);
            header[8..24].copy_from_slice(&from.octets());
            header[24..].copy_from_slice(&to.octets());
            header
        }
        _ => unreachable!("both are of one family"),
    };
    quoted.extend(from.port().to_be_bytes());
    quoted.extend(to.port().to_be_bytes());
    quoted.extend([0, 208, 0, 0]);
    quoted.resize(quoted.len() + 200, 0);
    message.extend(quoted);
    if from.is_ipv4() {
        // Of ICMPv6 the kernel makes the checksum by itself.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into()));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// The whole test took place, nothing was lost, and both ends have heard something at each of their streams.
fn passed(client: &Finished, server: &Finished) -> Checked {
    let judge = || {
        client.succeeded()?;
        server.succeeded()?;
        ensure!(!server.stderr.contains("error"), "the server has failed");
        let document = client.document()?;
        let accounts = document.accounts()?;
        ensure!(accounts.len() == 2, "{accounts:?}");
        accounts.iter().try_for_each(Account::is_complete)?;
        for sum in ["sum_sent", "sum_sent_bidir_reverse"] {
            let seconds = document.number(&format!("/end/{sum}/seconds"))?;
            ensure!((1.4..).contains(&seconds), "{sum} is over after {seconds} s");
        }
        for end in ["/ringperf/engines", "/ringperf/peer/engines"] {
            for engine in document.list(end)? {
                let reason = engine["reason"].as_str().unwrap_or_default();
                let heard = if engine["flow"] == "send" { "the network refused" } else { "were passed over" };
                ensure!(reason.contains(heard), "no message has come to {engine}");
            }
        }
        Ok(())
    };
    judge().map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
}

/// What the own machine says for good is a failure that names it, however short the test is.
#[test]
fn a_sender_that_can_send_nothing_says_why() -> Checked {
    let mut cells = Cells::default();
    for (errno, expected) in [
        ("EPERM", "sending UDP is forbidden on this machine (a local firewall?)"),
        ("EACCES", "sending UDP is forbidden on the way to the peer"),
        ("ENETUNREACH", "there is no way to the peer over UDP: Network is unreachable"),
        ("EPROTO", "somebody on the way refuses the datagrams: Protocol error"),
    ] {
        cells.add(errno, move || {
            let server = Server::start(&ours(), "-1")?;
            let options =
                format!("-c 127.0.0.1 -p {} -u -t 0.5 -b 100M/200 -l 500 -J --engine sync", server.port);
            let client = Process::spawn(failing("sendmmsg", errno, "1+", &options))?.finish(LIMIT)?;
            let (_, error) = client.failed_in_document()?;
            ensure!(error.contains(expected), "it says {error}\n{client}");
            server.finish()?.succeeded()
        });
    }
    cells.run()
}

/// A filter that lets some datagrams through and refuses others is one that a test goes on with.
#[test]
fn a_filter_that_refuses_some_sends_costs_no_datagram() -> Checked {
    let mut ours_refused = ours();
    ours_refused.prepare = |command| {
        let inner = std::mem::replace(command, failing("sendmmsg", "EPERM", "2+3", ""));
        command.args(inner.get_args());
    };
    let pair = run_pair((&ours(), ""), (&ours_refused, "-u -t 0.5 -b 100M/200 -l 500 -J --engine sync"))?;
    let document = pair.client.document()?;
    document.accounts()?.iter().try_for_each(Account::is_complete)?;
    let reason = document.text("/ringperf/engines/0/reason")?;
    ensure!(reason.contains("made again (Operation not permitted)"), "it says {reason}");
    Ok(())
}

/// ringperf below strace, which lets some of these calls fail without making them.
fn failing(calls: &str, errno: &str, when: &str, options: &str) -> std::process::Command {
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", &format!("trace={calls}")]);
    command.arg("-e").arg(format!("inject={calls}:error={errno}:when={when}")).arg(ours().path);
    command.args(options.split_whitespace()).env("LC_ALL", "C");
    command
}
