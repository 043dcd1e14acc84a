//! Running committed transactions again.

use adapter::{Batch, Context};
use alloy_primitives::{Address, B256};
use revm::context::result::ExecutionResult;
use types::Height;

use super::show::Before;
use super::{Wanted, too_large};
use crate::block::Stored;
use crate::execute::{Environment, Executor, Refusal};
use crate::front::Session;
use crate::front::envelope::{RpcError, Stop};
use crate::front::lookup::Ground;
use crate::machine;
use crate::reading;
use crate::receipt::Receipt;
use crate::settings::Rules;
use crate::trace::Tracer;
use crate::transaction::Transaction;

/// Most gas of a block's transactions that are run again for one trace: a fraction of a second.
const REPLAYED_GAS_MAX: u64 = 200_000_000;

/// Most gas of the transactions that are traced: watching costs several times the running.
const TRACED_GAS_MAX: u64 = 100_000_000;

/// What one transaction came to, and what was seen of it.
pub(super) struct Replayed {
    pub(super) hash: B256,
    pub(super) position: u32,
    pub(super) gas_limit: u64,
    pub(super) result: ExecutionResult,
    pub(super) tracer: Option<Tracer>,
    pub(super) before: Before,
}

impl Replayed {
    /// Of what the executor has just run.
    pub(super) fn gather(
        executor: &mut Executor<'_>,
        hash: B256,
        position: u32,
        gas_limit: u64,
        result: ExecutionResult,
    ) -> Result<Self, Stop> {
        let tracer = executor.tracer.take();
        if tracer.as_ref().is_some_and(Tracer::is_full) {
            return Err(too_large());
        }
        let touched = executor.touched.take().unwrap_or_default();
        let before = Before::of(executor.overlay(), touched)?;
        Ok(Self {
            hash,
            position,
            gas_limit,
            result,
            tracer,
            before,
        })
    }
}

/// Runs the batch's transactions again, up to `only` or all, and traces that one or all.
pub(super) fn run(
    session: &Session,
    context: &mut dyn Context,
    rules: &Rules,
    batch: &Batch,
    stored: &Stored,
    only: Option<u32>,
    wanted: Wanted,
) -> Result<Vec<Replayed>, Stop> {
    let below = batch.height.previous();
    let ground = match Ground::at(session, context.view(), below.0) {
        Ok(ground) => ground,
        Err(Stop::Error(error)) if error.code == -32000 => {
            return Err(explained(error, batch.height, rules).into());
        }
        Err(other) => return Err(other),
    };
    let last = only.map_or(batch.units.len(), |only| only as usize + 1); // widening
    let units = &batch.units[..last.min(batch.units.len())];
    let gas = |receipt| Receipt::decode(receipt).map_or(0, |receipt| receipt.gas_used);
    let used: u64 = units.iter().map(|(_, receipt)| gas(receipt)).sum();
    let traced = match (only, units.last()) {
        (Some(_), Some((_, receipt))) => gas(receipt),
        _ => used,
    };
    if used > REPLAYED_GAS_MAX || traced > TRACED_GAS_MAX {
        return Err(RpcError::limit(format!(
            "this trace runs {used} gas again and follows {traced} of it: at most {REPLAYED_GAS_MAX} and {TRACED_GAS_MAX} may be asked for"
        ))
        .into());
    }
    session.meter.may_go_on()?;
    session.dear(context.now(), rules, || {
        session.meter.count(used);
        let environment = Environment::of_env(ground.view(), &batch.env, rules)?;
        let codes = session.shared.machine.codes();
        let mut executor = Executor::new(ground.view(), codes, rules, environment);
        if rules
            .replay
            .as_ref()
            .is_some_and(|replay| replay.system_calls)
        {
            machine::open_block(&mut executor, rules, &stored.header)?;
        }
        let mut all = Vec::new();
        let mut bytes = 0;
        for (position, (unit, receipt)) in (0u32..).zip(units) {
            if rules.access().is_some() && reading::is_one(unit) {
                continue;
            }
            let traces = only.is_none_or(|only| only == position);
            executor.tracer = if traces { wanted.tracer() } else { None };
            executor.touched = traces.then(Default::default);
            let sender = Address::try_from(unit.established.as_ref()).map_err(|_| differs())?;
            let transaction = Transaction::established(&unit.raw, sender, rules);
            let transaction = transaction.map_err(|_| differs())?;
            let gas_limit = transaction.env.gas_limit;
            let (env, hash) = (transaction.env, &transaction.hash);
            let result = match executor.run(env, hash, unit.caller, &unit.answers) {
                Ok(result) => result,
                Err(Refusal::Lost(lost)) => return Err(lost.into()),
                Err(Refusal::Rejected(_) | Refusal::Suspended(_)) => return Err(differs()),
            };
            if executor.tracer.as_ref().is_some_and(Tracer::is_full) {
                return Err(too_large());
            }
            if Receipt::of(result.clone()).encode() != *receipt {
                return Err(differs());
            }
            if traces {
                let hash = transaction.hash;
                let replayed = Replayed::gather(&mut executor, hash, position, gas_limit, result)?;
                bytes += replayed.bytes();
                if bytes > crate::trace::TRACE_BYTES_MAX {
                    return Err(too_large());
                }
                all.push(replayed);
            }
        }
        Ok(all)
    })
}

impl Replayed {
    /// About how long it is as JSON.
    fn bytes(&self) -> usize {
        self.before.bytes() + self.tracer.as_ref().map_or(0, Tracer::bytes)
    }
}

/// The receipt on the ledger says otherwise.
fn differs() -> Stop {
    RpcError::server(
        "this transaction cannot be run again to the same result here: what it was told from outside is not in the state",
    )
    .into()
}

fn explained(error: RpcError, height: Height, rules: &Rules) -> RpcError {
    let n = rules.states_kept;
    let text = format!(
        "the state before block {height} is not kept: traces of committed transactions need it, and this network keeps those of the last {n} blocks (statesKept)",
        height = height.0
    );
    RpcError {
        message: text,
        ..error
    }
}
