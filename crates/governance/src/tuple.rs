//! Node tuples: what an owner signs to let one incarnation of its node join.
//!
//! Source: Coco 2017, "VN list": {owner, address, VN public key}, signed by the owner. Ours names
//! the network and the constitution that the owner approved, too, so that it is good for nothing
//! else. The owner's agent signs with a delegated certificate (DESIGN section 6).

use crypto::{Certificate, Context, PublicKey, SigningKey, sign1, verify_chain, verify1};
use minicbor::{Decode, Encode};
use types::{Digest, Millis, NetworkId};

use crate::{Constitution, Refused};

/// Object identifier of the extension that marks an agent's certificate: its key may sign node
/// tuples for the actor and do nothing else. Under the arc of UUIDs (ITU-T X.667), which needs no
/// registration. The value is ASN.1 NULL.
pub const AGENT_EXTENSION: &[u64] = &[2, 25, 7_310_577_351_034_621_952, 1];

/// One incarnation of a node, as its owner states it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeTuple {
    #[n(0)]
    pub network: NetworkId,
    #[n(1)]
    pub owner: String,
    #[n(2)]
    pub address: String,
    /// Made by the enclave when it started.
    #[n(3)]
    pub key: PublicKey,
    /// The constitution that the owner approved.
    #[n(4)]
    pub constitution: Digest,
}

impl NodeTuple {
    /// The payload to be signed.
    pub fn to_cbor(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes any length")
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`Refused::TupleShape`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, Refused> {
        let tuple: Self = minicbor::decode(bytes).map_err(|_| Refused::TupleShape)?;
        if tuple.to_cbor() == bytes {
            Ok(tuple)
        } else {
            Err(Refused::TupleShape)
        }
    }

    /// The COSE_Sign1 object, signed by the owner or its agent.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        sign1(key, Context::NodeTuple, &self.to_cbor())
    }
}

/// A tuple whose signature was checked and leads to its owner. Only [`SignedTuple::verify`] makes
/// one. Whether the slot is free for it is [`crate::State::admit`]'s question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTuple {
    tuple: NodeTuple,
    object: Vec<u8>,
    chain: Vec<Certificate>,
}

impl SignedTuple {
    /// Checks that the owner named in `object` signed it: the signer's `chain` (leaf first) leads
    /// to a certificate that `constitution` lists for the owner, at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`]: whoever gave it.
    pub fn verify(
        object: &[u8],
        chain: &[Certificate],
        constitution: &Constitution,
        now: Millis,
    ) -> Result<Self, Refused> {
        let tuple = signed_by(object, chain.first())?;
        let owner = constitution
            .actor(&tuple.owner)
            .ok_or_else(|| Refused::UnknownOwner {
                owner: tuple.owner.clone(),
            })?;
        let listed: Vec<_> = owner.certificates.iter().map(|c| c.0.clone()).collect();
        verify_chain(chain, &listed, now).map_err(|reason| Refused::TupleSigner {
            owner: tuple.owner.clone(),
            reason,
        })?;
        Ok(Self {
            tuple,
            object: object.to_vec(),
            chain: chain.to_vec(),
        })
    }

    /// What was signed.
    pub fn tuple(&self) -> &NodeTuple {
        &self.tuple
    }

    /// The signed object, as it goes into the entry.
    pub fn object(&self) -> &[u8] {
        &self.object
    }

    /// The signer's certificates, leaf first.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }
}

/// What the holder of a certificate signed, whoever that is.
pub(crate) fn signed_by(object: &[u8], signer: Option<&Certificate>) -> Result<NodeTuple, Refused> {
    let key = signer.ok_or(Refused::TupleUnsigned)?.key();
    let signed = verify1(key, Context::NodeTuple, object).map_err(Refused::TupleSignature)?;
    NodeTuple::from_cbor(signed.payload())
}
