//! A snapshot to start from: read from the own host's file, or fetched from the other nodes piece by
//! piece, and in either case used only after its digest was found to be the one that the ledger records.
//!
//! Pieces are plaintext on the attested channel between nodes: each node sealed its file for itself,
//! but what they say is the same, so that any piece may come from any node. What was fetched is sealed
//! and stored as an own file on the way; the workers are restored from that (see `reviving`).

use boundary::manager_to_host;
use bytes::Bytes;
use ledger::snapshot::{Digesting, Part, Sealing, open_chunk, seal_chunk};
use types::limits::SNAPSHOT_CHUNK_BYTES;
use types::{Digest, Epoch, Index, Millis, NodeId};

use crate::Output;
use crate::node::{Node, log, send_host};
use crate::parts::{ManagerPart, Piece, Reader};
use crate::snapshots::{Own, remove, store};
use crate::wire::PeerMessage;

/// Pieces asked of a node ahead of their arrival.
const WINDOW: u64 = 4;

/// A node that gives nothing for so long is not asked further.
const PATIENCE_MS: u64 = 1_000;

/// Every node is asked so often before the entries themselves are fetched instead.
const ROUNDS_MAX: usize = 3;

/// Pieces that are read for other nodes at once: the disk has other work.
const SERVING_MAX: usize = 16;

/// A snapshot on its way.
pub struct Fetching {
    index: Index,
    epoch: Epoch,
    /// As the ledger records it.
    digest: Digest,
    /// The order goes on from it; else it is only for the workers.
    adopt: bool,
    source: Source,
    next: u64,
    digesting: Option<Digesting>,
    reader: Reader,
    part: Option<Box<ManagerPart>>,
}

enum Source {
    Host,
    Nodes(Asking),
}

/// Other nodes are asked, one after the other; what one gave counts when the next goes on.
struct Asking {
    node: NodeId,
    tries: usize,
    /// Pieces before this one were asked of `node`.
    asked: u64,
    until: Millis,
    sealing: Sealing,
    /// All came and the digest is right; the host has not stored all yet.
    complete: bool,
}

/// Why a piece of an own file was asked of the host.
pub enum PieceFor {
    /// A start from it, or the check that it may be used.
    Start,
    Worker {
        place: usize,
        worker: u64,
    },
    Node {
        node: NodeId,
    },
}

/// A read of a piece under way.
pub struct PieceRead {
    pub why: PieceFor,
    pub index: Index,
    pub sequence: u64,
}

impl Node {
    /// Begins to read or fetch the snapshot at `index`.
    pub fn fetch_snapshot(
        &mut self,
        (index, epoch, digest): (Index, Epoch, Digest),
        adopt: bool,
        out: &mut Vec<Output>,
    ) {
        let Ok(digesting) = Digesting::new(&self.keyring.seals, epoch, index) else {
            return self.no_snapshot("its key is not known", out);
        };
        let source = if self.snapshots.has(index) {
            self.read_piece(PieceFor::Start, index, 0, out);
            Source::Host
        } else {
            let key = *self.key.public();
            let sealing = Sealing::new(&self.keyring.seals, epoch, &key, index);
            let Ok(sealing) = sealing else {
                return self.no_snapshot("its key is not known", out);
            };
            Source::Nodes(Asking {
                node: NodeId(0),
                tries: 0,
                asked: 0,
                until: Millis::ZERO,
                sealing,
                complete: false,
            })
        };
        self.fetching = Some(Fetching {
            index,
            epoch,
            digest,
            adopt,
            source,
            next: 0,
            digesting: Some(digesting),
            reader: Reader::new(self.protocols.len()),
            part: None,
        });
        self.ask_node(out);
    }

    /// Asks the next node for what is missing. Nothing happens if the own host gives it.
    fn ask_node(&mut self, out: &mut Vec<Output>) {
        let mut nodes: Vec<NodeId> = self.known.values().map(|k| k.node).collect();
        nodes.retain(|node| *node != self.id);
        nodes.sort_unstable();
        let now = self.now;
        let Some(fetching) = &mut self.fetching else {
            return;
        };
        let Source::Nodes(asking) = &mut fetching.source else {
            return;
        };
        if asking.tries >= ROUNDS_MAX * nodes.len() {
            return self.drop_fetching("no node gives it", out);
        }
        // Not everyone who joins asks the same node first.
        let first = usize::try_from(self.id.0).unwrap_or_default();
        asking.node = nodes[first.wrapping_add(asking.tries) % nodes.len()];
        asking.tries += 1;
        asking.until = now.plus(PATIENCE_MS);
        asking.asked = fetching.next + WINDOW;
        let (node, index, next) = (asking.node, fetching.index, fetching.next);
        for sequence in next..next + WINDOW {
            self.send_peer(node, &PeerMessage::SnapshotAsk { index, sequence }, out);
        }
    }

    /// Time passed.
    pub fn fetch_tick(&mut self, out: &mut Vec<Output>) {
        if let Some(Fetching {
            source: Source::Nodes(asking),
            ..
        }) = &self.fetching
            && self.now >= asking.until
            && !asking.complete
        {
            self.ask_node(out);
        }
    }

    /// Asks the host for a piece of an own file.
    pub fn read_piece(
        &mut self,
        why: PieceFor,
        index: Index,
        sequence: u64,
        out: &mut Vec<Output>,
    ) {
        let request = self.request();
        let read = PieceRead {
            why,
            index,
            sequence,
        };
        self.pieces.insert(request, read);
        send_host(
            out,
            manager_to_host::Message::ReadSnapshot(boundary::ReadSnapshot {
                request,
                index: index.0,
                sequence,
            }),
        );
    }

    /// The host gave a piece, or said why not.
    pub fn snapshot_read(&mut self, read: &boundary::SnapshotRead, out: &mut Vec<Output>) {
        let Some(asked) = self.pieces.remove(&read.request) else {
            return;
        };
        let (index, sequence) = (asked.index, asked.sequence);
        let opened = if read.failure.is_empty() {
            open_chunk(&self.keyring.seals, index, sequence, &read.chunk).map_err(|e| e.to_string())
        } else {
            Err(read.failure.clone())
        };
        match asked.why {
            PieceFor::Start => match opened {
                Ok((part, plain)) => self.piece(index, sequence, part, &plain, out),
                Err(reason) => self.unfit_snapshot(&reason, out),
            },
            PieceFor::Worker { place, worker } => {
                self.revive(place, worker, index, sequence, opened, out);
            }
            PieceFor::Node { node } => {
                let answer = match opened {
                    Ok((part, plain)) => PeerMessage::SnapshotPiece {
                        index,
                        sequence,
                        last: part == Part::Last,
                        data: plain.into(),
                    },
                    // Beyond the end, perhaps.
                    Err(_) if !read.failure.is_empty() && sequence > 0 => return,
                    Err(reason) => {
                        log(
                            out,
                            1,
                            "snapshots",
                            &format!("the file of the snapshot at {index} is not used: {reason}"),
                        );
                        self.snapshots.forget(index);
                        remove(out, index);
                        PeerMessage::SnapshotAbsent { index }
                    }
                };
                self.send_peer(node, &answer, out);
            }
        }
    }

    /// Another node asks for a piece.
    pub fn serve_snapshot(
        &mut self,
        node: NodeId,
        index: Index,
        sequence: u64,
        out: &mut Vec<Output>,
    ) {
        let serving = |read: &&PieceRead| matches!(read.why, PieceFor::Node { .. });
        if self.pieces.values().filter(serving).count() >= SERVING_MAX {
            return; // It asks again.
        }
        if self.snapshots.has(index) {
            // Pieces beyond the end are asked for, too: the host says so, and that is no fault.
            if self.snapshots.ends_before(index, sequence) {
                return;
            }
            self.read_piece(PieceFor::Node { node }, index, sequence, out);
        } else {
            self.send_peer(node, &PeerMessage::SnapshotAbsent { index }, out);
        }
    }

    /// A node gave a piece of the snapshot that is being fetched.
    pub fn piece_came(
        &mut self,
        from: NodeId,
        (index, sequence): (Index, u64),
        last: bool,
        data: &Bytes,
        out: &mut Vec<Output>,
    ) {
        let until = self.now.plus(PATIENCE_MS);
        let Some(fetching) = &mut self.fetching else {
            return;
        };
        let Source::Nodes(asking) = &mut fetching.source else {
            return;
        };
        if asking.complete || (fetching.index, fetching.next) != (index, sequence) {
            return;
        }
        let bytes = data.len();
        if bytes > SNAPSHOT_CHUNK_BYTES || (bytes != SNAPSHOT_CHUNK_BYTES && !last) {
            return;
        }
        let part = if last { Part::Last } else { Part::Inner };
        let chunk = seal_chunk(&mut asking.sealing, part, data);
        store(out, index, sequence, chunk, part);
        asking.until = until;
        self.figures.fetched_bytes += bytes as u64; // usize is at most 64 bits
        if !last && asking.node == from {
            let sequence = asking.asked;
            asking.asked += 1;
            self.send_peer(from, &PeerMessage::SnapshotAsk { index, sequence }, out);
        }
        self.piece(index, sequence, part, data, out);
    }

    /// A node has no such snapshot (any more).
    pub fn piece_absent(&mut self, from: NodeId, index: Index, out: &mut Vec<Output>) {
        if let Some(Fetching {
            index: at,
            source: Source::Nodes(asking),
            ..
        }) = &self.fetching
            && (asking.node, *at, asking.complete) == (from, index, false)
        {
            self.ask_node(out);
        }
    }

    /// The next piece of the snapshot to start from.
    fn piece(
        &mut self,
        index: Index,
        sequence: u64,
        part: Part,
        plain: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(fetching) = &mut self.fetching else {
            return;
        };
        if (fetching.index, fetching.next) != (index, sequence) {
            return;
        }
        fetching.next += 1;
        let digesting = fetching.digesting.take().expect("until the last piece");
        let digesting = digesting.update(plain);
        match fetching.reader.take(plain) {
            Ok(pieces) => {
                for piece in pieces {
                    if let Piece::Manager(part) = piece {
                        fetching.part = Some(part);
                    }
                }
            }
            Err(reason) => return self.unfit_snapshot(&reason.to_string(), out),
        }
        if part == Part::Inner {
            fetching.digesting = Some(digesting);
            if matches!(fetching.source, Source::Host) {
                self.read_piece(PieceFor::Start, index, sequence + 1, out);
            }
            return;
        }
        if digesting.finish().digest != fetching.digest || !fetching.reader.is_complete() {
            return self.unfit_snapshot("its digest is not the one in the ledger", out);
        }
        match &mut fetching.source {
            Source::Host => self.start_from_snapshot(out),
            Source::Nodes(asking) => asking.complete = true,
        }
    }

    /// The host stored a chunk of what is being fetched, or failed to.
    pub fn fetched_stored(&mut self, stored: &boundary::SnapshotStored, out: &mut Vec<Output>) {
        let Some(fetching) = &self.fetching else {
            return;
        };
        let Source::Nodes(asking) = &fetching.source else {
            return;
        };
        if fetching.index != Index(stored.index) {
            return;
        }
        if !stored.failure.is_empty() {
            let reason = format!("the host cannot store it: {}", stored.failure);
            return self.drop_fetching(&reason, out);
        }
        if asking.complete && stored.sequence + 1 == fetching.next {
            self.start_from_snapshot(out);
        }
    }

    /// What came cannot be used: the other nodes are asked, from the first piece on.
    fn unfit_snapshot(&mut self, reason: &str, out: &mut Vec<Output>) {
        let Some(fetching) = self.fetching.take() else {
            return;
        };
        let index = fetching.index;
        remove(out, index);
        self.snapshots.forget(index);
        log(
            out,
            1,
            "snapshots",
            &format!("the snapshot at {index} is not used: {reason}"),
        );
        match fetching.source {
            // A second time an attested node would give the same.
            Source::Nodes(_) => self.no_snapshot("it is not what the ledger records", out),
            Source::Host if !fetching.adopt => self.restored_snapshot(out),
            Source::Host => {
                let Fetching { epoch, digest, .. } = fetching;
                self.fetch_snapshot((index, epoch, digest), true, out);
            }
        }
    }

    fn drop_fetching(&mut self, reason: &str, out: &mut Vec<Output>) {
        if let Some(fetching) = self.fetching.take() {
            remove(out, fetching.index);
            self.no_snapshot(reason, out);
        }
    }

    /// Digest and file are right.
    fn start_from_snapshot(&mut self, out: &mut Vec<Output>) {
        let Some(fetching) = self.fetching.take() else {
            return;
        };
        let index = fetching.index;
        let part = fetching.part.expect("a complete snapshot begins with it");
        let own = Own {
            digest: Some(fetching.digest),
            heights: part.heights.clone(),
            time: part.time,
            pieces: Some(fetching.next),
            agreed: true,
        };
        self.snapshots.keep(index, own);
        if !fetching.adopt {
            return self.restored_snapshot(out);
        }
        if part.index != index {
            return self.no_snapshot("it is of another entry", out);
        }
        match self.adopt(*part) {
            Ok(()) => self.restored_snapshot(out),
            Err(reason) => self.no_snapshot(&reason, out),
        }
    }
}
