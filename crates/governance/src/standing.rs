//! Standing votes: what is accepted without a ballot, because the members said so beforehand.
//!
//! Source: Coco 2017, "automated votes": automatic acceptance when stated conditions hold. A rule is
//! data of the constitution, changed by vote as everything else. It accepts one kind of change under
//! a [`Condition`]. It does not widen who may propose, and it rests while an open proposal is about
//! the same thing, so that nobody escapes a vote by a faster road.

use core::fmt;
use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::condition::{Circumstances, Count, Flag};
use crate::{Change, Condition, Constitution, Listed, NodeSlot};

/// Most rules of a constitution: an owner reads all of them.
pub(crate) const RULES_MAX: usize = 32;

/// The name of the rule that [`Standing::listed_nodes_return`] stands for.
pub const LISTED_NODES_RETURN: &str = "listed-nodes-return";

/// The standing votes of a constitution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields, default)]
pub struct Standing {
    /// A listed node may return as a new incarnation on endorsed code (DESIGN section 6): short
    /// for a rule that accepts `return-node` under the condition `true`.
    #[n(0)]
    pub listed_nodes_return: bool,
    /// In order of name.
    #[cbor(n(1), skip_if = "Vec::is_empty")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            listed_nodes_return: true,
            rules: Vec::new(),
        }
    }
}

/// One standing vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Recorded with each decision.
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub accepts: Automatic,
    /// In the condition language of docs/governance.md.
    #[n(2)]
    pub when: Condition,
}

/// What a standing vote can accept. Who is a member, who decides and what is believed of a platform
/// always need ballots.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Automatic {
    /// A listed node comes back as a new incarnation.
    #[n(0)]
    ReturnNode,
    #[n(1)]
    AddNode,
    #[n(2)]
    RemoveNode,
    #[n(3)]
    MoveNode,
    #[n(4)]
    ReadmitNode,
    #[n(5)]
    SetCertificates,
    #[n(6)]
    RetireCode,
    #[n(7)]
    TransferLeadership,
    #[n(8)]
    RevokeSessions,
}

impl fmt::Display for Automatic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReturnNode => "return-node",
            Self::AddNode => "add-node",
            Self::RemoveNode => "remove-node",
            Self::MoveNode => "move-node",
            Self::ReadmitNode => "readmit-node",
            Self::SetCertificates => "set-certificates",
            Self::RetireCode => "retire-code",
            Self::TransferLeadership => "transfer-leadership",
            Self::RevokeSessions => "revoke-sessions",
        })
    }
}

impl Automatic {
    fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::AddNode(_) => Self::AddNode,
            Change::RemoveNode(_) => Self::RemoveNode,
            Change::MoveNode { .. } => Self::MoveNode,
            Change::ReadmitNode(_) => Self::ReadmitNode,
            Change::SetCertificates { .. } => Self::SetCertificates,
            Change::RetireCode(_) => Self::RetireCode,
            Change::TransferLeadership(_) => Self::TransferLeadership,
            Change::RevokeSessions { .. } => Self::RevokeSessions,
            _ => return None,
        })
    }

    fn has_owner(self) -> bool {
        !matches!(self, Self::RetireCode)
    }

    fn has_node(self) -> bool {
        self.has_owner() && !matches!(self, Self::SetCertificates | Self::RevokeSessions)
    }
}

impl Rule {
    /// What its condition asks for that its kind of change does not have.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let when = &self.when;
        if when.asks_flag(Flag::CertificatesIssued) && self.accepts != Automatic::SetCertificates {
            return Some("asks for certificates.issued, which only set-certificates has");
        }
        if when.asks_flag(Flag::ProposerOwns) && !self.accepts.has_owner() {
            return Some("asks for proposer.owns, but what it accepts belongs to nobody");
        }
        if when.asks_count(Count::OwnerNodes) && !self.accepts.has_node() {
            return Some("asks for owner.nodes, but it accepts no change of a node");
        }
        None
    }
}

/// One question: may this happen without a ballot?
struct Asked<'a> {
    before: &'a Constitution,
    after: &'a Constitution,
    proposer: &'a str,
    /// Whose node, certificates or sessions it is about.
    owner: Option<&'a str>,
    certificates: Option<&'a [Listed]>,
    code_endorsements: usize,
}

impl Circumstances for Asked<'_> {
    fn flag(&self, flag: Flag) -> bool {
        let proposer = self.before.actor(self.proposer);
        match flag {
            Flag::ProposerMember => proposer.is_some_and(crate::Actor::is_member),
            Flag::ProposerParticipant => {
                proposer.is_some_and(|a| a.roles.contains(&crate::Role::Participant))
            }
            Flag::ProposerOwns => self.owner == Some(self.proposer),
            Flag::CertificatesIssued => {
                let listed = self
                    .owner
                    .and_then(|o| self.before.actor(o))
                    .map_or(&[][..], |a| &a.certificates);
                let issued = |new: &Listed| {
                    listed.contains(new)
                        || listed
                            .iter()
                            .any(|l| l.0.is_authority() && new.0.issued_by(&l.0).is_ok())
                };
                self.certificates
                    .is_some_and(|certificates| certificates.iter().all(issued))
            }
        }
    }

    fn count(&self, count: Count) -> u64 {
        let members = self.before.members().count();
        let number = match count {
            Count::Members => members,
            Count::Majority => members / 2 + 1,
            Count::Actors => self.before.actors.len(),
            Count::Nodes => self.after.nodes.len(),
            Count::OwnerNodes => {
                let owned = self.after.nodes.iter();
                owned.filter(|n| Some(&*n.owner) == self.owner).count()
            }
            Count::CodeEndorsements => self.code_endorsements,
        };
        number as u64 // a count of things in memory
    }
}

impl Constitution {
    /// The standing votes that accept `changes`, one for each in the same order, if all are
    /// accepted. `after` is what they make of this constitution.
    pub(crate) fn standing_votes(
        &self,
        changes: &[Change],
        after: &Self,
        proposer: &str,
        code_endorsements: usize,
    ) -> Option<Vec<String>> {
        let accepting = |change: &Change| {
            let asked = Asked {
                before: self,
                after,
                proposer,
                owner: owner(change),
                certificates: match change {
                    Change::SetCertificates { certificates, .. } => Some(certificates),
                    _ => None,
                },
                code_endorsements,
            };
            let kind = Automatic::of(change)?;
            self.standing
                .rules
                .iter()
                .find(|r| r.accepts == kind && r.when.holds(&asked))
                .map(|r| r.name.clone())
        };
        changes.iter().map(accepting).collect()
    }

    /// The standing vote that lets a listed node return.
    pub(crate) fn return_vote(&self, slot: &NodeSlot, code_endorsements: usize) -> Option<&str> {
        if self.standing.listed_nodes_return {
            return Some(LISTED_NODES_RETURN);
        }
        let asked = Asked {
            before: self,
            after: self,
            proposer: &slot.owner,
            owner: Some(&slot.owner),
            certificates: None,
            code_endorsements,
        };
        self.standing
            .rules
            .iter()
            .find(|r| r.accepts == Automatic::ReturnNode && r.when.holds(&asked))
            .map(|r| &*r.name)
    }

    /// Names of rules that are in use twice.
    pub(crate) fn rules_twice(&self) -> BTreeSet<&str> {
        let mut seen = BTreeSet::from([LISTED_NODES_RETURN]);
        self.standing
            .rules
            .iter()
            .map(|r| &*r.name)
            .filter(|name| !seen.insert(name))
            .collect()
    }
}

fn owner(change: &Change) -> Option<&str> {
    match change {
        Change::AddNode(slot)
        | Change::RemoveNode(slot)
        | Change::ReadmitNode(slot)
        | Change::TransferLeadership(slot) => Some(&slot.owner),
        Change::MoveNode { owner, .. } => Some(owner),
        Change::SetCertificates { actor, .. } | Change::RevokeSessions { actor } => Some(actor),
        _ => None,
    }
}
