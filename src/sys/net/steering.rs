//! Which of several sockets that listen on one address takes a connection.
//!
//! The sockets are a group, and a program in the kernel chooses a member when the first packet of a
//! connection comes. So no listener has to be closed to make way for another one, which would reset every
//! connection that it has not handed over yet, whoever they belong to.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

use super::listen::{ListenAddress, start_listening};
use super::raw::set_raw;
use super::socket::{Transport, stream_socket};

/// Offsets from here are into the IP header (`SKF_NET_OFF` of include/uapi/linux/filter.h, as it is encoded).
const NET: u32 = libc::SKF_NET_OFF.cast_unsigned();
/// The number of the TCP options of Multipath TCP (RFC 8684, section 3).
const MULTIPATH_OPTION: u32 = 30;
/// Most TCP options that are examined. A first packet has half as many, and a header has 40 bytes for them.
const OPTIONS_MAX: usize = 16;

/// The connections that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All that come from this host; an IPv4 address is never a mapped one.
    Host(IpAddr),
    /// All that want Multipath TCP, their later subflows included.
    Multipath,
}

/// A rule that sends connections to one member of a group of listening sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The connections.
    pub who: Who,
    /// Number of the member that they go to, from 0 in the order in which the members came.
    pub member: u32,
}

/// Starts to listen on an address on which `members` listen already, in the order in which they came. The new
/// one is the last and gets no connection until a rule sends one there.
///
/// From now on the kernel lets sockets of the same user, and of nobody else, listen on this address as well;
/// they get no connection as long as they leave the rules alone.
///
/// # Errors
/// The system's, for example EMFILE, or EPROTONOSUPPORT where the kernel lacks the transport.
pub fn join(
    members: &[&impl AsFd],
    transport: Transport,
    address: &ListenAddress,
) -> io::Result<TcpListener> {
    let is_first_time = members.len() == 1;
    if is_first_time {
        can_steer(address)?;
    }
    let share =
        |shared| members.iter().try_for_each(|member| setsockopt(*member, sockopt::ReusePort, &shared));
    share(true)?;
    let joined = start_listening(transport, address, true);
    if is_first_time {
        if joined.is_err() {
            share(false)?;
        } else {
            // Without it the kernel would choose by chance. It did for a moment, which does no harm: whoever
            // has come to the new member is accepted there.
            steer(members[0], &[])?;
        }
    }
    joined
}

/// Has these rules decide from now on, the first that fits a connection. One that none of them fits goes to
/// the first member.
///
/// # Errors
/// The system's, for example ENOMEM for too many rules.
pub fn steer(first: &impl AsFd, rules: &[Rule]) -> io::Result<()> {
    let mut program = program(rules);
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    set_raw(first, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Whether the kernel takes such a program, tried where it does no harm.
fn can_steer(address: &ListenAddress) -> io::Result<()> {
    let socket = stream_socket(Transport::Tcp, &address.local)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    steer(&socket, &[])
}

/// A program that returns the number of a member. A packet that it cannot read belongs to the first one.
fn program(rules: &[Rule]) -> Vec<libc::sock_filter> {
    let multipath = rules.iter().find(|rule| rule.who == Who::Multipath);
    let options = multipath.map_or_else(|| vec![give(0)], |rule| has_multipath(rule.member));
    let mut v4 = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NET + 12)];
    let mut v6 = Vec::new();
    for rule in rules {
        match rule.who {
            Who::Host(IpAddr::V4(host)) => v4.extend([equals(host.to_bits(), 1), give(rule.member)]),
            Who::Host(IpAddr::V6(host)) => v6.extend(is_from_v6(host.to_bits(), rule.member)),
            Who::Multipath => {}
        }
    }
    // Where the TCP header begins. One of IPv6 with extensions in front is not looked for.
    v4.push(op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, NET));
    v6.extend([
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, NET + 6),
        jump(libc::BPF_JEQ, libc::IPPROTO_TCP.cast_unsigned(), (1, 0)),
        give(0),
        op(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, 40),
        skip(v4.len()),
    ]);
    let mut program = vec![
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, NET),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 4),
        equals(4, 1),
        skip(2 + v6.len()),
        jump(libc::BPF_JEQ, 6, (1, 0)),
        give(0),
    ];
    program.extend(v6.into_iter().chain(v4).chain(options));
    program
}

/// Gives a connection from this host to a member.
fn is_from_v6(host: u128, member: u32) -> [libc::sock_filter; 9] {
    let word = |index: u32| u32::try_from(host >> (96 - 32 * index) & 0xffff_ffff).expect("32 bits");
    let load = |index: u32| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NET + 8 + 4 * index);
    [
        load(0),
        equals(word(0), 7),
        load(1),
        equals(word(1), 5),
        load(2),
        equals(word(2), 3),
        load(3),
        equals(word(3), 1),
        give(member),
    ]
}

/// Gives a connection to a member if one of its TCP options, whose header begins at X, is of Multipath TCP;
/// else to the first one.
fn has_multipath(member: u32) -> Vec<libc::sock_filter> {
    const END: u32 = 0;
    let load = |offset| op(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, NET + offset);
    let add_x = op(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0);
    let mut block = vec![
        load(12),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xf0),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 2),
        add_x,
        op(libc::BPF_ST, END),
        op(libc::BPF_MISC | libc::BPF_TXA, 0),
        op(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 20),
    ];
    // A is where the next option begins, or what is no option any more.
    const STEPS: usize = 10;
    for left in (0..OPTIONS_MAX).rev() {
        let end = |step: usize| u8::try_from(STEPS * left + STEPS - 1 - step).expect("a short program");
        let found = |step: usize| end(step) + 1;
        block.extend([
            op(libc::BPF_LDX | libc::BPF_W | libc::BPF_MEM, END),
            jump(libc::BPF_JGE | libc::BPF_X, 0, (end(1), 0)),
            op(libc::BPF_MISC | libc::BPF_TAX, 0),
            load(0),
            jump(libc::BPF_JEQ, MULTIPATH_OPTION, (found(4), 0)),
            jump(libc::BPF_JEQ, 0, (end(5), 0)),
            // An option that fills a gap is one byte, as its number says.
            jump(libc::BPF_JEQ, 1, (2, 0)),
            load(1),
            jump(libc::BPF_JGE, 2, (0, end(8))),
            add_x,
        ]);
    }
    block.extend([give(0), give(member)]);
    block
}

fn give(member: u32) -> libc::sock_filter {
    op(libc::BPF_RET | libc::BPF_K, member)
}

/// Goes on if A is this value, else behind the next `else_skip` instructions.
fn equals(value: u32, else_skip: u8) -> libc::sock_filter {
    jump(libc::BPF_JEQ, value, (0, else_skip))
}

fn skip(instructions: usize) -> libc::sock_filter {
    op(libc::BPF_JMP | libc::BPF_JA, u32::try_from(instructions).expect("a short program"))
}

fn jump(condition: u32, k: u32, (jt, jf): (u8, u8)) -> libc::sock_filter {
    libc::sock_filter { jt, jf, ..op(libc::BPF_JMP | condition, k) }
}

fn op(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("an opcode has 16 bits"), jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;
    use crate::sys::net::listen::listen_on;

    /// Sockets that listen on one address, a different one for each test.
    struct Group {
        address: ListenAddress,
        members: Vec<TcpListener>,
    }

    impl Group {
        /// `None` where the kernel lacks this version of IP.
        fn listen(ip: &str, transports: &[Transport]) -> Option<Self> {
            let local = SocketAddr::new(ip.parse().unwrap(), 0);
            let mut address = ListenAddress { local, only_v6: false, device: None };
            let first = listen_on(Transport::Tcp, &address).ok()?;
            address.local = first.local_addr().unwrap();
            let mut members = vec![first];
            for &transport in transports {
                let before: Vec<&TcpListener> = members.iter().collect();
                let joined = join(&before, transport, &address).unwrap();
                members.push(joined);
            }
            Some(Self { address, members })
        }

        /// Which member accepts a connection from this host.
        fn takes(&self, host: &str, transport: Transport) -> usize {
            let local = SocketAddr::new(host.parse().unwrap(), 0);
            let to = if local.is_ipv6() { "::1" } else { "127.0.0.1" };
            let socket = stream_socket(transport, &local).unwrap();
            socket.set_nonblocking(false).unwrap();
            socket.bind(&local.into()).unwrap();
            let remote = SocketAddr::new(to.parse().unwrap(), self.address.local.port());
            socket.connect(&remote.into()).unwrap();
            let mut waiting: Vec<PollFd<'_>> =
                self.members.iter().map(|member| PollFd::new(member.as_fd(), PollFlags::POLLIN)).collect();
            // The kernel may hand a connection over a moment after it has told the other end.
            assert_eq!(poll(&mut waiting, 2000_u16).unwrap(), 1, "exactly one has it");
            let member = waiting.iter().position(|one| one.any() == Some(true)).unwrap();
            self.members[member].accept().unwrap();
            member
        }
    }

    fn host(ip: &str, member: u32) -> Rule {
        Rule { who: Who::Host(ip.parse().unwrap()), member }
    }

    #[test]
    fn a_host_comes_to_the_member_that_a_rule_says_and_others_to_the_first() {
        for (ip, hosts) in [
            ("::", ["127.0.0.2", "127.0.0.3", "127.0.0.4"]),
            ("0.0.0.0", ["127.0.0.2", "127.0.0.3", "127.0.0.4"]),
            ("::", ["::1", "127.0.0.3", "127.0.0.4"]),
            ("::1", ["::1", "::1", "::1"]),
        ] {
            let Some(group) = Group::listen(ip, &[Transport::Tcp, Transport::Tcp]) else { continue };
            let takes = || hosts.map(|host| group.takes(host, Transport::Tcp));
            assert_eq!(takes(), [0, 0, 0], "{ip}");
            let nearly = [host("::2", 2), host("1::1", 2), host("::1:1", 2), host("::ffff:7f00:2", 2)];
            let rules = [&nearly[..], &[host(hosts[1], 2), host(hosts[0], 1)]].concat();
            steer(&group.members[0], &rules).unwrap();
            let same = hosts[0] == hosts[1];
            assert_eq!(takes(), if same { [2, 2, 2] } else { [1, 2, 0] }, "{ip}");
            steer(&group.members[0], &[]).unwrap();
            assert_eq!(takes(), [0, 0, 0], "{ip}");
        }
    }

    #[test]
    fn whoever_wants_multipath_tcp_gets_it_and_nobody_else() {
        if Transport::Mptcp.check().is_err() {
            return;
        }
        for ip in ["::", "0.0.0.0"] {
            let Some(group) = Group::listen(ip, &[Transport::Tcp, Transport::Mptcp]) else { continue };
            steer(&group.members[0], &[host("127.0.0.3", 1), Rule { who: Who::Multipath, member: 2 }])
                .unwrap();
            let hosts = if ip == "::" { &["127.0.0.2", "::1"][..] } else { &["127.0.0.2"] };
            for host in hosts {
                assert_eq!(group.takes(host, Transport::Tcp), 0, "{ip} {host}");
                assert_eq!(group.takes(host, Transport::Mptcp), 2, "{ip} {host}");
            }
            // A host's rule goes first.
            assert_eq!(group.takes("127.0.0.3", Transport::Mptcp), 1, "{ip}");
        }
    }

    #[test]
    fn a_member_that_cannot_join_leaves_the_address_to_the_first() {
        let group = Group::listen("127.0.0.1", &[]).unwrap();
        if Transport::Sctp.check().is_ok() {
            return;
        }
        assert!(join(&[&group.members[0]], Transport::Sctp, &group.address).is_err());
        assert!(!nix::sys::socket::getsockopt(&group.members[0], sockopt::ReusePort).unwrap());
        assert_eq!(group.takes("127.0.0.2", Transport::Tcp), 0);
    }
}
