//! TLS: a handshake, and bytes through an open channel.

use channel::{Acceptor, Channel, Connector, Identity, NODE, Trust};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crypto::{CertificateRequest, Entropy, SigningKey, issue};
use types::Millis;

fn identity(seed: u8) -> Identity {
    let key = SigningKey::generate(&mut Entropy::new(&[seed; 32]));
    let request = CertificateRequest {
        common_name: "bench",
        dns_names: vec![],
        not_before: Millis(0),
        not_after: Millis(9 * 86_400_000),
        authority: false,
        extensions: vec![],
        serial: [1; 16],
    };
    let certificate = issue(key.public(), &request, &key, None);
    Identity::new(&key, &[certificate]).expect("its own certificate")
}

fn open(connector: &Connector, acceptor: &Acceptor) -> (Channel, Channel) {
    let mut client = Channel::connect(connector, "vn.example").expect("a good name");
    let mut server = Channel::accept(acceptor);
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    while client.ready().is_none() || server.ready().is_none() {
        server
            .received(&client.drain(), &mut to_server)
            .expect("willing");
        client
            .received(&server.drain(), &mut to_client)
            .expect("willing");
    }
    (client, server)
}

fn channels(criterion: &mut Criterion) {
    let connector = Connector::new(&identity(1), Trust::Any, &[NODE]);
    let acceptor = Acceptor::new(&identity(2), &[NODE]);
    criterion.bench_function("channel/handshake", |bencher| {
        bencher.iter(|| open(&connector, &acceptor));
    });
    let (mut client, mut server) = open(&connector, &acceptor);
    for bytes in [300, 30_000] {
        let text = vec![0x5a; bytes];
        let mut group = criterion.benchmark_group("channel");
        group.throughput(Throughput::Bytes(bytes as u64)); // as wide
        group.bench_function(format!("send_and_receive/{bytes}"), |bencher| {
            bencher.iter(|| {
                let mut plaintext = Vec::new();
                client.send(&text).expect("open");
                server
                    .received(&client.drain(), &mut plaintext)
                    .expect("as sent");
                assert_eq!(plaintext.len(), bytes);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, channels);
criterion_main!(benches);
