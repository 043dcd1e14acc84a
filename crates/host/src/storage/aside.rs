//! Files that are taken out of service and kept: nothing that was once committed is deleted here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk::{Chunk, Identity, Name};
use super::failed::{LedgerFailed, failed};
use super::medium::Medium;

/// Why a file is set aside; the end of its new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not what was written: evidence, of which no two take one another's place.
    Damaged,
    /// The manager did not want its entries, or could not reach them. A later one replaces it.
    Removed,
}

/// Ends of names that this makes, and that a reader of the directory passes over.
pub(crate) fn is_aside(name: &str) -> bool {
    let number = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let damaged = name.rsplit_once("-damaged");
    damaged.is_some_and(|(_, rest)| number(rest)) || name.ends_with("-removed")
}

/// Ends of names of files that were not finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with("-part")
}

/// Gives a file a name at which it is kept. Durable once the directory is synced.
pub(crate) fn set_aside(medium: &dyn Medium, path: &Path, why: Why) -> io::Result<PathBuf> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let to = match why {
        Why::Removed => named("-removed"),
        Why::Damaged => {
            let numbered = (2_u32..).map(|number| named(&format!("-damaged-{number}")));
            std::iter::once(named("-damaged"))
                .chain(numbered)
                .find(|to| fs::symlink_metadata(to).is_err())
                .expect("some number is free")
        }
    };
    medium.rename(path, &to)?;
    Ok(to)
}

/// Sets the file of a chunk aside and puts its counted entries into an open one in its place. A
/// chunk without entries leaves none, and false is given.
pub(crate) fn keep_prefix(
    medium: &dyn Medium,
    directory: &Path,
    path: &Path,
    chunk: &mut Chunk,
    why: Why,
) -> Result<(bool, PathBuf), LedgerFailed> {
    if chunk.count == 0 {
        let aside = set_aside(medium, path, why).map_err(failed("set aside", path))?;
        return Ok((false, aside));
    }
    let part = directory.join(format!("{:020}-part", chunk.first));
    let copy = copy_prefix(medium, path, &part, chunk.bytes).map_err(failed("copy", path))?;
    let aside = set_aside(medium, path, why).map_err(failed("set aside", path))?;
    let first = chunk.first;
    let open = Name::Open { first }.path(directory);
    medium.rename(&part, &open).map_err(failed("make", &open))?;
    medium
        .sync_directory(directory)
        .map_err(failed("sync the directory", directory))?;
    let metadata = copy.metadata().map_err(failed("look at", &open))?;
    chunk.identity = Identity::of(&metadata);
    chunk.file = Some(Arc::new(copy));
    chunk.closed = false;
    Ok((true, aside))
}

fn copy_prefix(medium: &dyn Medium, from: &Path, to: &Path, bytes: u64) -> io::Result<File> {
    let mut copy = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    let mut from = File::open(from)?.take(bytes);
    let copied = io::copy(&mut from, &mut copy)?;
    if copied != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    copy.seek(SeekFrom::Start(0))?;
    medium.sync(&copy)?;
    Ok(copy)
}
