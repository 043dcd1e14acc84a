//! What a run is to be, and what it came to.

use std::collections::BTreeMap;

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Places for nodes; by default three, in one seed of four a fourth and perhaps a fifth that join
    /// while things go wrong.
    pub nodes: Option<usize>,
    pub clients: u64,
    /// The world goes on at least this long, in events, and until leadership has changed.
    pub events_min: u64,
    /// So often the power fails everywhere, or at so many places that no quorum is left.
    pub blackouts: u64,
    /// Units call a system outside, which is not always well.
    pub outside: bool,
    /// A mistake to put back.
    #[cfg(feature = "mutations")]
    pub mutation: Option<manager::Mutation>,
    /// Keep one line per event.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: None,
            clients: 3,
            events_min: 2_000,
            blackouts: 0,
            outside: false,
            #[cfg(feature = "mutations")]
            mutation: None,
            trace: false,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub nodes: u64,
    pub events: u64,
    pub entries: u64,
    pub leader_changes: u64,
    pub acknowledged: u64,
    pub attempts: u64,
    pub restarts: u64,
    /// Entries that restarted nodes had on their disks, and kept.
    pub entries_reused: u64,
    /// How often the network went on after it had lost its quorum.
    pub network_restarts: u64,
    /// Entries that nodes fetched before they became voters.
    pub entries_fetched: u64,
    /// Snapshot files that hosts were given.
    pub snapshots_taken: u64,
    /// Snapshot files that hosts read out to the end, for a restart or for another node.
    pub snapshots_used: u64,
    pub receipts_verified: u64,
    /// Entries and chunks that a host altered, on its disk before a start or while they were read.
    pub corruptions_tried: u64,
    /// Of these, how many the manager dropped, asked for again or ended over; the others lay where
    /// nobody reads.
    pub corruptions_detected: u64,
    /// Batches that were executed again from the ledger, and came to the same.
    pub batches_replayed: u64,
    /// Questions that a system outside was asked more than once.
    pub calls_repeated: u64,
    /// What the world did, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Digest of the trace: the same for the same seed.
    pub trace_digest: String,
    pub trace: Vec<String>,
}

/// A run that broke a promise.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed}, event {event}: {what}\nreplay it with: coco sim --seed {seed} --trace")]
pub struct Failure {
    pub seed: u64,
    pub event: u64,
    pub what: String,
    pub trace: Vec<String>,
}
