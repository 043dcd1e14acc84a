//! The deterministic half of an adapter.

use core::ops::RangeInclusive;

use bytes::Bytes;
use kv::Domain;
use types::{Digest, Height, Millis};

use crate::{Batch, Caller, Exec, Lost, Outcome, Reject, Ticket, Unit, View};

/// How a domain is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Point access only.
    Hashed,
    /// Also [`View::scan`].
    Ordered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    pub domain: Domain,
    pub name: &'static str,
    pub layout: Layout,
}

/// What an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Short lower-case name of the protocol: `ethereum`, `kv`.
    pub protocol: &'static str,
    /// Version of the snapshot's layout: which domains there are. The data in them has a format of its own
    /// ([`Machine::formats`]).
    pub state_format: u32,
    pub domains: Vec<DomainSpec>,
}

/// Settings of the adapter from the constitution: its genesis and its rules, in a form of its own.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub bytes: Bytes,
}

/// What is the same for all units of one batch and recorded in the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The batch that is being made: one more than the height of the state below it.
    pub height: Height,
    /// Ledger time.
    pub time: Millis,
    /// Secret to the enclaves, different for every batch.
    pub entropy: [u8; 32],
}

/// Something that happened, for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: Bytes,
    pub data: Bytes,
}

/// What a batch comes to as a whole: a block header, roots. Opaque outside the adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    pub bytes: Bytes,
}

/// By what a committed batch is found again, without its bytes. It stays in every VN's memory for as long
/// as the network lives, so each byte counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filed {
    /// A digest that names the batch, such as a block hash: [`crate::Context::named`].
    pub name: Option<Digest>,
    /// At most [`NOTE_BYTES_MAX`] bytes of the adapter's own: [`crate::Context::note`].
    pub note: Bytes,
}

/// Longest [`Filed::note`].
pub const NOTE_BYTES_MAX: usize = 512;

/// What the runtime asks before it lets something through.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    Submit { unit: &'a [u8] },
    Query { method: &'a str },
    ReadReceipt { unit: &'a Unit },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Allow,
    Redact,
    Deny,
}

/// A blockchain protocol's rules. Synchronous; no I/O, no clock, no randomness of its own.
pub trait Machine: Send + Sync {
    fn describe(&self) -> Descriptor;

    /// Writes the first state.
    ///
    /// # Errors
    /// [`Reject`] says what in `settings` cannot be used.
    fn genesis(&self, settings: &Settings, exec: &mut dyn Exec) -> Result<(), Reject>;

    /// Writes the network's identity into the first state, if the protocol shows it to anybody. Comes right
    /// after [`Machine::genesis`].
    fn found(&self, network: &[u8; 32], exec: &mut dyn Exec) {
        let _ = (network, exec);
    }

    /// Data formats that this code executes. A network begins in format 1, and each vote takes it to the
    /// next one; which one a state has says [`View::format`].
    fn formats(&self) -> RangeInclusive<u32> {
        1..=1
    }

    /// Brings a state of the data format `from` to the next one. Runs on one leader only, as a batch of its
    /// own; what it writes is in the ledger and must fit one entry. [`Machine::seal`] follows, without units.
    ///
    /// # Errors
    /// [`Reject`] says why it cannot be done: the state stays as it is, and no units are taken.
    fn migrate(&self, from: u32, exec: &mut dyn Exec) -> Result<(), Reject>;

    /// Decodes and checks what can be checked without executing, the signature above all. Runs on
    /// the VN that received the unit, on committed state; the leader does not repeat it.
    fn admit(&self, view: &dyn View, caller: &Caller, raw: &Bytes) -> Result<Ticket, Reject>;

    /// Executes one unit. A unit that is rejected or suspended must leave nothing (the runtime rolls its
    /// writes back). One that was suspended comes again, on the state of that time, with the answer that
    /// it waited for at the end of [`Unit::answers`]; [`crate::answer_to`] finds it. A unit makes at most
    /// `types::limits::EXTERNAL_CALLS_MAX` calls.
    fn execute(&self, unit: &Unit, exec: &mut dyn Exec) -> Result<Outcome, Lost>;

    /// Executes a batch. An override may run in parallel, and must equal executing in order.
    fn execute_all(&self, units: &[Unit], exec: &mut dyn Exec) -> Result<Vec<Outcome>, Lost> {
        units
            .iter()
            .map(|unit| {
                let before = exec.savepoint();
                let outcome = self.execute(unit, exec)?;
                if !matches!(outcome, Outcome::Applied { .. }) {
                    exec.rollback(before);
                }
                Ok(outcome)
            })
            .collect()
    }

    /// Closes a batch over its applied units (`outcomes` holds only `Applied`): block header, roots.
    fn seal(
        &self,
        units: &[Unit],
        outcomes: &[Outcome],
        exec: &mut dyn Exec,
    ) -> Result<Claim, Lost>;

    /// What a receipt of `unit` claims about it: the digest that becomes its leaf of the Merkle tree.
    fn claim_digest(&self, unit: &Unit, receipt: &Bytes) -> Digest;

    /// How the committed `batch` is filed. Depends on nothing else: every VN files it alike. Its units
    /// are found by their ids in any case.
    fn file(&self, batch: &Batch) -> Filed {
        let _ = batch;
        Filed::default()
    }

    fn authorize(
        &self,
        view: &dyn View,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Access, Lost>;
}
