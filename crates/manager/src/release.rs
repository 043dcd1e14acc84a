//! Who is given the keys of an epoch: by a node that has them, or by M actors together.
//!
//! Source: white paper, "Decrypting Persistent State"; `docs/keys.md`. The fast way: the leader sends
//! the keys of a new epoch to every node of the list ahead of the first entry that needs them, and a
//! node that is admitted gets all of them. The slow way keeps the network honest about its actors: a
//! node's keys live for `session_key_ttl_ms`; before that is over it attests again, the leader records
//! that it is given the keys ([`KeyRelease`]), and each actor's nodes send their actor's partial
//! decryption. What M actors do not open any more is forgotten, and then nothing can be written.
//!
//! The life of keys passes from node to node with them: whoever is given keys has what is left of it at
//! the giver, so that nodes cannot keep one another's keys alive without M actors. What is given or
//! refused outside the opening of an epoch is an entry ([`grants`](crate::grants)).

use std::collections::{BTreeMap, BTreeSet};

use consensus::Engine;
use governance::{Command, EpochCause, KeyRelease, Keys};
use ledger::Kind;
use tee::{Purpose, report_data};
use threshold::{Partial, Wire};
use types::{Epoch, Index, Millis, NodeId};

use crate::Output;
use crate::keyring::Life;
use crate::node::{EXIT_AGAIN, EvidenceFor, Node, Phase, log};
use crate::opening::{Opened, Opening, Parts, ShareCache};
use crate::sessions::Who;
use crate::wire::{KeyAsk, Left, Partials, PeerMessage, SessionKey};

/// A node asks no more often than this.
const ASK_MS: u64 = 1_000;
/// A grant is answered for so long.
const RECENT_MS: u64 = 60_000;

/// Keys on their way to this node, and from it.
#[derive(Default)]
pub struct Releases {
    /// Partial decryptions that came.
    opening: Option<Opening>,
    /// Those of an earlier epoch, in which others lost their keys: without them they do not come to the newest.
    earlier: Option<Opening>,
    /// When this node may ask again.
    ask_at: Millis,
    asked_all_at: Millis,
    /// This node's private share of a threshold key.
    pub share: ShareCache,
    /// Keys that had to be fetched while nobody could record it; recorded as soon as possible.
    unrecorded: Option<Epoch>,
    /// The epoch whose keys went ahead on a link to a node last.
    delivered: BTreeMap<NodeId, Epoch>,
    /// Reads of the ledger that wait for keys.
    pub waiting: Vec<crate::waiting::Waiting>,
    /// Actors that were reachable when it was last told.
    told_reachable: Option<usize>,
}

impl Node {
    /// An epoch begins: every node that may have its keys gets them.
    pub fn give_keys_to_all(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        let nodes: Vec<NodeId> = self.state.served().map(|n| n.id).collect();
        let Some(keys) = self.keyring.released(epoch, self.now) else {
            return;
        };
        let message = PeerMessage::EpochKeys(vec![keys]);
        for node in nodes {
            if node != self.id && self.may_follow(node) {
                self.send_peer(node, &message, out);
            }
        }
    }

    /// Whether a node is told the keys of an epoch that begins without its asking.
    fn may_follow(&self, node: NodeId) -> bool {
        if matches!(self.state.sealing(), governance::Sealing::Nobody) {
            // Nobody attests anew there.
            return self
                .state
                .node(node)
                .is_some_and(governance::Node::is_served);
        }
        let time = self.order.time.max(self.clock);
        let may = self.state.may_have_keys(node, self.state.epoch(), time);
        may.is_ok()
    }

    /// What goes ahead of everything else on a new link from a leader: the keys of an epoch whose opening
    /// the other has not yet, once. Afterwards it must ask, so that the ledger shows it.
    pub fn keys_for_link(&mut self, to: NodeId) -> Option<PeerMessage> {
        let leading = self.order.leading.as_ref()?;
        let epoch = leading.epoch;
        let opened = self.state.keys().epoch(epoch).map(|r| r.entry);
        let matched = self.engine.as_ref().and_then(|e| e.matched(to));
        let opening = match (opened, matched) {
            (None, _) => epoch > self.order.epoch,
            (Some(entry), matched) => matched.is_none_or(|matched| matched < entry),
        };
        if !opening || !self.may_follow(to) || self.releases.delivered.get(&to) == Some(&epoch) {
            return None;
        }
        let keys = self.keyring.released(epoch, self.now)?;
        self.releases.delivered.insert(to, epoch);
        Some(PeerMessage::EpochKeys(vec![keys]))
    }

    /// A node of the list gave keys.
    pub fn keys_came(&mut self, keys: &[SessionKey], out: &mut Vec<Output>) {
        for key in keys {
            let record = self.state.keys().epoch(key.epoch);
            let known = record.map(|r| (r.opening.check, r.opening.seal.is_some()));
            if known.is_some() && self.keyring.holds(key.epoch) {
                continue;
            }
            let sealed = known.is_some_and(|(_, sealed)| sealed);
            let over = key.life.map_or(sealed, |life| life.ms == 0);
            if over {
                // M actors open them, or nobody.
                continue;
            }
            self.keyring.given(key);
            self.take_life(key.life);
            if let Some((check, _)) = known {
                self.keyring.confirm(key.epoch, check);
            }
        }
        self.keys_are_here(out);
    }

    /// Keys came with what is left of their life elsewhere. A life that is counted here already goes on.
    pub fn take_life(&mut self, left: Option<Left>) {
        if let (None, Some(left)) = (self.keyring.life, left) {
            let ttl = self.settings().session_key_ttl_ms;
            self.keyring.life = Some(Life::given(left, self.now, self.clock, ttl));
        }
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
        self.read_again(out);
    }

    /// An epoch began: the keys held are the ledger's, or are asked for.
    pub fn epoch_began(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        self.order.epoch = epoch;
        let record = self.state.keys().epoch(epoch);
        let Some(opening) = record.map(|record| &record.opening) else {
            return;
        };
        let (check, sealed) = (opening.check, opening.seal.is_some());
        let held = self.keyring.confirm(epoch, check);
        if !held && self.engine.is_some() {
            self.ask_keys(out);
        }
        if held && sealed && self.keyring.life.is_none() {
            // The first that the actors can open. Further openings lengthen no life.
            self.begin_life();
        }
        self.releases.opening = None;
        self.releases.earlier = None;
    }

    /// M actors opened the keys, or could from now on.
    pub fn begin_life(&mut self) {
        let ttl = self.settings().session_key_ttl_ms;
        self.keyring.life = Some(Life::begin(self.now, self.clock, ttl));
    }

    /// Asks the leader for the keys of the newest epoch; whoever may have them, if there is none.
    pub fn ask_keys(&mut self, out: &mut Vec<Output>) {
        if self.now.since(self.releases.asked_all_at) < ASK_MS
            && self.releases.asked_all_at > Millis::ZERO
        {
            return;
        }
        self.releases.asked_all_at = self.now;
        let leader = self.leader().filter(|leader| *leader != self.id);
        let nodes: BTreeSet<NodeId> = match leader {
            Some(leader) => [leader].into(),
            None => {
                let others = self.state.served().map(|n| n.id);
                others.filter(|id| *id != self.id).collect()
            }
        };
        for node in nodes {
            self.send_peer(node, &PeerMessage::KeysAsk, out);
        }
    }

    /// A node asks for keys that it missed.
    pub fn keys_asked(&mut self, from: NodeId, out: &mut Vec<Output>) {
        if self.grants.is_recent(from, self.now) {
            return;
        }
        let (epoch, time) = (self.state.epoch(), self.order.time.max(self.clock));
        if let Err(reason) = self.state.may_have_keys(from, epoch, time) {
            return self.note_refusal(from, epoch, reason, out);
        }
        if self.keyring.holds(epoch) {
            let keys = self.keyring.released_all(self.now);
            self.note_grant(from, epoch, out);
            self.send_peer(from, &PeerMessage::EpochKeys(keys), out);
        }
    }

    /// Keys live for a while only, if the actors can open them again.
    pub fn keep_keys(&mut self, out: &mut Vec<Output>) {
        self.age_keys(out);
        if !matches!(self.phase, Phase::Admitted) {
            return;
        }
        self.watch_actors(out);
        self.record_noted(out);
        let epoch = self.order.epoch;
        let sealed = self
            .state
            .keys()
            .epoch(epoch)
            .is_some_and(|r| r.opening.seal.is_some());
        if !sealed {
            return;
        }
        let (now, ttl) = (self.now, self.settings().session_key_ttl_ms);
        let rest = match self.keyring.life {
            Some(life) if self.keyring.holds(self.newest_epoch()) => life.left_ms(now),
            _ => 0,
        };
        if rest <= ttl / 2 && now >= self.releases.ask_at {
            self.releases.ask_at = now.plus(ASK_MS.max(ttl / 32));
            self.ask_release(out);
        }
        self.record_late(out);
    }

    /// Forgets keys whose life is over.
    fn age_keys(&mut self, out: &mut Vec<Output>) {
        let (now, clock, ttl) = (self.now, self.clock, self.settings().session_key_ttl_ms);
        let Some(life) = self.keyring.life.map(|life| life.within(now, clock, ttl)) else {
            return;
        };
        self.keyring.life = Some(life);
        if life.left_ms(now) > 0 {
            return;
        }
        self.keyring.forget_epochs();
        match self.phase {
            Phase::Restoring => {
                let text = "the life of the session keys ended while the ledger's files were read with them: this node starts again";
                self.end(out, EXIT_AGAIN, text);
            }
            Phase::Admitted => {
                let text = "the session key is forgotten: M actors did not open it again in time. Nothing is written and nothing is read until they do";
                log(out, 1, "keys", text);
                self.stop_workers(out);
            }
            _ => {}
        }
    }

    /// The epoch of the next entry. A leader's may be opened by an entry that is not committed.
    fn newest_epoch(&self) -> Epoch {
        let leading = self.order.leading.as_ref();
        leading.map_or(self.order.epoch, |leading| leading.epoch)
    }

    /// Attests anew, and asks to be given the keys.
    fn ask_release(&mut self, out: &mut Vec<Output>) {
        let epoch = self.newest_epoch();
        // Elected is enough: without the keys its term does not open.
        if self.order.leading.is_some() && !self.keyring.holds(epoch) {
            // Nobody can record anything; it is recorded afterwards.
            self.releases.unrecorded = Some(epoch);
            self.begin_opening(epoch, out);
            let earlier = self.releases.earlier.as_ref().map(|opening| opening.epoch);
            let served = self.state.served().map(|n| n.id);
            let nodes: Vec<_> = served.filter(|n| *n != self.id).collect();
            for node in nodes {
                for epoch in [epoch].into_iter().chain(earlier) {
                    self.send_peer(node, &PeerMessage::PartialsAsk { epoch }, out);
                }
            }
            return;
        }
        let Some(number) = self.state.node(self.id).map(|n| n.lease.number + 1) else {
            return;
        };
        let text = format!("asks for the keys of epoch {epoch} again");
        log(out, 4, "keys", &text);
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
        let leading = self.order.leading.as_ref();
        if leading.is_none_or(|l| !l.opened || !self.keyring.holds(l.epoch)) {
            return;
        }
        if self.grants.is_recent(from, self.now) {
            return;
        }
        if let Err(reason) = self.judge_release(from, ask) {
            return self.note_refusal(from, ask.epoch, &reason, out);
        }
        let renewed = Command::RenewLease {
            node: from,
            number: ask.number,
            expires: self.clock.plus(self.settings().lease_length_ms),
        };
        self.append_command(Kind::Administrative, renewed, None, out);
        self.note_grant(from, ask.epoch, out);
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
            None => {
                self.send_partials(*node, *epoch, out);
            }
        }
    }

    fn send_partials(&mut self, to: NodeId, epoch: Epoch, out: &mut Vec<Output>) -> bool {
        let partials = self.own_parts(epoch);
        let some = partials.is_some();
        if let Some(partials) = partials {
            let message = PeerMessage::Partials(Partials {
                epoch,
                session: partials.0.to_bytes(),
                history: partials.1.to_bytes(),
            });
            self.send_peer(to, &message, out);
        }
        some
    }

    /// The leader's own keys are gone, and nobody can record that it is given them again. The epoch may be one
    /// that this node has not come to, for want of the keys before it: if it cannot tell how that one is sealed, it
    /// answers for its own.
    pub fn partials_asked(&mut self, from: NodeId, epoch: Epoch, out: &mut Vec<Output>) {
        let known = epoch.min(self.order.epoch);
        let may = self
            .state
            .may_have_keys_but_for_lease(from, known, self.order.time);
        match (self.leader(), may) {
            (Some(leader), Ok(())) if leader == from => {
                // Who came or went with an epoch stands in entries that this node cannot read yet.
                let judged = epoch == known || !self.changes_members_until(epoch);
                if !(judged && self.send_partials(from, epoch, out)) && known < epoch {
                    self.send_partials(from, known, out);
                }
            }
            (_, Err(reason)) => self.note_refusal(from, epoch, reason, out),
            (Some(_), Ok(())) => {
                let reason = "it does not lead, so that its asking must be recorded first";
                self.note_refusal(from, epoch, reason, out);
            }
            (None, Ok(())) => {}
        }
    }

    /// What the ledger says of keys, with what entries say that could not be applied yet: how an epoch begins is
    /// public. None if the epoch is one that was begun.
    fn records_ahead(&self, epoch: Epoch) -> Option<Keys> {
        if epoch <= self.order.epoch {
            return None;
        }
        let engine = self.engine.as_ref()?;
        let after = (self.order.committed.0 + 1..).map(Index);
        let entries = after.map_while(|index| engine.entry(index));
        let openings = entries.filter_map(|entry| {
            let read = ledger::inspect(&entry.payload).ok()?;
            let opening = match read.header.kind {
                Kind::Administrative => governance::opening_from_public(&read.public).ok()?,
                _ => None,
            };
            Some((entry.index, opening?))
        });
        Some(self.state.keys().ahead(self.setup.network, openings))
    }

    /// Whether an epoch that this node has not come to, up to this one, began because somebody came or went.
    fn changes_members_until(&self, epoch: Epoch) -> bool {
        let ahead = self.records_ahead(epoch);
        let openings = ahead.iter().flat_map(|keys| keys.epochs());
        openings.map(|record| &record.opening).any(|o| {
            (self.order.epoch.next()..=epoch).contains(&o.epoch)
                && o.cause == EpochCause::Membership
        })
    }

    /// What this node's actor adds to the opening of an epoch's two keys.
    fn own_parts(&mut self, epoch: Epoch) -> Option<Parts> {
        let ahead = self.records_ahead(epoch);
        let transport = self.shares.transport()?;
        let records = ahead.as_ref().unwrap_or(self.state.keys());
        self.releases
            .share
            .parts(records, transport, epoch, &mut self.entropy)
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
            Ok(read) => {
                self.open_earlier(partials.epoch, out);
                self.partials_came(read, partials.epoch, out);
            }
            Err(_) => log(
                out,
                2,
                "keys",
                &format!("node {from} sent what is no partial decryption"),
            ),
        }
    }

    /// A leader without keys got a part of an earlier epoch than it asked for: whoever sent it has not come
    /// further, so the keys of that one are opened first, of the earliest if there are several.
    fn open_earlier(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        let newest = self.newest_epoch();
        let keyless = self.order.leading.is_some() && !self.keyring.holds(newest);
        let under_way = self.releases.earlier.as_ref().map(|opening| opening.epoch);
        let record = self.state.keys().epoch(epoch);
        let sealed = record.is_some_and(|record| record.opening.seal.is_some());
        if keyless && sealed && epoch < under_way.unwrap_or(newest) {
            self.releases.earlier = Some(Opening::new(epoch));
            if let Some(own) = self.own_parts(epoch) {
                self.partials_came(own, epoch, out);
            }
        }
    }

    fn partials_came(&mut self, parts: Parts, epoch: Epoch, out: &mut Vec<Output>) {
        let ahead = self.records_ahead(epoch);
        let releases = &mut self.releases;
        let openings = [&mut releases.opening, &mut releases.earlier].into_iter();
        let Some(opening) = openings.flatten().find(|opening| opening.epoch == epoch) else {
            return;
        };
        let records = ahead.as_ref().unwrap_or(self.state.keys());
        match opening.add(records, parts) {
            Ok(None) => {}
            Ok(Some(Opened { keys, by })) => {
                let text = format!(
                    "the keys of epoch {} were opened by {}",
                    epoch.0,
                    by.join(", ")
                );
                log(out, 4, "keys", &text);
                self.keyring.insert(epoch, keys);
                self.keyring.walk_back(self.setup.network, records);
                self.begin_life();
                if self
                    .releases
                    .earlier
                    .take_if(|o| o.epoch == epoch)
                    .is_some()
                {
                    self.give_keys_to_all(epoch, out);
                } else {
                    self.releases.opening = None;
                }
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
        self.note_grant(self.id, epoch, out);
    }

    /// Whether the keys of the present epoch are gone, and M actors must open them.
    pub fn is_keyless(&self) -> bool {
        let record = self.state.keys().epoch(self.order.epoch);
        record.is_some_and(|r| r.opening.seal.is_some()) && !self.keyring.holds(self.order.epoch)
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
