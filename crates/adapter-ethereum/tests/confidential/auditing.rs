//! Auditors: what they alone may ask, and that each reading is on the ledger.

use adapter_ethereum::Leak;
use alloy_primitives::{Address, TxKind};
use serde_json::{Value, json};

use super::asm::{self, data};
use super::network::{ADA, AUDITOR, BOB, EVE, Net, access, actor_id, address, number, word};

const SET: u32 = 0x60fe_47b1;
const VAULT: Address = Address::repeat_byte(0xa1);

/// Bob's vault, on a network that keeps the states of eight blocks.
fn net() -> Net {
    let owner = vec![(0, word(address(1))), (1, number(42))];
    Net::kept(access(), vec![(VAULT, asm::vault(), owner)], Leak::None, 8)
}

fn calls() -> Value {
    json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}})
}

#[test]
fn an_auditor_traces_what_a_party_did_and_is_recorded_before() {
    let net = net();
    let receipt = net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(9)]));
    let hash = &receipt["transactionHash"];
    let traced = net.ok(AUDITOR, "debug_traceTransaction", json!([hash, calls()]));
    let input = format!("0x{}", hex::encode(data(SET, &[number(9)])));
    assert_eq!(
        (&traced["to"], &traced["input"]),
        (&json!(VAULT), &json!(input))
    );
    // What the network executed is what is traced: the check's gas is part of it.
    assert_eq!(traced["gasUsed"], receipt["gasUsed"]);
    assert_eq!(traced["logs"].as_array().map(Vec::len), Some(1));
    let block = net.ok(AUDITOR, "debug_traceBlockByNumber", json!(["0x1", calls()]));
    assert_eq!(block[0]["result"], traced);
    assert_eq!(
        net.ok(AUDITOR, "trace_transaction", json!([hash]))[0]["action"]["input"],
        json!(input)
    );
    let called = json!([{"to": VAULT, "data": "0x6d4ce63c"}, "latest", calls()]);
    assert_eq!(
        net.ok(AUDITOR, "debug_traceCall", called)["output"],
        json!(format!("0x{}", hex::encode(number(9))))
    );
    let readings = net.ok(AUDITOR, "coco_readings", json!([]));
    let read: Vec<_> = readings
        .as_array()
        .expect("a list")
        .iter()
        .map(|reading| (&reading["actor"], &reading["calls"][0][0]))
        .collect();
    let auditor = json!(actor_id("auditor"));
    let methods = [
        "debug_traceTransaction",
        "debug_traceBlockByNumber",
        "trace_transaction",
        "debug_traceCall",
        "coco_readings",
    ];
    assert_eq!(
        read,
        methods.map(json_text).each_ref().map(|m| (&auditor, m))
    );
}

fn json_text(text: &str) -> Value {
    json!(text)
}

#[test]
fn a_block_that_holds_nothing_but_readings_is_traced_as_empty() {
    let net = net();
    net.ok(AUDITOR, "eth_getCode", json!([VAULT]));
    let head = net.ok(EVE, "eth_blockNumber", json!([]));
    assert_eq!(
        net.ok(AUDITOR, "debug_traceBlockByNumber", json!([head])),
        json!([])
    );
}

#[test]
fn traces_are_closed_for_everybody_else() {
    let net = net();
    let receipt = net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(9)]));
    let hash = &receipt["transactionHash"];
    for who in [ADA, BOB, EVE] {
        for (method, params) in [
            ("debug_traceTransaction", json!([hash])),
            ("debug_traceCall", json!([{"to": VAULT}, "latest"])),
            ("debug_traceBlockByNumber", json!(["0x1"])),
            ("debug_traceBlockByHash", json!([receipt["blockHash"]])),
            ("trace_transaction", json!([hash])),
            ("trace_block", json!(["0x1"])),
        ] {
            assert_eq!(net.error(who, method, params), -32004, "{method}");
        }
    }
}

#[test]
fn simulated_blocks_lists_proofs_and_the_pool_are_closed_for_auditors_too() {
    let net = net();
    for (method, params) in [
        (
            "eth_simulateV1",
            json!([{"blockStateCalls": [{"calls": [{"to": VAULT}]}]}]),
        ),
        ("eth_createAccessList", json!([{"to": VAULT}])),
        ("eth_getProof", json!([VAULT, ["0x1"], "latest"])),
        ("debug_getRawBlock", json!(["0x0"])),
        ("txpool_content", json!([])),
        ("txpool_contentFrom", json!([address(1)])),
        ("txpool_status", json!([])),
    ] {
        for who in [ADA, BOB, EVE, AUDITOR] {
            assert_eq!(net.error(who, method, params.clone()), -32004, "{method}");
        }
    }
    // What somebody supposes reads the storage of what it replaces.
    let over = json!({VAULT.to_string(): {"code": "0x60015460005260206000f3"}});
    let call = json!([{"to": VAULT}, "latest", over]);
    assert_eq!(net.error(AUDITOR, "eth_call", call), -32602);
    let call = json!([{"to": VAULT}, "latest", {"stateOverrides": over}]);
    assert_eq!(net.error(AUDITOR, "debug_traceCall", call), -32602);
}

#[test]
fn old_states_are_an_auditors_alone() {
    const OWN: u32 = 0x13af_4035;
    let net = net();
    net.send(BOB, 1, TxKind::Call(VAULT), data(OWN, &[word(address(2))]));
    let get = |block: &str| json!([{"to": VAULT, "data": "0x6d4ce63c"}, block]);
    // Bob may not read any more what he could read then.
    assert_eq!(net.ok(BOB, "eth_call", get("latest")), "0x");
    assert_eq!(net.error(BOB, "eth_call", get("0x0")), -32000);
    for method in ["eth_getBalance", "eth_getCode", "eth_getTransactionCount"] {
        assert_eq!(net.error(BOB, method, json!([address(1), "0x0"])), -32000);
    }
    let secret = format!("0x{}", hex::encode(number(42)));
    assert_eq!(net.ok(AUDITOR, "eth_call", get("0x0")), json!(secret));
}
