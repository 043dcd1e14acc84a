//! Times of the pieces of the hot path that need more than one crate.

#[path = "../src/pieces/mod.rs"]
mod pieces;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pieces::PIECES;

fn hotpath(criterion: &mut Criterion) {
    for (name, transactions, make) in PIECES {
        let mut group = criterion.benchmark_group(*name);
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(3))
            .throughput(Throughput::Elements((*transactions).into()));
        let mut piece = make();
        group.bench_function("run", |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    piece.prepare();
                    let began = Instant::now();
                    piece.run();
                    total += began.elapsed();
                }
                total
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hotpath);
criterion_main!(benches);
