//! Runs by hand: a plain one in which nothing stands out, and what can be changed in it.

use crate::config::{Protocol, UdpConfig};
use crate::verdict::evidence::{
    AskedBy, AskedRate, BufferEvidence, DatagramEvidence, DeviceEvidence, DirectionEvidence, EndEvidence,
    QdiscEvidence, TcpEvidence, ThreadEvidence,
};
use crate::verdict::{End, thresholds};

/// Nanoseconds of a thousandth of ten seconds.
const PERMILLE_NS: u64 = 10_000_000;
/// Packets that go through a queue or a device in a plain run.
pub const PACKETS: u64 = 1_000_000;

/// Ten seconds of TCP over a short path at 5 Gbit/s, in which nothing stands out: no thread is full, no
/// buffer stops for long, nothing is lost.
pub fn plain() -> DirectionEvidence {
    let mut run = DirectionEvidence {
        protocol: Protocol::Tcp,
        congestion: Some("cubic".to_owned()),
        streams: Some(1),
        seconds: Some(10.0),
        goodput_bits_per_second: Some(5e9),
        sent_bits_per_second: Some(5e9),
        tcp: TcpEvidence {
            bytes_sent: Some(6_250_000_000),
            bytes_retransmitted: Some(0),
            delivery_bits_per_second: Some(5e9),
            pacing_bits_per_second: Some(6e9),
            advertised_window_bytes: Some(6_291_456),
            ..TcpEvidence::default()
        },
        sender: Some(plain_end()),
        receiver: Some(plain_end()),
        ..DirectionEvidence::default()
    };
    run.threads(End::Sender, 300, 20, 0);
    run.threads(End::Receiver, 400, 20, 0);
    run.limits(990, 50, 50);
    run.round_trips(0.2, 0.1);
    run
}

fn plain_end() -> EndEvidence {
    EndEvidence {
        threads: ThreadEvidence { threads: Some(1), processors: Some(2), ..ThreadEvidence::default() },
        buffer: BufferEvidence { bytes: Some(2_626_560), bytes_max: Some(4_194_304), is_fixed: Some(false) },
        writes_file: Some(false),
        socket_dropped_packets: Some(0),
        qdisc: QdiscEvidence {
            kind: Some("fq_codel".to_owned()),
            sent_packets: Some(PACKETS),
            dropped_packets: Some(0),
            overlimits: Some(0),
        },
        device: DeviceEvidence {
            name: Some("eth0".to_owned()),
            rx_packets: Some(PACKETS),
            rx_missed_packets: Some(0),
            softnet_packets: Some(PACKETS),
            softnet_dropped_packets: Some(0),
            softnet_squeezed: Some(12),
            interrupt_percent: Some(30.0),
            ..DeviceEvidence::default()
        },
    }
}

/// Ten seconds of UDP without a limit, in which nothing is lost and nothing stands out.
pub fn plain_udp() -> DirectionEvidence {
    let mut run = DirectionEvidence {
        protocol: Protocol::Udp(UdpConfig::default()),
        congestion: None,
        tcp: TcpEvidence::default(),
        ..plain()
    };
    run.datagrams(0, 0);
    run
}

impl DirectionEvidence {
    /// What an end says of itself.
    pub fn end_mut(&mut self, end: End) -> &mut EndEvidence {
        let evidence = if end == End::Receiver { &mut self.receiver } else { &mut self.sender };
        evidence.as_mut().expect("both ends of a plain run are known")
    }

    /// Thousandths of the time of one thread of this end; waiting is without throttling.
    pub fn threads(&mut self, end: End, on: u64, waiting: u64, throttled: u64) {
        let threads = &mut self.end_mut(end).threads;
        threads.on_processor_ns = Some(on * PERMILLE_NS);
        threads.waiting_ns = Some((waiting + throttled) * PERMILLE_NS);
        threads.throttled_ns = Some(throttled * PERMILLE_NS);
    }

    /// Thousandths of the time that TCP was busy, and of busy time that it was limited.
    pub fn limits(&mut self, busy: u32, rwnd: u32, sndbuf: u32) {
        let busy_seconds = f64::from(busy) / 100.0;
        self.tcp.busy_seconds = Some(busy_seconds);
        self.tcp.rwnd_limited_seconds = Some(busy_seconds * f64::from(rwnd) / 1000.0);
        self.tcp.sndbuf_limited_seconds = Some(busy_seconds * f64::from(sndbuf) / 1000.0);
    }

    /// Round-trip time and the smallest one, in milliseconds.
    pub fn round_trips(&mut self, rtt_ms: f64, min_rtt_ms: f64) {
        self.tcp.rtt_us = Some(rtt_ms * 1000.0);
        self.tcp.min_rtt_us = Some(min_rtt_ms * 1000.0);
    }

    /// A path of 20 ms as the relay of the tests makes it, over which 1 Gbit/s went, and little to do for
    /// both ends.
    pub fn long_path(&mut self) {
        self.round_trips(20.2, 20.05);
        self.goodput_bits_per_second = Some(1e9);
        self.threads(End::Sender, 20, 50, 0);
        self.threads(End::Receiver, 50, 90, 0);
    }

    /// So many bytes of a million were sent again, in segments of 1000 bytes.
    pub fn loss(&mut self, of_a_million: u64) {
        self.tcp.bytes_sent = Some(10_000_000_000);
        self.tcp.bytes_retransmitted = Some(10_000 * of_a_million);
        self.tcp.segments_retransmitted = Some(10 * of_a_million);
    }

    /// Somebody asked for this rate.
    pub fn asked(&mut self, bits_per_second: f64, by: AskedBy) {
        self.asked = Some(AskedRate { bits_per_second, by });
    }

    /// Of a million datagrams so many were lost on the way, and so many in the receiver's socket.
    pub fn datagrams(&mut self, in_network: u64, in_socket: u64) {
        self.datagrams = DatagramEvidence {
            sent: Some(PACKETS),
            received: Some(PACKETS - in_network - in_socket),
            lost_in_network: Some(in_network),
            lost_in_socket: Some(in_socket),
        };
    }

    /// A link of 10 Gbit/s of this end that is used to so many thousandths.
    pub fn link(&mut self, end: End, permille: u32) {
        let device = &mut self.end_mut(end).device;
        device.link_bits_per_second = Some(1e10);
        device.wire_bits_per_second = Some(1e7 * f64::from(permille));
    }
}

#[test]
fn a_plain_run_is_where_a_change_matters() {
    for run in [plain(), plain_udp()] {
        let verdict = crate::verdict::judge(&run);
        assert_eq!(verdict.cause, crate::verdict::Cause::Undetermined, "{verdict:?}");
        assert!(verdict.notes.is_empty(), "{verdict:?}");
        let on = verdict.budget.processor.percent();
        assert!(on < thresholds::ON_PROCESSOR.value, "{verdict:?}");
    }
}
