//! What one principal may take of a node: a limit each, and nobody else notices.

use adapter_ethereum::{Leak, Limits};
use alloy_primitives::{Address, TxKind};
use serde_json::{Value, json};

use super::asm;
use super::network::{ADA, AUDITOR, Asker, CAROL, Net, access, number};

const STORE: Address = Address::repeat_byte(0xa4);
const ENDLESS: Address = Address::repeat_byte(0xa6);

/// The code of the specification for a limit that was reached.
const LIMIT: i64 = -32005;

fn net(limits: Limits) -> Net {
    let mut access = access();
    access.limits = limits;
    let endless = asm::assemble(":again @again JUMP");
    let given = vec![
        (STORE, asm::store(), vec![(1, number(7))]),
        (ENDLESS, endless, Vec::new()),
    ];
    Net::with(access, given, Leak::None)
}

fn code(reply: &Value) -> Option<i64> {
    reply["error"]["code"].as_i64()
}

/// How many of these are answered before one is refused for a limit.
fn answered(net: &Net, by: Asker, method: &str, params: &Value) -> usize {
    let replies = (0..100).map(|_| net.reply(by, method, params.clone()));
    let mut n = 0;
    for reply in replies {
        match code(&reply) {
            Some(LIMIT) => return n,
            _ => n += 1,
        }
    }
    panic!("{method} has no limit")
}

fn get() -> Value {
    json!([{"to": STORE, "data": "0x6d4ce63c"}])
}

#[test]
fn calls_a_second_are_limited_each_call_of_a_batch_counted() {
    let net = net(Limits {
        calls_per_second: 10,
        ..Limits::default()
    });
    assert_eq!(answered(&net, ADA, "eth_chainId", &json!([])), 10);
    assert!(code(&net.reply(CAROL, "eth_chainId", json!([]))).is_none());
    net.solo().advance(1_000);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []});
    let replies: Value =
        serde_json::from_str(&net.post(ADA, &json!(vec![call; 11]).to_string())).expect("JSON");
    assert!(
        replies
            .as_array()
            .expect("a batch")
            .iter()
            .all(|reply| code(reply) == Some(LIMIT))
    );
}

#[test]
fn gas_of_simulations_a_second_is_limited() {
    let net = net(Limits {
        simulation_gas_per_second: 100_000,
        ..Limits::default()
    });
    // The one that goes beyond is the last one.
    assert!(answered(&net, ADA, "eth_call", &get()) < 6);
    assert_eq!(code(&net.reply(ADA, "eth_estimateGas", get())), Some(LIMIT));
    assert!(code(&net.reply(CAROL, "eth_call", get())).is_none());
    net.solo().advance(1_000);
    assert!(code(&net.reply(ADA, "eth_call", get())).is_none());
}

#[test]
fn an_auditors_traces_count_as_simulations() {
    let net = net(Limits {
        simulation_gas_per_second: 100_000,
        ..Limits::default()
    });
    assert!(answered(&net, AUDITOR, "debug_traceCall", &get()) < 6);
    assert_eq!(code(&net.reply(AUDITOR, "eth_call", get())), Some(LIMIT));
}

#[test]
fn filters_are_limited_and_come_free_again() {
    let net = net(Limits {
        filters: 2,
        ..Limits::default()
    });
    let first = net.ok(ADA, "eth_newBlockFilter", json!([]));
    net.ok(ADA, "eth_newFilter", json!([{}]));
    assert_eq!(
        net.error(ADA, "eth_newPendingTransactionFilter", json!([])),
        LIMIT
    );
    net.ok(CAROL, "eth_newBlockFilter", json!([]));
    net.ok(ADA, "eth_uninstallFilter", json!([first]));
    net.ok(ADA, "eth_newBlockFilter", json!([]));
}

#[test]
fn one_response_is_limited() {
    let net = net(Limits {
        response_bytes: 1_000,
        ..Limits::default()
    });
    let receipt = net.send(ADA, 0, TxKind::Call(STORE), vec![0xee; 3_000]);
    let long = json!([receipt["transactionHash"]]);
    assert_eq!(net.error(ADA, "eth_getRawTransactionByHash", long), LIMIT);
    let steps = json!([{"to": STORE, "data": "0x6d4ce63c"}, "latest"]);
    assert_eq!(net.error(AUDITOR, "debug_traceCall", steps), LIMIT);
}

#[test]
fn one_simulation_ends_with_the_gas_of_the_network() {
    let net = net(Limits::default());
    assert_eq!(net.error(ADA, "eth_call", json!([{"to": ENDLESS}])), -32000);
    let huge = json!([{"to": ENDLESS, "gas": "0xffffffffffffffff"}]);
    assert_eq!(net.error(ADA, "eth_call", huge), -32000);
}
