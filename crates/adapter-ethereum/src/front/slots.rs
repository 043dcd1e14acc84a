//! `eth_getStorageValues`: slots of several accounts at once.

use std::collections::BTreeMap;

use adapter::Context;
use alloy_primitives::{Address, U256};
use serde_json::{Map, Value};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::{bytes, lower};
use super::lookup::{Ground, state_number};
use super::params::{Params, Slot};
use crate::state;

/// Most slots of one call, as in `ethereum/execution-apis`.
const SLOTS_MAX: usize = 1024;

/// The values, by account, in the order that was asked.
pub(crate) fn values(
    session: &Session,
    context: &mut dyn Context,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let asked: BTreeMap<Address, Vec<Slot>> = params.required(0)?;
    let count: usize = asked.values().map(Vec::len).sum();
    if count == 0 {
        return Err(RpcError::invalid_params("empty request").into());
    }
    if count > SLOTS_MAX {
        return Err(RpcError::invalid_params(format!(
            "too many slots: {count}, at most {SLOTS_MAX} in one call"
        ))
        .into());
    }
    let number = state_number(context, params.optional(1)?)?;
    let ground = Ground::at(session, context.view(), number)?;
    let mut answer = Map::new();
    for (address, slots) in asked {
        let mut values = Vec::with_capacity(slots.len());
        for Slot(slot) in slots {
            let seen = session.look(context.view(), |sight| sight.slot(&address, slot))?;
            let value = if seen {
                state::storage(ground.view(), &address, slot)?
            } else {
                U256::ZERO
            };
            values.push(bytes(&value.to_be_bytes::<32>()));
        }
        let Value::String(name) = lower(&address) else {
            unreachable!("addresses are written as text");
        };
        answer.insert(name, Value::Array(values));
    }
    Ok(Value::Object(answer))
}
