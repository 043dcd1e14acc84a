//! Administrative commands: what governance records in the ledger, one in each entry.
//!
//! An entry has a public part, which whoever has the files can read, and a private part, which is
//! sealed. Nodes and their keys are public, so that an audit from files alone learns whose
//! signatures to believe; the private key of the network identity is private, and so is the
//! constitution if it says so itself. Drawn in docs/formats.md.

use core::fmt;

use crypto::{Certificate, SigningKey, Zeroizing};
use minicbor::{Decode, Encode};
use tee::{Attested, Purpose, report_data};
use types::{Digest, Epoch, Millis, NodeId};

use crate::{Configuration, Constitution, Listed, NodeTuple, SignedTuple, Visibility};

/// Largest public or private part: a constitution, evidence and endorsements at their limits.
const PART_BYTES_MAX: usize = 4 << 20;

/// What the private part of a genesis takes beside a constitution: a key and three heads.
const PRIVATE_OVERHEAD_BYTES: usize = 48;

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
    OpenEpoch { epoch: Epoch, cause: EpochCause },
}

/// The start of a network. Whoever makes it has no privilege afterwards.
#[derive(Debug, PartialEq, Eq)]
pub struct Genesis {
    pub constitution: Constitution,
    pub identity: NetworkIdentity,
    /// The node that starts the network; it becomes [`crate::State::FIRST_NODE`], a voter.
    pub node: AdmitNode,
}

/// The identity that clients pin. Its private key is an administrative record, so that every node
/// can issue its own certificate.
pub struct NetworkIdentity {
    certificate: Certificate,
    key: Box<Zeroizing<[u8; 32]>>,
}

impl NetworkIdentity {
    /// Puts the two together.
    ///
    /// # Errors
    /// [`crate::Refused::WrongIdentity`] if the key is not the certificate's.
    pub fn new(certificate: Certificate, key: &SigningKey) -> Result<Self, crate::Refused> {
        if certificate.key() != key.public() {
            return Err(crate::Refused::WrongIdentity);
        }
        Ok(Self {
            certificate,
            key: Box::new(key.to_scalar()),
        })
    }

    /// The certificate that clients pin.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The key that issues the certificates of nodes.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::of_scalar(&self.key).expect("checked when made")
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }

    pub(crate) fn scalar(&self) -> &[u8; 32] {
        &self.key
    }

    pub(crate) fn from_scalar(certificate: Certificate, scalar: &[u8; 32]) -> Option<Self> {
        Self::new(certificate, &SigningKey::of_scalar(scalar).ok()?).ok()
    }
}

impl fmt::Debug for NetworkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkIdentity({:?})", self.certificate)
    }
}

impl PartialEq for NetworkIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && crypto::equal(self.scalar(), other.scalar())
    }
}

impl Eq for NetworkIdentity {}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
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

/// The bytes are no administrative command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    #[error("an administrative command has at most {PART_BYTES_MAX} bytes in each part")]
    TooLong,
    #[error("the public part is not an administrative command in canonical CBOR")]
    Public,
    #[error("the private part does not belong to the public part")]
    Private,
}

/// The public part.
#[derive(Encode, Decode)]
pub(crate) enum Public {
    #[n(0)]
    Genesis {
        #[n(0)]
        digest: Digest,
        #[n(1)]
        certificate: Listed,
        #[n(2)]
        node: AdmitNode,
        #[n(3)]
        constitution: Option<Box<Constitution>>,
    },
    #[n(1)]
    AdmitNode(#[n(0)] AdmitNode),
    #[n(2)]
    RemoveNode {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        departure: Departure,
    },
    #[n(3)]
    Configure(#[n(0)] Configuration),
    #[n(4)]
    RenewLease {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        number: u64,
        #[n(2)]
        expires: Millis,
    },
    #[n(5)]
    OpenEpoch {
        #[n(0)]
        epoch: Epoch,
        #[n(1)]
        cause: EpochCause,
    },
}

impl Public {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadCommand> {
        if bytes.len() > PART_BYTES_MAX {
            return Err(BadCommand::TooLong);
        }
        let public: Self = minicbor::decode(bytes).map_err(|_| BadCommand::Public)?;
        let written = minicbor::to_vec(&public).expect("memory takes any length");
        if written == bytes {
            Ok(public)
        } else {
            Err(BadCommand::Public)
        }
    }
}

/// The private part of a genesis. Other commands have none.
#[derive(Encode, Decode)]
struct Private {
    #[cbor(n(0), with = "minicbor::bytes")]
    network_key: [u8; 32],
    #[n(1)]
    constitution: Option<Box<Constitution>>,
}

impl Drop for Private {
    fn drop(&mut self) {
        crypto::Zeroize::zeroize(&mut self.network_key);
    }
}

impl Command {
    /// The part that an audit from files can read.
    pub fn public(&self) -> Vec<u8> {
        let public = match self {
            Self::Genesis(genesis) => Public::Genesis {
                digest: genesis.constitution.digest(),
                certificate: Listed(genesis.identity.certificate.clone()),
                node: genesis.node.clone(),
                constitution: genesis
                    .shows_constitution()
                    .then(|| Box::new(genesis.constitution.clone())),
            },
            Self::AdmitNode(admit) => Public::AdmitNode((**admit).clone()),
            Self::RemoveNode { node, departure } => Public::RemoveNode {
                node: *node,
                departure: *departure,
            },
            Self::Configure(configuration) => Public::Configure(configuration.clone()),
            Self::RenewLease {
                node,
                number,
                expires,
            } => Public::RenewLease {
                node: *node,
                number: *number,
                expires: *expires,
            },
            Self::OpenEpoch { epoch, cause } => Public::OpenEpoch {
                epoch: *epoch,
                cause: *cause,
            },
        };
        minicbor::to_vec(public).expect("memory takes any length")
    }

    /// The part to be sealed; empty for most commands.
    pub fn private(&self) -> Zeroizing<Vec<u8>> {
        let Self::Genesis(genesis) = self else {
            return Zeroizing::new(Vec::new());
        };
        let private = Private {
            network_key: *genesis.identity.scalar(),
            constitution: (!genesis.shows_constitution())
                .then(|| Box::new(genesis.constitution.clone())),
        };
        // Sized first: a vector that grew would leave the key behind in what it outgrew.
        let room = PRIVATE_OVERHEAD_BYTES
            + private
                .constitution
                .as_ref()
                .map_or(0, |c| c.to_cbor().len());
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        minicbor::encode(&private, &mut *bytes).expect("memory takes any length");
        assert!(
            bytes.len() <= room,
            "the private part grew while it was written"
        );
        bytes
    }

    /// Reads the two parts of an entry that was opened.
    ///
    /// # Errors
    /// [`BadCommand`]: whoever wrote the entry is not one of ours.
    pub fn from_parts(public: &[u8], private: &[u8]) -> Result<Self, BadCommand> {
        if private.len() > PART_BYTES_MAX {
            return Err(BadCommand::TooLong);
        }
        let command = match Public::decode(public)? {
            Public::Genesis {
                digest,
                certificate,
                node,
                constitution,
            } => {
                let mut sealed: Private =
                    minicbor::decode(private).map_err(|_| BadCommand::Private)?;
                let constitution = constitution
                    .or(sealed.constitution.take())
                    .ok_or(BadCommand::Private)?;
                let identity = NetworkIdentity::from_scalar(certificate.0, &sealed.network_key)
                    .ok_or(BadCommand::Private)?;
                if constitution.digest() != digest {
                    return Err(BadCommand::Public);
                }
                Self::Genesis(Box::new(Genesis {
                    constitution: *constitution,
                    identity,
                    node,
                }))
            }
            Public::AdmitNode(admit) => Self::AdmitNode(Box::new(admit)),
            Public::RemoveNode { node, departure } => Self::RemoveNode { node, departure },
            Public::Configure(configuration) => Self::Configure(configuration),
            Public::RenewLease {
                node,
                number,
                expires,
            } => Self::RenewLease {
                node,
                number,
                expires,
            },
            Public::OpenEpoch { epoch, cause } => Self::OpenEpoch { epoch, cause },
        };
        // One command has one encoding, and a constitution stands where it says that it stands.
        if command.private().as_slice() != private {
            return Err(BadCommand::Private);
        }
        if command.public() != public {
            return Err(BadCommand::Public);
        }
        Ok(command)
    }
}

impl Genesis {
    fn shows_constitution(&self) -> bool {
        self.constitution.visibility == Visibility::Public
    }
}
