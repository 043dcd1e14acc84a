//! What each command does to the state, and when it is refused.

use std::collections::BTreeMap;

use crypto::Certificate;
use types::{Epoch, Index, Millis, NetworkId, NodeId};

use super::{Network, State, Version};
use crate::canonical::network_id;
use crate::tuple::signed_by;
use crate::{
    AdmitNode, BadCommand, Command, Configuration, Constitution, Departure, Fact, Lease, Listed,
    Measured, NetworkIdentity, Node, NodeSlot, Refused, Status, parts::Public,
};

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
        self.follows(index)?;
        let mut facts = match command {
            Command::Genesis(genesis) => {
                let identity = Some(genesis.identity.copy());
                let certificate = genesis.identity.certificate();
                let id = genesis.constitution.network_id();
                self.create(
                    index,
                    time,
                    (id, &genesis.constitution),
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
            Command::OpenEpoch(opening) => self.open_epoch(index, time, opening)?,
            Command::KeyStep(step) => self.key_step(index, time, step)?,
            Command::KeyRelease(release) => self.key_release(time, release)?,
            Command::NetworkRestart(restart) => self.network_restart(index, time, restart)?,
            Command::Propose(recorded) => self.apply_propose(index, time, recorded)?,
            Command::Vote(recorded) => self.apply_vote(index, time, recorded)?,
            Command::Withdraw(recorded) => self.apply_withdraw(index, time, recorded)?,
            Command::Expire { proposals } => self.apply_expire(index, time, proposals)?,
            Command::ConsentAudit(recorded) => self.apply_consent(index, time, recorded)?,
            Command::AuditRelease(release) => self.apply_audit_release(time, release)?,
        };
        self.done(index, time, &mut facts);
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
        self.apply_public_under(index, time, public, None)
    }

    /// [`State::apply_public`] for an auditor who was given the constitution of the genesis, which
    /// may be sealed there.
    ///
    /// # Errors
    /// As [`State::apply_public`]; [`Refused::Unreadable`] if the genesis has another constitution.
    pub fn apply_public_under(
        &mut self,
        index: Index,
        time: Millis,
        public: &[u8],
        given: Option<&Constitution>,
    ) -> Result<Vec<Fact>, Refused> {
        self.follows(index)?;
        if let Public::Genesis {
            digest,
            certificate,
            node,
            constitution,
        } = Public::decode(public).map_err(Refused::Unreadable)?
        {
            let constitution = constitution
                .or_else(|| given.cloned().map(Box::new))
                .ok_or(Refused::Sealed)?;
            if constitution.digest() != digest {
                return Err(Refused::Unreadable(BadCommand::Public));
            }
            let id = constitution.network_id();
            let mut facts = self.create(
                index,
                time,
                (id, &constitution),
                &certificate.0,
                None,
                &node,
            )?;
            self.done(index, time, &mut facts);
            return Ok(facts);
        }
        if Public::decode(public).is_ok_and(|p| p.is_sealed()) {
            self.unread = true;
            return Err(Refused::Sealed);
        }
        let command = Command::from_parts(public, &[]).map_err(Refused::Unreadable)?;
        self.apply(index, time, &command)
    }

    /// [`State::apply_public`] for whoever has no key yet and must find those who open them together: what
    /// is public of nodes, configurations and keys is followed, also where the constitution and votes are
    /// sealed. The constitution that the reader's owner approved, of whatever version, stands for it. What
    /// comes of this decides nothing: it is read again when the keys are there.
    ///
    /// # Errors
    /// As [`State::apply_public`].
    pub fn apply_public_partly(
        &mut self,
        index: Index,
        time: Millis,
        public: &[u8],
        approved: &Constitution,
    ) -> Result<Vec<Fact>, Refused> {
        match Public::decode(public).map_err(Refused::Unreadable)? {
            Public::Genesis {
                digest,
                certificate,
                node,
                constitution: None,
            } if approved.digest() != digest => {
                self.follows(index)?;
                self.unread = true;
                let id = network_id(digest);
                let mut facts =
                    self.create(index, time, (id, approved), &certificate.0, None, &node)?;
                self.done(index, time, &mut facts);
                Ok(facts)
            }
            _ => self.apply_public_under(index, time, public, Some(approved)),
        }
    }

    /// Whether some of what was applied is not known here, since it is sealed.
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    fn follows(&self, index: Index) -> Result<(), Refused> {
        if index > self.applied {
            return Ok(());
        }
        Err(Refused::Stale {
            index,
            applied: self.applied,
        })
    }

    fn done(&mut self, index: Index, time: Millis, facts: &mut Vec<Fact>) {
        self.version += 1;
        self.applied = index;
        let over = self.audits.expire(time).into_iter();
        facts.extend(over.map(|grant| Fact::AuditEnded { grant }));
        for fact in facts.iter() {
            if let Fact::EpochDue { cause } = fact {
                self.keys.due = Some(*cause);
            }
        }
        self.events.record(index, time, facts);
    }

    fn create(
        &mut self,
        index: Index,
        time: Millis,
        (id, constitution): (NetworkId, &Constitution),
        certificate: &Certificate,
        identity: Option<NetworkIdentity>,
        node: &AdmitNode,
    ) -> Result<Vec<Fact>, Refused> {
        if self.network.is_some() {
            return Err(Refused::AlreadyCreated);
        }
        constitution.validate()?;
        let digest = constitution.digest();
        // Checked on a state of its own, so that a refusal leaves no trace in this one.
        let mut created = Self {
            network: Some(Network {
                id,
                certificate: Listed(certificate.clone()),
                identity,
                constitution: constitution.clone(),
                constitution_digest: digest,
                constitution_version: 1,
                versions: vec![Version {
                    version: 1,
                    digest,
                    entry: index,
                }],
                // Its members signed or approved it before they joined.
                silent: BTreeMap::new(),
            }),
            epoch: Epoch(1),
            unread: self.unread,
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

    pub(super) fn admit_node(
        &mut self,
        index: Index,
        time: Millis,
        admit: &AdmitNode,
    ) -> Result<Vec<Fact>, Refused> {
        let constitution = self.constitution().ok_or(Refused::NotCreated)?;
        let expires = time.plus(constitution.settings.lease_length_ms);
        let (tuple, rule) = if self.unread {
            // Who may be admitted stands in votes that are sealed. That nodes agreed on this one is all that
            // is known.
            let signer = admit.chain.first().map(|c| &c.0);
            let known = |id: &NodeId| self.nodes.contains_key(id);
            if known(&admit.id) || !admit.replaces.iter().all(known) {
                return Err(Refused::Outdated);
            }
            (signed_by(&admit.tuple, signer)?, None)
        } else {
            let signed = admit.verify_tuple(constitution, time)?;
            let admission = self.admit(&signed)?;
            if (admission.id(), admission.replaces()) != (admit.id, admit.replaces) {
                return Err(Refused::Outdated);
            }
            (signed.tuple().clone(), admission.rule().map(str::to_owned))
        };
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
            code: tee::measured(&admit.evidence).map(|(platform, measurement)| Measured {
                platform,
                measurement,
            }),
        };
        let mut facts = vec![Fact::Admitted {
            node: admit.id,
            replaces: admit.replaces,
        }];
        if let Some(rule) = rule {
            facts.push(Fact::Returned {
                node: admit.id,
                rule,
            });
        }
        let slot = NodeSlot {
            owner: tuple.owner.clone(),
            address: tuple.address.clone(),
        };
        if let Some(former) = admit.replaces {
            facts.extend(self.retire(former, None));
        }
        self.past.insert(slot, admit.id);
        self.last_node = admit.id;
        self.nodes.insert(admit.id, node);
        Ok(facts)
    }

    fn remove_node(&mut self, id: NodeId, departure: Departure) -> Result<Vec<Fact>, Refused> {
        self.present(id)?;
        let mut facts = self.retire(id, Some(departure));
        facts.push(Fact::EpochDue {
            cause: crate::EpochCause::Membership,
        });
        Ok(facts)
    }

    /// A node that is served and known.
    pub(super) fn present(&self, id: NodeId) -> Result<&Node, Refused> {
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

    pub(super) fn retire(&mut self, id: NodeId, departure: Option<Departure>) -> Vec<Fact> {
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

    pub(super) fn configure(
        &mut self,
        configuration: &Configuration,
    ) -> Result<Vec<Fact>, Refused> {
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
}
