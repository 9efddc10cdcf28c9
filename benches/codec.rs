//! What reading and writing the protocol's messages costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringperf::config::TestConfig;
use ringperf::protocol::{Request, Results, StreamResult, params, results};
use ringperf::stats::CpuUse;

fn codec(criterion: &mut Criterion) {
    let request =
        Request { test: TestConfig::default(), client_version: None, auth_token: None, hello: None };
    let text = params::encode(&request).expect("a plain test fits");
    criterion.bench_function("params/encode", |bencher| bencher.iter(|| params::encode(black_box(&request))));
    criterion.bench_function("params/decode", |bencher| {
        bencher.iter(|| params::decode(black_box(text.as_bytes())));
    });

    for streams in [1_u32, 128] {
        let results = Results {
            cpu: CpuUse::default(),
            sender_has_retransmits: 1,
            congestion_used: Some("cubic".to_owned()),
            server_output: None,
            streams: (1..=streams)
                .map(|id| StreamResult { id, bytes: 1 << 40, ..StreamResult::default() })
                .collect(),
        };
        let text = results::encode(&results);
        criterion.bench_function(&format!("results/encode/{streams}"), |bencher| {
            bencher.iter(|| results::encode(black_box(&results)));
        });
        criterion.bench_function(&format!("results/decode/{streams}"), |bencher| {
            bencher.iter(|| results::decode(black_box(text.as_bytes())));
        });
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
