//! The working copy of one batch: reads through to the state below, keeps its own writes on top.
//!
//! Each write is journalled, so that a unit that turns out to be invalid is undone at the cost of
//! what it wrote. A savepoint is a length of the journal.

use bytes::Bytes;
use types::Height;

use crate::layer::{Map, Overlay};
use crate::{Domain, KEY_BYTES_MAX, Reader, Write, WriteSet};

/// The writes of one batch above a state that does not change meanwhile.
#[derive(Debug)]
pub struct Transaction<'a> {
    below: Reader<'a>,
    overlays: Vec<Overlay>,
    journal: Vec<Undo>,
}

/// How to take back one write.
#[derive(Debug)]
struct Undo {
    at: usize,
    key: Bytes,
    /// What the overlay held before; `None` if nothing.
    before: Option<Option<Bytes>>,
}

impl<'a> Transaction<'a> {
    /// A batch on top of `below`.
    pub fn new(below: Reader<'a>) -> Self {
        let overlays = below
            .store()
            .domains()
            .iter()
            .map(|(_, layout)| Map::new(*layout))
            .collect();
        Self {
            below,
            overlays,
            journal: Vec::new(),
        }
    }

    /// Height of the state below.
    pub fn height(&self) -> Height {
        self.below.height()
    }

    /// The value of `key` as this batch sees it.
    ///
    /// # Panics
    /// If the domain was not declared.
    pub fn get(&self, domain: Domain, key: &[u8]) -> Option<&Bytes> {
        match self.overlays[self.at(domain)].get(key) {
            Some(written) => written.as_ref(),
            None => self.below.get(domain, key),
        }
    }

    /// Sets or, with `None`, deletes a key.
    ///
    /// # Panics
    /// If the domain was not declared, or the key is longer than [`KEY_BYTES_MAX`].
    pub fn set(&mut self, domain: Domain, key: Bytes, value: Option<Bytes>) {
        assert!(key.len() <= KEY_BYTES_MAX, "an adapter bounds its keys");
        let at = self.at(domain);
        // The first clone of a key allocates a counter; later ones only count.
        let before = self.overlays[at].insert(key.clone(), value);
        self.journal.push(Undo { at, key, before });
    }

    /// Visits the keys that start with `prefix` and are greater than `after`, as this batch sees them.
    ///
    /// # Panics
    /// If the domain was not declared, or not as ordered.
    pub fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) {
        self.below.scan_below(
            domain,
            Some(&self.overlays[self.at(domain)]),
            prefix,
            after,
            visit,
        );
    }

    /// A mark to come back to.
    pub fn savepoint(&self) -> usize {
        self.journal.len()
    }

    /// Takes back every write after the mark.
    ///
    /// # Panics
    /// If the mark lies in the future.
    pub fn rollback(&mut self, to: usize) {
        assert!(
            to <= self.journal.len(),
            "a savepoint is rolled back to once, from above"
        );
        for undo in self.journal.drain(to..).rev() {
            match undo.before {
                Some(value) => self.overlays[undo.at].insert(undo.key, value),
                None => self.overlays[undo.at].remove(&undo.key),
            };
        }
    }

    /// What the batch changed.
    pub fn finish(self) -> WriteSet {
        let mut writes = Vec::with_capacity(self.overlays.iter().map(Map::len).sum());
        for ((domain, _), overlay) in self.below.store().domains().iter().zip(self.overlays) {
            let sorted = overlay.into_sorted().into_iter();
            writes.extend(sorted.map(|(key, value)| Write {
                domain: *domain,
                key,
                value,
            }));
        }
        WriteSet(writes)
    }

    fn at(&self, domain: Domain) -> usize {
        self.below
            .store()
            .position(domain)
            .expect("an adapter uses domains that it declared")
    }
}
