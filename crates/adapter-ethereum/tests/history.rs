//! A chain longer than what the state keeps of it, and a node restored from a snapshot of it.

use adapter_ethereum::{HEADER, dev};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256};
use serde_json::{Value, json};
use worker::Worker;
use worker::solo::Solo;

/// Stores and logs: slot 0 counts calls, the log's topic is the caller.
const COUNTER: Address = Address::repeat_byte(0xc1);
/// Gives BLOCKHASH of the number that it is called with.
const HASHER: Address = Address::repeat_byte(0xc3);

const BLOCKS: u64 = 300;

fn chain() -> Solo {
    Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
        settings(),
    )
}

/// A worker whose catalogue leaves memory after some 60 blocks.
fn worker() -> Worker {
    let (machine, front) = (
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
    );
    Worker::new(machine, front).cataloguing(60)
}

fn settings() -> String {
    let mut settings = dev::settings(dev::CHAIN_ID);
    for (address, code) in [
        (COUNTER, "5f546001015f55335f5fa15f545f5260205ff3"),
        (HASHER, "5f35405f5260205ff3"),
    ] {
        let code = Some(hex::decode(code).expect("hex").into());
        settings.alloc.insert(
            address,
            adapter_ethereum::Alloc {
                code,
                nonce: 1,
                ..Default::default()
            },
        );
    }
    settings.to_json()
}

fn restored(solo: &mut Solo) -> Solo {
    let snapshot = solo.snapshot();
    Solo::restored(
        adapter_ethereum::machine(),
        adapter_ethereum::front([6; 32]),
        solo.worker.height().0,
        &snapshot,
        solo.bodies.clone(),
    )
}

fn call(solo: &mut Solo, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let response = solo.http("POST", "/", body.to_string());
    serde_json::from_slice(&response.body).expect("json")
}

fn raw(from: usize, nonce: u64, to: Address) -> String {
    let transaction = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::ZERO,
        ..Default::default()
    };
    let signed = dev::sign(transaction, &dev::ACCOUNTS[from].key);
    format!("0x{}", hex::encode(signed))
}

/// One block with one transaction: every tenth calls the counter. Gives its hash.
fn block(solo: &mut Solo, n: u64) -> Value {
    solo.advance(1_000);
    let to = if n.is_multiple_of(10) {
        COUNTER
    } else {
        dev::ACCOUNTS[1].address
    };
    let sent = call(solo, "eth_sendRawTransaction", &json!([raw(0, n, to)]));
    sent["result"].clone()
}

/// Everything that clients ask about old and new blocks.
fn questions(solo: &mut Solo, hashes: &[Value]) -> Vec<(&'static str, Value)> {
    let head = solo.worker.height().0;
    let mut all = vec![
        ("eth_blockNumber", json!([])),
        (
            "eth_getLogs",
            json!([{"fromBlock": "earliest", "address": COUNTER}]),
        ),
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x1", "toBlock": "0x14"}]),
        ),
        (
            "eth_getTransactionCount",
            json!([dev::ACCOUNTS[0].address, "latest"]),
        ),
        ("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])),
        ("eth_getBalance", json!([dev::ACCOUNTS[0].address, "0x5"])),
        ("eth_feeHistory", json!(["0x2", "0x5", []])),
        ("eth_getBlockByHash", json!([B256::repeat_byte(9), false])),
        ("eth_getTransactionReceipt", json!([B256::repeat_byte(9)])),
    ];
    for number in [0, 1, 10, 42, 43, 44, head - 1, head, head + 1] {
        all.push((
            "eth_getBlockByNumber",
            json!([format!("{number:#x}"), true]),
        ));
        all.push(("eth_getBlockReceipts", json!([format!("{number:#x}")])));
    }
    for number in [0, 5, head - 257, head - 256, head - 255, head - 1, head] {
        let data = format!("0x{number:064x}");
        all.push(("eth_call", json!([{"to": HASHER, "data": data}, "latest"])));
    }
    for hash in [
        &hashes[0],
        &hashes[10],
        &hashes[250],
        hashes.last().expect("some"),
    ] {
        all.push(("eth_getTransactionByHash", json!([hash])));
        all.push(("eth_getTransactionReceipt", json!([hash])));
    }
    for number in ["0x0", "0x7", "0x40", "latest"] {
        let block = call(solo, "eth_getBlockByNumber", &json!([number, false]));
        let hash = block["result"]["hash"].clone();
        assert!(hash.is_string(), "{block}");
        all.push(("eth_getBlockByHash", json!([hash, false])));
        all.push(("eth_getLogs", json!([{"blockHash": hash}])));
    }
    all
}

#[test]
fn a_restored_node_answers_as_the_one_it_was_restored_from() {
    let mut solo = chain();
    let mut hashes: Vec<Value> = (0..BLOCKS).map(|n| block(&mut solo, n)).collect();
    assert_eq!(
        solo.worker.state().entries(HEADER).len(),
        258,
        "the genesis, the head, and what BLOCKHASH sees from there"
    );
    let mut other = restored(&mut solo);
    // More blocks, which the other node follows.
    for n in BLOCKS..BLOCKS + 20 {
        hashes.push(block(&mut solo, n));
        let height = solo.worker.height().0;
        other.apply(height, solo.bodies[&height].clone());
    }
    assert_eq!(other.snapshot(), solo.snapshot());
    for (method, params) in questions(&mut solo, &hashes) {
        let answer = call(&mut solo, method, &params);
        assert_eq!(
            call(&mut other, method, &params),
            answer,
            "{method} {params}"
        );
    }
    assert!(other.loaded > 0, "it asked the ledger");
    let seen = |solo: &mut Solo, number: u64| {
        let data = format!("0x{number:064x}");
        let hash = call(
            solo,
            "eth_call",
            &json!([{"to": HASHER, "data": data}, "latest"]),
        );
        let block = call(
            solo,
            "eth_getBlockByNumber",
            &json!([format!("{number:#x}"), false]),
        );
        hash["result"] == block["result"]["hash"]
    };
    let head = other.worker.height().0;
    assert!(seen(&mut other, head - 256) && seen(&mut other, head - 1));
    assert!(!seen(&mut other, head - 257), "the EVM sees 256 blocks");

    // It leads from there; a transaction that was committed before the snapshot is known.
    other.lead();
    let again = call(
        &mut other,
        "eth_sendRawTransaction",
        &json!([raw(0, 10, COUNTER)]),
    );
    assert_eq!(again["result"], hashes[10]);
    assert_eq!(other.worker.height().0, head, "and not executed again");
    block(&mut other, BLOCKS + 20);
    block(&mut solo, BLOCKS + 20);
    let storage = json!([COUNTER, "0x0", "latest"]);
    assert_eq!(
        call(&mut other, "eth_getStorageAt", &storage),
        call(&mut solo, "eth_getStorageAt", &storage)
    );
}

#[test]
fn what_left_memory_is_found_all_the_same() {
    let mut solo = chain();
    let machine = adapter_ethereum::machine();
    let mut other = Solo::of(&*machine, worker(), settings());
    let mut hashes = Vec::new();
    for n in 0..BLOCKS {
        hashes.push(block(&mut solo, n));
        assert_eq!(block(&mut other, n), hashes[hashes.len() - 1]);
    }
    let (snapshot, bodies) = (other.snapshot(), other.bodies.clone());
    let height = other.worker.height().0;
    let mut third = Solo::restored_of(&*machine, worker(), height, &snapshot, bodies);
    for (method, params) in questions(&mut solo, &hashes) {
        let answer = call(&mut solo, method, &params);
        for node in [&mut other, &mut third] {
            let found = call(node, method, &params);
            assert_eq!(found, answer, "{method} {params}");
        }
    }
    // What is sent again is the same transaction, and another with its nonce is refused.
    for node in [&mut other, &mut third] {
        let again = json!([raw(0, 10, COUNTER)]);
        let again = call(node, "eth_sendRawTransaction", &again);
        assert_eq!(again["result"], hashes[10]);
        let another = json!([raw(0, 10, HASHER)]);
        let another = call(node, "eth_sendRawTransaction", &another);
        assert_eq!(
            another["error"]["message"],
            "nonce too low: next nonce 300, tx nonce 10"
        );
        assert_eq!(node.worker.height().0, height);
    }
    // Where the ledger is not here yet nobody is told that it is unknown.
    third.absent = 0..height;
    third.advance(1_000);
    let unread = json!([hashes[77]]);
    let gone = call(&mut third, "eth_getTransactionByHash", &unread);
    assert_eq!(gone["error"]["code"], 4444, "{gone}");
}

#[test]
fn a_node_that_lacks_a_part_of_the_ledger_says_so() {
    let mut solo = chain();
    let hashes: Vec<Value> = (0..BLOCKS).map(|n| block(&mut solo, n)).collect();
    let mut other = restored(&mut solo);
    other.absent = 1..41;
    let old = call(&mut solo, "eth_getBlockByNumber", &json!(["0x20", false]));
    for (method, params, here) in [
        ("eth_getBlockByNumber", json!(["0x20", false]), false),
        ("eth_getBlockByNumber", json!(["0x29", false]), true),
        (
            "eth_getBlockByHash",
            json!([old["result"]["hash"], false]),
            false,
        ),
        ("eth_getTransactionReceipt", json!([hashes[30]]), false),
        ("eth_getTransactionReceipt", json!([hashes[40]]), true),
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x0", "address": COUNTER}]),
            false,
        ),
        // No filter in this range says that its block has to be opened.
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x2", "toBlock": "0xa"}]),
            true,
        ),
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x29", "address": COUNTER}]),
            true,
        ),
        (
            "eth_getTransactionReceipt",
            json!([B256::repeat_byte(9)]),
            true,
        ),
        (
            "eth_call",
            json!([{"to": HASHER, "data": "0x"}, "latest"]),
            true,
        ),
    ] {
        let answer = call(&mut other, method, &params);
        if here {
            assert_eq!(
                answer,
                call(&mut solo, method, &params),
                "{method} {params}"
            );
        } else {
            assert_eq!(answer["error"]["code"], 4444, "{method} {params}: {answer}");
        }
    }
    other.absent = 0..0;
    other.advance(1_000);
    assert_eq!(
        call(&mut other, "eth_getBlockByNumber", &json!(["0x20", false])),
        old
    );
}

#[test]
fn one_search_opens_a_bounded_number_of_blocks() {
    let mut solo = chain();
    for n in 0..5_002 {
        call(
            &mut solo,
            "eth_sendRawTransaction",
            &json!([raw(0, n, COUNTER)]),
        );
    }
    let all = json!([{"fromBlock": "earliest"}]);
    let message = call(&mut solo, "eth_getLogs", &all)["error"]["message"].clone();
    assert_eq!(
        message,
        "query needs more than 5000 blocks: narrow the block range, the addresses or the topics"
    );
    let some = json!([{"fromBlock": "earliest", "toBlock": "0x3e8"}]);
    let found = call(&mut solo, "eth_getLogs", &some)["result"].clone();
    assert_eq!(found.as_array().expect("logs").len(), 1_000);
}
