//! The state that a machine sees: a versioned byte map in numbered domains.

use bytes::Bytes;
use kv::Domain;
use types::Height;

use crate::{Env, Event, Lost};

/// Read access to one version of the state.
pub trait View {
    /// The height whose state this is.
    fn height(&self) -> Height;

    /// The data format of this state ([`crate::Machine::formats`]).
    fn format(&self) -> u32 {
        1
    }

    fn get(&self, domain: Domain, key: &[u8]) -> Result<Option<Bytes>, Lost>;

    /// Calls `visit` for each key that starts with `prefix`, in byte order, until it returns false.
    /// Only domains of [`crate::Layout::Ordered`] can be scanned.
    fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost>;

    /// As [`View::scan`], from the first key greater than `after` on: the next page of a listing.
    /// The worker's views start there; this default passes over what comes before.
    fn scan_after(
        &self,
        domain: Domain,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.scan(domain, prefix, &mut |key, value| {
            key <= after || visit(key, value)
        })
    }
}

/// A mark in the writes of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(pub usize);

/// What executing a unit may do. `env` and `record` are the only doors to what is not deterministic.
pub trait Exec: View {
    fn put(&mut self, domain: Domain, key: Bytes, value: Bytes);
    fn delete(&mut self, domain: Domain, key: Bytes);

    fn savepoint(&mut self) -> Savepoint;
    fn rollback(&mut self, to: Savepoint);

    /// Leader's time, height and entropy of this batch, as recorded in the entry.
    fn env(&self) -> &Env;

    /// Something that subscribers may want to know, kept with the batch.
    fn emit(&mut self, event: Event);

    /// Leader: runs `f` and records the bytes. Replay: returns the recorded bytes.
    fn record(&mut self, tag: &str, f: &mut dyn FnMut() -> Bytes) -> Result<Bytes, Lost>;

    /// This as read access.
    fn view(&self) -> &dyn View;

    /// This as read access for several threads at once, if that can be had ([`crate::Spread`]).
    fn shared(&self) -> Option<&(dyn View + Sync)> {
        None
    }
}
