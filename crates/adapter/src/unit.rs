//! A unit of work, who asked for it, and what became of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use types::{ActorId, Height, Index, Millis, Term, UnitId};

use crate::{Answer, Claim, Env, Event, ExternalCall};

/// Whether an actor governs (member) or only takes part (participant).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Member,
    Participant,
}

/// The actor on whose behalf something is asked. The manager supplies it from the certificate of
/// the channel; nothing that a client or a worker says can change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    pub actor: ActorId,
    pub name: Arc<str>,
    pub role: Role,
    /// May read everything; each use is recorded.
    pub auditor: bool,
}

impl Caller {
    /// True of a connection without an actor's certificate. It has no rights of its own; a protocol that
    /// serves it ([`crate::Front::serves_nobody`]) lets it prove who it is.
    pub fn is_nobody(&self) -> bool {
        self.actor == ActorId([0; 32])
    }
}

/// What `Machine::admit` decoded, kept in memory so that execution on the same VN need not decode
/// again. Never serialised: a unit that was forwarded or replayed has none.
#[derive(Clone, Default)]
pub struct Memo(pub Option<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Memo(decoded)"
        } else {
            "Memo(none)"
        })
    }
}

/// How the pool may order a unit, given by [`crate::Machine::admit`].
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Identity: submitting the same id twice commits it once.
    pub id: UnitId,
    /// Units of one lane run in the order of `lane_seq` without gaps (Ethereum: sender and nonce).
    /// An empty lane means that order does not matter.
    pub lane: Bytes,
    pub lane_seq: u64,
    /// The sequence number that the lane expects next in committed state, as `admit` saw it.
    pub lane_next: u64,
    /// Units that must be applied before this one (Sawtooth dependencies).
    pub after: Vec<UnitId>,
    /// What `admit` established and need not be established again, such as the recovered sender.
    /// At most 256 bytes. It travels with the unit and is recorded in the ledger.
    pub established: Bytes,
    pub memo: Memo,
}

/// A protocol's own atomic thing: an Ethereum transaction, a Sawtooth batch, a key-value command.
#[derive(Debug, Clone)]
pub struct Unit {
    pub id: UnitId,
    pub caller: ActorId,
    pub raw: Bytes,
    /// [`Ticket::established`], from the VN that admitted the unit.
    pub established: Bytes,
    pub memo: Memo,
    /// What systems outside answered, in the order in which the unit called them. Part of the entry.
    pub answers: Vec<Answer>,
}

/// What executing a unit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is part of the ledger. A reverted Ethereum transaction is applied, too.
    Applied { receipt: Bytes },
    /// It leaves nothing behind: no write, no entry.
    Rejected(Reject),
    /// It needs the answer of a system outside, which is not among [`Unit::answers`]. It leaves nothing
    /// behind, and is executed again when the answer has come.
    Suspended(Box<ExternalCall>),
}

/// Why a unit or a request was refused. Goes back to the client as data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Reject {
    pub kind: Kind,
    /// Says what to do. Never repeats what the caller did not send.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cannot be decoded, or breaks a limit.
    Malformed,
    /// The caller may not do this.
    Unauthorized,
    /// Already applied or already waiting.
    Duplicate,
    /// Could become valid later, such as a nonce gap. The pool keeps it.
    Later,
    /// Well formed and not valid in the present state.
    Invalid,
    /// The adapter's own failure.
    Fault,
    /// The node takes no more work now: try again later.
    Busy,
}

impl Reject {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// The state is gone: this VN lost leadership, or the worker is being detached. Unwind and forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state this ran on is gone")]
pub struct Lost;

/// One committed batch: what the ledger keeps of it. An Ethereum block.
#[derive(Debug, Clone)]
pub struct Batch {
    pub height: Height,
    pub env: Env,
    pub claim: Claim,
    /// Units in order, each with the receipt that its execution gave.
    pub units: Vec<(Unit, Bytes)>,
    pub events: Vec<Event>,
    /// Where the batch stands in the ledger. Known once committed.
    pub index: Index,
    pub term: Term,
    pub time: Millis,
}
