//! What can go wrong between a client and a network, and what to do about it.

/// A sentence for the person at the client, by who must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file of ours: identity, network certificate, address.
    #[error("{0}")]
    Identity(String),
    /// No address answered.
    #[error(
        "no validating node can be reached: {reasons}. Check the addresses and that a node runs there"
    )]
    Unreachable { reasons: String },
    /// The node's certificate does not lead to the pinned network identity.
    #[error(
        "{address} is not a node of the pinned network: {reason}. Compare network.pem with what another member has; nothing was sent"
    )]
    WrongNetwork { address: String, reason: String },
    /// The node's evidence does not satisfy the constitution.
    #[error(
        "the evidence of {address} is refused: {reason}. Nothing was sent. If the constitution was changed by a vote, take the present one"
    )]
    EvidenceRefused { address: String, reason: String },
    /// The node ended the connection without an answer.
    #[error(
        "{address} ended the connection before any answer. It does so with certificates that lead to no actor of the constitution, and while it starts or stops: check the identity, then try again"
    )]
    NotAdmitted { address: String },
    /// The connection broke.
    #[error("the connection to {address} broke: {reason}")]
    Broken { address: String, reason: String },
    /// The node answered with a refusal.
    #[error("{address} refused with status {status}: {text}")]
    Refused {
        address: String,
        status: u16,
        text: String,
    },
    /// The node answered what is no answer.
    #[error("{address} gave an answer that cannot be used: {reason}")]
    Misbehaved { address: String, reason: String },
}

impl Problem {
    /// Whether another node may do better.
    pub fn is_of_one_node(&self) -> bool {
        !matches!(self, Self::Identity(_) | Self::Refused { .. })
    }
}
