//! What entries about keys do: generations, epochs, grants, and the restart of a network.

use threshold::Element;
use types::{Epoch, Index, Millis, NodeId};

use super::State;
use crate::keys::{EpochOpening, GRANTS_MAX, KeyRelease, KeyStep};
use crate::{AdmitNode, Configuration, Constitution, Fact, Keys, NetworkRestart, Refused, Sealing};

impl State {
    /// What the ledger says of keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How often the network restarted.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether the actors of the constitution in force have still to make their threshold key. Never for a
    /// network whose actors have no share-transport keys.
    pub fn wants_threshold_key(&self) -> bool {
        match self.sealing() {
            Sealing::Nobody => false,
            Sealing::To(shared) => shared.is_dealt(),
            Sealing::Deal { .. } => true,
        }
    }

    /// To whom an epoch that begins now is sealed: always to the holders of the constitution in force, so
    /// that whoever left has no part in it.
    pub fn sealing(&self) -> Sealing<'_> {
        let Some(constitution) = self.constitution().filter(|c| c.seals_session_keys()) else {
            return Sealing::Nobody;
        };
        let (actors, threshold) = (holders(constitution), constitution.settings.key_threshold);
        match self.keys.shared() {
            Some(shared) if shared.is_of(&actors, threshold as usize) => Sealing::To(shared), // u32 fits
            _ => Sealing::Deal { actors, threshold },
        }
    }

    /// Whether the present epoch is sealed to the holders of the constitution in force, or need not be.
    pub fn is_sealed_to_holders(&self) -> bool {
        let Some(constitution) = self.constitution().filter(|c| c.seals_session_keys()) else {
            return true;
        };
        let record = self.keys.epoch(self.epoch);
        let seal = record.and_then(|record| record.opening.seal.as_ref());
        let shared = seal.and_then(|seal| self.keys.shared_by(seal.key));
        let threshold = constitution.settings.key_threshold as usize; // u32 fits
        shared.is_some_and(|shared| shared.is_of(&holders(constitution), threshold))
    }

    /// Whether the generation under way is of other actors than the constitution in force asks for.
    pub fn generation_is_outdated(&self) -> bool {
        let (Some(constitution), Some(generation)) = (self.constitution(), self.keys.generation())
        else {
            return false;
        };
        generation.actors() != holders(constitution)
            || generation.session().setup().threshold()
                != constitution.settings.key_threshold as usize // u32 fits
    }

    /// Whether a message belongs into the generation under way, before it becomes an entry.
    pub fn takes_key_message(&self, node: NodeId, signed: &[u8]) -> bool {
        let Some(node) = self.node(node).filter(|n| n.is_served()) else {
            return false;
        };
        self.keys.takes(&node.owner, &node.key, signed)
    }

    /// Whether a node may be given the keys of the network at ledger time `now`.
    ///
    /// # Errors
    /// The reason, for the ledger and for the node.
    pub fn may_have_keys(
        &self,
        node: NodeId,
        epoch: Epoch,
        now: Millis,
    ) -> Result<(), &'static str> {
        self.may_have_keys_but_for_lease(node, epoch, now)?;
        if self.node(node).is_some_and(|n| n.lease.is_valid(now)) {
            Ok(())
        } else {
            Err("its lease has expired: it must attest again")
        }
    }

    /// [`State::may_have_keys`] for a node that attests again at this moment.
    ///
    /// # Errors
    /// The reason, for the ledger and for the node.
    pub fn may_have_keys_but_for_lease(
        &self,
        node: NodeId,
        epoch: Epoch,
        now: Millis,
    ) -> Result<(), &'static str> {
        let node = self.node(node).ok_or("it is no node of this network")?;
        if !node.is_served() {
            return Err("it was removed or replaced");
        }
        if epoch > self.epoch {
            return Err("there is no such epoch yet");
        }
        if self.keys.grants(node.id, now) >= GRANTS_MAX {
            return Err("it was given keys too often within an hour");
        }
        Ok(())
    }

    pub(super) fn key_step(
        &mut self,
        index: Index,
        time: Millis,
        step: &KeyStep,
    ) -> Result<Vec<Fact>, Refused> {
        let constitution = self.constitution().ok_or(Refused::NotCreated)?;
        match step {
            KeyStep::Begin => {
                let network = constitution.network_id();
                // Of whom the leader dealt the key that the actors' own is to follow: that is public where
                // the constitution is not.
                let (holders, threshold) = match self.keys.shared() {
                    Some(dealt) if dealt.is_dealt() => {
                        let threshold = u32::try_from(dealt.key().threshold()).expect("at most 64");
                        (dealt.actors().to_vec(), threshold)
                    }
                    _ => (holders(constitution), constitution.settings.key_threshold),
                };
                self.keys
                    .begin(index.0, network, threshold, holders, time)?;
                Ok(vec![Fact::KeyGeneration { number: index.0 }])
            }
            KeyStep::Message { node, signed } => {
                let node = self.present(*node)?;
                let (owner, key) = (node.owner.clone(), node.key);
                let before = self.keys.shared().map(crate::SharedKey::number);
                let fault = self.keys.message(&owner, &key, signed)?;
                let mut facts = Vec::new();
                if let Some(fault) = fault {
                    facts.push(Fact::KeyFault {
                        actor: owner,
                        fault: format!("{fault:?}"),
                    });
                }
                let made = self.keys.shared().filter(|s| Some(s.number()) != before);
                facts.extend(made.map(|shared| {
                    Fact::ThresholdKey {
                        number: shared.number(),
                        threshold: shared.key().threshold() as u64, // at most 64
                        actors: shared
                            .actors()
                            .iter()
                            .map(|(name, _)| name.clone())
                            .collect(),
                    }
                }));
                Ok(facts)
            }
            KeyStep::CloseRound => {
                self.keys.close_round(time)?;
                Ok(Vec::new())
            }
        }
    }

    pub(super) fn open_epoch(
        &mut self,
        index: Index,
        time: Millis,
        opening: &EpochOpening,
    ) -> Result<Vec<Fact>, Refused> {
        let network = self.network().ok_or(Refused::NotCreated)?;
        let epoch = opening.epoch;
        if self.epoch.0.checked_add(1) != Some(epoch.0) {
            return Err(Refused::EpochOrder {
                epoch,
                current: self.epoch,
            });
        }
        self.is_sealed_right(opening)?;
        self.keys.open(network, opening, index, time)?;
        self.epoch = epoch;
        Ok(vec![Fact::Epoch(epoch)])
    }

    /// An epoch is sealed to the holders of the constitution in force and to nobody else. A reader that
    /// could not open every vote does not know them, and goes by what the entry says.
    fn is_sealed_right(&self, opening: &EpochOpening) -> Result<(), Refused> {
        let constitution = self.constitution().ok_or(Refused::NotCreated)?;
        let Some(seal) = opening.seal.as_ref().filter(|_| !self.unread) else {
            return Ok(());
        };
        let threshold = constitution.settings.key_threshold;
        let holders = holders(constitution);
        let right = match &opening.dealt {
            Some(dealt) => dealt.actors() == holders && u32::from(dealt.threshold()) == threshold,
            None => self
                .keys
                .shared_by(seal.key)
                .is_some_and(|shared| shared.is_of(&holders, threshold as usize)), // u32 fits
        };
        if right {
            Ok(())
        } else {
            Err(Refused::EpochSeal)
        }
    }

    pub(super) fn key_release(
        &mut self,
        time: Millis,
        release: &KeyRelease,
    ) -> Result<Vec<Fact>, Refused> {
        if release.refused.is_none() {
            self.may_have_keys(release.node, release.epoch, time)
                .map_err(|reason| Refused::KeysRefused {
                    node: release.node,
                    reason: reason.to_owned(),
                })?;
        }
        self.keys.released(release, time)?;
        Ok(vec![Fact::KeyRelease(release.clone())])
    }

    /// The network goes on with one node, that whoever else is there joins.
    pub(super) fn network_restart(
        &mut self,
        index: Index,
        time: Millis,
        restart: &NetworkRestart,
    ) -> Result<Vec<Fact>, Refused> {
        if self.restarts.checked_add(1) != Some(restart.restarts) {
            return Err(Refused::RestartOrder {
                restarts: restart.restarts,
                current: self.restarts,
            });
        }
        let ordered = self.check_order(restart, time)?;
        // Refused as a whole or not at all.
        let mut next = Self::from_cbor(&self.to_cbor()).expect("what it wrote itself");
        next.unread = self.unread;
        let mut facts = vec![Fact::Restarted {
            restarts: restart.restarts,
            ordered,
        }];
        let node = match &restart.node {
            Some(admit) => {
                let admit: &AdmitNode = admit;
                facts.extend(next.admit_node(index, time, admit)?);
                admit.id
            }
            None => next.present(restart.by)?.id,
        };
        if node != restart.by {
            return Err(Refused::Outdated);
        }
        facts.extend(next.configure(&Configuration {
            voters: [node].into(),
            incoming: None,
            learners: restart.learners.clone(),
        })?);
        facts.extend(next.open_epoch(index, time, &restart.opening)?);
        next.restarts = restart.restarts;
        *self = next;
        Ok(facts)
    }
}

fn holders(constitution: &Constitution) -> Vec<(String, Element)> {
    let named = |(name, key): (&str, Element)| (name.to_owned(), key);
    constitution.key_holders().map(named).collect()
}
