//! Governance as its users see it: text in, verdicts out, entries replayed.

mod world;

mod script;

mod admission;
mod commands;
mod constitution;
mod replay;

mod audits;
mod changes;
mod consequences;
mod messages;
mod polls;
mod refusals;
mod share_keys;
mod shares;
mod standing;
mod votes;
