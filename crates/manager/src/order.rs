//! Where this node stands in the one global order: what is committed, what it proposed as leader,
//! and what the host has been asked to store.

use std::collections::VecDeque;

use consensus::Runs;
use ledger::{Frontier, Header, Kind, Sealer, Tree};
use types::{Digest, Epoch, Index, Millis, NodeId, Term};

use crate::parts::ManagerPart;

/// Entries whose leaves stay in memory behind the last signature, so that their receipts need no
/// reading: a few seconds of full load.
const LEAVES_KEPT_ENTRIES: u64 = 512;

/// Digests of committed entries that are remembered, for whoever compares nodes.
const DIGESTS_KEPT: usize = 4096;

/// This node's view of the ledger.
pub struct Order {
    /// Last entry that was applied.
    pub committed: Index,
    /// Last committed entry that signs the root over all before it, of those that were applied here.
    pub signed: Index,
    /// Digests of the last committed entries, the newest at the end.
    digests: VecDeque<Digest>,
    /// The terms of all committed entries: what the host reads back is held against them.
    pub runs: Runs,
    /// Ledger time of the last committed entry.
    pub time: Millis,
    pub epoch: Epoch,
    pub restarts: u32,
    /// Over the leaves of committed entries, and of a leader's own entries in flight.
    pub tree: Tree,
    pub sealer: Sealer,
    pub leading: Option<Leading>,
    /// Appends that the host has not confirmed: sequence, and the last entry of each that consensus
    /// waits for.
    appends: VecDeque<(u64, Option<(Term, Index)>)>,
    sequence: u64,
}

/// What only a leader has.
pub struct Leading {
    pub term: Term,
    /// Everything earlier is committed, so workers may propose.
    pub opened: bool,
    pub last_digest: Digest,
    pub last_time: Millis,
    pub in_flight: VecDeque<Proposed>,
    /// The signature entry in flight.
    pub signature: Option<Index>,
    /// When it was proposed, or the last one was.
    pub signed_at: Option<Millis>,
    /// There are leaves that no proposed signature covers.
    pub unsigned: bool,
    /// A change of the configuration is on its way.
    pub changing: bool,
    /// Under whose keys the next entry is sealed.
    pub epoch: Epoch,
    /// The last step towards keys; the next waits until it is committed.
    pub key_step: Option<Index>,
}

/// An entry that this leader made and that is not committed yet.
pub struct Proposed {
    pub header: Header,
    pub digest: Digest,
    /// Of an administrative entry: the command, which need not be opened again.
    pub command: Option<governance::Command>,
}

impl Order {
    pub fn new(sealer: Sealer) -> Self {
        Self {
            committed: Index::ZERO,
            signed: Index::ZERO,
            digests: VecDeque::new(),
            runs: Runs::default(),
            time: Millis::ZERO,
            epoch: Epoch(1),
            restarts: 0,
            tree: Tree::new(Frontier::default()),
            sealer,
            leading: None,
            appends: VecDeque::new(),
            sequence: 0,
        }
    }

    /// Digest of a recent committed entry.
    pub fn digest(&self, index: Index) -> Option<Digest> {
        let back = usize::try_from(self.committed.0.checked_sub(index.0)?).ok()?;
        let place = self.digests.len().checked_sub(back + 1)?;
        self.digests.get(place).copied()
    }

    /// Digest of the last committed entry; zero before the first.
    pub fn last_digest(&self) -> Digest {
        self.digests.back().copied().unwrap_or(Digest::ZERO)
    }

    /// Whether an authentic entry with this header is the committed one of its index. A term has one
    /// leader and a sealer makes one entry for a place, so the term decides.
    pub fn is_committed(&self, header: &Header) -> bool {
        header.index <= self.committed && self.runs.term_at(header.index) == header.term
    }

    /// The next entry is committed.
    ///
    /// # Panics
    /// If it is not the next: the engine gives them in order.
    pub fn advance(&mut self, header: &Header, digest: Digest) {
        assert_eq!(
            header.index,
            self.committed.next(),
            "entries are applied in order"
        );
        self.committed = header.index;
        if header.kind == Kind::Signature {
            self.signed = header.index;
        }
        self.time = self.time.max(header.time);
        self.runs.push(header.index, header.term);
        self.digests.push_back(digest);
        if self.digests.len() > DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.tree
            .forget(Index(header.index.0.saturating_sub(LEAVES_KEPT_ENTRIES)));
    }

    /// The host is asked to store entries up to this one. Gives the append's sequence number.
    pub fn appending(&mut self, term: Term, last: Index) -> u64 {
        self.sequence += 1;
        self.appends.push_back((self.sequence, Some((term, last))));
        self.sequence
    }

    /// The host is asked to store old entries, of which consensus hears nothing.
    pub fn appending_old(&mut self) -> u64 {
        self.sequence += 1;
        self.appends.push_back((self.sequence, None));
        self.sequence
    }

    /// The order goes on from a snapshot.
    pub fn begin_at(&mut self, part: &ManagerPart, runs: Runs) {
        self.committed = part.index;
        self.digests = [part.digest].into();
        self.runs = runs;
        self.time = part.time;
        self.epoch = part.epoch;
        self.restarts = part.restarts;
        self.tree = Tree::new(part.frontier.clone());
    }

    /// What the own files said is held against another's word: from the first entry on.
    pub fn forget(&mut self, sealer: Sealer) {
        *self = Self {
            sequence: self.sequence,
            ..Self::new(sealer)
        };
    }

    /// The host confirmed appends up to `sequence`: the last entry that is on disk by it.
    pub fn appended(&mut self, sequence: u64) -> Option<(Term, Index)> {
        let mut last = None;
        while self.appends.front().is_some_and(|(s, ..)| *s <= sequence) {
            let (_, of_consensus) = self.appends.pop_front().expect("looked at above");
            last = of_consensus.or(last);
        }
        last
    }

    /// The header of the leader's next entry.
    ///
    /// # Panics
    /// If this node does not lead.
    pub fn header(&self, sealer: NodeId, index: Index, time: Millis, kind: Kind) -> Header {
        let leading = self.leading.as_ref().expect("only a leader makes entries");
        Header {
            term: leading.term,
            index,
            epoch: leading.epoch,
            time: time.max(leading.last_time),
            kind,
            sealer,
            restarts: self.restarts,
            previous: leading.last_digest,
        }
    }

    /// Leadership ended: entries in flight are the next leader's to keep or drop.
    pub fn step_down(&mut self) {
        if self.leading.take().is_some() {
            self.tree.truncate(self.committed.next());
        }
    }
}
