//! Real mainnet blocks through the machine.
//!
//! Every block runs under its own rules on its own pre-state: gas, status and log count of each
//! transaction, the post-state, and from Byzantium on the receipts root of the real header. Each block is
//! executed by several threads, too, and comes to the same.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter::{Outcome, Unit};
use adapter_ethereum::{
    Alloc, Fork, Profile, Receipt, Replay, Roots, Rules, Settings, Transaction, account, storage,
};
use alloy_consensus::{Eip658Value, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::root::ordered_trie_root_with_encoder;
use common::threads::Threads;
use common::{Memory, batch, data, gunzip, started, unit};
use serde_json::Value;

type Codes = BTreeMap<B256, Bytes>;

fn codes() -> Option<Codes> {
    let path = data("mainnet/codes.json.gz")?;
    Some(serde_json::from_slice(&gunzip(&path)).expect("codes"))
}

fn number(value: &Value) -> u64 {
    u64::try_from(wide(value)).expect("64 bits")
}

fn wide(value: &Value) -> U256 {
    serde_json::from_value(value.clone()).expect("a quantity")
}

fn hash(value: &Value) -> B256 {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

fn alloc(pre: &Value, codes: &Codes) -> (BTreeMap<Address, Alloc>, Codes) {
    let alloc: BTreeMap<Address, Alloc> = serde_json::from_value(pre.clone()).expect("pre-state");
    let needed = alloc.values().filter_map(|account| account.code_hash);
    let used = needed
        .filter_map(|hash| Some((hash, codes.get(&hash)?.clone())))
        .collect();
    (alloc, used)
}

/// The difference between `expected` and what the state holds, if any.
fn compare(memory: &Memory, expected: &Value) -> Result<usize, String> {
    let expected = expected.as_object().expect("accounts");
    for (address, account_expected) in expected {
        let address: Address = address.parse().expect("an address");
        let found = account(memory, &address).expect("never lost");
        if account_expected.is_null() {
            if let Some(found) = found {
                return Err(format!("{address} should not exist: {found:?}"));
            }
            continue;
        }
        let found = found.ok_or_else(|| format!("{address} should exist"))?;
        if found.balance != wide(&account_expected["balance"])
            || found.nonce != number(&account_expected["nonce"])
        {
            return Err(format!(
                "{address}: expected {account_expected}, found {found:?}"
            ));
        }
        if let Some(code) = account_expected.get("codeHash")
            && found.code_hash != hash(code)
        {
            return Err(format!("{address}: another code"));
        }
        for (slot, value) in account_expected["storage"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let slot: U256 = slot.parse().expect("a slot");
            let found = storage(memory, &address, slot).expect("never lost");
            if found != wide(value) {
                return Err(format!(
                    "{address} slot {slot}: expected {value}, found {found}"
                ));
            }
        }
    }
    Ok(expected.len())
}

#[test]
fn every_mainnet_block_replays_under_its_own_rules() {
    let (Some(folder), Some(codes)) = (data("mainnet/blocks"), codes()) else {
        return;
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("readable")
        .map(|e| e.expect("entry").path())
        .collect();
    paths.sort();
    let (mut blocks, mut transactions, mut roots, mut accounts) = (0, 0, 0, 0);
    let threads = [2, 3, 8].map(Threads::new);
    for path in &paths {
        let block: Value = serde_json::from_slice(&gunzip(path)).expect("json");
        let (count, has_root, compared) = replay(&block, &codes, &threads)
            .unwrap_or_else(|difference| panic!("{}: {difference}", path.display()));
        blocks += 1;
        transactions += count;
        roots += usize::from(has_root);
        accounts += compared;
    }
    println!(
        "{blocks} blocks, {transactions} transactions, {roots} receipts roots, {accounts} accounts compared"
    );
    assert_eq!((blocks, transactions), (58, 13_164));
    say_counts(&threads);
}

fn say_counts(threads: &[Arc<Threads>]) {
    for lent in threads {
        let (ahead, again) = lent.counts();
        println!(
            "{} threads: {ahead} executed ahead, {again} of them again",
            adapter::Spread::width(&**lent)
        );
        assert!(again < ahead, "some are taken over");
    }
}

/// Executes a batch once more, with each of these threads, and compares everything.
fn side_by_side(
    threads: &[Arc<Threads>],
    before: &Memory,
    units: &[Unit],
    outcomes: &[Outcome],
    after: &Memory,
) -> Result<(), String> {
    for lent in threads {
        let machine = adapter_ethereum::machine_spread(lent.clone());
        let mut memory = before.clone();
        let found = batch(&*machine, &mut memory, units);
        if let Some(place) = (0..outcomes.len()).find(|place| found[*place] != outcomes[*place]) {
            return Err(format!(
                "side by side transaction {place} comes to something else"
            ));
        }
        if memory.map != after.map {
            return Err("side by side the state is another".into());
        }
    }
    Ok(())
}

/// Executes a block, and executes it side by side, too.
fn replay(
    block: &Value,
    codes: &Codes,
    threads: &[Arc<Threads>],
) -> Result<(usize, bool, usize), String> {
    let header = &block["header"];
    let fork: Fork = serde_json::from_value(block["fork"].clone()).expect("a fork");
    let (alloc, codes) = alloc(&block["pre"], codes);
    let settings = Settings {
        rules: Rules {
            chain_id: number(&block["chainId"]),
            fork,
            gas_limit: number(&header["gasLimit"]),
            profile: Profile::Transparent,
            roots: Roots::Keyed,
            states_kept: 0,
            replay: Some(Replay {
                number: number(&header["number"]),
                timestamp: number(&header["timestamp"]),
                coinbase: serde_json::from_value(header["miner"].clone()).expect("an address"),
                base_fee_per_gas: header.get("baseFeePerGas").map_or(0, number),
                prev_randao: hash(&header["mixHash"]),
                difficulty: wide(&header["difficulty"]),
                excess_blob_gas: header.get("excessBlobGas").map_or(0, number),
                blob_base_fee_update_fraction: block
                    .get("blobBaseFeeUpdateFraction")
                    .map_or(0, number),
                parent_hash: hash(&header["parentHash"]),
                parent_beacon_block_root: hash(&header["parentBeaconBlockRoot"]),
                block_hashes: serde_json::from_value(block["blockHashes"].clone())
                    .unwrap_or_default(),
                system_calls: true,
            }),
        },
        timestamp: 0,
        alloc,
        codes,
    };
    let (machine, mut memory) = started(&settings.to_json());

    let given = block["transactions"].as_array().expect("transactions");
    let mut units = Vec::new();
    let mut types = Vec::new();
    for transaction in given {
        let raw: Bytes = serde_json::from_value(transaction["raw"].clone()).expect("hex");
        types.push(
            Transaction::admit(&raw.0, &settings.rules)
                .map_err(|e| e.to_string())?
                .envelope
                .tx_type(),
        );
        let unit = unit(&*machine, &memory, raw.0).map_err(|e| format!("{e}: {transaction}"))?;
        assert_eq!(B256::from(unit.id.0), hash(&transaction["hash"]));
        let sender: Address =
            serde_json::from_value(transaction["from"].clone()).expect("an address");
        assert_eq!(unit.established, sender.as_slice());
        units.push(unit);
    }
    let before = memory.clone();
    let outcomes = batch(&*machine, &mut memory, &units);
    side_by_side(threads, &before, &units, &outcomes, &memory)?;

    let expected = &block["expected"];
    let status = expected["status"].as_str().expect("text").as_bytes();
    let mut receipts = Vec::new();
    for (i, outcome) in outcomes.iter().enumerate() {
        let Outcome::Applied { receipt } = outcome else {
            return Err(format!("transaction {i}: {outcome:?}"));
        };
        let receipt = Receipt::decode(receipt).expect("well formed");
        let found = (
            receipt.success(),
            receipt.gas_used,
            receipt.logs.len() as u64,
        );
        let wanted = (
            status[i] == b'1',
            number(&expected["gasUsed"][i]),
            number(&expected["logs"][i]),
        );
        if found != wanted {
            return Err(format!(
                "transaction {i}: expected {wanted:?}, found {found:?} ({:?})",
                receipt.status
            ));
        }
        if let Some(created) = expected["contractAddress"].get(i.to_string()) {
            let created: Address = serde_json::from_value(created.clone()).expect("an address");
            if receipt.success() && receipt.created != Some(created) {
                return Err(format!(
                    "transaction {i}: created {:?}, expected {created}",
                    receipt.created
                ));
            }
        }
        receipts.push(receipt);
    }
    let total: u64 = receipts.iter().map(|receipt| receipt.gas_used).sum();
    if total != number(&header["gasUsed"]) {
        return Err(format!("gas used {total}, header {}", header["gasUsed"]));
    }
    let has_root = fork >= Fork::Byzantium;
    if has_root {
        let root = receipts_root(&receipts, &types);
        if root != hash(&header["receiptsRoot"]) {
            return Err(format!(
                "receipts root {root}, header {}",
                header["receiptsRoot"]
            ));
        }
    }
    Ok((
        outcomes.len(),
        has_root,
        compare(&memory, &expected["post"])?,
    ))
}

fn receipts_root(receipts: &[Receipt], types: &[TxType]) -> B256 {
    let mut total = 0;
    let envelopes: Vec<ReceiptEnvelope> = receipts
        .iter()
        .zip(types)
        .map(|(receipt, kind)| {
            total += receipt.gas_used;
            let plain = alloy_consensus::Receipt {
                status: Eip658Value::Eip658(receipt.success()),
                cumulative_gas_used: total,
                logs: receipt.logs.clone(),
            };
            let bloom = ReceiptWithBloom::from(plain);
            match kind {
                TxType::Legacy => ReceiptEnvelope::Legacy(bloom),
                TxType::Eip2930 => ReceiptEnvelope::Eip2930(bloom),
                TxType::Eip1559 => ReceiptEnvelope::Eip1559(bloom),
                TxType::Eip4844 => ReceiptEnvelope::Eip4844(bloom),
                TxType::Eip7702 => ReceiptEnvelope::Eip7702(bloom),
            }
        })
        .collect();
    ordered_trie_root_with_encoder(&envelopes, |envelope, out| envelope.encode_2718(out))
}

#[test]
fn the_2000_transactions_of_the_workload_give_the_known_results() {
    let (Some(path), Some(codes)) = (data("mainnet/workload-2000.json.gz"), codes()) else {
        return;
    };
    let workload: Value = serde_json::from_slice(&gunzip(&path)).expect("json");
    let (alloc, codes) = alloc(&workload["pre"], &codes);
    let env = &workload["env"];
    let settings = Settings {
        rules: Rules {
            chain_id: number(&workload["chainId"]),
            fork: Fork::Osaka,
            gas_limit: number(&env["gasLimit"]),
            profile: Profile::Transparent,
            roots: Roots::Keyed,
            states_kept: 0,
            replay: Some(Replay {
                number: number(&env["number"]),
                timestamp: number(&env["timestamp"]),
                coinbase: serde_json::from_value(env["coinbase"].clone()).expect("an address"),
                base_fee_per_gas: number(&env["baseFeePerGas"]),
                prev_randao: hash(&env["prevRandao"]),
                difficulty: U256::ZERO,
                excess_blob_gas: number(&env["excessBlobGas"]),
                blob_base_fee_update_fraction: 0,
                parent_hash: B256::ZERO,
                parent_beacon_block_root: B256::ZERO,
                block_hashes: BTreeMap::new(),
                system_calls: false,
            }),
        },
        timestamp: 0,
        alloc,
        codes,
    };
    let (machine, mut memory) = started(&settings.to_json());
    let expected = &workload["expected"]["Osaka"];
    let given = workload["transactions"].as_array().expect("transactions");
    let status = expected["status"].as_str().expect("text").as_bytes();
    let (mut succeeded, mut total) = (0, 0);
    let threads = [2, 8].map(Threads::new);
    for (b, chunk) in given.chunks(100).enumerate() {
        let units: Vec<_> = chunk
            .iter()
            .map(|transaction| {
                let raw = transaction.get("raw").unwrap_or(transaction);
                let raw: Bytes = serde_json::from_value(raw.clone()).expect("hex");
                unit(&*machine, &memory, raw.0).expect("admitted")
            })
            .collect();
        let before = memory.clone();
        let outcomes = batch(&*machine, &mut memory, &units);
        side_by_side(&threads, &before, &units, &outcomes, &memory).expect("the same");
        for (i, outcome) in outcomes.into_iter().enumerate() {
            let i = b * 100 + i;
            let Outcome::Applied { receipt } = outcome else {
                panic!("transaction {i}: {outcome:?}")
            };
            let receipt = Receipt::decode(&receipt).expect("well formed");
            assert_eq!(receipt.success(), status[i] == b'1', "status of {i}");
            assert_eq!(
                receipt.gas_used,
                number(&expected["gasUsed"][i]),
                "gas of {i}"
            );
            assert_eq!(
                receipt.logs.len() as u64,
                number(&expected["logs"][i]),
                "logs of {i}"
            );
            succeeded += u64::from(receipt.success());
            total += receipt.gas_used;
        }
    }
    let compared = compare(&memory, &workload["postOsaka"]).expect("the known post-state");
    println!(
        "{} transactions, {succeeded} succeeded, {total} gas, {compared} accounts compared",
        given.len()
    );
    assert_eq!(succeeded, number(&expected["succeeded"]));
    assert_eq!(total, number(&expected["totalGasUsed"]));
    say_counts(&threads);
}
