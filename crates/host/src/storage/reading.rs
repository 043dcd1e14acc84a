//! Reading entries without the ledger's thread: which bytes of which files, and then the reading.
//!
//! The ledger's thread only says where entries are. Whoever reads may find something else there, for
//! the files are the operator's: lengths are checked, and a difference is an answer, not an end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::chunk::{Chunk, ENTRY_BYTES_MIN};
use types::limits::ENTRY_BYTES_MAX;

/// Most bytes that are read ahead of what was looked at.
const BLOCK_BYTES: u64 = 1 << 20;

/// Entries of one chunk.
#[derive(Debug)]
pub(crate) struct Part {
    file: Arc<File>,
    chunk: u64,
    /// Where a known entry begins, and how many entries are passed over from there.
    at: u64,
    skip: u64,
    count: u64,
    /// Where the chunk's entries end.
    end: u64,
}

impl Part {
    /// Entries `first` to `last` of a chunk that has them.
    pub(crate) fn of(chunk: &Chunk, file: Arc<File>, first: u64, last: u64) -> Self {
        let (at, skip) = chunk.near(first);
        Self {
            file,
            chunk: chunk.first,
            at,
            skip,
            count: last + 1 - first,
            end: chunk.bytes,
        }
    }

    /// Where its first entry begins.
    pub(crate) fn locate(mut self) -> io::Result<u64> {
        let mut block = Bytes::new();
        while self.skip > 0 {
            self.next(&mut block, 0)?;
        }
        Ok(self.at)
    }

    /// The next entry, or nothing while entries are passed over.
    fn next(&mut self, block: &mut Bytes, ahead: u64) -> io::Result<Option<Bytes>> {
        self.fill(block, 4, ahead)?;
        let prefix = block.first_chunk::<4>().expect("filled");
        let length = u32::from_be_bytes(*prefix);
        let bytes = 4 + u64::from(length);
        let possible = (ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&(length as usize));
        if !possible || self.at + bytes > self.end {
            return Err(io::Error::other(format!(
                "the length at byte {} has changed to {length}",
                self.at
            )));
        }
        let entry = if self.skip > 0 {
            self.skip -= 1;
            block.advance(block.len().min(4 + length as usize));
            None
        } else {
            self.fill(block, bytes, ahead)?;
            self.count -= 1;
            Some(block.split_to(4 + length as usize).slice(4..))
        };
        self.at += bytes;
        Ok(entry)
    }

    /// Has `block`, which begins at `at`, hold at least `bytes`.
    fn fill(&self, block: &mut Bytes, bytes: u64, ahead: u64) -> io::Result<()> {
        if block.len() as u64 >= bytes {
            return Ok(());
        }
        let size = bytes.max(ahead.min(BLOCK_BYTES)).min(self.end - self.at);
        if size < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut read = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut read, self.at)?;
        *block = read.into();
        Ok(())
    }
}

/// Entries to be read.
#[derive(Debug)]
pub struct Reading {
    directory: PathBuf,
    parts: Vec<Part>,
    bytes_max: u64,
}

impl Reading {
    pub(crate) fn new(directory: PathBuf, parts: Vec<Part>, bytes_max: u64) -> Self {
        Self {
            directory,
            parts,
            bytes_max,
        }
    }

    /// Reads them: as many as the limit allows, but at least one.
    ///
    /// # Errors
    /// The place, and what was found there.
    pub fn read(self) -> Result<Vec<Bytes>, String> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for mut part in self.parts {
            let mut block = Bytes::new();
            while part.count > 0 {
                let ahead = self.bytes_max.saturating_sub(bytes);
                let entry = part.next(&mut block, ahead).map_err(|error| {
                    let directory = self.directory.display();
                    format!(
                        "read {directory}, chunk that begins with {}: {error}",
                        part.chunk
                    )
                })?;
                let Some(entry) = entry else { continue };
                bytes += entry.len() as u64; // usize is at most 64 bits
                if bytes > self.bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}
