//! Agreement on the order of the ledger, behind one trait, so that another engine can be plugged in.
//!
//! An engine is poll-driven and has no I/O, clock or randomness of its own: proposals, messages,
//! ticks and persistence acknowledgements go in through [`Engine`]; what must be sent, persisted and
//! applied comes out as [`Effect`]s in the order in which they must be carried out.
//!
//! [`Raft`] is the engine there is. "Thesis" in comments is Diego Ongaro, "Consensus: Bridging
//! Theory and Practice", Stanford 2014. It differs in one point: term and vote are never stored,
//! because a node that restarts is another node (DESIGN section 6).
//!
//! Why our own: `openraft` (0.9) is asynchronous and takes time, timers and randomness from a
//! runtime; `raft` (TiKV's, 0.7) draws its election timeouts from `rand::thread_rng()`, encodes by a
//! protobuf library, and resumes a stored vote. Here an engine is a value: in an enclave without a
//! clock, and in a simulation that one seed replays.
//!
//! What the engine leaves to its driver: to propose the entry that opens a term when told to, and,
//! whenever [`Engine::configuration`] is joint and [`Engine::may_change`] allows it, the entry made
//! by [`Configuration::leave`], also when the one that began the change was another node's.

mod engine;

// What a node knows, and what it says.
mod configuration;
mod runs;

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
pub use runs::Runs;
