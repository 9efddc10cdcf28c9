//! The numbers that rules look at: what each is called, its unit, where it comes from, how it is read out.

use serde::{Deserialize, Serialize};

use crate::units::{RateFormat, rate};

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Hundredths of a whole.
    Percent,
    /// One number over another of the same kind.
    Ratio,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Bits per second.
    BitsPerSecond,
    /// Events per second.
    PerSecond,
    /// Events.
    Count,
    /// Processors' worth of time.
    Processors,
}

impl Unit {
    /// As it stands in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::Ratio => "x",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::BitsPerSecond => "bit/s",
            Self::PerSecond => "/s",
            Self::Count => "",
            Self::Processors => "processors",
        }
    }

    /// `value` with this unit behind it.
    fn print(self, value: f64) -> String {
        match self {
            Self::BitsPerSecond => format!("{}/s", rate(value, RateFormat::Adaptive).trim_start()),
            Self::Bytes => bytes(value),
            Self::Count => number(value),
            Self::PerSecond => format!("{} times a second", number(value)),
            Self::Percent | Self::Ratio | Self::Seconds | Self::Milliseconds | Self::Processors => {
                format!("{} {}", number(value), self.name())
            }
        }
    }
}

/// A number with three digits, more where it is larger than that.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 0.0995 => 3,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Bytes in powers of 1024, as buffers are.
pub(super) fn bytes(value: f64) -> String {
    let mut left = value;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].into_iter().peekable();
    while left >= 1024.0 && units.len() > 1 {
        left /= 1024.0;
        units.next();
    }
    format!("{} {}", number(left), units.peek().expect("the last one is never taken"))
}

/// Makes the figures from a table: name, unit, source, and the words that follow the value.
macro_rules! figures {
    ($($name:ident, $unit:ident, $source:literal, $words:literal;)*) => {
        /// A number that a rule looks at. Its name in JSON ends in its unit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Figure {
            $(#[doc = concat!("... ", $words, " (", $source, ").")] $name,)*
        }

        impl Figure {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is counted in.
            #[must_use]
            pub fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            /// Where the number comes from.
            #[must_use]
            pub fn source(self) -> &'static str {
                match self { $(Self::$name => $source,)* }
            }

            /// What follows the value when it is read out.
            fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

figures! {
    RunSeconds, Seconds, "clock", "of run";
    BusySeconds, Seconds, "TCP_INFO tcpi_busy_time over streams", "of busy time";
    AccountedPercent, Percent, "schedstat, TCP_INFO: the parts over the whole", "of the time accounted for";
    RateReachedPercent, Percent, "goodput (UDP: what was sent) over the rate asked for", "of the rate asked for";
    GoodputBitsPerSecond, BitsPerSecond, "bytes over seconds", "arrived";
    ThrottledPercent, Percent, "cgroup cpu.stat", "stopped by a quota";
    QuotaProcessors, Processors, "cgroup cpu.max", "allowed by the quota";
    OnProcessorPercent, Percent, "schedstat", "on a processor";
    WaitingPercent, Percent, "schedstat less cpu.stat", "waiting for a processor";
    OccupiedPercent, Percent, "schedstat less cpu.stat", "on or waiting for a processor";
    OwnProcessorsPercent, Percent, "schedstat", "of all processors taken by the stream threads";
    ApartPercent, Percent, "schedstat of both ends", "points between the two ends";
    BusyPercent, Percent, "TCP_INFO tcpi_busy_time", "of the time with data on the way";
    StoppedPercent, Percent, "TCP_INFO tcpi_rwnd_limited + tcpi_sndbuf_limited", "of busy time stopped by buffers";
    RwndLimitedPercent, Percent, "TCP_INFO tcpi_rwnd_limited", "of busy time stopped by the receive window";
    SndbufLimitedPercent, Percent, "TCP_INFO tcpi_sndbuf_limited", "of busy time stopped by the send buffer";
    StoppedPerOtherRatio, Ratio, "TCP_INFO tcpi_rwnd_limited, tcpi_sndbuf_limited", "the other buffer's time is this one's";
    BufferBytes, Bytes, "-w, or the last number of tcp_wmem, tcp_rmem", "of buffer allowed";
    BufferPerBdpRatio, Ratio, "buffer over rate x RTT", "rate x RTT is the buffer";
    WindowPerBdpRatio, Ratio, "TCP_INFO tcpi_snd_wnd over rate x RTT", "rate x RTT is the window";
    RttMs, Milliseconds, "TCP_INFO tcpi_rtt", "of RTT";
    MinRttMs, Milliseconds, "TCP_INFO tcpi_min_rtt", "of smallest RTT";
    RttPerMinRatio, Ratio, "TCP_INFO tcpi_rtt over tcpi_min_rtt", "the smallest RTT is the RTT";
    RttAddedMs, Milliseconds, "TCP_INFO tcpi_rtt less tcpi_min_rtt", "of RTT beyond the smallest";
    RttOverTripleMs, Milliseconds, "TCP_INFO tcpi_rtt less 3 x tcpi_min_rtt", "of RTT beyond three times the smallest";
    RetransmittedPercent, Percent, "TCP_INFO tcpi_bytes_retrans over tcpi_bytes_sent", "of the bytes sent again";
    SocketDroppedPercent, Percent, "netstat TCPBacklogDrop, TCPRcvQDrop, TCPZeroWindowDrop over tcpi_total_retrans", "of the segments sent again dropped at the socket";
    PacingPerDeliveryRatio, Ratio, "TCP_INFO tcpi_pacing_rate over tcpi_delivery_rate", "the delivery rate is the pacing rate";
    QdiscDroppedPercent, Percent, "rtnetlink TCA_STATS2 drops over packets", "of the packets dropped by the own qdisc";
    QdiscOverlimitsPerSecond, PerSecond, "rtnetlink TCA_STATS2 overlimits", "the own qdisc held packets back";
    RingMissedPercent, Percent, "ethtool -S: missed, out of buffer, over packets", "of the packets found no free place in the ring";
    BacklogDroppedPercent, Percent, "softnet_stat dropped over processed", "of the packets found the backlog full";
    SqueezedPerSecond, PerSecond, "softnet_stat time_squeeze", "soft interrupts stopped with work left";
    InterruptPercent, Percent, "/proc/stat softirq + irq of the busiest other processor", "of a processor spent on interrupts";
    PausedPercent, Percent, "ethtool -S: pause duration", "of the time stopped by pause frames";
    PauseFramesCount, Count, "ethtool -I -a", "pause frames came";
    PcieStalledPercent, Percent, "ethtool -S: outbound_pci_stalled_*_events", "of the seconds short of PCIe credits";
    LinkUsedPercent, Percent, "wire rate over link speed", "of the link's speed on the wire";
    LostPercent, Percent, "account of the datagrams", "of the datagrams lost";
    LostInSocketPercent, Percent, "account of the datagrams", "of the lost ones lost in the full socket";
    LostInNetworkPercent, Percent, "account of the datagrams", "of the lost ones lost on the way";
    LostInQdiscPercent, Percent, "rtnetlink TCA_STATS2 drops over datagrams lost", "of the lost ones dropped by the own qdisc";
    LostInHostsPercent, Percent, "drops of qdisc, ring and backlog over datagrams lost", "of the lost ones dropped by the hosts";
    LostInRingPercent, Percent, "ethtool -S: missed, out of buffer, over datagrams lost", "of the lost ones found no free place in the ring";
    LostInBacklogPercent, Percent, "softnet_stat dropped over datagrams lost", "of the lost ones found the backlog full";
    SharePercent, Percent, "budget", "of the time by the budget";
    ShareRatio, Ratio, "budget", "the next share that has a cause";
    OtherShareRatio, Ratio, "budget", "its share is the largest other one";
}

impl Figure {
    /// The value as a reader sees it, such as `59 % of busy time stopped by the send buffer`.
    #[must_use]
    pub fn read_out(self, value: f64) -> String {
        let printed = self.unit().print(value);
        let words = self.words();
        match self.unit() {
            Unit::PerSecond => format!("{words} {printed}"),
            _ => format!("{printed} {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_out_with_their_units() {
        for (figure, value, expected) in [
            (Figure::SndbufLimitedPercent, 59.04, "59 % of busy time stopped by the send buffer"),
            (Figure::RetransmittedPercent, 0.0131, "0.013 % of the bytes sent again"),
            (Figure::RetransmittedPercent, 0.0, "0 % of the bytes sent again"),
            (Figure::OnProcessorPercent, 4.96, "4.96 % on a processor"),
            (Figure::OnProcessorPercent, 100.0, "100 % on a processor"),
            (Figure::BufferBytes, 4_194_304.0, "4 MiB of buffer allowed"),
            (Figure::BufferBytes, 87_380.0, "85.3 KiB of buffer allowed"),
            (Figure::RttMs, 20.05, "20.1 ms of RTT"),
            (Figure::QuotaProcessors, 0.05, "0.05 processors allowed by the quota"),
            (Figure::GoodputBitsPerSecond, 1.91e9, "1.91 Gbit/s arrived"),
            (Figure::QdiscOverlimitsPerSecond, 190.2, "the own qdisc held packets back 190 times a second"),
            (Figure::PauseFramesCount, 7.0, "7 pause frames came"),
        ] {
            assert_eq!(figure.read_out(value), expected);
        }
    }

    /// A reader of the document finds the unit of a figure at the end of its name.
    #[test]
    fn names_end_in_their_units() {
        for figure in Figure::ALL {
            let name = serde_json::to_value(figure).unwrap();
            let ending = match figure.unit() {
                Unit::Percent => "_percent",
                Unit::Ratio => "_ratio",
                Unit::Seconds => "_seconds",
                Unit::Milliseconds => "_ms",
                Unit::Bytes => "_bytes",
                Unit::BitsPerSecond => "_bits_per_second",
                Unit::PerSecond => "_per_second",
                Unit::Count => "_count",
                Unit::Processors => "_processors",
            };
            assert!(name.as_str().unwrap().ends_with(ending), "{name}");
        }
    }

    #[test]
    fn very_small_and_very_large_values_stay_short() {
        for figure in Figure::ALL {
            for value in [0.0, 1e-12, 1e18] {
                let text = figure.read_out(value);
                assert!(text.len() < 120 && !text.contains("-0"), "{text}");
            }
        }
    }
}
