//! Who sees what: the one place where a confidentiality policy plugs in.
//!
//! The transparent profile: everything is public within the network. Every look-up of the front
//! asks here before it answers, so that a stricter profile changes this file and no other.

use adapter::{Access, Action, Caller};
use alloy_primitives::{Address, Log};

/// The runtime's question, for every submission, query and receipt.
pub(crate) fn authorize(_caller: &Caller, _action: Action<'_>) -> Access {
    Access::Allow
}

/// What a caller may see of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Sight;

impl Sight {
    pub(crate) fn of(_caller: &Caller) -> Self {
        Self
    }

    /// A transaction, its receipt, its place in a block.
    pub(crate) fn transaction(&self, _sender: &Address, _to: Option<&Address>) -> bool {
        true
    }

    /// One log.
    pub(crate) fn log(&self, _log: &Log) -> bool {
        true
    }

    /// Balance, nonce, code and storage of an account.
    pub(crate) fn account(&self, _address: &Address) -> bool {
        true
    }
}
