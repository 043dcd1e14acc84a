//! The methods that read.
//!
//! Only committed state is served: `latest`, `safe`, `finalized` and `pending` are one block. State
//! (balances, code, storage, calls) is kept at the head only; blocks, transactions, receipts and
//! logs of all heights come from the ledger.

use std::sync::Arc;

use adapter::{Batch, Context, Fate, NotYet};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde_json::{Value, json};
use types::{Height, UnitId};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::filters::{Interest, Name};
use super::json::{self as show, Detail, bytes, quantity, text};
use super::logs::{Options, Range, Search};
use super::params::{BlockId, CallRequest, Params, Quantity};
use super::simulate;
use crate::block::{self, Stored};
use crate::state;
use crate::transaction::Transaction;

/// Most blocks of one `eth_feeHistory`, as in geth.
const FEE_HISTORY_MAX: u64 = 1024;

/// What a method comes to.
pub(crate) enum Reply {
    /// JSON text.
    Text(String),
    /// Logs, found block by block; then the filter that asked has read up to its end.
    Search(Search, Option<(Name, u64)>),
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Answers one method.
pub(crate) fn answer(
    session: &Session,
    context: &mut dyn Context,
    method: &str,
    params: &Params<'_>,
) -> Result<Reply, Stop> {
    let view = context.view();
    let rules = session.shared.machine.rules(view)?;
    let sight = &session.sight;
    Ok(match method {
        "web3_clientVersion" => json!(concat!("coco/v", env!("CARGO_PKG_VERSION"))).into(),
        "web3_sha3" => text(keccak256(params.hex(0)?)).into(),
        "net_version" => json!(rules.chain_id.to_string()).into(),
        "net_listening" => json!(true).into(),
        "net_peerCount" => quantity(0u64).into(),
        "eth_chainId" => quantity(rules.chain_id).into(),
        "eth_syncing" => json!(false).into(),
        "eth_accounts" => json!([]).into(),
        "eth_blockNumber" => quantity(view.height().0).into(),
        // Nothing is charged, and nothing tells how busy the network is.
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" | "eth_baseFee" => quantity(0u64).into(),
        "eth_blobBaseFee" => quantity(1u64).into(),
        "eth_feeHistory" => fee_history(context, params)?.into(),

        "eth_getBlockByNumber" => {
            let id: BlockId = params.required(0)?;
            get_block(session, context, id, params)?.into()
        }
        "eth_getBlockByHash" => {
            let hash: B256 = params.required(0)?;
            get_block(session, context, BlockId::Hash(hash), params)?.into()
        }
        "eth_getHeaderByNumber" | "eth_getHeaderByHash" => {
            match find(context, params.required(0)?)? {
                Some(stored) => Value::Object(show::header(&stored)).into(),
                None => Value::Null.into(),
            }
        }
        "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
            match find(context, params.required(0)?)? {
                Some(stored) => {
                    let batch = body(context, &stored)?;
                    let count = batch.map_or(0, |batch| show::all(&batch, sight).count());
                    quantity(count).into()
                }
                None => Value::Null.into(),
            }
        }
        "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => {
            find(context, params.required(0)?)?
                .map_or(Value::Null, |_| quantity(0u64))
                .into()
        }
        "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => {
            Value::Null.into()
        }
        "eth_getBlockReceipts" => match find(context, params.required(0)?)? {
            Some(stored) => {
                let Some(batch) = body(context, &stored)? else {
                    return Ok(json!([]).into());
                };
                let mut first = 0;
                let mut receipts = Vec::new();
                for position in
                    0..u32::try_from(batch.units.len()).expect("a batch has at most 4096 units")
                {
                    if let Some(included) = show::included(&batch, position, sight) {
                        receipts.push(show::receipt(&included, &stored, first, sight));
                    }
                    let (_, receipt) = &batch.units[position as usize]; // just bounded by the length
                    first += crate::receipt::Receipt::decode(receipt)
                        .map_or(0, |receipt| receipt.logs.len());
                }
                Value::Array(receipts).into()
            }
            None => Value::Null.into(),
        },
        "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
            let index: Quantity = params.required(1)?;
            let Some(stored) = find(context, params.required(0)?)? else {
                return Ok(Value::Null.into());
            };
            let batch = body(context, &stored)?;
            let position = u32::try_from(index.0).unwrap_or(u32::MAX);
            let found = batch
                .as_ref()
                .and_then(|batch| show::included(batch, position, sight));
            found
                .map_or(Value::Null, |i| {
                    show::transaction(&i.envelope, &i.hash(), &i.sender, Some((&stored, position)))
                })
                .into()
        }
        "eth_getTransactionByHash" => {
            transaction_by_hash(session, context, params.required(0)?)?.into()
        }
        "eth_getRawTransactionByHash" => {
            let hash: B256 = params.required(0)?;
            let raw = match place(context, &hash)? {
                Some((batch, _, position)) => {
                    show::included(&batch, position, sight).map(|i| i.unit.raw.clone())
                }
                None => pending(session, context, &hash)?.map(|(raw, _)| raw),
            };
            raw.map_or(Value::Null, |raw| bytes(&raw)).into()
        }
        "eth_getTransactionReceipt" => {
            receipt_by_hash(session, context, &params.required(0)?)?.into()
        }

        "eth_getBalance" => {
            let address: Address = params.required(0)?;
            at_head(context, params.optional(1)?)?;
            let record =
                state::account(context.view(), &address)?.filter(|_| sight.account(&address));
            quantity(record.map_or(U256::ZERO, |record| record.balance)).into()
        }
        "eth_getTransactionCount" => {
            let address: Address = params.required(0)?;
            at_head(context, params.optional(1)?)?;
            let record =
                state::account(context.view(), &address)?.filter(|_| sight.account(&address));
            let committed = record.map_or(0, |record| record.nonce);
            let waiting = match params.optional::<String>(1) {
                Ok(Some(tag)) if tag == "pending" && sight.account(&address) => {
                    context.lane_next(address.as_slice()).unwrap_or(0)
                }
                _ => 0,
            };
            quantity(committed.max(waiting)).into()
        }
        "eth_getCode" => {
            let address: Address = params.required(0)?;
            at_head(context, params.optional(1)?)?;
            let code = if sight.account(&address) {
                state::code(context.view(), &address)?
            } else {
                Default::default()
            };
            bytes(&code).into()
        }
        "eth_getStorageAt" => {
            let address: Address = params.required(0)?;
            let slot: U256 = params.required(1)?;
            at_head(context, params.optional(2)?)?;
            let value = if sight.account(&address) {
                state::storage(context.view(), &address, slot)?
            } else {
                U256::ZERO
            };
            bytes(&value.to_be_bytes::<32>()).into()
        }
        "eth_call" => {
            let request: CallRequest = params.required(0)?;
            at_head(context, params.optional(1)?)?;
            no_overrides(params)?;
            let output: Bytes = simulate::call(
                context.view(),
                &session.shared.machine,
                &rules,
                &session.meter,
                request,
            )?;
            bytes(&output).into()
        }
        "eth_estimateGas" => {
            let request: CallRequest = params.required(0)?;
            at_head(context, params.optional(1)?)?;
            no_overrides(params)?;
            quantity(simulate::estimate(
                context.view(),
                &session.shared.machine,
                &rules,
                &session.meter,
                request,
            )?)
            .into()
        }

        "eth_getLogs" => {
            let (pattern, range) = params.required::<Options>(0)?.into_parts()?;
            match range.resolve(view)? {
                Some((first, last)) => Reply::Search(Search::new(pattern, first, last), None),
                None => json!([]).into(),
            }
        }
        "eth_newFilter" => {
            let (pattern, range) = params.required::<Options>(0)?.into_parts()?;
            install(session, context, Interest::Logs(pattern, range))?.into()
        }
        "eth_newBlockFilter" => install(session, context, Interest::Blocks)?.into(),
        "eth_newPendingTransactionFilter" => {
            install(session, context, Interest::Transactions)?.into()
        }
        "eth_uninstallFilter" => {
            let name = name(params)?;
            let now = context.now();
            json!(name.is_some_and(|name| session.interests().uninstall(
                &session.caller,
                now,
                &name
            )))
            .into()
        }
        "eth_getFilterLogs" => {
            let (_, filter, _) = filter(session, context, params)?;
            let Interest::Logs(pattern, range) = filter else {
                return Err(no_filter());
            };
            match range.resolve(context.view())? {
                Some((first, last)) => Reply::Search(Search::new(pattern, first, last), None),
                None => json!([]).into(),
            }
        }
        "eth_getFilterChanges" => filter_changes(session, context, params)?,
        "eth_subscribe" => subscribe(session, params)?.into(),
        "eth_unsubscribe" => {
            let Some(stream) = session.socket else {
                return Err(needs_socket());
            };
            let name = name(params)?;
            json!(name.is_some_and(|name| session.interests().unsubscribe(stream, &name))).into()
        }
        closed if is_closed(closed) => {
            return Err(RpcError::new(
                -32004,
                format!("{closed} is not available on this network"),
            )
            .into());
        }
        unknown => return Err(RpcError::no_method(unknown).into()),
    })
}

/// Methods that would show what the network's policy hides: closed for everybody.
fn is_closed(method: &str) -> bool {
    ["debug_", "trace_", "txpool_"]
        .iter()
        .any(|prefix| method.starts_with(prefix))
        || ["eth_getProof", "eth_simulateV1", "eth_createAccessList"].contains(&method)
}

fn find(context: &dyn Context, id: BlockId) -> Result<Option<Stored>, Stop> {
    let view = context.view();
    let number = match id {
        BlockId::Head => Some(view.height().0),
        BlockId::Number(number) => Some(number),
        BlockId::Hash(hash) => block::number_of(view, &hash)?,
    };
    Ok(match number {
        Some(number) => block::header(view, number)?,
        None => None,
    })
}

/// The transactions of a block; block 0 has none.
fn body(context: &mut dyn Context, stored: &Stored) -> Result<Option<Arc<Batch>>, NotYet> {
    match stored.header.number {
        0 => Ok(None),
        number => context.batch(Height(number)),
    }
}

/// State is kept at the head only.
fn at_head(context: &dyn Context, id: Option<BlockId>) -> Result<(), Stop> {
    let head = context.view().height().0;
    let number = match id {
        None | Some(BlockId::Head) => return Ok(()),
        Some(id) => find(context, id)?.map(|stored| stored.header.number),
    };
    match number {
        Some(number) if number == head => Ok(()),
        Some(number) => Err(RpcError::server(format!(
            "historical state of block {number} is not available: this network keeps the state of the latest block ({head})"
        ))
        .into()),
        None => Err(RpcError::server("header not found").into()),
    }
}

fn no_overrides(params: &Params<'_>) -> Result<(), RpcError> {
    for i in [2, 3] {
        if params
            .optional::<Value>(i)?
            .is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty()))
        {
            return Err(RpcError::invalid_params(
                "state and block overrides are not available on this network",
            ));
        }
    }
    Ok(())
}

fn get_block(
    session: &Session,
    context: &mut dyn Context,
    id: BlockId,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let detail = if params.optional(1)?.unwrap_or(false) {
        Detail::Full
    } else {
        Detail::Hashes
    };
    let Some(stored) = find(context, id)? else {
        return Ok(Value::Null);
    };
    let batch = body(context, &stored)?;
    Ok(show::block(
        &stored,
        batch.as_deref(),
        detail,
        &session.sight,
    ))
}

/// Where a committed transaction stands.
fn place(
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Option<(Arc<Batch>, Stored, u32)>, Stop> {
    let Fate::Committed { height, position } = context.fate(&UnitId(hash.0)) else {
        return Ok(None);
    };
    located(context, height, position)
}

fn located(
    context: &mut dyn Context,
    height: Height,
    position: u32,
) -> Result<Option<(Arc<Batch>, Stored, u32)>, Stop> {
    let stored = block::header(context.view(), height.0)?;
    let batch = context.batch(height)?;
    Ok(batch
        .zip(stored)
        .map(|(batch, stored)| (batch, stored, position)))
}

/// A transaction that waits on this node, if the caller may see it.
fn pending(
    session: &Session,
    context: &dyn Context,
    hash: &B256,
) -> Result<Option<(bytes::Bytes, Transaction)>, Stop> {
    let Some(raw) = context.pending(&UnitId(hash.0)) else {
        return Ok(None);
    };
    let rules = session.shared.machine.rules(context.view())?;
    let Ok(transaction) = Transaction::admit(&raw, &rules) else {
        return Ok(None);
    };
    let to = alloy_consensus::Transaction::to(&transaction.envelope);
    Ok(session
        .sight
        .transaction(&transaction.sender, to.as_ref())
        .then_some((raw, transaction)))
}

fn transaction_by_hash(
    session: &Session,
    context: &mut dyn Context,
    hash: B256,
) -> Result<Value, Stop> {
    if let Some((batch, stored, position)) = place(context, &hash)? {
        let found = show::included(&batch, position, &session.sight);
        return Ok(found.map_or(Value::Null, |i| {
            show::transaction(&i.envelope, &hash, &i.sender, Some((&stored, position)))
        }));
    }
    let waiting = pending(session, context, &hash)?;
    Ok(waiting.map_or(Value::Null, |(_, t)| {
        show::transaction(&t.envelope, &hash, &t.sender, None)
    }))
}

fn receipt_by_hash(
    session: &Session,
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Value, Stop> {
    match place(context, hash)? {
        Some((batch, stored, position)) => Ok(receipt_of(session, &batch, &stored, position)),
        None => Ok(Value::Null),
    }
}

fn receipt_of(session: &Session, batch: &Batch, stored: &Stored, position: u32) -> Value {
    show::included(batch, position, &session.sight).map_or(Value::Null, |included| {
        show::receipt(
            &included,
            stored,
            show::first_log(batch, position),
            &session.sight,
        )
    })
}

/// The receipt at a known place.
pub(crate) fn receipt_at(
    session: &Session,
    context: &mut dyn Context,
    height: Height,
    position: u32,
) -> Result<String, Stop> {
    match located(context, height, position)? {
        Some((batch, stored, position)) => {
            Ok(receipt_of(session, &batch, &stored, position).to_string())
        }
        None => Ok("null".into()),
    }
}

fn fee_history(context: &dyn Context, params: &Params<'_>) -> Result<Value, Stop> {
    let count = params.required::<Quantity>(0)?.0.min(FEE_HISTORY_MAX);
    let Some(newest) = find(context, params.required(1)?)? else {
        return Err(RpcError::server("request beyond head block").into());
    };
    let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
    if percentiles.len() > 100 || percentiles.iter().any(|p| !(0.0..=100.0).contains(p)) {
        return Err(RpcError::invalid_params("invalid reward percentile").into());
    }
    let newest = newest.header.number;
    let count = count.min(newest + 1);
    let n = usize::try_from(count).expect("at most 1024");
    let mut map = json!({
        "oldestBlock": quantity(newest + 1 - count),
        "baseFeePerGas": vec!["0x0"; n + 1],
        "gasUsedRatio": vec![0.0; n],
        "baseFeePerBlobGas": vec!["0x1"; n + 1],
        "blobGasUsedRatio": vec![0.0; n],
    });
    if !percentiles.is_empty() {
        map["reward"] = json!(vec![vec!["0x0"; percentiles.len()]; n]);
    }
    Ok(map)
}

fn install(session: &Session, context: &dyn Context, interest: Interest) -> Result<Value, Stop> {
    let next = context.view().height().0 + 1;
    let name = session
        .interests()
        .install(&session.caller, context.now(), interest, next)
        .map_err(|most| {
            RpcError::limit(format!(
                "too many filters: uninstall some, at most {} are kept",
                most.0
            ))
        })?;
    Ok(bytes(&name))
}

/// The name in the first argument; `None` if it cannot be one.
fn name(params: &Params<'_>) -> Result<Option<Name>, RpcError> {
    let text: String = params.required(0)?;
    let mut name = [0; 16];
    let read = text
        .strip_prefix("0x")
        .is_some_and(|digits| hex::decode_to_slice(digits, &mut name).is_ok());
    Ok(read.then_some(name))
}

fn no_filter() -> Stop {
    RpcError::server("filter not found").into()
}

/// The caller's filter: its name, what it reports, and the first block it has not reported.
fn filter(
    session: &Session,
    context: &dyn Context,
    params: &Params<'_>,
) -> Result<(Name, Interest, u64), Stop> {
    let name = name(params)?.ok_or_else(no_filter)?;
    let mut interests = session.interests();
    let filter = interests
        .filter(&session.caller, context.now(), &name)
        .ok_or_else(no_filter)?;
    Ok((name, filter.interest.clone(), filter.next))
}

fn filter_changes(
    session: &Session,
    context: &mut dyn Context,
    params: &Params<'_>,
) -> Result<Reply, Stop> {
    let (name, interest, next) = filter(session, context, params)?;
    let head = context.view().height().0;
    let mut found = Vec::new();
    match interest {
        Interest::Blocks => {
            for number in next..=head {
                found.extend(block::hash_at(context.view(), number)?.map(|hash| json!(hash)));
            }
        }
        Interest::Transactions => {
            for number in next..=head {
                if let Some(batch) = context.batch(Height(number))? {
                    found.extend(
                        show::all(&batch, &session.sight).map(|included| json!(included.hash())),
                    );
                }
            }
        }
        Interest::Logs(pattern, range) => {
            // The filter's own end still holds; its beginning is what was not read yet.
            let last = match range {
                Range::Blocks {
                    to: BlockId::Number(to),
                    ..
                } => head.min(to),
                Range::Blocks { .. } => head,
                Range::Hash(_) => 0,
            };
            if next <= last {
                return Ok(Reply::Search(
                    Search::new(pattern, next, last),
                    Some((name, head + 1)),
                ));
            }
        }
    }
    session.read_up_to(context.now(), &name, head + 1);
    Ok(Value::Array(found).into())
}

fn needs_socket() -> Stop {
    RpcError::new(-32601, "notifications not supported: connect by WebSocket").into()
}

fn subscribe(session: &Session, params: &Params<'_>) -> Result<Value, Stop> {
    let Some(stream) = session.socket else {
        return Err(needs_socket());
    };
    let kind: String = params.required(0)?;
    let interest = match kind.as_str() {
        "newHeads" => Interest::Blocks,
        "newPendingTransactions" => Interest::Transactions,
        "logs" => {
            let (pattern, range) = params
                .optional::<Options>(1)?
                .unwrap_or_default()
                .into_parts()?;
            Interest::Logs(pattern, range)
        }
        _ => {
            return Err(RpcError::new(
                -32601,
                "no such subscription: choose newHeads, logs or newPendingTransactions",
            )
            .into());
        }
    };
    let name = session
        .interests()
        .subscribe(stream, session.sight.clone(), interest)
        .map_err(|most| {
            RpcError::limit(format!(
                "too many subscriptions on this connection: at most {}",
                most.0
            ))
        })?;
    Ok(bytes(&name))
}
