//! The Ethereum protocol in a worker enclave: revm under, JSON-RPC above.
//!
//! * [`machine`]: the rules over versioned maps. The same inputs give the same writes on every VN.
//! * [`front()`]: Ethereum JSON-RPC for wallets, libraries and tools.
//! * [`Settings`]: a network's genesis and rules, as JSON.
//!
//! What is deliberately absent: a mempool (the worker's pool is generic), fees, mining, peer-to-peer
//! networking, and user keys.

mod block;
mod codes;
mod execute;
mod front;
mod machine;
mod overlay;
mod receipt;
mod settings;
mod state;
mod transaction;
mod visibility;

pub mod dev;

use std::sync::Arc;

pub use block::{Stored as StoredHeader, header};
pub use receipt::{Receipt, Status};
pub use settings::{Alloc, Fork, Profile, Replay, Rules, Settings, TRANSACTION_GAS_CAP, Unusable};
pub use state::{
    ACCOUNT, AccountRecord, CODE, HASH, HEADER, LOGS, META, STORAGE, account, code, domains,
    storage,
};
pub use transaction::{Envelope, TRANSACTION_BYTES_MAX, Transaction};

/// The deterministic half. It takes its settings at genesis and reads them from the state later.
pub fn machine() -> Arc<dyn adapter::Machine> {
    Arc::new(machine::Ethereum::default())
}

/// The half that speaks JSON-RPC. `key` makes the names of filters unguessable: 32 random bytes,
/// different for every start.
pub fn front(key: [u8; 32]) -> Box<dyn adapter::Front> {
    Box::new(front::EthereumFront::new(key))
}
