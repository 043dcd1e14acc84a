//! A map that forgets: bounded memory without bookkeeping for each entry.
//!
//! Entries live in a young and an old half. When the young half is full it becomes the old one, and
//! what was old is forgotten. So at least the last half of the capacity is remembered.

use core::hash::Hash;

use hashbrown::HashMap;

/// A map that remembers at least the last `capacity / 2` keys and at most `capacity`.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: capacity.div_ceil(2).max(1),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = core::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

#[test]
fn the_last_half_is_remembered_and_memory_is_bounded() {
    let mut recent = Recent::new(100);
    for n in 0..1000 {
        recent.insert(n, n);
        assert!(
            (n - n.min(49)..=n).all(|k| recent.get(&k) == Some(&k)),
            "at {n}"
        );
        assert!(recent.young.len() + recent.old.len() <= 100);
    }
    assert_eq!(recent.get(&0), None);
}
