//! Who is here, who is missing and how many shares: for the operator, who may have to start machines
//! or call other members.

use std::collections::BTreeSet;

use governance::NodeSlot;

use super::choice::missing;
use super::era::{Era, Halves};
use super::{Cold, Stage};
use crate::Output;
use crate::node::{Node, Phase, log};

impl Node {
    /// Whether the network has no quorum, as far as this node knows.
    pub fn is_cold(&self) -> bool {
        self.cold.stage != Stage::Idle && !matches!(self.phase, Phase::Admitted)
    }

    /// Gauges of the status.
    pub fn cold_gauges(&self) -> [(&'static str, u64); 4] {
        let (opened, needed) = self.cold_shares();
        let present = if self.is_cold() {
            self.cold.present().len() + 1
        } else {
            0
        };
        let count = |n: usize| n as u64; // usize is at most 64 bits
        [
            ("cold_present", count(present)),
            (
                "cold_missing",
                count(self.cold_missing().unwrap_or_default()),
            ),
            ("cold_shares", count(opened)),
            ("cold_shares_needed", count(needed)),
        ]
    }

    fn cold_voters(&self) -> Halves {
        let era: &Era = match (&self.cold.copy, self.cold.stage) {
            (Some(copy), stage) if stage.is_unopened() => &copy.era,
            _ => &self.era,
        };
        era.voters(self.cold_state())
    }

    fn cold_missing(&self) -> Option<usize> {
        if !self.is_cold() {
            return None;
        }
        let mut places = self.cold.present();
        places.insert(self.own_slot());
        missing(
            self.cold_state().constitution()?,
            &self.cold_voters(),
            &places,
        )
    }

    /// Actors who have opened the keys, and how many it takes.
    fn cold_shares(&self) -> (usize, usize) {
        let Some(copy) = &self.cold.copy else {
            return (0, 0);
        };
        let shared = copy.state.keys().shared();
        let needed = shared.map_or(0, |shared| shared.key().threshold());
        let opened = match &self.cold.opening {
            Some(opening) => opening.count(),
            None => self.cold.opened_by.len(),
        };
        (opened, needed)
    }

    pub(super) fn tell_progress(&mut self, out: &mut Vec<Output>) {
        if matches!(
            self.cold.stage,
            Stage::Idle | Stage::Reading | Stage::Restarted
        ) {
            return;
        }
        let told = self.progress();
        if told != self.cold.told {
            log(out, 3, "cold", &told);
            self.cold.told = told;
            self.report(out);
        }
    }

    fn progress(&self) -> String {
        let mut places = self.cold.present();
        places.insert(self.own_slot());
        let all: BTreeSet<NodeSlot> = self.cold_voters().into_iter().flatten().collect();
        let names = |slots: &mut dyn Iterator<Item = &NodeSlot>| {
            let named: Vec<String> = slots
                .map(|slot| format!("{} of {}", slot.address, slot.owner))
                .collect();
            if named.is_empty() {
                "nobody".into()
            } else {
                named.join(", ")
            }
        };
        let here = names(&mut all.intersection(&places));
        let absent = names(&mut all.difference(&places));
        let more = match self.cold_missing() {
            Some(0) => "these are enough".to_owned(),
            Some(more) => format!("{more} more must come, or M actors order to go on without them (`coco recover order`)"),
            None => "no number is enough by settings.restart_faults_max: M actors may order to go on (`coco recover order`), or recover the network with their keys".to_owned(),
        };
        let keys = match (self.newest_seal(), self.cold_shares()) {
            (None, _) => "the session keys were not sealed to the actors, so nobody can open them again: give the actors share-transport keys in the constitution of the next network. This node waits for one that still has the keys".to_owned(),
            (Some(_), (_, needed)) if self.cold.stage >= Stage::Verifying => {
                format!("keys: opened by {needed} actors")
            }
            (Some(_), (opened, needed)) => {
                format!("keys: {opened} of {needed} actors have given their part")
            }
        };
        format!("the network has no quorum. Here: {here}. Missing: {absent}; {more}. {keys}")
    }
}

impl Cold {
    fn present(&self) -> BTreeSet<NodeSlot> {
        self.met.keys().cloned().collect()
    }
}
