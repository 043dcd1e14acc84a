//! The snapshot files of a node: their framing, which is all that can be checked without keys.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use ledger::snapshot::{BEGIN_BYTES, BadFile, Framing};
use ledger::{Fault, Problem, Verdict};
use types::Index;

use super::name;
use crate::failure::{Doing, Failure};

/// What came of looking at a file beside the chunks.
pub(super) enum Found {
    /// A whole snapshot file; what is in it is sealed.
    Framed,
    /// Not a snapshot that counts, and why.
    Passed(&'static str),
    Wrong(Box<Problem>),
}

/// Why a file with this name does not count, if the node named it so.
pub(super) fn aside(name: &str) -> Option<&'static str> {
    if name.contains("-damaged") {
        Some("the node set it aside as damaged")
    } else if name.ends_with("-removed") {
        Some("the node set it aside when it had no use for it")
    } else if name.ends_with("-part") {
        Some("the node had not finished it")
    } else {
        None
    }
}

/// The index that a snapshot file is named for.
pub(super) fn index(name: &str) -> Option<Index> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    let index = digits.then(|| name.parse().ok()).flatten().map(Index)?;
    (index != Index::ZERO).then_some(index)
}

/// Checks one file, with a chunk of it in memory at a time.
pub(super) fn check(path: &Path, verdict: &Verdict) -> Result<Found, Failure> {
    let file = name(path);
    if let Some(why) = aside(&file) {
        return Ok(Found::Passed(why));
    }
    let Some(index) = index(&file) else {
        return Ok(Found::Passed("its name is not that of a snapshot"));
    };
    let doing = || format!("read {}", path.display());
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).doing(doing)?);
    let mut offset = 0;
    let framed = frame(&mut reader, index, &mut offset).doing(doing)?;
    let stranger = verdict.entries > 0
        && index <= verdict.last
        && !verdict.snapshots.contains_key(&index)
        && !verdict
            .missing
            .iter()
            .any(|(first, last)| (first..=last).contains(&&index));
    let what = match framed {
        Err(bad) => Fault::SnapshotFile(bad),
        Ok(()) if stranger => Fault::NoSnapshot(index),
        Ok(()) => return Ok(Found::Framed),
    };
    Ok(Found::Wrong(Box::new(Problem {
        file: format!("snapshots/{file}"),
        offset,
        index,
        what,
    })))
}

/// Reads to the end of the file or to what is wrong; `offset` is where that begins.
fn frame(
    reader: &mut impl Read,
    index: Index,
    offset: &mut u64,
) -> std::io::Result<Result<(), BadFile>> {
    let mut begin = [0; BEGIN_BYTES];
    if read(reader, &mut begin)? < BEGIN_BYTES {
        return Ok(Err(BadFile::Incomplete));
    }
    let mut framing = match Framing::new(index, &begin) {
        Ok(framing) => framing,
        Err(bad) => return Ok(Err(bad)),
    };
    *offset = BEGIN_BYTES as u64; // 16
    let mut chunk = Vec::new();
    loop {
        let mut four = [0; 4];
        match read(reader, &mut four)? {
            0 => return Ok(framing.finish().map(drop)),
            4 => {}
            _ => return Ok(Err(BadFile::Incomplete)),
        }
        let length = match framing.length(four) {
            Ok(length) => length,
            Err(bad) => return Ok(Err(bad)),
        };
        chunk.resize(length, 0);
        if read(reader, &mut chunk)? < length {
            return Ok(Err(BadFile::Incomplete));
        }
        if let Err(bad) = framing.chunk(&chunk) {
            return Ok(Err(bad));
        }
        *offset += 4 + length as u64; // usize is at most 64 bits
    }
}

/// Fills the buffer as far as the file goes.
fn read(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
