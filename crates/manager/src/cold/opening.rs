//! The keys of the newest epoch, from M actors' nodes that are present.
//!
//! There is no leader to record a grant ahead; who granted stands in the entry that restarts the
//! network, before anything is served. A node gives its actor's part to whoever proved itself for a
//! place of the list, for an epoch that its own ledger records. If the asker's ledger reaches farther,
//! that may be one that this node has not heard of: it is under the same threshold key, or there would
//! be nothing to give.

use governance::{EpochSeal, Keys, NodeSlot};
use types::Epoch;

use super::{Says, Stage};
use crate::Output;
use crate::keyring::Life;
use crate::node::{Node, log};
use crate::opening::{Opened, Opening, Parts};

/// How often keys are asked for.
const ASK_MS: u64 = 1_000;
/// One node may ask so often within a minute.
const ASKS_MAX: u32 = 120;
const MINUTE_MS: u64 = 60_000;

impl Node {
    /// The epoch whose keys open all that this node has, with its seal.
    pub(super) fn newest_seal(&self) -> Option<(Epoch, EpochSeal)> {
        let record = self.cold_records()?.epochs().last()?;
        let seal = record.opening.seal.clone()?;
        Some((record.opening.epoch, seal))
    }

    /// What the files say of keys: as far as they were checked, else as far as they can be read.
    fn cold_records(&self) -> Option<&Keys> {
        let checked = self.state.keys();
        let sealed = checked
            .epochs()
            .last()
            .is_some_and(|r| r.opening.seal.is_some());
        if self.cold.stage >= Stage::Verified && sealed {
            return Some(checked);
        }
        Some(self.cold.copy.as_ref()?.state.keys())
    }

    /// Whether keys are to be opened: for the first time, or again since their life is over.
    fn wants_keys(&self) -> bool {
        match self.cold.stage {
            Stage::Meeting => true,
            Stage::Verified => !self.keyring.holds(self.order.epoch),
            _ => false,
        }
    }

    pub(super) fn ask_partials(&mut self, out: &mut Vec<Output>) {
        let asked = self.cold.asked;
        if !self.wants_keys() || (asked > types::Millis::ZERO && self.now.since(asked) < ASK_MS) {
            return;
        }
        self.cold.asked = self.now;
        let Some((epoch, seal)) = self.newest_seal() else {
            return;
        };
        if self.cold.opening.is_none() {
            self.cold.opening = Some(Opening::new(epoch));
        }
        if let Some(own) = self.cold_parts(epoch, &seal) {
            self.partials_granted(epoch, own, out);
        }
        let to: Vec<NodeSlot> = self.cold.met.keys().cloned().collect();
        for slot in to {
            let seal = Box::new(seal.clone());
            self.say(&slot, &Says::Ask { epoch, seal }, out);
        }
    }

    fn cold_parts(&mut self, epoch: Epoch, seal: &EpochSeal) -> Option<Parts> {
        let copy = self
            .cold
            .copy
            .as_ref()
            .filter(|_| self.cold.stage < Stage::Verified);
        let records = copy.map_or(self.state.keys(), |copy| copy.state.keys());
        let transport = self.shares.transport()?;
        self.cold
            .share
            .parts_of(records, transport, epoch, seal, &mut self.entropy)
    }

    /// A node that proved itself asks for this actor's part.
    pub(super) fn partials_wanted(
        &mut self,
        from: &NodeSlot,
        epoch: Epoch,
        seal: &EpochSeal,
        out: &mut Vec<Output>,
    ) {
        let now = self.now;
        let Some(met) = self.cold.met.get_mut(from) else {
            return;
        };
        if now.since(met.asks.0) >= MINUTE_MS {
            met.asks = (now, 0);
        }
        met.asks.1 += 1;
        let too_often = met.asks.1 > ASKS_MAX;
        let theirs = met.present.as_ref().map(|p| p.held.reach);
        let record = self.cold_state().keys().epoch(epoch);
        let recorded = record.is_some_and(|r| r.opening.seal.as_ref() == Some(seal));
        let reason = if too_often {
            Some("it asks too often")
        } else if !recorded && theirs.is_none_or(|theirs| theirs <= self.held().reach) {
            Some("the ledger here has no such epoch")
        } else {
            None
        };
        let parts = match reason {
            None => self
                .cold_parts(epoch, seal)
                .ok_or("this node has no share of that key"),
            Some(reason) => Err(reason),
        };
        let says = match parts {
            Ok((session_key, history_key)) => Says::Grant {
                epoch,
                session_key,
                history_key,
            },
            Err(reason) => {
                let text = format!("no part of the keys for {}: {reason}", from.address);
                log(out, 2, "cold", &text);
                Says::Refused {
                    reason: reason.into(),
                }
            }
        };
        self.say(from, &says, out);
    }

    pub(super) fn partials_granted(&mut self, epoch: Epoch, parts: Parts, out: &mut Vec<Output>) {
        if !self.wants_keys() {
            return;
        }
        let Some(mut opening) = self.cold.opening.take_if(|o| o.epoch == epoch) else {
            return;
        };
        let Some(records) = self.cold_records() else {
            return;
        };
        let added = opening.add(records, parts);
        self.cold.opening = Some(opening);
        match added {
            Ok(None) => {}
            Ok(Some(Opened { keys, by })) => {
                let text = format!("the keys of epoch {epoch} were opened by {}", by.join(", "));
                log(out, 3, "cold", &text);
                let network = self.setup.network;
                let ttl = self.cold_constitution().settings.session_key_ttl_ms;
                self.keyring.life = Some(Life::begin(self.now, self.clock, ttl));
                self.keyring.insert(epoch, keys);
                self.cold.opened_by = by;
                self.cold.opening = None;
                let Some(copy) = self.cold.copy.as_ref() else {
                    return;
                };
                self.keyring.walk_back(network, copy.state.keys());
                if self.cold.stage == Stage::Verified {
                    return;
                }
                let (runs, last) = (copy.runs.clone(), copy.last);
                self.cold.stage = Stage::Verifying;
                self.verify_files(runs, last, out);
            }
            Err(reason) => log(out, 1, "cold", &reason),
        }
    }
}
