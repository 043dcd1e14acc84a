//! `eth_createAccessList`: the accounts and slots that a transaction would touch.

use std::collections::BTreeSet;

use adapter::View;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256};
use revm::context::TxEnv;
use revm::primitives::TxKind;
use serde_json::{Value, json};

use super::super::Session;
use super::super::envelope::Stop;
use super::super::json::{lower, quantity};
use super::super::params::CallRequest;
use super::{environment, executor, failure};
use crate::settings::Rules;
use crate::system::is_system;

/// A list changes what is cheap, which can change what is touched: so often it is tried again.
const ROUNDS_MAX: usize = 8;

/// The list, the gas that the transaction uses with it, and why it fails, if it does.
pub(crate) fn access_list(
    view: &dyn View,
    session: &Session,
    rules: &Rules,
    mut request: CallRequest,
) -> Result<Value, Stop> {
    let cap = rules.transaction_gas_max();
    let gas = request.gas.map_or(cap, |gas| gas.0.min(cap));
    let given = request.access_list.clone().unwrap_or_default();
    let transaction = environment(&mut request, rules, gas)?;
    let mut executor = executor(view, &session.shared.machine, rules)?;
    executor.touched = Some(Default::default());
    let free = warm(&transaction);
    let mut list = given;
    for round in 1.. {
        let attempt = TxEnv {
            tx_type: transaction.tx_type.max(1),
            access_list: list.clone(),
            ..transaction.clone()
        };
        let result = session.meter.run(&mut executor, attempt)?;
        let mut found = list.clone();
        let mut touched: Vec<_> = executor.touched.iter().flatten().collect();
        touched.sort_by_key(|(address, _)| **address);
        for (address, account) in touched {
            let slots: BTreeSet<B256> = account.storage.keys().map(|slot| (*slot).into()).collect();
            let is_free = free.contains(address)
                || executor.is_precompile(address)
                || result.created_address() == Some(*address);
            if (is_free && slots.is_empty()) || is_system(address) {
                continue;
            }
            add(&mut found, *address, slots);
        }
        if found == list || round == ROUNDS_MAX {
            let items: Vec<_> = list
                .iter()
                .map(|item| json!({"address": lower(&item.address), "storageKeys": item.storage_keys}))
                .collect();
            let mut answer = json!({
                "accessList": items,
                "gasUsed": quantity(result.tx_gas_used()),
            });
            if !result.is_success() {
                answer["error"] = failure(result).message.into();
            }
            return Ok(answer);
        }
        list = found;
    }
    unreachable!("the last round returns")
}

/// Accounts that cost nothing more in any case.
fn warm(transaction: &TxEnv) -> BTreeSet<Address> {
    let mut warm = BTreeSet::from([transaction.caller, Address::ZERO]);
    if let TxKind::Call(to) = transaction.kind {
        warm.insert(to);
    }
    warm
}

fn add(list: &mut AccessList, address: Address, slots: BTreeSet<B256>) {
    let known = list.0.iter_mut().find(|item| item.address == address);
    match known {
        Some(item) => {
            let before: BTreeSet<B256> = item.storage_keys.iter().copied().collect();
            item.storage_keys.extend(slots.difference(&before));
        }
        None => list.0.push(AccessListItem {
            address,
            storage_keys: slots.into_iter().collect(),
        }),
    }
}
