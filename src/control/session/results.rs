//! From streams to results: what goes to the peer, and what the report says.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::datagrams::UdpCount;
use crate::config::{Flow, Protocol, Role, TestConfig};
use crate::control::streams::set::{Stream, Streams};
use crate::engine::{EngineUse, Found, StreamExit, Way};
use crate::error::PeerError;
use crate::protocol::results::{self, Results, StreamResult};
use crate::protocol::{
    BusyPollReport, EngineReport, InterruptShare, LatencyReport, PacingReport, PeerReport, ProcessorReport,
    ProcessorShare, QueueReport, ReceivedDatagrams, SizesReport, TriedSizes,
};
use crate::report::{FileReport, StreamEnd, TestEnd};
use crate::stats::{CpuTime, CpuUse, Departures, Half, Latency, TcpLimits, ZeroCopy};
use crate::sys::{Card, Socket, thread_cpu_time};
use crate::units::{bits_per_second, to_f64};

/// Longest processor time that a peer's percentages are believed to mean: a day on ten thousand processors.
const CPU_TIME_MAX: Duration = Duration::from_secs(1_000_000_000);

/// Measures what this end of a test costs: its control thread from now on, and its stream threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuMeter {
    began: Instant,
    control: Option<CpuTime>,
}

impl CpuMeter {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), control: thread_cpu_time() }
    }

    /// Of all threads together, unless it is not known of one of them.
    fn read(&self, streams: &Streams) -> (Option<CpuTime>, Duration) {
        let control = self.control.zip(thread_cpu_time()).map(|(before, now)| now.since(before));
        let exits = streams.all().iter().filter_map(|stream| stream.exit.as_ref());
        let used = exits.map(|exit| exit.cpu).try_fold(control, |sum, one| {
            let mut sum = sum?;
            sum += one?;
            Some(Some(sum))
        });
        (used.flatten(), self.began.elapsed())
    }
}

/// The results of a peer, if they make sense for these streams.
///
/// # Errors
/// [`PeerError::Results`], also when they have more bytes than fit into their time, or
/// [`PeerError::StreamId`] when they speak of a stream that is not there.
pub(super) fn read_results(frame: &[u8], streams: &Streams) -> Result<Results, PeerError> {
    let results = results::decode(frame)?;
    let known = |id| streams.all().iter().any(|stream| stream.connected.id == id);
    if let Some(stranger) = results.streams.iter().find(|stream| !known(stream.id)) {
        return Err(PeerError::StreamId(stranger.id));
    }
    let own = |id| streams.all().iter().find(|stream| stream.connected.id == id);
    results.check_rates(|id| own(id).map_or(0.0, |stream| stream.sampler.elapsed().as_secs_f64()))?;
    Ok(results)
}

/// What this end has measured, all streams having ended.
pub(super) struct Measured {
    streams: Vec<StreamEnd>,
    /// For each of them in a UDP test; else empty.
    udp: Vec<UdpCount>,
    flows: &'static [Flow],
    is_tcp: bool,
    /// Only so many bytes count, and only behind an omitted part.
    counts_late: bool,
    cpu_time: Option<CpuTime>,
    cpu: Option<CpuUse>,
    congestion: Option<String>,
    engines: Vec<EngineReport>,
    file: Option<FileReport>,
    queues: Vec<QueueReport>,
}

impl Measured {
    /// `file` is what `-F` names.
    pub(crate) fn new(
        streams: &Streams,
        role: Role,
        test: &TestConfig,
        meter: &CpuMeter,
        file: Option<&Path>,
    ) -> Self {
        let (cpu_time, elapsed) = meter.read(streams);
        let flows = test.direction.flows(role);
        let is_udp = test.protocol.udp().is_some();
        let udp = || streams.all().iter().map(UdpCount::new);
        Self {
            streams: streams.all().iter().map(|stream| stream_end(stream, streams)).collect(),
            udp: if is_udp { udp().collect() } else { Vec::new() },
            flows,
            is_tcp: streams.is_tcp(),
            counts_late: test.omit_secs > 0 && test.goal_bytes().is_some(),
            cpu_time,
            cpu: cpu_time.map(|time| time.percent_of(elapsed)),
            congestion: streams.all().first().and_then(|stream| stream.socket.congestion().ok()),
            engines: flows.iter().filter_map(|&flow| engine_report(streams, flow, test)).collect(),
            file: file.and_then(file_report),
            queues: streams.queue_reports(),
        }
    }

    /// What iperf3's results have no room for, for a peer that is a ringperf.
    pub(crate) fn part(&self) -> PeerReport {
        PeerReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu_user_seconds: self.cpu_time.map(|time| time.user.as_secs_f64()),
            cpu_system_seconds: self.cpu_time.map(|time| time.system.as_secs_f64()),
            engines: self.engines.clone(),
            datagrams: self.udp.iter().filter_map(UdpCount::for_peer).collect(),
            queues: self.queues.clone(),
        }
    }

    /// What was measured, as the results of the protocol.
    pub(super) fn to_results(&self) -> Results {
        let sends = self.flows.contains(&Flow::Send);
        let mut streams: Vec<StreamResult> = self.streams.iter().map(stream_result).collect();
        for (result, udp) in streams.iter_mut().zip(&self.udp) {
            udp.add_to(result);
        }
        Results {
            // There is no word for what is not known, and an iperf3 wants these keys.
            cpu: self.cpu.unwrap_or_default(),
            sender_has_retransmits: match (sends, self.is_tcp) {
                (true, true) => 1,
                (true, false) => 0,
                (false, _) => -1,
            },
            congestion_used: self.congestion.clone(),
            server_output: None,
            streams,
        }
    }

    /// The report of a test whose results were not exchanged, or not yet.
    pub(crate) fn alone(self) -> TestEnd {
        TestEnd {
            exchanged: false,
            peer_unknown: false,
            streams: self.streams,
            cpu_local: self.cpu,
            cpu_remote: Some(CpuUse::default()),
            cpu_time: self.cpu_time,
            cpu_time_remote: None,
            congestion_local: self.congestion,
            congestion_remote: None,
            engines: self.engines,
            file: self.file,
            peer: None,
            datagrams: self.udp.iter().map(|udp| udp.report(None, None)).collect(),
            queues: self.queues,
        }
    }

    /// The report with the peer's half filled in, and its part, if it has told one.
    pub(crate) fn with_peer(mut self, results: Results, peer: Option<PeerReport>) -> TestEnd {
        let theirs: HashMap<u32, StreamResult> =
            results.streams.into_iter().rev().map(|stream| (stream.id, stream)).collect();
        for stream in &mut self.streams {
            if let Some(result) = theirs.get(&stream.id) {
                fill_in_peer(stream, result);
                if self.counts_late && stream.flow == Flow::Send && stream.udp.is_none() {
                    // All that the sender counts is at the end of the stream. What an iperf3 receiver has
                    // counted beyond that is of the omitted part, and came late.
                    stream.received.bytes = stream.received.bytes.min(stream.sent.bytes);
                }
            }
        }
        for (stream, udp) in self.streams.iter_mut().zip(&self.udp) {
            if let Some(result) = theirs.get(&stream.id) {
                stream.udp = Some(udp.end_with(result));
            }
        }
        let details = |id: u32| -> Option<&ReceivedDatagrams> {
            peer.as_ref()?.datagrams.iter().find(|stream| stream.id == id)
        };
        let datagrams = self.streams.iter().zip(&self.udp);
        let datagrams =
            datagrams.map(|(stream, udp)| udp.report(theirs.get(&stream.id), details(stream.id))).collect();
        let elapsed = self.streams.iter().map(|stream| stream.sent.seconds.max(stream.received.seconds));
        let of_percentages = || {
            let seconds = elapsed.fold(0.0, f64::max);
            let share = |percent: f64| {
                let share = Duration::try_from_secs_f64(percent / 100.0 * seconds).ok();
                share.filter(|share| *share <= CPU_TIME_MAX)
            };
            Some(CpuTime { user: share(results.cpu.user)?, system: share(results.cpu.system)? })
        };
        let cpu_time_remote = peer.as_ref().map_or_else(of_percentages, peer_cpu);
        // A ringperf that does not know its own has said 0 in its results.
        let is_unknown = peer.is_some() && cpu_time_remote.is_none();
        TestEnd {
            exchanged: true,
            cpu_remote: (!is_unknown).then_some(results.cpu),
            cpu_time_remote,
            congestion_remote: results.congestion_used,
            datagrams,
            peer,
            ..self.alone()
        }
    }
}

/// The report of an end that has measured `own` and whose peer says `results`, and its part, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn with_results(own: TestEnd, results: Results, peer: Option<PeerReport>) -> TestEnd {
    let measured = Measured {
        udp: own.streams.iter().filter_map(UdpCount::of_end).collect(),
        is_tcp: own.streams.iter().all(|stream| stream.udp.is_none()),
        counts_late: false,
        streams: own.streams,
        flows: &[],
        cpu_time: own.cpu_time,
        cpu: own.cpu_local,
        congestion: own.congestion_local,
        engines: own.engines,
        file: own.file,
        queues: own.queues,
    };
    measured.with_peer(results, peer)
}

/// A file that is gone by now is not reported.
fn file_report(path: &Path) -> Option<FileReport> {
    let metadata = fs::metadata(path).ok()?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Some(FileReport { name: path.display().to_string(), bytes })
}

fn stream_end(stream: &Stream, streams: &Streams) -> StreamEnd {
    let own = Half { bytes: stream.sampler.counted_bytes(), seconds: stream.elapsed().as_secs_f64() };
    let unknown = Half { bytes: 0, seconds: own.seconds };
    let sends = stream.connected.flow == Flow::Send;
    StreamEnd {
        socket: stream.connected.socket,
        id: stream.connected.id,
        flow: stream.connected.flow,
        sent: if sends { own } else { unknown },
        received: if sends { unknown } else { own },
        tcp: (sends && streams.is_tcp()).then(|| stream.sampler.tcp_summary()),
        remote_retransmits: None,
        udp: streams.is_udp().then(|| UdpCount::new(stream).end()),
    }
}

fn fill_in_peer(stream: &mut StreamEnd, result: &StreamResult) {
    let theirs = match stream.flow {
        Flow::Send => &mut stream.received,
        Flow::Receive => &mut stream.sent,
    };
    *theirs = Half { bytes: result.bytes, seconds: result.seconds().unwrap_or(theirs.seconds) };
    if stream.flow == Flow::Receive && stream.udp.is_none() {
        stream.remote_retransmits = result.retransmits;
    }
}

fn stream_result(stream: &StreamEnd) -> StreamResult {
    let own = match stream.flow {
        Flow::Send => stream.sent,
        Flow::Receive => stream.received,
    };
    StreamResult {
        id: stream.id,
        bytes: own.bytes,
        retransmits: stream.tcp.map(|tcp| tcp.retransmits),
        omitted_errors: Some(0),
        omitted_packets: Some(0),
        end_seconds: own.seconds,
        ..StreamResult::default()
    }
}

fn peer_cpu(peer: &PeerReport) -> Option<CpuTime> {
    // The range of both was checked when they came.
    let time = |seconds: Option<f64>| Some(Duration::try_from_secs_f64(seconds?).unwrap_or_default());
    Some(CpuTime { user: time(peer.cpu_user_seconds)?, system: time(peer.cpu_system_seconds)? })
}

/// One direction of this end, all its streams together.
fn engine_report(streams: &Streams, flow: Flow, test: &TestConfig) -> Option<EngineReport> {
    let exits = || streams.of(flow).filter_map(|stream| stream.exit.as_ref());
    let EngineUse { asked, used, reason, fix } = leading_engine(exits())?;
    let zero_copy = exits().filter_map(|exit| exit.zero_copy).reduce(|mut sum: ZeroCopy, next| {
        sum += next;
        sum
    });
    let percentiles = |pick: fn(&StreamExit) -> &Latency| {
        let mut all = Latency::default();
        exits().for_each(|exit| all.merge(pick(exit)));
        all.percentiles()
    };
    let limits = |pick: fn(&TcpLimits) -> Duration| {
        let summed =
            || streams.of(flow).map(|stream| pick(&stream.sampler.tcp_summary().limits).as_secs_f64()).sum();
        (flow == Flow::Send && streams.is_tcp()).then(summed)
    };
    Some(EngineReport {
        flow: if flow == Flow::Send { "send" } else { "receive" }.to_owned(),
        asked: asked.to_string(),
        used: used.to_string(),
        reason: reason.clone(),
        fix: fix.clone(),
        operations: exits().map(|exit| exit.totals.operations).sum(),
        zero_copy,
        latency: LatencyReport {
            rtt: percentiles(|exit| &exit.rtt),
            completion: percentiles(|exit| &exit.completion),
            release: percentiles(|exit| &exit.release),
        },
        pacing: (flow == Flow::Send && streams.is_udp()).then(|| pacing_report(streams, test)),
        busy_seconds: limits(|limits| limits.busy),
        rwnd_limited_seconds: limits(|limits| limits.rwnd_limited),
        sndbuf_limited_seconds: limits(|limits| limits.sndbuf_limited),
        busy_poll: streams.busy_poll().map(|asked_us| busy_poll_report((streams, test), flow, asked_us)),
        placement: streams.placement().map(str::to_owned),
        processors: streams.of(flow).filter_map(|stream| processor_report(stream, streams.card())).collect(),
        sizes: streams.found(flow).map(|found| sizes_report(&found, flow)),
    })
}

/// What the streams of a flow moved at a time.
fn sizes_report(found: &Found, flow: Flow) -> SizesReport {
    let receives = flow == Flow::Receive;
    let (marked, plain) =
        (|way: &Way| receives.then_some(way.marked), |way: &Way| receives.then_some(way.plain));
    let mut others: Vec<_> = found
        .others
        .iter()
        .map(|(way, rate_share)| TriedSizes {
            bytes: way.bytes,
            marked: marked(way),
            plain: plain(way),
            rate_share: *rate_share,
        })
        .collect();
    others.truncate(SizesReport::OTHERS_MAX);
    let used = &found.used;
    SizesReport { bytes: used.bytes, marked: marked(used), plain: plain(used), others }
}

/// Whether the sockets of one direction could poll the network card.
fn busy_poll_report((streams, test): (&Streams, &TestConfig), flow: Flow, asked_us: u32) -> BusyPollReport {
    let sockets = || streams.of(flow).map(|stream| &stream.socket);
    let count = |number: usize| u32::try_from(number).expect("at most 128 streams of a direction");
    let set: Option<Vec<u32>> = sockets().map(|socket| socket.busy_poll().ok()).collect();
    // Of other protocols the kernel keeps it elsewhere, if at all.
    let is_known = matches!(test.protocol, Protocol::Tcp | Protocol::Udp(_));
    let has_napi = |socket: &Socket| {
        if is_known { socket.has_napi().ok() } else { None }
    };
    let napi: Option<Vec<bool>> = sockets().map(|socket| has_napi(socket)).collect();
    BusyPollReport {
        asked_us,
        set_us: set.and_then(|set| set.into_iter().min()),
        streams: count(sockets().count()),
        napi_streams: napi.map(|napi| count(napi.into_iter().filter(|&has_napi| has_napi).count())),
    }
}

/// Where a stream that has ended ran.
fn processor_report(stream: &Stream, card: Option<&Card>) -> Option<ProcessorReport> {
    let seen = &stream.exit.as_ref()?.processors;
    let mut shares = seen.shares();
    let interrupts = card.and_then(|card| interrupt_share(&shares, card));
    let distinct = u64::try_from(shares.len()).expect("a usize fits a u64");
    shares.truncate(ProcessorReport::SHARES_MAX);
    Some(ProcessorReport {
        id: stream.connected.id,
        placed: stream.placed,
        looks: seen.looks(),
        moves: seen.moves(),
        distinct,
        shares: shares.into_iter().map(|(cpu, percent)| ProcessorShare { cpu, percent }).collect(),
        interrupts,
    })
}

/// How much of a thread's shares was beside the card's interrupts; `None` if it was seen nowhere, or it is
/// not known where these are.
fn interrupt_share(shares: &[(u32, f64)], card: &Card) -> Option<InterruptShare> {
    let interrupts = card.interrupts.as_ref().filter(|_| !shares.is_empty())?;
    let percent_on = |processors: &BTreeSet<u32>| {
        let met = shares.iter().filter(|(cpu, _)| processors.contains(cpu));
        // Rounding may bring the sum over the whole.
        met.map(|(_, percent)| percent).sum::<f64>().min(100.0)
    };
    let processor_percent = percent_on(interrupts);
    let core_percent = percent_on(&card.interrupt_cores).max(processor_percent);
    Some(InterruptShare { processor_percent, core_percent })
}

/// The senders of a UDP test, all together.
fn pacing_report(streams: &Streams, test: &TestConfig) -> PacingReport {
    let mut departures = Departures::default();
    let (mut count, mut achieved) = (0.0, 0.0);
    for stream in streams.of(Flow::Send) {
        if let Some(exit) = &stream.exit {
            departures.merge(&exit.departures);
        }
        count += 1.0;
        achieved += bits_per_second(stream.sampler.counted_bytes(), stream.elapsed().as_secs_f64());
    }
    PacingReport {
        target_bits_per_second: count * to_f64(test.pacing.bits_per_second),
        achieved_bits_per_second: achieved,
        bursts: departures.bursts,
        burst_mean: to_f64(departures.datagrams) / to_f64(departures.bursts.max(1)),
        burst_max: departures.largest,
        inter_departure: departures.between.percentiles(),
    }
}

/// The engine that moved most: streams of one test can differ when some had too little to send to step down.
fn leading_engine<'a>(exits: impl Iterator<Item = &'a StreamExit>) -> Option<&'a EngineUse> {
    let mut bytes: Vec<(&EngineUse, u64)> = Vec::new();
    for exit in exits {
        match bytes.iter_mut().find(|(engine, _)| *engine == &exit.engine) {
            Some((_, sum)) => *sum += exit.totals.bytes,
            None => bytes.push((&exit.engine, exit.totals.bytes)),
        }
    }
    bytes.into_iter().max_by_key(|(_, sum)| *sum).map(|(engine, _)| engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;

    #[test]
    fn looks_beside_the_interrupts_are_added_up() {
        let set = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<u32>>();
        let card = |interrupts: Option<&[u32]>, cores: &[u32]| Card {
            interrupts: interrupts.map(set),
            interrupt_cores: set(cores),
            ..Card::default()
        };
        let shares = [(3, 60.0), (0, 25.0), (7, 15.0)];
        for (interrupts, cores, processor_percent, core_percent) in [
            (&[3_u32, 0][..], &[0_u32, 3, 4, 7][..], 85.0, 100.0),
            (&[4], &[0, 4], 0.0, 25.0),
            (&[1], &[1], 0.0, 0.0),
        ] {
            let met = interrupt_share(&shares, &card(Some(interrupts), cores));
            assert_eq!(met, Some(InterruptShare { processor_percent, core_percent }));
        }
        assert_eq!(interrupt_share(&shares, &card(None, &[])), None);
        assert_eq!(interrupt_share(&[], &card(Some(&[1]), &[1])), None);
    }

    #[test]
    fn a_peers_processor_time_is_taken_from_its_part() {
        let results = || Results {
            cpu: CpuUse { total: 25.0, user: 5.0, system: 20.0 },
            sender_has_retransmits: -1,
            congestion_used: None,
            server_output: None,
            streams: Vec::new(),
        };
        let own = || fixtures::end(Role::Client, Direction::Forward, 1);
        let time = |user, system| {
            let [user, system] = [user, system].map(Duration::from_millis);
            Some(CpuTime { user, system })
        };
        let peer = PeerReport { cpu_user_seconds: Some(0.25), ..fixtures::peer() };
        let told = with_results(own(), results(), Some(peer.clone()));
        assert_eq!((told.cpu_time_remote, told.peer), (time(250, 400), Some(peer)));
        // One that does not know it has told 0 in its results.
        let peer = PeerReport { cpu_user_seconds: None, ..fixtures::peer() };
        let told = with_results(own(), results(), Some(peer));
        assert_eq!((told.cpu_time_remote, told.cpu_remote), (None, None));
        // Without one it is what the percentages are of the time that the test took.
        let silent = with_results(own(), results(), None);
        assert_eq!((silent.cpu_time_remote, silent.peer), (time(100, 400), None));
    }
}
