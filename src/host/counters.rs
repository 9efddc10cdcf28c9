//! Counters of the protocols that explain a result, as `/proc/net/netstat`, `snmp` and `snmp6` have them.
//! They are of the network namespace of this process and of all connections in it.

use std::collections::BTreeMap;

use super::reading::{Absence, Reading, growth_of_readings, number};
use super::source::Source;

/// Counts by the names that nstat(8) gives them, each one of [`COUNTERS`], or their growth.
pub type Counters = BTreeMap<&'static str, Reading<u64>>;

/// A file of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterFile {
    /// `/proc/net/netstat`, pairs of lines.
    Netstat,
    /// `/proc/net/snmp`, pairs of lines: IPv4, TCP and UDP over IPv4.
    Snmp,
    /// `/proc/net/snmp6`, a line each: IPv6 and UDP over it.
    Snmp6,
}

/// A counter that explains something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The group in the file and the name in it.
    pub name: &'static str,
    /// Where it stands.
    pub file: CounterFile,
    /// What it counts.
    pub meaning: &'static str,
    /// Where the kernel says so: a function that counts it, a document, or the commit that added it.
    pub source: &'static str,
}

const fn counter(
    file: CounterFile,
    name: &'static str,
    meaning: &'static str,
    source: &'static str,
) -> Counter {
    Counter { name, file, meaning, source }
}

/// Of the kernel's Documentation/networking/.
const GUIDE: &str = "snmp_counter.rst";
const RFC_1213: &str = "RFC 1213";

/// All counters that are read.
pub const COUNTERS: &[Counter] = {
    use CounterFile::{Netstat, Snmp, Snmp6};
    &[
        // A receiver that does not keep up.
        counter(
            Netstat,
            "TcpExtTCPBacklogDrop",
            "segments dropped because the socket was in use and its backlog full",
            "tcp_add_backlog",
        ),
        counter(
            Netstat,
            "TcpExtTCPRcvQDrop",
            "segments dropped because the receive buffer was full",
            "ea5d0c32498e",
        ),
        counter(
            Netstat,
            "TcpExtTCPZeroWindowDrop",
            "segments dropped because the receive window was closed",
            "tcp_data_queue",
        ),
        counter(Netstat, "TcpExtTCPOFODrop", "segments out of order dropped for lack of memory", GUIDE),
        counter(Netstat, "TcpExtPruneCalled", "receive buffers found full and tidied up", GUIDE),
        counter(Netstat, "TcpExtRcvPruned", "receive buffers still full after that", GUIDE),
        counter(Netstat, "TcpExtOfoPruned", "queues out of order thrown away for lack of memory", GUIDE),
        counter(Netstat, "TcpExtTCPRcvCollapsed", "buffers merged to make room", GUIDE),
        counter(Netstat, "TcpExtTCPToZeroWindowAdv", "receive windows closed", GUIDE),
        counter(Netstat, "TcpExtTCPWantZeroWindowAdv", "receive windows that were to be closed", GUIDE),
        counter(
            Netstat,
            "TcpExtTCPMemoryPressures",
            "times that TCP came to its limit of memory, tcp_mem",
            "tcp_enter_memory_pressure",
        ),
        // Loss, and what was only taken for it.
        counter(Snmp, "TcpRetransSegs", "segments sent again", "RFC 1213 and tcp_retransmit_skb"),
        counter(Snmp, "TcpOutSegs", "segments sent, those sent again left out", GUIDE),
        counter(Netstat, "TcpExtTCPTimeouts", "timeouts without an acknowledgement", "tcp_retransmit_timer"),
        counter(Netstat, "TcpExtTCPSpuriousRTOs", "such timeouts that were wrong", GUIDE),
        counter(Netstat, "TcpExtTCPLossProbes", "probes for the loss of what was sent last", GUIDE),
        counter(Netstat, "TcpExtTCPFastRetrans", "segments sent again in fast recovery", GUIDE),
        counter(Netstat, "TcpExtTCPSlowStartRetrans", "segments sent again after a timeout", GUIDE),
        counter(Netstat, "TcpExtTCPLostRetransmit", "segments that were lost again", GUIDE),
        counter(Netstat, "TcpExtTCPDSACKRecv", "segments that had come twice, says the receiver", GUIDE),
        counter(Netstat, "TcpExtTCPSACKReorder", "reordering seen by selective acknowledgements", GUIDE),
        counter(Netstat, "TcpExtTCPTSReorder", "reordering seen by time stamps", GUIDE),
        counter(Netstat, "TcpExtTCPOFOQueue", "segments that came out of order", GUIDE),
        counter(
            Netstat,
            "TcpExtTCPDeliveredCE",
            "segments delivered with a mark of congestion",
            "tcp_newly_delivered",
        ),
        counter(Netstat, "IpExtInCEPkts", "IPv4 packets that came with a mark of congestion", GUIDE),
        // The own queues.
        counter(
            Netstat,
            "TcpExtTCPSpuriousRtxHostQueues",
            "segments not sent again because the first copy was still in a queue of this host",
            GUIDE,
        ),
        counter(Netstat, "TcpExtTCPRetransFail", "segments sent again that a lower layer refused", GUIDE),
        counter(
            Netstat,
            "TcpExtTCPWqueueTooBig",
            "splits refused because too much was queued",
            "tcp_fragment",
        ),
        counter(Snmp, "IpOutDiscards", "IPv4 packets dropped on their way out", RFC_1213),
        counter(Snmp6, "Ip6OutDiscards", "IPv6 packets dropped on their way out", "RFC 2465"),
        // Damage, and packets of the wrong size.
        counter(Snmp, "IpInDiscards", "sound IPv4 packets dropped on their way in", RFC_1213),
        counter(Snmp6, "Ip6InDiscards", "sound IPv6 packets dropped on their way in", "RFC 2465"),
        counter(Snmp, "TcpInErrs", "segments received in error", RFC_1213),
        counter(Snmp, "TcpInCsumErrors", "segments with a wrong checksum", "6a5dc9e598fe"),
        counter(Snmp, "IpReasmFails", "IPv4 packets of which fragments were missing", RFC_1213),
        counter(Snmp, "IpFragCreates", "fragments made of IPv4 packets", RFC_1213),
        counter(Snmp, "IpFragFails", "IPv4 packets too large that must not be divided", RFC_1213),
        counter(Snmp6, "Ip6ReasmFails", "IPv6 packets of which fragments were missing", "RFC 2465"),
        counter(Snmp6, "Ip6FragCreates", "fragments made of IPv6 packets", "RFC 2465"),
        counter(Snmp6, "Ip6FragFails", "IPv6 packets too large that must not be divided", "RFC 2465"),
        counter(Snmp6, "Ip6InTooBigErrors", "IPv6 packets too large for the next link", "RFC 2465"),
        // Datagrams.
        counter(
            Snmp,
            "UdpInErrors",
            "datagrams dropped for lack of room or memory, or for a wrong checksum",
            "RFC 1213 and udp_queue_rcv_skb",
        ),
        counter(
            Snmp,
            "UdpRcvbufErrors",
            "datagrams dropped because the receive buffer was full",
            "udp_queue_rcv_skb",
        ),
        counter(
            Snmp,
            "UdpMemErrors",
            "datagrams dropped because UDP was at its limit of memory, udp_mem",
            "a3ce2b109a59",
        ),
        counter(Snmp, "UdpInCsumErrors", "datagrams with a wrong checksum", "6a5dc9e598fe"),
        counter(Snmp, "UdpNoPorts", "datagrams for ports where nobody listened", RFC_1213),
        counter(
            Snmp,
            "UdpSndbufErrors",
            "datagrams that the send buffer or a queue of this host did not take",
            "udp_sendmsg and 6ce9e7b5",
        ),
        counter(Snmp6, "Udp6InErrors", "as UdpInErrors, over IPv6", "udpv6_queue_rcv_skb"),
        counter(Snmp6, "Udp6RcvbufErrors", "as UdpRcvbufErrors, over IPv6", "udpv6_queue_rcv_skb"),
        counter(Snmp6, "Udp6MemErrors", "as UdpMemErrors, over IPv6", "a3ce2b109a59"),
        counter(Snmp6, "Udp6InCsumErrors", "as UdpInCsumErrors, over IPv6", "6a5dc9e598fe"),
        counter(Snmp6, "Udp6NoPorts", "as UdpNoPorts, over IPv6", "__udp6_lib_rcv"),
        counter(Snmp6, "Udp6SndbufErrors", "as UdpSndbufErrors, over IPv6", "udpv6_sendmsg"),
    ]
};

/// All [`COUNTERS`] as they are.
pub(super) fn read_counters(source: &dyn Source) -> Counters {
    let mut counters = Counters::new();
    for (file, path) in [
        (CounterFile::Netstat, "/proc/net/netstat"),
        (CounterFile::Snmp, "/proc/net/snmp"),
        (CounterFile::Snmp6, "/proc/net/snmp6"),
    ] {
        let text = source.read(path);
        let found = text.as_deref().map(|text| match file {
            CounterFile::Snmp6 => single_lines(text),
            CounterFile::Netstat | CounterFile::Snmp => pairs_of_lines(text),
        });
        for counter in of(file) {
            let value = match &found {
                Ok(found) => found.get(counter.name).copied().unwrap_or(Err(Absence::NotHere)),
                Err(why) => Err(**why),
            };
            counters.insert(counter.name, value);
        }
    }
    counters
}

fn of(file: CounterFile) -> impl Iterator<Item = &'static Counter> {
    COUNTERS.iter().filter(move |counter| counter.file == file)
}

/// A group's line of names, and one of values in the same order (netstat_seq_show and snmp_seq_show of
/// net/ipv4/proc.c).
fn pairs_of_lines(text: &str) -> Counters {
    let mut found = Counters::new();
    let mut names: Option<(&str, &str)> = None;
    for line in text.lines() {
        let Some((group, words)) = line.split_once(':') else { continue };
        match names.take() {
            Some((of_group, names)) if of_group == group => {
                let in_group =
                    |name: &str| COUNTERS.iter().find(|it| it.name.strip_prefix(group) == Some(name));
                for (name, value) in names.split_ascii_whitespace().zip(words.split_ascii_whitespace()) {
                    if let Some(counter) = in_group(name) {
                        found.insert(counter.name, number(value));
                    }
                }
            }
            _ => names = Some((group, words)),
        }
    }
    found
}

/// A name and its value in each line (snmp6_seq_show of net/ipv6/proc.c).
fn single_lines(text: &str) -> Counters {
    let pair = |line: &str| {
        let (name, value) = line.split_once(|one: char| one.is_ascii_whitespace())?;
        let counter = COUNTERS.iter().find(|counter| counter.name == name)?;
        Some((counter.name, number(value.trim())))
    };
    text.lines().filter_map(pair).collect()
}

/// The growth of all counters since `earlier`.
pub(super) fn since(later: &Counters, earlier: &Counters) -> Counters {
    let before = |name| earlier.get(name).copied().unwrap_or(Err(Absence::NotHere));
    later.iter().map(|(name, value)| (*name, growth_of_readings(before(name), *value))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use nix::sys::socket::{setsockopt, sockopt};
    use proptest::prelude::*;

    use super::*;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};

    /// Linux 6.18, netstat_seq_show of net/ipv4/proc.c.
    const NETSTAT: &str = include_str!("recorded/netstat-6.18.txt");
    /// Linux 6.18, snmp_seq_show of net/ipv4/proc.c.
    const SNMP: &str = include_str!("recorded/snmp-6.18.txt");
    /// Linux 6.18, snmp6_seq_show of net/ipv6/proc.c.
    const SNMP6: &str = include_str!("recorded/snmp6-6.18.txt");

    fn recorded() -> Recorded {
        Recorded::new(&[("/proc/net/netstat", NETSTAT), ("/proc/net/snmp", SNMP), ("/proc/net/snmp6", SNMP6)])
    }

    #[test]
    fn each_counter_has_its_name_once() {
        let names: BTreeSet<&str> = COUNTERS.iter().map(|counter| counter.name).collect();
        assert_eq!(names.len(), COUNTERS.len());
        for counter in COUNTERS {
            assert!(!counter.meaning.is_empty() && !counter.source.is_empty(), "{}", counter.name);
        }
    }

    #[test]
    fn a_kernel_of_today_has_them_all() {
        let counters = read_counters(&recorded());
        let absent: Vec<_> = counters.iter().filter(|(_, value)| value.is_err()).collect();
        assert!(absent.is_empty(), "{absent:?}");
        assert_eq!(counters.len(), COUNTERS.len());
    }

    #[test]
    fn what_a_kernel_lacks_is_absent() {
        let older = NETSTAT.replace(" TCPRcvQDrop ", " TCPSomethingElse ");
        let tree = recorded().with("/proc/net/netstat", &older).without("/proc/net/snmp6");
        let tree = tree.with("/proc/net/snmp", &SNMP.replace("Tcp: 1 ", "Tcp: one "));
        let counters = read_counters(&tree);
        assert_eq!(counters["TcpExtTCPRcvQDrop"], Err(Absence::NotHere));
        assert_eq!(counters["Udp6RcvbufErrors"], Err(Absence::NotHere));
        assert!(counters["TcpRetransSegs"].is_ok());
        assert_eq!(counters.len(), COUNTERS.len());
        let locked = recorded().refusing("/proc/net/snmp", Absence::NeedsRoot);
        assert_eq!(read_counters(&locked)["UdpInErrors"], Err(Absence::NeedsRoot));
    }

    /// Pairs with a line missing, more names than values, another group between the two.
    #[test]
    fn a_value_belongs_to_its_name() {
        for (text, expected) in [
            ("Udp: InErrors RcvbufErrors\nUdp: 3 4\n", Some(Ok(4))),
            ("Udp: RcvbufErrors InErrors\nUdp: 3 4\n", Some(Ok(3))),
            ("Udp: InErrors RcvbufErrors\nUdp: 3\n", None),
            ("Udp: RcvbufErrors\nTcp: 1\nUdp: 3\n", None),
            ("Udp: RcvbufErrors\n", None),
            ("Udp RcvbufErrors\nUdp: RcvbufErrors\nUdp: 5\n", Some(Ok(5))),
            ("Udp: RcvbufErrors\nUdp: -1\n", Some(Err(Absence::NotUnderstood))),
            ("UdpLite: RcvbufErrors\nUdpLite: 7\n", None),
        ] {
            assert_eq!(pairs_of_lines(text).get("UdpRcvbufErrors").copied(), expected, "{text}");
        }
        assert_eq!(single_lines("Udp6NoPorts\t \t9\nUdp6InErrors\n"), [("Udp6NoPorts", Ok(9))].into());
    }

    #[test]
    fn counters_grow_one_by_one() {
        let earlier = Counters::from([("a", Ok(5)), ("b", Ok(5)), ("c", Err(Absence::NeedsRoot))]);
        let later = Counters::from([("a", Ok(7)), ("b", Ok(4)), ("c", Ok(1)), ("d", Ok(1))]);
        let grown = Counters::from([
            ("a", Ok(2)),
            ("b", Err(Absence::Reset)),
            ("c", Err(Absence::NeedsRoot)),
            ("d", Err(Absence::NotHere)),
        ]);
        assert_eq!(since(&later, &earlier), grown);
    }

    /// Datagrams for a socket that nobody reads are delivered until its buffer is full; each of the others
    /// counts.
    #[test]
    fn dropped_datagrams_are_counted() {
        const SENT: u64 = 600;
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        setsockopt(&receiver, sockopt::RcvBuf, &8192).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let before = read_counters(&Machine);
        for _ in 0..SENT {
            sender.send(&[0; 1000]).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut received = 0;
        let dropped = loop {
            while receiver.recv(&mut [0; 1000]).is_ok() {
                received += 1;
            }
            let dropped = since(&read_counters(&Machine), &before)["UdpRcvbufErrors"].unwrap();
            if received + dropped >= SENT {
                break dropped;
            }
            assert!(Instant::now() < deadline, "{received} received, {dropped} dropped");
        };
        assert!(received < SENT && dropped > 0, "{received} received, {dropped} dropped");
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic(
            netstat in spoilt(NETSTAT), snmp in spoilt(SNMP), snmp6 in spoilt(SNMP6)
        ) {
            for found in [pairs_of_lines(&netstat), pairs_of_lines(&snmp), single_lines(&snmp6)] {
                prop_assert!(found.len() <= COUNTERS.len());
            }
        }
    }
}
