//! One node, alone, that serves JSON-RPC: some contracts in its first state, and every reply is held to the shape that
//! its method has.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::cell::RefCell;

use adapter_ethereum::{Alloc, Rules, dev};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use serde_json::{Value, json};
use worker::solo::Solo;

use super::shapes::Shapes;

/// Stores and logs: slot 0 counts calls, the log's topic is the caller.
pub const COUNTER: Address = Address::repeat_byte(0xc1);
/// Reverts with Error("no").
pub const REVERTER: Address = Address::repeat_byte(0xc2);

pub struct Node {
    pub solo: RefCell<Solo>,
    pub shapes: Shapes,
}

impl Node {
    /// With the two contracts and more, and rules that are changed.
    pub fn with(more: &[(Address, String)], change: impl FnOnce(&mut Rules)) -> Self {
        let mut settings = dev::settings(dev::CHAIN_ID);
        change(&mut settings.rules);
        let error = format!("08c379a0{:064x}{:064x}6e6f{:060x}", 32, 2, 0);
        let own = [
            (COUNTER, "5f546001015f55335f5fa15f545f5260205ff3".to_owned()),
            (REVERTER, format!("6064600a5f3960645ffd{error}")),
        ];
        for (address, code) in own.iter().chain(more) {
            let given = Alloc {
                code: Some(hex::decode(code).expect("hex").into()),
                nonce: 1,
                ..Default::default()
            };
            settings.alloc.insert(*address, given);
        }
        Self::of(Solo::new(
            adapter_ethereum::machine(),
            adapter_ethereum::front([5; 32]),
            settings.to_json(),
        ))
    }

    pub fn of(solo: Solo) -> Self {
        Self {
            solo: RefCell::new(solo),
            shapes: Shapes::new(),
        }
    }

    pub fn post(&self, body: impl AsRef<[u8]>) -> Value {
        let response = self.solo.borrow_mut().http("POST", "/", body);
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).expect("json")
    }

    pub fn reply(&self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let reply = self.post(call.to_string());
        assert_eq!(reply["jsonrpc"], "2.0", "{reply}");
        assert_eq!(reply["id"], 1, "{reply}");
        if !method.starts_with("coco_") {
            let checked = self.shapes.check(method, &reply);
            checked.unwrap_or_else(|what| panic!("{what}\n{call}\n{reply}"));
        }
        reply
    }

    pub fn ok(&self, method: &str, params: Value) -> Value {
        let reply = self.reply(method, params);
        assert!(reply.get("error").is_none(), "{method}: {reply}");
        reply["result"].clone()
    }

    /// Code and message.
    pub fn error(&self, method: &str, params: Value) -> (i64, String) {
        let reply = self.reply(method, params);
        let error = &reply["error"];
        (
            error["code"].as_i64().unwrap_or_else(|| panic!("{reply}")),
            error["message"].as_str().expect("text").into(),
        )
    }

    pub fn nonce(&self, from: usize) -> u64 {
        let address = dev::ACCOUNTS[from].address;
        number(&self.ok("eth_getTransactionCount", json!([address, "latest"])))
    }

    pub fn signed(&self, from: usize, nonce: u64, to: TxKind, input: Vec<u8>) -> Bytes {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce,
            gas_limit: 3_000_000,
            max_fee_per_gas: 1_000_000_000,
            to,
            input: input.into(),
            ..Default::default()
        };
        dev::sign(transaction, &dev::ACCOUNTS[from].key).into()
    }

    /// The hash of an account's next transaction, committed.
    pub fn send(&self, from: usize, to: TxKind, input: Vec<u8>) -> B256 {
        let raw = self.signed(from, self.nonce(from), to, input);
        let hash = self.ok("eth_sendRawTransaction", json!([raw]));
        assert_eq!(hash, json!(keccak256(&raw)));
        keccak256(&raw)
    }

    /// Its receipt.
    pub fn receipt(&self, from: usize, to: TxKind, input: Vec<u8>) -> Value {
        let hash = self.send(from, to, input);
        let receipt = self.ok("eth_getTransactionReceipt", json!([hash]));
        assert!(receipt.is_object(), "answered before the commit");
        receipt
    }
}

pub fn number(value: &Value) -> u64 {
    let text = value.as_str().expect("a quantity");
    u64::from_str_radix(&text[2..], 16).expect("a quantity")
}
