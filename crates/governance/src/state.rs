//! What the administrative entries of a network add up to.
//!
//! Fed with committed entries in order; the same entries give the same state on every node and for
//! every auditor. A command is applied whole or refused without a trace. Every map is ordered and
//! keyed by number, so that it can live in the administrative maps of `kv`.

use std::collections::BTreeMap;

use crypto::{Certificate, PublicKey};
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::{Caller, Configuration, Constitution, Lease, NetworkIdentity, Node, Refused};

mod apply;

/// What a command did, for whoever acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The network exists.
    Created { network: NetworkId },
    /// A constitution is in force.
    Constitution { version: u64, digest: Digest },
    /// A node may connect and is to be fed.
    Admitted {
        node: NodeId,
        replaces: Option<NodeId>,
    },
    /// A node is not served any more; close its channels and take it out of the configuration.
    Retiring { node: NodeId },
    /// A node has left for good and counts nowhere.
    Left { node: NodeId },
    /// Who votes changed.
    Configured(Configuration),
    /// A lease was renewed.
    Lease { node: NodeId, lease: Lease },
    /// A new epoch begins with the next entry.
    Epoch(Epoch),
}

/// Governance after some entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    version: u64,
    network: Option<Network>,
    nodes: BTreeMap<NodeId, Node>,
    last_node: NodeId,
    configuration: Configuration,
    epoch: Epoch,
    applied: Index,
}

#[derive(Debug, PartialEq, Eq)]
struct Network {
    id: NetworkId,
    certificate: Certificate,
    /// None for an auditor who has no key to open the genesis.
    identity: Option<NetworkIdentity>,
    constitution: Constitution,
    constitution_digest: Digest,
    constitution_version: u64,
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
        self.network.as_ref().map(|n| &n.certificate)
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
