//! The methods that read.
//!
//! Only committed state is served: `latest`, `safe`, `finalized` and `pending` are one block. State
//! (balances, code, storage, calls) is kept at the head only; blocks, transactions, receipts and
//! logs of all heights come from the ledger.

use adapter::Context;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde_json::{Value, json};
use types::Height;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::filters::{Interest, Name};
use super::json::{self as show, Detail, bytes, quantity, text};
use super::logs::{Options, Search};
use super::lookup::{
    Ground, body, find, number, pending, place, receipt_by_hash, state_number, transaction_by_hash,
};
use super::params::{BlockId, CallRequest, Params, Quantity, Slot};
use super::simulate::{self, Supposed};
use super::watch::{filter, filter_changes, install, name, needs_socket, no_filter, subscribe};
use crate::principal::Roles;
use crate::{reading, state};

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
    Ok(match method {
        "web3_clientVersion" => json!(concat!("coco/v", env!("CARGO_PKG_VERSION"))).into(),
        "web3_sha3" => text(keccak256(params.hex(0)?)).into(),
        "net_version" => json!(rules.chain_id.to_string()).into(),
        "net_listening" => json!(true).into(),
        "net_peerCount" => quantity(0u64).into(),
        "eth_chainId" => quantity(rules.chain_id).into(),
        "eth_syncing" => json!(false).into(),
        "eth_accounts" => json!(session.principal.accounts).into(),
        "coco_principal" => super::asked::principal(session).into(),
        "coco_readings" => readings(session, context, params)?.into(),
        "eth_blockNumber" => quantity(view.height().0).into(),
        // Nothing is charged, and nothing tells how busy the network is.
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" | "eth_baseFee" => quantity(0u64).into(),
        "eth_blobBaseFee" => quantity(1u64).into(),
        "eth_config" => super::config::config(view, &rules)?.into(),
        "eth_capabilities" => super::config::capabilities(context)?.into(),
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
                    let count = session.look(context.view(), |sight| {
                        batch.map_or(0, |batch| show::all(&batch, sight).count())
                    })?;
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
                let receipts = session.look(context.view(), |sight| {
                    let mut first = 0;
                    let mut receipts = Vec::new();
                    for (position, (_, receipt)) in (0u32..).zip(&batch.units) {
                        if let Some(included) = show::included(&batch, position, sight) {
                            receipts.push(show::receipt(&included, &stored, || first, sight));
                        }
                        first += crate::receipt::Receipt::decode(receipt)
                            .map_or(0, |receipt| receipt.logs.len());
                    }
                    receipts
                })?;
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
            session
                .look(context.view(), |sight| {
                    let found = batch
                        .as_ref()
                        .and_then(|batch| show::included(batch, position, sight));
                    found.map_or(Value::Null, |i| {
                        let place = Some((&stored, position));
                        show::transaction(&i.envelope, &i.hash(), &i.sender, place)
                    })
                })?
                .into()
        }
        "eth_getTransactionByHash" => {
            transaction_by_hash(session, context, params.required(0)?)?.into()
        }
        "eth_getRawTransactionByHash" => {
            let hash: B256 = params.required(0)?;
            let raw = match place(session, context, &hash)? {
                Some((batch, _, position)) => session.look(context.view(), |sight| {
                    show::included(&batch, position, sight).map(|i| i.unit.raw.clone())
                })?,
                None => pending(session, context, &hash)?.map(|(raw, _)| raw),
            };
            raw.map_or(Value::Null, |raw| bytes(&raw)).into()
        }
        "eth_getTransactionReceipt" => {
            receipt_by_hash(session, context, &params.required(0)?)?.into()
        }
        "coco_getReceipt" => super::proof::receipt(session, context, &params.required(0)?)?.into(),

        "eth_getBalance" => {
            let address: Address = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let seen = session.look(context.view(), |sight| sight.account(&address))?;
            let record = state::account(ground.view(), &address)?.filter(|_| seen);
            quantity(record.map_or(U256::ZERO, |record| record.balance)).into()
        }
        "eth_getTransactionCount" => {
            let address: Address = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let seen = session.look(context.view(), |sight| sight.account(&address))?;
            let record = state::account(ground.view(), &address)?.filter(|_| seen);
            let committed = record.map_or(0, |record| record.nonce);
            let waiting = match params.optional::<String>(1) {
                Ok(Some(tag)) if tag == "pending" && seen => {
                    context.lane_next(address.as_slice()).unwrap_or(0)
                }
                _ => 0,
            };
            quantity(committed.max(waiting)).into()
        }
        "eth_getCode" => {
            let address: Address = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let seen = session.look(context.view(), |sight| sight.code(&address))?;
            let code = if seen {
                state::code(ground.view(), &address)?
            } else {
                Default::default()
            };
            bytes(&code).into()
        }
        "eth_getStorageAt" => {
            let address: Address = params.required(0)?;
            let Slot(slot) = params.required(1)?;
            let number = state_number(context, params.optional(2)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let seen = session.look(context.view(), |sight| sight.slot(&address, slot))?;
            let value = if seen {
                state::storage(ground.view(), &address, slot)?
            } else {
                U256::ZERO
            };
            bytes(&value.to_be_bytes::<32>()).into()
        }
        "eth_getStorageValues" => super::slots::values(session, context, params)?.into(),
        "eth_call" => {
            let request: CallRequest = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let supposed = Supposed::of(params, 2, &rules)?;
            let output: Bytes = session.simulated(context.now(), &rules, || {
                simulate::call(ground.view(), session, &rules, request, supposed)
            })?;
            bytes(&output).into()
        }
        "eth_estimateGas" => {
            let request: CallRequest = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            let supposed = Supposed::of(params, 2, &rules)?;
            let gas = session.simulated(context.now(), &rules, || {
                simulate::estimate(ground.view(), session, &rules, request, supposed)
            })?;
            quantity(gas).into()
        }

        "eth_getLogs" => {
            let (pattern, range) = params.required::<Options>(0)?.into_parts()?;
            match range.resolve(context)? {
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
                &session.principal,
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
            match range.resolve(context)? {
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
        open if super::open::is_known(open) => {
            super::open::answer(session, context, &rules, open, params)?.into()
        }
        unknown => return Err(RpcError::no_method(unknown).into()),
    })
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
    session.look(context.view(), |sight| {
        show::block(&stored, batch.as_deref(), detail, sight)
    })
}

/// Most blocks of one `coco_readings`.
const READINGS_BLOCKS_MAX: u64 = 256;

/// What auditors read, in the blocks of a range: for the members of the network and the auditors.
fn readings(
    session: &Session,
    context: &mut dyn Context,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let roles = session.principal.roles;
    if !roles.has(Roles::MEMBER) && !roles.has(Roles::AUDITOR) {
        return Ok(json!([]));
    }
    let head = context.view().height().0;
    let mut ends = [0, head];
    for (i, end) in ends.iter_mut().enumerate() {
        if let Some(id) = params.optional(i)? {
            *end = number(context, id)?.unwrap_or(head).min(head);
        }
    }
    let [first, last] = ends;
    if last.saturating_sub(first) >= READINGS_BLOCKS_MAX {
        let text = format!("block range too large: at most {READINGS_BLOCKS_MAX} blocks");
        return Err(RpcError::limit(text).into());
    }
    let mut found = Vec::new();
    for height in first.max(1)..=last {
        let Some(batch) = context.batch(Height(height))? else {
            continue;
        };
        let units = batch.units.iter().map(|(unit, _)| unit);
        for unit in units.filter(|unit| reading::is_one(unit)) {
            found.push(json!({
                "blockNumber": quantity(height),
                "actor": B256::new(unit.caller.0),
                "calls": reading::text(&unit.raw),
            }));
        }
    }
    Ok(found.into())
}

fn fee_history(context: &mut dyn Context, params: &Params<'_>) -> Result<Value, Stop> {
    let count = params.required::<Quantity>(0)?.0.min(FEE_HISTORY_MAX);
    let head = context.view().height().0;
    let newest = number(context, params.required(1)?)?.filter(|newest| *newest <= head);
    let Some(newest) = newest else {
        return Err(RpcError::server("request beyond head block").into());
    };
    let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
    if percentiles.len() > 100 || percentiles.iter().any(|p| !(0.0..=100.0).contains(p)) {
        return Err(RpcError::invalid_params("invalid reward percentile").into());
    }
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
