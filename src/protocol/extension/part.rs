//! What each of two ringperfs tells the other at the end of a test: its part.
//!
//! It travels on a connection of its own, as a length word and a JSON object. Either everything in it can be
//! true, or nothing of it is believed.

use serde::{Deserialize, Serialize};

use super::is_version;
use crate::protocol::{JsonError, Value, parse_object};
use crate::stats::{Percentiles, ZeroCopy};
use crate::units::to_f64;

/// Largest count: what iperf3 has room for.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs();
/// Longest time in seconds that anybody is believed to have worked or waited.
const SECONDS_MAX: f64 = 1e9;
/// Longest of the times in a distribution, in microseconds: what is recorded ends at a minute.
const TIME_US_MAX: f64 = 61e6;
/// Largest rate in bits per second that 128 streams together can be asked for.
const RATE_MAX: f64 = 128.0 * 9.3e18;
/// Largest processor number.
const CPU_MAX: u32 = 65_535;
/// Longest polling in microseconds: what the kernel has room for.
const POLL_US_MAX: u32 = i32::MAX.unsigned_abs();
/// Longest name of an engine ...
const NAME_BYTES_MAX: usize = 64;
/// ... and longest sentence about one, in bytes.
const SENTENCE_BYTES_MAX: usize = 1024;
/// Largest ratio of two rates that is believed.
const SHARE_MAX: f64 = 1e9;
/// How far sums of rounded numbers may be off.
const ROUNDING: f64 = 1.000_001;

/// What a ringperf at the other end says of itself: its part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeerReport {
    /// Its version.
    pub version: String,
    /// Processor seconds in its own code; null if it does not know them.
    pub cpu_user_seconds: Option<f64>,
    /// Processor seconds in the kernel; null if it does not know them.
    pub cpu_system_seconds: Option<f64>,
    /// Its sending and its receiving engine, those that ran.
    #[cfg_attr(test, schemars(length(max = 2)))]
    pub engines: Vec<EngineReport>,
    /// Its receiving streams of a UDP test.
    #[serde(default)]
    pub datagrams: Vec<ReceivedDatagrams>,
    /// The queues (qdiscs) of its devices through which a UDP test has sent. Empty also where an older
    /// ringperf does not look.
    #[serde(default)]
    pub queues: Vec<QueueReport>,
}

/// How one end moved the bytes of one direction: by which engine, and why by that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EngineReport {
    /// What this end did.
    #[cfg_attr(test, schemars(extend("enum" = ["send", "receive"])))]
    pub flow: String,
    /// The engine asked for, by its command-line name.
    pub asked: String,
    /// The engine that ran (at the end, if it stepped down on the way).
    pub used: String,
    /// Why it is not the one asked for, or why `auto` took it. One sentence without a full stop.
    pub reason: String,
    /// What the user can do about it; empty if there is nothing to do.
    pub fix: String,
    /// System calls or completions that moved bytes.
    pub operations: u64,
    /// What became of zero-copy sends; null of engines that copy.
    pub zero_copy: Option<ZeroCopy>,
    /// Distributions of times.
    pub latency: LatencyReport,
    /// How a UDP sender spread its datagrams over time; null of all others.
    #[serde(default)]
    pub pacing: Option<PacingReport>,
    /// Seconds in which a TCP sender had something to send, all streams added.
    pub busy_seconds: Option<f64>,
    /// Those of the busy seconds in which the window of its peer was full.
    pub rwnd_limited_seconds: Option<f64>,
    /// Those of the busy seconds in which its send buffer was too small.
    pub sndbuf_limited_seconds: Option<f64>,
    /// How near was understood, one sentence without a full stop; absent with other placements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// What has become of --busy-poll; absent if that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_poll: Option<BusyPollReport>,
    /// Where the thread of each stream has run, in the order in which the streams were opened.
    #[serde(default)]
    pub processors: Vec<ProcessorReport>,
    /// What the streams moved at a time, and what they tried out for that; null over UDP, from a file, with
    /// msg-zc, with --no-adapt and of an older ringperf.
    #[serde(default)]
    pub sizes: Option<SizesReport>,
}

/// What the streams of one direction moved at a time at one end of a TCP test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SizesReport {
    /// Bytes of one send or one receive buffer, in the end.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub bytes: u32,
    /// Whether a busy receiver was woken for many bytes at once (SO_RCVLOWAT), in the end; null of senders.
    pub marked: Option<bool>,
    /// Whether recv(2) brought the bytes in the end, and no ring; null of senders and of an older ringperf.
    #[serde(default)]
    pub plain: Option<bool>,
    /// The other ways that were tried.
    #[cfg_attr(test, schemars(length(max = Self::OTHERS_MAX)))]
    pub others: Vec<TriedSizes>,
}

impl SizesReport {
    /// Most ways that are tried beside the one that is used.
    pub const OTHERS_MAX: usize = 8;
}

/// A way to move bytes that was tried beside the one that is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TriedSizes {
    /// Bytes of one send or one receive buffer.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub bytes: u32,
    /// Whether a busy receiver was woken for many bytes at once (SO_RCVLOWAT); null of senders.
    pub marked: Option<bool>,
    /// Whether recv(2) brought the bytes, and no ring; null of senders and of an older ringperf.
    #[serde(default)]
    pub plain: Option<bool>,
    /// Its rate as a share of the rate of the way that was used in the end; null where the test was too
    /// short, or too slow for sizes to matter.
    pub rate_share: Option<f64>,
}

/// Where the thread of one stream has run, by looks about every ten milliseconds while something moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ProcessorReport {
    /// iperf3's number of the stream: 1, 3, 4, 5, ...
    pub id: u32,
    /// The processor that it was kept on; null if the scheduler had the choice.
    pub placed: Option<u32>,
    /// How many looks there were, about one each ten milliseconds.
    pub looks: u64,
    /// How many looks found it somewhere else than the look before.
    pub moves: u64,
    /// Different processors on which it was found.
    pub distinct: u64,
    /// The most frequent ones of these, the most frequent first.
    #[cfg_attr(test, schemars(length(max = Self::SHARES_MAX)))]
    pub shares: Vec<ProcessorShare>,
    /// How often it was beside the interrupts of the network card; absent if no card is known, or not who
    /// serves its interrupts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<InterruptShare>,
}

/// How often a thread was where the interrupts of the network card are served, as they were when the test
/// began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InterruptShare {
    /// Share of the looks that found it on a processor that serves them, 0 to 100.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub processor_percent: f64,
    /// Share of the looks that found it on a processor that serves them or shares a core with one that does,
    /// 0 to 100.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub core_percent: f64,
}

impl ProcessorReport {
    /// Most processors that are named for one stream.
    pub const SHARES_MAX: usize = 8;
}

/// How often a thread was on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProcessorShare {
    /// The processor.
    pub cpu: u32,
    /// Its share of the looks, 0 to 100.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub percent: f64,
}

/// How the sockets of one direction have polled the network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BusyPollReport {
    /// How long they were to poll before they waited for an interrupt, in microseconds.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub asked_us: u32,
    /// How long each of them does (SO_BUSY_POLL), the shortest time of all in microseconds; null if the
    /// kernel does not tell.
    pub set_us: Option<u32>,
    /// Streams of the direction.
    pub streams: u32,
    /// Streams whose last packet came from a NAPI instance, without which there is nothing to poll: with 0 it
    /// had no effect. null if the kernel does not tell.
    pub napi_streams: Option<u32>,
}

/// Distributions of times at one end, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LatencyReport {
    /// Smoothed round-trip time, read about every ten milliseconds on senders.
    pub rtt: Option<Percentiles>,
    /// From the submission of a send to its completion.
    pub completion: Option<Percentiles>,
    /// From the submission of a zero-copy send to the release of its buffer.
    pub release: Option<Percentiles>,
}

/// How a sender spread its datagrams over time, all its streams together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PacingReport {
    /// Bits per second that all streams together should reach; 0 is no limit.
    pub target_bits_per_second: f64,
    /// Bits per second that they reached.
    pub achieved_bits_per_second: f64,
    /// Bursts: datagrams handed to the kernel at once.
    pub bursts: u64,
    /// Datagrams of a burst, on average.
    pub burst_mean: f64,
    /// Datagrams of the largest burst.
    pub burst_max: u64,
    /// From the departure of one burst to that of the next of the same stream.
    pub inter_departure: Option<Percentiles>,
}

/// What a receiving ringperf tells its sending peer of one stream, the omit period included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ReceivedDatagrams {
    /// iperf3's number of the stream: 1, 3, 4, 5, ...
    pub id: u32,
    /// Different datagrams that came.
    pub received: u64,
    /// Datagrams that came again.
    pub duplicates: u64,
    /// Datagrams that came after one with a higher number.
    pub reordered: u64,
    /// Datagrams that the full socket buffer has dropped, as far as later datagrams show it.
    pub lost_in_socket: u64,
    /// Datagrams that it may have dropped after the last one that came.
    pub dropped_after_last: u64,
    /// Datagrams that were not of this test.
    pub foreign: u64,
}

/// The queue (qdisc) in front of a device through which an end has sent, the omitted part included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueReport {
    /// The device's name.
    pub device: String,
    /// The kind of the queue, as tc(8) names it.
    pub kind: String,
    /// Packets that it has dropped meanwhile, whoever sent them; null if that cannot be known.
    pub dropped_packets: Option<u64>,
}

/// Why a part is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// It is no JSON object.
    #[error("it is {0}")]
    Json(#[from] JsonError),
    /// Something is missing in it, or has the wrong type.
    #[error("it has not the right keys")]
    Shape,
    /// Something in it cannot be true.
    #[error("its \"{0}\" cannot be")]
    Impossible(&'static str),
}

impl PeerReport {
    /// The JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("plain structs become JSON")
    }

    /// What a peer says of its end of a test whose streams have these numbers. Keys that are not known are
    /// ignored: a later ringperf has more of them.
    ///
    /// # Errors
    /// See [`PartError`].
    pub fn decode(bytes: &[u8], ids: &[u32]) -> Result<Self, PartError> {
        let value = Value::Object(parse_object(bytes)?).to_json();
        let report: Self = serde_json::from_value(value).map_err(|_| PartError::Shape)?;
        report.check(ids)?;
        Ok(report)
    }

    fn check(&self, ids: &[u32]) -> Result<(), PartError> {
        possible("version", is_version(&self.version))?;
        seconds("cpu_user_seconds", self.cpu_user_seconds)?;
        seconds("cpu_system_seconds", self.cpu_system_seconds)?;
        let flows: Vec<&str> = self.engines.iter().map(|engine| engine.flow.as_str()).collect();
        let are_flows = flows.iter().all(|flow| ["send", "receive"].contains(flow));
        possible("flow", are_flows && flows.len() <= 2 && (flows.len() < 2 || flows[0] != flows[1]))?;
        self.engines.iter().try_for_each(|engine| engine.check(ids))?;
        are_of_test(self.datagrams.iter().map(|stream| stream.id), ids)?;
        self.datagrams.iter().try_for_each(ReceivedDatagrams::check)?;
        possible("queues", self.queues.len() <= ids.len())?;
        self.queues.iter().try_for_each(QueueReport::check)
    }
}

impl EngineReport {
    fn check(&self, ids: &[u32]) -> Result<(), PartError> {
        for (key, name) in [("asked", &self.asked), ("used", &self.used)] {
            possible(key, (1..=NAME_BYTES_MAX).contains(&name.len()) && is_graphic(name))?;
        }
        possible("reason", self.reason.len() <= SENTENCE_BYTES_MAX)?;
        possible("fix", self.fix.len() <= SENTENCE_BYTES_MAX)?;
        possible("placement", self.placement.as_ref().is_none_or(|text| text.len() <= SENTENCE_BYTES_MAX))?;
        counts(&[("operations", self.operations)])?;
        if let Some(sends) = &self.zero_copy {
            counts(&[
                ("requested_bytes", sends.requested_bytes),
                ("requested_sends", sends.requested_sends),
                ("outstanding", sends.outstanding),
            ])?;
            possible("copied_bytes", sends.copied_bytes <= sends.requested_bytes)?;
            possible("copied_sends", sends.copied_sends <= sends.requested_sends)?;
        }
        let LatencyReport { rtt, completion, release } = &self.latency;
        percentiles("rtt", rtt.as_ref())?;
        percentiles("completion", completion.as_ref())?;
        percentiles("release", release.as_ref())?;
        self.pacing.iter().try_for_each(PacingReport::check)?;
        seconds("busy_seconds", self.busy_seconds)?;
        seconds("rwnd_limited_seconds", self.rwnd_limited_seconds)?;
        seconds("sndbuf_limited_seconds", self.sndbuf_limited_seconds)?;
        self.busy_poll.iter().try_for_each(|busy_poll| busy_poll.check(ids))?;
        are_of_test(self.processors.iter().map(|stream| stream.id), ids)?;
        self.processors.iter().try_for_each(ProcessorReport::check)?;
        self.sizes.iter().try_for_each(SizesReport::check)
    }
}

impl SizesReport {
    fn check(&self) -> Result<(), PartError> {
        possible("bytes", self.bytes > 0 && self.others.iter().all(|other| other.bytes > 0))?;
        possible("others", self.others.len() <= Self::OTHERS_MAX)?;
        let shares = || self.others.iter().filter_map(|other| other.rate_share);
        possible("rate_share", shares().all(|share| (0.0..=SHARE_MAX).contains(&share)))
    }
}

impl BusyPollReport {
    fn check(&self, ids: &[u32]) -> Result<(), PartError> {
        let Self { asked_us, set_us, streams, napi_streams } = *self;
        let is_time = |micros| micros <= POLL_US_MAX;
        possible("asked_us", (1..=POLL_US_MAX).contains(&asked_us))?;
        possible("set_us", set_us.is_none_or(is_time))?;
        possible("streams", usize::try_from(streams).is_ok_and(|streams| streams <= ids.len()))?;
        possible("napi_streams", napi_streams.is_none_or(|of_napi| of_napi <= streams))
    }
}

impl ProcessorReport {
    fn check(&self) -> Result<(), PartError> {
        let Self { placed, looks, moves, distinct, shares, .. } = self;
        counts(&[("looks", *looks)])?;
        possible("placed", placed.is_none_or(|cpu| cpu <= CPU_MAX))?;
        possible("moves", moves <= looks)?;
        possible("distinct", distinct <= looks)?;
        let named = u64::try_from(shares.len()).unwrap_or(u64::MAX);
        possible("shares", shares.len() <= Self::SHARES_MAX && named <= *distinct)?;
        possible("cpu", shares.iter().all(|share| share.cpu <= CPU_MAX))?;
        let are_shares = shares.iter().all(|share| (0.0..=100.0).contains(&share.percent));
        let sum: f64 = shares.iter().map(|share| share.percent).sum();
        possible("percent", are_shares && sum <= 100.0 * ROUNDING)?;
        self.interrupts.as_ref().map_or(Ok(()), InterruptShare::check)
    }
}

impl InterruptShare {
    fn check(&self) -> Result<(), PartError> {
        let Self { processor_percent, core_percent } = self;
        possible("core_percent", (0.0..=100.0).contains(core_percent))?;
        possible("processor_percent", (0.0..=core_percent * ROUNDING).contains(processor_percent))
    }
}

impl PacingReport {
    fn check(&self) -> Result<(), PartError> {
        let is_rate = |rate: f64| (0.0..=RATE_MAX).contains(&rate);
        possible("target_bits_per_second", is_rate(self.target_bits_per_second))?;
        possible("achieved_bits_per_second", is_rate(self.achieved_bits_per_second))?;
        counts(&[("bursts", self.bursts), ("burst_max", self.burst_max)])?;
        let largest = to_f64(self.burst_max);
        possible("burst_mean", (0.0..=largest * ROUNDING).contains(&self.burst_mean))?;
        percentiles("inter_departure", self.inter_departure.as_ref())
    }
}

impl ReceivedDatagrams {
    fn check(&self) -> Result<(), PartError> {
        counts(&[
            ("received", self.received),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("lost_in_socket", self.lost_in_socket),
            ("dropped_after_last", self.dropped_after_last),
            ("foreign", self.foreign),
        ])?;
        // Each that came after one with a higher number is one of those that came.
        possible("reordered", self.reordered <= self.received)
    }
}

impl QueueReport {
    fn check(&self) -> Result<(), PartError> {
        // The kernel lets a device have almost any name.
        possible("device", (1..=NAME_BYTES_MAX).contains(&self.device.len()))?;
        possible("kind", (1..=NAME_BYTES_MAX).contains(&self.kind.len()) && is_graphic(&self.kind))?;
        counts(&[("dropped_packets", self.dropped_packets.unwrap_or(0))])
    }
}

fn possible(key: &'static str, is_possible: bool) -> Result<(), PartError> {
    if is_possible { Ok(()) } else { Err(PartError::Impossible(key)) }
}

fn seconds(key: &'static str, seconds: Option<f64>) -> Result<(), PartError> {
    possible(key, seconds.is_none_or(|seconds| (0.0..=SECONDS_MAX).contains(&seconds)))
}

fn counts(counts: &[(&'static str, u64)]) -> Result<(), PartError> {
    counts.iter().try_for_each(|(key, count)| possible(key, *count <= COUNT_MAX))
}

/// Times that grow, of at least one.
fn percentiles(key: &'static str, times: Option<&Percentiles>) -> Result<(), PartError> {
    let Some(&Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us }) = times else { return Ok(()) };
    let grow = [0.0, p50_us, p90_us, p99_us, p999_us, max_us, TIME_US_MAX].is_sorted();
    possible(key, (1..=COUNT_MAX).contains(&count) && grow)
}

/// Each of these numbers is that of a stream of the test, and of no other element.
fn are_of_test(of_elements: impl Iterator<Item = u32>, ids: &[u32]) -> Result<(), PartError> {
    let mut left = ids.to_vec();
    for id in of_elements {
        let at = left.iter().position(|known| *known == id).ok_or(PartError::Impossible("id"))?;
        left.swap_remove(at);
    }
    Ok(())
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const IDS: [u32; 2] = [1, 3];

    /// A part with everything that can be in one. Later versions must go on understanding it.
    const RECORDED: &str = concat!(
        r#"{"version":"0.1.0","cpu_user_seconds":0.1,"cpu_system_seconds":0.4,"engines":[{"flow":"send","#,
        r#""asked":"auto","used":"uring","reason":"a reason","fix":"a fix","operations":10,"zero_copy":"#,
        r#"{"requested_bytes":1048576,"copied_bytes":786432,"outstanding":2,"requested_sends":8,"#,
        r#""copied_sends":6},"latency":{"rtt":{"count":7,"p50_us":20.0,"p90_us":30.0,"p99_us":40.0,"#,
        r#""p999_us":50.5,"max_us":60.0},"completion":null,"release":null},"pacing":"#,
        r#"{"target_bits_per_second":10000000.0,"achieved_bits_per_second":9990000.0,"bursts":850,"#,
        r#""burst_mean":1.5,"burst_max":4,"inter_departure":null},"busy_seconds":2.0,"#,
        r#""rwnd_limited_seconds":0.5,"sndbuf_limited_seconds":0.25,"placement":"a place","busy_poll":"#,
        r#"{"asked_us":50,"set_us":50,"streams":2,"napi_streams":1},"processors":["#,
        r#"{"id":1,"placed":3,"#,
        r#""looks":200,"moves":4,"distinct":2,"shares":[{"cpu":3,"percent":98.0},{"cpu":0,"percent":2.0}],"#,
        r#""interrupts":{"processor_percent":2.0,"core_percent":50.0}}"#,
        r#"],"sizes":{"bytes":1048576,"marked":null,"plain":null,"others":[{"bytes":131072,"#,
        r#""marked":null,"plain":null,"rate_share":0.75}]}}],"datagrams":[{"id":3,"received":1276,"duplicates":2,"reordered":5,"lost_in_socket":1,"#,
        r#""dropped_after_last":0,"foreign":0}],"queues":[{"device":"eth0","kind":"fq_codel","#,
        r#""dropped_packets":17}]}"#
    );

    fn decode(text: &str) -> Result<PeerReport, PartError> {
        PeerReport::decode(text.as_bytes(), &IDS)
    }

    #[test]
    fn the_recorded_part() {
        let part = decode(RECORDED).unwrap();
        assert_eq!(part.encode(), RECORDED);
        assert_eq!((part.engines[0].operations, part.datagrams[0].received), (10, 1276));
        assert_eq!(part.queues[0].dropped_packets, Some(17));
    }

    #[test]
    fn an_older_ringperf_does_not_look_at_queues() {
        let (older, _) = RECORDED.split_once(",\"queues\"").unwrap();
        let older = decode(&format!("{older}}}")).unwrap();
        assert_eq!(older, PeerReport { queues: Vec::new(), ..decode(RECORDED).unwrap() });
    }

    #[test]
    fn an_older_ringperf_tries_no_sizes() {
        let sizes = RECORDED.find(",\"sizes\"").unwrap()..RECORDED.find("}],\"datagrams\"").unwrap();
        let mut older = RECORDED.to_owned();
        older.replace_range(sizes, "");
        assert_eq!(decode(&older).unwrap().engines[0].sizes, None);
    }

    #[test]
    fn a_later_ringperf_says_more_and_is_understood() {
        let later = RECORDED.replacen("\"engines\"", "\"host\":{\"load\":[0.5]},\"engines\"", 1);
        let later = later.replacen("\"looks\"", "\"more\":1,\"looks\"", 1);
        assert_eq!(decode(&later).unwrap(), decode(RECORDED).unwrap());
    }

    /// What each lie stands in the place of, the lie, and what is said to be wrong.
    const LIES: [(&str, &str, &str); 63] = [
        ("\"version\":\"0.1.0\"", "\"version\":\"\"", "version"),
        ("\"version\":\"0.1.0\"", "\"version\":\"\\u001b[2J\"", "version"),
        ("\"cpu_user_seconds\":0.1", "\"cpu_user_seconds\":-1", "cpu_user_seconds"),
        ("\"cpu_system_seconds\":0.4", "\"cpu_system_seconds\":1e10", "cpu_system_seconds"),
        ("\"flow\":\"send\"", "\"flow\":\"sideways\"", "flow"),
        ("\"asked\":\"auto\"", "\"asked\":\"\"", "asked"),
        ("\"used\":\"uring\"", "\"used\":\"a b\"", "used"),
        ("\"operations\":10", "\"operations\":9223372036854775808", "operations"),
        ("\"operations\":10", "\"operations\":-1", "keys"),
        ("\"operations\":10", "\"operations\":1e300", "keys"),
        ("\"operations\":10", "\"operations\":null", "keys"),
        ("\"requested_bytes\":1048576", "\"requested_bytes\":1", "copied_bytes"),
        ("\"copied_sends\":6", "\"copied_sends\":99", "copied_sends"),
        ("\"outstanding\":2", "\"outstanding\":18446744073709551615", "outstanding"),
        ("\"count\":7", "\"count\":0", "rtt"),
        ("\"p50_us\":20.0", "\"p50_us\":-5", "rtt"),
        ("\"p90_us\":30.0", "\"p90_us\":19.9", "rtt"),
        ("\"p99_us\":40.0", "\"p99_us\":1e308", "rtt"),
        ("\"p999_us\":50.5", "\"p999_us\":null", "keys"),
        ("\"max_us\":60.0", "\"max_us\":1e9", "rtt"),
        ("\"max_us\":60.0", "\"max_us\":1e999", "number out of range"),
        ("\"completion\":null", "\"completion\":7", "keys"),
        ("10000000.0", "-1", "target_bits_per_second"),
        ("9990000.0", "1e300", "achieved_bits_per_second"),
        ("\"bursts\":850", "\"bursts\":1.5", "keys"),
        ("\"burst_mean\":1.5", "\"burst_mean\":4.5", "burst_mean"),
        ("\"busy_seconds\":2.0", "\"busy_seconds\":1e300", "busy_seconds"),
        ("\"rwnd_limited_seconds\":0.5", "\"rwnd_limited_seconds\":-0.5", "rwnd_limited_seconds"),
        ("\"sndbuf_limited_seconds\":0.25", "\"sndbuf_limited_seconds\":\"1\"", "keys"),
        ("{\"id\":1,", "{\"id\":7,", "id"),
        ("\"placed\":3", "\"placed\":4294967295", "placed"),
        ("\"moves\":4", "\"moves\":201", "moves"),
        ("\"distinct\":2", "\"distinct\":1", "shares"),
        ("\"distinct\":2", "\"distinct\":201", "distinct"),
        ("\"cpu\":3", "\"cpu\":99999", "cpu"),
        ("\"percent\":2.0", "\"percent\":3", "percent"),
        ("\"percent\":2.0", "\"percent\":-1", "percent"),
        ("\"sizes\":{\"bytes\":1048576", "\"sizes\":{\"bytes\":0", "bytes"),
        ("\"rate_share\":0.75", "\"rate_share\":-1", "rate_share"),
        ("\"rate_share\":0.75", "\"rate_share\":1e300", "rate_share"),
        ("\"rate_share\":0.75", "\"rate_share\":\"1\"", "keys"),
        ("\"processor_percent\":2.0", "\"processor_percent\":50.1", "processor_percent"),
        ("\"processor_percent\":2.0", "\"processor_percent\":-1", "processor_percent"),
        ("\"processor_percent\":2.0,", "", "keys"),
        ("\"core_percent\":50.0", "\"core_percent\":100.5", "core_percent"),
        ("\"asked_us\":50", "\"asked_us\":0", "asked_us"),
        ("\"set_us\":50", "\"set_us\":4294967295", "set_us"),
        ("\"streams\":2", "\"streams\":3", "streams"),
        ("\"napi_streams\":1", "\"napi_streams\":3", "napi_streams"),
        ("\"napi_streams\":1", "\"napi_streams\":-1", "keys"),
        ("\"placement\":\"a place\"", "\"placement\":7", "keys"),
        ("{\"id\":3,", "{\"id\":3},{\"id\":3,", "id"),
        ("\"received\":1276", "\"received\":4", "reordered"),
        ("\"lost_in_socket\":1", "\"lost_in_socket\":9223372036854775808", "lost_in_socket"),
        ("\"device\":\"eth0\"", "\"device\":\"\"", "device"),
        ("\"device\":\"eth0\"", "\"device\":null", "keys"),
        ("\"kind\":\"fq_codel\"", "\"kind\":\"fq codel\"", "kind"),
        ("\"dropped_packets\":17", "\"dropped_packets\":9223372036854775808", "dropped_packets"),
        ("\"dropped_packets\":17", "\"dropped_packets\":-1", "keys"),
        ("\"dropped_packets\":17", "\"dropped_packets\":1.5", "keys"),
        ("}]}", "}]} x", "JSON"),
        ("\"engines\":[", "\"engines\":7,\"x\":[", "keys"),
        ("\"engines\"", "\"x\"", "keys"),
    ];

    #[test]
    fn what_cannot_be_is_not_believed() {
        for (truth, lie, wrong) in LIES {
            let text = match truth {
                // The last one.
                "}]}" => RECORDED.to_owned() + " x",
                _ => RECORDED.replacen(truth, lie, 1),
            };
            assert_ne!(text, RECORDED, "{truth}");
            let error = decode(&text).expect_err(lie).to_string();
            assert!(error.contains(wrong), "{lie}: {error}");
        }
        let twice = RECORDED.replacen("\"engines\":[", &format!("\"engines\":[{},", engine()), 1);
        assert!(matches!(decode(&twice), Err(PartError::Impossible("flow"))));
        let [queue, many] =
            [1, IDS.len() + 1].map(|count| vec![r#"{"device":"a","kind":"b"}"#; count].join(","));
        let told = |queues: &str| RECORDED.replacen("\"queues\":[", &format!("\"queues\":[{queues},"), 1);
        assert_eq!(decode(&told(&queue)).unwrap().queues[0].dropped_packets, None);
        assert!(matches!(decode(&told(&many)), Err(PartError::Impossible("queues"))));
        let long = RECORDED.replacen("a reason", &"r".repeat(SENTENCE_BYTES_MAX + 1), 1);
        assert!(matches!(decode(&long), Err(PartError::Impossible("reason"))));
        assert!(decode("{}").is_err() && decode("[]").is_err());
    }

    /// The engine of the recorded part.
    fn engine() -> String {
        let part: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
        part["engines"][0].to_string()
    }

    /// All numbers of a value and what is below it.
    fn numbers(value: &serde_json::Value) -> Vec<f64> {
        match value {
            serde_json::Value::Number(number) => vec![number.as_f64().unwrap()],
            serde_json::Value::Array(elements) => elements.iter().flat_map(numbers).collect(),
            serde_json::Value::Object(members) => members.values().flat_map(numbers).collect(),
            _ => Vec::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// A liar puts another value in the place of any number. Whatever is believed can be.
        #[test]
        fn no_lie_makes_an_impossible_figure(
            at in any::<prop::sample::Index>(),
            lie in prop_oneof![
                any::<i64>().prop_map(|number| json!(number)),
                any::<u64>().prop_map(|number| json!(number)),
                any::<f64>().prop_filter("JSON", |number| number.is_finite()).prop_map(|number| json!(number)),
                (-10..400_i32).prop_map(|number| json!(number)),
                Just(json!(1e-320)),
                Just(json!(null)),
                Just(json!("\u{1b}[2J")),
                Just(json!([{}])),
            ],
        ) {
            let places: Vec<(usize, &str)> = RECORDED
                .match_indices(':')
                .filter(|(at, _)| RECORDED[at + 1..].starts_with(|one: char| one.is_ascii_digit()))
                .collect();
            let start = places[at.index(places.len())].0 + 1;
            let end = start + RECORDED[start..].find([',', '}', ']']).unwrap();
            let text = format!("{}{lie}{}", &RECORDED[..start], &RECORDED[end..]);
            if let Ok(part) = decode(&text) {
                let value: serde_json::Value = serde_json::from_str(&part.encode()).unwrap();
                prop_assert!(numbers(&value).into_iter().all(|number| (0.0..=RATE_MAX).contains(&number)));
                prop_assert_eq!(decode(&part.encode()).unwrap(), part);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PeerReport::decode(&bytes, &IDS);
        }
    }
}
