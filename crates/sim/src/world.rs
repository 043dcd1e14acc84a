//! The world of a run: what is in it, in which order things happen, and the acts of the play.

use std::collections::{BTreeMap, BTreeSet};

use boundary::host_to_manager;
use bytes::Bytes;
use crypto::Entropy;
use manager::{Manager, Position};
use types::{Millis, NodeId};

use crate::check::Checker;
use crate::client::Client;
use crate::network::{Consortium, START};
use crate::node::Node;
use crate::outside::Oracles;
use crate::random::Random;
use crate::report::{Failure, Options, Report};

mod hosting;
mod wires;

mod faults;

mod ending;

mod blackouts;

mod calling;

mod lines;

#[cfg(test)]
mod frauds;

#[cfg(test)]
mod figures;

#[cfg(test)]
mod guests;

#[cfg(test)]
mod askers;

#[cfg(test)]
mod cheats;

#[cfg(test)]
mod dealings;

#[cfg(test)]
mod keys;

#[cfg(test)]
mod limits;

#[cfg(test)]
mod survivors;

use lines::Told;
use wires::Wire;

const TICK_MS: u64 = 25;
/// A run whose world was healed has this long until everything must be equal and answered.
const LIVENESS_MS: u64 = 60_000;
/// A run that does not get its events within this time of its own is broken.
const RUN_MS: u64 = 600_000;
/// Nodes that are there from the beginning; others come later.
const FOUNDERS: usize = 3;

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
        message: Box<host_to_manager::Message>,
    },
    Synced {
        place: usize,
        incarnation: u64,
        sequence: u64,
    },
    Client {
        id: u64,
        turn: u64,
    },
    Oracle {
        wire: u64,
    },
    Start {
        place: usize,
    },
    Fault,
    Heal {
        what: Blocked,
    },
}

/// Directions in which nothing passes.
type Blocked = BTreeSet<(usize, usize)>;

struct World {
    now: Millis,
    random: Random,
    consortium: Consortium,
    oracles: Option<Oracles>,
    /// The network's certificate (DER), as the nodes show it to their hosts.
    network: Bytes,
    nodes: Vec<Node>,
    /// Whose node each number was.
    places: BTreeMap<NodeId, usize>,
    clients: BTreeMap<u64, Client>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    blocked: Blocked,
    calm: bool,
    /// The power has failed everywhere; nothing else goes wrong meanwhile.
    dark: bool,
    checker: Checker,
    report: Report,
    told: Told,
    options: Options,
    failed: Option<String>,
    /// What nodes that start have room for, if that is less than usual.
    #[cfg(test)]
    limits: Option<manager::Limits>,
    #[cfg(test)]
    guests: BTreeMap<u64, guests::Guest>,
    /// Places at which a guest listens in a node's stead.
    #[cfg(test)]
    listeners: BTreeMap<usize, channel::Acceptor>,
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`]: an invariant was broken, or the healed world did not come to rest.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, options);
    match world.play() {
        Ok(()) => {
            (world.report.trace_digest, world.report.trace) = world.told.finish();
            Ok(world.report)
        }
        Err(what) => Err(Box::new(Failure {
            seed,
            event: world.report.events,
            what,
            trace: world.told.finish().1,
        })),
    }
}

impl World {
    fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let nodes = options.nodes.unwrap_or_else(|| match random.below(8) {
            0 => 4,
            1 => 5,
            _ => FOUNDERS,
        });
        let mut entropy = Entropy::new(&random.bytes());
        let consortium = match options.outside {
            true => Consortium::with_outside(nodes, &mut entropy),
            false => Consortium::new(nodes, &mut entropy),
        };
        let oracles = consortium.outside.as_ref();
        let oracles = oracles.map(|[oracle, other]| Oracles::new(oracle, other));
        let clients = (0..options.clients)
            .map(|id| (id, Client::new(id, &consortium.user)))
            .collect();
        Self {
            now: START,
            random,
            nodes: (0..nodes).map(Node::new).collect(),
            places: BTreeMap::new(),
            oracles,
            consortium,
            network: Bytes::new(),
            clients,
            wires: BTreeMap::new(),
            next_wire: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            blocked: Blocked::new(),
            calm: true,
            dark: false,
            checker: Checker::default(),
            report: Report {
                seed,
                nodes: nodes as u64, // usize is at most 64 bits
                ..Report::default()
            },
            told: Told::new(options.trace),
            options: options.clone(),
            failed: None,
            #[cfg(test)]
            limits: None,
            #[cfg(test)]
            guests: BTreeMap::new(),
            #[cfg(test)]
            listeners: BTreeMap::new(),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        let founders = self.nodes.len().min(FOUNDERS);
        for place in 0..founders {
            self.start(place, place == 0);
        }
        self.until(LIVENESS_MS, "every node is a voter", World::all_vote)?;
        for id in 0..self.options.clients {
            self.turn(1 + id, id);
        }
        self.calm = false;
        self.schedule(50, Event::Fault);
        for place in founders..self.nodes.len() {
            let wait = self.random.between(500, 6_000);
            self.schedule(wait, Event::Start { place });
        }
        let (events, changes) = (
            self.report.events + self.options.events_min,
            self.checker.leader_changes,
        );
        self.until(RUN_MS, "enough has happened", |world| {
            world.report.events >= events
                && (world.checker.leader_changes > changes || world.nodes.len() == 1)
                && world.nodes.iter().all(|node| node.incarnation > 0)
        })?;
        for _ in 0..self.options.blackouts {
            self.black_out()?;
        }
        self.end()
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
                return Err(format!("not within {within_ms} ms: {what}{}", self.scene()));
            }
            self.now = at;
            self.report.events += 1;
            self.happen(event);
            for node in &mut self.nodes {
                if node.spins {
                    return Err(format!("manager and worker of node {} spin", node.place));
                }
                let Some(process) = &node.process else {
                    continue;
                };
                let position = process.manager.position();
                if position.node != NodeId(0) {
                    self.places.entry(position.node).or_insert(node.place);
                }
                self.checker.check(&position, &process.manager)?;
                if position.voters.contains(&position.node) {
                    node.joining = false;
                }
            }
            if let Some(failed) = self.failed.take() {
                return Err(failed);
            }
        }
        Ok(())
    }

    fn positions(&self) -> impl Iterator<Item = Position> {
        self.nodes
            .iter()
            .filter_map(|n| n.process.as_ref())
            .map(|p| p.manager.position())
    }

    /// Where the newest leader stands.
    fn leader(&self) -> Option<Position> {
        self.positions()
            .filter(|p| p.leading)
            .max_by_key(|p| p.term)
    }

    /// The nodes that were started are the voters, each as its present incarnation, and no other.
    fn all_vote(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let started = self.nodes.iter().filter(|n| n.incarnation > 0).count();
        let votes = |position: Position| leader.voters.contains(&position.node);
        leader.voters.len() == started
            && self.positions().filter(|p| votes(p.clone())).count() == started
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
        #[cfg_attr(not(any(test, feature = "mutations")), allow(unused_mut))]
        let mut manager = Manager::new();
        #[cfg(test)]
        if let Some(limits) = self.limits {
            manager = manager.with_limits(limits);
        }
        #[cfg(feature = "mutations")]
        if let Some(mutation) = self.options.mutation {
            manager = manager.with_mutation(mutation);
        }
        let said = self.nodes[place].start(self.now, create, entropy, manager, &self.consortium);
        let incarnation = self.nodes[place].incarnation;
        let (runs, snapshots) = (
            self.nodes[place].disk.runs(),
            self.nodes[place].disk.snapshots().len(),
        );
        self.line(|| {
            format!(
                "node {place} starts, incarnation {incarnation}, with {} entries, a run apart {:?}, {snapshots} snapshots",
                runs.ledger_last, runs.tail,
            )
        });
        self.schedule(TICK_MS, Event::Tick { place, incarnation });
        self.host(place, said);
    }

    fn happen(&mut self, event: Event) {
        if self.told.each_event() {
            self.tell_event(&event);
        }
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
                    self.tell(place, *message);
                }
            }
            Event::Synced {
                place,
                incarnation,
                sequence,
            } => {
                if self.alive(place, incarnation) {
                    self.nodes[place].disk.synced(sequence);
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
            Event::Oracle { wire } => self.oracle_turn(wire),
            Event::Start { place } => {
                if self.nodes[place].incarnation > 0 {
                    self.report.restarts += 1;
                    // One that left to restart the network is among those who must keep their disks.
                    if !self.dark && !std::mem::take(&mut self.nodes[place].again) {
                        self.alter_disk(place);
                    }
                }
                self.start(place, false);
            }
            Event::Fault => {
                if !self.calm {
                    if !self.dark {
                        self.draw_fault();
                    }
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
}
