//! Who decides: majorities of a configuration, and the steps from one configuration to the next.
//!
//! A joint configuration is decided by a majority of `voters` AND a majority of `incoming`, never
//! by a majority of their union (thesis 4.3).

use std::borrow::Cow;
use std::collections::BTreeSet;

use types::{Index, NodeId, limits};

use crate::{Configuration, Mutation};

/// How many of a set are enough. There is one right answer; tests put others in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Majority,
    OneLess,
    UnionMajority,
}

impl Rule {
    pub(crate) fn under(mutation: Mutation) -> Self {
        if mutation.is(Mutation::QuorumMinusOne) {
            Self::OneLess
        } else if mutation.is(Mutation::UnionQuorum) {
            Self::UnionMajority
        } else {
            Self::Majority
        }
    }

    fn enough(self, nodes: usize) -> usize {
        match self {
            Self::OneLess => (nodes / 2).max(1),
            Self::Majority | Self::UnionMajority => nodes / 2 + 1,
        }
    }
}

impl Configuration {
    /// These vote; there is no one else.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            voters: voters.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether this node takes part in decisions.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
            || self
                .incoming
                .as_ref()
                .is_some_and(|nodes| nodes.contains(&node))
    }

    /// Whether this node receives entries at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// All that receive entries.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.all_voters()
            .chain(self.learners.iter().copied())
            .collect()
    }

    /// The voters of both halves; one that is in both comes twice.
    fn all_voters(&self) -> impl Iterator<Item = NodeId> {
        self.voters
            .iter()
            .chain(self.incoming.iter().flatten())
            .copied()
    }

    /// The configuration to propose now in order to get to these voters and learners: a joint one
    /// if the voters change, which is followed by [`Configuration::leave`] once committed.
    #[must_use]
    pub fn change(&self, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId>) -> Self {
        let incoming = (voters != self.voters).then_some(voters);
        Self {
            voters: self.voters.clone(),
            incoming,
            learners,
        }
    }

    /// The configuration to propose once this joint one is committed; `None` if it is not joint.
    #[must_use]
    pub fn leave(&self) -> Option<Self> {
        let voters = self.incoming.clone()?;
        let learners = self.learners.difference(&voters).copied().collect();
        Some(Self {
            voters,
            incoming: None,
            learners,
        })
    }

    /// Whether `next` may follow this configuration: quorums of two neighbours always intersect.
    pub(crate) fn may_become(&self, next: &Self) -> bool {
        let sets = [
            Some(&next.voters),
            next.incoming.as_ref(),
            Some(&next.learners),
        ];
        if sets
            .into_iter()
            .flatten()
            .any(|set| set.len() > limits::NODES_MAX)
        {
            return false;
        }
        if next.incoming.as_ref().is_some_and(BTreeSet::is_empty) {
            return false;
        }
        match &self.incoming {
            None => next.voters == self.voters,
            Some(incoming) => next == self || (next.incoming.is_none() && next.voters == *incoming),
        }
    }

    /// The sets of which each must agree.
    fn halves(&self, rule: Rule) -> impl Iterator<Item = Cow<'_, BTreeSet<NodeId>>> {
        let union = (rule == Rule::UnionMajority).then(|| Cow::Owned(self.all_voters().collect()));
        let halves = if union.is_some() {
            [None, None]
        } else {
            [Some(&self.voters), self.incoming.as_ref()]
        };
        halves.into_iter().flatten().map(Cow::Borrowed).chain(union)
    }

    /// Whether those who say yes decide.
    pub(crate) fn decides(&self, rule: Rule, yes: impl Fn(NodeId) -> bool) -> bool {
        self.halves(rule)
            .all(|half| half.iter().filter(|node| yes(**node)).count() >= rule.enough(half.len()))
    }

    /// The highest index that a quorum has reached.
    pub(crate) fn agreed(&self, rule: Rule, reached: impl Fn(NodeId) -> Index) -> Index {
        let of = |half: Cow<'_, BTreeSet<NodeId>>| {
            let mut reached: Vec<Index> = half.iter().map(|node| reached(*node)).collect();
            reached.sort_unstable_by(|a, b| b.cmp(a));
            reached
                .get(rule.enough(half.len()) - 1)
                .copied()
                .unwrap_or(Index::ZERO)
        };
        self.halves(rule).map(of).min().unwrap_or(Index::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn nobody_decides_nothing() {
        let nobody = Configuration::default();
        assert!(!nobody.decides(Rule::Majority, |_| true));
        assert_eq!(nobody.agreed(Rule::Majority, |_| Index(7)), Index::ZERO);
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let joint = Configuration::of(nodes([1, 2, 3])).change(nodes([3, 4, 5]), nodes([]));
        let reached = |node: NodeId| Index(if node.0 >= 3 { 9 } else { 4 });
        assert_eq!(joint.agreed(Rule::Majority, reached), Index(4));
        assert!(!joint.decides(Rule::Majority, |node| node.0 >= 3));
        assert!(joint.decides(Rule::Majority, |node| node.0 >= 2));
    }

    proptest! {
        /// Thesis 4.3, the reason why joint consensus is safe.
        #[test]
        fn quorums_of_neighbouring_configurations_intersect(
            old in prop::collection::btree_set(1..8u64, 1..6),
            new in prop::collection::btree_set(1..8u64, 1..6),
            first in prop::collection::btree_set(1..8u64, 0..8),
        ) {
            let start = Configuration::of(nodes(old));
            let joint = start.change(nodes(new), nodes([]));
            prop_assert!(start.may_become(&joint));
            let end = joint.leave().unwrap_or_else(|| joint.clone());
            prop_assert!(joint.may_become(&end));
            let first = nodes(first);
            for (a, b) in [(&start, &joint), (&joint, &end)] {
                let one = a.decides(Rule::Majority, |node| first.contains(&node));
                let other = b.decides(Rule::Majority, |node| !first.contains(&node));
                prop_assert!(!(one && other));
            }
        }
    }
}
