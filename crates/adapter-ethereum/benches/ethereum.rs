//! What a transaction costs in the Ethereum protocol: admission (decoding, sender recovery), and a batch
//! executed by a worker whose manager commits at once.

use adapter_ethereum::Transaction;
use adapter_ethereum::dev::{ACCOUNTS, CHAIN_ID, settings, sign};
use alloy_consensus::TxEip1559;
use alloy_primitives::{TxKind, U256};
use bytes::Bytes;
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use worker::solo::Solo;

fn transfer(sender: usize, nonce: u64) -> Bytes {
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(ACCOUNTS[(sender + 1) % ACCOUNTS.len()].address),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    sign(transaction, &ACCOUNTS[sender].key)
}

fn ethereum(criterion: &mut Criterion) {
    let settings = settings(CHAIN_ID);
    let raw = transfer(0, 0);
    criterion.bench_function("ethereum/admit_transfer", |bencher| {
        bencher.iter(|| Transaction::admit(&raw, &settings.rules).expect("admitted"));
    });
    // The lifecycle from a JSON-RPC batch of ten to its answers.
    let text = serde_json::to_string(&settings).expect("settings have a form in JSON");
    let mut solo = Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([3; 32]),
        text,
    );
    let mut nonce = 0;
    let mut group = criterion.benchmark_group("ethereum");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ACCOUNTS.len() as u64)); // as wide
    group.bench_function("batch_of_10_transfers", |bencher| {
        bencher.iter_custom(|times| {
            let mut total = WallTime.zero();
            for _ in 0..times {
                let calls: Vec<String> = (0..ACCOUNTS.len())
                    .map(|sender| {
                        let raw = hex::encode(transfer(sender, nonce));
                        format!(
                            r#"{{"jsonrpc":"2.0","id":{sender},"method":"eth_sendRawTransaction","params":["0x{raw}"]}}"#
                        )
                    })
                    .collect();
                nonce += 1;
                let body = format!("[{}]", calls.join(","));
                solo.bodies.clear();
                let began = WallTime.start();
                let answer = solo.http("POST", "/", &body);
                total = WallTime.add(&total, &WallTime.end(began));
                assert_eq!(answer.status, 200);
            }
            total
        });
    });
    group.finish();
}

criterion_group!(benches, ethereum);
criterion_main!(benches);
