//! A confidential network of one node, its actors and their accounts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use adapter_ethereum::{AccessSettings, Alloc, Leak, Profile, dev, system};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use boundary::manager_to_worker::Message as In;
use serde_json::{Value, json};
use worker::solo::Solo;

/// Who asks: a session's actor, and the accounts that it names.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub actor: &'static str,
    /// Numbers of [`dev::ACCOUNTS`].
    pub accounts: &'static [usize],
}

/// Actor ada has account 0, bob 1, carol 2; eve has none.
pub const ADA: Asker = asker("ada", &[0]);
pub const BOB: Asker = asker("bob", &[1]);
pub const CAROL: Asker = asker("carol", &[2]);
pub const EVE: Asker = asker("eve", &[]);
/// Ada's session, and no account named.
pub const ADA_ALONE: Asker = asker("ada", &[]);
pub const AUDITOR: Asker = asker("auditor", &[]);

const fn asker(actor: &'static str, accounts: &'static [usize]) -> Asker {
    Asker { actor, accounts }
}

pub fn actor_id(name: &str) -> B256 {
    let mut id = [0; 32];
    id[..name.len()].copy_from_slice(name.as_bytes());
    B256::new(id)
}

pub fn address(account: usize) -> Address {
    dev::ACCOUNTS[account].address
}

pub fn word(address: Address) -> [u8; 32] {
    address.into_word().0
}

pub fn number(n: u64) -> [u8; 32] {
    U256::from(n).to_be_bytes()
}

/// The number of the domain that an account founds as its `count`th.
pub fn domain(founder: Address, count: u64) -> u64 {
    let digest = keccak256([word(founder), number(count), number(27)].concat());
    digest.0[24..]
        .iter()
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
        | 1
}

pub struct Net {
    solo: RefCell<Solo>,
    streams: RefCell<BTreeMap<&'static str, u64>>,
    nonces: RefCell<BTreeMap<usize, u64>>,
    sockets: Cell<u64>,
}

/// Contracts of the first state: code and slots.
pub type Given = (Address, Vec<u8>, Vec<(u64, [u8; 32])>);

pub fn access() -> AccessSettings {
    let bind = |account: usize, actor: &str| (address(account), actor_id(actor));
    AccessSettings {
        accounts: [bind(0, "ada"), bind(1, "bob"), bind(2, "carol")].into(),
        ..Default::default()
    }
}

impl Net {
    pub fn new(given: Vec<Given>) -> Self {
        Self::with(access(), given, Leak::None)
    }

    pub fn with(access: AccessSettings, given: Vec<Given>, leak: Leak) -> Self {
        Self::kept(access, given, leak, 0)
    }

    /// One that keeps the states of so many blocks.
    pub fn kept(access: AccessSettings, given: Vec<Given>, leak: Leak, states: u64) -> Self {
        let mut settings = dev::settings(dev::CHAIN_ID);
        settings.rules.states_kept = states;
        settings.rules.profile = Profile::Confidential(Box::new(access));
        for (address, code, slots) in given {
            let account = Alloc {
                nonce: 1,
                code: Some(code.into()),
                storage: slots
                    .into_iter()
                    .map(|(slot, value)| (U256::from(slot), U256::from_be_bytes(value)))
                    .collect(),
                ..Default::default()
            };
            settings.alloc.insert(address, account);
        }
        let solo = Solo::new(
            adapter_ethereum::machine(),
            adapter_ethereum::leaking([5; 32], leak),
            settings.to_json(),
        );
        Self {
            solo: RefCell::new(solo),
            streams: RefCell::default(),
            nonces: RefCell::default(),
            sockets: Cell::new(0),
        }
    }

    pub fn solo(&self) -> std::cell::RefMut<'_, Solo> {
        self.solo.borrow_mut()
    }

    fn stream(&self, actor: &'static str) -> u64 {
        let mut streams = self.streams.borrow_mut();
        let next = 100 + streams.len() as u64;
        *streams.entry(actor).or_insert_with(|| {
            let caller = boundary::CallerIdentity {
                actor: actor_id(actor).to_vec().into(),
                name: actor.into(),
                member: false,
                auditor: actor == "auditor",
            };
            self.solo().tell(In::Open(boundary::StreamOpen {
                stream: next,
                caller: Some(caller),
                remote: String::new(),
            }));
            next
        })
    }

    /// Opens a WebSocket for an asker and gives its stream.
    pub fn socket(&self, asker: Asker) -> u64 {
        self.sockets.set(self.sockets.get() + 1);
        let stream = 1_000 + self.sockets.get();
        self.solo().open(stream, asker.actor);
        let names: Vec<_> = asker
            .accounts
            .iter()
            .map(|a| address(*a).to_string())
            .collect();
        let named = if names.is_empty() {
            String::new()
        } else {
            format!("coco-accounts: {}\r\n", names.join(","))
        };
        let upgrade = format!(
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{named}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = self.solo().bytes(stream, upgrade);
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        stream
    }

    /// One call on a WebSocket.
    pub fn tell(&self, stream: u64, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.solo().bytes(stream, frame(&call.to_string()));
        messages(&answer).remove(0)["result"].clone()
    }

    /// What came on a WebSocket since.
    pub fn heard(&self, stream: u64) -> Vec<Value> {
        let bytes = self.solo().received(stream);
        messages(&bytes)
    }

    /// Posts a body as `asker` and gives the body of the answer.
    pub fn post(&self, asker: Asker, body: &str) -> String {
        let names: Vec<_> = asker
            .accounts
            .iter()
            .map(|account| address(*account).to_string())
            .collect();
        let named = if names.is_empty() {
            String::new()
        } else {
            format!("coco-accounts: {}\r\n", names.join(","))
        };
        let length = body.len();
        let request =
            format!("POST / HTTP/1.1\r\nhost: x\r\n{named}content-length: {length}\r\n\r\n{body}");
        let stream = self.stream(asker.actor);
        let answer = self.solo().bytes(stream, request);
        let text = String::from_utf8(answer.to_vec()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
        body.to_owned()
    }

    /// The whole reply.
    pub fn reply(&self, asker: Asker, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        serde_json::from_str(&self.post(asker, &body.to_string())).expect("JSON")
    }

    pub fn ok(&self, asker: Asker, method: &str, params: Value) -> Value {
        let reply = self.reply(asker, method, params);
        assert!(reply.get("error").is_none(), "{method}: {reply}");
        reply["result"].clone()
    }

    /// Code of the error.
    pub fn error(&self, asker: Asker, method: &str, params: Value) -> i64 {
        let reply = self.reply(asker, method, params);
        reply["error"]["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("{reply}"))
    }

    /// A transaction of an account, with its next nonce.
    pub fn signed(&self, from: usize, to: TxKind, input: Vec<u8>, value: u64) -> Bytes {
        let mut nonces = self.nonces.borrow_mut();
        let nonce = nonces.entry(from).or_default();
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: *nonce,
            gas_limit: 5_000_000,
            max_fee_per_gas: 1_000_000_000,
            to,
            value: U256::from(value),
            input: input.into(),
            ..Default::default()
        };
        *nonce += 1;
        dev::sign(transaction, &dev::ACCOUNTS[from].key).into()
    }

    /// Sends by the account's own actor; gives the receipt that the actor sees.
    pub fn send(&self, by: Asker, from: usize, to: TxKind, input: Vec<u8>) -> Value {
        let raw = self.signed(from, to, input, 0);
        let hash = self.ok(by, "eth_sendRawTransaction", json!([raw]));
        assert_eq!(hash, json!(keccak256(&raw)));
        self.ok(by, "eth_getTransactionReceipt", json!([hash]))
    }

    /// Creates a contract and gives its address.
    pub fn create(&self, by: Asker, from: usize, init: Vec<u8>) -> Address {
        let receipt = self.send(by, from, TxKind::Create, init);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let created = receipt["contractAddress"].as_str().expect("created");
        created.parse().expect("an address")
    }

    /// What a call returns.
    pub fn eth_call(&self, asker: Asker, to: Address, data: Vec<u8>) -> Value {
        let data = format!("0x{}", hex::encode(data));
        self.ok(
            asker,
            "eth_call",
            json!([{"to": to, "data": data}, "latest"]),
        )
    }

    /// What runs as a creation, without being one.
    pub fn probe(&self, asker: Asker, program: &str) -> Value {
        let data = format!("0x{}", hex::encode(super::asm::assemble(program)));
        self.ok(asker, "eth_call", json!([{"data": data}, "latest"]))
    }

    /// A call of POLICY by an account.
    pub fn policy(&self, by: Asker, from: usize, input: Vec<u8>) -> Value {
        let receipt = self.send(by, from, TxKind::Call(system::POLICY), input);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }
}

/// A masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match u8::try_from(text.len()).ok().filter(|n| *n < 126) {
        Some(n) => out.push(0x80 | n),
        None => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(text.as_bytes());
    out
}

fn messages(mut bytes: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    while let [0x81, short, rest @ ..] = bytes {
        let (length, rest) = match short {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            short => (usize::from(*short), rest),
        };
        found.push(serde_json::from_slice(&rest[..length]).expect("JSON"));
        bytes = &rest[length..];
    }
    found
}
