//! Why governance refuses. Goes back to whoever asked, as data; nothing was changed.

use crypto::{BadCertificate, BadCose};
use types::{Digest, Epoch, Index, Millis, NodeId};

use crate::{ChangeKind, MESSAGE_BYTES_MAX, TITLE_BYTES_MAX};

/// The reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the network does not exist yet; the first entry must be its genesis")]
    NotCreated,
    #[error("the network exists already; there is one genesis")]
    AlreadyCreated,
    #[error("the certificate belongs to no actor of the constitution: {0}")]
    UnknownActor(BadCertificate),
    #[error("the certificate is an agent's: it may sign node tuples and do nothing else")]
    AgentOnly,
    #[error("the node tuple is not signed by its certificate: {0}")]
    TupleSignature(BadCose),
    #[error("the node tuple cannot be read")]
    TupleShape,
    #[error("the node tuple comes with no certificate of its signer")]
    TupleUnsigned,
    #[error("the signer of the node tuple is not {owner:?}: {reason}")]
    TupleSigner {
        owner: String,
        reason: BadCertificate,
    },
    #[error("{owner:?} is no actor of this network; members must add it first")]
    UnknownOwner { owner: String },
    #[error("no node of {owner:?} is listed at {address:?}; members must add it first")]
    NotListed { owner: String, address: String },
    #[error("the node tuple is for another network")]
    WrongNetwork,
    #[error(
        "the owner approved constitution {approved}, but {current} is in force; look at that (`coco constitution fetch`), approve it and start the node with it"
    )]
    WrongConstitution { approved: Digest, current: Digest },
    #[error("the node's key was used by node {node} before; a node makes a new key at every start")]
    KeyUsed { node: NodeId },
    #[error(
        "the node of {owner:?} at {address:?} was ejected as node {node}; members must vote on its return"
    )]
    Ejected {
        owner: String,
        address: String,
        node: NodeId,
    },
    #[error("no standing vote lets listed nodes return; members must vote")]
    NoStandingVote,
    #[error("the constitution is sealed; open the genesis entry with its session key first")]
    Sealed,
    #[error("read the administrative command: {0}")]
    Unreadable(crate::BadCommand),
    #[error("the constitution cannot be used:\n{0}")]
    Constitution(#[from] crate::Invalid),
    #[error(
        "the evidence is of {name} {version}; a node joins with a manager that the code manifest allows"
    )]
    WrongCode { name: String, version: String },
    #[error("entry {index} does not follow entry {applied}, which is applied already")]
    Stale { index: Index, applied: Index },
    #[error("the admission was made for another state; make it again")]
    Outdated,
    #[error("node {node} is not a node of this network")]
    UnknownNode { node: NodeId },
    #[error("node {node} has left the network")]
    Left { node: NodeId },
    #[error("a configuration needs at least one voter")]
    NoVoter,
    #[error(
        "the lease of node {node} is number {current}; the next is the following one and ends later"
    )]
    LeaseOrder { node: NodeId, current: u64 },
    #[error("epoch {epoch} does not follow epoch {current}")]
    EpochOrder { epoch: Epoch, current: Epoch },
    #[error(
        "the keys of the epoch are not encrypted to a threshold key of this network under their labels"
    )]
    EpochSeal,
    #[error("no key generation can be made of these actors: {0}")]
    KeySetup(threshold::BadSetup),
    #[error("the message has no place in the key generation: {0}")]
    KeyMessage(threshold::Refused),
    #[error("no key generation is under way that this step belongs to")]
    KeyRound,
    #[error("the round cannot end yet: {0}")]
    KeyRoundOpen(threshold::NotYet),
    #[error("node {node} is given no keys: {reason}")]
    KeysRefused { node: NodeId, reason: String },
    #[error("restart {restarts} does not follow restart {current}")]
    RestartOrder { restarts: u32, current: u32 },
    #[error(
        "a message has at most {MESSAGE_BYTES_MAX} bytes with its certificates; propose in several parts"
    )]
    MessageTooLong,
    #[error("the message cannot be read: it is not what this version signs, in canonical CBOR")]
    MessageShape,
    #[error("the message is not signed by its certificate for this purpose: {0}")]
    MessageSignature(BadCose),
    #[error("the message is for another network")]
    MessageNetwork,
    #[error("the message says that it is from {named:?}, but {signer:?} signed it")]
    NotTheSigner { named: String, signer: String },
    #[error("a message counts for a time of at most 31 days that ends after it begins")]
    Window,
    #[error("the message counts from {from} ms of ledger time; hand it in later")]
    TooEarly { from: Millis },
    #[error("the message counted until {until} ms of ledger time; sign it anew")]
    TooLate { until: Millis },
    #[error(
        "the proposal is for version {made_under} of the constitution, but {current} is in force; look at that and sign it anew"
    )]
    WrongVersion { made_under: u64, current: u64 },
    #[error(
        "the message was handed in before and recorded; a new proposal has a new nonce, a new ballot a greater number"
    )]
    Repeated,
    #[error(
        "you have too many open or recent proposals; wait until some are decided and their time is over"
    )]
    TooManyProposals,
    #[error("a proposal has a title of one line with at most {TITLE_BYTES_MAX} bytes")]
    Title,
    #[error("the changes cannot be made: {0}")]
    Change(#[from] crate::BadChange),
    #[error(
        "{actor:?} is no member, and participants may not propose changes of kind {kind}; ask a member"
    )]
    MayNotPropose { actor: String, kind: ChangeKind },
    #[error("{actor:?} is no member, and members vote")]
    NotAMember { actor: String },
    #[error("no open or recent proposal has this digest")]
    UnknownProposal,
    #[error("proposal {number} is closed")]
    Closed { number: u64 },
    #[error("the vote on proposal {number} was over at {closes} ms of ledger time")]
    VotingOver { number: u64, closes: Millis },
    #[error(
        "{voter:?} cast ballot {last} already, and {number} is not later; sign it with a greater number"
    )]
    OldBallot {
        voter: String,
        number: u64,
        last: u64,
    },
    #[error("{voter:?} signed two different ballots of number {number}; the first counts")]
    Contradictory { voter: String, number: u64 },
    #[error("only {proposer:?} can withdraw its proposal")]
    NotTheProposer { proposer: String },
    #[error("what is to be closed is not an ascending list of open proposals whose time is over")]
    NotDue,
    #[error("the message stands in the wrong part of its entry for this constitution")]
    Visibility,
    #[error("the private key of the network identity does not belong to its certificate")]
    WrongIdentity,
    #[error("the order to restart does not count: {0}")]
    Order(&'static str),
    #[error("the order to restart does not count yet: {missing} more actors must sign it")]
    OrderUnfinished { missing: usize },
    #[error("no audit grant {grant} is open; GET /v1/audits lists those that are")]
    NoSuchAudit { grant: u64 },
    #[error(
        "the consent is to other terms than those of audit grant {grant}: read them and sign anew"
    )]
    OtherAudit { grant: u64 },
    #[error("the constitution lists no share key of {actor:?}: it has no part in opening keys")]
    HoldsNoShare { actor: String },
    #[error(
        "{actor:?} has not consented to audit grant {grant}; ask it, or a node of another actor"
    )]
    NoAuditConsent { actor: String, grant: u64 },
    #[error("audit grant {grant} is for epochs {from}-{to} and no other")]
    AuditEpochs { grant: u64, from: Epoch, to: Epoch },
    #[error(
        "a node gives parts of at most 64 epochs at once, and 128 times an hour: ask for fewer, or later"
    )]
    TooManyAuditParts,
}

impl Refused {
    /// Whether a joiner that is refused for this may be admitted later without doing anything but
    /// ask again, because what is missing is a vote or a moment. It may have approved what a vote is
    /// about to put into force.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NotCreated
                | Self::UnknownOwner { .. }
                | Self::NotListed { .. }
                | Self::WrongConstitution { .. }
                | Self::Ejected { .. }
                | Self::NoStandingVote
                | Self::Outdated
        )
    }
}
