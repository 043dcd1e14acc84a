//! The catalogue: where every committed unit stands, and what finds a batch in the ledger.
//!
//! Batches lie in the ledger and not in memory. What stays here of a unit is a tag of 8 bytes, and of a
//! batch where its tags begin, a tag of its name if the protocol gives one (an Ethereum block hash), and
//! a note of the protocol's own (which logs the batch may hold). With the table from tags to their place
//! that is about 16 bytes for a unit and 20 bytes and the note for a batch, as long as the network lives.
//!
//! A tag is 64 bits of an id, so what is found by it is almost surely meant and an adapter still looks at
//! the id: two units of one submitter can be made to collide by work of 2^32, another's unit cannot.
//!
//! The catalogue follows from the batches, in their order, and is the same on every VN. It cannot be
//! computed again without reading the whole ledger, so it is part of a snapshot. It only grows: a
//! snapshot remembers how many batches there were.

use std::hash::BuildHasher;

use adapter::Filed;
use hashbrown::{DefaultHashBuilder, HashTable};
use types::{Height, UnitId};

pub(crate) use adapter::NOTE_BYTES_MAX;

/// Items of one page. Pages never move, so growing costs the same each time.
const PAGE: usize = 4096;

/// Tables from tags to their place: with a million units each holds a thousand.
const TABLES: usize = 1 << 10;

/// 64 bits of an id or of a batch's name. Both are digests; a test's may be text.
pub(crate) fn tag(id: &[u8; 32]) -> u64 {
    let words = id.as_chunks::<8>().0.iter().map(|w| u64::from_be_bytes(*w));
    words.fold(0, |tag: u64, word| tag.rotate_left(7) ^ word)
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// Of each batch, that of its name (0 if it has none) and those of its units.
    tags: Pages<u64>,
    /// Place of each batch's first tag.
    starts: Pages<u32>,
    notes: Vec<Notes>,
    tables: Vec<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

/// Notes of `PAGE` batches.
#[derive(Debug, Default)]
struct Notes {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

/// One batch as it stands in a snapshot.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) tags: usize,
    pub(crate) first: usize,
    pub(crate) note: &'a [u8],
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self {
            tags: Pages::default(),
            starts: Pages::default(),
            notes: Vec::new(),
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Batches in it: of heights 1 to this.
    pub(crate) fn batches(&self) -> usize {
        self.starts.len()
    }

    /// Units and names in it.
    pub(crate) fn tags(&self) -> usize {
        self.tags.len()
    }

    /// Files the batch that was just committed.
    ///
    /// # Panics
    /// If the adapter's note is longer than [`adapter::NOTE_BYTES_MAX`].
    pub(crate) fn file<'a>(&mut self, filed: &Filed, units: impl Iterator<Item = &'a UnitId>) {
        let name = filed.name.as_ref().map_or(0, |name| tag(&name.0));
        let tags = core::iter::once(name).chain(units.map(|id| tag(&id.0)));
        self.push(tags, &filed.note);
    }

    /// Files a batch by its tags, its name's first.
    pub(crate) fn push(&mut self, tags: impl Iterator<Item = u64>, note: &[u8]) {
        assert!(note.len() <= NOTE_BYTES_MAX, "an adapter bounds its notes");
        self.starts.push(place(self.tags.len()));
        for tag in tags {
            let place = place(self.tags.len());
            self.tags.push(tag);
            if tag != 0 {
                let hash = self.hasher.hash_one(tag);
                let (tags, hasher) = (&self.tags, &self.hasher);
                self.tables[table_of(hash)].insert_unique(hash, place, |place| {
                    hasher.hash_one(tags.at(*place as usize)) // u32 fits usize
                });
            }
        }
        if self
            .notes
            .last()
            .is_none_or(|notes| notes.ends.len() == PAGE)
        {
            self.notes.push(Notes::default());
        }
        let notes = self.notes.last_mut().expect("just pushed");
        notes.bytes.extend_from_slice(note);
        let end = u32::try_from(notes.bytes.len()).expect("a page of notes has 2 MiB at most");
        notes.ends.push(end);
    }

    /// Where this unit was committed: the first time, should its tag occur again.
    pub(crate) fn unit(&self, id: &UnitId) -> Option<(Height, u32)> {
        let places = self.places(tag(&id.0));
        let units = places.filter_map(|(height, at)| Some((height, at.checked_sub(1)?)));
        units.min()
    }

    /// The batch of this name.
    pub(crate) fn named(&self, name: &[u8; 32]) -> Option<Height> {
        let mut places = self.places(tag(name));
        places.find_map(|(height, at)| (at == 0).then_some(height))
    }

    /// The note of a batch.
    pub(crate) fn note(&self, height: Height) -> Option<&[u8]> {
        let at = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.note_at(at)
    }

    /// The batch at this position, in order of height.
    pub(crate) fn batch(&self, at: usize) -> Option<Batch<'_>> {
        let first = self.starts.get(at)? as usize; // u32 fits usize on every supported target
        let next = self
            .starts
            .get(at + 1)
            .map_or(self.tags.len(), |next| next as usize);
        Some(Batch {
            tags: next - first,
            first,
            note: self.note_at(at)?,
        })
    }

    /// The tag at this place.
    pub(crate) fn tag_at(&self, place: usize) -> u64 {
        self.tags.at(place)
    }

    fn note_at(&self, at: usize) -> Option<&[u8]> {
        let notes = self.notes.get(at / PAGE)?;
        let end = *notes.ends.get(at % PAGE)?;
        let start = match at % PAGE {
            0 => 0,
            at => notes.ends[at - 1],
        };
        Some(&notes.bytes[start as usize..end as usize]) // as above
    }

    /// Where a tag stands: the batch, and the position among its tags.
    fn places(&self, tag: u64) -> impl Iterator<Item = (Height, u32)> {
        let hash = self.hasher.hash_one(tag);
        let found = self.tables[table_of(hash)]
            .iter_hash(hash)
            .filter(move |place| self.tags.at(**place as usize) == tag); // as above
        found.map(|place| {
            let batches = self.starts.partition_point(|start| start <= *place);
            let start = self.starts.at(batches - 1);
            (Height(batches as u64), *place - start) // widening
        })
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("memory ends long before 2^32 units, which take 64 GiB")
}

/// Bits in the middle: a table itself uses the lowest and the highest.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES // 24 bits are left
}

/// A list that grows without moving.
#[derive(Debug)]
struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T: Copy> Pages<T> {
    fn len(&self) -> usize {
        match self.pages.split_last() {
            None => 0,
            Some((last, full)) => full.len() * PAGE + last.len(),
        }
    }

    fn push(&mut self, item: T) {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages.last_mut().expect("just pushed").push(item);
    }

    fn get(&self, at: usize) -> Option<T> {
        self.pages.get(at / PAGE)?.get(at % PAGE).copied()
    }

    fn at(&self, at: usize) -> T {
        self.pages[at / PAGE][at % PAGE]
    }

    /// How many items from the front are so; all of those come first.
    fn partition_point(&self, so: impl Fn(T) -> bool) -> usize {
        let full = self.pages.partition_point(|page| so(page[page.len() - 1]));
        let within = self
            .pages
            .get(full)
            .map_or(0, |page| page.partition_point(|item| so(*item)));
        // The last page may not be full.
        (full * PAGE + within).min(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> UnitId {
        // As spread as a digest.
        let word = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut id = [0; 32];
        id[..8].copy_from_slice(&word.to_be_bytes());
        id[24..].copy_from_slice(&n.to_be_bytes());
        UnitId(id)
    }

    #[test]
    fn every_unit_name_and_note_is_found_and_no_other() {
        let mut catalogue = Catalogue::new();
        let mut next = 0;
        let mut filed = Vec::new();
        for height in 1..=10_000u64 {
            let units: Vec<UnitId> = (0..height % 5).map(|n| id(next + n)).collect();
            next += 5;
            let name = (height % 3 == 0).then(|| types::Digest(id(1_000_000 + height).0));
            let note = vec![height as u8; height as usize % 7].into();
            catalogue.file(&Filed { name, note }, units.iter());
            filed.push((height, units));
        }
        assert_eq!(catalogue.batches(), 10_000);
        for (height, units) in &filed {
            for (position, unit) in (0..).zip(units) {
                assert_eq!(catalogue.unit(unit), Some((Height(*height), position)));
                assert_eq!(catalogue.named(&unit.0), None, "a unit is no batch");
            }
            let name = id(1_000_000 + height).0;
            assert_eq!(
                catalogue.named(&name),
                (height % 3 == 0).then_some(Height(*height))
            );
            assert_eq!(catalogue.unit(&UnitId(name)), None);
            let note = vec![*height as u8; *height as usize % 7];
            assert_eq!(catalogue.note(Height(*height)), Some(&note[..]));
        }
        assert_eq!(catalogue.unit(&id(77_777_777)), None);
        assert_eq!(catalogue.note(Height(0)), None);
        assert_eq!(catalogue.note(Height(10_001)), None);
    }

    #[test]
    fn a_unit_whose_tag_comes_again_is_the_first() {
        let mut catalogue = Catalogue::new();
        for _ in 0..3 {
            catalogue.file(&Filed::default(), [id(1), id(2)].iter());
        }
        assert_eq!(catalogue.unit(&id(2)), Some((Height(1), 1)));
    }
}
