//! Write sets: what a batch changed.
//!
//! ```text
//! write set = count u32, then that many writes, in ascending order of (domain, key), no key twice
//! write     = domain u16 | key bytes u16 | value bytes u32 | key | value
//!             value bytes = ff ff ff ff: the key is deleted, and no value follows
//! ```
//! Numbers are big-endian. There is one encoding of one write set, so equal write sets have equal
//! bytes, which is how a validator compares its own with a leader's.

use bytes::{BufMut, Bytes};

use crate::Cursor;

/// A numbered map of an adapter's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(pub u16);

/// One key's new value; `None` deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub domain: Domain,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Writes in the order of (domain, key), each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet(pub Vec<Write>);

/// The bytes are not a write set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a write set: {0}")]
pub struct Malformed(pub &'static str);

/// Longest key: its length has 16 bits in the encoding.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize; // widening

const DELETED: u32 = u32::MAX;
const WRITE_BYTES_MIN: usize = 8;

impl WriteSet {
    /// Length of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        let writes = self.0.iter();
        4 + writes
            .map(|w| WRITE_BYTES_MIN + w.key.len() + w.value.as_ref().map_or(0, Bytes::len))
            .sum::<usize>()
    }

    /// Appends the encoding.
    ///
    /// # Panics
    /// If a key is longer than [`KEY_BYTES_MAX`] or a value reaches 4 GiB.
    pub fn encode(&self, out: &mut impl BufMut) {
        debug_assert!(
            self.0
                .is_sorted_by(|a, b| (a.domain, &a.key) < (b.domain, &b.key))
        );
        out.put_u32(u32::try_from(self.0.len()).expect("a batch writes fewer than 2^32 keys"));
        for write in &self.0 {
            out.put_u16(write.domain.0);
            out.put_u16(u16::try_from(write.key.len()).expect("a transaction refuses longer keys"));
            match &write.value {
                None => out.put_u32(DELETED),
                Some(value) => {
                    let bytes =
                        u32::try_from(value.len()).expect("a value is far shorter than 4 GiB");
                    assert!(bytes != DELETED, "a value is far shorter than 4 GiB");
                    out.put_u32(bytes);
                }
            }
            out.put_slice(&write.key);
            out.put_slice(write.value.as_deref().unwrap_or_default());
        }
    }

    /// Reads a write set that is all of `bytes`. Keys and values are slices of it.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong; order and uniqueness of keys are checked.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.count(WRITE_BYTES_MIN)?;
        let mut writes: Vec<Write> = Vec::with_capacity(count);
        for _ in 0..count {
            let domain = Domain(cursor.u16()?);
            let key_bytes = usize::from(cursor.u16()?);
            let value_bytes = cursor.u32()?;
            let key = cursor.take(key_bytes)?;
            let value = match value_bytes {
                DELETED => None,
                bytes => Some(cursor.take(bytes as usize)?), // u32 fits usize on every supported target
            };
            if writes
                .last()
                .is_some_and(|last| (last.domain, &last.key) >= (domain, &key))
            {
                return Err(Malformed("keys are not in ascending order"));
            }
            writes.push(Write { domain, key, value });
        }
        cursor.end()?;
        Ok(Self(writes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(domain: u16, key: &'static str, value: Option<&'static str>) -> Write {
        Write {
            domain: Domain(domain),
            key: key.into(),
            value: value.map(Into::into),
        }
    }

    fn encoded(set: &WriteSet) -> Bytes {
        let mut out = Vec::new();
        set.encode(&mut out);
        assert_eq!(out.len(), set.encoded_bytes());
        out.into()
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let set = WriteSet(vec![
            write(1, "a", Some("xy")),
            write(1, "b", None),
            write(2, "a", Some("")),
        ]);
        #[rustfmt::skip]
        let expected: &[u8] = &[
            0, 0, 0, 3,
            0, 1, 0, 1, 0, 0, 0, 2, b'a', b'x', b'y',
            0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, b'b',
            0, 2, 0, 1, 0, 0, 0, 0, b'a',
        ];
        assert_eq!(encoded(&set), expected);
        assert_eq!(WriteSet::decode(encoded(&set)), Ok(set));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = encoded(&WriteSet(vec![
            write(1, "a", Some("xy")),
            write(1, "b", None),
        ]));
        for cut in 0..bytes.len() {
            assert!(
                WriteSet::decode(bytes.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn disorder_repetition_and_impossible_counts_are_refused() {
        for keys in [["b", "a"], ["a", "a"]] {
            let mut out = vec![0, 0, 0, 2];
            for key in keys {
                out.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
                out.extend_from_slice(key.as_bytes());
            }
            assert_eq!(
                WriteSet::decode(out.into()),
                Err(Malformed("keys are not in ascending order"))
            );
        }
        let huge = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(
            WriteSet::decode(huge),
            Err(Malformed("it counts more items than follow"))
        );
    }
}
