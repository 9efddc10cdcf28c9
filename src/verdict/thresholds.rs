//! All thresholds of the verdict, in one table.
//!
//! `docs/VERDICTS.md` shows the same table; a test compares the two.

use serde::{Deserialize, Serialize};

use super::figures::Figure;

/// On which side of a threshold a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The threshold or more.
    AtLeast,
    /// More than the threshold.
    Above,
    /// The threshold or less.
    AtMost,
    /// Less than the threshold.
    Below,
}

impl Bound {
    /// As it stands in tables.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::Above => ">",
            Self::AtMost => "<=",
            Self::Below => "<",
        }
    }

    /// Whether `value` is on this side of `threshold`. What is no number is on no side.
    #[must_use]
    pub fn is_met(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::AtLeast => value >= threshold,
            Self::Above => value > threshold,
            Self::AtMost => value <= threshold,
            Self::Below => value < threshold,
        }
    }
}

/// What a figure has to reach for a rule to match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Its name in the code and in the table.
    pub name: &'static str,
    /// The figure that is compared with it.
    pub figure: Figure,
    /// On which side of it the figure has to be.
    pub bound: Bound,
    /// The threshold in the unit of the figure.
    pub value: f64,
    /// Where it comes from.
    pub source: &'static str,
}

impl Threshold {
    /// Whether `value` is where it has to be.
    #[must_use]
    pub fn is_met(&self, value: f64) -> bool {
        self.bound.is_met(value, self.value)
    }
}

/// Makes a constant of each row, and the list of all of them.
macro_rules! thresholds {
    ($($name:ident, $figure:ident $bound:ident $value:literal, $source:literal;)*) => {
        $(
            #[doc = concat!("Source: ", $source, ".")]
            pub const $name: Threshold = Threshold {
                name: stringify!($name),
                figure: Figure::$figure,
                bound: Bound::$bound,
                value: $value,
                source: $source,
            };
        )*

        /// All thresholds, in the order of the rules.
        pub const ALL: &[Threshold] = &[$($name,)*];
    };
}

thresholds! {
    // What can be judged at all.
    RUN_SHORT, RunSeconds Below 0.5,
        "TCP_INFO's times are kept in jiffies, 4 ms at HZ 250 (net/ipv4/tcp.c, tcp_get_info_chrono_stats)";
    BUSY_LONG, BusySeconds AtLeast 0.4,
        "a hundred jiffies at HZ 250, so that a step is 1 % (net/ipv4/tcp.c, tcp_get_info_chrono_stats)";
    TIME_IMPOSSIBLE, AccountedPercent Above 110.0,
        "parts of a time cannot exceed it; 10 % since the two ends and their clocks are not read at one moment";
    SHARE_LEAST, SharePercent AtLeast 20.0,
        "a choice: what has less than a fifth of the time is not what limits";
    SHARE_APART, ShareRatio AtLeast 8.0,
        "a choice: of two causes that match, the larger is named if the other is an eighth of it at most";
    SHARE_LARGEST, OtherShareRatio AtMost 1.0,
        "a choice: what limits has the largest share of the time, and a larger one is another matter";
    SHARE_SURE, SharePercent AtLeast 50.0,
        "a choice: a cause of half the time or more is sure";

    // The rate asked for.
    RATE_REACHED, RateReachedPercent AtLeast 97.0,
        "tried with -b and --fq-rate; 3 % for headers, bursts and the last block";
    RATE_PLAUSIBLE, RateReachedPercent AtMost 110.0,
        "what was exceeded has limited nothing; 10 % for the bursts of short runs";

    // Processors.
    THROTTLED, ThrottledPercent AtLeast 20.0,
        "tried with a quota of 5 % at either end (2914 ms of 3 s); below a fifth other things can be the limit";
    ON_PROCESSOR, OnProcessorPercent AtLeast 85.0,
        "a choice: a thread that seldom sleeps is what the others wait for";
    OWN_PROCESSORS, OwnProcessorsPercent AtLeast 85.0,
        "as ON_PROCESSOR, for more threads than processors, which wait for each other";
    OWN_PROCESSORS_FREE, OwnProcessorsPercent Below 85.0,
        "the other side of OWN_PROCESSORS";
    OCCUPIED, OccupiedPercent AtLeast 70.0,
        "tried on a loaded host";
    WAITING, WaitingPercent AtLeast 20.0,
        "tried on a loaded host";
    WAITING_LITTLE, WaitingPercent Below 20.0,
        "the other side of WAITING";
    OCCUPIED_BEHIND_BUFFERS, OccupiedPercent AtLeast 85.0,
        "tried on a loaded host; a reader that hardly sleeps is what closes the window";
    OCCUPIED_LITTLE, OccupiedPercent Below 85.0,
        "the other side of OCCUPIED_BEHIND_BUFFERS";
    WAITING_BEHIND_BUFFERS, WaitingPercent AtLeast 50.0,
        "tried with a slow receiving end, which shows as sndbuf-limited 30 % with the threads at 10 % of a processor";
    ENDS_ALIKE, ApartPercent Below 5.0,
        "a choice: two ends at work all the time are told apart by 5 points of sleep or by the buffers";

    // Buffers.
    STOPPED, StoppedPercent AtLeast 30.0,
        "tried with tcp_wmem and tcp_rmem of 64K and with the default at 20 ms (59 %)";
    SNDBUF_STOPS, SndbufLimitedPercent AtLeast 20.0,
        "the other side of SNDBUF_LITTLE";
    RWND_STOPS, RwndLimitedPercent AtLeast 20.0,
        "the other side of RWND_LITTLE";
    STOPPED_MOSTLY, StoppedPerOtherRatio AtLeast 2.0,
        "a choice: the larger of the two names it";
    BUFFER_FITS, BufferPerBdpRatio AtMost 4.0,
        "a buffer holds its overhead too, about half (include/net/tcp.h, tcp_win_from_space), and ACKs come late";
    BUFFER_FITS_ALONE, BufferPerBdpRatio AtMost 2.0,
        "with nothing known of the reader: overhead alone makes a buffer twice what is on its way, and a slow reader makes it more";
    WINDOW_FITS, WindowPerBdpRatio AtMost 2.0,
        "an advertised window is payload alone; a factor of 2 for ACKs that come late";
    RTT_TELLING, MinRttMs AtLeast 1.0,
        "tried: at RTT near 0 the window follows the processor and proves nothing";
    NO_QUEUE, RttPerMinRatio AtMost 1.25,
        "a choice: where a queue of a quarter of the RTT stands, the slowest part of the path is never idle";
    NO_QUEUE_ADDED, RttAddedMs Below 1.0,
        "instead of NO_QUEUE where the RTT is so small that hosts alone make the difference";

    // The path.
    BUSY, BusyPercent AtLeast 90.0,
        "tcpi_busy_time is all time with data waiting or in flight (net/ipv4/tcp_output.c, tcp_chrono_start)";
    RWND_LITTLE, RwndLimitedPercent Below 20.0,
        "below it the window is not what stops (tried with tbf and with loss)";
    SNDBUF_LITTLE, SndbufLimitedPercent Below 20.0,
        "below it the send buffer is not what stops (tried with tbf and with loss)";
    QDISC_OVERLIMITS, QdiscOverlimitsPerSecond AtLeast 10.0,
        "a shaper at its rate counts one with each packet held back (net/sched/sch_tbf.c, tbf_dequeue)";
    QDISC_DROPPED, QdiscDroppedPercent AtLeast 0.01,
        "as LOSS";
    LOSS, RetransmittedPercent Above 0.01,
        "tried with one packet in 300 dropped in a router; 0.01 % is a choice, below which few streams are slowed down";
    LOSS_RTT, RttOverTripleMs Below 0.5,
        "tried with loss without a queue, and with a short tbf queue";
    SOCKET_DROPPED_LITTLE, SocketDroppedPercent Below 2.0,
        "a packet that is dropped there can hold 45 segments (64 KiB of GRO over 1448 bytes), so that 2 % can be all of them";
    QUEUE_RTT, RttPerMinRatio Above 2.0,
        "tried with tbf in a router (17 ms of RTT where the path has none)";
    QUEUE_ADDED, RttAddedMs AtLeast 0.5,
        "below it hosts alone make such a difference: moderated interrupts, threads that wake up";
    PACING_LOW, PacingPerDeliveryRatio AtLeast 0.7,
        "a choice around bbr's gains of 0.75 and 1.25 (net/ipv4/tcp_bbr.c, bbr_pacing_gain)";
    PACING_HIGH, PacingPerDeliveryRatio AtMost 1.3,
        "as PACING_LOW";

    // Network cards; none of these was tried on one.
    RING_MISSED, RingMissedPercent AtLeast 0.01,
        "as LOSS: the counters are those of the kernel's mlx5 counters.rst, rx_out_of_buffer and the like";
    BACKLOG_DROPPED, BacklogDroppedPercent AtLeast 0.01,
        "as LOSS (net/core/dev.c, enqueue_to_backlog); a card without RPS never counts here";
    INTERRUPTS, InterruptPercent AtLeast 95.0,
        "a processor with nothing but interrupts (ksoftirqd, kernel/softirq.c) is full";
    PAUSED, PausedPercent Above 1.0,
        "mlx5 counters.rst, rx_global_pause_duration; a choice of 1 %";
    PCIE_STALLED, PcieStalledPercent AtLeast 50.0,
        "mlx5 counters.rst, outbound_pci_stalled_rd_events: seconds above 30 %; a choice of half of them";
    LINK_USED, LinkUsedPercent AtLeast 98.0,
        "a link carries its speed less clock tolerance and the gaps of other traffic (IEEE 802.3)";
    LINK_PLAUSIBLE, LinkUsedPercent AtMost 102.0,
        "more than a link's speed is a wrong speed, as veth has";

    // Datagrams.
    DATAGRAMS_LOST, LostPercent AtLeast 5.0,
        "a choice: below it the rate of sending is what limits, and the loss stands beside it";
    LOST_LITTLE, LostPercent Below 5.0,
        "the other side of DATAGRAMS_LOST";
    LOST_IN_SOCKET, LostInSocketPercent AtLeast 70.0,
        "a choice: most of the loss in one place";
    LOST_IN_NETWORK, LostInNetworkPercent AtLeast 70.0,
        "a choice: most of the loss in one place";
    LOST_IN_QDISC, LostInQdiscPercent AtLeast 50.0,
        "a choice: the own qdisc has dropped as many packets as half of the loss";
    LOST_IN_HOSTS_LITTLE, LostInHostsPercent Below 50.0,
        "a choice: hosts have dropped fewer packets than half of the loss";
    LOST_IN_RING, LostInRingPercent AtLeast 50.0,
        "a choice: the card has dropped as many packets as half of the loss";
    LOST_IN_BACKLOG, LostInBacklogPercent AtLeast 50.0,
        "a choice: the backlog has dropped as many packets as half of the loss";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verdict::figures::Unit;

    #[test]
    fn names_are_used_once_and_values_are_in_range() {
        let names: BTreeSet<_> = ALL.iter().map(|threshold| threshold.name).collect();
        assert_eq!(names.len(), ALL.len());
        for threshold in ALL {
            let most = if threshold.figure.unit() == Unit::Percent { 110.0 } else { 1000.0 };
            assert!((0.0..=most).contains(&threshold.value), "{}", threshold.name);
            assert!(!threshold.source.is_empty(), "{}", threshold.name);
        }
    }

    #[test]
    fn a_bound_has_two_sides() {
        for (bound, below, at, above) in [
            (Bound::AtLeast, false, true, true),
            (Bound::Above, false, false, true),
            (Bound::AtMost, true, true, false),
            (Bound::Below, true, false, false),
        ] {
            let met = [1.0, 2.0, 3.0].map(|value| bound.is_met(value, 2.0));
            assert_eq!(met, [below, at, above], "{bound:?}");
            assert!(!bound.is_met(f64::NAN, 2.0), "{bound:?}");
        }
    }

    /// The page for people says what the code does: the same thresholds in the same order.
    #[test]
    fn the_page_has_the_same_table() {
        let page = include_str!("../../docs/VERDICTS.md");
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 4);
        let rows: Vec<_> = rows.collect();
        let expected: Vec<_> = ALL
            .iter()
            .map(|Threshold { name, figure, bound, value, source }| {
                let figure_name = serde_json::to_value(figure).unwrap();
                let unit = figure.unit().name();
                let limit = format!("{} {value} {unit}", bound.symbol());
                let figure_name = figure_name.as_str().unwrap();
                format!(
                    "| `{name}` | `{figure_name}` | {} | {} | {source} |",
                    limit.trim_end(),
                    figure.source()
                )
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
