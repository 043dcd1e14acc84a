//! `txpool_*`: what waits on this node. Where everything is public only: elsewhere a waiting transaction is
//! its sender's alone.

use std::collections::BTreeMap;

use adapter::Context;
use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use serde_json::{Map, Value, json};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::{self as show, quantity};
use super::params::Params;
use crate::settings::Rules;
use crate::state;
use crate::transaction::Transaction;

/// Most transactions of one answer: each takes a signature's recovery and a kilobyte.
const LISTED_MAX: usize = 4096;

/// True of the methods that [`answer`] answers.
pub(crate) fn is_pool(method: &str) -> bool {
    [
        "txpool_status",
        "txpool_content",
        "txpool_contentFrom",
        "txpool_inspect",
    ]
    .contains(&method)
}

/// Transactions of each sender by nonce.
type Waiting = BTreeMap<Address, BTreeMap<u64, Transaction>>;

/// Answers one of them.
pub(crate) fn answer(
    _: &Session,
    context: &mut dyn Context,
    rules: &Rules,
    method: &str,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let sender: Option<Address> = match method {
        "txpool_contentFrom" => Some(params.required(0)?),
        _ => None,
    };
    let mut all = Waiting::new();
    for unit in context.waiting(LISTED_MAX) {
        let Ok(from) = Address::try_from(unit.established.as_ref()) else {
            continue;
        };
        if sender.is_some_and(|sender| sender != from) {
            continue;
        }
        if let Ok(transaction) = Transaction::established(&unit.raw, from, rules) {
            let nonce = transaction.envelope.nonce();
            all.entry(from).or_default().insert(nonce, transaction);
        }
    }
    let (mut pending, mut queued) = (Waiting::new(), Waiting::new());
    for (from, transactions) in all {
        let account = state::account(context.view(), &from)?;
        let mut next = account.map_or(0, |account| account.nonce);
        for (nonce, transaction) in transactions {
            // What was executed a moment ago and is not committed yet is still here.
            let runs = nonce <= next;
            next = if runs { nonce + 1 } else { next };
            let list = if runs { &mut pending } else { &mut queued };
            list.entry(from).or_default().insert(nonce, transaction);
        }
    }
    let count = |list: &Waiting| quantity(list.values().map(BTreeMap::len).sum::<usize>());
    Ok(match method {
        "txpool_status" => json!({"pending": count(&pending), "queued": count(&queued)}),
        "txpool_content" => {
            json!({"pending": listed(&pending, full), "queued": listed(&queued, full)})
        }
        "txpool_inspect" => {
            json!({"pending": listed(&pending, brief), "queued": listed(&queued, brief)})
        }
        "txpool_contentFrom" => {
            let own = |list: &Waiting| match list.values().next() {
                Some(transactions) => by_nonce(transactions, full),
                None => json!({}),
            };
            json!({"pending": own(&pending), "queued": own(&queued)})
        }
        unknown => return Err(RpcError::no_method(unknown).into()),
    })
}

fn listed(list: &Waiting, show: fn(&Transaction) -> Value) -> Value {
    let senders: Map<_, _> = list
        .iter()
        .map(|(from, transactions)| (from.to_string(), by_nonce(transactions, show)))
        .collect();
    Value::Object(senders)
}

fn by_nonce(transactions: &BTreeMap<u64, Transaction>, show: fn(&Transaction) -> Value) -> Value {
    let all: Map<_, _> = transactions
        .iter()
        .map(|(nonce, transaction)| (nonce.to_string(), show(transaction)))
        .collect();
    Value::Object(all)
}

fn full(transaction: &Transaction) -> Value {
    show::transaction(
        &transaction.envelope,
        &transaction.hash,
        &transaction.sender,
        None,
    )
}

fn brief(transaction: &Transaction) -> Value {
    let envelope = &transaction.envelope;
    let to = envelope
        .to()
        .map_or("contract creation".into(), |to| to.to_string());
    json!(format!(
        "{to}: {} wei + {} gas × {} wei",
        envelope.value(),
        envelope.gas_limit(),
        envelope.max_fee_per_gas()
    ))
}
