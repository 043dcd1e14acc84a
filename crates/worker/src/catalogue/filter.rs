//! What says of most tags that they are not in a part.
//!
//! A homogeneous ribbon filter (P. C. Dillinger, L. Hübschle-Schneider, P. Sanders, S. Walzer, "Fast Succinct Retrieval
//! and Approximate Membership using Ribbon", 2022): each tag names 64 neighbouring rows and which of them it adds up; the
//! rows are chosen so that every tag of the part comes to zero. Another one does by chance, in [`COLUMNS`] columns at
//! once. A Bloom filter that is wrong as seldom takes ten bits for a tag, this one little more than eight.

/// Of 2^7 = 128 other tags one is taken for one of the part.
const COLUMNS: usize = 7;

/// Rows in one word.
const WORD: usize = 64;

#[derive(Debug)]
pub(super) struct Filter {
    /// For 64 rows a word of each column.
    words: Box<[[u64; COLUMNS]]>,
}

impl Filter {
    pub(super) fn of(tags: impl ExactSizeIterator<Item = u64>) -> Self {
        // A sixth more rows than tags, so that they can be chosen, and as many as one tag names.
        let blocks = (tags.len() + tags.len() / 6).div_ceil(WORD) + 1;
        let rows = eliminated(tags, blocks);
        let mut words = vec![[0; COLUMNS]; blocks].into_boxed_slice();
        // Of each column the 64 rows behind the one that is being chosen.
        let mut behind = [0u64; COLUMNS];
        for (at, row) in rows.iter().enumerate().rev() {
            let free = mixed(at as u64); // widening
            for (column, behind) in behind.iter_mut().enumerate() {
                let bit = match row {
                    0 => free >> column & 1,
                    row => parity((row >> 1) & *behind),
                };
                *behind = *behind << 1 | bit;
                words[at / WORD][column] |= bit << (at % WORD);
            }
        }
        Self { words }
    }

    pub(super) fn may_have(&self, tag: u64) -> bool {
        let (first, adds) = rows_of(tag, self.words.len());
        let (block, shift) = (first / WORD, first % WORD);
        let high = match shift {
            0 => &[0; COLUMNS],
            _ => &self.words[block + 1],
        };
        let columns = self.words[block].iter().zip(high);
        let sum = columns.fold(0, |sum, (low, high)| {
            let rows = match shift {
                0 => *low,
                shift => low >> shift | high << (WORD - shift),
            };
            sum | parity(rows & adds)
        });
        sum == 0
    }
}

/// The equations of all tags, brought to one for each row at most, whose lowest bit is that row.
fn eliminated(tags: impl Iterator<Item = u64>, blocks: usize) -> Vec<u64> {
    let mut rows = vec![0u64; blocks * WORD];
    for tag in tags {
        let (mut at, mut adds) = rows_of(tag, blocks);
        // What comes to nothing follows from the others.
        while adds != 0 {
            if rows[at] == 0 {
                rows[at] = adds;
                break;
            }
            adds ^= rows[at];
            let next = adds.trailing_zeros();
            at += next as usize % WORD; // at most 64, and 64 ends the loop
            adds = adds.checked_shr(next).unwrap_or(0);
        }
    }
    rows
}

/// The first of 64 rows, and which of them are added; the first one is.
fn rows_of(tag: u64, blocks: usize) -> (usize, u64) {
    let place = mixed(tag);
    let starts = (blocks as u128 - 1) * WORD as u128 + 1; // widening
    let first = (u128::from(place) * starts) >> 64;
    (first as usize, mixed(place) | 1) // less than `starts`
}

/// The tags of a part have their highest bits in common.
fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^ (word >> 32)
}

fn parity(word: u64) -> u64 {
    u64::from(word.count_ones() & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_every_tag_and_seldom_another() {
        for count in [0, 1, 2, 60, 64, 100, 5_000, 16_384, 32_768] {
            let tag = |n: u64| mixed(n) >> 6;
            let filter = Filter::of((0..count).map(tag).collect::<Vec<_>>().into_iter());
            assert!((0..count).all(|n| filter.may_have(tag(n))), "{count}");
            let others = 1_000_000..1_100_000;
            let wrong = others.filter(|n| filter.may_have(tag(*n))).count();
            // 781 by chance.
            assert!(wrong < 1_000, "{wrong} of 100,000 beside {count}");
        }
    }

    #[test]
    fn it_takes_less_than_nine_bits_for_a_tag() {
        let filter = Filter::of((0..16_384).collect::<Vec<_>>().into_iter());
        assert!(filter.words.len() * COLUMNS * WORD < 16_384 * 9);
    }

    #[test]
    fn equal_and_neighbouring_tags_do_no_harm() {
        let tags: Vec<u64> = (0..5_000).map(|n| n / 5).collect();
        let filter = Filter::of(tags.iter().copied());
        assert!(tags.iter().all(|tag| filter.may_have(*tag)));
    }
}
