//! The two parts of an administrative entry, and the way to them and back.
//!
//! The public part is readable for whoever has the files: nodes and their keys stand there, so that
//! an audit learns whose signatures to believe. The private part is sealed: the private key of the
//! network identity, and the constitution if it says so itself. Drawn in docs/formats-governance.md.

use crypto::Zeroizing;
use minicbor::{Decode, Encode};
use types::{Digest, Epoch, Millis, NodeId};

use crate::{
    AdmitNode, Command, Configuration, Constitution, Departure, EpochCause, Genesis, Listed,
    NetworkIdentity, Visibility,
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
