//! The order of M actors that a network goes on with fewer nodes than its rule asks for.
//!
//! Source: DESIGN section 6, "Quorum lost" (an explicit act of M actors); `docs/recovery.md`. The rule keeps
//! what was acknowledged although some hosts may show an old disk. Where so many nodes are gone for good that
//! it can never be kept, those who can open everything together, M actors, may give up what only the lost
//! nodes held. They name who goes on, and an entry that they have seen: an older ledger is not gone on from.

use std::collections::BTreeSet;

use types::{Index, Millis, Term};

use super::State;
use crate::fact::OrderedRestart;
use crate::{Constitution, NetworkRestart, NodeSlot, Refused, SignedMessage};

/// An order that was checked: only [`State::restart_order`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The actors who signed it, in order of their names.
    pub by: Vec<String>,
    pub survivors: BTreeSet<NodeSlot>,
    /// What the ledger that is gone on from reaches at least.
    pub reach: (Term, Index),
}

impl State {
    /// What M actors ordered, if all of them signed the same, for this network as it is.
    ///
    /// # Errors
    /// [`Refused`], for whoever handed it in.
    pub fn restart_order(&self, orders: &[SignedMessage], now: Millis) -> Result<Ordered, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        let constitution = &network.constitution;
        let shared = self.keys.shared().ok_or(Refused::Order(
            "the actors have no threshold key, so none of them speaks for M",
        ))?;
        if orders.len() > types::limits::ACTORS_MAX {
            return Err(Refused::Order("more than 64 actors signed it"));
        }
        let mut signers = BTreeSet::new();
        let mut first = None;
        for message in orders {
            let (order, caller) = message.restart_order(network.id, constitution, now)?;
            if order.restarts != self.restarts {
                return Err(Refused::Order("it is for another restart count"));
            }
            let same = (order.survivors, order.term, order.last);
            if first.get_or_insert_with(|| same.clone()) != &same {
                return Err(Refused::Order("its signers ordered different things"));
            }
            if !shared.actors().iter().any(|(name, _)| *name == caller.name) {
                return Err(Refused::Order(
                    "a signer holds no share of the network's key",
                ));
            }
            if !signers.insert(caller.name) {
                return Err(Refused::Order("an actor signed it twice"));
            }
        }
        let (survivors, term, last) = first.ok_or(Refused::Order("nobody signed it"))?;
        if survivors.is_empty() || !survivors.iter().all(|slot| listed(constitution, slot)) {
            return Err(Refused::Order(
                "it names no survivor, or a place that the constitution does not list",
            ));
        }
        let missing = shared.key().threshold().saturating_sub(signers.len());
        if missing > 0 {
            return Err(Refused::OrderUnfinished { missing });
        }
        Ok(Ordered {
            by: signers.into_iter().collect(),
            survivors,
            reach: (term, last),
        })
    }

    /// Whether a restart that says that it was ordered was, and what was given up.
    pub(super) fn check_order(
        &self,
        restart: &NetworkRestart,
        now: Millis,
    ) -> Result<Option<Box<OrderedRestart>>, Refused> {
        let Some(orders) = &restart.orders else {
            return match restart.ordered_by.is_empty() {
                true => Ok(None),
                false => Err(Refused::Order("nobody signed it")),
            };
        };
        let ordered = self.restart_order(orders, now)?;
        if ordered.by != restart.ordered_by {
            return Err(Refused::Order("others signed it than the entry names"));
        }
        let present: BTreeSet<NodeSlot> = restart
            .present
            .iter()
            .map(|p| NodeSlot {
                owner: p.owner.clone(),
                address: p.address.clone(),
            })
            .collect();
        if !ordered.survivors.is_subset(&present) {
            return Err(Refused::Order("not all whom it names were there"));
        }
        let farthest = restart.present.iter().map(|p| (p.term, p.index)).max();
        if farthest.is_none_or(|reach| reach < ordered.reach) {
            return Err(Refused::Order("no ledger reached the entry that it names"));
        }
        let voters = self.voters().map(|node| NodeSlot {
            owner: node.owner.clone(),
            address: node.address.clone(),
        });
        Ok(Some(Box::new(OrderedRestart {
            without: voters.filter(|slot| !present.contains(slot)).collect(),
            by: ordered.by,
            survivors: ordered.survivors,
        })))
    }
}

fn listed(constitution: &Constitution, slot: &NodeSlot) -> bool {
    constitution.has_slot(&slot.owner, &slot.address)
}
