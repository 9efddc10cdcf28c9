//! Runs with a cause, each as it was measured or as it would be, and what must be named.

use crate::config::{Protocol, SctpConfig};
use crate::verdict::evidence::{AskedBy, BufferEvidence, DirectionEvidence};
use crate::verdict::{Cause, End};

use super::runs::{plain, plain_udp};

/// A run and its verdict.
pub struct Case {
    pub name: &'static str,
    pub run: DirectionEvidence,
    pub cause: Cause,
    pub end: End,
}

/// A plain run of TCP with something changed.
fn tcp(name: &'static str, cause: Cause, end: End, change: impl FnOnce(&mut DirectionEvidence)) -> Case {
    let mut run = plain();
    change(&mut run);
    Case { name, run, cause, end }
}

/// The same with UDP.
fn udp(name: &'static str, cause: Cause, end: End, change: impl FnOnce(&mut DirectionEvidence)) -> Case {
    let mut run = plain_udp();
    change(&mut run);
    Case { name, run, cause, end }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = asked();
    cases.extend(quotas());
    cases.extend(processors());
    cases.extend(contended());
    cases.extend(buffers());
    cases.extend(paths());
    cases.extend(cards());
    cases.extend(datagrams());
    cases.extend(datagrams_behind_processors());
    cases
}

fn asked() -> Vec<Case> {
    vec![
        tcp("-b", Cause::RateAsked, End::None, |run| {
            run.asked(5.1e9, AskedBy::Bitrate);
            run.limits(200, 0, 0);
        }),
        tcp("--fq-rate, where TCP is busy all the time", Cause::RateAsked, End::None, |run| {
            run.asked(5e9, AskedBy::FqRate);
        }),
        tcp("the server's limit", Cause::RateAsked, End::None, |run| {
            run.asked(5.05e9, AskedBy::ServerLimit);
        }),
        tcp("a rate that takes all of a processor", Cause::RateAsked, End::None, |run| {
            run.asked(5e9, AskedBy::Bitrate);
            run.threads(End::Sender, 970, 10, 0);
        }),
        udp("a rate of datagrams", Cause::RateAsked, End::None, |run| run.asked(5e9, AskedBy::Bitrate)),
        udp("a rate of datagrams of which most are lost", Cause::RateAsked, End::None, |run| {
            run.asked(5e9, AskedBy::Bitrate);
            run.goodput_bits_per_second = Some(2e9);
            run.datagrams(600_000, 0);
        }),
        tcp("-n, over at once", Cause::AmountSent, End::None, |run| {
            run.asked_bytes = Some(1_000_000);
            run.seconds = Some(0.2);
        }),
    ]
}

fn quotas() -> Vec<Case> {
    vec![
        // A quota of 5 % for 3 s: 159 ms on a processor, 2915 ms waiting, 2914 ms of it throttled.
        tcp("a quota of 5 % at the sender", Cause::CpuQuota, End::Sender, |run| {
            run.seconds = Some(3.0);
            run.limits(60, 0, 0);
            run.threads(End::Receiver, 12, 4, 0);
            let threads = &mut run.end_mut(End::Sender).threads;
            threads.on_processor_ns = Some(159_000_000);
            threads.waiting_ns = Some(2_915_000_000);
            threads.throttled_ns = Some(2_914_000_000);
            threads.quota_processors = Some(0.05);
        }),
        tcp("a quota of 60 %", Cause::CpuQuota, End::Sender, |run| {
            run.threads(End::Sender, 600, 0, 400);
        }),
        tcp("a quota of 5 % at the receiver", Cause::CpuQuota, End::Receiver, |run| {
            run.threads(End::Sender, 60, 10, 0);
            run.threads(End::Receiver, 53, 1, 940);
            run.limits(990, 100, 320);
        }),
    ]
}

fn processors() -> Vec<Case> {
    vec![
        tcp("the sender's processor", Cause::Cpu, End::Sender, |run| run.threads(End::Sender, 930, 20, 0)),
        tcp("the receiver's processor", Cause::Cpu, End::Receiver, |run| {
            run.threads(End::Receiver, 930, 20, 0);
        }),
        tcp("the receiver's processor, which closes the window", Cause::Cpu, End::Receiver, |run| {
            run.threads(End::Receiver, 800, 100, 0);
            run.limits(990, 450, 20);
        }),
        tcp("two full ends, and nothing to tell them apart", Cause::Cpu, End::None, |run| {
            run.threads(End::Sender, 950, 20, 0);
            run.threads(End::Receiver, 930, 20, 0);
        }),
        tcp("two full ends, of which the window tells", Cause::Cpu, End::Receiver, |run| {
            run.threads(End::Sender, 950, 20, 0);
            run.threads(End::Receiver, 930, 20, 0);
            run.limits(990, 400, 0);
        }),
        tcp("eight streams on two processors", Cause::Cpu, End::Sender, |run| {
            run.streams = Some(8);
            run.tcp.busy_seconds = Some(79.0);
            let threads = &mut run.end_mut(End::Sender).threads;
            threads.threads = Some(8);
            threads.on_processor_ns = Some(19_500_000_000);
            threads.waiting_ns = Some(58_000_000_000);
        }),
        tcp("SCTP's processor", Cause::Cpu, End::Sender, |run| {
            run.protocol = Protocol::Sctp(SctpConfig::default());
            run.threads(End::Sender, 930, 20, 0);
        }),
    ]
}

fn contended() -> Vec<Case> {
    vec![
        tcp("a busy loop at the sender", Cause::CpuContended, End::Sender, |run| {
            run.threads(End::Sender, 480, 470, 0);
        }),
        tcp("a busy loop at the receiver", Cause::CpuContended, End::Receiver, |run| {
            run.threads(End::Receiver, 480, 470, 0);
        }),
        // A slow receiver shows as sndbuf-limited 30 % with its threads at 10 % of a processor.
        tcp("a slow receiver", Cause::CpuContended, End::Receiver, |run| {
            run.threads(End::Sender, 80, 20, 0);
            run.threads(End::Receiver, 100, 850, 0);
            run.limits(990, 10, 300);
        }),
        tcp("a slow receiver that hardly runs", Cause::CpuContended, End::Receiver, |run| {
            run.threads(End::Sender, 80, 20, 0);
            run.threads(End::Receiver, 50, 550, 0);
            run.limits(990, 10, 300);
        }),
    ]
}

fn buffers() -> Vec<Case> {
    vec![
        // 59 % of busy time with the default of tcp_wmem over 20 ms.
        tcp("tcp_wmem as it is, at 20 ms", Cause::SendBuffer, End::Sender, |run| {
            run.long_path();
            run.limits(1000, 30, 590);
        }),
        tcp("tcp_wmem of 64K at 20 ms", Cause::SendBuffer, End::Sender, |run| {
            run.long_path();
            run.goodput_bits_per_second = Some(18e6);
            run.end_mut(End::Sender).buffer.bytes_max = Some(65_536);
            run.limits(1000, 0, 950);
        }),
        tcp("-w over a short path", Cause::SendBuffer, End::Sender, |run| {
            run.end_mut(End::Sender).buffer =
                BufferEvidence { bytes: Some(131_072), bytes_max: Some(4_194_304), is_fixed: Some(true) };
            run.threads(End::Receiver, 200, 20, 0);
            run.threads(End::Sender, 200, 20, 0);
            run.limits(990, 0, 600);
        }),
        tcp("tcp_rmem of 64K at 20 ms", Cause::ReceiveBuffer, End::Receiver, |run| {
            run.long_path();
            run.goodput_bits_per_second = Some(20e6);
            run.tcp.advertised_window_bytes = Some(65_536);
            run.limits(1000, 950, 0);
        }),
        tcp("tcp_rmem at 20 ms, without the window", Cause::ReceiveBuffer, End::Receiver, |run| {
            run.long_path();
            run.tcp.advertised_window_bytes = None;
            run.limits(1000, 700, 0);
        }),
    ]
}

fn paths() -> Vec<Case> {
    vec![
        tcp("tbf on the own device", Cause::Qdisc, End::Sender, |run| {
            run.end_mut(End::Sender).qdisc.overlimits = Some(1900);
            run.round_trips(17.3, 0.05);
        }),
        tcp("drops of the own qdisc", Cause::Qdisc, End::Sender, |run| {
            run.end_mut(End::Sender).qdisc.dropped_packets = Some(2000);
            run.loss(1000);
        }),
        tcp("tbf in a router", Cause::PathQueue, End::Path, |run| {
            run.threads(End::Sender, 50, 10, 0);
            run.threads(End::Receiver, 80, 10, 0);
            run.round_trips(17.3, 0.05);
            run.loss(400);
        }),
        tcp("one packet in 300 lost in a router", Cause::PathLoss, End::Path, |run| run.loss(3333)),
        tcp("one packet in 1000 lost in a router", Cause::PathLoss, End::Path, |run| run.loss(1000)),
        tcp("loss beside few drops at the receiver's socket", Cause::PathLoss, End::Path, |run| {
            run.loss(10_000);
            run.end_mut(End::Receiver).socket_dropped_packets = Some(1999);
        }),
        tcp("a short queue", Cause::PathLoss, End::Path, |run| {
            run.loss(2000);
            run.round_trips(0.5, 0.05);
        }),
        tcp("bbr", Cause::Pacing, End::Sender, |run| {
            run.congestion = Some("bbr".to_owned());
            run.tcp.pacing_bits_per_second = Some(4.95e9);
        }),
        tcp("bbr with loss, for which it does not slow down", Cause::Pacing, End::Sender, |run| {
            run.congestion = Some("bbr".to_owned());
            run.tcp.pacing_bits_per_second = Some(4.95e9);
            run.loss(3333);
        }),
    ]
}

fn cards() -> Vec<Case> {
    vec![
        tcp("packets that found no place in the ring", Cause::NicRing, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.rx_missed_packets = Some(500);
            run.loss(500);
        }),
        tcp("a processor full of interrupts", Cause::Softirq, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.interrupt_percent = Some(98.0);
        }),
        tcp("a full backlog", Cause::Softirq, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.softnet_dropped_packets = Some(500);
            run.loss(500);
        }),
        tcp("a processor full of interrupts of ACKs", Cause::Softirq, End::Sender, |run| {
            run.end_mut(End::Sender).device.interrupt_percent = Some(98.0);
        }),
        tcp("pause frames", Cause::Pause, End::Path, |run| {
            run.end_mut(End::Sender).device.paused_seconds = Some(1.5);
            run.end_mut(End::Sender).device.pause_frames = Some(120_000);
        }),
        tcp("PCIe of the sender", Cause::Pcie, End::Sender, |run| {
            run.end_mut(End::Sender).device.pcie_stalled_seconds = Some(8.0);
        }),
        tcp("PCIe of the receiver", Cause::Pcie, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.pcie_stalled_seconds = Some(8.0);
        }),
        tcp("the sender's link", Cause::Link, End::Sender, |run| run.link(End::Sender, 992)),
        tcp("the receiver's link", Cause::Link, End::Receiver, |run| run.link(End::Receiver, 992)),
        tcp("both links, with a processor that is full", Cause::Link, End::Path, |run| {
            run.link(End::Sender, 992);
            run.link(End::Receiver, 992);
            run.threads(End::Sender, 950, 20, 0);
        }),
    ]
}

fn datagrams() -> Vec<Case> {
    vec![
        udp("a flood that takes a processor", Cause::Cpu, End::Sender, |run| {
            run.threads(End::Sender, 980, 10, 0);
            run.datagrams(10_000, 5_000);
        }),
        udp("a rate that a processor does not reach", Cause::Cpu, End::Sender, |run| {
            run.asked(2e10, AskedBy::Bitrate);
            run.threads(End::Sender, 980, 10, 0);
        }),
        udp("a flood with a quota", Cause::CpuQuota, End::Sender, |run| {
            run.threads(End::Sender, 50, 0, 950);
        }),
        udp("a flood beside a busy loop", Cause::CpuContended, End::Sender, |run| {
            run.threads(End::Sender, 480, 470, 0);
        }),
        udp("a flood through tbf that blocks", Cause::Qdisc, End::Sender, |run| {
            run.threads(End::Sender, 50, 10, 0);
            run.end_mut(End::Sender).qdisc.overlimits = Some(5000);
        }),
        udp("a rate through tbf that blocks", Cause::Qdisc, End::Sender, |run| {
            run.asked(1e10, AskedBy::Bitrate);
            run.threads(End::Sender, 50, 10, 0);
            run.end_mut(End::Sender).qdisc.overlimits = Some(5000);
        }),
        udp("a flood through tbf that drops", Cause::Qdisc, End::Sender, |run| {
            run.threads(End::Sender, 950, 10, 0);
            run.end_mut(End::Sender).qdisc.dropped_packets = Some(400_000);
            run.datagrams(400_000, 0);
        }),
        udp("a flood into a path that drops", Cause::PathLoss, End::Path, |run| run.datagrams(400_000, 0)),
        udp("a flood into a ring that is full", Cause::NicRing, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.rx_missed_packets = Some(380_000);
            run.datagrams(400_000, 0);
        }),
        udp("a flood into a backlog that is full", Cause::Softirq, End::Receiver, |run| {
            run.end_mut(End::Receiver).device.softnet_dropped_packets = Some(380_000);
            run.datagrams(400_000, 0);
        }),
    ]
}

fn datagrams_behind_processors() -> Vec<Case> {
    vec![
        udp("a flood into a small -w", Cause::ReceiverSocket, End::Receiver, |run| {
            run.datagrams(0, 400_000);
        }),
        udp("a flood at a full receiver", Cause::Cpu, End::Receiver, |run| {
            run.threads(End::Receiver, 950, 10, 0);
            run.datagrams(0, 400_000);
        }),
        udp("a flood at a receiver beside a busy loop", Cause::CpuContended, End::Receiver, |run| {
            run.threads(End::Receiver, 480, 470, 0);
            run.datagrams(0, 400_000);
        }),
        udp("a flood at a receiver with a quota", Cause::CpuQuota, End::Receiver, |run| {
            run.threads(End::Receiver, 50, 0, 940);
            run.datagrams(0, 400_000);
        }),
    ]
}
