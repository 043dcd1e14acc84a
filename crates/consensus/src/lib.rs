//! Agreement on the order of the ledger, behind one trait, so that another engine can be plugged in.
//!
//! An engine is poll-driven and has no I/O, clock or randomness of its own: proposals, messages,
//! ticks and persistence acknowledgements go in through [`Engine`]; what must be sent, persisted and
//! applied comes out as [`Effect`]s in the order in which they must be carried out.

mod engine;

pub use engine::{
    Configuration, Effect, Engine, LogEntry, Message, NotLeader, Role, Timing,
};
