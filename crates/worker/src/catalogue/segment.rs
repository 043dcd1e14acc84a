//! Tags in memory: consecutive places, and a table that finds a tag among them.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::pages::Pages;

/// Tables from tags to their place. Each is small, so that none of them takes long to grow.
const TABLES: usize = 1 << 8;

#[derive(Debug)]
pub(super) struct Segment {
    tags: Pages<u64>,
    tables: Vec<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

impl Segment {
    pub(super) fn new() -> Self {
        Self {
            tags: Pages::default(),
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }

    /// The tag at this place.
    pub(super) fn at(&self, place: usize) -> u64 {
        self.tags.at(place)
    }

    /// A tag of 0 takes a place and is not found.
    pub(super) fn push(&mut self, tag: u64) {
        let place = u32::try_from(self.tags.len()).expect("a segment is far shorter");
        self.tags.push(tag);
        if tag != 0 {
            let hash = self.hasher.hash_one(tag);
            let (tags, hasher) = (&self.tags, &self.hasher);
            self.tables[table_of(hash)].insert_unique(hash, place, |place| {
                hasher.hash_one(tags.at(*place as usize)) // u32 fits usize on every supported target
            });
        }
    }

    /// Where a tag stands.
    pub(super) fn places(&self, tag: u64) -> impl Iterator<Item = u32> {
        let hash = self.hasher.hash_one(tag);
        self.tables[table_of(hash)]
            .iter_hash(hash)
            .copied()
            .filter(move |place| self.tags.at(*place as usize) == tag) // as above
    }

    /// The tags from `first` to `last` with their places, ascending.
    pub(super) fn between(&self, first: u64, last: u64) -> Vec<(u64, u32)> {
        let mut found: Vec<(u64, u32)> = (self.tags.iter().zip(0..))
            .filter(|(tag, _)| *tag != 0 && (first..=last).contains(tag))
            .collect();
        found.sort_unstable();
        found
    }
}

/// Bits in the middle: a table itself uses the lowest and the highest.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES // 24 bits are left
}
