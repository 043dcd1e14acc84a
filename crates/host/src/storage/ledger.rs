//! The ledger's files: chunks of complete entries, byte-identical on every validating node.
//!
//! Entries lie in one run from index 1 on, or in two: a node that began with a snapshot has a second
//! run, the *tail*, apart from the lower one, until appends to the lower run close the gap.
//!
//! A chunk is closed (renamed) once all its entries are committed; until then it may be truncated,
//! and several open chunks may exist. A closed chunk never changes: if its entries are to go, its
//! file is set aside.
//!
//! Before anything is written or acknowledged, the open chunk's name must still lead to the file
//! that this process made: a file that was replaced, deleted or cut ends the node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::aside::{self, Why};
use super::chunk::{CHUNK_BYTES, Chunk, HEADER_BYTES, Name, ends_chunk, header, is_entry};
use super::failed::{LedgerFailed, failed};
use super::medium::{Kernel, Medium, write_all};
use super::opening::{Finding, Opening};
use super::reading::{Part, Reading};
use super::space::{Meter, Space};

/// Closed chunks whose files stay open for reading, and in the kernel's cache: 512 MiB. The rest leaves both. A
/// ledger is written for ever and its past is seldom read, so that left to the kernel it would fill the machine's
/// memory, and each new page costs more than one that was in use a moment ago.
const OPEN_FILES_MAX: usize = 64;

/// How the ledger's files are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size at which a chunk ends; smaller in tests.
    pub chunk_bytes: u64,
    pub medium: Arc<dyn Medium>,
    /// Bytes of the disk that are kept free.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk_bytes: CHUNK_BYTES,
            medium: Arc::new(Kernel),
            reserve_bytes: 0,
        }
    }
}

/// Which entries are here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Last of those that follow one another from index 1; 0 if there is none.
    pub last: u64,
    /// First and last of those apart.
    pub tail: Option<(u64, u64)>,
}

/// Whether an append may begin a run of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Following,
    Detached,
}

/// Which files are set aside rather than deleted when their entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Those whose entries were committed.
    Closed,
    All,
}

/// The ledger directory, open for appending.
#[derive(Debug)]
pub struct LedgerFiles {
    directory: PathBuf,
    options: Options,
    space: Arc<Space>,
    meter: Meter,
    /// Of both runs, by first index.
    chunks: BTreeMap<u64, Chunk>,
    /// Of all of them.
    bytes: u64,
    extent: Extent,
    /// Where a tail begins that lay here at the start and that the manager has not gone on with.
    unused: Option<u64>,
    /// What the manager has said to this process.
    committed: u64,
    /// First indices of chunks that were written since the last sync.
    dirty: BTreeSet<u64>,
    /// First indices of chunks that are not closed.
    open: BTreeSet<u64>,
    /// Closed chunks with an open file, the latest last.
    readable: VecDeque<u64>,
    findings: Vec<Finding>,
}

impl LedgerFiles {
    /// Opens the directory, making it if there is none. What no crash explains is set aside, the
    /// good entries are offered; see [`LedgerFiles::findings`].
    ///
    /// # Errors
    /// [`LedgerFailed`]: the disk fails, or cannot be written.
    pub fn open(directory: &Path, options: Options) -> Result<Self, LedgerFailed> {
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
        let parent = directory.parent().filter(|at| !at.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let medium = options.medium.clone();
        medium
            .sync_directory(parent)
            .map_err(failed("sync the directory", parent))?;
        let opening = Opening {
            medium: &*medium,
            directory,
            chunk_bytes: options.chunk_bytes,
        };
        let found = opening.open()?;
        let open = found.chunks.values().filter(|chunk| !chunk.closed);
        let open: BTreeSet<u64> = open.map(|chunk| chunk.first).collect();
        let space = Arc::new(Space::new(medium, directory, options.reserve_bytes));
        let bytes = found.chunks.values().map(|chunk| chunk.bytes).sum();
        let mut this = Self {
            directory: directory.to_owned(),
            bytes,
            meter: Meter::new(space.clone()),
            space,
            options,
            chunks: found.chunks,
            extent: Extent::default(),
            unused: None,
            committed: 0,
            // What a crash left unsynced is synced before anything is said about it.
            dirty: open.clone(),
            open,
            readable: VecDeque::new(),
            findings: found.findings,
        };
        this.find_runs()?;
        this.sync()?;
        Ok(this)
    }

    /// The lower run and the last one; what lies between is of no use to the manager.
    fn find_runs(&mut self) -> Result<(), LedgerFailed> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for chunk in self.chunks.values() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == chunk.first => *last = chunk.last(),
                _ => runs.push((chunk.first, chunk.last())),
            }
        }
        let mut runs = VecDeque::from(runs);
        if let Some((_, last)) = runs.pop_front_if(|(first, _)| *first == 1) {
            self.extent.last = last;
        }
        self.extent.tail = runs.pop_back();
        self.unused = self.extent.tail.map(|(first, _)| first);
        for (first, last) in runs {
            tracing::error!(
                first,
                last,
                "{}: entries are missing before and after these; they are set aside and fetched \
                 again from other nodes",
                self.directory.display()
            );
            self.remove(first, last, Keep::All)?;
        }
        Ok(())
    }

    /// What was found wrong with the files when they were opened.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Which entries are here.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The room on its disk.
    pub fn space(&self) -> Arc<Space> {
        self.space.clone()
    }

    /// Whether anything could be appended.
    ///
    /// # Errors
    /// [`LedgerFailed::Full`].
    pub fn check_room(&self) -> Result<(), LedgerFailed> {
        Meter::new(self.space.clone()).take(0)
    }

    /// Bytes and number of all chunk files in service.
    pub fn size(&self) -> (u64, u64) {
        (self.bytes, self.chunks.len() as u64) // usize is at most 64 bits
    }

    /// Writes entries after the last one of a run. They are durable after [`LedgerFiles::sync`].
    ///
    /// # Errors
    /// [`LedgerFailed`]. What was written of these entries is unknown then.
    pub fn append(
        &mut self,
        first: u64,
        entries: &[Bytes],
        place: Place,
    ) -> Result<(), LedgerFailed> {
        let Some(last) = (entries.len() as u64).checked_sub(1) else {
            return Ok(());
        };
        let last = first.saturating_add(last);
        self.give_way(first, last)?;
        let Extent { last: lower, tail } = self.extent;
        let is_lower = first == lower + 1 && tail.is_none_or(|(tail, _)| last < tail);
        let is_tail = tail.is_some_and(|(_, tail)| first == tail + 1);
        let begins = tail.is_none() && place == Place::Detached && first > lower;
        if !(is_lower || is_tail || begins) {
            return Err(LedgerFailed::Gap {
                last: lower,
                tail,
                found: first,
            });
        }
        for (entry, index) in entries.iter().zip(first..) {
            if !is_entry(entry) {
                let bytes = entry.len();
                return Err(LedgerFailed::Framing { index, bytes });
            }
        }
        let bytes = entries.iter().map(|entry| 4 + entry.len() as u64).sum();
        self.meter.take(bytes)?;
        self.write(first, entries)?;
        self.extent = match tail {
            Some((tail_first, tail_last)) if is_lower && last + 1 == tail_first => Extent {
                last: tail_last,
                tail: None,
            },
            _ if is_lower => Extent { last, tail },
            _ => Extent {
                last: lower,
                tail: Some((tail.map_or(first, |(tail, _)| tail), last)),
            },
        };
        Ok(())
    }

    /// A tail that nobody has gone on with gives way to a lower run that grows into it.
    fn give_way(&mut self, first: u64, last: u64) -> Result<(), LedgerFailed> {
        let Extent { last: lower, tail } = self.extent;
        let Some(unused) = self.unused else {
            return Ok(());
        };
        let highest = tail.map_or(lower, |(_, last)| last);
        if first == highest + 1 {
            self.unused = None;
            return Ok(());
        }
        // Before they became one run, and after.
        let grows = tail.is_some() && first == lower + 1 && last >= unused;
        if grows || (tail.is_none() && first == unused) {
            self.remove(unused, highest, Keep::Closed)?;
            self.extent.last = lower.min(unused - 1);
            self.extent.tail = None;
            self.unused = None;
        }
        Ok(())
    }

    fn write(&mut self, first: u64, entries: &[Bytes]) -> Result<(), LedgerFailed> {
        let mut rest = entries;
        let mut next = first;
        while !rest.is_empty() {
            let (chunk_bytes, medium) = (self.options.chunk_bytes, self.options.medium.clone());
            let first = self.chunk_for(next)?;
            let path = Name::Open { first }.path(&self.directory);
            let chunk = self.chunks.get_mut(&first).expect("just looked up");
            chunk
                .is_in_place(&self.directory)
                .map_err(|what| LedgerFailed::Changed {
                    path: path.clone(),
                    what,
                })?;
            let from = chunk.bytes;
            let mut lengths = Vec::with_capacity(rest.len());
            for entry in rest {
                let length = u32::try_from(entry.len()).expect("below the entry limit");
                lengths.push(length.to_be_bytes());
                let bytes = chunk.bytes + 4 + u64::from(length);
                chunk.count_entry(bytes, ends_chunk(entry, bytes, chunk_bytes));
                if chunk.full {
                    break;
                }
            }
            self.bytes += chunk.bytes - from;
            let (now, later) = rest.split_at(lengths.len());
            let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(2 * now.len());
            for (length, entry) in lengths.iter().zip(now) {
                parts.extend([IoSlice::new(length), IoSlice::new(entry)]);
            }
            self.dirty.insert(first);
            let file = chunk.file.as_ref().expect("an open chunk has its file");
            write_all(&*medium, file, from, &mut parts).map_err(failed("append to", &path))?;
            next += now.len() as u64; // usize is at most 64 bits
            rest = later;
        }
        Ok(())
    }

    /// The chunk into which entry `index` goes, by its first index.
    fn chunk_for(&mut self, index: u64) -> Result<u64, LedgerFailed> {
        if let Some((first, chunk)) = self.chunks.range(..index).next_back()
            && chunk.last() + 1 == index
            && !chunk.closed
            && !chunk.full
        {
            return Ok(*first);
        }
        // So that a crash can tear the last chunk of a run only.
        self.sync()?;
        let path = Name::Open { first: index }.path(&self.directory);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("make", &path))?;
        let begin = header(index);
        let medium = &*self.options.medium;
        write_all(medium, &file, 0, &mut [IoSlice::new(&begin)]).map_err(failed("write", &path))?;
        medium
            .sync_directory(&self.directory)
            .map_err(failed("sync the directory", &self.directory))?;
        let chunk = Chunk::new(file, index).map_err(failed("look at", &path))?;
        self.bytes += chunk.bytes;
        self.chunks.insert(index, chunk);
        self.open.insert(index);
        self.dirty.insert(index);
        Ok(index)
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`LedgerFailed`]. After a failed sync the kernel may have forgotten the data; nothing may be
    /// acknowledged any more, and a second attempt proves nothing.
    pub fn sync(&mut self) -> Result<(), LedgerFailed> {
        while let Some(first) = self.dirty.first() {
            let chunk = &self.chunks[first];
            let path = chunk.name().path(&self.directory);
            let file = chunk.file.as_ref().expect("an open chunk has its file");
            let medium = &*self.options.medium;
            medium.sync(file).map_err(failed("sync", &path))?;
            // What is synced must also be found again.
            chunk
                .is_in_place(&self.directory)
                .map_err(|what| LedgerFailed::Changed { path, what })?;
            self.dirty.pop_first();
        }
        Ok(())
    }

    /// Removes entry `from` and all after it in its run, durably; all entries of both runs if `from`
    /// is 1.
    ///
    /// # Errors
    /// [`LedgerFailed`], also if this process was told that one of them is committed.
    pub fn truncate(&mut self, from: u64) -> Result<(), LedgerFailed> {
        let Extent { last, tail } = self.extent;
        let tail_first = tail.map_or(u64::MAX, |(first, _)| first);
        if from == 1 {
            self.committed = 0;
            self.remove(1, u64::MAX, Keep::Closed)?;
            self.unused = None;
            self.extent = Extent::default();
            return Ok(());
        }
        // While there is a tail, the manager may still be checking the lower run.
        let told = from <= self.committed && (from >= tail_first || self.committed <= last);
        if from == 0 || told {
            return Err(LedgerFailed::RemovesCommitted {
                index: from,
                committed: self.committed,
            });
        }
        let lower_only = tail.is_some() && from <= last;
        self.unused = self.unused.filter(|unused| lower_only || from > *unused);
        if from <= last {
            self.remove(from, last, Keep::Closed)?;
            self.extent.last = from - 1;
        } else if let Some((first, last)) = tail
            && from <= last
        {
            self.remove(from.max(first), last, Keep::Closed)?;
            self.extent.tail = (from > first).then_some((first, from - 1));
        }
        Ok(())
    }

    /// Takes out entries `from` to `last`, with which a run ends.
    fn remove(&mut self, from: u64, last: u64, keep: Keep) -> Result<(), LedgerFailed> {
        while let Some((&first, chunk)) = self.chunks.range_mut(..=last).next_back()
            && chunk.last() >= from
        {
            let path = chunk.name().path(&self.directory);
            let keep = chunk.closed || keep == Keep::All;
            if first >= from {
                if keep {
                    aside::set_aside(&*self.options.medium, &path, Why::Removed)
                        .map_err(failed("set aside", &path))?;
                } else {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
                self.bytes -= chunk.bytes;
                self.chunks.remove(&first);
                self.open.remove(&first);
                self.dirty.remove(&first);
                self.sync_directory()?;
            } else {
                let file = chunk.file(&self.directory).map_err(failed("open", &path))?;
                let at = Part::of(chunk, file.clone(), from, from)
                    .locate()
                    .map_err(failed("read", &path))?;
                self.bytes -= chunk.bytes - at;
                chunk.forget(from, at);
                if keep {
                    let (medium, why) = (&*self.options.medium, Why::Removed);
                    aside::keep_prefix(medium, &self.directory, &path, chunk, why)?;
                    self.open.insert(first);
                } else {
                    file.set_len(at).map_err(failed("cut", &path))?;
                    let medium = &*self.options.medium;
                    medium.sync(&file).map_err(failed("sync", &path))?;
                }
            }
            if keep {
                tracing::warn!(
                    "{}: entries from {from} on are taken out; the file is kept with -removed at the \
                     end of its name",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// Entries up to `upto` are committed: chunks that are full and below are closed.
    ///
    /// # Errors
    /// [`LedgerFailed`].
    pub fn committed(&mut self, upto: u64) -> Result<(), LedgerFailed> {
        let highest = self.extent.tail.map_or(self.extent.last, |(_, last)| last);
        self.committed = self.committed.max(upto.min(highest));
        self.close_committed()
    }

    /// Closes chunks that are full, synced and committed.
    ///
    /// # Errors
    /// [`LedgerFailed`].
    pub fn close_committed(&mut self) -> Result<(), LedgerFailed> {
        let may_close = |first: &&u64| {
            let chunk = &self.chunks[*first];
            let next = chunk.last() + 1;
            (chunk.full || self.chunks.contains_key(&next))
                && chunk.last() <= self.committed
                && !self.dirty.contains(*first)
        };
        let closing: Vec<u64> = self.open.iter().filter(may_close).copied().collect();
        for first in &closing {
            let chunk = self.chunks.get_mut(first).expect("open chunks are chunks");
            let from = chunk.name().path(&self.directory);
            chunk
                .is_in_place(&self.directory)
                .map_err(|what| LedgerFailed::Changed {
                    path: from.clone(),
                    what,
                })?;
            chunk.closed = true;
            let to = chunk.name().path(&self.directory);
            let medium = &*self.options.medium;
            medium.rename(&from, &to).map_err(failed("close", &from))?;
            self.open.remove(first);
            self.keep_readable(*first);
        }
        if closing.is_empty() {
            Ok(())
        } else {
            self.sync_directory()
        }
    }

    /// Which parts of which files hold entries `first` to `last`, as many as `bytes_max` allows but
    /// at least one. Entries that are not there are left out, and so are those behind a gap.
    ///
    /// # Errors
    /// The place of a chunk that cannot be opened any more, and why.
    pub fn reading(&mut self, first: u64, last: u64, bytes_max: u64) -> Result<Reading, String> {
        let Extent { last: lower, tail } = self.extent;
        let mut index = first.max(1);
        let last = match tail {
            Some((tail_first, tail_last)) if index >= tail_first => last.min(tail_last),
            _ => last.min(lower),
        };
        let mut parts = Vec::new();
        let mut bytes = 0;
        while index <= last && bytes <= bytes_max {
            let within = self.chunks.range(..=index).next_back();
            let first = *within.expect("a run has no gap").0;
            let chunk = self.chunks.get_mut(&first).expect("just found");
            let path = chunk.name().path(&self.directory);
            let file = chunk
                .file(&self.directory)
                .map_err(|error| format!("open {}: {error}", path.display()))?;
            if chunk.closed {
                self.keep_readable(first);
            }
            let chunk = &self.chunks[&first];
            let part = Part::of(chunk, file, index, last.min(chunk.last()));
            index = chunk.last() + 1;
            bytes += chunk.bytes - HEADER_BYTES;
            if parts.is_empty() {
                // The first may begin anywhere in its chunk.
                bytes = 0;
            }
            parts.push(part);
        }
        Ok(Reading::new(self.directory.clone(), parts, bytes_max))
    }

    /// Remembers that this closed chunk's file is open; the one longest unused is shut.
    fn keep_readable(&mut self, first: u64) {
        self.readable.retain(|one| *one != first);
        self.readable.push_back(first);
        if self.readable.len() > OPEN_FILES_MAX
            && let Some(old) = self.readable.pop_front()
            && let Some(chunk) = self.chunks.get_mut(&old)
            && chunk.closed
            && let Some(file) = chunk.file.take()
        {
            self.options.medium.uncache(&file);
        }
    }

    fn sync_directory(&self) -> Result<(), LedgerFailed> {
        self.options
            .medium
            .sync_directory(&self.directory)
            .map_err(failed("sync the directory", &self.directory))
    }
}
