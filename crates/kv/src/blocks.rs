//! Raw blocks: big-endian numbers and length-prefixed bytes, read without copying.
//!
//! Bulk data (write sets, batch bodies) is laid out this way, so that decoding a batch of megabytes
//! makes slices of one buffer and no copies. Whoever keeps a slice for long copies it, since a slice
//! keeps its whole buffer alive.

use bytes::{BufMut, Bytes};

use crate::Malformed;

/// Reads blocks from the front of a buffer. Every read is bounds-checked; nothing is sized by an
/// announced length before that many bytes are known to be there.
#[derive(Debug, Clone)]
pub struct Cursor {
    rest: Bytes,
}

impl Cursor {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `bytes` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if fewer remain.
    pub fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if bytes > self.rest.len() {
            return Err(Malformed("it ends in the middle of a block"));
        }
        Ok(self.rest.split_to(bytes))
    }

    /// The next `N` bytes, copied.
    ///
    /// # Errors
    /// [`Malformed`] if fewer remain.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let array = *self
            .rest
            .first_chunk::<N>()
            .ok_or(Malformed("it ends in the middle of a block"))?;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(array)
    }

    /// A 16-bit number.
    ///
    /// # Errors
    /// [`Malformed`] if fewer than 2 bytes remain.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// [`Malformed`] if fewer than 4 bytes remain.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// [`Malformed`] if fewer than 8 bytes remain.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// How many items follow, each of at least `item_bytes_min` bytes: a count that the remaining
    /// bytes cannot hold is refused here, before it sizes a vector.
    ///
    /// # Errors
    /// [`Malformed`] if that many cannot follow.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize; // u32 fits usize on every supported target
        if count
            .checked_mul(item_bytes_min.max(1))
            .is_none_or(|bytes| bytes > self.rest.len())
        {
            return Err(Malformed("it counts more items than follow"));
        }
        Ok(count)
    }

    /// Bytes with a 16-bit length in front.
    ///
    /// # Errors
    /// [`Malformed`] if they are not all there.
    pub fn block16(&mut self) -> Result<Bytes, Malformed> {
        let bytes = self.u16()?;
        self.take(usize::from(bytes))
    }

    /// Bytes with a 32-bit length in front.
    ///
    /// # Errors
    /// [`Malformed`] if they are not all there.
    pub fn block32(&mut self) -> Result<Bytes, Malformed> {
        let bytes = self.u32()? as usize; // as in `count`
        self.take(bytes)
    }

    /// The end.
    ///
    /// # Errors
    /// [`Malformed`] if bytes remain.
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes follow its end"))
        }
    }
}

/// Appends bytes with a 16-bit length in front.
///
/// # Panics
/// If they are longer than 65,535 bytes: whoever makes them keeps their limit.
pub fn put_block16(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("the maker keeps the limit of a short block"));
    out.put_slice(bytes);
}

/// Appends bytes with a 32-bit length in front.
///
/// # Panics
/// If they are 4 GiB or longer.
pub fn put_block32(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("the maker keeps the limit of a block"));
    out.put_slice(bytes);
}
