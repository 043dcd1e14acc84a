//! A part of a segment as a batch carries it: some of its tags, ascending, each with its place.
//!
//! ```text
//! part = segment u64 | first u64 | last u64 | count u32, then that many: tag u64 | place in the segment 24 bits
//! ```
//! It has every tag of the segment from `first` to `last`. Numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use kv::Malformed;

use super::filter::Filter;
use super::segment::Segment;

const HEAD_BYTES: usize = 8 + 8 + 8 + 4;
const ITEM_BYTES: usize = 8 + 3;

/// A segment has so many parts, and some more if its tags are unevenly spread.
const RANGES: u64 = 64;

/// Tags in one part at most, but for those that are equal.
const PART_TAGS_MAX: usize = 1 << 15;

/// From where on the next part has tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Cursor {
    pub(crate) segment: u64,
    pub(crate) first: u64,
}

impl Cursor {
    /// Behind a part that ends with this tag.
    pub(crate) fn after(self, last: u64) -> Self {
        match last.checked_add(1) {
            Some(first) => Self { first, ..self },
            None => Self {
                segment: self.segment + 1,
                first: 0,
            },
        }
    }
}

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cursor: Cursor,
    pub(crate) last: u64,
    bytes: Bytes,
}

impl Part {
    /// The part of `segment`, whose number is the cursor's, that begins there.
    pub(super) fn of(segment: &Segment, cursor: Cursor) -> Self {
        let mut last = cursor.first | (u64::MAX / RANGES);
        let mut items = segment.between(cursor.first, last);
        if let Some((next, _)) = items.get(PART_TAGS_MAX).copied() {
            // Equal tags stay together.
            let whole = items.partition_point(|(tag, _)| *tag < next);
            let (end, fit) = match whole {
                0 => (next, items.partition_point(|(tag, _)| *tag <= next)),
                fit => (next - 1, fit),
            };
            items.truncate(fit);
            last = end;
        }
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + items.len() * ITEM_BYTES);
        bytes.put_u64(cursor.segment);
        bytes.put_u64(cursor.first);
        bytes.put_u64(last);
        bytes.put_u32(u32::try_from(items.len()).expect("a segment is far shorter"));
        for (tag, place) in items {
            bytes.put_u64(tag);
            bytes.put_uint(u64::from(place), 3);
        }
        let bytes = bytes.freeze();
        Self {
            cursor,
            last,
            bytes,
        }
    }

    /// # Errors
    /// If the head does not fit the rest.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let malformed =
            || Malformed("a part of the catalogue does not have the length that it says");
        let (head, items) = bytes
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or_else(malformed)?;
        let word = |at: usize| {
            let bytes = head[at..].first_chunk().expect("the head is longer");
            u64::from_be_bytes(*bytes)
        };
        let count = head.last_chunk().expect("the head is longer");
        let count = u32::from_be_bytes(*count) as usize; // u32 fits usize on every supported target
        if Some(items.len()) != count.checked_mul(ITEM_BYTES) {
            return Err(malformed());
        }
        let cursor = Cursor {
            segment: word(0),
            first: word(8),
        };
        let last = word(16);
        if last < cursor.first {
            return Err(Malformed("a part of the catalogue ends before it begins"));
        }
        Ok(Self {
            cursor,
            last,
            bytes,
        })
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn items(&self) -> &[[u8; ITEM_BYTES]] {
        self.bytes[HEAD_BYTES..].as_chunks().0
    }

    /// Places in the segment where a tag stands, ascending.
    pub(super) fn places(&self, tag: u64) -> impl Iterator<Item = u64> {
        let items = self.items();
        let begin = items.partition_point(|item| tag_of(item) < tag);
        items[begin..]
            .iter()
            .take_while(move |item| tag_of(item) == tag)
            .map(|[.., a, b, c]| u64::from_be_bytes([0, 0, 0, 0, 0, *a, *b, *c]))
    }

    /// What says that most tags are not in it.
    pub(super) fn filter(&self) -> Filter {
        Filter::of(self.items().iter().map(tag_of))
    }
}

fn tag_of(item: &[u8; ITEM_BYTES]) -> u64 {
    u64::from_be_bytes(*item.first_chunk().expect("an item begins with its tag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn segment(tags: impl IntoIterator<Item = u64>) -> Segment {
        let mut segment = Segment::new();
        tags.into_iter().for_each(|tag| segment.push(tag));
        segment
    }

    fn parts(segment: &Segment) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut cursor = Cursor::default();
        while cursor.segment == 0 {
            let part = Part::of(segment, cursor);
            assert_eq!(Part::decode(part.bytes().clone()), Ok(part.clone()));
            cursor = cursor.after(part.last);
            parts.push(part);
        }
        parts
    }

    #[test]
    fn parts_have_every_tag_of_a_segment_once() {
        let segment = segment((0..10_000).map(spread));
        let parts = parts(&segment);
        assert_eq!(parts.len() as u64, RANGES);
        for n in 0..10_000 {
            let tag = spread(n);
            let holds = |part: &&Part| (part.cursor.first..=part.last).contains(&tag);
            let part = parts.iter().find(holds).expect("every tag is in a range");
            assert_eq!(part.places(tag).collect::<Vec<_>>(), [n]);
            assert!(part.filter().may_have(tag));
        }
        assert_eq!(
            parts.iter().map(|part| part.items().len()).sum::<usize>(),
            10_000
        );
    }

    #[test]
    fn tags_that_somebody_made_alike_are_cut_into_parts_of_bounded_size() {
        let narrow = |n: u64| (1 << 63) + n / 3;
        let segment = segment((0..100_000).map(narrow));
        let parts = parts(&segment);
        let sizes: Vec<usize> = parts.iter().map(|part| part.items().len()).collect();
        assert!(sizes.iter().all(|size| *size <= PART_TAGS_MAX), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 100_000);
        for n in (0..99_999).step_by(999) {
            let tag = narrow(n);
            let holds = |part: &&Part| (part.cursor.first..=part.last).contains(&tag);
            let part = parts.iter().find(holds).expect("every tag is in a range");
            assert_eq!(part.places(tag).collect::<Vec<_>>(), [n, n + 1, n + 2]);
        }
        // More equal ones than a part should have.
        let equal = self::segment(vec![7; 2 * PART_TAGS_MAX]);
        let parts = self::parts(&equal);
        assert_eq!(parts[0].places(7).count(), 2 * PART_TAGS_MAX);
    }

    #[test]
    fn a_part_of_another_length_is_refused() {
        let bytes = Part::of(&segment([1, 2, 3]), Cursor::default()).bytes;
        for cut in 0..bytes.len() {
            assert!(Part::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Part::decode(longer.into()).is_err());
        let mut backwards = bytes.to_vec();
        backwards[8..16].copy_from_slice(&[255; 8]);
        backwards[16] = 0;
        assert!(Part::decode(backwards.into()).is_err());
    }
}
