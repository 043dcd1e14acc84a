//! The system calls that change a disk, in one place, so that a test can make each of them fail.
//!
//! Files are real in every test; only what the kernel answers is replaced. Reading is not here: a
//! test damages real bytes for that.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::Path;

/// What a disk can be asked to change, and how much room it has.
pub trait Medium: Debug + Send + Sync {
    /// Writes some of `parts` at `at`; gives how many bytes.
    ///
    /// # Errors
    /// The kernel's.
    fn write(&self, file: &File, at: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::pwritev(file, parts, at)?)
    }

    /// Makes what was written to a file durable.
    ///
    /// # Errors
    /// The kernel's, which may have forgotten the data then.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Says that the bytes of a file, which were synced, are not wanted for long: the kernel may give back the
    /// memory in which it keeps them.
    fn uncache(&self, file: &File) {
        // Advice: without it the kernel gives the memory back when it has no other left.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Makes names in a directory durable.
    ///
    /// # Errors
    /// The kernel's.
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// The kernel's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Bytes that an ordinary user may still write where this directory is.
    ///
    /// # Errors
    /// The kernel's.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(directory)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

/// The disk as the kernel has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Medium for Kernel {}

/// Writes all of `parts` at `at`.
///
/// # Errors
/// The medium's.
pub(crate) fn write_all(
    medium: &dyn Medium,
    file: &File,
    at: u64,
    parts: &mut [IoSlice<'_>],
) -> io::Result<()> {
    let (mut at, mut parts) = (at, parts);
    while !parts.is_empty() {
        // The kernel takes at most 1,024 parts at once.
        let some = parts.len().min(1024);
        match medium.write(file, at, &parts[..some]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64; // usize is at most 64 bits
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
