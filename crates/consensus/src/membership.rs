//! Changes of membership (thesis 4): which may be proposed, whom a leader serves meanwhile, and
//! when it leaves.
//!
//! A change of voters is two entries. The first makes the configuration joint; once it is
//! committed the driver proposes the second, made by `Configuration::leave`.

use std::collections::BTreeSet;

use types::NodeId;

use crate::message::Head;
use crate::progress::Progress;
use crate::raft::{Raft, State};
use crate::{Configuration, Effect, Engine};

impl Raft {
    pub(crate) fn may_propose_configuration(&self, to: &Configuration) -> bool {
        let current = self.log.configuration();
        if self.next().is_none() {
            return false;
        }
        // The entry that opens a term may repeat the configuration in force; nothing else may
        // come before the term is open (the flaw of single-server changes, raft-dev, July 2015).
        to == current
            || (self.is_open() && self.log.configuration_is_committed() && current.may_become(to))
    }

    /// Everyone whom a leader sends entries: members of every configuration that may turn out to
    /// be the one. Whoever leaves hears of it while the leaving entry is on its way.
    pub(crate) fn track_members(&mut self) {
        let last = self.log.last().1;
        let in_play = self.log.configurations_in_play().iter();
        let members: BTreeSet<NodeId> = in_play
            .flat_map(|(_, configuration)| configuration.members())
            .collect();
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.progress.retain(|node, _| members.contains(node));
        for node in members {
            if node != self.id {
                leader
                    .progress
                    .entry(node)
                    .or_insert_with(|| Progress::new(last, self.now));
            }
        }
    }

    /// The commit index moved and everyone was told: forget those who are gone, and step down if
    /// this node is one of them (thesis 4.2.2), proposing the best of the others.
    pub(crate) fn settle_membership(&mut self, out: &mut Vec<Effect>) {
        if !self.log.configuration_is_committed() {
            return;
        }
        self.track_members();
        let State::Leader(leader) = &self.state else {
            return;
        };
        let configuration = self.log.configuration();
        if configuration.is_voter(self.id) {
            return;
        }
        let voters = leader
            .progress
            .iter()
            .filter(|(node, _)| configuration.is_voter(**node));
        if let Some((best, _)) = voters.max_by_key(|(_, progress)| progress.matched) {
            self.send(*best, &Head::TimeoutNow { term: self.term }, out);
        }
        self.follow(self.term, None, out);
    }
}
