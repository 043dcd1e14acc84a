//! CBOR that has one encoding only: what does not encode back to the same bytes is refused.

use minicbor::{Decode, Encode};

/// Encodes a value.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a value in memory can be encoded")
}

/// Decodes a value that stands alone and canonically in `bytes`.
pub(crate) fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Option<T> {
    let value: T = minicbor::decode(bytes).ok()?;
    (encode(&value) == bytes).then_some(value)
}
