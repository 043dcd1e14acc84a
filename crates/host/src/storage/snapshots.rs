//! Snapshot files: sealed chunks, opaque to the host, one file for each snapshot.
//!
//! ```text
//! snapshots/00000000000000000421        the snapshot of the state after entry 421
//! snapshots/00000000000000000421-part   the same while it is written; removed at the next start
//!
//! file   "COCOSNP1" | index (8 bytes) | chunk ...
//! chunk  length (4 bytes) | sealed chunk of that length           all numbers big-endian
//! ```
//! A file gets its name only when all of it is synced, so a crash leaves a whole one or none. Of a
//! chunk the host understands its length, and the byte that says whether it is the last one: that
//! tells a file that was cut later. A snapshot can be made again: a failure here is an answer to the
//! manager and not the end of the node.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use types::limits::SNAPSHOT_CHUNK_BYTES;

use super::aside::{self, Why};
use super::medium::{Medium, write_all};
use super::space::Space;

/// First bytes of a snapshot file; the last of them is the version.
const MAGIC: &[u8; 8] = b"COCOSNP1";

const HEADER_BYTES: u64 = 16;

/// Where a chunk says whether it is the last one (1) or not (0).
const LAST_AT: u64 = 1;

/// A chunk says what it is, and is sealed.
const CHUNK_BYTES_MIN: usize = 16;

/// Longest sealed chunk: the plaintext's limit, and as much again for whatever sealing adds.
pub const SNAPSHOT_BYTES_MAX: usize = 2 * SNAPSHOT_CHUNK_BYTES;

/// Written bytes after which a part is synced, so that the last sync, and with it the ledger's, has
/// little to wait for.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// Snapshots that may be written or read at once; the manager has one of each under way.
const WRITERS_MAX: usize = 4;
const READERS_MAX: usize = 4;

/// The directory of snapshots.
#[derive(Debug)]
pub struct SnapshotFiles {
    directory: PathBuf,
    medium: Arc<dyn Medium>,
    space: Arc<Space>,
    complete: BTreeMap<u64, Complete>,
    writers: BTreeMap<u64, Writer>,
    readers: BTreeMap<u64, Reader>,
}

#[derive(Debug, Clone, Copy)]
struct Complete {
    bytes: u64,
    made: SystemTime,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Chunks so far: the sequence number that comes next.
    count: u64,
    bytes: u64,
    unsynced: u64,
}

#[derive(Debug)]
struct Reader {
    file: File,
    /// Where the chunks begin, as far as anybody has read.
    offsets: Vec<u64>,
    bytes: u64,
}

/// Numbers for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub count: u64,
    pub bytes: u64,
    /// When the newest was completed.
    pub newest: Option<SystemTime>,
}

impl SnapshotFiles {
    /// Opens the directory, making it if there is none. What was not finished is removed; what is not
    /// whole is set aside and logged.
    ///
    /// # Errors
    /// What failed and where: a directory that cannot be read or made.
    pub fn open(
        directory: &Path,
        medium: Arc<dyn Medium>,
        space: Arc<Space>,
    ) -> Result<Self, String> {
        let mut this = Self {
            directory: directory.to_owned(),
            medium,
            space,
            complete: BTreeMap::new(),
            writers: BTreeMap::new(),
            readers: BTreeMap::new(),
        };
        this.list()
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(this)
    }

    fn list(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        for file in fs::read_dir(&self.directory)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            match name.map(|name| (name, parse(name))) {
                Some((name, None)) if aside::is_unfinished(name) => fs::remove_file(&path)?,
                Some((name, None)) if aside::is_aside(name) => {}
                Some((_, Some(index))) => match check(&path, index) {
                    Ok(complete) => {
                        self.complete.insert(index, complete);
                    }
                    Err(error) => {
                        let aside = aside::set_aside(&*self.medium, &path, Why::Damaged)?;
                        tracing::error!(
                            "{}: {error}; kept as {}. Another is fetched from another node or made \
                             at the next point; delete the kept one when nobody needs it",
                            path.display(),
                            aside.display()
                        );
                    }
                },
                _ => tracing::warn!("{} is no snapshot; passed over", path.display()),
            }
        }
        self.medium.sync_directory(&self.directory)
    }

    /// Indices of the complete snapshots, ascending.
    pub fn indices(&self) -> Vec<u64> {
        self.complete.keys().copied().collect()
    }

    /// How many there are, and how large.
    pub fn kept(&self) -> Kept {
        Kept {
            count: self.complete.len() as u64, // usize is at most 64 bits
            bytes: self.complete.values().map(|one| one.bytes).sum(),
            newest: self.complete.values().map(|one| one.made).max(),
        }
    }

    /// Writes a chunk of a snapshot; with the last one the file is durable and in place.
    ///
    /// # Errors
    /// What failed and where. The snapshot is not kept then, and begins anew with sequence 0.
    pub fn store(
        &mut self,
        index: u64,
        sequence: u64,
        chunk: &Bytes,
        last: bool,
    ) -> Result<(), String> {
        let stored = self.store_or_fail(index, sequence, chunk, last);
        stored.map_err(|error| {
            let part = self.part(index);
            if self.writers.remove(&index).is_some() {
                // It is removed at the next start if this fails.
                let _ = fs::remove_file(&part);
            }
            format!("store {}: {error}", part.display())
        })
    }

    fn store_or_fail(
        &mut self,
        index: u64,
        sequence: u64,
        chunk: &Bytes,
        last: bool,
    ) -> io::Result<()> {
        if sequence == 0 {
            self.begin(index)?;
        }
        let medium = &*self.medium;
        let writer = self.writers.get_mut(&index);
        let writer = writer.filter(|writer| writer.count == sequence);
        let writer = writer.ok_or_else(|| {
            io::Error::other(format!("chunk {sequence} is not the next; begin with 0"))
        })?;
        if !(CHUNK_BYTES_MIN..=SNAPSHOT_BYTES_MAX).contains(&chunk.len()) {
            let bytes = chunk.len();
            return Err(io::Error::other(format!(
                "a chunk has {bytes} bytes; {CHUNK_BYTES_MIN} to {SNAPSHOT_BYTES_MAX} are allowed"
            )));
        }
        self.space
            .has_room_for_snapshots()
            .map_err(io::Error::other)?;
        let length = u32::try_from(chunk.len()).expect("below the limit of a chunk");
        writer.write(medium, &[&length.to_be_bytes(), chunk])?;
        writer.count += 1;
        if writer.unsynced >= UNSYNCED_BYTES_MAX && !last {
            writer.sync(medium)?;
        }
        if last {
            writer.sync(medium)?;
            let bytes = writer.bytes;
            medium.rename(&self.part(index), &self.path(index))?;
            self.writers.remove(&index);
            // A reader of an earlier file of this name begins anew.
            self.readers.remove(&index);
            medium.sync_directory(&self.directory)?;
            let made = SystemTime::now();
            self.complete.insert(index, Complete { bytes, made });
        }
        Ok(())
    }

    fn begin(&mut self, index: u64) -> io::Result<()> {
        self.writers.remove(&index);
        if self.writers.len() >= WRITERS_MAX {
            // The oldest: the manager has gone on to a newer one.
            let oldest = *self.writers.keys().next().expect("there are some");
            self.writers.remove(&oldest);
            fs::remove_file(self.part(oldest))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.part(index))?;
        let mut writer = Writer {
            file,
            count: 0,
            bytes: 0,
            unsynced: 0,
        };
        let begun = writer.write(&*self.medium, &[MAGIC, &index.to_be_bytes()]);
        self.writers.insert(index, writer);
        begun
    }

    /// Reads a chunk of a complete snapshot; says whether it is the last.
    ///
    /// # Errors
    /// What failed and where.
    pub fn read(&mut self, index: u64, sequence: u64) -> Result<(Bytes, bool), String> {
        let read = self.read_or_fail(index, sequence);
        read.map_err(|error| {
            self.readers.remove(&index);
            format!("read {}: {error}", self.path(index).display())
        })
    }

    fn read_or_fail(&mut self, index: u64, sequence: u64) -> io::Result<(Bytes, bool)> {
        if !self.complete.contains_key(&index) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !self.readers.contains_key(&index) {
            if self.readers.len() >= READERS_MAX {
                self.readers.pop_first();
            }
            let reader = Reader::open(&self.path(index), index)?;
            self.readers.insert(index, reader);
        }
        let reader = self.readers.get_mut(&index).expect("just opened");
        reader.chunk(sequence)
    }

    /// Removes a snapshot, and what was written of it.
    ///
    /// # Errors
    /// What failed and where; the file stays until the next time then.
    pub fn remove(&mut self, index: u64) -> Result<(), String> {
        self.readers.remove(&index);
        let part = self.writers.remove(&index).map(|_| self.part(index));
        let whole = self.complete.remove(&index).map(|_| self.path(index));
        for path in part.into_iter().chain(whole) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("remove {}: {error}", path.display()));
                }
                _ => {}
            }
        }
        self.medium
            .sync_directory(&self.directory)
            .map_err(|error| format!("sync {}: {error}", self.directory.display()))
    }

    fn path(&self, index: u64) -> PathBuf {
        self.directory.join(format!("{index:020}"))
    }

    fn part(&self, index: u64) -> PathBuf {
        self.directory.join(format!("{index:020}-part"))
    }
}

impl Writer {
    fn write(&mut self, medium: &dyn Medium, parts: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        write_all(medium, &self.file, self.bytes, &mut slices)?;
        self.bytes += bytes as u64; // usize is at most 64 bits
        self.unsynced += bytes as u64;
        Ok(())
    }

    fn sync(&mut self, medium: &dyn Medium) -> io::Result<()> {
        self.unsynced = 0;
        medium.sync(&self.file)?;
        // Nobody reads it unless a node joins.
        medium.uncache(&self.file);
        Ok(())
    }
}

impl Reader {
    fn open(path: &Path, index: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut begin = [0; 16];
        if bytes > HEADER_BYTES {
            file.read_exact_at(&mut begin, 0)?;
        }
        if begin[..8] != *MAGIC || begin[8..] != index.to_be_bytes() {
            let what = "it does not begin with the header of this snapshot";
            return Err(io::Error::other(what));
        }
        Ok(Self {
            file,
            offsets: vec![HEADER_BYTES],
            bytes,
        })
    }

    /// Looks at every chunk's length, and whether the last one says so.
    fn check(&mut self) -> io::Result<()> {
        let mut at = HEADER_BYTES;
        loop {
            let next = at + 4 + u64::from(self.length(at)?);
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, at + 4 + LAST_AT)?;
            let is_last = next == self.bytes;
            if (byte == [1]) != is_last {
                let what = if is_last {
                    "it was cut before its last chunk".into()
                } else {
                    format!("bytes follow its last chunk, which is at byte {at}")
                };
                return Err(io::Error::other(what));
            }
            if is_last {
                return Ok(());
            }
            at = next;
        }
    }

    fn chunk(&mut self, sequence: u64) -> io::Result<(Bytes, bool)> {
        let slot = usize::try_from(sequence).map_err(io::Error::other)?;
        while self.offsets.len() <= slot {
            let at = *self.offsets.last().expect("it begins with the first");
            let next = at + 4 + u64::from(self.length(at)?);
            if next == self.bytes {
                let there = self.offsets.len();
                return Err(io::Error::other(format!("it has {there} chunks")));
            }
            self.offsets.push(next);
        }
        let at = self.offsets[slot];
        let length = self.length(at)?;
        let mut chunk = vec![0; length as usize];
        self.file.read_exact_at(&mut chunk, at + 4)?;
        let last = at + 4 + u64::from(length) == self.bytes;
        Ok((chunk.into(), last))
    }

    /// Length of the chunk at `at`, which lies within the file.
    fn length(&self, at: u64) -> io::Result<u32> {
        let mut prefix = [0; 4];
        self.file.read_exact_at(&mut prefix, at)?;
        let length = u32::from_be_bytes(prefix);
        let fits = at + 4 + u64::from(length) <= self.bytes;
        if fits && (CHUNK_BYTES_MIN..=SNAPSHOT_BYTES_MAX).contains(&(length as usize)) {
            Ok(length)
        } else {
            let what = format!("a chunk of {length} bytes at byte {at} is impossible");
            Err(io::Error::other(what))
        }
    }
}

fn parse(name: &str) -> Option<u64> {
    let plain = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| name.parse().ok()).flatten()
}

/// A file that can be offered.
fn check(path: &Path, index: u64) -> io::Result<Complete> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut reader = Reader::open(path, index)?;
    reader.check()?;
    let made = reader.file.metadata()?.modified()?;
    Ok(Complete {
        bytes: reader.bytes,
        made,
    })
}
