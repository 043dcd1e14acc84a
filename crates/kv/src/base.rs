//! One domain's committed keys.
//!
//! A hashed domain is many small tables. None of them is ever large, so a table that grows moves few
//! keys, and whoever reads the whole domain can stop between two tables while others write.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::Layout;

/// Tables of one hashed domain: with a million keys each holds a thousand, and empty they cost 32 KiB.
pub(crate) const TABLES: usize = 1 << 10;

/// Committed keys of one domain.
#[derive(Debug)]
pub(crate) enum Base {
    Hashed(Tables),
    Ordered(BTreeMap<Bytes, Bytes>),
}

impl Base {
    pub(crate) fn new(layout: Layout) -> Self {
        match layout {
            Layout::Hashed => Base::Hashed(Tables::new()),
            Layout::Ordered => Base::Ordered(BTreeMap::new()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Base::Hashed(tables) => tables.keys,
            Base::Ordered(map) => map.len(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        match self {
            Base::Hashed(tables) => tables.get(key),
            Base::Ordered(map) => map.get(key),
        }
    }

    /// Sets or deletes a key and gives what was there. Key and value are copied: a slice kept here
    /// would keep its whole batch in memory for ever.
    pub(crate) fn write(&mut self, key: &[u8], value: Option<&Bytes>) -> Option<Bytes> {
        let value = value.map(|value| Bytes::copy_from_slice(value));
        match (self, value) {
            (Base::Hashed(tables), Some(value)) => tables.insert(key, value),
            (Base::Hashed(tables), None) => tables.remove(key),
            (Base::Ordered(map), Some(value)) => match map.get_mut(key) {
                Some(old) => Some(core::mem::replace(old, value)),
                None => map.insert(Bytes::copy_from_slice(key), value),
            },
            (Base::Ordered(map), None) => map.remove(key),
        }
    }

    /// Every key in byte order.
    pub(crate) fn sorted(&self) -> Vec<(&Bytes, &Bytes)> {
        match self {
            Base::Hashed(tables) => {
                let mut all: Vec<_> = tables.tables.iter().flatten().collect();
                all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                all.into_iter().map(|(key, value)| (key, value)).collect()
            }
            Base::Ordered(map) => map.iter().collect(),
        }
    }

    /// Keys from `start` on in byte order.
    ///
    /// # Panics
    /// If the layout has no order: an adapter declares the domains that it scans.
    pub(crate) fn range<'a>(
        &'a self,
        start: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
        match self {
            Base::Hashed(_) => panic!("a domain that is scanned is declared as ordered"),
            Base::Ordered(map) => map.range::<[u8], _>((start, Bound::Unbounded)),
        }
    }
}

/// A hash table in parts.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: Vec<HashTable<(Bytes, Bytes)>>,
    hasher: DefaultHashBuilder,
    keys: usize,
}

impl Tables {
    fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            keys: 0,
        }
    }

    /// The keys of one table, in no order.
    pub(crate) fn keys_of(&self, table: usize) -> impl Iterator<Item = &[u8]> {
        self.tables[table].iter().map(|(key, _)| &key[..])
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let hash = self.hasher.hash_one(key);
        let found = self.tables[table_of(hash)].find(hash, |(known, _)| known == key);
        found.map(|(_, value)| value)
    }

    fn insert(&mut self, key: &[u8], value: Bytes) -> Option<Bytes> {
        let hash = self.hasher.hash_one(key);
        let table = &mut self.tables[table_of(hash)];
        if let Some((_, old)) = table.find_mut(hash, |(known, _)| known == key) {
            return Some(core::mem::replace(old, value));
        }
        let hasher = &self.hasher;
        table.insert_unique(hash, (Bytes::copy_from_slice(key), value), |(key, _)| {
            hasher.hash_one(&key[..])
        });
        self.keys += 1;
        None
    }

    fn remove(&mut self, key: &[u8]) -> Option<Bytes> {
        let hash = self.hasher.hash_one(key);
        let table = &mut self.tables[table_of(hash)];
        let found = table.find_entry(hash, |(known, _)| known == key).ok()?;
        self.keys -= 1;
        Some(found.remove().0.1)
    }
}

/// Bits in the middle: a table itself uses the lowest and the highest.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES // 24 bits are left
}
