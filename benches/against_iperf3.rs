//! ringperf against a real iperf3, side by side: real processes over loopback, the same work, rounds
//! interleaved.
//!
//! `cargo bench --bench against_iperf3 -- [ROUNDS] [SECONDS] [WORD]` (5 rounds of 5 seconds; only work with
//! that word in its name). The peer is `iperf3-rs` where `make peers` puts it, or the program that the
//! environment variable PEER names. Prints, for each piece of work, the median rate received and the median
//! of the per-round ratios with their spread, processor seconds per GB of both ends as the kernel accounts
//! them to the processes, and for UDP the median loss. Run it on an otherwise idle machine.

#![allow(clippy::print_stdout, reason = "it is a program that prints")]

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A piece of work.
struct Work {
    name: &'static str,
    /// Options of our client.
    ours: &'static str,
    /// Options of the peer's client.
    peer: &'static str,
    /// Whose server our client talks to; the peer's client talks to its own.
    server: Server,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Own,
    Peers,
}

const fn same(name: &'static str, options: &'static str) -> Work {
    Work { name, ours: options, peer: options, server: Server::Own }
}

const WORK: [Work; 13] = [
    same("default", ""),
    same("default -R", "-R"),
    same("-Z", "-Z"),
    same("-Z -R", "-Z -R"),
    same("-P 2", "-P 2"),
    Work { ours: "--engine splice", ..same("splice against -Z", "-Z") },
    same("udp -l 1460", "-u -b 0 -l 1460"),
    same("udp -l 1460 -R", "-u -b 0 -l 1460 -R"),
    same("udp -l 1460 --gsro", "-u -b 0 -l 1460 --gsro"),
    same("udp -l 64", "-u -b 0 -l 64"),
    same("udp -b 1G -l 1460", "-u -b 1G -l 1460"),
    Work { server: Server::Peers, ..same("udp to iperf3", "-u -b 0 -l 1460") },
    Work { server: Server::Peers, ..same("udp --gsro to iperf3", "-u -b 0 -l 1460 --gsro") },
];

/// One run of one tool.
#[derive(Clone, Copy)]
struct Run {
    gbit_per_second: f64,
    client_seconds_per_gb: f64,
    server_seconds_per_gb: f64,
    lost_percent: Option<f64>,
}

fn main() -> Outcome<()> {
    let numbers: Vec<u32> = env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(5);
    let seconds = numbers.get(1).copied().unwrap_or(5);
    let word = env::args().skip(1).find(|word| word.parse::<u32>().is_err() && !word.starts_with("--"));
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_ringperf"));
    let peer = peer();
    if !peer.exists() {
        println!("no peer to compare with at {}: run `make peers` first", peer.display());
        return Ok(());
    }
    println!("{rounds} rounds of {seconds} s, loopback, -C cubic, peer {}\n", peer.display());
    println!(
        "{:<21} {:>9} {:>9} {:>6} {:>13}  CPU-s/GB client+server: ours, peer, ratio; lost %: ours, peer",
        "work", "ours Gb/s", "peer Gb/s", "ratio", "(min-max)"
    );
    for work in WORK.iter().filter(|work| word.as_ref().is_none_or(|word| work.name.contains(word.as_str())))
    {
        let server = if work.server == Server::Own { &ours } else { &peer };
        let run_ours = |seconds| run(&ours, server, work.ours, seconds);
        let run_peer = |seconds| run(&peer, &peer, work.peer, seconds);
        // A warm-up that does not count.
        run_ours(1)?;
        run_peer(1)?;
        let mut pairs = Vec::new();
        for round in 0..rounds {
            // The order alternates, so that neither always runs on what the other left behind.
            let pair = if round % 2 == 0 {
                let ours = run_ours(seconds)?;
                (ours, run_peer(seconds)?)
            } else {
                let theirs = run_peer(seconds)?;
                (run_ours(seconds)?, theirs)
            };
            pairs.push(pair);
        }
        print_row(work.name, &pairs);
    }
    Ok(())
}

fn print_row(name: &str, pairs: &[(Run, Run)]) {
    let ratios = sorted(pairs.iter().map(|(ours, peer)| ours.gbit_per_second / peer.gbit_per_second));
    let cost = |run: &Run| run.client_seconds_per_gb + run.server_seconds_per_gb;
    let median_of = |value: &dyn Fn(&(Run, Run)) -> f64| median(&sorted(pairs.iter().map(value)));
    let lost = |run: &Run| run.lost_percent.unwrap_or(0.0);
    let losses = match pairs[0].0.lost_percent {
        None => String::new(),
        Some(_) => {
            format!("; {:.2}, {:.2}", median_of(&|(ours, _)| lost(ours)), median_of(&|(_, peer)| lost(peer)))
        }
    };
    println!(
        "{name:<21} {:>9.2} {:>9.2} {:>6.2} {:>6.2}-{:<6.2}  {:.3}+{:.3}, {:.3}+{:.3}, {:.2}{losses}",
        median_of(&|(ours, _)| ours.gbit_per_second),
        median_of(&|(_, peer)| peer.gbit_per_second),
        median(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
        median_of(&|(ours, _)| ours.client_seconds_per_gb),
        median_of(&|(ours, _)| ours.server_seconds_per_gb),
        median_of(&|(_, peer)| peer.client_seconds_per_gb),
        median_of(&|(_, peer)| peer.server_seconds_per_gb),
        median_of(&|(ours, peer)| cost(ours) / cost(peer)),
    );
}

/// One server and one client.
fn run(client: &Path, server: &Path, options: &str, seconds: u32) -> Outcome<Run> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let is_peer = server != Path::new(env!("CARGO_BIN_EXE_ringperf"));
    let mut server = Command::new(server);
    server.args(["-s", "-1", "-p", &port]).stdout(Stdio::piped());
    if is_peer {
        // iperf3 keeps its first line to itself otherwise.
        server.arg("--forceflush");
    }
    let mut server = server.spawn()?;
    let lines = wait_until_it_listens(&mut server)?;
    let client = Command::new(client)
        .args(["-c", "127.0.0.1", "-p", &port, "-C", "cubic", "-J", "-t", &seconds.to_string()])
        .args(options.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()?;
    let before = children_seconds()?;
    let output = client.wait_with_output()?;
    let client_seconds = children_seconds()? - before;
    drop(lines);
    let before = children_seconds()?;
    server.wait()?;
    let server_seconds = children_seconds()? - before;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let received = &document["end"]["sum_received"];
    let number =
        |key: &str| received[key].as_f64().ok_or_else(|| format!("no {key} in the result of {options}"));
    let gigabytes = number("bytes")? / 1e9;
    Ok(Run {
        gbit_per_second: number("bits_per_second")? / 1e9,
        client_seconds_per_gb: client_seconds / gigabytes,
        server_seconds_per_gb: server_seconds / gigabytes,
        lost_percent: received["lost_percent"].as_f64(),
    })
}

/// Reads the server's output up to its banner; what is returned keeps the pipe open.
fn wait_until_it_listens(server: &mut Child) -> Outcome<BufReader<ChildStdout>> {
    let mut lines = BufReader::new(server.stdout.take().ok_or("the server's output is piped")?);
    let mut line = String::new();
    while !line.contains("Server listening") {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err("the server ended before it listened".into());
        }
    }
    Ok(lines)
}

/// Processor seconds of all children that have been waited for.
fn children_seconds() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(std::time::Duration::from_micros(u64::try_from(microseconds)?).as_secs_f64())
}

fn peer() -> PathBuf {
    if let Some(program) = env::var_os("PEER") {
        return program.into();
    }
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cache = env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    cache.join("ringperf/peers/bin/iperf3-rs")
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
