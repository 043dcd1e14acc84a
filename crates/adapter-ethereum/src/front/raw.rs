//! `debug_getRaw*`: headers, blocks, receipts and transactions as the bytes that are hashed.
//!
//! Only where everything is public: a block's bytes hold all of its transactions, and its receipts count
//! the gas of all. Elsewhere these methods are closed, as the others of `debug_` are.

use adapter::Context;
use alloy_eips::Encodable2718;
use alloy_primitives::B256;
use alloy_rlp::Encodable as _;
use serde_json::Value;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::{self as show, Included, bytes};
use super::lookup::{body, find, place};
use super::params::Params;
use crate::block::Stored;

/// True of the methods that [`answer`] answers.
pub(crate) fn is_raw(method: &str) -> bool {
    [
        "debug_getRawHeader",
        "debug_getRawBlock",
        "debug_getRawReceipts",
        "debug_getRawTransaction",
    ]
    .contains(&method)
}

/// Answers one of them. What is not there is an error: the specification's schemas have bytes, and no null.
pub(crate) fn answer(
    session: &Session,
    context: &mut dyn Context,
    method: &str,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    if method == "debug_getRawTransaction" {
        let hash = B256::try_from(params.hex(0)?.as_ref())
            .map_err(|_| RpcError::invalid_params("invalid argument 0: expected 32 bytes"))?;
        let raw = match place(session, context, &hash)? {
            Some((batch, _, position)) => session.look(context.view(), |sight| {
                show::included(&batch, position, sight).map(|i| bytes(&i.unit.raw))
            })?,
            None => None,
        };
        return raw.ok_or_else(|| RpcError::server("transaction not found").into());
    }
    let stored =
        find(context, params.required(0)?)?.ok_or_else(|| RpcError::server("block not found"))?;
    if method == "debug_getRawHeader" {
        return Ok(bytes(&alloy_rlp::encode(&stored.header)));
    }
    let batch = body(context, &stored)?;
    session.look(context.view(), |sight| {
        let units: Vec<Included<'_>> = batch
            .iter()
            .flat_map(|batch| show::all(batch, sight))
            .collect();
        if method == "debug_getRawBlock" {
            bytes(&block(&stored, &units))
        } else {
            receipts(&units)
        }
    })
}

fn list(payload: &[u8], out: &mut Vec<u8>) {
    let head = alloy_rlp::Header {
        list: true,
        payload_length: payload.len(),
    };
    head.encode(out);
    out.extend_from_slice(payload);
}

/// Header, transactions, no ommers, no withdrawals.
fn block(stored: &Stored, units: &[Included<'_>]) -> Vec<u8> {
    let mut transactions = Vec::new();
    for unit in units {
        unit.envelope.encode(&mut transactions);
    }
    let mut payload = alloy_rlp::encode(&stored.header);
    list(&transactions, &mut payload);
    list(&[], &mut payload);
    if stored.header.withdrawals_root.is_some() {
        list(&[], &mut payload);
    }
    let mut out = Vec::with_capacity(payload.len() + 9);
    list(&payload, &mut out);
    out
}

/// Each as the receipts trie of another client would hold it.
fn receipts(units: &[Included<'_>]) -> Value {
    let mut cumulative_gas_used = 0;
    units
        .iter()
        .map(|unit| {
            cumulative_gas_used += unit.receipt.gas_used;
            let typed = unit
                .receipt
                .envelope(unit.envelope.tx_type(), cumulative_gas_used);
            bytes(&typed.encoded_2718())
        })
        .collect()
}
