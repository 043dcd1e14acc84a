//! Limits that more than one crate must agree on. Each says how its number was chosen.

/// Longest message between two processes of a VN. Holds a genesis with some hundred thousand
/// accounts; the next order of magnitude belongs into a snapshot.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Most units (transactions) in one batch. At 27 us of recovery each, a batch of this size keeps
/// one core busy for 0.1 s, past which latency suffers and throughput gains nothing.
pub const BATCH_UNITS_MAX: usize = 4096;

/// Most bytes of units in one batch: a batch is one consensus message, and 4 MiB cross a
/// 10 Gbit/s link in 4 ms.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Largest single unit. Ethereum caps init code at 48 KiB; blobs do not occur; 512 KiB leaves room.
pub const UNIT_BYTES_MAX: usize = 512 << 10;

/// Largest sealed ledger entry, with room for the write set of a full batch.
pub const ENTRY_BYTES_MAX: usize = 60 << 20;

/// Batches that a leader may have in flight. Four covers a sync of 4 ms at one batch a
/// millisecond; more only adds latency and work to undo.
pub const BATCHES_IN_FLIGHT_MAX: u32 = 8;

/// Largest request on the administrative channel (DESIGN section 1).
pub const ADMINISTRATIVE_BYTES_MAX: usize = 64 << 10;

/// Largest request on an application channel: a JSON-RPC batch of 1,000 large transactions.
pub const APPLICATION_REQUEST_BYTES_MAX: usize = 16 << 20;

/// Most connections of one VN. 4 KiB to 64 KiB of TLS state each: 256 MiB at the worst.
pub const CONNECTIONS_MAX: usize = 4096;

/// Largest message on a channel between two VNs.
pub const PEER_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Most actors in a network (`threshold` allows 64 dealers).
pub const ACTORS_MAX: usize = 64;

/// Most validating nodes in a network.
pub const NODES_MAX: usize = 64;

/// How far a leader's ledger time may be from a follower's clock (DESIGN section 4).
pub const LEDGER_TIME_SKEW_MS: u64 = 2_000;

/// Plaintext of one chunk of a snapshot, but for the last: a crossing of a millisecond.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// Calls of external systems that one unit may make. Each suspends it once more.
pub const EXTERNAL_CALLS_MAX: usize = 4;

/// Largest request to an external system, all of its parts together. It becomes part of an entry, where
/// the length of a part has 16 bits.
pub const EXTERNAL_REQUEST_BYTES_MAX: usize = 60 << 10;

/// Header fields of such a request, and of the reply that is read.
pub const EXTERNAL_HEADERS_MAX: usize = 64;

/// Largest reply of an external system, its head included. It becomes part of an entry, and four of
/// them may belong to one unit.
pub const EXTERNAL_REPLY_BYTES_MAX: usize = 256 << 10;
