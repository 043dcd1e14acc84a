//! Requests as a worker's front reads them.

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http1::{Options, Received, Server};

fn requests(method: &str, target: &str, body: &[u8], count: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let fields = [("content-type", "application/json")];
    for _ in 0..count {
        http1::encode_request(method, target, "localhost", &fields, body, &mut out);
    }
    out
}

fn server(criterion: &mut Criterion) {
    for (name, method, target, body, count) in [
        (
            "put_256_pipelined_64",
            "PUT",
            "/kv/key-0001",
            vec![b'v'; 256],
            64,
        ),
        ("post_30000", "POST", "/", vec![b'x'; 30_000], 1),
    ] {
        let wire = requests(method, target, &body, count);
        let mut group = criterion.benchmark_group("http1");
        group.throughput(Throughput::Elements(count as u64)); // as wide
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut server = Server::new(Options::application());
                server.receive(&wire);
                let mut found = 0;
                while let Some(Received::Request(_)) = server.next().expect("well-formed") {
                    found += 1;
                }
                assert_eq!(found, count);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, server);
criterion_main!(benches);
