//! The loops of the ring engines over a kernel that does everything wrong that a kernel may do.
//!
//! One number, the seed, decides all of it: what is asked of the loop, how the kernel behaves, in which order
//! completions come, when somebody says stop. The kernel knows who owns each piece of memory and panics when
//! a loop takes what is not its own, waits for what cannot come, or does not get anywhere. Time is the ring's
//! own and passes only while a loop waits.
//!
//! `RINGPERF_SEEDS=100000` runs that many seeds, `RINGPERF_SEED=7` that one.

mod dice;
mod life;
mod receives;
mod sends;

use std::cell::RefCell;
use std::env;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::dice::Dice;
use self::life::Life;
use self::receives::{Arrivals, HostileReceiveRing, Source};
use self::sends::{HostileSendRing, Ledger, Refusals, Slots};
use crate::config::{BlockSize, EngineChoice, Flow, Pacing, Protocol, UdpConfig};
use crate::engine::recorder::Recorder;
use crate::engine::tcp::{UringReceive, UringSend};
use crate::engine::udp::{Layout, Stamper, UdpUringReceive, UdpUringSend};
use crate::engine::{ByteGoal, Engine, EngineUse, StopToken, StreamExit, StreamJob, UdpJob};
use crate::protocol::DatagramHeader;
use crate::stats::SharedCounters;
use crate::sys::Socket;

/// Seeds of an ordinary run.
const SEEDS: u64 = 3000;
/// Bytes of a receive buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// The loops, in the order of the seeds.
const LOOPS: [fn(Dice, &StreamJob); 6] = [
    |dice, job| send_stream(dice, job, false),
    |dice, job| send_stream(dice, job, true),
    receive_stream,
    |dice, job| send_datagrams(dice, job, false),
    |dice, job| send_datagrams(dice, job, true),
    receive_datagrams,
];

#[test]
fn no_kernel_breaks_a_loop() {
    let number = |name| env::var(name).ok().map(|value: String| value.parse::<u64>().unwrap());
    let seeds = match number("RINGPERF_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGPERF_SEEDS").unwrap_or(SEEDS),
    };
    // Nothing is ever sent through the sockets of TCP; they are only asked about themselves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // With a processor for each end there is something to try.
    let tcp = StreamJob { processors: 2, ..StreamJob::bare(Socket::from_stream(stream), Flow::Send) };
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.connect(datagrams.local_addr().unwrap()).unwrap();
    let udp = Socket::from_udp(datagrams);
    udp.grow_receive_buffer(8 * 1024 * 1024);
    let udp = StreamJob {
        protocol: Protocol::Udp(UdpConfig::default()),
        udp: Some(UdpJob { counters_64bit: true, offload: true }),
        ..StreamJob::bare(udp, Flow::Send)
    };
    for seed in seeds {
        let place = usize::try_from(seed).unwrap() % LOOPS.len();
        let job = if place < 3 { &tcp } else { &udp };
        let run = AssertUnwindSafe(|| LOOPS[place](Dice::new(seed), job));
        // What went wrong has been printed by then.
        let went_well = panic::catch_unwind(run).is_ok();
        assert!(went_well, "that was seed {seed}; repeat it with RINGPERF_SEED={seed}");
    }
}

/// The job of one run with an end of its own.
fn job(dice: &mut Dice, base: &StreamJob, flow: Flow) -> StreamJob {
    let automatic = dice.chance(50);
    StreamJob {
        flow,
        asked: if automatic { EngineChoice::Auto } else { EngineChoice::UringZc },
        counters: Arc::new(SharedCounters::default()),
        stop: StopToken::default(),
        duration: dice.perhaps(30, 5_000_000).map(Duration::from_micros),
        adaptation: (base.udp.is_none() && dice.chance(50)).then(Arc::default),
        skip_rx_copy: flow == Flow::Receive && base.udp.is_none() && dice.chance(30),
        ..base.clone()
    }
}

/// With a goal of so many bytes, or an end some other way.
fn with_end(job: StreamJob, life: &mut Life, goal: Option<u64>) -> StreamJob {
    let Some(bytes) = goal else {
        life.must_be_stopped();
        return job;
    };
    let goal = ByteGoal::new(bytes, || ());
    goal.arm();
    StreamJob { goal: Some(Arc::new(goal)), ..job }
}

fn send_stream(mut dice: Dice, base: &StreamJob, zero_copy: bool) {
    let start = Instant::now();
    let block = match dice.perhaps(70, 40_000) {
        Some(bytes) => BlockSize { bytes: u32::try_from(bytes + 1).unwrap(), explicit: true },
        None => BlockSize::default(),
    };
    let rate = dice.perhaps(20, 1_000_000_000).map_or(0, |rate| rate + 1_000_000);
    let refusals = Refusals {
        by_reference: dice.chance(10).then(|| dice.pick(&[libc::EOPNOTSUPP, libc::EINVAL, libc::ENOMEM])),
        releases: dice.pick(&[0, 0, 0, 0, 5]),
        segmentation: None,
    };
    let goal = dice.perhaps(60, 150).map(|blocks| (blocks + 1) * u64::from(block.bytes));
    let job = StreamJob {
        block,
        pacing: Pacing { bits_per_second: rate, burst_blocks: 0 },
        ..job(&mut dice, base, Flow::Send)
    };
    let mut life = Life::new(dice, start, job.stop.clone());
    if refusals.releases > 0 {
        life.must_be_stopped();
    }
    let job = with_end(job, &mut life, goal);
    let (ring, ledger) = HostileSendRing::new(life, None, refusals);
    let mut engine = UringSend::over(ring, &job, zero_copy);
    let mut gate = job.gate(start);
    let mut recorder = recorder(&job, zero_copy, start);
    let result = engine.run(&mut gate, &mut recorder);
    engine.release_all(&mut recorder);
    let exit = exit(recorder, result);
    let ledger = ledger.borrow();
    if ledger.in_flight == 0 {
        assert!(engine.is_idle(), "a slot was lost");
    }
    let refused = zero_copy && refusals.by_reference.is_some() && job.asked != EngineChoice::Auto;
    check_sends(&job, goal, &exit, &ledger, refused);
}

fn send_datagrams(mut dice: Dice, base: &StreamJob, zero_copy: bool) {
    let start = Instant::now();
    let offload = dice.chance(70);
    let bytes =
        if offload { dice.pick(&[1472, 8000, 20_000, 60_000]) } else { dice.pick(&[16, 1400, 65_507]) };
    let udp = UdpJob { counters_64bit: true, offload };
    let rate = dice.perhaps(30, 1_000_000_000).map_or(0, |rate| rate + 1_000_000);
    let refusals = Refusals {
        by_reference: dice.chance(10).then(|| dice.pick(&[libc::EOPNOTSUPP, libc::EFAULT, libc::ENOMEM])),
        releases: dice.pick(&[0, 0, 0, 0, 5]),
        segmentation: dice.chance(15).then(|| dice.pick(&[libc::EINVAL, libc::EMSGSIZE, libc::EIO])),
    };
    let goal = dice.perhaps(60, 150).map(|datagrams| (datagrams + 1) * u64::from(bytes));
    let job = StreamJob {
        block: BlockSize { bytes, explicit: true },
        udp: Some(udp),
        pacing: Pacing { bits_per_second: rate, burst_blocks: 0 },
        ..job(&mut dice, base, Flow::Send)
    };
    let mut life = Life::new(dice, start, job.stop.clone());
    let explicit = job.asked != EngineChoice::Auto;
    if refusals.releases > 0 || (zero_copy && explicit && refusals.by_reference.is_some()) {
        life.must_be_stopped();
    }
    let job = with_end(job, &mut life, goal);
    let layout = Layout::new(&job, offload);
    let slots = Slots {
        udp,
        datagram_bytes: layout.datagram_bytes,
        count: usize::try_from(layout.slots(zero_copy)).unwrap(),
        bytes: layout.slot_bytes(),
    };
    let (ring, ledger) = HostileSendRing::new(life, Some(slots), refusals);
    let mut engine = UdpUringSend::over(ring, &job, udp, layout, zero_copy);
    let mut gate = job.gate(start);
    let mut recorder = recorder(&job, zero_copy, start);
    let result = engine.run(&job, &mut gate, &mut recorder);
    engine.release_all(&mut recorder);
    let exit = exit(recorder, result);
    if ledger.borrow().in_flight == 0 {
        assert!(engine.is_idle(), "a slot was lost");
    }
    also_by_the_socket(&job, udp, &ledger);
    let ledger = ledger.borrow();
    let refused = zero_copy && explicit && refusals.by_reference.is_some();
    check_sends(&job, goal, &exit, &ledger, refused);
    check_sequences(&exit, &ledger);
}

/// What was sent one by one, after the kernel had refused to cut it up, went by the real socket to itself.
fn also_by_the_socket(job: &StreamJob, udp: UdpJob, ledger: &Rc<RefCell<Ledger>>) {
    let mut datagram = vec![0; 65_536];
    while let Ok(bytes) = job.socket.receive_now(&mut datagram) {
        let mut ledger = ledger.borrow_mut();
        let header = DatagramHeader::read(udp.counters_64bit, &datagram[..bytes]).unwrap();
        ledger.sequences.push(header.sequence);
        ledger.bytes += u64::try_from(bytes).unwrap();
        // They went between the others, who knows where.
        ledger.order_unknown = true;
    }
}

/// The loop has counted what the peer got, and ended for a reason.
fn check_sends(job: &StreamJob, goal: Option<u64>, exit: &StreamExit, ledger: &Ledger, refused: bool) {
    let zero_copy = exit.zero_copy.unwrap_or_default();
    if ledger.broken {
        return;
    }
    // A stream that could send nothing at all has failed.
    let could_not = ledger.refused && ledger.bytes == 0;
    let is_for_something = ledger.failed || refused || could_not;
    assert!(exit.fault.is_none() || is_for_something, "a fault for nothing: {:?}", exit.fault);
    assert_eq!(exit.totals.bytes, ledger.bytes, "what was counted is not what arrived");
    assert_eq!(zero_copy.requested_bytes, ledger.by_reference_bytes, "sends by reference");
    assert_eq!(zero_copy.copied_bytes, ledger.copied_bytes, "copied sends by reference");
    assert_eq!(ledger.in_flight, ledger.never_released, "something is not over");
    assert_eq!(zero_copy.outstanding, u64::from(ledger.never_released), "releases that never came");
    let ended_otherwise = job.stop.is_set() || job.duration.is_some() || exit.fault.is_some();
    if let Some(goal) = goal.filter(|_| !ended_otherwise) {
        assert_eq!(exit.totals.bytes, goal, "not what was to be sent");
    }
}

/// Each datagram went once, in order, and none was left out.
fn check_sequences(exit: &StreamExit, ledger: &Ledger) {
    if ledger.broken {
        return;
    }
    let mut sorted = ledger.sequences.clone();
    sorted.sort_unstable();
    assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "a datagram went twice");
    assert_eq!(exit.totals.datagrams.packets, u64::try_from(sorted.len()).unwrap(), "datagrams");
    if !ledger.order_unknown {
        assert!(ledger.sequences.is_sorted(), "out of order by the sender's fault");
        let last = sorted.last().copied().unwrap_or(0);
        assert_eq!(last, exit.totals.datagrams.packets, "a number was left out");
    }
}

fn receive_stream(mut dice: Dice, base: &StreamJob) {
    let start = Instant::now();
    let job = job(&mut dice, base, Flow::Receive);
    let source = Source::Stream { bytes: dice.below(2_000_000), ends: dice.chance(70) };
    let buffers = dice.pick(&[1, 2, 4]);
    let mut life = Life::new(dice, start, job.stop.clone());
    if matches!(source, Source::Stream { ends: false, .. }) {
        life.must_be_stopped();
    }
    let (ring, arrivals) =
        HostileReceiveRing::new(life, source, buffers, BUFFER_BYTES, job.adaptation.clone());
    let mut engine = UringReceive::over(ring, &job);
    let mut recorder = recorder(&job, false, start);
    let result = engine.run(&job, &mut recorder);
    drop(engine);
    let exit = exit(recorder, result);
    let arrivals = arrivals.borrow();
    check_receives(&exit, &arrivals);
    if arrivals.ended && exit.fault.is_none() && !job.stop.is_set() {
        assert_eq!(arrivals.unread, 0, "the stream has ended, and something was not read");
    }
}

fn receive_datagrams(mut dice: Dice, base: &StreamJob) {
    let start = Instant::now();
    let job =
        StreamJob { block: BlockSize { bytes: 1000, explicit: true }, ..job(&mut dice, base, Flow::Receive) };
    let udp = UdpJob { counters_64bit: true, offload: true };
    let source = Source::Datagrams {
        messages: dice.below(400),
        stamper: Stamper::new(udp, 1000),
        datagram_bytes: 1000,
    };
    let buffers = dice.pick(&[1, 4, 16]);
    let mut life = Life::new(dice, start, job.stop.clone());
    life.must_be_stopped();
    let (ring, arrivals) = HostileReceiveRing::new(life, source, buffers, BUFFER_BYTES, None);
    let mut engine = UdpUringReceive::over(ring, &job, udp, buffers);
    let mut recorder = recorder(&job, false, start);
    let result = engine.run(&job, &mut recorder);
    drop(engine);
    let exit = exit(recorder, result);
    let arrivals = arrivals.borrow();
    check_receives(&exit, &arrivals);
    let counted = exit.totals.datagrams;
    if !arrivals.broken {
        assert_eq!((counted.received, counted.duplicates), (arrivals.datagrams, arrivals.duplicates));
    }
    // Whoever is told to stop listens on until all is quiet, for a second at most.
    let stopped = job.stop.since().filter(|_| exit.fault.is_none()).zip(arrivals.given_up);
    if stopped.is_some_and(|(stop, end)| end.duration_since(stop) < Duration::from_secs(1)) {
        assert_eq!(arrivals.unread, 0, "it did not listen until all was quiet");
    }
}

fn check_receives(exit: &StreamExit, arrivals: &Arrivals) {
    assert_eq!(arrivals.missing_buffers, 0, "a buffer was kept");
    if arrivals.broken {
        assert!(exit.fault.is_some(), "a broken ring is a fault");
        return;
    }
    assert!(exit.fault.is_none() || arrivals.failed, "a fault for nothing: {:?}", exit.fault);
    assert_eq!(exit.totals.bytes, arrivals.bytes, "what was counted is not what came");
}

fn recorder(job: &StreamJob, zero_copy: bool, start: Instant) -> Recorder {
    let engine = if zero_copy { Engine::UringZc } else { Engine::Uring };
    Recorder::new(job, EngineUse::new(job.asked, engine, "simulated", None), start)
}

fn exit(recorder: Recorder, result: io::Result<()>) -> StreamExit {
    recorder.into_exit(Instant::now(), result.err(), None)
}
