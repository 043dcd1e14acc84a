//! What the administrative entries of a network add up to.
//!
//! Fed with committed entries in order; the same entries give the same state on every node and for
//! every auditor. A command is applied whole or refused without a trace. Every map is ordered and
//! keyed by number, so that it can live in the administrative maps of `kv`.

use std::collections::BTreeMap;

use crypto::{Certificate, PublicKey};
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::{
    AdmitNode, BadCommand, Caller, Command, Configuration, Constitution, Departure, Lease,
    NetworkIdentity, Node, Refused, Status, command::Public,
};

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

/// What can be asked.
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

/// What changes it.
impl State {
    /// Applies the command of a committed entry.
    ///
    /// # Errors
    /// [`Refused`], and nothing was changed: what was valid when it was proposed may not be any
    /// more. The same on every node.
    pub fn apply(
        &mut self,
        index: Index,
        time: Millis,
        command: &Command,
    ) -> Result<Vec<Fact>, Refused> {
        let facts = match command {
            Command::Genesis(genesis) => {
                let identity = Some(genesis.identity.copy());
                let certificate = genesis.identity.certificate();
                self.create(
                    index,
                    time,
                    &genesis.constitution,
                    certificate,
                    identity,
                    &genesis.node,
                )?
            }
            Command::AdmitNode(admit) => self.admit_node(index, time, admit)?,
            Command::RemoveNode { node, departure } => self.remove_node(*node, *departure)?,
            Command::Configure(configuration) => self.configure(configuration)?,
            Command::RenewLease {
                node,
                number,
                expires,
            } => self.renew_lease(
                *node,
                Lease {
                    number: *number,
                    expires: *expires,
                },
            )?,
            Command::OpenEpoch { epoch, .. } => self.open_epoch(*epoch)?,
        };
        self.done(index);
        Ok(facts)
    }

    /// Applies the public part of a committed entry, for an auditor without keys: everything but
    /// the private key of the network identity follows from it, if the constitution is public.
    ///
    /// # Errors
    /// [`Refused`], as [`State::apply`]; [`Refused::Sealed`] if the constitution is.
    pub fn apply_public(
        &mut self,
        index: Index,
        time: Millis,
        public: &[u8],
    ) -> Result<Vec<Fact>, Refused> {
        if let Public::Genesis {
            digest,
            certificate,
            node,
            constitution,
        } = Public::decode(public).map_err(Refused::Unreadable)?
        {
            let constitution = constitution.ok_or(Refused::Sealed)?;
            if constitution.digest() != digest {
                return Err(Refused::Unreadable(BadCommand::Public));
            }
            let facts = self.create(index, time, &constitution, &certificate.0, None, &node)?;
            self.done(index);
            return Ok(facts);
        }
        let command = Command::from_parts(public, &[]).map_err(Refused::Unreadable)?;
        self.apply(index, time, &command)
    }

    fn done(&mut self, index: Index) {
        self.version += 1;
        self.applied = index;
    }

    fn create(
        &mut self,
        index: Index,
        time: Millis,
        constitution: &Constitution,
        certificate: &Certificate,
        identity: Option<NetworkIdentity>,
        node: &AdmitNode,
    ) -> Result<Vec<Fact>, Refused> {
        if self.network.is_some() {
            return Err(Refused::AlreadyCreated);
        }
        constitution.validate()?;
        let digest = constitution.digest();
        let id = constitution.network_id();
        // Checked on a state of its own, so that a refusal leaves no trace in this one.
        let mut created = Self {
            network: Some(Network {
                id,
                certificate: certificate.clone(),
                identity,
                constitution: constitution.clone(),
                constitution_digest: digest,
                constitution_version: 1,
            }),
            epoch: Epoch(1),
            ..Self::new()
        };
        created.admit_node(index, time, node)?;
        created.configure(&Configuration {
            voters: [Self::FIRST_NODE].into(),
            ..Configuration::default()
        })?;
        *self = created;
        Ok(vec![
            Fact::Created { network: id },
            Fact::Constitution { version: 1, digest },
            Fact::Admitted {
                node: Self::FIRST_NODE,
                replaces: None,
            },
            Fact::Configured(self.configuration.clone()),
            Fact::Epoch(self.epoch),
        ])
    }

    fn admit_node(
        &mut self,
        index: Index,
        time: Millis,
        admit: &AdmitNode,
    ) -> Result<Vec<Fact>, Refused> {
        let constitution = self.constitution().ok_or(Refused::NotCreated)?;
        let signed = admit.verify_tuple(constitution, time)?;
        let admission = self.admit(&signed)?;
        if (admission.id(), admission.replaces()) != (admit.id, admit.replaces) {
            return Err(Refused::Outdated);
        }
        let expires = time.plus(constitution.settings.lease_length_ms);
        let tuple = signed.tuple();
        let node = Node {
            id: admit.id,
            owner: tuple.owner.clone(),
            address: tuple.address.clone(),
            key: tuple.key,
            status: Status::Admitted,
            since: index,
            lease: Lease { number: 1, expires },
            replaces: admit.replaces,
            departure: None,
        };
        let mut facts = vec![Fact::Admitted {
            node: admit.id,
            replaces: admit.replaces,
        }];
        if let Some(former) = admit.replaces {
            facts.extend(self.retire(former, None));
        }
        self.last_node = admit.id;
        self.nodes.insert(admit.id, node);
        Ok(facts)
    }

    fn remove_node(&mut self, id: NodeId, departure: Departure) -> Result<Vec<Fact>, Refused> {
        self.present(id)?;
        Ok(self.retire(id, Some(departure)))
    }

    /// A node that is served and known.
    fn present(&self, id: NodeId) -> Result<&Node, Refused> {
        let node = self
            .nodes
            .get(&id)
            .ok_or(Refused::UnknownNode { node: id })?;
        if node.is_served() {
            Ok(node)
        } else {
            Err(Refused::Left { node: id })
        }
    }

    fn retire(&mut self, id: NodeId, departure: Option<Departure>) -> Vec<Fact> {
        let counts = self.configuration.counts(id);
        let node = self
            .nodes
            .get_mut(&id)
            .expect("whoever calls has looked it up");
        node.departure = departure;
        let mut facts = vec![Fact::Retiring { node: id }];
        if counts {
            node.status = Status::Retiring;
        } else {
            node.status = Status::Former;
            facts.push(Fact::Left { node: id });
        }
        facts
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<Vec<Fact>, Refused> {
        if self.network.is_none() {
            return Err(Refused::NotCreated);
        }
        let empty = |voters: &std::collections::BTreeSet<NodeId>| voters.is_empty();
        if empty(&configuration.voters) || configuration.incoming.as_ref().is_some_and(empty) {
            return Err(Refused::NoVoter);
        }
        for id in configuration.nodes() {
            match self.nodes.get(&id).map(|n| n.status) {
                None => return Err(Refused::UnknownNode { node: id }),
                Some(Status::Former) => return Err(Refused::Left { node: id }),
                Some(_) => {}
            }
        }
        self.configuration = configuration.clone();
        let mut facts = vec![Fact::Configured(configuration.clone())];
        for node in self.nodes.values_mut() {
            let counts = configuration.counts(node.id);
            node.status = match (node.status, counts) {
                (Status::Admitted | Status::Voter, true) => Status::Voter,
                (Status::Admitted | Status::Voter, false) => Status::Admitted,
                (Status::Retiring, true) => Status::Retiring,
                (Status::Retiring, false) => {
                    facts.push(Fact::Left { node: node.id });
                    Status::Former
                }
                (Status::Former, _) => Status::Former,
            };
        }
        Ok(facts)
    }

    fn renew_lease(&mut self, id: NodeId, lease: Lease) -> Result<Vec<Fact>, Refused> {
        let current = self.present(id)?.lease;
        if current.number.checked_add(1) != Some(lease.number) || lease.expires <= current.expires {
            return Err(Refused::LeaseOrder {
                node: id,
                current: current.number,
            });
        }
        self.nodes.get_mut(&id).expect("it is present").lease = lease;
        Ok(vec![Fact::Lease { node: id, lease }])
    }

    fn open_epoch(&mut self, epoch: Epoch) -> Result<Vec<Fact>, Refused> {
        if self.network.is_none() {
            return Err(Refused::NotCreated);
        }
        if self.epoch.0.checked_add(1) != Some(epoch.0) {
            return Err(Refused::EpochOrder {
                epoch,
                current: self.epoch,
            });
        }
        self.epoch = epoch;
        Ok(vec![Fact::Epoch(epoch)])
    }
}
