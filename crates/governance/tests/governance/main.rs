//! Governance as its users see it: text in, verdicts out, entries replayed.

mod world;

mod admission;
mod commands;
mod constitution;
mod replay;
