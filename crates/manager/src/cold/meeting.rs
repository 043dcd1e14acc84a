//! Nodes of a network without a quorum find one another: mutual appraisal, fresh by the other's nonce
//! since ledger time stands still, and of tuples that owners signed for places of the list.
//!
//! ```text
//! who dialled                                 who was dialled
//!   Meet{network, nonce_d}              ──►
//!                                       ◄──   Greet{credentials over nonce_d, nonce_l}
//!   (appraises)  Met{credentials over nonce_l} ──►  (appraises)
//!   Present, Ask, Grant, ...            ◄──►   Present, Ask, Grant, ...
//! ```

use std::collections::BTreeSet;

use crypto::PublicKey;
use governance::{Departure, NodeSlot};
use tee::{Purpose, report_data};
use types::Millis;

use super::{ALONE_MS, LOST_MS, Says, Stage};
use crate::Output;
use crate::admitting::{appraise, signed_by_owner};
use crate::cold::says::Present;
use crate::node::{EvidenceFor, Node, Phase, log};
use crate::sessions::Who;
use crate::wire::{Credentials, PeerMessage};

const DIAL_MS: u64 = 200;
const TALK_MS: u64 = 5_000;

/// A dialogue on one connection.
pub struct Talk {
    /// Who is meant, by address, when this node dialled.
    address: Option<String>,
    /// What the other's evidence must answer.
    nonce: [u8; 32],
    /// Who it is, once that is proven.
    slot: Option<NodeSlot>,
    met: bool,
    until: Millis,
}

/// A node that proved itself.
pub struct Met {
    pub key: PublicKey,
    connections: BTreeSet<u64>,
    heard: Millis,
    pub present: Option<Present>,
    /// Since when its asks are counted, and how many there were.
    pub asks: (Millis, u32),
    /// Its nonce: this node's evidence for the ledger answers one.
    pub nonce: [u8; 32],
}

impl Node {
    /// Dials the places of the list that are not met, and forgets whoever is not heard any more.
    pub(super) fn seek(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let late: Vec<u64> = self
            .cold
            .talks
            .iter()
            .filter(|(_, talk)| !talk.met && now >= talk.until)
            .map(|(connection, _)| *connection)
            .collect();
        let lost = |met: &Met| now.since(met.heard) >= LOST_MS;
        let lost: Vec<u64> = self
            .cold
            .met
            .values()
            .filter(|met| lost(met))
            .flat_map(|met| met.connections.iter().copied())
            .collect();
        for connection in late.into_iter().chain(lost) {
            self.drop_connection(connection, "not heard in time", out);
        }
        self.cold
            .met
            .retain(|_, met| now.since(met.heard) < LOST_MS);
        let constitution = self.cold_constitution();
        let addresses: Vec<String> = constitution
            .nodes
            .iter()
            .map(|slot| slot.address.clone())
            .filter(|address| *address != self.setup.address)
            .collect();
        for address in addresses {
            let met = self
                .cold
                .met
                .iter()
                .any(|(slot, met)| slot.address == address && !met.connections.is_empty());
            let under_way = |talk: &Talk| talk.address.as_ref() == Some(&address);
            let lately = self.cold.dialled.get(&address);
            if met
                || self.cold.talks.values().any(under_way)
                || lately.is_some_and(|at| now.since(*at) < DIAL_MS)
            {
                continue;
            }
            self.cold.dialled.insert(address.clone(), now);
            let connection = self.sessions.dial(&address, Who::ExpectCold, out);
            let talk = Talk {
                address: Some(address),
                nonce: self.entropy.bytes(),
                slot: None,
                met: false,
                until: now.plus(TALK_MS),
            };
            self.cold.talks.insert(connection, talk);
        }
    }

    /// Whether this node has something to say about a restart.
    fn meets(&self) -> bool {
        let cold = &self.cold;
        match self.phase {
            Phase::Joining | Phase::Restoring => cold.stage >= Stage::Filling,
            Phase::Admitted => {
                cold.stage == Stage::Restarted
                    || cold
                        .leaderless
                        .is_some_and(|since| self.now.since(since) >= ALONE_MS)
            }
            _ => false,
        }
    }

    /// The connection to a place of the list stands.
    pub fn cold_dialled(&mut self, connection: u64) {
        if let Some(talk) = self.cold.talks.get(&connection) {
            let says = Says::Meet {
                network: self.setup.network,
                nonce: talk.nonce,
            };
            self.answer(connection, &PeerMessage::Cold(Box::new(says)));
        }
    }

    pub fn cold_closed(&mut self, connection: u64) {
        let Some(talk) = self.cold.talks.remove(&connection) else {
            return;
        };
        // A connection may be lost and made again: who is not heard for long is forgotten by `seek`.
        let met = talk.slot.and_then(|slot| self.cold.met.get_mut(&slot));
        if let Some(met) = met {
            met.connections.remove(&connection);
        }
    }

    pub(super) fn say(&mut self, to: &NodeSlot, says: &Says, out: &mut Vec<Output>) {
        let Some(met) = self.cold.met.get(to) else {
            return;
        };
        let Some(connection) = met.connections.last().copied() else {
            return;
        };
        let mut frame = Vec::new();
        PeerMessage::Cold(Box::new(says.clone())).encode(&mut frame);
        if !self.sessions.send(connection, &frame) {
            self.drop_connection(connection, "it takes no more", out);
        }
    }

    /// A message about a restart, from whoever has this key.
    pub fn cold_says(
        &mut self,
        connection: u64,
        key: &PublicKey,
        says: Says,
        out: &mut Vec<Output>,
    ) {
        match says {
            Says::Meet { network, nonce } => {
                let willing = self.meets() && network == self.setup.network;
                if !willing || self.cold.talks.contains_key(&connection) {
                    return self.cold_refuse(connection, "this node takes part in no restart", out);
                }
                let mine: [u8; 32] = self.entropy.bytes();
                let talk = Talk {
                    address: None,
                    nonce: mine,
                    slot: None,
                    met: false,
                    until: self.now.plus(TALK_MS),
                };
                self.cold.talks.insert(connection, talk);
                let why = EvidenceFor::Greet {
                    connection,
                    nonce: mine,
                };
                self.ask_restart_evidence(why, &nonce, out);
            }
            Says::Greet { credentials, nonce } => {
                let dialled = |talk: &Talk| talk.address.is_some() && talk.slot.is_none();
                if !self.cold.talks.get(&connection).is_some_and(dialled) {
                    return self.drop_connection(connection, "a greeting to nobody", out);
                }
                if let Err(reason) = self.prove(connection, key, &credentials, &nonce) {
                    return self.cold_refuse(connection, &reason, out);
                }
                self.ask_restart_evidence(EvidenceFor::Met { connection }, &nonce, out);
            }
            Says::Met { credentials } => {
                let listened = |talk: &Talk| talk.address.is_none() && talk.slot.is_none();
                if !self.cold.talks.get(&connection).is_some_and(listened) {
                    return self.drop_connection(connection, "nobody was met here", out);
                }
                if let Err(reason) = self.prove(connection, key, &credentials, &[0; 32]) {
                    return self.cold_refuse(connection, &reason, out);
                }
                self.cold_met(connection, out);
            }
            Says::Refused { reason } => log(out, 4, "cold", &format!("refused: {reason}")),
            Says::Present(_)
            | Says::Ask { .. }
            | Says::Grant { .. }
            | Says::Want { .. }
            | Says::Lent { .. } => {
                let slot = self.cold.talks.get(&connection).filter(|talk| talk.met);
                let Some(slot) = slot.and_then(|talk| talk.slot.clone()) else {
                    return self.drop_connection(connection, "it speaks before it is met", out);
                };
                let now = self.now;
                let Some(met) = self.cold.met.get_mut(&slot) else {
                    return;
                };
                met.heard = now;
                match says {
                    Says::Present(present) => met.present = Some(present),
                    Says::Want { first, last } => self.lent_wanted(&slot, (first, last), out),
                    Says::Lent { first, entries } => self.lent(first, entries, out),
                    Says::Ask { epoch, seal } => self.partials_wanted(&slot, epoch, &seal, out),
                    Says::Grant {
                        epoch,
                        session_key,
                        history_key,
                    } => self.partials_granted(epoch, (session_key, history_key), out),
                    _ => {}
                }
            }
        }
    }

    fn ask_restart_evidence(&mut self, why: EvidenceFor, nonce: &[u8; 32], out: &mut Vec<Output>) {
        let data = report_data(
            &self.setup.network,
            Purpose::Restart,
            &self.key.public().fingerprint(),
            nonce,
        );
        self.ask_evidence(why, data, out);
    }

    /// Evidence for who dialled this node.
    pub fn cold_greet(&mut self, connection: u64, credentials: Credentials, nonce: [u8; 32]) {
        let says = Says::Greet { credentials, nonce };
        self.answer(connection, &PeerMessage::Cold(Box::new(says)));
    }

    /// Evidence for whom this node dialled, who is proven already.
    pub fn cold_meet(&mut self, connection: u64, credentials: Credentials, out: &mut Vec<Output>) {
        let says = Says::Met { credentials };
        self.answer(connection, &PeerMessage::Cold(Box::new(says)));
        self.cold_met(connection, out);
    }

    /// Holds credentials against the list, and the evidence against this node's nonce.
    fn prove(
        &mut self,
        connection: u64,
        key: &PublicKey,
        credentials: &Credentials,
        theirs: &[u8; 32],
    ) -> Result<(), String> {
        let talk = self.cold.talks.get(&connection).ok_or("no dialogue")?;
        let state = self.cold_state();
        let constitution = self.cold_constitution();
        let tuple = signed_by_owner(constitution, credentials, key, self.clock)
            .map_err(|unfit| unfit.text)?;
        let tuple = tuple.tuple();
        let slot = NodeSlot {
            owner: tuple.owner.clone(),
            address: tuple.address.clone(),
        };
        if tuple.network != self.setup.network || !constitution.has_slot(&slot.owner, &slot.address)
        {
            return Err("its place is not in the list".into());
        }
        if slot == self.own_slot() {
            return Err("it claims this node's own place".into());
        }
        if talk
            .address
            .as_ref()
            .is_some_and(|meant| *meant != slot.address)
        {
            return Err("it is of another place than where it answers".into());
        }
        let last = state
            .nodes()
            .filter(|n| (&n.owner, &n.address) == (&slot.owner, &slot.address))
            .last();
        if last.is_some_and(|n| n.departure == Some(Departure::Ejected)) {
            return Err("members ejected it".into());
        }
        appraise(
            constitution,
            &self.setup.network,
            credentials,
            key,
            Purpose::Restart,
            &talk.nonce,
            self.clock,
        )
        .map_err(|unfit| unfit.text)?;
        let now = self.now;
        let known = self.cold.met.get(&slot).is_some_and(|met| met.key == *key);
        if !known {
            let met = Met {
                key: *key,
                connections: BTreeSet::new(),
                heard: now,
                present: None,
                asks: (now, 0),
                nonce: *theirs,
            };
            self.cold.met.insert(slot.clone(), met);
        }
        let met = self.cold.met.get_mut(&slot).expect("inserted above");
        met.connections.insert(connection);
        met.heard = now;
        if *theirs != [0; 32] {
            met.nonce = *theirs;
        }
        if let Some(talk) = self.cold.talks.get_mut(&connection) {
            talk.slot = Some(slot);
        }
        Ok(())
    }

    fn cold_met(&mut self, connection: u64, out: &mut Vec<Output>) {
        let Some(talk) = self.cold.talks.get_mut(&connection) else {
            return;
        };
        talk.met = true;
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Cold;
        }
        self.cold.asked = Millis::ZERO;
        let slot = talk.slot.clone().expect("proven before");
        let text = format!("met {} of {}", slot.address, slot.owner);
        log(out, 4, "cold", &text);
        let present = self.present();
        self.say(&slot, &Says::Present(present), out);
    }

    fn cold_refuse(&mut self, connection: u64, reason: &str, out: &mut Vec<Output>) {
        let says = Says::Refused {
            reason: reason.into(),
        };
        self.answer(connection, &PeerMessage::Cold(Box::new(says)));
        self.drop_connection(connection, reason, out);
    }
}
