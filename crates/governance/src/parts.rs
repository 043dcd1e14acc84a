//! The two parts of an administrative entry, and the way to them and back.
//!
//! The public part is readable for whoever has the files: nodes and their keys stand there, so that
//! an audit learns whose signatures to believe. The private part is sealed: the private key of the
//! network identity, and the constitution if it says so itself. Drawn in docs/formats-governance.md.

use crypto::Zeroizing;
use minicbor::{Decode, Encode};
use types::{Digest, Millis, NodeId};

use crate::{
    AdmitNode, AuditRelease, Command, Configuration, Constitution, Departure, EpochOpening,
    Genesis, KeyRelease, KeyStep, Listed, NetworkIdentity, NetworkRestart, Recorded, SignedMessage,
    Visibility,
};

/// Largest public or private part: a constitution, evidence and endorsements at their limits.
const PART_BYTES_MAX: usize = 4 << 20;

/// What the private part of a genesis takes beside a constitution: a key and three heads.
const PRIVATE_OVERHEAD_BYTES: usize = 48;

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
    OpenEpoch(#[n(0)] Box<EpochOpening>),
    /// Without a message, it is in the private part; so in the next two.
    #[n(6)]
    Propose(#[n(0)] Option<SignedMessage>),
    #[n(7)]
    Vote(#[n(0)] Option<SignedMessage>),
    #[n(8)]
    Withdraw(#[n(0)] Option<SignedMessage>),
    #[n(9)]
    Expire(#[n(0)] Vec<u64>),
    #[n(10)]
    KeyStep(#[n(0)] KeyStep),
    #[n(11)]
    KeyRelease(#[n(0)] KeyRelease),
    #[n(12)]
    NetworkRestart(#[n(0)] Box<NetworkRestart>),
    /// Without a message, it is in the private part.
    #[n(13)]
    ConsentAudit(#[n(0)] Option<SignedMessage>),
    #[n(14)]
    AuditRelease(#[n(0)] AuditRelease),
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

    /// Whether what it says stands in the private part.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(
            self,
            Self::Propose(None)
                | Self::Vote(None)
                | Self::Withdraw(None)
                | Self::ConsentAudit(None)
        )
    }
}

/// The private part of a genesis. Of the other commands only messages have one, if the constitution
/// is sealed: the message itself.
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
                certificate: Listed(genesis.identity.certificate().clone()),
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
            Self::OpenEpoch(opening) => Public::OpenEpoch(opening.clone()),
            Self::KeyStep(step) => Public::KeyStep(step.clone()),
            Self::KeyRelease(release) => Public::KeyRelease(release.clone()),
            Self::NetworkRestart(restart) => Public::NetworkRestart(restart.clone()),
            Self::Propose(recorded) => Public::Propose(recorded.shown()),
            Self::Vote(recorded) => Public::Vote(recorded.shown()),
            Self::Withdraw(recorded) => Public::Withdraw(recorded.shown()),
            Self::Expire { proposals } => Public::Expire(proposals.clone()),
            Self::ConsentAudit(recorded) => Public::ConsentAudit(recorded.shown()),
            Self::AuditRelease(release) => Public::AuditRelease(*release),
        };
        minicbor::to_vec(public).expect("memory takes any length")
    }

    /// The part to be sealed; empty for most commands.
    pub fn private(&self) -> Zeroizing<Vec<u8>> {
        let genesis = match self {
            Self::Genesis(genesis) => genesis,
            Self::Propose(r) | Self::Vote(r) | Self::Withdraw(r) | Self::ConsentAudit(r) => {
                let sealed = r.visibility == Visibility::Sealed;
                return Zeroizing::new(if sealed {
                    r.message.to_cbor()
                } else {
                    Vec::new()
                });
            }
            _ => return Zeroizing::new(Vec::new()),
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
            Public::OpenEpoch(opening) => Self::OpenEpoch(opening),
            Public::KeyStep(step) => Self::KeyStep(step),
            Public::KeyRelease(release) => Self::KeyRelease(release),
            Public::NetworkRestart(restart) => Self::NetworkRestart(restart),
            Public::Propose(message) => Self::Propose(Recorded::read(message, private)?),
            Public::Vote(message) => Self::Vote(Recorded::read(message, private)?),
            Public::Withdraw(message) => Self::Withdraw(Recorded::read(message, private)?),
            Public::Expire(proposals) => Self::Expire { proposals },
            Public::ConsentAudit(message) => Self::ConsentAudit(Recorded::read(message, private)?),
            Public::AuditRelease(release) => Self::AuditRelease(release),
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

impl Recorded {
    fn shown(&self) -> Option<SignedMessage> {
        (self.visibility == Visibility::Public).then(|| self.message.clone())
    }

    fn read(shown: Option<SignedMessage>, private: &[u8]) -> Result<Box<Self>, BadCommand> {
        Ok(Box::new(match shown {
            Some(message) => Self {
                visibility: Visibility::Public,
                message,
            },
            None => Self {
                visibility: Visibility::Sealed,
                message: SignedMessage::from_cbor(private).map_err(|_| BadCommand::Private)?,
            },
        }))
    }
}

impl Genesis {
    fn shows_constitution(&self) -> bool {
        self.constitution.visibility == Visibility::Public
    }
}
