//! The parts of a document that hold results: streams, intervals, totals, and what only ringperf knows.

use serde_json::{Map, Value, json};

use crate::config::Flow;
use crate::stats::UdpInterval;

use crate::report::totals::{CpuPerGigabyte, Halves, Loss, Span, is_udp, sum_retransmits, sum_udp_intervals};
use crate::report::{FileReport, Interval, IntervalStream, StreamEnd, TestEnd, UdpEnd};

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
        match sum_udp_intervals(of_flow(flow).filter_map(|stream| stream.udp)) {
            Some(udp) => insert_datagrams(&mut sum, flow, udp),
            None => insert_some(&mut sum, "retransmits", sum_retransmits(retransmits)),
        }
        insert(&mut sum, "omitted", interval.omitted);
        insert(&mut sum, "sender", flow == Flow::Send);
        insert(&mut object, &format!("sum{group}"), sum);
    }
    Value::Object(object)
}

/// The `end` object.
pub(super) fn end(flows: &[Flow], end: &TestEnd) -> Value {
    let of_flow = |flow: Flow| end.streams.iter().filter(move |stream| stream.flow == flow);
    let stream = |stream| stream_end(stream, end.file.as_ref());
    let mut object = Map::new();
    insert(
        &mut object,
        "streams",
        flows.iter().flat_map(|&flow| of_flow(flow)).map(stream).collect::<Vec<_>>(),
    );
    for (&flow, group) in flows.iter().zip(GROUPS) {
        let halves = Halves::sum(&of_flow(flow).collect::<Vec<_>>());
        let sums = match halves.udp {
            Some(udp) => udp_sums(flow, &halves, udp),
            None => tcp_sums(flow, &halves),
        };
        for (name, sum) in sums {
            insert(&mut object, &format!("{name}{group}"), sum);
        }
    }
    let (local, remote) = (end.cpu_local, end.cpu_remote);
    let cpu = json!({
        "host_total": local.map(|cpu| number(cpu.total)),
        "host_user": local.map(|cpu| number(cpu.user)),
        "host_system": local.map(|cpu| number(cpu.system)),
        "remote_total": remote.map(|cpu| number(cpu.total)),
        "remote_user": remote.map(|cpu| number(cpu.user)),
        "remote_system": remote.map(|cpu| number(cpu.system)),
    });
    insert(&mut object, "cpu_utilization_percent", cpu);
    if is_udp(end) {
        return Value::Object(object);
    }
    let names = (end.congestion_local.as_deref(), end.congestion_remote.as_deref());
    let (sender, receiver) = if flows.contains(&Flow::Send) { names } else { (names.1, names.0) };
    insert_some(&mut object, "sender_tcp_congestion", sender);
    insert_some(&mut object, "receiver_tcp_congestion", receiver);
    Value::Object(object)
}

/// What iperf3 has no key for.
pub(super) fn ringperf(end: Option<&TestEnd>, warnings: &[String]) -> Value {
    let local = end.and_then(|end| end.cpu_time);
    let remote = end.and_then(|end| end.cpu_time_remote);
    let per_gigabyte = end.map(CpuPerGigabyte::from);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "engines": end.map_or(&[][..], |end| &end.engines),
        "peer": end.and_then(|end| end.peer.as_ref()),
        "datagrams": end.map_or(&[][..], |end| &end.datagrams),
        "queues": end.map_or(&[][..], |end| &end.queues),
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

/// Makes every rate `null`.
pub(super) fn forget_rates(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(forget_rates),
        Value::Object(members) => {
            for (key, member) in members {
                if key == "bits_per_second" {
                    *member = Value::Null;
                } else {
                    forget_rates(member);
                }
            }
        }
        _ => {}
    }
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

/// A span of time with its bytes, under the number of a socket.
fn socket_span(socket: i32, of_stream: Span) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "socket", socket);
    object.extend(span(of_stream));
    object
}

fn interval_stream(stream: &IntervalStream, omitted: bool) -> Value {
    let mut object = socket_span(stream.socket, Span::from(stream));
    if let Some(udp) = stream.udp {
        insert_datagrams(&mut object, stream.flow, udp);
    } else if let Some(tcp) = stream.tcp {
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
fn stream_end(stream: &StreamEnd, file: Option<&FileReport>) -> Value {
    let halves = Halves::from(stream);
    if let Some(udp) = halves.udp {
        return udp_stream_end(stream, halves.sent, udp);
    }
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
    let mut object = Map::new();
    insert(&mut object, "sender", sender);
    if let Some(file) = file {
        let diskfile = json!({
            "sent": stream.sent.bytes,
            "received": stream.received.bytes,
            "size": file.bytes,
            "percent_sent": file.percent(stream.sent.bytes),
            "percent_received": file.percent(stream.received.bytes),
            "filename": file.name,
        });
        insert(&mut object, "diskfile", diskfile);
    }
    insert(&mut object, "receiver", receiver);
    Value::Object(object)
}

/// iperf3 has one object for both halves, with the bytes and the time of the sender.
fn udp_stream_end(stream: &StreamEnd, sent: Span, udp: UdpEnd) -> Value {
    let mut object = socket_span(stream.socket, sent);
    insert_loss(&mut object, Loss::of_both(udp));
    insert(&mut object, "out_of_order", udp.out_of_order);
    insert(&mut object, "sender", stream.flow == Flow::Send);
    json!({ "udp": object })
}

/// Both halves of a direction, each for itself.
fn tcp_sums(flow: Flow, halves: &Halves) -> Vec<(&'static str, Map<String, Value>)> {
    let mut sent = span(halves.sent);
    insert_some(&mut sent, "retransmits", halves.retransmits);
    let mut received = span(halves.received);
    for half in [&mut sent, &mut received] {
        insert(half, "sender", flow == Flow::Send);
    }
    vec![("sum_sent", sent), ("sum_received", received)]
}

/// Both halves of a direction, in one like those of a stream, then each for itself.
fn udp_sums(flow: Flow, halves: &Halves, udp: UdpEnd) -> Vec<(&'static str, Map<String, Value>)> {
    let sum = |of_half: Span, loss: Loss, sender: bool| {
        let mut object = span(of_half);
        insert_loss(&mut object, loss);
        insert(&mut object, "sender", sender);
        object
    };
    vec![
        ("sum", sum(halves.sent, Loss::of_both(udp), flow == Flow::Send)),
        ("sum_sent", sum(halves.sent, Loss::at_sender(udp), true)),
        ("sum_received", sum(halves.received, Loss::at_receiver(udp), false)),
    ]
}

/// A sender counts its datagrams, a receiver also those that are missing.
fn insert_datagrams(object: &mut Map<String, Value>, flow: Flow, udp: UdpInterval) {
    match flow {
        Flow::Send => insert(object, "packets", udp.packets),
        Flow::Receive => insert_loss(object, Loss::from(udp)),
    }
}

/// Loss that is not known is `null`.
fn insert_loss(object: &mut Map<String, Value>, loss: Loss) {
    insert(object, "jitter_ms", number(1000.0 * loss.jitter_seconds));
    insert(object, "lost_packets", loss.lost);
    insert(object, "packets", loss.packets);
    insert(object, "lost_percent", loss.percent().map(number));
}

/// Adds a key. Documents keep the order in which their keys come.
pub(super) fn insert(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    object.insert(key.to_owned(), value.into());
}

/// Adds a key if there is a value for it.
pub(super) fn insert_some(object: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        insert(object, key, value);
    }
}

/// A number that is not of a whole kind; a whole one still has no fraction, as in iperf3's documents.
pub(super) fn number(value: f64) -> Value {
    value.to_string().parse().map_or(json!(0), Value::Number)
}

#[cfg(test)]
mod tests {
    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures::{self, pinned, shape};

    use super::*;

    const SENDING: &str = "{streams:[{socket:n,SPAN,packets:n,omitted:b,sender:b}],
        sum:{SPAN,packets:n,omitted:b,sender:b}}";
    const RECEIVING: &str = "{streams:[{socket:n,SPAN,LOSS,omitted:b,sender:b}],
        sum:{SPAN,LOSS,omitted:b,sender:b}}";
    const SENDING_FIRST: &str = "{
        streams:[{socket:n,SPAN,packets:n,omitted:b,sender:b}|{socket:n,SPAN,LOSS,omitted:b,sender:b}],
        sum:{SPAN,packets:n,omitted:b,sender:b},sum_bidir_reverse:{SPAN,LOSS,omitted:b,sender:b}}";
    const RECEIVING_FIRST: &str = "{
        streams:[{socket:n,SPAN,LOSS,omitted:b,sender:b}|{socket:n,SPAN,packets:n,omitted:b,sender:b}],
        sum:{SPAN,LOSS,omitted:b,sender:b},sum_bidir_reverse:{SPAN,packets:n,omitted:b,sender:b}}";

    const ONE_WAY: &str = "{streams:[{udp:{socket:n,SPAN,LOSS,out_of_order:n,sender:b}}],
        sum:{SPAN,LOSS,sender:b},sum_sent:{SPAN,LOSS,sender:b},sum_received:{SPAN,LOSS,sender:b},CPU}";
    const BOTH_WAYS: &str = "{streams:[{udp:{socket:n,SPAN,LOSS,out_of_order:n,sender:b}}],
        sum:{SPAN,LOSS,sender:b},sum_sent:{SPAN,LOSS,sender:b},sum_received:{SPAN,LOSS,sender:b},
        sum_bidir_reverse:{SPAN,LOSS,sender:b},sum_sent_bidir_reverse:{SPAN,LOSS,sender:b},
        sum_received_bidir_reverse:{SPAN,LOSS,sender:b},CPU}";

    /// The keys of real iperf3 3.22 documents of the same tests, in the same order.
    #[test]
    fn udp_tests_have_the_keys_of_iperf3() {
        let cases = [
            (Role::Client, Direction::Forward, SENDING, ONE_WAY),
            (Role::Client, Direction::Reverse, RECEIVING, ONE_WAY),
            (Role::Client, Direction::Bidir, SENDING_FIRST, BOTH_WAYS),
            (Role::Server, Direction::Forward, RECEIVING, ONE_WAY),
            (Role::Server, Direction::Reverse, SENDING, ONE_WAY),
            (Role::Server, Direction::Bidir, RECEIVING_FIRST, BOTH_WAYS),
        ];
        for (role, direction, expected_interval, expected_end) in cases {
            let flows = direction.flows(role);
            for parallel in [1, 2] {
                let of_interval = interval(flows, &fixtures::udp_interval(role, direction, parallel, 0));
                assert_eq!(shape(&of_interval), pinned(expected_interval), "{role:?} {direction:?}");
                let of_end = end(flows, &fixtures::udp_end(role, direction, parallel));
                assert_eq!(shape(&of_end), pinned(expected_end), "{role:?} {direction:?}");
            }
        }
    }

    #[test]
    fn values_of_a_bidirectional_udp_client() {
        let flows = Direction::Bidir.flows(Role::Client);
        let intervals = interval(flows, &fixtures::udp_interval(Role::Client, Direction::Bidir, 2, 1));
        assert_eq!(
            intervals["streams"][0],
            json!({"socket": 5, "start": 1, "end": 2, "seconds": 1, "bytes": 655_360,
                "bits_per_second": 5_242_880, "packets": 640, "omitted": false, "sender": true})
        );
        assert_eq!(
            intervals["sum_bidir_reverse"],
            json!({"start": 1, "end": 2, "seconds": 1, "bytes": 1_306_624, "bits_per_second": 10_452_992,
                "jitter_ms": 0.5, "lost_packets": 4, "packets": 1280, "lost_percent": 0.3125,
                "omitted": false, "sender": false})
        );
        let mut test_end = fixtures::udp_end(Role::Client, Direction::Bidir, 2);
        test_end.streams[3].udp.as_mut().unwrap().out_of_order = 7;
        let document = end(flows, &test_end);
        assert_eq!(
            document["streams"][3]["udp"],
            json!({"socket": 8, "start": 0, "end": 2, "seconds": 2, "bytes": 1_310_720,
                "bits_per_second": 5_242_880, "jitter_ms": 0.75, "lost_packets": 4, "packets": 1280,
                "lost_percent": 0.3125, "out_of_order": 7, "sender": false})
        );
        assert_eq!(
            document["sum_received"],
            json!({"start": 0, "end": 2, "seconds": 2, "bytes": 2_613_248, "bits_per_second": 10_452_992,
                "jitter_ms": 0.5, "lost_packets": 8, "packets": 2560, "lost_percent": 0.3125,
                "sender": false})
        );
        assert_eq!(
            document["sum_sent_bidir_reverse"],
            json!({"start": 0, "end": 2, "seconds": 2, "bytes": 2_621_440, "bits_per_second": 10_485_760,
                "jitter_ms": 0, "lost_packets": 0, "packets": 2560, "lost_percent": 0, "sender": true})
        );
    }

    /// Bytes are those of the sender, of which a server knows nothing while it receives, as in iperf3.
    #[test]
    fn values_of_a_udp_server() {
        let receiving = fixtures::udp_end(Role::Server, Direction::Forward, 1);
        let document = end(&[Flow::Receive], &receiving);
        let of_stream = &document["streams"][0]["udp"];
        assert_eq!((&of_stream["bytes"], &of_stream["packets"]), (&json!(0), &json!(1280)));
        assert_eq!(
            (&document["sum"]["lost_percent"], &document["sum"]["sender"]),
            (&json!(0.3125), &json!(false))
        );
        assert_eq!(
            (&document["sum_sent"]["packets"], &document["sum_sent"]["sender"]),
            (&json!(0), &json!(true))
        );
        assert_eq!(document["sum_received"]["bytes"], 1_306_624);
        let sending = fixtures::udp_end(Role::Server, Direction::Reverse, 1);
        let document = end(&[Flow::Send], &sending);
        assert_eq!(document["sum"]["packets"], 1280);
        assert_eq!(document["sum_received"]["packets"], 0);
    }

    #[test]
    fn a_file_stands_between_the_two_halves() {
        let mut with_file = fixtures::end(Role::Server, Direction::Forward, 1);
        with_file.file = Some(FileReport { name: "out.dat".into(), bytes: Some(2_621_440) });
        let document = end(&[Flow::Receive], &with_file);
        let stream = document["streams"][0].as_object().unwrap();
        assert_eq!(stream.keys().collect::<Vec<_>>(), ["sender", "diskfile", "receiver"]);
        assert_eq!(
            stream["diskfile"],
            json!({"sent": 0, "received": 1_310_720, "size": 2_621_440, "percent_sent": 0,
                "percent_received": 50, "filename": "out.dat"})
        );
    }

    #[test]
    fn loss_that_is_not_known_is_null() {
        let mut unknown = fixtures::udp_end(Role::Client, Direction::Forward, 2);
        unknown.streams[0].udp.as_mut().unwrap().lost = None;
        let document = end(&[Flow::Send], &unknown);
        assert_eq!(document["streams"][0]["udp"]["lost_packets"], Value::Null);
        assert_eq!(document["streams"][1]["udp"]["lost_packets"], 4);
        assert_eq!(document["sum_received"]["lost_percent"], Value::Null);
        assert_eq!(document["sum_sent"]["lost_percent"], 0);
    }

    #[test]
    fn every_datagram_is_told_under_our_own_key() {
        let mut end = fixtures::udp_end(Role::Client, Direction::Forward, 1);
        end.datagrams = vec![fixtures::datagrams(1, "send")];
        end.engines[0].pacing = Some(fixtures::pacing());
        end.engines[0].processors = vec![fixtures::processors()];
        let document = ringperf(Some(&end), &[]);
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

    #[test]
    fn whole_numbers_have_no_fraction() {
        let values = [0.0, 1.0, 0.5, 2.5e10, f64::NAN].map(number);
        assert_eq!(Value::from(values.to_vec()).to_string(), "[0,1,0.5,25000000000,0]");
    }
}
