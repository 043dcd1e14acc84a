//! Who votes: a leader brings admitted nodes into the configuration, and replaced ones out of it.
//!
//! Source: Raft thesis 4.2.1 (learners catch up first) and 4.3 (joint consensus).

use std::collections::BTreeSet;

use consensus::Engine;
use governance::Status;
use types::NodeId;

use crate::Output;
use crate::node::Node;
use crate::sessions::Who;

/// A learner this close behind the leader's commit index can vote without holding the others up.
const CAUGHT_UP_ENTRIES: u64 = 64;

impl Node {
    pub fn engine_is_joint(&self) -> bool {
        self.engine
            .as_ref()
            .is_some_and(|e| e.configuration().incoming.is_some())
    }

    /// Proposes the next step towards the configuration that governance wants, one at a time.
    pub fn reconfigure(&mut self, out: &mut Vec<Output>) {
        if self
            .order
            .leading
            .as_ref()
            .is_none_or(|l| !l.opened || l.changing)
        {
            return;
        }
        let Some(engine) = &self.engine else { return };
        let present = engine.configuration();
        let quorum = self.era.quorum().unwrap_or_default();
        if let Some(next) = present.leave() {
            // After a restart, what follows shows that enough hold it.
            let joint = self.configurations.last_key_value();
            let joint = joint.map(|(index, _)| *index).unwrap_or_default();
            if self.holders(joint) < quorum {
                return;
            }
            return self.propose_configuration(next, out);
        }
        let committed = engine.committed();
        let served = |node: &NodeId| {
            self.state
                .node(*node)
                .is_some_and(governance::Node::is_served)
        };
        // With less than the entry that admitted it a node knows nothing that it could go on with by itself.
        let caught_up = |node: &NodeId| {
            let since = self.state.node(*node).map(|n| n.since);
            let matched = engine.matched(*node);
            matched.is_some_and(|m| Some(m) >= since && m.0 + CAUGHT_UP_ENTRIES >= committed.0)
        };
        let joining: BTreeSet<NodeId> = present
            .learners
            .iter()
            .filter(|n| served(n) && caught_up(n))
            .copied()
            .collect();
        // One that is replaced leaves when its successor comes, so that the quorum does not shrink.
        let replaced = |node: &NodeId| {
            self.state
                .node(*node)
                .is_some_and(|n| n.status == Status::Retiring)
                && self.succeeded(*node, &|n| {
                    joining.contains(&n) || present.voters.contains(&n)
                })
        };
        let mut voters: BTreeSet<NodeId> = present
            .voters
            .iter()
            .filter(|n| !replaced(n))
            .copied()
            .collect();
        voters.extend(&joining);
        let learners: BTreeSet<NodeId> = present
            .learners
            .iter()
            .filter(|n| served(n) && !joining.contains(n))
            .copied()
            .collect();
        if voters.len() < quorum {
            // They come in at once.
            return;
        }
        if voters.is_empty() || (voters == present.voters && learners == present.learners) {
            return;
        }
        let next = present.change(voters, learners);
        self.propose_configuration(next, out);
    }

    /// Whether who replaced a node has come. One that was itself replaced before it came never will:
    /// then its own successor counts.
    fn succeeded(&self, node: NodeId, has_come: &impl Fn(NodeId) -> bool) -> bool {
        self.state
            .nodes()
            .filter(|n| n.replaces == Some(node))
            .all(|n| has_come(n.id) || (!n.is_served() && self.succeeded(n.id, has_come)))
    }

    /// A node is no longer served: its connections end.
    pub fn close_node(&mut self, node: NodeId, out: &mut Vec<Output>) {
        let connections: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| match session.who {
                Who::Node { node: peer } | Who::ExpectNode { to: peer } => peer == node,
                _ => false,
            })
            .map(|(connection, _)| connection)
            .collect();
        for connection in connections {
            self.drop_connection(connection, "the node was replaced or removed", out);
        }
    }
}
