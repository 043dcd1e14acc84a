//! Ethereum's vectors for transactions, RLP and tries.
//!
//! Transactions take the machine's whole path: admission, then execution for a sender who can pay
//! anything, so that what only execution can refuse is refused, too. The trie vectors check the
//! instrument with which `state_tests.rs` measures.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use adapter::Outcome;
use adapter_ethereum::{Alloc, Fork, Profile, Replay, Roots, Rules, Settings, Transaction};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{BufMut as _, Encodable as _, Header};
use alloy_trie::{HashBuilder, Nibbles};
use common::{batch, data, started, unit};
use serde_json::Value;

const ARCHIVE: &str = "state_tests/ethereum-tests-misc.tar.zst";

/// Transactions that could be in a chain of the fork and are refused, and why.
const STRICTER: &[(&str, &str)] = &[
    (
        "GasLimitPriceProductOverflowtMinusOne",
        "a price above 128 bits",
    ),
    ("TransactionWithHighGasPrice", "a price above 128 bits"),
    ("V_equals38", "a price above 128 bits"),
    (
        "TransactionWithHighValue",
        "no account holds its value and its gas",
    ),
];

/// The vectors below a folder, in the order of the archive.
fn vectors(folder: &str) -> Option<Vec<(String, BTreeMap<String, Value>)>> {
    let archive = data(ARCHIVE)?;
    let mut found = Vec::new();
    common::archive::each_json(&archive, |path, text| {
        if path.contains(folder) {
            let tests = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
            found.push((path, tests));
        }
        ControlFlow::Continue(())
    });
    Some(found)
}

fn rules(fork: Fork) -> Rules {
    Rules {
        chain_id: 1,
        fork,
        gas_limit: u64::MAX,
        profile: Profile::Transparent,
        roots: Roots::Keyed,
        states_kept: 0,
        replay: Some(Replay {
            number: 1,
            timestamp: 1,
            coinbase: Address::ZERO,
            base_fee_per_gas: 0,
            prev_randao: B256::ZERO,
            difficulty: U256::ZERO,
            excess_blob_gas: 0,
            blob_base_fee_update_fraction: 0,
            parent_hash: B256::ZERO,
            parent_beacon_block_root: B256::ZERO,
            block_hashes: BTreeMap::new(),
            system_calls: false,
        }),
    }
}

/// Hash and sender of a transaction that the machine takes, or why it does not.
fn take(raw: &Bytes, fork: Fork) -> Result<(B256, Address), String> {
    let rules = rules(fork);
    // Whoever sends it can pay, and has sent as many as the transaction says.
    let alloc = Transaction::admit(&raw.0, &rules).map_or_else(
        |_| BTreeMap::new(),
        |t| {
            let nonce = alloy_consensus::Transaction::nonce(&t.envelope);
            let rich = Alloc {
                balance: U256::MAX,
                nonce,
                ..Alloc::default()
            };
            BTreeMap::from([(t.sender, rich)])
        },
    );
    let settings = Settings {
        rules,
        timestamp: 0,
        alloc,
        codes: BTreeMap::new(),
    };
    let (machine, mut memory) = started(&settings.to_json());
    let unit = unit(&*machine, &memory, raw.0.clone()).map_err(|e| e.to_string())?;
    let (hash, sender) = (unit.id.0.into(), Address::from_slice(&unit.established));
    match batch(&*machine, &mut memory, &[unit]).remove(0) {
        Outcome::Applied { .. } => Ok((hash, sender)),
        Outcome::Rejected(reject) => Err(reject.to_string()),
        Outcome::Suspended(call) => Err(format!("{call:?}")),
    }
}

#[test]
fn transactions_are_taken_or_refused_as_the_vectors_say() {
    let Some(files) = vectors("TransactionTests/") else {
        return;
    };
    let (mut taken, mut refused, mut stricter, mut failures) = (0, 0, 0, Vec::new());
    for (path, tests) in &files {
        for (name, test) in tests {
            let Ok(raw) = serde_json::from_value::<Bytes>(test["txbytes"].clone()) else {
                panic!("{path}: no bytes");
            };
            for (fork_name, expected) in test["result"].as_object().expect("results") {
                let known = match fork_name.as_str() {
                    "Constantinople" => "Petersburg", // they differ in one opcode's gas
                    name => name,
                };
                let fork: Fork = serde_json::from_value(known.into()).expect("a fork");
                let found = take(&raw, fork);
                let wanted = expected.get("sender").map(|sender| {
                    let hash = serde_json::from_value(expected["hash"].clone()).expect("a hash");
                    let sender = serde_json::from_value(sender.clone()).expect("an address");
                    (hash, sender)
                });
                match (found, wanted) {
                    (Ok(found), Some(wanted)) if found == wanted => taken += 1,
                    (Err(_), None) => refused += 1,
                    (Err(_), Some(_)) if STRICTER.iter().any(|(listed, _)| listed == name) => {
                        stricter += 1;
                    }
                    (found, wanted) => {
                        failures.push(format!(
                            "{path} {name} {fork_name}: {found:?} {wanted:?} {}",
                            expected["exception"]
                        ));
                    }
                }
            }
        }
    }
    failures.iter().for_each(|text| println!("{text}"));
    println!(
        "transaction tests: {} files, {taken} taken, {refused} refused, {stricter} stricter than asked, {} failed",
        files.len(),
        failures.len()
    );
    assert!(failures.is_empty());
    assert_eq!(taken + refused + stricter, 2_665);
}

/// What RLP can say.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Bytes(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn read(json: &Value) -> Self {
        match json {
            Value::Array(items) => Self::List(items.iter().map(Self::read).collect()),
            // "#" stands before a decimal number of any size.
            Value::String(text) => Self::Bytes(match text.strip_prefix('#') {
                Some(digits) => number(digits),
                None => text.bytes().collect(),
            }),
            small => Self::Bytes(number(&small.to_string())),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().encode(out),
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.encode(&mut payload));
                Header {
                    list: true,
                    payload_length: payload.len(),
                }
                .encode(out);
                out.put_slice(&payload);
            }
        }
    }

    fn decode(from: &mut &[u8]) -> Result<Self, alloy_rlp::Error> {
        let header = Header::decode(from)?;
        let (mut payload, rest) = from
            .split_at_checked(header.payload_length)
            .ok_or(alloy_rlp::Error::InputTooShort)?;
        *from = rest;
        if !header.list {
            return Ok(Self::Bytes(payload.to_vec()));
        }
        let mut items = Vec::new();
        while !payload.is_empty() {
            items.push(Self::decode(&mut payload)?);
        }
        Ok(Self::List(items))
    }

    fn decode_whole(mut from: &[u8]) -> Result<Self, alloy_rlp::Error> {
        let item = Self::decode(&mut from)?;
        if from.is_empty() {
            Ok(item)
        } else {
            Err(alloy_rlp::Error::UnexpectedLength)
        }
    }
}

/// A decimal number of any size as big-endian bytes.
fn number(digits: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 10 + carry;
            *byte = value as u8; // the low byte
            carry = value >> 8;
        }
        if carry > 0 {
            bytes.insert(0, carry as u8); // below ten
        }
    }
    bytes
}

#[test]
fn rlp_is_read_and_written_as_the_vectors_say() {
    let Some(files) = vectors("RLPTests/") else {
        return;
    };
    let (mut valid, mut invalid) = (0, 0);
    for (path, tests) in &files {
        for (name, test) in tests {
            let text = test["out"].as_str().expect("hexadecimal");
            let bytes = hex::decode(text.trim_start_matches("0x")).expect("hexadecimal");
            match test["in"].as_str() {
                Some("INVALID") => {
                    assert!(Item::decode_whole(&bytes).is_err(), "{path} {name}");
                    invalid += 1;
                }
                Some("VALID") => {
                    let mut again = Vec::new();
                    Item::decode_whole(&bytes)
                        .unwrap_or_else(|e| panic!("{path} {name}: {e}"))
                        .encode(&mut again);
                    assert_eq!(again, bytes, "{path} {name}");
                    valid += 1;
                }
                _ => {
                    let item = Item::read(&test["in"]);
                    let mut written = Vec::new();
                    item.encode(&mut written);
                    assert_eq!(hex::encode(&written), hex::encode(&bytes), "{path} {name}");
                    assert_eq!(Item::decode_whole(&bytes), Ok(item), "{path} {name}");
                    valid += 1;
                }
            }
            // None of it is a transaction, and all of it comes from outside.
            for fork in [Fork::Frontier, Fork::Osaka] {
                take(&bytes.clone().into(), fork).expect_err("not a transaction");
            }
        }
    }
    println!("RLP tests: {valid} valid, {invalid} invalid");
    assert!(valid > 20 && invalid > 20);
}

fn text(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("text");
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).expect("hexadecimal"),
        None => text.as_bytes().to_vec(),
    }
}

#[test]
fn tries_have_the_roots_of_the_vectors() {
    let Some(files) = vectors("TrieTests/") else {
        return;
    };
    let (mut roots, mut prefixes) = (0, 0);
    for (path, tests) in &files {
        let is_secure = path.to_lowercase().contains("secure");
        for (name, test) in tests {
            let Some(root) = test.get("root") else {
                continue; // neighbours of keys: no trie of ours looks for them
            };
            let mut content = BTreeMap::new();
            let mut put = |key: &Value, value: &Value| {
                let key = text(key);
                let key = if is_secure {
                    keccak256(key).to_vec()
                } else {
                    key
                };
                match value {
                    Value::Null => content.remove(&key),
                    value => content.insert(key, text(value)),
                };
            };
            match &test["in"] {
                Value::Array(pairs) => pairs.iter().for_each(|pair| put(&pair[0], &pair[1])),
                Value::Object(map) => {
                    for (key, value) in map {
                        put(&Value::from(key.as_str()), value);
                    }
                }
                other => panic!("{path} {name}: {other}"),
            }
            // Ours have keys of one length, and so has the builder.
            let keys: Vec<_> = content.keys().collect();
            if keys.windows(2).any(|pair| pair[1].starts_with(pair[0])) {
                prefixes += 1;
                continue;
            }
            let mut builder = HashBuilder::default();
            for (key, value) in &content {
                builder.add_leaf(Nibbles::unpack(key), value);
            }
            let wanted: B256 = serde_json::from_value(root.clone()).expect("a root");
            assert_eq!(builder.root(), wanted, "{path} {name}");
            roots += 1;
        }
    }
    println!(
        "trie tests: {roots} roots, {prefixes} with keys that begin other keys not applicable"
    );
    assert!(roots >= 10);
}
