//! What counting costs: publishing totals, taking an interval, accounting for a datagram, recording a time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ringperf::stats::{Counters, DatagramTracker, Latency, SharedCounters, StreamSampler};

fn counters(criterion: &mut Criterion) {
    let shared = SharedCounters::default();
    let mut totals = Counters::default();
    criterion.bench_function("counters/publish", |bencher| {
        bencher.iter(|| {
            totals.bytes += 131_072;
            totals.operations += 1;
            black_box(&shared).publish(totals);
        });
    });
    criterion.bench_function("counters/load", |bencher| bencher.iter(|| black_box(&shared).load()));

    let mut sampler = StreamSampler::new(Instant::now());
    criterion.bench_function("sampler/interval", |bencher| {
        bencher.iter(|| {
            totals.bytes += 131_072;
            sampler.interval(Instant::now(), totals, None)
        });
    });

    for (name, counters_64bit) in [("sequence/in_order_32bit", false), ("sequence/in_order_64bit", true)] {
        let mut tracker = DatagramTracker::new(counters_64bit);
        let mut sequence = 0_u64;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let sent = Duration::new(1_000, 123_000);
                tracker.message(black_box(None), 1);
                tracker.take(black_box(sequence), black_box(sent), black_box(Duration::new(5, 77)));
            });
        });
    }

    let mut latency = Latency::default();
    criterion.bench_function("latency/record", |bencher| {
        bencher.iter(|| latency.record(black_box(Duration::from_micros(123))));
    });
}

criterion_group!(benches, counters);
criterion_main!(benches);
