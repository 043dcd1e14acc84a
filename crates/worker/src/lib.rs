//! The worker enclave: runs one blockchain protocol through its adapter.
//!
//! [`Worker`] is a synchronous value. The manager's messages go in; proposals, answers to clients and
//! requests to the manager come out. It has no clock, thread, socket, file or randomness of its own, so
//! the same worker runs under the launcher and in the simulator.
//!
//! One batch is one message up (`Propose`) and one down (`Commit`); nothing crosses for a single key.
//! A follower applies write sets and does not execute. [`replay`] executes a batch again and compares.
//!
//! Deliberately absent: ledger keys, identities, votes, administrative tables. A worker that a client
//! has taken over can lie about its protocol's state and no more.

mod body;
mod catalogue;
mod convert;
mod entropy;
mod execution;
mod history;
mod recent;
mod replay;

mod core;
mod external;
mod following;
mod leading;
mod migrating;
mod pool;
mod refusing;

mod restore;
mod snapshot;

mod exchanges;
mod streams;
mod worker;

pub mod solo;

pub use body::{Body, ESTABLISHED_BYTES_MAX, Migration, Recorded};
pub use execution::{Executed, Execution, State};
pub use pool::PoolLimits;
pub use replay::{Mismatch, replay};
pub use worker::Worker;
