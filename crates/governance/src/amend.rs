//! Amendment: what a list of changes makes of a constitution, all together or not at all.

use std::collections::BTreeSet;

use minicbor::Encode;
use tee::CodeState;
use types::Digest;

use crate::{Change, Constitution, Endpoint, Invalid, Measured, NodeSlot, Rule};

/// Most changes of one proposal: a consortium that moves house replaces its nodes in one go.
pub const CHANGES_MAX: usize = 128;

/// Why changes cannot be made. Told to the proposer; of an open proposal, why it became void.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    #[error("a proposal has 1 to {CHANGES_MAX} changes, found {0}")]
    Count(usize),
    #[error("two changes are about {0}; say once what it becomes")]
    Contradictory(String),
    #[error("there is no {0}")]
    Missing(String),
    #[error("there is {0} already")]
    Exists(String),
    #[error("{0} stays as it is; leave the change out")]
    Unchanged(String),
    #[error("the constitution has no setting {0:?}; `coco constitution show` lists them")]
    Setting(String),
    #[error("{value} is too large for setting {name}")]
    TooLarge { name: String, value: u64 },
    #[error("{owner:?} has no running node at {address:?} that votes in consensus; name one")]
    NoVoter { owner: String, address: String },
    #[error("the node of {owner:?} at {address:?} may join without this vote")]
    MayReturn { owner: String, address: String },
    #[error(
        "the data of {protocol} has format {version}: a vote takes it to the next number, one at a time and never back"
    )]
    Format { protocol: String, version: u32 },
    #[error(
        "{code} is what {nodes} runs; start it with other code, or remove it with the same proposal"
    )]
    CodeInUse { code: String, nodes: String },
    #[error("the audit cannot be granted: {0}")]
    Audit(&'static str),
    #[error("no node would be left that votes in consensus; add one and let it join first")]
    NoNode,
    #[error("the constitution that it leads to cannot be used:\n{0}")]
    Invalid(#[from] Invalid),
}

impl Constitution {
    /// The constitution with all of these changes, validated.
    ///
    /// # Errors
    /// [`BadChange`], for whoever proposes them.
    pub fn amended(&self, changes: &[Change]) -> Result<Self, BadChange> {
        if changes.is_empty() || changes.len() > CHANGES_MAX {
            return Err(BadChange::Count(changes.len()));
        }
        let mut targets = BTreeSet::new();
        for change in changes {
            for target in change.targets(self) {
                if let Some(twice) = targets.replace(target) {
                    return Err(BadChange::Contradictory(twice));
                }
            }
        }
        let mut next = self.clone();
        for change in changes {
            next.amend(change)?;
        }
        next.sort();
        if next != *self {
            next.validate()?;
        }
        Ok(next)
    }

    fn amend(&mut self, change: &Change) -> Result<(), BadChange> {
        let target = || {
            let mut targets = change.targets(self);
            targets.swap_remove(0)
        };
        let missing = || BadChange::Missing(target());
        let exists = || BadChange::Exists(target());
        let unchanged = || BadChange::Unchanged(target());
        let actor = |name: &str| self.actors.iter().position(|a| a.name == *name);
        let slot = |slot: &NodeSlot| self.nodes.iter().position(|n| n == slot);
        let image = |m: &Measured| {
            self.code
                .images
                .iter()
                .position(|i| i.platform == m.platform && i.measurement == m.measurement)
        };
        let protocol = |name: &str| {
            self.protocols
                .iter()
                .position(|p| p.name == name)
                .ok_or_else(|| BadChange::Missing(format!("protocol {name}")))
        };
        match change {
            Change::AddActor(new) => {
                if actor(&new.name).is_some() {
                    return Err(exists());
                }
                self.actors.push(new.clone());
            }
            Change::RemoveActor { actor: name } => {
                let place = actor(name).ok_or_else(missing)?;
                self.actors.remove(place);
                self.nodes.retain(|n| n.owner != *name);
            }
            Change::SetRoles {
                actor: name,
                roles,
                auditor,
            } => {
                let place =
                    actor(name).ok_or_else(|| BadChange::Missing(format!("actor {name}")))?;
                let found = &self.actors[place];
                if found.roles == *roles && found.auditor == *auditor {
                    return Err(unchanged());
                }
                self.actors[place].roles.clone_from(roles);
                self.actors[place].auditor = *auditor;
            }
            Change::SetCertificates {
                actor: name,
                certificates,
            } => {
                let place =
                    actor(name).ok_or_else(|| BadChange::Missing(format!("actor {name}")))?;
                if self.actors[place].certificates == *certificates {
                    return Err(unchanged());
                }
                self.actors[place].certificates.clone_from(certificates);
            }
            Change::SetShareKey {
                actor: name,
                share_key,
            } => {
                let place =
                    actor(name).ok_or_else(|| BadChange::Missing(format!("actor {name}")))?;
                if self.actors[place].share_key == *share_key {
                    return Err(unchanged());
                }
                self.actors[place].share_key = *share_key;
            }
            Change::AddNode(new) => {
                if slot(new).is_some() {
                    return Err(exists());
                }
                self.nodes.push(new.clone());
            }
            Change::RemoveNode(old) => {
                let place = slot(old).ok_or_else(missing)?;
                self.nodes.remove(place);
            }
            Change::MoveNode { owner, from, to } => {
                let old = NodeSlot {
                    owner: owner.clone(),
                    address: from.clone(),
                };
                let place = slot(&old).ok_or_else(missing)?;
                if from == to {
                    return Err(unchanged());
                }
                self.nodes[place].address.clone_from(to);
            }
            Change::ReadmitNode(of) | Change::TransferLeadership(of) => {
                slot(of).ok_or_else(|| BadChange::Missing(format!("node {}", of.address)))?;
            }
            Change::RevokeSessions { actor: name } => {
                actor(name).ok_or_else(|| BadChange::Missing(format!("actor {name}")))?;
            }
            Change::GrantAudit(terms) => terms.check()?,
            // Grants stand beside the constitution: see `state/enact.rs`.
            Change::RevokeAudit { .. } => {}
            Change::AddCode(new) => {
                if image(&Measured::of(new)).is_some() {
                    return Err(exists());
                }
                self.code.images.push(new.clone());
            }
            Change::RetireCode(of) => {
                let place = image(of).ok_or_else(missing)?;
                if self.code.images[place].state == CodeState::Retiring {
                    return Err(unchanged());
                }
                self.code.images[place].state = CodeState::Retiring;
            }
            Change::RemoveCode(of) => {
                let place = image(of).ok_or_else(missing)?;
                self.code.images.remove(place);
            }
            Change::SetTee(manifest) => {
                if self.tee == *manifest {
                    return Err(unchanged());
                }
                self.tee = manifest.clone();
            }
            Change::SetVotingPolicy { kind, policy } => {
                let before = match kind {
                    None => Some(self.voting.policy),
                    Some(kind) => self.voting.policies.get(kind).copied(),
                };
                if before == Some(*policy) {
                    return Err(unchanged());
                }
                match kind {
                    None => self.voting.policy = *policy,
                    Some(kind) => drop(self.voting.policies.insert(*kind, *policy)),
                }
            }
            Change::RemoveVotingPolicy { kind } => {
                if !self.voting.policies.contains_key(kind) {
                    return Err(missing());
                }
                self.voting.policies.remove(kind);
            }
            Change::SetOpenTime { open_ms } => {
                if self.voting.open_ms == *open_ms {
                    return Err(unchanged());
                }
                self.voting.open_ms = *open_ms;
            }
            Change::SetParticipantsPropose { kinds } => {
                if self.voting.participants_propose == *kinds {
                    return Err(unchanged());
                }
                self.voting.participants_propose.clone_from(kinds);
            }
            Change::SetRule(rule) => {
                if self.standing.rules.contains(rule) {
                    return Err(unchanged());
                }
                self.standing.rules.retain(|r| r.name != rule.name);
                self.standing.rules.push(rule.clone());
            }
            Change::RemoveRule { rule } => {
                if !self.standing.rules.iter().any(|r| r.name == *rule) {
                    return Err(missing());
                }
                self.standing.rules.retain(|r| r.name != *rule);
            }
            Change::SetListedNodesReturn { value } => {
                if self.standing.listed_nodes_return == *value {
                    return Err(unchanged());
                }
                self.standing.listed_nodes_return = *value;
            }
            Change::SetSetting { name, value } => {
                if self.settings.get(name) == Some(*value) {
                    return Err(unchanged());
                }
                self.settings.set(name, *value)?;
            }
            Change::SetPolicy { name, value } => {
                if self.policies.get(name) == Some(value) {
                    return Err(unchanged());
                }
                self.policies.insert(name.clone(), value.clone());
            }
            Change::RemovePolicy { name } => {
                if !self.policies.contains_key(name) {
                    return Err(missing());
                }
                self.policies.remove(name);
            }
            Change::SetProtocolSetting {
                protocol: of,
                name,
                value,
            } => {
                let place = protocol(of)?;
                if self.protocols[place].settings.get(name) == value.as_ref() {
                    return Err(unchanged());
                }
                let settings = &mut self.protocols[place].settings;
                match value {
                    Some(value) => drop(settings.insert(name.clone(), value.clone())),
                    None => drop(settings.remove(name)),
                }
            }
            Change::SetProtocolVersion {
                protocol: of,
                version,
            } => {
                let place = protocol(of)?;
                let present = self.protocols[place].version;
                if present == *version {
                    return Err(unchanged());
                }
                // Each step is a migration of its own, and none leads back.
                if present.checked_add(1) != Some(*version) {
                    return Err(BadChange::Format {
                        protocol: of.clone(),
                        version: present,
                    });
                }
                self.protocols[place].version = *version;
            }
            Change::SetProtocolAccess {
                protocol: of,
                access,
            } => {
                let place = protocol(of)?;
                if self.protocols[place].access == *access {
                    return Err(unchanged());
                }
                self.protocols[place].access = *access;
            }
            Change::SetEndpoint {
                protocol: of,
                endpoint,
            } => {
                let place = protocol(of)?;
                if self.protocols[place].endpoints.contains(endpoint) {
                    return Err(unchanged());
                }
                let endpoints = &mut self.protocols[place].endpoints;
                endpoints.retain(|e| e.name != endpoint.name);
                endpoints.push(endpoint.clone());
            }
            Change::RemoveEndpoint {
                protocol: of,
                endpoint,
            } => {
                let place = protocol(of)?;
                if self.protocols[place].endpoint(endpoint).is_none() {
                    return Err(missing());
                }
                (self.protocols[place].endpoints).retain(|e| e.name != *endpoint);
            }
        }
        Ok(())
    }
}

impl Change {
    /// Digest of the value that it would overwrite. A proposal is void once that has changed: its
    /// voters looked at something else. Changes that only add or remove have none; whether what
    /// they need is there is seen when they are applied.
    pub(crate) fn basis(&self, constitution: &Constitution) -> Option<Digest> {
        let c = constitution;
        match self {
            Self::SetRoles { actor, .. } => {
                c.actor(actor).and_then(|a| digest(&(&a.roles, a.auditor)))
            }
            Self::SetCertificates { actor, .. } => {
                c.actor(actor).and_then(|a| digest(&a.certificates))
            }
            Self::SetShareKey { actor, .. } => c.actor(actor).and_then(|a| digest(&a.share_key)),
            Self::SetTee(_) => digest(&c.tee),
            Self::SetVotingPolicy { kind: None, .. } => digest(&c.voting.policy),
            Self::SetVotingPolicy {
                kind: Some(kind), ..
            }
            | Self::RemoveVotingPolicy { kind } => digest(&c.voting.policies.get(kind)),
            Self::SetOpenTime { .. } => digest(&c.voting.open_ms),
            Self::SetParticipantsPropose { .. } => digest(&c.voting.participants_propose),
            Self::SetRule(Rule { name: rule, .. }) | Self::RemoveRule { rule } => {
                digest(&c.standing.rules.iter().find(|r| r.name == *rule))
            }
            Self::SetListedNodesReturn { .. } => digest(&c.standing.listed_nodes_return),
            Self::SetSetting { name, .. } => digest(&c.settings.get(name)),
            Self::SetPolicy { name, .. } | Self::RemovePolicy { name } => {
                digest(&c.policies.get(name))
            }
            Self::SetProtocolSetting { protocol, name, .. } => {
                digest(&c.protocol(protocol).and_then(|p| p.settings.get(name)))
            }
            Self::SetProtocolVersion { protocol, .. } => {
                digest(&c.protocol(protocol).map(|p| p.version))
            }
            Self::SetProtocolAccess { protocol, .. } => {
                digest(&c.protocol(protocol).map(|p| p.access))
            }
            Self::SetEndpoint {
                protocol,
                endpoint: Endpoint { name, .. },
            }
            | Self::RemoveEndpoint {
                protocol,
                endpoint: name,
            } => digest(&c.protocol(protocol).and_then(|p| p.endpoint(name))),
            Self::RetireCode(of) => digest(
                &c.code
                    .find(of.platform, &of.measurement)
                    .map(|image| image.state),
            ),
            Self::AddActor(_)
            | Self::RemoveActor { .. }
            | Self::AddNode(_)
            | Self::RemoveNode(_)
            | Self::MoveNode { .. }
            | Self::ReadmitNode(_)
            | Self::AddCode(_)
            | Self::RemoveCode(_)
            | Self::TransferLeadership(_)
            | Self::RevokeSessions { .. }
            | Self::GrantAudit(_)
            | Self::RevokeAudit { .. } => None,
        }
    }
}

fn digest(value: &impl Encode<()>) -> Option<Digest> {
    let bytes = minicbor::to_vec(value).expect("memory takes any length");
    Some(crypto::sha256(&bytes))
}
