//! `coco ledger`: reads, audits, exports and backs up the chunk files of a ledger, from the files
//! alone.
//!
//! Files are never changed. A tail that a crash cut off is reported as such, with an exit code of
//! its own; a starting node drops it and fetches it again.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use ledger::{Kind, chunk};

use crate::failure::{Code, Doing, Failure};

mod opened;
mod show;

mod rules;
mod snapshots;
mod verify;

mod copy;

mod export;

mod store;

mod backup;
mod restore;

/// Largest chunk file that is read: the size at which one is closed, one entry of the largest size,
/// and room.
const CHUNK_BYTES_MAX: u64 = 128 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Lists the entries
    Show(show::Show),
    /// Checks chain, Merkle tree, signatures and governance, and says what it could not check
    Verify(verify::Verify),
    /// Prints a line of JSON for each entry and each transaction
    Export(export::Export),
    /// Copies the files into an object store, also while the node runs
    Backup(backup::Backup),
    /// Brings a backup back into an empty directory
    Restore(restore::Restore),
}

pub(crate) use copy::{Copy, SignedRoot};

pub(crate) fn run(command: &LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Show(arguments) => show::run(arguments),
        LedgerCommand::Verify(arguments) => verify::run(arguments),
        LedgerCommand::Export(arguments) => export::run(arguments),
        LedgerCommand::Backup(arguments) => backup::run(arguments),
        LedgerCommand::Restore(arguments) => restore::run(arguments),
    }
}

/// What lies in a node's directory.
struct Files {
    /// The chunk files in the order of their entries.
    chunks: Vec<PathBuf>,
    /// Files beside them that are no chunks.
    others: Vec<PathBuf>,
    /// The snapshot files, by index.
    snapshots: Vec<PathBuf>,
}

impl Files {
    /// Lists a directory of chunk files, or a node's directory with `ledger` and `snapshots` in it.
    fn list(given: &Path) -> Result<Self, Failure> {
        let inside = ["ledger", "data/ledger"]
            .map(|inside| given.join(inside))
            .into_iter()
            .find(|inside| inside.is_dir());
        let directory = inside.as_deref().unwrap_or(given);
        let mut found = Vec::new();
        let mut others = Vec::new();
        for path in listing(directory)? {
            match chunk::Name::parse(&name(&path)) {
                Some(name) => found.push((name, path)),
                None => others.push(path),
            }
        }
        found.sort();
        let beside = directory.parent().map(|parent| parent.join("snapshots"));
        let snapshots = match beside.filter(|beside| beside.is_dir()) {
            Some(beside) => listing(&beside)?,
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err(Failure::input(format!(
                "{} holds no chunk files (such as {:020}-open)",
                directory.display(),
                1
            )));
        }
        let chunks = found.into_iter().map(|(_, path)| path).collect();
        Ok(Self {
            chunks,
            others,
            snapshots,
        })
    }
}

/// The files of a directory, sorted by name.
fn listing(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let doing = || format!("read the directory {}", directory.display());
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory).doing(doing)? {
        let path = file.doing(doing)?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a chunk file; `Err(bytes)` inside when it is larger than any chunk. One that was open when
/// it was listed may have been closed, and so renamed, by a running node since.
fn read_chunk(path: &Path) -> Result<Result<Bytes, u64>, Failure> {
    let doing = || format!("read {}", path.display());
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let closed = closed_since(path).ok_or(error).doing(doing)?;
            File::open(closed).doing(doing)?
        }
        opened => opened.doing(doing)?,
    };
    let bytes = file.metadata().doing(doing)?.len();
    if bytes > CHUNK_BYTES_MAX {
        return Ok(Err(bytes));
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    let mut limited = (&mut file).take(CHUNK_BYTES_MAX);
    limited.read_to_end(&mut content).doing(doing)?;
    Ok(Ok(content.into()))
}

/// The closed chunk that begins as this open one did.
fn closed_since(path: &Path) -> Option<PathBuf> {
    let open = chunk::Name::parse(&name(path)).filter(|name| name.last.is_none())?;
    let begins = |path: &PathBuf| {
        chunk::Name::parse(&name(path)).is_some_and(|name| name.first == open.first)
    };
    listing(path.parent()?).ok()?.into_iter().find(begins)
}

/// Reads a chunk file that is to be shown, not judged.
fn read_sound(path: &Path) -> Result<Bytes, Failure> {
    let large = |bytes| wrong(path, &format!("{bytes} bytes are no chunk"));
    read_chunk(path)?.map_err(large)
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> Failure {
    let text = format!(
        "{}: {what}; `coco ledger verify` says what is right",
        path.display()
    );
    Failure::new(Code::Wrong, text)
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Genesis => "genesis".into(),
        Kind::TermOpened => "term opened".into(),
        Kind::Administrative => "administrative".into(),
        Kind::Application { protocol, height } => format!("protocol {protocol}, batch {height}"),
        Kind::Signature => "signature".into(),
        Kind::Snapshot => "snapshot".into(),
        Kind::SnapshotDigest => "snapshot digest".into(),
    }
}
