//! A system outside the network, and a protocol whose units ask it.
//!
//! The oracle speaks real TLS and HTTP. Each connection it treats as chance decides: it answers, answers
//! late, stays silent, says too much, talks nonsense, hangs up, or is somebody else with another key. It
//! remembers every question by its idempotency key, so that a repeated call that asks for something else
//! is found.

mod asking;
mod oracle;

pub use asking::asking;
pub use oracle::{ADDRESS, Manner, Oracles, Says, endpoint};
