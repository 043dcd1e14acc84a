//! What a simulation supposes, as clients write it: other accounts, another block.
//!
//! On transparent networks only: on a confidential one other code at a hidden contract's place would read
//! its storage.

use std::collections::BTreeMap;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;

use super::super::envelope::{RpcError, Stop};
use super::super::params::{Params, Quantity, Slot};
use crate::execute::Executor;
use crate::settings::Rules;

/// Most accounts and slots of all overrides of one request.
const OVERRIDES_MAX: usize = 10_000;

/// Another account than there is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccountOverride {
    balance: Option<U256>,
    nonce: Option<Quantity>,
    code: Option<Bytes>,
    /// All slots.
    state: Option<BTreeMap<Slot, Slot>>,
    /// Slots beside the others.
    state_diff: Option<BTreeMap<Slot, Slot>>,
    move_precompile_to_address: Option<Address>,
}

/// Other accounts.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct StateOverrides(BTreeMap<Address, AccountOverride>);

/// Another block. Both spellings of the specification are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BlockOverrides {
    pub(crate) number: Option<Quantity>,
    pub(crate) time: Option<Quantity>,
    pub(crate) gas_limit: Option<Quantity>,
    #[serde(alias = "coinbase")]
    pub(crate) fee_recipient: Option<Address>,
    #[serde(alias = "random")]
    pub(crate) prev_randao: Option<B256>,
    #[serde(alias = "baseFee")]
    pub(crate) base_fee_per_gas: Option<Quantity>,
    pub(crate) blob_base_fee: Option<U256>,
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
}

impl StateOverrides {
    /// Counts accounts and slots of a request.
    pub(crate) fn count(&self, so_far: &mut usize) -> Result<(), RpcError> {
        for account in self.0.values() {
            let slots = [&account.state, &account.state_diff].into_iter().flatten();
            *so_far += 1 + slots.map(BTreeMap::len).sum::<usize>();
        }
        if *so_far > OVERRIDES_MAX {
            let text = format!("too many overrides: at most {OVERRIDES_MAX} accounts and slots");
            return Err(RpcError::limit(text));
        }
        Ok(())
    }

    /// Supposes all of it.
    pub(crate) fn apply(self, executor: &mut Executor<'_>) -> Result<(), Stop> {
        self.move_precompiles(executor)?;
        let overlay = executor.overlay();
        for (address, account) in self.0 {
            let AccountOverride {
                balance,
                nonce,
                code,
                state,
                state_diff,
                ..
            } = account;
            if balance.is_some() || nonce.is_some() {
                overlay.suppose(address, |info| {
                    info.balance = balance.unwrap_or(info.balance);
                    info.nonce = nonce.map_or(info.nonce, |nonce| nonce.0);
                })?;
            }
            if let Some(code) = code {
                overlay.suppose_code(address, code)?;
            }
            let plain = |slots: BTreeMap<Slot, Slot>| {
                slots.into_iter().map(|(slot, value)| (slot.0, value.0))
            };
            match (state, state_diff) {
                (Some(_), Some(_)) => {
                    let text = format!("account {address} has both 'state' and 'stateDiff'");
                    return Err(RpcError::invalid_params(text).into());
                }
                (Some(all), None) => overlay.suppose_storage(address, plain(all))?,
                (None, Some(some)) => overlay.suppose_slots(address, plain(some))?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn move_precompiles(&self, executor: &mut Executor<'_>) -> Result<(), RpcError> {
        let system = executor.system_contracts();
        let mut moved = BTreeMap::new();
        for (address, account) in &self.0 {
            let is_precompile = system.is_precompile(address);
            if let Some(to) = account.move_precompile_to_address {
                if !is_precompile {
                    let text = format!("account {address} is not a precompile");
                    return Err(RpcError::server(text));
                }
                if to == *address {
                    return Err(RpcError::new(
                        -38022,
                        format!("{address} is moved to itself"),
                    ));
                }
                if self.0.contains_key(&to) {
                    return Err(RpcError::server(format!(
                        "account {to} is already overridden"
                    )));
                }
                if moved.insert(to, Some(*address)).is_some() {
                    let text = format!("two precompiles are moved to {to}");
                    return Err(RpcError::new(-38023, text));
                }
            }
            if is_precompile {
                moved.insert(*address, None);
            }
        }
        system.moved = moved;
        Ok(())
    }
}

/// What is supposed besides, with an executor that supposes it.
#[derive(Debug, Default)]
pub(crate) struct Supposed {
    state: Option<StateOverrides>,
    block: Option<BlockOverrides>,
}

impl Supposed {
    /// The overrides at this place of the parameters and behind it: on a transparent network.
    pub(crate) fn of(params: &Params<'_>, i: usize, rules: &Rules) -> Result<Self, RpcError> {
        if rules.access().is_some() {
            for i in [i, i + 1] {
                let given = params.optional::<serde_json::Value>(i)?;
                if given.is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())) {
                    return Err(RpcError::invalid_params(
                        "state and block overrides are not available on this network",
                    ));
                }
            }
            return Ok(Self::default());
        }
        Self::new(params.optional(i)?, params.optional(i + 1)?)
    }

    pub(crate) fn new(
        state: Option<StateOverrides>,
        block: Option<BlockOverrides>,
    ) -> Result<Self, RpcError> {
        if let Some(state) = &state {
            state.count(&mut 0)?;
        }
        Ok(Self { state, block })
    }

    pub(crate) fn apply(self, executor: &mut Executor<'_>) -> Result<(), Stop> {
        if let Some(over) = self.block {
            let mut block = executor.block().clone();
            let set = |to: &mut U256, value: Option<Quantity>| {
                *to = value.map_or(*to, |value| U256::from(value.0));
            };
            set(&mut block.number, over.number);
            set(&mut block.timestamp, over.time);
            block.gas_limit = over.gas_limit.map_or(block.gas_limit, |gas| gas.0);
            block.beneficiary = over.fee_recipient.unwrap_or(block.beneficiary);
            block.prevrandao = over.prev_randao.or(block.prevrandao);
            block.basefee = over.base_fee_per_gas.map_or(block.basefee, |fee| fee.0);
            executor.enter_block(block);
        }
        match self.state {
            Some(state) => state.apply(executor),
            None => Ok(()),
        }
    }
}
