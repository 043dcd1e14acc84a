//! Sending transactions: answered once they are durable on a quorum.
//!
//! A transaction that has to wait for an earlier nonce is answered when that is known: nobody can
//! say how long it will wait. A transaction that is here already is the same transaction.

use adapter::{Caller, Context, Fate, Kind, Reject};
use alloy_primitives::{Address, B256, keccak256};
use bytes::Bytes;
use types::{Height, Millis, UnitId};

use super::envelope::{RpcError, Stop};
use crate::state::account;

/// After this long without a commit the nonces before it are looked at. Longer than any commit of a
/// healthy network on one site, shorter than a person notices.
const GAP_CHECK_MS: u64 = 200;

/// After this long the client is told that nobody knows: no quorum answers.
const WAIT_MAX_MS: u64 = 60_000;

/// Default and longest time that `eth_sendRawTransactionSync` waits (EIP-7966).
const SYNC_WAIT_MS: u64 = 10_000;

/// One transaction on its way.
#[derive(Debug)]
pub(crate) struct Submission {
    raw: Bytes,
    /// Known when it was handed over: whoever took it has hashed it.
    hash: B256,
    /// EIP-7966: how long the caller wants to wait for the receipt.
    pub(crate) sync_ms: Option<u64>,
    /// Set when it was handed over.
    started: Option<(Millis, Result<(), Reject>)>,
}

/// Where a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    Committed {
        height: Height,
        position: u32,
    },
    /// It waits for an earlier nonce.
    Queued,
}

impl Submission {
    pub(crate) fn new(raw: Bytes) -> Self {
        Self {
            hash: B256::ZERO,
            raw,
            sync_ms: None,
            started: None,
        }
    }

    pub(crate) fn sync(raw: Bytes, wait_ms: Option<u64>) -> Self {
        Self {
            sync_ms: Some(wait_ms.unwrap_or(SYNC_WAIT_MS).min(WAIT_MAX_MS)),
            ..Self::new(raw)
        }
    }

    pub(crate) fn raw(&self) -> &Bytes {
        &self.raw
    }

    pub(crate) fn hash(&self) -> &B256 {
        &self.hash
    }

    /// Hands the transaction over, once.
    pub(crate) fn start(&mut self, caller: &Caller, context: &mut dyn Context) {
        if self.started.is_some() {
            return;
        }
        let result = match context.submit(caller, self.raw.clone()) {
            Ok(id) => {
                self.hash = B256::new(id.0);
                Ok(())
            }
            Err(reject) => {
                self.hash = keccak256(&self.raw);
                let waits = context.place(&UnitId(self.hash.0)).is_some();
                if waits { Ok(()) } else { Err(reject) }
            }
        };
        self.started = Some((context.now(), result));
    }

    pub(crate) fn poll(&mut self, context: &mut dyn Context) -> Result<Arrival, Stop> {
        let (since, result) = self
            .started
            .as_ref()
            .expect("an exchange starts its submissions first");
        let since = *since;
        let unit = UnitId(self.hash.0);
        // What there is no room for is not looked for, either.
        if let Err(reject) = result
            && reject.kind == Kind::Busy
        {
            return Err(RpcError::rejected(reject).into());
        }
        match (context.fate(&unit)?, result) {
            (Fate::Committed { height, position }, _) => {
                return Ok(Arrival::Committed { height, position });
            }
            // Not refused for being here already.
            (Fate::Rejected(_) | Fate::Absent, Err(reject)) => {
                return Err(RpcError::rejected(reject).into());
            }
            (Fate::Rejected(reject), _) => return Err(RpcError::rejected(&reject).into()),
            (Fate::Unknown, _) => {
                return Err(RpcError::unknown_outcome(&self.hash, "leadership changed").into());
            }
            (Fate::Absent, _) => {
                return Err(
                    RpcError::unknown_outcome(&self.hash, "this node lost sight of it").into(),
                );
            }
            (Fate::Pending, _) => {}
        }
        let now = context.now();
        let waited = now.since(since);
        let patience = self.sync_ms.unwrap_or(WAIT_MAX_MS);
        if waited >= patience {
            return Err(match self.sync_ms {
                Some(ms) => RpcError::new(
                    4,
                    format!("the transaction was accepted but is not committed after {ms} ms"),
                )
                .with_data(format!("\"{}\"", self.hash)),
                None => RpcError::unknown_outcome(&self.hash, "no commit within a minute"),
            }
            .into());
        }
        if waited >= GAP_CHECK_MS && self.sync_ms.is_none() && self.waits_for_nonce(context)? {
            return Ok(Arrival::Queued);
        }
        let again = if waited < GAP_CHECK_MS {
            since.plus(GAP_CHECK_MS)
        } else {
            now.plus(1000)
        };
        context.wake_at(again.min(since.plus(patience)));
        Err(Stop::Wait)
    }

    /// True if a nonce before this one is missing.
    fn waits_for_nonce(&self, context: &dyn Context) -> Result<bool, Stop> {
        let Some((lane, nonce)) = context.place(&UnitId(self.hash.0)) else {
            return Ok(false);
        };
        let Ok(sender) = Address::try_from(&lane[..]) else {
            return Ok(false); // no transaction: nothing comes before it
        };
        let committed = account(context.view(), &sender)?.map_or(0, |record| record.nonce);
        let next = context.lane_next(&lane).unwrap_or(0).max(committed);
        Ok(nonce > next)
    }
}
