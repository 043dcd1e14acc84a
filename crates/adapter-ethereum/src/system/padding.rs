//! PAD_GAS: gas that does not tell which way a transaction went.
//!
//! `padTo(step)` has the gas of the whole transaction shown rounded up to a multiple of `step`, and at
//! most to the transaction's limit; fees are not charged, so nobody pays for it. It holds whatever
//! happens afterwards, a revert included: a contract calls it first. With a step above anything that
//! the contract ever needs, its receipts and estimates all show the same number.

use alloy_primitives::Bytes;
use revm::context::result::ExecutionResult;
use revm::context::{ContextTr, Transaction};

use super::abi::Words;
use super::{Call, Refused, UNKNOWN};

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    // padTo(uint64)
    if selector != [0x8f, 0x45, 0x21, 0x6b] {
        return Err(UNKNOWN);
    }
    call.pay(50)?;
    let step = arguments.number()?;
    // Whether the limit is below the step must not depend on the way that is taken.
    if step > call.context.tx().gas_limit() {
        return Err("the transaction's gas limit is below the step".into());
    }
    call.turn.pad = call.turn.pad.max(step);
    Ok(Bytes::new())
}

/// Rounds the gas of a result up to a multiple of `step`.
pub(crate) fn pad(result: &mut ExecutionResult, step: u64, gas_limit: u64) {
    if step == 0 {
        return;
    }
    let (ExecutionResult::Success { gas, .. }
    | ExecutionResult::Revert { gas, .. }
    | ExecutionResult::Halt { gas, .. }) = result;
    let used = gas.total_gas_spent().max(gas.floor_gas());
    let padded = used.div_ceil(step).saturating_mul(step).min(gas_limit);
    gas.set_floor_gas(padded.max(used));
}
