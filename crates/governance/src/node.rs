//! Validating nodes as governance knows them: incarnations, leases and who of them votes.

use std::collections::BTreeSet;

use crypto::PublicKey;
use minicbor::{Decode, Encode};
use serde::Serialize;
use types::{Index, Millis, NodeId};

use crate::{Departure, Measured};

/// Who votes in consensus and who only receives; the shape of the engine's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Configuration {
    #[n(0)]
    pub voters: BTreeSet<NodeId>,
    /// While it is there the configuration is joint (Raft thesis 4.3).
    #[n(1)]
    pub incoming: Option<BTreeSet<NodeId>>,
    #[n(2)]
    pub learners: BTreeSet<NodeId>,
}

impl Configuration {
    /// Whether the node is in a denominator of a quorum.
    pub fn counts(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.incoming.as_ref().is_some_and(|i| i.contains(&node))
    }

    /// All that it names.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.voters
            .iter()
            .chain(self.incoming.iter().flatten())
            .chain(&self.learners)
            .copied()
    }
}

/// What a node is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Status {
    /// Served and fed, but does not count in a quorum.
    #[n(0)]
    Admitted,
    /// Counts in a quorum.
    #[n(1)]
    Voter,
    /// Replaced or removed; still in the denominator of the quorum until a configuration without
    /// it is in force, and otherwise as good as gone.
    #[n(2)]
    Retiring,
    /// Has left for good.
    #[n(3)]
    Former,
}

/// How long an admission is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Lease {
    /// 1 at admission, one more with each renewal.
    #[n(0)]
    pub number: u64,
    /// Ledger time.
    #[n(1)]
    pub expires: Millis,
}

impl Lease {
    /// Whether the admission is good at ledger time `now`.
    pub fn is_valid(&self, now: Millis) -> bool {
        now < self.expires
    }
}

/// One incarnation of a validating node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub id: NodeId,
    #[n(1)]
    pub owner: String,
    #[n(2)]
    pub address: String,
    #[n(3)]
    pub key: PublicKey,
    #[n(4)]
    pub status: Status,
    /// The entry that admitted it.
    #[n(5)]
    pub since: Index,
    #[n(6)]
    pub lease: Lease,
    #[n(7)]
    pub replaces: Option<NodeId>,
    /// Why it was removed; none while it is served, or if another incarnation replaced it.
    #[n(8)]
    pub departure: Option<Departure>,
    /// The manager's image, as the evidence of its admission names it.
    #[n(9)]
    pub code: Option<Measured>,
}

impl Node {
    /// Whether channels to and from it are allowed.
    pub fn is_served(&self) -> bool {
        matches!(self.status, Status::Admitted | Status::Voter)
    }

    /// Whether its word counts in consensus: that of a node which members removed does until the
    /// configuration is without it, or two nodes could not become one.
    pub fn is_heard(&self) -> bool {
        self.is_served() || (self.status == Status::Retiring && self.departure.is_some())
    }
}
