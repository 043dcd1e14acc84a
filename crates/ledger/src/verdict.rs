//! What an audit found: the place and the reason of everything that is wrong, and what was not
//! checked.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use types::{Digest, Index, NodeId};

use crate::chunk::Reason;
use crate::snapshot::BadFile;
use crate::{BadRoot, Refused};

/// Most problems, and most notes, that are listed: past this the ledger is another one.
pub(crate) const PROBLEMS_MAX: usize = 1000;

/// Where an entry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
    pub(crate) index: Index,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// Byte in the file where the entry begins.
    pub offset: u64,
    /// The entry; where it cannot be read, the one that belongs there.
    pub index: Index,
    pub what: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {} (entry {}): {}",
            self.file, self.offset, self.index, self.what
        )
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the file's name is not that of a chunk with these entries")]
    Name,
    #[error("a chunk file of {0} bytes is impossible; it was not read")]
    Size(u64),
    #[error("entries {first}-{last} are missing before this file")]
    Missing { first: Index, last: Index },
    #[error("a closed chunk does not come after an open one")]
    AfterOpen,
    #[error(
        "a chunk ends with a snapshot entry or the one that brings it to the size of a chunk, and nowhere else"
    )]
    Cut,
    #[error(transparent)]
    Framing(Reason),
    #[error(transparent)]
    Entry(Refused),
    #[error("entry {expected} belongs here")]
    Order { expected: Index },
    #[error("the chain breaks here: this entry was changed since the next one named its digest")]
    Chain,
    #[error("against the network's rules: {0}")]
    Rules(String),
    #[error("{0}")]
    Header(&'static str),
    #[error("signed by node {0}, whose key no entry before gives")]
    UnknownSigner(NodeId),
    #[error(transparent)]
    Root(BadRoot),
    #[error("the leaves of entry {since} and after do not give the signed root")]
    Tree { since: Index },
    #[error("entry {0}, whose digest this is, is no snapshot entry")]
    NoSnapshot(Index),
    #[error(
        "two VNs had different states at snapshot {0}: this digest is not the one that was stated before"
    )]
    SnapshotDiffers(Index),
    #[error("snapshot file: {0}")]
    SnapshotFile(BadFile),
    #[error("the leaves are not those of the sealed claims")]
    Leaves,
}

/// The outcome of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a verdict may list problems"]
pub struct Verdict {
    pub entries: u64,
    pub transactions: u64,
    /// The last entry that was read.
    pub last: Index,
    /// Entries up to here are covered by a root signature that was checked.
    pub signed_upto: Index,
    pub problems: Vec<Problem>,
    /// Runs of entries that are not there, first and last: before the first file, or before another
    /// one.
    pub missing: Vec<(Index, Index)>,
    /// Snapshot entries, and the digest that was stated of the state there.
    pub snapshots: BTreeMap<Index, Option<Digest>>,
    /// What is right, but should be known.
    pub notes: Vec<String>,
    /// What was not checked, and why, in sentences.
    pub unchecked: Vec<String>,
}

impl Verdict {
    /// Nothing that was checked is wrong. What was not checked stands in `unchecked`.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Everything is there, and nothing that was checked is wrong.
    pub fn is_complete(&self) -> bool {
        self.is_sound() && self.missing.is_empty()
    }

    /// Nothing is wrong, but something is missing that a VN fetches by itself: a tail that a crash
    /// cut off, or entries that a snapshot stood for.
    pub fn is_incomplete_only(&self) -> bool {
        let torn = |p: &Problem| p.what == Fault::Framing(Reason::IncompleteTail);
        !self.is_complete() && self.problems.iter().all(torn)
    }

    pub(crate) fn note(&mut self, place: &Place, what: &str) {
        if self.notes.len() < PROBLEMS_MAX {
            self.notes.push(format!("entry {} {what}", place.index));
        }
    }
}
