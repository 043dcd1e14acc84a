//! Versioned maps: a committed base, pending layers above it, and the write sets that move between.
//!
//! A [`Store`] holds numbered domains. What consensus has committed is the base; each batch that is
//! executed and not committed yet is a layer above it, so that a leader can execute the next batch
//! before the last one is durable. A [`Transaction`] is the working copy of one batch.
//!
//! A state can be frozen and read in pieces, keys in order, while batches go on: a snapshot.
//!
//! Deliberately absent: persistence (the ledger is the only durable thing), threads, and any order
//! that comes from a hash table.

mod blocks;
mod write_set;

mod base;
mod frozen;
mod layer;
mod store;
mod transaction;

pub use frozen::Item;

pub use blocks::{Cursor, put_block16, put_block32};
pub use store::{Layout, OutOfOrder, Reader, Store};
pub use transaction::Transaction;
pub use write_set::{Domain, KEY_BYTES_MAX, Malformed, Write, WriteSet};
