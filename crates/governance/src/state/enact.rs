//! What happens when a proposal is carried: everything in it at once, or it is void.

use std::collections::{BTreeMap, BTreeSet};

use types::{Digest, Index};

use super::{Network, State, Version};
use crate::proposal::{Carried, Outcome};
use crate::{
    AUDITS_MAX, Actor, BadChange, Change, Choice, Constitution, Departure, EpochCause, Fact,
    Measured, Moment, NodeSlot, Proposal, ProposalStatus, Status, actor_id,
};

impl Network {
    pub(super) fn adopt(&mut self, constitution: Constitution, entry: Index) -> (u64, Digest) {
        self.constitution_digest = constitution.digest();
        self.constitution = constitution;
        self.constitution_version += 1;
        self.versions.push(Version {
            version: self.constitution_version,
            digest: self.constitution_digest,
            entry,
        });
        (self.constitution_version, self.constitution_digest)
    }

    /// Members who stand behind each image that may run: those who voted for it, and those who
    /// joined since and so found it in the constitution that they approved.
    pub(super) fn code_endorsements(&self) -> usize {
        let members: BTreeSet<&str> = self.constitution.members().map(|m| &*m.name).collect();
        let silent = |image| {
            let silent = self.silent.get(&Measured::of(image));
            silent.map_or(0, |s| s.iter().filter(|m| members.contains(&***m)).count())
        };
        let images = self.constitution.code.images.iter();
        let most_silent = images
            .filter(|i| i.state == tee::CodeState::Allowed)
            .map(silent)
            .max();
        members.len() - most_silent.unwrap_or(0)
    }

    /// Keeps who did not vote for the images that a proposal adds.
    fn note_silent(&mut self, proposal: &Proposal, before: &Constitution) {
        let silent: BTreeSet<String> = before
            .members()
            .map(|m| m.name.clone())
            .filter(|m| proposal.ballots.get(m).map(|c| c.choice) != Some(Choice::For))
            .collect();
        for change in &proposal.changes {
            if let Change::AddCode(image) = change {
                self.silent.insert(Measured::of(image), silent.clone());
            }
        }
        let listed: BTreeSet<_> = self
            .constitution
            .code
            .images
            .iter()
            .map(Measured::of)
            .collect();
        let constitution = &self.constitution;
        self.silent.retain(|image, _| listed.contains(image));
        for members in self.silent.values_mut() {
            members.retain(|m| constitution.actor(m).is_some_and(Actor::is_member));
        }
    }
}

impl State {
    /// What `changes` make of a constitution, if this state lets them.
    pub(super) fn after(
        &self,
        constitution: &Constitution,
        changes: &[Change],
    ) -> Result<Constitution, BadChange> {
        let after = constitution.amended(changes)?;
        for change in changes {
            match change {
                Change::TransferLeadership(slot) => {
                    let node = self.node_at(&slot.owner, &slot.address);
                    if node.is_none_or(|n| n.status != Status::Voter) {
                        return Err(BadChange::NoVoter {
                            owner: slot.owner.clone(),
                            address: slot.address.clone(),
                        });
                    }
                }
                Change::ReadmitNode(slot) if !self.needs_readmission(slot) => {
                    return Err(BadChange::MayReturn {
                        owner: slot.owner.clone(),
                        address: slot.address.clone(),
                    });
                }
                _ => {}
            }
        }
        self.audits_allow(changes)?;
        let moved = moves(changes);
        let remains = |owner: &str, address: &str| {
            let address = moved.get(address).map_or(address, |to| to);
            after.has_slot(owner, address)
        };
        let removes = after.nodes != constitution.nodes;
        let voters = |n: &&crate::Node| n.status == Status::Voter;
        for change in changes {
            let Change::RemoveCode(of) = change else {
                continue;
            };
            // Its evidence would be refused from then on: whoever asks it who it is would drop it.
            let running = self
                .served()
                .filter(|n| n.code.as_ref() == Some(of) && remains(&n.owner, &n.address));
            let nodes: Vec<String> = running
                .map(|n| format!("the node of {:?} at {}", n.owner, n.address))
                .collect();
            if !nodes.is_empty() {
                return Err(BadChange::CodeInUse {
                    code: change.targets(constitution).swap_remove(0),
                    nodes: nodes.join(", "),
                });
            }
        }
        if removes
            && !self
                .served()
                .filter(voters)
                .any(|n| remains(&n.owner, &n.address))
        {
            return Err(BadChange::NoNode);
        }
        Ok(after)
    }

    fn audits_allow(&self, changes: &[Change]) -> Result<(), BadChange> {
        let grants = |c: &&Change| matches!(c, Change::GrantAudit(_));
        let granted = changes.iter().filter(grants).count();
        if granted > 0 && self.audits.open().count() + granted > AUDITS_MAX {
            return Err(BadChange::Audit(
                "64 grants are open: revoke one, or wait until one expires",
            ));
        }
        for change in changes {
            if let Change::RevokeAudit { grant } = change
                && !self.audits.holds(*grant)
            {
                return Err(BadChange::Missing(format!("audit grant {grant}")));
            }
        }
        Ok(())
    }

    /// The last incarnation that a listed slot had since it was listed or readmitted.
    pub(crate) fn last_at(&self, slot: &NodeSlot) -> Option<&crate::Node> {
        self.past.get(slot).map(|id| &self.nodes[id])
    }

    fn needs_readmission(&self, slot: &NodeSlot) -> bool {
        let network = self.network.as_ref().expect("a slot is listed");
        self.last_at(slot).is_some_and(|last| {
            last.departure == Some(Departure::Ejected)
                || network
                    .constitution
                    .return_vote(slot, network.code_endorsements())
                    .is_none()
        })
    }

    /// Whether what the proposal changes is still what its voters saw, and can be changed so.
    fn still_valid(
        &self,
        proposal: &Proposal,
        constitution: &Constitution,
    ) -> Result<Constitution, String> {
        for (change, basis) in proposal.changes.iter().zip(&proposal.bases) {
            if change.basis(constitution) != *basis {
                let target = change.targets(constitution).swap_remove(0);
                return Err(format!("{target} has changed meanwhile"));
            }
        }
        self.after(constitution, &proposal.changes)
            .map_err(|bad| bad.to_string())
    }

    /// Puts the changes of a carried proposal into force.
    pub(super) fn enact(
        &mut self,
        number: u64,
        carried: Carried,
        now: Moment,
        facts: &mut Vec<Fact>,
    ) {
        let network = self.network.as_ref().expect("a proposal was opened");
        let before = network.constitution.clone();
        let proposal = self.proposals[&number].clone();
        let after = match self.still_valid(&proposal, &before) {
            Ok(after) => after,
            Err(why) => return self.close(number, ProposalStatus::Void { why }, now, facts),
        };
        let start = facts.len();
        let status = ProposalStatus::Accepted {
            rules: carried.rules,
        };
        self.close(number, status, now, facts);
        if after != before {
            let network = self.network.as_mut().expect("it was there above");
            let (version, digest) = network.adopt(after.clone(), now.entry);
            network.note_silent(&proposal, &before);
            facts.push(Fact::Constitution { version, digest });
        }
        self.change_actors(&before, &after, facts);
        self.change_nodes(&before, &after, &proposal.changes, facts);
        for change in &proposal.changes {
            match change {
                Change::TransferLeadership(slot) => {
                    let node = self.node_at(&slot.owner, &slot.address).map(|n| n.id);
                    // The same proposal may have removed it.
                    facts.extend(node.map(|node| Fact::TransferLeadership { node }));
                }
                Change::RevokeSessions { actor } => facts.push(Fact::SessionsRevoked {
                    actor: actor_id(actor),
                    name: actor.clone(),
                }),
                Change::GrantAudit(terms) => facts.push(Fact::AuditGranted {
                    grant: self.audits.grant(terms, now.entry),
                    auditor: terms.auditor.0.subject().to_owned(),
                    from: terms.from,
                    to: terms.to,
                    expires: terms.expires,
                }),
                Change::RevokeAudit { grant } => {
                    self.audits.revoke(*grant);
                    facts.push(Fact::AuditEnded { grant: *grant });
                }
                _ => {}
            }
        }
        let ejects = facts[start..]
            .iter()
            .any(|f| matches!(f, Fact::Retiring { .. }));
        let names = |c: &Constitution| c.actors.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
        if names(&before) != names(&after) || ejects {
            facts.push(Fact::EpochDue {
                cause: EpochCause::Membership,
            });
        } else if before.settings.key_threshold != after.settings.key_threshold
            || !before.key_holders().eq(after.key_holders())
        {
            facts.push(Fact::EpochDue {
                cause: EpochCause::Threshold,
            });
        }
    }

    /// Ballots of former members go, and sessions of whoever lost a role or a certificate.
    fn change_actors(
        &mut self,
        before: &Constitution,
        after: &Constitution,
        facts: &mut Vec<Fact>,
    ) {
        for old in &before.actors {
            let (actor, name) = (actor_id(&old.name), old.name.clone());
            let new = after.actor(&old.name);
            if new.is_none() {
                facts.push(Fact::ActorRemoved {
                    actor,
                    name: name.clone(),
                });
            }
            let keeps = new.is_some_and(|new| {
                let certificates = old.certificates.iter();
                old.roles.is_subset(&new.roles)
                    && (new.auditor || !old.auditor)
                    && certificates.clone().all(|c| new.certificates.contains(c))
            });
            if !keeps {
                facts.push(Fact::SessionsRevoked { actor, name });
            }
        }
        for proposal in self.proposals.values_mut().filter(|p| p.is_open()) {
            let votes = |voter: &str| after.actor(voter).is_some_and(Actor::is_member);
            let gone = proposal.ballots.extract_if(.., |voter, _| !votes(voter));
            let gone = gone.map(|(voter, cast)| (voter, cast.number));
            proposal.spent.extend(gone);
        }
    }

    /// Nodes whose slot is gone retire; those that moved or may return are noted.
    fn change_nodes(
        &mut self,
        before: &Constitution,
        after: &Constitution,
        changes: &[Change],
        facts: &mut Vec<Fact>,
    ) {
        let moved = moves(changes);
        for slot in &before.nodes {
            let served = self.node_at(&slot.owner, &slot.address).map(|n| n.id);
            let (owner, from) = (slot.owner.clone(), slot.address.clone());
            let past = self.past.get(slot).copied();
            if let Some(to) = moved.get(&*slot.address) {
                // Its past moves along: an ejection is not left behind.
                self.past.remove(slot);
                let to_slot = NodeSlot {
                    owner: slot.owner.clone(),
                    address: (*to).to_owned(),
                };
                self.past.extend(past.map(|node| (to_slot, node)));
                if let Some(node) = served {
                    let node = self.nodes.get_mut(&node).expect("it is served");
                    (*to).clone_into(&mut node.address);
                }
                facts.push(Fact::NodeMoved {
                    owner,
                    from,
                    to: (*to).to_owned(),
                    node: served,
                });
            } else if !after.nodes.contains(slot) {
                self.past.remove(slot);
                facts.push(Fact::NodeRemoved {
                    owner,
                    address: from,
                    node: served,
                });
                if let Some(node) = served {
                    facts.extend(self.retire(node, Some(Departure::Ejected)));
                }
            }
        }
        for change in changes {
            if let Change::ReadmitNode(slot) = change {
                self.past.remove(slot);
            }
        }
    }

    /// After a constitution came into force: open proposals whose subject has changed are void, and
    /// the others are counted again, oldest first, until nothing moves.
    pub(super) fn settle(&mut self, now: Moment, facts: &mut Vec<Fact>) {
        // Each round but the last enacts one.
        while self.settle_round(now, facts) {}
    }

    fn settle_round(&mut self, now: Moment, facts: &mut Vec<Fact>) -> bool {
        let open: Vec<u64> = self.open().map(|p| p.number).collect();
        for number in open {
            let network = self.network.as_ref().expect("a proposal was opened");
            let constitution = &network.constitution;
            let proposal = &self.proposals[&number];
            if let Err(why) = self.still_valid(proposal, constitution) {
                self.close(number, ProposalStatus::Void { why }, now, facts);
                continue;
            }
            match proposal.tally(constitution).outcome() {
                Outcome::Open => {}
                Outcome::Lost => self.close(number, ProposalStatus::Rejected, now, facts),
                Outcome::Carried(carried) => {
                    self.enact(number, carried, now, facts);
                    return true;
                }
            }
        }
        false
    }
}

/// Where the nodes go that move: from one address to another.
fn moves(changes: &[Change]) -> BTreeMap<&str, &str> {
    let moves = changes.iter().filter_map(|change| match change {
        Change::MoveNode { from, to, .. } => Some((&**from, &**to)),
        _ => None,
    });
    moves.collect()
}
