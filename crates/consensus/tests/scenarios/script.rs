//! Runs a script and writes its transcript: only this file knows the engine's API.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use consensus::{Configuration, Effect, Engine, LogEntry, Message, Raft, Role, Start, Timing};
use expect_test::Expect;
use types::{Millis, NodeId};

#[derive(Default)]
struct Script {
    nodes: BTreeMap<NodeId, Raft>,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    cut: BTreeSet<NodeId>,
    now: u64,
    request: u64,
    transcript: String,
}

/// Runs `script` and compares what happened.
pub fn check(script: &str, expected: Expect) {
    let mut world = Script::default();
    for command in script.split('|').map(str::trim) {
        writeln!(world.transcript, "{command}").expect("text");
        let words: Vec<&str> = command.split_whitespace().collect();
        world.run(&words);
        if words[0] != "write" {
            world.deliver();
        }
    }
    expected.assert_eq(&world.transcript);
}

fn node(word: &str) -> NodeId {
    NodeId(word.parse().expect("a node is a number"))
}

fn nodes(list: &str) -> BTreeSet<NodeId> {
    list.split(',')
        .filter(|word| *word != "-")
        .map(node)
        .collect()
}

fn names(nodes: &BTreeSet<NodeId>) -> String {
    nodes
        .iter()
        .map(NodeId::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn configuration(configuration: &Configuration) -> String {
    let mut text = names(&configuration.voters);
    if let Some(incoming) = &configuration.incoming {
        write!(text, " -> {}", names(incoming)).expect("text");
    }
    if !configuration.learners.is_empty() {
        write!(text, " learners {}", names(&configuration.learners)).expect("text");
    }
    text
}

impl Script {
    fn run(&mut self, words: &[&str]) {
        match *words {
            ["voters", ref ids @ ..] => {
                let voters = Configuration::of(ids.iter().map(|id| node(id)));
                ids.iter()
                    .for_each(|id| self.start(node(id), voters.clone()));
            }
            ["join", id] => self.start(node(id), Configuration::default()),
            ["elect", id] => self.pass_for(&[node(id)], 620),
            ["leader", id] => {
                let length = self.transcript.len();
                self.pass_for(&[node(id)], 620);
                self.transcript.truncate(length);
            }
            ["pass", millis] => {
                let all: Vec<NodeId> = self.nodes.keys().copied().collect();
                self.pass_for(&all, millis.parse().expect("milliseconds"));
            }
            ["propose" | "write", id, text] => self.propose(node(id), text, None),
            ["change", id, voters, learners] => {
                let next = self.nodes[&node(id)]
                    .configuration()
                    .change(nodes(voters), nodes(learners));
                self.propose(node(id), "change", Some(next));
            }
            ["leave", id] => {
                let next = self.nodes[&node(id)]
                    .configuration()
                    .leave()
                    .expect("joint");
                self.propose(node(id), "leave", Some(next));
            }
            ["read", id] => {
                self.request += 1;
                let request = self.request;
                self.call(node(id), |raft, out| raft.read_index(request, out));
            }
            ["transfer", from, to] => {
                self.call(node(from), |raft, out| {
                    raft.transfer(node(to), out).expect("it leads")
                });
            }
            ["depose", id] => self.call(node(id), |raft, out| raft.depose(out)),
            ["cut", id] => {
                self.cut.insert(node(id));
            }
            ["heal"] => self.cut.clear(),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn start(&mut self, id: NodeId, voters: Configuration) {
        let mut raft = Raft::new(id, Timing::default(), 7, voters, Start::default());
        if self.now > 0 || id.0 > 1 {
            raft.tick(Millis(self.now), &mut Vec::new());
        }
        self.nodes.insert(id, raft);
    }

    fn pass_for(&mut self, nodes: &[NodeId], millis: u64) {
        for _ in 0..millis / 20 {
            self.now += 20;
            for id in nodes {
                let now = Millis(self.now);
                self.call(*id, |raft, out| raft.tick(now, out));
            }
            self.deliver();
        }
    }

    fn propose(&mut self, id: NodeId, text: &str, configuration: Option<Configuration>) {
        let raft = &self.nodes[&id];
        let (term, index) = raft.next().unwrap_or_default();
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let entry = LogEntry {
            term,
            index,
            payload,
            configuration,
        };
        let mut refused = false;
        self.call(id, |raft, out| refused = raft.propose(entry, out).is_err());
        if refused {
            writeln!(self.transcript, "  {id} refuses").expect("text");
        }
    }

    fn call(&mut self, id: NodeId, act: impl FnOnce(&mut Raft, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        let raft = self.nodes.get_mut(&id).expect("a node of the script");
        act(raft, &mut out);
        for effect in out {
            self.effect(id, effect);
        }
    }

    fn effect(&mut self, id: NodeId, effect: Effect) {
        let said = match effect {
            Effect::Send { to, message } => {
                if !self.cut.contains(&id) && !self.cut.contains(&to) {
                    self.mail.push_back((id, to, message));
                }
                return;
            }
            Effect::Append { entries } => {
                let last = entries.last().expect("an append has entries");
                let (term, upto) = (last.term, last.index);
                let changes = entries
                    .iter()
                    .filter_map(|entry| entry.configuration.as_ref());
                for change in changes {
                    writeln!(self.transcript, "  {id} is in [{}]", configuration(change))
                        .expect("text");
                }
                return self.call(id, |raft, out| raft.persisted(term, upto, out));
            }
            Effect::OpenTerm { term } => {
                writeln!(self.transcript, "  {id} is elected in term {term}").expect("text");
                return self.propose(id, "open", None);
            }
            Effect::Commit { upto } => format!("commits {upto}"),
            Effect::Truncate { from } => format!("truncates {from}"),
            Effect::Role(Role::Leader { term }) => format!("leads term {term}"),
            Effect::Role(Role::Candidate { .. }) => return,
            Effect::Role(Role::Follower { leader: None, .. }) => "has no leader".to_owned(),
            Effect::Role(Role::Follower {
                term,
                leader: Some(leader),
            }) => format!("follows {leader} in term {term}"),
            Effect::ReadReady { request, index } => format!("may answer read {request} at {index}"),
            Effect::ReadRefused { request } => format!("refuses read {request}"),
            Effect::Load { .. } => unreachable!("scripts are short"),
        };
        writeln!(self.transcript, "  {id} {said}").expect("text");
    }

    /// Until nothing is under way.
    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.mail.pop_front() {
            let now = Millis(self.now);
            if self.nodes.contains_key(&to) {
                self.call(to, |raft, out| raft.receive(now, from, message, out));
            }
        }
    }
}
