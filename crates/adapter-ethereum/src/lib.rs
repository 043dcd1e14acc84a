//! The Ethereum protocol in a worker enclave: revm under, JSON-RPC above.
//!
//! * [`machine`]: the rules over versioned maps. The same inputs give the same writes on every VN.
//! * [`front()`]: Ethereum JSON-RPC for wallets, libraries and tools.
//! * [`Settings`]: a network's genesis and rules, as JSON.
//!
//! A network's settings are its genesis, in the shape other clients use:
//!
//! ```
//! let settings = adapter_ethereum::Settings::parse(br#"{
//!     "chainId": 31337,
//!     "fork": "osaka",
//!     "gasLimit": "0x3938700",
//!     "alloc": {
//!         "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266": { "balance": "0x21e19e0c9bab2400000" }
//!     }
//! }"#).expect("well formed");
//! assert!(!settings.is_replay());
//! ```
//!
//! `fork` is cancun, prague or osaka; an account may have `nonce`, `code` or `codeHash` (with the
//! code under `codes`), and `storage`. [`dev::settings`] gives a sandbox its ten accounts. `replay`
//! holds the environment of a foreign block, for tests and the benchmark only.
//!
//! What is deliberately absent: a mempool (the worker's pool is generic), fees, mining, peer-to-peer
//! networking, and user keys.

mod access;
mod ask;
mod batch;
mod block;
mod checks;
mod codes;
mod execute;
mod eyes;
mod front;
mod gate;
mod guarded;
mod machine;
mod overlay;
mod past;
mod principal;
mod reading;
mod receipt;
mod settings;
mod state;
pub mod system;
mod trace;
mod transaction;
mod trie;
mod veil;
mod visibility;

pub mod dev;

use std::sync::Arc;

pub use access::{AccessSettings, Limits, Unchecked, readers};
pub use block::{Stored as StoredHeader, header};
pub use principal::{Carrier, Principal, Roles};
pub use receipt::{Receipt, Status};
pub use settings::{
    Alloc, Fork, Profile, Replay, Roots, Rules, Settings, TRANSACTION_GAS_CAP, Unusable,
};
pub use state::{
    ACCOUNT, AccountRecord, CODE, HEADER, META, STORAGE, account, code, domains, storage,
};
pub use transaction::{Envelope, TRANSACTION_BYTES_MAX, Transaction};
#[doc(hidden)]
pub use visibility::Leak;

/// The deterministic half. It takes its settings at genesis and reads them from the state later.
pub fn machine() -> Arc<dyn adapter::Machine> {
    Arc::new(machine::Ethereum::default())
}

/// As [`machine`], with threads for the execution of batches. The outcome is the same.
pub fn machine_spread(spread: Arc<dyn adapter::Spread>) -> Arc<dyn adapter::Machine> {
    Arc::new(machine::Ethereum::spread(spread))
}

/// The half that speaks JSON-RPC. `key` makes the names of filters unguessable: 32 random bytes,
/// different for every start.
pub fn front(key: [u8; 32]) -> Box<dyn adapter::Front> {
    Box::new(front::EthereumFront::new(key))
}

/// As [`front()`], with a known leak put back. Needs the feature `mutations`.
#[doc(hidden)]
#[cfg(any(test, feature = "mutations"))]
pub fn leaking(key: [u8; 32], leak: Leak) -> Box<dyn adapter::Front> {
    Box::new(front::EthereumFront::new(key).leaking(leak))
}

/// Makes the curve library draw its random numbers now. It draws them once, when it is first used,
/// and in a statically linked image by opening a file, which an enclave's sandbox refuses.
pub fn prepare() {
    let _: &secp256k1::Secp256k1<secp256k1::All> = secp256k1::SECP256K1;
}
