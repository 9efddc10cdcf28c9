//! The `ringperf` object: what iperf3 has no key for.

use serde::{Deserialize, Serialize};

use crate::protocol::{EngineReport, PeerReport, QueueReport};

use crate::report::totals::CpuPerGigabyte;
use crate::report::{DatagramReport, TestEnd};

/// What iperf3 has no key for. null is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Own {
    /// Version of the ringperf that says this.
    pub version: String,
    /// The sending and the receiving engine of this end, those that ran.
    #[cfg_attr(test, schemars(length(max = 2)))]
    pub engines: Vec<EngineReport>,
    /// What a ringperf at the other end says of itself.
    pub peer: Option<PeerReport>,
    /// What became of the datagrams of each stream of a UDP test.
    pub datagrams: Vec<DatagramReport>,
    /// The queues (qdiscs) of this end's devices through which a UDP test has sent, and the packets that they
    /// dropped meanwhile, whoever sent them. Empty where there is none, or the kernel does not tell.
    pub queues: Vec<QueueReport>,
    /// Processor time of both ends.
    pub cpu_seconds: CpuSeconds,
    /// Processor time of both ends for what they moved.
    pub cpu_seconds_per_gb: CpuSecondsPerGb,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CpuSeconds {
    /// This end, in its own code.
    pub local_user: Option<f64>,
    /// This end, in the kernel.
    pub local_system: Option<f64>,
    /// The other end, in its own code.
    pub remote_user: Option<f64>,
    /// The other end, in the kernel.
    pub remote_system: Option<f64>,
}

/// Processor time in seconds per 10^9 bytes that the end has moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CpuSecondsPerGb {
    /// This end.
    pub local: Option<f64>,
    /// The other end.
    pub remote: Option<f64>,
}

impl Own {
    /// What is known of a test, which may not have come to its end.
    pub(in crate::report) fn new(end: Option<&TestEnd>, warnings: &[String]) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engines: end.map_or_else(Vec::new, |end| end.engines.clone()),
            peer: end.and_then(|end| end.peer.clone()),
            datagrams: end.map_or_else(Vec::new, |end| end.datagrams.clone()),
            queues: end.map_or_else(Vec::new, |end| end.queues.clone()),
            cpu_seconds: CpuSeconds::new(end),
            cpu_seconds_per_gb: CpuSecondsPerGb::new(end),
            warnings: warnings.to_vec(),
        }
    }
}

impl CpuSeconds {
    fn new(end: Option<&TestEnd>) -> Self {
        let local = end.and_then(|end| end.cpu_time);
        let remote = end.and_then(|end| end.cpu_time_remote);
        Self {
            local_user: local.map(|time| time.user.as_secs_f64()),
            local_system: local.map(|time| time.system.as_secs_f64()),
            remote_user: remote.map(|time| time.user.as_secs_f64()),
            remote_system: remote.map(|time| time.system.as_secs_f64()),
        }
    }
}

impl CpuSecondsPerGb {
    fn new(end: Option<&TestEnd>) -> Self {
        let of_ends = end.map(CpuPerGigabyte::from);
        Self { local: of_ends.and_then(|cpu| cpu.local), remote: of_ends.and_then(|cpu| cpu.remote) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures::{self, shape};

    use super::*;

    #[test]
    fn every_datagram_is_told_under_our_own_key() {
        let mut end = fixtures::udp_end(Role::Client, Direction::Forward, 1);
        end.datagrams = vec![fixtures::datagrams(1, "send")];
        end.engines[0].pacing = Some(fixtures::pacing());
        end.engines[0].processors = vec![fixtures::processors()];
        let document = serde_json::to_value(Own::new(Some(&end), &[])).unwrap();
        assert_eq!(
            document["engines"][0]["processors"],
            json!([{"id": 1, "placed": 3, "looks": 200, "moves": 4, "distinct": 2,
                "shares": [{"cpu": 3, "percent": 98.0}, {"cpu": 0, "percent": 2.0}]}])
        );
        assert_eq!(
            document["datagrams"],
            json!([{"id": 1, "flow": "send", "sent": 1280, "received": 1276, "lost": 4, "lost_in_network": 3,
                "lost_in_socket": 1, "duplicates": 2, "reordered": 5, "foreign": 0}])
        );
        assert_eq!(
            shape(&document["engines"][0]["pacing"]),
            "{target_bits_per_second:n,achieved_bits_per_second:n,bursts:n,burst_mean:n,burst_max:n,\
             inter_departure:{count:n,p50_us:n,p90_us:n,p99_us:n,p999_us:n,max_us:n}}"
        );
    }
}
