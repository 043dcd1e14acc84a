//! The manager enclave: sessions, gate, pipeline and keyring of one validating node.
//!
//! Source: white paper, "Coco Framework architecture"; DESIGN sections 1 and 3. A [`Manager`] is a
//! synchronous value: a message goes in, messages come out. It has no clock (the host's `now` comes
//! with its messages, and is believed only within limits), no thread, socket or file, and no
//! randomness but the 32 bytes it is made with. So the same code runs in an enclave under the
//! launcher and in the simulator.
//!
//! What it never does: parse application bytes (they go to the protocol's worker with the caller's
//! identity), name an adapter, give the host a plaintext or a key, or acknowledge a transaction
//! before a quorum has it on disk.

mod administration;
mod admitting;
mod audits;
mod backfill;
mod clients;
mod cold;
mod commits;
mod epochs;
mod fetching;
mod founding;
mod grants;
mod heights;
mod joining;
mod keyring;
mod linear;
mod membership;
mod node;
mod opening;
mod order;
mod outside;
#[doc(hidden)] // for the fuzzing harness
pub mod parts;
mod peers;
mod polls;
mod proposals;
mod protocols;
mod reading;
mod receipts;
mod recovery;
mod release;
mod reviving;
mod service;
mod sessions;
mod shares;
mod snapshots;
mod waiting;
#[doc(hidden)] // for the fuzzing harness
pub mod wire;
mod workers;

#[cfg(feature = "mutations")]
#[doc(hidden)]
pub use consensus::Mutation;

use boundary::{
    HostToManager, ManagerToHost, ManagerToPlatform, ManagerToWorker, PlatformToManager,
    WorkerToManager, host_to_manager, platform_to_manager,
};
use types::{Digest, Index, Millis, NodeId, Term};

/// Something that comes in.
#[derive(Debug)]
pub enum Input {
    /// Hostile until checked.
    Host(HostToManager),
    Platform(PlatformToManager),
    /// From a worker's process: hostile until checked.
    Worker(u64, WorkerToManager),
    /// Everything that was waiting has been handled: close what was being gathered.
    Flush,
}

/// Something that goes out.
#[derive(Debug)]
pub enum Output {
    Host(ManagerToHost),
    Platform(ManagerToPlatform),
    Worker(u64, ManagerToWorker),
    /// End the worker's process.
    StopWorker(u64),
}

/// Longest time that passes at once for timers. A host ticks every few tens of milliseconds.
const LEAP_MS_MAX: u64 = 1_000;

/// What may wait for session keys that are not here.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Reads of the ledger.
    pub reads: usize,
    /// Bytes of committed entries.
    pub unapplied_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reads: waiting::READS_WAITING_MAX,
            unapplied_bytes: commits::UNAPPLIED_BYTES_MAX,
        }
    }
}

/// The manager of one validating node.
#[derive(Default)]
pub struct Manager {
    now: Millis,
    clock: Millis,
    launched: Option<boundary::Launched>,
    start: Option<boundary::Start>,
    node: Option<Box<node::Node>>,
    limits: Limits,
    #[cfg(feature = "mutations")]
    mutation: Option<consensus::Mutation>,
}

impl Manager {
    /// A manager that waits for the platform's first message (entropy) and the host's (what to do).
    pub fn new() -> Self {
        Self::default()
    }

    /// A manager whose consensus makes a known mistake.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_mutation(mut self, mutation: consensus::Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    /// A manager with less room, for tests that fill it.
    #[doc(hidden)]
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Handles one message.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        if let Input::Host(message) = &input {
            self.pass(Millis(message.now));
        }
        if let Some(node) = &mut self.node {
            return node.handle(self.now, self.clock, input, out);
        }
        match input {
            Input::Platform(PlatformToManager {
                message: Some(platform_to_manager::Message::Launched(launched)),
            }) => {
                self.launched = Some(launched);
            }
            Input::Host(HostToManager {
                message: Some(host_to_manager::Message::Start(start)),
                ..
            }) => {
                self.start = Some(start);
            }
            _ => {}
        }
        if let (Some(launched), Some(start)) = (&self.launched, &self.start) {
            match node::Node::start(self.clock, launched, start, out) {
                Ok(mut node) => {
                    node.limits = self.limits;
                    let node = self.node.insert(Box::new(node));
                    // What the seed gave would follow from it again.
                    if let Some(launched) = self.launched.take() {
                        erase(launched.entropy);
                    }
                    #[cfg(feature = "mutations")]
                    node.set_mutation(self.mutation);
                    let _ = node;
                }
                Err(reason) => {
                    self.start = None;
                    node::exit(out, node::EXIT_CONFIGURATION, &reason);
                }
            }
        }
    }

    /// The host says what time it is. Its clock may leap and go back; own time does neither, so that no
    /// timer waits for a lie to come true.
    fn pass(&mut self, clock: Millis) {
        self.now = match self.clock {
            Millis::ZERO => clock,
            before => self.now.plus(clock.since(before).min(LEAP_MS_MAX)),
        };
        self.clock = clock;
    }

    /// Digest of a committed entry, for the simulator and for tests.
    pub fn digest(&self, index: Index) -> Option<Digest> {
        self.node.as_ref().and_then(|node| node.order.digest(index))
    }

    /// Whether what this manager has in memory opens an entry that `sealer` made, for the simulator and for
    /// tests: no key leaves it.
    pub fn opens(&self, entry: &bytes::Bytes, sealer: &crypto::PublicKey) -> bool {
        let Some(node) = &self.node else { return false };
        let entry = ledger::inspect(entry).ok();
        entry.is_some_and(|entry| node.keyring.seals.open_entry(entry, sealer).is_ok())
    }

    /// Where this node stands, for the simulator and for tests.
    pub fn position(&self) -> Position {
        self.node
            .as_ref()
            .map_or_else(Position::default, |node| node.position())
    }
}

/// Overwrites bytes that nobody else has.
fn erase(bytes: bytes::Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        zeroize::Zeroize::zeroize(&mut bytes[..]);
    }
}

/// Where a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    pub node: NodeId,
    pub term: Term,
    pub leading: bool,
    pub leader: Option<NodeId>,
    pub last: Index,
    pub committed: Index,
    /// Digest of the last committed entry.
    pub digest: Digest,
    /// Who counts in a quorum, in either half, by the last committed configuration.
    pub voters: Vec<NodeId>,
    /// How often the network restarted.
    pub restarts: u32,
    /// M actors can open the keys of the present epoch.
    pub sealed: bool,
    /// The epoch of the entries that follow.
    pub epoch: types::Epoch,
    /// Its keys are in memory.
    pub keyed: bool,
}
