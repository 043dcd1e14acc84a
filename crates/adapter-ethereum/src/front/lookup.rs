//! Finding blocks and transactions.

use std::sync::Arc;

use adapter::{Batch, Context, Fate, Missing, View};
use alloy_primitives::B256;
use serde_json::Value;
use types::{Height, UnitId};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json as show;
use super::params::BlockId;
use crate::block::{self, Stored};
use crate::past::{Past, Unkept};
use crate::transaction::Transaction;

/// The block of this number: from the state if it is a recent one, else from the ledger.
pub(crate) fn header(context: &mut dyn Context, number: u64) -> Result<Option<Stored>, Stop> {
    if let Some(stored) = block::header(context.view(), number)? {
        return Ok(Some(stored));
    }
    let batch = context.batch(Height(number))?;
    Ok(batch.as_deref().and_then(block::of_claim))
}

/// The block of this hash.
fn of_hash(context: &mut dyn Context, hash: &B256) -> Result<Option<Stored>, Stop> {
    let number = context.named(&hash.0)?.map_or(0, |height| height.0);
    Ok(header(context, number)?.filter(|stored| stored.hash == *hash))
}

/// The block that is meant.
pub(crate) fn find(context: &mut dyn Context, id: BlockId) -> Result<Option<Stored>, Stop> {
    match id {
        BlockId::Head => {
            let head = context.view().height().0;
            header(context, head)
        }
        BlockId::Number(number) => header(context, number),
        BlockId::Hash(hash) => of_hash(context, &hash),
    }
}

/// The number of the block that is meant, committed or not.
pub(crate) fn number(context: &mut dyn Context, id: BlockId) -> Result<Option<u64>, Stop> {
    Ok(match id {
        BlockId::Head => Some(context.view().height().0),
        BlockId::Number(number) => Some(number),
        BlockId::Hash(hash) => of_hash(context, &hash)?.map(|stored| stored.header.number),
    })
}

/// The transactions of a block; block 0 has none.
pub(crate) fn body(
    context: &mut dyn Context,
    stored: &Stored,
) -> Result<Option<Arc<Batch>>, Missing> {
    match stored.header.number {
        0 => Ok(None),
        number => context.batch(Height(number)),
    }
}

/// The state that a request is about.
pub(crate) enum Ground<'c> {
    Head(&'c dyn View),
    Past(Past<'c>),
}

impl<'c> Ground<'c> {
    /// The state after the block of this number. Who does not see everything sees the head alone: what was
    /// once allowed must not be found in the past.
    pub(crate) fn at(session: &Session, view: &'c dyn View, number: u64) -> Result<Self, Stop> {
        let head = view.height().0;
        if number == head {
            return Ok(Self::Head(view));
        }
        if number > head {
            return Err(RpcError::server("header not found").into());
        }
        let rules = session.shared.machine.rules(view)?;
        let found = match session.is_open(view)? {
            true => Past::of(view, &rules, number)?,
            false => Err(Unkept::Gone),
        };
        match found {
            Ok(past) => {
                // Going back takes time, as a simulation does.
                session.meter.may_go_on()?;
                session.meter.count(past.cost as u64); // usize has at most 64 bits
                Ok(Self::Past(past))
            }
            Err(Unkept::Gone) => {
                let kept = match rules.states_kept {
                    0 => format!("the state of the latest block ({head})"),
                    n => format!("the states of the latest block ({head}) and of {n} before it"),
                };
                Err(RpcError::server(format!(
                    "historical state of block {number} is not available: this network keeps {kept}"
                ))
                .into())
            }
            Err(Unkept::TooMuch) => Err(RpcError::limit(format!(
                "too much has changed since block {number} to go back to it: ask for a later one"
            ))
            .into()),
        }
    }

    pub(crate) fn view(&self) -> &dyn View {
        match self {
            Self::Head(view) => *view,
            Self::Past(past) => past,
        }
    }
}

/// The number of the block whose state is meant: the head's unless another is named.
pub(crate) fn state_number(context: &mut dyn Context, id: Option<BlockId>) -> Result<u64, Stop> {
    let found = number(context, id.unwrap_or(BlockId::Head))?;
    found.ok_or_else(|| RpcError::server("header not found").into())
}

/// Where a committed transaction stands.
pub(crate) fn place(
    session: &Session,
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Option<(Arc<Batch>, Stored, u32)>, Stop> {
    let open = session.is_open(context.view())?;
    let (height, position) = match context.fate(&UnitId(hash.0)) {
        Ok(Fate::Committed { height, position }) => (height, position),
        Ok(_) => return Ok(None),
        // That it is somewhere must not be told before it is known who may know.
        Err(Missing::Elsewhere) if !open => return Ok(None),
        Err(missing) => return Err(missing.into()),
    };
    let found = match context.batch(height) {
        Err(Missing::Elsewhere) if !open => return Ok(None),
        _ => located(context, height, position)?,
    };
    // It was found by a part of its hash.
    Ok(found.filter(|(batch, _, position)| {
        let at = batch.units.get(*position as usize); // widening
        at.is_some_and(|(unit, _)| unit.id.0 == hash.0)
    }))
}

pub(crate) fn located(
    context: &mut dyn Context,
    height: Height,
    position: u32,
) -> Result<Option<(Arc<Batch>, Stored, u32)>, Stop> {
    let Some(batch) = context.batch(height)? else {
        return Ok(None);
    };
    let stored = block::of_claim(&batch);
    Ok(stored.map(|stored| (batch, stored, position)))
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
    // While it waits, it is its sender's alone.
    let mine = session.principal.owns(&transaction.sender);
    Ok((mine || session.is_open(context.view())?).then_some((raw, transaction)))
}

pub(crate) fn transaction_by_hash(
    session: &Session,
    context: &mut dyn Context,
    hash: B256,
) -> Result<Value, Stop> {
    if let Some((batch, stored, position)) = place(session, context, &hash)? {
        return session.look(context.view(), |sight| {
            show::included(&batch, position, sight).map_or(Value::Null, |i| {
                show::transaction(&i.envelope, &hash, &i.sender, Some((&stored, position)))
            })
        });
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
    match place(session, context, hash)? {
        Some((batch, stored, position)) => receipt_of(session, context, &batch, &stored, position),
        None => Ok(Value::Null),
    }
}

fn receipt_of(
    session: &Session,
    context: &dyn Context,
    batch: &Batch,
    stored: &Stored,
    position: u32,
) -> Result<Value, Stop> {
    session.look(context.view(), |sight| {
        show::included(batch, position, sight).map_or(Value::Null, |included| {
            let first = || show::first_log(batch, position);
            show::receipt(&included, stored, first, sight)
        })
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
            Ok(receipt_of(session, context, &batch, &stored, position)?.to_string())
        }
        None => Ok("null".into()),
    }
}
