//! The untrusted side of a validating node: sockets, disk, clock.
//!
//! The host moves bytes and keeps files for the manager enclave, whose word it carries out. It sees
//! ciphertext, sizes and addresses. It may lose, delay or invent anything; the manager is built for
//! that. This crate links neither the crypto nor the ledger crate, so it cannot open an entry.
//!
//! One thread moves messages ([`node`]), one writes the ledger and one reads it ([`disk`]), one keeps
//! snapshots ([`snapshots`]), one answers the metrics port ([`metrics`]), and a short-lived one asks
//! the owner's agent for a signature ([`agent`]). Whoever calls the owner's webhook is told a number
//! (`webhook`).

pub mod agent;
pub mod config;
mod connections;
pub mod disk;
mod link;
pub mod metrics;
mod network;
pub mod node;
pub mod signals;
pub mod snapshots;
mod starting;
pub mod storage;
mod webhook;

pub use config::Config;
pub use node::{Ending, run};
