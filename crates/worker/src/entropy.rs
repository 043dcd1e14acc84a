//! Entropy of a batch, derived from the seed that came with leadership.
//!
//! The seed is 32 secret random bytes from the manager, used for nothing else. With inputs of fixed
//! length, SHA-256 over context, seed and height is a pseudo-random function of the height.

use sha2::{Digest as _, Sha256};
use types::Height;

const CONTEXT: &[u8] = b"coco/worker/batch-entropy/1";

const GENESIS: &[u8] = b"coco/worker/genesis-entropy/1";

/// The entropy of the first state: secret, and the same on every node, as the worker's key is.
pub(crate) fn genesis_entropy(worker_key: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(GENESIS)
        .chain_update(worker_key)
        .finalize()
        .into()
}

/// The entropy of the batch of `height` made under this seed.
pub(crate) fn batch_entropy(seed: &[u8; 32], height: Height) -> [u8; 32] {
    Sha256::new()
        .chain_update(CONTEXT)
        .chain_update(seed)
        .chain_update(height.0.to_be_bytes())
        .finalize()
        .into()
}
