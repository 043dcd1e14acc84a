//! The trait, and what goes in and comes out.

use std::collections::BTreeSet;

use bytes::Bytes;
use types::{Index, Millis, NodeId, Term};

/// Who votes and who only receives. While `incoming` is there the configuration is joint
/// (Raft thesis 4.3): every decision needs a majority of `voters` and a majority of `incoming`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    pub voters: BTreeSet<NodeId>,
    pub incoming: Option<BTreeSet<NodeId>>,
    pub learners: BTreeSet<NodeId>,
}

/// One entry of the replicated log. The payload is a sealed ledger entry, opaque to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub term: Term,
    pub index: Index,
    pub payload: Bytes,
    /// The entry changes the configuration; in force from when it is appended (thesis 4.1).
    pub configuration: Option<Configuration>,
}

/// A message to another node's engine: encoded, opaque to who carries it; `Debug` says it in a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(pub Bytes);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows `leader` in `term`, or knows none.
    /// A node that only asks whether it would be elected (pre-vote, thesis 9.6) is still this.
    Follower { term: Term, leader: Option<NodeId> },
    /// Asks for votes, or was elected and waits for the entry that opens its term to commit.
    Candidate { term: Term },
    /// Elected, and everything earlier is committed and was given out by [`Effect::Commit`]. Comes
    /// only after the entry that the leader appended for its own term has committed.
    Leader { term: Term },
}

/// What the driver must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give it to the node over an authenticated channel. It may get lost.
    Send { to: NodeId, message: Message },
    /// Remove this index and all after it from storage. Never at or below the commit index.
    Truncate { from: Index },
    /// Write and sync; then call [`Engine::persisted`] (the driver may group several).
    Append { entries: Vec<LogEntry> },
    /// A follower needs entries that are no longer in memory: call [`Engine::supply`] with them.
    Load {
        node: NodeId,
        first: Index,
        last: Index,
    },
    /// All entries up to here are committed, for ever. Those after the previous `Commit` are to be
    /// applied; the engine keeps them in memory until [`Engine::applied`].
    Commit { upto: Index },
    /// This node's role or its idea of the leader changed.
    Role(Role),
    /// Elected: the driver makes and proposes the entry that opens the term (thesis 6.4) at once.
    OpenTerm { term: Term },
    /// The answer to [`Engine::read_index`]: once `index` is applied, state is linearizable.
    ReadReady { request: u64, index: Index },
    /// The read cannot be answered here and now; ask again.
    ReadRefused { request: u64 },
}

/// The node is not the leader of that term (any more), or does not take this proposal now: then
/// `leader` is the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the leader of this term")]
pub struct NotLeader {
    pub leader: Option<NodeId>,
}

/// How long things take. The election timeout is drawn between `election_ms` and twice of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_ms: u64,
}

impl Default for Timing {
    /// One site: a lost leader is replaced in 300 to 600 ms, a busy one is not deposed by a
    /// stall of a few disk syncs.
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_ms: 300,
        }
    }
}

/// An engine of consensus. Every method appends to `out` what is to be done.
pub trait Engine {
    fn id(&self) -> NodeId;

    /// Time passes. Call at least every `heartbeat_ms / 2`.
    fn tick(&mut self, now: Millis, out: &mut Vec<Effect>);

    /// The index and term that [`Engine::propose`] will take next, if this node leads.
    fn next(&self) -> Option<(Term, Index)>;

    /// Appends an entry that carries exactly the term and index of [`Engine::next`]. One that
    /// changes the configuration is refused unless [`Engine::may_change`].
    ///
    /// # Errors
    /// [`NotLeader`]: nothing was appended.
    fn propose(&mut self, entry: LogEntry, out: &mut Vec<Effect>) -> Result<(), NotLeader>;

    /// A message from an authenticated node. Bytes that are no message are ignored.
    fn receive(&mut self, now: Millis, from: NodeId, message: Message, out: &mut Vec<Effect>);

    /// Entries up to here, and with this term at that index, are on disk. Late news about entries
    /// since replaced by others are ignored; the driver itself drops news of a write that it began
    /// before an [`Effect::Truncate`] at or below `upto` (the same entry may come back).
    fn persisted(&mut self, term: Term, upto: Index, out: &mut Vec<Effect>);

    /// Entries that [`Effect::Load`] asked for, in order, perhaps fewer (some MiB are plenty). Their
    /// `configuration` need not be filled in.
    fn supply(&mut self, node: NodeId, entries: Vec<LogEntry>, out: &mut Vec<Effect>);

    /// The driver is done with entries up to here; memory of them may go, but for those that
    /// followers still need soon.
    fn applied(&mut self, upto: Index);

    /// An entry that is still in memory.
    fn entry(&self, index: Index) -> Option<&LogEntry>;

    /// Asks for a linearizable read (thesis 6.4); a follower asks its leader.
    fn read_index(&mut self, request: u64, out: &mut Vec<Effect>);

    /// Hands leadership to another voter (thesis 3.10).
    ///
    /// # Errors
    /// [`NotLeader`], also when a hand-over is already under way.
    fn transfer(&mut self, to: NodeId, out: &mut Vec<Effect>) -> Result<(), NotLeader>;

    /// Campaigns at once although others hear the leader: the driver found the leader unfit, such
    /// as one whose ledger time lags (DESIGN section 4). Does nothing but on a voter that follows.
    fn depose(&mut self, out: &mut Vec<Effect>);

    /// Whether an entry with this configuration may be proposed now: this node leads, its term is
    /// open, the change before is committed, and the step is one of those that are safe. See
    /// [`Configuration::change`] and [`Configuration::leave`], which make such steps.
    fn may_change(&self, to: &Configuration) -> bool;

    fn role(&self) -> Role;
    fn configuration(&self) -> &Configuration;
    fn committed(&self) -> Index;
    fn last(&self) -> (Term, Index);
    /// Leader only: the index known to be on `node`'s disk.
    fn matched(&self, node: NodeId) -> Option<Index>;
}
