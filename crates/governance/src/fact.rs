//! Facts: what a command did, for whoever acts on it.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::Serialize;
use types::{ActorId, Digest, Epoch, Millis, NetworkId, NodeId};

use crate::{Choice, Configuration, EpochCause, Lease, NodeSlot, ProposalStatus, Tally};

/// One fact. Those of one command are told in the order in which they came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// The network exists.
    #[n(0)]
    Created {
        #[n(0)]
        network: NetworkId,
    },
    /// A constitution is in force.
    #[n(1)]
    Constitution {
        #[n(0)]
        version: u64,
        #[n(1)]
        digest: Digest,
    },
    /// A node may connect and is to be fed.
    #[n(2)]
    Admitted {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        replaces: Option<NodeId>,
    },
    /// A standing vote let that node return.
    #[n(3)]
    Returned {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        rule: String,
    },
    /// A node is not served any more; close its channels and take it out of the configuration.
    #[n(4)]
    Retiring {
        #[n(0)]
        node: NodeId,
    },
    /// A node has left for good and counts nowhere.
    #[n(5)]
    Left {
        #[n(0)]
        node: NodeId,
    },
    /// Who votes in consensus changed.
    #[n(6)]
    Configured(#[n(0)] Configuration),
    /// A lease was renewed.
    #[n(7)]
    Lease {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        lease: Lease,
    },
    /// A new epoch begins with the next entry.
    #[n(8)]
    Epoch(#[n(0)] Epoch),
    /// A proposal was opened.
    #[n(9)]
    ProposalOpened {
        #[n(0)]
        number: u64,
        #[n(1)]
        id: Digest,
        #[n(2)]
        proposer: String,
        #[n(3)]
        closes: Millis,
    },
    /// A member voted, for the first time or anew.
    #[n(10)]
    Balloted {
        #[n(0)]
        number: u64,
        #[n(1)]
        voter: String,
        #[n(2)]
        choice: Choice,
        #[n(3)]
        tally: Tally,
    },
    /// A proposal was accepted, rejected or withdrawn, it expired or became void. If it was
    /// accepted, what it did follows.
    #[n(11)]
    ProposalClosed {
        #[n(0)]
        number: u64,
        #[n(1)]
        #[serde(flatten)]
        status: ProposalStatus,
    },
    /// An organisation is no actor any more.
    #[n(12)]
    ActorRemoved {
        #[n(0)]
        actor: ActorId,
        #[n(1)]
        name: String,
    },
    /// Close all sessions of this actor at once; it may have lost a role or a certificate.
    #[n(13)]
    SessionsRevoked {
        #[n(0)]
        actor: ActorId,
        #[n(1)]
        name: String,
    },
    /// A slot is gone. If a node filled it, that retires, and so the next fact says.
    #[n(14)]
    NodeRemoved {
        #[n(0)]
        owner: String,
        #[n(1)]
        address: String,
        #[n(2)]
        node: Option<NodeId>,
    },
    /// A slot has another address, and the node that fills it is reached there.
    #[n(15)]
    NodeMoved {
        #[n(0)]
        owner: String,
        #[n(1)]
        from: String,
        #[n(2)]
        to: String,
        #[n(3)]
        node: Option<NodeId>,
    },
    /// Whoever leads hands over to this node.
    #[n(16)]
    TransferLeadership {
        #[n(0)]
        node: NodeId,
    },
    /// The leader is to open a new epoch before anything else is sealed.
    #[n(17)]
    EpochDue {
        #[n(0)]
        cause: EpochCause,
    },
    /// The actors begin to make a threshold key.
    #[n(18)]
    KeyGeneration {
        #[n(0)]
        number: u64,
    },
    /// An actor did not follow the rules of a key generation; anybody can check it.
    #[n(19)]
    KeyFault {
        /// Whose message showed it.
        #[n(0)]
        actor: String,
        #[n(1)]
        fault: String,
    },
    /// The actors have a threshold key.
    #[n(20)]
    ThresholdKey {
        #[n(0)]
        number: u64,
        #[n(1)]
        threshold: u64,
        #[n(2)]
        actors: Vec<String>,
    },
    /// A node is given keys, or refused them.
    #[n(21)]
    KeyRelease(#[n(0)] crate::KeyRelease),
    /// The network restarted after its quorum was lost.
    #[n(22)]
    Restarted {
        #[n(0)]
        restarts: u32,
        /// With fewer nodes than the rule asks for, since M actors ordered it.
        #[n(1)]
        ordered: Option<Box<OrderedRestart>>,
    },
    /// An auditor may be given the session keys of some epochs.
    #[n(23)]
    AuditGranted {
        #[n(0)]
        grant: u64,
        /// Subject of its certificate.
        #[n(1)]
        auditor: String,
        #[n(2)]
        from: Epoch,
        #[n(3)]
        to: Epoch,
        #[n(4)]
        expires: Millis,
    },
    /// That grant is over: its time came, or a vote revoked it.
    #[n(24)]
    AuditEnded {
        #[n(0)]
        grant: u64,
    },
    /// An actor's nodes answer the auditor of that grant from here on.
    #[n(25)]
    AuditConsented {
        #[n(0)]
        grant: u64,
        #[n(1)]
        actor: String,
    },
    /// A node gives its actor's parts of some epochs to the auditor of a grant.
    #[n(26)]
    AuditReleased(#[n(0)] crate::AuditRelease),
}

/// A restart that M actors ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct OrderedRestart {
    #[n(0)]
    pub by: Vec<String>,
    /// Who goes on: a quorum of these acknowledges.
    #[n(1)]
    pub survivors: BTreeSet<NodeSlot>,
    /// Voters whose ledgers were not compared: what only they held may be missing from here on.
    #[n(2)]
    pub without: BTreeSet<NodeSlot>,
}

impl Fact {
    /// Whether members are told of it. Leases, epochs and configurations come and go by themselves.
    pub(crate) fn is_event(&self) -> bool {
        !matches!(
            self,
            Self::Configured(_)
                | Self::Lease { .. }
                | Self::Epoch(_)
                | Self::EpochDue { .. }
                | Self::KeyGeneration { .. }
                | Self::KeyRelease(crate::KeyRelease { refused: None, .. })
        )
    }
}
