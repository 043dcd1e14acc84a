//! The catalogue: where every committed unit stands, and what finds a batch in the ledger.
//!
//! Batches lie in the ledger and not in memory. By what one is found is a tag of 8 bytes for each of its
//! units, and one of its name if the protocol gives one (an Ethereum block hash). Tags are numbered in
//! the order of the ledger, and [`SEGMENT_TAGS`] of them are a segment. The latest one or two
//! segments are in memory, in tables. Older ones go into the ledger: a leader lets some of its batches
//! carry a part of the oldest segment, ascending, and the other VNs compare it with their own. When all
//! parts of a segment are committed it leaves memory, and what stays of it are the heights of those
//! batches and a byte for each tag, by which most parts need not be read to know that a tag is not there.
//!
//! Of a batch there stay how many tags it has, and a note of the protocol's own (which logs it may hold).
//!
//! A tag is 64 bits of an id, so what is found by it is almost surely meant and an adapter still looks at
//! the id: two units of one submitter can be made to collide by work of 2^32, another's unit cannot.
//!
//! The catalogue follows from the batches, in their order, and is the same on every VN. It cannot be
//! computed again without reading the whole ledger, so what is in memory is part of a snapshot, but for
//! the filters, which come back as parts are read.

mod archive;
mod batches;
mod filter;
mod pages;
mod part;
mod segment;

use std::collections::VecDeque;

use adapter::Filed;
use types::{Height, UnitId};

use archive::Archive;
pub(crate) use batches::Batch;
use batches::Batches;
pub(crate) use part::{Cursor, Part};
use segment::Segment;

pub(crate) use adapter::NOTE_BYTES_MAX;

/// Tags of a segment: what a table of some 14 MB holds. All VNs of a network cut alike.
pub(crate) const SEGMENT_TAGS: usize = 1 << 20;

/// Full segments that stay in memory though they could go into the ledger.
const FULL_KEPT: usize = 1;

/// So many parts may be made while a segment fills: somewhat less than twice as many as it has.
const PARTS_PER_SEGMENT: usize = 120;

/// 64 bits of an id or of a batch's name. Both are digests; a test's may be text.
pub(crate) fn tag(id: &[u8; 32]) -> u64 {
    let words = id.as_chunks::<8>().0.iter().map(|w| u64::from_be_bytes(*w));
    words.fold(0, |tag: u64, word| tag.rotate_left(7) ^ word)
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Catalogue {
    segment_tags: usize,
    /// A batch's first tag is that of its name (0 if it has none); those of its units follow.
    batches: Batches,
    /// Tags that came, in memory or not.
    tags: u64,
    /// The number of the first one in memory, and those from there on. Only the last one grows.
    first: u64,
    segments: VecDeque<Segment>,
    archive: Archive,
    /// Segments stay in memory, since a snapshot of them is being written.
    frozen: bool,
}

/// How far a tag was looked for among the parts that are in the ledger.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sought(usize);

impl Catalogue {
    pub(crate) fn new(segment_tags: usize) -> Self {
        Self {
            segment_tags,
            batches: Batches::default(),
            tags: 0,
            first: 0,
            segments: VecDeque::from([Segment::new()]),
            archive: Archive::default(),
            frozen: false,
        }
    }

    /// An empty one that cuts its segments alike.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.segment_tags)
    }

    /// Batches in it: of heights 1 to this.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Units and names in memory.
    pub(crate) fn tags(&self) -> usize {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Parts in the ledger.
    pub(crate) fn parts(&self) -> usize {
        self.archive.parts()
    }

    /// Height and last tag of the part at this position.
    pub(crate) fn part_at(&self, position: usize) -> Option<(Height, u64)> {
        let kept = self.archive.at(position)?;
        Some((kept.height, kept.last))
    }

    /// Place of the first tag in memory.
    pub(crate) fn first_place(&self) -> u64 {
        self.first * self.segment_tags as u64 // widening
    }

    /// Files the batch that was just committed, with the part that it carries.
    ///
    /// # Panics
    /// If the adapter's note is longer than [`adapter::NOTE_BYTES_MAX`].
    pub(crate) fn file<'a>(
        &mut self,
        filed: &Filed,
        units: impl ExactSizeIterator<Item = &'a UnitId>,
        part: Option<&Part>,
    ) {
        let name = filed.name.as_ref().map_or(0, |name| tag(&name.0));
        self.start(1 + units.len(), &filed.note);
        self.push(name);
        units.for_each(|id| self.push(tag(&id.0)));
        if let Some(part) = part {
            debug_assert_eq!(part.cursor, self.archive.next());
            let height = Height(self.batches() as u64); // widening
            self.archive.push(height, part.last, Some(part.filter()));
            self.release();
        }
    }

    /// A batch begins, of so many tags that are pushed next, its name's first.
    pub(crate) fn start(&mut self, tags: usize, note: &[u8]) {
        self.batches.push(tags, note);
    }

    pub(crate) fn push(&mut self, tag: u64) {
        let last = self.segments.back_mut().expect("there is always one");
        last.push(tag);
        self.tags += 1;
        if last.len() == self.segment_tags {
            self.segments.push_back(Segment::new());
        }
    }

    /// So many of the next tags are not in memory, but in parts.
    pub(crate) fn missing(&self) -> u64 {
        self.first_place().saturating_sub(self.tags)
    }

    /// So many of those belong to the batch that began last.
    pub(crate) fn pass(&mut self, tags: u64) {
        debug_assert!(tags <= self.missing());
        self.tags += tags;
    }

    /// The next part of a snapshot. Tags in memory begin behind the segments whose parts are all there.
    ///
    /// # Errors
    /// If it does not follow the one before it.
    pub(crate) fn restore_part(&mut self, height: Height, last: u64) -> Result<(), kv::Malformed> {
        let before = self.parts().checked_sub(1).and_then(|at| self.part_at(at));
        let ascends = before.is_none_or(|(before, _)| before < height);
        if !ascends || last < self.archive.next().first {
            return Err(kv::Malformed("parts of its catalogue are out of order"));
        }
        self.archive.push(height, last, None);
        self.first = self.archive.next().segment;
        Ok(())
    }

    /// Keeps what is in memory until [`Catalogue::thaw`].
    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen = false;
        self.release();
    }

    /// Segments all of whose parts are in the ledger leave memory.
    fn release(&mut self) {
        while !self.frozen && self.first < self.archive.next().segment {
            self.segments.pop_front();
            self.first += 1;
        }
    }

    /// From where on the next part has tags.
    pub(crate) fn next_part(&self) -> Cursor {
        self.archive.next()
    }

    /// Tags that come between two parts, at least.
    pub(crate) fn part_every(&self) -> usize {
        self.segment_tags / PARTS_PER_SEGMENT
    }

    /// The part that begins there, if its segment is one that should leave memory.
    pub(crate) fn due(&self, cursor: Cursor) -> Option<Part> {
        let growing = self.first + self.segments.len() as u64 - 1; // widening
        let is_old = cursor.segment + (FULL_KEPT as u64) < growing; // widening
        is_old.then(|| self.part(cursor)).flatten()
    }

    /// Whether this is the next part, as it follows from the batches.
    pub(crate) fn is_next(&self, part: &Part) -> bool {
        let next = self.archive.next();
        part.cursor == next && self.part(next).as_ref() == Some(part)
    }

    /// The part that begins there, of a segment that is full and in memory.
    fn part(&self, cursor: Cursor) -> Option<Part> {
        let at = usize::try_from(cursor.segment.checked_sub(self.first)?).ok()?;
        let full = at + 1 < self.segments.len();
        full.then(|| Part::of(&self.segments[at], cursor))
    }

    /// From this height on all units are in memory.
    pub(crate) fn recent_from(&self) -> Height {
        match self.batches.at(self.first_place()) {
            Some((batch, 0)) => Height(batch as u64 + 1), // widening
            Some((batch, _)) => Height(batch as u64 + 2),
            None => Height(self.batches() as u64 + 1),
        }
    }

    /// Where this unit was committed, if that is not long ago: the first time, should its tag occur again.
    pub(crate) fn recent(&self, id: &UnitId) -> Option<(Height, u32)> {
        self.recent_places(tag(&id.0)).filter_map(of_unit).min()
    }

    /// Whether this unit may be committed: surely if it is, and seldom if it is not.
    pub(crate) fn may_have(&self, id: &UnitId) -> bool {
        let tag = tag(&id.0);
        let may_have = |segment: u64| {
            let segment = usize::try_from(segment).expect("as many as are in memory's lists");
            let position = self.archive.position(segment, tag);
            self.archive.may_have(position, tag)
        };
        self.recent(id).is_some() || (0..self.first).any(may_have)
    }

    /// Where this unit was committed before the segments that are in memory. Goes on where it was left.
    ///
    /// # Errors
    /// The batch that has to be read first.
    pub(crate) fn older_unit(
        &self,
        id: &UnitId,
        sought: &mut Sought,
    ) -> Result<Option<(Height, u32)>, Height> {
        self.older(tag(&id.0), of_unit, sought)
    }

    /// The batch of this name, if it was committed not long ago.
    pub(crate) fn recent_named(&self, name: &[u8; 32]) -> Option<Height> {
        self.recent_places(tag(name)).find_map(of_name)
    }

    /// The batch of this name before those.
    ///
    /// # Errors
    /// As [`Catalogue::older_unit`].
    pub(crate) fn older_named(
        &self,
        name: &[u8; 32],
        sought: &mut Sought,
    ) -> Result<Option<Height>, Height> {
        self.older(tag(name), of_name, sought)
    }

    fn older<T>(
        &self,
        tag: u64,
        wanted: impl Fn((Height, u32)) -> Option<T>,
        sought: &mut Sought,
    ) -> Result<Option<T>, Height> {
        while (sought.0 as u64) < self.first {
            let position = self.archive.position(sought.0, tag);
            if self.archive.may_have(position, tag) {
                let part = self.archive.part(position)?;
                let begin = sought.0 as u64 * self.segment_tags as u64; // widening
                let mut places = part.places(tag).map(|place| self.batch_of(begin + place));
                if let Some(found) = places.find_map(&wanted) {
                    return Ok(Some(found));
                }
            }
            sought.0 += 1;
        }
        Ok(None)
    }

    /// The batch of this height was read from the ledger, and it carries this part. Whether that is as it was filed.
    pub(crate) fn read(&mut self, height: Height, part: Option<Part>) -> bool {
        self.archive.read(height, part)
    }

    /// The note of a batch.
    pub(crate) fn note(&self, height: Height) -> Option<&[u8]> {
        let at = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.batch(at).map(|batch| batch.note)
    }

    /// The batch at this position, in order of height.
    pub(crate) fn batch(&self, at: usize) -> Option<Batch<'_>> {
        self.batches.get(at)
    }

    /// The tag at this place, which is in memory.
    pub(crate) fn tag_at(&self, place: u64) -> u64 {
        let at = usize::try_from(place - self.first_place()).expect("memory is far shorter");
        self.segments[at / self.segment_tags].at(at % self.segment_tags)
    }

    /// Where a tag stands in memory: the batch, and the position among its tags.
    fn recent_places(&self, tag: u64) -> impl Iterator<Item = (Height, u32)> {
        let numbered = (self.first..).zip(&self.segments);
        numbered.flat_map(move |(number, segment)| {
            let begin = number * self.segment_tags as u64; // widening
            let places = segment.places(tag);
            places.map(move |place| self.batch_of(begin + u64::from(place)))
        })
    }

    fn batch_of(&self, place: u64) -> (Height, u32) {
        let (batch, at) = self.batches.at(place).expect("every tag is a batch's");
        (Height(batch as u64 + 1), at) // widening
    }
}

/// What stands there, if it is a unit.
fn of_unit((height, at): (Height, u32)) -> Option<(Height, u32)> {
    Some((height, at.checked_sub(1)?))
}

/// The batch whose name stands there.
fn of_name((height, at): (Height, u32)) -> Option<Height> {
    (at == 0).then_some(height)
}

#[cfg(test)]
mod tests;
