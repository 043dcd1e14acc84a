//! A state in one map, a node that serves, and the way to the shared test data.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod archive;
pub mod node;
pub mod root;
pub mod shapes;
pub mod threads;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use adapter::{
    Caller, Env, Event, Exec, Lost, Machine, Outcome, Reject, Role, Savepoint, Settings, Unit, View,
};
use bytes::Bytes;
use kv::Domain;
use types::{ActorId, Height, Millis};

type Map = BTreeMap<(Domain, Bytes), Bytes>;

/// A state with an undo log, so that savepoints are real.
#[derive(Clone)]
pub struct Memory {
    pub map: Map,
    undo: Vec<((Domain, Bytes), Option<Bytes>)>,
    pub env: Env,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            map: Map::new(),
            undo: Vec::new(),
            env: Env {
                height: Height(0),
                time: Millis(1_700_000_000_000),
                entropy: [7; 32],
            },
        }
    }

    /// Starts the next batch.
    pub fn next_batch(&mut self) {
        self.env.height = self.env.height.next();
        self.env.entropy = [self.env.height.0 as u8; 32];
        self.env.time = self.env.time.plus(1500);
    }

    fn set(&mut self, key: (Domain, Bytes), value: Option<Bytes>) {
        let before = match value {
            Some(value) => self.map.insert(key.clone(), value),
            None => self.map.remove(&key),
        };
        self.undo.push((key, before));
    }
}

impl View for Memory {
    fn height(&self) -> Height {
        self.env.height
    }

    fn get(&self, domain: Domain, key: &[u8]) -> Result<Option<Bytes>, Lost> {
        // One copy of a short key per read does not matter in a test.
        Ok(self
            .map
            .get(&(domain, Bytes::copy_from_slice(key)))
            .cloned())
    }

    fn scan(
        &self,
        _: Domain,
        _: &[u8],
        _: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        unreachable!("every domain of this adapter is hashed");
    }
}

impl Exec for Memory {
    fn put(&mut self, domain: Domain, key: Bytes, value: Bytes) {
        self.set((domain, key), Some(value));
    }
    fn delete(&mut self, domain: Domain, key: Bytes) {
        self.set((domain, key), None);
    }
    fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.undo.len())
    }
    fn rollback(&mut self, to: Savepoint) {
        while self.undo.len() > to.0 {
            let (key, before) = self.undo.pop().expect("longer than the mark");
            match before {
                Some(value) => self.map.insert(key, value),
                None => self.map.remove(&key),
            };
        }
    }
    fn env(&self) -> &Env {
        &self.env
    }
    fn emit(&mut self, _: Event) {}
    fn record(&mut self, _: &str, f: &mut dyn FnMut() -> Bytes) -> Result<Bytes, Lost> {
        Ok(f())
    }
    fn view(&self) -> &dyn View {
        self
    }
    fn shared(&self) -> Option<&(dyn View + Sync)> {
        Some(self)
    }
}

pub fn caller() -> Caller {
    Caller {
        actor: ActorId::ZERO,
        name: "ada".into(),
        role: Role::Member,
        auditor: false,
    }
}

/// A machine on its first state.
pub fn started(settings: &str) -> (Arc<dyn Machine>, Memory) {
    let machine = adapter_ethereum::machine();
    let mut memory = Memory::new();
    machine
        .genesis(
            &Settings {
                bytes: settings.as_bytes().to_vec().into(),
            },
            &mut memory,
        )
        .expect("usable settings");
    (machine, memory)
}

/// Admits one transaction as a VN does.
pub fn unit(machine: &dyn Machine, memory: &Memory, raw: Bytes) -> Result<Unit, Reject> {
    let ticket = machine.admit(memory, &caller(), &raw)?;
    Ok(Unit {
        id: ticket.id,
        caller: ActorId::ZERO,
        raw,
        established: ticket.established,
        memo: ticket.memo,
        answers: Vec::new(),
    })
}

/// Executes and seals one batch; rejected units stay out of it.
pub fn batch(machine: &dyn Machine, memory: &mut Memory, units: &[Unit]) -> Vec<Outcome> {
    memory.next_batch();
    let outcomes = machine
        .execute_all(units, memory)
        .expect("memory is never lost");
    let (applied, results): (Vec<_>, Vec<_>) = units
        .iter()
        .cloned()
        .zip(outcomes.iter().cloned())
        .filter(|(_, outcome)| matches!(outcome, Outcome::Applied { .. }))
        .unzip();
    if applied.is_empty() {
        // There are no empty batches: the next one takes this height.
        memory.env.height = memory.env.height.previous();
    } else {
        machine
            .seal(&applied, &results, memory)
            .expect("memory is never lost");
    }
    outcomes
}

/// The shared test data, or `None` after saying what was skipped.
pub fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("COCO_TESTDATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let found = root.join(path);
    if found.exists() {
        return Some(found);
    }
    println!(
        "skipped: no {path} in {} (set COCO_TESTDATA to the folder of test data)",
        root.display()
    );
    None
}

#[expect(clippy::disallowed_methods, reason = "tests read the shared data")]
pub fn read(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

pub fn gunzip(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&read(path)[..])
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
}
