//! Ethereum's conformance state tests through the machine, post-state roots compared.
//!
//! The archives of the shared data have to be unpacked first, and their folders named:
//! ```text
//! mkdir /tmp/st && tar --zstd -xf ../shared/data/state_tests/eest-v5.4.0-state_tests.tar.zst -C /tmp/st
//! COCO_STATE_TESTS=/tmp/st cargo test -p adapter-ethereum --test state_tests -- --nocapture
//! ```
//! A Merkle-Patricia root is computed here only: a network's state roots are keyed commitments.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adapter::Outcome;
use adapter_ethereum::{
    ACCOUNT, Alloc, Fork, Profile, Receipt, Replay, Rules, STORAGE, Settings, account,
};
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use common::{Memory, batch, started, unit};
use serde_json::Value;

fn quantity(value: &Value) -> U256 {
    value
        .as_str()
        .map_or(U256::ZERO, |text| text.parse().expect("a quantity"))
}

fn small(value: &Value) -> u64 {
    quantity(value).try_into().expect("64 bits")
}

fn hash(value: &Value) -> B256 {
    quantity(value).into()
}

/// The plain root that the tests name.
fn root(memory: &Memory) -> B256 {
    let mut slots: BTreeMap<(Address, u32), Vec<(B256, U256)>> = BTreeMap::new();
    for ((domain, key), value) in &memory.map {
        if *domain == STORAGE {
            let address = Address::from_slice(&key[..20]);
            let (generation, slot) = match key.len() {
                52 => (0, &key[20..]),
                _ => (
                    u32::from_be_bytes(*key[20..].first_chunk().expect("four bytes")),
                    &key[24..],
                ),
            };
            let value = U256::try_from_be_slice(value).expect("a slot");
            slots
                .entry((address, generation))
                .or_default()
                .push((B256::from_slice(slot), value));
        }
    }
    let addresses = memory.map.keys().filter(|(domain, _)| *domain == ACCOUNT);
    let accounts = addresses.filter_map(|(_, key)| {
        let address = Address::from_slice(key);
        let record = account(memory, &address).expect("never lost")?;
        let storage = slots
            .get(&(address, record.generation))
            .cloned()
            .unwrap_or_default();
        let trie = TrieAccount {
            nonce: record.nonce,
            balance: record.balance,
            storage_root: storage_root_unhashed(storage),
            code_hash: record.code_hash,
        };
        Some((address, trie))
    });
    state_root_unhashed(accounts)
}

fn fork(name: &str) -> Option<Fork> {
    serde_json::from_value(Value::from(name)).ok()
}

/// What differs, if anything.
fn run(
    test: &Value,
    fork: Fork,
    alloc: &BTreeMap<Address, Alloc>,
    post: &Value,
) -> Result<(), String> {
    let env = &test["env"];
    let number = small(&env["currentNumber"]);
    // Convention of these tests: the hash of block n is the hash of its decimal text.
    let block_hashes = (number.saturating_sub(256)..number)
        .map(|n| (n.to_string(), keccak256(n.to_string())))
        .collect();
    let settings = Settings {
        rules: Rules {
            chain_id: 1,
            fork,
            gas_limit: quantity(&env["currentGasLimit"]).saturating_to(),
            profile: Profile::Transparent,
            replay: Some(Replay {
                number,
                timestamp: small(&env["currentTimestamp"]),
                coinbase: serde_json::from_value(env["currentCoinbase"].clone())
                    .expect("an address"),
                base_fee_per_gas: if fork >= Fork::London {
                    small(&env["currentBaseFee"])
                } else {
                    0
                },
                prev_randao: hash(&env["currentRandom"]),
                difficulty: quantity(&env["currentDifficulty"]),
                excess_blob_gas: small(&env["currentExcessBlobGas"]),
                blob_base_fee_update_fraction: 0,
                parent_hash: B256::ZERO,
                parent_beacon_block_root: B256::ZERO,
                block_hashes,
                system_calls: false,
            }),
        },
        timestamp: 0,
        alloc: alloc.clone(),
        codes: BTreeMap::new(),
    };
    let (machine, mut memory) = started(&settings.to_json());
    let raw: Bytes = serde_json::from_value(post["txbytes"].clone()).map_err(|e| e.to_string())?;
    let outcome = match unit(&*machine, &memory, raw.0) {
        Ok(unit) => batch(&*machine, &mut memory, &[unit]).remove(0),
        Err(reject) => Outcome::Rejected(reject),
    };
    let refused = post.get("expectException").is_some_and(|e| !e.is_null());
    let logs: Vec<Log> = match (&outcome, refused) {
        (Outcome::Applied { receipt }, false) => {
            Receipt::decode(receipt).expect("well formed").logs
        }
        (Outcome::Rejected(_), true) => Vec::new(),
        (outcome, _) => return Err(format!("refusal expected: {refused}, found {outcome:?}")),
    };
    if keccak256(alloy_rlp::encode(&logs)) != hash(&post["logs"]) {
        return Err(format!("other logs: {}", logs.len()));
    }
    // The tool that made the tests pays a reward of zero to the coinbase, even for a refused
    // transaction; before EIP-161 that makes an empty account.
    if refused && fork < Fork::SpuriousDragon {
        let coinbase: Address =
            serde_json::from_value(env["currentCoinbase"].clone()).expect("an address");
        let key = (ACCOUNT, Bytes::copy_from_slice(coinbase.as_slice()).0);
        memory.map.entry(key).or_insert_with(|| vec![0; 9].into());
    }
    let root = root(&memory);
    if root == hash(&post["hash"]) {
        Ok(())
    } else {
        Err(format!("another root; {outcome:?}"))
    }
}

/// Accounts with storage, but no code and no nonce. No chain has them (EIP-7610 forbids to create a
/// contract there, at the price of a look into every account's storage), and settings refuse them.
const IMPOSSIBLE_STATES: &[&str] = &[
    "init_collision_create_opcode",
    "init_collision_create_tx",
    "InitCollision",
    "create2collisionStorage",
    "dynamicAccountOverwriteEmpty",
    "RevertInCreateInInit",
];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "json") {
            into.push(path);
        }
    }
}

#[test]
fn conformance_state_tests_end_in_the_known_roots() {
    let Some(folder) = std::env::var_os("COCO_STATE_TESTS") else {
        println!(
            "skipped: COCO_STATE_TESTS names no folder of unpacked state tests (see this file's head)"
        );
        return;
    };
    let mut paths = Vec::new();
    files(Path::new(&folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no state tests in COCO_STATE_TESTS");
    let (mut cases, mut skipped, mut failures) = (0, 0, Vec::new());
    for path in &paths {
        let Ok(Value::Object(tests)) = serde_json::from_slice(&common::read(path)) else {
            continue;
        };
        for (name, test) in tests {
            if IMPOSSIBLE_STATES.iter().any(|part| name.contains(part)) {
                skipped += 1;
                continue;
            }
            let Some(posts) = test["post"].as_object() else {
                continue;
            };
            let alloc = match serde_json::from_value(test["pre"].clone()) {
                Ok(alloc) => alloc,
                // A nonce of 2^64 or the like: no state of this machine can hold it.
                Err(_) => {
                    skipped += 1;
                    continue;
                }
            };
            for (fork_name, list) in posts {
                let Some(fork) = fork(fork_name) else {
                    skipped += 1;
                    continue;
                };
                for (i, post) in list.as_array().into_iter().flatten().enumerate() {
                    cases += 1;
                    if let Err(difference) = run(&test, fork, &alloc, post) {
                        failures.push(format!("{name} {fork_name} {i}: {difference}"));
                    }
                }
            }
        }
    }
    println!(
        "{} files, {cases} cases, {skipped} skipped, {} failed",
        paths.len(),
        failures.len()
    );
    failures
        .iter()
        .take(40)
        .for_each(|failure| println!("{failure:.400}"));
    assert!(failures.is_empty() && cases > 0);
}
