//! Chunk files: how entries lie on the host's disk.
//!
//! A file is `<first>-<last>` when closed and `<first>-open` before, indices with twenty digits, so
//! that names sort as entries do. It begins with "COCOLDG1" and the first index (u64, big-endian);
//! each entry follows as its length (u32, big-endian) and its bytes. The host writes and cuts these files without understanding an entry;
//! this is the reader for everybody who does.

use core::fmt;

use bytes::{Buf, Bytes};
use types::{Index, limits};

use crate::HEADER_BYTES;

/// What a chunk file begins with.
pub const MAGIC: &[u8; 8] = b"COCOLDG1";

/// Length of the beginning of a chunk file: magic and first index.
pub const BEGIN_BYTES: usize = 16;

/// A chunk ends with the entry that brings it to this size, so every VN cuts at the same place, and
/// is closed once that entry is committed. Large enough that a year of
/// entries is some thousand files, small enough to copy or fetch again in a moment.
pub const CLOSE_BYTES: u64 = 8 << 20;

/// Name of a chunk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub first: Index,
    /// None while the chunk is open.
    pub last: Option<Index>,
}

impl Name {
    /// Reads a file name; None when it is not the one name of a chunk.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let first = Index(first.parse().ok()?);
        let last = if last == "open" {
            None
        } else {
            Some(Index(last.parse().ok()?))
        };
        let name = Self { first, last };
        let plausible = first > Index::ZERO
            && first <= Index::MAX
            && last.is_none_or(|last| first <= last && last <= Index::MAX);
        (plausible && name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "{:020}-{last:020}", self.first.0, last = last.0),
            None => write!(f, "{:020}-open", self.first.0),
        }
    }
}

/// What is wrong with the framing of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("does not begin as a chunk file")]
    Begin,
    #[error("incomplete tail: the file ends within an entry, as after a crash while writing")]
    IncompleteTail,
    #[error("an entry of {0} bytes is impossible")]
    Length(u32),
    #[error("begins with entry {0}; no ledger has so many")]
    First(Index),
}

/// A chunk cannot be read beyond a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub struct BadChunk {
    pub offset: u64,
    pub reason: Reason,
}

/// The beginning of a chunk file.
pub fn begin(first: Index) -> [u8; BEGIN_BYTES] {
    let mut begin = [0; BEGIN_BYTES];
    begin[..8].copy_from_slice(MAGIC);
    begin[8..].copy_from_slice(&first.0.to_be_bytes());
    begin
}

/// Appends an entry as a chunk file holds it.
///
/// # Panics
/// When the entry is longer than an entry may be.
pub fn append(chunk: &mut Vec<u8>, entry: &[u8]) {
    assert!(
        entry.len() <= limits::ENTRY_BYTES_MAX,
        "sealed entries keep the limit"
    );
    let length = u32::try_from(entry.len()).expect("below the limit of an entry");
    chunk.extend_from_slice(&length.to_be_bytes());
    chunk.extend_from_slice(entry);
}

/// Entries of one chunk, in order: offset of the length before each, and its bytes, which share
/// the chunk's memory. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Reader {
    first: Index,
    offset: u64,
    rest: Bytes,
}

impl Reader {
    /// # Errors
    /// [`BadChunk`]: not a chunk file, or cut off within its first 16 bytes.
    pub fn new(mut chunk: Bytes) -> Result<Self, BadChunk> {
        let begin = |reason| BadChunk { offset: 0, reason };
        let magic = &chunk[..chunk.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(begin(Reason::Begin));
        }
        if chunk.len() < BEGIN_BYTES {
            return Err(begin(Reason::IncompleteTail));
        }
        chunk.advance(MAGIC.len());
        let first = Index(chunk.get_u64());
        if first > Index::MAX {
            return Err(begin(Reason::First(first)));
        }
        Ok(Self {
            first,
            offset: 16,
            rest: chunk,
        })
    }

    /// The first index, as the file says.
    pub fn first(&self) -> Index {
        self.first
    }

    fn bad(&mut self, reason: Reason) -> BadChunk {
        self.rest.clear();
        BadChunk {
            offset: self.offset,
            reason,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Bytes), BadChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(four) = self.rest.first_chunk::<4>() else {
            return Some(Err(self.bad(Reason::IncompleteTail)));
        };
        let length = u32::from_be_bytes(*four);
        let bytes = usize::try_from(length).expect("usize has at least 32 bits");
        // Some file systems show zeros where a crash kept data from being written.
        if length == 0 && self.rest.iter().all(|byte| *byte == 0) {
            return Some(Err(self.bad(Reason::IncompleteTail)));
        }
        if !(HEADER_BYTES..=limits::ENTRY_BYTES_MAX).contains(&bytes) {
            return Some(Err(self.bad(Reason::Length(length))));
        }
        if self.rest.len() - 4 < bytes {
            return Some(Err(self.bad(Reason::IncompleteTail)));
        }
        let offset = self.offset;
        self.rest.advance(4);
        let entry = self.rest.split_to(bytes);
        self.offset += 4 + u64::from(length);
        Some(Ok((offset, entry)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_has_one_name() {
        for name in [
            "00000000000000000001-open",
            "00000000000000000001-00000000000000000001",
            "00000000000000000010-09223372036854775807",
        ] {
            assert_eq!(Name::parse(name).expect("a name").to_string(), name);
        }
        for text in [
            "",
            "1",
            "0-open",
            "2-1",
            "01-2",
            "+1-2",
            "1-2-3",
            "1-open~",
            "open-1",
            "-",
            "1-",
            "00000000000000000010-09223372036854775808",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn no_chunk_begins_where_counting_would_end() {
        assert!(Reader::new(begin(Index::MAX).to_vec().into()).is_ok());
        let beyond = Index::MAX.next();
        let bad = Reader::new(begin(beyond).to_vec().into()).expect_err("too far");
        assert_eq!(bad.reason, Reason::First(beyond));
    }

    #[test]
    fn an_impossible_length_is_not_taken_for_a_torn_tail() {
        for length in [1, 95, 61 << 20, u32::MAX] {
            let mut bytes = begin(Index(1)).to_vec();
            append(&mut bytes, &[7; 100]);
            bytes.extend_from_slice(&length.to_be_bytes());
            let mut reader = Reader::new(bytes.into()).expect("begins well");
            assert!(reader.next().expect("one entry").is_ok());
            let bad = BadChunk {
                offset: 120,
                reason: Reason::Length(length),
            };
            assert_eq!(reader.next(), Some(Err(bad)));
            assert_eq!(reader.next(), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_cut_off_loses_only_its_last_entry(
            lengths in prop::collection::vec(96usize..300, 0..8), cut in 0usize..3000,
        ) {
            let mut bytes = begin(Index(4)).to_vec();
            let mut ends = vec![BEGIN_BYTES];
            for length in &lengths {
                append(&mut bytes, &vec![1; *length]);
                ends.push(bytes.len());
            }
            let cut = cut.min(bytes.len());
            let torn = Bytes::from(bytes).slice(..cut);
            let incomplete = |item: &Result<_, BadChunk>| {
                item.as_ref().is_err_and(|bad| bad.reason == Reason::IncompleteTail)
            };
            match Reader::new(torn) {
                Err(bad) => prop_assert!(cut < BEGIN_BYTES && bad.reason == Reason::IncompleteTail),
                Ok(reader) => {
                    let items: Vec<_> = reader.collect();
                    let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                    prop_assert_eq!(items.iter().filter(|item| item.is_ok()).count(), whole);
                    prop_assert_eq!(items.last().is_some_and(incomplete), !ends.contains(&cut));
                }
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes: Vec<u8>, framed: bool) {
            if framed {
                bytes.splice(..0, begin(Index(1)));
            }
            if let Ok(reader) = Reader::new(bytes.into()) {
                for item in reader {
                    let _ = item.map(|(_, entry)| crate::inspect(&entry));
                }
            }
        }
    }
}
