//! The work whose instructions are counted. Each piece does what a test does often: per message, interval,
//! operation or datagram.
//!
//! The loops run over a kernel that does everything at once, so what is counted is the loop with its gate,
//! recorder and counters, and the little that this kernel does: a few dozen instructions per operation.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ringperf::config::{
    BlockSize, EngineChoice, Flow, OutputConfig, Pacing, Protocol, Role, TestConfig, UdpConfig,
};
use ringperf::engine::testing::null_kernel;
use ringperf::engine::{Engine, GateState, StreamJob, UdpJob};
use ringperf::protocol::{DatagramHeader, Request, Results, StreamResult, params, results};
use ringperf::report::{
    Interval, IntervalStream, JsonStreamReporter, Reporter, RunEvent, SessionInfo, TextReporter,
};
use ringperf::stats::{
    Counters, CpuUse, DatagramTracker, Latency, SharedCounters, StreamSampler, TcpInterval, TcpSample,
};
use ringperf::sys::Socket;

/// Something to count.
pub struct Piece {
    pub name: &'static str,
    /// What a figure is about.
    pub unit: &'static str,
    /// How much of it a run does at least; few enough for a processor that is fifty times slower.
    pub units: u64,
    /// Does it so many times.
    pub run: fn(u64),
}

pub const PIECES: [Piece; 25] = [
    piece("params/encode", "message", 500, params_encode),
    piece("params/decode", "message", 500, params_decode),
    piece("results/encode", "message of 128 streams", 20, results_encode),
    piece("results/decode", "message of 128 streams", 20, results_decode),
    piece("datagram_header/write_and_read", "datagram", 20_000, datagram_header),
    piece("gate/unpaced", "block", 50_000, gate_unpaced),
    piece("gate/paced", "burst", 10_000, gate_paced),
    piece("counters/publish", "call", 50_000, counters_publish),
    piece("sampler/interval", "interval", 20_000, sampler_interval),
    piece("latency/record", "time", 50_000, |units| latency_record(units, 1)),
    piece("latency/record_row", "time, 64 in a row", 50_000, |units| latency_record(units, 64)),
    piece("sequence/in_order", "datagram", 50_000, |units| sequence(units, u64::MAX)),
    piece("sequence/gaps", "datagram, each tenth missing", 50_000, |units| sequence(units, 10)),
    piece("report/text", "interval of 8 streams", 100, report_text),
    piece("report/json", "interval of 8 streams", 100, report_json),
    piece("loop/blocking", "block", 50_000, |units| tcp(units, Flow::Send, Engine::Sync, SMALL)),
    piece("loop/uring_send", "operation", 20_000, |units| tcp(units, Flow::Send, Engine::Uring, LARGE)),
    piece("loop/uring_send_small", "operation", 20_000, |units| {
        tcp(units, Flow::Send, Engine::Uring, SMALL);
    }),
    piece("loop/uring_zc_send", "operation", 20_000, |units| {
        tcp(units, Flow::Send, Engine::UringZc, LARGE);
    }),
    piece("loop/uring_receive", "operation", 20_000, |units| {
        tcp(units, Flow::Receive, Engine::Uring, LARGE);
    }),
    piece("loop/udp_uring_send", "datagram", 50_000, |units| udp(units, Flow::Send, Engine::Uring, true)),
    piece("loop/udp_uring_send_single", "datagram", 20_000, |units| {
        udp(units, Flow::Send, Engine::Uring, false);
    }),
    piece("loop/udp_uring_zc_send_single", "datagram", 20_000, |units| {
        udp(units, Flow::Send, Engine::UringZc, false);
    }),
    piece("loop/udp_uring_receive", "datagram", 50_000, |units| {
        udp(units, Flow::Receive, Engine::Uring, true);
    }),
    piece("loop/udp_uring_receive_single", "datagram", 20_000, |units| {
        udp(units, Flow::Receive, Engine::Uring, false);
    }),
];

/// A block that is an operation of its own, on every engine.
const LARGE: u32 = 256 * 1024;
/// A block of which many are in flight.
const SMALL: u32 = 1024;
/// A datagram that fits an Ethernet frame.
const DATAGRAM: u32 = 1460;

const fn piece(name: &'static str, unit: &'static str, units: u64, run: fn(u64)) -> Piece {
    Piece { name, unit, units, run }
}

fn params_encode(units: u64) {
    let request = request();
    for _ in 0..units {
        black_box(params::encode(black_box(&request))).expect("a plain test fits");
    }
}

fn params_decode(units: u64) {
    let text = params::encode(&request()).expect("a plain test fits");
    for _ in 0..units {
        black_box(params::decode(black_box(text.as_bytes()))).expect("it was encoded just now");
    }
}

fn request() -> Request {
    Request { test: TestConfig::default(), client_version: None, auth_token: None, hello: None }
}

fn results_encode(units: u64) {
    let results = results_of_many();
    for _ in 0..units {
        black_box(results::encode(black_box(&results)));
    }
}

fn results_decode(units: u64) {
    let text = results::encode(&results_of_many());
    for _ in 0..units {
        black_box(results::decode(black_box(text.as_bytes()))).expect("it was encoded just now");
    }
}

fn results_of_many() -> Results {
    Results {
        cpu: CpuUse::default(),
        sender_has_retransmits: 1,
        congestion_used: Some("cubic".to_owned()),
        server_output: None,
        streams: (1..=128).map(|id| StreamResult { id, bytes: 1 << 40, ..StreamResult::default() }).collect(),
    }
}

fn datagram_header(units: u64) {
    let mut datagram = [0; 64];
    for sequence in 1..=units {
        let header = DatagramHeader { seconds: 1_000, microseconds: 123_000, sequence };
        header.write(black_box(false), black_box(&mut datagram));
        black_box(DatagramHeader::read(black_box(false), black_box(&datagram)));
    }
}

fn gate_unpaced(units: u64) {
    let job = tcp_job(Flow::Send, SMALL);
    let now = Instant::now();
    let mut gate = job.gate(now);
    for _ in 0..units {
        while black_box(gate.take(SMALL.into())) == 0 {
            assert_eq!(gate.refresh(black_box(now)), GateState::Open);
        }
    }
}

fn gate_paced(units: u64) {
    let pacing = Pacing { bits_per_second: 1_000_000_000, burst_blocks: 0 };
    let job = StreamJob { pacing, ..tcp_job(Flow::Send, LARGE) };
    let mut now = Instant::now();
    let mut gate = job.gate(now);
    for _ in 0..units {
        assert_eq!(gate.refresh(black_box(now)), GateState::Open);
        assert_eq!(gate.take(LARGE.into()), u64::from(LARGE));
        match gate.refresh(black_box(now)) {
            GateState::Until(next) => now = next,
            other => panic!("a burst at once is all that the rate allows, not {other:?}"),
        }
    }
}

fn counters_publish(units: u64) {
    let shared = SharedCounters::default();
    let mut totals = Counters::default();
    for _ in 0..units {
        totals.bytes += u64::from(LARGE);
        totals.operations += 1;
        black_box(&shared).publish(black_box(totals));
    }
}

fn sampler_interval(units: u64) {
    let mut now = Instant::now();
    let mut sampler = StreamSampler::new(now);
    let mut totals = Counters::default();
    let tcp = TcpSample::default();
    for _ in 0..units {
        now += Duration::from_secs(1);
        totals.bytes += u64::from(LARGE);
        black_box(sampler.interval(black_box(now), black_box(totals), Some(black_box(&tcp))));
    }
}

/// So many times in a row are the same.
fn latency_record(units: u64, row: u64) {
    let mut latency = Latency::default();
    for unit in 0..units {
        latency.record(black_box(Duration::from_nanos(unit / row % 1024 * 1000)));
    }
}

/// Each datagram is a message; before every so-manieth one is missing.
fn sequence(units: u64, missing_each: u64) {
    let mut tracker = DatagramTracker::new(false);
    let mut sequence = 0;
    for unit in 1..=units {
        sequence += if unit % missing_each == 0 { 2 } else { 1 };
        let sent = Duration::new(1_000, 123_000);
        tracker.message(black_box(None), 1);
        tracker.take(black_box(sequence), black_box(sent), black_box(Duration::new(5, 77)));
    }
    assert_eq!(tracker.counters().received, units);
}

fn report_text(units: u64) {
    report(&mut TextReporter::new(&OutputConfig::default()), units);
}

fn report_json(units: u64) {
    report(&mut JsonStreamReporter::new(Role::Client, false), units);
}

fn report(reporter: &mut dyn Reporter, units: u64) {
    let streams: u8 = 8;
    let test = TestConfig { parallel: streams.into(), ..TestConfig::default() };
    let session = SessionInfo {
        role: Role::Client,
        host: "127.0.0.1".into(),
        port: 5201,
        cookie: "c".repeat(36),
        time: UNIX_EPOCH,
        control_mss: 32_768,
        user: None,
        extras_in_output: false,
        has_rate: true,
        interval: Some(Duration::from_secs(1)),
        test: Arc::new(test),
    };
    let mut bytes = Vec::new();
    reporter.event(&RunEvent::Session(Box::new(session)), &mut bytes).expect("a vector takes all of it");
    let stream = |socket: u8| IntervalStream {
        socket: socket.into(),
        flow: Flow::Send,
        start: Duration::from_secs(1),
        end: Duration::new(2, 123_456),
        bytes: 4_567_890_123,
        tcp: Some(TcpInterval { retransmits: 3, snd_cwnd_bytes: 1_178_694, ..TcpInterval::default() }),
        udp: None,
    };
    let interval = Interval { omitted: false, streams: (5..5 + streams).map(stream).collect() };
    let event = RunEvent::Interval(interval);
    for _ in 0..units {
        bytes.clear();
        reporter.event(black_box(&event), &mut bytes).expect("a vector takes all of it");
        let text = str::from_utf8(&bytes).expect("a report is text");
        assert!(text.contains("4567890123") || text.contains("[SUM]"), "an interval is printed: {text}");
    }
}

fn tcp(units: u64, flow: Flow, engine: Engine, block_bytes: u32) {
    moves(&tcp_job(flow, block_bytes), engine, units);
}

fn udp(units: u64, flow: Flow, engine: Engine, offload: bool) {
    let near = UdpSocket::bind("127.0.0.1:0").expect("a free port on loopback");
    near.connect(near.local_addr().expect("it is bound")).expect("it may talk to itself");
    let job = StreamJob {
        protocol: Protocol::Udp(UdpConfig::default()),
        udp: Some(UdpJob { counters_64bit: false, offload }),
        ..job(Socket::from_udp(near), flow, DATAGRAM)
    };
    moves(&job, engine, units);
}

/// So many blocks through the loop of an engine.
fn moves(job: &StreamJob, engine: Engine, units: u64) {
    let bytes = units * u64::from(job.block.bytes);
    let exit = null_kernel::run(job, engine, bytes);
    assert!(exit.fault.is_none() && exit.totals.bytes >= bytes, "the loop broke off: {exit:?}");
}

/// The loops ask the socket about itself, which goes on after its peer is gone, as it is here.
fn tcp_job(flow: Flow, block_bytes: u32) -> StreamJob {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    job(Socket::from_stream(near), flow, block_bytes)
}

fn job(socket: Socket, flow: Flow, block_bytes: u32) -> StreamJob {
    StreamJob {
        // Not auto, which would have an opinion about zero-copy.
        asked: EngineChoice::Uring,
        block: BlockSize { bytes: block_bytes, explicit: true },
        ..StreamJob::bare(socket, flow)
    }
}
