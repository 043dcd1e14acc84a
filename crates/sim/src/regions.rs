//! Networks of 5 to 50 nodes across regions: what distance and number cost.
//!
//! The consensus engine is the real one. Around it is a model of time: one-way delays between regions, a
//! disk, a processor for each node and its line out, each a queue. A leader proposes what waits when fewer
//! than [`limits::BATCHES_IN_FLIGHT_MAX`] of its entries are uncommitted, as the manager does. Clients are
//! spread over all nodes; a transaction that comes to a follower travels to the leader, and its client
//! knows of the commit when the node it is connected to does.
//!
//! Nothing here is measured on a network: the costs are those of docs/performance.md, and a result is as
//! good as they are. No node fails, but for the one question how long a leader is missed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
pub use consensus::Timing;
use consensus::{Configuration, Effect, Engine, LogEntry, Raft, Role, Start};
use types::{Index, Millis, NodeId, limits};

use crate::random::Random;

/// Engines are ticked so often.
const TICK_US: u64 = 10_000;

/// The first seconds are not counted: a leader is found, queues fill.
const WARM_UP_US: u64 = 2_000_000;

/// A model that has not come to a leader, or to the end of its load, by then is broken.
const END_US: u64 = 600_000_000;

/// Where nodes are, and how far apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub names: Vec<String>,
    /// Milliseconds from region to region and back; within a region on the diagonal.
    pub round_trip_ms: Vec<Vec<f64>>,
}

/// What things cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// Processor time of the leader's enclaves for one transaction.
    pub leader_us: f64,
    /// Of the node that received it: signature recovery, and the client's TLS.
    pub receive_us: f64,
    /// Of every other node.
    pub apply_us: f64,
    /// Of a node for one consensus message: two processes, TLS.
    pub message_us: f64,
    /// For each byte of one: encryption, copies.
    pub byte_us: f64,
    /// Bytes of an entry for one transaction.
    pub transaction_bytes: usize,
    /// Of a sync to disk.
    pub sync_us: u64,
    /// Of a node's line out, in bytes for each microsecond (125 is 1 Gbit/s).
    pub line_bytes_per_us: f64,
    /// Cores of a node.
    pub cores: f64,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub map: Map,
    pub costs: Costs,
    pub nodes: usize,
    /// Region of the leader.
    pub leader: usize,
    /// Transactions a second over all nodes.
    pub rate: f64,
    pub seconds: f64,
    pub timing: Timing,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Committed each second, while the load lasted.
    pub throughput_per_s: f64,
    /// From a client's sending to its knowledge of the commit, of all.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Medians by the region of the client's node.
    pub p50_by_region_ms: Vec<f64>,
    /// Shares of the leader's processor and line that were used.
    pub leader_processor: f64,
    pub leader_line: f64,
    /// Transactions in an entry, on the average.
    pub batch: f64,
    /// From the leader's end until another leads and may commit.
    pub failover_ms: f64,
}

impl Map {
    /// Eight regions with round trips of the size that providers of clouds publish between them,
    /// rounded. A network's own are better: see `coco sim --map`.
    pub fn world() -> Self {
        const NAMES: [&str; 8] = [
            "Virginia",
            "California",
            "Ireland",
            "Frankfurt",
            "Tokyo",
            "Singapore",
            "Sydney",
            "São Paulo",
        ];
        const ROUND_TRIPS: [[f64; 8]; 8] = [
            [0.6, 62.0, 68.0, 90.0, 145.0, 215.0, 198.0, 115.0],
            [62.0, 0.6, 137.0, 152.0, 107.0, 170.0, 138.0, 175.0],
            [68.0, 137.0, 0.6, 25.0, 202.0, 180.0, 255.0, 178.0],
            [90.0, 152.0, 25.0, 0.6, 226.0, 160.0, 280.0, 203.0],
            [145.0, 107.0, 202.0, 226.0, 0.6, 70.0, 103.0, 256.0],
            [215.0, 170.0, 180.0, 160.0, 70.0, 0.6, 92.0, 325.0],
            [198.0, 138.0, 255.0, 280.0, 103.0, 92.0, 0.6, 312.0],
            [115.0, 175.0, 178.0, 203.0, 256.0, 325.0, 312.0, 0.6],
        ];
        Self {
            names: NAMES.iter().map(ToString::to_string).collect(),
            round_trip_ms: ROUND_TRIPS.iter().map(|row| row.to_vec()).collect(),
        }
    }

    /// Only the first regions of it.
    pub fn first(mut self, count: usize) -> Self {
        self.names.truncate(count);
        self.round_trip_ms.truncate(count);
        for row in &mut self.round_trip_ms {
            row.truncate(count);
        }
        self
    }

    /// Whether every region has a distance to every region.
    pub fn is_whole(&self) -> bool {
        let count = self.names.len();
        let good = |row: &Vec<f64>| {
            row.len() == count && row.iter().all(|ms| ms.is_finite() && *ms >= 0.0)
        };
        count > 0 && self.round_trip_ms.len() == count && self.round_trip_ms.iter().all(good)
    }
}

impl Default for Costs {
    /// As measured on the machine of docs/performance.md, but for disk and line, which are those of a
    /// machine in a cloud.
    fn default() -> Self {
        Self {
            leader_us: 15.0,
            receive_us: 35.0,
            apply_us: 5.0,
            message_us: 30.0,
            byte_us: 0.002,
            transaction_bytes: 420,
            sync_us: 2_000,
            line_bytes_per_us: 125.0,
            cores: 4.0,
        }
    }
}

/// A transaction on its way.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    node: usize,
    sent_us: u64,
}

enum Event {
    Tick(usize),
    Arrival,
    /// The leader has it.
    Queued(Transaction),
    Message {
        to: usize,
        from: NodeId,
        message: consensus::Message,
    },
    Persisted {
        node: usize,
        term: types::Term,
        index: Index,
    },
    /// The leader's worker is done with a batch.
    Proposed(Vec<Transaction>),
}

struct Node {
    raft: Raft,
    region: usize,
    alive: bool,
    /// When what it has is free next.
    processor_us: f64,
    line_us: f64,
    disk: Disk,
    busy_us: f64,
    sending_us: f64,
    committed: Index,
}

/// A disk with group commit: what comes while it syncs is in the next sync, all of it.
#[derive(Default)]
struct Disk {
    /// End of the sync that runs or ran last, and of the one after it if something waits for it.
    running_us: u64,
    next_us: u64,
}

impl Disk {
    /// When something that is written now will be safe.
    fn sync(&mut self, now: u64, sync_us: u64) -> u64 {
        if now >= self.running_us && self.next_us > self.running_us {
            self.running_us = self.next_us;
        }
        if now >= self.running_us {
            self.running_us = now + sync_us;
            return self.running_us;
        }
        self.next_us = self.running_us + sync_us;
        self.next_us
    }
}

struct Model<'a> {
    question: &'a Question,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    random: Random,
    waiting: VecDeque<Transaction>,
    executing: usize,
    /// Transactions of each entry.
    entries: BTreeMap<Index, Vec<Transaction>>,
    /// Times of all that are known to be committed, by region.
    times: Vec<Vec<u64>>,
    batches: u64,
    batched: u64,
    load_ends: u64,
}

/// Plays it through.
///
/// # Errors
/// A sentence, if the model does not come to an end.
pub fn ask(question: &Question) -> Result<Answer, String> {
    if !question.map.is_whole() || question.nodes == 0 || question.nodes > limits::NODES_MAX {
        return Err("a map needs a distance for every pair, and a network 1 to 64 nodes".into());
    }
    let mut model = Model::new(question);
    model.elect()?;
    model.load()?;
    let mut answer = model.answer();
    if question.nodes > 2 {
        answer.failover_ms = model.fail_over()?;
    }
    Ok(answer)
}

impl<'a> Model<'a> {
    fn new(question: &'a Question) -> Self {
        let regions = question.map.names.len();
        let ids = || (0..question.nodes).map(id);
        let nodes = (0..question.nodes).map(|place| Node {
            raft: Raft::new(
                id(place),
                question.timing,
                question.seed.wrapping_add(place as u64), // as wide
                Configuration::of(ids()),
                Start::default(),
            ),
            // The leader is the first node, and its region's turn comes first.
            region: (question.leader + place) % regions,
            alive: true,
            processor_us: 0.0,
            line_us: 0.0,
            disk: Disk::default(),
            busy_us: 0.0,
            sending_us: 0.0,
            committed: Index(0),
        });
        Self {
            nodes: nodes.collect(),
            question,
            now: 1_000_000,
            sequence: 0,
            queue: BTreeMap::new(),
            random: Random::new(question.seed),
            waiting: VecDeque::new(),
            executing: 0,
            entries: BTreeMap::new(),
            times: vec![Vec::new(); regions],
            batches: 0,
            batched: 0,
            load_ends: 0,
        }
    }

    fn at(&mut self, when: u64, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((when.max(self.now), self.sequence), event);
    }

    fn leads(&self, place: usize) -> bool {
        matches!(self.nodes[place].raft.role(), Role::Leader { .. })
    }

    fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|place| self.nodes[*place].alive && self.leads(*place))
    }

    /// The first node's clock runs alone until it leads.
    fn elect(&mut self) -> Result<(), String> {
        self.at(self.now, Event::Tick(0));
        self.until("a leader", |model| model.leads(0))?;
        for place in 1..self.nodes.len() {
            let turn = self.random.below(TICK_US);
            self.at(self.now + turn, Event::Tick(place));
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), String> {
        // Hours are below 2^53 microseconds.
        let length = (self.question.seconds * 1e6) as u64 + WARM_UP_US;
        let began = self.now;
        self.load_ends = began + length;
        self.at(self.now, Event::Arrival);
        let counted = began + WARM_UP_US;
        self.until("the end of warming up", |model| model.now >= counted)?;
        for node in &mut self.nodes {
            (node.busy_us, node.sending_us) = (0.0, 0.0);
        }
        self.times.iter_mut().for_each(Vec::clear);
        (self.batches, self.batched) = (0, 0);
        self.until("the end of the load", |model| model.now >= model.load_ends)
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let last = self.now + END_US;
        while !done(self) {
            let Some(((now, _), event)) = self.queue.pop_first() else {
                return Err(format!("nothing more happens before {what}"));
            };
            if now > last {
                return Err(format!("{what} does not come"));
            }
            self.now = now;
            self.handle(event);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        let clock = Millis(self.now / 1_000);
        match event {
            Event::Tick(place) => {
                if self.nodes[place].alive {
                    self.nodes[place].raft.tick(clock, &mut out);
                    self.at(self.now + TICK_US, Event::Tick(place));
                    self.effects(place, out);
                }
            }
            Event::Arrival => self.arrive(),
            Event::Queued(transaction) => {
                self.waiting.push_back(transaction);
                self.propose();
            }
            Event::Message { to, from, message } => {
                if self.nodes[to].alive {
                    self.nodes[to].raft.receive(clock, from, message, &mut out);
                    self.effects(to, out);
                }
            }
            Event::Persisted { node, term, index } => {
                if self.nodes[node].alive {
                    self.nodes[node].raft.persisted(term, index, &mut out);
                    self.effects(node, out);
                }
            }
            Event::Proposed(batch) => {
                self.executing -= 1;
                let bytes = batch.len() * self.question.costs.transaction_bytes;
                let leader = &mut self.nodes[0].raft;
                if let Some((term, index)) = leader.next() {
                    let entry = LogEntry {
                        term,
                        index,
                        payload: Bytes::from(vec![0; bytes]),
                        configuration: None,
                    };
                    if leader.propose(entry, &mut out).is_ok() {
                        self.entries.insert(index, batch);
                    }
                }
                self.effects(0, out);
                self.propose();
            }
        }
    }

    /// One transaction comes to some node, and the next one is planned: gaps are exponential.
    fn arrive(&mut self) {
        if self.now >= self.load_ends {
            return;
        }
        // Uniform in (0, 1]; 2^53 values are enough.
        let uniform = (self.random.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
        let gap = -uniform.ln() / self.question.rate * 1e6;
        self.at(self.now + gap as u64, Event::Arrival); // far below 2^63
        let node = self.random.below(self.nodes.len() as u64) as usize; // at most 64
        let transaction = Transaction {
            node,
            sent_us: self.now,
        };
        let ready = self.work(node, self.question.costs.receive_us);
        let delay = self.delay(node, 0);
        self.at(ready + delay, Event::Queued(transaction));
    }

    /// The leader's worker takes what waits, if it may have one more entry under way.
    fn propose(&mut self) {
        let uncommitted = self.entries.range(self.nodes[0].committed.next()..).count();
        let room = limits::BATCHES_IN_FLIGHT_MAX as usize;
        if self.waiting.is_empty() || self.executing > 0 || uncommitted >= room {
            return;
        }
        let count = self.waiting.len().min(limits::BATCH_UNITS_MAX);
        let batch: Vec<Transaction> = self.waiting.drain(..count).collect();
        self.batches += 1;
        self.batched += count as u64; // at most 4096
        self.executing += 1;
        let ready = self.work(0, self.question.costs.leader_us * count as f64);
        self.at(ready, Event::Proposed(batch));
    }

    /// Gives a node's processor work; says when it is done.
    fn work(&mut self, place: usize, us: f64) -> u64 {
        let node = &mut self.nodes[place];
        let us = us / self.question.costs.cores;
        node.processor_us = node.processor_us.max(self.now as f64) + us;
        node.busy_us += us;
        node.processor_us as u64 // far below 2^63
    }

    fn delay(&self, from: usize, to: usize) -> u64 {
        if from == to {
            return 0;
        }
        let row = &self.question.map.round_trip_ms[self.nodes[from].region];
        (row[self.nodes[to].region] * 500.0) as u64 // half a round trip, in microseconds
    }

    fn effects(&mut self, place: usize, effects: Vec<Effect>) {
        let costs = &self.question.costs;
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    let to = place_of(to);
                    let bytes = message.0.len() as f64;
                    let ready = self.work(place, costs.message_us + bytes * costs.byte_us);
                    let node = &mut self.nodes[place];
                    let sending = bytes / costs.line_bytes_per_us;
                    node.line_us = node.line_us.max(ready as f64) + sending;
                    node.sending_us += sending;
                    let there = node.line_us as u64 + self.delay(place, to);
                    // Reading it costs as much as writing it did.
                    self.nodes[to].busy_us +=
                        (costs.message_us + bytes * costs.byte_us) / costs.cores;
                    let from = id(place);
                    self.at(there, Event::Message { to, from, message });
                }
                Effect::Append { entries } => {
                    let Some(last) = entries.last() else { continue };
                    let (term, index) = (last.term, last.index);
                    let node = &mut self.nodes[place];
                    let when = node.disk.sync(self.now, costs.sync_us);
                    let node = place;
                    self.at(when, Event::Persisted { node, term, index });
                }
                Effect::Commit { upto } => self.committed(place, upto),
                Effect::OpenTerm { .. } => {
                    let mut out = Vec::new();
                    let raft = &mut self.nodes[place].raft;
                    if let Some((term, index)) = raft.next() {
                        let entry = LogEntry {
                            term,
                            index,
                            payload: Bytes::new(),
                            configuration: None,
                        };
                        // It was elected a moment ago.
                        let _ = raft.propose(entry, &mut out);
                    }
                    self.effects(place, out);
                }
                Effect::Load { node, first, last } => {
                    // From its disk, which has everything that its log has.
                    let raft = &self.nodes[place].raft;
                    let index = |number| raft.entry(Index(number)).cloned();
                    let some: Vec<LogEntry> = (first.0..=last.0).map_while(index).collect();
                    let mut out = Vec::new();
                    self.nodes[place].raft.supply(node, some, &mut out);
                    self.effects(place, out);
                }
                _ => {}
            }
        }
    }

    fn committed(&mut self, place: usize, upto: Index) {
        let after = self.nodes[place].committed;
        self.nodes[place].committed = upto;
        self.nodes[place].raft.applied(upto);
        let entries: Vec<(usize, Vec<u64>)> = self
            .entries
            .range(after.next()..=upto)
            .map(|(_, batch)| {
                let own = batch.iter().filter(|transaction| transaction.node == place);
                (
                    batch.len(),
                    own.map(|transaction| transaction.sent_us).collect(),
                )
            })
            .collect();
        for (count, own) in entries {
            let ready = if place == 0 {
                self.now
            } else {
                self.work(place, self.question.costs.apply_us * count as f64)
            };
            let region = self.nodes[place].region;
            self.times[region].extend(own.into_iter().map(|sent| ready.saturating_sub(sent)));
        }
        if place == 0 {
            self.propose();
        }
        // What everybody knows of is over.
        let known = self.nodes.iter().map(|node| node.committed).min();
        if let Some(known) = known {
            self.entries = self.entries.split_off(&known.next());
        }
    }

    fn answer(&self) -> Answer {
        let length = self.question.seconds * 1e6;
        let mut all: Vec<u64> = self.times.iter().flatten().copied().collect();
        all.sort_unstable();
        let at = |sorted: &[u64], per_mille: usize| {
            let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
            sorted.get(rank - 1).map_or(0.0, |us| *us as f64 / 1000.0)
        };
        let by_region = self.times.iter().map(|times| {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            at(&sorted, 500)
        });
        Answer {
            throughput_per_s: all.len() as f64 / self.question.seconds,
            p50_ms: at(&all, 500),
            p99_ms: at(&all, 990),
            p50_by_region_ms: by_region.collect(),
            leader_processor: self.nodes[0].busy_us / length,
            leader_line: self.nodes[0].sending_us / length,
            batch: self.batched as f64 / self.batches.max(1) as f64,
            failover_ms: 0.0,
        }
    }

    /// The leader's node ends; the others find another.
    fn fail_over(&mut self) -> Result<f64, String> {
        self.nodes[0].alive = false;
        let ended = self.now;
        self.until("another leader", |model| model.leader().is_some())?;
        Ok((self.now - ended) as f64 / 1000.0)
    }
}

fn id(place: usize) -> NodeId {
    NodeId(place as u64 + 1) // at most 64
}

fn place_of(id: NodeId) -> usize {
    id.0 as usize - 1 // made by `id`
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(nodes: usize, map: Map, rate: f64) -> Question {
        Question {
            map,
            costs: Costs::default(),
            nodes,
            leader: 0,
            rate,
            seconds: 2.0,
            timing: Timing {
                heartbeat_ms: 150,
                election_ms: 1_500,
            },
            seed: 7,
        }
    }

    #[test]
    fn nobody_commits_faster_than_half_of_the_nodes_can_be_reached() {
        let map = Map::world().first(5);
        let answer = ask(&question(5, map.clone(), 1_000.0)).expect("comes to an end");
        // The leader needs two of the four others: the second nearest decides.
        let mut distances = map.round_trip_ms[0][1..].to_vec();
        distances.sort_by(f64::total_cmp);
        let least = distances[1];
        assert!(answer.p50_by_region_ms[0] >= least, "{answer:?}");
        // Besides, a batch waits until there is room in the pipeline, which a round trip empties.
        assert!(answer.p50_by_region_ms[0] < 1.5 * least, "{answer:?}");
        // A client elsewhere also waits for the way to the leader and back.
        let far = map.round_trip_ms[0][4];
        assert!(
            answer.p50_by_region_ms[4] >= least + far - 1.0,
            "{answer:?}"
        );
        assert!(
            (answer.throughput_per_s - 1_000.0).abs() < 60.0,
            "{answer:?}"
        );
    }

    #[test]
    fn one_site_answers_in_the_time_of_a_sync_and_a_leader_is_missed_for_the_election_time() {
        let mut question = question(5, Map::world().first(1), 2_000.0);
        question.timing = Timing::default();
        let answer = ask(&question).expect("comes to an end");
        assert!(answer.p50_ms >= 2.0 && answer.p50_ms < 12.0, "{answer:?}");
        assert!((300.0..1_000.0).contains(&answer.failover_ms), "{answer:?}");
    }

    #[test]
    fn a_sync_takes_along_all_that_waits_for_it() {
        let mut disk = Disk::default();
        let safe: Vec<u64> = [0, 100, 900, 1_100, 1_200, 5_000]
            .map(|now| disk.sync(now, 1_000))
            .to_vec();
        assert_eq!(safe, [1_000, 2_000, 2_000, 3_000, 3_000, 6_000]);
    }

    #[test]
    fn more_nodes_use_more_of_the_leaders_line() {
        let of = |nodes| ask(&question(nodes, Map::world().first(3), 2_000.0)).expect("ends");
        let (few, many) = (of(5), of(15));
        assert!(many.leader_line > 2.5 * few.leader_line, "{few:?} {many:?}");
        assert!(many.leader_processor > few.leader_processor);
    }

    #[test]
    fn the_same_question_has_the_same_answer() {
        let question = question(7, Map::world(), 500.0);
        assert_eq!(ask(&question), ask(&question));
    }

    #[test]
    fn a_map_with_a_hole_is_refused() {
        let mut map = Map::world();
        map.round_trip_ms[3].pop();
        assert!(ask(&question(5, map, 100.0)).is_err());
    }
}
