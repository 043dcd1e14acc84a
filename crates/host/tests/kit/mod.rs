//! Entries as the host sees them: a header whose lengths add up, and bytes of no meaning.
#![allow(dead_code)] // each test file uses some

pub mod faulty;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use host::storage::{Extent, LedgerFiles, Medium, Options, Place};
use tempfile::TempDir;

pub const SNAPSHOT: u8 = 5;
pub const APPLICATION: u8 = 3;

/// An entry of this kind with `body` bytes after its header and before its tag.
pub fn entry_of(kind: u8, index: u64, body: usize) -> Bytes {
    let mut entry = vec![index.to_le_bytes()[0]; 96 + body + 16];
    entry[..96].fill(0);
    entry[..2].copy_from_slice(&[1, kind]);
    entry[16..24].copy_from_slice(&index.to_be_bytes());
    let public = u32::try_from(body / 3).expect("small");
    let private = u32::try_from(body).expect("small") - public;
    entry[88..92].copy_from_slice(&public.to_be_bytes());
    entry[92..96].copy_from_slice(&private.to_be_bytes());
    entry.into()
}

/// The entry of this index, of a length that differs from its neighbours'.
pub fn entry(index: u64) -> Bytes {
    entry_of(APPLICATION, index, 1 + (index as usize * 7) % 30)
}

pub fn entries(first: u64, count: u64) -> Vec<Bytes> {
    (first..first + count).map(entry).collect()
}

pub const CHUNK_BYTES: u64 = 500;

/// Names and contents of files.
pub type Listing = Vec<(String, Vec<u8>)>;

/// Nothing is pulled out here: what the kernel has is enough, and much faster.
#[derive(Debug)]
struct Unsynced;

impl Medium for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

pub fn options() -> Options {
    Options {
        chunk_bytes: CHUNK_BYTES,
        medium: Arc::new(Unsynced),
        ..Options::default()
    }
}

pub fn open(directory: &Path) -> LedgerFiles {
    LedgerFiles::open(directory, options()).expect("good files")
}

/// The last entry of files that have one run.
pub fn last(files: &LedgerFiles) -> u64 {
    let Extent { last, tail } = files.extent();
    assert_eq!(tail, None);
    last
}

pub fn append(files: &mut LedgerFiles, first: u64, entries: &[Bytes]) {
    files
        .append(first, entries, Place::Following)
        .expect("room");
}

pub fn read(files: &mut LedgerFiles, first: u64, last: u64, bytes_max: u64) -> Vec<Bytes> {
    let reading = files.reading(first, last, bytes_max).expect("there");
    reading.read().expect("readable")
}

/// Names and contents, in order.
pub fn listing(directory: &Path) -> Listing {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|file| {
            let file = file.expect("a file");
            let content = fs::read(file.path()).expect("readable");
            (file.file_name().into_string().expect("text"), content)
        })
        .collect();
    files.sort();
    files
}

pub fn names(directory: &Path) -> Vec<String> {
    listing(directory)
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// Files of entries 1 to `count`, all synced and committed.
pub fn written(directory: &Path, count: u64) -> Listing {
    let mut files = open(directory);
    append(&mut files, 1, &entries(1, count));
    files.sync().expect("a disk");
    files.committed(count).expect("a disk");
    listing(directory)
}

/// The same files elsewhere.
pub fn copied(files: &Listing) -> TempDir {
    let directory = tempdir();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).expect("written");
    }
    directory
}

pub fn tempdir() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}
