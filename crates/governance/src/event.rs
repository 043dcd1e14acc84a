//! Events: facts that members are told, numbered without gaps, so that a reader who was away sees
//! what it missed and resumes there. Numbers follow from the entries alone.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::Serialize;
use types::{Index, Millis};

use crate::Fact;

/// Events that are kept for readers who resume; older ones are in the ledger.
const KEPT: u64 = 1024;

/// A fact and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Event {
    /// 1 for the first of the network, one more with each that followed.
    #[n(0)]
    pub sequence: u64,
    #[n(1)]
    pub entry: Index,
    /// Ledger time of the entry.
    #[n(2)]
    pub time: Millis,
    #[n(3)]
    #[serde(flatten)]
    pub fact: Fact,
}

/// The last events.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Events {
    #[n(0)]
    kept: BTreeMap<u64, Event>,
    #[n(1)]
    last: u64,
}

impl Events {
    pub(crate) fn record(&mut self, entry: Index, time: Millis, facts: &[Fact]) {
        for fact in facts.iter().filter(|f| f.is_event()) {
            self.last += 1;
            let event = Event {
                sequence: self.last,
                entry,
                time,
                fact: fact.clone(),
            };
            self.kept.insert(self.last, event);
        }
        let oldest = (self.last + 1).saturating_sub(KEPT);
        while self
            .kept
            .first_key_value()
            .is_some_and(|(s, _)| *s < oldest)
        {
            self.kept.pop_first();
        }
    }

    pub(crate) fn since(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        let from = sequence.saturating_add(1);
        self.kept.range(from..).map(|(_, event)| event)
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}
