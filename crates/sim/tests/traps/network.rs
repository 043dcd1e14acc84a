//! A network of engines under full control: every letter can be held, lost or delivered late, every disk
//! can stall, and time passes for whom the script says.
//!
//! What is promised is checked here anew, without a question to the engine: one leader a term; an index
//! is committed once; what is committed is on the disks of a majority of each half of the configuration;
//! once nothing is in the way, a new write commits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{
    Configuration, Effect, Engine, LogEntry, Message, Mutation, Raft, Role, Start, Timing,
};
use types::{Index, Millis, NodeId, Term};

/// An entry that leaves no room for another in its message.
pub const LARGE: usize = 1 << 20;

struct Node {
    raft: Raft,
    log: Vec<LogEntry>,
    synced: usize,
    stalled: bool,
    committed: usize,
}

#[derive(Clone)]
struct Letter {
    from: u64,
    to: u64,
    message: Message,
}

/// Which letters are kept back: from, to and the text of `Message`'s `Debug`.
type Holds = fn(u64, u64, &str) -> bool;

pub struct Network {
    nodes: BTreeMap<u64, Node>,
    mail: VecDeque<Letter>,
    held: Vec<Letter>,
    holds: Option<Holds>,
    cut: BTreeSet<(u64, u64)>,
    now: u64,
    committed: Vec<LogEntry>,
    leaders: BTreeMap<Term, u64>,
    broken: Vec<String>,
}

fn set(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

impl Network {
    /// One of the voters leads in term 1, and its first entry is committed everywhere; `others` have
    /// started and are no members. From then on the engines make that mistake.
    pub fn led_by(leader: u64, voters: &[u64], others: &[u64], mutation: Mutation) -> Self {
        let mut network = Self {
            nodes: BTreeMap::new(),
            mail: VecDeque::new(),
            held: Vec::new(),
            holds: None,
            cut: BTreeSet::new(),
            now: 1_000,
            committed: Vec::new(),
            leaders: BTreeMap::new(),
            broken: Vec::new(),
        };
        for id in voters {
            network.start(*id, Configuration::of(set(voters)));
        }
        for id in others {
            network.start(*id, Configuration::default());
        }
        network.pass(&[leader], 620);
        network.pass(&[leader], 60);
        assert!(network.leads(leader), "nothing is in the way");
        network.mistake(mutation);
        network
    }

    fn start(&mut self, id: u64, configuration: Configuration) {
        let raft = Raft::new(
            NodeId(id),
            Timing::default(),
            7,
            configuration,
            Start::default(),
        );
        let node = Node {
            raft,
            log: Vec::new(),
            synced: 0,
            stalled: false,
            committed: 0,
        };
        self.nodes.insert(id, node);
    }

    #[cfg(feature = "mutations")]
    fn mistake(&mut self, mutation: Mutation) {
        for (id, mut node) in std::mem::take(&mut self.nodes) {
            node.raft = node.raft.with_mutation(mutation);
            self.nodes.insert(id, node);
        }
    }

    #[cfg(not(feature = "mutations"))]
    fn mistake(&mut self, mutation: Mutation) {
        assert_eq!(mutation, Mutation::None, "mistakes need their feature");
    }

    pub fn leads(&self, id: u64) -> bool {
        matches!(self.nodes[&id].raft.role(), Role::Leader { .. })
    }

    /// Nothing passes between these groups any more.
    pub fn split(&mut self, one: &[u64], other: &[u64]) {
        for a in one {
            for b in other {
                self.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    /// Nothing passes from these to that node any more.
    pub fn mute(&mut self, from: &[u64], to: u64) {
        self.cut.extend(from.iter().map(|from| (*from, to)));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Keeps such letters back from now on; `None` keeps none.
    pub fn hold(&mut self, which: Option<Holds>) {
        self.holds = which;
    }

    /// Letters kept back until now are lost.
    pub fn lose_held(&mut self) {
        self.holds = None;
        self.held.clear();
    }

    /// Of the letters kept back, all but the last arrive now, while such others are kept back. Gives
    /// what lets the last one arrive.
    pub fn release_all_but_last(&mut self, which: Option<Holds>) -> impl FnOnce(&mut Self) + use<> {
        let last = self.held.pop().expect("letters were kept back");
        self.holds = which;
        self.mail.extend(std::mem::take(&mut self.held));
        self.deliver();
        move |network: &mut Self| {
            network.mail.push_back(last);
            network.deliver();
        }
    }

    /// A disk that takes writes and syncs none.
    pub fn stall_disk(&mut self, id: u64) {
        self.nodes.get_mut(&id).expect("it runs").stalled = true;
    }

    /// A node is gone for good; its disk stays.
    pub fn crash(&mut self, id: u64) {
        let others: Vec<u64> = self.nodes.keys().copied().collect();
        self.split(&[id], &others);
    }

    pub fn pass(&mut self, ids: &[u64], millis: u64) {
        for _ in 0..millis / 20 {
            self.now += 20;
            for id in ids {
                let now = Millis(self.now);
                self.call(*id, |raft, out| raft.tick(now, out));
            }
            self.deliver();
        }
    }

    /// Campaigns at once, though others hear a leader.
    pub fn campaign(&mut self, id: u64) {
        self.call(id, |raft, out| raft.depose(out));
        self.deliver();
    }

    pub fn propose(&mut self, id: u64, text: &str) {
        self.append(id, Bytes::copy_from_slice(text.as_bytes()), None);
    }

    pub fn propose_large(&mut self, id: u64) {
        self.append(id, vec![b'x'; LARGE].into(), None);
    }

    /// Proposes a step towards these voters and learners.
    pub fn change(&mut self, id: u64, voters: &[u64], learners: &[u64]) {
        let next = self.nodes[&id]
            .raft
            .configuration()
            .change(set(voters), set(learners));
        self.append(id, Bytes::from_static(b"change"), Some(next));
    }

    /// Proposes the configuration that ends a joint one.
    pub fn leave(&mut self, id: u64) {
        let next = self.nodes[&id].raft.configuration().leave();
        self.append(id, Bytes::from_static(b"leave"), Some(next.expect("joint")));
    }

    fn append(&mut self, id: u64, payload: Bytes, configuration: Option<Configuration>) {
        self.call(id, |raft, out| {
            let (term, index) = raft.next().expect("the script knows who leads");
            let entry = LogEntry {
                term,
                index,
                payload,
                configuration,
            };
            raft.propose(entry, out)
                .expect("the script knows what may be");
        });
        self.deliver();
    }

    /// Nothing is in the way any more: whoever leads finishes changes, and a new write commits.
    pub fn must_commit(&mut self, running: &[u64]) {
        let mut proposed: Option<(u64, u64)> = None;
        for _ in 0..500 {
            self.pass(running, 20);
            if proposed.is_some_and(|(_, index)| self.committed.len() as u64 >= index) {
                return;
            }
            let Some(leader) = running.iter().copied().find(|id| self.leads(*id)) else {
                continue;
            };
            let raft = &self.nodes[&leader].raft;
            if let Some(next) = raft.configuration().leave() {
                if raft.may_change(&next) {
                    self.append(leader, Bytes::from_static(b"leave"), Some(next));
                }
            } else if let Some((_, index)) = raft.next()
                && proposed.is_none_or(|(by, _)| by != leader)
            {
                proposed = Some((leader, index.0));
                self.propose(leader, "a new write");
            }
        }
        self.broken
            .push("no new write commits within 10 s".to_owned());
    }

    /// What was promised and not kept.
    pub fn broken(self) -> Vec<String> {
        self.broken
    }

    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    fn call(&mut self, id: u64, act: impl FnOnce(&mut Raft, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(
            &mut self.nodes.get_mut(&id).expect("it runs").raft,
            &mut out,
        );
        for effect in out {
            self.effect(id, effect);
        }
    }

    fn effect(&mut self, id: u64, effect: Effect) {
        let node = self.nodes.get_mut(&id).expect("it runs");
        match effect {
            Effect::Send { to, message } => {
                let letter = Letter {
                    from: id,
                    to: to.0,
                    message,
                };
                let text = format!("{:?}", letter.message);
                if self.cut.contains(&(id, to.0)) {
                    return;
                }
                match self.holds {
                    Some(holds) if holds(id, to.0, &text) => self.held.push(letter),
                    _ => self.mail.push_back(letter),
                }
            }
            Effect::Truncate { from } => {
                node.log.truncate(place(from));
                node.synced = node.synced.min(node.log.len());
            }
            Effect::Append { entries } => {
                node.log.extend(entries);
                if !node.stalled {
                    node.synced = node.log.len();
                    let last = node.log.last().expect("an append has entries");
                    let (term, upto) = (last.term, last.index);
                    self.call(id, |raft, out| raft.persisted(term, upto, out));
                }
            }
            Effect::Commit { upto } => {
                let (from, upto) = (node.committed, place(upto) + 1);
                node.committed = upto;
                for at in from..upto {
                    self.commits(id, at);
                }
            }
            Effect::OpenTerm { term } => {
                if let Some(other) = self.leaders.insert(term, id) {
                    self.broken
                        .push(format!("nodes {other} and {id} both lead term {term}"));
                }
                let mut opened = Vec::new();
                let raft = &mut self.nodes.get_mut(&id).expect("it runs").raft;
                let (term, index) = raft.next().expect("just elected");
                let entry = LogEntry {
                    term,
                    index,
                    payload: Bytes::from(format!("{id} opens term {term}")),
                    configuration: None,
                };
                raft.propose(entry, &mut opened).expect("just elected");
                for effect in opened {
                    self.effect(id, effect);
                }
            }
            Effect::Role(_) => {}
            Effect::Load { .. } | Effect::ReadReady { .. } | Effect::ReadRefused { .. } => {
                unreachable!("scripts are short and read nothing")
            }
        }
    }

    fn commits(&mut self, id: u64, at: usize) {
        let entry = self.nodes[&id].log[at].clone();
        let index = entry.index;
        match self.committed.get(at) {
            Some(known) if *known == entry => return,
            Some(_) => {
                return self
                    .broken
                    .push(format!("entry {index} is committed as two different ones"));
            }
            None => {}
        }
        let configuration = self.nodes[&id].raft.configuration();
        let halves = [Some(&configuration.voters), configuration.incoming.as_ref()];
        for half in halves.into_iter().flatten() {
            let has = |voter: &&NodeId| {
                let node = &self.nodes[&voter.0];
                at < node.synced && node.log[at] == entry
            };
            let copies = half.iter().filter(has).count();
            if copies * 2 <= half.len() {
                self.broken.push(format!(
                    "entry {index} is committed with {copies} copies of {} on disk",
                    half.len()
                ));
            }
        }
        self.committed.push(entry);
    }

    fn deliver(&mut self) {
        while let Some(letter) = self.mail.pop_front() {
            if self.cut.contains(&(letter.from, letter.to)) {
                continue;
            }
            let (now, from) = (Millis(self.now), NodeId(letter.from));
            self.call(letter.to, |raft, out| {
                raft.receive(now, from, letter.message, out);
            });
        }
    }
}

/// Where an entry is in a log that begins with index 1.
fn place(index: Index) -> usize {
    usize::try_from(index.0 - 1).expect("scripts are short")
}
