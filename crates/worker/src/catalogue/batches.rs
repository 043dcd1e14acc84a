//! What stays of each batch: how many tags it has, and its note.

use adapter::NOTE_BYTES_MAX;
use types::limits::BATCH_UNITS_MAX;

/// Batches of one page. Pages never move, so growing costs the same each time.
const PAGE: usize = 4096;

/// So many are added up to find one.
const STRIDE: usize = 64;

// A batch has its units and its name.
const _: () = assert!(BATCH_UNITS_MAX < u16::MAX as usize);

/// All batches, in order. A batch takes 4 bytes and its note.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pages: Vec<Page>,
    tags: u64,
}

#[derive(Debug, Default)]
struct Page {
    /// Place of the first tag.
    first: u64,
    tags: Vec<u16>,
    notes: Vec<u16>,
    bytes: Vec<u8>,
    /// Of every `STRIDE`th batch: tags and bytes of notes before it in the page.
    marks: Vec<(u32, u32)>,
    page_tags: u32,
}

/// One batch as it stands in a snapshot.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) tags: usize,
    /// Place of its first tag.
    pub(crate) first: u64,
    pub(crate) note: &'a [u8],
}

impl Batches {
    pub(super) fn len(&self) -> usize {
        match self.pages.split_last() {
            None => 0,
            Some((last, full)) => full.len() * PAGE + last.tags.len(),
        }
    }

    /// # Panics
    /// If it has more tags than a batch can have, or a note that is too long.
    pub(super) fn push(&mut self, tags: usize, note: &[u8]) {
        assert!(tags <= BATCH_UNITS_MAX + 1, "a batch is short");
        assert!(note.len() <= NOTE_BYTES_MAX, "an adapter bounds its notes");
        if self.pages.last().is_none_or(|page| page.tags.len() == PAGE) {
            self.pages.push(Page {
                first: self.tags,
                ..Page::default()
            });
        }
        let page = self.pages.last_mut().expect("just pushed");
        if page.tags.len().is_multiple_of(STRIDE) {
            let bytes = u32::try_from(page.bytes.len()).expect("a page of notes has 2 MiB at most");
            page.marks.push((page.page_tags, bytes));
        }
        page.tags.push(u16::try_from(tags).expect("looked at"));
        page.notes
            .push(u16::try_from(note.len()).expect("looked at"));
        page.bytes.extend_from_slice(note);
        page.page_tags += u32::try_from(tags).expect("looked at");
        self.tags += tags as u64; // widening
    }

    /// The batch at this position, in order of height.
    pub(super) fn get(&self, at: usize) -> Option<Batch<'_>> {
        let page = self.pages.get(at / PAGE)?;
        let at = at % PAGE;
        let tags = *page.tags.get(at)?;
        let (before, begin) = page.marks[at / STRIDE];
        let stride = at - at % STRIDE..at;
        let before = u64::from(before) + sum(&page.tags[stride.clone()]);
        let begin = u64::from(begin) + sum(&page.notes[stride]);
        let begin = usize::try_from(begin).expect("a page of notes has 2 MiB at most");
        Some(Batch {
            tags: usize::from(tags),
            first: page.first + before,
            note: &page.bytes[begin..begin + usize::from(page.notes[at])],
        })
    }

    /// Which batch has the tag at this place, by its position, and the tag's number in it.
    pub(super) fn at(&self, place: u64) -> Option<(usize, u32)> {
        if place >= self.tags {
            return None;
        }
        let number = self.pages.partition_point(|page| page.first <= place) - 1;
        let page = &self.pages[number];
        let mut within = u32::try_from(place - page.first).expect("a page has 2^24 tags at most");
        let stride = page.marks.partition_point(|(tags, _)| *tags <= within) - 1;
        within -= page.marks[stride].0;
        let mut at = stride * STRIDE;
        while within >= u32::from(page.tags[at]) {
            within -= u32::from(page.tags[at]);
            at += 1;
        }
        Some((number * PAGE + at, within))
    }
}

fn sum(counts: &[u16]) -> u64 {
    counts.iter().map(|count| u64::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_and_every_place_is_found() {
        let mut batches = Batches::default();
        let mut first = 0;
        let mut all = Vec::new();
        for n in 0..3 * PAGE + 7 {
            let (tags, note) = (1 + n * 7 % 11, vec![n as u8; n % 5]);
            batches.push(tags, &note);
            all.push((first, tags, note));
            first += tags as u64;
        }
        batches.push(BATCH_UNITS_MAX + 1, &[]);
        assert_eq!(batches.len(), all.len() + 1);
        for (n, (first, tags, note)) in all.iter().enumerate() {
            let batch = batches.get(n).expect("it is there");
            assert_eq!(
                (batch.first, batch.tags, batch.note),
                (*first, *tags, &note[..])
            );
            for at in 0..*tags {
                let found = batches.at(first + at as u64);
                assert_eq!(found, Some((n, at as u32)));
            }
        }
        let end = first + BATCH_UNITS_MAX as u64 + 1;
        let last = batches.at(end - 1);
        assert_eq!(last, Some((all.len(), BATCH_UNITS_MAX as u32)));
        assert_eq!(batches.at(end), None);
        assert!(batches.get(batches.len()).is_none());
    }
}
