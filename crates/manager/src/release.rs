//! Who is given the keys of an epoch: by a node that has them, or by M actors together.
//!
//! Source: white paper, "Decrypting Persistent State"; `docs/keys.md`. The fast way: the leader sends
//! the keys of a new epoch to every node of the list ahead of the first entry that needs them, and a
//! node that is admitted gets all of them. The slow way keeps the network honest about its actors: a
//! node's keys live for `session_key_ttl_ms`; before that is over it attests again, the leader records
//! that it is given the keys ([`KeyRelease`]), and each actor's nodes send their actor's partial
//! decryption. What M actors do not open any more is forgotten, and then nothing can be written.

use std::collections::{BTreeMap, BTreeSet};

use governance::{Command, KeyRelease};
use ledger::Kind;
use tee::{Purpose, report_data};
use threshold::{Partial, Wire};
use types::{Epoch, Millis, NodeId};

use crate::Output;
use crate::node::{EvidenceFor, Node, Reading, log};
use crate::opening::{Opened, Opening, Parts, ShareCache};
use crate::sessions::Who;
use crate::wire::{KeyAsk, Partials, PeerMessage};

/// A node asks no more often than this.
const ASK_MS: u64 = 1_000;
/// A grant is answered for so long.
const RECENT_MS: u64 = 60_000;
/// A refusal to a node is recorded at most so often.
const REFUSAL_MS: u64 = 60_000;

/// Keys on their way to this node, and from it.
#[derive(Default)]
pub struct Releases {
    /// Partial decryptions that came.
    opening: Option<Opening>,
    /// When this node may ask again.
    ask_at: Millis,
    asked_all_at: Millis,
    /// This node's private share of a threshold key.
    pub share: ShareCache,
    /// When a refusal to a node was recorded last.
    refused_at: BTreeMap<NodeId, Millis>,
    /// Keys that had to be fetched while nobody could record it; recorded as soon as possible.
    unrecorded: Option<Epoch>,
    /// Reads of the ledger that wait for keys.
    waiting: Vec<(Reading, boundary::Entries)>,
    /// Actors that were reachable when it was last told.
    told_reachable: Option<usize>,
}

impl Releases {
    pub fn wait(&mut self, why: Reading, read: boundary::Entries) {
        self.waiting.push((why, read));
    }
}

impl Node {
    /// Sends the newest keys up to an epoch to every node that may have them and has a link.
    pub fn give_keys_to_all(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        let nodes: Vec<NodeId> = self
            .state
            .served()
            .map(|n| n.id)
            .filter(|id| *id != self.id)
            .collect();
        let Some(keys) = self.keyring.released(epoch) else {
            return;
        };
        let message = PeerMessage::EpochKeys(vec![keys]);
        for node in nodes {
            self.send_peer(node, &message, out);
        }
    }

    /// What goes ahead of everything else on a new link from a leader.
    pub fn keys_for_link(&self, to: NodeId) -> Option<PeerMessage> {
        let leading = self.order.leading.as_ref()?;
        let served = self.state.node(to).is_some_and(governance::Node::is_served);
        let keys = self.keyring.released(leading.epoch).filter(|_| served)?;
        Some(PeerMessage::EpochKeys(vec![keys]))
    }

    /// A node of the list gave keys.
    pub fn keys_came(&mut self, keys: &[crate::wire::SessionKey], out: &mut Vec<Output>) {
        for key in keys {
            if !self.keyring.holds(key.epoch) || self.state.keys().epoch(key.epoch).is_none() {
                self.keyring.given(key);
                if let Some(record) = self.state.keys().epoch(key.epoch) {
                    let check = record.opening.check;
                    self.keyring.confirm(key.epoch, check);
                }
            }
        }
        self.keyring.until = None;
        self.keys_are_here(out);
    }

    fn keys_are_here(&mut self, out: &mut Vec<Output>) {
        self.keyring
            .walk_back(self.setup.network, self.state.keys());
        let upto = self.committing;
        if upto > self.order.committed {
            self.commit(upto, out);
        }
        self.open_term_late(out);
        self.greet_workers(out);
        for (why, read) in std::mem::take(&mut self.releases.waiting) {
            self.reading.insert(read.request, why);
            self.entries_read(read, out);
        }
    }

    /// An epoch began: the keys held are the ledger's, or are asked for.
    pub fn epoch_began(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        self.order.epoch = epoch;
        let Some(check) = self.state.keys().epoch(epoch).map(|r| r.opening.check) else {
            return;
        };
        if !self.keyring.confirm(epoch, check) && self.engine.is_some() {
            self.ask_keys(out);
        }
        self.keyring.until = None;
        self.releases.opening = None;
    }

    /// Asks whoever may have them for the keys of the newest epoch.
    pub fn ask_keys(&mut self, out: &mut Vec<Output>) {
        if self.now.since(self.releases.asked_all_at) < ASK_MS
            && self.releases.asked_all_at > Millis::ZERO
        {
            return;
        }
        self.releases.asked_all_at = self.now;
        let nodes: BTreeSet<NodeId> = self
            .state
            .served()
            .map(|n| n.id)
            .filter(|id| *id != self.id)
            .collect();
        for node in nodes {
            self.send_peer(node, &PeerMessage::KeysAsk, out);
        }
    }

    /// A node asks for keys that it missed.
    pub fn keys_asked(&mut self, from: NodeId, out: &mut Vec<Output>) {
        if self
            .state
            .may_have_keys(from, self.state.epoch(), self.order.time)
            .is_err()
        {
            return;
        }
        let keys = self.keyring.released_all();
        if !keys.is_empty() {
            self.send_peer(from, &PeerMessage::EpochKeys(keys), out);
        }
    }

    /// Keys live for a while only, if the actors can open them again.
    pub fn keep_keys(&mut self, out: &mut Vec<Output>) {
        if !matches!(self.phase, crate::node::Phase::Admitted) {
            return;
        }
        self.watch_actors(out);
        let epoch = self.order.epoch;
        let sealed = self
            .state
            .keys()
            .epoch(epoch)
            .is_some_and(|r| r.opening.seal.is_some());
        if !sealed {
            self.keyring.until = None;
            return;
        }
        let (now, ttl) = (self.now, self.settings().session_key_ttl_ms);
        if self.keyring.holds(epoch) {
            let until = self
                .keyring
                .until
                .map_or(now.plus(ttl), |u| u.min(now.plus(ttl)));
            self.keyring.until = Some(until);
            if now >= until {
                self.keyring.forget_epochs();
                let text = "the session key is forgotten: M actors did not open it again in time. Nothing is written until they do";
                log(out, 1, "keys", text);
                // Batches that nobody can seal are not made.
                self.follow_workers(out);
            }
        }
        let rest = self.keyring.until.map_or(0, |until| until.since(now));
        if rest <= ttl / 2 && now >= self.releases.ask_at {
            self.releases.ask_at = now.plus(ASK_MS.max(ttl / 32));
            self.ask_release(out);
        }
        self.record_late(out);
    }

    /// Attests anew, and asks to be given the keys.
    fn ask_release(&mut self, out: &mut Vec<Output>) {
        // Elected is enough: without the keys its term does not open.
        let leads = self.order.leading.is_some();
        if leads && !self.keyring.holds(self.order.epoch) {
            // Nobody can record anything; it is recorded afterwards.
            self.releases.unrecorded = Some(self.order.epoch);
            self.begin_opening(self.order.epoch, out);
            let nodes: Vec<_> = self
                .state
                .served()
                .map(|n| n.id)
                .filter(|n| *n != self.id)
                .collect();
            for node in nodes {
                self.send_peer(
                    node,
                    &PeerMessage::PartialsAsk {
                        epoch: self.order.epoch,
                    },
                    out,
                );
            }
            return;
        }
        let Some(number) = self.state.node(self.id).map(|n| n.lease.number + 1) else {
            return;
        };
        let data = report_data(
            &self.setup.network,
            Purpose::Lease,
            &self.key.public().fingerprint(),
            &number.to_be_bytes(),
        );
        self.ask_evidence(EvidenceFor::Lease { number }, data, out);
    }

    pub fn attested_anew(
        &mut self,
        number: u64,
        evidence: Vec<u8>,
        endorsements: Vec<u8>,
        out: &mut Vec<Output>,
    ) {
        let ask = KeyAsk {
            epoch: self.order.epoch,
            number,
            evidence,
            endorsements,
        };
        match self.leader() {
            Some(leader) if leader == self.id => self.release_asked(self.id, &ask, out),
            Some(leader) => self.send_peer(leader, &PeerMessage::KeyAsk(ask), out),
            None => {}
        }
    }

    /// The leader decides whether a node may go on having the keys, and records it either way.
    pub fn release_asked(&mut self, from: NodeId, ask: &KeyAsk, out: &mut Vec<Output>) {
        if self.order.leading.as_ref().is_none_or(|l| !l.opened) {
            return;
        }
        let refused = self.judge_release(from, ask).err();
        if let Some(reason) = &refused {
            let last = self.releases.refused_at.get(&from);
            if last.is_some_and(|at| self.now.since(*at) < REFUSAL_MS) {
                return;
            }
            self.releases.refused_at.insert(from, self.now);
            log(
                out,
                2,
                "keys",
                &format!("node {from} is given no keys: {reason}"),
            );
        } else {
            let renewed = Command::RenewLease {
                node: from,
                number: ask.number,
                expires: self.clock.plus(self.settings().lease_length_ms),
            };
            self.append_command(Kind::Administrative, renewed, None, out);
        }
        let release = KeyRelease {
            node: from,
            epoch: ask.epoch,
            refused: refused.map(|mut reason| {
                let end = reason.floor_char_boundary(governance::RELEASE_REASON_BYTES_MAX);
                reason.truncate(end);
                reason
            }),
        };
        self.append_command(
            Kind::Administrative,
            Command::KeyRelease(release),
            None,
            out,
        );
    }

    fn judge_release(&self, from: NodeId, ask: &KeyAsk) -> Result<(), String> {
        let node = self
            .state
            .node(from)
            .ok_or("it is no node of this network")?;
        if ask.number != node.lease.number + 1 {
            return Err("its evidence is for another lease than its next".into());
        }
        let constitution = self
            .state
            .constitution()
            .ok_or("the network is not there yet")?;
        let expected = report_data(
            &self.setup.network,
            Purpose::Lease,
            &node.key.fingerprint(),
            &ask.number.to_be_bytes(),
        );
        let time = self.order.time.max(self.clock);
        tee::appraise(
            &ask.evidence,
            &ask.endorsements,
            &constitution.tee,
            &constitution.code,
            &expected,
            time,
        )
        .map_err(|e| format!("its evidence: {e}"))?;
        // The lease that it asks for is the one that counts.
        let reason = self
            .state
            .may_have_keys_but_for_lease(from, ask.epoch, time);
        reason.map_err(str::to_owned)
    }

    /// The ledger says that a node is given keys.
    pub fn key_released(&mut self, release: &KeyRelease, out: &mut Vec<Output>) {
        let KeyRelease {
            node,
            epoch,
            refused,
        } = release;
        match refused {
            Some(reason) if *node == self.id => {
                log(
                    out,
                    1,
                    "keys",
                    &format!("this node is given no keys: {reason}"),
                );
            }
            Some(_) => {}
            // Of the past, read by a node that catches up.
            None if self.order.time.plus(RECENT_MS) < self.clock => {}
            None if *node == self.id => self.begin_opening(*epoch, out),
            None => self.send_partials(*node, *epoch, out),
        }
    }

    fn send_partials(&mut self, to: NodeId, epoch: Epoch, out: &mut Vec<Output>) {
        if let Some(partials) = self.own_parts(epoch) {
            let message = PeerMessage::Partials(Partials {
                epoch,
                session: partials.0.to_bytes(),
                history: partials.1.to_bytes(),
            });
            self.send_peer(to, &message, out);
        }
    }

    /// The leader's own keys are gone, and nobody can record that it is given them again.
    pub fn partials_asked(&mut self, from: NodeId, epoch: Epoch, out: &mut Vec<Output>) {
        if self.leader() == Some(from)
            && epoch == self.order.epoch
            && self
                .state
                .may_have_keys_but_for_lease(from, epoch, self.order.time)
                .is_ok()
        {
            self.send_partials(from, epoch, out);
        }
    }

    /// What this node's actor adds to the opening of an epoch's two keys.
    fn own_parts(&mut self, epoch: Epoch) -> Option<Parts> {
        let transport = self.shares.transport()?;
        let (records, entropy) = (self.state.keys(), &mut self.entropy);
        self.releases
            .share
            .parts(records, transport, epoch, entropy)
    }

    fn begin_opening(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        self.releases.opening = Some(Opening::new(epoch));
        if let Some(own) = self.own_parts(epoch) {
            self.partials_came(own, epoch, out);
        }
    }

    /// Partial decryptions from a node of another actor.
    pub fn partials_arrived(&mut self, from: NodeId, partials: &Partials, out: &mut Vec<Output>) {
        let read = Partial::from_bytes(&partials.session)
            .and_then(|session| Ok((session, Partial::from_bytes(&partials.history)?)));
        match read {
            Ok(read) => self.partials_came(read, partials.epoch, out),
            Err(_) => log(
                out,
                2,
                "keys",
                &format!("node {from} sent what is no partial decryption"),
            ),
        }
    }

    fn partials_came(&mut self, parts: Parts, epoch: Epoch, out: &mut Vec<Output>) {
        let Some(opening) = self.releases.opening.as_mut().filter(|o| o.epoch == epoch) else {
            return;
        };
        match opening.add(self.state.keys(), parts) {
            Ok(None) => {}
            Ok(Some(Opened { keys, by })) => {
                let text = format!(
                    "the keys of epoch {} were opened by {}",
                    epoch.0,
                    by.join(", ")
                );
                log(out, 4, "keys", &text);
                self.releases.opening = None;
                self.keyring.insert(epoch, keys);
                let ttl = self.settings().session_key_ttl_ms;
                self.keyring.until = Some(self.now.plus(ttl));
                self.keys_are_here(out);
            }
            Err(reason) => log(out, 1, "keys", &reason),
        }
    }

    /// The leader's own fetch, once it can be recorded.
    fn record_late(&mut self, out: &mut Vec<Output>) {
        let leads = self.order.leading.as_ref().is_some_and(|l| l.opened);
        let Some(epoch) = self
            .releases
            .unrecorded
            .filter(|e| leads && self.keyring.holds(*e))
        else {
            return;
        };
        self.releases.unrecorded = None;
        let release = KeyRelease {
            node: self.id,
            epoch,
            refused: None,
        };
        self.append_command(
            Kind::Administrative,
            Command::KeyRelease(release),
            None,
            out,
        );
    }

    /// Actors of the threshold key that this node can reach now.
    pub fn actors_reachable(&self) -> usize {
        let Some(shared) = self.state.keys().shared() else {
            return 0;
        };
        let mut owners: BTreeSet<&str> = self
            .sessions
            .iter()
            .filter_map(|(_, session)| match session.who {
                Who::Node { node } => self.state.node(node).map(|n| n.owner.as_str()),
                _ => None,
            })
            .collect();
        if self.shares.transport().is_some() {
            owners.insert(&self.setup.owner);
        }
        let holders = shared.actors().iter();
        holders
            .filter(|(name, _)| owners.contains(name.as_str()))
            .count()
    }

    /// Warns when one more actor that is lost would keep the keys closed.
    fn watch_actors(&mut self, out: &mut Vec<Output>) {
        let Some(shared) = self.state.keys().shared() else {
            return;
        };
        let (needed, all) = (shared.key().threshold(), shared.actors().len());
        let reachable = self.actors_reachable();
        if self.releases.told_reachable == Some(reachable) {
            return;
        }
        let before = self.releases.told_reachable.replace(reachable);
        let text =
            format!("{reachable} of {all} actors are reachable, {needed} open the keys together");
        if reachable < needed {
            log(
                out,
                1,
                "keys",
                &format!("{text}: the keys that are in memory cannot be had again"),
            );
        } else if reachable == needed && needed < all {
            log(out, 2, "keys", &format!("{text}: none more may be lost"));
        } else if before.is_some_and(|before| before <= needed) {
            log(out, 3, "keys", &text);
        }
    }
}
