//! The one that goes on: it proves itself for the ledger, begins consensus behind all that it has as
//! the only voter, and opens its term with the entry that says so.

use std::collections::BTreeSet;

use boundary::Evidence;
use governance::{Command, EpochCause, NetworkRestart, NodeSlot, Presented};
use tee::{Purpose, report_data};
use types::Term;

use super::choice::are_enough;
use super::{JOINED_MS, Stage};
use crate::Output;
use crate::admitting::{appraise, signed_by_owner};
use crate::node::{EXIT_AGAIN, EvidenceFor, Node, log};
use crate::wire::Credentials;

/// Terms of a network that restarted so often begin here: a term has one leader over all restarts, of
/// which two may have been begun at the same entry.
const TERMS_BITS: u32 = 32;

impl Node {
    /// Enough have pledged themselves to this node.
    pub(super) fn claim(&mut self, out: &mut Vec<Output>) {
        self.cold.stage = Stage::Claiming;
        let nonce = self.cold.met.values().next().map(|met| met.nonce);
        let challenge = nonce.unwrap_or_else(|| self.entropy.bytes());
        let data = report_data(
            &self.setup.network,
            Purpose::Join,
            &self.key.public().fingerprint(),
            &challenge,
        );
        self.ask_evidence(EvidenceFor::Claim { challenge }, data, out);
    }

    /// The evidence that the ledger will show is there.
    pub fn claimed(
        &mut self,
        challenge: &[u8; 32],
        credentials: Credentials,
        made: &Evidence,
        out: &mut Vec<Output>,
    ) {
        if self.cold.stage != Stage::Claiming {
            return;
        }
        match self.restart_command(challenge, &credentials, made) {
            Ok(restart) => {
                let text = format!(
                    "restarts the network behind entry {}: restart {}, as node {}",
                    self.order.committed, restart.restarts, restart.by
                );
                log(out, 3, "cold", &text);
                self.go_on(restart, out);
            }
            Err(reason) => {
                let text = format!("this node cannot restart the network: {reason}");
                log(out, 1, "cold", &text);
                self.cold.stage = Stage::Verified;
            }
        }
    }

    fn restart_command(
        &mut self,
        challenge: &[u8; 32],
        credentials: &Credentials,
        made: &Evidence,
    ) -> Result<NetworkRestart, String> {
        let constitution = self.state.constitution().ok_or("it has no constitution")?;
        let (key, time) = (*self.key.public(), self.order.time.max(self.clock));
        let tuple =
            signed_by_owner(constitution, credentials, &key, time).map_err(|unfit| unfit.text)?;
        let network = self.setup.network;
        let attested = appraise(
            constitution,
            &network,
            credentials,
            &key,
            Purpose::Join,
            challenge,
            self.clock,
        )
        .map_err(|unfit| unfit.text)?;
        let admitted = |key: &crypto::PublicKey| {
            let node = self.state.node_by_key(key).filter(|n| n.is_served());
            node.map(|node| node.id)
        };
        // Its admission may have been under way when the quorum was lost, as may that of others.
        let (by, node) = match admitted(&key) {
            Some(id) => (id, None),
            None => {
                let admission = self.state.admit(&tuple).map_err(|e| e.to_string())?;
                let id = admission.id();
                let (evidence, endorsements) = (&made.evidence, &made.endorsements);
                let command = admission.command(
                    &attested,
                    evidence.to_vec(),
                    endorsements.to_vec(),
                    challenge.to_vec(),
                );
                (id, Some(command.map_err(|e| e.to_string())?))
            }
        };
        let learners: BTreeSet<_> = self
            .cold
            .met
            .values()
            .filter_map(|met| admitted(&met.key))
            .filter(|id| *id != by)
            .collect();
        // By the rule, if that is kept; else by the order of M actors, which the entry shows.
        let mut verified: BTreeSet<NodeSlot> = self
            .cold
            .met
            .iter()
            .filter(|(_, met)| met.present.as_ref().is_some_and(|p| p.verified))
            .map(|(slot, _)| slot.clone())
            .collect();
        verified.insert(self.own_slot());
        let voters = self.era.voters(&self.state);
        let ordered = match are_enough(constitution, &voters, &verified) {
            true => None,
            false => Some(self.order_by_now()?),
        };
        let sealing = self.state.sealing();
        let opening = self
            .keyring
            .open_next(
                network,
                self.order.epoch,
                EpochCause::Restart,
                sealing,
                &mut self.entropy,
            )
            .ok_or("the keys of the last epoch are not here")?;
        let mut present: Vec<Presented> = self
            .cold
            .met
            .iter()
            .filter_map(|(slot, met)| Some((slot, met.present.as_ref()?)))
            .filter(|(_, present)| present.verified)
            .map(|(slot, present)| Presented {
                owner: slot.owner.clone(),
                address: slot.address.clone(),
                term: present.held.reach.term,
                index: present.held.reach.index,
                digest: present.held.digest,
            })
            .collect();
        present.push(Presented {
            owner: self.setup.owner.clone(),
            address: self.setup.address.clone(),
            term: self.order.runs.last(),
            index: self.order.committed,
            digest: self.order.last_digest(),
        });
        present.sort_by(|a, b| (&a.owner, &a.address).cmp(&(&b.owner, &b.address)));
        Ok(NetworkRestart {
            restarts: self.order.restarts + 1,
            by,
            node,
            learners,
            present,
            granted_by: self.cold.opened_by.clone(),
            opening,
            orders: ordered.is_some().then(|| self.setup.orders.clone()),
            ordered_by: ordered.map_or_else(Vec::new, |ordered| ordered.by),
        })
    }

    fn go_on(&mut self, restart: NetworkRestart, out: &mut Vec<Output>) {
        self.name(restart.by);
        self.cold.stage = Stage::Restarted;
        self.cold.restarted = Some(self.now);
        self.stop_joining(out);
        self.order.restarts = restart.restarts;
        let begin = u64::from(restart.restarts) << TERMS_BITS;
        let apart = self.entropy.number() >> (64 - TERMS_BITS + 1);
        self.restart = Some((
            Term(begin + apart),
            Command::NetworkRestart(Box::new(restart)),
        ));
        self.go_on_from_files(out);
    }

    /// Nobody may be told anything before the others have come. If they have gone to another, or are
    /// lost, too, it all begins anew.
    pub(super) fn expect_joiners(&mut self, out: &mut Vec<Output>) {
        self.seek_joiners(out);
        if self.serves() {
            log(
                out,
                3,
                "cold",
                "the network is restarted: enough nodes vote again",
            );
            return self.end_cold(out);
        }
        let since = self.cold.restarted.unwrap_or(self.now);
        if self.now.since(since) >= JOINED_MS && !self.era.is_established() {
            let reason = "the network was restarted here, and the others did not come: this node starts again to meet them";
            self.end(out, EXIT_AGAIN, reason);
        }
    }

    fn seek_joiners(&mut self, out: &mut Vec<Output>) {
        self.seek(out);
        self.say_present(out);
    }
}
