//! What one batch wrote in one domain, in either layout.
//!
//! The committed base is [`Base`]; what lies above it are overlays, where `None` hides the key below.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::Layout;
use crate::base::Base;

/// Keys of one domain.
#[derive(Debug, Clone)]
pub(crate) enum Map<V> {
    /// Point access: one look-up, no order. Iteration is never exposed unsorted.
    Hashed(HashMap<Bytes, V>),
    /// In byte order.
    Ordered(BTreeMap<Bytes, V>),
}

impl<V> Map<V> {
    pub(crate) fn new(layout: Layout) -> Self {
        match layout {
            Layout::Hashed => Map::Hashed(HashMap::new()),
            Layout::Ordered => Map::Ordered(BTreeMap::new()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Map::Hashed(map) => map.len(),
            Map::Ordered(map) => map.len(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        match self {
            Map::Hashed(map) => map.get(key),
            Map::Ordered(map) => map.get(key),
        }
    }

    pub(crate) fn insert(&mut self, key: Bytes, value: V) -> Option<V> {
        match self {
            Map::Hashed(map) => map.insert(key, value),
            Map::Ordered(map) => map.insert(key, value),
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        match self {
            Map::Hashed(map) => map.remove(key),
            Map::Ordered(map) => map.remove(key),
        }
    }

    /// Every key in byte order, with its value; the map is used up.
    pub(crate) fn into_sorted(self) -> Vec<(Bytes, V)> {
        match self {
            Map::Hashed(map) => {
                let mut all: Vec<_> = map.into_iter().collect();
                all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                all
            }
            Map::Ordered(map) => map.into_iter().collect(),
        }
    }

    /// Keys from `start` on in byte order.
    ///
    /// # Panics
    /// If the layout has no order: an adapter declares the domains that it scans.
    pub(crate) fn range<'a>(
        &'a self,
        start: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a V)> {
        match self {
            Map::Hashed(_) => panic!("a domain that is scanned is declared as ordered"),
            Map::Ordered(map) => map.range::<[u8], _>((start, Bound::Unbounded)),
        }
    }
}

/// What one batch wrote in one domain.
pub(crate) type Overlay = Map<Option<Bytes>>;

/// Visits the keys with `prefix`, after `after` if given, of a base and the overlays above it (lowest
/// first), in byte order, until `visit` returns false.
pub(crate) fn scan(
    base: &Base,
    overlays: &[&Overlay],
    prefix: &[u8],
    after: Option<&[u8]>,
    visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
) {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut base = base
        .range(start)
        .take_while(|(key, _)| key.starts_with(prefix))
        .peekable();
    let mut above: Vec<_> = overlays
        .iter()
        .map(|overlay| {
            overlay
                .range(start)
                .take_while(|(key, _)| key.starts_with(prefix))
                .peekable()
        })
        .collect();
    loop {
        // The smallest key at any head; of equal keys the highest layer's value counts.
        let heads = above
            .iter_mut()
            .filter_map(|layer| layer.peek().map(|(key, _)| *key));
        let Some(key) = heads.chain(base.peek().map(|(key, _)| *key)).min() else {
            return;
        };
        let mut value = base.next_if(|(k, _)| *k == key).map(|(_, value)| value);
        for layer in &mut above {
            if let Some((_, written)) = layer.next_if(|(k, _)| *k == key) {
                value = written.as_ref();
            }
        }
        if let Some(value) = value
            && !visit(key, value)
        {
            return;
        }
    }
}
