//! Where in the ledger each batch of a protocol stands. Some two bytes a batch, in at most two runs: while
//! a node that began from a snapshot fetches older entries, those between are not known.

use types::{Height, Index};

/// Index of the ledger entry of each committed batch that is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heights {
    /// Of height 1 and those that follow.
    lower: Ascending,
    /// Batches up to this height are in `lower` or not known; the others are in `upper`.
    base: u64,
    upper: Ascending,
}

/// Indices that ascend.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ascending {
    pages: Vec<Page>,
}

#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// How many are in the pages before.
    before: usize,
    first: Index,
    /// What each is above the first.
    above: Vec<u16>,
}

/// Indices of a page at most; one that is far above the first begins another.
const PAGE: usize = 4096;

impl Ascending {
    fn len(&self) -> usize {
        let last = self.pages.last();
        last.map_or(0, |page| page.before + page.above.len())
    }

    fn push(&mut self, index: Index) {
        let before = self.len();
        if let Some(page) = self.pages.last_mut().filter(|page| page.above.len() < PAGE)
            && let Ok(above) = u16::try_from(index.0.wrapping_sub(page.first.0))
        {
            return page.above.push(above);
        }
        self.pages.push(Page {
            before,
            first: index,
            above: vec![0],
        });
    }

    fn get(&self, place: usize) -> Option<Index> {
        let after = self.pages.partition_point(|page| page.before <= place);
        let page = self.pages.get(after.checked_sub(1)?)?;
        let above = page.above.get(place - page.before)?;
        Some(Index(page.first.0 + u64::from(*above)))
    }

    /// How many are not above this.
    fn up_to(&self, index: Index) -> usize {
        let after = self.pages.partition_point(|page| page.first <= index);
        let Some(page) = after.checked_sub(1).map(|at| &self.pages[at]) else {
            return 0;
        };
        let most = index.0 - page.first.0;
        page.before
            + page
                .above
                .partition_point(|above| u64::from(*above) <= most)
    }
}

impl Heights {
    /// Height of the last committed batch.
    pub fn last(&self) -> Height {
        Height(self.base + self.upper.len() as u64) // usize is at most 64 bits
    }

    /// The next batch is committed.
    pub fn push(&mut self, index: Index) {
        self.upper.push(index);
    }

    /// A snapshot stands for all batches up to this height.
    pub fn begin_at(&mut self, height: Height) {
        if self.base == 0 {
            self.lower = std::mem::take(&mut self.upper);
        }
        self.upper = Ascending::default();
        self.base = height.0;
    }

    /// An older batch was fetched; only the next of those missing counts.
    pub fn fill(&mut self, height: Height, index: Index) {
        let next = self.lower.len() as u64 + 1;
        if height.0 == next && height.0 <= self.base {
            self.lower.push(index);
        }
    }

    /// Whether batches between are not known.
    pub fn has_gap(&self) -> bool {
        (self.lower.len() as u64) < self.base
    }

    pub fn index_of(&self, height: Height) -> Option<Index> {
        let (run, below) = if height.0 > self.base {
            (&self.upper, self.base)
        } else {
            (&self.lower, 0)
        };
        let place = height.0.checked_sub(below + 1)?;
        run.get(usize::try_from(place).ok()?)
    }

    /// Height of the state after the entry `index`, which is not older than a snapshot that the node
    /// began from.
    pub fn at(&self, index: Index) -> Height {
        let after = self.upper.up_to(index) as u64; // usize is at most 64 bits
        Height(self.base + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_and_indices_name_each_other() {
        let mut heights = Heights::default();
        [3, 7, 8].into_iter().for_each(|at| heights.push(Index(at)));
        assert_eq!(heights.last(), Height(3));
        assert_eq!(heights.index_of(Height(2)), Some(Index(7)));
        assert_eq!(heights.index_of(Height(0)), None);
        assert_eq!(heights.index_of(Height(4)), None);
        let at = |index| heights.at(Index(index)).0;
        assert_eq!([at(2), at(3), at(6), at(7), at(9)], [0, 1, 1, 2, 3]);
    }

    #[test]
    fn indices_that_lie_close_and_far_are_found() {
        let index = |height: u64| Index(height * 3 + height / 1_000 * 100_000);
        let mut heights = Heights::default();
        (1..=10_000).for_each(|height| heights.push(index(height)));
        assert_eq!(heights.last(), Height(10_000));
        for height in 1..=10_000 {
            assert_eq!(heights.index_of(Height(height)), Some(index(height)));
            assert_eq!(heights.at(index(height)), Height(height));
            assert_eq!(heights.at(Index(index(height).0 - 1)), Height(height - 1));
        }
        assert_eq!(heights.index_of(Height(10_001)), None);
    }

    #[test]
    fn a_snapshot_leaves_a_gap_that_closes() {
        let mut heights = Heights::default();
        heights.push(Index(3));
        heights.begin_at(Height(4));
        heights.push(Index(20));
        assert_eq!(heights.last(), Height(5));
        assert!(heights.has_gap());
        heights.fill(Height(4), Index(9));
        let known = |heights: &Heights| {
            (1..=5)
                .map(|h| heights.index_of(Height(h)).map_or(0, |i| i.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(known(&heights), [3, 0, 0, 0, 20]);
        for (height, index) in [(2, 5), (3, 6), (4, 9), (5, 11)] {
            heights.fill(Height(height), Index(index));
        }
        assert_eq!(known(&heights), [3, 5, 6, 9, 20]);
        assert!(!heights.has_gap());
        assert_eq!(heights.at(Index(19)), Height(4));
    }
}
