//! A node that runs and is admitted, in a network that has lost its quorum or its keys: when it ends, so that it
//! comes back as those do that had ended before.

use std::collections::BTreeSet;

use consensus::Engine;
use governance::{NodeSlot, State};
use types::Epoch;

use super::choice::{are_enough, can_elect};
use super::copy::Copy;
use super::era::Era;
use super::meeting::Met;
use super::says::Present;
use super::{ALONE_MS, ELECT_MS, Stage};
use crate::Output;
use crate::node::{EXIT_AGAIN, Node};

impl Node {
    /// Admitted, and without a leader for long?
    pub fn survive(&mut self, out: &mut Vec<Output>) {
        if self.cold.stage == Stage::Restarted {
            return self.expect_joiners(out);
        }
        // A leader without keys leads nobody anywhere: those whose actors can open them may not be admitted yet.
        let bare = self.is_bare();
        let keyless = bare || self.is_keyless();
        if self.leader().is_some() && !keyless {
            if self.cold.leaderless.take().is_some() {
                self.end_cold(out);
            }
            return;
        }
        let since = *self.cold.leaderless.get_or_insert(self.now);
        if self.now.since(since) < ALONE_MS {
            return;
        }
        // Keys that the actors cannot open again live in the memory of nodes alone: to end would lose them.
        if bare {
            self.read_sent();
        }
        let (state, _, epoch) = self.known();
        let record = state.keys().epoch(epoch);
        if record.is_none_or(|record| record.opening.seal.is_none()) {
            return;
        }
        self.seek(out);
        self.say_present(out);
        let (state, era, _) = self.known();
        let Some(constitution) = state.constitution() else {
            return;
        };
        let voters = era.voters(state);
        // Who has not said yet whether it runs may be one to elect a leader with.
        let said = |(slot, met): (&NodeSlot, &Met)| met.present.as_ref().map(|_| slot.clone());
        let mut places: BTreeSet<NodeSlot> = self.cold.met.iter().filter_map(said).collect();
        let mut running: BTreeSet<NodeSlot> = self
            .cold
            .met
            .iter()
            .filter(|(_, met)| met.present.as_ref().is_some_and(|p| p.runs))
            .map(|(slot, _)| slot.clone())
            .collect();
        places.insert(self.own_slot());
        running.insert(self.own_slot());
        if !are_enough(constitution, &voters, &places) {
            self.cold.enough = None;
            return;
        }
        if keyless && !self.can_open(|_| true) {
            self.cold.enough = None;
            return;
        }
        // As many as elect a leader, or as open the keys without a restart, are given time to: who votes, a
        // ledger that lags does not tell.
        let by_themselves = match keyless {
            true => self.can_open(|present| present.runs),
            false => can_elect(&voters, &running),
        };
        let patience = if by_themselves { ELECT_MS } else { 0 };
        let since = *self.cold.enough.get_or_insert(self.now);
        if self.now.since(since) >= patience {
            self.end(
                out,
                EXIT_AGAIN,
                "the network lost its quorum, and enough nodes are here to restart it: this one starts again to take part",
            );
        }
    }

    /// Admitted, and nothing of what the network has since it seals its keys to the actors is applied here:
    /// this node has no part of keys to give, and no leader that it could follow any farther.
    fn is_bare(&self) -> bool {
        let constitution = self.state.constitution();
        let seals = constitution.unwrap_or(&self.setup.constitution);
        !self.setup.create
            && seals.seals_session_keys()
            && self.state.keys().epoch(self.order.epoch).is_none()
    }

    /// Reads what is public in the entries that were sent here, as after the next start.
    fn read_sent(&mut self) {
        let Some(engine) = &self.engine else { return };
        let (term, last) = engine.last();
        let sent = self.cold.sent.take();
        let mut copy = match sent.filter(|(of, copy)| *of == term && copy.last <= last) {
            Some((_, copy)) => copy,
            None => Box::new(Copy::new(self.setup.network, &self.setup.constitution)),
        };
        while let Some(entry) = engine.entry(copy.last.next()) {
            if copy.read(&entry.payload).is_err() {
                break;
            }
        }
        self.cold.sent = Some((term, copy));
    }

    /// What a node that is admitted goes by.
    fn known(&self) -> (&State, &Era, Epoch) {
        match &self.cold.sent {
            Some((_, copy)) if self.is_bare() => (&copy.state, &copy.era, copy.state.epoch()),
            _ => (&self.state, &self.era, self.order.epoch),
        }
    }

    /// Whether the actors of those that are met and of whom this holds, with this node's own, are as many as
    /// open the keys.
    fn can_open(&self, of: impl Fn(&Present) -> bool) -> bool {
        let (state, _, epoch) = self.known();
        let record = state.keys().epoch(epoch);
        let seal = record.and_then(|record| record.opening.seal.as_ref());
        let Some(shared) = seal.and_then(|seal| state.keys().shared_by(seal.key)) else {
            return false;
        };
        let mut owners: BTreeSet<&str> = self
            .cold
            .met
            .iter()
            .filter(|(_, met)| met.present.as_ref().is_some_and(|p| p.shares && of(p)))
            .map(|(slot, _)| slot.owner.as_str())
            .collect();
        if self.shares.transport().is_some() {
            owners.insert(&self.setup.owner);
        }
        let holders = shared.actors().iter();
        let here = holders.filter(|(name, _)| owners.contains(name.as_str()));
        here.count() >= shared.key().threshold()
    }
}
