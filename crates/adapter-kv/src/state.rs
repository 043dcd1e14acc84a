//! How the replicated maps are laid out.
//!
//! | domain | key | value |
//! |---|---|---|
//! | 1 `values`, ordered | the client's key | version 16, writer 32, height u64, the value |
//! | 4 `settings`, hashed | name | value |
//! | 5 `deleted`, hashed | a client's key that does not exist any more | height u64 of its deletion |
//!
//! Only the last version of a key is here. A batch's event of a key (`change`) names the batch before that
//! wrote it, so older versions are found in the ledger, one after the other. A deleted key stays as a
//! pointer to its deletion.

use adapter::{Domain, DomainSpec, Layout, Lost, View};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed};
use types::{ActorId, Height};

use crate::command::Version;

pub(crate) const VALUES: Domain = Domain(1);
pub(crate) const SETTINGS: Domain = Domain(4);
pub(crate) const DELETED: Domain = Domain(5);

pub(crate) fn domains() -> Vec<DomainSpec> {
    let spec = |domain, name, layout| DomainSpec {
        domain,
        name,
        layout,
    };
    vec![
        spec(VALUES, "values", Layout::Ordered),
        spec(SETTINGS, "settings", Layout::Hashed),
        spec(DELETED, "deleted", Layout::Hashed),
    ]
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) writer: ActorId,
    pub(crate) height: Height,
    pub(crate) value: Bytes,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(56 + self.value.len());
        out.put_slice(&self.version.0);
        out.put_slice(&self.writer.0);
        out.put_u64(self.height.0);
        out.put_slice(&self.value);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes.clone());
        Ok(Self {
            version: Version(cursor.array()?),
            writer: ActorId(cursor.array()?),
            height: Height(cursor.u64()?),
            value: cursor.take(cursor.remaining())?,
        })
    }
}

/// The record of a key.
pub(crate) fn record(view: &dyn View, key: &[u8]) -> Result<Option<Record>, Lost> {
    Ok(view
        .get(VALUES, key)?
        .map(|bytes| Record::decode(&bytes).expect("only `Record::encode` writes here")))
}

/// The height at which a key was written or deleted last; 0 if never.
pub(crate) fn last_change(
    view: &dyn View,
    key: &[u8],
    record: Option<&Record>,
) -> Result<Height, Lost> {
    if let Some(record) = record {
        return Ok(record.height);
    }
    let deleted = view.get(DELETED, key)?;
    Ok(deleted.map_or(Height::ZERO, |bytes| {
        Height(u64::from_be_bytes(
            *bytes.first_chunk().expect("heights have eight bytes"),
        ))
    }))
}

/// What a batch's event says about its key: the version that it made, and when the one before was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) version: Version,
    /// 0 if there was none.
    pub(crate) previous: Height,
}

impl Change {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(24);
        out.put_slice(&self.version.0);
        out.put_u64(self.previous.0);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes.clone());
        Ok(Self {
            version: Version(cursor.array()?),
            previous: Height(cursor.u64()?),
        })
    }
}
