//! Chunk files: how entries lie on the host's disk.
//!
//! A file is `<first>-<last>` when closed and `<first>-open` while it grows. It begins with
//! "COCOLDG1" and the first index (u64, big-endian); each entry follows as its length (u32,
//! big-endian) and its bytes. The host writes and cuts these files without understanding an entry;
//! this is the reader for everybody who does.

use core::fmt;

use bytes::{Buf, Bytes};
use types::{Index, limits};

use crate::HEADER_BYTES;

/// What a chunk file begins with.
pub const MAGIC: &[u8; 8] = b"COCOLDG1";

/// Length of the beginning of a chunk file: magic and first index.
pub const BEGIN_BYTES: usize = 16;

/// A chunk is closed at the first entry boundary at or beyond this: large enough that a year of
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
        let plausible = first > Index::ZERO && last.is_none_or(|last| first <= last);
        (plausible && name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "{}-{last}", self.first),
            None => write!(f, "{}-open", self.first),
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
