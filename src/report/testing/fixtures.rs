//! Hand-made events with fixed times, for the tests of the reports.
//!
//! Each stream moves 640 KiB in each of two seconds, and the sockets are numbered from 5. In UDP tests these
//! are datagrams of one KiB, of which receivers miss two in each second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::config::{BlockSize, Direction, Flow, Protocol, Role, TestConfig, UdpConfig};
use crate::protocol::{
    EngineReport, LatencyReport, PacingReport, PeerReport, ProcessorReport, ProcessorShare, SizesReport,
    TriedSizes,
};
use crate::stats::{CpuTime, CpuUse, Half, Percentiles, TcpInterval, TcpSummary, UdpInterval, ZeroCopy};

use crate::report::{
    ConnectedStream, DatagramReport, Interval, IntervalStream, Reporter, RunEvent, SessionInfo, StreamEnd,
    TestEnd, TestStart, UdpEnd,
};

pub(crate) const COOKIE: &str = "abcdefghijklmnopqrstuvwxyz2345672345";

/// A test between two programs on one machine.
pub(crate) fn session(role: Role, test: TestConfig) -> SessionInfo {
    SessionInfo {
        role,
        host: "127.0.0.1".into(),
        port: if role == Role::Client { 5201 } else { 40_000 },
        cookie: COOKIE.into(),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_506_270_948),
        control_mss: if role == Role::Client { 32_768 } else { 0 },
        user: None,
        extras_in_output: false,
        has_rate: true,
        interval: Some(Duration::from_secs(1)),
        test: Arc::new(test),
    }
}

pub(crate) fn start(role: Role, direction: Direction, parallel: u32) -> TestStart {
    let client = |index: u16| SocketAddr::from(([127, 0, 0, 1], 40_001 + index));
    let server = SocketAddr::from(([127, 0, 0, 1], 5201));
    let streams = (0_u16..).zip(sockets(role, direction, parallel)).map(|(index, (socket, flow))| {
        let (local, remote) = match role {
            Role::Client => (client(index), server),
            Role::Server => (server, client(index)),
        };
        ConnectedStream { socket, id: id(index), flow, local, remote }
    });
    TestStart { streams: streams.collect(), sndbuf_actual: 16_384, rcvbuf_actual: 131_072 }
}

/// The interval that begins at so many seconds.
pub(crate) fn interval(role: Role, direction: Direction, parallel: u32, start_secs: u64) -> Interval {
    let tcp = TcpInterval {
        retransmits: 1,
        snd_cwnd_bytes: 1_178_694,
        snd_wnd_bytes: 233_472,
        rtt_us: 23,
        rttvar_us: 5,
        pmtu_bytes: 65_535,
        reordering: 3,
    };
    let streams = sockets(role, direction, parallel).map(|(socket, flow)| IntervalStream {
        socket,
        flow,
        start: Duration::from_secs(start_secs),
        end: Duration::from_secs(start_secs + 1),
        bytes: 655_360,
        tcp: (flow == Flow::Send).then_some(tcp),
        udp: None,
    });
    Interval { omitted: false, streams: streams.collect() }
}

/// The end after two intervals: at a client with the server's results, at a server without the client's.
pub(crate) fn end(role: Role, direction: Direction, parallel: u32) -> TestEnd {
    let exchanged = role == Role::Client;
    let counted = Half { bytes: 1_310_720, seconds: 2.0 };
    let tcp = TcpSummary { retransmits: 2, max_snd_cwnd_bytes: 1_178_694, ..TcpSummary::default() };
    let streams =
        (0_u16..).zip(sockets(role, direction, parallel)).map(|(index, (socket, flow))| StreamEnd {
            socket,
            id: id(index),
            flow,
            sent: if exchanged || flow == Flow::Send { counted } else { Half::default() },
            received: if exchanged || flow == Flow::Receive { counted } else { Half::default() },
            tcp: (flow == Flow::Send).then_some(tcp),
            remote_retransmits: (exchanged && flow == Flow::Receive).then_some(2),
            udp: None,
        });
    let cpu_time = CpuTime { user: Duration::from_millis(200), system: Duration::from_millis(800) };
    let cpu_time_remote = CpuTime { user: Duration::from_millis(100), system: Duration::from_millis(400) };
    let cpu_remote = CpuUse { total: 25.0, user: 5.0, system: 20.0 };
    TestEnd {
        file: None,
        exchanged,
        peer_unknown: false,
        streams: streams.collect(),
        cpu_local: Some(CpuUse { total: 50.0, user: 10.0, system: 40.0 }),
        cpu_remote: Some(if exchanged { cpu_remote } else { CpuUse::default() }),
        cpu_time: Some(cpu_time),
        cpu_time_remote: exchanged.then_some(cpu_time_remote),
        congestion_local: Some("cubic".into()),
        congestion_remote: exchanged.then(|| "bbr".into()),
        engines: vec![plain_engine("send", "sync")],
        peer: None,
        datagrams: Vec::new(),
        queues: Vec::new(),
    }
}

/// A UDP test.
pub(crate) fn udp_test(direction: Direction, parallel: u32) -> TestConfig {
    TestConfig {
        protocol: Protocol::Udp(UdpConfig::default()),
        direction,
        parallel,
        block: BlockSize { bytes: 1024, explicit: true },
        ..TestConfig::default()
    }
}

/// The same as [`interval`] of a UDP test.
pub(crate) fn udp_interval(role: Role, direction: Direction, parallel: u32, start_secs: u64) -> Interval {
    let mut interval = interval(role, direction, parallel, start_secs);
    for (stream, jitter_seconds) in interval.streams.iter_mut().zip(jitters()) {
        stream.tcp = None;
        stream.udp = Some(match stream.flow {
            Flow::Send => UdpInterval { packets: 640, ..UdpInterval::default() },
            Flow::Receive => UdpInterval { packets: 640, lost: 2, out_of_order: 0, jitter_seconds },
        });
        if stream.flow == Flow::Receive {
            stream.bytes = 638 * 1024;
        }
    }
    interval
}

/// The same as [`end`] of a UDP test.
pub(crate) fn udp_end(role: Role, direction: Direction, parallel: u32) -> TestEnd {
    let mut end = end(role, direction, parallel);
    for (stream, jitter_seconds) in end.streams.iter_mut().zip(jitters()) {
        stream.tcp = None;
        stream.remote_retransmits = None;
        let sent = UdpEnd { packets_sent: 1280, lost: Some(0), ..UdpEnd::default() };
        let received = UdpEnd { packets_received: 1280, lost: Some(4), jitter_seconds, ..UdpEnd::default() };
        stream.udp = Some(match (end.exchanged, stream.flow) {
            (true, _) => UdpEnd { packets_sent: 1280, ..received },
            (false, Flow::Send) => sent,
            (false, Flow::Receive) => received,
        });
        if end.exchanged || stream.flow == Flow::Receive {
            stream.received.bytes = 1276 * 1024;
        }
    }
    end.congestion_local = None;
    end.congestion_remote = None;
    end
}

/// A stream of a UDP test of which both ends are known, with all the losses that there are.
pub(crate) fn datagrams(id: u32, flow: &'static str) -> DatagramReport {
    DatagramReport {
        id,
        flow: flow.into(),
        sent: Some(1280),
        received: Some(1276),
        lost: Some(4),
        lost_in_network: Some(3),
        lost_in_socket: Some(1),
        duplicates: Some(2),
        reordered: Some(5),
        foreign: Some(0),
    }
}

/// A sender that kept to its rate.
pub(crate) fn pacing() -> PacingReport {
    let gaps =
        Percentiles { count: 9, p50_us: 800.0, p90_us: 801.0, p99_us: 810.5, p999_us: 820.0, max_us: 900.0 };
    PacingReport {
        target_bits_per_second: 10_000_000.0,
        achieved_bits_per_second: 9_990_000.0,
        bursts: 850,
        burst_mean: 1.5,
        burst_max: 4,
        inter_departure: Some(gaps),
    }
}

/// Seconds of jitter, with a mean of half a millisecond for each two streams.
fn jitters() -> impl Iterator<Item = f64> {
    [0.00025, 0.00075].into_iter().cycle()
}

/// A sender with everything that a sender can say.
pub(crate) fn sending_engine() -> EngineReport {
    let rtt = Percentiles { count: 7, p50_us: 20.0, p90_us: 30.0, p99_us: 40.0, p999_us: 50.5, max_us: 60.0 };
    EngineReport {
        asked: "auto".into(),
        reason: "zero-copy is copied on this path, stepped down from uring-zc".into(),
        zero_copy: Some(ZeroCopy {
            requested_bytes: 1 << 20,
            copied_bytes: 3 << 18,
            outstanding: 2,
            requested_sends: 8,
            copied_sends: 6,
        }),
        latency: LatencyReport { rtt: Some(rtt), ..LatencyReport::default() },
        busy_seconds: Some(2.0),
        rwnd_limited_seconds: Some(0.5),
        sndbuf_limited_seconds: Some(0.25),
        processors: vec![processors()],
        sizes: Some(sizes()),
        ..plain_engine("send", "uring")
    }
}

/// A ringperf at the other end that could not have io_uring.
pub(crate) fn peer() -> PeerReport {
    let engine = EngineReport {
        asked: "auto".into(),
        reason: "io_uring is switched off".into(),
        fix: "sysctl kernel.io_uring_disabled=0".into(),
        ..plain_engine("receive", "sync")
    };
    PeerReport {
        version: "0.1.0".into(),
        cpu_user_seconds: Some(0.1),
        cpu_system_seconds: Some(0.4),
        engines: vec![engine],
        datagrams: Vec::new(),
        queues: Vec::new(),
    }
}

/// A stream that ran nearly always where it was put.
pub(crate) fn processors() -> ProcessorReport {
    let share = |cpu, percent| ProcessorShare { cpu, percent };
    ProcessorReport {
        id: 1,
        placed: Some(3),
        looks: 200,
        moves: 4,
        distinct: 2,
        shares: vec![share(3, 98.0), share(0, 2.0)],
        interrupts: None,
    }
}

/// Large sends, beside small ones that were slower.
fn sizes() -> SizesReport {
    let others = vec![TriedSizes { bytes: 128 * 1024, marked: None, plain: None, rate_share: Some(0.75) }];
    SizesReport { bytes: 1024 * 1024, marked: None, plain: None, others }
}

fn plain_engine(flow: &str, name: &str) -> EngineReport {
    EngineReport {
        flow: flow.into(),
        asked: name.into(),
        used: name.into(),
        reason: String::new(),
        fix: String::new(),
        operations: 10,
        zero_copy: None,
        latency: LatencyReport::default(),
        pacing: None,
        busy_seconds: None,
        rwnd_limited_seconds: None,
        sndbuf_limited_seconds: None,
        placement: None,
        busy_poll: None,
        processors: Vec::new(),
        sizes: None,
    }
}

/// All that a reporter prints because of an event.
pub(crate) fn printed(reporter: &mut dyn Reporter, event: &RunEvent) -> String {
    let mut bytes = Vec::new();
    reporter.event(event, &mut bytes).expect("a vector takes all that is written");
    String::from_utf8(bytes).expect("a report is text")
}

/// Keys and kinds of values, in their order: `{a:n,b:[{c:s}]}`. Elements that look alike appear once.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "b".to_owned(),
        Value::Number(_) => "n".to_owned(),
        Value::String(_) => "s".to_owned(),
        Value::Array(elements) => {
            let mut shapes: Vec<String> = elements.iter().map(shape).collect();
            shapes.dedup();
            format!("[{}]", shapes.join("|"))
        }
        Value::Object(object) => {
            let keys = object.iter().map(|(key, value)| format!("{key}:{}", shape(value)));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
        }
    }
}

/// Puts a pinned shape together: blanks are for the eye, and capitals stand for common parts.
pub(crate) fn pinned(text: &str) -> String {
    let span = "start:n,end:n,seconds:n,bytes:n,bits_per_second:n";
    let tcp = "retransmits:n,snd_cwnd:n,snd_wnd:n,rtt:n,rttvar:n,pmtu:n,reorder:n";
    let totals = "retransmits:n,reorder:n,max_snd_cwnd:n,max_snd_wnd:n,max_rtt:n,min_rtt:n,mean_rtt:n";
    text.replace(char::is_whitespace, "")
        .replace("CONNECTED", "[{socket:n,local_host:s,local_port:n,remote_host:s,remote_port:n}]")
        .replace("BUFFERS", "sock_bufsize:n,sndbuf_actual:n,rcvbuf_actual:n")
        .replace("SPAN", span)
        .replace("TCP", tcp)
        .replace("LOSS", "jitter_ms:n,lost_packets:n,packets:n,lost_percent:n")
        .replace("TOTALS", totals)
        .replace("CPU", CPU)
}

const CPU: &str = "cpu_utilization_percent:{host_total:n,host_user:n,host_system:n,\
    remote_total:n,remote_user:n,remote_system:n}";

/// The sockets of a test in the order in which they were opened.
fn sockets(role: Role, direction: Direction, parallel: u32) -> impl Iterator<Item = (i32, Flow)> {
    let flows = direction.flows(role).iter();
    (5..).zip(flows.flat_map(move |&flow| (0..parallel).map(move |_| flow)))
}

/// iperf3 counts its streams 1, 3, 4, 5, ...
fn id(index: u16) -> u32 {
    u32::from(index) + if index == 0 { 1 } else { 2 }
}
