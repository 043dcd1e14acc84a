//! The audit of a ledger: files in, verdict out, streaming, without keys.
//!
//! Without keys it checks names, framing, order, the chain of digests, the headers' sense, the
//! Merkle tree and the root signatures. With session keys it also opens every entry and compares
//! leaves with claims. It never changes anything, goes on behind a fault, and names the entry that
//! is to blame: where one link of the chain is broken, the entry before it was changed (its header
//! or content); where both links of an entry are, that entry.
//!
//! A VN that joined from a snapshot has the entries behind it at once and fetches the older ones
//! later. So its files may lack a run of entries; that is told, and no fault, when the entries before
//! the gap's end were those of a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use crypto::PublicKey;
use types::{Digest, Epoch, Index, NetworkId, NodeId};

use crate::prepared::{Checked, Contents, Item, Known, Prepared};
use crate::snapshot::Statement;
use crate::verdict::{PROBLEMS_MAX, Place};
use crate::{Entry, Fault, Frontier, Header, Kind, Problem, SealKeyring, Verdict, chunk};

/// What an entry says that the audit needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditFact {
    /// The node was admitted with this VN key.
    NodeKey { node: NodeId, key: PublicKey },
    /// Entries behind this one may be sealed under this epoch, and none under a later one.
    Epoch(Epoch),
    /// Not a fault, but whoever reads the verdict should know.
    Noted { what: String },
    /// The entry is not what the network's rules allow, and for this reason.
    Refused { why: String },
}

/// Whether all entries before an entry were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Whole,
    /// Some are missing or unreadable: what they decided is not known.
    Missing,
}

/// An entry that took its place in the chain.
struct Taken {
    header: Header,
    digest: Digest,
    place: Place,
}

/// Checks a ledger, file by file. `F` reads facts from the genesis, from administrative entries and from
/// those that open a term, in order, and may keep state. It is to give a node's key only when it
/// found the admission endorsed by the constitution: whoever could add a key could go on with a
/// ledger of his own from there, and sign it.
pub struct Auditor<F> {
    facts: F,
    known: Known,
    network: Option<NetworkId>,
    verdict: Verdict,
    /// An open chunk was seen in this run of entries.
    open: bool,
    cut_bytes: u64,
    /// The chunk before was cut where the rule does not cut, which it may be while it is the last.
    miscut: Option<Place>,
    /// The entry before, None at the start and where it could not be read.
    last: Option<Taken>,
    /// The next index.
    next: Option<Index>,
    /// An entry with an index that does not belong where it lies.
    stray: Option<(Checked, Place)>,
    /// The entry before a broken link of the chain, until it is clear which side is to blame.
    suspect: Option<Place>,
    /// None where leaves are missing.
    tree: Option<Frontier>,
    /// First entry whose leaves no checked signature covers.
    unsigned: Index,
    problems_at_signature: usize,
    /// Every entry from here on was read.
    complete_from: Option<Index>,
    /// Ends of gaps that are the index of a snapshot whose digest is stated.
    stated: BTreeSet<Index>,
    before: Before,
    /// The latest epoch that was opened.
    epoch: Option<Epoch>,
    unopened: BTreeSet<Epoch>,
    /// Nodes that sealed, and nodes that signed, without their key being known.
    unknown: BTreeSet<NodeId>,
    strangers: BTreeSet<NodeId>,
}

impl<F: FnMut(&Entry, Before) -> Vec<AuditFact>> Auditor<F> {
    /// Checks without keys.
    pub fn new(facts: F) -> Self {
        Self {
            facts,
            known: Known::default(),
            network: None,
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
            complete_from: None,
            stated: BTreeSet::new(),
            before: Before::Whole,
            epoch: None,
            unopened: BTreeSet::new(),
            unknown: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// Checks contents, too, of the epochs whose keys are held.
    #[must_use]
    pub fn with_keys(mut self, keyring: SealKeyring) -> Self {
        self.known.keyring = Some(Arc::new(keyring));
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
        Arc::make_mut(&mut self.known.nodes).insert(node, key);
    }

    /// The keys that are known so far, to prepare files with.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Checks one chunk file. Files come in the order of their first index.
    pub fn chunk(&mut self, file: &str, bytes: Bytes) {
        self.take(Prepared::new(file, bytes, &self.known));
    }

    /// Names a file that is too large for a chunk, and goes on behind it.
    pub fn too_large(&mut self, file: &str, bytes: u64) {
        let index = self.next.unwrap_or(Index(1));
        let place = Place {
            file: file.into(),
            offset: 0,
            index,
        };
        self.problem(&place, Fault::Size(bytes));
    }

    /// Checks one chunk file that was prepared. Files come in the order of their first index.
    pub fn take(&mut self, prepared: Prepared) {
        let Prepared { file, bytes, items } = prepared;
        let place = |offset, index| Place {
            file: file.clone(),
            offset,
            index,
        };
        let name = chunk::Name::parse(&file);
        let closed = name.is_some_and(|name| name.last.is_some());
        if let (Ok((first, items)), Some(next)) = (&items, self.next) {
            let begins = |item: &Item| matches!(item, Item::Entry(checked) if checked.entry.header.index == *first);
            let begun = items.first().is_none_or(|(_, item)| begins(item));
            // A stray entry lies in the place of the one that is expected.
            let next = if self.stray.is_some() {
                next.next()
            } else {
                next
            };
            if *first > next && begun && name.is_some_and(|name| name.first == *first) {
                self.gap(next, &place(0, *first));
            }
        }
        let here = self.next.unwrap_or(Index(1));
        if self.open && closed {
            self.problem(&place(0, here), Fault::AfterOpen);
        }
        self.open |= !closed;
        if let Some(miscut) = self.miscut.take() {
            self.problem(&miscut, Fault::Cut);
        }
        let (first, items) = match items {
            Ok(items) => items,
            Err(bad) => return self.problem(&place(bad.offset, here), Fault::Framing(bad.reason)),
        };
        if name.is_none_or(|name| name.first != first) {
            self.problem(&place(0, here), Fault::Name);
        }
        if self.next.is_none() {
            self.begin(first);
        }
        let mut last_offset = 0;
        // The snapshot entry that was read last: the file ends with it.
        let mut snapshot = None;
        for (offset, item) in items {
            let expected = self.next.unwrap_or(Index(1));
            if let Item::Bad(bad) = item {
                self.problem(&place(offset, expected), Fault::Framing(bad.reason));
                continue;
            }
            last_offset = offset;
            if let Some(snapshot) = snapshot.take() {
                self.problem(&snapshot, Fault::Cut);
            }
            match item {
                Item::Entry(checked) => {
                    let place = place(offset, checked.entry.header.index);
                    if checked.entry.header.kind == Kind::Snapshot {
                        snapshot = Some(place.clone());
                    }
                    self.entry(*checked, place);
                }
                Item::Not(refused) => {
                    self.unreadable(&place(offset, expected), Fault::Entry(refused));
                }
                Item::Bad(_) => {}
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
        let early = bytes < self.cut_bytes && snapshot.is_none();
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
        // Entries that a snapshot stood for come later; others were taken away.
        let backfilled = |(_, last): &(Index, Index)| self.stated.contains(last);
        let mut verdict = self.verdict;
        verdict.problems.retain(|problem| match problem.what {
            Fault::Missing { first, last } => !backfilled(&(first, last)),
            _ => true,
        });
        let mut unchecked = |sentence: String| verdict.unchecked.push(sentence);
        for gap in &verdict.missing {
            let why = if gap.0 == Index(1) {
                "the files begin behind them"
            } else if backfilled(gap) {
                "a snapshot stood for them, and the node has not fetched them yet"
            } else {
                "they are missing"
            };
            unchecked(format!("entries {}-{}: {why}", gap.0, gap.1));
        }
        if verdict.last > verdict.signed_upto {
            unchecked(format!(
                "entries {}-{} are not yet covered by a checked root signature",
                verdict.signed_upto.next(),
                verdict.last
            ));
        }
        for node in &self.strangers {
            if !verdict.missing.is_empty() {
                unchecked(format!(
                    "root signatures of node {node}: the entry that admitted it is missing"
                ));
            }
        }
        for node in &self.unknown {
            unchecked(format!(
                "contents sealed by node {node}: no entry gives its key"
            ));
        }
        match &self.known.keyring {
            None => unchecked("contents: no session keys were given".to_owned()),
            Some(_) => self.unopened.iter().for_each(|epoch| {
                unchecked(format!(
                    "contents of epoch {epoch}: its session key was not given"
                ));
            }),
        }
        verdict
    }

    /// Entries from `next` up to this file's first are not there. The audit goes on behind them.
    fn gap(&mut self, next: Index, place: &Place) {
        let last = place.index.previous();
        self.verdict.missing.push((next, last));
        self.problem(place, Fault::Missing { first: next, last });
        if let Some(suspect) = self.suspect.take() {
            self.problem(&suspect, Fault::Chain);
        }
        self.begun_at_gap(place.index);
    }

    fn begun_at_gap(&mut self, first: Index) {
        self.next = Some(first);
        self.unsigned = first;
        self.last = None;
        self.stray = None;
        self.tree = None;
        self.complete_from = None;
        self.before = Before::Missing;
        self.miscut = None;
        self.open = false;
        self.problems_at_signature = self.verdict.problems.len();
    }

    fn begin(&mut self, first: Index) {
        self.next = Some(first);
        self.unsigned = first;
        if first == Index(1) {
            self.tree = Some(Frontier::default());
        } else {
            self.verdict.missing.push((Index(1), first.previous()));
            self.before = Before::Missing;
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
        self.before = Before::Missing;
        self.next = self.next.map(Index::next);
    }

    fn entry(&mut self, checked: Checked, place: Place) {
        let expected = self.next.expect("a file was begun");
        let found = checked.entry.header.index;
        match self.stray.take() {
            // The stray one lies in the place of the expected entry.
            Some(_) if found == expected.next() => {
                self.next = Some(found);
                self.last = None;
                self.tree = None;
                self.complete_from = None;
                self.before = Before::Missing;
            }
            // The stray one is the first behind a gap.
            Some((stray, stray_place))
                if stray.entry.header.index > expected
                    && found == stray.entry.header.index.next() =>
            {
                self.last = None;
                self.tree = None;
                self.complete_from = None;
                self.before = Before::Missing;
                self.link_in(stray, stray_place);
            }
            _ => {}
        }
        let expected = self.next.expect("a file was begun");
        if found == expected {
            self.link_in(checked, place);
        } else {
            self.problem(&place, Fault::Order { expected });
            self.stray = Some((checked, place));
        }
    }

    /// Takes an entry as the next of the chain.
    fn link_in(&mut self, checked: Checked, place: Place) {
        let entry = &checked.entry;
        let header = entry.header;
        self.next = Some(header.index.next());
        self.verdict.entries += 1;
        self.verdict.transactions += entry.leaves.len() as u64; // at most BATCH_UNITS_MAX
        self.verdict.last = header.index;
        self.link(&header, &place);
        if self.before == Before::Whole && self.epoch.is_some_and(|epoch| header.epoch > epoch) {
            let what = "sealed under an epoch that no entry before opened";
            self.problem(&place, Fault::Header(what));
        }
        let telling = [Kind::Genesis, Kind::Administrative, Kind::TermOpened];
        if telling.contains(&header.kind) {
            for fact in (self.facts)(entry, self.before) {
                match fact {
                    AuditFact::Refused { why } => self.problem(&place, Fault::Rules(why)),
                    AuditFact::NodeKey { node, key } => self.learn(node, key),
                    AuditFact::Epoch(epoch) => self.epoch = Some(epoch),
                    AuditFact::Noted { what } => self.verdict.note(&place, &what),
                }
            }
        }
        let checked = checked.again(&self.known);
        let entry = &checked.entry;
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
            Kind::Signature => self.signature(&checked, &place),
            Kind::Snapshot => self.snapshot(entry, &place),
            Kind::SnapshotDigest => self.snapshot_digest(entry, &place),
            _ => {}
        }
        if let Some(tree) = &mut self.tree {
            entry.leaves.iter().for_each(|leaf| tree.append(leaf));
        }
        match &checked.contents {
            Some(Contents::Wrong(fault)) => self.problem(&place, fault.clone()),
            Some(Contents::Closed(epoch)) => drop(self.unopened.insert(*epoch)),
            Some(Contents::Right) => {}
            None if self.known.keyring.is_some() => drop(self.unknown.insert(header.sealer)),
            None => {}
        }
        self.complete_from.get_or_insert(header.index);
        self.last = Some(Taken {
            header,
            digest: checked.entry.digest,
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

    fn signature(&mut self, checked: &Checked, place: &Place) {
        let header = &checked.entry.header;
        let root = match &checked.root {
            Some(Ok(root)) => root,
            Some(Err(bad)) => return self.problem(place, Fault::Root(bad.clone())),
            None => {
                // The entry that admitted the signer may be one that is missing.
                let new = self.strangers.insert(header.sealer);
                if new && self.verdict.missing.is_empty() {
                    self.problem(place, Fault::UnknownSigner(header.sealer));
                }
                return;
            }
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
        self.tree = Some(root.frontier.clone());
        self.verdict.signed_upto = header.index.previous();
        self.unsigned = header.index;
        self.problems_at_signature = self.verdict.problems.len();
    }

    fn snapshot(&mut self, entry: &Entry, place: &Place) {
        if !entry.public.is_empty() {
            self.problem(place, Fault::Header("a snapshot entry has no body"));
        }
        // A file ends with each, so there are no more than files.
        self.verdict.snapshots.insert(entry.header.index, None);
    }

    /// A digest is of a snapshot entry before; all digests of one snapshot are the same.
    fn snapshot_digest(&mut self, entry: &Entry, place: &Place) {
        let statement = match Statement::from_cbor(&entry.public, entry.header.index) {
            Ok(statement) => statement,
            Err(refused) => return self.problem(place, Fault::Entry(refused)),
        };
        let index = statement.index;
        if self.verdict.missing.iter().any(|(_, last)| *last == index) {
            self.stated.insert(index);
        }
        let Some(known) = self.verdict.snapshots.get_mut(&index) else {
            if self.complete_from.is_some_and(|first| index >= first) {
                self.problem(place, Fault::NoSnapshot(index));
            }
            return;
        };
        if *known.get_or_insert(statement.digest) != statement.digest {
            self.problem(place, Fault::SnapshotDiffers(index));
        }
    }
}

/// What makes no sense about two entries in a row.
fn nonsense(last: &Header, header: &Header) -> Option<&'static str> {
    let restarted = header.restarts > last.restarts;
    if header.restarts < last.restarts {
        Some("the restart count decreases")
    } else if restarted && header.kind != Kind::Administrative {
        Some("the restart count changes without the entry that restarts the network")
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
