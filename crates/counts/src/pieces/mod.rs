//! Pieces of the hot path with fixed inputs, each with everything around it in place.
//!
//! What they have as input is made from fixed seeds, so that a piece does the same work every time.

mod enclaves;
mod entries;
mod protocols;

/// Something that is done again and again.
pub trait Piece {
    /// Makes the input of the next run.
    fn prepare(&mut self);

    /// Does it once. Only this is measured.
    fn run(&mut self);
}

/// How a piece is made ready.
pub type Make = fn() -> Box<dyn Piece>;

/// All of them, with the number of transactions (or writes) in one run.
pub const PIECES: &[(&str, u32, Make)] = &[
    // A leader's worker: JSON-RPC batch in; decoded, senders recovered, executed, proposed, committed, answered.
    ("ethereum_lead", 100, || Box::new(protocols::Lead::new())),
    // A follower's worker applies such a batch.
    ("ethereum_apply", 100, || Box::new(protocols::Apply::new())),
    // A worker answers a JSON-RPC batch of `eth_call` to a token's `balanceOf`.
    ("ethereum_call", 100, || Box::new(protocols::Calls::new())),
    // A leader's worker of the key-value protocol: one request with 100 writes.
    ("kv_lead", 100, || Box::new(protocols::Writes::new())),
    // One entry with 100 claims and 32 KiB is sealed; the tree grows by it.
    ("ledger_seal", 100, || Box::new(entries::Seal::new())),
    // It is inspected and opened.
    ("ledger_open", 100, || Box::new(entries::Open::new())),
    // A whole node that leads: TLS in, manager, key-value worker, entry, commit, answers out.
    ("node_round", 64, || Box::new(enclaves::Round::new())),
];
