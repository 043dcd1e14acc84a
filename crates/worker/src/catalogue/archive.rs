//! Which batch carries which part of the catalogue, and what is left in memory of it.

use std::collections::VecDeque;

use types::Height;

use super::filter::Filter;
use super::part::{Cursor, Part};

/// Parts kept after they were read: some 180 kB each.
const READ_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Archive {
    parts: Vec<Kept>,
    /// Where in `parts` each segment begins.
    segments: Vec<usize>,
    next: Cursor,
    /// The ones read last, each with its position in `parts`; the latest at the end.
    read: VecDeque<(usize, Part)>,
}

/// What stays of a part in memory: 32 bytes, and a byte for each tag.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) height: Height,
    pub(super) last: u64,
    /// Is there once the part was seen: a snapshot does not have it.
    filter: Option<Filter>,
}

impl Archive {
    /// From where on the next part has tags.
    pub(super) fn next(&self) -> Cursor {
        self.next
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The part at this position, in the order of their batches.
    pub(super) fn at(&self, position: usize) -> Option<&Kept> {
        self.parts.get(position)
    }

    /// The next part is in the batch of this height.
    pub(super) fn push(&mut self, height: Height, last: u64, filter: Option<Filter>) {
        if self.next.first == 0 {
            self.segments.push(self.parts.len());
        }
        self.next = self.next.after(last);
        self.parts.push(Kept {
            height,
            last,
            filter,
        });
    }

    /// Which part of a segment, all of whose parts are here, would have this tag.
    pub(super) fn position(&self, segment: usize, tag: u64) -> usize {
        let begin = self.segments[segment];
        let end = self
            .segments
            .get(segment + 1)
            .copied()
            .unwrap_or(self.parts.len());
        begin + self.parts[begin..end].partition_point(|part| part.last < tag)
    }

    /// Whether the part at this position may have a tag.
    pub(super) fn may_have(&self, position: usize, tag: u64) -> bool {
        let filter = self.parts[position].filter.as_ref();
        filter.is_none_or(|filter| filter.may_have(tag))
    }

    /// The part at this position if it was read not long ago.
    pub(super) fn part(&self, position: usize) -> Result<&Part, Height> {
        let mut read = self.read.iter().rev();
        match read.find(|(at, _)| *at == position) {
            Some((_, part)) => Ok(part),
            None => Err(self.parts[position].height),
        }
    }

    /// The batch of this height was read, and this part in it. False if another should be, which would be asked for
    /// again and again.
    pub(super) fn read(&mut self, height: Height, part: Option<Part>) -> bool {
        let position = self.parts.binary_search_by_key(&height, |kept| kept.height);
        let (position, part) = match (position, part) {
            (Err(_), None) => return true,
            (Ok(position), Some(part)) if part.last == self.parts[position].last => {
                (position, part)
            }
            _ => return false,
        };
        let filter = &mut self.parts[position].filter;
        if filter.is_none() {
            *filter = Some(part.filter());
        }
        self.read.retain(|(at, _)| *at != position);
        if self.read.len() == READ_MAX {
            self.read.pop_front();
        }
        self.read.push_back((position, part));
        true
    }
}
