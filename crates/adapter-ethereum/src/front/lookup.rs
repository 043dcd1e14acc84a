//! Finding blocks and transactions.

use std::sync::Arc;

use adapter::{Batch, Context, Fate, NotYet};
use alloy_primitives::B256;
use serde_json::Value;
use types::{Height, UnitId};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json as show;
use super::params::BlockId;
use crate::block::{self, Stored};
use crate::transaction::Transaction;

pub(crate) fn find(context: &dyn Context, id: BlockId) -> Result<Option<Stored>, Stop> {
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
pub(crate) fn body(
    context: &mut dyn Context,
    stored: &Stored,
) -> Result<Option<Arc<Batch>>, NotYet> {
    match stored.header.number {
        0 => Ok(None),
        number => context.batch(Height(number)),
    }
}

/// State is kept at the head only.
pub(crate) fn at_head(context: &dyn Context, id: Option<BlockId>) -> Result<(), Stop> {
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

/// Where a committed transaction stands.
pub(crate) fn place(
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Option<(Arc<Batch>, Stored, u32)>, Stop> {
    let Fate::Committed { height, position } = context.fate(&UnitId(hash.0)) else {
        return Ok(None);
    };
    located(context, height, position)
}

pub(crate) fn located(
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
pub(crate) fn pending(
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

pub(crate) fn transaction_by_hash(
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

pub(crate) fn receipt_by_hash(
    session: &Session,
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Value, Stop> {
    match place(context, hash)? {
        Some((batch, stored, position)) => Ok(receipt_of(session, &batch, &stored, position)),
        None => Ok(Value::Null),
    }
}

pub(crate) fn receipt_of(
    session: &Session,
    batch: &Batch,
    stored: &Stored,
    position: u32,
) -> Value {
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
