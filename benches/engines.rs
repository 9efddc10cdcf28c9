//! Every engine with several block sizes, over a loopback connection with cubic, without the protocol around
//! it.
//!
//! Sender and receiver are threads of this process, as in a test. The time is from the start to the
//! receiver's last byte.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringperf::config::{BlockSize, EngineChoice, Flow};
use ringperf::engine::{self, ByteGoal, Notice, StartGate, StreamExit, StreamJob};
use ringperf::sys::Socket;

/// Bytes of one iteration.
const ITERATION_BYTES: u64 = 64 * 1024 * 1024;

fn engines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engines");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for engine in EngineChoice::ALL {
        for block in [None, Some(4 * 1024), Some(64 * 1024), Some(1024 * 1024)] {
            let name = block.map_or("default".to_owned(), |bytes: u32| bytes.to_string());
            let block = block.map_or(BlockSize::default(), |bytes| BlockSize { bytes, explicit: true });
            group.throughput(Throughput::Bytes(ITERATION_BYTES));
            group.bench_with_input(BenchmarkId::new(engine.name(), name), &block, |bencher, &block| {
                bencher.iter_custom(|iterations| transfer(engine, block, iterations * ITERATION_BYTES));
            });
        }
    }
    group.finish();
}

/// Moves `bytes` bytes and returns how long it took.
fn transfer(engine: EngineChoice, block: BlockSize, bytes: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (far, _) = listener.accept().expect("it was connected to");
    let gate = Arc::new(StartGate::default());
    let sender = job(near, Flow::Send, engine, block, bytes, &gate);
    let receiver = job(far, Flow::Receive, engine, block, bytes, &gate);
    let socket = Arc::clone(&sender.socket);
    let sending = thread::spawn(move || {
        let exit = run(&sender);
        socket.shutdown(Shutdown::Write);
        exit
    });
    let receiving = thread::spawn(move || run(&receiver));
    let start = Instant::now();
    gate.open(start);
    let sent = sending.join().expect("engines do not panic");
    let received = receiving.join().expect("engines do not panic");
    // Without a kernel between them the ends of the null engine count each for itself.
    let equal = sent.totals.bytes == received.totals.bytes;
    assert!(equal || engine == EngineChoice::Null, "{engine} lost bytes");
    received.last_received.unwrap_or(received.finished).duration_since(start)
}

fn run(job: &StreamJob) -> StreamExit {
    engine::run(job, &|notice| match notice {
        Notice::Ready(Err(missing)) => panic!("{}: {}", job.asked, missing.reason),
        Notice::Ready(Ok(())) | Notice::Stopped => {}
    })
}

#[expect(clippy::too_many_arguments, reason = "a job of a bench, spelled out once")]
fn job(
    stream: TcpStream,
    flow: Flow,
    asked: EngineChoice,
    block: BlockSize,
    bytes: u64,
    start: &Arc<StartGate>,
) -> StreamJob {
    let socket = Socket::from_stream(stream);
    socket.set_congestion("cubic").expect("cubic is to be had");
    socket.set_blocking(Duration::from_millis(20)).expect("a connected socket");
    let goal = ByteGoal::new(bytes, || ());
    goal.arm();
    StreamJob {
        asked,
        block,
        goal: Some(Arc::new(goal)),
        start: Arc::clone(start),
        ..StreamJob::bare(socket, flow)
    }
}

criterion_group!(benches, engines);
criterion_main!(benches);
