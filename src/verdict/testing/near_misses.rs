//! Runs that miss a cause by a little, or whose evidence contradicts itself: what must not be named.

use crate::verdict::evidence::{AskedBy, BufferEvidence, DirectionEvidence};
use crate::verdict::{Cause, End};

use super::runs::{PACKETS, plain, plain_udp};

/// A run, and what must not be its verdict.
pub struct NearMiss {
    pub name: &'static str,
    pub run: DirectionEvidence,
    pub not: Cause,
}

fn tcp(name: &'static str, not: Cause, change: impl FnOnce(&mut DirectionEvidence)) -> NearMiss {
    let mut run = plain();
    change(&mut run);
    NearMiss { name, run, not }
}

fn udp(name: &'static str, not: Cause, change: impl FnOnce(&mut DirectionEvidence)) -> NearMiss {
    let mut run = plain_udp();
    change(&mut run);
    NearMiss { name, run, not }
}

/// All runs in which nothing may be named, each because of one number.
pub fn near_misses() -> Vec<NearMiss> {
    let mut runs = asked();
    runs.extend(processors());
    runs.extend(polling());
    runs.extend(files());
    runs.extend(send_buffers());
    runs.extend(receive_buffers());
    runs.extend(paths());
    runs.extend(cards());
    runs.extend(datagrams());
    runs
}

fn asked() -> Vec<NearMiss> {
    vec![
        tcp("96.9 % of -b", Cause::RateAsked, |run| run.asked(5e9 / 0.969, AskedBy::Bitrate)),
        tcp("110.1 % of -b", Cause::RateAsked, |run| run.asked(5e9 / 1.101, AskedBy::Bitrate)),
        udp("96.9 % of -b sent", Cause::RateAsked, |run| run.asked(5e9 / 0.969, AskedBy::Bitrate)),
        tcp("-n of half a second", Cause::AmountSent, |run| {
            run.asked_bytes = Some(1_000_000);
            run.seconds = Some(0.5);
            for end in [End::Sender, End::Receiver] {
                run.threads(end, 20, 1, 0);
            }
            run.tcp.busy_seconds = Some(0.4);
            run.tcp.rwnd_limited_seconds = Some(0.02);
            run.tcp.sndbuf_limited_seconds = Some(0.02);
        }),
        tcp("a time of a fifth of a second", Cause::AmountSent, |run| run.seconds = Some(0.2)),
    ]
}

fn processors() -> Vec<NearMiss> {
    vec![
        tcp("throttled 19.9 %", Cause::CpuQuota, |run| run.threads(End::Sender, 300, 0, 199)),
        tcp("throttled 19.9 % at the receiver", Cause::CpuQuota, |run| {
            run.threads(End::Receiver, 300, 0, 199);
        }),
        // The case of 5 %, where the control groups are not mounted.
        tcp("a quota of which nothing can be read", Cause::CpuContended, |run| {
            run.seconds = Some(3.0);
            run.limits(60, 0, 0);
            run.threads(End::Receiver, 12, 4, 0);
            let threads = &mut run.end_mut(End::Sender).threads;
            threads.on_processor_ns = Some(159_000_000);
            threads.waiting_ns = Some(2_915_000_000);
            threads.throttled_ns = None;
        }),
        tcp("a quota of a slow reader of which nothing can be read", Cause::CpuContended, |run| {
            run.threads(End::Sender, 80, 20, 0);
            run.threads(End::Receiver, 100, 850, 0);
            run.end_mut(End::Receiver).threads.throttled_ns = None;
            run.limits(990, 10, 300);
        }),
        tcp("a quota of 70 %, most of which the threads can use", Cause::CpuQuota, |run| {
            run.threads(End::Sender, 700, 0, 300);
        }),
        tcp("on a processor 84.9 %", Cause::Cpu, |run| run.threads(End::Sender, 849, 20, 0)),
        tcp("on a processor 84.9 % at the receiver", Cause::Cpu, |run| {
            run.threads(End::Receiver, 849, 20, 0);
        }),
        tcp("behind buffers occupied 84.9 %", Cause::Cpu, |run| {
            run.threads(End::Receiver, 829, 20, 0);
            run.limits(990, 450, 20);
        }),
        tcp("waiting 19.9 %", Cause::CpuContended, |run| run.threads(End::Sender, 600, 199, 0)),
        tcp("waiting 20 % of threads that run 79 %", Cause::CpuContended, |run| {
            run.threads(End::Sender, 790, 200, 0);
        }),
        tcp("on and waiting 69.9 %", Cause::CpuContended, |run| run.threads(End::Sender, 449, 250, 0)),
        tcp("waiting 49.9 % behind buffers", Cause::CpuContended, |run| {
            run.threads(End::Receiver, 190, 499, 0);
            run.limits(990, 10, 300);
        }),
        tcp("stopped 29.9 %, waiting 60 %", Cause::CpuContended, |run| {
            run.threads(End::Receiver, 50, 600, 0);
            run.limits(990, 9, 290);
        }),
        tcp("eight threads that take 84.9 % of two processors", Cause::Cpu, |run| {
            let threads = &mut run.end_mut(End::Sender).threads;
            threads.threads = Some(8);
            threads.on_processor_ns = Some(16_980_000_000);
            threads.waiting_ns = Some(0);
        }),
    ]
}

/// Threads that poll are on a processor whatever there is to do.
fn polling() -> Vec<NearMiss> {
    let at = |end: End| {
        move |run: &mut DirectionEvidence| {
            run.threads(end, 990, 5, 0);
            run.end_mut(end).threads.polls = Some(true);
        }
    };
    vec![
        tcp("a sender that polls", Cause::Cpu, at(End::Sender)),
        tcp("a receiver that polls", Cause::Cpu, at(End::Receiver)),
        tcp("a receiver that polls behind buffers", Cause::Cpu, |run| {
            at(End::Receiver)(run);
            run.limits(990, 450, 20);
        }),
        tcp("a busy loop beside a receiver that polls", Cause::CpuContended, |run| {
            run.threads(End::Receiver, 480, 470, 0);
            run.end_mut(End::Receiver).threads.polls = Some(true);
        }),
        udp("a sender of datagrams that polls", Cause::Cpu, at(End::Sender)),
        udp("a flood at a receiver that polls", Cause::Cpu, |run| {
            at(End::Receiver)(run);
            run.datagrams(0, 400_000);
        }),
    ]
}

/// What is the send buffer over 20 ms, as in the cases.
fn send_buffer(run: &mut DirectionEvidence) {
    run.long_path();
    run.limits(1000, 30, 590);
}

/// A receiver that sleeps on a disk looks like one whose buffer is too small.
fn files() -> Vec<NearMiss> {
    let writes = |run: &mut DirectionEvidence| run.end_mut(End::Receiver).writes_file = Some(true);
    vec![
        tcp("a disk behind a full send buffer", Cause::SendBuffer, |run| {
            send_buffer(run);
            writes(run);
        }),
        tcp("a disk behind a closed window", Cause::ReceiveBuffer, |run| {
            run.long_path();
            run.goodput_bits_per_second = Some(20e6);
            run.tcp.advertised_window_bytes = Some(65_536);
            run.limits(1000, 950, 0);
            writes(run);
        }),
        udp("a disk behind a full socket", Cause::ReceiverSocket, |run| {
            run.datagrams(0, 400_000);
            writes(run);
        }),
    ]
}

fn send_buffers() -> Vec<NearMiss> {
    vec![
        tcp("stopped 29.9 %", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.limits(1000, 29, 270);
        }),
        tcp("the send buffer stops 1.9 times as long as the window", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.limits(1000, 200, 380);
        }),
        tcp("a send buffer of 4.1 times rate x RTT", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.end_mut(End::Sender).buffer.bytes_max = Some(10_352_500);
        }),
        tcp("a path of 0.9 ms", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.round_trips(0.95, 0.9);
            run.end_mut(End::Sender).buffer.bytes_max = Some(131_072);
        }),
        tcp("a queue in the path", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.round_trips(25.1, 20.05);
        }),
        tcp("a -w that would hold much more", Cause::SendBuffer, |run| {
            let buffer = BufferEvidence { bytes: Some(1_048_576), is_fixed: Some(true), bytes_max: None };
            run.end_mut(End::Sender).buffer = buffer;
            run.threads(End::Sender, 200, 20, 0);
            run.threads(End::Receiver, 200, 20, 0);
            run.limits(990, 0, 600);
        }),
        tcp("a slow reader over a short path, about which nothing is known", Cause::SendBuffer, |run| {
            run.receiver = None;
            run.threads(End::Sender, 100, 20, 0);
            run.limits(990, 10, 400);
        }),
        tcp("a slow reader over 20 ms, about which nothing is known", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.goodput_bits_per_second = Some(1e8);
            run.receiver = None;
        }),
        tcp("a reader of 600 Mbit/s over 20 ms, about which nothing is known", Cause::SendBuffer, |run| {
            send_buffer(run);
            run.goodput_bits_per_second = Some(6e8);
            run.receiver = None;
        }),
    ]
}

fn receive_buffers() -> Vec<NearMiss> {
    vec![
        tcp("a window of 2.1 times rate x RTT", Cause::ReceiveBuffer, |run| {
            run.long_path();
            run.tcp.advertised_window_bytes = Some(5_302_500);
            run.limits(1000, 700, 0);
        }),
        tcp("a receive buffer of 4.1 times rate x RTT", Cause::ReceiveBuffer, |run| {
            run.long_path();
            run.tcp.advertised_window_bytes = None;
            run.end_mut(End::Receiver).buffer.bytes_max = Some(10_352_500);
            run.limits(1000, 700, 0);
        }),
        tcp("the window stops 1.9 times as long as the send buffer", Cause::ReceiveBuffer, |run| {
            run.long_path();
            run.tcp.advertised_window_bytes = Some(2_525_000);
            run.limits(1000, 380, 200);
        }),
        tcp("a window over a short path", Cause::ReceiveBuffer, |run| {
            run.tcp.advertised_window_bytes = Some(131_072);
            run.threads(End::Sender, 200, 20, 0);
            run.threads(End::Receiver, 200, 20, 0);
            run.limits(990, 700, 0);
        }),
    ]
}

fn paths() -> Vec<NearMiss> {
    vec![
        tcp("9.9 overlimits a second", Cause::Qdisc, |run| {
            run.end_mut(End::Sender).qdisc.overlimits = Some(99);
        }),
        tcp("99 packets beside a million dropped by the qdisc", Cause::Qdisc, |run| {
            run.end_mut(End::Sender).qdisc.dropped_packets = Some(99);
        }),
        tcp("0.01 % lost", Cause::PathLoss, |run| run.loss(100)),
        tcp("loss with TCP busy 89.9 %", Cause::PathLoss, |run| {
            run.loss(3333);
            run.limits(899, 50, 50);
        }),
        tcp("loss with a window that stops 20 %", Cause::PathLoss, |run| {
            run.loss(3333);
            run.limits(990, 201, 50);
        }),
        tcp("loss with a send buffer that stops 20 %", Cause::PathLoss, |run| {
            run.loss(3333);
            run.limits(990, 50, 201);
        }),
        tcp("loss of a queue that cannot hold all, at 20 ms", Cause::PathLoss, |run| {
            run.long_path();
            run.loss(3333);
            run.round_trips(37.0, 20.05);
        }),
        tcp("loss where 1 ms of queue stands", Cause::PathLoss, |run| {
            run.loss(3333);
            run.round_trips(2.0, 1.0);
        }),
        tcp("loss of a host whose threads have 81 % of the time", Cause::PathLoss, |run| {
            run.loss(3333);
            run.threads(End::Sender, 800, 10, 0);
        }),
        tcp(
            "loss of 0.011 % where a processor has 79 % of the time and the path 21 %",
            Cause::PathLoss,
            |run| {
                run.loss(110);
                run.limits(1000, 0, 0);
                run.threads(End::Sender, 790, 0, 0);
            },
        ),
        tcp("loss that the receiver's socket has dropped", Cause::PathLoss, |run| {
            run.loss(3333);
            run.end_mut(End::Receiver).socket_dropped_packets = Some(30_000);
        }),
        tcp("loss of which 2 % were packets dropped by the receiver's socket", Cause::PathLoss, |run| {
            run.loss(10_000);
            run.end_mut(End::Receiver).socket_dropped_packets = Some(2000);
        }),
        tcp("loss beside drops of the receiver's socket, of unknown size", Cause::PathLoss, |run| {
            run.loss(3333);
            run.tcp.segments_retransmitted = None;
            run.end_mut(End::Receiver).socket_dropped_packets = Some(1);
        }),
        tcp("RTT twice the smallest", Cause::PathQueue, |run| run.round_trips(10.0, 5.0)),
        tcp("0.49 ms of queue", Cause::PathQueue, |run| run.round_trips(0.59, 0.1)),
        tcp("RTT of a host whose threads wait 20 %", Cause::PathQueue, |run| {
            run.round_trips(17.3, 0.05);
            run.threads(End::Receiver, 300, 200, 0);
        }),
        tcp("pacing of 1.31 times the delivery", Cause::Pacing, |run| {
            run.congestion = Some("bbr".to_owned());
            run.tcp.pacing_bits_per_second = Some(6.55e9);
        }),
        tcp("pacing of 0.69 times the delivery", Cause::Pacing, |run| {
            run.congestion = Some("bbr".to_owned());
            run.tcp.pacing_bits_per_second = Some(3.45e9);
        }),
        tcp("a pacing rate under cubic", Cause::Pacing, |run| {
            run.tcp.pacing_bits_per_second = Some(5e9);
        }),
    ]
}

fn cards() -> Vec<NearMiss> {
    vec![
        tcp("99 packets beside a million without a place in the ring", Cause::NicRing, |run| {
            run.end_mut(End::Receiver).device.rx_missed_packets = Some(99);
        }),
        tcp("interrupts 94.9 %", Cause::Softirq, |run| {
            run.end_mut(End::Receiver).device.interrupt_percent = Some(94.9);
        }),
        tcp("99 packets beside a million with a full backlog", Cause::Softirq, |run| {
            run.end_mut(End::Receiver).device.softnet_dropped_packets = Some(99);
        }),
        tcp("soft interrupts that stop with work left", Cause::Softirq, |run| {
            run.end_mut(End::Receiver).device.softnet_squeezed = Some(100_000);
        }),
        tcp("paused 1 %", Cause::Pause, |run| {
            run.end_mut(End::Sender).device.paused_seconds = Some(0.1);
        }),
        tcp("pause frames of unknown duration", Cause::Pause, |run| {
            run.end_mut(End::Sender).device.pause_frames = Some(120_000);
        }),
        tcp("PCIe short of credits in 49 % of the seconds", Cause::Pcie, |run| {
            run.end_mut(End::Sender).device.pcie_stalled_seconds = Some(4.9);
        }),
        tcp("97.9 % of the link", Cause::Link, |run| run.link(End::Sender, 979)),
        tcp("102.1 % of the link", Cause::Link, |run| run.link(End::Sender, 1021)),
    ]
}

fn datagrams() -> Vec<NearMiss> {
    vec![
        udp("a flood of which 4.9 % are lost on the way", Cause::PathLoss, |run| run.datagrams(49_000, 0)),
        udp("a flood of which 4.9 % are lost in the socket", Cause::ReceiverSocket, |run| {
            run.datagrams(0, 49_000);
        }),
        udp("a loss of which 69 % are in the socket", Cause::ReceiverSocket, |run| {
            run.datagrams(31_000, 69_000);
        }),
        udp("a loss of which 69 % are on the way", Cause::PathLoss, |run| run.datagrams(69_000, 31_000)),
        udp("a loss in the socket of a receiver that is occupied 85 %", Cause::ReceiverSocket, |run| {
            run.threads(End::Receiver, 840, 10, 0);
            run.datagrams(0, 400_000);
        }),
        udp("a loss in the socket of a receiver of which nothing is known", Cause::ReceiverSocket, |run| {
            run.receiver = None;
            run.datagrams(0, 400_000);
        }),
        udp("a loss on the way, and a qdisc of which nothing is known", Cause::PathLoss, |run| {
            run.end_mut(End::Sender).qdisc.dropped_packets = None;
            run.datagrams(400_000, 0);
        }),
        udp("a loss of which the ring and the backlog have 45 % each", Cause::PathLoss, |run| {
            run.end_mut(End::Receiver).device.rx_missed_packets = Some(180_000);
            run.end_mut(End::Receiver).device.softnet_dropped_packets = Some(180_000);
            run.datagrams(400_000, 0);
        }),
        udp("a full processor, and nothing is known of the loss", Cause::Cpu, |run| {
            run.threads(End::Sender, 980, 10, 0);
            run.datagrams.received = None;
        }),
    ]
}

/// Runs whose evidence contradicts itself.
pub fn contradictions() -> Vec<NearMiss> {
    vec![
        tcp("threads that ran while they waited for room", Cause::Cpu, |run| {
            run.threads(End::Sender, 900, 10, 0);
            run.limits(990, 0, 600);
        }),
        tcp("threads with more time than there was", Cause::Cpu, |run| {
            run.threads(End::Sender, 1000, 500, 0);
            run.threads(End::Receiver, 1000, 500, 0);
        }),
        tcp("TCP with more time than there was", Cause::PathLoss, |run| {
            run.loss(3333);
            run.limits(1500, 0, 0);
        }),
        tcp("an RTT below the smallest", Cause::PathLoss, |run| {
            run.loss(3333);
            run.round_trips(1.0, 2.0);
        }),
        tcp("more bytes sent again than sent", Cause::PathLoss, |run| run.loss(2_000_000)),
        udp("more datagrams than were sent", Cause::PathLoss, |run| {
            run.datagrams(400_000, 0);
            run.datagrams.received = Some(PACKETS + 1);
        }),
        tcp("a quota and a loss", Cause::CpuQuota, |run| {
            run.threads(End::Sender, 200, 10, 300);
            run.loss(3333);
        }),
        tcp("a busy loop and a loss", Cause::PathLoss, |run| {
            run.threads(End::Sender, 450, 270, 0);
            run.loss(3333);
        }),
    ]
}
