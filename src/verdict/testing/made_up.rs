//! Evidence that nobody has measured: any numbers at all, and numbers that could have been measured.

use proptest::prelude::*;

use crate::config::{Protocol, SctpConfig, UdpConfig};
use crate::verdict::End;
use crate::verdict::evidence::{
    AskedBy, AskedRate, BufferEvidence, DatagramEvidence, DeviceEvidence, DirectionEvidence, DirectionName,
    EndEvidence, QdiscEvidence, TcpEvidence, ThreadEvidence,
};

use super::cases::cases;

/// Numbers that [`from_numbers`] takes of each kind; it begins again where there are not enough.
const NUMBERS: usize = 64;

/// Numbers that measure nothing, and some at the edge.
const NO_MEASUREMENTS: [f64; 7] = [0.0, -0.0, -1.0, 1e300, 5e-324, f64::NAN, f64::INFINITY];

/// What a peer can make of a number with a point.
fn any_number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        4 => (0.0..20.0).prop_map(Some),
        2 => (0.0..1e10).prop_map(Some),
        1 => any::<f64>().prop_map(Some),
        1 => prop::sample::select(NO_MEASUREMENTS.to_vec()).prop_map(Some),
    ]
}

/// What a peer can make of a count.
fn any_count() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        3 => (0_u64..10).prop_map(Some),
        4 => (0_u64..10_000_000_000).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
        1 => Just(Some(u64::MAX)),
    ]
}

/// Evidence of any numbers.
pub fn any_evidence() -> impl Strategy<Value = DirectionEvidence> {
    let numbers = prop::collection::vec(any_number(), NUMBERS);
    let counts = prop::collection::vec(any_count(), NUMBERS);
    (numbers, counts, any_protocol(), any::<[bool; 4]>()).prop_map(|(numbers, counts, protocol, flags)| {
        let mut numbers = numbers.into_iter().cycle();
        let mut counts = counts.into_iter().cycle();
        let number = move || numbers.next().expect("a cycle has no end");
        let count = move || counts.next().expect("a cycle has no end");
        from_numbers(number, count, protocol, flags)
    })
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![
        Protocol::Tcp,
        Protocol::Tcp,
        Protocol::Mptcp,
        Protocol::Sctp(SctpConfig::default()),
        Protocol::Udp(UdpConfig::default()),
        Protocol::Udp(UdpConfig::default()),
    ])
}

fn from_numbers(
    mut number: impl FnMut() -> Option<f64>,
    mut count: impl FnMut() -> Option<u64>,
    protocol: Protocol,
    flags: [bool; 4],
) -> DirectionEvidence {
    let [has_sender, has_receiver, is_reverse, is_paced] = flags;
    let sender = end(&mut number, &mut count);
    let receiver = end(&mut number, &mut count);
    DirectionEvidence {
        direction: if is_reverse { DirectionName::Reverse } else { DirectionName::Forward },
        protocol,
        congestion: Some(if is_paced { "bbr" } else { "cubic" }.to_owned()),
        streams: narrow(count()),
        seconds: number(),
        goodput_bits_per_second: number(),
        sent_bits_per_second: number(),
        asked: number().map(|bits_per_second| AskedRate { bits_per_second, by: AskedBy::Bitrate }),
        asked_bytes: count(),
        tcp: TcpEvidence {
            busy_seconds: number(),
            rwnd_limited_seconds: number(),
            sndbuf_limited_seconds: number(),
            rtt_us: number(),
            min_rtt_us: number(),
            bytes_sent: count(),
            bytes_retransmitted: count(),
            segments_retransmitted: count(),
            delivery_bits_per_second: number(),
            pacing_bits_per_second: number(),
            advertised_window_bytes: count(),
        },
        datagrams: DatagramEvidence {
            sent: count(),
            received: count(),
            lost_in_network: count(),
            lost_in_socket: count(),
        },
        sender: has_sender.then_some(sender),
        receiver: has_receiver.then_some(receiver),
    }
}

fn end(number: &mut impl FnMut() -> Option<f64>, count: &mut impl FnMut() -> Option<u64>) -> EndEvidence {
    EndEvidence {
        threads: ThreadEvidence {
            threads: narrow(count()),
            on_processor_ns: count(),
            waiting_ns: count(),
            throttled_ns: count(),
            processors: narrow(count()),
            quota_processors: number(),
            polls: count().map(|count| count % 2 == 0),
        },
        buffer: BufferEvidence {
            bytes: count(),
            bytes_max: count(),
            is_fixed: count().map(|count| count % 2 == 0),
        },
        writes_file: count().map(|count| count % 2 == 0),
        socket_dropped_packets: count(),
        qdisc: QdiscEvidence {
            kind: None,
            sent_packets: count(),
            dropped_packets: count(),
            overlimits: count(),
        },
        device: DeviceEvidence {
            name: count().map(|count| format!("eth{count}")),
            link_bits_per_second: number(),
            wire_bits_per_second: number(),
            rx_packets: count(),
            rx_missed_packets: count(),
            paused_seconds: number(),
            pause_frames: count(),
            pcie_stalled_seconds: number(),
            softnet_packets: count(),
            softnet_dropped_packets: count(),
            softnet_squeezed: count(),
            interrupt_percent: number(),
            interrupt_processor: narrow(count()),
        },
    }
}

fn narrow(count: Option<u64>) -> Option<u32> {
    count.and_then(|count| u32::try_from(count).ok())
}

/// Evidence that could have been measured: a run with a cause, whose figures are others, so that rules match
/// beside each other and miss each other by little.
pub fn likely_evidence() -> impl Strategy<Value = DirectionEvidence> {
    let permille = || 0_u64..=1000;
    let threads = (permille(), permille(), permille()).prop_map(|(on, waiting, throttled)| {
        let waiting = waiting.min(1000 - on);
        (on, waiting, throttled.min(1000 - on - waiting))
    });
    let limits = (500_u32..=1000, 0_u32..=500, 0_u32..=500);
    let round_trips = (0.01..30.0, 1.0..4.0);
    let known = any::<[bool; 6]>();
    let runs: Vec<_> = cases().into_iter().map(|case| case.run).collect();
    let run = (prop::sample::select(runs), 0_u64..10_000, 0_u64..500_000);
    (run, threads.clone(), threads, limits, round_trips, known).prop_map(
        |((mut run, loss, in_socket), of_sender, of_receiver, limits, (min_rtt, times), changes)| {
            let [threads_change, limits_change, path_change, loss_change, has_sender, has_receiver] = changes;
            if threads_change {
                run.threads(End::Sender, of_sender.0, of_sender.1, of_sender.2);
                run.threads(End::Receiver, of_receiver.0, of_receiver.1, of_receiver.2);
            }
            if limits_change {
                run.limits(limits.0, limits.1, limits.2);
            }
            if path_change {
                run.round_trips(min_rtt * times, min_rtt);
            }
            if loss_change {
                run.loss(loss);
                run.datagrams(loss * 50, in_socket);
            }
            // One of four has no sender, one of four no receiver, so that most have both.
            run.sender = run.sender.filter(|_| has_sender || threads_change);
            run.receiver = run.receiver.filter(|_| has_receiver || limits_change);
            run
        },
    )
}
