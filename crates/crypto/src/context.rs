//! The registry of context strings. No two uses of a key share one.

/// What a signature or a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Session key → key that seals ledger entries of one sealer and restart count.
    LedgerSeal,
    /// Session key → key of commit evidence (the salt of a Merkle leaf).
    CommitEvidence,
    /// Session key → key that seals snapshots.
    SnapshotSeal,
    /// Session key → key of the digest by which VNs compare snapshots.
    SnapshotDigest,
    /// Session key → seed of the entropy of batches in one term.
    BatchEntropy,
    /// Epoch-independent secret → what a worker may use for tokens and keyed roots.
    WorkerKey,
    /// Place of a transaction in the ledger, bound into its Merkle leaf.
    LedgerLeaf,
    /// Leader's VN key over a root of the ledger's Merkle tree.
    LedgerRoot,
    /// Owner over the tuple {owner, address, VN public key}.
    NodeTuple,
    /// Actor over a proposal.
    Proposal,
    /// Actor over a ballot.
    Ballot,
    /// Proposer over the withdrawal of its proposal.
    Withdrawal,
    /// Platform over software evidence.
    SoftwareEvidence,
    /// Enclave: report data of evidence.
    ReportData,
    /// Name of an actor → its identity.
    ActorId,
    /// Constitution → identity of the network.
    NetworkId,
    /// Seed → P-256 private key.
    SigningKeySeed,
    /// Digest of a ledger entry.
    EntryDigest,
    /// Actor's agent delegation.
    AgentDelegation,
    /// Network identity over what it states about the ledger to outsiders.
    NetworkStatement,
    /// The second generator `h` of `threshold`, whose logarithm nobody knows.
    ThresholdGenerator,
    /// Parameters of a key generation → identity of the session.
    ThresholdSession,
    /// Secret, randomness and statement → nonce of a proof.
    ThresholdNonce,
    /// Challenge: a dealer knows what it dealt.
    ThresholdDeal,
    /// Diffie-Hellman secret of dealer and receiver → mask of a share.
    ThresholdShare,
    /// Challenge: a disputer opened the dealing with its own key.
    ThresholdDispute,
    /// Challenge: a dealer's key part fits its dealing.
    ThresholdKeyPart,
    /// Challenge: a receiver's share of a lost dealer's key part fits the dealing.
    ThresholdKeyPartShare,
    /// TDH2 secret → mask of the encrypted key (H1).
    ThresholdMask,
    /// Challenge: a TDH2 ciphertext is well formed (H2).
    ThresholdCiphertext,
    /// Challenge: a partial decryption was made with its holder's share (H4).
    ThresholdPartial,
    /// A node over what its actor publishes in a key generation.
    KeyGeneration,
    /// The two keys of an epoch → the value by which they are known to be right.
    EpochKeyCheck,
    /// History key → key that seals the keys of the epoch before.
    EpochLink,
    /// Diffie-Hellman secret with a key in a module → key that wraps a share-transport key.
    ShareKeyWrap,
    /// Actor over its consent to an audit.
    AuditConsent,
    /// Actor over an order that a network goes on with fewer nodes than the rule asks for.
    RestartOrder,
}

impl Context {
    /// The bytes that enter the hash or the signature.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::LedgerSeal => b"coco/1 ledger seal",
            Self::CommitEvidence => b"coco/1 commit evidence",
            Self::SnapshotSeal => b"coco/1 snapshot seal",
            Self::SnapshotDigest => b"coco/1 snapshot digest",
            Self::BatchEntropy => b"coco/1 batch entropy",
            Self::WorkerKey => b"coco/1 worker key",
            Self::LedgerLeaf => b"coco/1 ledger leaf",
            Self::LedgerRoot => b"coco/1 ledger root",
            Self::NodeTuple => b"coco/1 node tuple",
            Self::Proposal => b"coco/1 proposal",
            Self::Ballot => b"coco/1 ballot",
            Self::Withdrawal => b"coco/1 withdrawal",
            Self::SoftwareEvidence => b"coco/1 software evidence",
            Self::ReportData => b"coco/1 report data",
            Self::ActorId => b"coco/1 actor",
            Self::NetworkId => b"coco/1 network",
            Self::SigningKeySeed => b"coco/1 signing key seed",
            Self::EntryDigest => b"coco/1 entry",
            Self::AgentDelegation => b"coco/1 agent delegation",
            Self::NetworkStatement => b"coco/1 network statement",
            Self::ThresholdGenerator => b"coco/1 threshold generator",
            Self::ThresholdSession => b"coco/1 threshold session",
            Self::ThresholdNonce => b"coco/1 threshold nonce",
            Self::ThresholdDeal => b"coco/1 threshold deal",
            Self::ThresholdShare => b"coco/1 threshold share",
            Self::ThresholdDispute => b"coco/1 threshold dispute",
            Self::ThresholdKeyPart => b"coco/1 threshold key part",
            Self::ThresholdKeyPartShare => b"coco/1 threshold key part share",
            Self::ThresholdMask => b"coco/1 threshold mask",
            Self::ThresholdCiphertext => b"coco/1 threshold ciphertext",
            Self::ThresholdPartial => b"coco/1 threshold partial",
            Self::KeyGeneration => b"coco/1 key generation",
            Self::EpochKeyCheck => b"coco/1 epoch key check",
            Self::EpochLink => b"coco/1 epoch link",
            Self::ShareKeyWrap => b"coco/1 share key wrap",
            Self::AuditConsent => b"coco/1 audit consent",
            Self::RestartOrder => b"coco/1 restart order",
        }
    }
}
