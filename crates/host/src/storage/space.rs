//! Room on the disk, and the reserve below which nothing is written any more.
//!
//! A disk that is full at an arbitrary moment harms everybody on it. So a node stops in good order
//! while a reserve is still free, and says so long before: from twice the reserve down it warns and
//! stores no snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::failed::LedgerFailed;
use super::medium::Medium;

/// Bytes that may be written before the kernel is asked again, if there is no reserve.
const WRITTEN_BYTES_MAX: u64 = 4 << 20;

/// How old the kernel's answer may be: others write to this disk, too.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The room on one disk, shared by whoever writes there or reports it.
#[derive(Debug)]
pub struct Space {
    medium: Arc<dyn Medium>,
    directory: PathBuf,
    reserve_bytes: u64,
    warned: AtomicBool,
}

impl Space {
    /// The room where `directory` is.
    pub fn new(medium: Arc<dyn Medium>, directory: &Path, reserve_bytes: u64) -> Self {
        Self {
            medium,
            directory: directory.to_owned(),
            reserve_bytes,
            warned: AtomicBool::new(false),
        }
    }

    /// Bytes that are free now; warns when they become few.
    ///
    /// # Errors
    /// The kernel's.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let free_bytes = self.medium.free_bytes(&self.directory)?;
        let few = free_bytes < self.reserve_bytes.saturating_mul(2);
        if few != self.warned.swap(few, Relaxed) {
            let (directory, reserve_bytes) = (self.directory.display(), self.reserve_bytes);
            if few {
                tracing::warn!(
                    free_bytes,
                    reserve_bytes,
                    "{directory}: the disk is filling up. No snapshot is stored, and below the \
                     reserve this node stops: make room"
                );
            } else {
                tracing::info!(free_bytes, "{directory}: there is room again");
            }
        }
        Ok(free_bytes)
    }

    /// Bytes that are kept free.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Whether a snapshot may be stored.
    ///
    /// # Errors
    /// Why not, for whoever reads the log.
    pub fn has_room_for_snapshots(&self) -> Result<(), String> {
        match self.free_bytes() {
            Ok(free_bytes) if free_bytes < self.reserve_bytes.saturating_mul(2) => Err(format!(
                "{free_bytes} bytes are free, less than twice the reserve of {}; make room",
                self.reserve_bytes
            )),
            // A kernel that cannot say so will say so when it is written to.
            _ => Ok(()),
        }
    }
}

/// Asks for room now and then, for one writer.
#[derive(Debug)]
pub(crate) struct Meter {
    space: Arc<Space>,
    looked: Option<Instant>,
    left_bytes: u64,
}

impl Meter {
    pub(crate) fn new(space: Arc<Space>) -> Self {
        Self {
            space,
            looked: None,
            left_bytes: 0,
        }
    }

    /// `bytes` are about to be written.
    ///
    /// # Errors
    /// [`LedgerFailed::Full`].
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), LedgerFailed> {
        let stale = self.looked.is_none_or(|looked| looked.elapsed() > AGE_MAX);
        if stale || bytes > self.left_bytes {
            // A kernel that cannot say how much is free will say so when it is written to.
            let free_bytes = self.space.free_bytes().unwrap_or(u64::MAX);
            let reserve_bytes = self.space.reserve_bytes;
            if free_bytes < reserve_bytes.saturating_add(bytes) && reserve_bytes > 0 {
                return Err(LedgerFailed::Full {
                    path: self.space.directory.clone(),
                    free_bytes,
                    reserve_bytes,
                });
            }
            self.looked = Some(Instant::now());
            let spare = free_bytes - reserve_bytes.min(free_bytes);
            self.left_bytes = spare.min(WRITTEN_BYTES_MAX.max(bytes));
        }
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        Ok(())
    }
}
