//! The world: nodes with their disks, a network, and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::AddAssign;

use bytes::Bytes;
use consensus::{
    Configuration, Effect, Engine, LogEntry, Message, Mutation, Raft, Role, Start, Timing,
};
use types::{Index, Millis, NodeId, Term};

use crate::properties::{Broken, Properties};
use crate::random::Random;

/// A write under way: news of it comes at `due`, for entries up to the index.
struct Write {
    due: u64,
    term: Term,
    upto: Index,
}

pub struct Node {
    pub raft: Raft,
    pub alive: bool,
    /// What the node was told to store, and how much of it is on disk.
    pub log: Vec<LogEntry>,
    pub synced: u64,
    writes: VecDeque<Write>,
    committed: u64,
    /// Proposals of this node's leadership, not yet acknowledged.
    proposed: BTreeMap<Index, Term>,
    reads: BTreeMap<u64, u64>,
    pub disk_ms: u64,
    tick_due: u64,
}

enum Event {
    Message {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    Supply {
        to: NodeId,
        follower: NodeId,
        entries: Vec<LogEntry>,
    },
}

/// What happened in a run; equal for equal seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub terms: u64,
    pub committed: u64,
    pub crashes: u64,
    pub configurations: u64,
    pub reads: u64,
    pub loads: u64,
    pub truncations: u64,
    pub fingerprint: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.terms += other.terms;
        self.committed += other.committed;
        self.crashes += other.crashes;
        self.configurations += other.configurations;
        self.reads += other.reads;
        self.loads += other.loads;
        self.truncations += other.truncations;
        self.fingerprint ^= other.fingerprint;
    }
}

pub struct World {
    pub now: u64,
    pub random: Random,
    pub nodes: BTreeMap<NodeId, Node>,
    pub properties: Properties,
    pub count: Summary,
    /// Directions in which nothing passes.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Of a thousand messages: lost, doubled; and the longest way of one.
    pub lost: u64,
    pub doubled: u64,
    pub delay_ms: u64,
    under_way: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    request: u64,
    mutation: Mutation,
    trace: bool,
}

impl World {
    pub fn new(seed: u64, mutation: Mutation, trace: bool) -> Self {
        let mut world = Self {
            now: 1_000,
            random: Random::new(seed),
            nodes: BTreeMap::new(),
            properties: Properties::default(),
            count: Summary::default(),
            cut: BTreeSet::new(),
            lost: 0,
            doubled: 0,
            delay_ms: 5,
            under_way: BTreeMap::new(),
            sequence: 0,
            request: 0,
            mutation,
            trace,
        };
        let founders = world.random.between(1, 5);
        let voters = Configuration::of((1..=founders).map(NodeId));
        for _ in 0..founders {
            world.start(voters.clone(), &[]);
        }
        world
    }

    pub fn summary(&self) -> Summary {
        let committed = self.properties.committed.len() as u64;
        Summary {
            terms: self.properties.terms(),
            committed,
            ..self.count.clone()
        }
    }

    /// A new node, with a new id, perhaps with the ledger that a former one left.
    pub fn start(&mut self, configuration: Configuration, disk: &[LogEntry]) -> NodeId {
        let id = NodeId(self.nodes.len() as u64 + 1);
        let mut start = Start::default();
        for entry in disk {
            start.push(entry.clone());
        }
        let raft = Raft::new(
            id,
            Timing::default(),
            self.random.number(),
            configuration,
            start,
        )
        .with_mutation(self.mutation)
        .with_window(8);
        let node = Node {
            raft,
            alive: true,
            log: disk.to_vec(),
            synced: disk.len() as u64,
            writes: VecDeque::new(),
            committed: 0,
            proposed: BTreeMap::new(),
            reads: BTreeMap::new(),
            disk_ms: 3,
            tick_due: self.now,
        };
        self.nodes.insert(id, node);
        id
    }

    pub fn alive(&self) -> Vec<NodeId> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.alive)
            .map(|(id, _)| *id)
            .collect()
    }

    /// The open leader of the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |(id, node): (&NodeId, &Node)| match node.raft.role() {
            Role::Leader { term } if node.alive => Some((term, *id)),
            _ => None,
        };
        self.nodes.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:6} {}", self.now, text());
        }
    }

    /// Calls a node's engine, and does what it asks for.
    pub fn call(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Raft, &mut Vec<Effect>),
    ) -> Result<(), Broken> {
        let node = self.nodes.get_mut(&id).expect("nodes are never forgotten");
        if !node.alive {
            return Ok(());
        }
        self.count.events += 1;
        let mut out = Vec::new();
        act(&mut node.raft, &mut out);
        for effect in out {
            self.effect(id, effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, id: NodeId, effect: Effect) -> Result<(), Broken> {
        self.say(|| match &effect {
            Effect::Append { entries } => format!(
                "{id} append {:?}",
                entries.iter().map(|e| e.index.0).collect::<Vec<_>>()
            ),
            other => format!("{id} {other:?}"),
        });
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("nodes are never forgotten");
        match effect {
            Effect::Send { to, message } => {
                self.count.fingerprint = self
                    .count
                    .fingerprint
                    .wrapping_mul(31)
                    .wrapping_add(now ^ message.0.len() as u64);
                self.post(id, to, message);
            }
            Effect::Truncate { from } => {
                self.count.truncations += 1;
                if from.0 <= node.committed {
                    return Err(format!(
                        "{id:?} truncates {from:?}, which it called committed"
                    ));
                }
                node.log.truncate(from.0 as usize - 1);
                node.synced = node.synced.min(node.log.len() as u64);
                node.writes.retain(|write| write.upto < from);
            }
            Effect::Append { entries } => {
                for entry in entries {
                    if entry.index.0 != node.log.len() as u64 + 1 {
                        return Err(format!("{id:?} appends {:?} with a gap", entry.index));
                    }
                    self.properties.appended(id, &entry, node.log.last())?;
                    node.log.push(entry);
                }
                let last = node.log.last().expect("an append has entries");
                let before = node.writes.back().map_or(now, |write| write.due);
                let due = before.max(now + self.random.between(0, node.disk_ms));
                node.writes.push_back(Write {
                    due,
                    term: last.term,
                    upto: last.index,
                });
            }
            Effect::Load {
                node: follower,
                first,
                last,
            } => {
                self.count.loads += 1;
                if last.0 > node.synced {
                    return Err(format!("{id:?} loads {last:?}, which is not on disk"));
                }
                let some = self.random.between(first.0, last.0) as usize;
                let bare = |entry: &LogEntry| LogEntry {
                    configuration: None,
                    ..entry.clone()
                };
                let entries = node.log[first.0 as usize - 1..some]
                    .iter()
                    .map(bare)
                    .collect();
                let due = now + self.random.between(0, 20);
                self.sequence += 1;
                self.under_way.insert(
                    (due, self.sequence),
                    Event::Supply {
                        to: id,
                        follower,
                        entries,
                    },
                );
            }
            Effect::Commit { upto } => self.commit(id, upto)?,
            Effect::OpenTerm { term } => {
                self.properties.elected(id, term, &node.log)?;
                node.proposed.clear();
                self.propose(id, None)?;
            }
            Effect::Role(Role::Leader { term }) => {
                if node.raft.last().0 != term {
                    return Err(format!("{id:?} leads {term:?} before an entry of it"));
                }
            }
            Effect::Role(_) => {}
            Effect::ReadReady { request, index } => {
                self.count.reads += 1;
                let before = node
                    .reads
                    .remove(&request)
                    .ok_or("a read was answered twice")?;
                self.properties.read(id, index, before)?;
            }
            Effect::ReadRefused { request } => {
                node.reads
                    .remove(&request)
                    .ok_or("a read was answered twice")?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, id: NodeId, upto: Index) -> Result<(), Broken> {
        let node = &self.nodes[&id];
        let term_of_upto = node.log.get(upto.0 as usize - 1).map(|entry| entry.term);
        self.properties
            .counted(id, upto, term_of_upto, node.raft.last().0)?;
        for index in node.committed + 1..=upto.0 {
            let entry = node
                .raft
                .entry(Index(index))
                .ok_or("a committed entry is not in memory")?;
            let on_disk = |voter: NodeId| {
                self.nodes.get(&voter).is_some_and(|voter| {
                    voter.synced >= index
                        && voter
                            .log
                            .get(index as usize - 1)
                            .is_some_and(|e| e == entry)
                })
            };
            self.properties
                .committed(id, entry, node.raft.configuration(), on_disk)?;
            self.count.configurations += u64::from(entry.configuration.is_some());
        }
        let node = self.nodes.get_mut(&id).expect("looked up above");
        if upto.0 <= node.committed {
            return Err(format!("{id:?} commits {upto:?} again"));
        }
        node.committed = upto.0;
        let acknowledged: Vec<Index> = node
            .proposed
            .range(..=upto)
            .map(|(index, _)| *index)
            .collect();
        for index in acknowledged {
            let term = node.proposed.remove(&index);
            if node.log.get(index.0 as usize - 1).map(|entry| entry.term) == term {
                self.properties.acknowledged(index);
            }
        }
        node.raft.applied(upto);
        Ok(())
    }

    pub fn propose(
        &mut self,
        id: NodeId,
        configuration: Option<Configuration>,
    ) -> Result<(), Broken> {
        let Some((term, index)) = self.nodes[&id].raft.next() else {
            return Ok(());
        };
        let payload = Bytes::copy_from_slice(&self.random.number().to_be_bytes());
        self.nodes
            .get_mut(&id)
            .expect("looked up above")
            .proposed
            .insert(index, term);
        self.call(id, |raft, out| {
            let entry = LogEntry {
                term,
                index,
                payload,
                configuration,
            };
            raft.propose(entry, out).expect("next() allowed it");
        })
    }

    pub fn read(&mut self, id: NodeId) -> Result<(), Broken> {
        self.request += 1;
        let (request, before) = (self.request, self.properties.committed.len() as u64);
        self.nodes
            .get_mut(&id)
            .expect("nodes are never forgotten")
            .reads
            .insert(request, before);
        self.call(id, |raft, out| raft.read_index(request, out))
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from, to)) || self.random.in_thousand(self.lost) {
            return;
        }
        let copies = if self.random.in_thousand(self.doubled) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let due = self.now + self.random.between(0, self.delay_ms);
            self.sequence += 1;
            let event = Event::Message {
                from,
                to,
                message: message.clone(),
            };
            self.under_way.insert((due, self.sequence), event);
        }
    }

    /// A few milliseconds pass: what is due happens.
    pub fn pass(&mut self) -> Result<(), Broken> {
        self.now += self.random.between(1, 4);
        while let Some(first) = self
            .under_way
            .first_entry()
            .filter(|first| first.key().0 <= self.now)
        {
            let now = Millis(self.now);
            match first.remove() {
                Event::Message { from, to, message } => {
                    if self.nodes.contains_key(&to) {
                        self.call(to, |raft, out| raft.receive(now, from, message, out))?;
                    }
                }
                Event::Supply {
                    to,
                    follower,
                    entries,
                } => {
                    self.call(to, |raft, out| raft.supply(follower, entries, out))?;
                }
            }
        }
        for id in self.alive() {
            let node = self.nodes.get_mut(&id).expect("listed above");
            let mut news = None;
            while let Some(write) = node.writes.pop_front_if(|write| write.due <= self.now) {
                node.synced = write.upto.0;
                news = Some((write.term, write.upto));
            }
            let ticks = node.tick_due <= self.now;
            if let Some((term, upto)) = news {
                self.call(id, |raft, out| raft.persisted(term, upto, out))?;
            }
            if ticks {
                let now = self.now;
                let pause = self.random.between(5, 25);
                self.nodes.get_mut(&id).expect("listed above").tick_due = now + pause;
                self.call(id, |raft, out| raft.tick(Millis(now), out))?;
            }
        }
        Ok(())
    }
}
