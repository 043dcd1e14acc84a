//! Versioned maps: a committed base, pending layers above it, and the write sets that move between.

mod write_set;

pub use write_set::{Domain, Malformed, Write, WriteSet};
