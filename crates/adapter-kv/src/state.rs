//! How the replicated maps are laid out.
//!
//! | domain | key | value |
//! |---|---|---|
//! | 1 `values`, ordered | the client's key | version 16, writer 32, height u64, the value |
//! | 2 `requests`, hashed | actor 32, request id | time u64, digest of the unit 32, height u64, receipt |
//! | 3 `request-ages`, ordered | time u64, actor 32, request id | nothing |
//! | 4 `settings`, hashed | name | value |
//! | 5 `deleted`, hashed | a client's key that does not exist any more | height u64 of its deletion |
//!
//! Only the last version of a key is here. A batch's event of a key (`change`) names the batch before that
//! wrote it, so older versions are found in the ledger, one after the other. A deleted key stays as a
//! pointer to its deletion.

use adapter::{Domain, DomainSpec, Layout, Lost, View};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed};
use types::{ActorId, Height, Millis};

use crate::command::Version;

pub(crate) const VALUES: Domain = Domain(1);
pub(crate) const REQUESTS: Domain = Domain(2);
pub(crate) const REQUEST_AGES: Domain = Domain(3);
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
        spec(REQUESTS, "requests", Layout::Hashed),
        spec(REQUEST_AGES, "request-ages", Layout::Ordered),
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

/// What is kept of a request that a client named, so that sending it again does nothing again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) time: Millis,
    /// Digest of the commands: the same id with other commands is a mistake of the client.
    pub(crate) commands: [u8; 32],
    /// The batch that applied it.
    pub(crate) height: Height,
    pub(crate) receipt: Bytes,
}

impl Done {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(48 + self.receipt.len());
        out.put_u64(self.time.0);
        out.put_slice(&self.commands);
        out.put_u64(self.height.0);
        out.put_slice(&self.receipt);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes.clone());
        Ok(Self {
            time: Millis(cursor.u64()?),
            commands: cursor.array()?,
            height: Height(cursor.u64()?),
            receipt: cursor.take(cursor.remaining())?,
        })
    }
}

pub(crate) fn request_key(actor: ActorId, request_id: &[u8]) -> Bytes {
    [&actor.0, request_id].concat().into()
}

pub(crate) fn request_age_key(time: Millis, request_key: &[u8]) -> Bytes {
    [&time.0.to_be_bytes()[..], request_key].concat().into()
}

/// What became of a request of this client with this id.
pub(crate) fn done(
    view: &dyn View,
    actor: ActorId,
    request_id: &[u8],
) -> Result<Option<Done>, Lost> {
    let bytes = view.get(REQUESTS, &request_key(actor, request_id))?;
    Ok(bytes.map(|bytes| Done::decode(&bytes).expect("only `Done::encode` writes here")))
}
