//! Calls that change nothing: `eth_call` and `eth_estimateGas`.
//!
//! They run on the committed head as if in its block. Nothing random of a batch is shown to them.

mod blocks;
mod calls;
mod failed;
mod overrides;
mod touched;

use std::cell::Cell;

use adapter::{Lost, View};
use alloy_primitives::Bytes;
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, HaltReason, Output};
use revm::context_interface::either::Either;
use revm::primitives::TxKind;

use types::ActorId;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::params::CallRequest;
use crate::block;
use crate::execute::{Environment, Executor, Refusal, Sender};
use crate::machine::Ethereum;
use crate::settings::Rules;
use crate::transaction::recovered;
use crate::visibility::Leak;
pub(crate) use blocks::{Simulation, simulate as simulate_blocks};
pub(crate) use failed::{failure, halted, reason, reverted};
pub(crate) use overrides::{BlockOverrides, StateOverrides, Supposed};
pub(crate) use touched::access_list;

/// Gas that a message with value brings along for free (Yellow Paper, G_callstipend).
const CALL_STIPEND: u64 = 2300;

/// An estimate may be this much above the least gas that works, in thousandths, as in geth.
const ESTIMATE_EXCESS_PERMILLE: u64 = 15;

/// Gas that the simulations of one request may use together: about a second of the worker's core,
/// which other clients wait for.
const REQUEST_GAS_MAX: u64 = 1_000_000_000;

/// Gas after which a request lets others run.
const TURN_GAS: u64 = 30_000_000;

/// What the simulations of one request have used.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Who asks.
    actor: ActorId,
    request: Cell<u64>,
    turn: Cell<u64>,
}

impl Meter {
    pub(crate) fn of(actor: ActorId) -> Self {
        Self {
            actor,
            request: Cell::default(),
            turn: Cell::default(),
        }
    }

    /// An error if this request has simulated enough.
    pub(crate) fn may_go_on(&self) -> Result<(), RpcError> {
        if self.request.get() > REQUEST_GAS_MAX {
            return Err(RpcError::limit(format!(
                "this request simulated more than {REQUEST_GAS_MAX} gas: split it"
            )));
        }
        Ok(())
    }

    pub(crate) fn run(
        &self,
        executor: &mut Executor<'_>,
        transaction: TxEnv,
    ) -> Result<ExecutionResult, Stop> {
        self.may_go_on()?;
        let result = executor
            .simulate(transaction, self.actor)
            .map_err(refused)?;
        let gas = result.gas().total_gas_spent();
        self.request.set(self.request.get() + gas);
        self.turn.set(self.turn.get() + gas);
        Ok(result)
    }

    /// Counts gas that was used otherwise.
    pub(crate) fn count(&self, gas: u64) {
        self.request.set(self.request.get().saturating_add(gas));
        self.turn.set(self.turn.get().saturating_add(gas));
    }

    /// Gas that was simulated for this request.
    pub(crate) fn used(&self) -> u64 {
        self.request.get()
    }

    /// True once in a while: others wait.
    pub(crate) fn turn_is_over(&self) -> bool {
        let over = self.turn.get() > TURN_GAS;
        if over {
            self.turn.set(0);
        }
        over
    }
}

pub(crate) fn executor<'a>(
    view: &'a dyn View,
    machine: &'a Ethereum,
    rules: &'a Rules,
) -> Result<Executor<'a>, Lost> {
    let timestamp = block::header(view, view.height().0)?.map_or(0, |head| head.header.timestamp);
    let environment = Environment::of_call(view, rules, timestamp);
    Ok(Executor::configured(
        view,
        machine.codes(),
        rules,
        environment,
        |cfg| {
            cfg.disable_nonce_check = true;
            cfg.disable_eip3607 = true;
            cfg.disable_base_fee = true;
            // A call is bounded by the network's gas limit, not by that of one transaction.
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        },
    ))
}

/// On a confidential network a simulation sees what the account that it runs for sees: `from` is an
/// account of the session, or nobody, and creating needs the right to create. What is refused here
/// depends on nothing but the request and who asks.
fn on_behalf(
    session: &Session,
    rules: &Rules,
    request: &mut CallRequest,
) -> Result<Option<Sender>, RpcError> {
    let principal = &session.principal;
    let Some(access) = rules.access().filter(|_| !principal.audits()) else {
        return Ok(None);
    };
    if request.to.is_none() && session.shared.leak.is(Leak::CallWithoutTo) {
        return Ok(None);
    }
    // Some clients send zeros for nobody.
    let named = request.from.filter(|from| !from.is_zero());
    let from = match named {
        Some(from) if !principal.owns(&from) => {
            return Err(RpcError::invalid_params(
                "from must be an account of this session: sign in with it, or leave from out",
            ));
        }
        Some(from) => from,
        None => principal.accounts.first().copied().unwrap_or_default(),
    };
    if request.to.is_none() && !access.may_deploy(&principal.actor) {
        return Err(RpcError::new(
            -32003,
            "you may not create contracts: name a contract in to",
        ));
    }
    request.from = Some(from);
    Ok(Some(Sender {
        account: from,
        actor: principal.actor,
    }))
}

pub(crate) fn environment(
    request: &mut CallRequest,
    rules: &Rules,
    gas_limit: u64,
) -> Result<TxEnv, RpcError> {
    let data = request.take_input()?;
    if let Some(id) = request.chain_id
        && id.0 != rules.chain_id
    {
        return Err(RpcError::invalid_params(format!(
            "chainId does not match: want {}",
            rules.chain_id
        )));
    }
    let access_list = request.access_list.take();
    let authorizations = request.authorization_list.take();
    Ok(TxEnv {
        tx_type: match (&authorizations, &access_list) {
            (Some(_), _) => 4,
            (None, Some(_)) => 1,
            (None, None) => 0,
        },
        caller: request.from.unwrap_or_default(),
        gas_limit,
        gas_price: 0,
        kind: request.to.map_or(TxKind::Create, TxKind::Call),
        value: request.value.unwrap_or_default(),
        data,
        nonce: request.nonce.map_or(0, |nonce| nonce.0),
        chain_id: Some(rules.chain_id),
        access_list: access_list.unwrap_or_default(),
        gas_priority_fee: authorizations.is_some().then_some(0),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: authorizations
            .unwrap_or_default()
            .iter()
            .map(|signed| Either::Right(recovered(signed)))
            .collect(),
    })
}

fn refused(refusal: Refusal) -> Stop {
    match refusal {
        Refusal::Lost(lost) => lost.into(),
        Refusal::Rejected(reject) => RpcError::rejected(&reject).into(),
        Refusal::Suspended(_) => unreachable!("EXTERNAL reverts in a simulation"),
    }
}

/// `eth_call`: what the call returns.
pub(crate) fn call(
    view: &dyn View,
    session: &Session,
    rules: &Rules,
    mut request: CallRequest,
    supposed: Supposed,
) -> Result<Bytes, Stop> {
    let sender = on_behalf(session, rules, &mut request)?;
    let gas = request
        .gas
        .map_or(rules.gas_limit, |gas| gas.0.min(rules.gas_limit));
    let transaction = environment(&mut request, rules, gas)?;
    let mut executor = executor(view, &session.shared.machine, rules)?;
    supposed.apply(&mut executor)?;
    if let Some(sender) = sender {
        executor.look(sender, &transaction)?;
    }
    match session.meter.run(&mut executor, transaction)? {
        ExecutionResult::Success {
            output: Output::Call(data) | Output::Create(data, _),
            ..
        } => Ok(data),
        failed => Err(failure(failed).into()),
    }
}

/// `eth_estimateGas`: a gas limit with which the transaction works, found by bisection.
pub(crate) fn estimate(
    view: &dyn View,
    session: &Session,
    rules: &Rules,
    mut request: CallRequest,
    supposed: Supposed,
) -> Result<u64, Stop> {
    let sender = on_behalf(session, rules, &mut request)?;
    let cap = rules.transaction_gas_max();
    let mut high = request.gas.map_or(cap, |gas| gas.0.min(cap));
    let may_be_plain = may_be_plain(&request);
    let transaction = environment(&mut request, rules, high)?;
    let mut executor = executor(view, &session.shared.machine, rules)?;
    supposed.apply(&mut executor)?;
    if let Some(sender) = sender {
        executor.look(sender, &transaction)?;
    }
    let is_plain = match transaction.kind {
        TxKind::Call(to) if may_be_plain => !executor.finds_code(to)?,
        _ => false,
    };
    let mut attempt = |gas_limit: u64| {
        let transaction = TxEnv {
            gas_limit,
            ..transaction.clone()
        };
        session.meter.run(&mut executor, transaction)
    };
    if is_plain && high >= 21_000 && attempt(21_000).is_ok_and(|result| result.is_success()) {
        return Ok(21_000);
    }
    let first = attempt(high)?;
    let gas = *first.gas();
    if !first.is_success() {
        return Err(match first {
            ExecutionResult::Halt {
                reason: HaltReason::OutOfGas(_),
                ..
            } => RpcError::server(format!("gas required exceeds allowance ({high})")),
            failed => failure(failed),
        }
        .into());
    }
    // What was used is too little if some was refunded, or held back from calls by EIP-150.
    let mut low = gas.tx_gas_used().saturating_sub(1);
    let guess = (gas.total_gas_spent().max(gas.floor_gas()) + CALL_STIPEND) * 64 / 63;
    // Below the intrinsic gas it is refused.
    let mut works = |gas_limit: u64| match attempt(gas_limit) {
        Err(Stop::Error(error)) if error.code == -32000 => Ok(false),
        other => other.map(|result| result.is_success()),
    };
    if guess < high {
        if works(guess)? {
            high = guess;
        } else {
            low = guess;
        }
    }
    while low + 1 < high && (high - low) * 1000 > high * ESTIMATE_EXCESS_PERMILLE {
        // Most transactions need little more than they use: look near the lower end first.
        let middle = (low + (high - low) / 2).min(low.saturating_mul(2));
        if works(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// To an account without code this costs exactly 21,000.
fn may_be_plain(request: &CallRequest) -> bool {
    request.peek_input().is_none_or(|data| data.is_empty())
        && request.access_list.is_none()
        && request.authorization_list.is_none()
}
