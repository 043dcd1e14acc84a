//! Numbers that a later version appended to a record: left out while they have their default, so
//! that the digest of what exists never changes.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

/// What a record without the field means.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape that the derive asks for"
)]
pub(crate) fn nil<const DEFAULT: u64>() -> Option<u64> {
    Some(DEFAULT)
}

/// Whether the field is left out.
pub(crate) fn is_nil<const DEFAULT: u64>(value: &u64) -> bool {
    *value == DEFAULT
}

/// Null stands for the default where a later field follows.
pub(crate) fn decode<const DEFAULT: u64, C>(
    d: &mut Decoder<'_>,
    _: &mut C,
) -> Result<u64, DecodeError> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(DEFAULT);
    }
    d.u64()
}

/// Null for the default; the derive drops it at the end of a record.
pub(crate) fn encode<const DEFAULT: u64, C, W: Write>(
    value: &u64,
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), EncodeError<W::Error>> {
    if *value == DEFAULT {
        e.null()?.ok()
    } else {
        e.u64(*value)?.ok()
    }
}
