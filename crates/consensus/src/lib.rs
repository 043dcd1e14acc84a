//! Agreement on the order of the ledger, behind one trait, so that another engine can be plugged in.
//!
//! An engine is poll-driven and has no I/O, clock or randomness of its own: proposals, messages,
//! ticks and persistence acknowledgements go in through [`Engine`]; what must be sent, persisted and
//! applied comes out as [`Effect`]s in the order in which they must be carried out.
//!
//! [`Raft`] is the engine there is. "Thesis" in comments is Diego Ongaro, "Consensus: Bridging
//! Theory and Practice", Stanford 2014. It differs in one point: term and vote are never stored,
//! because a node that restarts is another node (DESIGN section 6).

mod engine;

// What a node knows, and what it says.
mod configuration;
mod log;
mod message;
mod progress;
mod wire;

// What it does.
mod raft;

mod election;

mod replication;

mod following;

mod membership;

mod reads;

mod mutation;

#[cfg(test)]
mod traps;

pub use engine::{Configuration, Effect, Engine, LogEntry, Message, NotLeader, Role, Timing};
pub use log::Start;
#[doc(hidden)]
pub use mutation::Mutation;
pub use raft::Raft;
