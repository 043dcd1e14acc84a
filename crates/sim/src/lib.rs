//! A whole network in one thread from one seed: real managers, real workers with a real adapter, real
//! TLS, simulated hosts, network, disks and clocks.
//!
//! Source: DESIGN section 10. A run draws everything that a hostile or unlucky world decides (delays,
//! lost connections, altered bytes, partitions, crashes, slow, full, old and corrupted disks, wrong
//! clocks, nodes that come later) from one seed, checks the invariants after every step, then heals the
//! world and checks that all acknowledged transactions are on every node. The same seed gives the same
//! trace; a failure prints the command that replays it.
//!
//! [`regions`] asks another question with the real consensus engine alone: what distance and number cost.
//!
//! TLS and signatures draw randomness of their own; it changes bytes and never a decision, and no byte
//! of ciphertext is in the trace.

mod report;
mod world;

mod check;

mod client;
mod proof;

mod disk;
mod network;
mod node;
mod outside;
mod random;

pub mod regions;

pub use report::{Failure, Options, Report};
pub use world::run;

/// One node of a network, for harnesses that play the world themselves.
#[doc(hidden)]
pub mod parts {
    pub use crate::network::{Consortium, START, address};
    pub use crate::node::Node;
    pub use crate::outside::asking;
}
