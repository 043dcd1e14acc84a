//! A worker's part of a snapshot: its state at one height, as bytes that are the same on every VN.
//!
//! ```text
//! part    = version u8 (3) | protocol bytes u16, protocol
//!           state format u32 | data format u32
//!           height u64 | time of that batch u64
//!           domains u16, then that many in ascending order:
//!               domain u16 | keys u64, then that many in ascending order:
//!                   key bytes u16 | value bytes u32 | key | value
//!           parts of the catalogue u64, then that many in ascending order:
//!               height u64 | last tag u64
//!           batches u64, then that many from height 1 on:
//!               tags u16 | note bytes u16 | tags 8 bytes each, its name's first | note
//! ```
//! Tags of a segment whose parts are all in the ledger are counted and left out. Numbers are big-endian. The
//! part is sent in chunks of `SNAPSHOT_CHUNK_BYTES`, cut wherever that many bytes are full; the last one may be
//! shorter. It is written while batches go on: the store keeps what they overwrite (`kv::Store::freeze`), the
//! catalogue keeps its segments, and each flush does a bounded share of the work.

use adapter::View;
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::{BufMut, BytesMut};
use kv::{Domain, Store, put_block16};
use types::limits::SNAPSHOT_CHUNK_BYTES;
use types::{Height, Millis};

use crate::catalogue::Catalogue;
use crate::core::send;
use crate::execution::State;

pub(crate) const VERSION: u8 = 3;

/// Keys that one flush looks at. At a little less than a microsecond each a client waits two milliseconds
/// longer, a fraction of what a commit takes.
const KEYS_PER_FLUSH: usize = 2048;

/// What stands in front of the keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) state_format: u32,
    pub(crate) format: u32,
    pub(crate) height: Height,
    pub(crate) time: Millis,
    pub(crate) domains: u16,
}

impl Head<'_> {
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(VERSION);
        put_block16(out, self.protocol.as_bytes());
        out.put_u32(self.state_format);
        out.put_u32(self.format);
        out.put_u64(self.height.0);
        out.put_u64(self.time.0);
        out.put_u16(self.domains);
    }
}

/// A snapshot that is being given out.
#[derive(Debug)]
pub(crate) struct Giving {
    height: Height,
    /// Chunks that may be sent.
    credit: u64,
    sequence: u64,
    /// Written and not sent.
    buffer: BytesMut,
    /// Domains in ascending order, with their numbers of keys.
    domains: Vec<(Domain, u64)>,
    /// Domains whose heading was written.
    headed: usize,
    /// Parts and batches in the catalogue then.
    parts: usize,
    batches: usize,
    /// Those batches that were written; `None` while keys are.
    filed: Option<usize>,
}

impl Giving {
    /// Freezes the committed state.
    pub(crate) fn begin(
        state: &mut State,
        protocol: &str,
        state_format: u32,
        time: Millis,
        catalogue: &mut Catalogue,
    ) -> Self {
        let format = state.format();
        let store: &mut Store = state;
        store.freeze();
        catalogue.freeze();
        let domains: Vec<_> = store.frozen_keys().collect();
        let mut buffer = BytesMut::new();
        let head = Head {
            protocol,
            state_format,
            format,
            height: store.committed_height(),
            time,
            domains: u16::try_from(domains.len()).expect("domains have 16-bit numbers"),
        };
        head.encode(&mut buffer);
        Self {
            height: store.committed_height(),
            credit: 0,
            sequence: 0,
            buffer,
            domains,
            headed: 0,
            parts: catalogue.parts(),
            batches: catalogue.batches(),
            filed: None,
        }
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn allow(&mut self, chunks: u32) {
        self.credit = self.credit.saturating_add(u64::from(chunks));
    }

    /// True if it waits for its turn and not for credit.
    pub(crate) fn has_work(&self) -> bool {
        self.credit > 0
    }

    /// Does one flush's share, which is at most one chunk. False when the last one was sent.
    pub(crate) fn work(
        &mut self,
        store: &mut Store,
        catalogue: &mut Catalogue,
        out: &mut Vec<WorkerToManager>,
    ) -> bool {
        if !self.has_work() {
            return true;
        }
        let mut more = self.filed.is_some() || self.keys(store);
        if !more {
            self.filed = Some(0);
            self.parts(catalogue);
        }
        if self.filed.is_some() {
            more = self.batches(catalogue);
        }
        // What fills a chunk exactly may be the end, which has to be said along with it.
        if self.buffer.len() > SNAPSHOT_CHUNK_BYTES {
            self.send(SNAPSHOT_CHUNK_BYTES, false, out);
            return true;
        }
        if more {
            return true;
        }
        self.send(self.buffer.len(), true, out);
        catalogue.thaw();
        false
    }

    /// Writes keys until a chunk is full or enough was done. False when all are written.
    fn keys(&mut self, store: &mut Store) -> bool {
        let Self {
            buffer,
            domains,
            headed,
            ..
        } = self;
        if buffer.len() > SNAPSHOT_CHUNK_BYTES {
            return true;
        }
        let more = store.read_frozen(KEYS_PER_FLUSH, &mut |item| {
            while *headed == 0 || domains[*headed - 1].0 < item.domain {
                put_heading(buffer, domains[*headed]);
                *headed += 1;
            }
            put_entry(buffer, item.key, item.value);
            buffer.len() <= SNAPSHOT_CHUNK_BYTES
        });
        if !more {
            store.thaw();
            while let Some(heading) = domains.get(*headed) {
                put_heading(buffer, *heading);
                *headed += 1;
            }
        }
        more
    }

    /// Writes the parts of the catalogue, of which a million have 16 MB, and how many batches follow.
    fn parts(&mut self, catalogue: &Catalogue) {
        self.buffer.put_u64(self.parts as u64); // widening
        for position in 0..self.parts {
            let (height, last) = catalogue.part_at(position).expect("they only grow");
            self.buffer.put_u64(height.0);
            self.buffer.put_u64(last);
        }
        self.buffer.put_u64(self.batches as u64); // widening
    }

    /// Writes batches of the catalogue until a chunk is full. False when all are written.
    fn batches(&mut self, catalogue: &Catalogue) -> bool {
        let filed = self.filed.get_or_insert(0);
        while *filed < self.batches {
            if self.buffer.len() > SNAPSHOT_CHUNK_BYTES {
                return true;
            }
            let batch = catalogue.batch(*filed).expect("it only grows");
            let tags =
                u16::try_from(batch.tags).expect("a batch has at most BATCH_UNITS_MAX units");
            self.buffer.put_u16(tags);
            let note = u16::try_from(batch.note.len()).expect("a note is far shorter");
            self.buffer.put_u16(note);
            let end = batch.first + batch.tags as u64; // widening
            for place in batch.first.max(catalogue.first_place())..end {
                self.buffer.put_u64(catalogue.tag_at(place));
            }
            self.buffer.put_slice(batch.note);
            *filed += 1;
        }
        false
    }

    fn send(&mut self, bytes: usize, last: bool, out: &mut Vec<WorkerToManager>) {
        let chunk = boundary::SnapshotChunk {
            height: self.height.0,
            sequence: self.sequence,
            data: self.buffer.split_to(bytes).freeze(),
            last,
        };
        send(out, Out::SnapshotChunk(chunk));
        self.sequence += 1;
        self.credit -= 1;
    }
}

fn put_heading(out: &mut BytesMut, (domain, keys): (Domain, u64)) {
    out.put_u16(domain.0);
    out.put_u64(keys);
}

fn put_entry(out: &mut BytesMut, key: &[u8], value: &[u8]) {
    out.put_u16(u16::try_from(key.len()).expect("a transaction refuses longer keys"));
    out.put_u32(u32::try_from(value.len()).expect("a value is far shorter than 4 GiB"));
    out.put_slice(key);
    out.put_slice(value);
}
