//! What a blockchain protocol implements to run in a worker enclave.
//!
//! Two halves (white paper, "Blockchain protocol adapter"; `docs/adapters.md`):
//!
//! * [`Machine`] is synchronous and has no I/O and no clock. A leader, a follower, a validator, the
//!   simulator and a fuzzer need nothing else. The same inputs give the same write set everywhere.
//! * [`Front`] speaks to clients: it turns a request into an [`Exchange`] that the worker polls until
//!   it has its answer. A bug in a parser costs the worker and not the keys, which live in the manager.
//!
//! Deliberately absent: a way to name an administrative table, a ledger key or another protocol's state.

mod exchange;
mod external;
mod machine;
mod spread;
mod state;
mod unit;

pub use exchange::{
    Body, Context, Exchange, Fate, Front, Missing, NotYet, Progress, Push, Request, Response,
    StreamId,
};
pub use external::{Answer, ExternalCall, ExternalFailure, ExternalReply, answer_to};
pub use machine::{
    Access, Action, Claim, Descriptor, DomainSpec, Env, Event, Filed, Layout, Machine,
    NOTE_BYTES_MAX, Settings,
};
pub use spread::Spread;
pub use state::{Exec, Savepoint, View};
pub use unit::{Batch, Caller, Kind, Lost, Memo, Outcome, Reject, Role, Ticket, Unit};

pub use kv::Domain;
