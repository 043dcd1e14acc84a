//! What the administrative entries of a network add up to.
//!
//! Fed with committed entries in order; the same entries give the same state on every node and for
//! every auditor. A command is applied whole or refused without a trace. Every map is ordered and
//! keyed by number, so that it can live in the administrative maps of `kv`.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{Certificate, PublicKey};
use minicbor::{Decode, Encode};
use serde::Serialize;
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::event::Events;
use crate::{
    Caller, Configuration, Constitution, Event, Listed, Measured, NetworkIdentity, Node, NodeSlot,
    Proposal, Refused,
};

mod apply;
mod audits;
mod enact;
mod keys;
mod order;
mod polls;
mod stored;

pub use order::Ordered;
pub use stored::BadState;

/// Governance after some entries.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct State {
    #[n(0)]
    version: u64,
    #[n(1)]
    network: Option<Network>,
    #[n(2)]
    nodes: BTreeMap<NodeId, Node>,
    #[n(3)]
    last_node: NodeId,
    #[n(4)]
    configuration: Configuration,
    #[n(5)]
    epoch: Epoch,
    #[n(6)]
    applied: Index,
    /// The last incarnation of each listed slot since the vote that listed or readmitted it.
    #[n(7)]
    past: BTreeMap<NodeSlot, NodeId>,
    /// By number: the open ones and the last closed ones.
    #[n(8)]
    proposals: BTreeMap<u64, Proposal>,
    #[n(9)]
    last_proposal: u64,
    /// Against replays: what was proposed and could still be handed in.
    #[n(10)]
    recent: BTreeMap<Digest, polls::Recent>,
    #[n(11)]
    events: Events,
    #[n(12)]
    keys: crate::Keys,
    #[n(13)]
    restarts: u32,
    #[n(14)]
    audits: crate::audit::Audits,
    /// Some command stood in a private part that this reader could not open.
    #[cbor(skip)]
    unread: bool,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
struct Network {
    #[n(0)]
    id: NetworkId,
    #[n(1)]
    certificate: Listed,
    /// None for an auditor who has no key to open the genesis.
    #[n(2)]
    identity: Option<NetworkIdentity>,
    #[n(3)]
    constitution: Constitution,
    #[n(4)]
    constitution_digest: Digest,
    #[n(5)]
    constitution_version: u64,
    #[n(6)]
    versions: Vec<Version>,
    /// Members who were asked about an image and did not vote for it.
    #[n(7)]
    silent: BTreeMap<Measured, BTreeSet<String>>,
}

/// A constitution that is or was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Version {
    /// 1 for that of the genesis.
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub digest: Digest,
    /// The entry that put it into force; a replay up to it gives its text.
    #[n(2)]
    pub entry: Index,
}

impl State {
    /// The number of the node that starts a network.
    pub const FIRST_NODE: NodeId = NodeId(1);

    /// Before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the commands that were applied. A proposal names the version that it was made under.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The entry that changed this last.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The network, once its genesis is applied.
    pub fn network(&self) -> Option<NetworkId> {
        self.network.as_ref().map(|n| n.id)
    }

    /// The identity that clients pin, with its private key. An auditor who replayed public parts
    /// has none.
    pub fn identity(&self) -> Option<&NetworkIdentity> {
        self.network.as_ref().and_then(|n| n.identity.as_ref())
    }

    /// The certificate of that identity.
    pub fn network_certificate(&self) -> Option<&Certificate> {
        self.network.as_ref().map(|n| &n.certificate.0)
    }

    /// The constitution in force.
    pub fn constitution(&self) -> Option<&Constitution> {
        self.network.as_ref().map(|n| &n.constitution)
    }

    /// Digest of the constitution in force; zero before genesis.
    pub fn constitution_digest(&self) -> Digest {
        self.network
            .as_ref()
            .map_or(Digest::ZERO, |n| n.constitution_digest)
    }

    /// 1 for the constitution of the genesis, one more with each that followed; 0 before.
    pub fn constitution_version(&self) -> u64 {
        self.network.as_ref().map_or(0, |n| n.constitution_version)
    }

    /// All constitutions that were in force, oldest first.
    pub fn versions(&self) -> &[Version] {
        self.network.as_ref().map_or(&[], |n| &n.versions)
    }

    /// Members who stand behind every image that may run: `code.endorsements` of conditions.
    pub fn code_endorsements(&self) -> usize {
        self.network.as_ref().map_or(0, Network::code_endorsements)
    }

    /// What happened after event `sequence` (0: from the beginning), oldest first. What is too old
    /// to be kept is missing: then the first event's sequence is not the next one, and the rest is
    /// in the ledger.
    pub fn events_since(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        self.events.since(sequence)
    }

    /// The sequence of the last event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.events.last()
    }

    /// The epoch of the entries that follow.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The actor that a chain of certificates (leaf first) stands for at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever presented the chain.
    pub fn actor_of(&self, chain: &[Certificate], now: Millis) -> Result<Caller, Refused> {
        self.constitution()
            .ok_or(Refused::NotCreated)?
            .actor_of(chain, now)
    }

    /// A node, present or former.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The node that has or had this key. Ask [`Node::is_served`] before listening to it.
    pub fn node_by_key(&self, key: &PublicKey) -> Option<&Node> {
        self.nodes.values().find(|n| n.key == *key)
    }

    /// The incarnation that fills a slot now.
    pub fn node_at(&self, owner: &str, address: &str) -> Option<&Node> {
        self.served()
            .find(|n| n.owner == owner && n.address == address)
    }

    /// All nodes that ever were, in order of admission.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Those that channels are kept with.
    pub fn served(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|n| n.is_served())
    }

    /// Those that count in a quorum, whether served or not.
    pub fn voters(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .values()
            .filter(|n| self.configuration.counts(n.id))
    }

    /// The configuration of consensus.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The number that the next admitted node will have.
    pub fn next_node(&self) -> NodeId {
        self.last_node.next()
    }
}
