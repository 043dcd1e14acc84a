//! Bytecode, analysed once.
//!
//! Finding a contract's jump targets costs more than a typical call of it. Code is named by its own
//! hash, so an entry can never be wrong, whatever is rolled back; the cache is emptied when full.

#![expect(
    clippy::disallowed_types,
    reason = "a machine is shared, and this cache changes no result"
)]

use std::sync::{Mutex, PoisonError};

use adapter::Lost;
use alloy_primitives::B256;
use bytes::Bytes;
use hashbrown::HashMap;
use revm::bytecode::Bytecode;

/// Bytes of code held. A contract has at most 24 KiB, so this is room for the thousands that a
/// consortium has in use.
const BYTES_MAX: usize = 64 << 20;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Codes(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    codes: HashMap<B256, Bytecode>,
}

impl Codes {
    /// The code of this hash, read by `load` if it is not here. Code that is nowhere is empty.
    pub(crate) fn find(
        &self,
        hash: B256,
        load: impl FnOnce() -> Result<Option<Bytes>, Lost>,
    ) -> Result<Bytecode, Lost> {
        if let Some(code) = self.held().codes.get(&hash) {
            return Ok(code.clone());
        }
        let Some(bytes) = load()? else {
            return Ok(Bytecode::default());
        };
        let code = analyse(bytes);
        self.keep(hash, &code);
        Ok(code)
    }

    pub(crate) fn keep(&self, hash: B256, code: &Bytecode) {
        let mut held = self.held();
        if held.bytes > BYTES_MAX {
            *held = Held::default();
        }
        held.bytes += code.len();
        held.codes.insert(hash, code.clone());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // A panic while the map was locked left it whole: insertions are the only change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Code that only looks like an EIP-7702 delegation (possible before EIP-3541) is ordinary code.
pub(crate) fn analyse(bytes: Bytes) -> Bytecode {
    let bytes = alloy_primitives::Bytes::from(bytes);
    Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes))
}
