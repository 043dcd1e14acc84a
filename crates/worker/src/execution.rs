//! The state as a machine sees it: committed state for queries and admission, the working copy of a
//! batch for execution.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use adapter::{Env, Event, Exec, Lost, Savepoint, View};
use bytes::Bytes;
use kv::{Domain, Reader, Store, Transaction, WriteSet};
use types::Height;

use crate::body::{EXTERNAL, Recorded};

/// The state of a protocol. As a [`View`] it is what has been committed.
#[derive(Debug)]
pub struct State {
    store: Store,
    /// The data format that is committed.
    format: u32,
}

impl State {
    /// A state of the first data format.
    pub fn new(store: Store) -> Self {
        Self { store, format: 1 }
    }

    /// What is committed has this data format from now on.
    pub(crate) fn set_format(&mut self, format: u32) {
        self.format = format;
    }
}

impl Deref for State {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl View for State {
    fn format(&self) -> u32 {
        self.format
    }

    fn height(&self) -> Height {
        self.store.committed_height()
    }

    fn get(&self, domain: Domain, key: &[u8]) -> Result<Option<Bytes>, Lost> {
        Ok(self.store.committed().get(domain, key).cloned())
    }

    fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.store.committed().scan(domain, prefix, None, visit);
        Ok(())
    }

    fn scan_after(
        &self,
        domain: Domain,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.store
            .committed()
            .scan(domain, prefix, Some(after), visit);
        Ok(())
    }
}

/// The door to what is not deterministic.
#[derive(Debug)]
enum Door {
    /// On the leader: what comes through is kept.
    Recording(Vec<Recorded>),
    /// Elsewhere: what the leader kept is given again, in the same order.
    Replaying(VecDeque<Recorded>),
    /// Genesis: every VN must come to the same state by itself.
    Shut,
}

/// The execution of one batch.
#[derive(Debug)]
pub struct Execution<'a> {
    transaction: Transaction<'a>,
    env: Env,
    /// The data format that this execution leaves.
    format: u32,
    events: Vec<Event>,
    door: Door,
    /// For each savepoint: length of the transaction's journal and of `events`.
    ///
    /// What was recorded is not taken back with the writes: a replay runs the same code and asks
    /// again at the same place. The records of a unit that is rejected as a whole are dealt with by
    /// the leader, which executes the batch once more without it.
    marks: Vec<(usize, usize)>,
}

/// What an execution came to.
#[derive(Debug)]
pub struct Executed {
    pub env: Env,
    pub writes: WriteSet,
    pub events: Vec<Event>,
    pub recorded: Vec<Recorded>,
}

impl<'a> Execution<'a> {
    /// On the leader.
    pub fn recording(below: Reader<'a>, env: Env) -> Self {
        Self::new(below, env, Door::Recording(Vec::new()))
    }

    /// With what the leader recorded.
    pub fn replaying(below: Reader<'a>, env: Env, recorded: Vec<Recorded>) -> Self {
        Self::new(below, env, Door::Replaying(recorded.into()))
    }

    /// For the first state.
    pub fn genesis(below: Reader<'a>, env: Env) -> Self {
        Self::new(below, env, Door::Shut)
    }

    fn new(below: Reader<'a>, env: Env, door: Door) -> Self {
        Self {
            transaction: Transaction::new(below),
            env,
            format: 1,
            events: Vec::new(),
            door,
            marks: Vec::new(),
        }
    }

    /// On a state of this data format, or on the way to it. Without it: of the first one.
    pub fn in_format(mut self, format: u32) -> Self {
        self.format = format;
        self
    }

    /// True if something not deterministic was recorded, or is left over from the recording.
    pub fn has_records(&self) -> bool {
        match &self.door {
            Door::Recording(recorded) => !recorded.is_empty(),
            Door::Replaying(rest) => !rest.is_empty(),
            Door::Shut => false,
        }
    }

    /// Writes, events and records.
    pub fn finish(self) -> Executed {
        let recorded = match self.door {
            Door::Recording(recorded) => recorded,
            Door::Replaying(_) | Door::Shut => Vec::new(),
        };
        Executed {
            env: self.env,
            writes: self.transaction.finish(),
            events: self.events,
            recorded,
        }
    }
}

impl View for Execution<'_> {
    fn format(&self) -> u32 {
        self.format
    }

    fn height(&self) -> Height {
        self.transaction.height()
    }

    fn get(&self, domain: Domain, key: &[u8]) -> Result<Option<Bytes>, Lost> {
        Ok(self.transaction.get(domain, key).cloned())
    }

    fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.transaction.scan(domain, prefix, None, visit);
        Ok(())
    }

    fn scan_after(
        &self,
        domain: Domain,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.transaction.scan(domain, prefix, Some(after), visit);
        Ok(())
    }
}

impl Exec for Execution<'_> {
    fn put(&mut self, domain: Domain, key: Bytes, value: Bytes) {
        self.transaction.set(domain, key, Some(value));
    }

    fn delete(&mut self, domain: Domain, key: Bytes) {
        self.transaction.set(domain, key, None);
    }

    fn savepoint(&mut self) -> Savepoint {
        self.marks
            .push((self.transaction.savepoint(), self.events.len()));
        Savepoint(self.marks.len() - 1)
    }

    fn rollback(&mut self, to: Savepoint) {
        let (journal, events) = self.marks[to.0];
        self.marks.truncate(to.0);
        self.transaction.rollback(journal);
        self.events.truncate(events);
    }

    fn env(&self) -> &Env {
        &self.env
    }

    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    fn record(&mut self, tag: &str, f: &mut dyn FnMut() -> Bytes) -> Result<Bytes, Lost> {
        assert_ne!(
            tag.as_bytes(),
            EXTERNAL,
            "the tag of what units were answered"
        );
        match &mut self.door {
            Door::Recording(recorded) => {
                let data = f();
                recorded.push(Recorded {
                    tag: Bytes::copy_from_slice(tag.as_bytes()),
                    data: data.clone(),
                });
                Ok(data)
            }
            // A record that is missing or for something else: this is not the leader's execution.
            Door::Replaying(rest) => match rest.pop_front() {
                Some(record) if record.tag == tag.as_bytes() => Ok(record.data),
                _ => Err(Lost),
            },
            Door::Shut => Err(Lost),
        }
    }

    fn view(&self) -> &dyn View {
        self
    }

    fn shared(&self) -> Option<&(dyn View + Sync)> {
        Some(self)
    }
}
