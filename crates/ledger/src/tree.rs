//! The Merkle tree over all transactions, append-only, kept as its frontier.
//!
//! Shape: RFC 9162 section 2.1 (left-balanced); a node is SHA-256(left ‖ right) without prefixes,
//! as the CCF profile folds it. A leaf hashes 96 bytes and a node 64, so neither passes for the other.
//!
//! A frontier (one digest per complete subtree, at most 64) gives the root and goes on appending.
//! Paths for receipts are made from the entries that are still kept, or from entries read again
//! from files behind any signed frontier.

use std::collections::VecDeque;

use crypto::{Hasher, sha256};
use minicbor::{Decode, Encode};
use types::{Digest, Index};

/// Most leaves of a tree: a million a second for two thousand years.
const LEAVES_MAX: u64 = 1 << 56;

/// The number of digests and the number of leaves do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frontier has one digest per bit that is set in its length")]
pub struct BadFrontier;

fn node(left: &Digest, right: &Digest) -> Digest {
    Hasher::new().raw(&left.0).raw(&right.0).finish()
}

/// The complete subtrees of a tree, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Frontier {
    #[n(0)]
    len: u64,
    #[n(1)]
    peaks: Vec<Digest>,
}

impl Frontier {
    /// # Errors
    /// [`BadFrontier`]: to be asked of every frontier that came from outside.
    pub fn check(&self) -> Result<(), BadFrontier> {
        let peaks = usize::try_from(self.len.count_ones()).expect("at most 64");
        if self.peaks.len() == peaks && self.len <= LEAVES_MAX {
            Ok(())
        } else {
            Err(BadFrontier)
        }
    }

    /// How many leaves the tree has.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn append(&mut self, leaf: Digest) {
        let mut peak = leaf;
        for _ in 0..self.len.trailing_ones() {
            let left = self.peaks.pop().expect("one peak per bit of the length");
            peak = node(&left, &peak);
        }
        self.peaks.push(peak);
        self.len += 1;
    }

    /// The root; of the empty tree, the digest of nothing.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return sha256(&[]);
        };
        peaks.fold(*last, |right, left| node(left, &right))
    }

    /// The peak over leaves `first..first + size`, if it is one.
    fn peak(&self, first: u64, size: u64) -> Option<Digest> {
        let larger = self.len & !(size | (size - 1));
        let place = usize::try_from(larger.count_ones()).expect("at most 64");
        let is_peak = larger == first && self.len & size != 0;
        is_peak.then(|| self.peaks.get(place).copied()).flatten()
    }
}

/// On which side of the running digest the other one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// The digests from a leaf up to the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub Vec<(Side, Digest)>);

impl Path {
    /// The root that a leaf and this path give.
    pub fn root(&self, leaf: Digest) -> Digest {
        self.0
            .iter()
            .fold(leaf, |running, (side, other)| match side {
                Side::Left => node(other, &running),
                Side::Right => node(&running, other),
            })
    }
}

/// One entry's leaves, and the frontier before them.
#[derive(Debug, Clone)]
struct Kept {
    index: Index,
    before: Frontier,
    leaves: Vec<Digest>,
}

/// The tree of a running VN: its frontier, and the recent entries for truncation and receipts.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    tip: Frontier,
    kept: VecDeque<Kept>,
    /// Entries before this are no longer kept.
    floor: Index,
}

impl Tree {
    /// Goes on behind a frontier: the empty one, a snapshot's, or a signature entry's.
    pub fn new(frontier: Frontier) -> Self {
        Self {
            tip: frontier,
            ..Self::default()
        }
    }

    pub fn frontier(&self) -> &Frontier {
        &self.tip
    }

    /// The tree of the entries before `index`, which must not be before those that are kept.
    pub fn frontier_before(&self, index: Index) -> &Frontier {
        let at = self.kept.partition_point(|kept| kept.index < index);
        self.kept.get(at).map_or(&self.tip, |kept| &kept.before)
    }

    pub fn root(&self) -> Digest {
        self.tip.root()
    }

    pub fn len(&self) -> u64 {
        self.tip.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tip.is_empty()
    }

    /// Appends the leaves of one entry. Entries without leaves may be left out.
    ///
    /// # Panics
    /// When `index` does not come after the last one appended.
    pub fn append(&mut self, index: Index, leaves: impl IntoIterator<Item = Digest>) {
        assert!(
            self.kept.back().is_none_or(|kept| kept.index < index),
            "entries come in order"
        );
        let before = self.tip.clone();
        let leaves: Vec<Digest> = leaves.into_iter().collect();
        for leaf in &leaves {
            self.tip.append(*leaf);
        }
        self.kept.push_back(Kept {
            index,
            before,
            leaves,
        });
    }

    /// Takes back all entries from `from` on, as if they had never been appended.
    ///
    /// # Panics
    /// When entries in question were already forgotten: those are committed.
    pub fn truncate(&mut self, from: Index) {
        assert!(
            from >= self.floor,
            "only entries that are not committed are truncated"
        );
        while let Some(kept) = self.kept.pop_back_if(|kept| kept.index >= from) {
            self.tip = kept.before;
        }
    }

    /// Drops what is kept of entries before `index`; they must be committed.
    pub fn forget(&mut self, index: Index) {
        self.floor = self.floor.max(index);
        while self.kept.pop_front_if(|kept| kept.index < index).is_some() {}
    }

    /// The number of the first leaf of a kept entry.
    pub fn first_leaf(&self, index: Index) -> Option<u64> {
        self.kept(index).map(|at| self.kept[at].before.len())
    }

    fn kept(&self, index: Index) -> Option<usize> {
        self.kept
            .binary_search_by_key(&index, |kept| kept.index)
            .ok()
    }

    /// The path of the leaf at `position` of entry `index` in the tree of the first `size` leaves.
    /// None: the entry is not kept, has no such leaf, or the tree never had that size after it.
    pub fn path(&self, index: Index, position: u32, size: u64) -> Option<Path> {
        let at = self.kept(index)?;
        let base = &self.kept[at].before;
        let entry_end = base.len() + u64::try_from(self.kept[at].leaves.len()).ok()?;
        let leaf = base.len().checked_add(u64::from(position))?;
        if leaf >= entry_end || size <= leaf || size > self.len() {
            return None;
        }
        let count = usize::try_from(size - base.len()).ok()?;
        let leaves: Vec<Digest> = self
            .kept
            .range(at..)
            .flat_map(|kept| &kept.leaves)
            .take(count)
            .copied()
            .collect();
        let range = Range {
            base,
            leaves: &leaves,
        };
        let mut path = Vec::new();
        let (mut first, mut end) = (0, size);
        while end - first > 1 {
            let middle = first + split_at(end - first);
            if leaf < middle {
                path.push((Side::Right, range.digest(middle, end)));
                end = middle;
            } else {
                path.push((Side::Left, range.digest(first, middle)));
                first = middle;
            }
        }
        path.reverse();
        Some(Path(path))
    }
}

/// Largest power of two below `size`, which is at least 2.
fn split_at(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// A frontier and the leaves behind it.
struct Range<'a> {
    base: &'a Frontier,
    leaves: &'a [Digest],
}

impl Range<'_> {
    fn digest(&self, first: u64, end: u64) -> Digest {
        let size = end - first;
        if size.is_power_of_two() && end <= self.base.len() {
            return self
                .base
                .peak(first, size)
                .expect("a maximal complete subtree is a peak");
        }
        if size == 1 {
            let at = usize::try_from(first - self.base.len()).expect("kept in memory");
            return self.leaves[at];
        }
        let middle = first + split_at(size);
        node(&self.digest(first, middle), &self.digest(middle, end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(n: u64) -> Digest {
        sha256(&n.to_be_bytes())
    }

    /// RFC 9162 section 2.1.1, word by word.
    fn tree_hash(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => sha256(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&tree_hash(left), &tree_hash(right))
            }
        }
    }

    #[test]
    fn every_leaf_of_every_size_has_a_path_to_the_root_of_the_definition() {
        let leaves: Vec<Digest> = (0..300).map(leaf).collect();
        let mut tree = Tree::default();
        assert_eq!(tree.root(), tree_hash(&[]));
        for (n, leaf) in (0..).zip(&leaves) {
            tree.append(Index(n + 1), [*leaf]);
        }
        for size in 1..=300u32 {
            let root = tree_hash(&leaves[..size as usize]);
            for n in 0..size {
                let path = tree
                    .path(Index(u64::from(n) + 1), 0, size.into())
                    .expect("kept");
                assert_eq!(path.root(leaves[n as usize]), root, "leaf {n} of {size}");
                assert_ne!(path.root(leaf(1000)), root, "another leaf");
            }
            assert_eq!(tree.path(Index(u64::from(size) + 1), 0, size.into()), None);
        }
        assert_eq!(tree.path(Index(1), 1, 300), None, "no such position");
        assert_eq!(tree.path(Index(1), 0, 301), None, "no such size");
    }

    #[test]
    fn a_frontier_from_outside_has_one_digest_per_bit() {
        let mut frontier = Frontier::default();
        (0..5).for_each(|n| frontier.append(leaf(n)));
        assert_eq!(frontier.check(), Ok(()));
        frontier.peaks.pop();
        assert_eq!(frontier.check(), Err(BadFrontier));
        assert_eq!(
            Frontier {
                len: u64::MAX,
                peaks: vec![leaf(1); 64]
            }
            .check(),
            Err(BadFrontier)
        );
    }

    #[test]
    #[should_panic(expected = "only entries that are not committed")]
    fn what_was_forgotten_is_never_truncated() {
        let mut tree = Tree::default();
        (1..5).for_each(|n| tree.append(Index(n), [leaf(n)]));
        tree.forget(Index(3));
        tree.truncate(Index(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn truncation_equals_never_having_appended(
            sizes in prop::collection::vec(0u64..9, 1..40),
            cut in 0usize..40,
            forgotten in 0usize..40,
            again in prop::collection::vec(0u64..9, 0..5),
        ) {
            let cut = cut.min(sizes.len());
            let entry = |tree: &mut Tree, n: usize, salt: u64, size: u64| {
                let index = n as u64 + 1;
                tree.append(Index(index), (0..size).map(|p| leaf(index << 32 | p << 16 | salt)));
            };
            let (mut tree, mut never) = (Tree::default(), Tree::default());
            for (n, size) in sizes.iter().enumerate() {
                entry(&mut tree, n, 0, *size);
                if n < cut {
                    entry(&mut never, n, 0, *size);
                }
            }
            tree.forget(Index(forgotten.min(cut) as u64 + 1));
            tree.truncate(Index(cut as u64 + 1));
            prop_assert_eq!(tree.frontier(), never.frontier());
            for (n, size) in again.iter().enumerate() {
                entry(&mut tree, cut + n, 1, *size);
                entry(&mut never, cut + n, 1, *size);
            }
            prop_assert_eq!(tree.root(), never.root());
            for n in forgotten.min(cut)..cut + again.len() {
                let index = Index(n as u64 + 1);
                prop_assert_eq!(tree.first_leaf(index), never.first_leaf(index));
                prop_assert_eq!(tree.path(index, 0, tree.len()), never.path(index, 0, never.len()));
            }
        }
    }
}
