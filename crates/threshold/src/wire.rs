//! Bytes: one encoding for each message, and nothing else decodes.
//!
//! CBOR (RFC 8949) arrays of definite length, drawn in docs/threshold.md. What decodes is encoded
//! again and compared, so an indefinite length, a long integer, a surplus field or a trailing byte
//! is refused, and a message has one name under any hash.

use minicbor::{Decode, Decoder, Encode};

use crate::deal::Deal;
use crate::dispute::{Ack, Dispute};
use crate::encryption::Ciphertext;
use crate::group::ACTORS_MAX;
use crate::key::ThresholdKey;
use crate::keypart::{KeyPart, KeyPartShare};
use crate::partial::Partial;
use crate::setup::ActorIndex;

/// Longest message: a deal with M = N = 64 takes 4.5 KiB.
pub const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// What an actor publishes during a session. The caller signs it and knows by the signature which
/// actor it is of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Message {
    #[n(0)]
    Deal(#[n(0)] Deal),
    #[n(1)]
    Ack(#[n(0)] Ack),
    #[n(2)]
    Dispute(#[n(0)] Dispute),
    #[n(3)]
    KeyPart(#[n(0)] KeyPart),
    #[n(4)]
    KeyPartShare(#[n(0)] KeyPartShare),
}

impl Message {
    /// Whose message it says it is.
    pub fn sender(&self) -> ActorIndex {
        match self {
            Self::Deal(m) => m.dealer,
            Self::Ack(m) => m.receiver,
            Self::Dispute(m) => m.receiver,
            Self::KeyPart(m) => m.dealer,
            Self::KeyPartShare(m) => m.receiver,
        }
    }

    /// Which session it is of.
    pub fn session(&self) -> types::Digest {
        match self {
            Self::Deal(m) => m.session,
            Self::Ack(m) => m.session,
            Self::Dispute(m) => m.session,
            Self::KeyPart(m) => m.session,
            Self::KeyPartShare(m) => m.session,
        }
    }
}

/// What has one encoding.
pub trait Wire: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    /// The encoding.
    fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes every byte")
    }

    /// Reads the one encoding.
    ///
    /// # Errors
    /// Whoever sent the bytes misbehaved.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Malformed::Long(bytes.len()));
        }
        let message: Self = minicbor::decode(bytes).map_err(|_| Malformed::Shape)?;
        if message.to_bytes() == bytes && message.is_well_formed() {
            Ok(message)
        } else {
            Err(Malformed::Shape)
        }
    }

    /// What the types alone do not say.
    #[doc(hidden)]
    fn is_well_formed(&self) -> bool {
        true
    }
}

impl Wire for Message {}
impl Wire for Deal {}
impl Wire for Ciphertext {}
impl Wire for Partial {}
impl Wire for ThresholdKey {
    fn is_well_formed(&self) -> bool {
        ThresholdKey::is_well_formed(self)
    }
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} bytes: a message has at most 8,192")]
    Long(usize),
    #[error("expected the canonical encoding of a threshold message")]
    Shape,
}

/// A list of at most [`ACTORS_MAX`], by the length that stands before it.
pub(crate) fn limited<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let length = d.array()?.filter(|&length| length <= ACTORS_MAX as u64);
    let length = length.ok_or(minicbor::decode::Error::message(
        "expected at most 64 items",
    ))?;
    (0..length).map(|_| d.decode_with(context)).collect()
}
