//! What a starting host makes of the files that it finds: the good ones are offered to the manager,
//! whatever no crash explains is set aside and reported with its place.
//!
//! The manager opens and checks every entry that it uses, and fetches from other nodes what is
//! missing. So damage costs bytes and not the node; but it is never passed over in silence, and the
//! damaged file is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::aside::{self, Why};
use super::chunk::{Chunk, End, HEADER_BYTES, Name, header, scan};
use super::failed::{LedgerFailed, failed};
use super::medium::Medium;

/// Something that a starting host found wrong with a file, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// First entry that is lost by it, as far as the host can tell.
    pub index: u64,
    /// Where in the file.
    pub at: u64,
    pub what: String,
    /// Where the file is kept; none if only the torn end of an append was dropped.
    pub aside: Option<PathBuf>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, index, at) = (self.path.display(), self.index, self.at);
        write!(f, "{path}: entry {index}, byte {at}: {}; ", self.what)?;
        match &self.aside {
            None => write!(f, "dropped, it was never acknowledged"),
            Some(aside) => write!(
                f,
                "kept as {}. What is missing is fetched from other nodes. Find out what changed the \
                 file; delete the kept one when nobody needs it as evidence",
                aside.display()
            ),
        }
    }
}

/// Good chunks by first index, and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) chunks: BTreeMap<u64, Chunk>,
    pub(crate) findings: Vec<Finding>,
}

struct Candidate {
    name: Name,
    chunk: Chunk,
    end: End,
}

pub(crate) struct Opening<'a> {
    pub(crate) medium: &'a dyn Medium,
    pub(crate) directory: &'a Path,
    pub(crate) chunk_bytes: u64,
}

impl Opening<'_> {
    /// Looks at every file of the directory.
    ///
    /// # Errors
    /// [`LedgerFailed`]: the disk fails, or this process may not read or write there.
    pub(crate) fn open(&self) -> Result<Found, LedgerFailed> {
        self.prove_writable()?;
        let mut found = Found::default();
        let mut best: Option<Candidate> = None;
        for name in self.list()? {
            let candidate = self.look(name)?;
            let Some(before) = best.take() else {
                best = Some(candidate);
                continue;
            };
            let last = |one: &Candidate| one.chunk.last();
            if candidate.name.first() > last(&before) {
                self.settle(before, &mut found)?;
                best = Some(candidate);
            } else {
                // Two files hold the same entry: the longer one is tried.
                let (kept, other) = if last(&candidate) > last(&before) {
                    (candidate, before)
                } else {
                    (before, candidate)
                };
                let what = format!("{} holds the same entries", shown(&kept.name));
                self.give_up(other.name, what, &mut found)?;
                best = Some(kept);
            }
        }
        if let Some(last) = best {
            self.settle(last, &mut found)?;
        }
        self.sync_directory()?;
        Ok(found)
    }

    /// A directory that cannot be written is noticed before anything is promised.
    fn prove_writable(&self) -> Result<(), LedgerFailed> {
        let path = self.directory.join("probe-part");
        let probe = || {
            let file = fs::File::create(&path)?;
            file.write_all_at(b"probe", 0)?;
            fs::remove_file(&path)
        };
        probe().map_err(failed("write to", &path))
    }

    fn list(&self) -> Result<Vec<Name>, LedgerFailed> {
        let failed = || failed("list", self.directory);
        let mut names = Vec::new();
        for file in fs::read_dir(self.directory).map_err(failed())? {
            let path = file.map_err(failed())?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            match name.map(|name| (name, Name::parse(name))) {
                Some((_, Some(name))) => names.push(name),
                Some((name, None)) if aside::is_unfinished(name) => {
                    fs::remove_file(&path).map_err(super::failed::failed("remove", &path))?;
                }
                Some((name, None)) if aside::is_aside(name) => {}
                _ => tracing::warn!("{} is no chunk of the ledger; passed over", path.display()),
            }
        }
        names.sort_by_key(|name| (name.first(), matches!(name, Name::Open { .. })));
        Ok(names)
    }

    /// Counts the good entries of a file.
    fn look(&self, name: Name) -> Result<Candidate, LedgerFailed> {
        let path = name.path(self.directory);
        let metadata = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
        if !metadata.is_file() {
            let source = io::Error::other("it is no ordinary file: remove it");
            return Err(failed("open", &path)(source));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let first = name.first();
        let mut chunk = Chunk::new(file, first).map_err(failed("look at", &path))?;
        chunk.closed = matches!(name, Name::Closed { .. });
        let bytes = metadata.len();
        let end = self.count(&mut chunk, bytes);
        let end = end.unwrap_or_else(|error| End::Damaged(format!("it cannot be read: {error}")));
        Ok(Candidate { name, chunk, end })
    }

    fn count(&self, chunk: &mut Chunk, bytes: u64) -> io::Result<End> {
        if bytes < HEADER_BYTES {
            return Ok(End::Torn);
        }
        let mut begin = [0; 16];
        let file = chunk.file.clone().expect("just opened");
        file.read_exact_at(&mut begin, 0)?;
        if begin != header(chunk.first) {
            // Zeros alone are what some file systems leave of a header.
            return Ok(if bytes == HEADER_BYTES && begin == [0; 16] {
                End::Torn
            } else {
                End::Damaged("it does not begin with the header of this chunk".into())
            });
        }
        scan(chunk, bytes, self.chunk_bytes)
    }

    /// Decides about a file.
    fn settle(&self, candidate: Candidate, found: &mut Found) -> Result<(), LedgerFailed> {
        let Candidate {
            name,
            mut chunk,
            end,
        } = candidate;
        let path = name.path(self.directory);
        let last = chunk.last();
        let what = match (name, end) {
            (Name::Closed { last: named, .. }, End::Whole) if named != last => {
                Some(format!("its last entry is {last}"))
            }
            (Name::Closed { .. }, End::Torn) => Some("incomplete entry in a closed chunk".into()),
            (_, End::Damaged(what)) => Some(what),
            (Name::Open { .. }, End::Torn) => return self.drop_torn(&path, chunk, found),
            (_, End::Whole) if chunk.count == 0 => return self.drop_torn(&path, chunk, found),
            (_, End::Whole) => None,
        };
        if let Some(what) = what {
            let (index, at) = (last + 1, chunk.bytes);
            let (medium, why) = (self.medium, Why::Damaged);
            let (kept, aside) = aside::keep_prefix(medium, self.directory, &path, &mut chunk, why)?;
            self.report(path, index, at, what, Some(aside), found);
            if !kept {
                return Ok(());
            }
        } else if chunk.closed {
            chunk.file = None;
        }
        found.chunks.insert(chunk.first, chunk);
        Ok(())
    }

    fn drop_torn(&self, path: &Path, chunk: Chunk, found: &mut Found) -> Result<(), LedgerFailed> {
        let (index, at) = (chunk.last() + 1, chunk.bytes);
        if chunk.count == 0 {
            fs::remove_file(path).map_err(failed("remove", path))?;
        } else {
            let file = chunk.file.clone().expect("just opened");
            file.set_len(at).map_err(failed("cut", path))?;
            self.medium.sync(&file).map_err(failed("sync", path))?;
            found.chunks.insert(chunk.first, chunk);
        }
        let what = "torn end of an append".to_owned();
        self.report(path.to_owned(), index, at, what, None, found);
        Ok(())
    }

    /// Takes a whole file out of service.
    fn give_up(&self, name: Name, what: String, found: &mut Found) -> Result<(), LedgerFailed> {
        let path = name.path(self.directory);
        let aside = aside::set_aside(self.medium, &path, Why::Damaged)
            .map_err(failed("set aside", &path))?;
        self.report(path, name.first(), 0, what, Some(aside), found);
        Ok(())
    }

    fn report(
        &self,
        path: PathBuf,
        index: u64,
        at: u64,
        what: String,
        aside: Option<PathBuf>,
        found: &mut Found,
    ) {
        let finding = Finding {
            path,
            index,
            at,
            what,
            aside,
        };
        if finding.aside.is_some() {
            tracing::error!("{finding}");
        } else {
            tracing::warn!("{finding}");
        }
        found.findings.push(finding);
    }

    fn sync_directory(&self) -> Result<(), LedgerFailed> {
        self.medium
            .sync_directory(self.directory)
            .map_err(failed("sync the directory", self.directory))
    }
}

fn shown(name: &Name) -> String {
    name.path(Path::new("")).display().to_string()
}
