//! The store: reading, a transaction of some writes, applying a batch, encoding its write set.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use kv::{Domain, Layout, Store, Transaction, WriteSet};
use types::Height;

const DOMAIN: Domain = Domain(1);
const KEYS: u64 = 100_000;

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(format!("key-{:012}", number % KEYS).as_bytes())
}

/// A batch of 100 writes, made as a leader makes it.
fn batch(store: &Store, first: u64) -> WriteSet {
    let mut transaction = Transaction::new(store.committed());
    for number in first..first + 100 {
        let value = Bytes::copy_from_slice(&[0x5a; 256]);
        transaction.set(DOMAIN, key(number * 7919), Some(value));
    }
    transaction.finish()
}

fn store(layout: Layout) -> Store {
    let mut store = Store::new([(DOMAIN, layout)]);
    let mut height = 0;
    for first in (0..KEYS).step_by(100) {
        height += 1;
        let writes = batch(&store, first);
        store.apply(Height(height), &writes).expect("in order");
    }
    store
}

fn stores(criterion: &mut Criterion) {
    for (name, layout) in [("hashed", Layout::Hashed), ("ordered", Layout::Ordered)] {
        let mut store = store(layout);
        let mut number = 0;
        criterion.bench_function(&format!("kv/{name}/get"), |bencher| {
            bencher.iter(|| {
                number += 1;
                black_box(store.committed().get(DOMAIN, &key(number * 31)));
            });
        });
        criterion.bench_function(&format!("kv/{name}/transaction_of_100"), |bencher| {
            bencher.iter(|| {
                number += 100;
                batch(&store, number)
            });
        });
        let writes = batch(&store, 0);
        criterion.bench_function(&format!("kv/{name}/apply_100"), |bencher| {
            bencher.iter(|| {
                let next = Height(store.committed_height().0 + 1);
                store.apply(next, &writes).expect("in order");
            });
        });
        let mut encoded = Vec::new();
        writes.encode(&mut encoded);
        let encoded = Bytes::from(encoded);
        criterion.bench_function(&format!("kv/{name}/decode_100"), |bencher| {
            bencher.iter(|| WriteSet::decode(black_box(encoded.clone())));
        });
    }
}

criterion_group!(benches, stores);
criterion_main!(benches);
