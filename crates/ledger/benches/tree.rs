//! The Merkle tree: growing by a batch, its root, a path. Sealing and opening entries is timed with
//! what is around it: `counts`, bench `hotpath`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use crypto::sha256;
use ledger::Tree;
use types::{Digest, Index};

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|n| sha256(&n.to_be_bytes())).collect()
}

fn tree(criterion: &mut Criterion) {
    let mut full = Tree::default();
    for index in 1..=100 {
        full.append(Index(index), leaves(100));
    }
    let batch = leaves(100);
    criterion.bench_function("tree/append_100", |bencher| {
        bencher.iter_batched_ref(
            Tree::default,
            |tree| tree.append(Index(1), batch.iter().copied()),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("tree/root_of_10000", |bencher| {
        bencher.iter(|| black_box(&full).root());
    });
    criterion.bench_function("tree/path_in_10000", |bencher| {
        bencher.iter(|| black_box(&full).path(Index(50), 7, full.len()));
    });
}

criterion_group!(benches, tree);
criterion_main!(benches);
