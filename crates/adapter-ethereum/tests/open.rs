//! Methods that are open where everything is public: traces, simulated blocks, access lists, proofs, what
//! waits; and that every method answers in the shape that the specification gives it.

mod common;

use adapter_ethereum::{Roots, dev};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_trie::proof::verify_proof;
use alloy_trie::{Nibbles, TrieAccount};
use common::node::{COUNTER, Node, REVERTER, number};
use serde_json::{Value, json};
use worker::solo::Solo;

/// Calls the counter, then reverts if it was given data.
const CALLER: Address = Address::repeat_byte(0xc3);
/// Never ends.
const ENDLESS: Address = Address::repeat_byte(0xc4);
/// Logs PREVRANDAO.
const DICE: Address = Address::repeat_byte(0xc7);
/// Copies memory until its gas is used up.
const STOREY: Address = Address::repeat_byte(0xc5);

impl Node {
    /// With plain roots and the states of 8 blocks.
    fn new() -> Self {
        Self::keeping(Roots::Plain, 8)
    }

    fn keeping(roots: Roots, states_kept: u64) -> Self {
        let counter = hex::encode(COUNTER);
        let more = [
            (
                CALLER,
                format!("5f5f5f5f5f73{counter}5af1503615602557 5f5ffd5b00").replace(' ', ""),
            ),
            (ENDLESS, "5b5f56".to_owned()),
            (DICE, "445f5fa100".to_owned()),
            (STOREY, "5b5a5f526103e85f5f375f56".to_owned()),
        ];
        Self::with(&more, |rules| {
            rules.roots = roots;
            rules.states_kept = states_kept;
        })
    }

    /// Submits what has to wait, and leaves it waiting.
    fn submit(&self, raw: &Bytes) {
        let call =
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]});
        let body = call.to_string();
        let length = body.len();
        let request =
            format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let mut solo = self.solo.borrow_mut();
        let _ = solo.bytes(2, request.into_bytes());
        solo.advance(250);
        let _ = solo.received(2);
    }
}

#[test]
fn every_method_answers_in_the_shape_of_the_specification() {
    let node = Node::new();
    let account = dev::ACCOUNTS[0].address;
    let created = node.send(0, TxKind::Create, hex::decode("60016000f3").expect("hex"));
    let failed = node.send(0, TxKind::Call(REVERTER), vec![]);
    let counted = node.send(0, TxKind::Call(COUNTER), vec![1, 2, 3]);
    let logs = node.ok("eth_newFilter", json!([{"address": COUNTER}]));
    let blocks = node.ok("eth_newBlockFilter", json!([]));
    let pending = node.ok("eth_newPendingTransactionFilter", json!([]));
    node.send(0, TxKind::Call(CALLER), vec![]);
    let waiting = node.signed(1, 1, TxKind::Call(COUNTER), vec![]);
    node.submit(&waiting);
    let call = json!({"from": account, "to": COUNTER});
    let block = node.ok("eth_getBlockByNumber", json!(["0x3", false]));
    let hash = &block["hash"];
    let sync = node.signed(0, 4, TxKind::Call(COUNTER), vec![]);
    let calls: Vec<(&str, Value)> = vec![
        ("web3_clientVersion", json!([])),
        ("web3_sha3", json!(["0x00"])),
        ("net_version", json!([])),
        ("net_listening", json!([])),
        ("net_peerCount", json!([])),
        ("eth_chainId", json!([])),
        ("eth_syncing", json!([])),
        ("eth_accounts", json!([])),
        ("eth_blockNumber", json!([])),
        ("eth_gasPrice", json!([])),
        ("eth_maxPriorityFeePerGas", json!([])),
        ("eth_baseFee", json!([])),
        ("eth_blobBaseFee", json!([])),
        ("eth_config", json!([])),
        ("eth_capabilities", json!([])),
        ("eth_feeHistory", json!(["0x4", "latest", [10, 90]])),
        ("eth_getBlockByNumber", json!(["0x0", false])),
        ("eth_getBlockByNumber", json!(["latest", true])),
        ("eth_getBlockByHash", json!([hash, true])),
        ("eth_getBlockByHash", json!([B256::ZERO, true])),
        ("eth_getHeaderByNumber", json!(["0x2"])),
        ("eth_getHeaderByHash", json!([hash])),
        ("eth_getBlockTransactionCountByNumber", json!(["0x2"])),
        ("eth_getBlockTransactionCountByHash", json!([hash])),
        ("eth_getUncleCountByBlockNumber", json!(["0x2"])),
        ("eth_getUncleCountByBlockHash", json!([hash])),
        ("eth_getUncleByBlockNumberAndIndex", json!(["0x2", "0x0"])),
        ("eth_getUncleByBlockHashAndIndex", json!([hash, "0x0"])),
        ("eth_getBlockReceipts", json!(["0x3"])),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            json!(["0x2", "0x0"]),
        ),
        (
            "eth_getTransactionByBlockHashAndIndex",
            json!([hash, "0x0"]),
        ),
        ("eth_getTransactionByHash", json!([created])),
        ("eth_getTransactionByHash", json!([keccak256(&waiting)])),
        ("eth_getRawTransactionByHash", json!([failed])),
        ("eth_getTransactionReceipt", json!([created])),
        ("eth_getTransactionReceipt", json!([failed])),
        ("eth_getTransactionReceipt", json!([counted])),
        ("eth_getBalance", json!([account, "0x1"])),
        ("eth_getTransactionCount", json!([account, "pending"])),
        ("eth_getCode", json!([COUNTER])),
        ("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])),
        (
            "eth_getStorageValues",
            json!([{COUNTER.to_string(): ["0x0"]}]),
        ),
        ("eth_call", json!([call, "latest"])),
        ("eth_call", json!([{"to": REVERTER}])),
        ("eth_estimateGas", json!([call])),
        ("eth_createAccessList", json!([call])),
        ("eth_createAccessList", json!([{"to": REVERTER}])),
        ("eth_getLogs", json!([{"fromBlock": "0x0"}])),
        ("eth_getFilterLogs", json!([logs])),
        ("eth_getFilterChanges", json!([logs])),
        ("eth_getFilterChanges", json!([blocks])),
        ("eth_getFilterChanges", json!([pending])),
        ("eth_uninstallFilter", json!([logs])),
        ("eth_sendRawTransactionSync", json!([sync])),
        ("eth_getProof", json!([COUNTER, ["0x0", "0x7"], "latest"])),
        ("debug_getRawHeader", json!(["0x3"])),
        ("debug_getRawBlock", json!(["0x3"])),
        ("debug_getRawReceipts", json!(["0x3"])),
        ("debug_getRawTransaction", json!([counted])),
        ("trace_transaction", json!([counted])),
        ("trace_block", json!(["0x4"])),
        ("txpool_status", json!([])),
        ("txpool_content", json!([])),
        ("txpool_contentFrom", json!([dev::ACCOUNTS[1].address])),
        ("txpool_inspect", json!([])),
    ];
    for (method, params) in calls {
        node.reply(method, params);
    }
    for options in [
        json!({}),
        json!({"enableMemory": true, "enableReturnData": true}),
        json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}}),
        json!({"tracer": "prestateTracer"}),
        json!({"tracer": "prestateTracer", "tracerConfig": {"diffMode": true}}),
        json!({"tracer": "flatCallTracer"}),
    ] {
        for hash in [created, failed, counted] {
            node.ok("debug_traceTransaction", json!([hash, options]));
        }
        node.ok("debug_traceBlockByNumber", json!(["0x4", options]));
        node.ok("debug_traceBlockByHash", json!([hash, options]));
        node.ok("debug_traceCall", json!([call, "latest", options]));
    }
    for full in [false, true] {
        let calls = json!([call, {"to": REVERTER}, {"input": "0x60016000f3"}]);
        let blocks = json!([{"calls": calls}, {"blockOverrides": {"number": "0x9"}}]);
        node.ok(
            "eth_simulateV1",
            json!([{"blockStateCalls": blocks, "traceTransfers": true, "returnFullTransactions": full}]),
        );
    }
    let null_by_nature = [
        "eth_getUncleByBlockHashAndIndex",
        "eth_getUncleByBlockNumberAndIndex",
    ];
    assert_eq!(node.shapes.unseen(), null_by_nature);
}

#[test]
fn a_trace_tells_each_step_and_each_call() {
    let node = Node::new();
    let hash = node.send(0, TxKind::Call(CALLER), vec![]);
    let gas = number(&node.ok("eth_getTransactionReceipt", json!([hash]))["gasUsed"]);
    let steps = node.ok("debug_traceTransaction", json!([hash]));
    assert_eq!(
        (&steps["gas"], &steps["failed"]),
        (&json!(gas), &json!(false))
    );
    let ops: Vec<_> = steps["structLogs"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| &step["op"])
        .collect();
    assert_eq!(
        ops[..3],
        [&json!("PUSH0"), &json!("PUSH0"), &json!("PUSH0")]
    );
    assert!(ops.contains(&&json!("SSTORE")) && ops.last() == Some(&&json!("STOP")));
    let stored = steps["structLogs"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["op"] == "SSTORE");
    let stored = stored.expect("the counter stores");
    assert_eq!(stored["depth"], 2);
    let one = B256::with_last_byte(1);
    assert_eq!(stored["storage"], json!({B256::ZERO.to_string(): one}));

    let with_log = json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}});
    let calls = node.ok("debug_traceTransaction", json!([hash, with_log]));
    assert_eq!(
        (&calls["type"], number(&calls["gasUsed"])),
        (&json!("CALL"), gas)
    );
    let inner = &calls["calls"][0];
    assert_eq!(
        (&inner["from"], &inner["to"]),
        (&json!(CALLER), &json!(COUNTER))
    );
    assert_eq!(inner["logs"][0]["topics"], json!([CALLER.into_word()]));
    assert_eq!(inner["output"], json!(one));

    let flat = node.ok("trace_transaction", json!([hash]));
    assert_eq!(flat.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&flat[0]["subtraces"], &flat[1]["traceAddress"]),
        (&json!(1), &json!([0]))
    );

    let diff = json!({"tracer": "prestateTracer", "tracerConfig": {"diffMode": true}});
    let diff = node.ok("debug_traceTransaction", json!([hash, diff]));
    let slot = |side: &str| &diff[side][COUNTER.to_string().to_lowercase()]["storage"];
    assert_eq!(*slot("post"), json!({B256::ZERO.to_string(): one}));
    assert!(slot("pre").is_null());
    // What failed emitted nothing, and says why.
    let failed = node.send(0, TxKind::Call(CALLER), vec![1]);
    let calls = node.ok("debug_traceTransaction", json!([failed, with_log]));
    assert_eq!(calls["error"], "execution reverted");
    assert!(calls["calls"][0].get("logs").is_none());
    let failed = node.send(0, TxKind::Call(REVERTER), vec![]);
    let calls = node.ok("debug_traceTransaction", json!([failed, with_log]));
    assert_eq!(calls["revertReason"], "no");
}

#[test]
fn old_states_are_there_for_as_many_blocks_as_are_kept() {
    let node = Node::keeping(Roots::Keyed, 3);
    let hashes: Vec<_> = (0..6)
        .map(|_| node.send(0, TxKind::Call(COUNTER), vec![]))
        .collect();
    let count = |block: &str| node.reply("eth_getStorageAt", json!([COUNTER, "0x0", block]));
    for (block, n) in [
        ("latest", 6),
        ("0x6", 6),
        ("0x5", 5),
        ("0x4", 4),
        ("0x3", 3),
    ] {
        assert_eq!(
            count(block)["result"],
            json!(B256::with_last_byte(n)),
            "{block}"
        );
        let call = json!([{"to": COUNTER}, block]);
        assert_eq!(
            node.ok("eth_call", call),
            json!(B256::with_last_byte(n + 1))
        );
    }
    assert_eq!(count("0x2")["error"]["code"], -32000);
    assert_eq!(count("0x7")["error"]["code"], -32000);
    // The state before a transaction's block is one block further.
    for (n, hash) in (1u8..).zip(&hashes) {
        let reply = node.reply(
            "debug_traceTransaction",
            json!([hash, {"tracer": "callTracer"}]),
        );
        if n > 3 {
            assert_eq!(reply["result"]["output"], json!(B256::with_last_byte(n)));
        } else {
            let message = reply["error"]["message"].as_str().expect("an error");
            assert!(message.contains("the last 3 blocks"), "{message}");
        }
    }
    // Nonces go back, too.
    let nonce = |block: &str| {
        node.ok(
            "eth_getTransactionCount",
            json!([dev::ACCOUNTS[0].address, block]),
        )
    };
    assert_eq!(
        (nonce("0x4"), nonce("latest")),
        (json!("0x4"), json!("0x6"))
    );
}

#[test]
fn traces_without_kept_states_say_what_is_missing() {
    let node = Node::keeping(Roots::Keyed, 0);
    let hash = node.send(0, TxKind::Call(COUNTER), vec![]);
    let (code, message) = node.error("debug_traceTransaction", json!([hash]));
    assert_eq!(code, -32000);
    assert!(message.contains("statesKept"), "{message}");
    let traced = node.ok(
        "debug_traceCall",
        json!([{"to": COUNTER}, "latest", {"tracer": "callTracer"}]),
    );
    assert_eq!(traced["output"], json!(B256::with_last_byte(2)));
    assert_eq!(
        node.error("debug_traceTransaction", json!([B256::ZERO])).0,
        -32000
    );
    assert_eq!(
        node.error("debug_traceTransaction", json!([hash, {"tracer": "js"}]))
            .0,
        -32602
    );
}

#[test]
fn every_transaction_of_a_block_is_traced_on_what_stood_before_it() {
    let node = Node::new();
    let sends: Vec<_> = (0..3)
        .map(|nonce| node.signed(0, nonce, TxKind::Call(COUNTER), vec![]))
        .collect();
    let calls: Vec<_> = sends
        .iter()
        .map(|raw| json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}))
        .collect();
    node.solo
        .borrow_mut()
        .http("POST", "/", json!(calls).to_string());
    let traced = node.ok(
        "debug_traceBlockByNumber",
        json!(["latest", {"tracer": "callTracer"}]),
    );
    for (n, raw) in (1u8..).zip(&sends) {
        let one = &traced[usize::from(n) - 1];
        assert_eq!(one["txHash"], json!(keccak256(raw)));
        assert_eq!(one["result"]["output"], json!(B256::with_last_byte(n)));
    }
    assert_eq!(
        node.error("debug_traceBlockByNumber", json!(["0x0"])).0,
        -32000
    );
}

#[test]
fn a_trace_ends_where_it_grows_too_large() {
    let node = Node::new();
    let steps = json!([{"to": STOREY}, "latest", {"enableMemory": true}]);
    let (code, message) = node.error("debug_traceCall", steps);
    assert_eq!(
        (code, message.contains("too large")),
        (-32005, true),
        "{message}"
    );
    // With a limit there is no more of it than was asked for.
    let few = json!([{"to": STOREY}, "latest", {"enableMemory": true, "limit": 10}]);
    let traced = node.ok("debug_traceCall", few);
    assert_eq!(traced["structLogs"].as_array().map(Vec::len), Some(10));
    assert_eq!(traced["failed"], true);
}

#[test]
fn simulated_blocks_see_those_before_them_and_change_nothing() {
    let node = Node::new();
    node.send(0, TxKind::Call(COUNTER), vec![]);
    let poor = Address::repeat_byte(0x99);
    let call = json!({"from": poor, "to": COUNTER});
    let blocks = json!([
        {"stateOverrides": {COUNTER.to_string(): {"stateDiff": {B256::ZERO.to_string(): B256::with_last_byte(9)}}},
         "calls": [call]},
        {"blockOverrides": {"number": "0x4", "time": "0xffffffffff"}, "calls": [call, call]},
    ]);
    let simulated = node.ok(
        "eth_simulateV1",
        json!([{"blockStateCalls": blocks}, "latest"]),
    );
    let numbers: Vec<_> = simulated
        .as_array()
        .expect("blocks")
        .iter()
        .map(|b| &b["number"])
        .collect();
    assert_eq!(json!(numbers), json!(["0x2", "0x3", "0x4"]));
    assert_eq!(
        simulated[0]["calls"][0]["returnData"],
        json!(B256::with_last_byte(10))
    );
    assert_eq!(
        simulated[2]["calls"][1]["returnData"],
        json!(B256::with_last_byte(12))
    );
    assert_eq!(simulated[2]["parentHash"], simulated[1]["hash"]);
    assert_eq!(
        simulated[2]["calls"][1]["logs"][0]["blockHash"],
        simulated[2]["hash"]
    );
    assert_eq!(
        node.ok("eth_call", json!([call])),
        json!(B256::with_last_byte(2))
    );
    assert_eq!(node.ok("eth_blockNumber", json!([])), "0x1");
}

#[test]
fn a_simulated_block_is_the_block_that_comes() {
    // The same transaction, simulated and sent: the same gas, and the same root of the state.
    let node = Node::new();
    node.send(0, TxKind::Call(COUNTER), vec![]);
    let from = dev::ACCOUNTS[0].address;
    let call = json!({"from": from, "to": COUNTER, "gas": "0xf4240"});
    let simulated = node.ok(
        "eth_simulateV1",
        json!([{"blockStateCalls": [{"calls": [call]}], "validation": true}]),
    );
    node.send(0, TxKind::Call(COUNTER), vec![]);
    let block = node.ok("eth_getBlockByNumber", json!(["latest", false]));
    for member in ["number", "parentHash", "stateRoot", "gasUsed", "logsBloom"] {
        assert_eq!(simulated[0][member], block[member], "{member}");
    }
}

#[test]
fn a_simulation_is_bounded_in_blocks_gas_and_bytes() {
    let node = Node::new();
    let error = |blocks: Value| {
        node.error("eth_simulateV1", json!([{"blockStateCalls": blocks}]))
            .0
    };
    assert_eq!(error(json!([])), -32602);
    assert_eq!(
        error(json!([{"blockOverrides": {"number": "0xffff"}}])),
        -38026
    );
    assert_eq!(
        error(json!([{"blockOverrides": {"number": "0x0"}}])),
        -38020
    );
    assert_eq!(error(json!([{"blockOverrides": {"time": "0x0"}}])), -38021);
    assert_eq!(
        error(json!([{"calls": [{"to": COUNTER, "gas": "0xffffffff"}]}])),
        -38015
    );
    assert_eq!(
        error(json!([{"calls": [{"to": COUNTER, "gas": "0x5207"}]}])),
        -38013
    );
    let poor = json!({"from": Address::repeat_byte(9), "to": COUNTER, "value": "0x1"});
    assert_eq!(error(json!([{"calls": [poor]}])), -38014);
    // The gas of all calls together ends the last one.
    let endless = json!({"to": ENDLESS});
    let simulated = node.ok(
        "eth_simulateV1",
        json!([{"blockStateCalls": [{"calls": [endless]}]}]),
    );
    let stopped = &simulated[0]["calls"][0]["error"];
    assert_eq!(stopped["code"], -32015);
    // So the specification's schema begins it.
    assert_eq!(stopped["message"], "vm execution error: out of gas");
    assert_eq!(number(&simulated[0]["gasUsed"]), 50_000_000);
    assert_eq!(
        error(json!([{"calls": [endless, {"to": COUNTER}]}])),
        -38013
    );
    let slots: serde_json::Map<_, _> = (0..10_001u64)
        .map(|n| (B256::from(U256::from(n)).to_string(), json!(B256::ZERO)))
        .collect();
    let over = json!({COUNTER.to_string(): {"state": slots}});
    assert_eq!(error(json!([{"stateOverrides": over}])), -32005);
    // Returns a quarter of a megabyte; many of them are too much.
    let long = json!({"input": "0x620400005ff3".to_owned(), "gas": "0x300000"});
    let long = json!({"stateOverrides": {Address::repeat_byte(8).to_string(): {"code": "0x620400005ff3"}},
        "calls": vec![json!({"to": Address::repeat_byte(8), "gas": long["gas"]}); 60]});
    let (code, message) = node.error("eth_simulateV1", json!([{"blockStateCalls": [long]}]));
    assert_eq!(
        (code, message.contains("too large")),
        (-32005, true),
        "{message}"
    );
}

#[test]
fn proofs_lead_to_the_root_of_their_block() {
    let node = Node::new();
    for _ in 0..3 {
        node.send(0, TxKind::Call(COUNTER), vec![]);
    }
    for block in ["0x0", "0x1", "0x3"] {
        let header = node.ok("eth_getBlockByNumber", json!([block, false]));
        let root: B256 = serde_json::from_value(header["stateRoot"].clone()).expect("a hash");
        for (address, there) in [
            (COUNTER, true),
            (dev::ACCOUNTS[0].address, true),
            (Address::repeat_byte(0x77), false),
        ] {
            let proof = node.ok("eth_getProof", json!([address, ["0x0", "0x5"], block]));
            let nodes = |value: &Value| -> Vec<Bytes> {
                serde_json::from_value(value.clone()).expect("bytes")
            };
            let storage_root: B256 =
                serde_json::from_value(proof["storageHash"].clone()).expect("a hash");
            let account = TrieAccount {
                nonce: number(&proof["nonce"]),
                balance: serde_json::from_value(proof["balance"].clone()).expect("a quantity"),
                storage_root,
                code_hash: serde_json::from_value(proof["codeHash"].clone()).expect("a hash"),
            };
            let key = Nibbles::unpack(keccak256(address));
            let value = there.then(|| alloy_rlp::encode(account));
            verify_proof(root, key, value, &nodes(&proof["accountProof"]))
                .expect("the account is proved");
            for slot in proof["storageProof"].as_array().expect("slots") {
                let key: U256 = serde_json::from_value(slot["key"].clone()).expect("a slot");
                let key = B256::from(key);
                let value: U256 =
                    serde_json::from_value(slot["value"].clone()).expect("a quantity");
                let key = Nibbles::unpack(keccak256(key));
                let value = (!value.is_zero()).then(|| alloy_rlp::encode(value));
                verify_proof(storage_root, key, value, &nodes(&slot["proof"]))
                    .expect("the slot is proved");
            }
        }
    }
    let value = |block: &str| {
        node.ok("eth_getProof", json!([COUNTER, ["0x0"], block]))["storageProof"][0]["value"]
            .clone()
    };
    assert_eq!(
        (value("0x1"), value("latest")),
        (json!("0x1"), json!("0x3"))
    );
    let keyed = Node::keeping(Roots::Keyed, 0);
    assert_eq!(keyed.error("eth_getProof", json!([COUNTER, []])).0, -32004);
}

#[test]
fn an_access_list_makes_what_it_lists_cheap() {
    let node = Node::new();
    let call = json!({"to": CALLER, "from": dev::ACCOUNTS[0].address});
    let made = node.ok("eth_createAccessList", json!([call]));
    let expected = json!([{"address": COUNTER, "storageKeys": [B256::ZERO]}]);
    assert_eq!(made["accessList"], expected);
    let mut listed = call.clone();
    listed["accessList"] = made["accessList"].clone();
    let again = node.ok("eth_createAccessList", json!([listed]));
    assert_eq!(again, made);
    let failing = node.ok("eth_createAccessList", json!([{"to": REVERTER}]));
    assert_eq!(failing["error"], "execution reverted: no");
}

#[test]
fn what_waits_is_listed_by_sender_and_nonce() {
    let node = Node::new();
    node.submit(&node.signed(1, 1, TxKind::Call(COUNTER), vec![]));
    node.submit(&node.signed(1, 2, TxKind::Call(COUNTER), vec![]));
    let status = node.ok("txpool_status", json!([]));
    assert_eq!(status, json!({"pending": "0x0", "queued": "0x2"}));
    let sender = dev::ACCOUNTS[1].address;
    let content = node.ok("txpool_content", json!([]));
    let queued = &content["queued"][sender.to_string()];
    assert_eq!(queued["1"]["nonce"], "0x1");
    let from = node.ok("txpool_contentFrom", json!([sender]));
    assert_eq!(from["queued"], *queued);
    node.submit(&node.signed(1, 0, TxKind::Call(COUNTER), vec![]));
    let status = node.ok("txpool_status", json!([]));
    assert_eq!(status, json!({"pending": "0x0", "queued": "0x0"}));
}

#[test]
fn calls_suppose_other_accounts_and_blocks() {
    let node = Node::new();
    let over = json!({COUNTER.to_string(): {"code": "0x435f5260205ff3"}});
    let block = json!({"number": "0x1234"});
    let seen = node.ok("eth_call", json!([{"to": COUNTER}, "latest", over, block]));
    assert_eq!(seen, json!(B256::from(U256::from(0x1234))));
    let slots =
        json!({COUNTER.to_string(): {"state": {B256::ZERO.to_string(): B256::with_last_byte(4)}}});
    let seen = node.ok("eth_call", json!([{"to": COUNTER}, "latest", slots]));
    assert_eq!(seen, json!(B256::with_last_byte(5)));
    let gas = node.ok("eth_estimateGas", json!([{"to": COUNTER}, "latest", slots]));
    assert!(number(&gas) < number(&node.ok("eth_estimateGas", json!([{"to": COUNTER}]))));
}

#[test]
fn the_fork_is_a_setting_and_the_newest_by_default() {
    let node = |fork: &str| {
        let json = format!(r#"{{"chainId": 31337{fork}, "alloc": {{}}}}"#);
        let machine = adapter_ethereum::machine();
        Node::of(Solo::new(machine, adapter_ethereum::front([5; 32]), json))
    };
    // CLZ (EIP-7939) came with Osaka; BLS12-381 (EIP-2537) with Prague.
    let clz = json!([{"input": "0x60011e5f5260205ff3"}]);
    let has = |node: &Node, name: &str| {
        !node.ok("eth_config", json!([]))["current"]["precompiles"][name].is_null()
    };
    for (fork, osaka, prague) in [
        ("", true, true),
        (r#", "fork": "osaka""#, true, true),
        (r#", "fork": "prague""#, false, true),
        (r#", "fork": "cancun""#, false, false),
    ] {
        let node = node(fork);
        assert_eq!(
            node.reply("eth_call", clz.clone()).get("result").is_some(),
            osaka,
            "{fork}"
        );
        assert_eq!(has(&node, "P256VERIFY"), osaka, "{fork}");
        assert_eq!(has(&node, "BLS12_G1ADD"), prague, "{fork}");
    }
}

#[test]
fn timestamps_are_seconds() {
    let node = Node::new();
    node.send(0, TxKind::Call(COUNTER), vec![]);
    let block = node.ok("eth_getBlockByNumber", json!(["latest", false]));
    let seconds = number(&block["timestamp"]);
    assert!(
        (1_700_000_000..1_700_001_000).contains(&seconds),
        "{seconds}"
    );
}

#[test]
fn the_deepest_calls_are_traced() {
    // Calls itself with all gas that it has, on a fork without a cap of a transaction's gas.
    let deep = Address::repeat_byte(0xc6);
    let json = json!({
        "chainId": 31337, "fork": "prague", "gasLimit": "0x10000000000",
        "alloc": {deep.to_string(): {"nonce": "0x1", "code": "0x5f5f5f5f5f305af100"}}
    });
    let machine = adapter_ethereum::machine();
    let node = Node::of(Solo::new(
        machine,
        adapter_ethereum::front([5; 32]),
        json.to_string(),
    ));
    for tracer in ["callTracer", "flatCallTracer"] {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "debug_traceCall",
            "params": [{"to": deep}, "latest", {"tracer": tracer}]});
        let response = node.solo.borrow_mut().http("POST", "/", call.to_string());
        let text = String::from_utf8(response.body.to_vec()).expect("text");
        assert!(text.matches("0xc6c6").count() > 2048, "{text:.300}");
    }
}

#[test]
fn a_node_restored_from_a_snapshot_traces_the_same() {
    let node = Node::keeping(Roots::Keyed, 4);
    let hash = node.send(0, TxKind::Call(DICE), vec![]);
    node.send(0, TxKind::Call(COUNTER), vec![]);
    let with_log = json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}});
    let traced = node.ok("debug_traceTransaction", json!([hash, with_log]));
    // The dice of then, and not those of a simulation.
    let receipt = node.ok("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(traced["logs"][0]["topics"], receipt["logs"][0]["topics"]);
    assert_ne!(traced["logs"][0]["topics"], json!([B256::ZERO]));
    let restored = {
        let mut solo = node.solo.borrow_mut();
        let height = solo.worker.height().0;
        let snapshot = solo.snapshot();
        let bodies = solo.bodies.clone();
        let machine = adapter_ethereum::machine();
        Solo::restored(
            machine,
            adapter_ethereum::front([6; 32]),
            height,
            &snapshot,
            bodies,
        )
    };
    let other = Node::of(restored);
    assert_eq!(
        other.ok("debug_traceTransaction", json!([hash, with_log])),
        traced
    );
}

#[test]
fn simulated_blocks_and_traces_of_one_principal_are_limited_by_the_second() {
    let node = Node::new();
    // All gas at once and no time: an instruction that there is not.
    let all = json!({"input": "0xfe"});
    let simulate = || {
        node.reply(
            "eth_simulateV1",
            json!([{"blockStateCalls": [{"calls": [all]}]}]),
        )
    };
    let answered = (0..100)
        .take_while(|_| simulate().get("error").is_none())
        .count();
    assert_eq!(answered, 40, "two billion gas a second, fifty million each");
    assert_eq!(simulate()["error"]["code"], -32005);
    let traced = json!([{"to": COUNTER}, "latest"]);
    assert_eq!(node.error("debug_traceCall", traced).0, -32005);
    assert_eq!(
        node.error("eth_createAccessList", json!([{"to": COUNTER}]))
            .0,
        -32005
    );
    node.ok("eth_call", json!([{"to": COUNTER}]));
    node.solo.borrow_mut().advance(1_000);
    assert!(simulate().get("error").is_none());
}
