//! Messages that actors sign offline: proposals, ballots, withdrawals, consents to audits,
//! orders to restart.
//!
//! Source: Coco 2017, "Voting"; RFC 9052 (COSE_Sign1). Each names the network, what it is about and
//! the time in which it counts, and is signed in a context of its own, so that it is good for nothing
//! else. It is checked where it arrives and again, at ledger time, where it is applied: an auditor
//! repeats the check from the entry alone.

use std::collections::BTreeSet;

use crypto::{Certificate, Context, Hasher, SigningKey, sign1, verify1};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use types::{Digest, Index, Millis, NetworkId, Term};

use crate::{Caller, Change, Constitution, Listed, NodeSlot, Refused};

/// Longest message with its certificates: what the administrative channel takes at once, less a head.
pub const MESSAGE_BYTES_MAX: usize = types::limits::ADMINISTRATIVE_BYTES_MAX - (4 << 10);

/// Longest time in which a message may count: a month, for keys that live in a safe.
pub const WINDOW_MS_MAX: u64 = 31 * 24 * 3_600_000;

/// Longest title of a proposal.
pub const TITLE_BYTES_MAX: usize = 200;

/// The time in which a message may be handed in, ledger time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Window {
    #[n(0)]
    pub from: Millis,
    /// Not any more at this time.
    #[n(1)]
    pub until: Millis,
}

impl Window {
    fn check(self, now: Millis) -> Result<(), Refused> {
        let length = self.until.0.checked_sub(self.from.0);
        if length.is_none_or(|l| l == 0 || l > WINDOW_MS_MAX) {
            return Err(Refused::Window);
        }
        if now < self.from {
            return Err(Refused::TooEarly { from: self.from });
        }
        if now >= self.until {
            return Err(Refused::TooLate { until: self.until });
        }
        Ok(())
    }
}

/// What a proposer writes down: a title and changes, in TOML or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub title: String,
    pub changes: Vec<Change>,
}

/// The text is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDraft {
    #[error("a proposal has at most {MESSAGE_BYTES_MAX} bytes; propose in several parts")]
    TooLong,
    #[error("read the proposal: {0}")]
    Text(String),
}

impl Draft {
    /// Reads TOML.
    ///
    /// # Errors
    /// What is wrong and where, for whoever wrote it.
    pub fn from_toml(text: &str) -> Result<Self, BadDraft> {
        // PEM and TOML take about half as much again as DER and CBOR.
        if text.len() > 2 * MESSAGE_BYTES_MAX {
            return Err(BadDraft::TooLong);
        }
        toml::from_str(text).map_err(|e| BadDraft::Text(e.to_string().trim_end().to_owned()))
    }

    /// What is to be signed.
    pub fn proposed(
        self,
        network: NetworkId,
        constitution: u64,
        proposer: &str,
        window: Window,
        nonce: [u8; 16],
    ) -> Proposed {
        Proposed {
            network,
            constitution,
            proposer: proposer.to_owned(),
            window,
            nonce,
            title: self.title,
            changes: self.changes,
        }
    }
}

/// What a proposer signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Proposed {
    #[n(0)]
    pub network: NetworkId,
    /// Version of the constitution that it was written for.
    #[n(1)]
    pub constitution: u64,
    /// Name of the actor that proposes.
    #[n(2)]
    pub proposer: String,
    #[n(3)]
    pub window: Window,
    /// Random: two proposals of the same content are two.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// One line for people.
    #[n(5)]
    pub title: String,
    /// Applied together or not at all.
    #[n(6)]
    pub changes: Vec<Change>,
}

/// What a member signs to vote.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ballot {
    #[n(0)]
    pub network: NetworkId,
    /// [`Proposed::id`].
    #[n(1)]
    pub proposal: Digest,
    /// Name of the member that votes.
    #[n(2)]
    pub voter: String,
    #[n(3)]
    pub choice: Choice,
    #[n(4)]
    pub window: Window,
    /// Of a member's ballots on one proposal the one with the greatest number counts; the time of
    /// signing in milliseconds is a good number.
    #[n(5)]
    pub number: u64,
}

/// What a proposer signs to take its proposal back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Withdrawal {
    #[n(0)]
    pub network: NetworkId,
    /// [`Proposed::id`].
    #[n(1)]
    pub proposal: Digest,
    /// Name of the actor that proposed.
    #[n(2)]
    pub proposer: String,
    #[n(3)]
    pub window: Window,
}

/// What an actor signs so that its nodes answer the auditor of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditConsent {
    #[n(0)]
    pub network: NetworkId,
    /// Number of the grant.
    #[n(1)]
    pub grant: u64,
    /// [`AuditTerms::digest`](crate::AuditTerms::digest): what the actor read before it signed.
    #[n(2)]
    pub terms: Digest,
    /// Name of the actor that consents.
    #[n(3)]
    pub actor: String,
    #[n(4)]
    pub window: Window,
}

/// What M actors sign so that a network whose quorum is lost goes on with these nodes, though fewer than
/// DESIGN section 6 asks for: what only the others held is given up. See [`crate::State::restart_order`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestartOrder {
    #[n(0)]
    pub network: NetworkId,
    /// The restart count that the ledgers have: an order is good for one restart.
    #[n(1)]
    pub restarts: u32,
    /// Those who go on; all of them have to be there.
    #[n(2)]
    pub survivors: BTreeSet<NodeSlot>,
    /// An entry that the actors have seen under a signed root, by term and index: a ledger that does not
    /// reach it is not gone on from.
    #[n(3)]
    pub term: Term,
    #[n(4)]
    pub last: Index,
    /// Name of the actor that orders it.
    #[n(5)]
    pub actor: String,
    #[n(6)]
    pub window: Window,
}

/// A member's choice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Choice {
    #[n(0)]
    For,
    #[n(1)]
    Against,
    /// Neither; may still be won over.
    #[n(2)]
    Abstain,
}

/// The kinds of message, and what their checks have in common.
trait Message: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    const CONTEXT: Context;
    fn network(&self) -> NetworkId;
    fn window(&self) -> Window;
    /// The actor that it says it is from.
    fn author(&self) -> &str;

    fn payload(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes any length")
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let message: Self = minicbor::decode(payload).ok()?;
        (message.payload() == payload).then_some(message)
    }
}

macro_rules! messages {
    ($($message:ident by $author:ident in $context:ident as $named:literal;)*) => {$(
        impl Message for $message {
            const CONTEXT: Context = Context::$context;
            fn network(&self) -> NetworkId {
                self.network
            }
            fn window(&self) -> Window {
                self.window
            }
            fn author(&self) -> &str {
                &self.$author
            }
        }

        impl $message {
            #[doc = concat!("The payload, to be signed elsewhere in the context `", $named, "`.")]
            pub fn to_cbor(&self) -> Vec<u8> {
                self.payload()
            }

            /// The COSE_Sign1 object.
            pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
                sign1(key, Self::CONTEXT, &self.payload())
            }
        }
    )*};
}

messages! {
    Proposed by proposer in Proposal as "coco/1 proposal";
    Ballot by voter in Ballot as "coco/1 ballot";
    Withdrawal by proposer in Withdrawal as "coco/1 withdrawal";
    AuditConsent by actor in AuditConsent as "coco/1 audit consent";
    RestartOrder by actor in RestartOrder as "coco/1 restart order";
}

impl Proposed {
    /// What ballots name: a digest of all that was signed, the same whoever computes it.
    pub fn id(&self) -> Digest {
        Hasher::with(Context::Proposal)
            .part(&self.payload())
            .finish()
    }
}

/// A signed message with the certificates of its signer, as it arrives and as the entry records it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedMessage {
    /// COSE_Sign1.
    #[cbor(n(0), with = "minicbor::bytes")]
    object: Vec<u8>,
    /// Leaf first.
    #[n(1)]
    chain: Vec<Listed>,
}

/// Longest list of orders to restart: 64 actors' with their certificates.
const ORDERS_BYTES_MAX: usize = 1 << 20;

/// What actors signed to restart a network, one after another, as a node is given it.
pub fn orders_to_cbor(orders: &[SignedMessage]) -> Vec<u8> {
    minicbor::to_vec(orders).expect("memory takes any length")
}

/// Reads it.
///
/// # Errors
/// [`Refused::MessageTooLong`], [`Refused::MessageShape`].
pub fn orders_from_cbor(bytes: &[u8]) -> Result<Vec<SignedMessage>, Refused> {
    if bytes.len() > ORDERS_BYTES_MAX {
        return Err(Refused::MessageTooLong);
    }
    let orders: Vec<SignedMessage> = minicbor::decode(bytes).map_err(|_| Refused::MessageShape)?;
    if orders_to_cbor(&orders) == bytes {
        Ok(orders)
    } else {
        Err(Refused::MessageShape)
    }
}

/// A signed [`Proposed`].
pub type SignedProposal = SignedMessage;
/// A signed [`Ballot`].
pub type SignedBallot = SignedMessage;
/// A signed [`Withdrawal`].
pub type SignedWithdrawal = SignedMessage;

impl SignedMessage {
    /// Puts the two together; nothing is checked yet.
    pub fn new(object: Vec<u8>, chain: &[Certificate]) -> Self {
        Self {
            object,
            chain: Listed::all(chain),
        }
    }

    /// The form in which it is sent.
    pub fn to_cbor(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes any length")
    }

    /// Reads what was sent.
    ///
    /// # Errors
    /// [`Refused::MessageTooLong`], [`Refused::MessageShape`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::MessageTooLong);
        }
        let message: Self = minicbor::decode(bytes).map_err(|_| Refused::MessageShape)?;
        if message.to_cbor() == bytes {
            Ok(message)
        } else {
            Err(Refused::MessageShape)
        }
    }

    /// What was signed: by an actor of `constitution`, for `network`, good at ledger time `now`.
    fn verify<M: Message>(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(M, Caller), Refused> {
        let chain_bytes: usize = self.chain.iter().map(|c| c.0.der().len()).sum();
        if self.object.len() + chain_bytes > MESSAGE_BYTES_MAX {
            return Err(Refused::MessageTooLong);
        }
        let chain: Vec<_> = self.chain.iter().map(|c| c.0.clone()).collect();
        let caller = constitution.actor_of(&chain, now)?;
        let leaf = chain.first().expect("a chain that leads to an actor");
        let signed =
            verify1(leaf.key(), M::CONTEXT, &self.object).map_err(Refused::MessageSignature)?;
        let message = M::read(signed.payload()).ok_or(Refused::MessageShape)?;
        if message.network() != network {
            return Err(Refused::MessageNetwork);
        }
        if message.author() != caller.name {
            return Err(Refused::NotTheSigner {
                named: message.author().to_owned(),
                signer: caller.name,
            });
        }
        message.window().check(now)?;
        Ok((message, caller))
    }

    pub(crate) fn proposed(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(Proposed, Caller), Refused> {
        self.verify(network, constitution, now)
    }

    pub(crate) fn ballot(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(Ballot, Caller), Refused> {
        self.verify(network, constitution, now)
    }

    pub(crate) fn audit_consent(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(AuditConsent, Caller), Refused> {
        self.verify(network, constitution, now)
    }

    /// The order in it, for whoever is to sign the same; nothing is checked but the signature.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn peek_restart_order(&self) -> Result<RestartOrder, Refused> {
        let leaf = self.chain.first().ok_or(Refused::MessageShape)?;
        let signed = verify1(leaf.0.key(), Context::RestartOrder, &self.object)
            .map_err(Refused::MessageSignature)?;
        RestartOrder::read(signed.payload()).ok_or(Refused::MessageShape)
    }

    pub(crate) fn restart_order(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(RestartOrder, Caller), Refused> {
        self.verify(network, constitution, now)
    }

    pub(crate) fn withdrawal(
        &self,
        network: NetworkId,
        constitution: &Constitution,
        now: Millis,
    ) -> Result<(Withdrawal, Caller), Refused> {
        self.verify(network, constitution, now)
    }
}
