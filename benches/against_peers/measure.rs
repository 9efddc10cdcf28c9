//! One server and one client, from start to exit.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wait4::{ResourceUsage, Wait4};

use super::Outcome;
use super::network::{Carried, Network};
use super::tool::Tool;

/// A server that has served its test exits at once; one that does not is stopped after this.
const SERVER_EXIT: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Bytes of Ethernet, IP and transport header that the kernel counts for each packet: IPv4 with TCP and its
/// timestamps. IPv6 has 20 more, UDP 24 less.
const TCP_HEADER_BYTES: u64 = 14 + 20 + 32;
const UDP_HEADER_BYTES: u64 = 14 + 20 + 8;
const V6_EXTRA_BYTES: u64 = 20;

/// How much longer than claimed bytes may flow without being counted as an overrun, as a share of the time.
const OVERRUN_FORGIVEN: f64 = 0.05;

/// What one run has shown.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Received, both directions together.
    pub gbit_per_second: f64,
    /// Processor seconds for 10^9 bytes received, as the kernel accounts them to the processes.
    pub client_cost: f64,
    pub server_cost: f64,
    pub lost_percent: Option<f64>,
    /// From the start of the client to the end of its output, which it closes by its exit.
    pub seconds: f64,
    /// Resident memory of the client at its peak.
    pub client_mib: f64,
    /// Bytes that the client says were sent, as a share of what the interfaces have carried without headers.
    pub claimed_of_carried: f64,
}

impl Run {
    pub fn cost(&self) -> f64 {
        self.client_cost + self.server_cost
    }
}

/// Who talks to whom, with which options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub client: &'a Tool,
    pub server: &'a Tool,
    pub options: &'a str,
}

impl Pair<'_> {
    /// Runs it in that network on a port that nobody has used yet.
    pub fn run(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Run> {
        self.attempt(network, port, seconds).map_err(|error| {
            let (client, server) = (self.client.name, self.server.name);
            format!("{client} -c to {server} -s, {:?}: {error}", self.options).into()
        })
    }

    fn attempt(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Run> {
        let port_text = port.to_string();
        let mut server = Command::new(&self.server.path);
        server.args(["-s", "-1", "-p", &port_text]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Stopped(network.at_server(|| Ok(server.spawn()?))?);
        network.wait_for_listener(port)?;

        let mut client = Command::new(&self.client.path);
        client.args(["-c", &network.host.to_string(), "-p", &port_text, "-J"]);
        client.args(self.options.split_whitespace());
        let has = |wanted| self.options.split_whitespace().any(|option| option == wanted);
        if !has("-u") {
            // The system's own choice may be one that paces, which makes all tools look alike.
            client.args(["-C", "cubic"]);
        }
        if !has("-n") {
            client.args(["-t", &seconds.to_string()]);
        }
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let before = network.carried()?;
        let start = Instant::now();
        let mut client = Stopped(network.at_client(|| Ok(client.spawn()?))?);
        let mut document = Vec::new();
        let mut output = client.0.stdout.take().ok_or("the client's output is piped")?;
        let mut elapsed = Duration::ZERO;
        let over = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let watching = scope.spawn(|| network.watch(&over).map_err(|error| error.to_string()));
            let read = output.read_to_end(&mut document);
            elapsed = start.elapsed();
            over.store(true, Ordering::Relaxed);
            read.map_err(|error| error.to_string())?;
            watching.join().map_err(|_| "the watching thread panicked")?
        })?;
        let client = client.0.wait4()?;
        let after = network.carried()?;
        let server_use = server.wait()?;

        let carried = Carried { bytes: after.bytes - before.bytes, packets: after.packets - before.packets };
        let document: serde_json::Value =
            serde_json::from_slice(&document).map_err(|error| format!("no document: {error}"))?;
        if let Some(error) = document["error"].as_str() {
            return Err(error.into());
        }
        let header = if has("-u") { UDP_HEADER_BYTES } else { TCP_HEADER_BYTES };
        let header = header + if network.host.is_ipv6() { V6_EXTRA_BYTES } else { 0 };
        let flowing = flowing(&seen);
        figures(&document, (elapsed, flowing), (&client.rusage, &server_use), payload(carried, header))
    }
}

/// How long bytes have flown: from the first to the last hundredth of them.
fn flowing(seen: &[(Instant, u64)]) -> Duration {
    let (Some((_, first)), Some((_, last))) = (seen.first(), seen.last()) else { return Duration::ZERO };
    let hundredth = (last - first) / 100;
    let begun = seen.iter().find(|(_, bytes)| *bytes > first + hundredth);
    let over = seen.iter().rev().find(|(_, bytes)| *bytes < last - hundredth);
    match (begun, over) {
        (Some((begun, _)), Some((over, _))) => over.saturating_duration_since(*begun),
        _ => Duration::ZERO,
    }
}

/// What interfaces have carried without the headers.
fn payload(carried: Carried, header_bytes: u64) -> u64 {
    carried.bytes.saturating_sub(carried.packets * header_bytes)
}

fn figures(
    document: &serde_json::Value,
    (elapsed, flowing): (Duration, Duration),
    (client, server): (&ResourceUsage, &ResourceUsage),
    carried_bytes: u64,
) -> Outcome<Run> {
    let end = &document["end"];
    let number = |sum: &str, key: &str| {
        end[sum][key].as_f64().ok_or_else(|| format!("no end.{sum}.{key} in the document"))
    };
    // With --bidir the other direction has sums of its own.
    let both = |sum: &str, key: &str| {
        let reverse = end[format!("{sum}_bidir_reverse")][key].as_f64().unwrap_or(0.0);
        number(sum, key).map(|forward| forward + reverse)
    };
    let gigabytes = both("sum_received", "bytes")? / 1e9;
    let claimed_seconds = number("sum_received", "seconds")?;
    // Whoever goes on beyond the time that the rate is claimed for is given the time that it took.
    let overrun = (flowing.as_secs_f64() / claimed_seconds).max(1.0 + OVERRUN_FORGIVEN) - OVERRUN_FORGIVEN;
    let processor = |usage: &ResourceUsage| (usage.utime + usage.stime).as_secs_f64();
    Ok(Run {
        gbit_per_second: both("sum_received", "bits_per_second")? / 1e9 / overrun,
        client_cost: processor(client) / gigabytes,
        server_cost: processor(server) / gigabytes,
        lost_percent: end["sum_received"]["lost_percent"].as_f64(),
        seconds: elapsed.as_secs_f64(),
        client_mib: client.maxrss as f64 / f64::from(1 << 20),
        claimed_of_carried: both("sum_sent", "bytes")? / carried_bytes as f64,
    })
}

/// A child that does not outlive its owner.
struct Stopped(Child);

impl Stopped {
    /// Waits for its own exit for a while, then stops it.
    fn wait(&mut self) -> Outcome<ResourceUsage> {
        let deadline = Instant::now() + SERVER_EXIT;
        // Looking does not reap it, so that its processor time can still be asked for.
        while Instant::now() < deadline && !self.has_ended()? {
            thread::sleep(LOOK_EVERY);
        }
        // Fails when it has ended by itself, as it should.
        let _ = self.0.kill();
        Ok(self.0.wait4()?.rusage)
    }

    fn has_ended(&self) -> Outcome<bool> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let process = nix::unistd::Pid::from_raw(i32::try_from(self.0.id())?);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(process), flags)? != WaitStatus::StillAlive)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
