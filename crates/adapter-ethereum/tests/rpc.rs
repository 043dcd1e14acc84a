//! JSON-RPC as clients speak it, against a whole worker.

mod common;

use adapter_ethereum::dev;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use common::data;
use common::node::{COUNTER, Node, REVERTER};
use serde_json::{Value, json};
use worker::solo::Solo;

impl Node {
    fn new() -> Self {
        Self::with(&[], |_| ())
    }
}

#[test]
fn a_wallet_finds_what_it_asks_first() {
    let node = Node::new();
    for (method, params, expected) in [
        ("eth_chainId", json!([]), json!("0x7a69")),
        ("net_version", json!([]), json!("31337")),
        ("net_listening", json!([]), json!(true)),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_blockNumber", json!([]), json!("0x0")),
        ("eth_gasPrice", json!([]), json!("0x0")),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x0")),
        (
            "eth_getBalance",
            json!([dev::ACCOUNTS[3].address, "latest"]),
            json!("0x21e19e0c9bab2400000"),
        ),
        (
            "eth_getBalance",
            json!([Address::repeat_byte(9), "latest"]),
            json!("0x0"),
        ),
        ("eth_getTransactionByHash", json!([B256::ZERO]), Value::Null),
        (
            "eth_getTransactionReceipt",
            json!([B256::ZERO]),
            Value::Null,
        ),
        ("eth_getBlockByNumber", json!(["0x5", false]), Value::Null),
        ("eth_getLogs", json!([{}]), json!([])),
        (
            "eth_estimateGas",
            json!([{"to": dev::ACCOUNTS[1].address, "from": Address::repeat_byte(8)}]),
            json!("0x5208"),
        ),
    ] {
        assert_eq!(node.ok(method, params), expected, "{method}");
    }
    assert!(
        node.ok("web3_clientVersion", json!([]))
            .as_str()
            .expect("text")
            .starts_with("coco/")
    );
    let history = node.ok("eth_feeHistory", json!(["0x4", "latest", [50.0]]));
    assert_eq!(history["oldestBlock"], "0x0");
    assert_eq!(history["baseFeePerGas"], json!(["0x0", "0x0"]));
    assert_eq!(history["reward"], json!([["0x0"]]));
    let genesis = node.ok("eth_getBlockByNumber", json!(["latest", true]));
    assert_eq!(
        (
            &genesis["number"],
            &genesis["transactions"],
            &genesis["baseFeePerGas"]
        ),
        (&json!("0x0"), &json!([]), &json!("0x0"))
    );
}

#[test]
fn a_transaction_is_found_in_every_way() {
    let node = Node::new();
    let receipt = node.receipt(0, TxKind::Call(COUNTER), vec![]);
    let (hash, block) = (&receipt["transactionHash"], &receipt["blockHash"]);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["gasUsed"], receipt["cumulativeGasUsed"]);
    assert_eq!(receipt["effectiveGasPrice"], "0x0");
    assert_eq!(receipt["contractAddress"], Value::Null);
    assert_eq!(receipt["logs"][0]["logIndex"], "0x0");
    assert_ne!(receipt["logsBloom"], json!(alloy_primitives::Bloom::ZERO));

    let transaction = node.ok("eth_getTransactionByHash", json!([hash]));
    assert_eq!(
        (
            &transaction["blockNumber"],
            &transaction["transactionIndex"]
        ),
        (&json!("0x1"), &json!("0x0"))
    );
    assert_eq!(
        transaction["from"],
        format!("{:?}", dev::ACCOUNTS[0].address)
    );
    assert_eq!(transaction["type"], "0x2");
    assert_eq!(
        node.ok(
            "eth_getTransactionByBlockNumberAndIndex",
            json!(["0x1", "0x0"])
        ),
        transaction
    );
    assert_eq!(
        node.ok(
            "eth_getTransactionByBlockHashAndIndex",
            json!([block, "0x0"])
        ),
        transaction
    );
    assert_eq!(
        node.ok(
            "eth_getTransactionByBlockNumberAndIndex",
            json!(["0x1", "0x1"])
        ),
        Value::Null
    );
    assert_eq!(
        node.ok("eth_getBlockTransactionCountByNumber", json!(["latest"])),
        "0x1"
    );
    assert_eq!(
        node.ok("eth_getBlockTransactionCountByHash", json!([block])),
        "0x1"
    );
    let full = node.ok("eth_getBlockByNumber", json!(["latest", true]));
    assert_eq!(full["transactions"], json!([transaction]));
    let plain = node.ok("eth_getBlockByHash", json!([block, false]));
    assert_eq!(plain["transactions"], json!([hash]));
    assert_eq!(
        node.ok("eth_getBlockReceipts", json!(["latest"])),
        json!([receipt])
    );
    let raw = node.ok("eth_getRawTransactionByHash", json!([hash]));
    let raw: Bytes = serde_json::from_value(raw).expect("bytes");
    assert_eq!(json!(keccak256(&raw)), *hash);
    // Sent again: the same transaction, not a second one.
    assert_eq!(node.ok("eth_sendRawTransaction", json!([raw])), *hash);
    assert_eq!(node.ok("eth_blockNumber", json!([])), "0x1");
    assert_eq!(
        node.ok("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])),
        format!("0x{:064x}", 1)
    );
}

#[test]
fn failures_tell_why() {
    let node = Node::new();
    let receipt = node.receipt(0, TxKind::Call(REVERTER), vec![]);
    assert_eq!(
        (&receipt["status"], &receipt["logs"]),
        (&json!("0x0"), &json!([]))
    );
    for method in ["eth_call", "eth_estimateGas"] {
        let reply = node.reply(method, json!([{"to": REVERTER}, "latest"]));
        assert_eq!(reply["error"]["code"], 3);
        assert_eq!(reply["error"]["message"], "execution reverted: no");
        assert!(
            reply["error"]["data"]
                .as_str()
                .expect("data")
                .starts_with("0x08c379a0")
        );
    }
    let raw = node.signed(0, 0, TxKind::Call(COUNTER), vec![]);
    assert_eq!(
        node.error("eth_sendRawTransaction", json!([raw])),
        (-32000, "nonce too low: next nonce 1, tx nonce 0".into())
    );
    let (code, message) = node.error(
        "eth_call",
        json!([{"to": COUNTER, "from": Address::repeat_byte(3), "value": "0x1"}, "latest"]),
    );
    assert!(
        code == -32000 && message.starts_with("insufficient funds"),
        "{message}"
    );
    let (code, message) = node.error("eth_getBalance", json!([COUNTER, "0x0"]));
    assert!(
        code == -32000 && message.contains("historical state"),
        "{message}"
    );
    assert_eq!(node.error("eth_sendTransaction", json!([{}])).0, -32601);
    assert_eq!(node.error("personal_unlockAccount", json!([])).0, -32601);
    assert_eq!(
        node.error("debug_traceTransaction", json!([B256::ZERO])).0,
        -32000
    );
    assert_eq!(node.error("eth_getBalance", json!([])).0, -32602);
    assert_eq!(
        node.error("eth_getBalance", json!(["0x12", "latest"])).0,
        -32602
    );
    assert_eq!(
        node.error("eth_sendRawTransaction", json!(["0xzz"])).0,
        -32602
    );
    assert_eq!(
        node.error("eth_sendRawTransaction", json!(["0x00"])).0,
        -32000
    );
    assert_eq!(node.error("eth_subscribe", json!(["newHeads"])).0, -32601);
}

#[test]
fn malformed_requests_get_the_codes_of_the_specification() {
    let node = Node::new();
    let code = |body: &str| node.post(body)["error"]["code"].as_i64().expect("an error");
    assert_eq!(code("{"), -32700);
    assert_eq!(code(""), -32700);
    assert_eq!(code("[]"), -32600);
    assert_eq!(code("7"), -32600);
    assert_eq!(
        code(r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#),
        -32600
    );
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#),
        -32600
    );
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}"#),
        -32602
    );
    assert_eq!(code(&format!("[{}]", vec!["1"; 1001].join(","))), -32600);
    // Answered with its own id, whatever kind of id that is.
    assert_eq!(
        node.post(r#"{"jsonrpc":"2.0","id":"a\"b","method":"eth_chainId"}"#)["id"],
        "a\"b"
    );
    assert_eq!(
        node.post(r#"{"jsonrpc":"2.0","id":null,"method":"eth_chainId"}"#)["result"],
        "0x7a69"
    );
    // A notification is not answered.
    let response =
        node.solo
            .borrow_mut()
            .http("POST", "/", r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#);
    assert!(response.status == 200 && response.body.is_empty());
    let preflight = node.solo.borrow_mut().http("OPTIONS", "/", "");
    assert_eq!(preflight.status, 204);
    assert_eq!(node.solo.borrow_mut().http("GET", "/", "").status, 405);
}

#[test]
fn a_batch_keeps_its_order_and_reads_see_the_sends_before_them() {
    let node = Node::new();
    let mut calls: Vec<Value> = (0..100)
        .map(|nonce| {
            let raw = node.signed(0, nonce, TxKind::Call(COUNTER), vec![]);
            json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": [raw]})
        })
        .collect();
    calls.push(json!({"jsonrpc": "2.0", "id": 100, "method": "eth_getStorageAt", "params": [COUNTER, "0x0", "latest"]}));
    calls.push(json!({"jsonrpc": "2.0", "method": "eth_chainId"}));
    calls.push(json!({"jsonrpc": "2.0", "id": 101, "method": "no_such"}));
    let replies = node.post(Value::Array(calls).to_string());
    let replies = replies.as_array().expect("a batch");
    assert_eq!(replies.len(), 102);
    assert!(
        replies
            .iter()
            .enumerate()
            .all(|(i, reply)| reply["id"] == i),
        "order"
    );
    assert!(
        replies[..100]
            .iter()
            .all(|reply| reply["result"].is_string()),
        "{:?}",
        replies[0]
    );
    assert_eq!(replies[100]["result"], format!("0x{:064x}", 100));
    assert_eq!(replies[101]["error"]["code"], -32601);
    let blocks = node.ok("eth_blockNumber", json!([]));
    println!("100 transactions in block {blocks}");
}

#[test]
fn a_batch_is_taken_together_or_not_at_all() {
    let limits = worker::PoolLimits {
        caller_units_max: 2,
        ..worker::PoolLimits::default()
    };
    let settings = dev::settings(dev::CHAIN_ID).to_json();
    let (machine, front) = (
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
    );
    let node = Node::of(Solo::with_limits(machine, front, settings, limits));
    let batch = |from: usize, sends: u64| {
        let nonce = node.nonce(from);
        let send = |nonce: u64| {
            let raw = node.signed(from, nonce, TxKind::Call(dev::ACCOUNTS[9].address), vec![]);
            json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": [raw]})
        };
        let mut calls: Vec<Value> = (nonce..nonce + sends).map(send).collect();
        calls.push(json!({"jsonrpc": "2.0", "id": 99, "method": "eth_chainId"}));
        let request = Value::Array(calls).to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            request.len()
        );
        let mut solo = node.solo.borrow_mut();
        solo.bytes(2, [head, request].concat().into_bytes());
        // It may wait a second for room.
        solo.advance(1_100);
        String::from_utf8(solo.received(2).to_vec()).expect("text")
    };
    // Three are one too many: none is taken, and what reads is answered.
    let answer = batch(0, 3);
    assert_eq!(answer.matches("-32005").count(), 3, "{answer}");
    assert!(
        answer.contains(&format!("{:#x}", dev::CHAIN_ID)),
        "{answer}"
    );
    assert_eq!(node.nonce(0), 0);
    let answer = batch(0, 2);
    assert!(!answer.contains("error"), "{answer}");
    assert_eq!(node.nonce(0), 2);
}

#[test]
fn a_send_that_waits_for_a_nonce_is_answered_on_admission() {
    let node = Node::new();
    let raw = node.signed(0, 1, TxKind::Call(COUNTER), vec![]);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]})
            .to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut solo = node.solo.borrow_mut();
    assert!(
        solo.bytes(2, request.into_bytes()).is_empty(),
        "nothing is known yet"
    );
    solo.advance(250);
    let answer = String::from_utf8(solo.received(2).to_vec()).expect("text");
    assert!(
        answer.contains(&format!("{:?}", keccak256(&raw))),
        "{answer}"
    );
    drop(solo);
    // It is shown to who asks for it, and counts as pending once the gap is filled.
    let waiting = node.ok("eth_getTransactionByHash", json!([keccak256(&raw)]));
    assert_eq!(waiting["blockNumber"], Value::Null);
    node.receipt(0, TxKind::Call(COUNTER), vec![]);
    assert_eq!(node.nonce(0), 2);
}

#[test]
fn logs_are_found_by_pattern_range_and_filter() {
    let node = Node::new();
    let by_block = node.ok("eth_newBlockFilter", json!([]));
    let by_log = node.ok("eth_newFilter", json!([{"address": COUNTER}]));
    let by_hash = node.ok("eth_newPendingTransactionFilter", json!([]));
    assert_ne!(by_block, by_log);
    let receipts: Vec<Value> = [0, 1, 0]
        .map(|from| node.receipt(from, TxKind::Call(COUNTER), vec![]))
        .into();
    node.receipt(2, TxKind::Call(dev::ACCOUNTS[0].address), vec![]);

    let topic = dev::ACCOUNTS[0].address.into_word();
    let all = node.ok(
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "toBlock": "latest"}]),
    );
    assert_eq!(all.as_array().expect("logs").len(), 3);
    assert_eq!(all[0], receipts[0]["logs"][0]);
    let ada = node.ok(
        "eth_getLogs",
        json!([{"fromBlock": "earliest", "address": [COUNTER], "topics": [[topic, null]]}]),
    );
    assert_eq!(
        ada.as_array().expect("logs").len(),
        3,
        "null among alternatives means any"
    );
    let ada = node.ok(
        "eth_getLogs",
        json!([{"fromBlock": "earliest", "topics": [topic]}]),
    );
    assert_eq!(ada.as_array().expect("logs").len(), 2);
    let one = node.ok(
        "eth_getLogs",
        json!([{"blockHash": receipts[1]["blockHash"]}]),
    );
    assert_eq!(one, receipts[1]["logs"]);
    assert_eq!(
        node.ok(
            "eth_getLogs",
            json!([{"fromBlock": "0x0", "address": REVERTER}])
        ),
        json!([])
    );
    assert_eq!(
        node.ok(
            "eth_getLogs",
            json!([{"fromBlock": "0x99", "toBlock": "0x99"}])
        ),
        json!([])
    );
    assert_eq!(
        node.error(
            "eth_getLogs",
            json!([{"fromBlock": "0x2", "toBlock": "0x1"}])
        )
        .0,
        -32602
    );
    assert_eq!(
        node.error("eth_getLogs", json!([{"blockHash": B256::ZERO}])),
        (-32000, "unknown block".into())
    );

    assert_eq!(node.ok("eth_getFilterChanges", json!([by_log])), all);
    assert_eq!(node.ok("eth_getFilterChanges", json!([by_log])), json!([]));
    assert_eq!(
        node.ok("eth_getFilterChanges", json!([by_block]))
            .as_array()
            .expect("hashes")
            .len(),
        4
    );
    let hashes = node.ok("eth_getFilterChanges", json!([by_hash]));
    assert_eq!(hashes[1], receipts[1]["transactionHash"]);
    assert_eq!(node.ok("eth_uninstallFilter", json!([by_log])), true);
    assert_eq!(node.ok("eth_uninstallFilter", json!([by_log])), false);
    assert_eq!(
        node.error("eth_getFilterChanges", json!([by_log])),
        (-32000, "filter not found".into())
    );
    assert_eq!(node.error("eth_getFilterChanges", json!(["0x1"])).0, -32000);
}

#[test]
fn a_receipt_comes_with_the_send_if_asked_for() {
    let node = Node::new();
    let raw = node.signed(0, 0, TxKind::Call(COUNTER), vec![]);
    let receipt = node.ok("eth_sendRawTransactionSync", json!([raw, "0x1388"]));
    assert_eq!(
        receipt,
        node.ok("eth_getTransactionReceipt", json!([keccak256(&raw)]))
    );
}

#[test]
fn the_ledgers_receipt_comes_with_the_parts_of_its_claim() {
    let node = Node::new();
    let raws = [0, 1].map(|from| node.signed(from, 0, TxKind::Call(COUNTER), vec![]));
    for raw in &raws {
        node.ok("eth_sendRawTransaction", json!([raw]));
    }
    // Two in one request: the second waits until the first was answered.
    let call = |id: usize, raw: &Bytes| json!({"jsonrpc": "2.0", "id": id, "method": "coco_getReceipt", "params": [keccak256(raw)]});
    let replies = node.post(json!([call(0, &raws[0]), call(1, &raws[1])]).to_string());
    for (id, raw) in raws.iter().enumerate() {
        let receipt = &replies[id]["result"];
        assert_eq!(receipt["protocol"], "ethereum");
        assert_eq!(receipt["height"], id + 1);
        assert_eq!(receipt["claim"]["unit"], json!(keccak256(raw)));
        assert_eq!(receipt["claim"]["transaction"], json!(raw));
        let expected = format!("receipt {} 0", id + 1);
        assert_eq!(
            receipt["receipt"],
            json!(format!("0x{}", hex::encode(expected)))
        );
    }
    let unknown = node.ok("coco_getReceipt", json!([B256::repeat_byte(9)]));
    assert_eq!(unknown, Value::Null);
    node.solo.borrow_mut().leaderless = true;
    let refused = node.error("coco_getReceipt", json!([keccak256(&raws[0])]));
    assert_eq!(refused, (-32000, "not signed yet".to_owned()));
}

#[test]
fn a_linear_read_asks_the_leader_first() {
    let node = Node::new();
    node.receipt(0, TxKind::Call(COUNTER), vec![]);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}).to_string();
    let response = node
        .solo
        .borrow_mut()
        .http_with("POST", "/", &[("coco-read", "linear")], body);
    let reply: Value = serde_json::from_slice(&response.body).expect("json");
    assert_eq!(reply["result"], "0x1");
}

#[test]
fn old_logs_come_from_the_ledger() {
    let node = Node::new();
    // More than the 64 MiB of batches that a worker keeps in memory.
    let blocks = 620;
    for nonce in 0..blocks {
        let to = if nonce % 7 == 0 {
            COUNTER
        } else {
            dev::ACCOUNTS[5].address
        };
        let raw = node.signed(0, nonce, TxKind::Call(to), vec![0; 110 << 10]);
        node.ok("eth_sendRawTransaction", json!([raw]));
    }
    let logs = node.ok(
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "address": COUNTER}]),
    );
    assert_eq!(logs.as_array().expect("logs").len(), 89);
    let first = node.ok("eth_getBlockByNumber", json!(["0x1", true]));
    assert_eq!(first["transactions"][0]["hash"], logs[0]["transactionHash"]);
}

/// A client's masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match text.len() {
        n @ 0..126 => out.push(0x80 | n as u8),
        n => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(text.bytes());
    out
}

/// The texts of a server's frames.
fn texts(mut bytes: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    while let [_, length, rest @ ..] = bytes {
        let (length, rest) = match *length {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            127 => panic!("a long frame"),
            n => (usize::from(n), rest),
        };
        found.push(serde_json::from_slice(&rest[..length]).expect("json"));
        bytes = &rest[length..];
    }
    found
}

#[test]
fn subscribers_hear_of_blocks_and_logs() {
    let node = Node::new();
    let stream = 4;
    {
        let mut solo = node.solo.borrow_mut();
        solo.open(stream, "eve");
        let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let answer = String::from_utf8(solo.bytes(stream, upgrade).to_vec()).expect("text");
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    let ask = |method: &str, params: Value| {
        let call =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        texts(&node.solo.borrow_mut().bytes(stream, frame(&call))).remove(0)["result"].clone()
    };
    assert_eq!(ask("eth_chainId", json!([])), "0x7a69");
    let heads = ask("eth_subscribe", json!(["newHeads"]));
    let logs = ask("eth_subscribe", json!(["logs", {"address": COUNTER}]));
    let hashes = ask("eth_subscribe", json!(["newPendingTransactions"]));

    let receipt = node.receipt(0, TxKind::Call(COUNTER), vec![]);
    let mut told = texts(&node.solo.borrow_mut().received(stream));
    assert!(
        told.iter()
            .all(|message| message["method"] == "eth_subscription")
    );
    let mut take = |name: &Value| {
        let at = told
            .iter()
            .position(|m| m["params"]["subscription"] == *name)
            .expect("a notification");
        told.remove(at)["params"]["result"].clone()
    };
    let head = take(&heads);
    assert_eq!(head["hash"], receipt["blockHash"]);
    let shapes = common::shapes::Shapes::new();
    shapes
        .check_named("Header", &head)
        .expect("the shape of a header");
    let log = take(&logs);
    assert_eq!(log, receipt["logs"][0]);
    shapes.check_named("Log", &log).expect("the shape of a log");
    assert_eq!(take(&hashes), receipt["transactionHash"]);

    assert_eq!(ask("eth_unsubscribe", json!([heads])), true);
    assert_eq!(ask("eth_unsubscribe", json!([logs])), true);
    assert_eq!(ask("eth_unsubscribe", json!([heads])), false);
    node.receipt(0, TxKind::Call(COUNTER), vec![]);
    assert_eq!(texts(&node.solo.borrow_mut().received(stream)).len(), 1);
}

#[test]
fn an_openzeppelin_token_works() {
    let Some(path) = data("contracts/TestToken.json") else {
        return;
    };
    let token: Value = serde_json::from_slice(&common::read(&path)).expect("json");
    let selector = |name: &str| {
        hex::decode(token["methodIdentifiers"][name].as_str().expect("known")).expect("hex")
    };
    let node = Node::new();
    let mut code = hex::decode(
        token["bytecode"]
            .as_str()
            .expect("text")
            .trim_start_matches("0x"),
    )
    .expect("hex");
    code.extend(U256::from(1_000_000).to_be_bytes::<32>());
    let estimate = node.ok(
        "eth_estimateGas",
        json!([{"from": dev::ACCOUNTS[0].address, "data": Bytes::from(code.clone())}]),
    );
    let receipt = node.receipt(0, TxKind::Create, code);
    assert_eq!(receipt["status"], "0x1");
    let used = |value: &Value| {
        u64::from_str_radix(value.as_str().expect("text").trim_start_matches("0x"), 16)
            .expect("hex")
    };
    let (estimate, used) = (used(&estimate), used(&receipt["gasUsed"]));
    assert!(
        (used..used + used / 20).contains(&estimate),
        "estimated {estimate}, used {used}"
    );
    let address: Address =
        serde_json::from_value(receipt["contractAddress"].clone()).expect("an address");
    assert_eq!(
        node.ok("eth_getCode", json!([address, "latest"])),
        token["deployedBytecode"]
    );

    let bob = dev::ACCOUNTS[1].address;
    let word = |a: Address| a.into_word();
    let balance = |who: Address| {
        let data: Bytes = [&selector("balanceOf(address)")[..], word(who).as_slice()]
            .concat()
            .into();
        node.ok(
            "eth_call",
            json!([{"to": address, "input": data}, "latest"]),
        )
    };
    let transfer = |amount: u64| {
        [
            &selector("transfer(address,uint256)")[..],
            word(bob).as_slice(),
            &U256::from(amount).to_be_bytes::<32>(),
        ]
        .concat()
    };
    let receipt = node.receipt(0, TxKind::Call(address), transfer(250));
    assert_eq!(receipt["logs"][0]["topics"][2], json!(word(bob)));
    assert_eq!(balance(bob), format!("0x{:064x}", 250));
    assert_eq!(
        balance(dev::ACCOUNTS[0].address),
        format!("0x{:064x}", 999_750)
    );

    let too_much = json!([{"from": dev::ACCOUNTS[2].address, "to": address, "data": Bytes::from(transfer(1))}, "latest"]);
    let reply = node.reply("eth_call", too_much);
    // ERC20InsufficientBalance(address,uint256,uint256)
    assert!(
        reply["error"]["data"]
            .as_str()
            .expect("data")
            .starts_with("0xe450d38c"),
        "{reply}"
    );
    let failed = node.receipt(2, TxKind::Call(address), transfer(1));
    assert_eq!(failed["status"], "0x0");
}

#[test]
fn calls_take_access_lists() {
    let node = Node::new();
    let list = json!([{"address": COUNTER, "storageKeys": [B256::ZERO]}]);
    let call = json!([{"to": COUNTER, "accessList": list}, "latest"]);
    let counted = json!(B256::with_last_byte(1));
    assert_eq!(node.ok("eth_call", call.clone()), counted);
    let gas = node.ok("eth_estimateGas", call);
    assert!(gas.as_str().is_some_and(|gas| gas > "0xa000"), "{gas}");
    let slots = json!({COUNTER.to_string(): [B256::ZERO, "0x1"]});
    assert_eq!(
        node.ok("eth_getStorageValues", json!([slots, "latest"])),
        json!({format!("{COUNTER:?}"): [B256::ZERO, B256::ZERO]})
    );
}

#[test]
fn raw_bytes_are_those_that_are_hashed() {
    let node = Node::new();
    let receipt = node.receipt(0, TxKind::Call(COUNTER), vec![]);
    let keccak = |bytes: &Value| -> Value {
        let bytes: Bytes = serde_json::from_value(bytes.clone()).expect("hexadecimal");
        json!(keccak256(bytes))
    };
    let header = node.ok("debug_getRawHeader", json!(["latest"]));
    assert_eq!(keccak(&header), receipt["blockHash"]);
    let hash = &receipt["transactionHash"];
    assert_eq!(
        keccak(&node.ok("debug_getRawTransaction", json!([hash]))),
        *hash
    );
    let block = node.ok("debug_getRawBlock", json!(["0x1"]));
    let size = node.ok("eth_getBlockByNumber", json!(["0x1", false]))["size"].clone();
    let bytes = block.as_str().expect("text").len() / 2 - 1;
    assert_eq!(size, format!("{bytes:#x}"));
    let receipts = node.ok("debug_getRawReceipts", json!(["0x1"]));
    assert_eq!(receipts.as_array().map(Vec::len), Some(1));
    // The specification has bytes for an answer, and no null.
    for (method, absent, said) in [
        ("debug_getRawHeader", json!(["0x9"]), "block not found"),
        ("debug_getRawBlock", json!(["0x9"]), "block not found"),
        ("debug_getRawReceipts", json!(["0x9"]), "block not found"),
        (
            "debug_getRawTransaction",
            json!([B256::ZERO]),
            "transaction not found",
        ),
    ] {
        assert_eq!(node.error(method, absent), (-32000, said.to_owned()));
    }
}
