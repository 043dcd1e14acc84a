//! Admission: which incarnation may take which slot.
//!
//! Source: Coco 2017, "Joining"; DESIGN section 6. A listed node returns under the standing vote as
//! a new incarnation with a new key and a new number; the former one counts in quorums until the
//! configuration that replaces it is in force.

use crypto::Certificate;
use types::NodeId;

use crate::{AdmitNode, Departure, Listed, NodeSlot, Refused, SignedTuple, State};

/// What an admission will be, if nothing changes before it is applied. Only [`State::admit`] makes
/// one.
#[must_use = "an admission is proposed as a command"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    id: NodeId,
    replaces: Option<NodeId>,
    rule: Option<String>,
    tuple: Vec<u8>,
    chain: Vec<Certificate>,
}

impl Admission {
    /// The number that the node will have.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The incarnation that it replaces.
    pub fn replaces(&self) -> Option<NodeId> {
        self.replaces
    }

    /// The standing vote that lets it return; none for the first incarnation of a slot.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The command to propose, with the evidence that was accepted and the challenge it answers.
    ///
    /// # Errors
    /// [`Refused::WrongCode`]: the evidence is of another image than a manager that may join.
    pub fn command(
        self,
        attested: &tee::Attested,
        evidence: Vec<u8>,
        endorsements: Vec<u8>,
        challenge: Vec<u8>,
    ) -> Result<AdmitNode, Refused> {
        let code = attested.code();
        if code.name != "manager" || code.state != tee::CodeState::Allowed {
            return Err(Refused::WrongCode {
                name: code.name.clone(),
                version: code.version.clone(),
            });
        }
        Ok(AdmitNode {
            id: self.id,
            replaces: self.replaces,
            tuple: self.tuple,
            chain: Listed::all(&self.chain),
            evidence,
            endorsements,
            challenge,
        })
    }
}

impl State {
    /// Whether a node with this tuple may join now, and as what. Its evidence is checked apart
    /// ([`AdmitNode::appraise`]), before [`Admission::command`].
    ///
    /// # Errors
    /// [`Refused`]: tells the joiner why, and what must happen first.
    pub fn admit(&self, signed: &SignedTuple) -> Result<Admission, Refused> {
        let tuple = signed.tuple();
        let constitution = self.constitution().ok_or(Refused::NotCreated)?;
        if Some(tuple.network) != self.network() {
            return Err(Refused::WrongNetwork);
        }
        if constitution.actor(&tuple.owner).is_none() {
            return Err(Refused::UnknownOwner {
                owner: tuple.owner.clone(),
            });
        }
        if !constitution.has_slot(&tuple.owner, &tuple.address) {
            return Err(Refused::NotListed {
                owner: tuple.owner.clone(),
                address: tuple.address.clone(),
            });
        }
        if let Some(node) = self.node_by_key(&tuple.key) {
            return Err(Refused::KeyUsed { node: node.id });
        }
        // The vote that listed the slot, or readmitted a node to it, admits the next incarnation;
        // only a return needs another.
        let slot = NodeSlot {
            owner: tuple.owner.clone(),
            address: tuple.address.clone(),
        };
        let former = self.last_at(&slot);
        // A newcomer's owner has approved what is in force. One that returns was let in before: votes
        // since then change nothing about whose node it is.
        let current = self.constitution_digest();
        let was_in_force = self
            .versions()
            .iter()
            .any(|version| version.digest == tuple.constitution);
        if tuple.constitution != current && !(former.is_some() && was_in_force) {
            return Err(Refused::WrongConstitution {
                approved: tuple.constitution,
                current,
            });
        }
        if let Some(node) = former.filter(|n| n.departure == Some(Departure::Ejected)) {
            return Err(Refused::Ejected {
                owner: tuple.owner.clone(),
                address: tuple.address.clone(),
                node: node.id,
            });
        }
        let rule = match former {
            None => None,
            Some(_) => Some(
                constitution
                    .return_vote(&slot, self.code_endorsements())
                    .ok_or(Refused::NoStandingVote)?
                    .to_owned(),
            ),
        };
        Ok(Admission {
            id: self.next_node(),
            replaces: self.node_at(&tuple.owner, &tuple.address).map(|n| n.id),
            rule,
            tuple: signed.object().to_vec(),
            chain: signed.chain().to_vec(),
        })
    }
}
