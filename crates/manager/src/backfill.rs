//! The entries before a snapshot: a node that began from one fetches them afterwards, a piece at a time,
//! so that in the end every node has the same files and can answer for old transactions.
//!
//! Each is checked as one that is read from the own files: authentic, and of the term that the committed
//! log has at its index. Until the gap is closed the host keeps two runs of entries.

use boundary::manager_to_host;
use bytes::Bytes;
use ledger::Kind;
use types::{Index, Millis, NodeId};

use crate::Output;
use crate::node::{Node, Reading, log, send_host};
use crate::reading::Read;
use crate::wire::PeerMessage;

/// Most bytes and entries of one answer: consensus on the same link does not wait long for it.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const ANSWER_ENTRIES_MAX: u64 = 1024;

/// A node that gives nothing for so long is not asked further.
const PATIENCE_MS: u64 = 2_000;

/// The gap, from the next entry that is missing to the last.
pub struct Backfill {
    next: Index,
    last: Index,
    /// Whose turn it is.
    turn: usize,
    until: Millis,
    /// Sequence number of the append that the host has not confirmed.
    storing: Option<u64>,
}

impl Backfill {
    pub fn new(next: Index, last: Index) -> Self {
        Self {
            next,
            last,
            turn: 0,
            until: Millis::ZERO,
            storing: None,
        }
    }

    /// Whether an entry is missing in the host's files.
    pub fn lacks(&self, index: Index) -> bool {
        (self.next..=self.last).contains(&index)
    }
}

impl Node {
    /// Whether an entry is missing in the host's files although it is committed.
    pub fn lacks(&self, index: Index) -> bool {
        self.backfill.as_ref().is_some_and(|b| b.lacks(index))
    }

    /// Whether the host has two runs of entries, or will have when it gets the next ones.
    pub fn has_gap(&self) -> bool {
        self.backfill.as_ref().is_some_and(|b| b.next <= b.last)
    }

    /// Asks another node when nothing came for long.
    pub fn backfill_tick(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        if let Some(backfill) = &mut self.backfill
            && backfill.storing.is_none()
            && now >= backfill.until
        {
            backfill.turn += 1;
            self.ask_entries(out);
        }
    }

    fn ask_entries(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let mut nodes: Vec<NodeId> = self.state.served().map(|n| n.id).collect();
        nodes.retain(|node| *node != self.id);
        let Some(backfill) = self.backfill.as_mut().filter(|_| !nodes.is_empty()) else {
            return;
        };
        backfill.until = now.plus(PATIENCE_MS);
        let node = nodes[backfill.turn % nodes.len()];
        let (first, last) = (backfill.next, backfill.last);
        self.send_peer(node, &PeerMessage::EntriesAsk { first, last }, out);
    }

    /// Another node asks for old entries.
    pub fn serve_entries(
        &mut self,
        node: NodeId,
        first: Index,
        last: Index,
        out: &mut Vec<Output>,
    ) {
        let last = last
            .min(self.order.committed)
            .min(Index(first.0.saturating_add(ANSWER_ENTRIES_MAX - 1)));
        if first == Index::ZERO || first > last || self.lacks(first) {
            return; // It asks another node.
        }
        let why = Reading::Serve { node, first };
        self.read(why, first, last, ANSWER_BYTES_MAX, out);
    }

    /// The host gave what another node asked for; each entry was checked.
    pub fn entries_served(
        &mut self,
        node: NodeId,
        first: Index,
        entries: Vec<Read>,
        out: &mut Vec<Output>,
    ) {
        if entries.first().map(|e| e.opened.header.index) == Some(first) {
            let entries = entries.into_iter().map(|e| e.bytes).collect();
            self.send_peer(node, &PeerMessage::Entries { first, entries }, out);
        }
    }

    /// Old entries came.
    pub fn entries_came(&mut self, first: Index, entries: Vec<Bytes>, out: &mut Vec<Output>) {
        let Some(backfill) = &self.backfill else {
            return;
        };
        if first != backfill.next || backfill.storing.is_some() {
            return;
        }
        let indices = (first.0..=backfill.last.0).map(Index);
        let mut taken: Vec<Bytes> = Vec::new();
        for (index, bytes) in indices.zip(entries) {
            let header = match self.check_read(index, &bytes) {
                Ok(opened) => opened.header,
                Err(reason) => {
                    let text = format!("another node gave a wrong entry {index}: {reason}");
                    log(out, 1, "ledger", &text);
                    break;
                }
            };
            if let Kind::Application { protocol, height } = header.kind
                && let Some(protocol) = self.protocols.get_mut(usize::from(protocol))
            {
                protocol.heights.fill(height, header.index);
            }
            taken.push(bytes);
        }
        if taken.is_empty() {
            return; // Another node is asked when the time is up.
        }
        let count = taken.len() as u64; // usize is at most 64 bits
        self.figures.backfilled_entries += count;
        let sequence = self.order.appending_old();
        send_host(
            out,
            manager_to_host::Message::Append(boundary::Append {
                first: first.0,
                entries: taken,
                sequence,
                detached: false,
            }),
        );
        let backfill = self.backfill.as_mut().expect("looked at above");
        backfill.next = Index(first.0 + count);
        backfill.storing = Some(sequence);
    }

    /// The host confirmed appends up to `sequence`.
    pub fn backfilled(&mut self, sequence: u64, out: &mut Vec<Output>) {
        let Some(backfill) = &mut self.backfill else {
            return;
        };
        if backfill.storing.is_none_or(|storing| storing > sequence) {
            return;
        }
        backfill.storing = None;
        if backfill.next <= backfill.last {
            return self.ask_entries(out);
        }
        self.backfill = None;
        self.local.tail = None;
        let text = "all entries since the first are in the host's files";
        log(out, 3, "ledger", text);
        self.greet_workers(out);
    }
}
