//! The world of a run: time, wires, disks, faults, and the order in which things happen.

use std::collections::{BTreeMap, BTreeSet};

use boundary::{host_to_manager, manager_to_host};
use bytes::Bytes;
use crypto::Entropy;
use manager::Manager;
use types::Millis;

use crate::check::Checker;
use crate::client::Client;
use crate::network::{Consortium, START};
use crate::node::Node;
use crate::random::Random;

const TICK_MS: u64 = 25;
/// A run whose world was healed has this long until everything must be equal and answered.
const LIVENESS_MS: u64 = 60_000;
/// A run that does not get its events within this time of its own is broken.
const RUN_MS: u64 = 3_600_000;

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    pub nodes: usize,
    pub clients: u64,
    /// The world goes on at least this long, in events, and until leadership has changed.
    pub events_min: u64,
    /// A mistake to put back.
    #[cfg(feature = "mutations")]
    pub mutation: Option<manager::Mutation>,
    /// Keep one line per event.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            clients: 3,
            events_min: 2_000,
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
    pub events: u64,
    pub entries: u64,
    pub leader_changes: u64,
    pub acknowledged: u64,
    pub attempts: u64,
    pub restarts: u64,
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

enum Event {
    Tick {
        place: usize,
        incarnation: u64,
    },
    Bytes {
        wire: u64,
        to_dialler: bool,
        data: Bytes,
    },
    Closed {
        wire: u64,
        to_dialler: bool,
    },
    ToManager {
        place: usize,
        incarnation: u64,
        message: host_to_manager::Message,
    },
    Synced {
        place: usize,
        incarnation: u64,
        sequence: u64,
        entries: usize,
    },
    Client {
        id: u64,
        turn: u64,
    },
    Restart {
        place: usize,
    },
    Fault,
    Heal {
        what: Blocked,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Node {
        place: usize,
        incarnation: u64,
        connection: u64,
    },
    Client {
        id: u64,
    },
}

struct Wire {
    dialler: Party,
    accepter: Party,
    /// Nothing overtakes on one wire: the latest delivery in each direction.
    last: [Millis; 2],
    /// Bytes were lost; both ends will notice.
    broken: bool,
    /// Alter the next bytes that pass.
    altered: bool,
}

type Blocked = BTreeSet<(usize, usize)>;

struct World {
    now: Millis,
    random: Random,
    consortium: Consortium,
    nodes: Vec<Node>,
    clients: BTreeMap<u64, Client>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    blocked: Blocked,
    /// Syncs take up to this long.
    disk_ms: u64,
    calm: bool,
    /// When a host's clock was last known to be far off.
    lied_at: Millis,
    checker: Checker,
    report: Report,
    hasher: Option<crypto::Hasher>,
    options: Options,
    failed: Option<String>,
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`]: an invariant was broken, or the healed world did not come to rest.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, options);
    match world.play() {
        Ok(()) => {
            world.report.trace_digest = world
                .hasher
                .take()
                .expect("taken once")
                .finish()
                .to_string();
            Ok(world.report)
        }
        Err(what) => Err(Box::new(Failure {
            seed,
            event: world.report.events,
            what,
            trace: world.report.trace,
        })),
    }
}

impl World {
    fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let consortium = Consortium::new(options.nodes, &mut Entropy::new(&random.bytes()));
        let clients = (0..options.clients)
            .map(|id| (id, Client::new(id, &consortium.user)))
            .collect();
        Self {
            now: START,
            random,
            nodes: (0..options.nodes).map(Node::new).collect(),
            consortium,
            clients,
            wires: BTreeMap::new(),
            next_wire: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            blocked: Blocked::new(),
            disk_ms: 4,
            calm: true,
            lied_at: Millis::ZERO,
            checker: Checker::default(),
            report: Report {
                seed,
                ..Report::default()
            },
            hasher: Some(crypto::Hasher::new()),
            options: options.clone(),
            failed: None,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for place in 0..self.nodes.len() {
            self.start(place, place == 0);
        }
        self.until(LIVENESS_MS, "every node is a voter", |world| {
            world.voters() == world.nodes.len()
        })?;
        for id in 0..self.options.clients {
            self.turn(1 + id, id);
        }
        self.calm = false;
        self.schedule(50, Event::Fault);
        let (events, changes) = (
            self.report.events + self.options.events_min,
            self.checker.leader_changes,
        );
        self.until(RUN_MS, "enough has happened", |world| {
            world.report.events >= events && world.checker.leader_changes > changes
        })?;
        self.calm = true;
        self.blocked.clear();
        self.disk_ms = 4;
        for place in 0..self.nodes.len() {
            self.nodes[place].skew_ms = 0;
        }
        self.line(|| "the world is healed".into());
        self.until(
            LIVENESS_MS,
            "the healed network answers everything and agrees",
            |world| world.clients.values().all(Client::idle) && world.agreed(),
        )?;
        self.read_back()
    }

    /// Every acknowledged write is on every node.
    fn read_back(&mut self) -> Result<(), String> {
        let mut expected: Vec<(String, String)> = Vec::new();
        for client in self.clients.values() {
            if let Some(refused) = client.refused.first() {
                return Err(format!("a good write was refused: {refused}"));
            }
            expected.extend(
                client
                    .acknowledged
                    .iter()
                    .map(|(k, v)| (k.clone(), v.clone())),
            );
            self.report.attempts += client.attempts;
        }
        self.report.acknowledged = expected.len() as u64; // usize is at most 64 bits
        self.clients.clear();
        for place in 0..self.nodes.len() {
            // Readers are numbered by the node that they read from, see `connect_client`.
            let id = READER + place as u64; // usize is at most 64 bits
            self.clients.insert(
                id,
                Client::reader(id, &self.consortium.user, expected.clone()),
            );
            self.turn(1, id);
        }
        self.until(LIVENESS_MS * 10, "everything is read back", |world| {
            world.clients.values().all(Client::has_read_all)
        })?;
        match self
            .clients
            .values()
            .find_map(|c| c.wrong.first().map(|w| (c.id - READER, w)))
        {
            Some((place, wrong)) => Err(format!(
                "an acknowledged write is not on node {place}: {wrong}"
            )),
            None => {
                self.report.entries = self.checker.committed();
                self.report.leader_changes = self.checker.leader_changes;
                Ok(())
            }
        }
    }

    fn until(
        &mut self,
        within_ms: u64,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let end = self.now.plus(within_ms);
        while !done(self) {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                return Err("nothing happens any more".into());
            };
            if at > end {
                let positions: Vec<_> = self
                    .nodes
                    .iter()
                    .map(|n| n.process.as_ref().map(|p| p.manager.position()))
                    .collect();
                return Err(format!("not within {within_ms} ms: {what}; {positions:#?}"));
            }
            self.now = at;
            self.report.events += 1;
            self.happen(event);
            for node in &self.nodes {
                self.checker.check(node)?;
            }
            if let Some(failed) = self.failed.take() {
                return Err(failed);
            }
        }
        Ok(())
    }

    fn voters(&self) -> usize {
        let leader = self
            .nodes
            .iter()
            .filter_map(|n| n.process.as_ref())
            .map(|p| p.manager.position())
            .filter(|p| p.leading)
            .max_by_key(|p| p.term);
        let Some(leader) = leader else { return 0 };
        let running = |id| {
            self.nodes.iter().any(|n| {
                n.process
                    .as_ref()
                    .is_some_and(|p| p.manager.position().node == id)
            })
        };
        if leader.voters.iter().all(|v| running(*v)) {
            leader.voters.len()
        } else {
            0
        }
    }

    fn agreed(&self) -> bool {
        let mut positions = self
            .nodes
            .iter()
            .map(|n| n.process.as_ref().map(|p| p.manager.position()));
        let Some(Some(first)) = positions.next() else {
            return false;
        };
        self.voters() == self.nodes.len()
            && first.committed == first.last
            && positions.all(|p| {
                p.is_some_and(|p| p.committed == first.committed && p.digest == first.digest)
            })
    }

    fn line(&mut self, text: impl Fn() -> String) {
        let line = format!("{:>9} {}", self.now.since(START), text());
        if let Some(hasher) = self.hasher.take() {
            self.hasher = Some(hasher.part(line.as_bytes()));
        }
        if self.options.trace {
            self.report.trace.push(line);
        }
    }

    fn fault(&mut self, kind: &'static str, detail: &str) {
        *self.report.faults.entry(kind).or_default() += 1;
        self.line(|| format!("fault: {kind} {detail}"));
    }

    fn schedule(&mut self, in_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((self.now.plus(in_ms), self.sequence), event);
    }

    /// The client's next turn; one that was set before does not come any more.
    fn turn(&mut self, in_ms: u64, id: u64) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.turn += 1;
            let turn = client.turn;
            self.schedule(in_ms, Event::Client { id, turn });
        }
    }

    fn start(&mut self, place: usize, create: bool) {
        let entropy = self.random.bytes();
        #[cfg_attr(not(feature = "mutations"), allow(unused_mut))]
        let mut manager = Manager::new();
        #[cfg(feature = "mutations")]
        if let Some(mutation) = self.options.mutation {
            manager = manager.with_mutation(mutation);
        }
        let said = self.nodes[place].start(self.now, create, entropy, manager, &self.consortium);
        let incarnation = self.nodes[place].incarnation;
        self.line(|| format!("node {place} starts, incarnation {incarnation}"));
        self.schedule(TICK_MS, Event::Tick { place, incarnation });
        self.host(place, said);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { place, incarnation } => {
                if self.alive(place, incarnation) {
                    self.tell(place, host_to_manager::Message::Tick(boundary::Tick {}));
                    self.schedule(TICK_MS, Event::Tick { place, incarnation });
                }
            }
            Event::Bytes {
                wire,
                to_dialler,
                data,
            } => self.deliver(wire, to_dialler, data),
            Event::Closed { wire, to_dialler } => self.close_end(wire, to_dialler),
            Event::ToManager {
                place,
                incarnation,
                message,
            } => {
                if self.alive(place, incarnation) {
                    self.tell(place, message);
                }
            }
            Event::Synced {
                place,
                incarnation,
                sequence,
                entries,
            } => {
                if self.alive(place, incarnation) {
                    let disk = &mut self.nodes[place].disk;
                    disk.synced = disk.synced.max(entries).min(disk.entries.len());
                    self.tell(
                        place,
                        host_to_manager::Message::Persisted(boundary::Persisted { sequence }),
                    );
                }
            }
            Event::Client { id, turn } => {
                if self.clients.get(&id).is_some_and(|c| c.turn == turn) {
                    self.client_turn(id);
                }
            }
            Event::Restart { place } => {
                self.report.restarts += 1;
                self.start(place, false);
            }
            Event::Fault => {
                if !self.calm {
                    self.draw_fault();
                    let wait = self.random.between(20, 200);
                    self.schedule(wait, Event::Fault);
                }
            }
            Event::Heal { what } => {
                self.blocked.retain(|pair| !what.contains(pair));
                self.line(|| format!("links are whole again: {what:?}"));
            }
        }
    }

    fn alive(&self, place: usize, incarnation: u64) -> bool {
        self.nodes[place].process.is_some() && self.nodes[place].incarnation == incarnation
    }

    fn tell(&mut self, place: usize, message: host_to_manager::Message) {
        let said = self.nodes[place].tell(self.now, message, &self.consortium);
        self.host(place, said);
    }

    /// The host of a node carries out what its manager said.
    fn host(&mut self, place: usize, said: Vec<manager_to_host::Message>) {
        use manager_to_host::Message as M;
        let incarnation = self.nodes[place].incarnation;
        for message in said {
            match message {
                M::Send(send) => {
                    if let Some((wire, dialled)) =
                        self.nodes[place].wires.get(&send.connection).copied()
                    {
                        self.transmit(wire, !dialled, send.data);
                    }
                }
                M::Close(close) => {
                    if let Some((wire, dialled)) = self.nodes[place].wires.remove(&close.connection)
                    {
                        self.end_wire(wire, !dialled);
                    }
                }
                M::Dial(dial) => self.dial(place, dial.connection, &dial.address),
                M::Append(append) => {
                    let first = usize::try_from(append.first).expect("the simulated disk is small");
                    let disk = &mut self.nodes[place].disk;
                    assert_eq!(disk.entries.len() + 1, first, "appends are contiguous");
                    disk.entries.extend(append.entries);
                    let entries = disk.entries.len();
                    let wait = self.random.between(0, self.disk_ms);
                    let sequence = append.sequence;
                    self.schedule(
                        wait,
                        Event::Synced {
                            place,
                            incarnation,
                            sequence,
                            entries,
                        },
                    );
                }
                M::Truncate(truncate) => {
                    let keep =
                        usize::try_from(truncate.from - 1).expect("the simulated disk is small");
                    let disk = &mut self.nodes[place].disk;
                    disk.entries.truncate(keep);
                    disk.synced = disk.synced.min(keep);
                }
                M::ReadEntries(read) => {
                    let disk = &self.nodes[place].disk.entries;
                    let entries: Vec<Bytes> = (read.first..=read.last)
                        .map_while(|index| disk.get(usize::try_from(index - 1).ok()?).cloned())
                        .collect();
                    let failure = if entries.is_empty() {
                        "no such entries".to_owned()
                    } else {
                        String::new()
                    };
                    let entries = boundary::Entries {
                        request: read.request,
                        first: read.first,
                        entries,
                        failure,
                    };
                    self.schedule(
                        1,
                        Event::ToManager {
                            place,
                            incarnation,
                            message: host_to_manager::Message::Entries(entries),
                        },
                    );
                }
                M::SignTuple(sign) => {
                    let signer = match self.nodes[place].fraud {
                        Some(crate::node::Fraud::ForeignTuple) => 0,
                        _ => place,
                    };
                    let key = &self.consortium.members[signer].key;
                    let tuple =
                        crypto::sign1(key, crypto::Context::NodeTuple, &sign.payload).into();
                    let signed = boundary::TupleSigned {
                        tuple,
                        failure: String::new(),
                    };
                    self.schedule(
                        1,
                        Event::ToManager {
                            place,
                            incarnation,
                            message: host_to_manager::Message::TupleSigned(signed),
                        },
                    );
                }
                M::Log(log) if log.level == 1 && log.target == "worker/kv" => {
                    // Workers complain only of what their manager must never do.
                    self.failed = Some(format!("the worker of node {place}: {}", log.text));
                }
                M::Log(log) => {
                    if log.level <= 4 {
                        let text = unnamed(&log.text);
                        self.line(|| format!("node {place} [{}] {text}", log.target));
                    }
                }
                M::Exit(exit) => {
                    self.failed = Some(format!(
                        "node {place} ended: {} (code {})",
                        exit.reason, exit.code
                    ));
                    self.nodes[place].process = None;
                }
                M::Committed(_)
                | M::Status(_)
                | M::Pace(_)
                | M::StoreSnapshot(_)
                | M::ReadSnapshot(_)
                | M::RemoveSnapshot(_) => {}
            }
        }
    }
}

mod faults;
mod wires;

use wires::READER;

#[cfg(test)]
mod frauds;

/// Digests differ from run to run, since signatures do; what they name is the same.
fn unnamed(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            "#"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
