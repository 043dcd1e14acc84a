//! Whatever a client sends, it gets an answer and the worker goes on.

use adapter_ethereum::dev;
use proptest::prelude::*;
use serde_json::{Value, json};
use worker::solo::Solo;

const METHODS: &[&str] = &[
    "web3_sha3",
    "eth_feeHistory",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getHeaderByNumber",
    "eth_getBlockTransactionCountByNumber",
    "eth_getUncleCountByBlockHash",
    "eth_getBlockReceipts",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getRawTransactionByHash",
    "eth_getTransactionReceipt",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_call",
    "eth_estimateGas",
    "eth_getLogs",
    "eth_newFilter",
    "eth_getFilterLogs",
    "eth_getFilterChanges",
    "eth_uninstallFilter",
    "eth_subscribe",
    "eth_unsubscribe",
    "eth_sendRawTransaction",
    "eth_sendRawTransactionSync",
    "debug_x",
    "debug_traceCall",
    "debug_traceTransaction",
    "debug_traceBlockByNumber",
    "trace_block",
    "eth_simulateV1",
    "eth_createAccessList",
    "eth_getProof",
    "txpool_contentFrom",
];

fn node() -> Solo {
    let settings = dev::settings(dev::CHAIN_ID).to_json();
    Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
        settings,
    )
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("latest".to_owned()),
        Just("newHeads".to_owned()),
        Just("logs".to_owned()),
        any::<u64>().prop_map(|n| format!("{n:#x}")),
        any::<[u8; 20]>().prop_map(|b| format!("0x{}", hex::encode(b))),
        any::<[u8; 32]>().prop_map(|b| format!("0x{}", hex::encode(b))),
        any::<Vec<u8>>().prop_map(|b| format!("0x{}", hex::encode(b))),
        any::<Vec<u8>>().prop_map(|b| format!("0x02{}", hex::encode(b))),
        any::<String>(),
    ]
}

fn argument() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "from",
        "to",
        "gas",
        "value",
        "data",
        "input",
        "nonce",
        "accessList",
        "authorizationList",
        "address",
        "topics",
        "fromBlock",
        "toBlock",
        "blockHash",
        "blockNumber",
        "chainId",
        "blockStateCalls",
        "stateOverrides",
        "blockOverrides",
        "calls",
        "stateDiff",
        "tracer",
        "tracerConfig",
    ]);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_method_answers_any_arguments(
        calls in prop::collection::vec(
            (prop::sample::select(METHODS), prop::collection::vec(argument(), 0..4)),
            1..24,
        ),
    ) {
        let mut node = node();
        let batch: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let response = node.http("POST", "/", Value::from(batch).to_string());
        let replies: Vec<Value> = serde_json::from_slice(&response.body).expect("json");
        prop_assert_eq!(replies.len(), calls.len());
        for (id, reply) in replies.iter().enumerate() {
            prop_assert_eq!(&reply["id"], &json!(id));
            prop_assert!(reply.get("result").is_some() != reply.get("error").is_some(), "{}", reply);
        }
    }

    #[test]
    fn any_body_is_answered(body: Vec<u8>) {
        let response = node().http("POST", "/", body);
        let reply: Value = serde_json::from_slice(&response.body).expect("json");
        prop_assert!(reply["error"]["code"].is_i64());
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let mut node = node();
    for body in [
        "[".repeat(100_000),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{}]}}"#,
            "[".repeat(1000) + &"]".repeat(1000)
        ),
    ] {
        let response = node.http("POST", "/", body);
        let reply: Value = serde_json::from_slice(&response.body).expect("json");
        assert!(reply["error"]["code"].is_i64());
    }
}

#[test]
fn simulations_of_one_request_are_bounded_together() {
    let mut settings = dev::settings(dev::CHAIN_ID);
    let spinner = alloy_primitives::Address::repeat_byte(0xc1);
    // JUMPDEST PUSH0 JUMP: burns whatever it is given.
    let code = Some(hex::decode("5b5f56").expect("hex").into());
    settings.alloc.insert(
        spinner,
        adapter_ethereum::Alloc {
            code,
            ..Default::default()
        },
    );
    let mut node = Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
        settings.to_json(),
    );
    let calls: Vec<Value> = (0..20)
        .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "eth_call", "params": [{"to": spinner}, "latest"]}))
        .collect();
    let body = Value::from(calls).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = node.bytes(2, request.into_bytes()).to_vec();
    assert!(
        answer.is_empty(),
        "the request lets others run after its first calls"
    );
    for _ in 0..40 {
        node.advance(1);
        answer.extend_from_slice(&node.received(2));
    }
    let at = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("an answer")
        + 4;
    let replies: Vec<Value> = serde_json::from_slice(&answer[at..]).expect("json");
    assert_eq!(replies[0]["error"]["message"], "out of gas");
    assert_eq!(replies[19]["error"]["code"], -32005);
}
