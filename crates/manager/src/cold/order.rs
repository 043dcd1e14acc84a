//! What M actors ordered: to go on with fewer nodes than the rule asks for.
//!
//! The host hands it over, and it counts by its signatures alone, on every node that is to go on: each of the
//! survivors was given it by its operator. It changes how many are enough, and nothing else: who goes on is
//! still the one whose ledger reaches farthest, with the pledge of all the others.

use std::collections::{BTreeMap, BTreeSet};

use governance::{Constitution, NodeSlot, Ordered, OrderedRestart};

use super::Stage;
use super::choice::{Reach, are_enough, foremost};
use super::era::Halves;
use crate::Output;
use crate::node::{Node, log};

impl Node {
    /// The order that this node was given, if it holds for its ledger and the rule cannot be kept.
    pub(super) fn order_to_restart(&self) -> Option<Result<Ordered, String>> {
        if self.setup.orders.is_empty() || self.cold.stage != Stage::Verified {
            return None;
        }
        Some(self.order_by_now())
    }

    /// The order, for the entry that names it.
    pub(super) fn order_by_now(&self) -> Result<Ordered, String> {
        let time = self.order.time.max(self.clock);
        let ordered = self.state.restart_order(&self.setup.orders, time);
        ordered.map_err(|refused| refused.to_string())
    }

    /// Says once why an order is not followed.
    pub(super) fn tell_order(&mut self, out: &mut Vec<Output>) {
        let told = match self.order_to_restart() {
            None => return,
            Some(Ok(ordered)) => format!(
                "{} ordered that the network goes on with {} alone, from entry {} at least",
                ordered.by.join(", "),
                names(&ordered.survivors),
                ordered.reach.1
            ),
            Some(Err(refused)) => refused,
        };
        if self.cold.told_order != told {
            log(out, 2, "cold", &told);
            self.cold.told_order = told;
        }
    }
}

/// Whether these places, whose ledgers reach so far, are enough by an order.
pub(super) fn suffices(
    ordered: Option<&Ordered>,
    places: &BTreeSet<NodeSlot>,
    present: &BTreeMap<NodeSlot, Reach>,
) -> bool {
    let Some(ordered) = ordered else {
        return false;
    };
    let best = foremost(present).and_then(|slot| present.get(slot));
    ordered.survivors.is_subset(places)
        && best.is_some_and(|best| (best.term, best.index) >= ordered.reach)
}

/// By the rule, or by an order.
pub(super) fn enough(
    (constitution, voters): (&Constitution, &Halves),
    ordered: Option<&Ordered>,
    places: &BTreeSet<NodeSlot>,
    present: &BTreeMap<NodeSlot, Reach>,
) -> bool {
    are_enough(constitution, voters, places) || suffices(ordered, places, present)
}

fn names<'a>(slots: impl IntoIterator<Item = &'a NodeSlot>) -> String {
    let named: Vec<_> = slots
        .into_iter()
        .map(|slot| format!("{} of {}", slot.address, slot.owner))
        .collect();
    if named.is_empty() {
        "nobody".into()
    } else {
        named.join(", ")
    }
}

/// What an ordered restart gave up, for the log.
pub fn told_order(ordered: &OrderedRestart) -> String {
    format!(
        "{} ordered it with fewer nodes than the rule asks for. What only {} held may be missing",
        ordered.by.join(", "),
        names(&ordered.without)
    )
}

#[cfg(test)]
mod tests {
    use types::{Index, Term};

    use super::*;

    #[test]
    fn all_survivors_must_be_there_and_reach_what_the_actors_saw() {
        let slot = |n: u8| NodeSlot {
            owner: format!("member-{n}"),
            address: format!("vn-{n}:1"),
        };
        let reach = |term, index| Reach {
            restarts: 0,
            established: true,
            term: Term(term),
            index: Index(index),
        };
        let ordered = Ordered {
            by: vec![],
            survivors: [slot(1), slot(2)].into(),
            reach: (Term(3), Index(70)),
        };
        let check = |list: &[(u8, Reach)]| {
            let present: BTreeMap<_, _> = list.iter().map(|(n, r)| (slot(*n), *r)).collect();
            let places = present.keys().cloned().collect();
            suffices(Some(&ordered), &places, &present)
        };
        assert!(check(&[(1, reach(3, 70)), (2, reach(2, 9))]));
        assert!(check(&[
            (1, reach(4, 60)),
            (2, reach(2, 9)),
            (3, reach(2, 9))
        ]));
        assert!(
            !check(&[(1, reach(3, 70)), (3, reach(3, 70))]),
            "one is missing"
        );
        assert!(
            !check(&[(1, reach(3, 69)), (2, reach(2, 99))]),
            "all are too old"
        );
        assert!(!suffices(
            None,
            &[slot(1), slot(2)].into(),
            &BTreeMap::new()
        ));
    }
}
