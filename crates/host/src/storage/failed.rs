//! What can go wrong with the ledger's files: place, reason, and what the operator is to do.

use std::io;
use std::path::{Path, PathBuf};

use types::limits::ENTRY_BYTES_MAX;

use super::chunk::ENTRY_BYTES_MIN;

/// What went wrong with the ledger's files. The validating node ends with this reason.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFailed {
    #[error("{doing} {path}: {source}; {}", advice(doing, source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{path} {what} while this node was running; nothing further is acknowledged. Find out who \
         changes this directory, then start the node again: it checks its files and fetches the rest"
    )]
    Changed { path: PathBuf, what: String },
    #[error(
        "{path}: {free_bytes} bytes are free, less than the reserve of {reserve_bytes}; make room or \
         lower disk_reserve_mib, then start the node again: it fetches what it missed"
    )]
    Full {
        path: PathBuf,
        free_bytes: u64,
        reserve_bytes: u64,
    },
    #[error(
        "entry {found} was to be appended, but the entries here end with {last}{}",
        tail_text(tail)
    )]
    Gap {
        last: u64,
        tail: Option<(u64, u64)>,
        found: u64,
    },
    #[error("entry {index} cannot be removed: entries up to {committed} are committed")]
    RemovesCommitted { index: u64, committed: u64 },
    #[error(
        "entry {index} has {bytes} bytes; {ENTRY_BYTES_MIN} to {ENTRY_BYTES_MAX} are allowed, \
         and its header must agree"
    )]
    Framing { index: u64, bytes: usize },
}

fn tail_text(tail: &Option<(u64, u64)>) -> String {
    tail.map_or(String::new(), |(first, last)| {
        format!(", and those apart are {first} to {last}")
    })
}

/// What an operator does about an error of the kernel.
fn advice(doing: &str, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::WriteZero => {
            "make room or raise the limit, then start the node again: it fetches what it missed"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "make the directory and its files writable for the host's user, then start the node again"
        }
        _ if doing.starts_with("sync") => {
            "the disk may have lost what was written, so nothing further is acknowledged. Check the \
             device, then start the node again: it checks its files and fetches the rest"
        }
        _ => "check the disk, then start the node again: it checks its files and fetches the rest",
    }
}

/// An error of the kernel with what was being done.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerFailed {
    let path = path.to_owned();
    move |source| LedgerFailed::Io {
        doing,
        path,
        source,
    }
}
