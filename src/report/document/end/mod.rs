//! The `end` object: the totals of a test.

mod tcp;
mod udp;

use serde::{Deserialize, Serialize};

use crate::config::Flow;
use crate::stats::CpuUse;

use super::Number;
use crate::report::totals::{self, Halves, is_udp};
use crate::report::{StreamEnd, TestEnd};

pub use tcp::{DiskFile, ReceivedStream, ReceivedSum, SentStream, SentSum, TcpStream, TcpTotals};
pub use udp::{DatagramTotals, UdpStream, UdpStreamTotals, UdpSum, UdpTotals};

/// The totals of a test, empty if there was none. What only the other end can count is null where its results
/// did not come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "the totals of a TCP or of a UDP test, or none")]
pub enum End {
    /// Of a UDP test.
    Udp(Box<UdpTotals>),
    /// Of a TCP test, or of an SCTP one.
    Tcp(Box<TcpTotals>),
    /// There was no test.
    Nothing(Nothing),
}

/// No totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The counted part of a test, and what was moved in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Total {
    /// Seconds since the start of the counted part.
    pub start: Number,
    /// Seconds since the same moment.
    pub end: Option<Number>,
    /// Length of the span in seconds.
    pub seconds: Option<Number>,
    /// Bytes of payload.
    pub bytes: Option<u64>,
    /// Bits of payload per second; null also with the engine null, which moves nothing.
    pub bits_per_second: Option<Number>,
}

/// Processor time in percent of one core; null where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CpuUtilization {
    /// This end, all of it.
    pub host_total: Option<Number>,
    /// This end, in its own code.
    pub host_user: Option<Number>,
    /// This end, in the kernel.
    pub host_system: Option<Number>,
    /// The other end, all of it.
    pub remote_total: Option<Number>,
    /// The other end, in its own code.
    pub remote_user: Option<Number>,
    /// The other end, in the kernel.
    pub remote_system: Option<Number>,
}

/// What is known of the ends of a test.
#[derive(Clone, Copy)]
struct Known {
    /// Whether there is a rate: with the engine null nothing goes over the network.
    rate: bool,
    /// Whether the other end has told its results, or zeros stand for them as in iperf3.
    peer: bool,
}

impl End {
    /// The totals of a test in which this end does `flows`.
    pub(in crate::report) fn new(flows: &[Flow], end: &TestEnd, has_rate: bool) -> Self {
        let known = Known { rate: has_rate, peer: !end.peer_unknown };
        if is_udp(end) {
            Self::Udp(Box::new(UdpTotals::new(flows, end, known)))
        } else {
            Self::Tcp(Box::new(TcpTotals::new(flows, end, known)))
        }
    }
}

/// The streams, direction by direction.
fn in_order<'a>(flows: &'a [Flow], end: &'a TestEnd) -> impl Iterator<Item = &'a StreamEnd> {
    flows.iter().flat_map(|&flow| end.streams.iter().filter(move |stream| stream.flow == flow))
}

/// The sums of each direction, and what this end does in it.
fn directions<'a>(flows: &'a [Flow], end: &'a TestEnd) -> impl Iterator<Item = (Flow, Halves)> {
    flows.iter().map(|&flow| {
        let streams: Vec<_> = end.streams.iter().filter(|stream| stream.flow == flow).collect();
        (flow, Halves::sum(&streams))
    })
}

impl CpuUtilization {
    fn new(end: &TestEnd, known: Known) -> Self {
        let part = |cpu: Option<CpuUse>, part: fn(CpuUse) -> f64| cpu.map(|cpu| part(cpu).into());
        let (host, remote) = (end.cpu_local, end.cpu_remote.filter(|_| known.peer));
        Self {
            host_total: part(host, |cpu| cpu.total),
            host_user: part(host, |cpu| cpu.user),
            host_system: part(host, |cpu| cpu.system),
            remote_total: part(remote, |cpu| cpu.total),
            remote_user: part(remote, |cpu| cpu.user),
            remote_system: part(remote, |cpu| cpu.system),
        }
    }
}

impl Known {
    /// Whether it is known what `half` has counted, where this end does `own`.
    fn of_half(self, own: Flow, half: Flow) -> bool {
        self.peer || own == half
    }

    /// What `half` has counted, where this end does `own`.
    fn half(self, span: totals::Span, own: Flow, half: Flow) -> Total {
        let is_known = self.of_half(own, half);
        Total {
            start: span.start.into(),
            end: is_known.then(|| span.end.into()),
            seconds: is_known.then(|| span.seconds().into()),
            bytes: is_known.then_some(span.bytes),
            bits_per_second: (is_known && self.rate).then(|| span.bits_per_second().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;

    use super::*;

    #[test]
    fn no_totals_are_an_empty_object() {
        assert_eq!(serde_json::to_string(&End::Nothing(Nothing {})).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<End>("{}").unwrap(), End::Nothing(Nothing {}));
        assert!(serde_json::from_str::<End>("{\"streams\":[]}").is_err());
    }

    #[test]
    fn what_was_not_told_is_null_and_no_key_comes_or_goes() {
        for (end, flows) in
            [Direction::Forward, Direction::Reverse, Direction::Bidir].into_iter().flat_map(|direction| {
                let (role, flows) = (Role::Client, direction.flows(Role::Client));
                [(fixtures::end(role, direction, 2), flows), (fixtures::udp_end(role, direction, 2), flows)]
            })
        {
            let value = |end: &TestEnd| serde_json::to_value(End::new(flows, end, true)).unwrap();
            let whole = value(&end);
            let unknown = value(&TestEnd { peer_unknown: true, ..end });
            let paths = |value: &Value| {
                let mut paths = Vec::new();
                list(value, "", &mut paths);
                paths
            };
            assert_eq!(paths(&unknown), paths(&whole));
            assert_eq!(unknown["cpu_utilization_percent"]["remote_total"], Value::Null);
            assert!(unknown["cpu_utilization_percent"]["host_total"].is_number());
        }
    }

    /// All keys, with those that they stand below.
    fn list(value: &Value, path: &str, paths: &mut Vec<String>) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| list(element, path, paths)),
            Value::Object(members) => members.iter().for_each(|(key, member)| {
                let path = format!("{path}/{key}");
                list(member, &path, paths);
                paths.push(path);
            }),
            _ => {}
        }
    }
}
