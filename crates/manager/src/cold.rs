//! The network lost its quorum: how it goes on, and when.
//!
//! Source: DESIGN section 6, "Quorum lost"; `docs/recovery.md`. A node that finds nobody to join reads
//! what is public in its own files ([`copy`]), looks for the nodes of the last configuration and proves
//! itself to them as they do to it ([`meeting`]), has M actors open the newest keys ([`opening`]), and
//! checks its whole ledger with them. When enough have come, all but one pledge themselves to the one
//! whose ledger reaches farthest ([`choice`]), and that one goes on as the only voter ([`restart`]);
//! the others join it as they join any network. Until a quorum's worth of the former voters hold the
//! entry that restarted it, nothing is acknowledged ([`era`]).
//!
//! A node that is admitted and has no leader takes part in the meeting, too. When enough have come,
//! and too few run to elect a leader, it ends, so that it comes back as the others have: as a new
//! incarnation with its files. It never acknowledges anything after that in the old configuration.
//! So does one whose keys are gone while the actors that could open them are not admitted: without keys
//! nobody can be.

mod choice;
mod copy;
mod era;
mod filling;
mod meeting;
mod opening;
mod order;
mod progress;
mod restart;
mod says;
mod survivor;

use std::collections::{BTreeMap, BTreeSet};

use governance::{Constitution, NodeSlot, State};
use ledger::Sealer;
use types::{Digest, Index, Millis, NodeId, Term};

pub use era::{Era, halves};
pub use order::told_order;
pub use says::Says;

use crate::Output;
use crate::cold::choice::{Held, Reach, foremost};
use crate::cold::copy::Copy;
use crate::cold::meeting::{Met, Talk};
use crate::cold::order::enough;
use crate::cold::says::Present;
use crate::node::{Node, Phase, Reading, log};
use crate::opening::{Opening, ShareCache};
use crate::reading::READ_BYTES_MAX;

/// Whoever finds nobody for so long looks whether others do neither.
const ALONE_MS: u64 = 3_000;
/// So many run that they could elect a leader, and have not for so long.
const ELECT_MS: u64 = 60_000;
/// Said again at least so often, and lost when not heard for so long: before another incarnation at that
/// place could say anything.
const REPEAT_MS: u64 = 500;
const LOST_MS: u64 = 2_500;
/// Who restarted a network that nobody joins gives up.
const JOINED_MS: u64 = 30_000;

/// What a node knows and does while the network has no quorum.
#[derive(Default)]
pub struct Cold {
    stage: Stage,
    /// The public side of the own files.
    copy: Option<Box<Copy>>,
    talks: BTreeMap<u64, Talk>,
    met: BTreeMap<NodeSlot, Met>,
    dialled: BTreeMap<String, Millis>,
    /// Since when this node has no leader, being admitted.
    leaderless: Option<Millis>,
    /// And since when enough are here to restart the network.
    enough: Option<Millis>,
    /// By the own ledger enough are here, and it reaches farthest.
    leads_enough: bool,
    /// What is public in entries that were sent here and are not applied, with the term of the last.
    sent: Option<(Term, Box<Copy>)>,
    said: Option<(Millis, Present)>,
    round: u64,
    pledged: Option<Pledge>,
    opening: Option<Opening>,
    share: ShareCache,
    asked: Millis,
    /// Actors who opened the keys.
    opened_by: Vec<String>,
    /// What was told last of the progress, and of an order.
    told: String,
    told_order: String,
    restarted: Option<Millis>,
}

/// How far a node has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Joins, or is admitted, as ever.
    #[default]
    Idle,
    /// Reads what is public in its files.
    Reading,
    /// Has entries lent that are missing among them.
    Filling,
    /// Has read them; looks for others and for keys.
    Meeting,
    /// Opens and checks them.
    Verifying,
    Verified,
    /// Waits for the evidence that the ledger will show.
    Claiming,
    Restarted,
}

impl Stage {
    /// What the files say is not checked with keys yet.
    fn is_unopened(self) -> bool {
        (Self::Reading..=Self::Verifying).contains(&self)
    }
}

/// To whom this node has pledged itself, and to no other.
struct Pledge {
    slot: NodeSlot,
    key: Digest,
    round: u64,
}

impl Node {
    /// Time passed.
    pub fn cold_tick(&mut self, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Joining => {
                if self.cold.stage == Stage::Idle {
                    return self.grow_lonely(out);
                }
                self.seek(out);
                if self.cold.stage == Stage::Filling {
                    self.ask_lent(out);
                }
                self.ask_partials(out);
                self.choose(out);
                self.say_present(out);
                self.tell_progress(out);
            }
            Phase::Restoring if self.cold.stage == Stage::Verifying => {
                self.seek(out);
                self.say_present(out);
            }
            Phase::Restoring if self.cold.stage == Stage::Restarted => self.say_present(out),
            Phase::Admitted => self.survive(out),
            _ => {}
        }
    }

    /// A joiner that finds nobody begins to read its own files.
    fn grow_lonely(&mut self, out: &mut Vec<Output>) {
        if self.now.since(self.leader_heard) < ALONE_MS {
            return;
        }
        let last = self.local.last();
        if last == Index::ZERO {
            return;
        }
        self.cold.copy = Some(Box::new(Copy::new(
            self.setup.network,
            &self.setup.constitution,
        )));
        self.cold.stage = Stage::Reading;
        let text = format!(
            "no node of the network admits this one: reads what its own entries up to {last} say, and looks for the others"
        );
        log(out, 3, "cold", &text);
        self.inspect_next(out);
        self.report(out);
    }

    fn inspect_next(&mut self, out: &mut Vec<Output>) {
        let Some(copy) = &self.cold.copy else { return };
        let next = copy.last.next();
        let last = match self.local.apart() {
            _ if next <= self.local.lower() => self.local.lower(),
            Some((first, _)) if next < first => {
                self.cold.stage = Stage::Filling;
                return;
            }
            Some((_, last)) if next <= last => last,
            Some(_) => {
                self.local.filled();
                return self.inspected_all(None, out);
            }
            None => return self.inspected_all(None, out),
        };
        self.read(Reading::Inspect, next, last, READ_BYTES_MAX, out);
    }

    /// The host gave entries of the files.
    pub fn inspected(&mut self, read: &boundary::Entries, out: &mut Vec<Output>) {
        let Some(copy) = &mut self.cold.copy else {
            return;
        };
        let given = read.failure.is_empty() && read.first == copy.last.0 + 1;
        if !given || read.entries.is_empty() {
            return self.inspected_all(Some("the host does not give it".into()), out);
        }
        for bytes in &read.entries {
            if let Err(reason) = copy.read(bytes) {
                return self.inspected_all(Some(reason), out);
            }
        }
        self.inspect_next(out);
    }

    fn inspected_all(&mut self, reason: Option<String>, out: &mut Vec<Output>) {
        let Some(copy) = &self.cold.copy else { return };
        if let Some(reason) = reason {
            let text = format!(
                "entry {} in the ledger's files does not count: {reason}; takes part with those before it",
                copy.last.next()
            );
            log(out, 1, "cold", &text);
        }
        if copy.state.network() != Some(self.setup.network) {
            let text = "the files hold no ledger of this network: this node waits for one to join";
            log(out, 1, "cold", text);
            self.cold.stage = Stage::Idle;
            self.leader_heard = self.now;
            return;
        }
        self.cold.stage = Stage::Meeting;
        self.report(out);
    }

    /// Governance as far as this node knows it.
    fn cold_state(&self) -> &State {
        match (&self.cold.copy, self.cold.stage) {
            (Some(copy), stage) if stage.is_unopened() => &copy.state,
            _ => &self.state,
        }
    }

    /// The constitution that others are held against.
    fn cold_constitution(&self) -> &Constitution {
        let known = match (&self.cold.copy, self.cold.stage) {
            (Some(copy), stage) if stage.is_unopened() => copy.constitution(),
            _ => self.state.constitution(),
        };
        known.unwrap_or(&self.setup.constitution)
    }

    fn own_slot(&self) -> NodeSlot {
        NodeSlot {
            owner: self.setup.owner.clone(),
            address: self.setup.address.clone(),
        }
    }

    /// How far the own ledger reaches.
    fn held(&self) -> Held {
        match (&self.cold.copy, self.cold.stage) {
            (Some(copy), stage) if stage.is_unopened() => copy.held(),
            _ => Held {
                reach: Reach {
                    restarts: self.order.restarts,
                    established: self.era.is_established(),
                    term: self.order.runs.last(),
                    index: self.order.committed,
                },
                digest: self.order.last_digest(),
            },
        }
    }

    fn present(&self) -> Present {
        let cold = &self.cold;
        Present {
            held: self.held(),
            verified: cold.stage >= Stage::Verified,
            runs: cold.stage == Stage::Idle,
            shares: self.shares.transport().is_some(),
            round: cold.round,
            pledged: cold.pledged.as_ref().map(|p| (p.key, p.round)),
            restarted: cold.stage == Stage::Restarted,
            enough: cold.leads_enough,
        }
    }

    fn say_present(&mut self, out: &mut Vec<Output>) {
        let present = self.present();
        let same =
            |(at, said): &(Millis, Present)| *said == present && self.now.since(*at) < REPEAT_MS;
        if self.cold.said.as_ref().is_some_and(same) {
            return;
        }
        self.cold.said = Some((self.now, present.clone()));
        let to: Vec<NodeSlot> = self.cold.met.keys().cloned().collect();
        for slot in to {
            self.say(&slot, &Says::Present(present.clone()), out);
        }
    }

    /// Its whole ledger is checked: what counts of it stands in `order` and `state`.
    pub fn cold_verified(&mut self, out: &mut Vec<Output>) {
        self.cold.stage = Stage::Verified;
        self.phase = Phase::Joining;
        let text = format!(
            "the ledger's files are checked up to entry {}",
            self.order.committed
        );
        log(out, 3, "cold", &text);
        self.report(out);
        self.cold_tick(out);
    }

    /// Whom to follow, or whether to go on oneself.
    fn choose(&mut self, out: &mut Vec<Output>) {
        if self.cold.stage != Stage::Verified {
            return;
        }
        self.keep_pledge(out);
        self.cold.leads_enough = false;
        if self.cold.pledged.is_some() {
            return;
        }
        let own = self.own_slot();
        let mut present: BTreeMap<NodeSlot, Reach> = self
            .cold
            .met
            .iter()
            .filter_map(|(slot, met)| Some((slot.clone(), met.present.as_ref()?)))
            .filter(|(_, present)| present.verified)
            .map(|(slot, present)| (slot, present.held.reach))
            .collect();
        present.insert(own.clone(), self.held().reach);
        let places: BTreeSet<NodeSlot> = present.keys().cloned().collect();
        let Some(constitution) = self.state.constitution() else {
            return;
        };
        let voters = self.era.voters(&self.state);
        let ordered = self.order_to_restart().and_then(Result::ok);
        let rule = (constitution, &voters);
        let best = foremost(&present).filter(|best| **best != own);
        let is_enough = enough(rule, ordered.as_ref(), &places, &present);
        // A ledger that was cut may end at a configuration of long ago, of which nobody could come. What
        // counts is the configuration of the one that goes on, and that one asks for its pledges.
        let says_enough = |slot| {
            self.cold.met[slot]
                .present
                .as_ref()
                .is_some_and(|p| p.enough)
        };
        if !is_enough && !best.is_some_and(says_enough) {
            return self.tell_order(out);
        }
        let Some(best) = best else {
            let me = (self.key.public().fingerprint(), self.cold.round);
            let mut pledged: BTreeSet<NodeSlot> = self
                .cold
                .met
                .iter()
                .filter(|(_, met)| met.present.as_ref().is_some_and(|p| p.pledged == Some(me)))
                .map(|(slot, _)| slot.clone())
                .collect();
            pledged.insert(own);
            let may_go_on = enough(rule, ordered.as_ref(), &pledged, &present);
            self.cold.leads_enough = true;
            if may_go_on {
                self.claim(out);
            }
            return;
        };
        let met = &self.cold.met[best];
        let pledge = Pledge {
            slot: best.clone(),
            key: met.key.fingerprint(),
            round: met.present.as_ref().map_or(0, |p| p.round),
        };
        let text = format!(
            "enough nodes are here: follows {} of {}, whose ledger reaches farthest",
            best.address, best.owner
        );
        log(out, 3, "cold", &text);
        // Pledges to this node are void from here on.
        self.cold.round += 1;
        self.cold.pledged = Some(pledge);
    }

    /// A pledge ends when the other is lost, or has pledged itself elsewhere.
    fn keep_pledge(&mut self, out: &mut Vec<Output>) {
        let Some(pledge) = &self.cold.pledged else {
            return;
        };
        let met = self.cold.met.get(&pledge.slot);
        let present = met
            .filter(|met| met.key.fingerprint() == pledge.key)
            .and_then(|met| met.present.as_ref());
        match present {
            Some(present) if present.restarted => {
                let address = pledge.slot.address.clone();
                self.join_at(address, out);
            }
            Some(present) if present.round <= pledge.round => {}
            _ => {
                log(out, 3, "cold", "the node that this one followed is lost");
                self.cold.pledged = None;
            }
        }
    }

    /// Whether this node is to follow the one with this key, which restarts the network.
    pub fn follows(&self, key: &crypto::PublicKey) -> bool {
        let pledged = self.cold.pledged.as_ref();
        pledged.is_some_and(|pledge| pledge.key == key.fingerprint())
    }

    /// The cold procedure is over for this node, however it ended.
    pub fn end_cold(&mut self, out: &mut Vec<Output>) {
        let cold = std::mem::take(&mut self.cold);
        for connection in cold.talks.into_keys() {
            self.sessions.close(connection, out);
        }
        self.reading
            .retain(|_, why| !matches!(why, Reading::Inspect | Reading::Restore));
    }

    /// A network admits this node after all: what it read of its own files is held against that
    /// network's anew.
    pub fn forget_ledger(&mut self) {
        self.restoring = None;
        self.fetching = None;
        self.order.forget(Sealer::new(NodeId(0), self.key.public()));
        self.state = State::default();
        self.era = Era::default();
        self.configurations.clear();
        for protocol in &mut self.protocols {
            protocol.heights = crate::heights::Heights::default();
        }
        self.snapshots.forget_entries();
        self.figures.restored_entries = 0;
    }

    /// Whether what a leader makes can be sealed, and what it commits acknowledged: enough nodes hold the
    /// restart.
    pub fn serves(&self) -> bool {
        // The count is raised before the entry that says so is committed.
        if !self.era.is_established() || self.order.restarts != self.state.restarts() {
            return false;
        }
        let leading = self.order.leading.as_ref();
        if leading.is_some_and(|l| !self.keyring.holds(l.epoch)) {
            return false;
        }
        let Some((index, quorum)) = self.era.awaited() else {
            return true;
        };
        self.holders(index) >= quorum
    }

    /// How many voters are known to hold an entry, this leader among them.
    pub fn holders(&self, index: Index) -> usize {
        let Some(engine) = &self.engine else { return 0 };
        let configuration = consensus::Engine::configuration(engine);
        let voters = configuration
            .incoming
            .as_ref()
            .unwrap_or(&configuration.voters);
        let holds = |node: &&NodeId| {
            **node == self.id
                || consensus::Engine::matched(engine, **node).is_some_and(|m| m >= index)
        };
        voters.iter().filter(holds).count()
    }
}

#[cfg(test)]
mod testing {
    use governance::Constitution;

    /// A constitution of which only the settings matter.
    pub fn constitution() -> Constitution {
        use governance::{Settings, Standing, Visibility, Voting};
        Constitution {
            network: "cold".into(),
            genesis_time_ms: types::Millis(1),
            visibility: Visibility::Public,
            settings: Settings::default(),
            voting: Voting::default(),
            standing: Standing::default(),
            policies: Default::default(),
            succeeds: None,
            actors: Vec::new(),
            nodes: Vec::new(),
            protocols: Vec::new(),
            code: tee::CodeManifest { images: Vec::new() },
            tee: tee::Manifest {
                strength_min: tee::Strength::Software,
                accepted: Vec::new(),
                evidence_age_max_ms: 1,
            },
        }
    }
}
