//! The parts of a document that hold results: streams, intervals, totals, and what only ringperf knows.

use serde_json::{Map, Value, json};

use crate::config::Flow;

use super::json::{insert, insert_some, number};
use super::totals::{CpuPerGigabyte, Halves, Span, sum_retransmits};
use super::{Interval, IntervalStream, StreamEnd, TestEnd};

/// What the keys of the first and the second group of streams end in. Only bidir tests have a second.
const GROUPS: [&str; 2] = ["", "_bidir_reverse"];

/// One element of `intervals`.
pub(super) fn interval(flows: &[Flow], interval: &Interval) -> Value {
    let of_flow = |flow: Flow| interval.streams.iter().filter(move |stream| stream.flow == flow);
    let streams = flows.iter().flat_map(|&flow| of_flow(flow));
    let streams: Vec<Value> = streams.map(|stream| interval_stream(stream, interval.omitted)).collect();
    let mut object = Map::new();
    insert(&mut object, "streams", streams);
    for (&flow, group) in flows.iter().zip(GROUPS) {
        let mut sum = span(Span::sum(of_flow(flow).map(Span::from)));
        let retransmits = of_flow(flow).map(|stream| stream.tcp.map(|tcp| tcp.retransmits));
        insert_some(&mut sum, "retransmits", sum_retransmits(retransmits));
        insert(&mut sum, "omitted", interval.omitted);
        insert(&mut sum, "sender", flow == Flow::Send);
        insert(&mut object, &format!("sum{group}"), sum);
    }
    Value::Object(object)
}

/// The `end` object.
pub(super) fn end(flows: &[Flow], end: &TestEnd) -> Value {
    let of_flow = |flow: Flow| end.streams.iter().filter(move |stream| stream.flow == flow);
    let mut object = Map::new();
    insert(
        &mut object,
        "streams",
        flows.iter().flat_map(|&flow| of_flow(flow)).map(stream_end).collect::<Vec<_>>(),
    );
    for (&flow, group) in flows.iter().zip(GROUPS) {
        let halves = Halves::sum(&of_flow(flow).collect::<Vec<_>>());
        let mut sent = span(halves.sent);
        insert_some(&mut sent, "retransmits", halves.retransmits);
        insert(&mut sent, "sender", flow == Flow::Send);
        insert(&mut object, &format!("sum_sent{group}"), sent);
        let mut received = span(halves.received);
        insert(&mut received, "sender", flow == Flow::Send);
        insert(&mut object, &format!("sum_received{group}"), received);
    }
    let (local, remote) = (end.cpu_local, end.cpu_remote);
    let cpu = json!({
        "host_total": number(local.total),
        "host_user": number(local.user),
        "host_system": number(local.system),
        "remote_total": number(remote.total),
        "remote_user": number(remote.user),
        "remote_system": number(remote.system),
    });
    insert(&mut object, "cpu_utilization_percent", cpu);
    let names = (end.congestion_local.as_deref(), end.congestion_remote.as_deref());
    let (sender, receiver) = if flows.contains(&Flow::Send) { names } else { (names.1, names.0) };
    insert_some(&mut object, "sender_tcp_congestion", sender);
    insert_some(&mut object, "receiver_tcp_congestion", receiver);
    Value::Object(object)
}

/// What iperf3 has no key for.
pub(super) fn ringperf(end: Option<&TestEnd>, warnings: &[String]) -> Value {
    let local = end.map(|end| end.cpu_time);
    let remote = end.and_then(|end| end.cpu_time_remote);
    let per_gigabyte = end.map(CpuPerGigabyte::from);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "engines": end.map_or(&[][..], |end| &end.engines),
        "peer": end.and_then(|end| end.peer.as_ref()),
        "cpu_seconds": {
            "local_user": local.map(|time| time.user.as_secs_f64()),
            "local_system": local.map(|time| time.system.as_secs_f64()),
            "remote_user": remote.map(|time| time.user.as_secs_f64()),
            "remote_system": remote.map(|time| time.system.as_secs_f64()),
        },
        "cpu_seconds_per_gb": {
            "local": per_gigabyte.and_then(|cpu| cpu.local),
            "remote": per_gigabyte.and_then(|cpu| cpu.remote),
        },
        "warnings": warnings,
    })
}

/// The keys that every stream and sum has.
fn span(span: Span) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "start", number(span.start));
    insert(&mut object, "end", number(span.end));
    insert(&mut object, "seconds", number(span.seconds()));
    insert(&mut object, "bytes", span.bytes);
    insert(&mut object, "bits_per_second", number(span.bits_per_second()));
    object
}

/// The same under the number of a socket.
fn socket_span(socket: i32, of_stream: Span) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "socket", socket);
    object.extend(span(of_stream));
    object
}

fn interval_stream(stream: &IntervalStream, omitted: bool) -> Value {
    let mut object = socket_span(stream.socket, Span::from(stream));
    if let Some(tcp) = stream.tcp {
        insert(&mut object, "retransmits", tcp.retransmits);
        insert(&mut object, "snd_cwnd", tcp.snd_cwnd_bytes);
        insert(&mut object, "snd_wnd", tcp.snd_wnd_bytes);
        insert(&mut object, "rtt", tcp.rtt_us);
        insert(&mut object, "rttvar", tcp.rttvar_us);
        insert(&mut object, "pmtu", tcp.pmtu_bytes);
        insert(&mut object, "reorder", tcp.reordering);
    }
    insert(&mut object, "omitted", omitted);
    insert(&mut object, "sender", stream.flow == Flow::Send);
    Value::Object(object)
}

/// Both halves of a stream.
///
/// Of a sending peer's TCP only the retransmits are known; iperf3 prints zeros for the rest.
fn stream_end(stream: &StreamEnd) -> Value {
    let halves = Halves::from(stream);
    let mut sender = socket_span(stream.socket, halves.sent);
    if let Some(retransmits) = halves.retransmits {
        let tcp = stream.tcp.unwrap_or_default();
        insert(&mut sender, "retransmits", retransmits);
        insert(&mut sender, "reorder", tcp.reordering);
        insert(&mut sender, "max_snd_cwnd", tcp.max_snd_cwnd_bytes);
        insert(&mut sender, "max_snd_wnd", tcp.max_snd_wnd_bytes);
        insert(&mut sender, "max_rtt", tcp.max_rtt_us);
        insert(&mut sender, "min_rtt", tcp.min_rtt_us);
        insert(&mut sender, "mean_rtt", tcp.mean_rtt_us);
    }
    let mut receiver = socket_span(stream.socket, halves.received);
    for half in [&mut sender, &mut receiver] {
        insert(half, "sender", stream.flow == Flow::Send);
    }
    json!({ "sender": sender, "receiver": receiver })
}
