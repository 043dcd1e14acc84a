//! Committed batches in memory: the latest, and older ones that the ledger was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use adapter::Batch;
use types::Height;

/// Bytes of the latest batches kept: what clients ask for right after their commit, and subscriptions
/// that lag. A second or two at full load; everything older comes from the ledger in a millisecond.
const LATEST_BYTES_MAX: usize = 16 << 20;

/// What a decoded unit takes besides its bytes.
const UNIT_BYTES: usize = 256;

/// Bytes of older batches kept after they were asked for.
const OLDER_BYTES_MAX: usize = 16 << 20;

/// Batches by height.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Without gaps, ascending.
    latest: VecDeque<Kept>,
    latest_bytes: usize,
    older: BTreeMap<Height, Older>,
    older_bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    batch: Arc<Batch>,
    bytes: usize,
}

#[derive(Debug)]
struct Older {
    batch: Arc<Batch>,
    bytes: usize,
    used: u64,
}

impl History {
    /// Keeps the batch that was just committed; `bytes` is the length of its body.
    pub(crate) fn push(&mut self, batch: Arc<Batch>, bytes: usize) {
        debug_assert!(
            self.latest
                .back()
                .is_none_or(|last| last.batch.height.next() == batch.height)
        );
        let bytes = bytes + batch.units.len() * UNIT_BYTES;
        self.latest_bytes += bytes;
        self.latest.push_back(Kept { batch, bytes });
        while self.latest_bytes > LATEST_BYTES_MAX && self.latest.len() > 1 {
            let dropped = self.latest.pop_front().expect("more than one");
            self.latest_bytes -= dropped.bytes;
        }
    }

    /// The batch if it is in memory.
    pub(crate) fn get(&mut self, height: Height) -> Option<Arc<Batch>> {
        if let Some(first) = self.latest.front()
            && height >= first.batch.height
        {
            let at = usize::try_from(height.0 - first.batch.height.0).unwrap_or(usize::MAX);
            return self.latest.get(at).map(|kept| kept.batch.clone());
        }
        self.uses += 1;
        let older = self.older.get_mut(&height)?;
        older.used = self.uses;
        Some(older.batch.clone())
    }

    /// Keeps what the ledger answered, in the place of what was not used for longest.
    pub(crate) fn loaded(&mut self, batch: Arc<Batch>, bytes: usize) {
        self.uses += 1;
        let height = batch.height;
        let bytes = bytes + (1 + batch.units.len()) * UNIT_BYTES;
        if let Some(old) = self.older.insert(
            height,
            Older {
                batch,
                bytes,
                used: self.uses,
            },
        ) {
            self.older_bytes -= old.bytes;
        }
        self.older_bytes += bytes;
        while self.older_bytes > OLDER_BYTES_MAX && self.older.len() > 1 {
            let least = self
                .older
                .iter()
                .min_by_key(|(_, older)| older.used)
                .map(|(height, _)| *height);
            let dropped = least
                .and_then(|height| self.older.remove(&height))
                .expect("more than one");
            self.older_bytes -= dropped.bytes;
        }
    }
}
