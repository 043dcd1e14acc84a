//! Snapshots: the leader says after which entry, every node takes one of its state while it goes on
//! serving, seals it for its own host, and holds its digest against the one that the ledger records.
//!
//! Source: DESIGN section 4. A `Snapshot` entry is a point in the order: the manager writes its part
//! when the entry is committed and tells every worker to freeze its state at the same moment. Workers
//! give their parts chunk by chunk, as many as the host stores; the state goes on meanwhile. When the
//! leader's is complete it proposes the `SnapshotDigest` entry. A node whose digest differs says so
//! and offers its snapshot to nobody.

use std::collections::BTreeMap;

use boundary::{manager_to_host, manager_to_worker};
use bytes::Bytes;
use crypto::Zeroizing;
use ledger::snapshot::{Digesting, Part, Sealing, Statement, seal_chunk};
use ledger::{Header, Kind};
use types::limits::SNAPSHOT_CHUNK_BYTES;
use types::{Digest, Epoch, Height, Index, Millis};

use crate::Output;
use crate::node::{Node, log, send_host};
use crate::parts::{ManagerPart, Zeroized, frame};
use crate::workers::send_worker;

/// Chunks on their way from a worker or to the disk: what a disk writes while the next is made.
const WINDOW: u32 = 4;

/// Pieces of a snapshot, of `SNAPSHOT_CHUNK_BYTES` each, that are taken as often as the setting says. Its default is
/// 20,000 entries, which under load have some 100 MiB.
const SMALL_PIECES: u64 = 128;

/// Chunks of a snapshot that are made in a second, once the first are: what entries need of a disk and of a processor
/// comes first. A gigabyte takes half a minute.
const CHUNKS_PER_S: u64 = 32;

/// Points and digests that are remembered; no node keeps as many files.
const RECORDED_MAX: usize = 8;

/// All that this node knows of snapshots.
#[derive(Default)]
pub struct Snapshots {
    taking: Option<Taking>,
    /// Complete files of the host.
    own: BTreeMap<Index, Own>,
    /// The last snapshot entries, with the epoch of each.
    pub points: BTreeMap<Index, Epoch>,
    /// Digests in the ledger.
    pub recorded: BTreeMap<Index, Digest>,
    /// Of this leader, in flight.
    pub proposed: Option<Statement>,
    /// Index and time of the last snapshot entry.
    pub last: (Index, Millis),
    /// Snapshots of this node that differed from the network's.
    pub differences: u64,
}

/// A complete file.
#[derive(Debug, Clone)]
pub struct Own {
    /// Its digest, if this incarnation made it or read it all.
    pub digest: Option<Digest>,
    /// Height of each protocol, likewise.
    pub heights: Vec<Height>,
    pub time: Millis,
    /// How many chunks it has, likewise.
    pub pieces: Option<u64>,
    /// It was compared with a digest that the network told, whose entry this node has not read yet.
    pub agreed: bool,
}

/// A snapshot being taken.
struct Taking {
    index: Index,
    time: Millis,
    /// When it began, by the host's clock.
    began: Millis,
    heights: Vec<Height>,
    sealing: Sealing,
    digesting: Option<Digesting>,
    /// Plaintext that is not sealed yet.
    rest: Zeroizing<Vec<u8>>,
    /// The protocol whose part comes, and the number of its next chunk.
    place: usize,
    sequence: u64,
    /// Chunks that the worker may send.
    credit: u32,
    /// Chunks that the host has not confirmed.
    storing: u32,
    statement: Option<Statement>,
}

impl Snapshots {
    /// What the host says it has; nothing of it is believed yet.
    pub fn found(indices: &[u64]) -> Self {
        let own = |index: &u64| {
            let unread = Own {
                digest: None,
                heights: Vec::new(),
                time: Millis::ZERO,
                pieces: None,
                agreed: false,
            };
            (Index(*index), unread)
        };
        Self {
            own: indices.iter().map(own).collect(),
            ..Self::default()
        }
    }

    /// A snapshot entry is committed.
    pub fn point(&mut self, header: &Header) {
        self.since(header);
        self.points.insert(header.index, header.epoch);
        while self.points.len() > RECORDED_MAX {
            self.points.pop_first();
        }
    }

    /// The policy counts from this entry on.
    pub fn since(&mut self, header: &Header) {
        self.last = (header.index, header.time);
    }

    /// The ledger records a digest.
    pub fn record(&mut self, statement: Statement) {
        self.recorded.insert(statement.index, statement.digest);
        while self.recorded.len() > RECORDED_MAX {
            self.recorded.pop_first();
        }
    }

    /// The newest snapshots that the ledger records, with the epochs of their keys.
    pub fn offered(&self) -> Vec<(Index, Epoch, Digest)> {
        self.recorded
            .iter()
            .filter_map(|(index, digest)| Some((*index, *self.points.get(index)?, *digest)))
            .collect()
    }

    /// The entries about snapshots are read anew.
    pub fn forget_entries(&mut self) {
        self.points.clear();
        self.recorded.clear();
        self.last = Default::default();
    }

    pub fn has(&self, index: Index) -> bool {
        self.own.contains_key(&index)
    }

    /// Whether the file is known to have no such piece.
    pub fn ends_before(&self, index: Index, sequence: u64) -> bool {
        let pieces = self.own.get(&index).and_then(|own| own.pieces);
        pieces.is_some_and(|pieces| sequence >= pieces)
    }

    /// The newest complete file, 0 if there is none.
    pub fn newest(&self) -> Index {
        self.own
            .last_key_value()
            .map_or(Index::ZERO, |(index, _)| *index)
    }

    /// Files that are none of the snapshots which the ledger records as far as this node has read it.
    pub fn strangers(&self) -> Vec<Index> {
        let own = self.own.keys().copied();
        let known = |index: &Index| {
            self.recorded.contains_key(index) || self.own.get(index).is_some_and(|own| own.agreed)
        };
        own.filter(|index| !known(index)).collect()
    }

    /// A complete file whose content this incarnation knows.
    pub fn keep(&mut self, index: Index, own: Own) {
        self.own.insert(index, own);
    }

    pub fn forget(&mut self, index: Index) {
        self.own.remove(&index);
    }

    /// The newest own snapshot that is the network's.
    pub fn usable(&self) -> Option<(Index, &Own)> {
        self.own.iter().rev().find_map(|(index, own)| {
            let agreed = own.agreed
                || own.digest.is_some() && own.digest == self.recorded.get(index).copied();
            agreed.then_some((*index, own))
        })
    }
}

impl Node {
    /// A snapshot entry was committed just now: takes one, unless a worker is not that far.
    pub fn take_snapshot(&mut self, header: &Header, out: &mut Vec<Output>) {
        let index = header.index;
        self.drop_taking("another one is due", out);
        let live: Option<Vec<u64>> = self.protocols.iter().map(|p| p.live()).collect();
        let Some(workers) = live else {
            return log(
                out,
                3,
                "snapshots",
                &format!("no snapshot at {index}: a worker is not ready"),
            );
        };
        let key = *self.key.public();
        let sealing = Sealing::new(&self.keyring.seals, header.epoch, &key, index);
        let digesting = Digesting::new(&self.keyring.seals, header.epoch, index);
        let (Ok(sealing), Ok(digesting)) = (sealing, digesting) else {
            return;
        };
        let part = self.manager_part(header);
        let heights = part.heights.clone();
        for (worker, height) in workers.iter().zip(&heights) {
            let message = boundary::TakeSnapshot { height: height.0 };
            send_worker(
                out,
                self.clock,
                *worker,
                manager_to_worker::Message::TakeSnapshot(message),
            );
        }
        self.snapshots.taking = Some(Taking {
            index,
            time: header.time,
            began: self.clock,
            heights,
            sealing,
            digesting: Some(digesting),
            rest: part.to_bytes(),
            place: 0,
            sequence: 0,
            credit: 0,
            storing: 0,
            statement: None,
        });
        self.go_on_taking(out);
    }

    fn manager_part(&self, header: &Header) -> ManagerPart {
        let configurations = self.configurations.iter().map(|(index, configuration)| {
            let written = governance::Configuration {
                voters: configuration.voters.clone(),
                incoming: configuration.incoming.clone(),
                learners: configuration.learners.clone(),
            };
            (*index, written)
        });
        ManagerPart {
            index: header.index,
            term: header.term,
            time: self.order.time,
            epoch: self.order.epoch,
            restarts: self.order.restarts,
            digest: self.order.last_digest(),
            frontier: self.order.tree.frontier_before(header.index.next()).clone(),
            runs: self.order.runs.as_slice().to_vec(),
            heights: self.protocols.iter().map(|p| p.committed()).collect(),
            configurations: configurations.collect(),
            points: self.snapshots.points.clone(),
            recorded: self.snapshots.recorded.clone(),
            state: Zeroized(self.state.to_cbor()),
        }
    }

    /// Seals what fills a chunk, and lets the worker whose turn it is send more.
    fn go_on_taking(&mut self, out: &mut Vec<Output>) {
        let protocols = self.protocols.len();
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        if taking.statement.is_some() {
            return;
        }
        let complete = taking.place == protocols;
        let rest = std::mem::take(&mut taking.rest);
        let mut chunks = rest.chunks(SNAPSHOT_CHUNK_BYTES).peekable();
        let mut sealed = 0;
        while let Some(chunk) = chunks.next() {
            let part = match chunks.peek() {
                Some(_) => Part::Inner,
                None if complete => Part::Last,
                // What fills a chunk exactly may be the end.
                None => break,
            };
            sealed += chunk.len();
            let digesting = taking.digesting.take().expect("until the last chunk");
            taking.digesting = Some(digesting.update(chunk));
            let sequence = taking.sealing.sealed();
            let chunk = seal_chunk(&mut taking.sealing, part, chunk);
            taking.storing += 1;
            store(out, taking.index, sequence, chunk, part);
        }
        taking.rest = Zeroizing::new(rest[sealed..].to_vec());
        if complete {
            let digesting = taking.digesting.take().expect("until the last chunk");
            taking.statement = Some(digesting.finish());
            return;
        }
        self.allow_chunks(out);
    }

    /// Lets the worker whose turn it is send as many chunks as are due by now.
    pub fn allow_chunks(&mut self, out: &mut Vec<Output>) {
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        if taking.place == self.protocols.len() {
            return;
        }
        let more = WINDOW
            .saturating_sub(taking.credit + taking.storing)
            .min(chunks_due(
                self.clock.since(taking.began),
                taking.sealing.sealed() + u64::from(taking.credit),
            ));
        if more > 0
            && let Some(worker) = self.protocols[taking.place].running()
        {
            taking.credit += more;
            let credit = boundary::SnapshotCredit {
                height: taking.heights[taking.place].0,
                chunks: more,
            };
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::SnapshotCredit(credit),
            );
        }
    }

    /// A worker gives a chunk of its part.
    pub fn snapshot_chunk(
        &mut self,
        place: usize,
        chunk: &boundary::SnapshotChunk,
        out: &mut Vec<Output>,
    ) {
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        if taking.heights.get(place) != Some(&Height(chunk.height)) {
            return; // of one that was dropped
        }
        let bytes = chunk.data.len();
        let fits = bytes == SNAPSHOT_CHUNK_BYTES || (chunk.last && bytes < SNAPSHOT_CHUNK_BYTES);
        if taking.place != place || taking.sequence != chunk.sequence || taking.credit == 0 || !fits
        {
            return self.drop_taking("the worker sends what was not asked for", out);
        }
        taking.rest.extend_from_slice(&frame(bytes, chunk.last));
        taking.rest.extend_from_slice(&chunk.data);
        taking.credit -= 1;
        taking.sequence += 1;
        if chunk.last {
            taking.place += 1;
            taking.sequence = 0;
            taking.credit = 0;
        }
        self.go_on_taking(out);
    }

    /// The host stored a chunk, or failed to.
    pub fn snapshot_stored(&mut self, stored: &boundary::SnapshotStored, out: &mut Vec<Output>) {
        let index = Index(stored.index);
        let taking = match &mut self.snapshots.taking {
            Some(taking) if taking.index == index => taking,
            _ => return self.fetched_stored(stored, out),
        };
        if !stored.failure.is_empty() {
            return self.drop_taking(&stored.failure, out);
        }
        taking.storing = taking.storing.saturating_sub(1);
        if taking.statement.is_none() || stored.sequence + 1 != taking.sealing.sealed() {
            return self.go_on_taking(out);
        }
        let taking = self.snapshots.taking.take().expect("looked at above");
        let digest = taking.statement.map(|s| s.digest);
        log(
            out,
            3,
            "snapshots",
            &format!("the snapshot at {index} is complete"),
        );
        let own = Own {
            digest,
            heights: taking.heights,
            time: taking.time,
            pieces: Some(taking.sealing.sealed()),
            agreed: false,
        };
        self.snapshots.keep(index, own);
        self.compare_snapshot(index, out);
        self.prune_snapshots(out);
        self.propose_snapshots(out);
    }

    /// The one being taken cannot be finished.
    pub fn drop_taking(&mut self, reason: &str, out: &mut Vec<Output>) {
        if let Some(taking) = self.snapshots.taking.take() {
            let index = taking.index;
            log(
                out,
                2,
                "snapshots",
                &format!("no snapshot at {index}: {reason}"),
            );
            remove(out, index);
        }
    }

    /// Holds an own snapshot against what the ledger records, when both are known.
    pub fn compare_snapshot(&mut self, index: Index, out: &mut Vec<Output>) {
        let own = self.snapshots.own.get(&index).and_then(|own| own.digest);
        let recorded = self.snapshots.recorded.get(&index).copied();
        if let (Some(own), Some(recorded)) = (own, recorded)
            && own != recorded
        {
            self.snapshots.differences += 1;
            self.snapshots.forget(index);
            remove(out, index);
            log(
                out,
                1,
                "snapshots",
                &format!(
                    "the snapshot at {index} differs from the network's: this node's state is not that of the leader. Keep its files, and start it with an empty ledger directory"
                ),
            );
        }
    }

    /// Files of which the ledger says nothing go: of another network, or of a node that went astray.
    pub fn remove_strangers(&mut self, out: &mut Vec<Output>) {
        for index in self.snapshots.strangers() {
            self.snapshots.forget(index);
            remove(out, index);
        }
    }

    /// Old files go, by the constitution's number.
    pub fn prune_snapshots(&mut self, out: &mut Vec<Output>) {
        let kept = self.settings().snapshots_kept.max(1);
        while self.snapshots.own.len() as u64 > kept {
            let oldest = self.snapshots.own.pop_first();
            let (index, _) = oldest.expect("there are more than are kept");
            remove(out, index);
        }
    }

    pub fn settings(&self) -> &governance::Settings {
        let constitution = self.state.constitution();
        &constitution.unwrap_or(&self.setup.constitution).settings
    }

    /// The leader's policy: when the next point is due, and the digest of the last one.
    pub fn propose_snapshots(&mut self, out: &mut Vec<Output>) {
        let Some(leading) = self.order.leading.as_ref().filter(|l| l.opened) else {
            return;
        };
        if !self.era.is_established() {
            return;
        }
        let in_flight = |kind| leading.in_flight.iter().any(|p| p.header.kind == kind);
        if in_flight(Kind::Snapshot) || in_flight(Kind::SnapshotDigest) {
            return;
        }
        let newest = self.snapshots.own.last_key_value();
        if let Some((
            index,
            Own {
                digest: Some(digest),
                ..
            },
        )) = newest
            && self.snapshots.points.contains_key(index)
            && !self.snapshots.recorded.contains_key(index)
        {
            let (index, digest) = (*index, *digest);
            return self.propose_digest(Statement { index, digest }, out);
        }
        let settings = self.settings();
        let (last, time) = self.snapshots.last;
        let entries = self.order.committed.0 - last.0;
        let minutes = self.clock.since(time) / 60_000;
        let pieces = newest.and_then(|(_, own)| own.pieces).unwrap_or(0);
        let wanted = entries_between(settings.snapshot_entries, pieces);
        let by_entries = wanted > 0 && entries >= wanted;
        // Where nothing happened there is nothing to take.
        let by_time = settings.snapshot_minutes > 0
            && minutes >= settings.snapshot_minutes
            && entries > RECORDED_MAX as u64;
        if (by_entries || by_time)
            && self.snapshots.taking.is_none()
            && self.protocols.iter().all(|p| p.live().is_some())
        {
            self.propose_point(out);
        }
    }
}

/// Entries from one snapshot to the next, by the setting and by the pieces that the last one has. To write a large one
/// as often as a small one would take the disk from the ledger: at most about as much is written for snapshots as for
/// entries.
fn entries_between(setting: u64, pieces: u64) -> u64 {
    setting.saturating_mul((pieces / SMALL_PIECES).max(1))
}

/// How many chunks more may be made so long after the first, when so many were made or asked for.
fn chunks_due(elapsed_ms: u64, made: u64) -> u32 {
    let by_now = u64::from(WINDOW).saturating_add(elapsed_ms.saturating_mul(CHUNKS_PER_S) / 1_000);
    u32::try_from(by_now.saturating_sub(made)).unwrap_or(u32::MAX)
}

/// Asks the host to store a chunk.
pub fn store(out: &mut Vec<Output>, index: Index, sequence: u64, chunk: Bytes, part: Part) {
    send_host(
        out,
        manager_to_host::Message::StoreSnapshot(boundary::StoreSnapshot {
            index: index.0,
            sequence,
            chunk,
            last: part == Part::Last,
        }),
    );
}

/// Asks the host to remove a file, complete or not.
pub fn remove(out: &mut Vec<Output>, index: Index) {
    send_host(
        out,
        manager_to_host::Message::RemoveSnapshot(boundary::RemoveSnapshot { index: index.0 }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_snapshot_is_taken_less_often() {
        assert_eq!(entries_between(20_000, 0), 20_000);
        assert_eq!(entries_between(20_000, 255), 20_000);
        assert_eq!(entries_between(20_000, 512), 80_000);
        assert_eq!(entries_between(0, 512), 0, "none at all");
    }

    #[test]
    fn a_snapshot_is_made_at_a_bounded_rate() {
        assert_eq!(chunks_due(0, 0), WINDOW);
        assert_eq!(chunks_due(0, 4), 0);
        assert_eq!(chunks_due(1_000, 4), 32);
        assert_eq!(chunks_due(1_000, 36), 0);
        assert_eq!(chunks_due(u64::MAX, 0), u32::MAX);
    }
}
