//! What to do about a cause: commands and options, with the numbers that follow from the evidence.

use super::cause::{Cause, End};
use super::evidence::{AskedBy, DirectionName};
use super::facts::{Facts, ThreadFacts};
use super::rule::Rule;
use super::thresholds::RUN_SHORT;

/// How much larger than rate times round-trip time a buffer is proposed: what there is has limited the rate,
/// so the rate that is possible is larger, and a buffer holds about as much overhead as payload.
const BUFFER_PER_BDP: f64 = 8.0;
/// Smallest and largest buffer that is proposed, in bytes; the latter is what the kernel's 31 bits hold.
const BUFFER_LEAST_BYTES: f64 = 65_536.0;
const BUFFER_MOST_BYTES: f64 = 1_073_741_824.0;
/// The largest socket buffer that `-w` takes, in bytes.
const WINDOW_MOST_BYTES: f64 = 536_870_912.0;
/// How long a UDP socket's buffer should hold what comes, in seconds: a thread that has other work on its
/// processor waits for some such slices.
const SOCKET_HOLDS_SECONDS: f64 = 0.05;
/// Seconds of a run that can be judged well.
const GOOD_SECONDS: f64 = 10.0;
/// Longest name of a network device in bytes (IFNAMSIZ of linux/if.h, with the zero behind it).
const DEVICE_NAME_BYTES: usize = 16;

/// What to do about the cause that was named.
pub(super) fn advice(facts: &Facts, named: &Rule) -> Vec<String> {
    let end = named.end;
    match named.cause {
        Cause::RateAsked => rate_asked(facts),
        Cause::AmountSent => vec![amount_sent(facts)],
        Cause::CpuQuota => vec![quota(facts, end)],
        Cause::Cpu => cpu(facts, end),
        Cause::CpuContended => vec![
            format!("top -H {} shows what else runs there", at(end)),
            format!("{} with processors that are free", placement(facts, end)),
        ],
        Cause::SendBuffer => buffer(facts, End::Sender),
        Cause::ReceiveBuffer => buffer(facts, End::Receiver),
        Cause::ReceiverSocket => receiver_socket(facts),
        Cause::Qdisc => {
            vec![format!("tc -s qdisc show dev {} {}", device(facts, End::Sender), at(End::Sender))]
        }
        Cause::PathLoss => path_loss(facts),
        Cause::PathQueue => {
            vec![format!("-P {}: if all together get no more, the path is full", more_streams(facts))]
        }
        Cause::Pacing => vec!["-C cubic".to_owned()],
        Cause::NicRing | Cause::Softirq | Cause::Pause | Cause::Pcie => card(facts, named.cause, end),
        Cause::Link => vec!["a faster link; an MTU of 9000 saves up to 5 % of it".to_owned()],
        Cause::Undetermined => undetermined(facts),
    }
}

/// What to do where nothing was named.
pub(super) fn undetermined(facts: &Facts) -> Vec<String> {
    let is_short = facts.seconds.is_some_and(|seconds| RUN_SHORT.is_met(seconds));
    if is_short { vec![format!("-t {GOOD_SECONDS}")] } else { Vec::new() }
}

fn rate_asked(facts: &Facts) -> Vec<String> {
    let by = facts.evidence.asked.map(|asked| asked.by);
    let way = match by {
        Some(AskedBy::Bitrate) => "a larger -b, or -b 0 for no limit",
        Some(AskedBy::UdpDefault) => "-b with a rate, since without it UDP has 1.05 Mbit/s per stream",
        Some(AskedBy::FqRate) => "a larger --fq-rate, or none",
        Some(AskedBy::ServerLimit) => "a larger --server-bitrate-limit at the server",
        None => return Vec::new(),
    };
    vec![way.to_owned()]
}

fn amount_sent(facts: &Facts) -> String {
    let bytes = facts.goodput_bits_per_second.map(|rate| rate / 8.0 * GOOD_SECONDS);
    let more = bytes.filter(|bytes| *bytes >= 1.0).map(|bytes| {
        format!(", or -n {} for as long", mebibytes(power_of_two(bytes, BUFFER_LEAST_BYTES, f64::MAX)))
    });
    format!("-t {GOOD_SECONDS} instead of an amount{}", more.unwrap_or_default())
}

fn quota(facts: &Facts, end: End) -> String {
    let ThreadFacts { on_percent, throttled_percent, quota_processors, .. } = facts.of(end).threads;
    let times = on_percent.zip(throttled_percent).map(|(on, throttled)| (on + throttled) / on);
    let wanted = quota_processors.zip(times).map(|(quota, times)| (quota, quota * times));
    match wanted.filter(|(_, wanted)| wanted.is_finite()) {
        Some((quota, wanted)) => format!(
            "a larger cpu.max of the control group {}: {quota:.2} processors now, {wanted:.2} wanted",
            at(end)
        ),
        None => format!("a larger cpu.max of the control group {}", at(end)),
    }
}

fn cpu(facts: &Facts, end: End) -> Vec<String> {
    let mut ways = Vec::new();
    let is_crowded = facts.of(end).threads.own_processors_percent.is_some();
    if !is_crowded {
        ways.push(format!("-P {} for more threads", more_streams(facts)));
    }
    if end == End::Sender && !facts.is_udp() {
        ways.push("-Z, which copies less".to_owned());
    }
    if end == End::Receiver && !facts.is_udp() {
        ways.push("--skip-rx-copy, which copies nothing".to_owned());
    }
    let placed = if end == End::None {
        "--cpus near --peer-cpus near".to_owned()
    } else {
        placement(facts, end) + " near"
    };
    ways.push(placed);
    ways
}

/// A larger buffer. The one that `-w` has fixed is the user's; otherwise the kernel's limit is too small.
fn buffer(facts: &Facts, end: End) -> Vec<String> {
    let bdp = facts.tcp.bdp_bytes.unwrap_or(BUFFER_LEAST_BYTES);
    let of_end = facts.of(end);
    let now = of_end.buffer_bytes.unwrap_or(0.0);
    let bytes = power_of_two((bdp * BUFFER_PER_BDP).max(2.0 * now), BUFFER_LEAST_BYTES, BUFFER_MOST_BYTES);
    let (name, most) = if end == End::Sender { ("wmem", "4096 16384") } else { ("rmem", "4096 131072") };
    let first = if of_end.buffer_is_fixed {
        let bytes = bytes.min(WINDOW_MOST_BYTES);
        format!("-w {} (as far as net.core.{name}_max {} allows), or no -w", mebibytes(bytes), at(end))
    } else {
        format!("sysctl -w net.ipv4.tcp_{name}='{most} {bytes:.0}' {}", at(end))
    };
    vec![first, format!("-P {}", more_streams(facts))]
}

fn receiver_socket(facts: &Facts) -> Vec<String> {
    let rate = facts.evidence.sent_bits_per_second.filter(|rate| (0.0..=1e18).contains(rate));
    let held = rate.map_or(0.0, |rate| rate / 8.0 / streams(facts) * SOCKET_HOLDS_SECONDS);
    let bytes = power_of_two(held, 2_097_152.0, WINDOW_MOST_BYTES);
    vec![
        format!("-w {} with sysctl -w net.core.rmem_max={bytes:.0} {}", mebibytes(bytes), at(End::Receiver)),
        format!("-P {} for more threads", more_streams(facts)),
    ]
}

fn path_loss(facts: &Facts) -> Vec<String> {
    if facts.is_udp() {
        // What arrived is that of all streams, and -b that of one.
        let streams = streams(facts);
        let rate = facts.goodput_bits_per_second.map(|rate| rate / streams).filter(|rate| *rate >= 1e6);
        return vec![
            rate.map_or("a smaller -b".to_owned(), |rate| format!("-b {:.0}M", (rate / 1e6).floor())),
        ];
    }
    let streams = more_streams(facts);
    vec![
        format!("-P {streams}, of which each is slowed down by itself"),
        "-C bbr, which goes by rate".to_owned(),
    ]
}

fn card(facts: &Facts, cause: Cause, end: End) -> Vec<String> {
    let end = if end == End::Path { End::Sender } else { end };
    let (device, at) = (device(facts, end), at(end));
    let commands: &[&str] = match cause {
        Cause::NicRing => &["ethtool -g DEV shows the largest ring, ethtool -G DEV rx N sets it"],
        Cause::Softirq => &["ethtool -L DEV combined N for more queues", "ethtool -k DEV: GRO and LRO on"],
        Cause::Pause => &["ethtool -I -a DEV shows pause frames; whoever sends them is too slow"],
        _ => &["lspci -vv: LnkSta against LnkCap of the card of DEV and of the bridges above it"],
    };
    let mut ways: Vec<String> = processor_of_interrupts(facts, cause, end).into_iter().collect();
    ways.extend(commands.iter().map(|command| format!("{} {at}", command.replace("DEV", &device))));
    ways
}

/// Which processor is full of interrupts, if it is those.
fn processor_of_interrupts(facts: &Facts, cause: Cause, end: End) -> Option<String> {
    let evidence = if end == End::Receiver { &facts.evidence.receiver } else { &facts.evidence.sender };
    let processor = evidence.as_ref()?.device.interrupt_processor.filter(|_| cause == Cause::Softirq)?;
    Some(format!("/proc/interrupts shows what processor {processor} serves {}", at(end)))
}

/// The name of an end's device, if a shell takes it as it is.
fn device(facts: &Facts, end: End) -> String {
    let evidence = match end {
        End::Receiver => &facts.evidence.receiver,
        _ => &facts.evidence.sender,
    };
    let name = evidence.as_ref().and_then(|end| end.device.name.as_deref());
    let is_plain = |name: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        (1..DEVICE_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-')
    };
    name.filter(is_plain).unwrap_or("DEV").to_owned()
}

/// The client's option that places the threads of an end.
fn placement(facts: &Facts, end: End) -> String {
    let client = match facts.evidence.direction {
        DirectionName::Forward => End::Sender,
        DirectionName::Reverse => End::Receiver,
    };
    if end == client { "--cpus".to_owned() } else { "--peer-cpus".to_owned() }
}

/// Where a command is to be given.
fn at(end: End) -> &'static str {
    match end {
        End::Sender => "at the sending end",
        End::Receiver => "at the receiving end",
        End::Path | End::None => "at both ends",
    }
}

/// How many streams there are, one if that is not known.
fn streams(facts: &Facts) -> f64 {
    facts.evidence.streams.filter(|streams| *streams > 0).map_or(1.0, f64::from)
}

/// Four times the streams, within what a test may have.
fn more_streams(facts: &Facts) -> u32 {
    facts.evidence.streams.unwrap_or(1).saturating_mul(4).clamp(4, crate::config::ranges::STREAMS.max)
}

/// The smallest power of two times `least` that is not below `bytes`, and not above `most`.
fn power_of_two(bytes: f64, least: f64, most: f64) -> f64 {
    let mut power = least;
    while power < bytes && power < most {
        power *= 2.0;
    }
    power.min(most)
}

/// As `-w` and `-n` take it.
fn mebibytes(bytes: f64) -> String {
    let kibibytes = bytes / 1024.0;
    if kibibytes < 1024.0 { format!("{kibibytes:.0}K") } else { format!("{:.0}M", kibibytes / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Protocol, UdpConfig};
    use crate::verdict::evidence::{
        BufferEvidence, DeviceEvidence, DirectionEvidence, EndEvidence, TcpEvidence,
    };

    fn with_buffer(buffer: BufferEvidence) -> DirectionEvidence {
        DirectionEvidence {
            streams: Some(1),
            seconds: Some(10.0),
            goodput_bits_per_second: Some(1e9),
            tcp: TcpEvidence { rtt_us: Some(20_000.0), ..TcpEvidence::default() },
            sender: Some(EndEvidence { buffer, ..EndEvidence::default() }),
            ..DirectionEvidence::default()
        }
    }

    /// 1 Gbit/s at 20 ms is 2.38 MiB.
    #[test]
    fn a_larger_buffer_follows_from_rate_and_round_trip_time() {
        let grown = BufferEvidence { bytes_max: Some(4_194_304), ..BufferEvidence::default() };
        let evidence = with_buffer(grown);
        assert_eq!(
            buffer(&Facts::new(&evidence), End::Sender),
            ["sysctl -w net.ipv4.tcp_wmem='4096 16384 33554432' at the sending end", "-P 4"]
        );
        let fixed = BufferEvidence { bytes: Some(524_288), is_fixed: Some(true), ..grown };
        let evidence = with_buffer(fixed);
        let ways = buffer(&Facts::new(&evidence), End::Sender);
        assert!(ways[0].starts_with("-w 32M (as far as net.core.wmem_max at the sending end"), "{ways:?}");
    }

    #[test]
    fn the_rate_of_datagrams_is_that_of_one_stream() {
        for (streams, expected) in
            [(None, "-b 800M"), (Some(1), "-b 800M"), (Some(8), "-b 100M"), (Some(1000), "a smaller -b")]
        {
            let evidence = DirectionEvidence {
                protocol: Protocol::Udp(UdpConfig::default()),
                streams,
                goodput_bits_per_second: Some(8e8),
                ..DirectionEvidence::default()
            };
            assert_eq!(path_loss(&Facts::new(&evidence)), [expected]);
        }
    }

    #[test]
    fn buffers_stay_within_what_can_be_set() {
        assert_eq!(power_of_two(0.0, 65_536.0, 1e9).to_string(), "65536");
        assert_eq!(power_of_two(65_537.0, 65_536.0, 1e9).to_string(), "131072");
        assert_eq!(power_of_two(1e18, 65_536.0, BUFFER_MOST_BYTES).to_string(), "1073741824");
        assert_eq!((mebibytes(65_536.0).as_str(), mebibytes(33_554_432.0).as_str()), ("64K", "32M"));
    }

    #[test]
    fn a_name_that_a_shell_would_understand_is_not_repeated() {
        for (given, expected) in
            [("eth0", "eth0"), ("enp1s0f0.5", "enp1s0f0.5"), ("a;reboot", "DEV"), ("-d", "DEV"), ("", "DEV")]
        {
            let device_evidence =
                DeviceEvidence { name: Some(given.to_owned()), ..DeviceEvidence::default() };
            let sender = Some(EndEvidence { device: device_evidence, ..EndEvidence::default() });
            let evidence = DirectionEvidence { sender, ..DirectionEvidence::default() };
            assert_eq!(device(&Facts::new(&evidence), End::Sender), expected);
        }
    }

    /// Options are the client's, so its own threads and those of the server have different ones.
    #[test]
    fn the_client_places_its_own_threads_and_those_of_the_server() {
        for (direction, of_sender) in
            [(DirectionName::Forward, "--cpus"), (DirectionName::Reverse, "--peer-cpus")]
        {
            let evidence = DirectionEvidence { direction, ..DirectionEvidence::default() };
            let facts = Facts::new(&evidence);
            assert_eq!(placement(&facts, End::Sender), of_sender);
            assert_ne!(placement(&facts, End::Receiver), of_sender);
        }
    }
}
