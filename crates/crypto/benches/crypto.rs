//! The primitives that every transaction or entry pays for.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crypto::{AeadKey, Entropy, SigningKey, sha256};

fn primitives(criterion: &mut Criterion) {
    for bytes in [64, 1 << 10, 32 << 10, 1 << 20] {
        let text = vec![0x5a; bytes];
        let mut group = criterion.benchmark_group("crypto");
        group.throughput(Throughput::Bytes(bytes as u64)); // as wide
        group.bench_function(format!("sha256/{bytes}"), |bencher| {
            bencher.iter(|| sha256(black_box(&text)));
        });
        let key = AeadKey::new(&[1; 32]);
        let mut number = 0;
        group.bench_function(format!("aes256gcm_seal/{bytes}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                let mut buffer = text.clone();
                key.seal(number, b"associated", &mut buffer, 0);
                buffer
            });
        });
        group.finish();
    }
    let key = SigningKey::generate(&mut Entropy::new(&[2; 32]));
    let signature = key.sign(b"a root");
    criterion.bench_function("crypto/p256_sign", |bencher| {
        bencher.iter(|| key.sign(black_box(b"a root")));
    });
    criterion.bench_function("crypto/p256_verify", |bencher| {
        bencher.iter(|| {
            key.public()
                .verify(black_box(b"a root"), signature.as_ref())
        });
    });
}

criterion_group!(benches, primitives);
criterion_main!(benches);
