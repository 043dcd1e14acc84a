//! Validation: executes a batch again and compares.
//!
//! The paper lets members validate transactions after the fact. A validator needs the state below the
//! batch and its body; what was not deterministic is in the body, so the write set must come out the
//! same to the byte.

use adapter::{Lost, Machine, Outcome, Unit, View};
use bytes::Bytes;
use kv::{Malformed, WriteSet};
use types::Height;

use crate::body::{Body, Migration};
use crate::execution::{Execution, State};

/// In what a batch differs from its execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("it cannot be read")]
    Malformed(#[from] Malformed),
    #[error("it is of height {found}, and the state below calls for {expected}")]
    Height { expected: Height, found: Height },
    #[error("it migrates from data format {found}, and the state below has {expected}")]
    Format { expected: u32, found: u32 },
    #[error("this code does not migrate that state")]
    Migration,
    #[error("the execution asked for something that the leader did not record")]
    Record,
    #[error("records are left over that the execution did not ask for")]
    LeftOver,
    #[error("unit {position} was rejected")]
    Rejected { position: usize },
    #[error("unit {position} asks for an answer that is not recorded")]
    Suspended { position: usize },
    #[error("the receipt of unit {position} differs")]
    Receipt { position: usize },
    #[error("the claim differs")]
    Claim,
    #[error("the events differ")]
    Events,
    #[error("the write set differs")]
    Writes,
}

/// Executes the batch `body` on the committed `state` and compares everything that the leader
/// said it came to. Gives the write set.
///
/// # Errors
/// [`Mismatch`]: the leader's worker did not execute what it proposed, or this one does not.
pub fn replay(machine: &dyn Machine, state: &State, body: Bytes) -> Result<WriteSet, Mismatch> {
    let body = Body::decode(body)?;
    let expected = state.committed_height().next();
    if body.env.height != expected {
        return Err(Mismatch::Height {
            expected,
            found: body.env.height,
        });
    }
    let claimed = WriteSet::decode(body.writes)?;
    let (units, receipts): (Vec<Unit>, Vec<Bytes>) = body.units.into_iter().unzip();
    let mut execution = Execution::replaying(state.committed(), body.env, body.recorded);
    execution = execution.in_format(body.migration.map_or(state.format(), |m| m.to));
    if let Some(Migration { from, .. }) = body.migration {
        if from != state.format() {
            return Err(Mismatch::Format {
                expected: state.format(),
                found: from,
            });
        }
        machine
            .migrate(from, &mut execution)
            .map_err(|_| Mismatch::Migration)?;
    }
    let outcomes = machine
        .execute_all(&units, &mut execution)
        .map_err(|Lost| Mismatch::Record)?;
    for (position, (outcome, claimed)) in outcomes.iter().zip(&receipts).enumerate() {
        match outcome {
            Outcome::Applied { receipt } if receipt == claimed => {}
            Outcome::Applied { .. } => return Err(Mismatch::Receipt { position }),
            Outcome::Rejected(_) => return Err(Mismatch::Rejected { position }),
            Outcome::Suspended(_) => return Err(Mismatch::Suspended { position }),
        }
    }
    let claim = machine
        .seal(&units, &outcomes, &mut execution)
        .map_err(|Lost| Mismatch::Record)?;
    if claim != body.claim {
        return Err(Mismatch::Claim);
    }
    if execution.has_records() {
        return Err(Mismatch::LeftOver);
    }
    let executed = execution.finish();
    if executed.events != body.events {
        return Err(Mismatch::Events);
    }
    if executed.writes != claimed {
        return Err(Mismatch::Writes);
    }
    Ok(claimed)
}
