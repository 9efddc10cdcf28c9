//! Readers that know the keys of iperf3 and refuse every other one, in documents and in events.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::harness::{Cells, Checked, Failure, Finished, Program, as_iperf3, ensure, libiperf, run_pair};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a reader of all keys uses few of them")]
struct StrictDocument {
    start: Start,
    intervals: Vec<Interval>,
    end: End,
    title: Option<String>,
    extra_data: Option<String>,
    server_output_text: Option<String>,
    server_output_json: Option<Box<StrictDocument>>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Start {
    connected: Vec<Connected>,
    version: String,
    system_info: String,
    timestamp: Option<Timestamp>,
    connecting_to: Option<Host>,
    accepted_connection: Option<Host>,
    cookie: Option<String>,
    tcp_mss: Option<u32>,
    tcp_mss_default: Option<u32>,
    target_bitrate: Option<u64>,
    fq_rate: Option<u64>,
    sock_bufsize: Option<u64>,
    sndbuf_actual: Option<u64>,
    rcvbuf_actual: Option<u64>,
    test_start: Option<TestStart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Connected {
    socket: i32,
    local_host: String,
    local_port: u16,
    remote_host: String,
    remote_port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Timestamp {
    time: String,
    timesecs: u64,
    timemillisecs: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Host {
    host: String,
    port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct TestStart {
    protocol: String,
    num_streams: u32,
    blksize: u32,
    omit: u32,
    duration: u32,
    bytes: u64,
    blocks: u64,
    reverse: u8,
    tos: u8,
    target_bitrate: u64,
    bidir: u8,
    fqrate: u64,
    interval: f64,
    gso: u8,
    gro: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Interval {
    streams: Vec<Counted>,
    sum: Counted,
    sum_bidir_reverse: Option<Counted>,
}

/// A stream or a sum, in an interval or at the end, over TCP or UDP.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Counted {
    socket: Option<i32>,
    start: f64,
    end: f64,
    seconds: f64,
    bytes: u64,
    bits_per_second: f64,
    retransmits: Option<u64>,
    snd_cwnd: Option<u64>,
    snd_wnd: Option<u64>,
    rtt: Option<u64>,
    rttvar: Option<u64>,
    pmtu: Option<u64>,
    reorder: Option<u64>,
    max_snd_cwnd: Option<u64>,
    max_snd_wnd: Option<u64>,
    max_rtt: Option<u64>,
    min_rtt: Option<u64>,
    mean_rtt: Option<u64>,
    jitter_ms: Option<f64>,
    lost_packets: Option<i64>,
    packets: Option<u64>,
    lost_percent: Option<f64>,
    out_of_order: Option<u64>,
    omitted: Option<bool>,
    sender: bool,
}

/// Empty where a test did not get so far.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct End {
    streams: Option<Vec<EndStream>>,
    sum: Option<Counted>,
    sum_sent: Option<Counted>,
    sum_received: Option<Counted>,
    sum_bidir_reverse: Option<Counted>,
    sum_sent_bidir_reverse: Option<Counted>,
    sum_received_bidir_reverse: Option<Counted>,
    cpu_utilization_percent: Option<Cpu>,
    sender_tcp_congestion: Option<String>,
    receiver_tcp_congestion: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct EndStream {
    sender: Option<Counted>,
    receiver: Option<Counted>,
    udp: Option<Counted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct Cpu {
    host_total: f64,
    host_user: f64,
    host_system: f64,
    remote_total: f64,
    remote_user: f64,
    remote_system: f64,
}

#[derive(Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
enum Event {
    Start(Box<Start>),
    Interval(Box<Interval>),
    Error(String),
    ServerOutputText(String),
    ServerOutputJson(IgnoredAny),
    End(Box<End>),
}

/// Options of client and server.
const RUNS: [(&str, &str); 9] = [
    ("-n 1M", ""),
    ("-t 1 -R -O 1", ""),
    ("-n 1M --bidir -P 2 -T title --extra-data more", ""),
    ("-n 1M --get-server-output -M 1400", ""),
    ("-u -n 100K -b 5M", ""),
    ("-u -n 100K -b 5M -R -P 2", ""),
    ("-u -n 100K -b 5M --bidir --get-server-output", ""),
    ("-u -t 1 -b 0 -l 1000 -w 4K", ""),
    ("-n 1M -Z -V", "-V"),
];

#[test]
fn a_strict_reader_of_documents_and_events_knows_every_key() -> Checked {
    let (reference, called) = (libiperf()?, as_iperf3()?);
    let mut cells = Cells::default();
    for (client, server) in RUNS {
        for format in ["-J", "--json-stream", "--json-stream --json-stream-full-output"] {
            let (reference, called) = (reference.clone(), called.clone());
            cells.add(format!("{client} {format}"), move || {
                let run = |program: &Program| {
                    run_pair(
                        (program, &format!("{server} {format}")),
                        (program, &format!("{client} {format}")),
                    )
                };
                let pair = run(&called)?;
                read(&called, &pair.client, format)?;
                read(&called, &pair.server, format)?;
                // That this reader reads iperf3. Its servers have one key twice, and with -V its documents
                // have lines of text above them.
                if !client.contains("--get-server-output") && !client.contains("-V") {
                    read(&reference, &run(&reference)?.client, format)?;
                }
                Ok(())
            });
        }
    }
    cells.run()
}

/// Everything is a document, or an event per line and perhaps a document behind them.
fn read(program: &Program, run: &Finished, format: &str) -> Checked {
    let named = |error: serde_json::Error| Failure(format!("{}: {error}\n{run}", program.name));
    let (events, document) = match run.stdout.split_once("\n{\n") {
        Some((events, document)) => (events, format!("{{\n{document}")),
        None if format == "-J" => ("", run.stdout.clone()),
        None => (run.stdout.as_str(), String::new()),
    };
    if !document.is_empty() {
        let document: StrictDocument = serde_json::from_str(&document).map_err(named)?;
        ensure!(document.error.is_none() && !document.intervals.is_empty(), "{run}");
    }
    let mut names = Vec::new();
    for line in events.lines() {
        let event: Event = serde_json::from_str(line).map_err(named)?;
        names.push(match event {
            Event::Start(_) => "start",
            Event::Interval(_) => "interval",
            Event::Error(_) => "error",
            Event::ServerOutputText(_) | Event::ServerOutputJson(_) => "server output",
            Event::End(_) => "end",
        });
    }
    names.dedup();
    names.retain(|name| *name != "server output");
    ensure!(format == "-J" || names == ["start", "interval", "end"], "{names:?}\n{run}");
    Ok(())
}
