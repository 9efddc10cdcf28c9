//! What the machine itself can do: plain calls over connections of our own, without a protocol, a report or a
//! pace. No program that moves bytes with the same calls can be much faster.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use ringperf::sys::{PayloadFile, Pinned, Pipe, Region, Socket, Topology};

use super::Outcome;
use super::measure::Run;
use super::network::Network;

/// Receivers have this long to take what is still under way when the senders have stopped.
const REST: Duration = Duration::from_secs(5);
/// Memory that is written over and over again, so that it stays in a cache.
const WRITTEN_BYTES: usize = 128 * 1024;
/// Memory that splice(2) refers to over and over again: the receiver finds it in its cache.
const SPLICED_BYTES: usize = 32 * 1024;

/// How a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// send(2) of the same memory.
    Write,
    /// sendfile(2) of a file in memory, as `-Z`.
    Sendfile,
    /// vmsplice(2) into a pipe and splice(2) from there.
    Splice,
}

/// Which processors the two ends of a stream have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// The same one.
    Together,
    /// One each.
    Apart,
    /// Whichever the scheduler gives them.
    Free,
}

/// Streams with plain calls.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub call: Call,
    pub streams: usize,
    sizes: Sizes,
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    send: usize,
    receive: usize,
    /// SO_RCVLOWAT; 1 is the kernel's own.
    mark: u32,
    placement: Placement,
}

const KIB: usize = 1024;
const SENDS: [usize; 3] = [128 * KIB, 256 * KIB, 1024 * KIB];
const RECEIVES: [usize; 3] = [128 * KIB, 256 * KIB, 1024 * KIB];
const MARKS: [u32; 2] = [1, 256 * 1024];
const PLACEMENTS: [Placement; 3] = [Placement::Together, Placement::Apart, Placement::Free];

impl Probe {
    /// Looks for the sizes that are best on this machine, in runs of a fraction of a second. They are
    /// measured anew afterwards, since the best of many noisy figures is too good.
    pub fn best(call: Call, streams: usize, network: &Network) -> Outcome<Self> {
        const LOOK: Duration = Duration::from_millis(150);
        const LONGER_LOOK: Duration = Duration::from_millis(400);
        const FINALISTS: usize = 6;
        let look = |sizes: Sizes, time| -> Outcome<(f64, Self)> {
            let probe = Self { call, streams, sizes };
            Ok((probe.run(network, time)?.gbit_per_second, probe))
        };
        let all = SENDS.into_iter().flat_map(|send| {
            RECEIVES.into_iter().flat_map(move |receive| {
                MARKS.into_iter().flat_map(move |mark| {
                    PLACEMENTS.into_iter().map(move |placement| Sizes { send, receive, mark, placement })
                })
            })
        });
        let mut found = all.map(|sizes| look(sizes, LOOK)).collect::<Outcome<Vec<_>>>()?;
        let fastest_first = |one: &(f64, Self), other: &(f64, Self)| other.0.total_cmp(&one.0);
        found.sort_by(fastest_first);
        let finalists = found.into_iter().take(FINALISTS);
        let mut found =
            finalists.map(|(_, probe)| look(probe.sizes, LONGER_LOOK)).collect::<Outcome<Vec<_>>>()?;
        found.sort_by(fastest_first);
        Ok(found.first().ok_or("there are sizes")?.1)
    }

    /// What it does, for the table.
    pub fn describe(&self) -> String {
        let Sizes { send, receive, mark, placement } = self.sizes;
        let call = match self.call {
            Call::Write => "write",
            Call::Sendfile => "sendfile",
            Call::Splice => "splice",
        };
        let placement = match placement {
            Placement::Together => "both ends on one processor",
            Placement::Apart => "a processor for each end",
            Placement::Free => "not pinned",
        };
        let mark = if mark > 1 { format!(", mark {}K", mark / 1024) } else { String::new() };
        format!("{call} {}K, recv {}K{mark}, {placement}", send / KIB, receive / KIB)
    }

    /// Sends for so long.
    pub fn run(&self, network: &Network, time: Duration) -> Outcome<Run> {
        let ends = (0..self.streams).map(|_| connect(network)).collect::<Outcome<Vec<_>>>()?;
        let processors = Topology::of_this_thread()?.processors();
        let place = |index: usize| Some(*processors.get(index % processors.len())?);
        let ready = Barrier::new(2 * self.streams);
        let seconds = Instant::now();
        let results = thread::scope(|scope| {
            let mut senders = Vec::new();
            let mut receivers = Vec::new();
            for (index, (near, far)) in ends.iter().enumerate() {
                let (near_place, far_place) = match self.sizes.placement {
                    Placement::Free => (None, None),
                    Placement::Together => (place(index), place(index)),
                    Placement::Apart => (place(index), place(index + 1)),
                };
                let ready = &ready;
                senders.push(scope.spawn(move || {
                    measured(near_place, ready, || self.send(near, time)).map_err(|error| error.to_string())
                }));
                receivers.push(scope.spawn(move || {
                    measured(far_place, ready, || self.receive(far)).map_err(|error| error.to_string())
                }));
            }
            let join = |threads: Vec<thread::ScopedJoinHandle<'_, Result<Part, String>>>| {
                threads
                    .into_iter()
                    .map(|thread| thread.join().map_err(|_| "a thread of the probe panicked".to_owned())?)
                    .collect::<Result<Vec<Part>, String>>()
            };
            Ok::<_, String>((join(senders)?, join(receivers)?))
        })?;
        let (senders, receivers) = results;
        let bytes: u64 = receivers.iter().map(|part| part.bytes).sum();
        let longest = receivers.iter().map(|part| part.time).max().unwrap_or(time);
        let cpu = |parts: &[Part]| parts.iter().map(|part| part.cpu).sum::<f64>();
        let gigabytes = bytes as f64 / 1e9;
        Ok(Run {
            gbit_per_second: gigabytes * 8.0 / longest.as_secs_f64(),
            client_cost: cpu(&senders) / gigabytes,
            server_cost: cpu(&receivers) / gigabytes,
            lost_percent: None,
            seconds: seconds.elapsed().as_secs_f64(),
            client_mib: None,
            claimed_of_carried: None,
        })
    }

    fn send(&self, socket: &Socket, time: Duration) -> io::Result<u64> {
        let bytes = self.sizes.send;
        let until = Instant::now() + time;
        let mut sent = 0;
        match self.call {
            Call::Write => {
                let payload = Region::repeating(&[7; WRITTEN_BYTES], bytes / WRITTEN_BYTES)?;
                while Instant::now() < until {
                    sent += count(socket.send(payload.as_slice()))?;
                }
            }
            Call::Sendfile => {
                let file = PayloadFile::new(&vec![0; bytes])?;
                while Instant::now() < until {
                    sent += count(file.send_to(socket, bytes))?;
                }
            }
            Call::Splice => {
                let mut payload = Region::new(2 * KIB * KIB)?;
                payload.as_mut_slice().fill(7);
                let part = payload.as_slice().get(..SPLICED_BYTES).unwrap_or_default();
                let pipe = Pipe::new(bytes)?;
                let mut in_pipe = 0;
                while Instant::now() < until {
                    if in_pipe == 0 {
                        in_pipe = pipe.fill_from(part, bytes)?;
                    }
                    let moved = count(pipe.drain_to(socket, in_pipe))?;
                    in_pipe -= usize::try_from(moved).unwrap_or(in_pipe);
                    sent += moved;
                }
            }
        }
        socket.shutdown(std::net::Shutdown::Write);
        Ok(sent)
    }

    fn receive(&self, socket: &Socket) -> io::Result<u64> {
        socket.set_receive_low_water(self.sizes.mark)?;
        let mut memory = Region::new(self.sizes.receive)?;
        let mut received = 0;
        let limit = Instant::now() + Duration::from_secs(60) + REST;
        loop {
            match socket.receive(memory.as_mut_slice()) {
                Ok(0) => return Ok(received),
                more => received += count(more)?,
            }
            if Instant::now() > limit {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
}

/// What one thread has done.
struct Part {
    bytes: u64,
    time: Duration,
    /// Processor seconds.
    cpu: f64,
}

/// Does the work of one end on its processor, together with all others.
fn measured(place: Option<u32>, ready: &Barrier, work: impl FnOnce() -> io::Result<u64>) -> io::Result<Part> {
    let pinned = place.map(Pinned::to).transpose();
    ready.wait();
    let pinned = pinned?;
    let (start, before) = (Instant::now(), thread_cpu()?);
    let bytes = work()?;
    let part = Part { bytes, time: start.elapsed(), cpu: thread_cpu()? - before };
    drop(pinned);
    Ok(part)
}

/// Processor seconds of this thread.
fn thread_cpu() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Bytes of one call; a timeout of the socket moves none.
fn count(moved: io::Result<usize>) -> io::Result<u64> {
    match moved {
        Ok(bytes) => Ok(u64::try_from(bytes).unwrap_or(u64::MAX)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Both ends of a connection from the client's place to the server's, with cubic.
fn connect(network: &Network) -> Outcome<(Socket, Socket)> {
    let any: IpAddr = network.host;
    let listener = network.at_server(|| Ok(TcpListener::bind((any, 0))?))?;
    let address: SocketAddr = listener.local_addr()?;
    let near = network.at_client(|| Ok(TcpStream::connect(address)?))?;
    let (far, _) = listener.accept()?;
    let ends = (Socket::from_stream(near), Socket::from_stream(far));
    for end in [&ends.0, &ends.1] {
        end.set_congestion("cubic")?;
        end.set_blocking(Duration::from_millis(20))?;
    }
    Ok(ends)
}
