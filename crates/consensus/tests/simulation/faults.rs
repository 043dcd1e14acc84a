//! What goes wrong, who changes the membership, and how it ends.

use std::collections::BTreeSet;

use consensus::{Configuration, Engine};
use types::NodeId;

use crate::properties::Broken;
use crate::world::World;

impl World {
    /// Trouble for so long.
    pub fn trouble(&mut self, millis: u64) -> Result<(), Broken> {
        let end = self.now + millis;
        while self.now < end {
            self.pass()?;
            if self.random.in_thousand(250) {
                self.client()?;
            }
            if self.random.in_thousand(12) {
                self.fault()?;
            }
            if self.random.in_thousand(60) {
                self.administrator(true)?;
            }
        }
        Ok(())
    }

    /// Proposes or reads where it thinks that the leader is; several may think that they lead.
    fn client(&mut self) -> Result<(), Broken> {
        let alive = self.alive();
        let leads = |id: &NodeId| self.nodes[id].raft.next().is_some();
        let leaders: Vec<NodeId> = alive.iter().copied().filter(leads).collect();
        match self.random.below(4) {
            0 => match self
                .random
                .pick(if leaders.len() > 1 { &leaders } else { &alive })
            {
                Some(id) => self.read(id),
                None => Ok(()),
            },
            _ => match self.random.pick(&leaders) {
                Some(id) => self.propose(id, None),
                None => Ok(()),
            },
        }
    }

    fn fault(&mut self) -> Result<(), Broken> {
        let alive = self.alive();
        let Some(one) = self.random.pick(&alive) else {
            return Ok(());
        };
        match self.random.below(12) {
            // Cut a random group off, in both directions or one.
            0..=1 => {
                let group: BTreeSet<NodeId> = alive
                    .iter()
                    .copied()
                    .filter(|_| self.random.in_thousand(400))
                    .collect();
                let both = self.random.in_thousand(600);
                for a in &group {
                    for b in alive.iter().filter(|b| !group.contains(b)) {
                        self.cut.insert((*a, *b));
                        if both {
                            self.cut.insert((*b, *a));
                        }
                    }
                }
            }
            2..=4 => self.cut.clear(),
            5 => self.lost = self.random.pick(&[0, 0, 20, 100, 300]).unwrap_or(0),
            6 => self.doubled = self.random.pick(&[0, 50, 300]).unwrap_or(0),
            7 => self.delay_ms = self.random.pick(&[1, 5, 30, 120]).unwrap_or(0),
            8 => {
                let slow = self.random.pick(&[0, 3, 20, 200]).unwrap_or(0);
                self.nodes.get_mut(&one).expect("alive").disk_ms = slow;
            }
            9 => {
                if let (Some(leader), Some(to)) = (self.leader(), self.random.pick(&alive)) {
                    self.call(leader, |raft, out| {
                        let _ = raft.transfer(to, out);
                    })?;
                    // At worst the old leader hears nothing of its successor for a while.
                    if self.random.in_thousand(400) {
                        for other in alive {
                            self.cut.extend([(leader, other), (other, leader)]);
                        }
                    }
                }
            }
            _ => self.crash(one),
        }
        Ok(())
    }

    /// A node is gone for good, if every configuration that anyone believes in can bear it.
    fn crash(&mut self, id: NodeId) {
        let alive: BTreeSet<NodeId> = self
            .alive()
            .into_iter()
            .filter(|node| *node != id)
            .collect();
        let bears = |configuration: &Configuration| {
            let halves = [Some(&configuration.voters), configuration.incoming.as_ref()];
            halves
                .into_iter()
                .flatten()
                .all(|half| half.is_empty() || half.intersection(&alive).count() * 2 > half.len())
        };
        if self
            .nodes
            .values()
            .filter(|node| node.alive)
            .all(|node| bears(node.raft.configuration()))
        {
            self.nodes.get_mut(&id).expect("alive").alive = false;
            self.count.crashes += 1;
        }
    }

    /// Whoever governs: new nodes come as learners and become voters, dead ones leave. With
    /// `restless` also those who live.
    fn administrator(&mut self, restless: bool) -> Result<(), Broken> {
        let Some(leader) = self.leader() else {
            return Ok(());
        };
        let alive: BTreeSet<NodeId> = self.alive().into_iter().collect();
        let raft = &self.nodes[&leader].raft;
        let now = raft.configuration().clone();
        if let Some(next) = now.leave() {
            return if raft.may_change(&next) {
                self.propose(leader, Some(next))
            } else {
                Ok(())
            };
        }
        let mut voters: BTreeSet<NodeId> = now.voters.intersection(&alive).copied().collect();
        let mut learners: BTreeSet<NodeId> = now.learners.intersection(&alive).copied().collect();
        if restless && voters.len() > 2 && self.random.in_thousand(150) {
            let some: Vec<NodeId> = voters.iter().copied().collect();
            voters.extend(
                learners
                    .iter()
                    .copied()
                    .filter(|_| self.random.in_thousand(500)),
            );
            let leaves = self.random.pick(&some).expect("more than two");
            voters.remove(&leaves);
            // Sometimes it stays as a learner.
            if self.random.in_thousand(300) {
                learners.insert(leaves);
            }
        } else if voters.len() + learners.len() < 4 && self.random.in_thousand(500) {
            let dead: Vec<NodeId> = self
                .nodes
                .keys()
                .copied()
                .filter(|node| !alive.contains(node))
                .collect();
            let mut disk = match self.random.pick(&dead) {
                Some(former) if self.random.in_thousand(600) => {
                    let former = &self.nodes[&former];
                    former.log[..former.synced as usize].to_vec()
                }
                _ => Vec::new(),
            };
            // The host may present an older disk.
            disk.truncate(self.random.below(2 * disk.len() as u64 + 1) as usize);
            learners.insert(self.start(Configuration::default(), &disk));
        } else if let Some(learner) = learners.first().copied() {
            voters.insert(learner);
        }
        learners.retain(|node| !voters.contains(node));
        let next = now.change(voters, learners);
        if next != now && self.nodes[&leader].raft.may_change(&next) {
            self.propose(leader, Some(next))?;
        }
        Ok(())
    }

    /// Liveness: once nothing goes wrong any more, the dead are voted out, a new proposal commits,
    /// and all members come to have the same log.
    pub fn heal_and_converge(&mut self) -> Result<(), Broken> {
        self.cut.clear();
        (self.lost, self.doubled, self.delay_ms) = (0, 0, 5);
        self.nodes.values_mut().for_each(|node| node.disk_ms = 3);
        let end = self.now + 20_000;
        let mut proposed = None;
        while self.now < end {
            self.pass()?;
            let Some(leader) = self.leader() else {
                continue;
            };
            let configuration = self.nodes[&leader].raft.configuration().clone();
            let members = configuration.members();
            let settled = configuration.incoming.is_none()
                && members.iter().all(|node| self.nodes[node].alive);
            if !settled {
                proposed = None;
                if self.random.in_thousand(100) {
                    self.administrator(false)?;
                }
                continue;
            }
            // What a leader proposed is lost if it is followed by one that has not got it.
            let Some((_, index)) = proposed.filter(|(by, _)| *by == leader) else {
                proposed = self.nodes[&leader]
                    .raft
                    .next()
                    .map(|(_, index)| (leader, index));
                self.propose(leader, None)?;
                continue;
            };
            if members
                .iter()
                .all(|node| self.nodes[node].raft.committed() >= index)
            {
                let mut members = members.iter();
                return members
                    .try_for_each(|node| self.properties.complete(*node, &self.nodes[node].log));
            }
        }
        let state = |id: &NodeId| {
            let raft = &self.nodes[id].raft;
            format!(
                "{id}: {:?} last {:?} committed {} of {:?}",
                raft.role(),
                raft.last(),
                raft.committed(),
                raft.configuration()
            )
        };
        Err(format!(
            "did not converge:\n{}",
            self.alive()
                .iter()
                .map(state)
                .collect::<Vec<_>>()
                .join("\n")
        ))
    }
}
