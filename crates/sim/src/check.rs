//! The invariants, held against every node after every step.
//!
//! * One leader a term (election safety, Raft thesis 3.4).
//! * Committed entries are the same on all nodes and never change (log matching, state machine safety):
//!   an entry's digest covers all entries before it, so equal digests at an index are equal ledgers.
//! * Write sets are part of entries, so they are equal, too; that workers applied them is checked by
//!   reading every acknowledged key back from every node at the end (durability).

use std::collections::BTreeMap;

use manager::{Manager, Position};
use types::{Digest, Index, NodeId, Term};

/// What the run has seen so far.
#[derive(Default)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    committed: Vec<Digest>,
    /// Per node of the network: up to where its ledger was compared.
    compared: BTreeMap<NodeId, Index>,
    pub leader_changes: u64,
    last_leader: Option<NodeId>,
}

impl Checker {
    /// Compares one node with all that was seen.
    pub fn check(&mut self, position: &Position, manager: &Manager) -> Result<(), String> {
        if position.leading {
            let leader = *self.leaders.entry(position.term).or_insert(position.node);
            if leader != position.node {
                return Err(format!(
                    "two leaders in term {}: nodes {leader} and {}",
                    position.term, position.node
                ));
            }
            if self.last_leader != Some(position.node) {
                self.leader_changes += u64::from(self.last_leader.is_some());
                self.last_leader = Some(position.node);
            }
        }
        let compared = self.compared.entry(position.node).or_default();
        while *compared < position.committed {
            *compared = compared.next();
            // Of what lies far back a node remembers no digests; the last one covers them all.
            let Some(digest) = manager.digest(*compared) else {
                continue;
            };
            let place = usize::try_from(compared.0 - 1).expect("the ledger fits memory");
            match self.committed.get(place) {
                None => {
                    assert_eq!(
                        self.committed.len(),
                        place,
                        "indices are compared one by one"
                    );
                    self.committed.push(digest);
                }
                Some(expected) if *expected == digest => {}
                Some(_) => {
                    return Err(format!(
                        "node {} committed another entry {compared}",
                        position.node
                    ));
                }
            }
        }
        Ok(())
    }

    /// How many entries are committed somewhere.
    pub fn committed(&self) -> u64 {
        self.committed.len() as u64 // usize is at most 64 bits
    }
}
