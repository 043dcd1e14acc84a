//! The ledger's files: chunks of complete entries, byte-identical on every validating node.
//!
//! ```text
//! ledger/00000000000000000001-00000000000000000421   a closed chunk: first and last index
//! ledger/00000000000000000422-open                   the chunk that is appended to
//!
//! chunk   "COCOLDG1" | first index (8 bytes) | entry ...
//! entry   length (4 bytes) | sealed entry of that length          all numbers big-endian
//! ```
//! A chunk ends with the entry that brings it to [`CHUNK_BYTES`] or beyond: a rule over the bytes of
//! the entries alone, so every node cuts at the same place. It is closed (renamed) once all its
//! entries are committed; until then it may still be truncated, and several open chunks may exist.
//!
//! Crashes: a torn append leaves an incomplete entry at the end of the last chunk, dropped at the
//! next start; it was never acknowledged. A torn header leaves a file shorter than 16 bytes, dropped
//! likewise. A rename is atomic and changes no byte. Anything else is damage and is refused.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use types::limits::ENTRY_BYTES_MAX;

/// First bytes of a chunk.
pub const MAGIC: &[u8; 8] = b"COCOLDG1";

/// Size at which a chunk ends: large enough that a year has thousands of files and not millions,
/// small enough to copy in one piece.
pub const CHUNK_BYTES: u64 = 8 << 20;

const HEADER_BYTES: u64 = 16;

/// One offset is remembered for this many entries of a closed chunk.
const SPARSE: u64 = 64;

/// What went wrong with the ledger's files. The validating node ends with this reason.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFailed {
    #[error("{doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path}: {what}; move the directory away, the entries are fetched again from a peer")]
    Damaged { path: PathBuf, what: String },
    #[error("entry {found} was to be appended after entry {last}")]
    Gap { last: u64, found: u64 },
    #[error("entry {index} cannot be removed: entries up to {committed} are committed")]
    RemovesCommitted { index: u64, committed: u64 },
    #[error("entry {index} has {bytes} bytes; 1 to {ENTRY_BYTES_MAX} are allowed")]
    Length { index: u64, bytes: usize },
}

/// The ledger directory, open for appending.
#[derive(Debug)]
pub struct LedgerFiles {
    directory: PathBuf,
    /// By first index; only the last is appended to.
    chunks: BTreeMap<u64, Chunk>,
    last: u64,
    committed: u64,
    chunk_bytes: u64,
}

#[derive(Debug)]
struct Chunk {
    file: File,
    first: u64,
    /// Entries in it.
    count: u64,
    bytes: u64,
    /// Offset of entry `first + SPARSE * i`.
    offsets: Vec<u64>,
    closed: bool,
    /// Written since the last sync.
    dirty: bool,
}

impl Chunk {
    fn last(&self) -> u64 {
        self.first + self.count - 1
    }

    fn path(&self, directory: &Path) -> PathBuf {
        if self.closed {
            directory.join(format!("{:020}-{:020}", self.first, self.last()))
        } else {
            directory.join(open_name(self.first))
        }
    }
}

fn open_name(first: u64) -> String {
    format!("{first:020}-open")
}

impl LedgerFiles {
    /// Opens the directory, making it if there is none. An incomplete entry at the very end is
    /// dropped.
    ///
    /// # Errors
    /// [`LedgerFailed`]: the disk fails, or the files are not what this left there.
    pub fn open(directory: &Path) -> Result<Self, LedgerFailed> {
        Self::open_with(directory, CHUNK_BYTES)
    }

    /// [`LedgerFiles::open`] with another chunk size, for tests.
    ///
    /// # Errors
    /// As [`LedgerFiles::open`].
    pub fn open_with(directory: &Path, chunk_bytes: u64) -> Result<Self, LedgerFailed> {
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
        match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent)?,
            _ => sync_directory(Path::new("."))?,
        }
        let mut this = Self {
            directory: directory.to_owned(),
            chunks: BTreeMap::new(),
            last: 0,
            committed: 0,
            chunk_bytes,
        };
        let found = this.list()?;
        let count = found.len();
        for (number, (first, name)) in found.into_iter().enumerate() {
            this.load(first, &name, number + 1 == count)?;
        }
        // What a crash left unsynced is synced before anything is said about it.
        if let Some(chunk) = this.chunks.values_mut().next_back() {
            chunk.dirty = true;
        }
        this.sync()?;
        sync_directory(directory)?;
        Ok(this)
    }

    fn list(&self) -> Result<BTreeMap<u64, Name>, LedgerFailed> {
        let failed = || failed("list", &self.directory);
        let mut found = BTreeMap::new();
        for file in fs::read_dir(&self.directory).map_err(failed())? {
            let path = file.map_err(failed())?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(parse_name);
            let Some((first, name)) = name else {
                return Err(damaged(&path, "not a chunk's name"));
            };
            if found.insert(first, name).is_some() {
                return Err(damaged(&path, "a second chunk with this first index"));
            }
        }
        Ok(found)
    }

    fn load(&mut self, first: u64, name: &Name, is_last: bool) -> Result<(), LedgerFailed> {
        let path = self.directory.join(match name {
            Name::Open => open_name(first),
            Name::Closed { last } => format!("{first:020}-{last:020}"),
        });
        if first != self.last + 1 {
            return Err(damaged(
                &path,
                &format!("entry {} is missing before it", self.last + 1),
            ));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let bytes = file.metadata().map_err(failed("look at", &path))?.len();
        let droppable = is_last && matches!(name, Name::Open);
        if bytes < HEADER_BYTES && droppable {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            return sync_directory(&self.directory);
        }
        let mut chunk = Chunk {
            file,
            first,
            count: 0,
            bytes: HEADER_BYTES,
            offsets: Vec::new(),
            closed: matches!(name, Name::Closed { .. }),
            dirty: false,
        };
        let mut header = [0; 16];
        chunk
            .file
            .read_exact_at(&mut header, 0)
            .map_err(failed("read", &path))?;
        if header[..8] != *MAGIC || header[8..] != first.to_be_bytes() {
            return Err(damaged(&path, "it does not begin with a chunk's header"));
        }
        let complete = scan(&mut chunk, bytes).map_err(failed("read", &path))?;
        if complete < bytes {
            if !droppable {
                return Err(damaged(
                    &path,
                    &format!("incomplete entry at byte {complete}"),
                ));
            }
            chunk
                .file
                .set_len(complete)
                .map_err(failed("cut the torn end of", &path))?;
        }
        if chunk.count == 0 {
            if !droppable {
                return Err(damaged(&path, "it has no entry"));
            }
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            return sync_directory(&self.directory);
        }
        if let Name::Closed { last } = name
            && chunk.last() != *last
        {
            return Err(damaged(
                &path,
                &format!("its last entry is {}", chunk.last()),
            ));
        }
        self.last = chunk.last();
        if chunk.closed {
            self.committed = self.last;
        }
        self.chunks.insert(first, chunk);
        Ok(())
    }

    /// Index of the last complete entry, 0 if there is none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Writes entries after the last one. They are durable after [`LedgerFiles::sync`].
    ///
    /// # Errors
    /// [`LedgerFailed`]. What was written of these entries is unknown then.
    pub fn append(&mut self, first: u64, entries: &[Bytes]) -> Result<(), LedgerFailed> {
        if first != self.last + 1 {
            return Err(LedgerFailed::Gap {
                last: self.last,
                found: first,
            });
        }
        let mut rest = entries;
        while !rest.is_empty() {
            let chunk_bytes = self.chunk_bytes;
            let chunk = self.chunk_for_append()?;
            let mut lengths = Vec::with_capacity(rest.len());
            let mut bytes = chunk.bytes;
            for (entry, index) in rest.iter().zip(chunk.first + chunk.count..) {
                if entry.is_empty() || entry.len() > ENTRY_BYTES_MAX {
                    return Err(LedgerFailed::Length {
                        index,
                        bytes: entry.len(),
                    });
                }
                let length = u32::try_from(entry.len()).expect("below the entry limit");
                lengths.push(length.to_be_bytes());
                if (index - chunk.first).is_multiple_of(SPARSE) {
                    chunk.offsets.push(bytes);
                }
                bytes += 4 + u64::from(length);
                if bytes >= chunk_bytes {
                    break;
                }
            }
            let (now, later) = rest.split_at(lengths.len());
            let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(2 * now.len());
            for (length, entry) in lengths.iter().zip(now) {
                parts.extend([IoSlice::new(length), IoSlice::new(entry)]);
            }
            chunk.dirty = true;
            let written = write_at(&chunk.file, chunk.bytes, &mut parts);
            let added = now.len() as u64; // usize is at most 64 bits
            chunk.bytes = bytes;
            chunk.count += added;
            let first = chunk.first;
            self.last += added;
            written.map_err(failed("append to", &self.directory.join(open_name(first))))?;
            rest = later;
        }
        Ok(())
    }

    fn chunk_for_append(&mut self) -> Result<&mut Chunk, LedgerFailed> {
        let has_room = |chunk: &Chunk| !chunk.closed && chunk.bytes < self.chunk_bytes;
        if !self.chunks.values().next_back().is_some_and(has_room) {
            // So that a crash can tear the last chunk only.
            self.sync()?;
            let first = self.last + 1;
            let path = self.directory.join(open_name(first));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(failed("make", &path))?;
            let mut header = [0; 16];
            header[..8].copy_from_slice(MAGIC);
            header[8..].copy_from_slice(&first.to_be_bytes());
            file.write_all_at(&header, 0)
                .map_err(failed("write", &path))?;
            sync_directory(&self.directory)?;
            let chunk = Chunk {
                file,
                first,
                count: 0,
                bytes: HEADER_BYTES,
                offsets: Vec::new(),
                closed: false,
                dirty: true,
            };
            self.chunks.insert(first, chunk);
        }
        Ok(self
            .chunks
            .values_mut()
            .next_back()
            .expect("made above if there was none"))
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`LedgerFailed`]. After a failed sync the kernel may have forgotten the data; nothing may be
    /// acknowledged any more, and a second attempt proves nothing.
    pub fn sync(&mut self) -> Result<(), LedgerFailed> {
        for chunk in self
            .chunks
            .values_mut()
            .rev()
            .take_while(|chunk| !chunk.closed)
        {
            if chunk.dirty {
                let path = self.directory.join(open_name(chunk.first));
                chunk.file.sync_data().map_err(failed("sync", &path))?;
                chunk.dirty = false;
            }
        }
        Ok(())
    }

    /// Removes entry `from` and all after it, durably.
    ///
    /// # Errors
    /// [`LedgerFailed`], also if one of them is committed.
    pub fn truncate(&mut self, from: u64) -> Result<(), LedgerFailed> {
        if from <= self.committed || from == 0 {
            return Err(LedgerFailed::RemovesCommitted {
                index: from,
                committed: self.committed,
            });
        }
        while self.last >= from {
            let mut entry = self
                .chunks
                .last_entry()
                .expect("the last entry is in a chunk");
            let path = self.directory.join(open_name(*entry.key()));
            let chunk = entry.get_mut();
            if chunk.first >= from {
                self.last = chunk.first - 1;
                entry.remove();
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                sync_directory(&self.directory)?;
                continue;
            }
            let (at, _) = locate(chunk, from).map_err(failed("read", &path))?;
            chunk.file.set_len(at).map_err(failed("cut", &path))?;
            chunk.file.sync_data().map_err(failed("sync", &path))?;
            chunk.bytes = at;
            chunk.count = from - chunk.first;
            chunk
                .offsets
                .truncate(usize::try_from(chunk.count.div_ceil(SPARSE)).expect("in memory"));
            self.last = from - 1;
        }
        Ok(())
    }

    /// Entries up to `upto` are committed: chunks that are full and below are closed.
    ///
    /// # Errors
    /// [`LedgerFailed`].
    pub fn committed(&mut self, upto: u64) -> Result<(), LedgerFailed> {
        self.committed = self.committed.max(upto.min(self.last));
        let mut closed = false;
        let open = self
            .chunks
            .values_mut()
            .rev()
            .take_while(|chunk| !chunk.closed);
        for chunk in open {
            if chunk.bytes >= self.chunk_bytes && chunk.last() <= self.committed && !chunk.dirty {
                let from = chunk.path(&self.directory);
                chunk.closed = true;
                fs::rename(&from, chunk.path(&self.directory)).map_err(failed("close", &from))?;
                closed = true;
            }
        }
        if closed {
            sync_directory(&self.directory)
        } else {
            Ok(())
        }
    }

    /// Entries `first` to `last`, as many as `bytes_max` allows but at least one.
    ///
    /// # Errors
    /// [`LedgerFailed`]. Entries that are not there are left out.
    pub fn read(&self, first: u64, last: u64, bytes_max: u64) -> Result<Vec<Bytes>, LedgerFailed> {
        let mut entries = Vec::new();
        let mut bytes = 0_u64;
        let mut index = first.max(1);
        while index <= last.min(self.last) {
            let chunk = self
                .chunks
                .range(..=index)
                .next_back()
                .expect("chunks have no gap")
                .1;
            let path = chunk.path(&self.directory);
            let (mut at, _) = locate(chunk, index).map_err(failed("read", &path))?;
            while index <= last.min(chunk.last()) {
                let length = read_length(&chunk.file, at).map_err(failed("read", &path))?;
                bytes += u64::from(length);
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                // Checked against the entry limit when it was written or scanned.
                let mut entry = vec![0; length as usize];
                chunk
                    .file
                    .read_exact_at(&mut entry, at + 4)
                    .map_err(failed("read", &path))?;
                entries.push(entry.into());
                at += 4 + u64::from(length);
                index += 1;
            }
        }
        Ok(entries)
    }
}

enum Name {
    Open,
    Closed { last: u64 },
}

fn parse_name(name: &str) -> Option<(u64, Name)> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| {
        let plain = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let first = number(first).filter(|first| *first > 0)?;
    match last {
        "open" => Some((first, Name::Open)),
        last => Some((
            first,
            Name::Closed {
                last: number(last)?,
            },
        )),
    }
}

/// Counts complete entries and remembers offsets; gives the offset after the last complete one.
fn scan(chunk: &mut Chunk, bytes: u64) -> io::Result<u64> {
    let mut reader = io::BufReader::with_capacity(1 << 20, &chunk.file);
    io::Seek::seek(&mut reader, io::SeekFrom::Start(HEADER_BYTES))?;
    let mut at = HEADER_BYTES;
    let mut prefix = [0; 4];
    while at + 4 <= bytes {
        io::Read::read_exact(&mut reader, &mut prefix)?;
        let length = u32::from_be_bytes(prefix);
        let next = at + 4 + u64::from(length);
        // No entry is empty: zeros are what some file systems leave of a torn append.
        if next > bytes || length == 0 || length as usize > ENTRY_BYTES_MAX {
            break;
        }
        if chunk.count.is_multiple_of(SPARSE) {
            chunk.offsets.push(at);
        }
        chunk.count += 1;
        at = next;
        reader.seek_relative(i64::from(length))?;
    }
    chunk.bytes = at;
    Ok(at)
}

/// Offset of an entry of this chunk, found from the nearest remembered one.
fn locate(chunk: &Chunk, index: u64) -> io::Result<(u64, u64)> {
    let within = index - chunk.first;
    let nearest = within / SPARSE;
    let slot = usize::try_from(nearest).map_err(io::Error::other)?;
    let mut at = *chunk
        .offsets
        .get(slot)
        .ok_or_else(|| io::Error::other("offset not known"))?;
    for _ in nearest * SPARSE..within {
        at += 4 + u64::from(read_length(&chunk.file, at)?);
    }
    Ok((at, within))
}

fn read_length(file: &File, at: u64) -> io::Result<u32> {
    let mut prefix = [0; 4];
    file.read_exact_at(&mut prefix, at)?;
    Ok(u32::from_be_bytes(prefix))
}

fn write_at(file: &File, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut file = file;
    io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    let mut parts = parts;
    while !parts.is_empty() {
        // The kernel takes at most 1,024 parts at once.
        let some = parts.len().min(1024);
        match file.write_vectored(&parts[..some]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> Result<(), LedgerFailed> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory", directory))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerFailed {
    let path = path.to_owned();
    move |source| LedgerFailed::Io {
        doing,
        path,
        source,
    }
}

fn damaged(path: &Path, what: &str) -> LedgerFailed {
    LedgerFailed::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
