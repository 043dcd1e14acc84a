//! Blocks, transactions, receipts and logs as JSON, field for field as `ethereum/execution-apis`.

use adapter::{Batch, Unit};
use alloy_consensus::{Header, Transaction as _};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, logs_bloom};
use alloy_rlp::Encodable as _;
use serde_json::{Map, Value, json};

use crate::block::Stored;
use crate::receipt::Receipt;
use crate::transaction::{Envelope, signature};
use crate::visibility::{Leak, Seen, Sight};

pub(crate) fn quantity(value: impl std::fmt::LowerHex) -> Value {
    Value::String(format!("{value:#x}"))
}

pub(crate) fn bytes(value: &[u8]) -> Value {
    Value::String(alloy_primitives::hex::encode_prefixed(value))
}

/// JSON text of 32 or 20 bytes.
pub(crate) fn text(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

/// A unit of a committed batch, decoded.
pub(crate) struct Included<'a> {
    pub(crate) unit: &'a Unit,
    pub(crate) envelope: Envelope,
    pub(crate) sender: Address,
    pub(crate) receipt: Receipt,
    /// Position in the block.
    pub(crate) position: u32,
    /// Number of the block.
    height: u64,
}

impl Included<'_> {
    pub(crate) fn hash(&self) -> B256 {
        B256::from(self.unit.id.0)
    }

    /// What its visibility depends on.
    fn seen(&self) -> Seen<'_> {
        let to = self.envelope.to();
        Seen {
            sender: &self.sender,
            concerns: to.or(self.receipt.created),
            input: if to.is_some() {
                self.envelope.input()
            } else {
                &[]
            },
            submitter: self.unit.caller,
            seqno: self.height,
        }
    }
}

/// The unit at `position`, whoever asks.
fn decoded(batch: &Batch, position: u32) -> Option<Included<'_>> {
    let (unit, receipt) = batch.units.get(usize::try_from(position).ok()?)?;
    Some(Included {
        unit,
        envelope: Envelope::decode_2718_exact(&unit.raw).ok()?,
        sender: Address::try_from(unit.established.as_ref()).ok()?,
        receipt: Receipt::decode(receipt)?,
        position,
        height: batch.height.0,
    })
}

/// The unit at `position`, if the principal may see it.
pub(crate) fn included<'a>(
    batch: &'a Batch,
    position: u32,
    sight: &Sight<'_>,
) -> Option<Included<'a>> {
    decoded(batch, position).filter(|unit| sight.is_open() || sight.transaction(&unit.seen()))
}

fn positions(batch: &Batch) -> std::ops::Range<u32> {
    0..u32::try_from(batch.units.len()).expect("a batch has at most 4096 units")
}

/// All units that the principal may see.
pub(crate) fn all<'a>(
    batch: &'a Batch,
    sight: &'a Sight<'_>,
) -> impl Iterator<Item = Included<'a>> {
    positions(batch).filter_map(move |position| included(batch, position, sight))
}

/// The principal's own units; on a transparent network all.
pub(crate) fn own<'a>(
    batch: &'a Batch,
    sight: &'a Sight<'_>,
) -> impl Iterator<Item = Included<'a>> {
    positions(batch)
        .filter_map(move |position| decoded(batch, position))
        .filter(|unit| sight.is_open() || sight.mine(&unit.seen()))
}

pub(crate) fn header(block: &Stored) -> Map<String, Value> {
    let Header {
        parent_hash,
        ommers_hash,
        beneficiary,
        state_root,
        transactions_root,
        receipts_root,
        logs_bloom,
        difficulty,
        number,
        gas_limit,
        gas_used,
        timestamp,
        extra_data,
        mix_hash,
        nonce,
        ..
    } = &block.header;
    let mut map = match json!({
        "number": quantity(*number),
        "hash": block.hash,
        "parentHash": parent_hash,
        "nonce": nonce,
        "mixHash": mix_hash,
        "sha3Uncles": ommers_hash,
        "logsBloom": logs_bloom,
        "transactionsRoot": transactions_root,
        "stateRoot": state_root,
        "receiptsRoot": receipts_root,
        "miner": lower(beneficiary),
        "difficulty": quantity(*difficulty),
        "extraData": extra_data,
        "gasLimit": quantity(*gas_limit),
        "gasUsed": quantity(*gas_used),
        "timestamp": quantity(*timestamp),
    }) {
        Value::Object(map) => map,
        _ => unreachable!("written as an object above"),
    };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.into(), value);
        }
    };
    let header = &block.header;
    put("baseFeePerGas", header.base_fee_per_gas.map(quantity));
    put(
        "withdrawalsRoot",
        header.withdrawals_root.map(|root| json!(root)),
    );
    put("blobGasUsed", header.blob_gas_used.map(quantity));
    put("excessBlobGas", header.excess_blob_gas.map(quantity));
    put(
        "parentBeaconBlockRoot",
        header.parent_beacon_block_root.map(|root| json!(root)),
    );
    put("requestsHash", header.requests_hash.map(|hash| json!(hash)));
    map
}

/// How much of a block's transactions is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Hashes,
    Full,
}

pub(crate) fn block(
    stored: &Stored,
    batch: Option<&Batch>,
    detail: Detail,
    sight: &Sight<'_>,
) -> Value {
    let mut map = header(stored);
    let mut listed = 0;
    let mut transactions = Vec::new();
    for included in batch.into_iter().flat_map(|batch| all(batch, sight)) {
        let raw = included.unit.raw.as_ref();
        // In a block's list a typed transaction is a string of bytes.
        listed += if included.envelope.is_legacy() {
            raw.len()
        } else {
            raw.length()
        };
        transactions.push(match detail {
            Detail::Hashes => json!(included.hash()),
            Detail::Full => transaction(
                &included.envelope,
                &included.hash(),
                &included.sender,
                Some((stored, included.position)),
            ),
        });
    }
    map.insert("size".into(), quantity(size(stored, listed)));
    map.insert("uncles".into(), json!([]));
    map.insert("transactions".into(), Value::Array(transactions));
    if stored.header.withdrawals_root.is_some() {
        map.insert("withdrawals".into(), json!([]));
    }
    Value::Object(map)
}

/// Length of the block's RLP with so many bytes of transactions, no ommers and no withdrawals.
pub(crate) fn size(stored: &Stored, transactions: usize) -> usize {
    let list = |payload_length| {
        let head = alloy_rlp::Header {
            list: true,
            payload_length,
        };
        head.length() + payload_length
    };
    let withdrawals = usize::from(stored.header.withdrawals_root.is_some());
    list(stored.header.length() + list(transactions) + 1 + withdrawals)
}

pub(crate) fn lower(address: &Address) -> Value {
    bytes(address.as_slice())
}

/// A transaction; without a place it waits to be committed.
pub(crate) fn transaction(
    envelope: &Envelope,
    hash: &B256,
    sender: &Address,
    place: Option<(&Stored, u32)>,
) -> Value {
    let kind = envelope.tx_type() as u8;
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.into(), value);
    put(
        "blockHash",
        place.map_or(Value::Null, |(block, _)| json!(block.hash)),
    );
    put(
        "blockNumber",
        place.map_or(Value::Null, |(block, _)| quantity(block.header.number)),
    );
    put(
        "blockTimestamp",
        place.map_or(Value::Null, |(block, _)| quantity(block.header.timestamp)),
    );
    put(
        "transactionIndex",
        place.map_or(Value::Null, |(_, position)| quantity(position)),
    );
    put("hash", json!(hash));
    put("type", quantity(kind));
    put("from", lower(sender));
    put("to", envelope.to().map_or(Value::Null, |to| lower(&to)));
    put("nonce", quantity(envelope.nonce()));
    put("gas", quantity(envelope.gas_limit()));
    put("value", quantity(envelope.value()));
    put("input", bytes(envelope.input()));
    // Nothing is charged, but the field says what the signer offered, as before inclusion elsewhere.
    put("gasPrice", quantity(envelope.max_fee_per_gas()));
    if let Some(tip) = envelope.max_priority_fee_per_gas() {
        put("maxFeePerGas", quantity(envelope.max_fee_per_gas()));
        put("maxPriorityFeePerGas", quantity(tip));
        put("gasPrice", quantity(0u64));
    }
    if let Some(id) = envelope.chain_id() {
        put("chainId", quantity(id));
    }
    if let Some(list) = envelope.access_list() {
        let items: Vec<_> = list
            .iter()
            .map(|item| json!({"address": lower(&item.address), "storageKeys": item.storage_keys}))
            .collect();
        put("accessList", Value::Array(items));
    }
    if let Some(list) = envelope.authorization_list() {
        let items: Vec<_> = list
            .iter()
            .map(|signed| {
                json!({
                    "chainId": quantity(*signed.chain_id()),
                    "address": lower(signed.address()),
                    "nonce": quantity(signed.nonce()),
                    "yParity": quantity(signed.y_parity()),
                    "r": quantity(signed.r()),
                    "s": quantity(signed.s()),
                })
            })
            .collect();
        put("authorizationList", Value::Array(items));
    }
    let signature = signature(envelope);
    let parity = u64::from(signature.v());
    if kind == 0 {
        let v = envelope.chain_id().map_or(27, |id| u128::from(id) * 2 + 35) + u128::from(parity);
        put("v", quantity(v));
    } else {
        put("v", quantity(parity));
        put("yParity", quantity(parity));
    }
    put("r", quantity(signature.r()));
    put("s", quantity(signature.s()));
    Value::Object(map)
}

/// Logs of the transactions before `position`: the index of its first one within the block.
pub(crate) fn first_log(batch: &Batch, position: u32) -> usize {
    batch
        .units
        .iter()
        .take(usize::try_from(position).unwrap_or(usize::MAX))
        .map(|(_, receipt)| Receipt::decode(receipt).map_or(0, |receipt| receipt.logs.len()))
        .sum()
}

/// A log and the number that it is shown with.
pub(crate) type Numbered<'a> = (usize, &'a Log);

/// The visible logs of a transaction. On a transparent network they are numbered through the block, on a
/// confidential one by the transaction's place and by what is visible of it: a number that counted
/// hidden logs would tell how many there are.
pub(crate) fn visible<'a>(
    logs: &'a [Log],
    seen: &Seen<'_>,
    position: u32,
    first_log: impl FnOnce() -> usize,
    sight: &Sight<'_>,
) -> Vec<Numbered<'a>> {
    if sight.is_open() {
        return (first_log()..).zip(logs).collect();
    }
    let shown = logs
        .iter()
        .enumerate()
        .filter(|(_, log)| sight.log(log, seen));
    if sight.leak.is(Leak::LogIndex) {
        let first = first_log();
        return shown.map(|(i, log)| (first + i, log)).collect();
    }
    // Gas bounds the logs of a transaction far below 2^16, and a batch has at most 4096 units.
    let first = (position as usize) << 16;
    shown
        .enumerate()
        .map(|(rank, (_, log))| (first + rank, log))
        .collect()
}

/// How many logs of a transaction are visible.
pub(crate) fn visible_logs(included: &Included<'_>, sight: &Sight<'_>) -> usize {
    let seen = included.seen();
    let logs = included.receipt.logs.iter();
    logs.filter(|log| sight.log(log, &seen)).count()
}

/// Cumulative gas equals the transaction's own, and the bloom holds the visible logs only: neither
/// tells of other parties' transactions.
pub(crate) fn receipt(
    included: &Included<'_>,
    block: &Stored,
    first_log: impl FnOnce() -> usize,
    sight: &Sight<'_>,
) -> Value {
    let receipt = &included.receipt;
    let envelope = &included.envelope;
    let created = envelope.to().is_none().then(|| {
        receipt
            .created
            .unwrap_or_else(|| included.sender.create(envelope.nonce()))
    });
    let position = included.position;
    let visible = visible(&receipt.logs, &included.seen(), position, first_log, sight);
    let bloom = if sight.leak.is(Leak::Bloom) {
        logs_bloom(&receipt.logs)
    } else {
        logs_bloom(visible.iter().map(|(_, log)| *log))
    };
    let logs: Vec<Value> = visible
        .iter()
        .map(|(index, entry)| log(entry, block, &included.hash(), position, *index))
        .collect();
    json!({
        "transactionHash": included.hash(),
        "transactionIndex": quantity(included.position),
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "from": lower(&included.sender),
        "to": envelope.to().map_or(Value::Null, |to| lower(&to)),
        "type": quantity(envelope.tx_type() as u8),
        "status": quantity(u8::from(receipt.success())),
        "gasUsed": quantity(receipt.gas_used),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "effectiveGasPrice": "0x0",
        "contractAddress": created.map_or(Value::Null, |address| lower(&address)),
        "logsBloom": bloom,
        "logs": logs,
    })
}

pub(crate) fn log(
    log: &Log,
    block: &Stored,
    transaction: &B256,
    position: u32,
    index: usize,
) -> Value {
    json!({
        "address": lower(&log.address),
        "topics": log.data.topics(),
        "data": Bytes::clone(&log.data.data),
        "blockNumber": quantity(block.header.number),
        "blockHash": block.hash,
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": transaction,
        "transactionIndex": quantity(position),
        "logIndex": quantity(index),
        "removed": false,
    })
}
