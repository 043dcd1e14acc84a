//! The audit of a ledger: files in, verdict out, streaming, without keys.
//!
//! Without keys it checks names, framing, order, the chain of digests, the headers' sense, the
//! Merkle tree and the root signatures. With session keys it also opens every entry and compares
//! leaves with claims. It never changes anything, goes on behind a fault, and names the entry that
//! is to blame: where one link of the chain is broken, the entry before it was changed (its header
//! or content); where both links of an entry are, that entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use crypto::PublicKey;
use types::{Digest, Epoch, Index, NetworkId, NodeId};

use crate::snapshot::Statement;
use crate::verdict::Place;
use crate::{
    Entry, Fault, Frontier, Header, Kind, Problem, Refused, SealKeyring, Verdict, chunk, inspect,
    leaves, verify_root,
};

/// Most problems that are listed: past this the ledger is another one.
const PROBLEMS_MAX: usize = 1000;

/// What an administrative entry says that the audit needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditFact {
    /// The node was admitted with this VN key.
    NodeKey { node: NodeId, key: PublicKey },
    /// The entry is not what the network's rules allow, and for this reason.
    Refused { why: String },
}

/// An entry that took its place in the chain.
struct Taken {
    header: Header,
    digest: Digest,
    place: Place,
}

/// Checks a ledger, file by file. `F` reads facts from the public bodies of the genesis and of
/// administrative entries, in order, and may keep state. It is to give a node's key only when it
/// found the admission endorsed by the constitution: whoever could add a key could go on with a
/// ledger of his own from there, and sign it.
pub struct Auditor<F> {
    facts: F,
    keyring: Option<SealKeyring>,
    network: Option<NetworkId>,
    nodes: BTreeMap<NodeId, PublicKey>,
    verdict: Verdict,
    /// An open chunk was seen.
    open: bool,
    cut_bytes: u64,
    /// The chunk before was cut where the rule does not cut, which it may be while it is the last.
    miscut: Option<Place>,
    /// The entry before, None at the start and where it could not be read.
    last: Option<Taken>,
    /// The next index.
    next: Option<Index>,
    /// An entry with an index that does not belong where it lies.
    stray: Option<(Entry, Place)>,
    /// The entry before a broken link of the chain, until it is clear which side is to blame.
    suspect: Option<Place>,
    /// None where leaves are missing.
    tree: Option<Frontier>,
    /// First entry whose leaves no checked signature covers.
    unsigned: Index,
    problems_at_signature: usize,
    /// Snapshot entries, and the digest that was stated first. A file ends with each, so there are
    /// no more than files.
    snapshots: BTreeMap<Index, Option<Digest>>,
    /// Every entry from here on was read.
    complete_from: Option<Index>,
    unopened: BTreeSet<Epoch>,
    /// Nodes that sealed, and nodes that signed, without their key being known.
    unknown: BTreeSet<NodeId>,
    strangers: BTreeSet<NodeId>,
}

impl<F: FnMut(&Entry) -> Vec<AuditFact>> Auditor<F> {
    /// Checks without keys.
    pub fn new(facts: F) -> Self {
        Self {
            facts,
            keyring: None,
            network: None,
            nodes: BTreeMap::new(),
            verdict: Verdict::default(),
            open: false,
            cut_bytes: chunk::CLOSE_BYTES,
            miscut: None,
            last: None,
            next: None,
            stray: None,
            suspect: None,
            tree: None,
            unsigned: Index(1),
            problems_at_signature: 0,
            snapshots: BTreeMap::new(),
            complete_from: None,
            unopened: BTreeSet::new(),
            unknown: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// Checks contents, too, of the epochs whose keys are held.
    #[must_use]
    pub fn with_keys(mut self, keyring: SealKeyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Only this network's signatures are good. Without it, all must be of one network.
    #[must_use]
    pub fn of_network(mut self, network: NetworkId) -> Self {
        self.network = Some(network);
        self
    }

    /// For files whose chunks are cut at another size than [`chunk::CLOSE_BYTES`].
    #[must_use]
    pub fn cutting_at(mut self, bytes: u64) -> Self {
        self.cut_bytes = bytes;
        self
    }

    /// Knows a node's key from elsewhere, for a ledger that begins behind a snapshot.
    pub fn learn(&mut self, node: NodeId, key: PublicKey) {
        self.nodes.insert(node, key);
    }

    /// Checks one chunk file. Files come in the order of their first index.
    pub fn chunk(&mut self, file: &str, bytes: Bytes) {
        let file: Arc<str> = file.into();
        let place = |offset, index| Place {
            file: file.clone(),
            offset,
            index,
        };
        let here = self.next.unwrap_or(Index(1));
        let name = chunk::Name::parse(&file);
        let closed = name.is_some_and(|name| name.last.is_some());
        if self.open && closed {
            self.problem(&place(0, here), Fault::AfterOpen);
        }
        self.open |= !closed;
        if let Some(miscut) = self.miscut.take() {
            self.problem(&miscut, Fault::Cut);
        }
        let end = bytes.len() as u64; // usize is at most 64 bits
        let mut last_offset = 0;
        // The snapshot entry that was read last: the file ends with it.
        let mut snapshot = None;
        let reader = match chunk::Reader::new(bytes) {
            Ok(reader) => reader,
            Err(bad) => return self.problem(&place(bad.offset, here), Fault::Framing(bad.reason)),
        };
        if name.is_none_or(|name| name.first != reader.first()) {
            self.problem(&place(0, here), Fault::Name);
        }
        if self.next.is_none() {
            self.begin(reader.first());
        }
        for item in reader {
            let expected = self.next.unwrap_or(Index(1));
            match item {
                Ok((offset, bytes)) => {
                    last_offset = offset;
                    if let Some(snapshot) = snapshot.take() {
                        self.problem(&snapshot, Fault::Cut);
                    }
                    match inspect(&bytes) {
                        Ok(entry) => {
                            let place = place(offset, entry.header.index);
                            if entry.header.kind == Kind::Snapshot {
                                snapshot = Some(place.clone());
                            }
                            self.entry(entry, place);
                        }
                        Err(refused) => {
                            self.unreadable(&place(offset, expected), Fault::Entry(refused))
                        }
                    }
                }
                Err(bad) => self.problem(&place(bad.offset, expected), Fault::Framing(bad.reason)),
            }
        }
        // A stray entry at the end was named already.
        let read = self.next.map_or(Index::ZERO, Index::previous);
        let misnamed = name
            .and_then(|name| name.last)
            .is_some_and(|last| last != read);
        if misnamed && self.stray.is_none() {
            self.problem(&place(0, read), Fault::Name);
        }
        let early = end < self.cut_bytes && snapshot.is_none();
        if early || last_offset >= self.cut_bytes {
            self.miscut = Some(place(last_offset, read));
        }
        if closed && let Some(miscut) = self.miscut.take() {
            self.problem(&miscut, Fault::Cut);
        }
    }

    /// The verdict on all that was seen.
    pub fn finish(mut self) -> Verdict {
        // A broken last link is the last entry's fault if that has another fault, too.
        let last = self.verdict.last;
        let explained = self
            .verdict
            .problems
            .iter()
            .rev()
            .any(|problem| problem.index == last);
        if let Some(suspect) = self.suspect.take().filter(|_| !explained) {
            self.problem(&suspect, Fault::Chain);
        }
        let mut verdict = self.verdict;
        let mut unchecked = |sentence: String| verdict.unchecked.push(sentence);
        if verdict.last > verdict.signed_upto {
            unchecked(format!(
                "entries {}-{} are not yet covered by a checked root signature",
                verdict.signed_upto.next(),
                verdict.last
            ));
        }
        for node in &self.unknown {
            unchecked(format!(
                "contents sealed by node {node}: no entry gives its key"
            ));
        }
        match &self.keyring {
            None => unchecked("contents: no session keys were given".to_owned()),
            Some(_) => self.unopened.iter().for_each(|epoch| {
                unchecked(format!(
                    "contents of epoch {epoch}: its session key was not given"
                ));
            }),
        }
        verdict
    }

    fn begin(&mut self, first: Index) {
        self.next = Some(first);
        self.unsigned = first;
        if first == Index(1) {
            self.tree = Some(Frontier::default());
        } else {
            let before = first.previous();
            self.verdict
                .unchecked
                .push(format!("entries 1-{before}: the files begin behind them"));
        }
    }

    fn problem(&mut self, place: &Place, what: Fault) {
        if self.verdict.problems.len() < PROBLEMS_MAX {
            let file = place.file.to_string();
            let (offset, index) = (place.offset, place.index);
            self.verdict.problems.push(Problem {
                file,
                offset,
                index,
                what,
            });
        }
    }

    /// Something lies where the next entry belongs, and is none.
    fn unreadable(&mut self, place: &Place, what: Fault) {
        self.problem(place, what);
        self.tree = None;
        self.last = None;
        self.complete_from = None;
        self.next = self.next.map(Index::next);
    }

    fn entry(&mut self, entry: Entry, place: Place) {
        let expected = self.next.expect("a file was begun");
        let found = entry.header.index;
        match self.stray.take() {
            // The stray one lies in the place of the expected entry.
            Some(_) if found == expected.next() => {
                self.next = Some(found);
                self.last = None;
                self.tree = None;
                self.complete_from = None;
            }
            // The stray one is the first behind a gap.
            Some((stray, stray_place))
                if stray.header.index > expected && found == stray.header.index.next() =>
            {
                self.last = None;
                self.tree = None;
                self.complete_from = None;
                self.take(&stray, stray_place);
            }
            _ => {}
        }
        let expected = self.next.expect("a file was begun");
        if found == expected {
            self.take(&entry, place);
        } else {
            self.problem(&place, Fault::Order { expected });
            self.stray = Some((entry, place));
        }
    }

    /// Takes an entry as the next of the chain.
    fn take(&mut self, entry: &Entry, place: Place) {
        let header = entry.header;
        self.next = Some(header.index.next());
        self.verdict.entries += 1;
        self.verdict.transactions += entry.leaves.len() as u64; // at most BATCH_UNITS_MAX
        self.verdict.last = header.index;
        self.link(&header, &place);
        if matches!(header.kind, Kind::Genesis | Kind::Administrative) {
            for fact in (self.facts)(entry) {
                match fact {
                    AuditFact::Refused { why } => self.problem(&place, Fault::Rules(why)),
                    AuditFact::NodeKey { node, key } => self.learn(node, key),
                }
            }
        }
        if !matches!(
            header.kind,
            Kind::Genesis | Kind::Administrative | Kind::Application { .. }
        ) && !entry.leaves.is_empty()
        {
            self.problem(
                &place,
                Fault::Header("an entry of this kind has no transactions"),
            );
        }
        match header.kind {
            Kind::Signature => self.signature(entry, &place),
            Kind::Snapshot => self.snapshot(entry, &place),
            Kind::SnapshotDigest => self.snapshot_digest(entry, &place),
            _ => {}
        }
        if let Some(tree) = &mut self.tree {
            entry.leaves.iter().for_each(|leaf| tree.append(leaf));
        }
        if let Some(fault) = self.contents(entry) {
            self.problem(&place, fault);
        }
        self.complete_from.get_or_insert(header.index);
        self.last = Some(Taken {
            header,
            digest: entry.digest,
            place,
        });
    }

    /// Checks an entry against the one before.
    fn link(&mut self, header: &Header, place: &Place) {
        if (header.kind == Kind::Genesis) != (header.index == Index(1)) {
            self.problem(place, Fault::Header("the genesis is the first entry"));
        }
        let Some(last) = self.last.take() else {
            if header.index == Index(1) && header.previous != Digest::ZERO {
                self.problem(place, Fault::Header("the first entry names one before"));
            }
            if let Some(suspect) = self.suspect.take() {
                self.problem(&suspect, Fault::Chain);
            }
            return;
        };
        let intact = header.previous == last.digest;
        match (self.suspect.take(), intact) {
            (None, false) => self.suspect = Some(last.place),
            (Some(_), false) => self.problem(&last.place, Fault::Chain),
            (Some(suspect), true) => self.problem(&suspect, Fault::Chain),
            (None, true) => {}
        }
        if intact && let Some(fault) = nonsense(&last.header, header) {
            self.problem(place, Fault::Header(fault));
        }
    }

    fn signature(&mut self, entry: &Entry, place: &Place) {
        let header = &entry.header;
        let Some(key) = self.nodes.get(&header.sealer) else {
            if self.strangers.insert(header.sealer) {
                self.problem(place, Fault::UnknownSigner(header.sealer));
            }
            return;
        };
        let root = match verify_root(key, header, &entry.public) {
            Ok(root) => root,
            Err(bad) => return self.problem(place, Fault::Root(bad)),
        };
        if *self.network.get_or_insert(root.statement.network) != root.statement.network {
            return self.problem(place, Fault::Header("signed for another network"));
        }
        let differs = self
            .tree
            .as_ref()
            .is_some_and(|tree| *tree != root.frontier);
        let blamed =
            self.suspect.is_some() || self.verdict.problems.len() > self.problems_at_signature;
        if differs && !blamed {
            self.problem(
                place,
                Fault::Tree {
                    since: self.unsigned,
                },
            );
        }
        // The frontier is what was signed: behind a fault, the audit goes on from it.
        self.tree = Some(root.frontier);
        self.verdict.signed_upto = header.index.previous();
        self.unsigned = header.index;
        self.problems_at_signature = self.verdict.problems.len();
    }

    fn snapshot(&mut self, entry: &Entry, place: &Place) {
        if !entry.public.is_empty() {
            self.problem(place, Fault::Header("a snapshot entry has no body"));
        }
        self.snapshots.insert(entry.header.index, None);
    }

    /// A digest is of a snapshot entry before; all digests of one snapshot are the same.
    fn snapshot_digest(&mut self, entry: &Entry, place: &Place) {
        let statement = match Statement::from_cbor(&entry.public, entry.header.index) {
            Ok(statement) => statement,
            Err(refused) => return self.problem(place, Fault::Entry(refused)),
        };
        let index = statement.index;
        let Some(known) = self.snapshots.get_mut(&index) else {
            if self.complete_from.is_some_and(|first| index >= first) {
                self.problem(place, Fault::NoSnapshot(index));
            }
            return;
        };
        if *known.get_or_insert(statement.digest) != statement.digest {
            self.problem(place, Fault::SnapshotDiffers(index));
        }
    }

    fn contents(&mut self, entry: &Entry) -> Option<Fault> {
        let keyring = self.keyring.as_ref()?;
        let Some(sealer) = self.nodes.get(&entry.header.sealer) else {
            self.unknown.insert(entry.header.sealer);
            return None;
        };
        let opened = match keyring.open_entry(entry.clone(), sealer) {
            Ok(opened) => opened,
            Err(Refused::NoKey(epoch)) => {
                self.unopened.insert(epoch);
                return None;
            }
            Err(refused) => return Some(Fault::Entry(refused)),
        };
        let evidence = keyring.evidence(&entry.header).ok()?;
        let same = leaves(&evidence, &entry.header, &opened.claims).eq(entry.leaves.iter());
        (!same).then_some(Fault::Leaves)
    }
}

/// What makes no sense about two entries in a row.
fn nonsense(last: &Header, header: &Header) -> Option<&'static str> {
    let restarted = header.restarts > last.restarts;
    if header.restarts < last.restarts {
        Some("the restart count decreases")
    } else if header.term < last.term {
        Some("the term decreases")
    } else if header.epoch < last.epoch {
        Some("the epoch decreases")
    } else if header.time < last.time {
        Some("the time decreases")
    } else if header.term == last.term && header.sealer != last.sealer && !restarted {
        Some("one term has one sealer")
    } else if header.term > last.term && header.kind != Kind::TermOpened && !restarted {
        Some("a term begins with the entry that opens it")
    } else {
        None
    }
}
