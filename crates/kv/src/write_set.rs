//! Write sets: what a batch changed.

use bytes::Bytes;

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
