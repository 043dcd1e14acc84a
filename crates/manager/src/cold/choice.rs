//! Who goes on with the network when its quorum was lost, and when it may: DESIGN section 6, decided
//! from what nodes say of their ledgers, without any of the machinery around it.
//!
//! Every node comes to the same choice from the same presence. It need not: a node pledges itself to
//! one other at a time, and only who has enough pledges goes on.

use std::collections::{BTreeMap, BTreeSet};

use governance::{Constitution, NodeSlot};
use minicbor::{Decode, Encode};
use types::{Digest, Index, Term};

use super::era::Halves;

/// How far a ledger reaches; the greatest is the one to go on from. Of eras with the same count, the
/// established one may have acknowledged something, and the other has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Reach {
    #[n(0)]
    pub restarts: u32,
    #[n(1)]
    pub established: bool,
    #[n(2)]
    pub term: Term,
    #[n(3)]
    pub index: Index,
}

/// A ledger and its last entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Held {
    #[n(0)]
    pub reach: Reach,
    #[n(1)]
    pub digest: Digest,
}

/// Whose ledger is the one to go on from: the greatest reach, among equals the first place.
pub fn foremost(present: &BTreeMap<NodeSlot, Reach>) -> Option<&NodeSlot> {
    present
        .iter()
        .max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)))
        .map(|(slot, _)| slot)
}

/// Whether these places are enough: q + p - n > r in each half of the configuration.
pub fn are_enough(
    constitution: &Constitution,
    voters: &Halves,
    present: &BTreeSet<NodeSlot>,
) -> bool {
    !voters.is_empty() && missing(constitution, voters, present) == Some(0)
}

/// How many more of the configuration must come, at least; none if no number is enough.
pub fn missing(
    constitution: &Constitution,
    voters: &Halves,
    present: &BTreeSet<NodeSlot>,
) -> Option<usize> {
    voters
        .iter()
        .map(|half| {
            let needed = constitution.restart_quorum(half.len())?;
            Some(needed.saturating_sub(half.intersection(present).count()))
        })
        .try_fold(0, |most, half| Some(most.max(half?)))
}

/// Whether so many run that they elect a leader by themselves, once they hear one another.
pub fn can_elect(voters: &Halves, running: &BTreeSet<NodeSlot>) -> bool {
    !voters.is_empty()
        && voters
            .iter()
            .all(|half| half.intersection(running).count() > half.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(n: u8) -> NodeSlot {
        NodeSlot {
            owner: format!("member-{n}"),
            address: format!("vn-{n}:1"),
        }
    }

    fn places(list: &[u8]) -> BTreeSet<NodeSlot> {
        list.iter().copied().map(slot).collect()
    }

    fn enough(faults: u32, halves: &[&[u8]], present: &[u8]) -> bool {
        let mut constitution = crate::cold::testing::constitution();
        constitution.settings.restart_faults_max = faults;
        let halves: Halves = halves.iter().map(|half| places(half)).collect();
        are_enough(&constitution, &halves, &places(present))
    }

    #[test]
    fn so_many_must_be_present_that_every_quorum_has_an_honest_one_among_them() {
        // DESIGN section 6: 3 of 3, 4 of 5.
        assert!(enough(1, &[&[1, 2, 3]], &[1, 2, 3]));
        assert!(!enough(1, &[&[1, 2, 3]], &[1, 3]));
        assert!(enough(1, &[&[1, 2, 3, 4, 5]], &[1, 2, 4, 5]));
        assert!(!enough(1, &[&[1, 2, 3, 4, 5]], &[3, 4, 5]));
        // Who is of no place in the configuration does not count.
        assert!(!enough(1, &[&[1, 2, 3]], &[1, 2, 8, 9]));
        // Hosts that keep their disks: a majority of the places is enough.
        assert!(enough(0, &[&[1, 2, 3]], &[1, 3]));
        // Both halves of a joint configuration.
        assert!(!enough(0, &[&[1, 2, 3], &[3, 4, 5]], &[1, 2, 3]));
        assert!(enough(0, &[&[1, 2, 3], &[3, 4, 5]], &[1, 3, 4]));
        // One alone has nobody to tell it what its own host hides.
        assert!(!enough(1, &[&[1]], &[1]));
        assert!(enough(0, &[&[1]], &[1]));
        assert!(!enough(0, &[], &[1]));
    }

    #[test]
    fn the_ledger_that_reaches_farthest_is_gone_on_from() {
        let reach = |restarts, established, term, index| Reach {
            restarts,
            established,
            term: Term(term),
            index: Index(index),
        };
        let check = |list: &[Reach], expected: u8| {
            let present = (0..).map(slot).zip(list.iter().copied()).collect();
            assert_eq!(foremost(&present), Some(&slot(expected)));
        };
        check(&[reach(0, true, 3, 9), reach(0, true, 4, 7)], 1);
        check(&[reach(0, true, 4, 9), reach(0, true, 4, 7)], 0);
        check(&[reach(0, true, 4, 7), reach(0, true, 4, 7)], 0);
        check(&[reach(0, true, 9, 99), reach(1, false, 1, 7)], 1);
        // A restart that came to nothing does not hide one that went on.
        check(&[reach(1, false, 9, 99), reach(1, true, 1, 7)], 1);
    }

    #[test]
    fn as_many_as_elect_a_leader_wait_for_that() {
        let three: Halves = vec![places(&[1, 2, 3])];
        assert!(can_elect(&three, &places(&[1, 2])));
        assert!(!can_elect(&three, &places(&[2])));
        assert!(!can_elect(&Halves::new(), &places(&[2])));
    }
}
