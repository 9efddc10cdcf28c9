//! Readers as they are in the field: each finds what it reads, and nothing that it does not know.

mod strict;
mod text;

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::harness::{
    Cells, Checked, Failure, Finished, Folder, Server, ensure, ours, pick, run, run_client, run_pair,
    start_client,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

/// What a Prometheus exporter reads of a client's document.
#[derive(Deserialize)]
struct ExporterReport {
    start: ExporterStart,
    end: ExporterEnd,
}

#[derive(Deserialize)]
struct ExporterStart {
    test_start: ExporterTest,
}

#[derive(Deserialize)]
struct ExporterTest {
    protocol: String,
}

#[derive(Deserialize)]
struct ExporterEnd {
    sum_sent: ExporterSum,
    sum_received: ExporterSum,
    #[serde(default)]
    sum: Option<DatagramSum>,
    streams: Vec<ExporterStream>,
}

#[derive(Deserialize)]
struct ExporterSum {
    seconds: f64,
    bytes: f64,
    bits_per_second: f64,
    #[serde(default)]
    retransmits: Option<f64>,
}

#[derive(Deserialize)]
struct ExporterStream {
    #[serde(default)]
    udp: Option<DatagramSum>,
}

#[derive(Deserialize)]
struct DatagramSum {
    seconds: f64,
    bits_per_second: f64,
    jitter_ms: f64,
    packets: f64,
    lost_packets: f64,
    lost_percent: f64,
}

/// What a measurement archive reads of the documents of both ends.
#[derive(Deserialize)]
struct ArchiveReport {
    start: ArchiveStart,
    intervals: Vec<ArchiveInterval>,
    end: ArchiveEnd,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct ArchiveStart {
    /// It is taken out before the document is published.
    system_info: String,
}

#[derive(Deserialize)]
struct ArchiveInterval {
    streams: Vec<ArchiveStream>,
    sum: Value,
}

#[derive(Deserialize)]
struct ArchiveStream {
    socket: i64,
    start: f64,
    end: f64,
    bytes: u64,
    bits_per_second: f64,
    omitted: bool,
    retransmits: Option<u64>,
    snd_cwnd: Option<u64>,
    rtt: Option<u64>,
    jitter_ms: Option<f64>,
    packets: Option<u64>,
    lost_packets: Option<u64>,
}

#[derive(Deserialize)]
struct ArchiveEnd {
    sum_sent: Value,
    sum_received: Value,
    #[serde(default)]
    sum: Option<Value>,
    streams: Vec<ArchiveEndStream>,
}

#[derive(Deserialize)]
struct ArchiveEndStream {
    sender: Option<Value>,
    udp: Option<Value>,
}

#[test]
fn an_exporter_finds_its_keys() -> Checked {
    let mut cells = Cells::default();
    for options in ["", "-R", "-P 2", "-O 1", "-u", "-u -R", "-u -P 2"] {
        cells.add(options, move || {
            let client = run_pair((&ours(), ""), (&ours(), &format!("-J -t 1 -b 5M {options}")))?.client;
            let report: ExporterReport = read(&client)?;
            let end = &report.end;
            for sum in [&end.sum_sent, &end.sum_received] {
                let ratio = 8.0 * sum.bytes / sum.seconds / sum.bits_per_second;
                ensure!((0.99..1.01).contains(&ratio), "a rate that is none\n{client}");
            }
            let is_udp = options.contains("-u");
            ensure!(report.start.test_start.protocol == if is_udp { "UDP" } else { "TCP" }, "{client}");
            ensure!(end.sum_sent.retransmits.is_some() != is_udp, "retransmits\n{client}");
            ensure!(end.sum.is_some() == is_udp, "sum\n{client}");
            ensure!(end.streams.iter().all(|stream| stream.udp.is_some() == is_udp), "udp\n{client}");
            let of_streams = end.streams.iter().filter_map(|stream| stream.udp.as_ref());
            for sum in of_streams.chain(&end.sum) {
                ensure!(sum.packets > 0.0 && sum.seconds > 0.5 && sum.bits_per_second > 0.0, "{client}");
                ensure!(sum.lost_packets <= sum.packets && sum.jitter_ms >= 0.0, "{client}");
                ensure!((0.0..=100.0).contains(&sum.lost_percent), "{client}");
            }
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn a_measurement_archive_finds_its_keys_at_both_ends() -> Checked {
    let mut cells = Cells::default();
    for options in ["", "-R", "-P 2 -O 1", "--bidir", "-u", "-u -R", "-u --bidir"] {
        cells.add(options, move || {
            let options = format!("-J -i 0.5 -t 1 -b 5M {options}");
            let pair = run_pair((&ours(), "-J --one-off"), (&ours(), &options))?;
            for run in [&pair.client, &pair.server] {
                let is_udp = options.contains("-u");
                archive(run, is_udp)?;
            }
            Ok(())
        });
    }
    cells.run()
}

/// Reads a document as an archive does.
fn archive(run: &Finished, is_udp: bool) -> Checked {
    let report: ArchiveReport = read(run)?;
    ensure!(report.error.is_none() && report.start.system_info.starts_with("Linux "), "{run}");
    ensure!(!report.intervals.is_empty(), "{run}");
    for interval in &report.intervals {
        ensure!(interval.sum["omitted"].is_boolean() && !interval.streams.is_empty(), "{run}");
        for stream in &interval.streams {
            ensure!(
                stream.socket > 2 && stream.end >= stream.start && stream.bits_per_second >= 0.0,
                "{run}"
            );
            ensure!(stream.bytes > 0 || stream.omitted || stream.end > 0.4, "{run}");
            let tcp = [stream.retransmits, stream.snd_cwnd, stream.rtt];
            let is_sender = tcp.iter().all(Option::is_some);
            ensure!(is_sender || tcp.iter().all(Option::is_none), "half of TCP's keys\n{run}");
            ensure!(stream.packets.is_some() == is_udp, "datagrams\n{run}");
            ensure!(stream.jitter_ms.is_some() == stream.lost_packets.is_some(), "half of UDP's keys\n{run}");
            ensure!(!(is_udp && is_sender), "TCP's keys in a UDP test\n{run}");
        }
    }
    let end = &report.end;
    ensure!(end.sum.is_some() == is_udp, "{run}");
    for sum in [&end.sum_sent, &end.sum_received] {
        ensure!(sum["bytes"].is_u64() && sum["bits_per_second"].is_number(), "{run}");
    }
    for stream in &end.streams {
        let object = stream.udp.as_ref().or(stream.sender.as_ref());
        ensure!(object.is_some_and(|object| object["bits_per_second"].is_number()), "{run}");
        let has_mean = stream.sender.as_ref().is_some_and(|sender| sender.get("mean_rtt").is_some());
        ensure!(!(is_udp && has_mean), "{run}");
    }
    Ok(())
}

#[test]
fn jq_reads_everything_also_of_failures() -> Checked {
    let folder = Folder::new()?;
    let mut outputs = Vec::new();
    for format in ["-J", "--json-stream", "--json-stream --json-stream-full-output"] {
        let server = Server::start(&ours(), format)?;
        for options in ["-n 1M", "-u -n 64K --bidir", "-n 1M -T \u{9b}\u{202e} --extra-data \\\"\u{1}"] {
            let client = run_client(&ours(), server.port, &format!("{format} {options}"))?;
            client.succeeded()?;
            outputs.push(client.stdout);
        }
        let refused = run(ours().command(&format!("-c 127.0.0.1 -p {} {format}", pick())))?;
        let taken = run(ours().command(&format!("-s -p {} {format}", server.port)))?;
        let unknown = run(ours().command(&format!("-c no.such.host.invalid {format}")))?;
        for failed in [refused, taken, unknown] {
            ensure!(failed.code == Some(1) && failed.stderr.is_empty(), "{failed}");
            outputs.push(failed.stdout);
        }
        let client = start_client(&ours(), server.port, &format!("{format} -t 60 -b 5M"))?;
        client.runs_until(LIMIT, || {
            server.process.so_far().contains("\"event\":\"start\"") || format == "-J"
        })?;
        server.process.interrupt()?;
        outputs.push(client.finish(LIMIT)?.stdout);
        outputs.push(server.finish()?.stdout);
    }
    let path = folder.file("output");
    for output in outputs {
        fs::write(&path, &output)?;
        let values = serde_json::Deserializer::from_str(&output).into_iter::<Value>();
        let count =
            values.collect::<Result<Vec<_>, _>>().map_err(|error| Failure(format!("{error}\n{output}")))?;
        ensure!(!count.is_empty(), "nothing was printed");
        // jq is not on every machine; a stricter reader has just read the same.
        if let Ok(jq) = Command::new("jq").arg(".").arg(&path).output() {
            ensure!(jq.status.success(), "{}\n{output}", String::from_utf8_lossy(&jq.stderr));
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(run: &Finished) -> Checked<T> {
    serde_json::from_str(&run.stdout).map_err(|error| Failure(format!("{error}\n{run}")))
}
