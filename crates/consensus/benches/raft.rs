//! One entry through a leader and two followers whose disks and wires are this thread.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{Configuration, Effect, Engine, LogEntry, Raft, Role, Start, Timing};
use criterion::{Criterion, criterion_group, criterion_main};
use types::{Index, Millis, NodeId};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

struct Network {
    nodes: Vec<Raft>,
    now: u64,
    committed: Index,
}

impl Network {
    fn new() -> Self {
        let node = |(place, id): (usize, &NodeId)| {
            Raft::new(
                *id,
                Timing::default(),
                place as u64 + 1, // of three
                Configuration::of(NODES),
                Start::default(),
            )
        };
        let mut network = Self {
            nodes: NODES.iter().enumerate().map(node).collect(),
            now: 1_000,
            committed: Index(0),
        };
        while network.leader().is_none() {
            network.now += 25;
            for place in 0..NODES.len() {
                let mut out = Vec::new();
                network.nodes[place].tick(Millis(network.now), &mut out);
                network.carry(place, out);
            }
        }
        network
    }

    fn leader(&self) -> Option<usize> {
        let leads = |node: &Raft| matches!(node.role(), Role::Leader { .. });
        self.nodes.iter().position(leads)
    }

    fn propose(&mut self, place: usize, payload: Bytes, out: &mut Vec<Effect>) -> Index {
        let (term, index) = self.nodes[place].next().expect("it was elected");
        let entry = LogEntry {
            term,
            index,
            payload,
            configuration: None,
        };
        self.nodes[place].propose(entry, out).expect("it leads");
        index
    }

    /// Does what the engines ask for until they are at rest.
    fn carry(&mut self, place: usize, effects: Vec<Effect>) {
        let mut queue: VecDeque<(usize, Effect)> =
            effects.into_iter().map(|effect| (place, effect)).collect();
        while let Some((place, effect)) = queue.pop_front() {
            let (at, mut out) = match effect {
                Effect::Send { to, message } => {
                    let at = NODES.iter().position(|id| *id == to).expect("one of three");
                    let mut out = Vec::new();
                    self.nodes[at].receive(Millis(self.now), NODES[place], message, &mut out);
                    (at, out)
                }
                Effect::Append { entries } => {
                    let mut out = Vec::new();
                    if let Some(last) = entries.last() {
                        self.nodes[place].persisted(last.term, last.index, &mut out);
                    }
                    (place, out)
                }
                Effect::Commit { upto } => {
                    self.nodes[place].applied(upto);
                    self.committed = self.committed.max(upto);
                    continue;
                }
                Effect::OpenTerm { .. } => {
                    let mut out = Vec::new();
                    self.propose(place, Bytes::new(), &mut out);
                    (place, out)
                }
                _ => continue,
            };
            queue.extend(out.drain(..).map(|effect| (at, effect)));
        }
    }

    fn replicate(&mut self, payload: &Bytes) {
        let leader = self.leader().expect("elected");
        let mut out = Vec::new();
        let index = self.propose(leader, payload.clone(), &mut out);
        self.carry(leader, out);
        assert_eq!(self.committed, index);
    }
}

fn raft(criterion: &mut Criterion) {
    for bytes in [1 << 10, 64 << 10] {
        let payload = Bytes::from(vec![0x5a; bytes]);
        let mut network = Network::new();
        criterion.bench_function(&format!("consensus/entry_of_{bytes}_on_3"), |bencher| {
            bencher.iter(|| network.replicate(&payload));
        });
    }
}

criterion_group!(benches, raft);
criterion_main!(benches);
