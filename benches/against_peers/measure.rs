//! One server and one client, from start to exit.

use std::fs;
use std::io::BufReader;
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
/// How often the memory of clients is looked at: seldom enough to cost nothing.
const MEMORY_EVERY: Duration = Duration::from_millis(20);
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
    /// Resident memory of the clients together at their peaks, as last seen before their exits.
    pub client_mib: Option<f64>,
    /// Bytes that the client says were sent, as a share of what the interfaces have carried without headers.
    pub claimed_of_carried: Option<f64>,
}

impl Run {
    pub fn cost(&self) -> f64 {
        self.client_cost + self.server_cost
    }
}

/// Who talks to whom, with which options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub client: &'a Tool,
    pub server: &'a Tool,
    /// Options of the client.
    pub options: String,
    /// Options of the server besides `-s -p PORT`.
    pub server_options: String,
    /// Clients that run at the same time, each with a server of its own unless one may serve them all.
    pub clients: usize,
    /// One server serves all clients.
    pub one_server: bool,
}

impl Pair<'_> {
    /// Runs it in that network on ports that nobody has used yet, from `port` on.
    pub fn run(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Run> {
        self.attempt(network, port, seconds).map_err(|error| {
            let (client, server) = (self.client.name, self.server.name);
            format!("{client} -c to {server} -s, {:?}: {error}", self.options).into()
        })
    }

    fn attempt(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Run> {
        let count = u16::try_from(self.clients)?;
        let ports: Vec<u16> =
            (0..if self.one_server { 1 } else { count }).map(|index| port + index).collect();
        let mut servers =
            ports.iter().map(|&port| self.start_server(network, port)).collect::<Outcome<Vec<_>>>()?;
        let before = network.carried()?;
        let start = Instant::now();
        let mut clients = (0..self.clients)
            .map(|index| self.start_client(network, ports[index % ports.len()], seconds))
            .collect::<Outcome<Vec<_>>>()?;
        let over = AtomicBool::new(false);
        let processes: Vec<u32> = clients.iter().map(|client| client.0.id()).collect();
        let (documents, elapsed, seen, client_mib) = thread::scope(|scope| {
            let watching = scope.spawn(|| network.watch(&over).map_err(|error| error.to_string()));
            let weighing = scope.spawn(|| peak_mib(&processes, &over));
            let reading: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| client.output())).collect();
            let documents = reading
                .into_iter()
                .map(|reading| reading.join().map_err(|_| "a reading thread panicked".to_owned())?)
                .collect::<Result<Vec<_>, String>>();
            let elapsed = start.elapsed();
            over.store(true, Ordering::Relaxed);
            let seen = watching.join().map_err(|_| "the watching thread panicked")??;
            let client_mib = weighing.join().map_err(|_| "the weighing thread panicked")?;
            Ok::<_, String>((documents?, elapsed, seen, client_mib))
        })?;
        let clients = clients.iter_mut().map(Stopped::reap).collect::<Outcome<Vec<_>>>()?;
        let after = network.carried()?;
        let patience = if self.one_server { Duration::ZERO } else { SERVER_EXIT };
        let servers = servers.iter_mut().map(|server| server.wait(patience)).collect::<Outcome<Vec<_>>>()?;

        let carried = Carried { bytes: after.bytes - before.bytes, packets: after.packets - before.packets };
        let header = if self.has("-u") { UDP_HEADER_BYTES } else { TCP_HEADER_BYTES };
        let header = header + if network.host.is_ipv6() { V6_EXTRA_BYTES } else { 0 };
        let facts = Facts {
            elapsed,
            flowing: flowing(&seen),
            client_cpu: clients.iter().map(processor_seconds).sum(),
            server_cpu: servers.iter().map(processor_seconds).sum(),
            client_mib,
            carried_bytes: payload(carried, header),
        };
        facts.run(&documents)
    }

    fn has(&self, wanted: &str) -> bool {
        self.options.split_whitespace().any(|option| option == wanted)
    }

    fn start_server(&self, network: &Network, port: u16) -> Outcome<Stopped> {
        let mut server = Command::new(&self.server.path);
        server.args(["-s", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        if !self.one_server {
            server.arg("-1");
        }
        server.args(self.server_options.split_whitespace());
        let server = Stopped(network.at_server(|| Ok(server.spawn()?))?);
        network.wait_for_listener(port)?;
        Ok(server)
    }

    fn start_client(&self, network: &Network, port: u16, seconds: f64) -> Outcome<Stopped> {
        let mut client = Command::new(&self.client.path);
        client.args(["-c", &network.host.to_string(), "-p", &port.to_string(), "-J"]);
        client.args(self.options.split_whitespace());
        if !self.has("-u") {
            // The system's own choice may be one that paces, which makes all tools look alike.
            client.args(["-C", "cubic"]);
        }
        if !self.has("-n") {
            client.args(["-t", &seconds.to_string()]);
        }
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Stopped(network.at_client(|| Ok(client.spawn()?))?))
    }
}

/// What was seen of a run from outside.
struct Facts {
    elapsed: Duration,
    flowing: Duration,
    /// Processor seconds.
    client_cpu: f64,
    server_cpu: f64,
    client_mib: f64,
    carried_bytes: u64,
}

impl Facts {
    /// Together with what each client's document says.
    fn run(&self, documents: &[serde_json::Value]) -> Outcome<Run> {
        let said = documents.iter().map(Said::of).collect::<Outcome<Vec<_>>>()?;
        let sum = |value: fn(&Said) -> f64| said.iter().map(value).sum::<f64>();
        let gigabytes = sum(|said| said.received_bytes) / 1e9;
        let claimed_seconds = said.iter().map(|said| said.seconds).fold(0.0, f64::max);
        // Whoever goes on beyond the time that the rate is claimed for is given the time that it took.
        let overrun =
            (self.flowing.as_secs_f64() / claimed_seconds).max(1.0 + OVERRUN_FORGIVEN) - OVERRUN_FORGIVEN;
        Ok(Run {
            gbit_per_second: sum(|said| said.bits_per_second) / 1e9 / overrun,
            client_cost: self.client_cpu / gigabytes,
            server_cost: self.server_cpu / gigabytes,
            lost_percent: documents[0]["end"]["sum_received"]["lost_percent"].as_f64(),
            seconds: self.elapsed.as_secs_f64(),
            client_mib: Some(self.client_mib),
            claimed_of_carried: Some(sum(|said| said.sent_bytes) / self.carried_bytes as f64),
        })
    }
}

/// What a client's document says, both directions together.
struct Said {
    received_bytes: f64,
    sent_bytes: f64,
    bits_per_second: f64,
    seconds: f64,
}

impl Said {
    fn of(document: &serde_json::Value) -> Outcome<Self> {
        if let Some(error) = document["error"].as_str() {
            return Err(error.into());
        }
        let end = &document["end"];
        let number = |sum: &str, key: &str| {
            end[sum][key].as_f64().ok_or_else(|| format!("no end.{sum}.{key} in the document"))
        };
        // With --bidir the other direction has sums of its own.
        let both = |sum: &str, key: &str| {
            let reverse = end[format!("{sum}_bidir_reverse")][key].as_f64().unwrap_or(0.0);
            number(sum, key).map(|forward| forward + reverse)
        };
        Ok(Self {
            received_bytes: both("sum_received", "bytes")?,
            sent_bytes: both("sum_sent", "bytes")?,
            bits_per_second: both("sum_received", "bits_per_second")?,
            seconds: number("sum_received", "seconds")?,
        })
    }
}

fn processor_seconds(usage: &ResourceUsage) -> f64 {
    (usage.utime + usage.stime).as_secs_f64()
}

/// Resident memory of these processes at their peaks, in MiB. What wait4(2) says would not do: there the memory
/// of this process counts, which theirs began as.
fn peak_mib(processes: &[u32], over: &AtomicBool) -> f64 {
    let mut peaks_kib = vec![0; processes.len()];
    loop {
        let is_last = over.load(Ordering::Relaxed);
        for (process, peak_kib) in processes.iter().zip(&mut peaks_kib) {
            // One that has ended has no memory any more.
            *peak_kib = resident_peak_kib(*process).unwrap_or(0).max(*peak_kib);
        }
        if is_last {
            return peaks_kib.iter().sum::<u64>() as f64 / 1024.0;
        }
        thread::sleep(MEMORY_EVERY);
    }
}

fn resident_peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
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

/// A child that does not outlive its owner.
struct Stopped(Child);

impl Stopped {
    /// Everything it prints as a document. Ends when it closes its output, which it does by its exit.
    fn output(&mut self) -> Result<serde_json::Value, String> {
        let output = self.0.stdout.take().ok_or("the client's output is piped")?;
        serde_json::from_reader(BufReader::new(output)).map_err(|error| format!("no document: {error}"))
    }

    fn reap(&mut self) -> Outcome<ResourceUsage> {
        Ok(self.0.wait4()?.rusage)
    }

    /// Waits for its own exit for a while, then stops it.
    fn wait(&mut self, patience: Duration) -> Outcome<ResourceUsage> {
        let deadline = Instant::now() + patience;
        // Looking does not reap it, so that its processor time can still be asked for.
        while Instant::now() < deadline && !self.has_ended()? {
            thread::sleep(LOOK_EVERY);
        }
        // Fails when it has ended by itself, as it should.
        let _ = self.0.kill();
        self.reap()
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
