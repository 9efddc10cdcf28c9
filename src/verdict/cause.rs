//! The words of a verdict: causes, where they lie, and what speaks for and against them.

use serde::{Deserialize, Serialize};

use super::figures::Figure;
use super::thresholds::{Bound, Threshold};

/// What can limit a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The rate that somebody asked for.
    RateAsked,
    /// A quota on the processor time of one end's control group.
    CpuQuota,
    /// The processor time of one end's threads.
    Cpu,
    /// Other work on the processors of one end.
    CpuContended,
    /// The receive buffer of the receiving end, and the window that follows from it.
    ReceiveBuffer,
    /// The send buffer of the sending end.
    SendBuffer,
    /// The buffer of the receiving end's UDP sockets.
    ReceiverSocket,
    /// The queueing discipline in front of the sending end's device.
    Qdisc,
    /// A queue in the path: its slowest part has no more to give.
    PathQueue,
    /// Packets lost in the path.
    PathLoss,
    /// The pacing of a congestion control.
    Pacing,
    /// The ring of the receiving end's network card.
    NicRing,
    /// A processor that serves interrupts.
    Softirq,
    /// Pause frames.
    Pause,
    /// The PCIe bus of one end's network card.
    Pcie,
    /// The link: the good end.
    Link,
    /// The run was over too soon to judge, since the amount of bytes was sent.
    AmountSent,
    /// Nothing stands out.
    Undetermined,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::RateAsked,
        Self::CpuQuota,
        Self::Cpu,
        Self::CpuContended,
        Self::ReceiveBuffer,
        Self::SendBuffer,
        Self::ReceiverSocket,
        Self::Qdisc,
        Self::PathQueue,
        Self::PathLoss,
        Self::Pacing,
        Self::NicRing,
        Self::Softirq,
        Self::Pause,
        Self::Pcie,
        Self::Link,
        Self::AmountSent,
        Self::Undetermined,
    ];

    /// Whether its rule reads counters of network cards, and has never met one.
    #[must_use]
    pub fn is_untried(self) -> bool {
        matches!(self, Self::NicRing | Self::Softirq | Self::Pause | Self::Pcie | Self::Link)
    }
}

/// Where a cause lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The end that sends the bytes.
    Sender,
    /// The end that receives them.
    Receiver,
    /// Between the two.
    Path,
    /// No single place.
    None,
}

/// How much a verdict is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Both ends have told what there is to know, and the cause has at least half of the time.
    Sure,
    /// It follows from the evidence, but some is missing, the rule is untried, or the cause has less than
    /// half of the time.
    Likely,
    /// Nothing was named.
    None,
}

/// One number that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which number it is; its unit is at the end of the name.
    pub name: Figure,
    /// Whose number it is.
    pub end: End,
    /// The number.
    pub value: f64,
    /// What it was compared with; `None` if it only stands beside the verdict.
    pub threshold: Option<f64>,
    /// On which side of the threshold the rule wants it.
    pub bound: Option<Bound>,
    /// Where the number comes from.
    pub source: String,
}

impl Evidence {
    /// A number that only stands beside a verdict.
    pub(super) fn finding(name: Figure, end: End, value: f64) -> Self {
        Self { name, end, value, threshold: None, bound: None, source: name.source().to_owned() }
    }

    /// A number that was compared with a threshold.
    pub(super) fn compared(threshold: &Threshold, end: End, value: f64) -> Self {
        let finding = Self::finding(threshold.figure, end, value);
        Self { threshold: Some(threshold.value), bound: Some(threshold.bound), ..finding }
    }

    /// Whether it is on the side of its threshold that the rule wants; a finding always is.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match (self.bound, self.threshold) {
            (Some(bound), Some(threshold)) => bound.is_met(self.value, threshold),
            _ => true,
        }
    }
}

/// A cause that the evidence speaks against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuledOut {
    /// The cause.
    pub cause: Cause,
    /// Where it would have been.
    pub end: End,
    /// The number that is on the wrong side of its threshold.
    pub evidence: Evidence,
}
