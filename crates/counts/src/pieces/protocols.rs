//! Workers with an adapter, and a manager that commits at once (`worker::solo`).

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256, keccak256};
use bytes::Bytes;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use worker::solo::Solo;

use super::Piece;

const BATCH: usize = 100;
/// Accounts that send: each sends once in so many batches.
const BATCHES_OF_SENDERS: usize = 4;
const CHAIN_ID: u64 = 31337;

/// A token, as far as its `balanceOf(address)` goes.
const TOKEN: Address = Address::repeat_byte(0xd1);
const TOKEN_CODE: &str = "0x6004355f525f60205260405f20545f5260205ff3";

struct Sender {
    key: [u8; 32],
    address: Address,
}

fn senders() -> Vec<Sender> {
    let sender = |number: usize| {
        let key = keccak256((number as u64).to_be_bytes()).0; // as wide
        let secret = SecretKey::from_byte_array(key).expect("a hash is a key");
        let point = PublicKey::from_secret_key(SECP256K1, &secret).serialize_uncompressed();
        Sender {
            key,
            address: Address::from_raw_public_key(&point[1..]),
        }
    };
    (0..BATCH * BATCHES_OF_SENDERS).map(sender).collect()
}

fn ethereum(senders: &[Sender]) -> Solo {
    adapter_ethereum::prepare();
    let alloc: serde_json::Map<_, _> = senders
        .iter()
        .map(|sender| {
            let account = serde_json::json!({ "balance": "0x21e19e0c9bab2400000" });
            (sender.address.to_string(), account)
        })
        .collect();
    let token = serde_json::json!({ "nonce": "0x1", "code": TOKEN_CODE });
    let alloc: serde_json::Map<_, _> = alloc
        .into_iter()
        .chain([(TOKEN.to_string(), token)])
        .collect();
    let settings = serde_json::json!({ "chainId": CHAIN_ID, "alloc": alloc }).to_string();
    let front = adapter_ethereum::front([3; 32]);
    Solo::new(adapter_ethereum::machine(), front, settings)
}

/// Transfers that are not sent yet.
struct Transfers {
    senders: Vec<Sender>,
    sent: usize,
}

impl Transfers {
    fn batch(&mut self) -> String {
        let calls: Vec<String> = (0..BATCH)
            .map(|id| {
                let (sender, nonce) = (self.sent % self.senders.len(), self.sent / self.senders.len());
                self.sent += 1;
                let to = self.senders[(sender + 1) % self.senders.len()].address;
                let transaction = TxEip1559 {
                    chain_id: CHAIN_ID,
                    nonce: nonce as u64, // as wide
                    gas_limit: 21_000,
                    max_fee_per_gas: 1_000_000_000,
                    to: TxKind::Call(to),
                    value: U256::ONE,
                    ..TxEip1559::default()
                };
                let raw = adapter_ethereum::dev::sign(transaction, &self.senders[sender].key);
                let raw = hex::encode(raw);
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["0x{raw}"]}}"#
                )
            })
            .collect();
        format!("[{}]", calls.join(","))
    }
}

/// A leader's worker takes a batch of transfers.
pub struct Lead {
    solo: Solo,
    transfers: Transfers,
    next: String,
}

impl Lead {
    pub fn new() -> Self {
        let senders = senders();
        Self {
            solo: ethereum(&senders),
            transfers: Transfers { senders, sent: 0 },
            next: String::new(),
        }
    }
}

impl Piece for Lead {
    fn prepare(&mut self) {
        self.next = self.transfers.batch();
        // What was committed is the ledger's, which is not here.
        self.solo.bodies.clear();
    }

    fn run(&mut self) {
        let answer = self.solo.http("POST", "/", &self.next);
        assert!(answer.status == 200 && answer.body.len() > 60 * BATCH);
    }
}

/// A worker is asked for balances of a token.
pub struct Calls {
    solo: Solo,
    body: String,
}

impl Calls {
    pub fn new() -> Self {
        let senders = senders();
        let calls: Vec<String> = (0..BATCH)
            .map(|id| {
                let account = hex::encode(senders[id].address);
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_call","params":[{{"to":"{TOKEN}","data":"0x70a08231000000000000000000000000{account}"}},"latest"]}}"#
                )
            })
            .collect();
        Self {
            solo: ethereum(&senders),
            body: format!("[{}]", calls.join(",")),
        }
    }
}

impl Piece for Calls {
    fn prepare(&mut self) {}

    fn run(&mut self) {
        let answer = self.solo.http("POST", "/", &self.body);
        assert!(answer.status == 200 && answer.body.len() > 64 * BATCH);
    }
}

/// A follower's worker applies what a leader's proposed.
pub struct Apply {
    leader: Lead,
    follower: Solo,
    next: (u64, Bytes),
}

impl Apply {
    pub fn new() -> Self {
        let leader = Lead::new();
        let mut follower = ethereum(&leader.transfers.senders);
        follower.tell(boundary::manager_to_worker::Message::Follow(
            boundary::Follow {
                term: 1,
                leader_known: true,
            },
        ));
        Self {
            leader,
            follower,
            next: (0, Bytes::new()),
        }
    }
}

impl Piece for Apply {
    fn prepare(&mut self) {
        self.leader.prepare();
        self.leader.run();
        let bodies = &self.leader.solo.bodies;
        assert_eq!(bodies.len(), 1, "one request is one batch");
        let (height, body) = bodies.first_key_value().expect("counted");
        self.next = (*height, body.clone());
        self.follower.bodies.clear();
    }

    fn run(&mut self) {
        let (height, body) = (self.next.0, self.next.1.clone());
        self.follower.apply(height, body);
        assert_eq!(self.follower.worker.height().0, height);
    }
}

/// A leader's worker of the key-value protocol takes writes.
pub struct Writes {
    solo: Solo,
    sent: usize,
    next: String,
}

impl Writes {
    pub fn new() -> Self {
        Self {
            solo: Solo::new(adapter_kv::machine(), adapter_kv::front(), ""),
            sent: 0,
            next: String::new(),
        }
    }
}

impl Piece for Writes {
    fn prepare(&mut self) {
        let value = "v".repeat(256);
        let commands: Vec<String> = (0..BATCH)
            .map(|_| {
                // A fixed set: the state does not grow.
                let key = self.sent % (BATCH * BATCHES_OF_SENDERS);
                self.sent += 1;
                format!(r#"{{"op":"put","key":"key-{key:06}","value":"{value}"}}"#)
            })
            .collect();
        self.next = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
        self.solo.bodies.clear();
    }

    fn run(&mut self) {
        let answer = self.solo.http("POST", "/batch", &self.next);
        assert_eq!(answer.status, 200);
    }
}
