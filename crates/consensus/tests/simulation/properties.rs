//! What must hold whatever happens. Thesis figure 3.2, and the promises of `consensus::Engine`.
//!
//! This file knows nothing of how the engine decides; majorities are counted here anew.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Configuration, LogEntry};
use types::{Index, NodeId, Term};

/// What a property says when it does not hold.
pub type Broken = String;

/// What was seen so far, over all nodes.
#[derive(Default)]
pub struct Properties {
    leaders: BTreeMap<Term, NodeId>,
    /// Payload and term before, of every entry ever appended anywhere.
    entries: BTreeMap<(Index, Term), (LogEntry, Term)>,
    /// The entries that any node called committed; `committed[0]` has index 1.
    pub committed: Vec<LogEntry>,
    /// Proposals whose proposer was told that they committed.
    acknowledged: BTreeSet<Index>,
}

impl Properties {
    pub fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Election safety, and leader completeness.
    pub fn elected(&mut self, node: NodeId, term: Term, log: &[LogEntry]) -> Result<(), Broken> {
        if let Some(other) = self.leaders.insert(term, node) {
            return Err(format!("{node:?} and {other:?} both lead {term:?}"));
        }
        if log.len() < self.committed.len() || log[..self.committed.len()] != self.committed[..] {
            return Err(format!(
                "{node:?} leads {term:?} without all committed entries"
            ));
        }
        Ok(())
    }

    /// Log matching: entries of one index and term are the same, and so is what is before them.
    pub fn appended(
        &mut self,
        node: NodeId,
        entry: &LogEntry,
        before: Option<&LogEntry>,
    ) -> Result<(), Broken> {
        let found = (
            entry.clone(),
            before.map_or(Term::ZERO, |before| before.term),
        );
        let known = self
            .entries
            .entry((entry.index, entry.term))
            .or_insert_with(|| found.clone());
        if *known != found {
            return Err(format!(
                "{node:?} has another entry at {:?} of {:?}",
                entry.index, entry.term
            ));
        }
        Ok(())
    }

    /// Only entries of the leader's own term commit by counting copies (thesis 3.6.2). Whoever is the
    /// first to commit is the leader, and its newest entry is of its term.
    pub fn counted(
        &self,
        node: NodeId,
        upto: Index,
        of: Option<Term>,
        leads: Term,
    ) -> Result<(), Broken> {
        let first = upto.0 as usize > self.committed.len();
        if first && of != Some(leads) {
            return Err(format!(
                "{node:?} leads {leads:?} and commits {upto:?} of {of:?} by counting"
            ));
        }
        Ok(())
    }

    /// State machine safety; and a commit is on the disks of a quorum of every half.
    pub fn committed(
        &mut self,
        node: NodeId,
        entry: &LogEntry,
        configuration: &Configuration,
        on_disk: impl Fn(NodeId) -> bool,
    ) -> Result<(), Broken> {
        let place = entry.index.0 as usize - 1;
        if let Some(known) = self.committed.get(place) {
            return if known == entry {
                Ok(())
            } else {
                Err(format!("{node:?} commits another {:?}", entry.index))
            };
        }
        if place != self.committed.len() {
            return Err(format!(
                "{node:?} commits {:?}, but not what is before",
                entry.index
            ));
        }
        for half in [Some(&configuration.voters), configuration.incoming.as_ref()]
            .into_iter()
            .flatten()
        {
            let copies = half.iter().filter(|voter| on_disk(**voter)).count();
            if copies * 2 <= half.len() {
                return Err(format!(
                    "{:?} is committed with {copies} copies of {}",
                    entry.index,
                    half.len()
                ));
            }
        }
        self.committed.push(entry.clone());
        Ok(())
    }

    pub fn acknowledged(&mut self, index: Index) {
        self.acknowledged.insert(index);
    }

    /// A read sees everything that was committed when it was asked for (linearizability).
    pub fn read(&self, node: NodeId, index: Index, committed_before: u64) -> Result<(), Broken> {
        if index.0 < committed_before {
            return Err(format!(
                "{node:?} reads at {index:?}, but {committed_before} was committed before"
            ));
        }
        Ok(())
    }

    /// At the end a node has all that was ever acknowledged.
    pub fn complete(&self, node: NodeId, log: &[LogEntry]) -> Result<(), Broken> {
        match self
            .acknowledged
            .iter()
            .find(|index| log.get(index.0 as usize - 1) != self.committed.get(index.0 as usize - 1))
        {
            Some(lost) => Err(format!("{node:?} lost {lost:?}, which was acknowledged")),
            None => Ok(()),
        }
    }
}
