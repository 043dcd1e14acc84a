//! What a restart of the network leaves open until as many have its entry as a quorum was before.
//!
//! The node that restarts a network is its only voter at first. Were it lost then, the others would
//! have to be able to restart without it, and so nothing may be acknowledged yet; and were it lost
//! later, they must not be. The line between is drawn here: an era is *established* when a quorum of
//! the configuration before the restart is known to hold the entry that restarted it, which the ledger
//! shows by a configuration of that many voters behind it. Until then the configuration before is the
//! one that counts for the next restart.

use std::collections::BTreeSet;

use governance::{Configuration, Fact, NodeSlot, State};
use types::{Index, NodeId};

/// The places of voters: one set, or two while the configuration is joint.
pub type Halves = Vec<BTreeSet<NodeSlot>>;

/// The era that the last restart began, or the genesis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Era {
    /// The voters before the restart, while it is not established.
    before: Option<Halves>,
    /// Since it was established: the entry that showed it, and how many must hold that entry before
    /// anything is acknowledged. None once something was.
    awaited: Option<(Index, usize)>,
}

impl Era {
    pub fn is_established(&self) -> bool {
        self.before.is_none()
    }

    /// Whose presence the next restart needs.
    pub fn voters(&self, state: &State) -> Halves {
        self.before.clone().unwrap_or_else(|| halves(state))
    }

    /// How many voters establish the era; none if it is.
    pub fn quorum(&self) -> Option<usize> {
        let before = self.before.as_ref()?;
        before.iter().map(|half| half.len() / 2 + 1).max()
    }

    /// The entry that must be held, and by how many, before anything is acknowledged.
    pub fn awaited(&self) -> Option<(Index, usize)> {
        self.awaited
    }

    /// A transaction is in the order: whoever led then knew that enough hold what it follows.
    pub fn proven(&mut self) {
        self.awaited = None;
    }

    /// An administrative entry took effect; `before` are the voters until then.
    pub fn entered(&mut self, index: Index, before: Halves, facts: &[Fact]) {
        let restarted = facts.iter().find_map(|fact| match fact {
            Fact::Restarted { ordered, .. } => Some(ordered),
            _ => None,
        });
        if let Some(ordered) = restarted {
            match ordered {
                // M actors gave up the others: the survivors are who counts.
                Some(ordered) => self.before = Some(vec![ordered.survivors.clone()]),
                None => {
                    self.before.get_or_insert(before);
                }
            }
            self.awaited = None;
            // The one that restarted is a quorum by itself, and no configuration need follow.
            if self.quorum() == Some(1) {
                self.before = None;
                self.awaited = Some((index, 1));
            }
            return;
        }
        let Some(quorum) = self.quorum() else { return };
        let establishes = |c: &Configuration| c.incoming.is_none() && c.voters.len() >= quorum;
        let configured = facts.iter().any(|fact| match fact {
            Fact::Configured(configuration) => establishes(configuration),
            _ => false,
        });
        if configured {
            self.before = None;
            self.awaited = Some((index, quorum));
        }
    }
}

/// The places of those who count in a quorum.
pub fn halves(state: &State) -> Halves {
    let configuration = state.configuration();
    let places = |nodes: &BTreeSet<NodeId>| {
        nodes
            .iter()
            .filter_map(|node| state.node(*node))
            .map(|node| NodeSlot {
                owner: node.owner.clone(),
                address: node.address.clone(),
            })
            .collect()
    };
    std::iter::once(&configuration.voters)
        .chain(&configuration.incoming)
        .map(places)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(voters: &[u64], incoming: Option<&[u64]>) -> Vec<Fact> {
        let nodes = |list: &[u64]| list.iter().copied().map(NodeId).collect();
        vec![Fact::Configured(Configuration {
            voters: nodes(voters),
            incoming: incoming.map(nodes),
            learners: BTreeSet::new(),
        })]
    }

    #[test]
    fn an_era_is_established_by_a_configuration_of_a_former_quorum() {
        let slot = |n: u8| NodeSlot {
            owner: format!("member-{n}"),
            address: format!("vn-{n}:1"),
        };
        let five: Halves = vec![(0..5).map(slot).collect()];
        let mut era = Era::default();
        assert!(era.is_established());
        let mut restarted = configured(&[9], None);
        restarted.push(Fact::Restarted {
            restarts: 1,
            ordered: None,
        });
        era.entered(Index(7), five.clone(), &restarted);
        assert_eq!((era.is_established(), era.quorum()), (false, Some(3)));

        // Two are too few, and a joint configuration shows nothing yet.
        era.entered(Index(8), vec![], &configured(&[9, 10], None));
        era.entered(Index(9), vec![], &configured(&[9], Some(&[9, 10, 11])));
        assert!(!era.is_established());
        // Lost before that, it is the five who count, however often it is tried.
        era.entered(Index(10), vec![], &restarted);
        assert_eq!(era.before, Some(five));

        era.entered(Index(11), vec![], &configured(&[9, 10, 11], None));
        assert!(era.is_established());
        assert_eq!(era.awaited(), Some((Index(11), 3)));
        era.proven();
        assert_eq!(era.awaited(), None);
    }
    #[test]
    fn an_ordered_restart_is_established_by_a_quorum_of_the_survivors() {
        let slot = |n: u8| NodeSlot {
            owner: format!("member-{n}"),
            address: format!("vn-{n}:1"),
        };
        let five: Halves = vec![(0..5).map(slot).collect()];
        let ordered = |survivors: &[u8]| {
            vec![Fact::Restarted {
                restarts: 1,
                ordered: Some(Box::new(governance::OrderedRestart {
                    by: vec![],
                    survivors: survivors.iter().copied().map(slot).collect(),
                    without: BTreeSet::new(),
                })),
            }]
        };
        let mut era = Era::default();
        era.entered(Index(7), five.clone(), &ordered(&[0, 1, 2]));
        assert_eq!((era.is_established(), era.quorum()), (false, Some(2)));
        era.entered(Index(8), vec![], &configured(&[9, 10], None));
        assert_eq!(era.awaited(), Some((Index(8), 2)));
        // One alone waits for nobody.
        era.entered(Index(9), five, &ordered(&[4]));
        assert!(era.is_established());
        assert_eq!(era.awaited(), Some((Index(9), 1)));
    }
}
