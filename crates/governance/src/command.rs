//! Administrative commands: what governance records in the ledger, one in each entry.
//!
//! Each is one variant here, one arm of [`crate::State::apply`], and one variant of its public part.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::Serialize;
use tee::{Attested, Purpose, report_data};
use types::{Digest, Index, Millis, NodeId, Term};

use crate::{
    AuditRelease, Configuration, Constitution, EpochOpening, KeyRelease, KeyStep, Listed,
    NetworkIdentity, NodeTuple, SignedMessage, SignedTuple, Visibility,
};

/// An administrative transaction. [`crate::State::apply`] says what each does.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// The first entry of a network.
    Genesis(Box<Genesis>),
    /// A new incarnation of a listed node.
    AdmitNode(Box<AdmitNode>),
    /// A node is served no more and leaves the quorum with the next configuration.
    RemoveNode { node: NodeId, departure: Departure },
    /// Who votes in consensus. The same entry carries the engine's configuration.
    Configure(Configuration),
    /// A node attested again.
    RenewLease {
        node: NodeId,
        number: u64,
        expires: Millis,
    },
    /// What follows is sealed under the session key of this epoch.
    OpenEpoch(Box<EpochOpening>),
    /// A step towards a key that the actors hold together.
    KeyStep(KeyStep),
    /// A node is given the keys of an epoch, or is refused them.
    KeyRelease(KeyRelease),
    /// The network goes on after its quorum was lost.
    NetworkRestart(Box<NetworkRestart>),
    /// An actor proposes changes; message: [`crate::Proposed`].
    Propose(Box<Recorded>),
    /// A member votes; message: [`crate::Ballot`].
    Vote(Box<Recorded>),
    /// A proposer takes its proposal back; message: [`crate::Withdrawal`].
    Withdraw(Box<Recorded>),
    /// The time of these proposals is over; their numbers in ascending order.
    Expire { proposals: Vec<u64> },
    /// An actor lets its nodes answer an auditor; message: [`crate::AuditConsent`].
    ConsentAudit(Box<Recorded>),
    /// A node gives its actor's parts of some epochs to an auditor.
    AuditRelease(AuditRelease),
}

/// A signed message as an entry holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// In the public part or in the sealed one: as the constitution itself, since a message may
    /// hold parts of it.
    pub visibility: Visibility,
    pub message: SignedMessage,
}

/// The start of a network. Whoever makes it has no privilege afterwards.
#[derive(Debug, PartialEq, Eq)]
pub struct Genesis {
    pub constitution: Constitution,
    pub identity: NetworkIdentity,
    /// The node that starts the network; it becomes [`crate::State::FIRST_NODE`], a voter.
    pub node: AdmitNode,
}

/// The admission of a node, with everything that it was decided on, so that it can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AdmitNode {
    /// The node's number, never used before.
    #[n(0)]
    pub id: NodeId,
    /// The earlier incarnation in the same slot, if it still counts.
    #[n(1)]
    pub replaces: Option<NodeId>,
    /// COSE_Sign1 by the owner or its agent over a [`NodeTuple`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tuple: Vec<u8>,
    /// The signer's certificates, leaf first.
    #[n(3)]
    pub chain: Vec<Listed>,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub evidence: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub endorsements: Vec<u8>,
    /// What the evidence had to answer; empty in a genesis.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub challenge: Vec<u8>,
}

impl AdmitNode {
    /// Checks the owner's signature at ledger time `now`.
    ///
    /// # Errors
    /// [`crate::Refused`].
    pub fn verify_tuple(
        &self,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<SignedTuple, crate::Refused> {
        let chain: Vec<_> = self.chain.iter().map(|c| c.0.clone()).collect();
        SignedTuple::verify(&self.tuple, &chain, constitution, now)
    }

    /// Repeats the verdict on the node's evidence at ledger time `now`.
    ///
    /// # Errors
    /// [`tee::Refused`].
    pub fn appraise(
        &self,
        constitution: &Constitution,
        tuple: &NodeTuple,
        purpose: Purpose,
        now: Millis,
    ) -> Result<Attested, tee::Refused> {
        let expected = report_data(
            &tuple.network,
            purpose,
            &tuple.key.fingerprint(),
            &self.challenge,
        );
        tee::appraise(
            &self.evidence,
            &self.endorsements,
            &constitution.tee,
            &constitution.code,
            &expected,
            now,
        )
    }
}

/// The restart of a network whose quorum was lost (DESIGN section 6). Its entry follows the last one
/// that counts, and is the first with the new restart count.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkRestart {
    /// The new restart count.
    #[n(0)]
    pub restarts: u32,
    /// The node that all others follow from here.
    #[n(1)]
    pub by: NodeId,
    /// Its admission, if it is a new incarnation.
    #[n(2)]
    pub node: Option<AdmitNode>,
    /// Survivors, which follow it as they are.
    #[n(3)]
    pub learners: BTreeSet<NodeId>,
    /// Whose ledgers were compared, this node's own among them.
    #[n(4)]
    pub present: Vec<Presented>,
    /// Actors whose partial decryptions opened the keys; none if a survivor had them.
    #[n(5)]
    pub granted_by: Vec<String>,
    /// The epoch that begins.
    #[n(6)]
    pub opening: EpochOpening,
    /// Why fewer were enough than DESIGN section 6 asks for: the actors who ordered it.
    #[n(7)]
    pub ordered_by: Vec<String>,
    /// And what they signed; none if enough were there.
    #[n(8)]
    pub orders: Option<Vec<SignedMessage>>,
}

/// What one node of the last configuration has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Presented {
    #[n(0)]
    pub owner: String,
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub term: Term,
    #[n(3)]
    pub index: Index,
    #[n(4)]
    pub digest: Digest,
}

/// Why a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Departure {
    /// Its owner asked for it.
    #[n(0)]
    Left,
    /// The network took it out: vote, lease, evidence.
    #[n(1)]
    Ejected,
    /// It was admitted and never caught up.
    #[n(2)]
    Unreachable,
}

/// Why an epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum EpochCause {
    /// Its length in the constitution.
    #[n(0)]
    Timer,
    /// An actor or a node came or went.
    #[n(1)]
    Membership,
    /// The key threshold changed.
    #[n(2)]
    Threshold,
    /// The network restarted.
    #[n(3)]
    Restart,
}
