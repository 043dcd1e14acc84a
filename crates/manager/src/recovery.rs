//! Restart: what the files of a former incarnation are still worth.
//!
//! Source: DESIGN section 6. The node is admitted as a new one and was told, over the attested
//! channel, how far the network is ([`Standing`]): the last committed entry and the terms of all.
//! Then it reads its own files from the first entry on. An entry counts if it continues the chain,
//! opens under its sealer's key, has the committed log's term at its index and, if it signs a root,
//! signs the root of what was read. Such an entry is the committed one: a term has one leader, and a
//! sealer makes one entry for a place. At the first that does not count, the rest is dropped, with
//! place and reason, and fetched from the other nodes as if it had never been there.
//!
//! So a host that damages files, serves an older copy of them or another network's gains nothing:
//! the node fetches more. An uncommitted tail that a later leader replaced has other terms.

use boundary::{Entries, manager_to_host};
use bytes::Bytes;
use consensus::{Runs, Start};
use types::{Digest, Epoch, Index, Millis};

use crate::Output;
use crate::backfill::Backfill;
use crate::node::{Node, Phase, Reading, log, send_host};
use crate::parts::ManagerPart;
use crate::reading::READ_BYTES_MAX;
use crate::wire::{PeerMessage, Standing};

/// What the host says it has, and what it has by now.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// The last of the entries that follow one another from index 1, at the start.
    last: Index,
    /// Entries apart, at the start: behind a snapshot that stood for those between.
    apart: Option<(Index, Index)>,
    /// While older entries are missing: the first of the run that is appended to.
    pub tail: Option<Index>,
}

impl Local {
    pub fn found(start: &boundary::Start) -> Self {
        let apart = (Index(start.tail_first), Index(start.tail_last));
        let is_apart = start.tail_first > start.ledger_last.saturating_add(1);
        Self {
            last: Index(start.ledger_last),
            apart: (is_apart && apart.0 <= apart.1).then_some(apart),
            tail: None,
        }
    }

    /// The last of the entries that follow one another from index 1.
    pub fn lower(&self) -> Index {
        self.last
    }

    /// The entries behind a gap, first and last.
    pub fn apart(&self) -> Option<(Index, Index)> {
        self.apart
    }

    /// The last of all.
    pub fn last(&self) -> Index {
        self.apart.map_or(self.last, |(_, last)| last)
    }

    /// Those that were missing before the ones apart are there.
    pub fn filled(&mut self) {
        self.last = self.last();
        (self.apart, self.tail) = (None, None);
    }

    /// The host was told to remove this index and all after it.
    pub fn truncated(&mut self, from: Index) {
        self.tail = self.tail.filter(|first| *first < from);
    }
}

/// A restoration under way.
pub struct Restoring {
    committed: Index,
    runs: Runs,
    /// What the network has snapshots of.
    snapshots: Vec<(Index, Epoch, Digest)>,
    since: Millis,
    stage: Stage,
    /// The last entry to be read in this stage.
    upto: Index,
    /// The network has no quorum: nobody told how far it is, and what counts is what was checked here.
    alone: bool,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The entries from the first on.
    Entries,
    /// A snapshot, to go on from or for the workers.
    Snapshot,
    /// The entries behind the snapshot.
    Apart,
}

/// What a start cost; gauges of the node's status.
#[derive(Debug, Default)]
pub struct Figures {
    pub began: Millis,
    /// Entries of the own files that counted.
    pub restored_entries: u64,
    pub restore_ms: u64,
    /// What came from others until this node was a voter.
    pub fetched_entries: u64,
    pub fetched_bytes: u64,
    /// From the start until this node was a voter; 0 until then.
    pub voter_ms: u64,
    /// Entries before a snapshot that were fetched since.
    pub backfilled_entries: u64,
    /// Messages of other nodes about keys, and about the restart of a network that lost its quorum.
    pub key_messages: u64,
    pub cold_messages: u64,
}

impl Figures {
    /// A message of another node came.
    pub fn came(&mut self, message: &PeerMessage) {
        match message {
            PeerMessage::EpochKeys(_)
            | PeerMessage::KeysAsk
            | PeerMessage::KeyMessage(_)
            | PeerMessage::KeyAsk(_)
            | PeerMessage::Partials(_)
            | PeerMessage::PartialsAsk { .. } => self.key_messages += 1,
            PeerMessage::Cold(_) => self.cold_messages += 1,
            _ => {}
        }
    }

    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("restored_entries", self.restored_entries),
            ("restore_ms", self.restore_ms),
            ("fetched_entries", self.fetched_entries),
            ("fetched_bytes", self.fetched_bytes),
            ("voter_ms", self.voter_ms),
            ("backfilled_entries", self.backfilled_entries),
            ("key_messages", self.key_messages),
            ("cold_messages", self.cold_messages),
        ]
        .into_iter()
    }
}

impl Node {
    /// Admitted: what of the host's files can be used?
    ///
    /// # Errors
    /// The standing is none; the node that gave it is of no use.
    pub fn restore(&mut self, standing: Standing, out: &mut Vec<Output>) -> Result<(), String> {
        let runs = Runs::new(standing.runs).ok_or("the terms that it tells are no log's")?;
        self.phase = Phase::Restoring;
        self.restoring = Some(Restoring {
            committed: standing.committed,
            runs,
            snapshots: standing.snapshots,
            since: self.now,
            stage: Stage::Entries,
            upto: self.local.last.min(standing.committed),
            alone: false,
        });
        self.restore_next(out);
        Ok(())
    }

    /// The network has no quorum, and the keys are here: which of the own entries count, by what they
    /// say themselves?
    pub fn verify_files(&mut self, runs: Runs, last: Index, out: &mut Vec<Output>) {
        self.phase = Phase::Restoring;
        self.restoring = Some(Restoring {
            committed: last,
            runs,
            snapshots: Vec::new(),
            since: self.now,
            stage: Stage::Entries,
            upto: self.local.last.min(last),
            alone: true,
        });
        self.restore_next(out);
    }

    /// The network goes on from the entries that were checked. Workers begin from an own snapshot.
    pub fn go_on_from_files(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Restoring;
        self.restoring = Some(Restoring {
            committed: self.order.committed,
            runs: self.order.runs.clone(),
            snapshots: self.snapshots.offered(),
            since: self.now,
            stage: Stage::Snapshot,
            upto: self.order.committed,
            alone: true,
        });
        match self.snapshot_within() {
            Some(chosen) => self.fetch_snapshot(chosen, false, out),
            None => self.restored_snapshot(out),
        }
    }

    fn restore_next(&mut self, out: &mut Vec<Output>) {
        let Some(restoring) = &self.restoring else {
            return;
        };
        let (next, last) = (self.order.committed.next(), restoring.upto);
        if next > last {
            return self.stretch_ends(None, out);
        }
        self.read(Reading::Restore, next, last, READ_BYTES_MAX, out);
    }

    /// The host gave entries of the files: takes those that count.
    pub fn restored(&mut self, read: Entries, out: &mut Vec<Output>) {
        let expected = self.order.committed.next();
        if !read.failure.is_empty() {
            let reason = format!("it cannot be read: {}", read.failure);
            return self.stretch_ends(Some(reason), out);
        }
        if read.first != expected.0 || read.entries.is_empty() {
            return self.stretch_ends(Some("the host does not give it".into()), out);
        }
        for bytes in &read.entries {
            if let Err(reason) = self.restore_entry(bytes, out) {
                return self.stretch_ends(Some(reason), out);
            }
            if matches!(self.phase, Phase::Ended) {
                return;
            }
        }
        self.restore_next(out);
    }

    fn restore_entry(&mut self, bytes: &Bytes, out: &mut Vec<Output>) -> Result<(), String> {
        let next = self.open_next(bytes)?;
        let restoring = self.restoring.as_ref().ok_or("nothing is restored")?;
        let header = next.header();
        if header.index > restoring.upto || restoring.runs.term_at(header.index) != header.term {
            return Err("it is not of the committed order".into());
        }
        let next = self.enter(next);
        if let Some(command) = &next.command {
            self.govern(&next.opened.header, command, out);
        }
        self.figures.restored_entries += 1;
        Ok(())
    }

    /// A run of entries in the files ends, or the next of it does not count.
    fn stretch_ends(&mut self, reason: Option<String>, out: &mut Vec<Output>) {
        let Some(stage) = self.restoring.as_ref().map(|r| r.stage) else {
            return;
        };
        let base = self.order.committed;
        if let Some(reason) = &reason {
            let next = base.next();
            log(
                out,
                1,
                "ledger",
                &format!(
                    "entry {next} in the ledger's files is not used: {reason}; it and all after it are fetched from the other nodes"
                ),
            );
        }
        let last = match (stage, self.local.apart) {
            (Stage::Apart, Some((_, last))) => last,
            _ => self.local.last,
        };
        if last > base {
            // Also what is committed only later: it is not known here to be the same.
            self.cut(base.next(), out);
        }
        if stage != Stage::Entries {
            return self.restored_all(out);
        }
        if self.restoring.as_ref().is_some_and(|r| r.alone) {
            self.local.last = base;
            self.restoring = None;
            return self.cold_verified(out);
        }
        let adopted = self.snapshot_ahead();
        let checked = self.snapshot_within();
        if let Some(restoring) = &mut self.restoring {
            restoring.stage = Stage::Snapshot;
        }
        match (adopted, checked) {
            (Some(chosen), _) => self.fetch_snapshot(chosen, true, out),
            (None, Some(chosen)) => self.fetch_snapshot(chosen, false, out),
            (None, None) => self.restored_snapshot(out),
        }
    }

    /// Removes an entry and all after it, the entries apart included.
    fn cut(&mut self, from: Index, out: &mut Vec<Output>) {
        let apart = self.local.apart.map(|(first, _)| first);
        if apart.is_some_and(|first| first >= from) {
            self.local.apart = None;
        }
        for from in [apart.filter(|first| *first > from), Some(from)]
            .into_iter()
            .flatten()
        {
            self.local.truncated(from);
            send_host(
                out,
                manager_to_host::Message::Truncate(boundary::Truncate { from: from.0 }),
            );
        }
    }

    /// The snapshot to go on from, if that is better than to fetch every entry: the own one that the
    /// entries apart continue, or the network's newest if it is far ahead.
    fn snapshot_ahead(&self) -> Option<(Index, Epoch, Digest)> {
        let restoring = self.restoring.as_ref()?;
        let base = self.order.committed;
        let known = |index| restoring.snapshots.iter().find(|s| s.0 == index).copied();
        if let Some((first, _)) = self.local.apart
            && first.previous() > base
            && self.snapshots.has(first.previous())
            && let Some(chosen) = known(first.previous())
        {
            return Some(chosen);
        }
        let newest = restoring.snapshots.iter().max_by_key(|s| s.0)?;
        // Who has most of the ledger fetches what it missed, not the whole state.
        let between = self.settings().snapshot_entries;
        let worth = if base == Index::ZERO {
            between / 2
        } else {
            between
        };
        let ahead = newest.0.0.checked_sub(base.0)?;
        (ahead > worth && newest.0 <= restoring.committed).then_some(*newest)
    }

    /// The newest own snapshot of what was read: workers may begin from it.
    fn snapshot_within(&self) -> Option<(Index, Epoch, Digest)> {
        let offered = self.snapshots.offered();
        offered.into_iter().rev().find(|s| self.snapshots.has(s.0))
    }

    /// The snapshot was read, and adopted if it was to be.
    pub fn restored_snapshot(&mut self, out: &mut Vec<Output>) {
        let base = self.order.committed;
        let Some(restoring) = &mut self.restoring else {
            return;
        };
        match self.local.apart {
            Some((first, last)) if first == base.next() => {
                restoring.stage = Stage::Apart;
                restoring.upto = last.min(restoring.committed);
                self.local.tail = Some(first);
                self.restore_next(out);
            }
            Some((first, _)) => {
                self.cut(first, out);
                self.restored_all(out);
            }
            None => self.restored_all(out),
        }
    }

    /// There is no snapshot to go on from: all entries that are missing come from the leader.
    pub fn no_snapshot(&mut self, reason: &str, out: &mut Vec<Output>) {
        let text = format!("begins without a snapshot: {reason}");
        log(out, 2, "snapshots", &text);
        self.restored_snapshot(out);
    }

    /// The order goes on from a snapshot whose digest was found right.
    ///
    /// # Errors
    /// Why it cannot; nothing was changed.
    pub fn adopt(&mut self, part: ManagerPart) -> Result<(), String> {
        let restoring = self.restoring.as_ref().ok_or("nothing is restored")?;
        let mut expected = restoring.runs.clone();
        expected.truncate(part.index.next());
        let runs = Runs::new(part.runs.clone()).filter(|runs| *runs == expected);
        let runs = runs.ok_or("its terms are not those of the network")?;
        let state = governance::State::from_cbor(&part.state.0).map_err(|e| e.to_string())?;
        let identity = state.identity().ok_or("it lacks the network's identity")?;
        if state.network() != Some(self.setup.network) {
            return Err("it is of another network".into());
        }
        self.keyring.know_network(identity.signing_key());
        self.state = state;
        self.backfill = Some(Backfill::new(self.order.committed.next(), part.index));
        self.order.begin_at(&part, runs);
        for (protocol, height) in self.protocols.iter_mut().zip(&part.heights) {
            protocol.heights.begin_at(*height);
        }
        self.configurations = part
            .configurations
            .into_iter()
            .map(|(index, written)| {
                let configuration = consensus::Configuration {
                    voters: written.voters,
                    incoming: written.incoming,
                    learners: written.learners,
                };
                (index, configuration)
            })
            .collect();
        self.snapshots.points = part.points;
        self.snapshots.recorded = part.recorded;
        self.snapshots.last = (part.index, part.time);
        Ok(())
    }

    /// From here on the network tells.
    fn restored_all(&mut self, out: &mut Vec<Output>) {
        let Some(restoring) = self.restoring.take() else {
            return;
        };
        let base = self.order.committed;
        self.figures.restore_ms = self.now.since(restoring.since);
        let configurations = self.configurations.clone().into_iter().collect();
        let mut start = Start::at(base, self.order.runs.clone(), configurations);
        if let Some((_, command)) = &self.restart
            && let Some(configuration) = self.configuration_of(command)
        {
            start = start.restarting(configuration);
        }
        self.begin(consensus::Configuration::default(), start);
        self.phase = Phase::Admitted;
        self.leader_heard = self.now;
        self.remove_strangers(out);
        if base > Index::ZERO {
            send_host(
                out,
                manager_to_host::Message::Committed(boundary::Committed { upto: base.0 }),
            );
            self.ask_certificate(out);
            self.greet_workers(out);
        }
        log(
            out,
            3,
            "ledger",
            &format!(
                "begins behind entry {base}: {} entries of the ledger's files are used, the network is at entry {}",
                self.figures.restored_entries, restoring.committed
            ),
        );
        self.report(out);
    }
}
