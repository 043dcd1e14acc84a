//! The public part of a share-transport key in text: hexadecimal, and refused unless it is one.
//!
//! Source: design of the threshold keys, "Equations". The identity of the group and encodings that
//! are not canonical never become an [`Element`].

use crypto::PublicKey;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;
use threshold::Element;
use types::NetworkId;

/// What a share-transport key is bound to on its way from the owner's agent into an enclave of the
/// owner: HPKE's `info`.
pub fn share_delivery_info(network: &NetworkId, owner: &str, node: &PublicKey) -> Vec<u8> {
    let mut info = b"coco/1 share-transport key".to_vec();
    info.extend_from_slice(&network.0);
    info.extend_from_slice(&node.fingerprint().0);
    info.extend_from_slice(owner.as_bytes());
    info
}

/// What a person wrote is no such key.
const EXPECTED: &str = "the share key is not the 64 hexadecimal digits of a ristretto255 element other than the identity; take what `coco member share-key` prints";

pub(crate) fn serialize<S: Serializer>(
    key: &Option<Element>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serializer.serialize_str(&hex::encode(key.bytes())),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Element>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let bytes = hex::decode(&text).map_err(|_| D::Error::custom(EXPECTED))?;
    Element::from_bytes(&bytes)
        .map(Some)
        .map_err(|_| D::Error::custom(EXPECTED))
}
