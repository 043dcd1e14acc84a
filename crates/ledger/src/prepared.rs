//! A chunk file, read and hashed ahead of the audit.
//!
//! The audit itself goes from entry to entry. What is costly about an entry does not need the one
//! before: its digest, the check of a root signature, opening it, its leaves. So that is done here,
//! for a whole file, by as many threads as the caller has; [`crate::Auditor::take`] then only links
//! and compares. What was prepared with a key that turned out to be another is done again there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crypto::PublicKey;
use types::{Epoch, Index, NodeId};

use crate::chunk::{BadChunk, Reader};
use crate::{
    BadRoot, Entry, Fault, Kind, Refused, RootSignature, SealKeyring, inspect, leaves, verify_root,
};

/// The keys that an audit knows at some moment. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub(crate) nodes: Arc<BTreeMap<NodeId, PublicKey>>,
    pub(crate) keyring: Option<Arc<SealKeyring>>,
}

/// What opening an entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    Right,
    /// The session key of this epoch is not held.
    Closed(Epoch),
    Wrong(Fault),
}

/// An entry, and what could be said about it with its sealer's key, if that was known.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) entry: Entry,
    pub(crate) key: Option<PublicKey>,
    /// Of a signature entry.
    pub(crate) root: Option<Result<RootSignature, BadRoot>>,
    /// With session keys.
    pub(crate) contents: Option<Contents>,
}

impl Checked {
    pub(crate) fn new(entry: Entry, known: &Known) -> Self {
        let key = known.nodes.get(&entry.header.sealer).copied();
        let root = key
            .filter(|_| entry.header.kind == Kind::Signature)
            .map(|key| verify_root(&key, &entry.header, &entry.public));
        let contents = key
            .zip(known.keyring.as_deref())
            .map(|(key, keyring)| contents(keyring, &key, &entry));
        Self {
            entry,
            key,
            root,
            contents,
        }
    }

    /// The same, if what is known now is what was known then; else checked again.
    pub(crate) fn again(self, known: &Known) -> Self {
        if self.key == known.nodes.get(&self.entry.header.sealer).copied() {
            self
        } else {
            Self::new(self.entry, known)
        }
    }
}

fn contents(keyring: &SealKeyring, sealer: &PublicKey, entry: &Entry) -> Contents {
    let opened = match keyring.open_entry(entry.clone(), sealer) {
        Ok(opened) => opened,
        Err(Refused::NoKey(epoch)) => return Contents::Closed(epoch),
        Err(refused) => return Contents::Wrong(Fault::Entry(refused)),
    };
    let Ok(evidence) = keyring.evidence(&entry.header) else {
        return Contents::Closed(entry.header.epoch);
    };
    if leaves(&evidence, &entry.header, &opened.claims).eq(entry.leaves.iter()) {
        Contents::Right
    } else {
        Contents::Wrong(Fault::Leaves)
    }
}

/// What lies at a place in a file.
#[derive(Debug)]
pub(crate) enum Item {
    Entry(Box<Checked>),
    /// Bytes of a possible length that are no entry.
    Not(Refused),
    /// The file cannot be read any further.
    Bad(BadChunk),
}

/// A chunk file that was read.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) file: Arc<str>,
    pub(crate) bytes: u64,
    /// First index as the file says, and what lies at each offset.
    pub(crate) items: Result<(Index, Vec<(u64, Item)>), BadChunk>,
}

impl Prepared {
    /// Reads a chunk file and checks what needs nothing but it and the keys that are known.
    pub fn new(file: &str, bytes: Bytes, known: &Known) -> Self {
        let length = bytes.len() as u64; // usize is at most 64 bits
        let items = Reader::new(bytes).map(|reader| {
            let item = |item: Result<(u64, Bytes), BadChunk>| match item {
                Ok((offset, bytes)) => {
                    let item = match inspect(&bytes) {
                        Ok(entry) => Item::Entry(Box::new(Checked::new(entry, known))),
                        Err(refused) => Item::Not(refused),
                    };
                    (offset, item)
                }
                Err(bad) => (bad.offset, Item::Bad(bad)),
            };
            (reader.first(), reader.map(item).collect())
        });
        Self {
            file: file.into(),
            bytes: length,
            items,
        }
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
