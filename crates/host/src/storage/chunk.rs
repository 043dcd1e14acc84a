//! One chunk file: its name, its frames, and where each entry of it begins.
//!
//! ```text
//! ledger/00000000000000000001-00000000000000000421   a closed chunk: first and last index
//! ledger/00000000000000000422-open                   a chunk that is appended to
//!
//! chunk   "COCOLDG1" | first index (8 bytes) | entry ...
//! entry   length (4 bytes) | sealed entry of that length          all numbers big-endian
//! ```
//! A chunk ends with the entry that brings it to [`CHUNK_BYTES`] or beyond, or with an entry of the
//! kind *snapshot*: a rule over the entries alone, so every node cuts at the same place. Of an entry
//! the host understands its kind byte and the two lengths in its header, which must add up.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{Index, limits::ENTRY_BYTES_MAX};

/// First bytes of a chunk.
pub const MAGIC: &[u8; 8] = b"COCOLDG1";

/// Size at which a chunk ends: large enough that a year has thousands of files and not millions,
/// small enough to copy in one piece.
pub const CHUNK_BYTES: u64 = 8 << 20;

/// Magic and first index.
pub(crate) const HEADER_BYTES: u64 = 16;

/// An entry's header, and the tag of its sealed part: no entry is shorter.
pub(crate) const ENTRY_BYTES_MIN: usize = ENTRY_HEADER_BYTES + SEAL_BYTES;
const ENTRY_HEADER_BYTES: usize = 96;
const SEAL_BYTES: usize = 16;

/// Where an entry's header has its kind, and the kind after which a chunk ends.
const KIND_AT: usize = 1;
const KIND_SNAPSHOT: u8 = 5;

/// Where an entry's header has the lengths of its two parts.
const PUBLIC_AT: usize = 88;
const PRIVATE_AT: usize = 92;

/// One offset is remembered for this many entries.
const SPARSE: u64 = 64;

/// What a chunk file's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Open { first: u64 },
    Closed { first: u64, last: u64 },
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (first, last) = name.split_once('-')?;
        let number = |text: &str| {
            let plain = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<u64>().ok()).flatten()
        };
        let first = number(first).filter(|first| (1..=Index::MAX.0).contains(first))?;
        if last == "open" {
            return Some(Self::Open { first });
        }
        let last = number(last).filter(|last| *last >= first)?;
        Some(Self::Closed { first, last })
    }

    pub(crate) fn first(self) -> u64 {
        match self {
            Self::Open { first } | Self::Closed { first, .. } => first,
        }
    }

    pub(crate) fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Self::Open { first } => format!("{first:020}-open"),
            Self::Closed { first, last } => format!("{first:020}-{last:020}"),
        })
    }
}

/// The first bytes of a chunk file.
pub(crate) fn header(first: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&first.to_be_bytes());
    header
}

/// Whether an entry of this length may begin with these bytes: as many as its header has.
fn adds_up(length: usize, head: &[u8; ENTRY_HEADER_BYTES]) -> bool {
    let number = |at: usize| {
        let bytes = head[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_be_bytes(bytes))
    };
    let parts = number(PUBLIC_AT) + number(PRIVATE_AT);
    parts + ENTRY_BYTES_MIN as u64 == length as u64 // usize is at most 64 bits
}

/// Whether these bytes can be stored as an entry.
pub(crate) fn is_entry(entry: &[u8]) -> bool {
    let head = entry.first_chunk::<ENTRY_HEADER_BYTES>();
    entry.len() <= ENTRY_BYTES_MAX && head.is_some_and(|head| adds_up(entry.len(), head))
}

/// Whether a chunk ends after this entry, which brings it to `bytes`.
pub(crate) fn ends_chunk(entry: &[u8], bytes: u64, chunk_bytes: u64) -> bool {
    bytes >= chunk_bytes || entry.get(KIND_AT) == Some(&KIND_SNAPSHOT)
}

/// What tells one file from another that took its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
        }
    }
}

/// A chunk whose entries were counted.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Shared with who reads from it; a closed chunk that nobody read lately has none.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) identity: Identity,
    pub(crate) first: u64,
    /// Entries in it.
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// Offset of entry `first + SPARSE * i`.
    offsets: Vec<u64>,
    /// Its last entry ends it.
    pub(crate) full: bool,
    pub(crate) closed: bool,
}

impl Chunk {
    /// A chunk with no entry yet.
    pub(crate) fn new(file: File, first: u64) -> io::Result<Self> {
        Ok(Self {
            identity: Identity::of(&file.metadata()?),
            file: Some(Arc::new(file)),
            first,
            count: 0,
            bytes: HEADER_BYTES,
            offsets: Vec::new(),
            full: false,
            closed: false,
        })
    }

    /// Index of its last entry.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.count - 1
    }

    pub(crate) fn name(&self) -> Name {
        let first = self.first;
        if self.closed {
            let last = self.last();
            Name::Closed { first, last }
        } else {
            Name::Open { first }
        }
    }

    /// The file that its name leads to is still the one that was written, and has its size.
    pub(crate) fn is_in_place(&self, directory: &Path) -> Result<(), String> {
        match std::fs::symlink_metadata(self.name().path(directory)) {
            Err(error) => Err(format!("disappeared ({error})")),
            Ok(there) => {
                let there = Identity::of(&there);
                let (device, inode) = (self.identity.device, self.identity.inode);
                if (there.device, there.inode) != (device, inode) {
                    Err("was replaced by another file".into())
                } else if there.bytes != self.bytes {
                    let bytes = self.bytes;
                    Err(format!("has {} bytes instead of {bytes}", there.bytes))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Its file, opened again if need be.
    pub(crate) fn file(&mut self, directory: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        self.is_in_place(directory)
            .map_err(|what| io::Error::other(format!("the file {what}")))?;
        let file = Arc::new(File::open(self.name().path(directory))?);
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Counts one more entry, which ends at `next`.
    pub(crate) fn count_entry(&mut self, next: u64, full: bool) {
        if self.count.is_multiple_of(SPARSE) {
            self.offsets.push(self.bytes);
        }
        self.count += 1;
        self.bytes = next;
        self.full = full;
    }

    /// Forgets entry `from` and those after it, which begin at `at`.
    pub(crate) fn forget(&mut self, from: u64, at: u64) {
        self.bytes = at;
        self.count = from - self.first;
        let offsets = usize::try_from(self.count.div_ceil(SPARSE)).expect("in memory");
        self.offsets.truncate(offsets);
        self.full = false;
    }

    /// The nearest remembered offset before an entry of this chunk, and how many entries to skip there.
    pub(crate) fn near(&self, index: u64) -> (u64, u64) {
        let within = index - self.first;
        let slot = usize::try_from(within / SPARSE).expect("in memory");
        (self.offsets[slot], within % SPARSE)
    }
}

/// How the entries of a chunk end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With the file.
    Whole,
    /// With what a crash leaves of an append: the beginning of an entry, or zeros.
    Torn,
    /// With bytes that no crash explains.
    Damaged(String),
}

/// Counts the entries of a chunk whose header was read; stops where they end.
pub(crate) fn scan(chunk: &mut Chunk, bytes: u64, chunk_bytes: u64) -> io::Result<End> {
    let file = chunk.file.clone().expect("a chunk that is scanned is open");
    let mut reader = BufReader::with_capacity(1 << 20, &*file);
    reader.seek(SeekFrom::Start(HEADER_BYTES))?;
    let mut head = [0; ENTRY_HEADER_BYTES];
    while chunk.bytes < bytes {
        let at = chunk.bytes;
        let rest = bytes - at;
        if chunk.full {
            let what = "bytes follow the entry that ends the chunk";
            return Ok(End::Damaged(what.into()));
        }
        if rest < 4 {
            return Ok(End::Torn);
        }
        let mut prefix = [0; 4];
        reader.read_exact(&mut prefix)?;
        let length = u32::from_be_bytes(prefix);
        // Some file systems leave zeros of a torn append.
        if length == 0 && is_zero(&mut reader)? {
            return Ok(End::Torn);
        }
        if !(ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&(length as usize)) {
            let what = format!("an entry of {length} bytes is impossible");
            return Ok(End::Damaged(what));
        }
        if rest < 4 + ENTRY_HEADER_BYTES as u64 {
            return Ok(End::Torn);
        }
        reader.read_exact(&mut head)?;
        if !adds_up(length as usize, &head) {
            let what = format!("its length of {length} bytes and its header disagree");
            return Ok(End::Damaged(what));
        }
        let next = at + 4 + u64::from(length);
        if next > bytes {
            return Ok(End::Torn);
        }
        reader.seek_relative(i64::from(length) - ENTRY_HEADER_BYTES as i64)?;
        chunk.count_entry(next, ends_chunk(&head, next, chunk_bytes));
    }
    Ok(End::Whole)
}

fn is_zero(reader: &mut impl io::BufRead) -> io::Result<bool> {
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(true);
        }
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let bytes = part.len();
        reader.consume(bytes);
    }
}
