//! Executing a batch, by several threads if there are.
//!
//! The batch is cut into pieces, which are executed side by side, each on the state below the batch as if
//! nothing came before it. What the first piece comes to is what it is. The transactions of the others are
//! then gone through in order: whatever read nothing that those before it have changed is taken over, and
//! the rest is executed again ([`crate::execute::Ahead`]). So the batch comes to what it comes to in order.

use std::sync::OnceLock;

use adapter::{Exec, Lost, Outcome, Reject, Spread, Unit, View};
use alloy_primitives::{Address, B256};
use bytes::Bytes;
use revm::context::TxEnv;

use crate::codes::Codes;
use crate::execute::{Ahead, Environment, Executor, Refusal};
use crate::overlay::{Changes, Gathered};
use crate::reading;
use crate::receipt::{Receipt, Status};
use crate::settings::Rules;
use crate::transaction::Transaction;

/// Fewer units than these are not worth a piece of their own.
const PIECE_UNITS_MIN: usize = 8;

/// More pieces than threads even out what is slow; each costs an EVM, and knows less of the others.
const PIECES_PER_THREAD: usize = 2;

/// What executing needs besides units.
pub(crate) struct Ground<'a> {
    pub(crate) codes: &'a Codes,
    pub(crate) rules: &'a Rules,
    pub(crate) environment: Environment,
}

impl Ground<'_> {
    fn executor<'e>(&'e self, view: &'e dyn View) -> Executor<'e> {
        Executor::new(view, self.codes, self.rules, self.environment.clone())
    }

    /// Executes `units` in order, or as if.
    pub(crate) fn run(
        &self,
        units: &[Unit],
        exec: &dyn Exec,
        spread: Option<&dyn Spread>,
    ) -> Result<(Vec<Outcome>, Changes), Lost> {
        if let (Some(spread), Some(view)) = (spread, exec.shared())
            // What one may see depends on more than what it reads.
            && self.rules.access().is_none()
            && let Some(length) = piece_length(units.len(), spread.width())
        {
            return self.side_by_side(units, view, length, spread);
        }
        let mut executor = self.executor(exec.view());
        let outcomes = self.in_order(units, &mut executor)?;
        Ok((outcomes, executor.into_changes()))
    }

    fn in_order(&self, units: &[Unit], executor: &mut Executor<'_>) -> Result<Vec<Outcome>, Lost> {
        units.iter().map(|unit| self.one(unit, executor)).collect()
    }

    fn one(&self, unit: &Unit, executor: &mut Executor<'_>) -> Result<Outcome, Lost> {
        match run_one(unit, self.rules, executor) {
            Ok(receipt) => Ok(Outcome::Applied {
                receipt: receipt.encode(),
            }),
            Err(Refusal::Rejected(reject)) => Ok(Outcome::Rejected(reject)),
            Err(Refusal::Suspended(call)) => Ok(Outcome::Suspended(call)),
            Err(Refusal::Lost(lost)) => Err(lost),
        }
    }

    fn side_by_side(
        &self,
        units: &[Unit],
        view: &(dyn View + Sync),
        length: usize,
        spread: &dyn Spread,
    ) -> Result<(Vec<Outcome>, Changes), Lost> {
        let (first, rest) = units.split_at(length);
        let begun = OnceLock::new();
        let rest: Vec<&[Unit]> = rest.chunks(length).collect();
        let ahead: Vec<OnceLock<Vec<Option<Early>>>> =
            rest.iter().map(|_| OnceLock::new()).collect();
        spread.each(1 + rest.len(), &|piece| {
            let mut executor = self.executor(view);
            match piece.checked_sub(1) {
                None => {
                    let outcomes = self.in_order(first, &mut executor);
                    let _ = begun.set((outcomes, executor.overlay().gathered()));
                }
                Some(piece) => {
                    executor.prepare_ahead();
                    let early = rest[piece]
                        .iter()
                        .map(|unit| self.early(unit, &mut executor));
                    let _ = ahead[piece].set(early.collect());
                }
            }
        });
        let begun: (_, Gathered) = begun.into_inner().expect("each piece is worked on");
        let (outcomes, gathered) = begun;
        let mut outcomes = outcomes?;
        let mut executor = self.executor(view);
        executor.overlay().go_on(gathered);
        let mut again = 0;
        for (units, ahead) in rest.into_iter().zip(ahead) {
            let ahead = ahead.into_inner().expect("each piece is worked on");
            for (unit, early) in units.iter().zip(ahead) {
                let receipt = match early {
                    Some((receipt, ahead)) => executor.take_over(ahead)?.then_some(receipt),
                    None => None,
                };
                again += usize::from(receipt.is_none());
                outcomes.push(match receipt {
                    Some(receipt) => Outcome::Applied { receipt },
                    None => self.one(unit, &mut executor)?,
                });
            }
        }
        spread.spent(units.len() - length, again);
        Ok((outcomes, executor.into_changes()))
    }

    /// A unit before its turn. `None`: only its turn can tell.
    fn early(&self, unit: &Unit, executor: &mut Executor<'_>) -> Option<Early> {
        if !unit.answers.is_empty() {
            return None;
        }
        let (env, hash) = decoded(unit, self.rules).ok()?;
        let (result, ahead) = executor.ahead(env, &hash, unit.caller)?;
        Some((Receipt::of(result).encode(), ahead))
    }
}

/// A receipt, and what else a transaction came to.
type Early = (Bytes, Ahead);

/// How long the pieces of so many units are, for so many threads. `None`: there is nothing to cut.
fn piece_length(units: usize, width: usize) -> Option<usize> {
    let most = units / PIECE_UNITS_MIN;
    let pieces = most.min(width.saturating_mul(PIECES_PER_THREAD));
    (width > 1 && pieces > 1).then(|| units.div_ceil(pieces))
}

fn decoded(unit: &Unit, rules: &Rules) -> Result<(TxEnv, B256), Reject> {
    let memo = unit.memo.0.as_ref();
    if let Some(known) = memo.and_then(|memo| memo.downcast_ref::<Transaction>()) {
        return Ok((known.env.clone(), known.hash));
    }
    let sender = Address::try_from(unit.established.as_ref()).map_err(|_| {
        Reject::new(
            adapter::Kind::Malformed,
            "the unit came without its sender of 20 bytes",
        )
    })?;
    let decoded = Transaction::established(&unit.raw, sender, rules)?;
    Ok((decoded.env, decoded.hash))
}

fn run_one(unit: &Unit, rules: &Rules, executor: &mut Executor<'_>) -> Result<Receipt, Refusal> {
    if rules.access().is_some() && reading::is_one(unit) {
        return Ok(Receipt {
            status: Status::Success,
            gas_used: 0,
            created: None,
            logs: Vec::new(),
        });
    }
    let (env, hash) = decoded(unit, rules).map_err(Refusal::Rejected)?;
    let result = executor.run(env, &hash, unit.caller, &unit.answers)?;
    Ok(Receipt::of(result))
}
