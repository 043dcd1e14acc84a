//! A disk that fails when it is told to. The files are real.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use host::storage::{Kernel, Medium};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// What still works; everything does at first.
#[derive(Debug)]
pub struct Faulty {
    /// Bytes that can be written before the disk is full.
    pub write_bytes: AtomicU64,
    /// Syncs that succeed.
    pub syncs: AtomicU64,
    pub free_bytes: AtomicU64,
    /// Syncs wait here, if anybody holds them.
    held: Mutex<Option<Receiver<()>>>,
}

impl Faulty {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            write_bytes: AtomicU64::new(u64::MAX),
            syncs: AtomicU64::new(u64::MAX),
            free_bytes: AtomicU64::new(u64::MAX),
            held: Mutex::new(None),
        })
    }

    /// From now on, each sync waits for a word.
    pub fn hold_syncs(&self) -> Sender<()> {
        let (go, held) = channel();
        *self.held.lock().expect("nobody panicked") = Some(held);
        go
    }
}

/// Takes up to `wanted` of what is left.
fn take(left: &AtomicU64, wanted: u64) -> u64 {
    let before = left.fetch_update(SeqCst, SeqCst, |left| Some(left - wanted.min(left)));
    before.expect("always some").min(wanted)
}

impl Medium for Faulty {
    fn write(&self, file: &File, at: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let some = take(&self.write_bytes, bytes.len() as u64) as usize;
        if some == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Kernel.write(file, at, &[IoSlice::new(&bytes[..some])])
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        if let Some(held) = &*self.held.lock().expect("nobody panicked") {
            // Whoever held it may have gone; then nothing waits.
            let _ = held.recv();
        }
        if take(&self.syncs, 1) == 0 {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free_bytes.load(SeqCst))
    }
}
